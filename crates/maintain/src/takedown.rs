//! Taking a content down: after it, the content is in no pack, and no push brings it back.

use crate::gc::{GcOptions, collect, still_there};
use freestone_core::{Error, ErrorKind, Id, Result, Sha1, Watch};
use freestone_format::forgotten::TakenDown;
use freestone_format::policy::Policy;
use freestone_store::Store;
use freestone_store::fence::Collections;
use std::time::Duration;

/// What a takedown did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Takedown {
    /// The content.
    pub content: Id,
    /// Packs that were written again without it, or removed, and their bytes.
    pub packs: (u64, u64),
}

/// Takes down the content with the SHA-1 `sha1`: removes it from all packs at once, whatever needs
/// it, and has pushes of it refused from then on. Looks again for one that was taken down before.
/// `now` is in seconds since 1970. `watch` counts the revisions that are walked.
///
/// # Errors
/// [`ErrorKind::NotFound`]: there is no such content. [`ErrorKind::Conflict`]: another process has
/// written it again meanwhile. Otherwise the store cannot be read or written, lacks something, or
/// `watch` was cancelled. It can be repeated after each of them.
pub fn take_down(store: &Store, sha1: &Sha1, now: i64, watch: Watch<'_>) -> Result<Takedown> {
    store.check_writable()?;
    let content = find(store, sha1, watch)?;
    // From here on no push that begins has it.
    store.backend().create(&TakenDown { content, sha1: *sha1 }.object_name(), b"")?;
    let options = GcOptions {
        // What else is not needed is left alone.
        policy: Policy { unused_percent: 101, ..Policy::default() },
        grace: Duration::ZERO,
        now,
        dry_run: false,
    };
    let done = collect(store, &options, true, watch)?;
    if still_there(store, watch)? {
        return Err(Error::new(
            ErrorKind::Conflict,
            "the content is taken down, but a push that ran beside this has it in a pack",
        )
        .hint("run the command again"));
    }
    Ok(Takedown { content, packs: done.removed })
}

/// Finds the content: in the store, or among those that were taken down.
fn find(store: &Store, sha1: &Sha1, watch: Watch<'_>) -> Result<Id> {
    let collections = Collections::list(&**store.backend())?;
    let before = collections.taken_down.iter().find(|(_, taken)| *taken == sha1);
    if let Some((content, _)) = before {
        return Ok(*content);
    }
    match store.records()?.find_sha1(sha1, u64::MAX, watch)? {
        Some(found) => Ok(found.id),
        None => Err(Error::not_found(format!("no content has the SHA-1 {sha1}"))
            .hint("give the SHA-1 that `sha1sum` prints for the file")),
    }
}
