//! A content as an image, so that it can be read by ranges.

use freestone_core::{Extent, Id, Plan, Result};
use freestone_manifest::content;
use freestone_store::Records;
use std::ops::Range;

/// The plan of an image that is one content.
pub struct ContentPlan {
    /// The records that hold it.
    pub records: Records,
    /// The content id.
    pub id: Id,
    /// The length in bytes.
    pub size: u64,
}

impl Plan for ContentPlan {
    fn length(&self) -> u64 {
        self.size
    }

    fn extents(&self, range: Range<u64>, each: &mut dyn FnMut(Extent) -> Result<()>) -> Result<()> {
        content::pieces(&self.records, &self.id, self.size, None, range, each)
    }

    fn identity(&self) -> String {
        format!("content {}", self.id)
    }
}
