//! Reading an object by ranges, with few requests.
//!
//! Small objects come whole with the first request. The end of a large object is kept after its
//! first use, since the table of a pack is there. Everything else is read when it is needed.

use crate::retry::Requests;
use bytes::{Bytes, BytesMut};
use freestone_backend::Object;
use freestone_backend::pages::FilePages;
use freestone_core::wire::{self, to_usize};
use freestone_core::{Error, Result, lock};
use freestone_format::segment::check_header;
use futures_util::StreamExt;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, GetResult, ObjectStore};
use std::io::Write;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// Objects of at most this length are read whole.
pub(crate) const WHOLE_BYTES: u64 = 128 << 10;
/// The length of a large object's end that a small read near it fetches and keeps.
const TAIL_BYTES: u64 = 64 << 10;
/// The longest read that counts as small.
const SMALL_BYTES: usize = 4 << 10;
/// Bytes of one request when an object is fetched whole.
const PART_BYTES: u64 = 8 << 20;
/// Requests at the same time for one such object.
const PARTS_AT_ONCE: usize = 4;
/// Objects longer than this are fetched into a mapped file, not into memory.
const MEMORY_BYTES: u64 = 4 << 20;

/// Reads objects of one store.
pub(crate) struct ObjectReader {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) requests: Requests,
}

impl ObjectReader {
    /// Reads the body of an answer. A body that is cut off or too long is an error.
    async fn body(result: GetResult) -> object_store::Result<Bytes> {
        let length = to_usize(result.range.end - result.range.start);
        let mut stream = result.into_stream();
        // The server may claim any length, so it is not allocated at once.
        let mut body = BytesMut::with_capacity(length.min(1 << 20));
        while let Some(bytes) = stream.next().await {
            body.extend_from_slice(&bytes?);
            if body.len() > length {
                break;
            }
        }
        if body.len() == length {
            return Ok(body.freeze());
        }
        let source = format!("{} bytes arrived instead of {length}", body.len()).into();
        Err(object_store::Error::Generic { store: "freestone", source })
    }

    /// Reads the first bytes of an object, at most `max`. Returns them and the object's length;
    /// `None` if it does not exist.
    pub(crate) async fn start(
        &self,
        name: &str,
        path: &Path,
        max: u64,
    ) -> Result<Option<(Bytes, u64)>> {
        let request = || async {
            let options =
                GetOptions { range: Some(GetRange::Bounded(0..max)), ..GetOptions::default() };
            let result = match self.store.get_opts(path, options).await {
                // An empty object has no first byte.
                Err(error) if crate::fault::Fault::of(&error) == crate::fault::Fault::BeyondEnd => {
                    self.store.get_opts(path, GetOptions::default()).await?
                }
                result => result?,
            };
            let length = result.meta.size;
            Ok((Self::body(result).await?, length))
        };
        self.requests.find(&format!("read {name}"), request).await
    }

    /// Reads a range of an object. If a connection breaks, only the rest is requested again.
    pub(crate) async fn range(&self, name: &str, path: &Path, range: Range<u64>) -> Result<Bytes> {
        let length = to_usize(range.end - range.start);
        // The index may claim any length, so it is not allocated at once.
        let got = Mutex::new(BytesMut::with_capacity(length.min(1 << 20)));
        let request = || async {
            let start = range.start + lock(&got).len() as u64;
            let range = Some(GetRange::Bounded(start..range.end));
            let options = GetOptions { range, ..GetOptions::default() };
            let mut stream = self.store.get_opts(path, options).await?.into_stream();
            while let Some(bytes) = stream.next().await {
                let bytes = match bytes {
                    Ok(bytes) => bytes,
                    // The connection broke after the last byte: nothing is missing.
                    Err(_) if lock(&got).len() == length => break,
                    Err(error) => return Err(error),
                };
                let mut got = lock(&got);
                // What comes after the range was not asked for.
                if got.len() == length && !bytes.is_empty() {
                    break;
                }
                let wanted = (length - got.len()).min(bytes.len());
                got.extend_from_slice(&bytes[..wanted]);
            }
            Ok(())
        };
        let found = self.requests.find(&format!("read {name}"), request).await?;
        found.ok_or_else(|| {
            Error::not_found(format!("{name} is not in {}", self.requests.place()))
        })?;
        let got = got.into_inner().unwrap_or_else(PoisonError::into_inner);
        if got.len() == length {
            return Ok(got.freeze());
        }
        Err(Error::corrupt(format!("{name} ends before byte {}", range.end)))
    }

    /// Fills `out` with an object's bytes from `offset` on, by one request for exactly this range.
    pub(crate) fn fill(&self, name: &str, path: &Path, offset: u64, out: &mut [u8]) -> Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        let end = offset.checked_add(out.len() as u64);
        let end = end.ok_or_else(|| Error::corrupt(format!("{name} ends before byte {offset}")))?;
        out.copy_from_slice(&self.requests.run(self.range(name, path, offset..end))?);
        Ok(())
    }
}

