//! Starting to write to the medium early, so that the final sync has little left to do.

use std::fs::File;
use std::num::NonZeroU64;

/// Asks the system to start writing a range that was just written to the medium, without waiting.
///
/// The advice "not needed" makes Linux start with the dirty pages of the range. Then it drops the
/// clean ones, but none of the pages that were just written is clean, so the image stays in memory.
pub(crate) fn start(file: &File, offset: u64, length: u64) {
    // It is only advice: the sync writes what was not started now.
    let length = NonZeroU64::new(length);
    if length.is_some() {
        let _ = rustix::fs::fadvise(file, offset, length, rustix::fs::Advice::DontNeed);
    }
}
