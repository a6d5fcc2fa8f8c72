//! Git commits as sources of a push, and revisions as git commits.
//!
//! | module | holds |
//! |---|---|
//! | [`Repository`] | a repository that is open for reading, by many threads |
//! | [`Commit`] | a commit, with the fields that revisions keep |
//! | [`Chain`] | the first-parent history of a commit |
//! | [`tree`] | the tree of a commit as a source: all of it, or the differences from another tree |
//! | [`mod@write`] | a bare repository that is written: objects, edited trees, branches |
//!
//! The bytes of a tree are not trusted. A name that cannot be in a manifest, that occurs twice, or
//! that is malformed is an error, and never becomes a path.

mod blob;
mod chain;
mod commit;
mod entry;
mod links;
mod name;
mod repository;
pub mod tree;
pub mod write;

pub use blob::Blobs;
pub use chain::Chain;
pub use commit::Commit;
pub use gix_hash::ObjectId;
pub use repository::Repository;
