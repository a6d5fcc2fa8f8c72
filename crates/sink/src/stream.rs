//! Writing an image in order, to a pipe or whatever else takes bytes.
//!
//! The workers produce ahead; each writes its own piece when its turn comes.

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

/// What Linux lets anybody ask for: fewer switches between the two ends.
const PIPE_BYTES: usize = 1 << 20;
/// How long a pipe that is full, and would not make us wait, is left alone.
const FULL: Duration = Duration::from_millis(2);

/// Writes `image` to `out`, which errors call `name`.
///
/// # Errors
/// - [`ErrorKind::Failed`] if it was cancelled, or the other end of a pipe was closed
///   ([`is_closed`] tells)
/// - [`ErrorKind::Storage`] if it cannot be written
/// - what the plan and the chunk source return
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

/// The standard output without the buffer that `std` puts before it.
///
/// # Errors
/// [`ErrorKind::Storage`] if it is closed.
pub fn stdout() -> Result<File> {
    let owned = io::stdout().as_fd().try_clone_to_owned();
    let file = File::from(owned.map_err(|error| wrong("standard output", error))?);
    // It may be no pipe, or the user's pipes may be too many already.
    let _ = rustix::pipe::fcntl_setpipe_size(&file, PIPE_BYTES);
    Ok(file)
}

/// Whether `error` says that whoever read the stream wants no more of it.
pub fn is_closed(error: &Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref());
    cause.is_some_and(|cause: &io::Error| cause.kind() == io::ErrorKind::BrokenPipe)
}

fn wrong(name: &str, error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::BrokenPipe {
        let what = format!("{name}: closed before the whole image was written");
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
    /// `write_all`, but that a signal is a moment to look whether all this is still wanted.
    fn write(&self, out: &mut dyn Write, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            match out.write(bytes) {
                Ok(0) => return Err(wrong(self.name, io::ErrorKind::WriteZero.into())),
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Whoever shares the description with us has made it so; it is not ours to change.
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
