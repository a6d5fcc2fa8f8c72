//! The revisions of a store, as a mount shows them.

use freestone_core::plan::{RawChunks, RawPlace};
use freestone_core::{ChunkSource, Error, ErrorKind, Id, NodeSource, Plan, Result, lock};
use freestone_format::RefAction;
use freestone_image::Format;
use freestone_manifest::Tree;
use freestone_mount::{RevisionTree, Revisions, SharedNodes};
use freestone_store::{Records, Store, open_manifest};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard};

/// The most revisions in [`CurrentIndex::seen`].
const SEEN_MAX: usize = 4096;

/// The revisions of a store, including those that are pushed later.
pub(super) struct Catalogue {
    store: Store,
    current: Mutex<CurrentIndex>,
    formats: Vec<(&'static str, Format)>,
    names: Vec<&'static str>,
}

/// The index as it was last listed.
struct CurrentIndex {
    records: Records,
    /// Revisions whose records this index lists.
    seen: HashSet<Id>,
}

impl Catalogue {
    /// Creates the catalogue of `store`.
    ///
    /// # Errors
    /// The index cannot be read.
    pub(super) fn open(store: Store) -> Result<Self> {
        store.load_proofs();
        let formats = Format::attached();
        let names = formats.iter().map(|(name, _)| *name).collect();
        let current = CurrentIndex { records: store.records()?, seen: HashSet::new() };
        Ok(Self { store, current: Mutex::new(current), formats, names })
    }

    fn current(&self) -> MutexGuard<'_, CurrentIndex> {
        lock(&self.current)
    }

    /// Returns records that include all of the revision `id`: of an index that was listed after the
    /// revision was pushed.
    fn records_of(&self, id: &Id) -> Result<Records> {
        let mut current = self.current();
        if !current.seen.contains(id) {
            self.store.refresh();
            current.records = self.store.records()?;
            if current.seen.len() >= SEEN_MAX {
                current.seen.clear();
            }
            current.seen.insert(*id);
        }
        Ok(current.records.clone())
    }

    fn manifest<S: NodeSource>(&self, id: &Id, nodes: impl Fn(Records) -> S) -> Result<Tree<S>> {
        let missing = || Error::not_found(format!("revision {id}"));
        let revision = self.store.revision(id)?.ok_or_else(missing)?;
        open_manifest(nodes(self.records_of(id)?), &revision)
    }
}

impl Drop for Catalogue {
    fn drop(&mut self) {
        self.store.save_proofs();
    }
}

impl Revisions for Catalogue {
    fn formats(&self) -> &[&'static str] {
        &self.names
    }

    fn listed(&self) -> usize {
        // Only tar images are listed, because their plan takes no time. Others can be opened by
        // name.
        1
    }

    fn refs(&self) -> Result<Vec<(String, Id)>> {
        let entries = self.store.refs().list_all()?;
        let mut refs: Vec<(String, Id)> = entries
            .into_iter()
            .filter_map(|entry| match entry.action {
                RefAction::Set(id) => Some((entry.name, id)),
                RefAction::Delete => None,
            })
            .collect();
        refs.sort_unstable();
        Ok(refs)
    }

    fn resolve(&self, name: &str) -> Result<Option<Id>> {
        match self.store.resolve(name) {
            Ok(resolved) => Ok(Some(resolved.id)),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Usage) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn time(&self, id: &Id) -> Result<Option<i64>> {
        Ok(self.store.revision(id)?.map(|revision| revision.time))
    }

    fn plan(&self, id: &Id, format: &str) -> Result<Arc<dyn Plan>> {
        let known = self.formats.iter().find(|(name, _)| *name == format);
        let (_, format) = known.ok_or_else(|| Error::not_found(format!("format {format}")))?;
        format.plan(self.manifest(id, |records| records)?).map(Arc::from)
    }

    fn tree(&self, id: &Id) -> Result<RevisionTree> {
        self.manifest(id, |records| -> SharedNodes { Arc::new(records) })
    }

    fn chunks(&self) -> &dyn ChunkSource {
        self
    }

    fn raw(&self) -> Option<&dyn RawChunks> {
        Some(self)
    }
}

impl RawChunks for Catalogue {
    fn raw(&self, id: &Id, length: u64, prove: bool) -> Result<Option<RawPlace>> {
        let records = self.current().records.clone();
        records.raw(id, length, prove)
    }
}

impl ChunkSource for Catalogue {
    fn chunk(&self, id: &Id, out: &mut [u8]) -> Result<()> {
        let records = self.current().records.clone();
        records.chunk(id, out)
    }
}
