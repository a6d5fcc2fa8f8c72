//! What is in a cache, read without the upstream.

use super::check::{check, is_immutable, is_sound};
use super::sparse::{self, SparsePack};
use freestone_backend::directory::Directory;
use freestone_backend::{Backend, Created, Listed, Object, Spool, Upstream};
use freestone_core::wire::Bytes;
use freestone_core::{Error, Id, Result, lock};
use freestone_format::pack;
use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Packs whose runs are held in memory, unless they are in use.
const PACKS_MAX: usize = 4096;

/// The mode of a cache's directory, less the umask.
const FOLDER_MODE: u32 = 0o777;

/// What is in a cache: a backend that never contacts the upstream, and notes no uses. Clones share
/// what they know of the packs.
#[derive(Clone)]
pub(crate) struct Here {
    folder: Arc<Path>,
    /// The upstream's URL, for messages.
    url: Arc<str>,
    packs: Arc<Mutex<HashMap<Id, Arc<SparsePack>>>>,
}

impl Here {
    /// Creates the view of the cache in the directory `folder`, of the upstream at `url`.
    pub(crate) fn new(folder: PathBuf, url: &str) -> Self {
        Self { folder: folder.into(), url: url.into(), packs: Arc::default() }
    }

    /// Returns the directory of the cache.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the URL of the upstream.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Returns the cache as a directory of objects.
    pub(crate) fn directory(&self) -> Directory {
        Directory::new(&*self.folder)
    }

    /// Returns the cache as a directory of objects that can be written to. Creates it if it does not
    /// exist.
    ///
    /// # Errors
    /// It cannot be created.
    pub(crate) fn writable_directory(&self) -> Result<Directory> {
        let directory = self.directory();
        if !self.folder.is_dir() {
            directory.make_root(FOLDER_MODE)?;
        }
        Ok(directory)
    }

    /// Returns the runs of a pack, which are read from their file at the first call.
    pub(crate) fn pack(&self, id: &Id) -> Arc<SparsePack> {
        if let Some(pack) = self.known(id) {
            return pack;
        }
        let file = sparse::read_runs(&self.folder, id);
        let mut packs = lock(&self.packs);
        if packs.len() >= PACKS_MAX {
            packs.retain(|_, pack| Arc::strong_count(pack) > 1 || pack.is_dirty());
        }
        // If another thread was first, what it added counts.
        packs.entry(*id).or_insert_with(|| Arc::new(SparsePack::new(*id, file))).clone()
    }

    /// Returns the runs of a pack, if they were read before.
    pub(crate) fn known(&self, id: &Id) -> Option<Arc<SparsePack>> {
        lock(&self.packs).get(id).cloned()
    }

    /// Returns the runs of all packs that were read before.
    pub(crate) fn all_known(&self) -> Vec<Arc<SparsePack>> {
        lock(&self.packs).values().cloned().collect()
    }

    /// Opens the sparse file of a pack.
    pub(crate) fn open_pack(&self, id: &Id) -> SparseFile {
        SparseFile {
            path: sparse::paths(&self.folder, id).0,
            pack: self.pack(id),
            file: Mutex::new(None),
        }
    }

    /// Returns the error for an object that is not here, where the upstream is not contacted.
    pub(crate) fn absent(&self, name: &str) -> Error {
        Error::not_found(format!("{name} is not here, and --offline does not contact the upstream"))
            .hint(format!(
                "`freestone fetch REV` without --offline fetches a revision from {}; \
                 `freestone status` lists what is complete here",
                self.url
            ))
    }

    fn refused<T>(&self) -> Result<T> {
        Err(self.the_upstream().refused())
    }

    fn the_upstream(&self) -> Upstream {
        Upstream { url: self.url.to_string(), offline: true }
    }
}

impl Backend for Here {
    fn place(&self) -> String {
        self.folder.display().to_string()
    }

    fn upstream(&self) -> Option<Upstream> {
        Some(self.the_upstream())
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        // Without a directory nothing is here, whatever is in its place.
        if !self.folder.is_dir() {
            return Ok(Vec::new());
        }
        let mut listed = self.directory().list(folder)?;
        listed.retain(|listed| folder == "packs" || is_immutable(&listed.name));
        Ok(listed)
    }

    fn open(&self, name: &str) -> Result<Option<Box<dyn Object>>> {
        if let Some(id) = pack::id_of_object(name) {
            let file = self.open_pack(&id);
            return Ok(Some(Box::new(HereObject { here: self.clone(), name: name.into(), file })));
        }
        // A file that the disk damaged is not here, since it can be fetched again.
        let object = self.directory().open(name)?.filter(|object| is_sound(name, &**object));
        object.map(Some).ok_or_else(|| self.absent(name))
    }

    fn get(&self, name: &str, max: u64) -> Result<Option<Vec<u8>>> {
        let got = self.directory().get(name, max).unwrap_or_default();
        let got = got.filter(|bytes| is_immutable(name) && check(name, bytes).is_ok());
        got.map(Some).ok_or_else(|| self.absent(name))
    }

    fn hint(&self, _: &str, _: &[u8]) -> Result<()> {
        self.refused()
    }

    fn create(&self, _: &str, _: &[u8]) -> Result<Created> {
        self.refused()
    }

    fn spool(&self) -> Result<Spool> {
        self.refused()
    }

    fn publish(&self, _: Spool, _: &str) -> Result<Created> {
        self.refused()
    }

    fn settle(&self, _: &str) -> Result<()> {
        Ok(())
    }

    fn remove(&self, _: &str) -> Result<()> {
        self.refused()
    }
}

/// The sparse file of a pack, opened when it is first read.
pub(crate) struct SparseFile {
    pub(crate) path: PathBuf,
    pub(crate) pack: Arc<SparsePack>,
    file: Mutex<Option<Arc<File>>>,
}

impl SparseFile {
    /// Reads bytes that the runs list. Returns false if they do not list them, or the file does not
    /// have them.
    pub(crate) fn read(&self, offset: u64, out: &mut [u8]) -> bool {
        self.pack.contains(&range(offset, out.len() as u64))
            && self.open().is_some_and(|file| file.read_exact_at(out, offset).is_ok())
    }

    fn open(&self) -> Option<Arc<File>> {
        let mut file = lock(&self.file);
        if file.is_none() {
            *file = File::open(&self.path).ok().map(Arc::new);
        }
        file.clone()
    }

    /// Replaces the file that is read: the one before may have been evicted, and be no part of the
    /// cache any more. `None` opens it again when it is read.
    pub(crate) fn replace(&self, file: Option<File>) {
        *lock(&self.file) = file.map(Arc::new);
    }
}

/// Returns the range of `length` bytes from `offset` on.
pub(crate) fn range(offset: u64, length: u64) -> Range<u64> {
    offset..offset.saturating_add(length)
}

/// A pack, of which only the cached bytes can be read.
struct HereObject {
    here: Here,
    name: String,
    file: SparseFile,
}

impl Object for HereObject {
    fn length(&self) -> u64 {
        // If the length is not known, a read at the end reports what is not here.
        match self.file.pack.length() {
            0 => u64::MAX,
            known => known,
        }
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        match self.file.read(offset, out) {
            true => Ok(()),
            false => Err(self.here.absent(&self.name)),
        }
    }

    fn map(&self) -> Result<Bytes> {
        Err(Error::refused(format!("{}: packs of a cache are not mapped", self.name)))
    }

    fn is_at_hand(&self, offset: u64, length: u64) -> bool {
        self.file.pack.contains(&range(offset, length))
    }
}
