//! The file system: finds what the kernel asks for, and keeps open what it uses.

use crate::attributes;
use crate::cache::ChunkCache;
use crate::files::{self, FilePlan};
use crate::inodes::{Inode, InodeTable, TREES};
use crate::listing::{OpenDirectory, TreeDirectory};
use crate::options::MountOptions;
use crate::revisions::{RevisionTree, Revisions};
use freestone_core::{Error, ErrorKind, Id, Plan, Result, lock};
use freestone_manifest::EntryKind;
use fuser::{Errno, FileType};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

mod requests;

/// The number of plans and trees that are kept open for the next look-up, beside those in use.
const OPENED_MAX: usize = 8;
/// The name of the directory of trees.
const TREE: &str = "tree";

/// The file system.
pub(crate) struct FileSystem {
    revisions: Box<dyn Revisions>,
    options: MountOptions,
    /// Called with each error that a user should see.
    failed: Box<dyn Fn(&Error) + Send + Sync>,
    inodes: InodeTable,
    cache: ChunkCache,
    /// The most recently used is last.
    opened: Mutex<Vec<(Id, OpenedRevision)>>,
    /// The open files by handle.
    files: Mutex<HashMap<u64, Arc<dyn Plan>>>,
    /// The open directories by handle.
    directories: Mutex<HashMap<u64, Arc<Mutex<OpenDirectory>>>>,
    next_handle: AtomicU64,
}

/// A plan or a tree of a revision, kept open.
#[derive(Clone)]
enum OpenedRevision {
    /// The plan of its image in a format.
    Plan(String, Arc<dyn Plan>),
    /// Its tree.
    Tree(Arc<RevisionTree>),
}

impl FileSystem {
    /// Creates a file system that shows `revisions`. `failed` is called with each error that is not
    /// the caller's mistake.
    pub(crate) fn new(
        revisions: Box<dyn Revisions>,
        options: MountOptions,
        failed: Box<dyn Fn(&Error) + Send + Sync>,
    ) -> Self {
        Self {
            revisions,
            cache: ChunkCache::new(options.cache_bytes),
            options,
            failed,
            inodes: InodeTable::new(),
            opened: Mutex::default(),
            files: Mutex::default(),
            directories: Mutex::default(),
            next_handle: AtomicU64::new(1),
        }
    }

    /// Returns the error number for a failed request, and reports an error that is not the caller's
    /// mistake.
    fn errno(&self, error: &Error) -> Errno {
        match error.kind() {
            ErrorKind::NotFound => return Errno::ENOENT,
            ErrorKind::Refused => {
                (self.failed)(error);
                return Errno::EOPNOTSUPP;
            }
            _ => (self.failed)(error),
        }
        Errno::EIO
    }

    /// Returns what is kept open and `wanted`, and marks it as just used.
    fn opened(&self, wanted: impl Fn(&Id, &OpenedRevision) -> bool) -> Option<OpenedRevision> {
        let mut opened = lock(&self.opened);
        let at = opened.iter().position(|(id, held)| wanted(id, held))?;
        let found = opened.remove(at);
        let held = found.1.clone();
        opened.push(found);
        Some(held)
    }

    /// Keeps `held` open, in the place of the least recently used one if there are too many.
    fn keep(&self, id: Id, held: OpenedRevision) {
        let mut opened = lock(&self.opened);
        if opened.len() >= OPENED_MAX {
            opened.remove(0);
        }
        opened.push((id, held));
    }

    /// Returns the plan of the image of revision `id` in `format`.
    fn plan(&self, id: &Id, format: &str) -> Result<Arc<dyn Plan>> {
        let is_it = |of: &Id, held: &OpenedRevision| match held {
            OpenedRevision::Plan(name, _) => of == id && name == format,
            OpenedRevision::Tree(_) => false,
        };
        if let Some(OpenedRevision::Plan(_, plan)) = self.opened(is_it) {
            return Ok(plan);
        }
        let plan = self.revisions.plan(id, format)?;
        self.keep(*id, OpenedRevision::Plan(format.to_owned(), plan.clone()));
        Ok(plan)
    }

    /// Returns the tree of revision `id`.
    fn tree(&self, id: &Id) -> Result<Arc<RevisionTree>> {
        let is_it =
            |of: &Id, held: &OpenedRevision| of == id && matches!(held, OpenedRevision::Tree(_));
        if let Some(OpenedRevision::Tree(tree)) = self.opened(is_it) {
            return Ok(tree);
        }
        let tree = Arc::new(self.revisions.tree(id)?);
        self.keep(*id, OpenedRevision::Tree(tree.clone()));
        Ok(tree)
    }

    /// Looks up `name` in the directory `parent`.
    fn find(&self, parent: &Inode, name: &OsStr) -> Result<Option<Inode>> {
        match parent {
            Inode::Top if name == TREE => Ok(self.inodes.get(TREES)),
            Inode::Top => self.find_image(name),
            Inode::Trees => self.find_tree(name),
            Inode::TreeTop { id, .. } => self.find_entry(id, &[], name),
            Inode::Entry { id, entry } => self.find_entry(id, &entry.path, name),
            Inode::Link { .. } | Inode::Image { .. } => Ok(None),
        }
    }

