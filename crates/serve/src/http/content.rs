//! A file's content as something to read from: an image that is nothing but one content.

use freestone_core::{Extent, Id, Plan, Result};
use freestone_manifest::content;
use freestone_store::Records;
use std::ops::Range;

/// The layout of one content.
pub struct ContentPlan {
    pub records: Records,
    pub id: Id,
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
