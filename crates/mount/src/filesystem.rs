//! The kernel's requests, answered.

use crate::attributes::{self, holds};
use crate::cache::Cache;
use crate::files::{self, FilePlan};
use crate::listing::{Below, Listing};
use crate::nodes::{Node, TREES, Table};
use crate::place::Options;
use crate::revisions::{Revisions, Tree};
use freestone_core::{Error, ErrorKind, Id, Plan, Result};
use freestone_manifest::EntryKind;
use fuser::{Errno, FileType};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

mod requests;

/// Plans and trees that are kept open for the next look-up; what is in use stays besides.
const OPENED_MAX: usize = 8;
/// The folder of trees.
const TREE: &str = "tree";

/// The file system.
pub(crate) struct FileSystem {
    revisions: Box<dyn Revisions>,
    options: Options,
    failed: Box<dyn Fn(&Error) + Send + Sync>,
    nodes: Table,
    cache: Cache,
    /// The last used at the end.
    opened: Mutex<Vec<(Id, Opened)>>,
    files: Mutex<HashMap<u64, Arc<dyn Plan>>>,
    directories: Mutex<HashMap<u64, Arc<Mutex<Listing>>>>,
    next_handle: AtomicU64,
}

#[derive(Clone)]
enum Opened {
    Plan(String, Arc<dyn Plan>),
    Tree(Arc<Tree>),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FileSystem {
    pub(crate) fn new(
        revisions: Box<dyn Revisions>,
        options: Options,
        failed: Box<dyn Fn(&Error) + Send + Sync>,
    ) -> Self {
        Self {
            revisions,
            cache: Cache::new(options.cache_bytes),
            options,
            failed,
            nodes: Table::new(),
            opened: Mutex::default(),
            files: Mutex::default(),
            directories: Mutex::default(),
            next_handle: AtomicU64::new(1),
        }
    }

    /// What a failed request is answered with; what is not the asker's doing is told besides.
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

    fn opened(&self, wanted: impl Fn(&Id, &Opened) -> bool) -> Option<Opened> {
        let mut opened = lock(&self.opened);
        let at = opened.iter().position(|(id, held)| wanted(id, held))?;
        let found = opened.remove(at);
        let held = found.1.clone();
        opened.push(found);
        Some(held)
    }

    fn keep(&self, id: Id, held: Opened) {
        let mut opened = lock(&self.opened);
        if opened.len() >= OPENED_MAX {
            opened.remove(0);
        }
        opened.push((id, held));
    }

    fn plan(&self, id: &Id, format: &str) -> Result<Arc<dyn Plan>> {
        let is_it =
            |of: &Id, held: &Opened| matches!(held, Opened::Plan(f, _) if of == id && f == format);
        if let Some(Opened::Plan(_, plan)) = self.opened(is_it) {
            return Ok(plan);
        }
        let plan = self.revisions.plan(id, format)?;
        self.keep(*id, Opened::Plan(format.to_owned(), plan.clone()));
        Ok(plan)
    }

    fn tree(&self, id: &Id) -> Result<Arc<Tree>> {
        let is_it = |of: &Id, held: &Opened| of == id && matches!(held, Opened::Tree(_));
        if let Some(Opened::Tree(tree)) = self.opened(is_it) {
            return Ok(tree);
        }
        let tree = Arc::new(self.revisions.tree(id)?);
        self.keep(*id, Opened::Tree(tree.clone()));
        Ok(tree)
    }

    /// What `name` in the directory `parent` is.
    fn find(&self, parent: &Node, name: &OsStr) -> Result<Option<Node>> {
        match parent {
            Node::Top if name == TREE => Ok(self.nodes.get(TREES)),
            Node::Top => self.find_image(name),
            Node::Trees => self.find_tree(name),
            Node::TreeTop { id, .. } => self.find_entry(id, &[], name),
            Node::Entry { id, entry } => self.find_entry(id, &entry.path, name),
            Node::Link { .. } | Node::Image { .. } => Ok(None),
        }
    }

    fn find_image(&self, name: &OsStr) -> Result<Option<Node>> {
        let Some(name) = name.to_str() else { return Ok(None) };
        let formats = self.revisions.formats();
        let ending = |format: &&str| {
            name.strip_suffix(format).and_then(|stem| stem.strip_suffix('.')).is_some()
        };
        // The longest, should one end in another.
        let Some(format) = formats.iter().copied().filter(|f| ending(f)).max_by_key(|f| f.len())
        else {
            return Ok(None);
        };
        let stem = &name[..name.len() - format.len() - 1];
        if let Some((id, time)) = self.by_id(stem)? {
            let length = self.plan(&id, format)?.length();
            return Ok(Some(Node::Image { id, format: format.to_owned(), length, time }));
        }
        self.find_link(stem, format!(".{format}"))
    }

    fn find_tree(&self, name: &OsStr) -> Result<Option<Node>> {
        let Some(name) = name.to_str() else { return Ok(None) };
        match self.by_id(name)? {
            Some((id, time)) => Ok(Some(Node::TreeTop { id, time })),
            None => self.find_link(name, String::new()),
        }
    }

    fn find_link(&self, stem: &str, ending: String) -> Result<Option<Node>> {
        let name = stem.replace("%2F", "/");
        let found = self.revisions.resolve(&name)?;
        Ok(found.map(|_| Node::Link { name, ending }))
    }

    /// The revision that `text` is the whole id of, and its time.
    fn by_id(&self, text: &str) -> Result<Option<(Id, i64)>> {
        let Ok(id) = Id::parse(text) else { return Ok(None) };
        // An id has one spelling here, or an image would have two paths.
        if id.to_string() != text {
            return Ok(None);
        }
        Ok(self.revisions.time(&id)?.map(|time| (id, time)))
    }

    fn find_entry(&self, id: &Id, directory: &[u8], name: &OsStr) -> Result<Option<Node>> {
        let mut path = directory.to_vec();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.as_bytes());
        let entry = self.tree(id)?.get(&path)?;
        Ok(entry.map(|entry| Node::Entry { id: *id, entry: Arc::new(entry) }))
    }

