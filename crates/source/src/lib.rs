//! The sources of a push: a directory or an archive, read by the traits of
//! [`freestone_core::item`].
//!
//! [`directory::open`] returns the two halves of a directory. The [`directory::Walk`] lists every
//! file and directory once, in manifest order. The [`directory::Opener`] opens the listed files,
//! from any number of threads. Neither leaves the directory, whatever is renamed or linked in it
//! meanwhile. [`archive::Archive`] reads a tar stream.

pub mod archive;
pub mod directory;
pub mod exclude;
pub mod follow;
pub mod lfs;
pub mod report;
