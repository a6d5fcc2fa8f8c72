//! Building everything derived again, from the packs and refs alone.
//!
//! Three passes: where every record is, by the packs' tables, for an index in temporary files; what
//! the nodes, content records and revisions say, read through that index; and the segments, written
//! with both. What the second finds is in a temporary file, too.

mod found;
mod said;

use found::Found;
pub(crate) use found::lost;
use freestone_core::{Error, Id, Result, Subject, Watch};
use freestone_files::Folder;
use freestone_format::pack::Row;
use freestone_format::record::RecordKind;
use freestone_format::revision::{PackRange, Revision};
use freestone_format::segment::{self, Segment, SegmentPack, SegmentParts};
use freestone_manifest::content::ContentRecord;
use freestone_manifest::{EntryKind, Items, Node};
use freestone_store::index::rows::{Listing, Rows};
use freestone_store::index::write_segment;
use freestone_store::spool::Spool;
use freestone_store::{Index, LiveSegment, Records, Store, hints, revisions};
use said::{Said, SaidWriter};
use std::collections::HashSet;
use std::sync::Arc;

/// Rows of one segment.
const SEGMENT_ROWS_TARGET: usize = 1 << 17;
/// The tier of a segment that a reindexing wrote: it is merged with others only when there are
/// many of its kind.
const TIER: u8 = 4;

/// What a reindexing did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reindexed {
    /// Packs read.
    pub packs: u64,
    /// Records listed.
    pub records: u64,
    /// Segments written.
    pub segments: u64,
    /// Files of revisions that were missing or damaged and were written again.
    pub revisions: u64,
    /// Packs that were left out: pushes that were killed wrote them, and no index listed them when
    /// a compaction removed the bases of their records.
    pub left_out: u64,
}

/// Makes the index again from the packs, and the files of revisions from their records: those that
/// are damaged, and those of revisions that no other one in their pack came from, as a push makes
/// them. Drops the store's caches. The working index belongs to the program that pushes, which drops it
/// itself. Readers go on meanwhile; a pusher that runs meanwhile stays safe: what it lists after
/// the reindexing began is kept. `watch` counts packs: it is given the number of all, and each whose
/// records were read.
///
/// Where it is cancelled the old index is still there, beside the segments that were written by
/// then: both say the same of a record, and the next reindexing removes what is too many.
///
/// # Errors
/// A pack is damaged (it is named; nothing was removed), writing failed, or `watch` was cancelled.
/// Records whose bases are in no pack cannot be read by anybody and are not listed; `verify` then
/// says what is lost with them.
pub fn reindex(store: &Store, watch: Watch<'_>) -> Result<Reindexed> {
    store.check_writable()?;
    let backend = store.backend();
    // Listed before the packs are: a segment that comes later lists packs that come later.
    let old: Vec<String> = backend
        .list("index")?
        .into_iter()
        .map(|listed| listed.name)
        .filter(|name| is_segment(name))
        .collect();
    let packs = Found::of(store, !old.is_empty())?;
    let found = &packs.kept;
    let mut done =
        Reindexed { packs: found.len() as u64, left_out: packs.left_out, ..Reindexed::default() };

    let mut segments = Vec::new();
    each_batch(store, &packs, None, &mut |parts| {
        watch.check()?;
        done.records += parts.rows.len() as u64;
        let mut spool = Spool::new()?;
        spool.append(&parts.encode().0)?;
        let segment = Segment::open(spool.finish()?.into_bytes())?;
        segments.push(Arc::new(LiveSegment { name: "(temporary)".into(), tier: 0, segment }));
        Ok(())
    })?;
    let index = Arc::new(Index::of(segments));
    let records = Records { index, packs: store.packs().clone() };

    let mut said = SaidWriter::new()?;
    watch.set_total(found.len() as u64);
    for (id, _) in found {
        let rows = packs.rows(store, id)?.0;
        done.revisions += hear(store, &records, id, &rows, &mut said)?;
        watch.step(1)?;
    }
    let said = said.finish()?;
    let mut names = Vec::new();
    each_batch(store, &packs, Some(&said), &mut |parts| {
        watch.check()?;
        names.push(write_segment(&**backend, TIER, parts, Rows::Kept)?.name);
        Ok(())
    })?;
    done.segments = names.len() as u64;
    hints::write_index(&**backend, &old);
    for name in old.iter().filter(|name| !names.contains(name)) {
        backend.remove(name)?;
    }
    hints::write_index(&**backend, &[]);
    hints::write_refs(&**backend, &store.refs().heads().unwrap_or_default());
    drop_caches(store);
    store.refresh();
    Ok(done)
}

