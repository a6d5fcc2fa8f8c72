//! Git's commits as sources of freestone, and revisions as git's commits.
//!
//! | module | holds |
//! |---|---|
//! | [`Repository`] | a repository that is open for reading, by many threads |
//! | [`Commit`] | what a commit says |
//! | [`Chain`] | commits, each with its first parent |
//! | [`tree`] | a commit's tree as changes: all of it, or what differs from another tree |
//! | [`mod@write`] | a bare repository to be written: objects, trees by what changed, branches |
//!
//! Trees are read from bytes that anybody may have made: names that cannot stand in a manifest,
//! that are there twice, or that are no names at all, are errors and never paths.

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
