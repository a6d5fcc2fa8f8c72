//! Contents: reading one whole, and finding one by its SHA-1.
//!
//! A SHA-1 is said by an entry of a manifest or by the record of a large content, and whoever wrote
//! it may have lied. So it is computed from the bytes when a content is looked up by it.

use crate::index::Place;
use crate::read::records::Records;
use freestone_core::digest::sha1_hasher;
use freestone_core::wire::to_usize;
use freestone_core::{
    ChunkSource, Error, ErrorKind, ExtentSource, Id, Result, Sha1, Watch, digest,
};
use freestone_format::record::RecordKind;
use freestone_format::segment::prefix;
use freestone_manifest::content::{self, ContentRecord};

/// Zeros that nothing is stored for are given in pieces of this length.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// The longest content that is read to prove its SHA-1 for somebody else: a content of few nodes
/// can be as long as its maker likes.
pub const PROVEN_BYTES_MAX: u64 = 4 << 30;
/// Records that say a SHA-1 falsely after which a search for it is given up: each was read whole.
const LIES_MAX: usize = 4;

/// A content that the store has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundContent {
    /// Its content id.
    pub id: Id,
    /// Its length in bytes.
    pub size: u64,
}

impl Records {
    /// Gives all bytes of the content `id` of `size` bytes to `each`, in order and piece by piece.
    /// `sha1` is what an entry says of it; without an entry it is `None`.
    ///
    /// # Errors
    /// A record is missing or damaged, or says another length or SHA-1; or `each` fails.
    pub fn read_content(
        &self,
        id: &Id,
        size: u64,
        sha1: Option<&Sha1>,
        each: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut buffer = Vec::new();
        content::pieces(self, id, size, sha1, 0..size, &mut |piece| match piece.source {
            ExtentSource::Chunk(id) => each(self.chunk_in(&id, piece.length, &mut buffer)?),
            ExtentSource::Inline(bytes) => each(&bytes),
            ExtentSource::Zeros => {
                let mut left = piece.length;
                while left > 0 {
                    let count = left.min(ZEROS.len() as u64);
                    each(&ZEROS[..to_usize(count)])?;
                    left -= count;
                }
                Ok(())
            }
        })
    }

    /// Checks that the bytes of the content `id` have the SHA-1 `sha1`, which an entry or a record
    /// says. They are read once in a process.
    ///
    /// # Errors
    /// They have another one; or as [`Self::read_content`].
    pub fn prove_sha1(&self, id: &Id, size: u64, sha1: &Sha1, watch: Watch<'_>) -> Result<()> {
        let names = self.packs.names();
        let known = || names.get(id);
        let found = match known() {
            Some(found) => found,
            None => {
                let _computing = names.computing();
                match known() {
                    Some(found) => found,
                    None => {
                        let mut hasher = sha1_hasher();
                        self.read_content(id, size, None, &mut |bytes| {
                            hasher.update(bytes);
                            watch.check()
                        })?;
                        let found = hasher.finish();
                        names.keep(*id, found);
                        found
                    }
                }
            }
        };
        if found == *sha1 { Ok(()) } else { Err(misnamed(id, sha1, &found)) }
    }

