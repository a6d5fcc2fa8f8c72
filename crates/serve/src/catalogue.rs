//! Under which names images are served.
//!
//! | name | |
//! |---|---|
//! | `<id>.tar` | the image of a revision by its whole id; the same bytes for ever |
//! | `<id>.fat`, `<id>.mirage.fat` | other formats of it, as [`Format::attached`] lists them |
//! | `REV`, `REV.tar` | what was given to the server, `main` say, as it was bound |
//! | nothing | the one that was given, if it was one |
//!
//! A name is *bound* to a revision when the server starts, and again only when it is told to: a
//! guest that loses its connection and comes back must find the same bytes. Even then a revision
//! that was bound before stays served by its id.

use crate::image::ServedImage;
use crate::service::Service;
use freestone_core::{Error, ErrorKind, Id, Result, lock};
use freestone_image::Format;
use freestone_store::{Resolved, Store};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

/// Images that are kept open though nobody reads them: each holds nodes of its manifest.
const OPEN_MAX: usize = 32;

/// What is served under a name.
#[derive(Clone)]
pub struct Export {
    /// The one name that always means this image.
    pub name: String,
    /// Its revision.
    pub revision: Id,
    /// The image.
    pub image: Arc<ServedImage>,
    /// Whether it was asked for by a name that never means anything else.
    pub is_fixed: bool,
}

/// What may be served.
pub struct Scope {
    /// The revisions, as they were given: refs, ids, whatever else names one.
    pub revisions: Vec<String>,
    /// Whether every other revision of the store is served too, by its id.
    pub all: bool,
    /// Whether names are bound anew for every client.
    pub follow: bool,
    /// The formats, each with what images' names end in; the first is that of names that say none.
    pub formats: Vec<(&'static str, Format)>,
}

/// The names, and the images that are open.
pub struct Catalogue {
    store: Store,
    service: Arc<Service>,
    scope: Scope,
    state: Mutex<CatalogueState>,
}

#[derive(Default)]
struct CatalogueState {
    bound: BTreeMap<String, Id>,
    /// Everything that was ever bound.
    ids: BTreeSet<Id>,
    open: HashMap<(Id, usize), Arc<ServedImage>>,
}

impl Catalogue {
    /// Binds what `scope` names in `store`, and opens the image of each in the first format.
    ///
    /// # Errors
    /// One of the names means nothing, or its image cannot be laid out.
    pub fn open(store: Store, scope: Scope, service: Arc<Service>) -> Result<Self> {
        let catalogue = Self { store, service, scope, state: Mutex::default() };
        catalogue.bind()?;
        let bound = catalogue.bound();
        for (name, id) in bound {
            catalogue.image(id, 0).map_err(|error| error.context(name))?;
        }
        Ok(catalogue)
    }

    /// Binds all names anew.
    ///
    /// # Errors
    /// One of them means nothing any more; then all stay as they are.
    pub fn bind(&self) -> Result<()> {
        self.store.refresh();
        let mut bound = BTreeMap::new();
        for name in &self.scope.revisions {
            bound.insert(name.clone(), self.store.resolve(name)?.id);
        }
        {
            let mut state = self.state();
            state.ids.extend(bound.values());
            state.bound = bound;
        }
        self.tell();
        Ok(())
    }

    fn tell(&self) {
        let rows = self.bound().into_iter().map(|(name, id)| (name, id.to_string())).collect();
        self.service.metrics.set_served(rows);
    }

    fn state(&self) -> MutexGuard<'_, CatalogueState> {
        lock(&self.state)
    }

