//! Sorts the paths of an archive, in memory or, if they are too many, in a temporary file.

use freestone_core::item::Content;
use freestone_core::limits::{LINK_BYTES_MAX, PATH_BYTES_MAX};
use freestone_core::wire::{Reader, Writer, to_usize};
use freestone_core::{Error, Result, path};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// The memory that a record takes besides its path, in bytes.
const RECORD_BYTES: usize = 160;
/// One in this many records of a sorted file has its offset in the index.
const INDEXED_EVERY: usize = 64;
/// The longest encoded record: a path, the text or target of a link, and fixed parts.
const ENCODED_BYTES_MAX: usize = PATH_BYTES_MAX + LINK_BYTES_MAX + PATH_BYTES_MAX + 256;
const BUFFER_BYTES: usize = 64 << 10;

/// The kind of a path of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ListedKind {
    Directory,
    File { executable: bool, content: Content },
    Link(Vec<u8>),
    HardLink(Vec<u8>),
}

/// A path of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListedPath {
    /// The path with 0 in place of `/`, so that the bytes sort in manifest order.
    key: Vec<u8>,
    /// The number of records before it in the archive.
    number: u64,
    /// Whether the same path came earlier in the archive.
    pub(super) again: bool,
    pub(super) kind: ListedKind,
}

fn key_of(path: &[u8]) -> Vec<u8> {
    path.iter().map(|byte| if *byte == b'/' { 0 } else { *byte }).collect()
}

impl ListedPath {
    pub(super) fn path(&self) -> Vec<u8> {
        self.key.iter().map(|byte| if *byte == 0 { b'/' } else { *byte }).collect()
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.string(&self.key);
        out.varint(self.number);
        out.u8(u8::from(self.again));
        match &self.kind {
            ListedKind::Directory => out.u8(0),
            ListedKind::File { executable, content } => {
                out.u8(if *executable { 2 } else { 1 });
                out.varint(content.size);
                out.sha1(&content.sha1);
                out.id(&content.id);
            }
            ListedKind::Link(text) => {
                out.u8(3);
                out.string(text);
            }
            ListedKind::HardLink(target) => {
                out.u8(4);
                out.string(target);
            }
        }
        out.into_bytes()
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let mut input = Reader::new(bytes);
        let key = input.string(PATH_BYTES_MAX)?.to_vec();
        let (number, again) = (input.varint()?, input.u8()? == 1);
        let kind = match input.u8()? {
            0 => ListedKind::Directory,
            number @ (1 | 2) => {
                let (size, sha1, id) = (input.varint()?, input.sha1()?, input.id()?);
                ListedKind::File { executable: number == 2, content: Content { size, sha1, id } }
            }
            3 => ListedKind::Link(input.string(LINK_BYTES_MAX)?.to_vec()),
            _ => ListedKind::HardLink(input.string(PATH_BYTES_MAX)?.to_vec()),
        };
        Ok(Self { key, number, again, kind })
    }
}

/// The paths of an archive while they are collected.
#[derive(Default)]
pub(super) struct Listing {
    memory: usize,
    folder: PathBuf,
    held: Vec<ListedPath>,
    held_bytes: usize,
    count: u64,
    runs: Vec<SortedRun>,
}

fn spilling(folder: &std::path::Path, error: io::Error) -> Error {
    let folder = path::display(folder.as_os_str().as_bytes());
    let what = format!("temporary file in {folder}: the paths of an archive cannot be sorted");
    Error::io(what, error).hint("set TMPDIR to a directory with more space")
}

impl Listing {
    pub(super) fn new(memory: usize, folder: PathBuf) -> Self {
        Self { memory, folder, ..Self::default() }
    }

    pub(super) fn add(&mut self, path: Vec<u8>, kind: ListedKind) -> Result<()> {
        let text = match &kind {
            ListedKind::Link(text) | ListedKind::HardLink(text) => text.len(),
            _ => 0,
        };
        self.held_bytes += RECORD_BYTES + path.len() + text;
        self.held.push(ListedPath { key: key_of(&path), number: self.count, again: false, kind });
        self.count += 1;
        if self.held_bytes > self.memory {
            self.spill()?;
        }
        Ok(())
    }

    fn sort_held(&mut self) {
        self.held.sort_unstable_by(|a, b| (&a.key, a.number).cmp(&(&b.key, b.number)));
        // The last record of a path counts; here it is the second of the two.
        self.held.dedup_by(|next, kept| {
            let same = next.key == kept.key;
            if same {
                std::mem::swap(next, kept);
                kept.again = true;
            }
            same
        });
    }