fn each_batch(
    store: &Store,
    found: &Found,
    said: Option<&Said>,
    each: &mut dyn FnMut(SegmentParts) -> Result<()>,
) -> Result<()> {
    let mut listing = Listing::default();
    for (id, length) in &found.kept {
        let (rows, table) = found.rows(store, id)?;
        let pack = SegmentPack { id: *id, length: *length, table };
        let name = |_: usize, id: &Id| said.and_then(|said| said.name(id));
        listing.add_pack(pack, &rows, &name);
        if listing.parts().rows.len() >= SEGMENT_ROWS_TARGET {
            each(listing.take())?;
        }
    }
    if listing.parts().packs.is_empty() { Ok(()) } else { each(listing.take()) }
}

fn drop_caches(store: &Store) {
    store.forget_proofs();
    if let Some(Ok(folder)) = store.root().map(Folder::open) {
        // What is in use or cannot be removed is checked when it is used.
        let _ = folder.remove_all("cache");
    }
}

/// Reads what the records of a pack say, and writes files of revisions that are missing; says
/// how many.
fn hear(
    store: &Store,
    records: &Records,
    pack: &Id,
    rows: &[Row],
    said: &mut SaidWriter,
) -> Result<u64> {
    let mut bytes = Vec::new();
    let mut parents: HashSet<Id> = HashSet::new();
    for row in rows {
        match row.kind {
            RecordKind::ContentRecord => {
                read(records, row, &mut bytes)?;
                said.add_sha1(&row.id, ContentRecord::decode(&bytes)?.sha1)?;
            }
            RecordKind::ManifestNode => {
                read(records, row, &mut bytes)?;
                if let Items::Entries(entries) = Node::decode(&bytes)?.items {
                    for entry in &entries {
                        if let EntryKind::File { sha1, content, .. } = entry.kind {
                            said.add_sha1(&content, sha1)?;
                        }
                    }
                }
            }
            RecordKind::Revision => {
                read(records, row, &mut bytes)?;
                let revision = Revision::decode(&bytes)?;
                if let Some(commit) = revision.commit_prefix() {
                    said.add_commit(&row.id, &commit)?;
                }
                parents.extend(revision.parents);
            }
            _ => {}
        }
    }
    let mut written = 0;
    for row in rows.iter().filter(|row| row.kind == RecordKind::Revision) {
        // The index lists it, so a file of its own is only the quicker way to it.
        let is_wanted = match revisions::read_file(&**store.backend(), &row.id) {
            Ok(found) => found.is_none() && !parents.contains(&row.id),
            Err(_) => true,
        };
        if is_wanted {
            read(records, row, &mut bytes)?;
            restore_revision(store, &row.id, &Revision::decode(&bytes)?, pack, rows)?;
            written += 1;
        }
    }
    Ok(written)
}

/// Reads the record of a row.
fn read(records: &Records, row: &Row, out: &mut Vec<u8>) -> Result<()> {
    match records.read(row.kind, &row.id, out)? {
        true => Ok(()),
        false => Err(Error::missing(format!("{} {} is missing", row.kind.word(), row.id))
            .subject(Subject::Record { kind: row.kind.word(), id: row.id })),
    }
}

/// Writes the file of a revision again.
fn restore_revision(
    store: &Store,
    id: &Id,
    revision: &Revision,
    pack: &Id,
    rows: &[Row],
) -> Result<()> {
    let nodes = rows.iter().filter(|row| row.kind == RecordKind::ManifestNode);
    let start = nodes.clone().map(|row| row.offset).min();
    let end = nodes.map(|row| row.offset + row.stored).max();
    let range = |(start, end)| PackRange { pack: *pack, offset: start, length: end - start };
    let locator: Vec<PackRange> = start.zip(end).map(range).into_iter().collect();
    store.backend().remove(&format!("revisions/{id}"))?;
    revisions::write_file(&**store.backend(), revision, &locator)
}

/// Returns true if an object under `index/` is a segment; other names are left alone.
fn is_segment(name: &str) -> bool {
    name.strip_prefix("index/").is_some_and(|name| segment::parse_file_name(name).is_some())
}
