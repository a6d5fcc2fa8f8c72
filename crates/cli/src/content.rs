//! A content of a store, found by its SHA-1.

use freestone_core::{Error, Id, Result, Sha1, digest};
use freestone_manifest::content::ContentRecord;
use freestone_store::format::record::RecordKind;
use freestone_store::{Packs, Place, Records, Store, read_table};

/// A content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// Its content id.
    pub id: Id,
    /// Its length in bytes.
    pub size: u64,
}

/// The content whose SHA-1 is `sha1`; `None` if the store has none.
///
/// # Errors
/// The store cannot be read; [`Refused`](freestone_core::ErrorKind::Refused) if it has two
/// different ones, since a name that somebody made ambiguous proves nothing.
pub fn find(store: &Store, sha1: &Sha1) -> Result<Option<Content>> {
    let records = store.records()?;
    let packs = Packs::new(store.backend().clone());
    let mut found: Vec<Content> = Vec::new();
    for place in store.index()?.find_sha1(sha1)? {
        if let Some(content) = at(&place, sha1, &packs, &records)?
            && !found.contains(&content)
        {
            found.push(content);
        }
    }
    match found[..] {
        [] => Ok(None),
        [content] => Ok(Some(content)),
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

/// The content at `place`, if its SHA-1 is all of `sha1`.
fn at(place: &Place, sha1: &Sha1, packs: &Packs, records: &Records) -> Result<Option<Content>> {
    let table = read_table(&*packs.open_listed(place)?, &place.pack)?;
    let row = table
        .iter()
        .find(|row| row.offset == place.row.offset && row.id.0.starts_with(&place.row.prefix));
    let Some(row) = row else { return Ok(None) };
    let (size, found) = match row.kind {
        RecordKind::Chunk => {
            let mut bytes = Vec::new();
            if !records.read(RecordKind::Chunk, &row.id, &mut bytes)? {
                return Ok(None);
            }
            (bytes.len() as u64, digest::sha1(&bytes))
        }
        RecordKind::ContentRecord => {
            let record = ContentRecord::read(records, &row.id)?;
            (record.length, record.sha1)
        }
        _ => return Ok(None),
    };
    Ok((found == *sha1).then_some(Content { id: row.id, size }))
}
