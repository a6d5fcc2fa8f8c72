//! The inodes of the file system that the kernel knows.

use freestone_core::{Id, lock};
use freestone_manifest::Entry;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// The number of the mounted directory.
pub(crate) const TOP: u64 = 1;
/// The number of `tree/` in it.
pub(crate) const TREES: u64 = 2;

/// A file, a directory or a link of the file system.
#[derive(Clone)]
pub(crate) enum Inode {
    /// The mounted directory.
    Top,
    /// `tree/`.
    Trees,
    /// A link from a name of a revision to its image or tree.
    Link {
        /// The name.
        name: String,
        /// The format of the image, with a dot before it; empty for a tree.
        ending: String,
    },
    /// The image of a revision.
    Image {
        /// The revision.
        id: Id,
        /// The format.
        format: String,
        /// Its length in bytes.
        length: u64,
        /// When the revision was made.
        time: i64,
    },
    /// The root directory of the tree of a revision.
    TreeTop {
        /// The revision.
        id: Id,
        /// When the revision was made.
        time: i64,
    },
    /// A file or a directory in a tree.
    Entry {
        /// The revision.
        id: Id,
        /// Its entry in the manifest.
        entry: Arc<Entry>,
    },
}

/// The identity of an inode: two look-ups of one path return the same number.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum InodeKey {
    /// The mounted directory.
    Top,
    /// `tree/`.
    Trees,
    /// A link: its name and ending.
    Link(String, String),
    /// An image: its revision and format.
    Image(Id, String),
    /// A path in the tree of a revision; empty for its root.
    Tree(Id, Vec<u8>),
}

impl Inode {
    /// Returns the identity of the inode.
    pub(crate) fn key(&self) -> InodeKey {
        match self {
            Self::Top => InodeKey::Top,
            Self::Trees => InodeKey::Trees,
            Self::Link { name, ending } => InodeKey::Link(name.clone(), ending.clone()),
            Self::Image { id, format, .. } => InodeKey::Image(*id, format.clone()),
            Self::TreeTop { id, .. } => InodeKey::Tree(*id, Vec::new()),
            Self::Entry { id, entry, .. } => InodeKey::Tree(*id, entry.path.clone()),
        }
    }
}

/// An inode that the kernel knows.
struct KnownInode {
    inode: Inode,
    /// The number of look-ups that the kernel received and has not forgotten.
    lookups: u64,
}

/// The inodes by number. A number is never used again.
pub(crate) struct InodeTable(Mutex<TableState>);

struct TableState {
    known: HashMap<u64, KnownInode>,
    numbers: HashMap<InodeKey, u64>,
    next: u64,
}

impl InodeTable {
    /// Creates a table of the mounted directory and `tree/`, which are never forgotten.
    pub(crate) fn new() -> Self {
        let mut state =
            TableState { known: HashMap::new(), numbers: HashMap::new(), next: TREES + 1 };
        for (number, inode) in [(TOP, Inode::Top), (TREES, Inode::Trees)] {
            state.numbers.insert(inode.key(), number);
            state.known.insert(number, KnownInode { inode, lookups: u64::MAX / 2 });
        }
        Self(Mutex::new(state))
    }

    fn lock(&self) -> MutexGuard<'_, TableState> {
        lock(&self.0)
    }

    /// Returns inode `number`, if it is known.
    pub(crate) fn get(&self, number: u64) -> Option<Inode> {
        self.lock().known.get(&number).map(|known| known.inode.clone())
    }

    /// Counts a look-up of `inode`, and returns its number.
    pub(crate) fn look_up(&self, inode: Inode) -> u64 {
        let mut state = self.lock();
        let key = inode.key();
        let number = match state.numbers.get(&key) {
            Some(number) => *number,
            None => {
                let number = state.next;
                state.next += 1;
                state.numbers.insert(key, number);
                number
            }
        };
        state.known.entry(number).or_insert(KnownInode { inode, lookups: 0 }).lookups += 1;
        number
    }

    /// Subtracts `count` look-ups that the kernel has forgotten, and removes the inode at zero.
    pub(crate) fn forget(&self, number: u64, count: u64) {
        let mut state = self.lock();
        let Some(known) = state.known.get_mut(&number) else { return };
        known.lookups = known.lookups.saturating_sub(count);
        if known.lookups == 0 {
            let key = known.inode.key();
            state.known.remove(&number);
            state.numbers.remove(&key);
        }
    }

    /// Returns the number of inodes.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.lock().known.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(name: &str) -> Inode {
        Inode::Link { name: name.into(), ending: ".tar".into() }
    }

    #[test]
    fn an_inode_is_kept_while_the_kernel_knows_it() {
        let table = InodeTable::new();
        let a = table.look_up(link("a"));
        assert_eq!(table.look_up(link("a")), a);
        let b = table.look_up(link("b"));
        assert_ne!(a, b);
        assert_eq!(table.count(), 4);
        table.forget(a, 1);
        assert!(table.get(a).is_some());
        table.forget(a, 1);
        assert!(table.get(a).is_none());
        let again = table.look_up(link("a"));
        assert!(again > b, "a number is not used again");
        table.forget(TOP, 5);
        assert!(table.get(TOP).is_some());
    }
}
