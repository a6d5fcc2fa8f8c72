//! Remembering what was proven, from one run of the program to the next.
//!
//! ```text
//! "FSPROVE2", store id 16
//! for each pack: id 32, device u64, inode u64, length u64, mtime and ctime (i64 seconds, i64
//!                nanoseconds each), count u64, offsets u64 each, ascending
//! plain BLAKE3 of all before, 32
//! ```
//! The list is the file `proven` in the folder of the user's caches ([`Store::caches`]), where nobody
//! else may write: a user who can write it decides which bytes are believed without being hashed.
//!
//! It is a hint: who has none hashes again. What it says of a file holds only while inode, length
//! and times are the same: every change by the ways of the file system changes the last of them.
//! What rots below it is found by `verify --data`, which hashes everything and writes the file
//! again, or by `--prove`, which does not read it.

use crate::read::proofs::{Proofs, Stamp};
use crate::read::records::Records;
use crate::store::Store;
use freestone_backend::Object;
use freestone_core::plan::{RawChunks, RawPlace};
use freestone_core::{Error, Id, Result, digest};
use freestone_files::Folder;
use std::cell::RefCell;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"FSPROVE2";
const NAME: &str = "proven";
/// The beginning of the names of lists that are being written.
const TEMPORARY: &str = "proven.new-";
/// The bytes of a pack in the list, without its offsets.
const PACK_BYTES: u64 = 96;
/// Longer than any that is written; a longer one is somebody else's.
const BYTES_MAX: u64 = 64 << 20;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A pack that is open, as its descriptor.
struct OpenPack(Arc<dyn Object>);

impl AsFd for OpenPack {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.file().expect("it was made of an object with a file").as_fd()
    }
}

impl RawChunks for Records {
    fn raw(&self, id: &Id, length: u64, prove: bool) -> Result<Option<RawPlace>> {
        let Some(run) = self.raw_run(id, length)? else { return Ok(None) };
        let mut checked = 0;
        if !run.is_proven() {
            // What cannot be read, or is not what its id says, is reported when it is read as a chunk,
            // who knows of other copies too.
            let proves = || SCRATCH.with_borrow_mut(|scratch| run.prove(scratch)).unwrap_or(false);
            if !prove || !proves() {
                return Ok(None);
            }
            checked = length;
        }
        // The pack may have been closed meanwhile, to open others. Its file is compared again.
        let Some(object) = run.open_proven() else { return Ok(None) };
        let offset = run.place().1;
        Ok(Some(RawPlace { file: Arc::new(OpenPack(object)), offset, checked }))
    }
}

impl Store {
    /// Takes over what earlier runs have proven. Nothing, where that is not known.
    pub fn load_proofs(&self) {
        let Some(caches) = self.caches() else { return };
        if let Ok(known) = read(caches, self) {
            for (pack, stamp, offsets) in known {
                self.packs().proofs().restore(pack, stamp, offsets);
            }
        }
    }

    /// Remembers what was proven, for later runs: what they have remembered, and what this one has
    /// proven. A store that cannot be written remembers nothing.
    pub fn save_proofs(&self) {
        let Some(caches) = self.caches() else { return };
        let proofs = self.packs().proofs();
        if !proofs.is_changed() {
            return;
        }
        // What another process has added meanwhile is not lost, unless it is at this very moment.
        let merged = Proofs::default();
        for (pack, stamp, offsets) in read(caches, self).unwrap_or_default() {
            merged.restore(pack, stamp, offsets);
        }
        for (pack, stamp, offsets) in proofs.settled() {
            merged.restore(pack, stamp, offsets);
        }
        // A cache: what cannot be written is proven again.
        let _ = write(caches, &encode(self, &merged.settled()));
    }

    /// Forgets what earlier runs have proven, and remembers what this one has.
    pub fn replace_proofs(&self) {
        if let Some(caches) = self.caches() {
            let _ = write(caches, &encode(self, &self.packs().proofs().settled()));
        }
    }

    /// Forgets everything that was proven, in earlier runs and in this one as far as it was
    /// remembered.
    pub fn forget_proofs(&self) {
        if let Some(caches) = self.caches() {
            let _ = caches.remove_file(NAME);
        }
    }
}

