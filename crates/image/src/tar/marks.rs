//! Finding entries in an image without fillers.
//!
//! The manifest's measures describe the layout with fillers. Without fillers, one walk over all
//! entries finds the layout, and a bounded number of marks is kept from it: where an entry starts
//! in this image, and where it would start with fillers, which is where the manifest finds it.

use super::layout::{EntryUnits, FIRST_UNIT};
use crate::marks::{MARKS_MAX, Marks};
use crate::tar::Align;
use freestone_core::{NodeSource, Result};
use freestone_manifest::Tree;

/// The unit of 512 bytes at which an entry starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnitMark {
    /// The unit in this image.
    pub(crate) unit: u64,
    /// The unit in the image with fillers.
    pub(crate) aligned: u64,
}

/// The marks of an image without fillers.
pub(crate) struct UnitMarks(Marks<UnitMark>);

impl UnitMarks {
    /// Walks over all entries. Returns the marks, and the unit after the last entry.
    ///
    /// # Errors
    /// A node cannot be read, or tar cannot express an entry.
    pub(crate) fn walk<S: NodeSource>(tree: &Tree<S>) -> Result<(Self, u64)> {
        Self::walk_bounded(tree, MARKS_MAX)
    }

    fn walk_bounded<S: NodeSource>(tree: &Tree<S>, marks_max: usize) -> Result<(Self, u64)> {
        let mut at = UnitMark { unit: FIRST_UNIT, aligned: FIRST_UNIT };
        let mut marks = Marks::new(at, marks_max);
        let mut index = 0u64;
        let mut cursor = tree.cursor();
        while let Some(entry) = cursor.next()? {
            marks.offer(index, at);
            index += 1;
            at.unit = EntryUnits::of(entry, at.unit, Align::None)?.end;
            at.aligned = EntryUnits::of(entry, at.aligned, Align::Blocks)?.end;
        }
        Ok((Self(marks), at.unit))
    }

    /// Returns the last mark at or before `unit`, or the first mark if there is none.
    pub(crate) fn before(&self, unit: u64) -> UnitMark {
        self.0.last(|mark| mark.unit <= unit)
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
        let (all, end) = UnitMarks::walk(&tree).unwrap();
        assert_eq!(all.0.kept().len(), 1000);
        for marks_max in [2, 7, 64, 999] {
            let (few, same_end) = UnitMarks::walk_bounded(&tree, marks_max).unwrap();
            assert_eq!(end, same_end);
            assert!(few.0.kept().len() <= marks_max && few.0.kept().len() * 3 > marks_max);
            assert_eq!(few.0.kept()[0], all.0.kept()[0]);
            assert!(few.0.kept().iter().all(|mark| all.0.kept().contains(mark)));
            assert_eq!(few.before(0), all.0.kept()[0]);
            assert_eq!(few.before(end), *few.0.kept().last().unwrap());
        }
    }
}
