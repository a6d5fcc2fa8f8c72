//! Streams: the other end goes away, or is slow; workers fail or panic.

#![allow(clippy::unwrap_used, reason = "in a test, it fails the test")]

mod toy;

use freestone_core::{ChunkSource, ErrorKind, Id, Result, Watch};
use freestone_sink::{Control, Image, stream};
use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use toy::Toy;

const WORKERS: usize = 3;

fn control() -> Control<'static> {
    Control { workers: NonZeroUsize::new(WORKERS).unwrap(), ..Control::default() }
}

/// Returns what `act` returns, or fails if it hangs.
fn in_time<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || send.send(act()));
    receive.recv_timeout(Duration::from_secs(60)).expect("it does not hang")
}

fn content() -> Toy {
    toy::site(100, 8000, 40, 1 << 20)
}

#[test]
fn a_reader_that_goes_away_is_told_apart() {
    let error = in_time(|| {
        let (mut reader, mut writer) = io::pipe().unwrap();
        let reading = thread::spawn(move || reader.read_exact(&mut [0; 5000]).unwrap());
        let toy = content();
        let error = stream::write(&toy.image(), &mut writer, "pipe", &control()).unwrap_err();
        reading.join().unwrap();
        error
    });
    assert_eq!(error.kind(), ErrorKind::Failed);
    assert!(stream::is_closed(&error));
    assert_eq!(error.to_string(), "pipe: the reader closed it before the whole image was written");
}

#[test]
fn a_pipe_that_is_full_and_would_not_make_us_wait_is_written_to_later() {
    struct Often {
        written: Vec<u8>,
        calls: usize,
    }
    impl Write for Often {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.calls += 1;
            if self.calls.is_multiple_of(5) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.written.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let written = |calls| {
        in_time(move || {
            let mut out = Often { written: Vec::new(), calls };
            stream::write(&content().image(), &mut out, "pipe", &control()).unwrap();
            out.written
        })
    };
    let (one, other) = (written(0), written(3));
    assert!(one.len() > 1 << 20 && one == other);
}

#[test]
fn other_failures_are_storage() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    for digest in [false, true] {
        let control = Control { digest, ..control() };
        let write = move || stream::write(&content().image(), &mut Full, "tape", &control);
        let error = in_time(write).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Storage);
        assert!(!stream::is_closed(&error));
    }
}

#[test]
fn a_slow_reader_is_not_outrun() {
    struct Slow<'a>(&'a Toy, u64);
    impl Write for Slow<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.1 == 0 {
                let fetched = || self.0.fetched.load(Ordering::Relaxed);
                // On a busy machine, the other workers may wait.
                let deadline = Instant::now() + Duration::from_secs(60);
                while fetched() < 4 && Instant::now() < deadline {
                    thread::sleep(Duration::from_millis(5));
                }
                thread::sleep(Duration::from_millis(300));
                self.1 = fetched();
            }
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let toy = toy::site(0, 8000, 320, 16 << 10);
    let mut slow = Slow(&toy, 0);
    stream::write(&toy.image(), &mut slow, "slow", &control()).unwrap();
    // A window for each worker: four chunks, and the chunks that its ends cut.
    assert!(slow.1 >= 4 && slow.1 <= 5 * WORKERS as u64, "{} chunks ahead", slow.1);
}

#[test]
fn a_chunk_source_that_fails_ends_it() {
    for (after, digest) in [(0, false), (100, true), (120, false), (120, true)] {
        let control = Control { digest, ..control() };
        let (error, length) = in_time(move || {
            let mut toy = content();
            toy.fails_after = Some(after);
            let mut out = Vec::new();
            let error = stream::write(&toy.image(), &mut out, "out", &control).unwrap_err();
            (error, toy.bytes().starts_with(&out))
        });
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(length, "what was written is the image's beginning");
    }
}

#[test]
fn a_panic_in_a_worker_does_not_hang_the_others() {
    struct Panics(Toy);
    impl ChunkSource for Panics {
        fn chunk(&self, id: &Id, out: &mut [u8]) -> Result<()> {
            assert!(self.0.fetched.load(Ordering::Relaxed) < 110, "made to panic");
            self.0.chunk(id, out)
        }
    }
    let panicked = in_time(|| {
        let toy = Panics(content());
        let image = Image::new(&toy.0, &toy);
        let write = || stream::write(&image, &mut Vec::new(), "out", &control());
        catch_unwind(AssertUnwindSafe(write)).is_err()
    });
    assert!(panicked);
}

#[test]
fn cancelling_ends_it() {
    let (error, written) = in_time(|| {
        let cancel = AtomicBool::new(false);
        let progress = |_| cancel.store(true, Ordering::Relaxed);
        let control = Control { watch: Watch::new(&cancel, &progress), ..control() };
        let mut out = Vec::new();
        let error = stream::write(&content().image(), &mut out, "out", &control).unwrap_err();
        (error, out.len())
    });
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Failed, "interrupted"));
    assert!(written < 20 << 20, "{written} bytes were written");
}