    fn spill(&mut self) -> Result<()> {
        self.sort_held();
        let mut run = RunWriter::new(&self.folder)?;
        for record in self.held.drain(..) {
            run.add(&record, false)?;
        }
        self.runs.push(run.finish()?);
        self.held_bytes = 0;
        Ok(())
    }

    /// Sorts all paths, and keeps each once.
    pub(super) fn sort(mut self) -> Result<Sorted> {
        if self.runs.is_empty() {
            self.sort_held();
            return Ok(Sorted::Memory(self.held));
        }
        self.spill()?;
        let mut heads = BinaryHeap::new();
        let mut cursors: Vec<PathCursor> = Vec::new();
        for (at, run) in self.runs.iter().enumerate() {
            let mut cursor = PathCursor::new(0);
            if let Some(record) = cursor.next(run)? {
                heads.push(Reverse((record.key.clone(), record.number, at)));
                cursor.held = Some(record);
            }
            cursors.push(cursor);
        }
        let mut out = RunWriter::new(&self.folder)?;
        let mut last: Option<ListedPath> = None;
        while let Some(Reverse((_, _, at))) = heads.pop() {
            let (run, cursor) = (&self.runs[at], &mut cursors[at]);
            let Some(mut record) = cursor.held.take() else { continue };
            if let Some(next) = cursor.next(run)? {
                heads.push(Reverse((next.key.clone(), next.number, at)));
                cursor.held = Some(next);
            }
            match last.take() {
                Some(before) if before.key == record.key => record.again = true,
                Some(before) => out.add(&before, true)?,
                None => {}
            }
            last = Some(record);
        }
        if let Some(last) = last {
            out.add(&last, true)?;
        }
        Ok(Sorted::File(out.finish()?))
    }
}

/// A temporary file with sorted records.
pub(super) struct SortedRun {
    folder: PathBuf,
    file: File,
    length: u64,
    /// The keys of some records, with their offsets.
    index: Vec<(Vec<u8>, u64)>,
}

struct RunWriter {
    folder: PathBuf,
    file: BufWriter<File>,
    length: u64,
    count: usize,
    index: Vec<(Vec<u8>, u64)>,
}

impl RunWriter {
    fn new(folder: &std::path::Path) -> Result<Self> {
        let file = tempfile::tempfile_in(folder).map_err(|error| spilling(folder, error))?;
        let file = BufWriter::with_capacity(BUFFER_BYTES, file);
        Ok(Self { folder: folder.into(), file, length: 0, count: 0, index: Vec::new() })
    }

    fn add(&mut self, record: &ListedPath, indexed: bool) -> Result<()> {
        if indexed && self.count.is_multiple_of(INDEXED_EVERY) {
            self.index.push((record.key.clone(), self.length));
        }
        self.count += 1;
        let bytes = record.encode();
        let mut out = Writer::default();
        out.string(&bytes);
        self.length += out.bytes().len() as u64;
        self.file.write_all(out.bytes()).map_err(|error| spilling(&self.folder, error))
    }

    fn finish(self) -> Result<SortedRun> {
        let Self { folder, file, length, index, .. } = self;
        let file = file.into_inner().map_err(|error| spilling(&folder, error.into_error()))?;
        Ok(SortedRun { folder, file, length, index })
    }
}

/// A position in a run or in a list.
pub(super) struct PathCursor {
    at: u64,
    buffer: Vec<u8>,
    used: usize,
    held: Option<ListedPath>,
}

impl PathCursor {
    fn new(at: u64) -> Self {
        Self { at, buffer: Vec::new(), used: 0, held: None }
    }

    fn next(&mut self, run: &SortedRun) -> Result<Option<ListedPath>> {
        let unread = |cursor: &Self| cursor.buffer.len() - cursor.used;
        if unread(self) < ENCODED_BYTES_MAX && self.at < run.length {
            self.buffer.drain(..self.used);
            self.used = 0;
            let old = self.buffer.len();
            let more = to_usize(run.length - self.at).min(BUFFER_BYTES);
            self.buffer.resize(old + more, 0);
            let read = run.file.read_exact_at(&mut self.buffer[old..], self.at);
            read.map_err(|error| spilling(&run.folder, error))?;
            self.at += more as u64;
        }
        let left = &self.buffer[self.used..];
        if left.is_empty() {
            return Ok(None);
        }
        let mut input = Reader::new(left);
        let record = ListedPath::decode(input.string(ENCODED_BYTES_MAX)?)?;
        self.used = self.buffer.len() - input.remaining();
        Ok(Some(record))
    }
}

