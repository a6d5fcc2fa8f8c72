//! What keeps a revision or a content: the refs whose entries name a revision that holds it.

use freestone_core::limits::CONTENT_WHOLE_BYTES_MAX;
use freestone_core::plan::{ExtentSource, NodeKind};
use freestone_core::{Id, Result, Sha1, Watch};
use freestone_format::revision::Revision;
use freestone_manifest::content::{distinct_pieces, visit_nodes};
use freestone_manifest::{Entry, EntryKind, Search, Wanted};
use freestone_store::{Records, Store};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

/// Contents of several chunks of which is remembered whether they hold a record.
const LARGE_MAX: usize = 1 << 18;

/// What is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A revision.
    Revision(Id),
    /// The content with this SHA-1.
    Sha1(Sha1),
    /// A content, a chunk or a node, by its id.
    Record(Id),
}

/// Entries of a ref, one after the other, that name the same revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedBy {
    /// The ref.
    pub name: String,
    /// The first of the entries.
    pub first: u64,
    /// The last of them.
    pub last: u64,
    /// Whether the last is the newest entry of the ref.
    pub is_newest: bool,
}

/// A revision that holds what is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The revision.
    pub revision: Id,
    /// Its time, in seconds since 1970.
    pub time: i64,
    /// The entries that name it, by ref. If there are none, nothing keeps it.
    pub named_by: Vec<NamedBy>,
    /// The first paths at which it is; none where the revision itself was asked about.
    pub paths: Vec<Vec<u8>>,
    /// The number of paths.
    pub path_count: u64,
}

/// Gives every revision that holds what is `asked` to `each`, the newest first, with at most
/// `paths_max` of its paths. `watch` counts revisions.
///
/// # Errors
/// A ref, a revision or a manifest cannot be read or is damaged; `watch` was cancelled; or an error
/// of `each`.
pub fn why(
    store: &Store,
    asked: Asked,
    paths_max: usize,
    watch: Watch<'_>,
    each: &mut dyn FnMut(Holder) -> Result<()>,
) -> Result<()> {
    let mut named = named(store)?;
    let mut revisions: Vec<(i64, Id, Revision)> = Vec::new();
    let mut ids = store.revision_ids()?;
    ids.extend(named.keys());
    ids.sort_unstable();
    ids.dedup();
    for id in ids {
        watch.check()?;
        let is_asked = asked == Asked::Revision(id);
        if let Some(revision) = store.revision(&id)? {
            revisions.push((revision.time, id, revision));
        } else if is_asked {
            let named_by = named.remove(&id).unwrap_or_default();
            return each(Holder { revision: id, time: 0, named_by, paths: vec![], path_count: 0 });
        }
    }
    // Of the same time, what was named last comes first.
    let named_last = |id: &Id| named.get(id).and_then(|of| of.iter().map(|of| of.last).max());
    revisions.sort_by_cached_key(|(time, id, _)| Reverse((*time, named_last(id), *id)));
    watch.set_total(revisions.len() as u64);
    let mut holding = Holding { records: store.records()?, asked, large: HashMap::new() };
    let mut search = Search::default();
    for (time, id, revision) in revisions {
        let (mut paths, mut path_count) = (Vec::new(), 0);
        let is_holder = match asked {
            Asked::Revision(asked) => asked == id,
            _ => {
                let records = holding.records.clone();
                let wanted = &mut Wanted {
                    is_wanted: &mut |entry| {
                        watch.check()?;
                        holding.holds(entry)
                    },
                    node: if let Asked::Record(id) = asked { Some(id) } else { None },
                    each: &mut |path| {
                        path_count += 1;
                        if paths.len() < paths_max {
                            paths.push(path.to_vec());
                        }
                        Ok(())
                    },
                };
                let found = search.manifest(&records, &revision.root, wanted);
                found.map_err(|error| error.context(format!("revision {id}")))?
            }
        };
        if is_holder {
            let named_by = named.remove(&id).unwrap_or_default();
            each(Holder { revision: id, time, named_by, paths, path_count })?;
        }
        watch.step(1)?;
    }
    Ok(())
}

/// Returns, by revision, the entries of refs that name it.
pub(crate) fn named(store: &Store) -> Result<BTreeMap<Id, Vec<NamedBy>>> {
    let (refs, mut named) = (store.refs(), BTreeMap::<Id, Vec<NamedBy>>::new());
    for name in refs.names()? {
        let collected = refs.collected(&name)?;
        for (at, entry) in refs.log(&name)?.into_iter().enumerate() {
            let is_kept = at == 0 || !collected.may_lack(entry.n);
            let Some(id) = entry.revision().filter(|_| is_kept) else {
                continue;
            };
            let of = named.entry(id).or_default();
            // The newest entry comes first.
            match of.last_mut().filter(|before| before.name == name && before.first == entry.n + 1)
            {
                Some(before) => before.first = entry.n,
                None => of.push(NamedBy {
                    name: name.clone(),
                    first: entry.n,
                    last: entry.n,
                    is_newest: at == 0,
                }),
            }
        }
    }
    Ok(named)
}

/// Says which entries hold what is asked about.
struct Holding {
    records: Records,
    asked: Asked,
    /// Whether contents of several chunks hold it.
    large: HashMap<Id, bool>,
}

impl Holding {
    fn holds(&mut self, entry: &Entry) -> Result<bool> {
        let EntryKind::File { sha1, content, size, .. } = &entry.kind else { return Ok(false) };
        match self.asked {
            Asked::Revision(_) => Ok(false),
            Asked::Sha1(asked) => Ok(asked == *sha1),
            Asked::Record(asked) if asked == *content => Ok(true),
            Asked::Record(_) if *size <= CONTENT_WHOLE_BYTES_MAX => Ok(false),
            Asked::Record(asked) => {
                if let Some(known) = self.large.get(content) {
                    return Ok(*known);
                }
                let holds = self.large_holds(content, *size, &asked)?;
                if self.large.len() >= LARGE_MAX {
                    self.large.clear();
                }
                self.large.insert(*content, holds);
                Ok(holds)
            }
        }
    }

    /// Returns true if a content of several chunks has the chunk or node `asked`.
    fn large_holds(&self, content: &Id, size: u64, asked: &Id) -> Result<bool> {
        let mut found = false;
        visit_nodes(&self.records, content, &mut |kind, node| {
            found |= kind == NodeKind::Content && node == asked;
            Ok(true)
        })?;
        if found {
            return Ok(true);
        }
        distinct_pieces(&self.records, content, size, None, &mut |piece| {
            found |= matches!(piece.source, ExtentSource::Chunk(id) if id == *asked);
            Ok(())
        })?;
        Ok(found)
    }
}