    /// Finds the content whose SHA-1 is `sha1`; `None` if no segment lists one. Reads what is listed
    /// for each SHA-1 that begins alike, which is rarely more than one, and all bytes of a content
    /// that is said to have this one. A content of more than `bytes_max` bytes is not read.
    ///
    /// # Errors
    /// What is listed cannot be read or is damaged, or is said to have the SHA-1 and has another;
    /// [`Refused`](freestone_core::ErrorKind::Refused) if there are two different contents, which
    /// were made to collide, or if the content has more than `bytes_max` bytes.
    pub fn find_sha1(
        &self,
        sha1: &Sha1,
        bytes_max: u64,
        watch: Watch<'_>,
    ) -> Result<Option<FoundContent>> {
        let found = self.find_sha1_listed(sha1, bytes_max, watch);
        let backend = self.packs.backend();
        let looks_again = match &found {
            // Far away, who asks for what is nowhere would make us list again and again.
            Ok(None) => !backend.is_far() && !self.packs.is_cache(),
            Err(error) => matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound),
            Ok(Some(_)) => false,
        };
        if looks_again && matches!(self.index.follow(backend), Ok(true)) {
            return self.find_sha1_listed(sha1, bytes_max, watch);
        }
        found
    }

    fn find_sha1_listed(
        &self,
        sha1: &Sha1,
        bytes_max: u64,
        watch: Watch<'_>,
    ) -> Result<Option<FoundContent>> {
        let mut found: Vec<FoundContent> = Vec::new();
        let (mut failure, mut lies) = (None, 0);
        for place in self.index.find_sha1(sha1)? {
            watch.check()?;
            let content = match self.said_at(&place, sha1) {
                Ok(Some(content)) if !found.contains(&content) => content,
                Ok(_) => continue,
                // Another place may have it whole.
                Err(error) => {
                    failure.get_or_insert(error);
                    continue;
                }
            };
            if content.size > bytes_max {
                let what =
                    format!("the content with SHA-1 {sha1} is said to have {} bytes", content.size);
                return Err(Error::refused(format!("{what}: too many to prove that SHA-1 here"))
                    .hint("name the content by a revision and a path"));
            }
            match self.prove_sha1(&content.id, content.size, sha1, watch) {
                Ok(()) => found.push(content),
                Err(error) => {
                    watch.check()?;
                    lies += usize::from(error.is_damage());
                    if lies >= LIES_MAX {
                        return Err(error);
                    }
                    failure.get_or_insert(error);
                }
            }
        }
        match (&found[..], failure) {
            ([], None) => Ok(None),
            ([], Some(error)) => Err(error),
            ([content], _) => Ok(Some(*content)),
            _ => {
                let ids: Vec<String> = found.iter().map(|content| content.id.to_string()).collect();
                let what = format!("{} different contents have the SHA-1 {sha1}", found.len());
                Err(Error::refused(what).hint(format!(
                    "they were made to collide; name the one that you mean by a path, as in \
                     main:some/file. Their ids are {}",
                    ids.join(", ")
                )))
            }
        }
    }

    /// Returns the content at `place`, if it is said to have the SHA-1 `sha1`. Its id follows from
    /// its bytes, so the pack's table need not be read.
    fn said_at(&self, place: &Place, sha1: &Sha1) -> Result<Option<FoundContent>> {
        let kind = place.row.kind;
        if !matches!(kind, RecordKind::Chunk | RecordKind::ContentRecord) {
            return Ok(None);
        }
        let at = || format!("{} in pack {} at {}", kind.word(), place.pack, place.row.offset);
        let bytes = self.decode(place).map_err(|error| error.context(at()))?;
        let id = kind.id_of(&bytes).filter(|id| prefix(&id.0) == place.row.prefix);
        let id = id.ok_or_else(|| {
            Error::corrupt(format!("{} is damaged", at()))
                .hint("`freestone verify --data` lists all that is damaged")
        })?;
        let (size, said) = match kind {
            RecordKind::ContentRecord => {
                let record = ContentRecord::decode(&bytes).map_err(|error| error.context(at()))?;
                (record.length, record.sha1)
            }
            _ => {
                let sha1 = digest::sha1(&bytes);
                self.packs.names().keep(id, sha1);
                (bytes.len() as u64, sha1)
            }
        };
        Ok((said == *sha1).then_some(FoundContent { id, size }))
    }
}

/// Returns the error for a content that is said to have another SHA-1 than it has.
fn misnamed(id: &Id, said: &Sha1, found: &Sha1) -> Error {
    let what = format!("content {id} is said to have the SHA-1 {said}, but its bytes have {found}");
    Error::corrupt(what).hint("`freestone verify --data` lists all that is damaged")
}
