//! The objects of a repository. Each one that is read is hashed, and must have the hash that its id
//! says.
//!
//! | an object | is read |
//! |---|---|
//! | of which decoding needs at most [`WHOLE_BYTES_MAX`] | whole, by gitoxide |
//! | longer, and stored by itself | as a stream ([`crate::large`]), in constant memory |
//! | longer, and stored as a difference to another | whole, one at a time, up to [`DELTA_BYTES_MAX`] |
//!
//! A small file can stand for an object of any length. So no length that a repository states is
//! allocated beyond these bounds; a stream is as long as what is really there.

use crate::alternates;
use crate::faults::{cause, forged};
use crate::large::LargeObject;
use crate::turn::{Turn, Turns};
use freestone_core::digest::sha1_hasher;
use freestone_core::{Error, Result, lock};
use gix_hash::{ObjectId, Prefix};
use gix_object::{Find, Kind};
use gix_odb::Header as _;
use gix_odb::find::Header;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The bytes of decoded objects that each thread keeps, because other objects are stored as
/// differences to them.
const PACK_CACHE_BYTES: usize = 16 << 20;
/// The memory for decoding one object in one thread.
const WHOLE_BYTES_MAX: usize = 64 << 20;
/// The longest object that may be stored as a difference. Git stores none above 512 MiB so, unless
/// `core.bigFileThreshold` says otherwise.
pub(crate) const DELTA_BYTES_MAX: u64 = 512 << 20;
/// The memory for decoding one such object: two versions of it, and the instructions.
const DELTA_MEMORY_MAX: usize = 1280 << 20;

type Handle = gix_odb::Handle;

/// The objects of a repository, open for reading by many threads at once.
pub(crate) struct Objects {
    /// All directories of objects, those of alternates too.
    folders: Vec<PathBuf>,
    /// The directories from which gitoxide starts; it finds the alternates itself.
    starts: Vec<PathBuf>,
    first: Mutex<Vec<Handle>>,
    /// Handles that no thread is using. Each keeps the objects that it decoded last.
    idle: Mutex<Vec<Vec<Handle>>>,
    /// Of those that read long objects, which are few, there is one.
    long: Mutex<Vec<Handle>>,
    turns: Turns,
}

/// An object that was found.
pub(crate) enum Object {
    /// Its bytes, which hash to its id. The turn of a long object ends when it is dropped.
    Whole(Kind, Vec<u8>, Option<Turn>),
    /// A stream, which fails at its end if the bytes do not hash to the id.
    Large(LargeObject),
}

impl Object {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Whole(kind, ..) => *kind,
            Self::Large(large) => large.kind(),
        }
    }
}

/// Opens one directory of objects, with its alternates.
fn handle(folder: &Path, memory_max: usize, cache_bytes: usize) -> Result<Handle> {
    let options =
        gix_odb::store::init::Options { alloc_limit_bytes: Some(memory_max), ..Default::default() };
    let opened = gix_odb::at_opts(folder, gix_hash::Kind::Sha1, None, options);
    let mut handle = opened.map_err(|error| {
        Error::io(
            format!("{}: its objects cannot be opened", crate::own_file::shown(folder)),
            error,
        )
    })?;
    if cache_bytes > 0 {
        handle.set_pack_cache(move || {
            Box::new(gix_pack::cache::lru::StaticLinkedList::<64>::new(cache_bytes))
        });
    }
    Ok(handle)
}

/// Checks that the bytes of an object hash to its id.
pub(crate) fn prove(id: ObjectId, kind: Kind, bytes: &[u8]) -> Result<()> {
    let mut hasher = sha1_hasher();
    hasher.update(format!("{kind} {}\0", bytes.len()).as_bytes());
    hasher.update(bytes);
    if hasher.finish().0 == id.as_slice() { Ok(()) } else { Err(forged(id)) }
}

impl Objects {
    /// Opens the objects in `folder` and its alternates, and those in the directories `more`. With
    /// `inside`, the objects of `folder` must be there.
    ///
    /// # Errors
    /// A directory cannot be opened or is elsewhere, or a file in it that git reads is not a regular
    /// file.
    pub(crate) fn open(folder: &Path, inside: Option<&Path>, more: &[PathBuf]) -> Result<Self> {
        let mut starts = vec![folder.to_path_buf()];
        let mut folders = alternates::all(folder, inside)?;
        for other in more {
            let found = alternates::all(other, None)?;
            if !folders.contains(&found[0]) {
                starts.push(other.clone());
                folders.extend(found);
            }
        }
        let first: Result<_> =
            starts.iter().map(|start| handle(start, WHOLE_BYTES_MAX, PACK_CACHE_BYTES)).collect();
        Ok(Self {
            folders,
            starts,
            first: Mutex::new(first?),
            idle: Mutex::default(),
            long: Mutex::default(),
            turns: Turns::default(),
        })
    }

