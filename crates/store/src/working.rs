//! The working index of a machine that pushes: what it knows of the directories it pushed from.
//!
//! It lies in `db/` beside the store, is opened for a push and only then, and belongs to one
//! process at a time: who finds it taken goes on without. It is a cache, keyed by the store's id:
//! deleting it costs the next push the hashing of every file and nothing else.
//!
//! ```text
//! key    "meta/store"            value  the store's id
//! key    "n" | name of bytes, such as a git blob's id
//! value  version u8 = 1 | size u64 | SHA-1 | content id
//! key    "s" | source 16 | path, with 0 for /
//! value  version u8 = 1 | device | inode | size | mtime ns | ctime ns (8 bytes each) | SHA-1 | content id
//! ```

use freestone_core::item::FileStamp;
use freestone_core::{Id, Sha1};

/// What the stat cache knows of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KnownFile {
    pub(crate) stamp: FileStamp,
    pub(crate) sha1: Sha1,
    pub(crate) content: Id,
}

#[cfg(feature = "rocksdb")]
mod rocks;
#[cfg(feature = "rocksdb")]
pub(crate) use rocks::{StatCursor, WorkingIndex};

#[cfg(not(feature = "rocksdb"))]
pub(crate) use without::{StatCursor, WorkingIndex};

#[cfg(not(feature = "rocksdb"))]
mod without {
    use super::KnownFile;
    use crate::format::header::StoreId;
    use freestone_core::Result;
    use freestone_core::item::Content;
    use std::path::Path;

    /// No working index: every push hashes every file.
    pub(crate) struct WorkingIndex;
    pub(crate) struct StatCursor;
    pub(crate) struct Closing;

    #[allow(clippy::unused_self, clippy::unnecessary_wraps)] // the shape of the other one
    impl WorkingIndex {
        pub(crate) fn open(_: &Path, _: &StoreId) -> Self {
            Self
        }

        pub(crate) fn none() -> Self {
            Self
        }

        pub(crate) fn destroy(_: &Path) {}

        pub(crate) fn is_open(&mut self) -> bool {
            false
        }

        pub(crate) fn stat_cursor(&mut self, _: Option<&[u8]>) -> StatCursor {
            StatCursor
        }

        pub(crate) fn known(&mut self, _: &mut StatCursor, _: &[u8]) -> Result<Option<KnownFile>> {
            Ok(None)
        }

        pub(crate) fn remember(&mut self, _: Option<&[u8]>, _: &[u8], _: &KnownFile) -> Result<()> {
            Ok(())
        }

        pub(crate) fn named(&mut self, _: &[u8]) -> Option<Content> {
            None
        }

        pub(crate) fn remember_named(&mut self, _: &[u8], _: &Content) -> Result<()> {
            Ok(())
        }

        pub(crate) fn remove_gone(&mut self, _: &mut StatCursor) -> Result<()> {
            Ok(())
        }

        pub(crate) fn close(self) -> Closing {
            Closing
        }
    }
}
