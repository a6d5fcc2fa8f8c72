//! Every sink gives the same image, and gets each chunk once.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "in a test, it fails the test"
)]

mod toy;

use freestone_core::{ChunkSource, ErrorKind, Plan, Watch, digest};
use freestone_sink::{
    Control, Difference, ImageReader, Overwrite, SinkReport, compare, digest as digests, read_back,
    stream,
};
use freestone_testkit::cases;
use proptest::prelude::*;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use toy::{Toy, noise};

const NEW: Overwrite = Overwrite { force: false, is_ours: |_| false };

#[derive(Clone, Debug)]
enum Part {
    Inline(u64, usize),
    Zeros(u64),
    Chunk(u64, usize),
    /// A chunk with zeros in it: its length, and the range of the zeros.
    Hollow(usize, usize, usize),
    Pad,
}

fn part() -> impl Strategy<Value = Part> {
    prop_oneof![
        6 => (any::<u64>(), 1..6000_usize).prop_map(|(seed, length)| Part::Inline(seed, length)),
        3 => (1..9000_u64).prop_map(Part::Zeros),
        1 => (1..12_000_000_u64).prop_map(Part::Zeros),
        6 => (any::<u64>(), 1..40_000_usize).prop_map(|(seed, length)| Part::Chunk(seed, length)),
        2 => (any::<u64>(), 1..=4_usize << 20).prop_map(|(seed, length)| Part::Chunk(seed, length)),
        1 => (0..1_usize << 20, 1..70_000_usize, 0..9000_usize)
            .prop_map(|(before, zeros, after)| Part::Hollow(before, zeros, after)),
        2 => Just(Part::Pad),
    ]
}

fn toy(parts: Vec<Part>) -> Toy {
    let mut toy = Toy::new();
    for part in parts {
        match part {
            Part::Inline(seed, length) => toy.inline(noise(seed, length)),
            Part::Zeros(length) => toy.zeros(length),
            Part::Chunk(seed, length) => toy.content(noise(seed, length)),
            Part::Hollow(before, zeros, after) => {
                let mut bytes = noise(1, before);
                bytes.resize(before + zeros, 0);
                bytes.extend_from_slice(&noise(2, after));
                toy.content(bytes);
            }
            Part::Pad => toy.pad(4096),
        }
    }
    toy
}

fn chunks(toy: &Toy) -> u64 {
    let chunk = |extent: &&freestone_core::Extent| {
        matches!(extent.source, freestone_core::ExtentSource::Chunk(_))
    };
    toy.extents.iter().filter(chunk).count() as u64
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(48, 500)))]

    #[test]
    fn every_sink_gives_the_image(
        parts in prop::collection::vec(part(), 0..60),
        workers in 1..5_usize,
    ) {
        let toy = toy(parts);
        let (image, bytes) = (toy.image(), toy.bytes());
        let length = bytes.len() as u64;
        let never = AtomicBool::new(false);
        let progressed = AtomicU64::new(0);
        let progress = |count| { progressed.fetch_add(count, Ordering::Relaxed); };
        let control = Control {
            workers: NonZeroUsize::new(workers).unwrap(),
            watch: Watch::new(&never, &progress),
            ..Control::default()
        };
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image");

        let report = freestone_sink::write(&image, &path, &NEW, &control).unwrap();
        prop_assert!(fs::read(&path).unwrap() == bytes, "the file");
        prop_assert_eq!(progressed.load(Ordering::Relaxed), length);
        prop_assert_eq!(toy.fetched.load(Ordering::Relaxed), chunks(&toy));
        prop_assert_eq!(report.chunks, chunks(&toy));
        let zeros = bytes.chunks(4096).filter(|block| block.iter().all(|&b| b == 0));
        let zeros: u64 = zeros.map(|block| block.len() as u64).sum();
        prop_assert!(report.zeros >= zeros, "{} < {zeros}", report.zeros);
        prop_assert_eq!(report.written + report.zeros, length);

        let mut streamed = Vec::new();
        let tee = Control { digest: true, ..control };
        let report = stream::write(&image, &mut streamed, "stream", &tee).unwrap();
        prop_assert!(streamed == bytes, "the stream");
        let (digests, _) = digests(&image, &control).unwrap();
        prop_assert_eq!(digests.blake3, digest::plain(&bytes));
        prop_assert_eq!(digests.sha256, sha256(&bytes));
        prop_assert_eq!(digests.length, length);
        prop_assert_eq!(report.digests, Some(digests));

        prop_assert_eq!(compare(&image, &path, &control).unwrap(), None);
        prop_assert_eq!(read_back(&image, &path, &control).unwrap(), None);
    }

    #[test]
    fn any_read_gives_that_part_of_the_image(
        parts in prop::collection::vec(part(), 0..40),
        reads in prop::collection::vec(
            (any::<u64>(), prop_oneof![0..9000_usize, 0..6_000_000_usize]), 1..40),
        sizes in prop::collection::vec(1..700_000_usize, 1..9),
    ) {
        let toy = toy(parts);
        let bytes = toy.bytes();
        let mut reader = ImageReader::new(&toy, &toy);
        for (offset, length) in reads {
            let offset = offset % (bytes.len() as u64 + 5000);
            let mut out = vec![0xee; length];
            let count = reader.read_at(offset, &mut out).unwrap();
            let start = bytes.len().min(offset as usize);
            let expected = &bytes[start..bytes.len().min(start + length)];
            prop_assert_eq!(count, expected.len());
            prop_assert!(&out[..count] == expected, "{offset} {length}");
            prop_assert!(out[count..].iter().all(|&byte| byte == 0xee));
        }
        let mut read = Vec::new();
        let mut sizes = sizes.iter().cycle();
        loop {
            let mut out = vec![0; *sizes.next().unwrap()];
            let count = reader.read(&mut out).unwrap();
            if count == 0 {
                break;
            }
            read.extend_from_slice(&out[..count]);
        }
        prop_assert!(read == bytes, "read in sequence");
        reader.seek(SeekFrom::End(-100)).unwrap();
        read.clear();
        reader.read_to_end(&mut read).unwrap();
        prop_assert!(read == bytes[bytes.len() - 100..]);
        prop_assert!(reader.seek(SeekFrom::Current(-i64::MAX)).is_err());
    }

    #[test]
    fn the_first_difference_is_found(
        parts in prop::collection::vec(part(), 1..40),
        at in any::<prop::sample::Index>(),
        also in any::<prop::sample::Index>(),
        workers in 1..4_usize,
    ) {
        let toy = toy(parts);
        let mut bytes = toy.bytes();
        let length = bytes.len() as u64;
        let (at, also) = (at.index(bytes.len()), also.index(bytes.len()));
        bytes[at] ^= 1;
        bytes[also] ^= 2;
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), &bytes).unwrap();
        let workers = NonZeroUsize::new(workers).unwrap();
        let control = Control { workers, ..Control::default() };
        let found = compare(&toy.image(), file.path(), &control).unwrap();
        prop_assert_eq!(found, Some(Difference { offset: at.min(also) as u64, length }));
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).into()
}

