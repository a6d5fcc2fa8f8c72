//! The sorted paths of an archive as a source, with links followed.

use super::listing::{ListedKind, ListedPath, PathCursor, Sorted};
use crate::directory::version_control;
use crate::follow::{Found, follow};
use crate::report::{Reason, SourceReport};
use freestone_core::item::{ChangeKind, ChangeSource, Content, FileBytes, ItemChange};
use freestone_core::{Error, Result, lock, path};
use std::sync::{Arc, Mutex};

/// The most hard links that are followed from one hard link.
const HARD_LINKS_MAX: usize = 40;

/// The directories that may be added because paths are in them, beside some for each record.
const ADDED_MAX: u64 = 1 << 16;
/// The directories that may be added for each record of the archive.
const ADDED_PER_RECORD_MAX: u64 = 32;

/// A source that returns all paths of an archive.
pub(super) struct Paths {
    sorted: Arc<Sorted>,
    cursor: PathCursor,
    skip_special: bool,
    /// The next changes, in reverse order: a path, and the directories before it that were added.
    ready: Vec<ItemChange>,
    /// The last path that was returned if it is a directory, else its directory.
    directory: Vec<u8>,
    /// The last path that is not a directory.
    file: Option<Vec<u8>>,
    /// The last directory of version control that was left out because of what is in it.
    left_out: Option<Vec<u8>>,
    /// The number of records, and of directories that were added.
    counts: (u64, u64),
    report: SourceReport,
    reported: Arc<Mutex<SourceReport>>,
}

impl Paths {
    pub(super) fn new(
        sorted: Arc<Sorted>,
        skip_special: bool,
        (report, reported): (SourceReport, Arc<Mutex<SourceReport>>),
    ) -> Self {
        let cursor = sorted.start();
        Self {
            sorted,
            cursor,
            skip_special,
            ready: Vec::new(),
            directory: Vec::new(),
            file: None,
            left_out: None,
            counts: (0, 0),
            report,
            reported,
        }
    }

    /// Returns the file that a hard link leads to.
    fn hard_link(&self, target: &[u8]) -> Result<Option<(bool, Content)>> {
        let mut target = target.to_vec();
        for _ in 0..HARD_LINKS_MAX {
            match self.sorted.get(&target)? {
                // The link's file is an earlier or a later one, and the archive does not say which.
                Some(ListedPath { again: true, .. }) | None => return Ok(None),
                Some(ListedPath { kind: ListedKind::File { executable, content }, .. }) => {
                    return Ok(Some((executable, content)));
                }
                Some(ListedPath { kind: ListedKind::HardLink(next), .. }) => target = next,
                Some(_) => return Ok(None),
            }
        }
        Ok(None)
    }

    fn look(&self, path: &[u8]) -> Result<Found> {
        Ok(match self.sorted.get(path)?.map(|record| record.kind) {
            Some(ListedKind::Directory) => Found::Directory,
            Some(ListedKind::File { .. }) => Found::File,
            Some(ListedKind::Link(text)) => Found::Link(text),
            Some(ListedKind::HardLink(target)) => match self.hard_link(&target)? {
                Some(_) => Found::File,
                None => Found::Nothing,
            },
            None if self.sorted.has_below(path)? => Found::Directory,
            None => Found::Nothing,
        })
    }

    /// Returns the file at `path`, for which [`Self::look`] returned [`Found::File`].
    fn file_at(&self, path: &[u8]) -> Result<Option<(bool, Content)>> {
        match self.sorted.get(path)?.map(|record| record.kind) {
            Some(ListedKind::File { executable, content }) => Ok(Some((executable, content))),
            Some(ListedKind::HardLink(target)) => self.hard_link(&target),
            _ => Ok(None),
        }
    }

