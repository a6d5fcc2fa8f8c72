//! Large objects, sent in parts.
//!
//! A pack is named by the hash of its table, which says all that readers need of it: whoever makes
//! an object of that name makes one that reads the same. So its name is looked for first, and
//! completing an upload needs no condition.

use crate::bucket::Bucket;
use crate::fault::Fault;
use crate::retry::FailedRequest;
use bytes::Bytes;
use freestone_core::{Error, Result};
use freestone_store::backend::Created;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::PutPayload;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Objects up to this length are sent in one request, longer ones in parts of this length (S3
/// wants at least 5 MiB of all but the last).
const PART_BYTES: u64 = 8 << 20;
/// Parts that an upload may have, by S3's rules.
const PARTS_MAX: u64 = 10_000;
/// Parts that are sent at once; each is held in memory.
const PARTS_AT_ONCE: usize = 4;

/// Makes the object `name` of the bytes of `file`, unless there is one.
pub(crate) async fn publish(bucket: &Bucket, file: &File, name: &str) -> Result<Created> {
    let failed = |error| Error::io(format!("cannot read back {name} before it is sent"), error);
    let length = file.metadata().map_err(failed)?.len();
    if bucket.length(name).await?.is_some() {
        return Ok(Created::Existed);
    }
    if length <= PART_BYTES {
        return bucket.put_new(name, read(file, 0, length).map_err(failed)?).await;
    }
    let path = bucket.path(name)?;
    let what = format!("write {name}");
    let upload = bucket.requests().make(&what, || bucket.s3.create_multipart(&path)).await?;
    let sent = send(bucket, file, &path, &upload, length, name).await;
    if sent.is_err() {
        // The server charges for parts until somebody clears them away; a bucket's rules can too.
        let _ = bucket.s3.abort_multipart(&path, &upload).await;
    }
    sent
}

async fn send(
    bucket: &Bucket,
    file: &File,
    path: &Path,
    upload: &String,
    length: u64,
    name: &str,
) -> Result<Created> {
    let what = format!("write {name}");
    let part_bytes = PART_BYTES.max(length.div_ceil(PARTS_MAX));
    let starts = (0..length).step_by(usize::try_from(part_bytes).unwrap_or(usize::MAX));
    let what = &what;
    let sends = starts.enumerate().map(|(number, start)| async move {
        let bytes = read(file, start, part_bytes.min(length - start)).map_err(|error| {
            Error::io(format!("cannot read back {name} before it is sent"), error)
        })?;
        let put = || bucket.s3.put_part(path, upload, number, PutPayload::from(bytes.clone()));
        bucket.requests().make(what, put).await
    });
    let parts: Vec<PartId> = stream::iter(sends).buffered(PARTS_AT_ONCE).try_collect().await?;
    let complete = || bucket.s3.complete_multipart(path, upload, parts.clone());
    match bucket.requests().attempt(complete).await {
        Ok(_) => Ok(Created::New),
        // An earlier try may have completed it, and its answer was lost.
        Err(FailedRequest { fault: Fault::NoUpload | Fault::Missing, .. })
            if bucket.length(name).await? == Some(length) =>
        {
            Ok(Created::New)
        }
        Err(failed) => Err(bucket.requests().error(what, failed)),
    }
}

fn read(file: &File, start: u64, length: u64) -> std::io::Result<Bytes> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut bytes, start)?;
    Ok(bytes.into())
}
