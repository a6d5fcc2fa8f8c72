//! What a series yields.

use freestone_core::item::{ChangeSource, FileOpener, StreamSource};
use freestone_core::{Id, Result};
use freestone_format::revision::Revision;
use std::collections::BTreeMap;

/// A revision that is to be made.
pub struct Step<'a> {
    /// Its content.
    pub items: Items<'a>,
    /// Opens the bytes of files by their names.
    pub opener: &'a dyn FileOpener,
    /// When it was made: seconds since 1970.
    pub time: i64,
    /// The message of its maker. Without one, any message of the parent counts as the same.
    pub message: Option<String>,
    /// Labels. The source adds some at its end.
    pub labels: BTreeMap<String, String>,
}

/// The content of a step, as its source reports it.
pub enum Items<'a> {
    /// All entries.
    All(Box<dyn ChangeSource + 'a>),
    /// The entries that have changed since the parent.
    Changes(Box<dyn ChangeSource + 'a>),
    /// All entries, in no order: first the bytes, then the paths.
    Stream(&'a mut dyn StreamSource),
}

/// Revisions that are to be made, each on top of the one before.
pub trait Series {
    /// Begins on top of `parent`. Called again if another push was first.
    ///
    /// # Errors
    /// The series cannot continue from this parent.
    fn begin(&mut self, parent: Option<(&Id, &Revision)>) -> Result<()>;

    /// Returns the next revision, on top of `parent`, the one made last; `None` after the last.
    ///
    /// # Errors
    /// The source cannot be read.
    fn next(&mut self, parent: Option<(&Id, &Revision)>) -> Result<Option<Step<'_>>>;
}
