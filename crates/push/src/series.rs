//! Pushing from a source that knows what has changed: commits, one or a whole history.
//!
//! A directory has to be walked; a commit says how it differs from the one before. So a *step* of a
//! series yields only its changes, and the manifest is edited ([`freestone_manifest::edit`]): the
//! cost follows the changes. A step may instead yield all of its entries. Then the parent's
//! manifest is read to find what differs.
//!
//! Steps are put together in *batches*: their records go into the same packs, and one segment lists
//! them, so that a thousand small revisions are a few packs and a few syncs. Nodes of a batch are
//! kept in memory, since the next step reads what the one before wrote. A batch becomes durable as
//! a push does: packs, segments, the revision, and then the ref's entry, which names the last
//! revision. A series that is killed at any point continues after the last finished batch.

mod batch;
mod items;
mod nodes;
mod readers;
mod step;

pub use step::{Items, Series, Step};

use crate::entry;
use crate::options::PushOptions;
use crate::outcome::PushOutcome;
use crate::progress::Progress;
use crate::pushed_ref::PushedRef;
use crate::start::{MOVED_MAX, Parent, RETRIES_MAX, always_late, may_be_collected, prepare, start};
use batch::Batch;
use freestone_core::{Error, ErrorKind, Result, Watch};
use freestone_store::index::merge::merge_tiers;
use freestone_store::{Records, Store};

/// The result of pushing a series.
#[derive(Clone, Debug)]
pub struct SeriesOutcome {
    /// The last revision, with the counts of all steps together.
    pub last: PushOutcome,
    /// How many revisions were made.
    pub made: u64,
}

/// Adds the counts of `step` to those of the steps before it.
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

/// Pushes the revisions of a series to `store`. The steps say message, labels and time; those in
/// `options` are not used. `watch` counts the entries that the steps yield.
///
/// # Errors
/// As [`push()`](crate::push()). Batches that were finished before stay.
pub fn push_series(
    store: &Store,
    series: &mut dyn Series,
    options: &PushOptions,
    watch: Watch<'_>,
) -> Result<SeriesOutcome> {
    prepare(store, options)?;
    let progress = Progress::new(watch);
    let mut moved = 0;
    for _ in 0..RETRIES_MAX {
        let mut must_begin_again = false;
        match run(store, series, options, &progress, &mut must_begin_again) {
            Err(_) if must_begin_again => {}
            Err(error) if error.kind() == ErrorKind::Conflict && options.retry => {}
            Err(error) if moved < MOVED_MAX && may_be_collected(store, &error) => {
                moved += 1;
                store.refresh();
            }
            outcome => return outcome,
        }
    }
    Err(always_late())
}

/// Runs one try.
fn run(
    store: &Store,
    series: &mut dyn Series,
    options: &PushOptions,
    progress: &Progress<'_>,
    must_begin_again: &mut bool,
) -> Result<SeriesOutcome> {
    let (mut pushed_ref, mut parent) = start(store, options)?;
    let outcome = run_from(store, series, options, progress, &mut pushed_ref, &mut parent);
    *must_begin_again = pushed_ref.must_begin_again();
    outcome
}

/// Runs one try, from the newest entry of the ref on.
fn run_from(
    store: &Store,
    series: &mut dyn Series,
    options: &PushOptions,
    progress: &Progress<'_>,
    pushed_ref: &mut PushedRef<'_>,
    parent: &mut Option<Parent>,
) -> Result<SeriesOutcome> {
    let first = parent.as_ref().map(|(id, _)| *id);
    let (mut sum, mut made) = (None, 0);
    series.begin(parent.as_ref().map(|(id, revision)| (id, revision)))?;
    let mut batch: Option<Batch<'_>> = None;
    while let Some(step) = series.next(parent.as_ref().map(|(id, r)| (id, r)))? {
        progress.check()?;
        let mut open = match batch.take() {
            Some(open) => open,
            None => Batch::new(store, options, progress)?,
        };
        let outcome = match open.add(step, parent.as_ref()) {
            Ok(outcome) => outcome,
            Err(error) => return Err(open.failure(error)),
        };
        made += u64::from(!outcome.up_to_date);
        *parent = Some((outcome.id, outcome.revision.clone()));
        add(&mut sum, outcome);
        if open.is_full() {
            finish(store, open, pushed_ref, &mut sum)?;
        } else {
            batch = Some(open);
        }
    }
    if let Some(batch) = batch {
        finish(store, batch, pushed_ref, &mut sum)?;
    }
    let mut last = match (sum, parent.take()) {
        (Some(last), _) => last,
        (None, Some((id, revision))) => PushOutcome::up_to_date(id, revision),
        (None, None) => return Err(Error::refused("there is nothing to push")),
    };
    if first == Some(last.id)
        && let Some(entry) = pushed_ref.confirm(last.id)?
    {
        last.ref_entry = Some(entry);
    }
    Ok(SeriesOutcome { last, made })
}

/// Makes a batch durable, and sets the ref to its last revision.
fn finish(
    store: &Store,
    batch: Batch<'_>,
    pushed_ref: &mut PushedRef<'_>,
    sum: &mut Option<PushOutcome>,
) -> Result<()> {
    let (is_dry_run, index) = (batch.is_dry_run(), batch.index());
    let (last, bytes) = batch.finish()?;
    if let Some(sum) = sum {
        sum.bytes_stored += bytes;
    }
    let Some(last) = last.filter(|_| !is_dry_run) else { return Ok(()) };
    let (id, revision) = last;
    let records = Records { index, packs: store.packs().clone() };
    // The steps said what has changed; the other files are in their source, too.
    entry::check_all(&records, &revision.root, &records.index)?;
    let entry = pushed_ref.set(id, &records.index)?;
    if let (Some(sum), Some(entry)) = (sum, entry) {
        sum.ref_entry = Some(entry);
    }
    // Merging is housekeeping: if it fails, later look-ups take longer, and that is all.
    let _ = merge_tiers(&**store.backend(), &*store.index()?);
    store.refresh();
    Ok(())
}