    /// The text of a link; `None` if what it named is gone.
    fn target(&self, node: &Node) -> Result<Option<String>> {
        let Node::Link { name, ending } = node else { return Ok(None) };
        Ok(self.revisions.resolve(name)?.map(|id| format!("{id}{ending}")))
    }

    /// The names in the mounted directory or in `tree/`.
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

    /// What is listed of a directory; `None` if it is none.
    fn listing(&self, node: &Node) -> Result<Option<Listing>> {
        Ok(match node {
            Node::Top => Some(Listing::Names(self.names(true)?)),
            Node::Trees => Some(Listing::Names(self.names(false)?)),
            Node::TreeTop { id, .. } => Some(Listing::Tree(Below::new(self.tree(id)?, Vec::new()))),
            Node::Entry { id, entry } if entry.is_directory() => {
                Some(Listing::Tree(Below::new(self.tree(id)?, entry.path.clone())))
            }
            _ => None,
        })
    }

    /// The bytes of a file; `None` if it is none.
    fn bytes(&self, node: &Node) -> Result<Option<Arc<dyn Plan>>> {
        Ok(match node {
            Node::Image { id, format, .. } => Some(self.plan(id, format)?),
            Node::Entry { id, entry } => match entry.kind {
                EntryKind::File { size, sha1, content, .. } => {
                    Some(Arc::new(FilePlan { tree: self.tree(id)?, content, size, sha1 }))
                }
                EntryKind::Directory => None,
            },
            _ => None,
        })
    }

    fn handle(&self) -> u64 {
        self.next_handle.fetch_add(1, Ordering::Relaxed)
    }

    fn attributes(&self, number: u64, node: &Node) -> Result<Option<fuser::FileAttr>> {
        let bytes = match node {
            Node::Link { .. } => match self.target(node)? {
                Some(target) => target.len() as u64,
                None => return Ok(None),
            },
            _ => 0,
        };
        Ok(Some(attributes::of(number, node, bytes, &self.options)))
    }

    fn ttl(node: &Node) -> std::time::Duration {
        holds(node)
    }

    fn read(&self, plan: &dyn Plan, offset: u64, out: &mut [u8]) -> Result<usize> {
        files::read(plan, &*self.revisions, &self.cache, offset, out)
    }
}
