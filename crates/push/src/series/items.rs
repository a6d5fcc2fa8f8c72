//! The entries that a step yields, as changes of the parent's manifest: their bytes are read and
//! stored, and what is the same in the parent is left out.

use super::nodes::BatchNodes;
use super::readers::SeriesReaders;
use crate::entry::{self, content_of};
use crate::parent::ParentEntries;
use crate::progress::Progress;
use freestone_core::item::{
    ChangeKind, ChangeSource, Content, FileBytes, FileOpener, FileStamp, Item, ItemChange, ItemKind,
};
use freestone_core::{Error, ErrorKind, Result, path};
use freestone_manifest::{Changes, Entry, Tree};
use freestone_store::write::Writer;
use std::collections::{BTreeMap, VecDeque};

/// Items whose bytes are read together.
const TOGETHER: usize = 256;

/// How a step differs from its parent.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) changed: u64,
    pub(super) new: u64,
    pub(super) gone: u64,
}

/// How the entries of a step are made.
pub(super) struct IncomingOptions<'a> {
    pub(super) opener: &'a dyn FileOpener,
    /// The time of the revision.
    pub(super) time: i64,
    /// A time for all entries.
    pub(super) mtime: Option<i64>,
    /// Whether the source yields all entries, not only changes.
    pub(super) is_all: bool,
}

/// The changes that a step makes.
pub(super) struct Incoming<'a> {
    source: Box<dyn ChangeSource + 'a>,
    parent: Option<&'a Tree<BatchNodes>>,
    /// The parent's entries in step with the source, if that yields all entries.
    beside: Option<ParentEntries<'a, BatchNodes>>,
    options: IncomingOptions<'a>,
    readers: &'a mut SeriesReaders,
    writer: &'a Writer,
    progress: &'a Progress<'a>,
    ready: VecDeque<Ready>,
    ended: bool,
    counts: Counts,
    /// Labels that the source gave at its end.
    labels: BTreeMap<String, String>,
}

/// A change whose bytes are stored.
struct Ready {
    path: Vec<u8>,
    /// `None` if there is no entry any more.
    item: Option<(ItemKind, Option<Content>)>,
}

/// An item whose bytes may have to be read.
struct Found {
    change: ItemChange,
    parent: Option<Entry>,
}

impl<'a> Incoming<'a> {
    /// Returns the changes of a step, whose parent has the manifest `parent`.
    ///
    /// # Errors
    /// The parent's manifest cannot be read.
    pub(super) fn new(
        source: Box<dyn ChangeSource + 'a>,
        parent: Option<&'a Tree<BatchNodes>>,
        options: IncomingOptions<'a>,
        readers: &'a mut SeriesReaders,
        writer: &'a Writer,
        progress: &'a Progress<'a>,
    ) -> Result<Self> {
        let tree = parent.filter(|_| options.is_all);
        Ok(Self {
            source,
            parent,
            beside: tree.map(|tree| ParentEntries::new(Some(tree))).transpose()?,
            options,
            readers,
            writer,
            progress,
            ready: VecDeque::new(),
            ended: false,
            counts: Counts::default(),
            labels: BTreeMap::new(),
        })
    }

    /// Returns how the step differs from its parent, and the labels that its source gave.
    pub(super) fn finish(self) -> (Counts, BTreeMap<String, String>) {
        (self.counts, self.labels)
    }

    /// Takes some more changes from the source. Returns false if there are no more.
    fn fill(&mut self) -> Result<bool> {
        while self.ready.is_empty() {
            if self.ended {
                return Ok(false);
            }
            self.progress.check()?;
            let found = self.find()?;
            // The files of a stream were counted when they were read.
            let counts = |found: &&Found| {
                !matches!(found.change.kind, ChangeKind::File { bytes: FileBytes::Stored(_), .. })
            };
            self.progress.add_entries(found.iter().filter(counts).count() as u64);
            self.settle(found)?;
            if self.ended {
                self.labels = self.source.finish()?.into_iter().collect();
            }
        }
        Ok(true)
    }

    fn find(&mut self) -> Result<Vec<Found>> {
        let mut found = Vec::new();
        while found.len() < TOGETHER {
            let change = self.source.next()?;
            if let Some(beside) = &mut self.beside {
                let path = change.as_ref().map(|change| &change.path[..]);
                while let Some(gone) = beside.take_before(path)? {
                    let change = ItemChange { path: gone.path, kind: ChangeKind::Gone };
                    found.push(Found { change, parent: None });
                }
            }
            let Some(change) = change else {
                self.ended = true;
                break;
            };
            let parent = match (&mut self.beside, self.parent) {
                (Some(beside), _) => beside.take_at(&change.path)?,
                // Only to know what the file was before it is read.
                (None, Some(tree)) if matches!(change.kind, ChangeKind::File { .. }) => {
                    tree.get(&change.path)?
                }
                _ => None,
            };
            found.push(Found { change, parent });
        }
        Ok(found)
    }

    /// Reads the files that must be read, and makes changes ready.
    fn settle(&mut self, found: Vec<Found>) -> Result<()> {
        let named = |found: &Found| match &found.change.kind {
            ChangeKind::File { bytes: FileBytes::Named(name), .. } => {
                Some((name.clone(), found.parent.as_ref().and_then(content_of)))
            }
            _ => None,
        };
        let wanted: Vec<_> = found.iter().filter_map(named).collect();
        let read = self.readers.read(&wanted, self.options.opener, self.writer, self.progress)?;
        let mut read = read.into_iter();
        for Found { change, parent } in found {
            let path = change.path;
            let item = match change.kind {
                ChangeKind::Gone => None,
                ChangeKind::Directory => Some((ItemKind::Directory, None)),
                ChangeKind::File { executable, link, bytes } => {
                    let content = match bytes {
                        FileBytes::Stored(content) => Ok(content),
                        FileBytes::Named(_) => read.next().unwrap_or_else(|| {
                            Err(Error::new(ErrorKind::Failed, "a reader failed"))
                        }),
                    };
                    let stamp =
                        FileStamp { device: 0, inode: 0, size: 0, mtime_ns: 0, ctime_ns: 0 };
                    match content {
                        Ok(content) => {
                            Some((ItemKind::File { executable, stamp, link }, Some(content)))
                        }
                        Err(error) if error.kind() == ErrorKind::Refused => {
                            self.source.refuse(&path, error)?;
                            None
                        }
                        Err(error) => return Err(error.context(path::display(&path))),
                    }
                }
            };
            let ready = Ready { path, item };
            let is_new = match (&self.beside, &parent) {
                (None, _) | (Some(_), None) => true,
                (Some(_), Some(parent)) => {
                    self.entry(&ready, Some(parent)).as_ref() != Some(parent)
                }
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
        Some(entry::entry(item, content, before, self.options.time, self.options.mtime))
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
