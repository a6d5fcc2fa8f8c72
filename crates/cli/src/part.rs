//! A revision, or a file or directory in it, as `REV[:PATH]` names it.

use crate::context::Context;
use crate::following;
use crate::interrupt::Interrupt;
use crate::values::name::Name;
use freestone_core::plan::{NodeKind, NodeSource};
use freestone_core::{Error, Id, Result, path};
use freestone_follow::{Fetched, Opened, Subject, prime};
use freestone_format::Revision;
use freestone_manifest::{Builder, Cursor, Entry, Tree};
use freestone_store::spool::{NodeSpool, SpooledNodes};
use freestone_store::{Records, open_manifest};
use std::sync::Arc;

/// How much of a part a command needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The entries.
    Entries,
    /// The entries and the contents.
    Contents,
}

/// A revision, or a file or directory in it.
pub struct Part {
    /// The revision's id.
    pub id: Id,
    /// The revision.
    pub revision: Revision,
    /// The entry at the path; `None` for the whole revision.
    pub entry: Option<Entry>,
    tree: Tree<PartNodes>,
    opened: Opened,
}

impl Part {
    /// Finds the part that `name` names in the store `opened`.
    ///
    /// # Errors
    /// The revision or the path does not exist, or cannot be read.
    pub fn find(opened: &Opened, name: &Name) -> Result<Self> {
        let store = &opened.store;
        let resolved = store.resolve_to_read(&name.revision)?;
        prime(opened, &resolved.id)?;
        let nodes = PartNodes { built: None, records: store.records()? };
        let tree = open_manifest(nodes, &resolved.revision)?;
        let entry = match &name.path {
            None => None,
            Some(wanted) => Some(tree.get(wanted)?.ok_or_else(|| {
                let what =
                    format!("revision {} has no path \"{}\"", name.revision, path::display(wanted));
                Error::not_found(what)
                    .hint(format!("`freestone ls -R {}` lists the paths", name.revision))
            })?),
        };
        let opened = opened.clone();
        Ok(Self { id: resolved.id, revision: resolved.revision, entry, tree, opened })
    }

    /// Fetches from the upstream what the store lacks of this part.
    ///
    /// # Errors
    /// The upstream cannot be reached, or something is missing or damaged.
    pub fn fetch(&self, what: Need, context: &Context) -> Result<()> {
        let below = self.entry.as_ref().map(|entry| entry.path.clone());
        let contents = what == Need::Contents;
        let subject = Subject { root: self.tree.id(), below, contents };
        following::fetch_missing(&self.opened, &subject, context)?;
        following::note_not_kept(&self.opened, context);
        Ok(())
    }

    /// Returns how much fetching its contents would take. Returns `None` if the store does not
    /// follow an upstream.
    ///
    /// # Errors
    /// As [`Self::fetch`].
    pub fn preview(&self, context: &Context) -> Result<Option<Fetched>> {
        let below = self.entry.as_ref().map(|entry| entry.path.clone());
        let subject = Subject { root: self.tree.id(), below, contents: true };
        following::preview(&self.opened, &subject, context)
    }

    /// Returns the records of the store, which hold its nodes and chunks.
    pub fn records(&self) -> &Records {
        &self.tree.source().records
    }

    /// Returns the path of the directory; it is empty for the whole revision.
    ///
    /// # Errors
    /// It is a file.
    pub fn directory(&self) -> Result<&[u8]> {
        match &self.entry {
            None => Ok(&[]),
            Some(entry) if entry.is_directory() => Ok(&entry.path),
            Some(entry) => {
                let what = format!("{} is a file, not a directory", path::display(&entry.path));
                Err(Error::refused(what)
                    .hint("print the file with `freestone cat REV:PATH`, or name its directory"))
            }
        }
    }

    /// Iterates over the entries below the directory, in order.
    ///
    /// # Errors
    /// It is a file, or cannot be read.
    pub fn below(&self) -> Result<Below<'_>> {
        let top = self.directory()?;
        let mut cursor = self.tree.seek(top)?;
        if !top.is_empty() {
            cursor.next()?;
        }
        Ok(Below { tree: &self.tree, cursor, top })
    }

    /// Returns the root and the nodes of the manifest that has the directory as its top: the
    /// revision's own, or one that is built now.
    ///
    /// # Errors
    /// It is a file, or cannot be read; there is no space for a temporary file.
    pub fn manifest(&self, interrupt: &Interrupt) -> Result<Tree<PartNodes>> {
        if self.entry.is_none() {
            return Ok(self.tree.clone());
        }
        let mut builder = Builder::new(NodeSpool::new()?);
        let mut below = self.below()?;
        while let Some((entry, path)) = below.next()? {
            interrupt.check()?;
            builder.push(Entry { path: path.to_vec(), ..entry.clone() })?;
        }
        let (root, spool) = builder.finish()?;
        let built = Some(Arc::new(spool.finish()?));
        Tree::open(PartNodes { built, records: self.records().clone() }, &root.id)
    }
}

/// The entries below a directory.
pub struct Below<'a> {
    tree: &'a Tree<PartNodes>,
    cursor: Cursor<'a, PartNodes>,
    top: &'a [u8],
}

impl Below<'_> {
    /// Returns the next entry, and its path relative to the directory.
    ///
    /// # Errors
    /// A node cannot be read.
    #[allow(clippy::should_implement_trait, reason = "the entry borrows from the cursor")]
    pub fn next(&mut self) -> Result<Option<(&Entry, &[u8])>> {
        let entry = self.cursor.next()?.filter(|entry| path::is_below(&entry.path, self.top));
        let skipped = if self.top.is_empty() { 0 } else { self.top.len() + 1 };
        Ok(entry.map(|entry| (entry, &entry.path[skipped..])))
    }

    /// Continues after everything below the directory `path`, a path of the revision.
    ///
    /// # Errors
    /// A node cannot be read.
    pub fn skip(&mut self, path: &[u8]) -> Result<()> {
        // Paths below it continue with a `/`, which is ordered as 0.
        let after = [path, &[1]].concat();
        self.cursor = self.tree.seek(&after)?;
        Ok(())
    }
}

/// The nodes of a part: those of a manifest that was built for it, and the store's.
#[derive(Clone)]
pub struct PartNodes {
    built: Option<Arc<SpooledNodes>>,
    records: Records,
}

impl NodeSource for PartNodes {
    fn node(&self, kind: NodeKind, id: &Id) -> Result<Arc<[u8]>> {
        match &self.built {
            Some(built) if kind == NodeKind::Manifest => built.node(kind, id),
            _ => self.records.node(kind, id),
        }
    }
}
