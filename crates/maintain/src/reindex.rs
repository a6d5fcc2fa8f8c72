//! Building everything derived again, from the packs and refs alone.
//!
//! Three passes: where every record is, by the packs' tables, for an index in memory; what the
//! nodes, content records and revisions say, read through that index; and the segments, written
//! with both. The second holds about a hundred bytes a content in memory.

mod found;

use crate::retire;
use found::Found;
pub(crate) use found::lost;
use freestone_core::{Error, Id, Result, Sha1, Subject, Watch};
use freestone_files::Folder;
use freestone_format::pack::Row;
use freestone_format::record::RecordKind;
use freestone_format::revision::{PackRange, Revision};
use freestone_format::segment::{self, PREFIX_BYTES, Segment, SegmentPack, SegmentParts};
use freestone_manifest::content::ContentRecord;
use freestone_manifest::{EntryKind, Items, Node};
use freestone_store::index::rows::{Name, Rows, add_pack};
use freestone_store::index::write_segment;
use freestone_store::{Index, LiveSegment, Records, Store, hints, revisions};
use std::collections::HashMap;
use std::sync::Arc;

/// Rows of one segment.
const SEGMENT_ROWS_TARGET: usize = 1 << 18;
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

/// What the records say.
#[derive(Default)]
struct Said {
    sha1s: HashMap<Id, Sha1>,
    commits: HashMap<Id, [u8; PREFIX_BYTES]>,
}

impl Said {
    fn name(&self, id: &Id) -> Option<Name> {
        let sha1 = self.sha1s.get(id).map(|sha1| Name::Sha1(*sha1));
        sha1.or_else(|| self.commits.get(id).map(|commit| Name::Commit(*commit)))
    }
}

/// Makes the index again from the packs, and the files of revisions from their records; drops
/// the store's caches. The working index belongs to the program that pushes, which drops it
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
        let (bytes, _) = parts.encode();
        let segment = Segment::open(Arc::new(bytes))?;
        segments.push(Arc::new(LiveSegment { name: "(in memory)".into(), tier: 0, segment }));
        Ok(())
    })?;
    let index = Arc::new(Index::of(segments));
    let records = Records { index, packs: store.packs().clone() };

    let mut said = Said::default();
    watch.set_total(found.len() as u64);
    for (id, _) in found {
        let rows = packs.rows(store, id)?.0;
        done.revisions += hear(store, &records, id, &rows, &mut said)?;
        watch.step(1)?;
    }
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
    retire::remove_damaged(&**backend)?;
    hints::write_refs(&**backend, &store.refs().list_all().unwrap_or_default());
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
    let mut parts = SegmentParts::default();
    for (id, length) in &found.kept {
        let (rows, table) = found.rows(store, id)?;
        let pack = SegmentPack { id: *id, length: *length, table };
        let name = |_: usize, id: &Id| said.and_then(|said| said.name(id));
        add_pack(&mut parts, pack, &rows, &name);
        if parts.rows.len() >= SEGMENT_ROWS_TARGET {
            each(std::mem::take(&mut parts))?;
        }
    }
    if parts.packs.is_empty() { Ok(()) } else { each(parts) }
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
fn hear(store: &Store, records: &Records, pack: &Id, rows: &[Row], said: &mut Said) -> Result<u64> {
    let mut written = 0;
    let mut bytes = Vec::new();
    for row in rows {
        let mut read = || match records.read(row.kind, &row.id, &mut bytes)? {
            true => Ok(()),
            false => Err(Error::missing(format!("{} {} is missing", row.kind.word(), row.id))
                .subject(Subject::Record { kind: row.kind.word(), id: row.id })),
        };
        match row.kind {
            RecordKind::ContentRecord => {
                read()?;
                said.sha1s.insert(row.id, ContentRecord::decode(&bytes)?.sha1);
            }
            RecordKind::ManifestNode => {
                read()?;
                if let Items::Entries(entries) = Node::decode(&bytes)?.items {
                    said.sha1s.extend(entries.iter().filter_map(|entry| match entry.kind {
                        EntryKind::File { sha1, content, .. } => Some((content, sha1)),
                        EntryKind::Directory => None,
                    }));
                }
            }
            RecordKind::Revision => {
                read()?;
                let revision = Revision::decode(&bytes)?;
                said.commits.extend(revision.commit_prefix().map(|commit| (row.id, commit)));
                written += u64::from(restore_revision(store, &row.id, &revision, pack, rows)?);
            }
            _ => {}
        }
    }
    Ok(written)
}

fn restore_revision(
    store: &Store,
    id: &Id,
    revision: &Revision,
    pack: &Id,
    rows: &[Row],
) -> Result<bool> {
    if matches!(revisions::read_file(&**store.backend(), id), Ok(Some(_))) {
        return Ok(false);
    }
    let nodes = rows.iter().filter(|row| row.kind == RecordKind::ManifestNode);
    let start = nodes.clone().map(|row| row.offset).min();
    let end = nodes.map(|row| row.offset + row.stored).max();
    let range = |(start, end)| PackRange { pack: *pack, offset: start, length: end - start };
    let locator: Vec<PackRange> = start.zip(end).map(range).into_iter().collect();
    store.backend().remove(&format!("revisions/{id}"))?;
    revisions::write_file(&**store.backend(), revision, &locator)?;
    Ok(true)
}

/// Returns true if an object under `index/` is a segment; other names are left alone.
fn is_segment(name: &str) -> bool {
    name.strip_prefix("index/").is_some_and(|name| segment::parse_file_name(name).is_some())
}
