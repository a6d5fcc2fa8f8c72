//! Bringing what a store that follows an upstream has not.

use crate::context::Context;
use crate::output::progress::Unit;
use crate::values::size::{count, show};
use freestone_core::{Error, Result};
use freestone_store::Store;
use freestone_store::upstream::{Fetch, Fetched, Subject};
use serde::Serialize;

/// What was or would be fetched, as JSON.
#[derive(Serialize)]
pub struct JsonFetch {
    /// Bytes of packs.
    bytes: u64,
    /// Requests for them.
    requests: u64,
}

impl JsonFetch {
    /// Of `fetched`.
    pub fn new(fetched: &Fetched) -> Self {
        Self { bytes: fetched.bytes, requests: fetched.requests }
    }
}

/// What was or would be fetched, for people.
pub fn sum(fetched: &Fetched) -> String {
    match fetched.requests {
        0 => "nothing: all is here".to_owned(),
        requests => {
            format!("{} in {}", show(fetched.bytes), count(requests, "request", "requests"))
        }
    }
}

/// Fetches what is not here of `subject`; nothing where the store follows no upstream.
///
/// # Errors
/// The upstream is out of reach, or something is missing or damaged.
pub fn fetch_missing(store: &Store, subject: &Subject, context: &Context) -> Result<Fetched> {
    let Some(follower) = store.following() else { return Ok(Fetched::default()) };
    if follower.is_offline() {
        // Who reads it tells what is not here.
        return Ok(Fetched::default());
    }
    let fetched = context.watched("fetching", Unit::Bytes, None, |watch| {
        let progress = |bytes| watch.add(bytes);
        let cancel = Some(context.interrupt.flag());
        store.fetch(subject, &Fetch { dry_run: false, progress: Some(&progress), cancel })
    })?;
    if fetched.requests > 0 {
        context.output.note(format_args!("fetched {}", sum(&fetched)));
    }
    Ok(fetched)
}

/// What fetching the contents of `subject` takes; its manifest is fetched for it. `None` where the
/// store follows no upstream.
///
/// # Errors
/// As [`bring`].
pub fn preview(store: &Store, subject: &Subject, context: &Context) -> Result<Option<Fetched>> {
    if store.following().is_none() {
        return Ok(None);
    }
    let how = Fetch { dry_run: true, progress: None, cancel: Some(context.interrupt.flag()) };
    store.fetch(subject, &how).map(Some)
}

/// Refuses what would read a whole upstream through a cache.
///
/// # Errors
/// [`Refused`](freestone_core::ErrorKind::Refused) if `store` follows an upstream.
pub fn refuse_follower(store: &Store) -> Result<()> {
    let Some(follower) = store.following() else { return Ok(()) };
    let url = &follower.config().url;
    Err(Error::refused(format!("this store keeps parts of {url} only")).hint(format!(
        "run the command on that one, with -s {url}; what is kept here is proven \
                       whenever it is read, and `freestone status` says what is complete"
    )))
}
