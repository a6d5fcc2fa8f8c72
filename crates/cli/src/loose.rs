//! A directory that is in no store, taken as the contents of an image.
//!
//! ```text
//! 1  walk, hash every file   entries, and where each chunk is    a temporary file
//! 2  entries                 manifest nodes                      another
//! 3  the image's plan asks for nodes, its sink for chunks        each is read again, and proven
//! ```
//! The files' own times are kept, in whole seconds; a directory has the newest below it. That is
//! known only behind what is in it, but the manifest needs it before: hence the second step. What
//! stays in memory is 16 bytes a chunk and a node.

mod contents;
mod hash;

mod record;

pub use contents::Contents;

use crate::interrupt::Interrupt;
use crate::progress::Progress;
use contents::ContentsSpool;
use freestone_core::item::{Item, ItemKind, ItemSource};
use freestone_core::limits::MTIME_MAX;
use freestone_core::{ErrorKind, Result, Unreadable, path};
use freestone_manifest::{Builder, Entry, EntryKind, Subtree};
use freestone_source::directory::{Opener, SourceReport, Walk};
use freestone_store::spool::{NodeSpool, SpooledNodes};
use hash::Hashing;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

/// What a directory came to: its manifest, and where its contents are.
pub struct Loose {
    /// The reference to the manifest's root.
    pub root: Subtree,
    /// The manifest's nodes, and those of content trees.
    pub nodes: SpooledNodes,
    /// The chunks, read from the files.
    pub contents: Contents,
    /// What the walk left out.
    pub report: SourceReport,
}

/// How to read a directory.
pub struct Options<'a> {
    /// The time of everything, in seconds since 1970; else each file has its own.
    pub mtime: Option<i64>,
    /// Threads that hash.
    pub workers: NonZeroUsize,
    /// Counts bytes that were hashed.
    pub progress: &'a Progress,
    /// Whether to stop.
    pub interrupt: &'a Interrupt,
}

/// Reads the directory that `walk` lists and `opener` opens.
///
/// # Errors
/// It cannot be read, or something keeps changing in it; a path cannot stand in a manifest; there
/// is no room for temporary files.
pub fn read(mut walk: Walk, opener: Opener, options: &Options<'_>) -> Result<Loose> {
    let nodes = Mutex::new(NodeSpool::new()?);
    let spool = Mutex::new(ContentsSpool::new()?);
    let unreadable = Mutex::default();
    let hashing = Hashing {
        opener: &opener,
        nodes: &nodes,
        contents: &spool,
        progress: options.progress,
        interrupt: options.interrupt,
        unreadable: &unreadable,
    };
    let mut times = Times { fixed: options.mtime, open: Vec::new() };
    let lock = || spool.lock().unwrap_or_else(PoisonError::into_inner);
    let listed = crate::order::run(
        options.workers,
        || {
            options.interrupt.check()?;
            walk.next()
        },
        |item: Item| entry(item, &hashing),
        |entry| {
            let Some(entry) = entry else { return Ok(()) };
            let spool = &mut *lock();
            times.leave(Some(&entry.path), spool)?;
            let time = times.fixed.unwrap_or(entry.mtime);
            let offset = spool.entry(&Entry { mtime: time, ..entry.clone() })?;
            times.enter(entry, offset);
            Ok(())
        },
    );
    refuse_unreadable(listed, unreadable.into_inner().unwrap_or_else(PoisonError::into_inner))?;
    times.leave(None, &mut lock())?;
    let spool = spool.into_inner().unwrap_or_else(PoisonError::into_inner);
    let contents = spool.finish(opener)?;
    let mut builder = Builder::new(nodes.into_inner().unwrap_or_else(PoisonError::into_inner));
    contents.entries(&mut |entry| {
        options.interrupt.check()?;
        builder.push(entry)
    })?;
    let (root, nodes) = builder.finish()?;
    Ok(Loose { root, nodes: nodes.finish()?, contents, report: walk.report().clone() })
}

/// Fails with all that is wrong with the directory: what its walk ended with, and what else could not
/// be read.
fn refuse_unreadable(listed: Result<()>, mut unreadable: Unreadable) -> Result<()> {
    match listed.map_err(|error| unreadable.collect(error)) {
        Err(Err(error)) if error.kind() == ErrorKind::Refused => unreadable.set_beside(error),
        Err(Err(error)) => return Err(error),
        _ => {}
    }
    unreadable.into_error().map_or(Ok(()), Err)
}

/// The manifest's entry of `item`; `None` of a file that cannot be read. A directory's time is 0
/// until something is found in it.
fn entry(item: Item, hashing: &Hashing<'_>) -> Result<Option<Entry>> {
    match item.kind {
        ItemKind::Directory => Ok(Some(Entry::directory(item.path, 0))),
        ItemKind::File { executable, link, .. } => {
            let Some(hashed) = hashing.file(&item.path)? else { return Ok(None) };
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

/// Gives directories their times.
struct Times {
    fixed: Option<i64>,
    /// The directories that the last entry was in: path, where the record is, the newest time.
    open: Vec<(Vec<u8>, u64, i64)>,
}

impl Times {
    /// Ends the directories that `next`, the path of the next entry, is not in.
    fn leave(&mut self, next: Option<&[u8]>, spool: &mut ContentsSpool) -> Result<()> {
        while let Some((place, ..)) = self.open.last()
            && next.is_none_or(|next| !path::is_below(next, place))
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

    /// Takes note of `entry`, whose record is at `offset`.
    fn enter(&mut self, entry: Entry, offset: u64) {
        if entry.is_directory() {
            self.open.push((entry.path, offset, 0));
        } else if let Some((.., newest)) = self.open.last_mut() {
            *newest = entry.mtime.max(*newest);
        }
    }
}
