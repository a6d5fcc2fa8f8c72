//! Pushing what knows itself what has changed: commits, one or a whole history.
//!
//! A directory has to be walked; a commit tells what differs from the one before. So a *step* of a
//! series gives its changes alone, and the manifest is edited ([`freestone_manifest::edit`]): what
//! it costs follows what changed. A step that only knows all that it holds gives that, and the
//! parent's manifest is read to find what differs.
//!
//! Steps are put together in *batches*: their records go into the same packs, and one segment
//! lists them, so that a thousand small revisions are a few packs and a few syncs. Nodes of a
//! batch are held in memory, since the next step reads what the one before wrote. A batch becomes
//! durable as a push does, packs, segments, revisions, and then the ref's entry, which names the
//! last: killed anywhere, a series goes on behind the last batch that was finished.

mod batch;
mod items;
mod nodes;

use crate::push::{PushOptions, PushOutcome, PushProgress, RETRIES_MAX};
use batch::Batch;
use freestone_core::item::{ChangeSource, FileOpener, StreamSource};
use freestone_core::{Error, ErrorKind, Id, Result};
use freestone_format::ref_entry::{RefAction, RefEntry};
use freestone_format::revision::Revision;
use freestone_store::Store;
use std::collections::BTreeMap;

/// A revision to be made.
pub struct Step<'a> {
    /// What it holds.
    pub items: Items<'a>,
    /// Opens the bytes of files by their names.
    pub opener: &'a dyn FileOpener,
    /// When it was made: seconds since 1970.
    pub time: i64,
    /// What its maker said of it; without it, what the parent says counts as the same.
    pub message: Option<String>,
    /// Labels, to which those that the source gives at its end are added.
    pub labels: BTreeMap<String, String>,
}

