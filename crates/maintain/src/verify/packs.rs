//! That every record of every pack is what its table says, and is listed where it is.

use super::Verifier;
use super::held::{HeldRecord, HeldWriter, Key};
use crate::reindex::lost;
use crate::sweep;
use freestone_backend::Object;
use freestone_core::digest::sha1_hasher;
use freestone_core::{Error, ErrorKind, Id, Result};
use freestone_format::frame::decompress;
use freestone_format::pack::{self, Base, Row};
use freestone_format::record::{Codec, RecordKind, checksum};
use freestone_format::references::decode_ids;
use freestone_store::read::proofs::Stamp;
use freestone_store::read::records::BASE_DEPTH_MAX;
use freestone_store::read_table;
use std::collections::{HashMap, HashSet};

impl Verifier<'_> {
    pub(super) fn packs(&mut self) -> Result<()> {
        let mut live = HashSet::new();
        if let Some(index) = &self.index {
            // A segment that cannot be read is a finding already.
            live.extend(index.packs().unwrap_or_default().into_iter().map(|(id, _)| id));
        }
        let present = sweep::present(&**self.store.backend())?;
        let (condemned, damaged) = sweep::condemned(&**self.store.backend(), &present)?;
        for (name, error) in damaged {
            let hint = error.hint_text().map(|hint| format!(": {hint}")).unwrap_or_default();
            self.found(name, format!("{}{hint}", error.chain()));
        }
        let mut held = HeldWriter::new(self.keys.clone())?;
        let mut ids: Vec<Id> = present.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            self.report.packs += 1;
            let name = pack::object_name(&id);
            let unlisted = match self.pack(&id, live.contains(&id), &present, &mut held) {
                Ok(unlisted) => unlisted,
                Err(error) if self.is_cancelled() => return Err(error),
                Err(error) => {
                    self.found_error(name, &error);
                    continue;
                }
            };
            // What a condemned pack holds is listed where it lies now, or nothing needs it. Where
            // something was collected, a push that began again may have left records that no segment
            // lists: if they are needed, they are found to be unlisted there.
            let may_be_left = condemned.contains(&id) || self.kept.is_some();
            if unlisted > 0 && !may_be_left {
                self.found(
                    name,
                    format!(
                        "{unlisted} of its records are not listed where they are: \
                         `freestone store reindex` lists them again"
                    ),
                );
            }
        }
        self.held = held.finish()?;
        Ok(())
    }

    /// Checks a pack; says how many of its records are not listed, if it is live.
    fn pack(
        &mut self,
        id: &Id,
        is_live: bool,
        present: &HashMap<Id, u64>,
        held: &mut HeldWriter,
    ) -> Result<u64> {
        let object = self.store.packs().open(id)?;
        let rows = read_table(&*object, id)?;
        let lost = lost(&rows, present);
        let stamp = object.file().and_then(Stamp::of);
        let mut stored = Vec::new();
        let mut unlisted = 0u64;
        let mut proven = Vec::new();
        for (at, row) in rows.iter().enumerate() {
            self.report.records += 1;
            self.watch.step(1)?;
            // What depends on a pack that was collected is not needed either.
            let is_collected = lost[at] && self.kept.is_some();
            let listed = is_live && !is_collected && self.is_listed(id, row);
            // A record whose base is in no pack cannot be listed. What needs it is reported below.
            unlisted += u64::from(is_live && !listed && !lost[at]);
            if listed && row.kind == RecordKind::Revision {
                self.revisions_held.push(row.id);
            }
            // Nothing has to be there for a record that is not listed: a pack that was condemned, or
            // that a killed push wrote, may have outlived the bases of its records.
            let outcome = match self.options.data {
                true if listed || !lost[at] => self.data(&*object, &rows, at, &mut stored),
                _ => Ok(None),
            };
            let damaged = outcome.is_err() || lost[at];
            let sha1 = outcome.as_ref().ok().copied().flatten();
            let is_unreadable = outcome.as_ref().is_err_and(|e| e.kind() == ErrorKind::Storage);
            if (listed || !lost[at]) && !is_unreadable {
                let record = HeldRecord { plain: row.plain, listed, damaged, sha1 };
                held.add(row.kind, &row.id, record)?;
            }
            let is_raw = row.codec == Codec::Raw && row.kind == RecordKind::Chunk;
            if let Some(stamp) = stamp.filter(|_| self.options.data && !damaged && is_raw) {
                proven.push((row.offset, stamp));
            }
            if let Err(error) = outcome {
                let record = format!("{} {} at {}", row.kind.word(), row.id, row.offset);
                let name = pack::object_name(id);
                match is_unreadable {
                    true => self.found_error(name, &error.context(record)),
                    // Whatever it is, it is this record's fault.
                    false => self.found(name, format!("{record} is damaged: {}", error.chain())),
                }
            }
        }
        // What changed while it was read was read in vain.
        for (offset, stamp) in proven {
            if object.file().and_then(Stamp::of) == Some(stamp) {
                self.store.packs().proofs().remember(id, stamp, offset);
            }
        }
        Ok(unlisted)
    }

    /// Reads and proves record `at` of a pack; gives the SHA-1 of a chunk. The buffer is for its
    /// stored bytes.
    fn data(
        &mut self,
        object: &dyn Object,
        rows: &[Row],
        at: usize,
        stored: &mut Vec<u8>,
    ) -> Result<Option<Key>> {
        let row = &rows[at];
        // Of any length that fits the pack; the table's decoder has checked that it does.
        stored.resize(usize::try_from(row.stored).unwrap_or(0), 0);
        object.read_at(row.offset, stored)?;
        if checksum(stored) != row.checksum {
            return Err(Error::corrupt("its checksum is wrong"));
        }
        let plain;
        let bytes = match row.codec {
            Codec::Raw => stored,
            _ => {
                plain = self.decode(object, rows, at, 0)?;
                &plain
            }
        };
        self.report.bytes_proven += bytes.len() as u64;
        if row.kind.id_of(bytes).is_some_and(|found| found != row.id) {
            return Err(Error::corrupt("it is not what its id says"));
        }
        Ok((row.kind == RecordKind::Chunk).then(|| {
            let mut hasher = sha1_hasher();
            hasher.update(bytes);
            self.keys.of_sha1(&hasher.finish())
        }))
    }

    /// Returns true if a segment says that the record is where it is.
    fn is_listed(&self, pack: &Id, row: &Row) -> bool {
        let Some(index) = &self.index else { return false };
        let found = index.find(row.kind, &row.id, &mut |place| {
            let at = (place.row.offset, place.row.stored, place.row.plain, place.row.codec);
            Ok(place.pack == *pack && at == (row.offset, row.stored, row.plain, row.codec))
        });
        // A row that cannot be read is a finding already.
        found.unwrap_or(true)
    }

    /// Decodes record `at` of a pack by its table alone.
    fn decode(
        &self,
        object: &dyn Object,
        rows: &[Row],
        at: usize,
        depth: usize,
    ) -> Result<Vec<u8>> {
        let row = &rows[at];
        let base = match &row.base {
            Some(_) if depth >= BASE_DEPTH_MAX => {
                return Err(Error::corrupt(format!(
                    "it lies above more than {BASE_DEPTH_MAX} bases"
                )));
            }
            Some(Base::Same(at)) => Some(self.decode(object, rows, *at, depth + 1)?),
            Some(Base::Other { pack, offset, stored, plain, codec }) => {
                let object = self.store.packs().open(pack)?;
                Some(read(&*object, *codec, (*offset, *stored, *plain), None)?)
            }
            None => None,
        };
        let place = (row.offset, row.stored, row.plain);
        if row.codec == Codec::ZstdBaseIds {
            let mut stored = vec![0; usize::try_from(row.stored).unwrap_or(0)];
            object.read_at(row.offset, &mut stored)?;
            let length = usize::try_from(row.plain).unwrap_or(0);
            let id = |at: usize| rows.get(at).map(|row| row.id);
            return decode_ids(&stored, at, base.as_deref(), length, &id);
        }
        read(object, row.codec, place, base.as_deref())
    }
}

/// Reads and decodes what lies at `place`: offset, stored and plain length.
fn read(
    object: &dyn Object,
    codec: Codec,
    (offset, stored, plain): (u64, u64, u64),
    base: Option<&[u8]>,
) -> Result<Vec<u8>> {
    // Both lengths are bounded by the table's decoder.
    let plain = usize::try_from(plain).unwrap_or(0);
    if codec == Codec::Zeros {
        return Ok(vec![0; plain]);
    }
    let mut bytes = vec![0; usize::try_from(stored).unwrap_or(0)];
    object.read_at(offset, &mut bytes)?;
    if codec == Codec::Raw {
        return Ok(bytes);
    }
    decompress(&bytes, base, plain)
}
