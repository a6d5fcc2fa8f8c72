//! Reading what a lane holds, so that a later record can have it as its base.

use super::{At, Lane, LaneRecord};
use crate::read::packs::Packs;
use crate::write::bases::{BasePlace, Basis, skip};
use freestone_core::{Error, Id, Result};
use freestone_format::frame::decompress;
use freestone_format::record::{Codec, RecordKind};
use freestone_format::references;
use std::os::unix::fs::FileExt;

impl Lane {
    /// Returns depth and version of a record whose base is `base`.
    pub(super) fn chain(&self, base: Option<&BasePlace>) -> (usize, u64) {
        match base {
            None => (0, 0),
            Some(BasePlace::Pack { .. }) => (1, 1),
            Some(BasePlace::Lane { number, version, .. }) => {
                (self.records[*number].depth + 1, *version)
            }
        }
    }

    /// Returns the base that the next version of the record `id` may have, with up to `depth_max`
    /// bases below that version; `None` if the lane does not hold the record.
    ///
    /// # Errors
    /// The base cannot be read.
    pub fn basis(
        &self,
        kind: RecordKind,
        id: &Id,
        depth_max: usize,
        packs: &Packs,
    ) -> Result<Option<Basis>> {
        let Some(mut number) = self.known.get(&(kind, *id)).copied() else { return Ok(None) };
        let version = self.records[number].version + 1;
        let wanted = version - skip(version, depth_max);
        loop {
            let record = &self.records[number];
            if record.version <= wanted && record.depth < depth_max {
                break;
            }
            match &record.base {
                Some(BasePlace::Lane { number: below, .. }) => number = *below,
                // The first of the chain is in another pack.
                Some(place @ BasePlace::Pack { .. }) => {
                    let bytes = read_base(place, packs)?;
                    return Ok(Some(Basis { place: place.clone(), bytes }));
                }
                None => break,
            }
        }
        let bytes = self.read(number, packs)?;
        let place = BasePlace::Lane { lane: self.number, number, version };
        Ok(Some(Basis { place, bytes }))
    }

    /// Returns the first record of the chain of the record `id`, as the base of another chain;
    /// `None` if the lane does not hold the record.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn first(&self, kind: RecordKind, id: &Id, packs: &Packs) -> Result<Option<Basis>> {
        let Some(mut number) = self.known.get(&(kind, *id)).copied() else { return Ok(None) };
        while let Some(BasePlace::Lane { number: below, .. }) = self.records[number].base {
            number = below;
        }
        let bytes = self.read(number, packs)?;
        let place = BasePlace::Lane { lane: self.number, number, version: 1 };
        Ok(Some(Basis { place, bytes }))
    }

    /// Decodes a record. It was written by this process, from bytes whose id was computed.
    pub(super) fn read(&self, number: usize, packs: &Packs) -> Result<Vec<u8>> {
        let record = &self.records[number];
        let base = match &record.base {
            None => None,
            Some(BasePlace::Lane { number, .. }) => Some(self.read(*number, packs)?),
            Some(place) => Some(read_base(place, packs)?),
        };
        let stored = self.stored(record)?;
        if record.codec != Codec::ZstdBaseIds {
            return decode(record.codec, stored, base.as_deref(), record.plain);
        }
        let At::Held(_) = record.at else {
            return Err(Error::corrupt(
                "a record with references was written before its pack's end",
            ));
        };
        let left_out = references::bytes(&record.references) as u64;
        let rest = decode(record.codec, stored, base.as_deref(), record.plain - left_out)?;
        let id = |number: usize| self.records.get(number).map(|record| record.id);
        references::restore(&rest, &record.references, &id)
    }

    fn stored(&self, record: &LaneRecord) -> Result<Vec<u8>> {
        let (offset, length) = match &record.at {
            At::Held(stored) => return Ok(stored.clone()),
            At::Written(offset, length, _) => (*offset, *length),
        };
        let mut stored = vec![0; usize::try_from(length).unwrap_or(0)];
        // Part of it may be in the file, and the rest not written yet.
        let in_file = self.written.saturating_sub(offset).min(length);
        let (front, back) = stored.split_at_mut(usize::try_from(in_file).unwrap_or(0));
        self.spool
            .file()
            .read_exact_at(front, offset)
            .map_err(|error| Error::io("cannot read a pack that is being written", error))?;
        let start = usize::try_from((offset + in_file) - self.written.min(offset + in_file));
        let start = start.unwrap_or(0);
        back.copy_from_slice(&self.buffer[start..start + back.len()]);
        Ok(stored)
    }
}

/// Reads a base that is in another pack.
fn read_base(place: &BasePlace, packs: &Packs) -> Result<Vec<u8>> {
    let BasePlace::Pack { pack, offset, stored, plain, codec } = place else {
        return Err(Error::corrupt("a base in no pack"));
    };
    let mut bytes = vec![0; usize::try_from(*stored).unwrap_or(0)];
    packs.read_at(pack, *offset, &mut bytes)?;
    decode(*codec, bytes, None, *plain)
}

fn decode(codec: Codec, stored: Vec<u8>, base: Option<&[u8]>, plain: u64) -> Result<Vec<u8>> {
    let plain = usize::try_from(plain).unwrap_or(0);
    match codec {
        Codec::Raw => Ok(stored),
        Codec::Zeros => Ok(vec![0; plain]),
        Codec::Zstd | Codec::ZstdBase | Codec::ZstdBaseIds => decompress(&stored, base, plain),
    }
}
