//! A pack in the making.
//!
//! Records are placed one behind the other; a raw chunk of a large content is placed at an offset
//! congruent to its place in the file modulo 4096, and the gap before it is left to small records
//! that come later. Nodes are held back and written together, so that a reader fetches those of
//! one push with one read.

use crate::backend::{Backend, Spool};
use crate::format::pack::{self, HEADER, Row};
use crate::format::record::{Codec, RecordKind, checksum};
use freestone_core::limits::{BLOCK_BYTES, PACK_BYTES_TARGET};
use freestone_core::{Error, ErrorKind, Id, Result, Sha1};
use std::cell::Cell;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Records after which a pack is closed whatever its size: it bounds the table in memory.
const RECORDS_TARGET: usize = 1 << 16;
/// Bytes of nodes that are held back at most.
const NODE_BYTES_TARGET: usize = 4 << 20;
/// Bytes written to the file at once.
const BUFFER_BYTES: usize = 1 << 20;
/// Bytes that may be written before the kernel is asked to put them on the disk.
const WRITE_BEHIND_BYTES: u64 = 8 << 20;
/// Gaps that are remembered; a gap is at most 4095 bytes.
const GAPS_MAX: usize = 256;

/// A record to be written.
pub(crate) struct NewRecord<'a> {
    pub(crate) kind: RecordKind,
    pub(crate) id: Id,
    pub(crate) codec: Codec,
    pub(crate) stored: &'a [u8],
    pub(crate) plain: u64,
    /// For a raw chunk of a large content: where in the content it starts.
    pub(crate) content_offset: Option<u64>,
    /// For the record that a content is found by: the content's SHA-1 and plain BLAKE3.
    pub(crate) sha1: Option<(Sha1, Id)>,
}

struct HeldNode {
    kind: RecordKind,
    id: Id,
    codec: Codec,
    stored: Vec<u8>,
    plain: u64,
    sha1: Option<Sha1>,
}

/// A pack that is whole but not yet published.
pub(crate) struct Sealed {
    pub(crate) spool: Spool,
    pub(crate) id: Id,
    pub(crate) length: u64,
    pub(crate) rows: Vec<Row>,
    /// Indices of contents among the rows, with their SHA-1s.
    pub(crate) sha1s: Vec<(usize, Sha1)>,
    /// Runs of manifest nodes: offset and length.
    pub(crate) node_runs: Vec<(u64, u64)>,
}

/// A pack in the making.
pub(crate) struct Lane {
    spool: Spool,
    /// What is not written yet: the bytes from `written` on.
    buffer: Vec<u8>,
    written: u64,
    /// Up to where the kernel was asked to begin writing to the disk.
    started: u64,
    gaps: Vec<(u64, u64)>,
    rows: Vec<Row>,
    sha1s: Vec<(Id, Sha1)>,
    held: Vec<HeldNode>,
    held_bytes: usize,
    node_runs: Vec<(u64, u64)>,
    /// Set when a write failed: what is in the file then is not known, and it is never sealed.
    failed: Cell<bool>,
}

impl Lane {
    pub(crate) fn new(backend: &Arc<dyn Backend>) -> Result<Self> {
        Ok(Self {
            spool: backend.spool()?,
            buffer: HEADER.to_vec(),
            written: 0,
            started: 0,
            gaps: Vec::new(),
            rows: Vec::new(),
            sha1s: Vec::new(),
            held: Vec::new(),
            held_bytes: 0,
            node_runs: Vec::new(),
            failed: Cell::new(false),
        })
    }

    fn tail(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Whether the pack has grown to where it is to be sealed.
    pub(crate) fn is_full(&self) -> bool {
        self.tail() + self.held_bytes as u64 >= PACK_BYTES_TARGET
            || self.rows.len() + self.held.len() >= RECORDS_TARGET
    }

    pub(crate) fn add(&mut self, record: &NewRecord<'_>) -> Result<()> {
        let length = record.stored.len() as u64;
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
            None => match self.gaps.iter().rposition(|(_, gap)| 0 < length && length <= *gap) {
                Some(at) => self.fill_gap(at, record.stored)?,
                None => self.append(record.stored)?,
            },
        };
        self.rows.push(Row {
            kind: record.kind,
            codec: record.codec,
            id: record.id,
            checksum: checksum(record.stored),
            offset,
            stored: length,
            plain: record.plain,
            base: None,
        });
        if let Some((sha1, _)) = record.sha1 {
            self.sha1s.push((record.id, sha1));
        }
        Ok(())
    }

    /// Takes a node, to be written with others.
    pub(crate) fn hold(
        &mut self,
        kind: RecordKind,
        id: Id,
        (codec, stored): (Codec, Vec<u8>),
        plain: u64,
        sha1: Option<Sha1>,
    ) -> Result<()> {
        self.held_bytes += stored.len();
        self.held.push(HeldNode { kind, id, codec, stored, plain, sha1 });
        if self.held_bytes >= NODE_BYTES_TARGET { self.write_held() } else { Ok(()) }
    }

    fn write_held(&mut self) -> Result<()> {
        let start = self.tail();
        for node in std::mem::take(&mut self.held) {
            let offset = self.append(&node.stored)?;
            self.rows.push(Row {
                kind: node.kind,
                codec: node.codec,
                id: node.id,
                checksum: checksum(&node.stored),
                offset,
                stored: node.stored.len() as u64,
                plain: node.plain,
                base: None,
            });
            if let Some(sha1) = node.sha1 {
                self.sha1s.push((node.id, sha1));
            }
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
    pub(crate) fn seal(mut self) -> Result<Sealed> {
        if self.failed.get() {
            return Err(Error::new(ErrorKind::Storage, "a pack could not be written before"));
        }
        self.write_held()?;
        self.rows.sort_by_key(|row| (row.offset, row.stored));
        let table = pack::encode_table(&self.rows);
        self.append(&table)?;
        self.append(&pack::encode_trailer(table.len() as u64))?;
        self.flush()?;
        let contents: std::collections::HashMap<Id, Sha1> = self.sha1s.into_iter().collect();
        let of_content = |(at, row): (usize, &Row)| {
            let names = matches!(row.kind, RecordKind::Chunk | RecordKind::ContentRecord);
            contents.get(&row.id).filter(|_| names).map(|sha1| (at, *sha1))
        };
        let sha1s = self.rows.iter().enumerate().filter_map(of_content).collect();
        Ok(Sealed {
            id: pack::pack_id(&table),
            length: self.written,
            spool: self.spool,
            sha1s,
            rows: self.rows,
            node_runs: self.node_runs,
        })
    }
}
