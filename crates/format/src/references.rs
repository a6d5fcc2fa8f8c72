//! Ids that are stored as references to the table of their own pack.
//!
//! A manifest node is mostly ids, which no codec makes shorter, and those of what came with it in
//! the same pack stand in the pack's table already. Codec 4 leaves such ids out:
//!
//! ```text
//! stored  count | gap, distance … | one zstd frame of all else, over the base
//! ```
//! All are varints. The gap is how many plain bytes stand between the id before, or the beginning,
//! and this one; the distance leads from the record's own place in the table back to that whose id
//! it is: twice that number of places, or for one after it, twice the number forward less one.

use crate::frame::decompress;
use freestone_core::wire::{Reader, Writer};
use freestone_core::{Error, Id, Result};

const ID_BYTES: usize = 32;

/// An id that is left out: the plain bytes between the id before and it, and a record of the table.
pub type Reference = (usize, usize);

/// Writes what comes before the frame: for each id the gap before it and its record's place in
/// the table; `own` is the place of the record that holds them.
pub fn encode(references: &[Reference], own: usize, out: &mut Writer) {
    out.varint(references.len() as u64);
    for (gap, at) in references {
        out.varint(*gap as u64);
        out.varint(match own.checked_sub(*at) {
            Some(back) => 2 * back as u64,
            None => 2 * (at - own) as u64 - 1,
        });
    }
}

/// Parts stored bytes into references, each with its gap and place, and the frame.
///
/// # Errors
/// They are not such bytes, or hold more ids than `plain` bytes can.
pub fn decode(stored: &[u8], own: usize, plain: usize) -> Result<(Vec<Reference>, &[u8])> {
    let wrong = || Error::corrupt("its references cannot be right");
    let mut input = Reader::new(stored);
    let count = usize::try_from(input.varint()?).map_err(|_| wrong())?;
    if count > plain / ID_BYTES {
        return Err(wrong());
    }
    let mut references = Vec::with_capacity(count);
    let mut end = 0usize;
    for _ in 0..count {
        let gap = usize::try_from(input.varint()?).map_err(|_| wrong())?;
        let distance = usize::try_from(input.varint()?).map_err(|_| wrong())?;
        let at = match distance % 2 {
            0 => own.checked_sub(distance / 2),
            _ => own.checked_add(distance / 2 + 1),
        };
        end = end.checked_add(gap).and_then(|at| at.checked_add(ID_BYTES)).ok_or_else(wrong)?;
        if end > plain {
            return Err(wrong());
        }
        references.push((gap, at.ok_or_else(wrong)?));
    }
    Ok((references, input.rest()))
}

/// Returns how many of a record's plain bytes its references stand for.
pub fn bytes(references: &[Reference]) -> usize {
    ID_BYTES * references.len()
}

/// Puts ids back where they were left out of `rest`.
///
/// # Errors
/// The table has no such record.
pub fn restore(
    rest: &[u8],
    references: &[Reference],
    id: &dyn Fn(usize) -> Option<Id>,
) -> Result<Vec<u8>> {
    let wrong = || Error::corrupt("it refers to what its pack does not hold");
    let mut out = Vec::with_capacity(rest.len() + bytes(references));
    let mut rest = rest;
    for (gap, at) in references {
        let (before, behind) = rest.split_at_checked(*gap).ok_or_else(wrong)?;
        out.extend_from_slice(before);
        out.extend_from_slice(&id(*at).ok_or_else(wrong)?.0);
        rest = behind;
    }
    out.extend_from_slice(rest);
    Ok(out)
}

/// Leaves the ids at `places` of `plain`, which ascend, out; gives the rest, and the gap before
/// each.
pub fn leave_out(plain: &[u8], places: &[usize]) -> (Vec<u8>, Vec<usize>) {
    let mut rest = Vec::with_capacity(plain.len());
    let mut gaps = Vec::with_capacity(places.len());
    let mut end = 0;
    for place in places {
        gaps.push(place - end);
        rest.extend_from_slice(&plain[end..*place]);
        end = place + ID_BYTES;
    }
    rest.extend_from_slice(&plain[end..]);
    (rest, gaps)
}

/// Decodes what is stored with codec 4 by the record in place `own` of a table that `id` gives.
///
/// # Errors
/// The references or the frame are damaged, or the table does not have a place that they name.
pub fn decode_ids(
    stored: &[u8],
    own: usize,
    base: Option<&[u8]>,
    plain: usize,
    id: &dyn Fn(usize) -> Option<Id>,
) -> Result<Vec<u8>> {
    let (references, frame) = decode(stored, own, plain)?;
    let rest = decompress(frame, base, plain - bytes(&references))?;
    restore(&rest, &references, id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_left_out_comes_back(
            parts in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..50), 0..200usize), 0..20),
            last in prop::collection::vec(any::<u8>(), 0..50),
            own in 0..200usize, at in any::<prop::sample::Index>(), byte in any::<u8>(),
        ) {
            let id = |at: usize| (at < 200).then(|| freestone_core::digest::plain(&at.to_le_bytes()));
            let mut plain = Vec::new();
            let (mut places, mut targets) = (Vec::new(), Vec::new());
            for (part, target) in &parts {
                plain.extend_from_slice(part);
                places.push(plain.len());
                targets.push(*target);
                plain.extend_from_slice(&id(*target).unwrap().0);
            }
            plain.extend_from_slice(&last);
            let (rest, gaps) = leave_out(&plain, &places);
            let references: Vec<_> = gaps.into_iter().zip(targets).collect();
            let mut out = Writer::default();
            encode(&references, own, &mut out);
            out.raw(b"frame");
            let stored = out.into_bytes();
            let (found, frame) = decode(&stored, own, plain.len()).unwrap();
            prop_assert_eq!((&found, frame), (&references, &b"frame"[..]));
            prop_assert_eq!(&restore(&rest, &found, &id).unwrap(), &plain);

            let mut damaged = stored.clone();
            let at = at.index(damaged.len());
            damaged[at] = byte;
            if let Ok((found, _)) = decode(&damaged, own, plain.len()) {
                prop_assert!(bytes(&found) <= plain.len());
                let _ = restore(&rest, &found, &id);
            }
            let _ = decode(&stored[..at], own, plain.len());
        }
    }
}
