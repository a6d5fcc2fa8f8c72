//! Images and trees of revisions as a FUSE file system, without writing any of them.
//!
//! ```text
//! DIR/<id>.tar            the image of a revision, and so for every format
//! DIR/REF.tar             a link to it; any other name of a revision works too, but is not listed
//! DIR/tree/<id>/…         what is in a revision
//! DIR/tree/REV            a link to it
//! ```
//! A `/` in the name of a ref is written `%2F`, as in a store. What has an id in its path never
//! changes, so the system may keep all that it knows of it, bytes too; only links follow a ref.
//!
//! Nothing of stores is known here: [`Revisions`] is what the file system asks. Requests are
//! served by several threads, and what is held is bounded by [`MountOptions`]: chunks that were read in
//! part in a cache that all files share, a node of the file system only while the kernel knows it.

mod attributes;
mod cache;
mod files;
mod filesystem;
mod inodes;
mod listing;
mod mounted;
mod options;
mod revisions;

pub use mounted::{Mounted, mount};
pub use options::MountOptions;
pub use revisions::{RevisionTree, Revisions, SharedNodes};
