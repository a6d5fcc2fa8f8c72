//! Writing an image to a block device, in place.
//!
//! ```text
//! 1  the plan's *unfinished* head                             sync each part
//! 2  everything from 4096 to the image's end, zeros too       sync
//! 3  the image's own head                                     sync each part
//! ```
//! So at any moment sector 0 is that of the old image, or says *unfinished*, or is that of the new
//! image; see `crate::head`. A guest that starts meanwhile fails. To repair a device after an
//! interrupted write, write it again.
//!
//! The device is opened exclusively, which keeps out file systems and other exclusive users, and is
//! locked while it is written, which keeps out QEMU. The lock of a running QEMU keeps out
//! freestone.
//!
//! The bytes after the image's end stay as they are. Every image ends with zeros at which its
//! readers stop.

mod blank;

use crate::control::Control;
use crate::head::{HEAD_BYTES, KeptHead, put_finished, put_unfinished};
use crate::image::Image;
use crate::overwrite::Overwrite;
use crate::piece::{Consumer, ImagePiece, PieceRun};
use crate::produce::produce;
use crate::report::SinkReport;
use crate::writeback;
use crate::zeros::each_zeros;
use freestone_core::limits::BLOCK_BYTES;
use freestone_core::{Error, Plan, Result};
use rustix::fs::{FallocateFlags, FlockOperation, OFlags, fallocate, fcntl_lock, ioctl_blksszget};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::ops::{ControlFlow, Range};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Writes `image` to the block device `path`. From the first write to the last, the device says
/// that it is unfinished.
///
/// # Errors
/// - [`Refused`](freestone_core::ErrorKind::Refused) if it is not a block device, in use, too
///   short, or may not be overwritten. Nothing was written then.
/// - [`Storage`](freestone_core::ErrorKind::Storage) if it cannot be opened or written
/// - [`Failed`](freestone_core::ErrorKind::Failed) if it was cancelled
/// - the errors of the plan and of the chunk source
pub fn write(
    image: &Image<'_>,
    path: &Path,
    overwrite: &Overwrite,
    control: &Control<'_>,
) -> Result<SinkReport> {
    let length = image.length()?;
    let mut unfinished = image.plan.unfinished_head();
    unfinished.resize(HEAD_BYTES, 0);
    let device = open(path, Fit::of(image.plan), overwrite)?;
    control.watch.check()?;
    let wrong = |error| wrong(path, error);
    let put = |offset, bytes: &[u8]| {
        device.write_all_at(bytes, offset).and_then(|()| device.sync_data()).map_err(wrong)
    };
    put_unfinished(&unfinished, put)?;
    let consumer = InPlace {
        device: &device,
        path,
        head: KeptHead::new(),
        zeroes: AtomicBool::new(true),
        zeroed: AtomicU64::new(0),
    };
    let produced = produce(image, control, &consumer)?;
    control.watch.check()?;
    device.sync_data().map_err(wrong)?;
    put_finished(&consumer.head.into_inner(), put)?;
    let zeros = consumer.zeroed.into_inner();
    Ok(SinkReport {
        length,
        written: length - zeros,
        zeros,
        checked: produced.chunk_bytes,
        chunks: produced.chunks,
        chunk_bytes: produced.chunk_bytes,
        digests: produced.digests,
        ..SinkReport::default()
    })
}

/// The properties of an image that a device must suit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fit {
    /// The image's length in bytes; 0 if it is not known yet.
    pub length: u64,
    /// The bytes of the image's sectors, if it has some: see [`Plan::sector_bytes`].
    pub sector_bytes: Option<u32>,
}

impl Fit {
    /// Returns the properties of the image of `plan`.
    pub fn of(plan: &dyn Plan) -> Self {
        Self { length: plan.length(), sector_bytes: plan.sector_bytes() }
    }

    /// Checks that a device with sectors of `device` bytes can be read as the image.
    ///
    /// # Errors
    /// [`Refused`](freestone_core::ErrorKind::Refused) if the image's sectors are smaller: the
    /// kernel does not mount it, and firmware looks for its parts at other places.
    fn sectors(self, path: &Path, device: u32) -> Result<()> {
        let Some(image) = self.sector_bytes.filter(|image| *image < device) else { return Ok(()) };
        let name = path.display();
        let what = format!(
            "{name}: has sectors of {device} bytes, and the image is for sectors of {image} bytes"
        );
        Err(Error::refused(what).hint(match device {
            4096 => "--block-size 4096 makes an image for such a device".into(),
            _ => format!("write it to a device with sectors of {image} bytes, or make a tar image"),
        }))
    }
}

