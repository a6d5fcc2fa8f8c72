//! A directory that is not in a store, as the contents of an image.
//!
//! ```text
//! 1  walk, hash every file   entries, and where each chunk is    a temporary file
//! 2  entries                 manifest nodes                      another
//! 3  the image's plan asks for nodes, its sink for chunks        each is read again, and proven
//! ```
//! Files keep their own times, in whole seconds; a directory gets the newest time below it. That
//! time is known only after everything in the directory was read, but the manifest has the
//! directory first: hence the second step. Memory holds 16 bytes for each chunk and each node.

mod contents;
mod hash;
mod record;

pub use contents::Contents;

use contents::ContentsSpool;
use freestone_core::item::{Item, ItemKind, ItemSource};
use freestone_core::limits::MTIME_MAX;
use freestone_core::{ErrorKind, Result, Unreadable, Watch, lock, path};
use freestone_manifest::{Builder, Entry, EntryKind, Subtree};
use freestone_source::directory::{Opener, SourceReport, Walk};
use freestone_store::spool::{NodeSpool, SpooledNodes};
use hash::FileHasher;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

/// A directory that was read: its manifest, and where its contents are.
pub struct Loose {
    /// The reference to the manifest's root.
    pub root: Subtree,
    /// The manifest's nodes, and those of content trees.
    pub nodes: SpooledNodes,
    /// The chunks, read from the files.
    pub contents: Contents,
    /// The paths that the walk left out.
    pub report: SourceReport,
}

/// Options for reading a directory.
pub struct ReadOptions<'a> {
    /// The time of all entries, in seconds since 1970; `None` if each file keeps its own.
    pub mtime: Option<i64>,
    /// Number of threads that hash.
    pub workers: NonZeroUsize,
    /// Counts hashed bytes.
    pub watch: Watch<'a>,
}

/// Reads the directory that `walk` lists and `opener` opens.
///
/// # Errors
/// It cannot be read, or a file in it keeps changing; a manifest cannot hold one of its paths;
/// there is no space for temporary files.
pub fn read(mut walk: Walk, opener: Opener, options: &ReadOptions<'_>) -> Result<Loose> {
    let nodes = Mutex::new(NodeSpool::new()?);
    let spool = Mutex::new(ContentsSpool::new()?);
    let unreadable = Mutex::default();
    let hasher = FileHasher {
        opener: &opener,
        nodes: &nodes,
        contents: &spool,
        watch: options.watch,
        unreadable: &unreadable,
    };
    let mut times = Times { fixed: options.mtime, open: Vec::new() };
    let spooled = || lock(&spool);
    let listed = crate::ordered::run(
        options.workers,
        || {
            options.watch.check()?;
            walk.next()
        },
        |item: Item| entry(item, &hasher),
        |entry| {
            let Some(entry) = entry else { return Ok(()) };
            let spool = &mut *spooled();
            times.leave(Some(&entry.path), spool)?;
            let time = times.fixed.unwrap_or(entry.mtime);
            let offset = spool.entry(&Entry { mtime: time, ..entry.clone() })?;
            times.enter(entry, offset);
            Ok(())
        },
    );
    refuse_unreadable(listed, unreadable.into_inner().unwrap_or_else(PoisonError::into_inner))?;
    times.leave(None, &mut spooled())?;
    let spool = spool.into_inner().unwrap_or_else(PoisonError::into_inner);
    let report = opener.report_with(walk.report());
    let contents = spool.finish(opener)?;
    let mut builder = Builder::new(nodes.into_inner().unwrap_or_else(PoisonError::into_inner));
    contents.entries(&mut |entry| {
        options.watch.check()?;
        builder.push(entry)
    })?;
    let (root, nodes) = builder.finish()?;
    Ok(Loose { root, nodes: nodes.finish()?, contents, report })
}

/// Reports everything that is wrong with the directory in one error: what ended its walk, and which
/// files could not be read.
fn refuse_unreadable(listed: Result<()>, mut unreadable: Unreadable) -> Result<()> {
    match listed.map_err(|error| unreadable.collect(error)) {
        Err(Err(error)) if error.kind() == ErrorKind::Refused => unreadable.set_beside(error),
        Err(Err(error)) => return Err(error),
        _ => {}
    }
    unreadable.into_error().map_or(Ok(()), Err)
}

/// Returns the manifest's entry of `item`, or `None` for a file that cannot be read. The time of a
/// directory is 0 for now.
fn entry(item: Item, hasher: &FileHasher<'_>) -> Result<Option<Entry>> {
    match item.kind {
        ItemKind::Directory => Ok(Some(Entry::directory(item.path, 0))),
        ItemKind::File { executable, link, .. } => {
            let Some(hashed) = hasher.file(&item.path)? else { return Ok(None) };
            let kind = EntryKind::File {
                executable,
                size: hashed.size,
                sha1: hashed.sha1,
                content: hashed.content,
            };
            let mtime = hashed.mtime.clamp(0, MTIME_MAX);
            Ok(Some(Entry { path: item.path, mtime, kind, link, extensions: Vec::new() }))
        }
    }
}

/// The times of directories, which depend on what is in them.
struct Times {
    fixed: Option<i64>,
    /// The directories that hold the last entry: path, offset of the record, newest time so far.
    open: Vec<(Vec<u8>, u64, i64)>,
}

impl Times {
    /// Finishes the directories that do not hold the next entry, whose path is `next`.
    fn leave(&mut self, next: Option<&[u8]>, spool: &mut ContentsSpool) -> Result<()> {
        while let Some((directory, ..)) = self.open.last()
            && next.is_none_or(|next| !path::is_below(next, directory))
        {
            let Some((_, offset, newest)) = self.open.pop() else { break };
            if self.fixed.is_none() {
                spool.set_time(offset, newest)?;
            }
            if let Some((.., outer)) = self.open.last_mut() {
                *outer = newest.max(*outer);
            }
        }
        Ok(())
    }

    /// Updates the times with `entry`, whose record is at `offset`.
    fn enter(&mut self, entry: Entry, offset: u64) {
        if entry.is_directory() {
            self.open.push((entry.path, offset, 0));
        } else if let Some((.., newest)) = self.open.last_mut() {
            *newest = entry.mtime.max(*newest);
        }
    }
}
