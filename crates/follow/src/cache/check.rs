//! Which objects are kept whole, and whether one is what its name says.

use freestone_backend::Object;
use freestone_core::{Error, ErrorKind, Id, Result};
use freestone_format::ref_entry::name_of_folder;
use freestone_format::ref_place::{RefPlace, place_of_key};
use freestone_format::revision;
use freestone_format::segment::{Segment, parse_file_name};
use std::sync::Arc;

/// Checks that the bytes of an object are what its name says. Objects of other names pass.
pub(crate) fn check(name: &str, bytes: &[u8]) -> Result<()> {
    let damaged = || Error::corrupt("it is damaged, or was damaged on its way");
    match name.split_once('/') {
        Some(("index", file_name)) => {
            let Some((_, id)) = parse_file_name(file_name) else { return Ok(()) };
            let segment = Segment::open(Arc::new(bytes.to_vec()))?;
            if segment.verify()? == id { Ok(()) } else { Err(damaged()) }
        }
        Some(("revisions", id)) => {
            let Ok(id) = Id::parse(id) else { return Ok(()) };
            revision::decode_file(&id, bytes).map(|_| ())
        }
        Some(("refs", entry)) => {
            let parts = entry.split_once('/');
            let parts =
                parts.and_then(|(folder, key)| Some((name_of_folder(folder)?, place_of_key(key)?)));
            let Some((name, place)) = parts else { return Ok(()) };
            RefPlace::decode(&name, place, bytes).map(|_| ())
        }
        _ => Ok(()),
    }
}

/// Returns true if an object of this name never changes, so that it may be kept.
pub(crate) fn is_immutable(name: &str) -> bool {
    match name.split_once('/') {
        Some(("index", file_name)) => parse_file_name(file_name).is_some(),
        Some(("revisions", id)) => Id::parse(id).is_ok(),
        Some(("refs", entry)) => {
            entry.split_once('/').is_some_and(|(_, key)| place_of_key(key).is_some())
        }
        _ => false,
    }
}

/// Returns true if an object of the cache can be used. A segment is compared with its name; it is
/// mapped and not read whole, and what the disk cut off is noticed. Other objects are checked by
/// their readers.
///
/// # Errors
/// It cannot be read.
pub(crate) fn is_sound(name: &str, object: &dyn Object) -> Result<bool> {
    let Some((_, id)) = name.strip_prefix("index/").and_then(parse_file_name) else {
        return Ok(is_immutable(name));
    };
    match object.map().and_then(Segment::open) {
        Ok(segment) => Ok(segment.id() == id),
        Err(error) if error.kind() == ErrorKind::Storage => Err(error),
        Err(_) => Ok(false),
    }
}
