//! Finding entries in an image without fillers.
//!
//! The manifest's measures describe the layout with fillers. Without them an image is laid out by
//! one walk over all entries, and from that walk a bounded number of marks is kept: where an entry
//! starts here, and where it would start with fillers, which is where the manifest finds it.

use super::layout::{FIRST_UNIT, place};
use crate::tar::Align;
use freestone_core::{NodeSource, Result};
use freestone_manifest::Tree;

/// Marks that are kept: one megabyte. Beyond, every second one is dropped, and finding an entry
/// walks twice as far.
const MARKS_MAX: usize = 1 << 16;

/// Where one entry starts, in units of 512 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// In this image.
    pub(crate) unit: u64,
    /// In the image with fillers.
    pub(crate) aligned: u64,
}

/// Marks of an image without fillers, in order; the first is that of the first entry.
pub(crate) struct Marks(Vec<Mark>);

impl Marks {
    /// Walks over all entries; gives the marks, and the unit behind the last entry.
    ///
    /// # Errors
    /// A node cannot be read, or an entry cannot be expressed.
    pub(crate) fn walk<S: NodeSource>(tree: &Tree<S>) -> Result<(Self, u64)> {
        Self::walk_bounded(tree, MARKS_MAX)
    }

    fn walk_bounded<S: NodeSource>(tree: &Tree<S>, marks_max: usize) -> Result<(Self, u64)> {
        let mut at = Mark { unit: FIRST_UNIT, aligned: FIRST_UNIT };
        let mut marks = vec![at];
        let mut stride = 1u64;
        let mut count = 0u64;
        let mut cursor = tree.cursor();
        while let Some(entry) = cursor.next()? {
            if count > 0 && count.is_multiple_of(stride) {
                if marks.len() >= marks_max {
                    let mut index = 0;
                    marks.retain(|_| {
                        index += 1;
                        index % 2 == 1
                    });
                    stride *= 2;
                }
                if count.is_multiple_of(stride) {
                    marks.push(at);
                }
            }
            count += 1;
            at.unit = place(entry, at.unit, Align::None)?.end;
            at.aligned = place(entry, at.aligned, Align::Blocks)?.end;
        }
        Ok((Self(marks), at.unit))
    }

    /// The last mark at or before `unit`, the first if there is none.
    pub(crate) fn before(&self, unit: u64) -> Mark {
        let after = self.0.partition_point(|mark| mark.unit <= unit);
        self.0[after.saturating_sub(1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use freestone_core::{Id, Sha1};
    use freestone_manifest::{Builder, Entry, EntryKind, MemoryNodes};

    #[test]
    fn marks_are_bounded_and_still_lead_to_every_entry() {
        let mut builder = Builder::new(MemoryNodes::default());
        for index in 0..1000u64 {
            let kind = EntryKind::File {
                executable: false,
                size: index * 997 % 100_000,
                sha1: Sha1([0; 20]),
                content: Id([0; 32]),
            };
            let path = format!("{index:04}").into_bytes();
            builder.push(Entry { kind, ..Entry::directory(path, 0) }).unwrap();
        }
        let (root, nodes) = builder.finish().unwrap();
        let tree = Tree::open(nodes, &root.id).unwrap();
        let (all, end) = Marks::walk(&tree).unwrap();
        assert_eq!(all.0.len(), 1000);
        for marks_max in [2, 7, 64, 999] {
            let (few, same_end) = Marks::walk_bounded(&tree, marks_max).unwrap();
            assert_eq!(end, same_end);
            assert!(few.0.len() <= marks_max && few.0.len() * 3 > marks_max);
            assert_eq!(few.0[0], all.0[0]);
            assert!(few.0.iter().all(|mark| all.0.contains(mark)));
            assert_eq!(few.before(0), all.0[0]);
            assert_eq!(few.before(end), *few.0.last().unwrap());
        }
    }
}
