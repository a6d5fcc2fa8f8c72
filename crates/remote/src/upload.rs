//! Uploads of large objects, in parts.
//!
//! A pack is named by the hash of its table, which holds all that readers need: two packs of one
//! name read the same. So an upload first checks whether the name exists, and needs no condition
//! when it is completed.

use crate::bucket::Bucket;
use crate::fault::Fault;
use crate::retry::FailedRequest;
use bytes::Bytes;
use freestone_backend::Created;
use freestone_core::wire::to_usize;
use freestone_core::{Error, Result};
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::PutPayload;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Objects up to this length are sent in one request, longer ones in parts of this length (S3
/// wants at least 5 MiB of all but the last).
const PART_BYTES: u64 = 8 << 20;
/// The most parts that S3 allows for an upload.
const PARTS_MAX: u64 = 10_000;
/// Parts that are sent at once; each is held in memory.
const PARTS_AT_ONCE: usize = 4;

/// Uploads `file` as the object `name`, unless it exists.
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
        // The server charges for parts until they are removed. If this fails too, the rules of the
        // bucket can remove them.
        let _ = bucket.s3.abort_multipart(&path, &upload).await;
    }
    sent
}

/// Sends all parts of `file`, several at the same time, and completes the upload.
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
    let starts = (0..length).step_by(to_usize(part_bytes));
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
        // An earlier attempt may have completed the upload, and its answer was lost.
        Err(FailedRequest { fault: Fault::NoUpload | Fault::Missing, .. })
            if bucket.length(name).await? == Some(length) =>
        {
            Ok(Created::New)
        }
        Err(failed) => Err(bucket.requests().error(what, failed)),
    }
}

/// Reads a range of `file`.
fn read(file: &File, start: u64, length: u64) -> std::io::Result<Bytes> {
    let mut bytes = vec![0; to_usize(length)];
    file.read_exact_at(&mut bytes, start)?;
    Ok(bytes.into())
}
