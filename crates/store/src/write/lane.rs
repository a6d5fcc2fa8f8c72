//! A pack in the making.
//!
//! Records are placed one after the other. A raw chunk of a large content is placed at an offset
//! that is congruent modulo 4096 to its offset in the file, and the gap before it is left to small
//! records that come later. Nodes are held back and written together, so that a reader fetches
//! those of one push with one read.
//!
//! A record with a base in the same pack is written after it, never into a gap before it.

mod hold;
mod read;

use super::bases::BasePlace;
use super::new_record::NewRecord;
use freestone_backend::{Backend, Spool};
use freestone_core::limits::{BLOCK_BYTES, PACK_BYTES_TARGET};
use freestone_core::{Error, ErrorKind, Id, Result, Sha1};
use freestone_format::pack::{self, Base, HEADER, Row};
use freestone_format::record::{Codec, RecordKind, checksum};
use freestone_format::references::Reference;
use std::cell::Cell;
use std::collections::HashMap;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Records after which a pack is closed whatever its size: it bounds the table in memory.
const RECORDS_TARGET: usize = 1 << 15;
/// The maximum of bytes of nodes that are held back.
const NODE_BYTES_TARGET: usize = 4 << 20;
/// The same if some have references: those wait for their places in the table, until the pack is
/// closed.
const REFERRING_BYTES_TARGET: usize = 16 << 20;
/// Bytes written to the file at once.
const BUFFER_BYTES: usize = 1 << 20;
/// Bytes that may be written before the kernel is asked to put them on the disk.
const WRITE_BEHIND_BYTES: u64 = 8 << 20;
/// Gaps that are remembered. A gap has at most 4095 bytes.
const GAPS_MAX: usize = 256;

/// The place of the stored bytes of a lane's record.
enum At {
    /// Held back, to be written with others.
    Held(Vec<u8>),
    /// In the pack: offset, length, checksum.
    Written(u64, u64, [u8; 4]),
}

/// A record of a lane.
struct LaneRecord {
    kind: RecordKind,
    id: Id,
    codec: Codec,
    plain: u64,
    at: At,
    base: Option<BasePlace>,
    /// The number of bases below it.
    depth: usize,
    /// The number of versions before it in its chain.
    version: u64,
    /// Ids that its bytes leave out: the gap before each, and the place in the lane of its record.
    references: Vec<Reference>,
}

/// Numbers lanes, so that a base in one lane is not taken for a base in another one.
static NEXT_LANE: AtomicU64 = AtomicU64::new(0);

/// A pack that is complete but not yet published.
pub struct Sealed {
    pub spool: Spool,
    pub id: Id,
    pub length: u64,
    /// The length of its table.
    pub table: u64,
    pub rows: Vec<Row>,
    /// Indices of contents among the rows, with their SHA-1s.
    pub sha1s: Vec<(usize, Sha1)>,
    /// Runs of manifest nodes: offset and length.
    pub node_runs: Vec<(u64, u64)>,
}

/// A pack in the making.
pub struct Lane {
    number: u64,
    spool: Spool,
    /// The bytes from `written` on, which are not written yet.
    buffer: Vec<u8>,
    written: u64,
    /// The offset up to which the kernel was asked to begin writing to the disk.
    started: u64,
    gaps: Vec<(u64, u64)>,
    /// In the order in which they were given.
    records: Vec<LaneRecord>,
    /// The place in `records` of each.
    known: HashMap<(RecordKind, Id), usize>,
    sha1s: Vec<(Id, Sha1)>,
    /// Places in `records` of those that are held back.
    held: Vec<usize>,
    held_bytes: usize,
    /// Whether some of those have references.
    refers: bool,
    node_runs: Vec<(u64, u64)>,
    /// Set when a write failed. Then the content of the file is not known, and it is never sealed.
    failed: Cell<bool>,
}

impl Lane {
    pub fn new(backend: &Arc<dyn Backend>) -> Result<Self> {
        Ok(Self {
            number: NEXT_LANE.fetch_add(1, Ordering::Relaxed),
            spool: backend.spool()?,
            buffer: HEADER.to_vec(),
            written: 0,
            started: 0,
            gaps: Vec::new(),
            records: Vec::new(),
            known: HashMap::new(),
            sha1s: Vec::new(),
            held: Vec::new(),
            held_bytes: 0,
            refers: false,
            node_runs: Vec::new(),
            failed: Cell::new(false),
        })
    }

