//! Writing records that come from another store.

use super::encoding::choose_copied;
use super::new_record::NewRecord;
use super::own_lane::SHARED;
use super::writer::Writer;
use freestone_core::{Id, Result, Sha1};
use freestone_format::record::{Codec, RecordKind};
use freestone_manifest::content::ContentRecord;

/// The place of a copied chunk among contents.
#[derive(Clone, Copy, Debug)]
pub enum ChunkOf {
    /// It is a whole content, with this SHA-1.
    Content(Sha1),
    /// It is a part of a larger content, in which it starts at this offset.
    Larger(u64),
}

impl Writer {
    /// Returns true if a record is there for one that depends on it.
    ///
    /// # Errors
    /// The index is damaged.
    pub fn has(&self, kind: RecordKind, id: &Id) -> Result<bool> {
        self.is_known(kind, id, SHARED)
    }

    /// Writes a chunk that the store does not have. `stored` is its codec in the other store with
    /// the bytes stored there; they are used if that is possible.
    ///
    /// # Errors
    /// [`Refused`](freestone_core::ErrorKind::Refused) if another content has the same SHA-1; or
    /// writing failed.
    pub fn put_copied_chunk(
        &self,
        id: Id,
        plain: &[u8],
        stored: (Codec, &[u8]),
        of: ChunkOf,
    ) -> Result<()> {
        let encoded = choose_copied(plain, stored)?;
        let length = plain.len() as u64;
        let record = match of {
            ChunkOf::Larger(offset) => NewRecord::part(id, length, offset, &encoded),
            ChunkOf::Content(sha1) => {
                self.check_sha1(&sha1, &id, &id)?;
                let record = NewRecord::new(RecordKind::Chunk, id, length, &encoded);
                record.named(Some((sha1, id)))
            }
        };
        self.add_shared(&[record])
    }

    /// Writes a content record that the store does not have, after the chunks and nodes that it
    /// needs.
    ///
    /// # Errors
    /// As [`Self::put_copied_chunk`].
    pub fn put_copied_record(&self, id: Id, record: &ContentRecord) -> Result<()> {
        self.check_sha1(&record.sha1, &record.blake3, &id)?;
        let sha1 = Some((record.sha1, record.blake3));
        self.hold_shared((RecordKind::ContentRecord, id, &record.encode()), sha1)
    }
}
