//! Which revisions are complete here.

use crate::opening::Opened;
use crate::reach::Complete;
use crate::view::View;
use freestone_backend::Backend;
use freestone_core::{Id, Result};

/// Returns true if everything that revision `id` needs is here; always true if the store does not
/// follow an upstream.
///
/// # Errors
/// The cache cannot be read.
pub fn is_complete(opened: &Opened, id: &Id) -> Result<bool> {
    let Some(follower) = &opened.follower else { return Ok(true) };
    View::open(&follower.0.here)?.is_complete(id)
}

/// Lists the revisions that were fetched completely and still are complete here.
///
/// # Errors
/// The cache cannot be read.
pub fn complete(opened: &Opened) -> Result<Vec<Complete>> {
    let Some(follower) = &opened.follower else { return Ok(Vec::new()) };
    let noted = follower.0.client.reach.complete()?;
    if noted.is_empty() {
        return Ok(noted);
    }
    let view = View::open(&follower.0.here)?;
    let mut complete = Vec::new();
    for noted in noted {
        if view.is_complete(&noted.id)? {
            complete.push(noted);
        }
    }
    Ok(complete)
}

/// Makes durable what was fetched: bytes of packs, their runs, segments and files of revisions.
///
/// # Errors
/// Something that was fetched could not be kept, or cannot be made durable.
pub fn make_durable(opened: &Opened) -> Result<()> {
    let Some(follower) = &opened.follower else { return Ok(()) };
    follower.flush()?;
    follower.0.sync_names()?;
    // Another process may have created a segment or a file of a revision, and not made it durable.
    match follower.0.here.folder.objects()? {
        Some(objects) => {
            objects.settle("index")?;
            objects.settle("revisions")
        }
        None => Ok(()),
    }
}

/// Notes that revision `id`, asked for as `name`, was fetched completely, after making durable what
/// was fetched.
///
/// # Errors
/// As [`make_durable`]; or the note cannot be written.
pub fn note_complete(opened: &Opened, id: &Id, name: &str) -> Result<()> {
    let Some(follower) = &opened.follower else { return Ok(()) };
    make_durable(opened)?;
    follower
        .0
        .client
        .reach
        .add_complete(id, name)
        .map_err(|error| error.context(format!("cannot note that revision {id} is complete here")))
}
