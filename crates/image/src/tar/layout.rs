//! The offsets of an entry's parts in an image.

use crate::tar::Align;
use freestone_core::limits::TAR_BLOCK_BYTES;
use freestone_core::{Error, Measure, Result, path};
use freestone_manifest::Entry;

/// The unit at which the first entry starts, after the `g` header and its payload.
pub(crate) const FIRST_UNIT: u64 = 2;

/// Returns the number of fillers in an image with this number of entries that have no entry after
/// them. It is 1 for an image without entries, however it is aligned, because Python's `tarfile`
/// takes an archive that has only a `g` header for damaged.
pub(crate) fn fillers_of_nothing(entries: u64) -> u64 {
    u64::from(entries == 0)
}

/// The offsets of an entry's parts, in units of 512 bytes from the image's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntryUnits {
    /// The number of fillers before its headers.
    pub(crate) fillers: u64,
    /// The first unit of its data.
    pub(crate) data: u64,
    /// The unit after its last one.
    pub(crate) end: u64,
}

impl EntryUnits {
    /// Returns the offsets of the parts of `entry`, which starts, with its fillers, at `start`.
    ///
    /// # Errors
    /// Tar cannot express the entry, or not in an image of less than 2^64 bytes.
    pub(crate) fn of(entry: &Entry, start: u64, align: Align) -> Result<Self> {
        let (measure, headers, data) = match entry.measure() {
            Measure::Reset(headers, data) if align == Align::None => {
                (Measure::Rigid(headers).then(Measure::Rigid(data)), headers, data)
            }
            measure @ Measure::Reset(headers, data) => (measure, headers, data),
            measure @ Measure::Rigid(all) => {
                let data = entry.size().unwrap_or(0).div_ceil(TAR_BLOCK_BYTES);
                (measure, all - data, data)
            }
            Measure::Inexpressible => (Measure::Inexpressible, 0, 0),
        };
        let end = measure.end(start).filter(|end| end.checked_mul(TAR_BLOCK_BYTES).is_some());
        let end = end.ok_or_else(|| {
            let path = path::display(&entry.path);
            Error::refused(format!("{path}: tar cannot hold this entry at unit {start}"))
        })?;
        Ok(Self { fillers: end - data - headers - start, data: end - data, end })
    }
}
