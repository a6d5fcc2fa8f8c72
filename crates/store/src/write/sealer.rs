//! The thread that full packs go through: it publishes them, and lists them in segments.

use super::fresh::{Fresh, Written};
use super::lane::Sealed;
use crate::index::rows::{Listing, Name, Rows};
use crate::index::{Place, write_segment};
use crate::read::records::{BASE_DEPTH_MAX, Records};
use freestone_backend::Backend;
use freestone_core::{Error, ErrorKind, Id, Result, Sha1, lock, threads};
use freestone_format::pack;
use freestone_format::record::RecordKind;
use freestone_format::revision::PackRange;
use freestone_format::segment::{self, SegmentPack, SegmentParts, SegmentRow};
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

/// Rows after which a segment is written while the push continues: it bounds the rows in memory.
const SEGMENT_ROWS_TARGET: usize = 1 << 16;

/// Packs after which one is written: it bounds what a killed push has stored for nothing.
const SEGMENT_PACKS_TARGET: usize = 16;

/// The sealing thread of a writer.
pub(super) enum Sealing {
    Thread {
        sender: mpsc::SyncSender<Sealed>,
        thread: JoinHandle<Result<Sealer>>,
    },
    /// The system provides no thread: each pack is published by the thread that has sealed it. An
    /// error is what has failed.
    Alone(Box<Mutex<Result<Sealer>>>),
}

impl Sealing {
    /// Starts the thread. `sealer` returns what it works with.
    pub(super) fn begin(sealer: impl Fn() -> Sealer) -> Self {
        // One pack waits while another one is made durable; then the threads that seal wait.
        let (sender, receiver) = mpsc::sync_channel(1);
        let worker = sealer();
        match threads::start("sealing", move || worker.run(&receiver)) {
            Ok(thread) => Self::Thread { sender, thread },
            Err(_) => Self::Alone(Box::new(Mutex::new(Ok(sealer())))),
        }
    }

    /// Gives the thread a pack.
    ///
    /// # Errors
    /// The thread has failed. [`Self::end`] returns why.
    pub(super) fn take(&self, sealed: Sealed) -> Result<()> {
        match self {
            Self::Thread { sender, .. } => sender.send(sealed).map_err(|_| sealer_gone()),
            Self::Alone(sealer) => {
                let mut sealer = lock(sealer);
                // A pack may depend on one that has failed before it.
                let taken = sealer.as_mut().map_or(Ok(()), |sealer| sealer.take(sealed));
                if let Err(error) = taken {
                    *sealer = Err(error);
                }
                if sealer.is_err() { Err(sealer_gone()) } else { Ok(()) }
            }
        }
    }

    /// Ends the thread after it has published all packs.
    ///
    /// # Errors
    /// A pack could not be published, or a segment not be written.
    pub(super) fn end(self) -> Result<Sealer> {
        match self {
            Self::Thread { sender, thread } => {
                drop(sender);
                thread.join().map_err(|_| sealer_gone())?
            }
            Self::Alone(sealer) => sealer.into_inner().unwrap_or_else(PoisonError::into_inner),
        }
    }
}

/// Returns the error for a pack that the sealing thread did not take.
pub(super) fn sealer_gone() -> Error {
    Error::new(ErrorKind::Failed, "the thread that writes packs has failed")
}

/// Makes packs durable in the order in which they were sealed, and lists them.
pub(super) struct Sealer {
    backend: Arc<dyn Backend>,
    records: Records,
    fresh: Arc<Mutex<Fresh>>,
    written: Arc<Written>,
    /// Whether segments leave out the rows that the table of their pack has.
    rows: Rows,
    listing: Listing,
    /// The records that `listing` has, by full id.
    listed: Vec<(RecordKind, Id, Option<Sha1>)>,
    locator: Vec<PackRange>,
}

impl Sealer {
    pub(super) fn new(
        backend: Arc<dyn Backend>,
        records: Records,
        fresh: Arc<Mutex<Fresh>>,
        written: Arc<Written>,
        thorough: bool,
    ) -> Self {
        Self {
            backend,
            records,
            fresh,
            written,
            rows: if thorough { Rows::LeftOut } else { Rows::Kept },
            listing: Listing::default(),
            listed: Vec::new(),
            locator: Vec::new(),
        }
    }

    /// Returns the ranges of packs that hold the nodes written.
    pub(super) fn locator(&self) -> &[PackRange] {
        &self.locator
    }

    fn run(mut self, receiver: &mpsc::Receiver<Sealed>) -> Result<Self> {
        while let Ok(sealed) = receiver.recv() {
            self.take(sealed)?;
        }
        Ok(self)
    }

    /// Publishes a pack, and from time to time a segment before it.
    fn take(&mut self, sealed: Sealed) -> Result<()> {
        let packs = self.listing.parts().packs.len();
        if self.listing.parts().rows.len() >= SEGMENT_ROWS_TARGET || packs >= SEGMENT_PACKS_TARGET {
            self.flush()?;
        }
        self.publish(sealed)
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
            self.listing.add_pack(pack, &sealed.rows, &name);
        }
        let listed = sealed.rows.iter().enumerate();
        self.listed.extend(listed.map(|(at, row)| (row.kind, row.id, sha1s.get(&at).copied())));
        Ok(())
    }

    /// Writes a segment of what was published since the last one, if there is anything.
    pub(super) fn flush(&mut self) -> Result<()> {
        let parts = self.listing.take();
        if parts.packs.is_empty() {
            // What this push depends on is listed, but perhaps not durably.
            return self.backend.settle("index");
        }
        let live = write_segment(&*self.backend, 0, parts, self.rows)?;
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

    /// Lists the SHA-1s of contents that are there as chunks of others, each with the place of its
    /// chunk, which another segment lists too.
    pub(super) fn list_unnamed(&self) -> Result<()> {
        let unnamed = std::mem::take(&mut lock(&self.fresh).unnamed);
        let mut parts = SegmentParts::default();
        let mut packs: HashMap<Id, u32> = HashMap::new();
        for (id, sha1) in unnamed {
            let records = &self.records;
            records.index.find_to_rely(RecordKind::Chunk, &id, &mut |place| {
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

/// Adds a row that another segment has, with the rows of its bases. Returns its number.
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
