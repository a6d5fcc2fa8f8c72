//! The golden stores, as valid inputs of decoders.

use freestone_format::frame;
use freestone_format::pack::{Row, decode_table, table_place};
use freestone_format::record::{Codec, RecordKind};
use std::fs;
use std::path::{Path, PathBuf};

/// A record of a pack.
pub(crate) struct StoredRecord {
    pub(crate) row: Row,
    /// Its place in the pack's table.
    pub(crate) place: usize,
    pub(crate) stored: Vec<u8>,
    /// The plain bytes, if the record has no base.
    pub(crate) plain: Option<Vec<u8>>,
}

/// All objects of the golden stores, by what they are.
pub struct Goldens {
    /// Objects with their names within their stores.
    objects: Vec<(String, Vec<u8>)>,
    pub(crate) tables: Vec<Vec<u8>>,
    pub(crate) records: Vec<StoredRecord>,
}

fn read_below(store: &Path, directory: &Path, objects: &mut Vec<(String, Vec<u8>)>) {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            read_below(store, &path, objects);
        } else {
            let name = path.strip_prefix(store).unwrap().to_str().unwrap().to_owned();
            objects.push((name, fs::read(&path).unwrap()));
        }
    }
}

/// Returns the table of a pack; `None` if the file does not have all of it, as in a cache.
fn table_of(pack: &[u8]) -> Option<&[u8]> {
    let trailer = pack.last_chunk::<16>()?;
    let (offset, length) = table_place(pack.len() as u64, *trailer).ok()?;
    let offset = usize::try_from(offset).ok()?;
    pack.get(offset..offset + usize::try_from(length).ok()?)
}

fn plain_of(row: &Row, stored: &[u8]) -> Option<Vec<u8>> {
    match row.codec {
        Codec::Raw => Some(stored.to_vec()),
        Codec::Zstd => frame::decompress(stored, None, usize::try_from(row.plain).ok()?).ok(),
        _ => None,
    }
}

impl Goldens {
    /// Reads the stores in `tests/golden` of a checkout.
    ///
    /// # Panics
    /// They cannot be read.
    pub fn read(checkout: &Path) -> Self {
        let mut objects = Vec::new();
        let golden = checkout.join("tests/golden");
        let mut stores: Vec<PathBuf> =
            fs::read_dir(&golden).unwrap().map(|entry| entry.unwrap().path()).collect();
        stores.sort();
        stores.iter().for_each(|store| read_below(store, store, &mut objects));
        let (mut tables, mut records) = (Vec::new(), Vec::new());
        for (_, pack) in objects.iter().filter(|(name, _)| name.ends_with(".pack")) {
            let Some(table) = table_of(pack) else { continue };
            let Ok(rows) = decode_table(table, pack.len() as u64) else { continue };
            tables.push(table.to_vec());
            for (place, row) in rows.into_iter().enumerate() {
                let offset = usize::try_from(row.offset).unwrap();
                let end = offset + usize::try_from(row.stored).unwrap();
                let stored = pack[offset..end].to_vec();
                let plain = plain_of(&row, &stored);
                let plain = plain.filter(|plain| row.kind.id_of(plain) == Some(row.id));
                records.push(StoredRecord { row, place, stored, plain });
            }
        }
        Self { objects, tables, records }
    }

    /// Returns the objects whose names `is_one` accepts, each once.
    pub(crate) fn objects(&self, is_one: impl Fn(&str) -> bool) -> Vec<Vec<u8>> {
        let objects = self.objects.iter().filter(|(name, _)| is_one(name));
        let mut objects: Vec<Vec<u8>> = objects.map(|(_, bytes)| bytes.clone()).collect();
        objects.sort();
        objects.dedup();
        objects
    }

    /// Returns the plain bytes of the records of a kind.
    pub(crate) fn plain(&self, kind: RecordKind) -> Vec<Vec<u8>> {
        let records = self.records.iter().filter(|record| record.row.kind == kind);
        records.filter_map(|record| record.plain.clone()).collect()
    }
}
