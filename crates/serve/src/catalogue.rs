//! The names under which images are served.
//!
//! | name | |
//! |---|---|
//! | `<id>.tar` | the image of a revision by its whole id; its bytes never change |
//! | `<id>.fat`, `<id>.mirage.fat` | its image in other formats, as [`Format::attached`] lists them |
//! | `REV`, `REV.tar` | a name that was given to the server, such as `main`, as it was bound |
//! | the empty name | the name that was given to the server, if it was only one |
//!
//! A name is *bound* to a revision when the server starts for the first time, and bound again only
//! when an operator asks for it: a guest that loses its connection and connects again must find the
//! same bytes. A revision that was bound once stays served by its id.

use crate::image::ServedImage;
use crate::service::Service;
use freestone_core::{Error, ErrorKind, Id, Result, lock};
use freestone_image::Format;
use freestone_store::{Resolved, Store};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The number of open images above which those without readers are closed. Each keeps nodes of its
/// manifest in memory.
const OPEN_MAX: usize = 32;

/// About how many bytes of memory the layout of a FAT image takes for each entry of its manifest. That
/// of a tar image takes none: it is found part by part.
const FAT_ENTRY_WEIGHT: u64 = 256;
/// How long a client waits for others to finish with large images, before it is refused.
const LAYOUT_WAIT: Duration = Duration::from_secs(20);

/// An image that is served under a name.
#[derive(Clone)]
pub struct Export {
    /// The one name that always means this image.
    pub name: String,
    /// The image's revision.
    pub revision: Id,
    /// The image.
    pub image: Arc<ServedImage>,
    /// Whether the requested name is bound to this image forever.
    pub is_fixed: bool,
}

/// The names and formats that a server serves.
pub struct Scope {
    /// The names of revisions, as they were given: refs, ids, or other expressions.
    pub revisions: Vec<String>,
    /// Whether every other revision of the store is also served, by its id.
    pub all: bool,
    /// Whether names are bound again for every client.
    pub follow: bool,
    /// The revisions that names were bound to when the server ran before. Names keep them until an
    /// operator asks for new ones, so that clients that connect again find the same bytes.
    pub before: BTreeMap<String, Id>,
    /// The formats, each with the ending of its image names. The first is the format of names
    /// without an ending.
    pub formats: Vec<(&'static str, Format)>,
}

/// The served names, and the open images.
pub struct Catalogue {
    store: Store,
    service: Arc<Service>,
    scope: Scope,
    state: Mutex<CatalogueState>,
    /// Notified when an image was laid out, or could not be.
    laid_out: Condvar,
}

#[derive(Default)]
struct CatalogueState {
    /// The names, each with the revision that it is bound to.
    bound: BTreeMap<String, Id>,
    /// All revisions that were ever bound.
    ids: BTreeSet<Id>,
    /// The open images by revision and index in the scope's formats.
    open: HashMap<ImageKey, OpenImage>,
    /// The images that are laid out now.
    being_laid_out: BTreeSet<ImageKey>,
}

/// A revision, and an index in the scope's formats.
type ImageKey = (Id, usize);

struct OpenImage {
    image: Arc<ServedImage>,
    /// About how many bytes of memory its layout takes.
    weight: u64,
}

/// A guard: an image is being laid out, by nobody else.
struct LayingOut<'a>(&'a Catalogue, ImageKey);

impl Drop for LayingOut<'_> {
    fn drop(&mut self) {
        self.0.state().being_laid_out.remove(&self.1);
        self.0.laid_out.notify_all();
    }
}

impl CatalogueState {
    /// Closes images without readers until layouts of `weight` more bytes fit `weight_max`. Returns
    /// false if they do not fit beside those with readers. One that is alone always fits.
    fn make_room(&mut self, weight: u64, weight_max: u64) -> bool {
        let sum = |open: &HashMap<_, OpenImage>| open.values().map(|open| open.weight).sum::<u64>();
        let fits = |held: u64| held == 0 || held + weight <= weight_max;
        if self.open.len() >= OPEN_MAX || !fits(sum(&self.open)) {
            self.open.retain(|_, open| Arc::strong_count(&open.image) > 1);
        }
        weight == 0 || fits(sum(&self.open))
    }
}

impl Catalogue {
    /// Binds the names of `scope` to revisions of `store`, and opens the image of each in the first
    /// format.
    ///
    /// # Errors
    /// A name means no revision, or its image cannot be laid out.
    pub fn open(store: Store, scope: Scope, service: Arc<Service>) -> Result<Self> {
        let catalogue =
            Self { store, service, scope, state: Mutex::default(), laid_out: Condvar::new() };
        let before =
            if catalogue.scope.follow { BTreeMap::new() } else { catalogue.scope.before.clone() };
        catalogue.bind_as(&before)?;
        let bound = catalogue.bound();
        for (name, id) in bound {
            catalogue.image(id, 0).map_err(|error| error.context(name))?;
        }
        Ok(catalogue)
    }

