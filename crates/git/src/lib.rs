//! Git commits as sources of a push, and revisions as git commits.
//!
//! | module | holds |
//! |---|---|
//! | [`Repository`] | a repository that is open for reading, by many threads |
//! | [`Commit`] | a commit, with the fields that revisions keep |
//! | [`Chain`] | the first-parent history of a commit |
//! | [`tree`] | the tree of a commit as a source: all of it, or the differences from another tree |
//! | [`Variables`] | what git tells a hook about objects in quarantine |
//! | [`mod@write`] | a bare repository that is written: objects, edited trees, branches |
//!
//! A repository is not trusted. Each object that is read is hashed and compared with its id; the
//! length of what is read is bounded; a repository's own files are never waited for. The bytes of a
//! tree are not trusted either. A name that cannot be in a manifest, that occurs twice, or
//! that is malformed is an error, and never becomes a path.

mod alternates;
mod ancestry;
mod blob;
mod chain;
mod commit;
mod entry;
mod faults;
mod large;
mod links;
mod name;
mod objects;
mod own_file;
mod paths;
mod reflog;
mod refs;
mod repository;
pub mod tree;
mod turn;
mod variables;
pub mod write;

pub use blob::Blobs;
pub use chain::Chain;
pub use commit::Commit;
pub use gix_hash::ObjectId;
pub use repository::Repository;
pub use variables::Variables;