    /// Returns true if a record of this lane may have the base `base`: it is in another pack, or
    /// here.
    pub fn takes(&self, base: Option<&BasePlace>) -> bool {
        match base {
            Some(BasePlace::Lane { lane, .. }) => *lane == self.number,
            _ => true,
        }
    }

    fn tail(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Returns true if the pack is large enough to be sealed.
    pub fn is_full(&self) -> bool {
        self.is_full_with(0)
    }

    /// Returns true if the pack is large enough to be sealed after `count` more records, which are
    /// small.
    pub fn is_full_with(&self, count: usize) -> bool {
        self.tail() + self.held_bytes as u64 >= PACK_BYTES_TARGET
            || self.records.len() + count >= RECORDS_TARGET
            || self.held_bytes >= REFERRING_BYTES_TARGET
    }

    pub fn add(&mut self, record: &NewRecord<'_>) -> Result<()> {
        let length = record.stored.len() as u64;
        // A record with a base in this pack is placed after it.
        let after = match &record.base {
            Some(BasePlace::Lane { number, .. }) => match self.records[*number].at {
                At::Written(offset, ..) => offset,
                At::Held(_) => u64::MAX,
            },
            _ => 0,
        };
        let fits = |start: u64, gap: u64| start > after && 0 < length && length <= gap;
        let offset = match record.content_offset {
            Some(at) => {
                let tail = self.tail();
                let gap = (at % BLOCK_BYTES + BLOCK_BYTES - tail % BLOCK_BYTES) % BLOCK_BYTES;
                if gap > 0 && self.gaps.len() < GAPS_MAX {
                    self.gaps.push((tail, gap));
                }
                self.buffer.resize(self.buffer.len() + usize::try_from(gap).unwrap_or(0), 0);
                self.append(record.stored)?
            }
            None => match self.gaps.iter().rposition(|(start, gap)| fits(*start, *gap)) {
                Some(at) => self.fill_gap(at, record.stored)?,
                None => self.append(record.stored)?,
            },
        };
        self.enter(record, At::Written(offset, length, record.checksum()));
        Ok(())
    }

    /// Takes a node, which is written together with others later.
    pub fn hold(&mut self, record: &NewRecord<'_>) -> Result<()> {
        self.held_bytes += record.stored.len();
        self.held.push(self.records.len());
        self.enter(record, At::Held(record.stored.to_vec()));
        if self.held_bytes >= NODE_BYTES_TARGET && !self.refers {
            return self.write_held();
        }
        Ok(())
    }

    fn enter(&mut self, record: &NewRecord<'_>, at: At) {
        let (depth, version) = self.chain(record.base.as_ref());
        self.known.insert((record.kind, record.id), self.records.len());
        self.records.push(LaneRecord {
            kind: record.kind,
            id: record.id,
            codec: record.codec,
            plain: record.plain,
            at,
            base: record.base.clone(),
            depth,
            version,
            references: Vec::new(),
        });
        if let Some((sha1, _)) = record.sha1 {
            self.sha1s.push((record.id, sha1));
        }
    }

    fn write_held(&mut self) -> Result<()> {
        let start = self.tail();
        let places = if self.refers { self.places() } else { Vec::new() };
        for number in std::mem::take(&mut self.held) {
            let at = &mut self.records[number].at;
            let At::Held(stored) = std::mem::replace(at, At::Held(Vec::new())) else { continue };
            let stored = self.with_references(number, &places, stored);
            let offset = self.append(&stored)?;
            self.records[number].at = At::Written(offset, stored.len() as u64, checksum(&stored));
        }
        self.held_bytes = 0;
        if self.tail() > start {
            self.node_runs.push((start, self.tail() - start));
        }
        Ok(())
    }

    /// Asks the kernel to begin writing what it has of the pack, so that the sync at the end has
    /// less to wait for. It is only a hint.
    fn start_writing(&mut self) {
        if self.written - self.started >= WRITE_BEHIND_BYTES {
            // "Not needed" makes Linux start with the dirty pages of the range; it drops the clean
            // ones, but of what was written just now there are none.
            let length = std::num::NonZeroU64::new(self.written - self.started);
            let advice = rustix::fs::Advice::DontNeed;
            let _ = rustix::fs::fadvise(self.spool.file(), self.started, length, advice);
            self.started = self.written;
        }
    }

    fn append(&mut self, bytes: &[u8]) -> Result<u64> {
        let offset = self.tail();
        self.start_writing();
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.flush()?;
        }
        if bytes.len() > BUFFER_BYTES / 2 && self.buffer.is_empty() {
            self.write_at(bytes, self.written)?;
            self.written += bytes.len() as u64;
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        Ok(offset)
    }

    fn fill_gap(&mut self, at: usize, bytes: &[u8]) -> Result<u64> {
        let (offset, gap) = self.gaps[at];
        let length = bytes.len() as u64;
        if gap == length {
            self.gaps.swap_remove(at);
        } else {
            self.gaps[at] = (offset + length, gap - length);
        }
        match offset.checked_sub(self.written).and_then(|at| usize::try_from(at).ok()) {
            Some(at) => self.buffer[at..at + bytes.len()].copy_from_slice(bytes),
            None => {
                // What is in front of the buffer is in the file; what straddles is not filled.
                let in_file = self.written.min(offset + length) - offset;
                let (front, back) = bytes.split_at(usize::try_from(in_file).unwrap_or(0));
                self.write_at(front, offset)?;
                self.buffer[..back.len()].copy_from_slice(back);
            }
        }
        Ok(offset)
    }

    fn flush(&mut self) -> Result<()> {
        if !self.buffer.is_empty() {
            self.write_at(&self.buffer, self.written)?;
            self.written += self.buffer.len() as u64;
            self.buffer.clear();
        }
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.spool.file().write_all_at(bytes, offset).map_err(|error| {
            self.failed.set(true);
            Error::io("cannot write a pack", error)
                .hint("if the disk is full, make room and run the command again; nothing is lost")
        })
    }

    /// Closes the pack.
    pub fn seal(mut self) -> Result<Sealed> {
        if self.failed.get() {
            return Err(Error::new(ErrorKind::Storage, "a pack could not be written before"));
        }
        self.write_held()?;
        let rows = self.rows();
        let table = pack::encode_table(&rows, &freestone_backend::random());
        self.append(&table)?;
        self.append(&pack::encode_trailer(table.len() as u64))?;
        self.flush()?;
        let contents: HashMap<Id, Sha1> = self.sha1s.into_iter().collect();
        let of_content = |(at, row): (usize, &Row)| {
            let names = matches!(row.kind, RecordKind::Chunk | RecordKind::ContentRecord);
            contents.get(&row.id).filter(|_| names).map(|sha1| (at, *sha1))
        };
        let sha1s = rows.iter().enumerate().filter_map(of_content).collect();
        Ok(Sealed {
            id: pack::pack_id(&table),
            length: self.written,
            table: table.len() as u64,
            spool: self.spool,
            sha1s,
            rows,
            node_runs: self.node_runs,
        })
    }

    /// Returns the place of each record in the table, if no more are added: in order of their
    /// offsets, and after all others those that are held back.
    fn places(&self) -> Vec<usize> {
        let offset = |number: &usize| match self.records[*number].at {
            At::Written(offset, stored, _) => (offset, stored, *number),
            At::Held(_) => (u64::MAX, 0, *number),
        };
        let mut order: Vec<usize> = (0..self.records.len()).collect();
        order.sort_by_key(offset);
        let mut places = vec![0; order.len()];
        for (place, number) in order.iter().enumerate() {
            places[*number] = place;
        }
        places
    }

    /// Returns the rows of the table, in order of their offsets.
    fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<(usize, Row)> = Vec::with_capacity(self.records.len());
        for (number, record) in self.records.iter().enumerate() {
            let At::Written(offset, stored, checksum) = record.at else { continue };
            let (kind, codec, id, plain) = (record.kind, record.codec, record.id, record.plain);
            let row = Row { kind, codec, id, checksum, offset, stored, plain, base: None };
            rows.push((number, row));
        }
        rows.sort_by_key(|(number, row)| (row.offset, row.stored, *number));
        let places = self.places();
        let base = |number: usize| match self.records[number].base.clone()? {
            BasePlace::Lane { number, .. } => Some(Base::Same(places[number])),
            BasePlace::Pack { pack, offset, stored, plain, codec } => {
                Some(Base::Other { pack, offset, stored, plain, codec })
            }
        };
        let with_base = |(number, row): (usize, Row)| Row { base: base(number), ..row };
        rows.into_iter().map(with_base).collect()
    }
}
