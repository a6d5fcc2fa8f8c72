//! A plan or a chunk source that contradicts itself is an error, never a wrong image.

#![allow(clippy::unwrap_used, reason = "in a test, it fails the test")]

mod toy;

use freestone_core::{
    ChunkSource, ErrorKind, Extent, ExtentSource, Id, Plan, Result, digest, limits::CHUNK_BYTES_MAX,
};
use freestone_sink::{Control, Image, ImageReader, digest as digests};
use std::ops::Range;
use toy::{Toy, noise};

/// A toy image with a changed extent.
struct Tampered(Toy, Tamper);

/// Changes the extent of this number; returns false to leave it out.
type Tamper = fn(usize, &mut Extent) -> bool;

impl Plan for Tampered {
    fn length(&self) -> u64 {
        self.0.length()
    }

    fn extents(&self, range: Range<u64>, each: &mut dyn FnMut(Extent) -> Result<()>) -> Result<()> {
        for (at, extent) in self.0.extents.iter().enumerate() {
            if extent.end() > range.start && extent.offset < range.end {
                let mut extent = extent.clone();
                if self.1(at, &mut extent) {
                    each(extent)?;
                }
            }
        }
        Ok(())
    }

    fn identity(&self) -> String {
        "tampered".into()
    }
}

impl ChunkSource for Tampered {
    fn chunk(&self, id: &Id, out: &mut [u8]) -> Result<()> {
        self.0.chunk(id, out)
    }
}

fn outcome(tamper: Tamper) -> (Option<ErrorKind>, Option<ErrorKind>) {
    let mut toy = Toy::new();
    toy.content(noise(1, 3 << 20));
    toy.content(noise(2, 3 << 20));
    toy.zeros(5 << 20);
    toy.content(noise(3, 1 << 20));
    let toy = Tampered(toy, tamper);
    let image = Image::new(&toy, &toy);
    let whole = digests(&image, &Control::default()).err().map(|error| error.kind());
    let mut out = vec![0; usize::try_from(toy.length()).unwrap()];
    let read = ImageReader::new(&toy, &toy).read_at(0, &mut out).err();
    (whole, read.map(|error| error.kind()))
}

#[test]
fn layouts_that_cannot_be_are_corrupt() {
    assert_eq!(outcome(|_, _| true), (None, None), "untampered");
    let corrupt = (Some(ErrorKind::Corrupt), Some(ErrorKind::Corrupt));
    assert_eq!(outcome(|at, _| at != 0), corrupt, "a gap at the start");
    assert_eq!(outcome(|at, _| at != 2), corrupt, "a gap in the middle");
    assert_eq!(outcome(|at, _| at != 4), corrupt, "the end is missing");
    assert_eq!(outcome(|_, _| false), corrupt, "nothing at all");
    let moved = |at: usize, extent: &mut Extent| {
        extent.offset -= u64::from(at == 3);
        true
    };
    assert_eq!(outcome(moved), corrupt, "an overlap");
    let long = |at: usize, extent: &mut Extent| {
        extent.length += u64::from(at == 4);
        true
    };
    assert_eq!(outcome(long), corrupt, "longer than the image");
    let empty = |at: usize, extent: &mut Extent| {
        extent.length *= u64::from(at != 0);
        true
    };
    assert_eq!(outcome(empty), corrupt, "an empty extent");
    let other = |at: usize, extent: &mut Extent| {
        if at == 0 {
            extent.source = ExtentSource::Inline(vec![0; 4095]);
        }
        true
    };
    assert_eq!(outcome(other), corrupt, "other bytes than it says");
    let huge = |at: usize, extent: &mut Extent| {
        if at == 3 {
            extent.source = ExtentSource::Chunk(digest::plain(b"huge"));
            assert!(extent.length > CHUNK_BYTES_MAX as u64);
        }
        true
    };
    assert_eq!(outcome(huge), corrupt, "a chunk longer than any");
}

#[test]
fn a_plan_that_answers_differently_is_found_out() {
    // From the second window on, it leaves out the chunk that starts in the first.
    struct Fickle(Toy);
    impl Plan for Fickle {
        fn length(&self) -> u64 {
            self.0.length()
        }
        fn extents(
            &self,
            range: Range<u64>,
            each: &mut dyn FnMut(Extent) -> Result<()>,
        ) -> Result<()> {
            self.0.extents(range.clone(), &mut |mut extent| {
                if range.start > 0 && extent.offset < range.start {
                    extent.source = ExtentSource::Zeros;
                }
                each(extent)
            })
        }
        fn identity(&self) -> String {
            "fickle".into()
        }
    }
    let mut toy = Toy::new();
    for seed in 0..4 {
        toy.content(noise(seed, 3 << 20));
    }
    let fickle = Fickle(toy);
    let control = Control { workers: std::num::NonZeroUsize::MIN, ..Control::default() };
    let file = tempfile::tempdir().unwrap();
    let path = file.path().join("image");
    let overwrite = freestone_sink::Overwrite { force: false, is_ours: |_| false };
    let image = Image::new(&fickle, &fickle.0);
    let error = freestone_sink::write(&image, &path, &overwrite, &control).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(!path.exists());
}

#[test]
fn an_image_that_no_file_can_hold_is_refused() {
    struct Endless;
    impl Plan for Endless {
        fn length(&self) -> u64 {
            u64::MAX
        }
        fn extents(&self, _: Range<u64>, each: &mut dyn FnMut(Extent) -> Result<()>) -> Result<()> {
            each(Extent { offset: 0, length: u64::MAX, source: ExtentSource::Zeros })
        }
        fn identity(&self) -> String {
            "endless".into()
        }
    }
    let error = digests(&Image::new(&Endless, &Toy::new()), &Control::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    let mut out = [1; 9];
    let reader = ImageReader::new(&Endless, Toy::new());
    assert_eq!(reader.read_at(u64::MAX - 5, &mut out).unwrap(), 5);
}
