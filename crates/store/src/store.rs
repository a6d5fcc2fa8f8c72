//! A store, opened.

use crate::index::Index;
use crate::read::packs::Packs;
use crate::read::records::Records;
use crate::refs::Refs;
use crate::revisions;
use freestone_backend::directory::Directory;
use freestone_backend::{Backend, Created};
use freestone_core::limits::HEADER_BYTES_MAX;
use freestone_core::wire::to_usize;
use freestone_core::{Error, ErrorKind, Id, NodeSource, Result};
use freestone_files::Folder;
use freestone_format::header::{Header, StoreId};
use freestone_format::hint;
use freestone_format::record::RecordKind;
use freestone_format::revision::Revision;
use freestone_format::segment;
use freestone_manifest::{Subtree, Tree};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The mode of the directory of a new store: its contents may have been private where they were
/// pushed from.
const PRIVATE: u32 = 0o700;

/// A store. Cheap to clone; used by many threads and processes at once.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    backend: Arc<dyn Backend>,
    header: Header,
    /// The directory, where it is one.
    root: Option<PathBuf>,
    packs: Arc<Packs>,
    index: Mutex<Option<Arc<Index>>>,
    /// Where this user's caches of the store are.
    caches: OnceLock<Folder>,
}

impl Store {
    /// Makes a new store in the directory `root`, which is empty or does not exist.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] if there is something else; or it cannot be written.
    pub fn init(root: &Path) -> Result<Self> {
        let backend = Arc::new(Self::prepare(root)?);
        Self::init_backend(backend, Some(root.into()))
    }

    /// Creates the directory of a new store, which is empty or does not exist. A new one can be
    /// entered by its owner alone; one that exists keeps its mode.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] if there is something in it; or it cannot be written.
    pub fn prepare(root: &Path) -> Result<Directory> {
        let taken = |what: &str| {
            Error::refused(format!("{} {what}", root.display()))
                .hint("give the path of an empty directory, or of one that does not exist")
        };
        if root.join("format").exists() {
            return Err(Error::refused(format!("{} is a freestone store already", root.display()))
                .hint("use it as it is"));
        }
        match std::fs::read_dir(root) {
            Ok(entries) => {
                // What an init leaves that was killed.
                let other = |entry: &std::io::Result<std::fs::DirEntry>| {
                    let name = entry.as_ref().map(std::fs::DirEntry::file_name);
                    name.map_or(true, |name| name != "tmp" && name != "upstream")
                };
                if entries.filter(other).count() > 0 {
                    return Err(taken("is not empty"));
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {
                return Err(taken("is not a directory"));
            }
            Err(_) => {}
        }
        let backend = Directory::new(root);
        backend.make_root(PRIVATE)?;
        Ok(backend)
    }

    /// Makes a new store over `backend`.
    ///
    /// # Errors
    /// There is one already, or it cannot be written.
    pub fn init_backend(backend: Arc<dyn Backend>, root: Option<PathBuf>) -> Result<Self> {
        backend.prepare()?;
        let header = Header::new(StoreId(freestone_backend::random()));
        match backend.create("format", header.encode().as_bytes())? {
            Created::New => Self::open_backend(backend, root),
            Created::Existed => {
                Err(Error::refused(format!("{} is a freestone store already", backend.place()))
                    .hint("use it as it is"))
            }
        }
    }

    /// Opens the store in the directory `root`.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none; [`ErrorKind::Refused`] if it is of a later format,
    /// or follows an upstream.
    pub fn open(root: &Path) -> Result<Self> {
        Self::open_backend(Arc::new(Directory::new(root)), Some(root.into()))
    }

    /// Opens the store over `backend`; `root` is its directory, where it has one.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_backend(backend: Arc<dyn Backend>, root: Option<PathBuf>) -> Result<Self> {
        let place = backend.place();
        let header = read_header(&*backend, &place)?;
        if header.follows {
            return Err(Error::refused(format!("{place}: this store follows an upstream"))
                .hint("it can be read only on its own host, from its directory"));
        }
        Ok(Self::with_header(backend, header, root))
    }

    /// Creates the store that `cache` is the backend of, with the id `id`. `root` is the directory
    /// of the cache.
    pub fn of_cache(cache: Arc<dyn Backend>, id: StoreId, root: PathBuf) -> Self {
        Self::with_header(cache, Header { follows: true, ..Header::new(id) }, Some(root))
    }

    fn with_header(backend: Arc<dyn Backend>, header: Header, root: Option<PathBuf>) -> Self {
        let packs = Arc::new(Packs::new(backend.clone()));
        let (index, caches) = (Mutex::default(), OnceLock::new());
        Self(Arc::new(Inner { backend, header, root, packs, index, caches }))
    }

    /// Returns the store's random id.
    pub fn id(&self) -> StoreId {
        self.0.header.id
    }

    /// Returns the store's directory, where it has one.
    pub fn root(&self) -> Option<&Path> {
        self.0.root.as_deref()
    }

    /// Keeps this user's caches of the store in `folder`: what was proven, and the working index of
    /// pushes. Without it nothing is remembered from one run to the next. What is in it is believed,
    /// so nobody else may write to it: see [`freestone_files::caches`]. Only the first call counts.
    pub fn keep_caches_in(&self, folder: Folder) {
        let _ = self.0.caches.set(folder);
    }

    /// Returns the folder of this user's caches of the store, if it is known.
    pub fn caches(&self) -> Option<&Folder> {
        self.0.caches.get()
    }

    /// Returns the backend, which keeps the store's objects.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.0.backend
    }

