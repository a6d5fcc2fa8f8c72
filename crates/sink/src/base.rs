//! The extents that a target already holds, known from a layout and not by reading the target.

use crate::head::HEAD_BYTES;
use crate::image::extents;
use freestone_core::{Extent, ExtentSource, Plan, Result};
use std::ops::Range;

/// The extents of one window of the image that the target already holds.
pub(crate) struct Base(Vec<Extent>);

impl Base {
    /// Collects the part of `plan`, the layout of the target, that intersects `window`.
    ///
    /// # Errors
    /// The plan fails, or contradicts itself.
    pub(crate) fn of(plan: &dyn Plan, window: &Range<u64>) -> Result<Self> {
        let mut held = Vec::new();
        let window = window.start..window.end.min(plan.length());
        if !window.is_empty() {
            extents(plan, window, &mut |extent| {
                held.push(extent);
                Ok(())
            })?;
        }
        Ok(Self(held))
    }

    /// Returns true if the target already holds the `part` of `extent` at the offset where the
    /// image has it. The first bytes never count, because the *unfinished* mark overwrites them.
    pub(crate) fn has(&self, extent: &Extent, part: Range<u64>) -> bool {
        if part.start < HEAD_BYTES as u64 {
            return false;
        }
        if extent.source != ExtentSource::Zeros {
            let at = self.0.binary_search_by_key(&extent.offset, |held| held.offset);
            return at.is_ok_and(|at| self.0[at] == *extent);
        }
        let first = self.0.partition_point(|held| held.end() <= part.start);
        let mut covered = part.start;
        for held in &self.0[first..] {
            if held.source != ExtentSource::Zeros || held.offset > covered {
                break;
            }
            covered = held.end();
            if covered >= part.end {
                return true;
            }
        }
        false
    }
}
