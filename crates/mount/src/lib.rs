//! Images and trees of revisions as a FUSE file system, without writing any of them.
//!
//! ```text
//! DIR/<id>.tar            the image of a revision, and so for every format
//! DIR/REF.tar             a link to it; any other name of a revision works too, but is not listed
//! DIR/tree/<id>/…         the files of a revision
//! DIR/tree/REV            a link to it
//! ```
//! A `/` in the name of a ref is written `%2F`, as in a store. A path that has an id in it never
//! changes, so the kernel may cache everything about it, its bytes too. Only links follow a ref.
//!
//! This crate does not know stores: the file system asks an implementation of [`Revisions`].
//! Several threads serve the kernel's requests. Memory is bounded: all files share one cache of
//! chunks that were read in part, whose size is in [`MountOptions`], and an inode is kept only
//! while the kernel knows it.

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
