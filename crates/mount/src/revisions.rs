//! What the file system shows, asked for a name at a time.

use freestone_core::plan::RawChunks;
use freestone_core::{ChunkSource, Id, NodeSource, Plan, Result};
use std::sync::Arc;

/// The nodes of a tree, wherever they come from.
pub type SharedNodes = Arc<dyn NodeSource>;

/// The manifest of a revision.
pub type RevisionTree = freestone_manifest::Tree<SharedNodes>;

/// Revisions, their images and trees. Used by many threads at once.
pub trait Revisions: Send + Sync + 'static {
    /// The formats: what the names of images end in, without the dot. The first
    /// [`listed`](Self::listed) are listed, all can be opened.
    fn formats(&self) -> &[&'static str];

    /// How many of the formats are listed.
    fn listed(&self) -> usize;

    /// The refs, sorted, and what they name now.
    ///
    /// # Errors
    /// They cannot be listed.
    fn refs(&self) -> Result<Vec<(String, Id)>>;

    /// The revision that `name` means now: an id, a ref or any other name; `None` if there is
    /// none, or more than one.
    ///
    /// # Errors
    /// It cannot be looked up.
    fn resolve(&self, name: &str) -> Result<Option<Id>>;

    /// When the revision `id` was made, in seconds since 1970; `None` if there is none.
    ///
    /// # Errors
    /// It cannot be read.
    fn time(&self, id: &Id) -> Result<Option<i64>>;

    /// The layout of the image of revision `id`, which exists, in `format`, one of
    /// [`formats`](Self::formats).
    ///
    /// # Errors
    /// [`Refused`](freestone_core::ErrorKind::Refused) if the format cannot hold it; it cannot be
    /// read.
    fn plan(&self, id: &Id, format: &str) -> Result<Arc<dyn Plan>>;

    /// The manifest of revision `id`, which exists.
    ///
    /// # Errors
    /// It cannot be read.
    fn tree(&self, id: &Id) -> Result<RevisionTree>;

    /// Where chunks are had.
    fn chunks(&self) -> &dyn ChunkSource;

    /// Where chunks lie as they are, if that is known of any.
    fn raw(&self) -> Option<&dyn RawChunks>;
}
