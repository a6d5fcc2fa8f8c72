//! Compaction: small packs become few, and what they hold is stored as small as it gets.
//!
//! A push has little time, sees only its parent, and may depend on another pack's record only if
//! that has no base. A compaction sees the whole history: the newest of each content whole, older
//! ones over newer ones or over what is similar, all in the same pack.
//!
//! It is safe beside readers and pushers, and killed anywhere it has lost nothing: new packs are
//! written and proven; the old ones are condemned, as a collection condemns what nothing needs; a
//! segment lists the new packs in the place of the old ones; and these are removed a grace period
//! later, if nothing depends on them then. What no revision leads to is kept: a push may be about to
//! name it.

mod old;
mod walk;
mod writer;

use crate::kept::kept;
use crate::replacement::Replacement;
use crate::sweep::{self, Damaged, Suspects};
use freestone_core::limits::PACK_BYTES_TARGET;
use freestone_core::wire::total;
use freestone_core::{Error, Id, Result, Watch};
use freestone_format::pack::{self, Row};
use freestone_format::record::RecordKind;
use freestone_format::segment::{Segment, SegmentPack, SegmentParts, SegmentRow};
use freestone_store::index::rows::Listing;
use freestone_store::table::read_sized_table;
use freestone_store::{Index, LiveSegment, Records, Store, revisions};
use old::{OldPack, OldRecords, by_age, groups};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use writer::{NewPack, Writer};

/// A pack of this length is left as it is: what it holds is mostly large.
const PACK_BYTES_SMALL: u64 = PACK_BYTES_TARGET / 4 * 3;
/// Records that are compacted together: about 300 bytes of memory each.
const RECORDS_TOGETHER: u64 = 1 << 17;

/// How to compact.
#[derive(Clone, Copy, Debug)]
pub struct CompactOptions {
    /// Rewrite large packs too.
    pub all: bool,
    /// zstd's level, 1 to 22.
    pub level: i32,
    /// How long packs stay whose records lie in others.
    pub grace: Duration,
    /// Only say what would be done.
    pub dry_run: bool,
}

impl Default for CompactOptions {
    fn default() -> Self {
        Self { all: false, level: 19, grace: Duration::from_secs(3600), dry_run: false }
    }
}

/// What a compaction did, or would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Packs that were rewritten, and their bytes.
    pub old_packs: (u64, u64),
    /// Packs that were written, and their bytes; none in a dry run.
    pub new_packs: (u64, u64),
    /// Files of revisions that were removed, since packs hold them.
    pub revision_files: u64,
    /// Packs that were removed, and their bytes.
    pub removed: (u64, u64),
    /// Packs that are to be removed when the grace period is over, and their bytes.
    pub waiting: (u64, u64),
}

/// Rewrites small packs. A dry run says which, and what it would remove.
///
/// `watch` counts records: it is given the number of all that are to be written, and each that was.
///
/// # Errors
/// A pack, a revision or what it names is missing or damaged; writing failed; or `watch` was
/// cancelled. What was finished before stays.
pub fn compact(store: &Store, options: &CompactOptions, watch: Watch<'_>) -> Result<Compacted> {
    if !options.dry_run {
        store.check_writable()?;
    }
    let mut done = Compacted::default();
    store.refresh();
    let mut judge = |case: &sweep::Case<'_>| sweep::without_copy(store, case);
    if !options.dry_run {
        // What another one condemned and did not remove is not left as it is for that.
        sweep::pass_verdicts(store, &mut judge)?;
        sweep::forget_collected(store)?;
    }
    let suspects = sweep::suspects(&**store.backend())?;
    let named_before = store.index()?.packs()?;
    let run = Run { store, options, watch, suspects };
    let small = run.small_packs()?;
    watch.set_total(small.iter().map(|pack| pack.records).sum());
    for group in groups(small, RECORDS_TOGETHER) {
        let packs = (group.len() as u64, total(group.iter().map(|pack| pack.bytes)));
        if options.dry_run {
            done.old_packs = sum(done.old_packs, packs);
            continue;
        }
        if let Some(new) = run.rewrite(&group)? {
            done.old_packs = sum(done.old_packs, packs);
            done.new_packs = sum(done.new_packs, new);
        }
    }
    store.refresh();
    done.revision_files = run.fold_revisions()?;
    // A pack that stays, since it has what this version does not understand, may be one that a
    // damaged verdict removes.
    let named: HashSet<(Id, u64)> = store.index()?.packs()?.into_iter().collect();
    let is_left = |pack: &(Id, u64)| run.suspects.has(&pack.0) && named.contains(pack);
    let damaged = match options.dry_run || named_before.iter().any(is_left) {
        true => Damaged::Refused,
        false => Damaged::Rewritten,
    };
    let swept = sweep::sweep(store, options.grace, options.dry_run, damaged, &mut judge)?;
    (done.removed, done.waiting) = (swept.removed, swept.waiting);
    store.refresh();
    Ok(done)
}

fn sum(a: (u64, u64), b: (u64, u64)) -> (u64, u64) {
    (a.0 + b.0, a.1.saturating_add(b.1))
}

/// Returns the bytes of records and of a table of `table` bytes, without gaps.
fn used(rows: &[Row], table: u64) -> u64 {
    total(rows.iter().map(|row| row.stored)).saturating_add(table)
}

