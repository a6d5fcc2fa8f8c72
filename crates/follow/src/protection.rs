//! What eviction must not remove: everything that a pinned revision needs.

use crate::cache::Protected;
use crate::cache::here::Here;
use crate::cache::sparse::PackRanges;
use crate::view::{View, unless_io};
use freestone_backend::Backend;
use freestone_backend::directory::Directory;
use freestone_core::Result;
use freestone_format::pack::TRAILER_BYTES;
use freestone_format::ref_entry::PINS;
use freestone_format::segment::Segment;
use freestone_store::Refs;
use std::sync::Arc;

/// Returns what the pins of `host` protect of what is `here`. The pins are in the store's own
/// directory `own`. The upstream is not contacted.
///
/// # Errors
/// The pins cannot be read, or the cache cannot.
pub(crate) fn protected(here: &Here, own: &Directory, host: &str) -> Result<Protected> {
    let refs = Refs::new(Arc::new(own.clone()));
    let prefix = format!("{PINS}{host}/");
    let entries = refs.list().map_err(|error| {
        error.context("the pins cannot be read").hint(format!(
            "remove what is damaged below {}, and pin again what it pinned",
            own.root().join("refs").display()
        ))
    })?;
    let pins = entries.iter().filter(|entry| entry.name.starts_with(&prefix));
    let revisions: Vec<_> = pins.filter_map(|entry| entry.revision()).collect();
    let mut ranges = PackRanges::new();
    if !revisions.is_empty() {
        add_tables(here, &mut ranges)?;
        let view = View::open(here)?;
        for id in &revisions {
            view.add_ranges(id, &mut ranges)?;
        }
    }
    Ok(Protected { revisions, ranges })
}

/// Adds the tables of packs whose segments leave out the rows: without its table nothing of such a
/// pack is found.
fn add_tables(here: &Here, ranges: &mut PackRanges) -> Result<()> {
    for listed in here.list("index")? {
        let opened = here.open(&listed.name).and_then(|object| match object {
            Some(object) => object.map().and_then(Segment::open).map(Some),
            None => Ok(None),
        });
        if let Some(segment) = unless_io(opened)?.flatten()
            && segment.rows_left_out()
            && let Ok(pack) = segment.pack(0)
        {
            let end = pack.length.saturating_sub(TRAILER_BYTES);
            ranges.entry(pack.id).or_default().add(end.saturating_sub(pack.table)..end);
        }
    }
    Ok(())
}
