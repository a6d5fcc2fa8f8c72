//! A model of MirageOS's reader of tar images: `Tar_mirage.Make_KV_RO` of ocaml-tar 3.3.0 with the
//! keys of mirage-kv 6.1.1, mistakes included.
//!
//! It follows the reader's source step by step, while [`strict`](super::strict) has the rules that
//! all readers have in common. So a test can ask both, and an engineer who changes the writer
//! learns what a unikernel would do. It holds all paths in memory, as the reader does. OCaml reads
//! more spellings of numbers than are ever written (`0x10`, `1_000`); this model reports a crash
//! for them instead.

mod header;

use crate::read::ReadAt;
use freestone_core::path;
use header::{BLOCK, Fields, Pax};
use std::collections::BTreeMap;
use std::fmt;

/// The reason why a unikernel does not boot, or ends at a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crash {
    /// The offset in the image, in bytes.
    pub offset: u64,
    /// A description of what happened.
    pub what: String,
}

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at byte {}: {}", self.offset, self.what)
    }
}

/// Returns the error of a crash at `offset`.
fn crash<T>(offset: u64, what: impl Into<String>) -> Result<T, Crash> {
    Err(Crash { offset, what: what.into() })
}

/// A value or dictionary of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MirageNode {
    /// A file: its length, the offset of its data, and its time.
    Value {
        /// Length in bytes.
        size: u64,
        /// The offset of its data, in bytes from the image's start.
        data: u64,
        /// Last change, in seconds since 1970.
        mtime: i64,
    },
    /// A directory: its time, which is 0 if it has no header, and what is in it.
    Dictionary {
        /// Last change, in seconds since 1970.
        mtime: i64,
        /// The values and dictionaries in it, by name.
        nodes: BTreeMap<Vec<u8>, MirageNode>,
    },
}

/// A connected image.
pub struct MirageStore<'a, R: ?Sized> {
    image: &'a R,
    sector: u64,
    nodes: BTreeMap<Vec<u8>, MirageNode>,
}

/// The header that the decoder expects next, as in its `decode_state`.
enum State {
    Header { after_zero: bool },
    RealHeader(Pax),
}

impl<'a, R: ReadAt + ?Sized> MirageStore<'a, R> {
    /// Connects to the image on a device whose sectors have `sector` bytes: 512 on Solo5, 4096 on
    /// Xen. The device does not have a trailing part of a sector.
    ///
    /// # Errors
    /// The unikernel does not boot.
    pub fn connect(image: &'a R, sector: u64) -> Result<Self, Crash> {
        let mut store = Self { image, sector, nodes: BTreeMap::new() };
        let mut global = Pax::default();
        let (mut long_name, mut state) = (None, State::Header { after_zero: false });
        let mut at = 0;
        loop {
            let offset = at;
            let mut block = [0; BLOCK];
            store.read(at, &mut block)?;
            at += BLOCK as u64;
            let (pax, is_real) = match &state {
                State::Header { after_zero } => {
                    if block == [0; BLOCK] {
                        if *after_zero {
                            return Ok(store);
                        }
                        state = State::Header { after_zero: true };
                        continue;
                    }
                    (&global, false)
                }
                State::RealHeader(pax) => (pax, true),
            };
            let fields =
                Fields::decode(&block, pax).map_err(|what| Crash { offset, what: what.into() })?;
            let is_long = matches!(fields.kind, b'L' | b'K') && fields.name == b"././@LongLink";
            if !is_real && (matches!(fields.kind, b'g' | b'x') || is_long) {
                let payload = store.payload(at, fields.size)?;
                at += fields.size.next_multiple_of(BLOCK as u64);
                state = State::Header { after_zero: false };
                if is_long {
                    if fields.kind == b'L' {
                        long_name = Some(payload[..payload.len() - 1].to_vec());
                    }
                    continue;
                }
                let pax = Pax::decode(&payload, &global);
                let pax = pax.map_err(|what| Crash { offset, what: what.into() })?;
                if fields.kind == b'g' {
                    global = pax;
                } else {
                    state = State::RealHeader(pax);
                }
                continue;
            }
            state = State::Header { after_zero: false };
            let name = long_name.take().unwrap_or(fields.name);
            store.insert(offset, &name, fields.size, at, fields.mtime)?;
            at = match fields.size.checked_next_multiple_of(BLOCK as u64) {
                Some(padded) if at.checked_add(padded).is_some() => at + padded,
                _ => return crash(offset, "the size overflows"),
            };
        }
    }

