//! Which records are needed: a bit for each row of the index, set by walking what is kept.

use freestone_core::limits::CONTENT_WHOLE_BYTES_MAX;
use freestone_core::plan::{ExtentSource, NodeKind, NodeSource};
use freestone_core::{Error, Id, Result, Sha1, Subject, Watch};
use freestone_format::record::RecordKind;
use freestone_format::revision::Revision;
use freestone_manifest::content::{ContentRecord, distinct_pieces, visit_nodes};
use freestone_manifest::{EntryKind, Items, Node};
use freestone_store::{Index, Place, Records};
use std::collections::{BTreeMap, HashMap, HashSet};

/// What to do where something is missing.
pub(super) const LACKS: &str =
    "nothing is collected from a store that lacks something; `freestone verify` lists it";

/// The rows that are marked, by the names of their segments. Segments never change, so marks stay
/// right when the index is listed again.
#[derive(Default)]
pub(super) struct Marks {
    /// Records that are needed for themselves.
    records: HashMap<String, Vec<u64>>,
    /// Records that are needed as bases.
    bases: HashMap<String, Vec<u64>>,
}

/// Sets the bit of a row. Returns false if it was set before.
fn set(marks: &mut HashMap<String, Vec<u64>>, place: &Place) -> bool {
    let rows = match marks.get_mut(place.segment_name()) {
        Some(rows) => rows,
        None => marks.entry(place.segment_name().to_owned()).or_default(),
    };
    let (word, bit) = (usize::try_from(place.at / 64).unwrap_or(0), 1 << (place.at % 64));
    if rows.len() <= word {
        rows.resize(word + 1, 0);
    }
    let was_set = rows[word] & bit != 0;
    rows[word] |= bit;
    !was_set
}

fn is_set(marks: &HashMap<String, Vec<u64>>, name: &str, at: u64) -> bool {
    let word = usize::try_from(at / 64).unwrap_or(usize::MAX);
    let rows = marks.get(name).and_then(|rows| rows.get(word));
    rows.is_some_and(|word| word & (1 << (at % 64)) != 0)
}

impl Marks {
    /// Marks a record and its bases. Returns false if it was marked before.
    fn set(&mut self, place: &Place) -> Result<bool> {
        if !set(&mut self.records, place) {
            return Ok(false);
        }
        let mut at = place.base()?;
        while let Some(base) = at {
            // If it was marked as a base, so were those below it.
            if !set(&mut self.bases, &base) {
                break;
            }
            at = base.base()?;
        }
        Ok(true)
    }

    /// Returns true if row `at` of the segment `name` is needed for itself.
    pub(super) fn has_record(&self, name: &str, at: u64) -> bool {
        is_set(&self.records, name, at)
    }

    /// Returns true if row `at` of the segment `name` is needed, be it as a base.
    pub(super) fn has(&self, name: &str, at: u64) -> bool {
        is_set(&self.records, name, at) || is_set(&self.bases, name, at)
    }
}

/// Packs whose copies of a record are marked only if there is no other.
#[derive(Clone, Copy)]
pub(super) struct Avoided<'a> {
    /// Those that are judged: a copy here is marked before one of the others.
    pub(super) own: &'a HashSet<Id>,
    /// Those that other collections may remove.
    pub(super) others: &'a HashSet<Id>,
}

/// Marks what revisions need.
pub(super) struct Walker<'a> {
    pub(super) records: &'a Records,
    pub(super) avoided: Avoided<'a>,
    /// Contents that are not needed, whatever names them.
    pub(super) taken_down: &'a BTreeMap<Id, Sha1>,
    pub(super) marks: &'a mut Marks,
    pub(super) watch: Watch<'a>,
}

