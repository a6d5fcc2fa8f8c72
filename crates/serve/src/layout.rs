//! The layout of images, as far as it was asked for recently.
//!
//! A plan finds the extents of a range by descending through the manifest, and those of a large
//! file through its content tree. That takes tens of microseconds, which a guest that reads blocks
//! at random would pay for each read. So extents are cached in *windows* of 64 KiB of the image,
//! and each chunk remembers where it is stored.

use crate::cache::Cache;
use freestone_core::{Error, ErrorKind, Extent, ExtentSource, Id, Plan, Result};
use freestone_store::{RawRun, Records};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// The bytes of an image whose extents are cached together. In an image of tiny files a window has
/// about a hundred extents, which take 100 µs to find. Smaller windows would not be faster, since a
/// manifest is read leaf by leaf.
pub(crate) const WINDOW_BYTES: u64 = 64 << 10;

/// How far a look-up continues after its window, where extents are long.
const AHEAD_BYTES: u64 = 4 << 20;
/// The number of extents after which it stops.
const AHEAD_EXTENTS: usize = 64;

/// About how many bytes of memory a cached window takes.
const WINDOW_WEIGHT: u64 = 160;
/// About how many bytes of memory a cached extent takes.
const EXTENT_WEIGHT: u64 = 72;
/// About how many bytes of memory a chunk of a cached extent takes.
const CHUNK_WEIGHT: u64 = 200;

/// A chunk of an image.
pub(crate) struct Chunk {
    /// The chunk's id.
    pub id: Id,
    /// Its length in bytes.
    pub length: u64,
    /// The raw run in a pack that holds it, if there is one; looked up at the first use.
    run: OnceLock<Option<RawRun>>,
}

impl Chunk {
    /// Returns the raw run that holds the chunk, if it was looked up already.
    pub fn known_run(&self) -> Option<&RawRun> {
        self.run.get()?.as_ref()
    }

    /// Returns the raw run that holds the chunk, or `None` if the chunk is stored encoded only.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn run(&self, records: &Records) -> Result<Option<&RawRun>> {
        if self.run.get().is_none() {
            let run = records.raw_run(&self.id, self.length)?;
            let _ = self.run.set(run);
        }
        Ok(self.known_run())
    }
}

/// The source of a known extent's bytes.
#[derive(Clone)]
pub(crate) enum ExtentBytes {
    /// Zeros.
    Zeros,
    /// These bytes.
    Inline(Arc<[u8]>),
    /// A whole chunk.
    Chunk(Arc<Chunk>),
}

/// A whole extent, with what is known about its chunk.
#[derive(Clone)]
pub(crate) struct KnownExtent {
    /// Where in the image it starts, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u64,
    /// Where its bytes come from.
    pub bytes: ExtentBytes,
}

impl KnownExtent {
    fn new(extent: Extent) -> Self {
        let bytes = match extent.source {
            ExtentSource::Zeros => ExtentBytes::Zeros,
            ExtentSource::Inline(bytes) => ExtentBytes::Inline(bytes.into()),
            ExtentSource::Chunk(id) => {
                let (length, run) = (extent.length, OnceLock::new());
                ExtentBytes::Chunk(Arc::new(Chunk { id, length, run }))
            }
        };
        Self { offset: extent.offset, length: extent.length, bytes }
    }

    /// Returns the offset after its last byte.
    pub fn end(&self) -> u64 {
        self.offset + self.length
    }

    fn weight(&self) -> u64 {
        EXTENT_WEIGHT
            + match &self.bytes {
                ExtentBytes::Zeros => 0,
                ExtentBytes::Inline(bytes) => bytes.len() as u64,
                ExtentBytes::Chunk(_) => CHUNK_WEIGHT,
            }
    }
}

/// All extents that have a part in one window of an image, in order and without gaps.
pub(crate) struct Window(Vec<KnownExtent>);

impl Window {
    /// Returns the extents from `offset` on, which must be in the window: at least one.
    fn from(&self, offset: u64) -> &[KnownExtent] {
        &self.0[self.0.partition_point(|extent| extent.end() <= offset)..]
    }
}

/// Calls `each` in order for every extent that has a part in `range`, with that part in bytes from
/// the extent's start. `window` returns the window that holds an offset.
///
/// # Errors
/// The first error of `window` or of `each`, which ends the walk.
pub(crate) fn walk<E>(
    range: Range<u64>,
    mut window: impl FnMut(u64) -> Result<Arc<Window>, E>,
    mut each: impl FnMut(&KnownExtent, Range<u64>) -> Result<(), E>,
) -> Result<(), E> {
    let mut at = range.start;
    while at < range.end {
        for extent in window(at)?.from(at) {
            if at >= range.end {
                break;
            }
            let end = extent.end().min(range.end);
            each(extent, at - extent.offset..end - extent.offset)?;
            at = end;
        }
    }
    Ok(())
}

