//! Finding a content by its SHA-1.

use crate::index::Place;
use crate::read::records::Records;
use freestone_core::{Error, ErrorKind, Id, Result, Sha1, digest};
use freestone_format::record::RecordKind;
use freestone_format::segment::prefix;
use freestone_manifest::content::ContentRecord;

/// A content that the store has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundContent {
    /// Its content id.
    pub id: Id,
    /// Its length in bytes.
    pub size: u64,
}

impl Records {
    /// Finds the content whose SHA-1 is `sha1`; `None` if no segment lists one. Reads a record for
    /// each SHA-1 that begins alike, which is rarely more than one.
    ///
    /// # Errors
    /// What is listed cannot be read or is damaged; [`Refused`](freestone_core::ErrorKind::Refused)
    /// if there are two different contents: somebody made them to collide, so the SHA-1 proves
    /// nothing.
    pub fn find_sha1(&self, sha1: &Sha1) -> Result<Option<FoundContent>> {
        let found = self.find_sha1_listed(sha1);
        let backend = self.packs.backend();
        let looks_again = match &found {
            // Far away, who asks for what is nowhere would make us list again and again.
            Ok(None) => !backend.is_far() && !self.packs.is_cache(),
            Err(error) => matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound),
            Ok(Some(_)) => false,
        };
        if looks_again && matches!(self.index.follow(backend), Ok(true)) {
            return self.find_sha1_listed(sha1);
        }
        found
    }

    fn find_sha1_listed(&self, sha1: &Sha1) -> Result<Option<FoundContent>> {
        let mut found: Vec<FoundContent> = Vec::new();
        let mut failure = None;
        for place in self.index.find_sha1(sha1)? {
            match self.content_at(&place, sha1) {
                Ok(Some(content)) if !found.contains(&content) => found.push(content),
                Ok(_) => {}
                // Another place may have it whole.
                Err(error) => {
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

    /// Returns the content at `place`, if all of its SHA-1 is `sha1`. Its id follows from its
    /// bytes, so the pack's table need not be read.
    fn content_at(&self, place: &Place, sha1: &Sha1) -> Result<Option<FoundContent>> {
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
        let (size, found) = match kind {
            RecordKind::ContentRecord => {
                let record = ContentRecord::decode(&bytes).map_err(|error| error.context(at()))?;
                (record.length, record.sha1)
            }
            _ => (bytes.len() as u64, digest::sha1(&bytes)),
        };
        Ok((found == *sha1).then_some(FoundContent { id, size }))
    }
}
