//! Starting to write to the medium before the end, so that the last sync has little left to do.

use std::fs::File;
use std::num::NonZeroU64;

/// Lets the system start to write out a range that was just written, without waiting for it.
///
/// "Not needed" makes Linux start with the dirty pages of the range. It then drops the clean ones,
/// but of what was written just now there are none: the image stays in memory.
pub(crate) fn start(file: &File, offset: u64, length: u64) {
    // It is advice: what is not started now, the sync does.
    let length = NonZeroU64::new(length);
    if length.is_some() {
        let _ = rustix::fs::fadvise(file, offset, length, rustix::fs::Advice::DontNeed);
    }
}
