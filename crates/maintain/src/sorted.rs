//! Records of one length in a temporary file, which is sorted where it is mapped: many millions of
//! them take disk, not memory. They begin with their keys.

use freestone_core::{Error, Result};
use memmap2::MmapMut;
use std::fs::File;
use std::io::{BufWriter, Write};

/// Bytes that are collected before they are written.
const BUFFER_BYTES: usize = 1 << 16;

fn failed(error: std::io::Error) -> Error {
    let place = std::env::temp_dir();
    Error::io(format!("a temporary file in {} failed", place.display()), error)
        .hint("set TMPDIR to a directory with more space: about 100 bytes a record are needed")
}

/// Takes records of `N` bytes.
pub(crate) struct SortedWriter<const N: usize> {
    file: BufWriter<File>,
    count: u64,
}

impl<const N: usize> SortedWriter<N> {
    /// Returns an empty set.
    ///
    /// # Errors
    /// No temporary file can be made.
    pub(crate) fn new() -> Result<Self> {
        let file = tempfile::tempfile().map_err(failed)?;
        Ok(Self { file: BufWriter::with_capacity(BUFFER_BYTES, file), count: 0 })
    }

    /// Adds a record; it may be there more than once.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn add(&mut self, record: &[u8; N]) -> Result<()> {
        self.count += 1;
        self.file.write_all(record).map_err(failed)
    }

    /// Sorts the records.
    ///
    /// # Errors
    /// The file cannot be written or mapped.
    pub(crate) fn finish(self) -> Result<Sorted<N>> {
        let file = self.file.into_inner().map_err(|error| failed(error.into_error()))?;
        if self.count == 0 {
            return Ok(Sorted { records: None });
        }
        // SAFETY: the file has no name, so that nobody else can change it or cut it off.
        let mut records = unsafe { MmapMut::map_mut(&file) }.map_err(failed)?;
        records.as_chunks_mut::<N>().0.sort_unstable();
        Ok(Sorted { records: Some(records) })
    }
}

/// Sorted records of `N` bytes.
#[derive(Default)]
pub(crate) struct Sorted<const N: usize> {
    records: Option<MmapMut>,
}

impl<const N: usize> Sorted<N> {
    /// Returns the records that begin with `key`, in order.
    pub(crate) fn with_key<'a>(&'a self, key: &'a [u8]) -> impl Iterator<Item = &'a [u8; N]> {
        let records = self.records.as_deref().unwrap_or_default().as_chunks::<N>().0;
        let first = records.partition_point(|record| record[..key.len()] < *key);
        records[first..].iter().take_while(|record| record.starts_with(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_found_by_its_key() {
        let mut writer = SortedWriter::<6>::new().unwrap();
        for number in (0..5000u32).rev() {
            let mut record = [0; 6];
            record[..4].copy_from_slice(&(number / 2).to_be_bytes());
            record[4] = u8::try_from(number % 2).unwrap();
            writer.add(&record).unwrap();
        }
        let sorted = writer.finish().unwrap();
        for key in 0..2500u32 {
            let found: Vec<u8> = sorted.with_key(&key.to_be_bytes()).map(|it| it[4]).collect();
            assert_eq!(found, [0, 1], "{key}");
        }
        assert_eq!(sorted.with_key(&2500u32.to_be_bytes()).count(), 0);
        assert_eq!(SortedWriter::<6>::new().unwrap().finish().unwrap().with_key(&[]).count(), 0);
    }
}
