//! A push that takes every item of its source next to the parent's entry at the same path.

use crate::attempt::{Attempt, Made};
use crate::faults::Faults;
use crate::nodes::Nodes;
use crate::pipeline::Pipeline;
use freestone_core::Result;
use freestone_core::working::WorkingIndex;
use freestone_format::revision::Revision;
use freestone_store::open_manifest;
use std::sync::atomic::AtomicBool;

/// Makes a manifest of the source, whose parent is `parent`.
///
/// # Errors
/// The source cannot be read, or the store not be written.
pub(crate) fn make(
    attempt: &Attempt<'_>,
    parent: Option<&Revision>,
    working: &mut Option<Box<dyn WorkingIndex>>,
) -> Result<Made> {
    let writer = attempt.writer()?;
    let parent = match parent {
        Some(revision) => Some(open_manifest(writer.records().clone(), revision)?),
        None => None,
    };
    let pipeline = Pipeline {
        source: attempt.source,
        options: attempt.options,
        progress: attempt.progress,
        writer: &writer,
        parent: parent.as_ref(),
        hash_only: false,
        stop: AtomicBool::new(false),
        faults: Faults::default(),
    };
    match pipeline.run(working, Nodes { writer: &writer, parent: parent.as_ref() }) {
        Ok((walked, _)) => Ok(Made { walked, writer: Some(writer) }),
        Err(error) => Err(writer.failure(error)),
    }
}
