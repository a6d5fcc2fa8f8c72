//! Telling a blank device from one that holds something.
//!
//! Up to 256 MiB are read whole. Of a larger device these are read, and all of them must be zeros:
//!
//! | part | what is there |
//! |---|---|
//! | the first and the last 16 MiB | partition tables and their copies; the signatures of file systems, RAID, volume managers and encryption; the first superblocks |
//! | 1 MiB at each power of two from 32 MiB on | copies of superblocks (btrfs, ext4), and where partitions often begin |
//! | 64 KiB at each of 2,048 places at equal distances | contents |
//!
//! At most 230 MiB are read, however large the device is. What is only between these places is not
//! seen: that a device counts as blank does not prove that it is.

use crate::zeros::{ZEROS, are_zeros};
use freestone_core::wire::to_usize;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// A device up to this length is read whole to see whether it is blank; of a longer one, samples.
const WHOLE_BYTES_MAX: u64 = 256 << 20;
const END_BYTES: u64 = 16 << 20;
const POWER_BYTES: u64 = 1 << 20;
const SAMPLE_BYTES: u64 = 64 << 10;
const SAMPLES: u64 = 2048;
/// How much is read at a time.
const READ_BYTES: u64 = 1 << 20;

/// Returns true if nothing but zeros was found on a device of `size` bytes, where it was looked at.
///
/// # Errors
/// It cannot be read.
pub(super) fn is_blank(device: &impl FileExt, size: u64) -> io::Result<bool> {
    let mut buffer = vec![0; to_usize(READ_BYTES.min(size))];
    for range in looked_at(size) {
        let mut at = range.start;
        while at < range.end {
            let length = to_usize((range.end - at).min(READ_BYTES));
            device.read_exact_at(&mut buffer[..length], at)?;
            if !buffer[..length].chunks(ZEROS.len()).all(are_zeros) {
                return Ok(false);
            }
            at += length as u64;
        }
    }
    Ok(true)
}

/// Returns the ranges of a device of `size` bytes that are looked at, those with the most
/// signatures first.
fn looked_at(size: u64) -> Vec<Range<u64>> {
    let mut ranges = Vec::new();
    if size <= WHOLE_BYTES_MAX {
        ranges.push(0..size);
        return ranges;
    }
    ranges.extend([0..END_BYTES, size - END_BYTES..size]);
    let powers = (25..63).map(|bit| 1u64 << bit).take_while(|at| *at < size);
    ranges.extend(powers.map(|at| at..size.min(at + POWER_BYTES)));
    // The distance is a whole number of samples, so that reads are aligned.
    let distance = size / SAMPLES / SAMPLE_BYTES * SAMPLE_BYTES;
    let samples = (0..SAMPLES).map(|number| number * distance.max(SAMPLE_BYTES));
    ranges.extend(samples.map(|at| at..size.min(at + SAMPLE_BYTES)).filter(|r| !r.is_empty()));
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Zeros with one other byte.
    struct OneByte(Option<u64>);

    impl FileExt for OneByte {
        fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
            out.fill(0);
            if let Some(at) = self.0.and_then(|at| at.checked_sub(offset))
                && at < out.len() as u64
            {
                out[to_usize(at)] = 1;
            }
            Ok(out.len())
        }

        fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    #[test]
    fn every_byte_of_a_small_device_counts() {
        for size in [4096, 1 << 20, (32 << 20) + 512, WHOLE_BYTES_MAX] {
            assert!(is_blank(&OneByte(None), size).unwrap());
            for at in [0, 1, size / 3, size / 2, size / 16 + 7, size - 1] {
                assert!(!is_blank(&OneByte(Some(at)), size).unwrap(), "{at} of {size}");
            }
        }
    }

    #[test]
    fn what_is_large_on_a_large_device_is_found_and_little_is_read() {
        for size in [WHOLE_BYTES_MAX + 4096, 1 << 30, (1 << 40) + 4096, 1 << 50] {
            assert!(is_blank(&OneByte(None), size).unwrap());
            let mut ranges = looked_at(size);
            let sum: u64 = ranges.iter().map(|range| range.end - range.start).sum();
            assert!(sum <= 230 << 20, "{size}: {sum}");
            let signatures = [510, 65_600, END_BYTES - 1, 64 << 20, 128 << 20, size - END_BYTES];
            for at in signatures.into_iter().chain([size - 4096, size - 1]) {
                assert!(!is_blank(&OneByte(Some(at)), size).unwrap(), "{at} of {size}");
            }
            // Any run of data that is a little longer than the distance of two places is found.
            ranges.sort_by_key(|range| range.start);
            let mut end = 0;
            for range in ranges {
                assert!(range.start <= end + size / SAMPLES, "{size}: {range:?} after {end}");
                end = end.max(range.end);
            }
            assert_eq!(end, size);
        }
    }
}