    /// Binds all names again.
    ///
    /// # Errors
    /// A name means no revision any more; then all stay as they were.
    pub fn bind(&self) -> Result<()> {
        self.bind_as(&BTreeMap::new())
    }

    /// Binds all names, those in `before` to the revisions that are there, if the store has them.
    fn bind_as(&self, before: &BTreeMap<String, Id>) -> Result<()> {
        self.store.refresh();
        let mut bound = BTreeMap::new();
        for name in &self.scope.revisions {
            let mut id = self.store.resolve(name)?.id;
            if let Some(old) = before.get(name).filter(|old| **old != id)
                && self.store.revision(old)?.is_some()
            {
                self.service.log(&format!(
                    "{name} stays revision {old}, as before the restart; it names {id} now: SIGHUP \
                     binds it again"
                ));
                id = *old;
            }
            bound.insert(name.clone(), id);
        }
        {
            let mut state = self.state();
            state.ids.extend(bound.values());
            state.bound = bound;
        }
        self.publish();
        Ok(())
    }

    /// Updates the metrics with the names and their revisions.
    fn publish(&self) {
        let rows = self.bound().into_iter().map(|(name, id)| (name, id.to_string())).collect();
        self.service.metrics.set_served(rows);
    }

    fn state(&self) -> MutexGuard<'_, CatalogueState> {
        lock(&self.state)
    }

    /// Returns the given names, each with the revision that it is bound to.
    pub fn bound(&self) -> Vec<(String, Id)> {
        self.state().bound.iter().map(|(name, id)| (name.clone(), *id)).collect()
    }

    /// Returns the store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns the service whose caches and metrics the images share.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// Returns true if every revision of the store is served.
    pub fn serves_all(&self) -> bool {
        self.scope.all
    }

    /// Lists the ids of all served revisions, sorted.
    ///
    /// # Errors
    /// The store cannot be listed.
    pub fn revision_ids(&self) -> Result<Vec<Id>> {
        if self.scope.all {
            // The index may be older than the newest revisions.
            self.store.follow();
            return self.store.revision_ids();
        }
        Ok(self.state().ids.iter().copied().collect())
    }

    /// Returns the names that a client is to see in a listing: the given ones, and the ids that
    /// were ever bound in the first format, which can hold every revision. Names in other formats
    /// are found but not listed, because a listed name that is then refused ends a client's
    /// listing.
    pub fn names(&self) -> Vec<String> {
        let state = self.state();
        let mut names: BTreeSet<String> = BTreeSet::new();
        for id in &state.ids {
            names.extend(self.scope.formats.first().map(|(ending, _)| file_name(id, ending)));
        }
        names.extend(self.scope.revisions.iter().cloned());
        names.into_iter().collect()
    }

    /// Returns the revision that `name` means, which is a name of a revision and not of an image,
    /// and whether the name means it forever; `None` if it is not served.
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
                self.publish();
            }
        }
        Ok(self.state().bound.get(name).map(|id| (*id, false)))
    }

    /// Returns the image that is served under `name`, or `None` if there is none.
    ///
    /// # Errors
    /// The image cannot be laid out in the requested format, or the store cannot be read.
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

    /// Splits the name of an image into the name of the revision and the index of the format. The
    /// longest ending counts, since one may be the end of another.
    fn ending<'a>(&self, name: &'a str) -> Option<(&'a str, usize)> {
        let stem = |ending: &str| name.strip_suffix(ending)?.strip_suffix('.');
        let formats = self.scope.formats.iter().enumerate();
        let found = formats.filter_map(|(at, (ending, _))| Some((stem(ending)?, at)));
        found.min_by_key(|(stem, _)| stem.len())
    }

    /// Opens the image of a revision in the format with index `at`. It is laid out once, however many
    /// clients ask for it at once; and of the formats whose layouts take memory, one image at a time.
    fn image(&self, revision: Id, at: usize) -> Result<Arc<ServedImage>> {
        let key = (revision, at);
        if let Some(open) = self.state().open.get(&key) {
            return Ok(open.image.clone());
        }
        let weight = self.weight(&revision, at);
        let until = Instant::now() + LAYOUT_WAIT;
        let mut state = self.state();
        loop {
            if let Some(open) = state.open.get(&key) {
                return Ok(open.image.clone());
            }
            let is_busy = state
                .being_laid_out
                .iter()
                .any(|other| *other == key || (weight > 0 && self.takes_memory(other.1)));
            if !is_busy && state.make_room(weight, self.service.layouts_max()) {
                break;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let what = "other clients use the memory for large images now";
                return Err(Error::new(ErrorKind::Conflict, what));
            }
            // A reader that leaves notifies nobody.
            let waited = self.laid_out.wait_timeout(state, left.min(Duration::from_millis(100)));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.being_laid_out.insert(key);
        drop(state);
        let _guard = LayingOut(self, key);
        let image = self.lay_out(&revision, at).or_else(|error| {
            if !may_be_stale(&error) {
                return Err(error);
            }
            self.store.refresh();
            self.lay_out(&revision, at).map_err(|_| error)
        })?;
        let image = Arc::new(image);
        self.state().open.insert(key, OpenImage { image: image.clone(), weight });
        Ok(image)
    }

    /// Returns true if a layout in the format with index `at` takes memory.
    fn takes_memory(&self, at: usize) -> bool {
        self.scope.formats[at].0 != "tar"
    }

    /// Returns about how many bytes of memory the layout of an image takes.
    fn weight(&self, id: &Id, at: usize) -> u64 {
        if !self.takes_memory(at) {
            return 0;
        }
        // What is wrong with the revision is reported when it is laid out.
        let entries = self.store.revision(id).ok().flatten().map_or(0, |revision| revision.entries);
        entries.saturating_mul(FAT_ENTRY_WEIGHT).max(1)
    }

    /// Creates the image of a revision, without caching it.
    fn lay_out(&self, id: &Id, at: usize) -> Result<ServedImage> {
        let revision = self.store.revision(id)?.ok_or_else(|| {
            Error::missing(format!("revision {id} is missing from the store"))
                .hint("`freestone verify` lists everything that is missing")
        })?;
        let manifest = self.store.manifest(&revision)?;
        let records = manifest.source().clone();
        let plan = self.scope.formats[at].1.plan(manifest)?;
        Ok(ServedImage::new(plan, records, self.service.clone()))
    }
}