/// All paths of an archive, in manifest order.
pub(super) enum Sorted {
    Memory(Vec<ListedPath>),
    File(SortedRun),
}

impl Sorted {
    /// Returns a cursor before the first record.
    pub(super) fn start(&self) -> PathCursor {
        PathCursor::new(0)
    }

    /// Returns the next record.
    pub(super) fn next(&self, cursor: &mut PathCursor) -> Result<Option<ListedPath>> {
        match self {
            Self::Memory(records) => {
                let record = records.get(to_usize(cursor.at));
                cursor.at += 1;
                Ok(record.cloned())
            }
            Self::File(run) => cursor.next(run),
        }
    }

    /// Returns the record of `path`.
    pub(super) fn get(&self, path: &[u8]) -> Result<Option<ListedPath>> {
        let key = key_of(path);
        match self {
            Self::Memory(records) => {
                let at = records.binary_search_by(|record| record.key.cmp(&key));
                Ok(at.ok().map(|at| records[at].clone()))
            }
            Self::File(run) => {
                let at = run.index.partition_point(|(first, _)| *first <= key);
                let Some((_, offset)) = at.checked_sub(1).and_then(|at| run.index.get(at)) else {
                    return Ok(None);
                };
                let mut cursor = PathCursor::new(*offset);
                while let Some(record) = cursor.next(run)? {
                    if record.key >= key {
                        return Ok((record.key == key).then_some(record));
                    }
                }
                Ok(None)
            }
        }
    }

    /// Returns true if there is a path below `path`. Then `path` is a directory, even without a
    /// record.
    pub(super) fn has_below(&self, path: &[u8]) -> Result<bool> {
        let mut start = key_of(path);
        start.push(0);
        let found = match self {
            Self::Memory(records) => {
                let at = records.partition_point(|record| record.key < start);
                records.get(at).cloned()
            }
            Self::File(run) => {
                let at = run.index.partition_point(|(first, _)| *first <= start);
                let offset = at.checked_sub(1).and_then(|at| run.index.get(at));
                let mut cursor = PathCursor::new(offset.map_or(0, |(_, offset)| *offset));
                loop {
                    match cursor.next(run)? {
                        Some(record) if record.key < start => {}
                        found => break found,
                    }
                }
            }
        };
        Ok(found.is_some_and(|record| record.key.starts_with(&start)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// With any amount of memory: sorted, each path once, the last record kept, and all found
        /// again.
        #[test]
        fn paths_come_sorted_and_the_last_counts(
            paths in prop::collection::vec("[ab/]{1,4}", 0..300), memory in 0_usize..40_000,
        ) {
            let mut listing = Listing::new(memory, std::env::temp_dir());
            let mut expected: BTreeMap<Vec<u8>, (Vec<u8>, bool)> = BTreeMap::new();
            for (at, path) in paths.iter().enumerate() {
                let text = at.to_string().into_bytes();
                listing.add(path.clone().into_bytes(), ListedKind::Link(text.clone())).unwrap();
                let again = expected.contains_key(&key_of(path.as_bytes()));
                expected.insert(key_of(path.as_bytes()), (text, again));
            }
            let sorted = listing.sort().unwrap();
            let mut cursor = sorted.start();
            for (key, (text, again)) in &expected {
                let record = sorted.next(&mut cursor).unwrap().unwrap();
                prop_assert_eq!((&record.key, record.again), (key, *again));
                prop_assert_eq!(&record.kind, &ListedKind::Link(text.clone()));
                prop_assert_eq!(sorted.get(&record.path()).unwrap(), Some(record));
            }
            prop_assert!(sorted.next(&mut cursor).unwrap().is_none());
            for path in ["a", "b", "ab", "zz"] {
                let start = [key_of(path.as_bytes()), vec![0]].concat();
                let below = expected.keys().any(|key| key.starts_with(&start));
                prop_assert_eq!(sorted.has_below(path.as_bytes()).unwrap(), below);
                let there = expected.contains_key(path.as_bytes());
                prop_assert_eq!(sorted.get(path.as_bytes()).unwrap().is_some(), there);
            }
        }
    }
}
