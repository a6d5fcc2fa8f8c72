//! Requests for ranges that are missing: ranges that are close together become one request.
//!
//! A gap within a request costs its bytes; a request less saves a round trip. Gaps are taken
//! smallest first, as long as all of them together stay below a twenty-fifth of what is needed. So
//! no more than 1.05 times that is received, with the revision and its index. No gap is longer than
//! what arrives during a round trip.

use freestone_core::Id;
use std::ops::Range;

/// The longest gap within a request: what 12 MB/s bring in 20 ms.
const GAP_BYTES_MAX: u64 = 256 << 10;
/// A gap of this length is allowed in a small need, whatever its share.
const GAPS_BYTES_MIN: u64 = 4096;
/// Below this a need is small.
const SMALL_BYTES: u64 = 100 << 10;
/// The longest request, unless a single record is longer: it bounds what is held of each.
pub(crate) const REQUEST_BYTES_MAX: u64 = 8 << 20;

/// A range of a pack, to be fetched with one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) pack: Id,
    pub(crate) range: Range<u64>,
}

/// Returns the requests that fetch `ranges`, which are sorted by pack and offset, and may overlap.
pub(crate) fn coalesce(ranges: &[(Id, Range<u64>)]) -> Vec<Request> {
    let mut requests: Vec<Request> = Vec::new();
    for (pack, range) in ranges {
        match requests.last_mut() {
            Some(last)
                if last.pack == *pack
                    && range.start <= last.range.end
                    && fits(&last.range, range) =>
            {
                last.range.end = last.range.end.max(range.end);
            }
            _ => requests.push(Request { pack: *pack, range: range.clone() }),
        }
    }
    let needed: u64 = requests.iter().map(|request| length(&request.range)).sum();
    let mut budget = match needed {
        small if small < SMALL_BYTES => GAPS_BYTES_MIN,
        _ => needed / 25,
    };
    let mut gaps: Vec<(u64, usize)> = requests
        .windows(2)
        .enumerate()
        .filter_map(|(at, pair)| {
            let gap = pair[1].range.start.checked_sub(pair[0].range.end)?;
            (pair[0].pack == pair[1].pack && gap <= GAP_BYTES_MAX).then_some((gap, at))
        })
        .collect();
    gaps.sort_unstable();
    let mut joined = vec![false; requests.len()];
    for (gap, at) in gaps {
        if gap > budget {
            break;
        }
        budget -= gap;
        joined[at] = true;
    }
    let mut out: Vec<Request> = Vec::new();
    let mut join = false;
    for (request, join_next) in requests.into_iter().zip(joined) {
        match out.last_mut() {
            Some(last) if join && fits(&last.range, &request.range) => {
                last.range.end = last.range.end.max(request.range.end);
            }
            _ => out.push(request),
        }
        join = join_next;
    }
    out
}

fn length(range: &Range<u64>) -> u64 {
    range.end - range.start
}

fn fits(first: &Range<u64>, next: &Range<u64>) -> bool {
    next.end.max(first.end) - first.start <= REQUEST_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_range_is_in_one_request_and_gaps_stay_a_small_share(
            seeds in prop::collection::vec((0..3u8, 0..40_000_000u64, 1..3_000_000u64), 1..60)
        ) {
            let mut ranges: Vec<(Id, Range<u64>)> = seeds
                .into_iter()
                .map(|(pack, start, length)| (Id([pack; 32]), start..start + length))
                .collect();
            ranges.sort_by_key(|(pack, range)| (*pack, range.start, range.end));
            let mut needed = std::collections::BTreeMap::<Id, freestone_format::runs::Runs>::new();
            for (pack, range) in &ranges {
                needed.entry(*pack).or_default().add(range.clone());
            }
            let needed: u64 = needed.values().map(freestone_format::runs::Runs::bytes).sum();
            let requests = coalesce(&ranges);
            for (pack, range) in &ranges {
                prop_assert!(requests.iter().any(|request| request.pack == *pack
                    && request.range.start <= range.start && request.range.end >= range.end));
            }
            for request in &requests {
                prop_assert!(length(&request.range) <= REQUEST_BYTES_MAX);
            }
            // Ranges that overlap across the end of a request are fetched twice. Records do not.
            let overlaps = ranges.windows(2).any(|pair|
                pair[0].0 == pair[1].0 && pair[1].1.start < pair[0].1.end);
            let fetched: u64 = requests.iter().map(|request| length(&request.range)).sum();
            prop_assert!(overlaps || fetched <= needed + (needed / 25).max(GAPS_BYTES_MIN));
        }
    }

    #[test]
    #[allow(clippy::single_range_in_vec_init, reason = "one range is what comes out")]
    fn neighbours_become_one_request_and_small_gaps_go_first() {
        let pack = Id([1; 32]);
        let of = |ranges: &[Range<u64>]| {
            let ranges: Vec<_> = ranges.iter().map(|range| (pack, range.clone())).collect();
            coalesce(&ranges).into_iter().map(|request| request.range).collect::<Vec<_>>()
        };
        assert_eq!(of(&[0..10, 10..20]), [0..20]);
        assert_eq!(of(&[0..10, 4106..4200]), [0..4200]);
        assert_eq!(of(&[0..10, 4107..4200]), [0..10, 4107..4200]);
        // 40,000 bytes of gaps are allowed: the one of 30,000 and that of 5,000, not that of 39,000.
        let million = 1_000_000;
        assert_eq!(
            of(&[
                0..million / 4,
                million / 4 + 39_000..million / 2,
                million / 2 + 5_000..million,
                million + 30_000..million + 44_000
            ]),
            [0..million / 4, million / 4 + 39_000..million + 44_000]
        );
    }
}
