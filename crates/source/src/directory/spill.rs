//! Names of directories that are too many for memory: sorted runs in an unnamed temporary file.
//!
//! The runs of a directory are written one after the other and merged into one, which the walk then
//! reads. The directories of a walk are a stack, and so is the file: when the walk leaves a
//! directory, the runs of that directory are cut off.

use super::names::{NameKind, Names, decode, encode};
use freestone_core::wire::to_usize;
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// The most runs that are merged at once. 64 buffers are a megabyte, and a second round is needed
/// only if the names take more than 64 times the memory of a walk.
const MERGED_RUNS_MAX: usize = 64;

/// The bytes that are read or written at once.
const BUFFER_BYTES: usize = 16 << 10;

/// The temporary file of a walk.
pub(super) struct Spill {
    directory: PathBuf,
    file: Option<File>,
    length: u64,
}

/// A range of the file with sorted records, each name once.
#[derive(Clone, Copy)]
pub(super) struct SpilledRun {
    start: u64,
    end: u64,
}

impl Spill {
    /// Prepares a file in `directory`, which is created when it is needed.
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory, file: None, length: 0 }
    }

    /// Returns the directory of the temporary file.
    pub(super) fn directory(&self) -> &PathBuf {
        &self.directory
    }

    /// Returns the offset at which the next run will begin, in bytes.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Removes the runs that begin at `length` or later.
    pub(super) fn truncate(&mut self, length: u64) -> io::Result<()> {
        if length < self.length {
            self.file()?.set_len(length)?;
            self.length = length;
        }
        Ok(())
    }

    fn file(&mut self) -> io::Result<&File> {
        if self.file.is_none() {
            self.file = Some(tempfile::tempfile_in(&self.directory)?);
        }
        self.file.as_ref().ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// Writes sorted names as a run.
    pub(super) fn write(&mut self, names: &Names) -> io::Result<SpilledRun> {
        let mut writer = RunWriter::new(self);
        let mut index = 0;
        while let Some((kind, name)) = names.get(index) {
            writer.add(kind, name)?;
            index += 1;
        }
        writer.finish()
    }

    /// Merges `runs`, which are at the end of the file, into one.
    pub(super) fn merge(&mut self, mut runs: Vec<SpilledRun>) -> io::Result<SpilledRun> {
        while runs.len() > 1 {
            let mut merged = Vec::new();
            for some in runs.chunks(MERGED_RUNS_MAX) {
                merged.push(self.merge_once(some)?);
            }
            runs = merged;
        }
        runs.pop().map_or_else(|| Ok(SpilledRun { start: self.length, end: self.length }), Ok)
    }

    fn merge_once(&mut self, runs: &[SpilledRun]) -> io::Result<SpilledRun> {
        let mut cursors = BinaryHeap::with_capacity(runs.len());
        for run in runs {
            let mut cursor = self.read(*run);
            if cursor.advance(self)? {
                cursors.push(cursor);
            }
        }
        let mut writer = RunWriter::new(self);
        let mut last: Option<Vec<u8>> = None;
        while let Some(mut first) = cursors.peek_mut() {
            let (kind, name) = first.record();
            if last.as_deref() != Some(name) {
                writer.add(kind, name)?;
                let last = last.get_or_insert_default();
                last.clear();
                last.extend_from_slice(name);
            }
            if !first.advance(writer.spill)? {
                PeekMut::pop(first);
            }
        }
        writer.finish()
    }

    /// Returns a reader at the start of `run`.
    pub(super) fn read(&self, run: SpilledRun) -> RunReader {
        RunReader { rest: run, buffer: Vec::new(), at: 0, length: 0 }
    }
}

/// A writer of a run at the end of the file.
struct RunWriter<'a> {
    spill: &'a mut Spill,
    start: u64,
    buffer: Vec<u8>,
}

impl<'a> RunWriter<'a> {
    fn new(spill: &'a mut Spill) -> Self {
        Self { start: spill.length, spill, buffer: Vec::with_capacity(BUFFER_BYTES) }
    }

