//! Which lane a record goes to: numbers of lanes, and the lane that a thread has for itself.

use super::lane::Lane;

/// The number of the lane that all threads share.
pub(super) const SHARED: u8 = 0;
/// The number of no lane: only records in sealed packs count as known.
pub(super) const NO_LANE: u8 = u8::MAX - 1;
/// The number of all packs that are sealed.
pub(super) const SEALED: u8 = u8::MAX;

/// The lane of one thread, for contents that are too large to be written at once. It is opened when
/// the first such content is written.
pub struct OwnLane {
    pub(super) lane: Option<Lane>,
    pub(super) number: u8,
}

impl OwnLane {
    /// Returns the lane of a thread; the threads of one push are numbered from 0.
    pub fn of_thread(number: usize) -> Self {
        let number = u8::try_from(number + 1).unwrap_or(NO_LANE).min(NO_LANE - 1);
        Self { lane: None, number }
    }
}
