//! That every record of every pack is what its table says, and is listed where it is.

use super::{HeldRecord, Verifier, describe};
use crate::backend::Object;
use crate::format::pack::{Base, Row};
use crate::format::record::{Codec, RecordKind, checksum};
use crate::packs::{self, read_table};
use crate::records::{BASE_DEPTH_MAX, decompress};
use freestone_core::digest::sha1_hasher;
use freestone_core::{Error, Id, Result};
use std::collections::HashSet;

impl Verifier<'_> {
    pub(super) fn packs(&mut self) -> Result<()> {
        let mut live = HashSet::new();
        if let Some(index) = &self.index {
            // A segment that cannot be read is a finding already.
            live.extend(index.packs().unwrap_or_default().into_iter().map(|(id, _)| id));
        }
        for listed in self.store.backend().list("packs")? {
            let Some(id) = packs::id_of_object(&listed.name) else { continue };
            self.report.packs += 1;
            if let Err(error) = self.pack(&id, live.contains(&id)) {
                self.found(listed.name, describe(&error));
            }
        }
        Ok(())
    }

    fn pack(&mut self, id: &Id, is_live: bool) -> Result<()> {
        let object = self.store.packs().open(id)?;
        let rows = read_table(&*object, id)?;
        let (mut stored, mut plain) = (Vec::new(), Vec::new());
        let mut unlisted = 0u64;
        for (at, row) in rows.iter().enumerate() {
            self.report.records += 1;
            let listed = is_live && self.is_listed(id, row);
            unlisted += u64::from(is_live && !listed);
            let held = self.held.records.entry((row.kind, row.id));
            held.or_insert(HeldRecord { plain: row.plain, listed }).listed |= listed;
            if !self.options.data {
                continue;
            }
            // Of any length that fits the pack; the table's decoder has checked that it does.
            stored.resize(usize::try_from(row.stored).unwrap_or(0), 0);
            object.read_at(row.offset, &mut stored)?;
            if checksum(&stored) != row.checksum {
                self.broken(id, row, "its checksum is wrong");
                continue;
            }
            let decoded = match row.codec {
                Codec::Raw => Ok(()),
                _ => self.decode(&*object, &rows, at, &mut plain, 0),
            };
            match decoded {
                Ok(()) if row.codec == Codec::Raw => self.prove(id, row, &stored),
                Ok(()) => self.prove(id, row, &plain),
                Err(error) => self.broken(id, row, &describe(&error)),
            }
        }
        if unlisted > 0 {
            self.found(
                packs::object_name(id),
                format!(
                    "{unlisted} of its records are not listed where they are: \
                     `freestone store reindex` lists them again"
                ),
            );
        }
        Ok(())
    }

    /// Whether a segment says that the record is where it is.
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
        plain: &mut Vec<u8>,
        depth: usize,
    ) -> Result<()> {
        let row = &rows[at];
        let mut base = None;
        match &row.base {
            Some(_) if depth >= BASE_DEPTH_MAX => {
                return Err(Error::corrupt(format!(
                    "it lies above more than {BASE_DEPTH_MAX} bases"
                )));
            }
            Some(Base::Same(at)) => {
                self.decode(object, rows, *at, base.insert(Vec::new()), depth + 1)?;
            }
            Some(Base::Other { pack, offset, stored, plain, codec }) => {
                let object = self.store.packs().open(pack)?;
                let base = base.insert(Vec::new());
                read(&*object, *codec, (*offset, *stored, *plain), None, base)?;
            }
            None => {}
        }
        let place = (row.offset, row.stored, row.plain);
        read(object, row.codec, place, base.as_deref(), plain)
    }

    /// Takes note of a record that cannot be read.
    fn broken(&mut self, pack: &Id, row: &Row, fault: &str) {
        self.damaged.insert((row.kind, row.id));
        let word = row.kind.word();
        self.found(
            packs::object_name(pack),
            format!("{word} {} at {} is damaged: {fault}", row.id, row.offset),
        );
    }

    fn prove(&mut self, pack: &Id, row: &Row, plain: &[u8]) {
        self.report.bytes_proven += plain.len() as u64;
        if row.kind.id_of(plain).is_some_and(|found| found != row.id) {
            self.broken(pack, row, "it is not what its id says");
        } else if row.kind == RecordKind::Chunk {
            let mut hasher = sha1_hasher();
            hasher.update(plain);
            self.held.sha1s.insert(row.id, hasher.finish());
        }
    }
}

/// Reads and decodes what lies at `place`: offset, stored and plain length.
fn read(
    object: &dyn Object,
    codec: Codec,
    (offset, stored, plain): (u64, u64, u64),
    base: Option<&[u8]>,
    out: &mut Vec<u8>,
) -> Result<()> {
    // Both lengths are bounded by the table's decoder.
    let plain = usize::try_from(plain).unwrap_or(0);
    if codec == Codec::Zeros {
        out.clear();
        out.resize(plain, 0);
        return Ok(());
    }
    let mut bytes = vec![0; usize::try_from(stored).unwrap_or(0)];
    object.read_at(offset, &mut bytes)?;
    if codec == Codec::Raw {
        *out = bytes;
        return Ok(());
    }
    decompress(&bytes, base, plain, out)
}
