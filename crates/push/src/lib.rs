//! Pushing: a source becomes a revision of a store.
//!
//! | function | source |
//! |---|---|
//! | [`push()`] | a source that is walked as a whole, such as a directory |
//! | [`push_series`] | what has changed from revision to revision, such as commits; or an archive |
//! | [`copy::Copier`] | another store |

mod attempt;
mod by_digest;
pub mod copy;
mod entry;
mod faults;
mod file;
mod nodes;
mod options;
mod ordered;
mod outcome;
mod parent;
mod pipeline;
mod progress;
mod push;
mod pushed_ref;
mod readers;
pub mod series;
mod start;
mod whole;

pub use options::{OpenWorkingIndex, PushOptions, Source};
pub use outcome::PushOutcome;
pub use push::push;
pub use series::push_series;
