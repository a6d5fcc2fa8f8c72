//! Moving what is needed out of packs that are mostly not needed: as a copy moves it to another
//! store.

use super::marks::{Marks, is_in};
use freestone_core::wire::to_usize;
use freestone_core::{Error, Id, Result, Sha1, Watch, digest};
use freestone_format::record::{Codec, RecordKind};
use freestone_format::revision::Revision;
use freestone_manifest::content::ContentRecord;
use freestone_store::write::{ChunkOf, Writer, WriterOptions};
use freestone_store::{Index, Place, Records, Store, read_table};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Writes the marked records of the packs `old` into new packs, with those elsewhere that depend on
/// them, and lists them there. Nothing that is written depends on a pack of `condemned`.
///
/// # Errors
/// A pack cannot be read, or the store not be written to, or `watch` was cancelled.
pub(super) fn rewrite(
    store: &Store,
    index: &Arc<Index>,
    marks: &Marks,
    taken_down: &BTreeMap<Id, Sha1>,
    old: &HashSet<Id>,
    condemned: &HashSet<Id>,
    watch: Watch<'_>,
) -> Result<()> {
    let from = Records { index: index.clone(), packs: store.packs().clone() };
    let live = Index::open_to_add(&**store.backend())?.without(condemned);
    let to = Records { index: Arc::new(live), packs: store.packs().clone() };
    let writer = Writer::new(store, to, WriterOptions::default());
    let moving = Moving { from: &from, writer: &writer, taken_down, watch };
    let outcome = pieces(index, marks, old)?
        .into_iter()
        .try_for_each(|(pack, rows)| moving.pack(store, index, &pack, &rows));
    match outcome {
        Ok(()) => writer.finish(None).map(|_| ()),
        Err(error) => Err(writer.failure(error)),
    }
}

/// A row: its segment, by its place in the index, its number, and whether a SHA-1 leads to it.
type Row = (usize, u64, bool);

/// Returns, by packs, the marked rows of the packs `old`, and those elsewhere that have bases there.
fn pieces(index: &Index, marks: &Marks, old: &HashSet<Id>) -> Result<BTreeMap<Id, Vec<Row>>> {
    let mut pieces: BTreeMap<Id, Vec<Row>> = BTreeMap::new();
    for (number, live) in index.segments().iter().enumerate() {
        let segment = &live.segment;
        let mut is_named = false;
        for at in 0..segment.pack_count() {
            is_named |= old.contains(&segment.pack(at)?.id);
        }
        // A segment names the packs of all bases.
        if !is_named {
            continue;
        }
        let mut named: HashSet<u64> = HashSet::new();
        for at in 0..segment.sha1_count() {
            named.insert(segment.sha1(at)?.1);
        }
        for at in 0..segment.record_count() {
            if !marks.has_record(&live.name, at) {
                continue;
            }
            let place = Place::of(live, at)?;
            if is_in(&place, old)? {
                pieces.entry(place.pack).or_default().push((number, at, named.contains(&at)));
            }
        }
    }
    Ok(pieces)
}

struct Moving<'a> {
    from: &'a Records,
    writer: &'a Writer,
    taken_down: &'a BTreeMap<Id, Sha1>,
    watch: Watch<'a>,
}

impl Moving<'_> {
    /// Moves the records at `rows` of a pack, in order of their offsets.
    fn pack(&self, store: &Store, index: &Index, pack: &Id, rows: &[Row]) -> Result<()> {
        let segments = index.segments();
        let mut places = Vec::with_capacity(rows.len());
        for (segment, at, is_named) in rows {
            let live = segments.get(*segment).ok_or_else(|| Error::corrupt("no such segment"))?;
            places.push((Place::of(live, *at)?, *is_named));
        }
        places.sort_by_key(|(place, is_named)| (place.row.offset, !is_named));
        let table = read_table(&*store.packs().open(pack)?, pack)?;
        let ids: HashMap<(u64, u64, u8), Id> =
            table.iter().map(|row| ((row.offset, row.stored, row.kind.number()), row.id)).collect();
        for (place, is_named) in places {
            self.watch.check()?;
            let row = &place.row;
            let id = ids.get(&(row.offset, row.stored, row.kind.number()));
            let id = id.ok_or_else(|| {
                Error::corrupt(format!("the index misplaces a record of pack {pack}"))
            })?;
            self.record(&place, id, is_named)?;
        }
        Ok(())
    }

    fn record(&self, place: &Place, id: &Id, is_named: bool) -> Result<()> {
        let kind = place.row.kind;
        if self.writer.has(kind, id)? {
            return Ok(());
        }
        let mut plain = Vec::new();
        if !self.from.read(kind, id, &mut plain)? {
            return Err(Error::missing(format!("{} {id} is missing from the store", kind.word())));
        }
        match kind {
            RecordKind::Chunk => self.chunk(place, id, &plain, is_named),
            RecordKind::ContentRecord => {
                self.writer.put_copied_record(*id, &ContentRecord::decode(&plain)?)
            }
            RecordKind::Revision => self.writer.put_revision(*id, &Revision::decode(&plain)?),
            _ => self.writer.put_node(kind, *id, &plain, &mut || Ok(None)),
        }
    }

    fn chunk(&self, place: &Place, id: &Id, plain: &[u8], is_named: bool) -> Result<()> {
        let mut stored = Vec::new();
        if place.row.codec == Codec::Zstd && place.row.stored < plain.len() as u64 {
            stored.resize(to_usize(place.row.stored), 0);
            self.from.packs.open(&place.pack)?.read_at(place.row.offset, &mut stored)?;
        }
        // One that was taken down is only a part of larger contents.
        let of = match is_named && !self.taken_down.contains_key(id) {
            true => ChunkOf::Content(digest::sha1(plain)),
            // Raw chunks of larger contents keep their place in a block.
            false => ChunkOf::Larger(place.row.offset),
        };
        self.writer.put_copied_chunk(*id, plain, (place.row.codec, &stored), of)
    }
}