/// The cached windows of all images of a server; each image has a number.
pub(crate) struct Layouts(Cache<(u64, u64), Window>);

impl Layouts {
    /// Creates an empty cache that takes at most about `bytes_max` of memory.
    pub fn new(bytes_max: u64) -> Self {
        Self(Cache::new(bytes_max))
    }

    /// Returns the window of image `image` that holds `offset`, if it is cached.
    pub fn known(&self, image: u64, offset: u64) -> Option<Arc<Window>> {
        self.0.get(&(image, offset / WINDOW_BYTES))
    }

    /// Returns the window of image `image` that holds `offset`, which must be inside of `plan`.
    ///
    /// # Errors
    /// What the plan returns, and [`ErrorKind::Corrupt`] if it contradicts itself.
    pub fn find(&self, image: u64, plan: &dyn Plan, offset: u64) -> Result<Arc<Window>> {
        if let Some(window) = self.known(image, offset) {
            return Ok(window);
        }
        let first = offset / WINDOW_BYTES;
        let start = first * WINDOW_BYTES;
        let length = plan.length();
        let window_end = (start + WINDOW_BYTES).min(length);
        let wanted = start..start.saturating_add(AHEAD_BYTES).min(length);
        let mut extents: Vec<KnownExtent> = Vec::new();
        let mut is_enough = false;
        let outcome = freestone_sink::extents(plan, wanted, &mut |extent| {
            extents.push(KnownExtent::new(extent));
            let end = extents.last().map_or(0, KnownExtent::end);
            is_enough = end >= window_end && extents.len() >= AHEAD_EXTENTS;
            if is_enough { Err(Error::new(ErrorKind::Failed, "enough")) } else { Ok(()) }
        });
        if !is_enough {
            outcome?;
        }
        let end = extents.last().map_or(start, KnownExtent::end);
        let mut found = None;
        for number in first.. {
            let (start, stop) = (number * WINDOW_BYTES, ((number + 1) * WINDOW_BYTES).min(length));
            if start >= length || stop > end {
                break;
            }
            let from = extents.partition_point(|extent| extent.end() <= start);
            let to = extents.partition_point(|extent| extent.offset < stop);
            let part = extents[from..to].to_vec();
            let weight = WINDOW_WEIGHT + part.iter().map(KnownExtent::weight).sum::<u64>();
            let window = Arc::new(Window(part));
            self.0.insert((image, number), window.clone(), weight);
            found.get_or_insert(window);
        }
        found.ok_or_else(|| {
            let identity = plan.identity();
            Error::corrupt(format!("image {identity}: no extents at offset {offset}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An image of `length` bytes whose extents are each 1,000 bytes long.
    struct Thousands(u64);

    impl Plan for Thousands {
        fn length(&self) -> u64 {
            self.0
        }

        fn extents(
            &self,
            range: Range<u64>,
            each: &mut dyn FnMut(Extent) -> Result<()>,
        ) -> Result<()> {
            let mut offset = range.start / 1000 * 1000;
            while offset < range.end {
                let length = 1000.min(self.0 - offset);
                each(Extent { offset, length, source: ExtentSource::Zeros })?;
                offset += length;
            }
            Ok(())
        }

        fn identity(&self) -> String {
            "thousands".into()
        }
    }

    #[test]
    fn a_walk_covers_its_range_across_windows_and_ends_at_the_first_error() {
        let (layouts, plan) = (Layouts::new(1 << 20), Thousands(300_001));
        let window = |at| layouts.find(0, &plan, at);
        for range in [0..300_001, 1..2, 999..1001, 65_535..65_537, 5..5, 299_999..300_001] {
            let mut at = range.start;
            walk(range.clone(), window, |extent, part| {
                assert_eq!(extent.offset + part.start, at);
                assert!(part.start < part.end && part.end <= extent.length);
                at = extent.offset + part.end;
                Ok(())
            })
            .unwrap();
            assert_eq!(at, range.end);
        }
        let mut seen = 0;
        let stopped = walk(
            0..300_001,
            |at| window(at).map_err(Some),
            |_, _| {
                seen += 1;
                if seen == 70 { Err(None) } else { Ok(()) }
            },
        );
        assert!(matches!(stopped, Err(None)));
        assert_eq!(seen, 70);
    }
}
