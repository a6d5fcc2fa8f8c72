//! Writing an image in order, to a pipe or another stream.
//!
//! The workers produce ahead, and each writes its piece when its turn comes.

use crate::control::Control;
use crate::image::Image;
use crate::piece::{Consumer, ImagePiece};
use crate::produce::produce;
use crate::report::SinkReport;
use crate::turns::Turns;
use freestone_core::{Error, ErrorKind, Result, Watch};
use std::fs::File;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::thread::sleep;
use std::time::Duration;

/// The largest size that Linux allows without privileges: both ends switch less often.
const PIPE_BYTES: usize = 1 << 20;
/// How long to wait for a full pipe that does not block.
const FULL: Duration = Duration::from_millis(2);

/// Writes `image` to `out`, which errors call `name`.
///
/// # Errors
/// - [`ErrorKind::Failed`] if it was cancelled, or the other end of a pipe was closed (see
///   [`is_closed`])
/// - [`ErrorKind::Storage`] if it cannot be written
/// - the errors of the plan and of the chunk source
pub fn write(
    image: &Image<'_>,
    out: &mut (dyn Write + Send),
    name: &str,
    control: &Control<'_>,
) -> Result<SinkReport> {
    let length = image.length()?;
    let consumer = Stream { out: Turns::new(out), name, watch: control.watch };
    let produced = produce(image, control, &consumer)?;
    consumer.out.into_inner().flush().map_err(|error| wrong(name, error))?;
    Ok(SinkReport {
        length,
        written: length,
        checked: produced.chunk_bytes,
        chunks: produced.chunks,
        chunk_bytes: produced.chunk_bytes,
        digests: produced.digests,
        ..SinkReport::default()
    })
}

/// Returns the standard output without the buffer of `std`.
///
/// # Errors
/// [`ErrorKind::Storage`] if it is closed.
pub fn stdout() -> Result<File> {
    let owned = io::stdout().as_fd().try_clone_to_owned();
    let file = File::from(owned.map_err(|error| wrong("standard output", error))?);
    // This fails if it is not a pipe, or if the user's pipes are too many already.
    let _ = rustix::pipe::fcntl_setpipe_size(&file, PIPE_BYTES);
    Ok(file)
}

/// Returns true if `error` says that the reader closed the stream.
pub fn is_closed(error: &Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref());
    cause.is_some_and(|cause: &io::Error| cause.kind() == io::ErrorKind::BrokenPipe)
}

fn wrong(name: &str, error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::BrokenPipe {
        let what = format!("{name}: the reader closed it before the whole image was written");
        return Error::new(ErrorKind::Failed, what).because(error);
    }
    Error::io(format!("{name}: cannot be written"), error)
}

struct Stream<'a> {
    out: Turns<&'a mut (dyn Write + Send)>,
    name: &'a str,
    watch: Watch<'a>,
}

impl Stream<'_> {
    /// Writes all bytes like `write_all`, but checks between writes whether the work was cancelled.
    fn write(&self, out: &mut dyn Write, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            match out.write(bytes) {
                Ok(0) => return Err(wrong(self.name, io::ErrorKind::WriteZero.into())),
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Another process that shares the description made it non-blocking, and may rely on
                // it.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(FULL),
                Err(error) => return Err(wrong(self.name, error)),
            }
            self.watch.check()?;
        }
        Ok(())
    }
}

impl Consumer for Stream<'_> {
    fn take(&self, piece: &ImagePiece) -> Result<ControlFlow<()>> {
        self.out.take(piece, |out| piece.bytes(|bytes| self.write(*out, bytes)))
    }

    fn stop(&self) {
        self.out.stop();
    }
}
