//! Measures the sinks against `cp`: `cargo run --release --example measure -- DIRECTORY [DEVICE]`.
//! The device is overwritten.
//!
//! The image is that of a site: 630 MB, 35,000 small files and large ones, its chunks in memory.

#[path = "../tests/toy/mod.rs"]
mod toy;

use freestone_sink::{Control, Overwrite, device, digest, read_back, stream};
use std::error::Error;
use std::fs::{self, File};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

const ROUNDS: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args().nth(1).ok_or("which directory?")?;
    let device = std::env::args().nth(2).map(PathBuf::from);
    let directory = Path::new(&directory);
    let (target, copy) = (directory.join("sink.img"), directory.join("cp.img"));
    let toy = toy::site(35_000, 8000, 340, 1 << 20);
    let image = toy.image();
    let workers = std::env::var("WORKERS").ok().and_then(|count| count.parse().ok());
    let mut control = Control::default();
    control.workers = workers.and_then(NonZeroUsize::new).unwrap_or(control.workers);
    let overwrite = Overwrite { force: true, is_ours: |_| false };
    let write = || freestone_sink::write(&image, &target, &overwrite, &control);
    println!("{:?} with {} workers", write()?, control.workers);
    for _ in 0..ROUNDS {
        fs::remove_file(&target)?;
        time("file", || Ok(write().map(drop)?))?;
        time("cp, sync", || {
            let mut cp = Command::new("cp");
            let status = cp.arg("--reflink=never").arg(&target).arg(&copy).status()?;
            assert!(status.success());
            Ok(File::open(&copy)?.sync_all()?)
        })?;
        fs::remove_file(&copy)?;
        time("digest", || Ok(digest(&image, &control).map(drop)?))?;
        time("stream to /dev/null", || {
            let mut null = File::options().write(true).open("/dev/null")?;
            Ok(stream::write(&image, &mut null, "null", &control).map(drop)?)
        })?;
        if let Some(device) = &device {
            time("device", || Ok(device::write(&image, device, &overwrite, &control).map(drop)?))?;
        }
        time("read back", || {
            assert_eq!(read_back(&image, &target, &control)?, None);
            Ok(())
        })?;
    }
    fs::remove_file(&target)?;
    Ok(())
}

fn time(
    what: &str,
    act: impl FnOnce() -> Result<(), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    act()?;
    println!("{:>8.3} s  {what}", start.elapsed().as_secs_f64());
    Ok(())
}