    /// Looks up an image, or a link to one, in the mounted directory.
    fn find_image(&self, name: &OsStr) -> Result<Option<Inode>> {
        let Some(name) = name.to_str() else { return Ok(None) };
        let formats = self.revisions.formats();
        let ending = |format: &&str| {
            name.strip_suffix(format).and_then(|stem| stem.strip_suffix('.')).is_some()
        };
        // The longest, since one ending may be the end of another.
        let Some(format) = formats.iter().copied().filter(|f| ending(f)).max_by_key(|f| f.len())
        else {
            return Ok(None);
        };
        let stem = &name[..name.len() - format.len() - 1];
        if let Some((id, time)) = self.by_id(stem)? {
            let length = self.plan(&id, format)?.length();
            return Ok(Some(Inode::Image { id, format: format.to_owned(), length, time }));
        }
        self.find_link(stem, format!(".{format}"))
    }

    /// Looks up a tree, or a link to one, in `tree/`.
    fn find_tree(&self, name: &OsStr) -> Result<Option<Inode>> {
        let Some(name) = name.to_str() else { return Ok(None) };
        match self.by_id(name)? {
            Some((id, time)) => Ok(Some(Inode::TreeTop { id, time })),
            None => self.find_link(name, String::new()),
        }
    }

    /// Returns a link from a name of a revision, if it names one.
    fn find_link(&self, stem: &str, ending: String) -> Result<Option<Inode>> {
        let name = stem.replace("%2F", "/");
        let found = self.revisions.resolve(&name)?;
        Ok(found.map(|_| Inode::Link { name, ending }))
    }

    /// Returns the revision whose whole id `text` is, and its time.
    fn by_id(&self, text: &str) -> Result<Option<(Id, i64)>> {
        let Ok(id) = Id::parse(text) else { return Ok(None) };
        // An id is accepted in one spelling only, or an image would have two paths.
        if id.to_string() != text {
            return Ok(None);
        }
        Ok(self.revisions.time(&id)?.map(|time| (id, time)))
    }

    /// Looks up `name` in a directory of the tree of revision `id`.
    fn find_entry(&self, id: &Id, directory: &[u8], name: &OsStr) -> Result<Option<Inode>> {
        let mut path = directory.to_vec();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.as_bytes());
        let entry = self.tree(id)?.get(&path)?;
        Ok(entry.map(|entry| Inode::Entry { id: *id, entry: Arc::new(entry) }))
    }

    /// Returns the target of a link, or `None` if its name names nothing any more.
    fn target(&self, inode: &Inode) -> Result<Option<String>> {
        let Inode::Link { name, ending } = inode else { return Ok(None) };
        Ok(self.revisions.resolve(name)?.map(|id| format!("{id}{ending}")))
    }

    /// Lists the mounted directory, or `tree/` if not `is_top`.
    fn names(&self, is_top: bool) -> Result<Vec<(String, FileType)>> {
        let mut names = Vec::new();
        let endings: Vec<String> = if is_top {
            names.push((TREE.to_owned(), FileType::Directory));
            let listed = self.revisions.formats().iter().take(self.revisions.listed());
            listed.map(|format| format!(".{format}")).collect()
        } else {
            vec![String::new()]
        };
        let refs = self.revisions.refs()?;
        let mut ids: Vec<Id> = refs.iter().map(|(_, id)| *id).collect();
        ids.sort_unstable();
        ids.dedup();
        let kind = if is_top { FileType::RegularFile } else { FileType::Directory };
        for ending in &endings {
            names.extend(ids.iter().map(|id| (format!("{id}{ending}"), kind)));
            names.extend(refs.iter().map(|(name, _)| {
                (format!("{}{ending}", name.replace('/', "%2F")), FileType::Symlink)
            }));
        }
        Ok(names)
    }

    /// Opens a directory for listing; returns `None` if the inode is not a directory.
    fn listing(&self, inode: &Inode) -> Result<Option<OpenDirectory>> {
        Ok(match inode {
            Inode::Top => Some(OpenDirectory::Names(self.names(true)?)),
            Inode::Trees => Some(OpenDirectory::Names(self.names(false)?)),
            Inode::TreeTop { id, .. } => {
                Some(OpenDirectory::Tree(TreeDirectory::new(self.tree(id)?, Vec::new())))
            }
            Inode::Entry { id, entry } if entry.is_directory() => {
                Some(OpenDirectory::Tree(TreeDirectory::new(self.tree(id)?, entry.path.clone())))
            }
            _ => None,
        })
    }

    /// Opens the bytes of a file; returns `None` if the inode is not a regular file.
    fn bytes(&self, inode: &Inode) -> Result<Option<Arc<dyn Plan>>> {
        Ok(match inode {
            Inode::Image { id, format, .. } => Some(self.plan(id, format)?),
            Inode::Entry { id, entry } => match entry.kind {
                EntryKind::File { size, sha1, content, .. } => {
                    Some(Arc::new(FilePlan { tree: self.tree(id)?, content, size, sha1 }))
                }
                EntryKind::Directory => None,
            },
            _ => None,
        })
    }

    /// Returns a new number for something that is opened.
    fn handle(&self) -> u64 {
        self.next_handle.fetch_add(1, Ordering::Relaxed)
    }

    /// Returns the attributes of an inode, or `None` for a link whose name names nothing any more.
    fn attributes(&self, number: u64, inode: &Inode) -> Result<Option<fuser::FileAttr>> {
        let bytes = match inode {
            Inode::Link { .. } => match self.target(inode)? {
                Some(target) => target.len() as u64,
                None => return Ok(None),
            },
            _ => 0,
        };
        Ok(Some(attributes::of(number, inode, bytes, &self.options)))
    }

    /// Fills `out` with the bytes of `plan` from `offset` on, and returns how many there are.
    fn read(&self, plan: &dyn Plan, offset: u64, out: &mut [u8]) -> Result<usize> {
        files::read(plan, &*self.revisions, &self.cache, offset, out)
    }
}
