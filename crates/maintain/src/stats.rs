//! What a store's bytes are spent on, and how it grew.

use freestone_core::wire::total;
use freestone_core::{Id, Result, Watch};
use freestone_format::pack::{self, Base};
use freestone_format::record::RecordKind;
use freestone_store::{Store, read_table};
use std::collections::BTreeMap;

/// The records of one kind, summed up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordSum {
    /// How many.
    pub count: u64,
    /// Their plain bytes.
    pub plain: u64,
    /// Their stored bytes.
    pub stored: u64,
    /// How many of them have a base.
    pub based: u64,
    /// The stored bytes of those.
    pub based_stored: u64,
}

/// What a revision added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth {
    /// The revision.
    pub revision: Id,
    /// When it was made: seconds since 1970.
    pub time: i64,
    /// Its entries.
    pub entries: u64,
    /// The bytes of its files.
    pub bytes: u64,
    /// Lengths of the packs whose records came with it, where a pack holds its record.
    pub stored: u64,
}

/// What a store's bytes are spent on. All are lengths of files; `db/`, `cache/` and `tmp/` apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// The bytes of all files of all revisions: what keeping each apart would take.
    pub logical: u64,
    /// Revisions.
    pub revisions: u64,
    /// Packs, and their bytes.
    pub packs: (u64, u64),
    /// Index segments, and their bytes.
    pub segments: (u64, u64),
    /// Files of revisions, and their bytes.
    pub revision_files: (u64, u64),
    /// Ref entries, and their bytes.
    pub ref_entries: (u64, u64),
    /// Records by kind.
    pub records: BTreeMap<&'static str, RecordSum>,
    /// Bytes of the packs' tables.
    pub tables: u64,
    /// Bytes of packs between records: headers, trailers, and gaps before aligned records.
    pub gaps: u64,
    /// How many records lie above how many bases.
    pub depths: BTreeMap<u64, u64>,
    /// What each revision added, oldest first.
    pub growth: Vec<Growth>,
}

impl Stats {
    /// Returns the bytes of the store: packs, segments, revisions and refs.
    pub fn stored(&self) -> u64 {
        self.packs.1 + self.segments.1 + self.revision_files.1 + self.ref_entries.1
    }
}

/// Returns the bytes of the store: the lengths of packs, segments, revisions and refs.
///
/// # Errors
/// Listing failed.
pub fn stored_bytes(store: &Store) -> Result<u64> {
    let folders = ["packs", "index", "revisions", "refs"];
    folders.iter().try_fold(0, |sum: u64, folder| {
        let listed = store.backend().list(folder)?;
        Ok(sum.saturating_add(total(listed.iter().map(|listed| listed.length))))
    })
}

/// Reads the tables of all packs and the files of all revisions. `watch` counts both: it is given
/// the number of all, and each that was read.
///
/// # Errors
/// Listing failed, a pack or revision is damaged, or `watch` was cancelled.
pub fn stats(store: &Store, watch: Watch<'_>) -> Result<Stats> {
    let backend = store.backend();
    let sum = |folder: &str, count: &dyn Fn(&str) -> bool| -> Result<(u64, u64)> {
        let listed = backend.list(folder)?;
        let lengths =
            || listed.iter().filter(|listed| count(&listed.name)).map(|listed| listed.length);
        Ok((lengths().count() as u64, total(lengths())))
    };
    let mut stats = Stats {
        packs: sum("packs", &|_| true)?,
        segments: sum("index", &|_| true)?,
        revision_files: sum("revisions", &|_| true)?,
        ref_entries: sum("refs", &|_| true)?,
        ..Stats::default()
    };
    let revisions = store.revision_ids()?;
    watch.set_total(stats.packs.0 + revisions.len() as u64);
    let mut came_with: BTreeMap<Id, u64> = BTreeMap::new();
    for listed in backend.list("packs")? {
        watch.step(1)?;
        let Some(id) = pack::id_of_object(&listed.name) else { continue };
        let rows = read_table(&*store.packs().open(&id)?, &id)?;
        let mut stored = 0;
        let mut depths: Vec<u64> = Vec::with_capacity(rows.len());
        for row in &rows {
            let depth = match &row.base {
                None => 0,
                Some(Base::Same(at)) => depths.get(*at).map_or(1, |depth| depth + 1),
                Some(Base::Other { .. }) => 1,
            };
            depths.push(depth);
            *stats.depths.entry(depth).or_default() += 1;
            let sum = stats.records.entry(row.kind.word()).or_default();
            sum.count += 1;
            sum.plain = sum.plain.saturating_add(row.plain);
            sum.stored = sum.stored.saturating_add(row.stored);
            sum.based += u64::from(depth > 0);
            sum.based_stored += if depth > 0 { row.stored } else { 0 };
            stored += row.stored;
            if row.kind == RecordKind::Revision {
                came_with.insert(row.id, listed.length);
            }
        }
        let end = rows.last().map_or(0, |row| row.offset + row.stored);
        stats.tables += listed.length.saturating_sub(end);
        stats.gaps += end.saturating_sub(stored);
    }
    for id in revisions {
        watch.step(1)?;
        let Some(revision) = store.revision(&id)? else { continue };
        stats.revisions += 1;
        stats.logical = stats.logical.saturating_add(revision.bytes);
        stats.growth.push(Growth {
            revision: id,
            time: revision.time,
            entries: revision.entries,
            bytes: revision.bytes,
            stored: came_with.get(&id).copied().unwrap_or(0),
        });
    }
    stats.growth.sort_by_key(|growth| (growth.time, growth.revision));
    Ok(stats)
}
