//! The working index of a machine that pushes: what it knows of the directories it pushed from.
//!
//! It is in `db/` in the folder of the user's caches of a store, where nobody else may write. It is
//! opened for a push and only then, and belongs to one process at a time: a push that finds it taken continues without it. It is a cache, keyed by the store's
//! id: deleting it costs the next push the hashing of every file and nothing else.
//!
//! ```text
//! key    "meta/store"            value  the store's id
//! key    "n" | name of bytes, such as a git blob's id
//! value  version u8 = 1 | size u64 | SHA-1 | content id
//! key    "s" | source 16 | path, with 0 for /
//! value  version u8 = 1 | device | inode | size | mtime ns | ctime ns (8 bytes each) | SHA-1 | content id
//! ```

mod rocks;

pub use rocks::{destroy, open};