/// Returns the segments that list `packs` in the place of the old ones.
fn replacement(index: &Index, old: &OldRecords, packs: &[NewPack]) -> Result<Replacement> {
    let ids = packs.iter().flat_map(|pack| &pack.rows).map(|row| (row.kind, row.id));
    let rows: HashMap<(RecordKind, Id), u64> = ids.zip(0u64..).collect();
    let find = |pack: &Id, row: &SegmentRow| {
        old.find(pack, row).and_then(|record| rows.get(&(record.kind, record.id)).copied())
    };
    Replacement::by(index, old.packs().iter().copied().collect(), new_rows(packs), &find)
}

/// Lists the new packs; their rows stand in their order.
fn new_rows(packs: &[NewPack]) -> SegmentParts {
    let mut listing = Listing::default();
    for pack in packs {
        let named = SegmentPack { id: pack.id, length: pack.length, table: pack.table };
        listing.add_pack(named, &pack.rows, &|_, _| None);
    }
    listing.take()
}

struct Run<'a> {
    store: &'a Store,
    options: &'a CompactOptions,
    watch: Watch<'a>,
    /// Packs that must be rewritten, whatever is gained.
    suspects: Suspects,
}

impl Run<'_> {
    /// Returns the live packs that are worth rewriting, the oldest first.
    fn small_packs(&self) -> Result<Vec<OldPack>> {
        let mut small = Vec::new();
        // What is condemned was rewritten before, or nothing needs it.
        let backend = &**self.store.backend();
        let (condemned, _) = sweep::condemned(backend, &sweep::present(backend)?)?;
        for id in by_age(&*self.store.index()?)? {
            if condemned.contains(&id) && !self.suspects.has(&id) {
                continue;
            }
            let object = self.store.packs().open(&id)?;
            let bytes = object.length();
            if bytes >= PACK_BYTES_SMALL && !self.options.all {
                continue;
            }
            let (rows, table) = read_sized_table(&*object, &id)?;
            // What this version does not understand stays where it is.
            if !rows.iter().any(|row| matches!(row.kind, RecordKind::Other(_))) {
                let used = used(&rows, table);
                small.push(OldPack { id, bytes, used, records: rows.len() as u64 });
            }
        }
        Ok(small)
    }

    /// Rewrites packs; says how many there are then, and their bytes. `None` if they are as small
    /// as they get.
    fn rewrite(&self, group: &[OldPack]) -> Result<Option<(u64, u64)>> {
        let backend = self.store.backend();
        let used_before = total(group.iter().map(|pack| pack.used));
        let old = OldRecords::read(self.store, group)?;
        // The index is listed before anything is written, and only what it lists is replaced.
        let index = Arc::new(Index::open(&**backend)?);
        let records = Records { index: index.clone(), packs: self.store.packs().clone() };
        let mut each = |_| self.watch.step(1);
        let mut writer = Writer::new(backend, &records, self.options.level, &old, &mut each);
        // What was not kept by a collection need not be whole; what is left of it is moved, too.
        let revisions = match kept(self.store)? {
            Some(kept) => kept.into_iter().collect(),
            None => self.store.revision_ids()?,
        };
        walk::walk(self.store, &revisions, &mut writer)?;
        let packs = writer.finish()?;
        let bytes = total(packs.iter().map(|pack| pack.length));
        let is_suspect = old.packs().iter().any(|id| self.suspects.has(id));
        // Gaps before large contents do not count: fewer packs are worth them.
        let used_now = total(packs.iter().map(|pack| used(&pack.rows, pack.table)));
        let gains =
            used_now < used_before || (used_now == used_before && packs.len() < group.len());
        if !gains && !is_suspect {
            for pack in &packs {
                backend.remove(&pack::object_name(&pack.id))?;
            }
            return Ok(None);
        }
        self.prove(&packs)?;
        let replacement = replacement(&index, &old, &packs)?;
        sweep::condemn(&**backend, old.packs())?;
        replacement.write(&**backend)?;
        self.store.refresh();
        Ok(Some((packs.len() as u64, bytes)))
    }

    /// Reads all that was written, and proves it.
    fn prove(&self, packs: &[NewPack]) -> Result<()> {
        let (bytes, _) = new_rows(packs).encode();
        let segment = Segment::open(Arc::new(bytes))?;
        let live = LiveSegment { name: "(in memory)".into(), tier: 0, segment };
        let index = Arc::new(Index::of(vec![Arc::new(live)]));
        let records = Records { index, packs: self.store.packs().clone() };
        let mut bytes = Vec::new();
        for row in packs.iter().flat_map(|pack| &pack.rows) {
            if !records.read(row.kind, &row.id, &mut bytes)? {
                let what = format!("{} {} was not written", row.kind.word(), row.id);
                return Err(Error::corrupt(what));
            }
        }
        Ok(())
    }

    /// Removes the files of revisions that a segment names: their records lie in packs.
    fn fold_revisions(&self) -> Result<u64> {
        let backend = &**self.store.backend();
        let (index, packs) = (self.store.index()?, self.store.packs());
        let listed: HashSet<Id> =
            revisions::in_packs(&index, packs, &HashMap::new())?.into_iter().collect();
        if !self.options.dry_run {
            // As for packs: what is listed may not be durable yet.
            backend.settle("index")?;
        }
        let records = self.store.records()?;
        let (mut count, mut bytes) = (0, Vec::new());
        for id in revisions::with_files(backend)?.iter().filter(|id| listed.contains(id)) {
            self.watch.check()?;
            // Packs that were not rewritten were not read: the file may be the only sound copy.
            match records.read(RecordKind::Revision, id, &mut bytes) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(error) if error.is_damage() => continue,
                Err(error) => return Err(error),
            }
            count += 1;
            if !self.options.dry_run {
                revisions::remove_file(backend, id)?;
            }
        }
        Ok(count)
    }
}
