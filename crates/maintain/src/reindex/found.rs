//! Which packs a reindexing lists, and which of their records.

use crate::sorted::SortedWriter;
use crate::sweep;
use freestone_core::{ErrorKind, Id, Result};
use freestone_format::pack::{Base, Row};
use freestone_format::record::RecordKind;
use freestone_store::table::read_sized_table;
use freestone_store::{Index, Store, revisions};
use std::collections::{HashMap, HashSet};

/// The packs of a store that are to be listed.
pub(super) struct Found {
    /// The packs, with their lengths, sorted.
    pub(super) kept: Vec<(Id, u64)>,
    /// Packs that were left out, since they are of pushes that never ended and cannot be read.
    pub(super) left_out: u64,
    /// All packs that are there.
    present: HashMap<Id, u64>,
}

impl Found {
    /// Finds the packs of `store`. `is_indexed` says whether it has any segments.
    pub(super) fn of(store: &Store, is_indexed: bool) -> Result<Self> {
        let present = sweep::present(&**store.backend())?;
        let mut kept: Vec<(Id, u64)> = present.iter().map(|(id, length)| (*id, *length)).collect();
        kept.sort_unstable();
        let mut found = Self { kept, left_out: 0, present };
        // First, so that a condemned pack is not left out for what a pack holds that is not listed.
        found.leave_out_orphans(store, is_indexed)?;
        found.kept = without_condemned(store, found.kept, &found.present)?;
        Ok(found)
    }

    /// Leaves out packs that no segment lists, and that have records whose bases are gone: a push
    /// was killed before it listed the pack, and so a compaction could not know that the pack
    /// depends on others.
    fn leave_out_orphans(&mut self, store: &Store, is_indexed: bool) -> Result<()> {
        let mut owners = None;
        let mut kept = Vec::with_capacity(self.kept.len());
        for pack in std::mem::take(&mut self.kept) {
            let rows = table(store, &pack.0)?.0;
            if lost(&rows, &self.present).contains(&true) {
                let owners = match &owners {
                    Some(owners) => owners,
                    None => owners.insert(Owners::of(store, is_indexed)?),
                };
                if !owners.own(&pack.0, &rows) {
                    self.left_out += 1;
                    continue;
                }
            }
            kept.push(pack);
        }
        self.kept = kept;
        Ok(())
    }

    /// Returns the records of a pack that can be read, as far as its table and the names of packs
    /// tell; and the length of the table.
    pub(super) fn rows(&self, store: &Store, id: &Id) -> Result<(Vec<Row>, u64)> {
        let (rows, length) = table(store, id)?;
        let lost = lost(&rows, &self.present);
        if !lost.contains(&true) {
            return Ok((rows, length));
        }
        let mut places = Vec::with_capacity(rows.len());
        let mut kept: Vec<Row> = Vec::new();
        for (mut row, is_lost) in rows.into_iter().zip(lost) {
            places.push(kept.len());
            if is_lost {
                continue;
            }
            if let Some(Base::Same(at)) = &mut row.base {
                *at = places[*at];
            }
            kept.push(row);
        }
        Ok((kept, length))
    }
}

/// What says that a pack belongs to a push that came to its end.
enum Owners {
    /// The packs that segments list.
    Index(HashSet<Id>),
    /// The revisions that have a file or that a ref names, where there is no index to be read.
    Revisions(HashSet<Id>),
    /// Nothing: a ref is damaged, too, and it is not known what it names.
    Nothing,
}

impl Owners {
    fn of(store: &Store, is_indexed: bool) -> Result<Self> {
        match Index::open(&**store.backend()).and_then(|index| index.packs()) {
            Ok(packs) if is_indexed => {
                let listed = packs.into_iter().filter(|(_, length)| *length > 0);
                return Ok(Self::Index(listed.map(|(id, _)| id).collect()));
            }
            // A damaged index is what a reindexing is for. One that cannot be read now is not.
            Err(error) if !error.is_damage() && !error.is_newer() => return Err(error),
            _ => {}
        }
        let mut revisions: HashSet<Id> =
            revisions::with_files(&**store.backend())?.into_iter().collect();
        for name in store.refs().names()? {
            match store.refs().log(&name) {
                Ok(log) => revisions.extend(log.iter().filter_map(|entry| entry.revision())),
                Err(error) if error.is_damage() || error.is_newer() => return Ok(Self::Nothing),
                Err(error) => return Err(error),
            }
        }
        Ok(Self::Revisions(revisions))
    }

    fn own(&self, pack: &Id, rows: &[Row]) -> bool {
        match self {
            Self::Index(packs) => packs.contains(pack),
            Self::Revisions(named) => {
                let mut ids = rows.iter().filter(|row| row.kind == RecordKind::Revision).peekable();
                ids.peek().is_none() || ids.any(|row| named.contains(&row.id))
            }
            // What is listed needlessly costs only space.
            Self::Nothing => true,
        }
    }
}

/// Says of each row whether a base below it is in a pack that is not there.
pub(crate) fn lost(rows: &[Row], present: &HashMap<Id, u64>) -> Vec<bool> {
    let mut lost: Vec<bool> = Vec::with_capacity(rows.len());
    for row in rows {
        lost.push(match &row.base {
            None => false,
            // Bases are at lower places.
            Some(Base::Same(at)) => lost.get(*at).copied().unwrap_or(true),
            Some(Base::Other { pack, .. }) => !present.contains_key(pack),
        });
    }
    lost
}

/// Leaves out the packs that are condemned, where others hold all that they hold.
fn without_condemned(
    store: &Store,
    found: Vec<(Id, u64)>,
    present: &HashMap<Id, u64>,
) -> Result<Vec<(Id, u64)>> {
    // Packs of a damaged list are listed again.
    let (condemned, _) = sweep::condemned(&**store.backend(), present)?;
    if condemned.is_empty() {
        return Ok(found);
    }
    let (old, mut kept): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|(id, _)| condemned.contains(id));
    let mut held = SortedWriter::new()?;
    for (id, _) in &kept {
        for record in readable(store, id, present)? {
            held.add(&key(record))?;
        }
    }
    let held = held.finish()?;
    // As a rule there are none.
    let mut only_here: HashSet<[u8; KEY_BYTES]> = HashSet::new();
    for pack in old {
        let before = only_here.len();
        let new = readable(store, &pack.0, present)?.map(key);
        only_here.extend(new.filter(|key| held.with_key(key).next().is_none()));
        if only_here.len() > before {
            kept.push(pack);
        }
    }
    Ok(kept)
}

/// The bytes that tell a record from others: its id, and its kind.
const KEY_BYTES: usize = 33;

fn key((kind, id): (RecordKind, Id)) -> [u8; KEY_BYTES] {
    let mut key = [kind.number(); KEY_BYTES];
    key[..32].copy_from_slice(&id.0);
    key
}

/// Returns the records of a pack whose bases are there.
fn readable(
    store: &Store,
    pack: &Id,
    present: &HashMap<Id, u64>,
) -> Result<impl Iterator<Item = (RecordKind, Id)>> {
    let rows = table(store, pack)?.0;
    let lost = lost(&rows, present);
    Ok(rows.into_iter().zip(lost).filter(|(_, lost)| !lost).map(|(row, _)| (row.kind, row.id)))
}

fn table(store: &Store, id: &Id) -> Result<(Vec<Row>, u64)> {
    let object = store.packs().open(id)?;
    read_sized_table(&*object, id).map_err(|error| match error.kind() {
        ErrorKind::Corrupt => error
            .hint("move the damaged pack away or bring it back from a copy, then reindex again"),
        _ => error,
    })
}