#[test]
fn a_file_of_another_length_differs_where_the_shorter_one_ends() {
    let toy = toy::site(50, 8000, 9, 1 << 20);
    let mut bytes = toy.bytes();
    let whole = bytes.len() as u64;
    let file = tempfile::NamedTempFile::new().unwrap();
    let differs = |bytes: &[u8]| {
        fs::write(file.path(), bytes).unwrap();
        compare(&toy.image(), file.path(), &Control::default()).unwrap()
    };
    bytes.push(0);
    assert_eq!(differs(&bytes), Some(Difference { offset: whole, length: whole + 1 }));
    bytes.truncate(5_000_001);
    assert_eq!(differs(&bytes), Some(Difference { offset: 5_000_001, length: 5_000_001 }));
    bytes[4_999_999] ^= 1;
    assert_eq!(differs(&bytes), Some(Difference { offset: 4_999_999, length: 5_000_001 }));
    assert_eq!(differs(&[]), Some(Difference { offset: 0, length: 0 }));
}

#[test]
fn small_reads_fetch_a_large_chunk_once() {
    let toy = toy::site(0, 8000, 3, 1 << 20);
    let reader = ImageReader::new(&toy, &toy);
    let mut out = [0; 4096];
    // Three readers, each in its own file.
    for offset in (8192..1 << 20).step_by(out.len()) {
        for file in 0..3 {
            reader.read_at(offset + file * ((1 << 20) + 4096), &mut out).unwrap();
        }
    }
    assert_eq!(toy.fetched.load(Ordering::Relaxed), 3);
}

#[test]
fn cancelling_ends_the_work_soon() {
    let toy = toy::site(0, 0, 60, 1 << 20);
    let cancel = AtomicBool::new(false);
    let progress = |_| cancel.store(true, Ordering::Relaxed);
    let workers = NonZeroUsize::new(2).unwrap();
    let control = Control { workers, watch: Watch::new(&cancel, &progress), ..Control::default() };
    let error = digests(&toy.image(), &control).unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Failed, "interrupted"));
    let fetched = toy.fetched.load(Ordering::Relaxed);
    assert!(fetched <= 3 * 5, "{fetched} chunks were fetched");
}

#[test]
fn a_reader_serves_several_threads_and_owns_what_it_reads() {
    let toy = Arc::new(toy::site(100, 8000, 9, 1 << 20));
    let bytes = toy.bytes();
    let (plan, chunks): (Arc<dyn Plan>, Arc<dyn ChunkSource>) = (toy.clone(), toy);
    let reader = Arc::new(ImageReader::new(plan, chunks));
    thread::scope(|scope| {
        for seed in 0..4 {
            let (reader, bytes) = (Arc::clone(&reader), &bytes);
            scope.spawn(move || {
                for offset in (seed * 1009..bytes.len()).step_by(300_007) {
                    let mut out = [0; 5000];
                    let count = reader.read_at(offset as u64, &mut out).unwrap();
                    assert!(count > 0 && bytes[offset..].starts_with(&out[..count]));
                }
            });
        }
    });
    assert_eq!(reader.length(), bytes.len() as u64);
    assert_eq!(reader.plan().identity(), "toy");
}

#[test]
fn an_empty_image_is_an_empty_image() {
    let toy = Toy::default();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    let report = freestone_sink::write(&toy.image(), &path, &NEW, &Control::default()).unwrap();
    assert_eq!(report, SinkReport::default());
    assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    assert_eq!(ImageReader::new(&toy, &toy).read_at(0, &mut [1]).unwrap(), 0);
    assert_eq!(compare(&toy.image(), &path, &Control::default()).unwrap(), None);
    assert_eq!(toy.length(), 0);
}
