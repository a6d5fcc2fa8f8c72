//! What freestone pushes: a directory or an archive as one stream of core's items.
//!
//! [`directory::open`] gives the two halves of a source. The [`directory::Walk`] lists every file
//! and directory once, in manifest order; the [`directory::Opener`] opens the listed files, from
//! any number of threads. Neither leaves the directory, whatever is renamed or linked under it
//! meanwhile.

pub mod archive;
pub mod directory;
pub mod exclude;
pub mod follow;
pub mod report;
