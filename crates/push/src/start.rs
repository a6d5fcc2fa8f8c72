//! The beginning of a push: its options are checked, and its parent is found.

use crate::options::PushOptions;
use crate::pushed_ref::PushedRef;
use freestone_core::{Error, ErrorKind, Id, Result};
use freestone_format::ref_entry::check_name_of_user;
use freestone_format::revision::Revision;
use freestone_store::Store;
use freestone_store::fence::Collections;

/// How often a push starts again after another one has changed its ref.
pub(crate) const RETRIES_MAX: usize = 50;

/// Returns the error of a push that has started again so often.
pub(crate) fn always_late() -> Error {
    Error::new(ErrorKind::Conflict, "other pushers were always first")
        .hint("run the command again when fewer push to the same ref")
}

/// Prepares a push of any kind: refuses what could not become a revision, before anything is read,
/// and removes what killed pushes have left.
pub(crate) fn prepare(store: &Store, options: &PushOptions) -> Result<()> {
    if let Some(name) = &options.ref_name {
        check_name_of_user(name)?;
    }
    if !options.dry_run {
        store.check_writable()?;
    }
    let none = Id([0; 32]);
    let revision = Revision {
        root: none,
        content_digest: none,
        entries: 0,
        bytes: 0,
        time: options.time,
        parents: Vec::new(),
        message: options.message.clone().unwrap_or_default(),
        labels: options.labels.clone(),
    };
    if let Some(fault) = revision.fault() {
        return Err(Error::new(ErrorKind::Usage, fault));
    }
    // The ref must have the expected value now. A push that loses a race later starts again, with
    // `retry`, from the value that the other push has set.
    match &options.ref_name {
        Some(name) => store.refs().check(name, options.expect),
        None => Ok(()),
    }
}

/// Returns true if a push that failed with `error` may succeed if it begins again: what it found may
/// have been removed by a collection while it ran.
pub(crate) fn may_be_collected(store: &Store, error: &Error) -> bool {
    let collections = || Collections::list(&**store.backend());
    error.is_damage() && collections().is_ok_and(|found| !found.are_none())
}

/// How often a push starts again for a reason that is gone then: files changed between being hashed
/// and being stored, or collections removed what it found.
pub(crate) const MOVED_MAX: usize = 3;

/// A revision and its id.
pub(crate) type Parent = (Id, Revision);

/// Finds the ref that one try of a push sets, and the parent.
pub(crate) fn start<'a>(
    store: &'a Store,
    options: &'a PushOptions,
) -> Result<(PushedRef<'a>, Option<Parent>)> {
    let pushed_ref = PushedRef::new(store, options)?;
    let parent = match pushed_ref.revision().or(options.parent) {
        None => None,
        Some(id) => Some((
            id,
            store.revision(&id)?.ok_or_else(|| {
                Error::corrupt(format!("the parent, revision {id}, is missing from the store"))
                    .hint("`freestone verify` lists all that is missing")
            })?,
        )),
    };
    Ok((pushed_ref, parent))
}