/// Opens the device `path` if an image with these properties may be written to it.
pub(crate) fn open(path: &Path, fit: Fit, overwrite: &Overwrite) -> Result<File> {
    let name = path.display();
    let in_use = || {
        Error::refused(format!("{name}: in use"))
            .hint("unmount it, or stop the guest or whatever else has it open")
    };
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlags::EXCL.bits().cast_signed())
        .open(path);
    let mut device = match opened {
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => return Err(in_use()),
        opened => opened
            .map_err(|error| Error::io(format!("{name}: cannot be opened for writing"), error))?,
    };
    let wrong = |error| wrong(path, error);
    if !device.metadata().map_err(wrong)?.file_type().is_block_device() {
        return Err(Error::refused(format!("{name}: not a block device")));
    }
    match fcntl_lock(&device, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::AGAIN | Errno::ACCESS) => return Err(in_use()),
        locked => locked.map_err(|errno| wrong(errno.into()))?,
    }
    let size = device.seek(SeekFrom::End(0)).map_err(wrong)?;
    fit.sectors(path, ioctl_blksszget(&device).map_err(|errno| wrong(errno.into()))?)?;
    if size < fit.length.max(HEAD_BYTES as u64) {
        let what = format!("{name}: has {size} bytes, and the image needs {}", fit.length);
        return Err(Error::refused(what).hint("name a larger device"));
    }
    if !overwrite.force && !may_overwrite(&device, size, overwrite).map_err(wrong)? {
        let what = format!("{name}: holds something other than a freestone image");
        return Err(
            Error::refused(what).hint("check that it is the right device; --force overwrites it")
        );
    }
    Ok(device)
}

fn may_overwrite(device: &File, size: u64, overwrite: &Overwrite) -> io::Result<bool> {
    let mut head = [0; HEAD_BYTES];
    device.read_exact_at(&mut head, 0)?;
    Ok((overwrite.is_ours)(&head) || blank::is_blank(device, size)?)
}

fn wrong(path: &Path, error: io::Error) -> Error {
    Error::io(format!("{}: reading or writing the device failed", path.display()), error)
}

/// Writes each piece at its offset, but keeps the first 4096 bytes in memory.
struct InPlace<'a> {
    device: &'a File,
    path: &'a Path,
    head: KeptHead,
    /// Whether the device can zero a range by a command.
    zeroes: AtomicBool,
    zeroed: AtomicU64,
}

impl InPlace<'_> {
    fn data(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let kept = self.head.keep(offset, bytes);
        self.device.write_all_at(&bytes[kept..], offset + kept as u64)
    }

    /// Zeros `length` bytes. The kept head needs none, because it starts as zeros.
    fn zeros(&self, offset: u64, length: u64) -> io::Result<()> {
        let (start, end) = (offset.max(HEAD_BYTES as u64), offset + length);
        let middle = start.next_multiple_of(BLOCK_BYTES)..end - end % BLOCK_BYTES;
        if middle.is_empty() || !self.zero_range(middle.start, middle.end - middle.start)? {
            return self.plain_zeros(start..end);
        }
        self.plain_zeros(start..middle.start)?;
        self.plain_zeros(middle.end..end)
    }

    /// Zeros a range of whole blocks by a command. Returns false if the device does not know it.
    fn zero_range(&self, offset: u64, length: u64) -> io::Result<bool> {
        if !self.zeroes.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let flags = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
        match fallocate(self.device, flags, offset, length) {
            Ok(()) => {
                self.zeroed.fetch_add(length, Ordering::Relaxed);
                Ok(true)
            }
            Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NODEV | Errno::NOSYS) => {
                self.zeroes.store(false, Ordering::Relaxed);
                Ok(false)
            }
            Err(errno) => Err(errno.into()),
        }
    }

    fn plain_zeros(&self, range: Range<u64>) -> io::Result<()> {
        each_zeros(range, |offset, zeros| self.device.write_all_at(zeros, offset))
    }
}

impl Consumer for InPlace<'_> {
    fn take(&self, piece: &ImagePiece) -> Result<ControlFlow<()>> {
        for (offset, run) in piece.runs() {
            match run {
                PieceRun::Data(bytes) => self.data(offset, bytes),
                PieceRun::Zeros(length) => self.zeros(offset, length),
                PieceRun::Done => Ok(()),
            }
            .map_err(|error| wrong(self.path, error))?;
        }
        writeback::start(self.device, piece.offset, piece.length);
        Ok(ControlFlow::Continue(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use freestone_core::wire::to_usize;

    #[test]
    fn a_device_that_cannot_zero_is_written_zeros_to() {
        const LENGTH: u64 = 1 << 20;
        for zeroes in [true, false] {
            for range in [(0, LENGTH), (1, 4095), (511, 5000), (5000, 300_000), (4096, 65536)] {
                let file = tempfile::tempfile().unwrap();
                file.write_all_at(&vec![0xaa; to_usize(LENGTH)], 0).unwrap();
                let device = InPlace {
                    device: &file,
                    path: Path::new("device"),
                    head: KeptHead::new(),
                    zeroes: AtomicBool::new(zeroes),
                    zeroed: AtomicU64::new(0),
                };
                let (offset, length) = range;
                device.zeros(offset, length).unwrap();
                let mut bytes = vec![0; to_usize(LENGTH)];
                file.read_exact_at(&mut bytes, 0).unwrap();
                for (at, byte) in bytes.into_iter().enumerate() {
                    let zero = at >= HEAD_BYTES && (offset..offset + length).contains(&(at as u64));
                    assert_eq!(byte == 0, zero, "{at} of {range:?}");
                }
                assert!(zeroes || device.zeroed.into_inner() == 0);
            }
        }
    }
}
