//! Progress and cancelling of long work.

use crate::{Error, Result};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

static NEVER: AtomicBool = AtomicBool::new(false);

/// The connection of long work to its caller: it reports progress, and asks whether to stop.
///
/// Each operation documents its unit (bytes, records, entries). The numbers given to
/// [`Watch::add`] add up to the total, where [`Watch::set_total`] reported one. Both may be called
/// from any thread of the work.
///
/// ```
/// use freestone_core::Watch;
/// use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
///
/// let (done, cancel) = (AtomicU64::new(0), AtomicBool::new(false));
/// let add = |units| {
///     done.fetch_add(units, Ordering::Relaxed);
/// };
/// let watch = Watch::new(&cancel, &add);
/// watch.step(3)?;
/// assert_eq!(done.load(Ordering::Relaxed), 3);
/// cancel.store(true, Ordering::Relaxed);
/// assert!(watch.check().is_err());
/// # Ok::<(), freestone_core::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    add: &'a (dyn Fn(u64) + Sync),
    total: &'a (dyn Fn(u64) + Sync),
    cancel: &'a AtomicBool,
}

impl Default for Watch<'_> {
    /// Returns a watch that ignores all progress and never cancels.
    fn default() -> Self {
        Self { add: &|_| {}, total: &|_| {}, cancel: &NEVER }
    }
}

impl fmt::Debug for Watch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("is_cancelled", &self.is_cancelled()).finish_non_exhaustive()
    }
}

impl<'a> Watch<'a> {
    /// Returns a watch that reports finished units to `add`. The work stops soon after `cancel` is
    /// set.
    pub fn new(cancel: &'a AtomicBool, add: &'a (dyn Fn(u64) + Sync)) -> Self {
        Self { add, cancel, ..Self::default() }
    }

    /// Returns a watch that only cancels: the work stops soon after `cancel` is set.
    pub fn cancelled_by(cancel: &'a AtomicBool) -> Self {
        Self { cancel, ..Self::default() }
    }

    /// Adds `total`, which receives the number of all units as soon as the work knows it.
    #[must_use]
    pub fn with_total(self, total: &'a (dyn Fn(u64) + Sync)) -> Self {
        Self { total, ..self }
    }

    /// Reports that `units` more are done.
    pub fn add(&self, units: u64) {
        (self.add)(units);
    }

    /// Reports the number of all units. A later call corrects an earlier one.
    pub fn set_total(&self, units: u64) {
        (self.total)(units);
    }

    /// Returns true if the work must stop.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }

    /// Checks that the work may continue.
    ///
    /// # Errors
    /// [`Error::interrupted`] if the work was cancelled.
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::interrupted()) } else { Ok(()) }
    }

    /// Reports `units` more and checks that the work may continue.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn step(&self, units: u64) -> Result<()> {
        self.add(units);
        self.check()
    }
}
