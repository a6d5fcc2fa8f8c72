//! Who may push: anybody, where the server keeps what is made first; else one pusher alone.
//!
//! A ref's entries are numbered objects, each made only if there is none of its name. A server
//! that ignores this condition lets one pusher overwrite another's entry, and says so to nobody.
//! So before anything is made, `probe/create-only` is made, with the condition: where it was there
//! already, the server has just refused to overwrite it, and all is well. Where it was made, it is
//! made once more: the server that does not refuse then is one that ignores conditions. There a
//! pusher writes its name into `lock`, and is the only one from then on.

use crate::bucket::Bucket;
use crate::fault::Fault;
use crate::retry::FailedRequest;
use bytes::Bytes;
use freestone_core::{Error, Result};
use freestone_store::backend::Created;
use object_store::{ObjectStore, PutMode, PutOptions, PutPayload};

const PROBE: &str = "probe/create-only";
const LOCK: &str = "lock";
const LOCK_BYTES_MAX: u64 = 4096;
const PROBE_TEXT: &[u8] = b"Made create-only, to see whether this server honours that.\n";

/// Who may push to a store.
pub(crate) enum Pushers {
    /// Anybody.
    Any,
    /// This one alone, since the server ignores conditions.
    ThisOne,
}

impl Pushers {
    /// Finds out, and registers this pusher where that is needed.
    ///
    /// # Errors
    /// [`freestone_core::ErrorKind::Refused`] if another one is registered; or the key may not
    /// write, or whatever else keeps the server from answering.
    pub(crate) async fn find(bucket: &Bucket) -> Result<Self> {
        if !makes_again(bucket).await? || !makes_again(bucket).await? {
            return Ok(Self::Any);
        }
        register(bucket).await?;
        Ok(Self::ThisOne)
    }
}

/// Whether the probe was made, as far as the server says.
async fn makes_again(bucket: &Bucket) -> Result<bool> {
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
             each other's refs without knowing; \"{found}\" pushes here, and this is \"{name}\"",
            bucket.requests().place()
        ))
        .hint(format!(
            "push from there; or, if it never will again, push with FREESTONE_PUSHER=\"{found}\"; or use a server \
             that honours If-None-Match, as Amazon's, Ceph's and MinIO's do"
        )));
    }
    match bucket.put_new(LOCK, Bytes::from(format!("pusher: {name}\n"))).await? {
        Created::New | Created::Existed => Ok(()),
    }
}

/// The name of a machine that was given none.
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