    /// The names that were given, with what they are bound to.
    pub fn bound(&self) -> Vec<(String, Id)> {
        self.state().bound.iter().map(|(name, id)| (name.clone(), *id)).collect()
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What the images share.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// Whether every revision of the store is served.
    pub fn serves_all(&self) -> bool {
        self.scope.all
    }

    /// The ids of all revisions that are served, sorted.
    ///
    /// # Errors
    /// The store cannot be listed.
    pub fn revision_ids(&self) -> Result<Vec<Id>> {
        if self.scope.all {
            // What was pushed since the index was listed, too.
            self.store.follow();
            return self.store.revision_ids();
        }
        Ok(self.state().ids.iter().copied().collect())
    }

    /// The names to be listed: those that were given, and all by id that were ever bound, in the
    /// format that can hold everything; a name that is listed and then refused ends a client's
    /// listing. The others are found by their names all the same.
    pub fn names(&self) -> Vec<String> {
        let state = self.state();
        let mut names: BTreeSet<String> = BTreeSet::new();
        for id in &state.ids {
            names.extend(self.scope.formats.first().map(|(ending, _)| file_name(id, ending)));
        }
        names.extend(self.scope.revisions.iter().cloned());
        names.into_iter().collect()
    }

    /// The revision that `name`, of a revision and not of an image, means here; `None` if it is
    /// not served.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn revision(&self, name: &str) -> Result<Option<(Id, bool)>> {
        let given = self.scope.revisions.iter().any(|given| given == name);
        if let Ok(id) = Id::parse(name) {
            let is_bound = self.state().ids.contains(&id);
            let is_there = is_bound || (self.scope.all && self.store.revision(&id)?.is_some());
            if is_there {
                return Ok(Some((id, true)));
            }
        }
        if given && self.scope.follow {
            let Resolved { id, .. } = self.store.resolve(name)?;
            let is_new = {
                let mut state = self.state();
                state.ids.insert(id);
                state.bound.insert(name.to_owned(), id) != Some(id)
            };
            if is_new {
                self.tell();
            }
        }
        Ok(self.state().bound.get(name).map(|id| (*id, false)))
    }

    /// What is served under `name`; `None` if nothing is.
    ///
    /// # Errors
    /// The image cannot be laid out in the format that is asked for, or the store cannot be read.
    pub fn find(&self, name: &str) -> Result<Option<Export>> {
        let name = match (name, &self.scope.revisions[..]) {
            ("", [only]) => only,
            _ => name,
        };
        let mut found = self.revision(name)?.map(|found| (found, 0));
        if found.is_none()
            && let Some((stem, at)) = self.ending(name)
        {
            found = self.revision(stem)?.map(|found| (found, at));
        }
        let Some(((revision, is_fixed), at)) = found else { return Ok(None) };
        let image = self.image(revision, at)?;
        let name = file_name(&revision, self.scope.formats[at].0);
        Ok(Some(Export { name, revision, image, is_fixed }))
    }

    /// What stands before an image's ending, and which of the formats that is: the longest ending,
    /// should one end in another.
    fn ending<'a>(&self, name: &'a str) -> Option<(&'a str, usize)> {
        let stem = |ending: &str| name.strip_suffix(ending)?.strip_suffix('.');
        let formats = self.scope.formats.iter().enumerate();
        let found = formats.filter_map(|(at, (ending, _))| Some((stem(ending)?, at)));
        found.min_by_key(|(stem, _)| stem.len())
    }

    fn image(&self, revision: Id, at: usize) -> Result<Arc<ServedImage>> {
        if let Some(image) = self.state().open.get(&(revision, at)) {
            return Ok(image.clone());
        }
        let image = self.lay_out(&revision, at).or_else(|error| {
            if !may_be_stale(&error) {
                return Err(error);
            }
            self.store.refresh();
            self.lay_out(&revision, at).map_err(|_| error)
        })?;
        let mut state = self.state();
        if state.open.len() >= OPEN_MAX {
            state.open.retain(|_, image| Arc::strong_count(image) > 1);
        }
        Ok(state.open.entry((revision, at)).or_insert_with(|| Arc::new(image)).clone())
    }

    fn lay_out(&self, id: &Id, at: usize) -> Result<ServedImage> {
        let revision = self.store.revision(id)?.ok_or_else(|| {
            Error::missing(format!("revision {id} is missing from the store"))
                .hint("`freestone verify` lists everything that is missing")
        })?;
        let records = self.store.records()?;
        let plan = self.scope.formats[at].1.plan(records.clone(), &revision.root)?;
        Ok(ServedImage::new(plan, records, self.service.clone()))
    }
}

/// Returns true if `error` may only say that the index is old: it was listed before the revision
/// was pushed, or before a compaction moved records and removed packs that it names.
fn may_be_stale(error: &Error) -> bool {
    error.is_damage() || error.kind() == ErrorKind::NotFound
}

fn file_name(id: &Id, ending: &str) -> String {
    format!("{id}.{ending}")
}
