//! Who may push: anybody, or only one pusher if the server ignores conditions.
//!
//! A ref's entries are numbered objects, each created only if no object of its name exists. A
//! server that ignores this condition lets one pusher overwrite another's entry without notice. So
//! before the first object, `probe/create-only` is put with the condition. If the object existed,
//! the server has just refused to overwrite it: it honours conditions. If the object was created,
//! it is put once more; a server that does not refuse this time ignores conditions. On such a
//! server the pusher writes its name into `lock`, and is the only one from then on.

use crate::bucket::Bucket;
use crate::fault::Fault;
use crate::retry::FailedRequest;
use bytes::Bytes;
use freestone_backend::Created;
use freestone_core::{Error, Result};
use object_store::{ObjectStore, PutMode, PutOptions, PutPayload};

const PROBE: &str = "probe/create-only";
const LOCK: &str = "lock";
/// The longest `lock` that is read: it has one line with a name.
const LOCK_BYTES_MAX: u64 = 4096;
const PROBE_TEXT: &[u8] = b"Made create-only, to see whether this server honours that.\n";

/// The machines that may push to a store.
pub(crate) enum Pushers {
    /// Any number of pushers.
    Any,
    /// Only this one, since the server ignores conditions.
    ThisOne,
}

impl Pushers {
    /// Finds out by requests, and registers this pusher if that is needed.
    ///
    /// # Errors
    /// [`freestone_core::ErrorKind::Refused`] if another pusher is registered. Or a request failed,
    /// for example because the key may not write.
    pub(crate) async fn find(bucket: &Bucket) -> Result<Self> {
        if !creates_probe(bucket).await? || !creates_probe(bucket).await? {
            return Ok(Self::Any);
        }
        register(bucket).await?;
        Ok(Self::ThisOne)
    }
}

/// Puts the probe with the condition. Returns true if the server reports that it was created.
async fn creates_probe(bucket: &Bucket) -> Result<bool> {
    let path = bucket.path(PROBE)?;
    let put = || {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        bucket.s3.put_opts(&path, PutPayload::from_static(PROBE_TEXT), options)
    };
    match bucket.requests().attempt(put).await {
        Ok(_) => Ok(true),
        Err(FailedRequest { fault: Fault::Exists, .. }) => Ok(false),
        Err(failed) => Err(bucket.requests().error("write to the store", failed)),
    }
}

/// Writes the name of this pusher into `lock`, or checks that it is there.
async fn register(bucket: &Bucket) -> Result<()> {
    let name = match &bucket.requests().options().pusher {
        Some(name) => name.clone(),
        None => this_machine(),
    };
    let path = bucket.path(LOCK)?;
    if let Some((found, _)) = bucket.reader.start(LOCK, &path, LOCK_BYTES_MAX).await? {
        let found = String::from_utf8_lossy(&found);
        let found = found.trim().trim_start_matches("pusher: ");
        if found == name {
            return Ok(());
        }
        return Err(Error::refused(format!(
            "{}: this server ignores the condition of create-only puts, so two pushers could overwrite \
             each other's refs without notice; the only pusher is \"{found}\", and this one is \"{name}\"",
            bucket.requests().place()
        ))
        .hint(format!(
            "push from that machine; or, if it will never push again, set FREESTONE_PUSHER=\"{found}\"; or use a \
             server that honours If-None-Match, such as Amazon's, Ceph's or MinIO's"
        )));
    }
    match bucket.put_new(LOCK, Bytes::from(format!("pusher: {name}\n"))).await? {
        Created::New | Created::Existed => Ok(()),
    }
}

/// Returns the default name of a pusher: the host name and the beginning of the machine's id.
fn this_machine() -> String {
    let read = |path: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let text: String = text.trim().chars().filter(|c| !c.is_control()).take(64).collect();
        text
    };
    let (host, id) = (read("/proc/sys/kernel/hostname"), read("/etc/machine-id"));
    let id: String = id.chars().take(8).collect();
    if id.is_empty() { host } else { format!("{host}-{id}") }
}
