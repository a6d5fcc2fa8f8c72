//! The revisions that the file system shows, looked up one name at a time.

use freestone_core::plan::RawChunks;
use freestone_core::{ChunkSource, Id, NodeSource, Plan, Result};
use std::sync::Arc;

/// The source of a tree's nodes.
pub type SharedNodes = Arc<dyn NodeSource>;

/// The manifest of a revision.
pub type RevisionTree = freestone_manifest::Tree<SharedNodes>;

/// Revisions, their images and trees. Used by many threads at once.
pub trait Revisions: Send + Sync + 'static {
    /// Returns the formats, each as the ending of image names without the dot. All can be opened;
    /// only the first [`listed`](Self::listed) are listed.
    fn formats(&self) -> &[&'static str];

    /// Returns the number of formats that are listed.
    fn listed(&self) -> usize;

    /// Lists the refs, sorted by name, with the revisions that they name now.
    ///
    /// # Errors
    /// The refs cannot be listed.
    fn refs(&self) -> Result<Vec<(String, Id)>>;

    /// Returns the revision that `name` means now, which is an id, a ref or any other name; `None`
    /// if it means none, or more than one.
    ///
    /// # Errors
    /// The name cannot be looked up.
    fn resolve(&self, name: &str) -> Result<Option<Id>>;

    /// Returns the time of revision `id` in seconds since 1970, or `None` if there is no such
    /// revision.
    ///
    /// # Errors
    /// The revision cannot be read.
    fn time(&self, id: &Id) -> Result<Option<i64>>;

    /// Returns the plan of the image of revision `id`, which exists, in `format`, which is one of
    /// [`formats`](Self::formats).
    ///
    /// # Errors
    /// - [`Refused`](freestone_core::ErrorKind::Refused) if the format cannot hold the revision
    /// - the revision cannot be read
    fn plan(&self, id: &Id, format: &str) -> Result<Arc<dyn Plan>>;

    /// Opens the manifest of revision `id`, which exists.
    ///
    /// # Errors
    /// The manifest cannot be read.
    fn tree(&self, id: &Id) -> Result<RevisionTree>;

    /// Returns the source of chunks.
    fn chunks(&self) -> &dyn ChunkSource;

    /// Returns where chunks are stored raw, if this implementation knows.
    fn raw(&self) -> Option<&dyn RawChunks>;
}
