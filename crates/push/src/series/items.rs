//! What a step's source tells, as changes of the parent's manifest: bytes read and stored, what is
//! the parent's anyway left out.

use super::batch::Readers;
use super::nodes::BatchNodes;
use crate::derive;
use crate::push::{PushOptions, PushProgress};
use freestone_core::item::{
    ChangeKind, ChangeSource, Content, FileBytes, FileOpener, FileStamp, Item, ItemChange, ItemKind,
};
use freestone_core::{Error, Result, path};
use freestone_manifest::{Changes, Cursor, Entry, EntryKind, Tree};
use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic;

/// Items whose bytes are read together.
const TOGETHER: usize = 256;

/// What differs between a step and its parent.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) changed: u64,
    pub(super) new: u64,
    pub(super) gone: u64,
}

/// The changes that a step makes.
pub(super) struct Incoming<'a> {
    pub(super) source: Box<dyn ChangeSource + 'a>,
    pub(super) opener: &'a dyn FileOpener,
    pub(super) parent: Option<&'a Tree<BatchNodes>>,
    /// The parent's entries in step with the source, where that tells all that there is.
    pub(super) beside: Option<Beside<'a>>,
    pub(super) readers: &'a mut Readers,
    pub(super) options: &'a PushOptions,
    pub(super) progress: &'a PushProgress,
    pub(super) ready: VecDeque<Ready>,
    pub(super) ended: bool,
    pub(super) counts: Counts,
    /// Labels that the source gave at its end.
    pub(super) labels: BTreeMap<String, String>,
}

/// A change whose bytes are stored.
pub(super) struct Ready {
    path: Vec<u8>,
    /// `None` if nothing stands there.
    item: Option<(ItemKind, Option<Content>)>,
}

/// The parent's entries, in step with a source that tells all.
pub(super) struct Beside<'a> {
    cursor: Cursor<'a, BatchNodes>,
    next: Option<Entry>,
}

impl<'a> Beside<'a> {
    pub(super) fn new(tree: &'a Tree<BatchNodes>) -> Result<Self> {
        let mut beside = Self { cursor: tree.cursor(), next: None };
        beside.advance()?;
        Ok(beside)
    }

    fn advance(&mut self) -> Result<Option<Entry>> {
        let next = self.cursor.next()?.cloned();
        Ok(std::mem::replace(&mut self.next, next))
    }

    /// The next entry, if it stands before `path`; any, if that is `None`.
    fn before(&mut self, path: Option<&[u8]>) -> Result<Option<Entry>> {
        let is_before = |entry: &Entry| {
            path.is_none_or(|path| path::compare(&entry.path, path) == Ordering::Less)
        };
        if self.next.as_ref().is_some_and(is_before) { self.advance() } else { Ok(None) }
    }

    /// The entry at `path`, all before it having been taken.
    fn at(&mut self, path: &[u8]) -> Result<Option<Entry>> {
        match &self.next {
            Some(entry) if entry.path == path => self.advance(),
            _ => Ok(None),
        }
    }
}

/// An item whose bytes may have to be read.
struct Told {
    change: ItemChange,
    parent: Option<Entry>,
}

pub(super) fn content_of(entry: &Entry) -> Option<Content> {
    match entry.kind {
        EntryKind::File { size, sha1, content, .. } => Some(Content { size, sha1, id: content }),
        EntryKind::Directory => None,
    }
}