    fn add(&mut self, kind: NameKind, name: &[u8]) -> io::Result<()> {
        encode(kind, name, &mut self.buffer);
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        let offset = self.spill.length;
        self.spill.file()?.write_all_at(&self.buffer, offset)?;
        self.spill.length += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<SpilledRun> {
        self.flush()?;
        Ok(SpilledRun { start: self.start, end: self.spill.length })
    }
}

/// A reader of a run, record by record. Readers are ordered in reverse, so that a heap has the one
/// with the first name on top.
pub(super) struct RunReader {
    /// The part of the run that is not in the buffer yet.
    rest: SpilledRun,
    buffer: Vec<u8>,
    /// The offset of the current record in the buffer, and its length.
    at: usize,
    length: usize,
}

impl RunReader {
    /// Moves to the next record. Returns false if there is none.
    pub(super) fn advance(&mut self, spill: &Spill) -> io::Result<bool> {
        self.at += self.length;
        self.length = 0;
        loop {
            let left = &self.buffer[self.at..];
            if let Some((length, ..)) = decode(left) {
                self.length = length;
                return Ok(true);
            }
            let unread = self.rest.end - self.rest.start;
            if unread == 0 {
                return if left.is_empty() {
                    Ok(false)
                } else {
                    Err(ErrorKind::UnexpectedEof.into())
                };
            }
            let more = to_usize(unread).min(BUFFER_BYTES);
            self.buffer.drain(..self.at);
            self.at = 0;
            let filled = self.buffer.len();
            self.buffer.resize(filled + more, 0);
            let Some(file) = &spill.file else { return Err(ErrorKind::NotFound.into()) };
            file.read_exact_at(&mut self.buffer[filled..], self.rest.start)?;
            self.rest.start += more as u64;
        }
    }

    /// Returns the current record; an empty one before the first.
    pub(super) fn record(&self) -> (NameKind, &[u8]) {
        let record = decode(&self.buffer[self.at..self.at + self.length]);
        record.map_or((NameKind::Unknown, &[]), |(_, kind, name)| (kind, name))
    }
}

impl Ord for RunReader {
    fn cmp(&self, other: &Self) -> Ordering {
        other.record().1.cmp(self.record().1)
    }
}

impl PartialOrd for RunReader {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for RunReader {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for RunReader {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_all(spill: &Spill, run: SpilledRun) -> Vec<Vec<u8>> {
        let mut cursor = spill.read(run);
        let mut all = Vec::new();
        while cursor.advance(spill).unwrap() {
            all.push(cursor.record().1.to_vec());
        }
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn merged_runs_are_all_names_sorted_once(
            names in prop::collection::vec(prop::collection::vec(1_u8.., 0..300), 0..300),
            run_bytes in 10_usize..5_000,
        ) {
            let mut spill = Spill::new(std::env::temp_dir());
            let mut runs = Vec::new();
            let mut held = Names::default();
            for name in &names {
                if !held.add(NameKind::Other, name, run_bytes) {
                    held.sort();
                    runs.push(spill.write(&held).unwrap());
                    held.clear();
                    prop_assert!(held.add(NameKind::Other, name, run_bytes));
                }
            }
            held.sort();
            runs.push(spill.write(&held).unwrap());
            let run = spill.merge(runs).unwrap();
            let mut expected = names;
            expected.sort();
            expected.dedup();
            prop_assert_eq!(read_all(&spill, run), expected);
        }
    }

    #[test]
    fn a_long_run_is_read_piece_by_piece() {
        let mut spill = Spill::new(std::env::temp_dir());
        let mut names = Names::default();
        for number in 0..50_000 {
            assert!(names.add(NameKind::Other, format!("{number:05}").as_bytes(), usize::MAX));
        }
        let run = spill.write(&names).unwrap();
        let mut cursor = spill.read(run);
        for number in 0..50_000 {
            assert!(cursor.advance(&spill).unwrap());
            assert_eq!(cursor.record().1, format!("{number:05}").as_bytes());
        }
        assert!(!cursor.advance(&spill).unwrap());
        assert!(cursor.buffer.capacity() <= 4 * BUFFER_BYTES);
    }

    #[test]
    fn a_record_may_be_longer_than_the_buffer() {
        let mut spill = Spill::new(std::env::temp_dir());
        let mut names = Names::default();
        let long = vec![b'x'; 65_535];
        assert!(names.add(NameKind::Directory, b"a", usize::MAX));
        assert!(names.add(NameKind::Other, &long, usize::MAX));
        let run = spill.write(&names).unwrap();
        assert_eq!(read_all(&spill, run), [b"a".to_vec(), long]);
    }

    #[test]
    fn what_is_cut_off_takes_no_room_and_the_rest_stays() {
        let mut spill = Spill::new(std::env::temp_dir());
        let mut names = Names::default();
        assert!(names.add(NameKind::Other, b"kept", usize::MAX));
        let kept = spill.write(&names).unwrap();
        let length = spill.length();
        spill.write(&names).unwrap();
        spill.truncate(length).unwrap();
        assert_eq!(spill.file.as_ref().unwrap().metadata().unwrap().len(), length);
        assert_eq!(read_all(&spill, kept), [b"kept"]);
        let again = spill.write(&names).unwrap();
        assert_eq!(read_all(&spill, again), [b"kept"]);
    }
}