    fn kind(&self, path: &[u8], kind: ListedKind) -> Result<Result<ChangeKind, Reason>> {
        let file = |(executable, content), link| ChangeKind::File {
            executable,
            link,
            bytes: FileBytes::Stored(content),
        };
        Ok(match kind {
            ListedKind::Directory => Ok(ChangeKind::Directory),
            ListedKind::File { executable, content } => Ok(file((executable, content), None)),
            ListedKind::HardLink(target) => match self.hard_link(&target)? {
                Some(found) => Ok(file(found, None)),
                None => Err(Reason::HardLink),
            },
            ListedKind::Link(text) => match follow(path, &text, &mut |path| self.look(path))? {
                Err(reason) => Err(reason),
                Ok(target) => match self.file_at(&target)? {
                    Some(found) => Ok(file(found, Some(text))),
                    None => Err(Reason::LinkDangling),
                },
            },
        })
    }

    /// Returns true if `path` is, or is in, a directory that belongs to version control because of
    /// what is in it.
    fn leaves_out(&mut self, path: &[u8]) -> Result<bool> {
        if let Some(left_out) = &self.left_out
            && (path == left_out || path::is_below(path, left_out))
        {
            return Ok(true);
        }
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in ends.chain([path.len()]) {
            let directory = &path[..end];
            let name = directory.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
            let Some(mark) = version_control::mark_of(name) else { continue };
            let mark = [directory, b"/", mark.as_bytes()].concat();
            if self.sorted.get(&mark)?.is_some() || self.sorted.has_below(&mark)? {
                self.left_out = Some(directory.to_vec());
                self.report.version_control_count += 1;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Counts a directory that no record is of. A few long paths can need very many.
    fn count_added(&mut self) -> Result<()> {
        let (records, added) = &mut self.counts;
        *added += 1;
        if *added <= ADDED_MAX.saturating_add(records.saturating_mul(ADDED_PER_RECORD_MAX)) {
            return Ok(());
        }
        Err(Error::refused(format!(
            "the archive has {records} paths so far, and they need {added} directories that it does not list"
        ))
        .hint("its paths are too deep: unpack it, and push the directory"))
    }

    /// Prepares the change of a record, with the directories around it that have no record.
    fn take(&mut self, record: ListedPath) -> Result<()> {
        let path = record.path();
        self.counts.0 += 1;
        if self.leaves_out(&path)? {
            return Ok(());
        }
        if self.file.as_ref().is_some_and(|file| path::is_below(&path, file)) {
            self.report.refuse(&path, Reason::PathBelowFile);
            return Ok(());
        }
        let kind = match self.kind(&path, record.kind)? {
            Ok(kind) => kind,
            Err(reason) => {
                self.report.refuse(&path, reason);
                return Ok(());
            }
        };
        let mut made = Vec::new();
        let mut above = path::parent(&path);
        while let Some(directory) = above {
            if self.directory == directory || path::is_below(&self.directory, directory) {
                break;
            }
            self.count_added()?;
            made.push(ItemChange { path: directory.to_vec(), kind: ChangeKind::Directory });
            above = path::parent(directory);
        }
        self.directory = match kind {
            ChangeKind::Directory => path.clone(),
            _ => path::parent(&path).unwrap_or_default().to_vec(),
        };
        if !matches!(kind, ChangeKind::Directory) {
            self.file = Some(path.clone());
        }
        self.ready.push(ItemChange { path, kind });
        self.ready.append(&mut made);
        Ok(())
    }
}

impl ChangeSource for Paths {
    fn next(&mut self) -> Result<Option<ItemChange>> {
        loop {
            if let Some(change) = self.ready.pop() {
                return Ok(Some(change));
            }
            let Some(record) = self.sorted.next(&mut self.cursor)? else { return Ok(None) };
            self.take(record)?;
        }
    }

    fn refuse(&mut self, path: &[u8], why: Error) -> Result<()> {
        Err(why.context(path::display(path)))
    }

    fn finish(&mut self) -> Result<Vec<(String, String)>> {
        lock(&self.reported).clone_from(&self.report);
        match self.report.error().filter(|_| !self.skip_special) {
            Some(error) => Err(error),
            None => Ok(Vec::new()),
        }
    }
}
