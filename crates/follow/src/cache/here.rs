//! What is in a cache, read without the upstream.

use super::check::{check, is_immutable, is_sound};
use super::folder::CacheFolder;
use super::sparse::{self, SparsePack};
use freestone_backend::{Backend, Listed, Object, Upstream};
use freestone_core::wire::Bytes;
use freestone_core::{Error, Id, Result, lock};
use freestone_format::pack;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};

/// Packs whose runs are held in memory, unless they are in use.
const PACKS_MAX: usize = 4096;

/// What is in a cache: a backend that never contacts the upstream, and notes no uses. Clones share
/// what they know of the packs.
#[derive(Clone)]
pub(crate) struct Here {
    /// The directory of the cache.
    pub(crate) folder: CacheFolder,
    /// The upstream's URL, for messages.
    url: Arc<str>,
    packs: Arc<Mutex<HashMap<Id, Arc<SparsePack>>>>,
}

impl Here {
    /// Creates the view of the cache in `folder`, of the upstream at `url`.
    pub(crate) fn new(folder: CacheFolder, url: &str) -> Self {
        Self { folder, url: url.into(), packs: Arc::default() }
    }

    /// Returns the URL of the upstream.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Returns the runs of a pack, which are read from their file at the first call.
    ///
    /// # Errors
    /// The file is there, and cannot be read.
    pub(crate) fn pack(&self, id: &Id) -> Result<Arc<SparsePack>> {
        if let Some(pack) = self.known(id) {
            return Ok(pack);
        }
        let file = sparse::read_runs(&self.folder, id)?;
        let mut packs = lock(&self.packs);
        if packs.len() >= PACKS_MAX {
            packs.retain(|_, pack| Arc::strong_count(pack) > 1 || pack.is_dirty());
        }
        // If another thread was first, what it added counts.
        Ok(packs.entry(*id).or_insert_with(|| Arc::new(SparsePack::new(*id, file))).clone())
    }

    /// Returns the runs of a pack, if they were read before.
    pub(crate) fn known(&self, id: &Id) -> Option<Arc<SparsePack>> {
        lock(&self.packs).get(id).cloned()
    }

    /// Returns the runs of all packs that were read before.
    pub(crate) fn all_known(&self) -> Vec<Arc<SparsePack>> {
        lock(&self.packs).values().cloned().collect()
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

    fn the_upstream(&self) -> Upstream {
        Upstream { url: self.url.to_string(), offline: true }
    }
}

impl Backend for Here {
    fn place(&self) -> String {
        self.folder.path_of("").display().to_string()
    }

    fn upstream(&self) -> Option<Upstream> {
        Some(self.the_upstream())
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        let Some(objects) = self.folder.objects()? else { return Ok(Vec::new()) };
        let mut listed = objects.list(folder)?;
        listed.retain(|listed| folder == "packs" || is_immutable(&listed.name));
        Ok(listed)
    }

    fn open(&self, name: &str) -> Result<Option<Box<dyn Object>>> {
        if let Some(id) = pack::id_of_object(name) {
            let file = SparseFile::new(self.folder.clone(), self.pack(&id)?);
            return Ok(Some(Box::new(HereObject { here: self.clone(), name: name.into(), file })));
        }
        let object = match self.folder.objects()? {
            Some(objects) => objects.open(name)?,
            None => None,
        };
        match object {
            // A file that the disk damaged is not here, since it can be fetched again.
            Some(object) if is_sound(name, &*object)? => Ok(Some(object)),
            _ => Err(self.absent(name)),
        }
    }

    fn get(&self, name: &str, max: u64) -> Result<Option<Vec<u8>>> {
        if is_immutable(name)
            && let Some(objects) = self.folder.objects()?
        {
            match objects.get(name, max) {
                Ok(Some(bytes)) if check(name, &bytes).is_ok() => return Ok(Some(bytes)),
                Err(error) if !error.is_damage() => return Err(error),
                _ => {}
            }
        }
        Err(self.absent(name))
    }

    fn settle(&self, _: &str) -> Result<()> {
        Ok(())
    }
}

/// The sparse file of a pack, opened when it is first read.
pub(crate) struct SparseFile {
    folder: CacheFolder,
    pub(crate) name: String,
    pub(crate) pack: Arc<SparsePack>,
    file: Mutex<Option<Arc<File>>>,
}

impl SparseFile {
    /// Creates the sparse file of `pack` in a cache. Nothing is opened yet.
    pub(crate) fn new(folder: CacheFolder, pack: Arc<SparsePack>) -> Self {
        Self { folder, name: pack::object_name(&pack.id), pack, file: Mutex::new(None) }
    }

    /// Reads bytes that the runs list. Returns false if they do not list them, or the file does not
    /// have them.
    ///
    /// # Errors
    /// The file is there, and cannot be opened or read.
    pub(crate) fn read(&self, offset: u64, out: &mut [u8]) -> Result<bool> {
        if !self.pack.contains(&range(offset, out.len() as u64)) {
            return Ok(false);
        }
        let Some(file) = self.open()? else { return Ok(false) };
        match file.read_exact_at(out, offset) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(self.folder.failed("read", &self.name, error)),
        }
    }

    fn open(&self) -> Result<Option<Arc<File>>> {
        let mut file = lock(&self.file);
        if file.is_none() {
            *file = self.folder.file(&self.name)?.map(Arc::new);
        }
        Ok(file.clone())
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
        match self.file.read(offset, out)? {
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
