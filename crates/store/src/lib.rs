//! The store: contents kept once across all revisions, proven when they are read.
pub mod format;
