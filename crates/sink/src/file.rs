//! Writing an image to a regular file.
//!
//! The image is written to a new file next to the target, synced, and renamed over the target; then
//! the directory is synced. So everybody who opens the target sees the whole old image or the whole
//! new one. A guest that runs from the old file keeps it and is not disturbed; therefore the locks
//! that QEMU holds on an image are not checked here. If the write fails or is killed, the target is
//! unchanged.
//!
//! Where the image's chunks are stored raw in files of the same file system, and it can share
//! blocks between files, the target shares them: see `crate::sharing`.
//!
//! Blocks of zeros become holes, so the file takes no more space than its data. A target that
//! existed keeps its mode, and its owner where that is allowed. Its access lists and extended
//! attributes are lost, and other hard links to it keep the old content.

mod temporary;

use crate::control::Control;
use crate::faults::storage;
use crate::file_target::FileTarget;
use crate::head::HEAD_BYTES;
use crate::image::Image;
use crate::overwrite::Overwrite;
use crate::piece::{Consumer, ImagePiece, PieceRun};
use crate::produce::produce;
use crate::report::SinkReport;
use crate::sharing::{Cloning, Shares};
use crate::writeback;
use crate::zeros::are_zeros;
use freestone_core::limits::BLOCK_BYTES;
use freestone_core::wire::to_usize;
use freestone_core::{Error, Result};
use rustix::fs::{FileType, Stat};
use std::fs::{File, Permissions};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, fchown};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use temporary::Temporary;

/// Writes `image` to the regular file `target`, which need not exist and is found by
/// [`Target::find`](crate::Target::find).
///
/// # Errors
/// - [`Refused`](freestone_core::ErrorKind::Refused) if the file exists and may not be overwritten
/// - [`Storage`](freestone_core::ErrorKind::Storage) if it cannot be written, or there is not
///   enough space
/// - [`Failed`](freestone_core::ErrorKind::Failed) if it was cancelled
/// - the errors of the plan and of the chunk source
pub fn write(
    image: &Image<'_>,
    target: &FileTarget,
    overwrite: &Overwrite,
    control: &Control<'_>,
) -> Result<SinkReport> {
    let length = image.length()?;
    let old = check(target, overwrite)?;
    let path = target.path();
    // The new file is private until it has its owner: the old one may have been private, too.
    let mode = if old.is_some() { 0o600 } else { 0o666 };
    let temporary = Temporary::beside(target, mode)
        .map_err(|error| storage(path, "cannot create a new file next to it", error))?;
    temporary.file.set_len(length).map_err(|error| storage(path, "cannot be written", error))?;
    let consumer = Sparse {
        file: &temporary.file,
        path,
        written: AtomicU64::new(0),
        cloning: image.raw.map(|_| Cloning::new(&temporary.file, path)),
    };
    let produced = produce(image, control, &consumer)?;
    let (shared, copied) = consumer.cloning.as_ref().map_or((0, 0), Cloning::sums);
    let written = consumer.written.into_inner() + copied;
    if let Some(old) = old {
        inherit(&temporary.file, &old)
            .map_err(|error| storage(path, "its mode cannot be set", error))?;
    }
    control.watch.check()?;
    temporary.persist(target)?;
    Ok(SinkReport {
        length,
        written,
        zeros: length - written - shared,
        shared,
        checked: produced.chunk_bytes + produced.proved,
        chunks: produced.chunks,
        chunk_bytes: produced.chunk_bytes,
        digests: produced.digests,
        ..SinkReport::default()
    })
}

/// Returns what is known of the file `target`, if there is one, and checks that it may be
/// overwritten.
pub(crate) fn check(target: &FileTarget, overwrite: &Overwrite) -> Result<Option<Stat>> {
    let path = target.path();
    let wrong = |error| storage(path, "cannot be inspected", error);
    let old = match target.folder().stat(target.name()) {
        Ok(old) => old,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(error)),
    };
    if FileType::from_raw_mode(old.st_mode) != FileType::RegularFile {
        return Err(Error::refused(format!("{}: not a regular file", path.display())));
    }
    if overwrite.force || old.st_size == 0 {
        return Ok(Some(old));
    }
    let mut head = [0; HEAD_BYTES];
    let ours = length_of(&old) >= HEAD_BYTES as u64 && {
        let file = target.folder().read_file(target.name());
        file.and_then(|file| file.read_exact_at(&mut head, 0)).map_err(wrong)?;
        (overwrite.is_ours)(&head)
    };
    if !ours {
        let what = format!("{}: exists and is not a freestone image", path.display());
        return Err(Error::refused(what).hint("name another file, or give --force to replace it"));
    }
    Ok(Some(old))
}

/// Returns the length of a file in bytes.
pub(crate) fn length_of(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// Gives `file` the mode of `old`, and its owner where this is allowed.
fn inherit(file: &File, old: &Stat) -> io::Result<()> {
    let new = file.metadata()?;
    if (new.uid(), new.gid()) != (old.st_uid, old.st_gid) {
        // A process that may not change the owner leaves the file to itself.
        let _ = fchown(file, Some(old.st_uid), Some(old.st_gid));
    }
    file.set_permissions(Permissions::from_mode(old.st_mode & 0o7777))
}

/// Writes the pieces to an empty file, and leaves holes for blocks of zeros.
struct Sparse<'a> {
    file: &'a File,
    path: &'a Path,
    written: AtomicU64,
    cloning: Option<Cloning<'a>>,
}

impl Consumer for Sparse<'_> {
    fn shares(&self) -> Option<&dyn Shares> {
        self.cloning.as_ref().map(|cloning| cloning as &dyn Shares)
    }

    fn take(&self, piece: &ImagePiece) -> Result<ControlFlow<()>> {
        let mut written = 0;
        for (start, run) in piece.runs() {
            let PieceRun::Data(bytes) = run else { continue };
            data(start, bytes, |offset, bytes| {
                written += bytes.len() as u64;
                self.file.write_all_at(bytes, offset)
            })
            .map_err(|error| storage(self.path, "cannot be written", error))?;
        }
        writeback::start(self.file, piece.offset, piece.length);
        self.written.fetch_add(written, Ordering::Relaxed);
        Ok(ControlFlow::Continue(()))
    }
}

/// Calls `each` for the runs of `bytes`, which begin at `offset` of a file, that are not blocks of
/// zeros. A block of which `bytes` has only a part counts by that part.
fn data(
    offset: u64,
    bytes: &[u8],
    mut each: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    // Where the current run starts, and where the current block does.
    let (mut start, mut block) = (0, 0);
    while block < bytes.len() {
        let at = offset + block as u64;
        let end = bytes.len().min(block + to_usize(BLOCK_BYTES - at % BLOCK_BYTES));
        if are_zeros(&bytes[block..end]) {
            if start < block {
                each(offset + start as u64, &bytes[start..block])?;
            }
            start = end;
        }
        block = end;
    }
    if start < bytes.len() {
        each(offset + start as u64, &bytes[start..])?;
    }
    Ok(())
}