    /// Reads a block or less, by whole sectors.
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Crash> {
        if offset > self.device_bytes() {
            return crash(offset, "reads beyond the device");
        }
        let first = offset / self.sector * self.sector;
        let end = first + (out.len() as u64).next_multiple_of(self.sector);
        if end > self.device_bytes() {
            return crash(offset, "reads beyond the device");
        }
        if offset + out.len() as u64 > end {
            return crash(offset, "the buffer of whole sectors is too short");
        }
        self.image.read_at(offset, out).or_else(|error| crash(offset, error.to_string()))
    }

    fn device_bytes(&self) -> u64 {
        self.image.length() / self.sector * self.sector
    }

    fn payload(&self, offset: u64, size: u64) -> Result<Vec<u8>, Crash> {
        let Some(size) = usize::try_from(size).ok().filter(|size| (1..=BLOCK).contains(size))
        else {
            return crash(offset, format!("a payload of {size} bytes"));
        };
        let mut payload = vec![0; size];
        self.read(offset, &mut payload)?;
        Ok(payload)
    }

    fn insert(
        &mut self,
        offset: u64,
        name: &[u8],
        size: u64,
        data: u64,
        mtime: i64,
    ) -> Result<(), Crash> {
        let name = name.strip_prefix(b"./").or_else(|| name.strip_prefix(b"/")).unwrap_or(name);
        if name.is_empty() {
            return Ok(());
        }
        let mut segments: Vec<_> = name.split(|b| *b == b'/').filter(|s| !s.is_empty()).collect();
        let Some(last) = segments.pop() else {
            return crash(offset, "a name that is only slashes");
        };
        let mut nodes = &mut self.nodes;
        for segment in segments {
            let dictionary = MirageNode::Dictionary { mtime: 0, nodes: BTreeMap::new() };
            nodes = match nodes.entry(segment.to_vec()).or_insert(dictionary) {
                MirageNode::Dictionary { nodes, .. } => nodes,
                MirageNode::Value { .. } => {
                    return crash(offset, format!("{:?} is below a file", path::display(name)));
                }
            };
        }
        let node = if name.ends_with(b"/") {
            MirageNode::Dictionary { mtime, nodes: BTreeMap::new() }
        } else {
            MirageNode::Value { size, data, mtime }
        };
        nodes.insert(last.to_vec(), node);
        Ok(())
    }

    /// Returns what is in the top directory.
    pub fn nodes(&self) -> &BTreeMap<Vec<u8>, MirageNode> {
        &self.nodes
    }

    /// Returns the value or dictionary at `path`.
    pub fn find(&self, path: &[u8]) -> Option<&MirageNode> {
        let mut segments = path.split(|byte| *byte == b'/');
        let mut node = self.nodes.get(segments.next()?)?;
        for segment in segments {
            match node {
                MirageNode::Dictionary { nodes, .. } => node = nodes.get(segment)?,
                MirageNode::Value { .. } => return None,
            }
        }
        Some(node)
    }

    /// Returns the bytes of the file at `path`; `None` if there is no such file.
    ///
    /// # Errors
    /// Reading fails. It reads whole sectors, and one more where the data end with a sector.
    pub fn get(&self, path: &[u8]) -> Result<Option<Vec<u8>>, Crash> {
        let Some(MirageNode::Value { size, data, .. }) = self.find(path) else { return Ok(None) };
        let last_sector = data.saturating_add(*size) / self.sector;
        if last_sector >= self.image.length() / self.sector {
            return crash(*data, "reads a sector beyond the device");
        }
        let size = usize::try_from(*size).or_else(|_| crash(*data, "out of memory"))?;
        let mut bytes = vec![0; size];
        match self.image.read_at(*data, &mut bytes) {
            Ok(()) => Ok(Some(bytes)),
            Err(error) => crash(*data, error.to_string()),
        }
    }
}
