//! The packs that have what is left of contents that were taken down.

use super::marks::Marks;
use freestone_core::plan::{ExtentSource, NodeKind};
use freestone_core::{ErrorKind, Id, Result, Sha1};
use freestone_format::pack;
use freestone_format::record::RecordKind;
use freestone_manifest::content::{ContentRecord, distinct_pieces, visit_nodes};
use freestone_store::{Records, Store, read_table};
use std::collections::{BTreeMap, HashSet};

/// A record, by its kind and id.
type Key = (RecordKind, Id);

/// Returns the packs that have records which only the contents `taken_down` need, be they listed or
/// not. What `marks` has is needed by something else.
///
/// # Errors
/// The index is damaged, or a pack or a content cannot be read.
pub(super) fn packs(
    store: &Store,
    records: &Records,
    marks: &Marks,
    taken_down: &BTreeMap<Id, Sha1>,
) -> Result<HashSet<Id>> {
    let (mut packs, mut kept) = (HashSet::new(), HashSet::new());
    let all = parts(records, taken_down)?;
    for (kind, id) in &all {
        for place in records.places(*kind, id)? {
            let is_it = match records.packs.holds(&place, id) {
                Err(error) if error.is_damage() => false,
                outcome => outcome?,
            };
            if !is_it {
                continue;
            }
            if marks.has_record(place.segment_name(), place.at) {
                kept.insert((*kind, *id));
            } else {
                packs.insert(place.pack);
            }
        }
    }
    if all.is_empty() {
        return Ok(packs);
    }
    // A push beside this may have written one that is not listed yet, or never will be.
    let listed: HashSet<Id> = records.index.packs()?.into_iter().map(|(id, _)| id).collect();
    for object in store.backend().list("packs")? {
        let Some(id) = pack::id_of_object(&object.name).filter(|id| !listed.contains(id)) else {
            continue;
        };
        let Some(opened) = store.backend().open(&object.name)? else { continue };
        let rows = match read_table(&*opened, &id) {
            Err(error) if error.is_damage() => continue,
            rows => rows?,
        };
        let is_doomed = |key: &Key| all.contains(key) && !kept.contains(key);
        if rows.iter().any(|row| is_doomed(&(row.kind, row.id))) {
            packs.insert(id);
        }
    }
    Ok(packs)
}

/// Returns the records that make up the contents.
fn parts(records: &Records, taken_down: &BTreeMap<Id, Sha1>) -> Result<HashSet<Key>> {
    let mut all = HashSet::new();
    for id in taken_down.keys() {
        all.insert((RecordKind::Chunk, *id));
        all.insert((RecordKind::ContentRecord, *id));
        match large(records, id, &mut all) {
            // What is gone already is nowhere.
            Err(error) if error.is_damage() || error.kind() == ErrorKind::NotFound => {}
            outcome => outcome?,
        }
    }
    Ok(all)
}

fn large(records: &Records, id: &Id, all: &mut HashSet<Key>) -> Result<()> {
    let length = ContentRecord::read(records, id)?.length;
    visit_nodes(records, id, &mut |kind, node| {
        if kind == NodeKind::Content {
            all.insert((RecordKind::ContentNode, *node));
        }
        Ok(true)
    })?;
    distinct_pieces(records, id, length, None, &mut |piece| {
        if let ExtentSource::Chunk(chunk) = piece.source {
            all.insert((RecordKind::Chunk, chunk));
        }
        Ok(())
    })
}