impl Incoming<'_> {
    /// Takes some more of the source; `false` if nothing is left.
    fn fill(&mut self) -> Result<bool> {
        while self.ready.is_empty() {
            if self.ended {
                return Ok(false);
            }
            self.progress.check()?;
            let told = self.told()?;
            self.progress.entries.fetch_add(told.len() as u64, atomic::Ordering::Relaxed);
            self.settle(told)?;
            if self.ended {
                self.labels = self.source.finish()?.into_iter().collect();
            }
        }
        Ok(true)
    }

    fn told(&mut self) -> Result<Vec<Told>> {
        let mut told = Vec::new();
        while told.len() < TOGETHER {
            let change = self.source.next()?;
            if let Some(beside) = &mut self.beside {
                let path = change.as_ref().map(|change| &change.path[..]);
                while let Some(gone) = beside.before(path)? {
                    let change = ItemChange { path: gone.path, kind: ChangeKind::Gone };
                    told.push(Told { change, parent: None });
                }
            }
            let Some(change) = change else {
                self.ended = true;
                break;
            };
            let parent = match (&mut self.beside, self.parent) {
                (Some(beside), _) => beside.at(&change.path)?,
                // Only to tell what the file was before it is read.
                (None, Some(tree)) if matches!(change.kind, ChangeKind::File { .. }) => {
                    tree.get(&change.path)?
                }
                _ => None,
            };
            told.push(Told { change, parent });
        }
        Ok(told)
    }

    /// Reads what has to be, and makes changes ready.
    fn settle(&mut self, told: Vec<Told>) -> Result<()> {
        let named = |told: &Told| match &told.change.kind {
            ChangeKind::File { bytes: FileBytes::Named(name), .. } => {
                Some((name.clone(), told.parent.as_ref().and_then(content_of)))
            }
            _ => None,
        };
        let wanted: Vec<_> = told.iter().filter_map(named).collect();
        let mut read = self.readers.read(&wanted, self.opener, self.progress)?.into_iter();
        for Told { change, parent } in told {
            let path = change.path;
            let item = match change.kind {
                ChangeKind::Gone => None,
                ChangeKind::Directory => Some((ItemKind::Directory, None)),
                ChangeKind::File { executable, link, bytes } => {
                    let content = match bytes {
                        FileBytes::Stored(content) => Ok(content),
                        FileBytes::Named(_) => read.next().unwrap_or_else(|| {
                            Err(Error::new(freestone_core::ErrorKind::Failed, "a reader failed"))
                        }),
                    };
                    let stamp =
                        FileStamp { device: 0, inode: 0, size: 0, mtime_ns: 0, ctime_ns: 0 };
                    match content {
                        Ok(content) => {
                            Some((ItemKind::File { executable, stamp, link }, Some(content)))
                        }
                        Err(error) if error.kind() == freestone_core::ErrorKind::Refused => {
                            self.source.refuse(&path, error)?;
                            None
                        }
                        Err(error) => return Err(error.context(path::display(&path))),
                    }
                }
            };
            let ready = Ready { path, item };
            let is_new = match (&self.beside, &parent) {
                (None, _) => true,
                (Some(_), Some(parent)) => {
                    self.entry(&ready, Some(parent)).as_ref() != Some(parent)
                }
                (Some(_), None) => true,
            };
            if is_new {
                self.ready.push_back(ready);
            }
        }
        Ok(())
    }

    fn entry(&self, ready: &Ready, before: Option<&Entry>) -> Option<Entry> {
        let (kind, content) = ready.item.clone()?;
        let item = Item { path: ready.path.clone(), mtime: 0, kind };
        Some(derive::entry(item, content, before, self.options.time, self.options.mtime))
    }
}

impl Changes for Incoming<'_> {
    fn peek(&mut self) -> Result<Option<(&[u8], bool)>> {
        self.fill()?;
        Ok(self.ready.front().map(|ready| (&ready.path[..], ready.item.is_none())))
    }

    fn take(&mut self, before: Option<&Entry>) -> Result<Option<Entry>> {
        let Some(ready) = self.ready.pop_front() else { return Ok(None) };
        let entry = self.entry(&ready, before);
        match (before, &entry) {
            (None, Some(_)) => self.counts.new += 1,
            (Some(_), None) => self.counts.gone += 1,
            (Some(before), Some(entry)) if !before.same_but_for_time(entry) => {
                self.counts.changed += 1;
            }
            _ => {}
        }
        Ok(entry)
    }
}
