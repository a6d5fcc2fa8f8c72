//! Fetching from its upstream what a store that follows one lacks.

use crate::context::Context;
use crate::output::progress::Unit;
use crate::values::size::{count, show};
use freestone_core::{Error, Result};
use freestone_store::Store;
use freestone_store::upstream::{Fetch, Fetched, Subject};
use serde::Serialize;

/// The amount that was or would be fetched, as JSON.
#[derive(Serialize)]
pub struct JsonFetch {
    /// Bytes of packs.
    bytes: u64,
    /// Requests for these bytes.
    requests: u64,
}

impl JsonFetch {
    /// Converts `fetched`.
    pub fn new(fetched: &Fetched) -> Self {
        Self { bytes: fetched.bytes, requests: fetched.requests }
    }
}

/// Renders the amount that was or would be fetched, for people.
pub fn sum(fetched: &Fetched) -> String {
    match fetched.requests {
        0 => "nothing, all of it is here".to_owned(),
        requests => {
            format!("{} in {}", show(fetched.bytes), count(requests, "request", "requests"))
        }
    }
}

/// Fetches the parts of `subject` that are not here yet. Does nothing if the store does not follow
/// an upstream.
///
/// # Errors
/// The upstream cannot be reached, or something is missing or damaged.
pub fn fetch_missing(store: &Store, subject: &Subject, context: &Context) -> Result<Fetched> {
    let Some(follower) = store.following() else { return Ok(Fetched::default()) };
    if follower.is_offline() {
        // A later read reports what is not here.
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

/// Returns how much [`fetch_missing`] would fetch of `subject`; its manifest is fetched to find
/// out. Returns `None` if the store does not follow an upstream.
///
/// # Errors
/// As [`fetch_missing`].
pub fn preview(store: &Store, subject: &Subject, context: &Context) -> Result<Option<Fetched>> {
    if store.following().is_none() {
        return Ok(None);
    }
    let how = Fetch { dry_run: true, progress: None, cancel: Some(context.interrupt.flag()) };
    store.fetch(subject, &how).map(Some)
}

/// Checks that `store` does not follow an upstream, for commands that read the whole store.
///
/// # Errors
/// [`Refused`](freestone_core::ErrorKind::Refused) if `store` follows an upstream.
pub fn refuse_follower(store: &Store) -> Result<()> {
    let Some(follower) = store.following() else { return Ok(()) };
    let url = &follower.config().url;
    Err(Error::refused(format!("this store caches only parts of {url}")).hint(format!(
        "run the command on the upstream, with -s {url}; what is cached here is checked whenever it \
         is read, and `freestone status` shows which revisions are complete"
    )))
}
