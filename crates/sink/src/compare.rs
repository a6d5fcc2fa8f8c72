//! Whether a file or device holds an image.

use crate::control::Control;
use crate::holes::next_data;
use crate::image::Image;
use crate::piece::{Consumer, ImagePiece, PieceRun};
use crate::produce::produce;
use crate::zeros::ZEROS;
use freestone_core::wire::to_usize;
use freestone_core::{Error, Result};
use rustix::fs::{Advice, fadvise};
use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where something differs from an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The first byte that is not the image's, or the shorter one's length.
    pub offset: u64,
    /// The length of what was compared.
    pub length: u64,
}

/// The first difference between `image` and the file or device `path`. A device may be longer
/// than the image.
///
/// # Errors
/// - [`Refused`](freestone_core::ErrorKind::Refused) if `path` is neither file nor device
/// - [`Storage`](freestone_core::ErrorKind::Storage) if it cannot be read
/// - [`Failed`](freestone_core::ErrorKind::Failed) if it was cancelled
/// - what the plan and the chunk source return
pub fn compare(
    image: &Image<'_>,
    path: &Path,
    control: &Control<'_>,
) -> Result<Option<Difference>> {
    let wrong = |error| wrong(path, error);
    let kind = fs::metadata(path).map_err(wrong)?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        let what = format!("{}: neither a regular file nor a block device", path.display());
        return Err(Error::refused(what));
    }
    let mut file = File::open(path).map_err(wrong)?;
    let length = file.seek(SeekFrom::End(0)).map_err(wrong)?;
    let image_length = image.length()?;
    // Where the shorter one ends, they differ, if they do not before.
    let differs = if kind.is_file() { length != image_length } else { length < image_length };
    let end = if differs { length.min(image_length) } else { u64::MAX };
    let against = Against { file: &file, path, first: AtomicU64::new(end) };
    produce(image, &Control { digest: false, ..*control }, &against)?;
    let offset = against.first.into_inner();
    Ok((offset != u64::MAX).then_some(Difference { offset, length }))
}

/// [`compare()`], but of what the medium holds: pages that the system keeps in memory are given up
/// first, as far as nobody else uses them.
///
/// # Errors
/// As [`compare()`].
pub fn read_back(
    image: &Image<'_>,
    path: &Path,
    control: &Control<'_>,
) -> Result<Option<Difference>> {
    let file = File::open(path).map_err(|error| wrong(path, error))?;
    fadvise(&file, 0, None, Advice::DontNeed).map_err(|errno| wrong(path, errno.into()))?;
    compare(image, path, control)
}

fn wrong(path: &Path, error: io::Error) -> Error {
    Error::io(format!("{}: cannot be read", path.display()), error)
}

struct Against<'a> {
    file: &'a File,
    path: &'a Path,
    /// The first difference that was found, or else the shorter length if they differ.
    first: AtomicU64,
}

impl Against<'_> {
    /// Where the first difference from `run` is, which has its place at `offset`.
    fn differs(
        &self,
        offset: u64,
        run: &PieceRun<'_>,
        read: &mut Vec<u8>,
    ) -> io::Result<Option<u64>> {
        let length = match run {
            PieceRun::Data(bytes) => bytes.len() as u64,
            PieceRun::Zeros(length) => *length,
            PieceRun::Done => return Ok(None),
        };
        let end = (offset + length).min(self.first.load(Ordering::Relaxed));
        let mut at = offset;
        while at < end {
            if matches!(run, PieceRun::Zeros(_)) {
                at = next_data(self.file, at).min(end);
            }
            let part = to_usize(end - at).min(ZEROS.len());
            read.resize(part, 0);
            self.file.read_exact_at(read, at)?;
            let expected = match run {
                PieceRun::Data(bytes) => &bytes[to_usize(at - offset)..][..part],
                PieceRun::Zeros(_) | PieceRun::Done => &ZEROS[..part],
            };
            if read.as_slice() != expected {
                let same = read.iter().zip(expected).take_while(|(a, b)| a == b).count();
                return Ok(Some(at + same as u64));
            }
            at += part as u64;
        }
        Ok(None)
    }
}

impl Consumer for Against<'_> {
    fn take(&self, piece: &ImagePiece) -> Result<ControlFlow<()>> {
        let mut read = Vec::new();
        for (offset, run) in piece.runs() {
            let differs = self.differs(offset, &run, &mut read);
            if let Some(offset) = differs.map_err(|error| wrong(self.path, error))? {
                self.first.fetch_min(offset, Ordering::Relaxed);
                break;
            }
        }
        let end = piece.offset + piece.length;
        if self.first.load(Ordering::Relaxed) <= end {
            return Ok(ControlFlow::Break(()));
        }
        Ok(ControlFlow::Continue(()))
    }
}
