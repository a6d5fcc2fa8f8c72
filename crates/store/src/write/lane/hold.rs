//! Holding nodes and revisions back, without the ids that the pack's table has.

use super::{At, Lane, LaneRecord};
use crate::write::bases::{BasePlace, Basis};
use crate::write::encoding::{Effort, choose, leave_out_ids};
use crate::write::new_record::NewRecord;
use freestone_core::wire::Writer;
use freestone_core::{Id, Result, Sha1};
use freestone_format::record::{Codec, RecordKind};
use freestone_format::references::{self, Reference};
use freestone_format::revision::Revision;
use std::collections::HashSet;

/// The kinds of records that a record may name by their ids.
const NAMED: [RecordKind; 4] =
    [RecordKind::Chunk, RecordKind::ContentRecord, RecordKind::ManifestNode, RecordKind::Revision];

/// Returns the offsets of the ids in a record of `kind`.
fn id_places(kind: RecordKind, plain: &[u8]) -> Vec<usize> {
    let places = match kind {
        RecordKind::ManifestNode => freestone_manifest::id_offsets(plain),
        RecordKind::Revision => Revision::id_places(plain),
        _ => None,
    };
    places.unwrap_or_default()
}

fn id_at(plain: &[u8], place: usize) -> Option<Id> {
    plain.get(place..)?.first_chunk::<32>().map(|id| Id(*id))
}

impl Lane {
    /// Takes a node, a content record or a revision, to be written with others: over `basis` if
    /// there is one and that is shorter. `sha1` is given for a content record, by which a content
    /// is found.
    ///
    /// With more effort than a push has, ids that this pack has and the base does not have are left
    /// out, and the table of the pack restores them.
    ///
    /// # Errors
    /// The base cannot be read, or zstd failed.
    pub fn hold_node(
        &mut self,
        (kind, id, plain): (RecordKind, Id, &[u8]),
        sha1: Option<(Sha1, Id)>,
        basis: Option<Basis>,
        effort: Effort,
    ) -> Result<()> {
        if let Some(over) = &basis
            && effort != Effort::Push
            && matches!(over.place, BasePlace::Lane { .. })
        {
            let left_out = self.references(kind, plain, &over.bytes);
            if !left_out.is_empty() {
                let (places, numbers): (Vec<usize>, Vec<usize>) = left_out.into_iter().unzip();
                if let Some(without) = leave_out_ids(plain, &places, &over.bytes, effort)? {
                    let references: Vec<_> = without.gaps.into_iter().zip(numbers).collect();
                    let (record, base) = ((kind, id, plain.len()), over.place.clone());
                    self.hold_referring(record, base, without.frame, references);
                    return Ok(());
                }
            }
        }
        let encoded = choose(kind, plain, basis.into_iter().collect(), effort)?;
        self.hold(&NewRecord::new(kind, id, plain.len() as u64, &encoded).named(sha1))
    }

    fn hold_referring(
        &mut self,
        (kind, id, plain): (RecordKind, Id, usize),
        base: BasePlace,
        frame: Vec<u8>,
        references: Vec<Reference>,
    ) {
        let (depth, version) = self.chain(Some(&base));
        self.held_bytes += frame.len() + 4 * references.len();
        self.refers = true;
        self.held.push(self.records.len());
        self.known.insert((kind, id), self.records.len());
        self.records.push(LaneRecord {
            kind,
            id,
            codec: Codec::ZstdBaseIds,
            plain: plain as u64,
            at: At::Held(frame),
            base: Some(base),
            depth,
            version,
            references,
        });
    }

    /// Returns the ids of a record that this lane has records of and the base does not have: the
    /// offset of each, and the number of its record.
    fn references(&self, kind: RecordKind, plain: &[u8], base: &[u8]) -> Vec<(usize, usize)> {
        let in_base: HashSet<Id> =
            id_places(kind, base).into_iter().filter_map(|place| id_at(base, place)).collect();
        let number = |id: &Id| NAMED.iter().find_map(|kind| self.known.get(&(*kind, *id)).copied());
        id_places(kind, plain)
            .into_iter()
            .filter_map(|place| {
                let id = id_at(plain, place).filter(|id| !in_base.contains(id))?;
                Some((place, number(&id)?))
            })
            .collect()
    }

    /// Returns the stored bytes of a record, with its references before them if it has any.
    /// `places` are those of the lane's records in the table.
    pub(super) fn with_references(
        &self,
        number: usize,
        places: &[usize],
        stored: Vec<u8>,
    ) -> Vec<u8> {
        let record = &self.records[number];
        if record.codec != Codec::ZstdBaseIds {
            return stored;
        }
        let references: Vec<Reference> =
            record.references.iter().map(|(gap, number)| (*gap, places[*number])).collect();
        let mut out = Writer::default();
        references::encode(&references, places[number], &mut out);
        out.raw(&stored);
        out.into_bytes()
    }
}