/// An object that is read by requests.
pub(crate) struct RemoteObject {
    pub(crate) reader: Arc<ObjectReader>,
    pub(crate) name: String,
    pub(crate) path: Path,
    pub(crate) length: u64,
    /// The part that is kept in memory: its offset, and its bytes.
    pub(crate) kept: Mutex<Option<(u64, Bytes)>>,
}

impl RemoteObject {
    /// Fills `out` from the kept part. Returns false if that does not have all of it.
    fn fill_from_kept(&self, offset: u64, out: &mut [u8]) -> bool {
        let kept = lock(&self.kept);
        let Some((start, bytes)) = &*kept else { return false };
        let Some(at) = offset.checked_sub(*start).and_then(|at| usize::try_from(at).ok()) else {
            return false;
        };
        let Some(found) = bytes.get(at..).and_then(|rest| rest.get(..out.len())) else {
            return false;
        };
        out.copy_from_slice(found);
        true
    }

    /// Fills the beginning of `out` from the kept part. Returns the number of bytes filled.
    fn begin_from_kept(&self, offset: u64, out: &mut [u8]) -> usize {
        match &*lock(&self.kept) {
            Some((start, bytes)) if *start == offset && bytes.len() < out.len() => {
                out[..bytes.len()].copy_from_slice(bytes);
                bytes.len()
            }
            _ => 0,
        }
    }

    /// Replaces the kept part.
    fn keep(&self, start: u64, bytes: Bytes) {
        *lock(&self.kept) = Some((start, bytes));
    }

    /// Fetches a range, and waits for it.
    fn fetch(&self, range: Range<u64>) -> Result<Bytes> {
        let reader = &self.reader;
        reader.requests.run(reader.range(&self.name, &self.path, range))
    }

    /// Fetches the whole object, several parts at the same time. Passes each to `take` with its
    /// offset.
    fn fetch_all(&self, mut take: impl FnMut(u64, &Bytes) -> Result<()>) -> Result<()> {
        let parts = (0..self.length).step_by(to_usize(PART_BYTES));
        let fetches = parts.map(|start| {
            let end = self.length.min(start + PART_BYTES);
            async move {
                Ok::<_, Error>((
                    start,
                    self.reader.range(&self.name, &self.path, start..end).await?,
                ))
            }
        });
        let mut fetches = futures_util::stream::iter(fetches).buffer_unordered(PARTS_AT_ONCE);
        self.reader.requests.run(async {
            while let Some(fetched) = fetches.next().await {
                let (start, bytes) = fetched?;
                take(start, &bytes)?;
            }
            Ok(())
        })
    }

    /// Checks that the object can have the length that the server, or a hint, names, if it is an
    /// index segment: its header determines its length. So a wrong length costs one small request
    /// and no disk.
    fn check_length(&self) -> Result<()> {
        match self.name.starts_with("index/") {
            true => check_header(&self.fetch(0..self.length.min(WHOLE_BYTES))?, self.length)
                .map_err(|error| error.context(&self.name)),
            false => Ok(()),
        }
    }

    /// Fetches the whole object into a temporary file.
    fn map_file(&self) -> Result<wire::Bytes> {
        self.check_length()?;
        let failed =
            |error| Error::io(format!("cannot write {} to a temporary file", self.name), error);
        let file = tempfile::tempfile().map_err(failed)?;
        self.fetch_all(|start, bytes| {
            std::os::unix::fs::FileExt::write_all_at(&file, bytes, start).map_err(failed)
        })?;
        (&file).flush().map_err(failed)?;
        let path = format!("the temporary file of {}", self.name).into();
        Ok(Arc::new(FilePages::new(file, path, self.length)))
    }
}

impl Object for RemoteObject {
    fn length(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let end = offset.checked_add(out.len() as u64).filter(|end| *end <= self.length);
        let Some(end) = end else {
            let end = offset.saturating_add(out.len() as u64);
            return Err(Error::corrupt(format!("{} ends before byte {end}", self.name)));
        };
        if out.is_empty() || self.fill_from_kept(offset, out) {
            return Ok(());
        }
        if self.length <= WHOLE_BYTES {
            self.keep(0, self.fetch(0..self.length)?);
        } else if out.len() <= SMALL_BYTES && offset >= self.length - TAIL_BYTES {
            let start = self.length - TAIL_BYTES;
            self.keep(start, self.fetch(start..self.length)?);
        }
        if self.fill_from_kept(offset, out) {
            return Ok(());
        }
        // The bytes that came with the request that opened the object are not requested again.
        let begun = self.begin_from_kept(offset, out);
        out[begun..].copy_from_slice(&self.fetch(offset + begun as u64..end)?);
        Ok(())
    }

    fn refute(&self, _: u64, _: u64) -> bool {
        *lock(&self.kept) = None;
        true
    }

    fn map(&self) -> Result<wire::Bytes> {
        if self.length == 0 {
            return Ok(Arc::new(Vec::new()));
        }
        let kept = lock(&self.kept).clone();
        if let Some((0, bytes)) = kept
            && bytes.len() as u64 == self.length
        {
            return Ok(Arc::new(bytes));
        }
        if self.length > MEMORY_BYTES {
            return self.map_file();
        }
        Ok(Arc::new(self.fetch(0..self.length)?))
    }
}
