//! One try of a push.

use crate::options::{PushOptions, Source};
use crate::outcome::Walked;
use crate::progress::Progress;
use freestone_core::Result;
use freestone_store::Store;
use freestone_store::write::{Writer, live_set};
use std::sync::atomic::AtomicBool;

/// One try of a push. A push that loses a race to another one may try again.
pub(crate) struct Attempt<'a> {
    pub(crate) store: &'a Store,
    pub(crate) source: &'a Source<'a>,
    pub(crate) options: &'a PushOptions,
    pub(crate) progress: &'a Progress<'a>,
    /// Set when the push fails for a reason that is gone if it begins again: a file changed between
    /// being hashed and being stored, or a collection removes what the push has found.
    pub(crate) moved: AtomicBool,
}

/// What a try has made, except for the revision.
pub(crate) struct Made {
    pub(crate) walked: Walked,
    /// The writer that has the contents and nodes; none if it is certain that there is nothing to
    /// write.
    pub(crate) writer: Option<Writer>,
}

impl Attempt<'_> {
    /// Returns a writer, for the records that are live now.
    ///
    /// # Errors
    /// The index cannot be listed.
    pub(crate) fn writer(&self) -> Result<Writer> {
        Ok(Writer::new(self.store, live_set(self.store)?, self.options.writer()))
    }
}