    /// Checks that this program may write to the store, and removes what killed commands left in
    /// `tmp/`. To be called before anything is written.
    ///
    /// # Errors
    /// The store has features that only allow it to be read; or what keeps it cannot be written
    /// to, see [`Backend::prepare`].
    pub fn check_writable(&self) -> Result<()> {
        if let Some(upstream) = self.0.backend.upstream() {
            return Err(upstream.refused());
        }
        if self.0.header.writable {
            self.0.backend.prepare()?;
            if let Some(root) = self.root() {
                Directory::new(root).clear_left_over();
            }
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Refused,
            "the store has features that this program can only read",
        )
        .hint("use a newer freestone to write to it"))
    }

    /// Returns the index, listed at the first call.
    ///
    /// # Errors
    /// It cannot be listed, or a segment is damaged.
    pub fn index(&self) -> Result<Arc<Index>> {
        let mut index = self.0.index.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = &*index {
            return Ok(index.clone());
        }
        Ok(index.insert(Arc::new(Index::open(&*self.0.backend)?.following())).clone())
    }

    /// Forgets the index, so that the next call lists it again.
    pub fn refresh(&self) {
        *self.0.index.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Looks for segments that are new. If they cannot be listed, the index stays as it was.
    pub fn follow(&self) {
        if let Ok(index) = self.index() {
            let _ = index.follow(&*self.0.backend);
        }
    }

    /// Returns the packs, opened when they are needed.
    pub fn packs(&self) -> &Arc<Packs> {
        &self.0.packs
    }

    /// Returns the records: a source of nodes and chunks.
    ///
    /// # Errors
    /// As [`Self::index`].
    pub fn records(&self) -> Result<Records> {
        Ok(Records { index: self.index()?, packs: self.0.packs.clone() })
    }

    /// Returns the manifest whose root is `root`.
    ///
    /// # Errors
    /// Its root cannot be read.
    pub fn tree(&self, root: &Id) -> Result<Tree<Records>> {
        Tree::open(self.records()?, root)
    }

    /// Returns the manifest of `revision`, which has the totals that the revision says.
    ///
    /// # Errors
    /// Its root cannot be read, or has other totals.
    pub fn manifest(&self, revision: &Revision) -> Result<Tree<Records>> {
        open_manifest(self.records()?, revision)
    }

    /// Returns the refs.
    pub fn refs(&self) -> Refs {
        Refs::new(self.0.backend.clone())
    }

    /// Returns the revision `id`; `None` if the store does not have it, or if only a cache is read
    /// that does not have it.
    ///
    /// # Errors
    /// It cannot be read or is damaged.
    pub fn revision(&self, id: &Id) -> Result<Option<Revision>> {
        let is_offline = || self.0.backend.upstream().is_some_and(|upstream| upstream.offline);
        match self.find_revision(id) {
            Err(error) if error.kind() == ErrorKind::NotFound && is_offline() => Ok(None),
            outcome => outcome,
        }
    }

    fn find_revision(&self, id: &Id) -> Result<Option<Revision>> {
        let from_file = revisions::read_file(&*self.0.backend, id);
        if let Ok(Some((revision, _))) = from_file {
            return Ok(Some(revision));
        }
        // Its pack has it too.
        let mut bytes = Vec::new();
        let records = self.records();
        let is_found = records.and_then(|all| all.read(RecordKind::Revision, id, &mut bytes));
        match (is_found, &from_file) {
            (Ok(false), _) => {}
            (Ok(true), _) => {
                let revision = Revision::decode(&bytes);
                return revision.map(Some).map_err(|error| error.context(format!("revision {id}")));
            }
            // A file that cannot be read may have it.
            (Err(_), Err(unread)) if unread.kind() == ErrorKind::Storage => {}
            (Err(error), _) => return Err(error),
        }
        from_file.map(|_| None)
    }

    /// Returns the ids of all revisions, sorted: those that have files of their own, and those that the
    /// index lists.
    ///
    /// # Errors
    /// Listing failed, or the index is damaged.
    pub fn revision_ids(&self) -> Result<Vec<Id>> {
        let mut ids = revisions::with_files(&*self.0.backend)?;
        let known = ids.iter().map(|id| (segment::prefix(&id.0), *id)).collect();
        ids.extend(revisions::in_packs(&*self.index()?, self.packs(), &known)?);
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }
}