    /// Calls `work` with handles that no other thread is using.
    fn with<T>(&self, work: impl FnOnce(&[Handle]) -> T) -> T {
        let handles = lock(&self.idle).pop();
        let handles = handles.unwrap_or_else(|| lock(&self.first).clone());
        let outcome = work(&handles);
        lock(&self.idle).push(handles);
        outcome
    }

    /// Finds an object of any kind; `None` if the repository does not have it.
    pub(crate) fn find(&self, id: ObjectId) -> Result<Option<Object>> {
        let mut bytes = Vec::new();
        match self.with(|handles| whole(handles, id, &mut bytes)) {
            Ok(None) => Ok(None),
            Ok(Some(kind)) => {
                prove(id, kind, &bytes)?;
                Ok(Some(Object::Whole(kind, bytes, None)))
            }
            Err(Unread::Long) => {
                drop(bytes);
                self.find_long(id)
            }
            Err(Unread::Failed(error)) => Err(error),
        }
    }

    /// Finds an object that needs more memory than a thread may take.
    fn find_long(&self, id: ObjectId) -> Result<Option<Object>> {
        let Some(header) = self.header(id) else { return Ok(None) };
        let (kind, size) = (header.kind(), header.size());
        if let Some(large) = LargeObject::find(&self.folders, id, kind, size)? {
            return Ok(Some(Object::Large(large)));
        }
        let too_long = || {
            Error::refused(format!(
                "git object {id} is stored as a difference that needs too much memory: it has \
                 {size} bytes, and at most {DELTA_BYTES_MAX} are supported"
            ))
            .hint("run `git -c core.bigFileThreshold=64m repack -a -d -f` to store it by itself")
        };
        if size > DELTA_BYTES_MAX {
            return Err(too_long());
        }
        let turn = self.turns.wait();
        let mut bytes = Vec::new();
        let mut long = lock(&self.long);
        if long.is_empty() {
            for start in &self.starts {
                long.push(handle(start, DELTA_MEMORY_MAX, 0)?);
            }
        }
        let found = whole(&long, id, &mut bytes);
        drop(long);
        bytes.shrink_to_fit();
        match found {
            Ok(None) => Ok(None),
            Ok(Some(kind)) => {
                prove(id, kind, &bytes)?;
                Ok(Some(Object::Whole(kind, bytes, Some(turn))))
            }
            Err(Unread::Long) => Err(too_long()),
            Err(Unread::Failed(error)) => Err(error),
        }
    }

    /// Returns the directories of objects.
    pub(crate) fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// Returns true if there is an object with this id, but not if it is only in a pack that was
    /// made after this repository was opened. Looking for new packs costs much more, and is what
    /// usually happens for an object that is not there.
    pub(crate) fn has_without_refresh(&self, id: ObjectId) -> bool {
        id == ObjectId::empty_tree(id.kind())
            || self.with(|handles| handles.iter().any(|handle| handle.exists_without_refresh(&id)))
    }

    /// Returns the kind and length that an object states, without reading its bytes; `None` if the
    /// object is missing or cannot be read.
    pub(crate) fn header(&self, id: ObjectId) -> Option<Header> {
        let find = |handle: &Handle| handle.try_header(&id).ok().flatten();
        self.with(|handles| handles.iter().find_map(find))
    }

    /// Adds to `found` the ids that begin with `prefix`.
    pub(crate) fn prefixed(
        &self,
        prefix: Prefix,
        found: &mut HashSet<ObjectId>,
    ) -> std::result::Result<(), impl std::fmt::Display> {
        self.with(|handles| {
            handles
                .iter()
                .try_for_each(|handle| handle.lookup_prefix(prefix, Some(&mut *found)).map(|_| ()))
        })
    }
}

/// Reads an object into `bytes`, and returns its kind; `None` if no handle has it.
fn whole(handles: &[Handle], id: ObjectId, bytes: &mut Vec<u8>) -> Result<Option<Kind>, Unread> {
    for handle in handles {
        match handle.try_find(&id, bytes) {
            Ok(None) => {}
            Ok(Some(data)) => return Ok(Some(data.kind)),
            Err(error) if error.is_resource_exhausted() => return Err(Unread::Long),
            Err(error) => {
                return Err(Unread::Failed(
                    Error::corrupt(format!("git object {id} cannot be read"))
                        .because(cause(error))
                        .hint("run `git fsck` for a list of damaged objects"),
                ));
            }
        }
    }
    Ok(None)
}

/// The reason why an object was not read.
enum Unread {
    /// It needs more memory than is allowed.
    Long,
    Failed(Error),
}
