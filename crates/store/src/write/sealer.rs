//! The thread that full packs go through.

use crate::index::rows::{self, Name, Rows};
use crate::index::{Index, Place, write_segment};
use crate::read::records::{BASE_DEPTH_MAX, Records};
use crate::write::fresh::{Fresh, Written};
use crate::write::lane::Sealed;
use freestone_backend::Backend;
use freestone_core::{Error, ErrorKind, Id, Result, Sha1, lock};
use freestone_format::pack::{self, Base};
use freestone_format::record::RecordKind;
use freestone_format::revision::PackRange;
use freestone_format::segment::{self, SegmentPack, SegmentParts, SegmentRow};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, mpsc};

/// Rows after which a segment is written while the push goes on: it bounds what is held of them.
const SEGMENT_ROWS_TARGET: usize = 1 << 16;

/// Packs after which one is written: it bounds what a killed push stores in vain.
const SEGMENT_PACKS_TARGET: usize = 16;

/// Makes packs durable in the order in which they were sealed, and lists them.
pub(super) struct Sealer {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) records: Records,
    pub(super) fresh: Arc<Mutex<Fresh>>,
    pub(super) written: Arc<Written>,
    pub(super) thorough: bool,
    pub(super) parts: SegmentParts,
    /// What `parts` lists, by full id.
    pub(super) listed: Vec<(RecordKind, Id, Option<Sha1>)>,
    /// Packs of others that hold bases of what `parts` lists.
    pub(super) leaned_on: HashSet<Id>,
    pub(super) locator: Vec<PackRange>,
}

impl Sealer {
    pub(super) fn run(mut self, receiver: &mpsc::Receiver<Sealed>) -> Result<Self> {
        while let Ok(sealed) = receiver.recv() {
            let packs = self.parts.packs.len();
            if self.parts.rows.len() >= SEGMENT_ROWS_TARGET || packs >= SEGMENT_PACKS_TARGET {
                self.flush()?;
            }
            self.publish(sealed)?;
        }
        Ok(self)
    }

    fn publish(&mut self, sealed: Sealed) -> Result<()> {
        self.backend.publish(sealed.spool, &pack::object_name(&sealed.id))?;
        self.written.bytes.fetch_add(sealed.length, Ordering::Relaxed);
        self.locator.extend(sealed.node_runs.iter().map(|(offset, length)| PackRange {
            pack: sealed.id,
            offset: *offset,
            length: *length,
        }));
        let sha1s: HashMap<usize, Sha1> = sealed.sha1s.into_iter().collect();
        let pack = SegmentPack { id: sealed.id, length: sealed.length, table: sealed.table };
        {
            let fresh = lock(&self.fresh);
            let name = |at: usize, id: &Id| {
                let sha1 = sha1s.get(&at).map(|sha1| Name::Sha1(*sha1));
                sha1.or_else(|| fresh.commits.get(id).map(|commit| Name::Commit(*commit)))
            };
            rows::add_pack(&mut self.parts, pack, &sealed.rows, &name);
        }
        self.leaned_on.extend(sealed.rows.iter().filter_map(|row| match row.base {
            Some(Base::Other { pack, .. }) => Some(pack),
            _ => None,
        }));
        let listed = sealed.rows.iter().enumerate();
        self.listed.extend(listed.map(|(at, row)| (row.kind, row.id, sha1s.get(&at).copied())));
        Ok(())
    }

    /// That packs with bases are still listed. One that a compaction took the place of since the
    /// push began is removed when its grace period is over, and only what is listed by then is
    /// known to lean on it.
    fn check_leaned_on(&mut self) -> Result<()> {
        let leaned_on = std::mem::take(&mut self.leaned_on);
        if leaned_on.is_empty() {
            return Ok(());
        }
        let listed: HashSet<Id> =
            Index::open(&*self.backend)?.packs()?.into_iter().map(|(id, _)| id).collect();
        if leaned_on.is_subset(&listed) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Conflict, "the store was compacted while this push went on")
            .hint("run the command again, or with --retry"))
    }

    /// Writes a segment of what was published since the last, if there is anything.
    pub(super) fn flush(&mut self) -> Result<()> {
        let parts = std::mem::take(&mut self.parts);
        if parts.packs.is_empty() {
            // What this push leans on is listed, but perhaps not durably.
            return self.backend.settle("index");
        }
        self.check_leaned_on()?;
        let rows = if self.thorough { Rows::LeftOut } else { Rows::Kept };
        let live = write_segment(&*self.backend, 0, parts, rows)?;
        self.written.bytes.fetch_add(live.segment.length(), Ordering::Relaxed);
        self.records.index.add(live);
        let mut fresh = lock(&self.fresh);
        for (kind, id, sha1) in self.listed.drain(..) {
            fresh.records.remove(&(kind, id));
            if let Some(sha1) = sha1 {
                fresh.sha1s.remove(&sha1);
            }
        }
        Ok(())
    }

    /// Lists the SHA-1s of contents that are there as chunks of others: each with the place of its
    /// chunk, which another segment lists too.
    pub(super) fn list_unnamed(&self) -> Result<()> {
        let unnamed = std::mem::take(&mut lock(&self.fresh).unnamed);
        let mut parts = SegmentParts::default();
        let mut packs: HashMap<Id, u32> = HashMap::new();
        for (id, sha1) in unnamed {
            let records = &self.records;
            records.index.find(RecordKind::Chunk, &id, &mut |place| {
                if !records.packs.holds(&place, &id)? {
                    return Ok(false);
                }
                let row = list_again(&mut parts, &mut packs, &place, 0)?;
                parts.sha1s.push((segment::prefix(&sha1.0), row));
                Ok(true)
            })?;
        }
        if parts.rows.is_empty() {
            return Ok(());
        }
        let live = write_segment(&*self.backend, 0, parts, Rows::Kept)?;
        self.written.bytes.fetch_add(live.segment.length(), Ordering::Relaxed);
        self.records.index.add(live);
        Ok(())
    }
}

/// Adds what a segment says of a record, with the rows of its bases; gives the row.
fn list_again(
    parts: &mut SegmentParts,
    packs: &mut HashMap<Id, u32>,
    place: &Place,
    depth: usize,
) -> Result<u64> {
    let base = match place.base()? {
        None => None,
        Some(_) if depth >= BASE_DEPTH_MAX => {
            return Err(Error::corrupt(format!("pack {}: too long a chain of bases", place.pack)));
        }
        Some(base) => Some(list_again(parts, packs, &base, depth + 1)?),
    };
    let pack = *packs.entry(place.pack).or_insert_with(|| {
        parts.packs.push(place.segment_pack());
        u32::try_from(parts.packs.len() - 1).unwrap_or(u32::MAX)
    });
    parts.rows.push(SegmentRow { pack, base, ..place.row });
    Ok(parts.rows.len() as u64 - 1)
}