type Known = Vec<(Id, Stamp, Vec<u64>)>;

fn encode(store: &Store, known: &Known) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&store.id().0);
    for (pack, stamp, offsets) in known {
        out.extend_from_slice(&pack.0);
        for number in [stamp.device, stamp.inode, stamp.length] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for number in [stamp.mtime.0, stamp.mtime.1, stamp.ctime.0, stamp.ctime.1] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&(offsets.len() as u64).to_le_bytes());
        for offset in offsets {
            out.extend_from_slice(&offset.to_le_bytes());
        }
    }
    let check = digest::plain(&out);
    out.extend_from_slice(&check.0);
    out
}

fn write(caches: &Folder, bytes: &[u8]) -> io::Result<()> {
    caches.clear_left_over("", TEMPORARY);
    let mut temporary = caches.create_temporary("", TEMPORARY, 0o600)?;
    let written = temporary.file.write_all(bytes);
    written.and_then(|()| caches.rename(&temporary.name, NAME)).inspect_err(|_| {
        let _ = caches.remove_file(&temporary.name);
    })
}

fn read(caches: &Folder, store: &Store) -> Result<Known> {
    let wrong = |error| Error::io(caches.path_of(NAME).display().to_string(), error);
    decode(&caches.read_whole(NAME, BYTES_MAX).map_err(wrong)?, &store.id().0)
}

fn decode(bytes: &[u8], store: &[u8; 16]) -> Result<Known> {
    let wrong = || Error::corrupt("the list of what was proven is damaged");
    let (body, check) = bytes.split_last_chunk::<32>().ok_or_else(wrong)?;
    if digest::plain(body).0 != *check {
        return Err(wrong());
    }
    let mut rest = body;
    let mut take = |count: usize| -> Result<&[u8]> {
        let (taken, left) = rest.split_at_checked(count).ok_or_else(wrong)?;
        rest = left;
        Ok(taken)
    };
    if take(8)? != MAGIC || take(16)? != store {
        return Err(wrong());
    }
    let mut left = body.len() - 24;
    let mut known = Vec::new();
    while left > 0 {
        let id = Id(take(32)?.try_into().map_err(|_| wrong())?);
        let mut number =
            || -> Result<u64> { Ok(u64::from_le_bytes(take(8)?.try_into().map_err(|_| wrong())?)) };
        let (device, inode, length) = (number()?, number()?, number()?);
        let mut time = || number().map(u64::cast_signed);
        let (mtime, ctime) = ((time()?, time()?), (time()?, time()?));
        let count = number()?;
        let row =
            PACK_BYTES.checked_add(count.checked_mul(8).ok_or_else(wrong)?).ok_or_else(wrong)?;
        let row = usize::try_from(row).map_err(|_| wrong())?;
        left = left.checked_sub(row).ok_or_else(wrong)?;
        let offsets = (0..count).map(|_| number()).collect::<Result<Vec<u64>>>()?;
        known.push((id, Stamp { device, inode, length, mtime, ctime }, offsets));
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_list_is_no_list() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::init(&folder.path().join("store")).unwrap();
        let stamp = Stamp { device: 5, inode: 1, length: 2, mtime: (3, 4), ctime: (-5, 6) };
        let known = vec![(Id([7; 32]), stamp, vec![16, 4096]), (Id([8; 32]), stamp, vec![])];
        let good = encode(&store, &known);
        let read = decode(&good, &store.id().0).unwrap();
        assert_eq!(read.len(), 2);
        assert!(read[0].2 == [16, 4096] && read[0].1 == stamp);
        assert!(decode(&good, &[0; 16]).is_err());
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x80;
            assert!(decode(&bad, &store.id().0).is_err(), "byte {at}");
            assert!(decode(&good[..at], &store.id().0).is_err(), "{at} bytes");
        }
        // Lengths that lie, under a right check.
        let mut long = good[..good.len() - 32].to_vec();
        long[24 + 88..24 + 96].copy_from_slice(&u64::MAX.to_le_bytes());
        let check = digest::plain(&long);
        long.extend_from_slice(&check.0);
        assert!(decode(&long, &store.id().0).is_err());
    }
}
