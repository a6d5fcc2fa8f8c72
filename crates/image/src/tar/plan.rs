//! The layout of a tar image, as a plan over its manifest.
//!
//! With fillers, opening a plan reads the manifest's root alone: the root's measure is the image's
//! length, and a range is found by descending. Without, opening walks over all entries once and
//! keeps [marks](super::marks). Either way a plan holds no entries, and emits the same parts: the
//! headers of an entry as one inline extent, its chunks and runs of zeros, its padding.

use super::header;
use super::layout::{FIRST_UNIT, fillers_of_nothing, place};
use super::marks::Marks;
use crate::tar::{Align, Options};
use crate::{Format, ImageName};
use freestone_core::limits::{PAX_PAYLOAD_BYTES_MAX, TAR_BLOCK_BYTES};
use freestone_core::tar1::Shape;
use freestone_core::{Error, Extent, ExtentSource, Id, Measure, NodeSource, Plan, Result, path};
use freestone_manifest::{Entry, EntryKind, Tree, content};
use std::ops::Range;

/// How many paths that tar cannot express are listed.
const LISTED_MAX: usize = 100;

/// The layout of the tar image of a manifest.
pub struct TarPlan<S> {
    tree: Tree<S>,
    name: ImageName,
    align: Align,
    /// Only without fillers.
    marks: Option<Marks>,
    /// Behind the last entry, in bytes.
    end: u64,
    length: u64,
}

impl<S: NodeSource> TarPlan<S> {
    /// Lays out the manifest `root`.
    ///
    /// # Errors
    /// The manifest cannot be read; [`Refused`](freestone_core::ErrorKind::Refused) if it holds
    /// paths that tar cannot express, listed, or if the image is longer than the options allow.
    pub fn open(nodes: S, root: &Id, options: Options) -> Result<Self> {
        let tree = Tree::open(nodes, root)?;
        let measure = tree.summary().measure;
        if measure == Measure::Inexpressible {
            return Err(inexpressible(&tree)?);
        }
        let (marks, end) = match options.align() {
            Align::Blocks => {
                let fillers = fillers_of_nothing(tree.summary().entries, Align::Blocks);
                (None, measure.end(FIRST_UNIT + fillers))
            }
            Align::None => {
                let (marks, end) = Marks::walk(&tree)?;
                (Some(marks), Some(end))
            }
        };
        let end = end.and_then(|end| end.checked_mul(TAR_BLOCK_BYTES)).ok_or_else(too_long)?;
        let length = options.image_length(end)?;
        let name = ImageName { format: Format::Tar(options), root: *root };
        Ok(Self { tree, name, align: options.align(), marks, end, length })
    }

    /// What the image is.
    pub fn name(&self) -> &ImageName {
        &self.name
    }

    /// The entries' parts that intersect `range`, whose end is at most the image's length.
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
                    self.name.root,
                    start * TAR_BLOCK_BYTES,
                    self.end
                )));
            };
            start = self.entry(entry, start, range, each)?;
        }
        Ok(())
    }

    /// The parts of the entry that starts at unit `start`; gives the unit behind it.
    fn entry(
        &self,
        entry: &Entry,
        start: u64,
        range: &Range<u64>,
        each: &mut dyn FnMut(Extent) -> Result<()>,
    ) -> Result<u64> {
        let place = place(entry, start, self.align)?;
        let (data, end) = (place.data * TAR_BLOCK_BYTES, place.end * TAR_BLOCK_BYTES);
        let offset = start * TAR_BLOCK_BYTES;
        if intersects(range, offset, data) {
            let shape = Shape::of(&entry.path, entry.size()).ok_or_else(too_long)?;
            let bytes = header::entry(entry, &shape, place.fillers);
            debug_assert_eq!(bytes.len() as u64, data - offset, "the measure is what is written");
            each(Extent { offset, length: data - offset, source: ExtentSource::Inline(bytes) })?;
        }
        let EntryKind::File { size, sha1, content, .. } = &entry.kind else { return Ok(place.end) };
        let wanted = range.start.saturating_sub(data)..range.end.saturating_sub(data);
        content::pieces(
            self.tree.source(),
            content,
            *size,
            Some(sha1),
            wanted,
            &mut |mut piece| {
                piece.offset += data;
                each(piece)
            },
        )
        .map_err(|error| error.context(path::display(&entry.path)))?;
        let padding = data + size;
        if intersects(range, padding, end) {
            each(Extent { offset: padding, length: end - padding, source: ExtentSource::Zeros })?;
        }
        Ok(place.end)
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
            let source = ExtentSource::Inline(header::head(&self.identity()));
            each(Extent { offset: 0, length: first, source })?;
        }
        if intersects(&range, first, self.end) {
            if fillers_of_nothing(self.tree.summary().entries, self.align) > 0 {
                let source = ExtentSource::Inline(header::filler().to_vec());
                each(Extent { offset: first, length: self.end - first, source })?;
            } else {
                self.entries(&range, each)?;
            }
        }
        if intersects(&range, self.end, self.length) {
            let length = self.length - self.end;
            each(Extent { offset: self.end, length, source: ExtentSource::Zeros })?;
        }
        Ok(())
    }

    fn identity(&self) -> String {
        self.name.to_string()
    }
}

/// Whether the bytes from `start` to before `end` and the range have some in common.
fn intersects(range: &Range<u64>, start: u64, end: u64) -> bool {
    range.start.max(start) < range.end.min(end)
}

fn too_long() -> Error {
    Error::refused("the image would be longer than any file")
}

/// Says what of the manifest cannot be expressed, by going down where the measures say so.
fn inexpressible<S: NodeSource>(tree: &Tree<S>) -> Result<Error> {
    let mut listed = String::new();
    let (mut listed_count, mut count) = (0, 0u64);
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
                    if listed_count < LISTED_MAX {
                        listed_count += 1;
                        listed.push_str("\n  ");
                        listed.push_str(&path::display(&entry.path));
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
        listed.push_str(&format!("\n  and {} more", count - LISTED_MAX as u64));
    }
    // "LENGTH path=", the path, and a newline.
    let path_bytes_max = PAX_PAYLOAD_BYTES_MAX - "512 path=\n".len();
    Ok(Error::refused(format!(
        "tar readers cannot take {count} of the paths, which are too long:{listed}"
    ))
    .hint(format!(
        "readers take at most {path_bytes_max} bytes, a directory's / counted, and some 20 less for a \
         file of 8 GiB and more; choose shorter names"
    )))
}
