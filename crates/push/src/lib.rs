//! Pushing: a source becomes a revision of a store.
//!
//! [`push()`] reads a source that is walked as a whole, such as a directory. [`push_series`] makes
//! one or many revisions from what changed between them, such as commits. [`copy::Copier`] copies
//! revisions from one store to another.

mod by_digest;
pub mod copy;
mod derive;
mod file;
mod pipeline;
mod push;
pub mod series;

pub use push::{OpenWorkingIndex, PushOptions, PushOutcome, PushProgress, Source, push};
pub use series::push_series;