impl Walker<'_> {
    /// Marks a revision with all that it needs. One that was marked before takes no time. What is
    /// damaged ends nothing: all else is marked.
    ///
    /// # Errors
    /// The first thing that it needs and that is missing or damaged, after the rest was marked;
    /// reading failed; or the walk was cancelled.
    pub(super) fn revision(&mut self, id: &Id) -> Result<()> {
        if !self.mark(RecordKind::Revision, id)? {
            return Ok(());
        }
        let mut bytes = Vec::new();
        if !self.records.read(RecordKind::Revision, id, &mut bytes)? {
            return Err(missing(RecordKind::Revision, id));
        }
        let mut damage = None;
        let mut open = vec![Revision::decode(&bytes)?.root];
        while let Some(node) = open.pop() {
            self.watch.check()?;
            note_damage(&mut damage, self.manifest_node(&node, &mut open))?;
        }
        damage.map_or(Ok(()), Err)
    }

    /// Marks a manifest node and the contents of its entries. Its children are added to `open`.
    fn manifest_node(&mut self, id: &Id, open: &mut Vec<Id>) -> Result<()> {
        if !self.mark(RecordKind::ManifestNode, id)? {
            return Ok(());
        }
        let mut damage = None;
        match Node::decode(&self.records.node(NodeKind::Manifest, id)?)?.items {
            Items::Children(children) => open.extend(children.iter().map(|child| child.id)),
            Items::Entries(entries) => {
                for entry in &entries {
                    if let EntryKind::File { size, content, .. } = &entry.kind {
                        note_damage(&mut damage, self.content(content, *size))?;
                    }
                }
            }
        }
        damage.map_or(Ok(()), Err)
    }

    fn content(&mut self, id: &Id, size: u64) -> Result<()> {
        if self.taken_down.contains_key(id) {
            return Ok(());
        }
        if size <= CONTENT_WHOLE_BYTES_MAX {
            return self.mark(RecordKind::Chunk, id).map(|_| ());
        }
        match self.mark(RecordKind::ContentRecord, id)? {
            true => self.large(id, size),
            false => Ok(()),
        }
    }

    /// Marks what the record of a large content leads to.
    fn large(&mut self, id: &Id, size: u64) -> Result<()> {
        let (records, mut damage) = (self.records, None);
        let pieces = distinct_pieces(records, id, size, None, &mut |piece| match piece.source {
            ExtentSource::Chunk(chunk) => {
                let marked = self.mark(RecordKind::Chunk, &chunk).map(|_| ());
                note_damage(&mut damage, marked)
            }
            _ => Ok(()),
        });
        note_damage(&mut damage, pieces)?;
        visit_nodes(records, id, &mut |kind, node| {
            if kind == NodeKind::Content {
                self.mark(RecordKind::ContentNode, node)?;
            }
            Ok(true)
        })?;
        damage.map_or(Ok(()), Err)
    }

    /// Marks the contents whose records are in packs that stay, which are all but `gone`: what is
    /// listed there must have all its chunks, since a push that finds it looks no further. Returns
    /// true if there were any.
    ///
    /// # Errors
    /// The index is damaged, reading failed, or the walk was cancelled.
    pub(super) fn listed_contents(&mut self, gone: &HashSet<Id>) -> Result<bool> {
        let mut any = false;
        let index = self.records.index.clone();
        for live in index.segments().iter() {
            for at in live.segment.rows_of(RecordKind::ContentRecord) {
                let at = at?;
                if self.marks.has_record(&live.name, at) {
                    continue;
                }
                let place = Place::of(live, at)?;
                if gone.contains(&place.pack) {
                    continue;
                }
                self.watch.check()?;
                // What is damaged is not made worse.
                let record =
                    match self.records.decode(&place).and_then(|b| ContentRecord::decode(&b)) {
                        Err(error) if error.is_damage() => None,
                        outcome => Some(outcome?),
                    };
                if record.as_ref().is_some_and(|r| self.taken_down.contains_key(&r.id())) {
                    continue;
                }
                any |= self.marks.set(&place)?;
                match record.map_or(Ok(()), |record| self.large(&record.id(), record.length)) {
                    Err(error) if error.is_damage() => {}
                    outcome => outcome?,
                }
            }
        }
        Ok(any)
    }

    /// Marks a record. Returns false if it was marked before.
    fn mark(&mut self, kind: RecordKind, id: &Id) -> Result<bool> {
        let place = self.place(kind, id)?.ok_or_else(|| missing(kind, id))?;
        self.marks.set(&place)
    }

    /// Returns where a record is: outside of the packs that are avoided, if it is there too.
    fn place(&self, kind: RecordKind, id: &Id) -> Result<Option<Place>> {
        let mut places = self.records.places(kind, id)?;
        if places.len() <= 1 {
            return Ok(places.pop());
        }
        let (mut own, mut other) = (None, None);
        for place in places {
            match self.records.packs.holds(&place, id) {
                Ok(false) => continue,
                Err(error) if error.is_damage() => continue,
                outcome => drop(outcome?),
            }
            if is_in(&place, self.avoided.others)? {
                other.get_or_insert(place);
            } else if is_in(&place, self.avoided.own)? {
                own.get_or_insert(place);
            } else {
                return Ok(Some(place));
            }
        }
        Ok(own.or(other))
    }
}

/// Keeps the first damage in `damage`.
///
/// # Errors
/// Those of `outcome` that are not damage.
fn note_damage(damage: &mut Option<Error>, outcome: Result<()>) -> Result<()> {
    match outcome {
        Err(error) if error.is_damage() => {
            damage.get_or_insert(error);
            Ok(())
        }
        outcome => outcome,
    }
}

/// Returns true if the record at `place`, or one of its bases, is in one of `packs`.
pub(super) fn is_in(place: &Place, packs: &HashSet<Id>) -> Result<bool> {
    let mut at = Some(place.clone());
    while let Some(place) = at {
        if packs.contains(&place.pack) {
            return Ok(true);
        }
        at = place.base()?;
    }
    Ok(false)
}

fn missing(kind: RecordKind, id: &Id) -> Error {
    Error::missing(format!("{} {id} is missing from the store", kind.word()))
        .subject(Subject::Record { kind: kind.word(), id: *id })
        .hint(LACKS)
}

/// What of a pack is needed.
#[derive(Clone, Copy, Default)]
pub(super) struct Use {
    /// Records that are needed, and their stored bytes.
    pub(super) live: (u64, u64),
    /// All records.
    pub(super) records: u64,
}

/// Sums up what of each pack is needed.
///
/// # Errors
/// The index is damaged.
pub(super) fn uses(index: &Index, marks: &Marks) -> Result<HashMap<Id, Use>> {
    let mut uses: HashMap<Id, Use> = HashMap::new();
    for live in index.segments().iter() {
        let segment = &live.segment;
        let mut of: Vec<Use> = vec![Use::default(); segment.pack_count() as usize];
        for at in 0..segment.record_count() {
            let row = segment.row(at)?;
            let Some(of) = of.get_mut(row.pack as usize) else { continue };
            of.records += 1;
            if marks.has(&live.name, at) {
                of.live = (of.live.0 + 1, of.live.1.saturating_add(row.stored));
            }
        }
        for (at, of) in of.into_iter().enumerate() {
            let pack = segment.pack(u32::try_from(at).unwrap_or(u32::MAX))?;
            let sum = uses.entry(pack.id).or_default();
            sum.live = (sum.live.0 + of.live.0, sum.live.1.saturating_add(of.live.1));
            sum.records += of.records;
        }
    }
    Ok(uses)
}
