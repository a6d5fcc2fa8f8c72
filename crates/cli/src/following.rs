//! Fetching from its upstream what a store that follows one lacks.

use crate::context::Context;
use crate::output::progress::Unit;
use crate::values::size::{count, show};
use freestone_core::{Error, Result};
use freestone_follow::{Fetch, Fetched, Follower, Opened, Subject, fetch};
use freestone_store::Store;
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
pub fn fetch_missing(opened: &Opened, subject: &Subject, context: &Context) -> Result<Fetched> {
    if opened.online().is_none() {
        // A later read reports what is not here.
        return Ok(Fetched::default());
    }
    let fetched = context.watched("fetching", Unit::Bytes, None, |watch| {
        let progress = |bytes| watch.add(bytes);
        let cancel = Some(context.interrupt.flag());
        fetch(opened, subject, &Fetch { dry_run: false, progress: Some(&progress), cancel })
    })?;
    if fetched.requests > 0 {
        context.output.note(format_args!("fetched {}", sum(&fetched)));
    }
    Ok(fetched)
}

/// Prints, once, why what was fetched could not be kept. This is not an error: what is not here is
/// fetched when it is read.
pub fn note_not_kept(opened: &Opened, context: &Context) {
    if let Some(error) = opened.online().and_then(Follower::take_failure) {
        context.output.note(format_args!(
            "{}; what was fetched is not kept, and is fetched again the next time",
            error.chain()
        ));
    }
}

/// Returns how much [`fetch_missing`] would fetch of `subject`; its manifest is fetched to find
/// out. Returns `None` if the store does not follow an upstream.
///
/// # Errors
/// As [`fetch_missing`].
pub fn preview(opened: &Opened, subject: &Subject, context: &Context) -> Result<Option<Fetched>> {
    if !opened.is_following() {
        return Ok(None);
    }
    let how = Fetch { dry_run: true, progress: None, cancel: Some(context.interrupt.flag()) };
    fetch(opened, subject, &how).map(Some)
}

/// Checks that `store` does not follow an upstream, for commands that read the whole store.
///
/// # Errors
/// [`Refused`](freestone_core::ErrorKind::Refused) if `store` follows an upstream.
pub fn refuse_follower(store: &Store) -> Result<()> {
    let Some(upstream) = store.backend().upstream() else { return Ok(()) };
    let url = upstream.url;
    Err(Error::refused(format!("this store caches only parts of {url}")).hint(format!(
        "run the command on the upstream, with -s {url}; what is cached here is checked whenever it \
         is read, and `freestone status` shows which revisions are complete"
    )))
}