/// Reads the header of the store that `backend` keeps, at `place`.
///
/// # Errors
/// [`ErrorKind::NotFound`] if there is no store; else the header cannot be read or is damaged.
pub fn read_header(backend: &dyn Backend, place: &str) -> Result<Header> {
    let Some(text) = header_text(backend)? else {
        // What else a store has says that there was one.
        let hint = backend.get(&format!("index/{}", hint::NAME), hint::BYTES_MAX);
        if matches!(hint, Ok(Some(_)))
            || backend.list_first("packs", 1).is_ok_and(|listed| !listed.is_empty())
        {
            return Err(Error::corrupt(format!(
                "{place}: the file `format` of the store is missing"
            ))
            .hint("bring it back from a copy of the store"));
        }
        return Err(Error::not_found(format!("there is no freestone store at {place}"))
            .hint("make one with `freestone init`, or name one with --store or FREESTONE_STORE"));
    };
    Header::decode(&text).map_err(|error| error.context(place))
}

/// Returns the text of the file `format`; `None` if there is none. Of one that is longer than a
/// header of this version it returns the first lines, which say what it is: a later version, or
/// something else.
///
/// # Errors
/// It cannot be read.
pub fn header_text(backend: &dyn Backend) -> Result<Option<Vec<u8>>> {
    let Some(object) = backend.open("format")? else { return Ok(None) };
    let mut text = vec![0; to_usize(object.length().min(HEADER_BYTES_MAX))];
    object.read_at(0, &mut text)?;
    if object.length() > HEADER_BYTES_MAX {
        let lines = text.iter().rposition(|byte| *byte == b'\n').map_or(text.len(), |at| at + 1);
        text.truncate(lines);
    }
    Ok(Some(text))
}

/// Opens the manifest of `revision`, whose nodes are in `nodes`. Every reader of a revision's
/// entries begins here, so that none believes what the revision only says.
///
/// # Errors
/// The root cannot be read, or has other totals than the revision says.
pub fn open_manifest<S: NodeSource>(nodes: S, revision: &Revision) -> Result<Tree<S>> {
    let tree = Tree::open(nodes, &revision.root)?;
    check_totals(revision, tree.summary())?;
    Ok(tree)
}

/// Checks that `manifest`, the summary of a revision's manifest, has the digest and totals that the
/// revision says. They are believed: a push compares with the digest, servers weigh images by the
/// totals, and users choose disks.
///
/// # Errors
/// It has others: the revision is damaged.
pub fn check_totals(revision: &Revision, manifest: &Subtree) -> Result<()> {
    let said = (revision.content_digest, revision.entries, revision.bytes);
    if (manifest.content_digest, manifest.entries, manifest.bytes) == said {
        return Ok(());
    }
    let what = format!("revision {} is not what its manifest says", revision.id());
    Err(Error::corrupt(what).hint("use another revision; `freestone log` shows them"))
}
