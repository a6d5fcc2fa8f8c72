//! Writing an image to a regular file.
//!
//! The image is written to a new file beside the target, synced, and renamed over the target,
//! whose directory is synced then. So whoever opens the target sees the old image or the new one,
//! whole, and who has the old one open keeps it: a guest that runs from it is not disturbed, which
//! is why the locks that QEMU holds on an image are not asked here. Killed or failing, the target
//! is untouched.
//!
//! Where the image's chunks lie as they are in files of the same file system, and it can let files
//! share blocks, the target shares them: see `crate::sharing`.
//!
//! Blocks of zeros are holes: the file takes no more room than its data. A target that existed
//! keeps its mode, and its owner where that is allowed; its access lists and extended attributes
//! go with it, and other hard links to it keep the old content.

mod temporary;

use crate::control::Control;
use crate::faults::storage;
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
use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, fchown};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use temporary::Temporary;

/// Writes `image` to the regular file `path`, which need not exist. Links must be resolved:
/// [`Target::find`](crate::Target::find) does.
///
/// # Errors
/// - [`Refused`](freestone_core::ErrorKind::Refused) if the file exists and may not be overwritten
/// - [`Storage`](freestone_core::ErrorKind::Storage) if it cannot be written, or there is no room
/// - [`Failed`](freestone_core::ErrorKind::Failed) if it was cancelled
/// - what the plan and the chunk source return
pub fn write(
    image: &Image<'_>,
    path: &Path,
    overwrite: &Overwrite,
    control: &Control<'_>,
) -> Result<SinkReport> {
    let length = image.length()?;
    let old = check(path, overwrite)?;
    // Until it has its owner, nobody else shall read what the old file kept to itself.
    let mode = if old.is_some() { 0o600 } else { 0o666 };
    let temporary = Temporary::beside(path, mode)
        .map_err(|error| storage(path, "a file beside it cannot be made", error))?;
    temporary.file.set_len(length).map_err(|error| storage(path, "cannot be written", error))?;
    let consumer = Sparse {
        file: &temporary.file,
        path,
        written: AtomicU64::new(0),
        cloning: image.raw.map(|_| Cloning::new(&temporary.file)),
    };
    let produced = produce(image, control, &consumer)?;
    let (shared, copied) = consumer.cloning.as_ref().map_or((0, 0), Cloning::sums);
    let written = consumer.written.into_inner() + copied;
    if let Some(old) = old {
        inherit(&temporary.file, &old).map_err(|error| storage(path, "its mode", error))?;
    }
    control.watch.check()?;
    temporary.persist(path)?;
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

/// What stands at `path`, if it may be overwritten.
pub(crate) fn check(path: &Path, overwrite: &Overwrite) -> Result<Option<Metadata>> {
    let wrong = |error| storage(path, "cannot be looked at", error);
    let old = match fs::symlink_metadata(path) {
        Ok(old) => old,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(error)),
    };
    if !old.is_file() {
        return Err(Error::refused(format!("{}: not a regular file", path.display())));
    }
    if overwrite.force || old.len() == 0 {
        return Ok(Some(old));
    }
    let mut head = [0; HEAD_BYTES];
    let ours = old.len() >= HEAD_BYTES as u64 && {
        File::open(path).and_then(|file| file.read_exact_at(&mut head, 0)).map_err(wrong)?;
        (overwrite.is_ours)(&head)
    };
    if !ours {
        let what = format!("{}: exists and is not an image of freestone's", path.display());
        return Err(Error::refused(what).hint("name another file, or say --force to replace it"));
    }
    Ok(Some(old))
}

/// Gives `file` the owner of `old`, where we may, and its mode.
fn inherit(file: &File, old: &Metadata) -> io::Result<()> {
    let new = file.metadata()?;
    if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
        // Who may not give files away cannot have done so before either: it becomes ours.
        let _ = fchown(file, Some(old.uid()), Some(old.gid()));
    }
    file.set_permissions(Permissions::from_mode(old.mode() & 0o7777))
}

/// Writes the pieces, without their blocks of zeros, to an empty file.
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

/// Gives `each` the stretches of `bytes`, which start at `offset` of a file, that are not blocks
/// of zeros. Of a block that `bytes` has only a part of, that part counts.
fn data(
    offset: u64,
    bytes: &[u8],
    mut each: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    // Where the stretch starts that is being looked at, and where the block does.
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