/// Returns true if `error` may only say that the index is old: it was listed before the revision
/// was pushed, or before a compaction moved records and removed packs that it names.
fn may_be_stale(error: &Error) -> bool {
    error.is_damage() || error.kind() == ErrorKind::NotFound
}

/// Returns the name of an image by its revision's id.
fn file_name(id: &Id, ending: &str) -> String {
    format!("{id}.{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use freestone_backend::directory::Directory;
    use freestone_push::PushOptions;
    use freestone_testkit::{Distant, MemorySource, push_tree};
    use std::sync::Barrier;
    use std::thread;

    /// Creates a store with one revision, each of whose answers takes 20 ms, and returns its
    /// catalogue and the name of the revision's FAT image.
    fn catalogue(folder: &tempfile::TempDir) -> (Arc<Catalogue>, String) {
        let root = folder.path().join("store");
        let tree = MemorySource::of([("a", "one"), ("b/c", "another")]);
        let pushed = push_tree(&Store::init(&root).unwrap(), &tree, &PushOptions::default());
        let id = pushed.unwrap().id.to_string();
        let backend = Distant::new(Arc::new(Directory::new(&root)), Duration::from_millis(20));
        let store = Store::open_backend(Arc::new(backend), None).unwrap();
        let scope = Scope {
            revisions: vec![id.clone()],
            all: false,
            follow: false,
            before: BTreeMap::new(),
            formats: Format::attached(),
        };
        let service = Arc::new(Service::new(0, false, Box::new(|_| {})));
        (Arc::new(Catalogue::open(store, scope, service).unwrap()), format!("{id}.fat"))
    }

    #[test]
    fn an_image_is_laid_out_once_however_many_ask_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let (catalogue, name) = catalogue(&folder);
        // The tar image was opened at the start.
        assert_eq!(catalogue.service.next_image(), 1);
        let barrier = Barrier::new(8);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    barrier.wait();
                    assert!(catalogue.find(&name).unwrap().is_some());
                });
            }
        });
        assert_eq!(catalogue.service.next_image(), 3);
    }

    #[test]
    fn a_large_image_waits_for_the_memory_of_others() {
        let folder = tempfile::tempdir().unwrap();
        let (catalogue, name) = catalogue(&folder);
        let reader = catalogue.find("").unwrap().unwrap().image;
        let weight = catalogue.service.layouts_max();
        let large = OpenImage { image: reader.clone(), weight };
        catalogue.state().open.insert((Id([7; 32]), 1), large);
        // The tar image of the same revision is open, too.
        catalogue.state().open.retain(|(_, at), _| *at == 1);
        let shared = catalogue.clone();
        let waiting = thread::spawn(move || shared.find(&name).unwrap().is_some());
        thread::sleep(Duration::from_millis(500));
        assert!(!waiting.is_finished());
        drop(reader);
        assert!(waiting.join().unwrap());
        assert_eq!(catalogue.state().open.len(), 1);
    }

    #[test]
    fn images_with_readers_stay_and_others_make_room() {
        let folder = tempfile::tempdir().unwrap();
        let (catalogue, _) = catalogue(&folder);
        let reader = catalogue.find("").unwrap().unwrap().image;
        let mut state = CatalogueState::default();
        assert!(state.make_room(101, 100), "one that is alone always fits");
        state.open.insert((Id([1; 32]), 1), OpenImage { image: reader.clone(), weight: 60 });
        assert!(state.make_room(40, 100));
        assert!(!state.make_room(41, 100));
        assert!(state.make_room(0, 100), "a tar image takes no memory");
        assert_eq!(state.open.len(), 1);
        catalogue.state().open.clear();
        drop(reader);
        assert!(state.make_room(41, 100));
        assert_eq!(state.open.len(), 0);
    }
}