/// What a step's source tells.
pub enum Items<'a> {
    /// All that there is.
    All(Box<dyn ChangeSource + 'a>),
    /// What has changed since the parent.
    Changes(Box<dyn ChangeSource + 'a>),
    /// All that there is, in no order: the bytes first, then the paths.
    Stream(&'a mut dyn StreamSource),
}

/// Revisions to be made, each on top of the one before.
pub trait Series {
    /// Begins on top of `parent`; called again when another pusher was first.
    ///
    /// # Errors
    /// The series cannot stand on it.
    fn begin(&mut self, parent: Option<(&Id, &Revision)>) -> Result<()>;

    /// The next revision, on top of `parent`, the one made last; `None` behind the last.
    ///
    /// # Errors
    /// It cannot be told.
    fn next(&mut self, parent: Option<(&Id, &Revision)>) -> Result<Option<Step<'_>>>;
}

/// What pushing a series did.
#[derive(Clone, Debug)]
pub struct SeriesOutcome {
    /// The last revision, with the figures of all together.
    pub last: PushOutcome,
    /// How many revisions were made.
    pub made: u64,
}

/// Adds up what the steps did.
fn add(sum: &mut Option<PushOutcome>, mut step: PushOutcome) {
    if let Some(before) = sum.take() {
        step.changed += before.changed;
        step.new += before.new;
        step.gone += before.gone;
        step.files_hashed += before.files_hashed;
        step.bytes_hashed += before.bytes_hashed;
        step.bytes_stored += before.bytes_stored;
        step.up_to_date &= before.up_to_date;
        step.inexpressible |= before.inexpressible;
        step.ref_entry = step.ref_entry.or(before.ref_entry);
    }
    *sum = Some(step);
}

/// Pushes the revisions of a series to `store`. Of `options`, message, labels and time stand back
/// behind what the steps say.
///
/// # Errors
/// As [`push()`](crate::push()); what was finished before stays.
pub fn push_series(
    store: &Store,
    series: &mut dyn Series,
    options: &PushOptions,
    progress: &PushProgress,
) -> Result<SeriesOutcome> {
    crate::push::prepare(store, options)?;
    for _ in 0..RETRIES_MAX {
        let mut run = Run { store, options, progress, newest: None, made: 0, sum: None };
        match run.run(series) {
            Err(error) if error.kind() == ErrorKind::Conflict && options.retry => {}
            outcome => return outcome,
        }
    }
    Err(crate::push::always_late())
}

/// One try.
struct Run<'a> {
    store: &'a Store,
    options: &'a PushOptions,
    progress: &'a PushProgress,
    /// What the ref named last.
    newest: Option<RefEntry>,
    made: u64,
    sum: Option<PushOutcome>,
}

impl Run<'_> {
    fn run(&mut self, series: &mut dyn Series) -> Result<SeriesOutcome> {
        let start = crate::push::start(self.store, self.options)?;
        self.newest = start.newest;
        let mut parent = start.parent;
        let first = parent.as_ref().map(|(id, _)| *id);
        series.begin(parent.as_ref().map(|(id, revision)| (id, revision)))?;
        let mut batch: Option<Batch> = None;
        while let Some(step) = series.next(parent.as_ref().map(|(id, r)| (id, r)))? {
            self.progress.check()?;
            let open = match &mut batch {
                Some(open) => open,
                None => batch.insert(Batch::new(self.store, self.options, self.progress)?),
            };
            let outcome = match open.add(step, parent.as_ref()) {
                Ok(outcome) => outcome,
                Err(error) => {
                    return Err(match batch {
                        Some(batch) => batch.failure(error),
                        None => error,
                    });
                }
            };
            self.made += u64::from(!outcome.up_to_date);
            parent = Some((outcome.id, outcome.revision.clone()));
            add(&mut self.sum, outcome);
            if batch.as_ref().is_some_and(Batch::is_full) {
                self.finish(batch.take())?;
            }
        }
        self.finish(batch)?;
        let mut last = match (self.sum.take(), parent) {
            (Some(last), _) => last,
            (None, Some((id, revision))) => PushOutcome::up_to_date(id, revision),
            (None, None) => return Err(Error::refused("there is nothing to push")),
        };
        self.point_ref(&mut last, first)?;
        Ok(SeriesOutcome { last, made: self.made })
    }

    /// Makes a batch durable, and the ref name its last revision.
    fn finish(&mut self, batch: Option<Batch>) -> Result<()> {
        let Some(batch) = batch else { return Ok(()) };
        if self.options.dry_run {
            return Ok(());
        }
        let (last, bytes) = batch.finish(self.store)?;
        if let Some(sum) = &mut self.sum {
            sum.bytes_stored += bytes;
        }
        let Some(last) = last else { return Ok(()) };
        freestone_store::hints::write_index(&**self.store.backend(), &[]);
        if let Some(name) = &self.options.ref_name {
            let (refs, time) = (self.store.refs(), self.options.time);
            let entry = refs.append(name, self.newest.as_ref(), RefAction::Set(last), time)?;
            self.newest = Some(entry);
            if let Some(sum) = &mut self.sum {
                sum.ref_entry.clone_from(&self.newest);
            }
        }
        let index = self.store.index()?;
        // Housekeeping: what fails here costs later look-ups time and nothing else.
        let _ = freestone_store::index::merge::merge_tiers(&**self.store.backend(), &index);
        self.store.refresh();
        Ok(())
    }

    /// Nothing is new; but if the parent came from `--parent`, the ref does not name it yet.
    fn point_ref(&mut self, last: &mut PushOutcome, first: Option<Id>) -> Result<()> {
        let named = self.newest.as_ref().and_then(RefEntry::revision);
        if self.options.dry_run || named == Some(last.id) || first != Some(last.id) {
            return Ok(());
        }
        self.store.refs().settle(self.options.ref_name.as_deref())?;
        if let Some(name) = &self.options.ref_name {
            let (refs, time) = (self.store.refs(), self.options.time);
            let entry = refs.append(name, self.newest.as_ref(), RefAction::Set(last.id), time)?;
            last.ref_entry = Some(entry);
        }
        Ok(())
    }
}
