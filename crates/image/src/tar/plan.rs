//! The layout of a tar image, as a plan over its manifest.
//!
//! With fillers, opening a plan reads only the manifest's root: its measure gives the image's
//! length, and a range is found by descending. Without fillers, opening walks over all entries once
//! and keeps [marks](super::marks). Either way a plan holds no entries, and emits the same extents:
//! the headers of an entry as one inline extent, its chunks and runs of zeros, and its padding.

use super::header;
use super::layout::{EntryUnits, FIRST_UNIT, fillers_of_nothing};
use super::marks::UnitMarks;
use crate::extents::{file, intersects, zeros};
use crate::format::FormatOptions;
use crate::length::too_long;
use crate::tar::{Align, TarOptions};
use freestone_core::limits::{PAX_PAYLOAD_BYTES_MAX, TAR_BLOCK_BYTES};
use freestone_core::tar1::Shape;
use freestone_core::{Error, Extent, ExtentSource, Id, Measure, NodeSource, Plan, Result, path};
use freestone_manifest::{Entry, Tree};
use std::ops::Range;

/// How many of the paths that tar cannot express are listed.
const LISTED_MAX: usize = 100;

/// The layout of the tar image of a manifest.
pub struct TarPlan<S> {
    tree: Tree<S>,
    name: String,
    align: Align,
    /// The marks of an image without fillers.
    marks: Option<UnitMarks>,
    /// The offset after the last entry, in bytes.
    end: u64,
    length: u64,
}

impl<S: NodeSource> TarPlan<S> {
    /// Opens the manifest `root` and lays it out.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn open(nodes: S, root: &Id, options: TarOptions) -> Result<Self> {
        Self::new(Tree::open(nodes, root)?, options)
    }

    /// Lays out a manifest.
    ///
    /// # Errors
    /// The manifest cannot be read; [`Refused`](freestone_core::ErrorKind::Refused) if it holds
    /// paths that tar cannot express, with a list of them, or if the image is longer than the
    /// options allow.
    pub fn new(tree: Tree<S>, options: TarOptions) -> Result<Self> {
        let measure = tree.summary().measure;
        if measure == Measure::Inexpressible {
            return Err(inexpressible(&tree)?);
        }
        let fillers = fillers_of_nothing(tree.summary().entries);
        let (marks, end) = match options.align() {
            Align::Blocks => (None, measure.end(FIRST_UNIT + fillers)),
            Align::None => {
                let (marks, end) = UnitMarks::walk(&tree)?;
                (Some(marks), Some(end + fillers))
            }
        };
        let end = end.and_then(|end| end.checked_mul(TAR_BLOCK_BYTES)).ok_or_else(too_long)?;
        let length = options.image_length(end)?;
        let name = options.image_name(&tree.id());
        Ok(Self { tree, name, align: options.align(), marks, end, length })
    }

    /// Emits the extents of entries that intersect `range`, whose end is at most the image's
    /// length.
    fn entries(
        &self,
        range: &Range<u64>,
        each: &mut dyn FnMut(Extent) -> Result<()>,
    ) -> Result<()> {
        let unit = (range.start / TAR_BLOCK_BYTES).max(FIRST_UNIT);
        let (mut cursor, mut start) = match &self.marks {
            None => {
                let position = self.tree.seek_unit(unit, FIRST_UNIT)?;
                (position.cursor, position.start)
            }
            Some(marks) => {
                let mark = marks.before(unit);
                (self.tree.seek_unit(mark.aligned, FIRST_UNIT)?.cursor, mark.unit)
            }
        };
        while start * TAR_BLOCK_BYTES < range.end {
            let Some(entry) = cursor.next()? else {
                if start * TAR_BLOCK_BYTES == self.end {
                    return Ok(());
                }
                return Err(Error::corrupt(format!(
                    "manifest {} ends at byte {} of its image, not at {}",
                    self.tree.id(),
                    start * TAR_BLOCK_BYTES,
                    self.end
                )));
            };
            start = self.entry(entry, start, range, each)?;
        }
        Ok(())
    }

    /// Emits the extents of the entry that starts at unit `start`. Returns the unit after it.
    fn entry(
        &self,
        entry: &Entry,
        start: u64,
        range: &Range<u64>,
        each: &mut dyn FnMut(Extent) -> Result<()>,
    ) -> Result<u64> {
        let units = EntryUnits::of(entry, start, self.align)?;
        let (data, end) = (units.data * TAR_BLOCK_BYTES, units.end * TAR_BLOCK_BYTES);
        let offset = start * TAR_BLOCK_BYTES;
        if intersects(range, offset, data) {
            let shape = Shape::of(&entry.path, entry.size()).ok_or_else(too_long)?;
            let bytes = header::entry(entry, &shape, units.fillers);
            debug_assert_eq!(bytes.len() as u64, data - offset, "the measure is what is written");
            each(Extent { offset, length: data - offset, source: ExtentSource::Inline(bytes) })?;
        }
        file(self.tree.source(), entry, data..end, range, each)?;
        Ok(units.end)
    }
}

impl<S: NodeSource> Plan for TarPlan<S> {
    fn length(&self) -> u64 {
        self.length
    }

    fn extents(&self, range: Range<u64>, each: &mut dyn FnMut(Extent) -> Result<()>) -> Result<()> {
        let range = range.start..range.end.min(self.length);
        let first = FIRST_UNIT * TAR_BLOCK_BYTES;
        if intersects(&range, 0, first) {
            let source = ExtentSource::Inline(header::head(&self.name));
            each(Extent { offset: 0, length: first, source })?;
        }
        if intersects(&range, first, self.end) {
            if fillers_of_nothing(self.tree.summary().entries) > 0 {
                let source = ExtentSource::Inline(header::filler().to_vec());
                each(Extent { offset: first, length: self.end - first, source })?;
            } else {
                self.entries(&range, each)?;
            }
        }
        zeros(&range, self.end, self.length, each)
    }

    fn identity(&self) -> String {
        self.name.clone()
    }
}

/// Creates the error that lists the paths that tar cannot express. It descends only where the
/// measures say that there are some.
fn inexpressible<S: NodeSource>(tree: &Tree<S>) -> Result<Error> {
    let mut listed = Vec::new();
    let mut count = 0u64;
    tree.visit(&mut |child, level| {
        if child.measure != Measure::Inexpressible {
            return Ok(false);
        }
        if level == 1 {
            let mut cursor = tree.seek(&child.first)?;
            for _ in 0..child.entries {
                let Some(entry) = cursor.next()? else { break };
                if entry.measure() == Measure::Inexpressible {
                    count += 1;
                    if listed.len() < LISTED_MAX {
                        listed.push(format!("  {}", path::display(&entry.path)));
                    }
                }
            }
        }
        Ok(true)
    })?;
    if count == 0 {
        return Ok(too_long());
    }
    if count > LISTED_MAX as u64 {
        listed.push(format!("  and {} more", count - LISTED_MAX as u64));
    }
    // "LENGTH path=", the path, and a newline.
    let path_bytes_max = PAX_PAYLOAD_BYTES_MAX - "512 path=\n".len();
    Ok(Error::refused(format!(
        "tar readers cannot take {count} of the paths, which are too long:"
    ))
    .list(listed)
    .hint(format!(
        "readers take at most {path_bytes_max} bytes, which include the / of a directory, about 20 less \
         for a file of 8 GiB or more, and 21 less if the path is not UTF-8; choose shorter names"
    )))
}
