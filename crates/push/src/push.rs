//! A push: a source becomes a revision, and a ref names it.
//!
//! Things become durable in this order: packs, index segments, the file of the revision, the entry
//! of the ref. Until the last of them, nothing that was there before has changed.

use crate::attempt::{Attempt, Made};
use crate::options::{PushOptions, Source};
use crate::outcome::PushOutcome;
use crate::progress::Progress;
use crate::start::{MOVED_MAX, RETRIES_MAX, always_late, may_be_collected, prepare, start};
use crate::{by_digest, whole};
use freestone_core::{ErrorKind, Result, Watch};
use freestone_store::Store;
use freestone_store::index::merge::merge_tiers;
use std::sync::atomic::{AtomicBool, Ordering};

/// Pushes a source to `store`. `watch` counts the entries that the source yields.
///
/// # Errors
/// [`ErrorKind::Conflict`] if the ref is not what was expected or another push was first;
/// [`ErrorKind::Refused`] if the source holds what cannot be pushed; reading or writing failed; or
/// `watch` was cancelled.
pub fn push(
    store: &Store,
    source: &Source<'_>,
    options: &PushOptions,
    watch: Watch<'_>,
) -> Result<PushOutcome> {
    prepare(store, options)?;
    let progress = Progress::new(watch);
    let mut moved = 0;
    for _ in 0..RETRIES_MAX {
        let attempt =
            Attempt { store, source, options, progress: &progress, moved: AtomicBool::new(false) };
        match run(&attempt) {
            Err(error) if error.kind() == ErrorKind::Conflict && options.retry => {}
            Err(error)
                if moved < MOVED_MAX
                    && (attempt.moved.load(Ordering::Relaxed)
                        || may_be_collected(store, &error)) =>
            {
                moved += 1;
                store.refresh();
            }
            outcome => return outcome,
        }
    }
    Err(always_late())
}

/// Runs one try.
fn run(attempt: &Attempt<'_>) -> Result<PushOutcome> {
    let Attempt { store, options, .. } = *attempt;
    let (mut pushed_ref, parent) = start(store, options)?;
    let mut working = options.open_working(store);
    // Without a directory, every look-up is a request.
    let is_far = store.root().is_none() && options.mtime.is_none();
    let Made { walked, writer } = match &parent {
        Some(parent) if is_far => by_digest::make(attempt, parent, &mut working)?,
        _ => whole::make(attempt, parent.as_ref().map(|(_, revision)| revision), &mut working)?,
    };
    let stat_cache = working.as_mut().is_some_and(|working| working.is_open());
    // It is a cache: what it says of contents that do not become durable is not believed.
    if let Some(working) = &mut working {
        working.close();
    }
    let mut outcome = PushOutcome::of(options, parent.as_ref(), &walked, stat_cache);
    if outcome.up_to_date {
        // Contents that the parent names and that were lost may have been stored again.
        if let Some(writer) = writer.filter(|writer| writer.record_count() > 0) {
            outcome.bytes_stored = writer.finish(None)?;
            store.refresh();
        }
        outcome.ref_entry = pushed_ref.confirm(outcome.id)?;
        return Ok(outcome);
    }
    let Some(writer) = writer else { return Ok(outcome) };
    if let Err(error) = writer.put_revision(outcome.id, &outcome.revision) {
        return Err(writer.failure(error));
    }
    let index = writer.records().index.clone();
    outcome.bytes_stored = writer.finish(Some(&outcome.revision))?;
    if options.dry_run {
        return Ok(outcome);
    }
    let set = pushed_ref.set(outcome.id, &index);
    if pushed_ref.must_begin_again() {
        attempt.moved.store(true, Ordering::Relaxed);
    }
    // Merging is housekeeping, done when the ref is set: if it fails, later look-ups take longer,
    // and that is all.
    let _ = merge_tiers(&**store.backend(), &index);
    store.refresh();
    outcome.ref_entry = set?;
    Ok(outcome)
}
