//! Writing hints, so that a store on a web server can be read without listing it.
//!
//! A hint that is missing or old costs its readers requests, or shows them an older state. So an
//! error here is no reason for anything else to fail.

use freestone_backend::Backend;
use freestone_core::Result;
use freestone_format::hint::{BYTES_MAX, NAME, decode, encode};
use freestone_format::ref_entry;
use freestone_format::ref_place::{RefPlace, place_of_key};
use freestone_format::segment::parse_file_name;
use std::collections::HashSet;

/// How often a hint is written again because what it says has changed meanwhile.
const TRIES: usize = 3;

/// Writes which segments there are, without those of `going`. Called when there are new ones,
/// before anything that depends on them is named; and when old ones were merged, before they are
/// removed and after.
///
/// A push that listed before this one and writes after it would leave this one's segment out; but
/// it looks again afterwards, too.
pub fn write_index(backend: &dyn Backend, going: &[String]) {
    let lines = || -> Result<Vec<String>> {
        let listed = backend.list("index")?;
        let going: HashSet<&String> = going.iter().collect();
        let line = |name: &str, length: u64| {
            let name = name.strip_prefix("index/")?;
            parse_file_name(name).map(|_| format!("{name} {length}"))
        };
        let staying = listed.iter().filter(|listed| !going.contains(&listed.name));
        Ok(staying.filter_map(|listed| line(&listed.name, listed.length)).collect())
    };
    write(backend, "index", lines);
}

/// Writes that `place` is the newest of ref `name`, and which refs there are if the ref is new.
pub fn write_ref(backend: &dyn Backend, name: &str, place: u64, is_new: bool) {
    write_newest(backend, name, place);
    // Whoever created a ref that was there before has written it.
    if is_new {
        add_name(backend, name);
    }
}

/// Writes the hints of all refs, whose newest places these are.
pub fn write_refs(backend: &dyn Backend, heads: &[(String, RefPlace)]) {
    for (name, head) in heads {
        write_newest(backend, name, head.place);
    }
    write_names(backend);
}

fn write_newest(backend: &dyn Backend, name: &str, place: u64) {
    let folder = ref_entry::folder(name);
    let _ = backend.hint(&format!("{folder}/{NAME}"), &encode(&[place.to_string()]));
}

/// Adds ref `name` to the hint of the refs there are. All refs are listed only if there is no hint, so
/// that a new ref costs as much in a store of many.
fn add_name(backend: &dyn Backend, name: &str) {
    let hint = format!("refs/{NAME}");
    let folder = ref_entry::folder(name);
    let Some(folder) = folder.strip_prefix("refs/") else { return };
    for _ in 0..TRIES {
        let found = backend.get(&hint, BYTES_MAX).ok().flatten();
        let Some(mut lines) = found.as_deref().and_then(decode) else { break };
        if lines.contains(&folder) {
            return;
        }
        lines.push(folder);
        let lines: Vec<String> = lines.into_iter().map(ToOwned::to_owned).collect();
        if backend.hint(&hint, &encode(&lines)).is_err() {
            return;
        }
        // Another writer may have written what it read before this one; so it is looked at again.
    }
    write_names(backend);
}

fn write_names(backend: &dyn Backend) {
    let lines = || -> Result<Vec<String>> {
        let listed = backend.list("refs")?;
        let folder = |name: &str| {
            let (folder, key) = name.strip_prefix("refs/")?.split_once('/')?;
            // A ref that is begun and has no entry is none that could be lost.
            place_of_key(key).filter(|place| *place > 0).map(|_| folder.to_owned())
        };
        let mut folders: Vec<String> =
            listed.iter().filter_map(|listed| folder(&listed.name)).collect();
        folders.dedup();
        Ok(folders)
    };
    write(backend, "refs", lines);
}

fn write(backend: &dyn Backend, folder: &str, lines: impl Fn() -> Result<Vec<String>>) {
    let Ok(mut before) = lines() else { return };
    for _ in 0..TRIES {
        if backend.hint(&format!("{folder}/{NAME}"), &encode(&before)).is_err() {
            return;
        }
        match lines() {
            Ok(now) if now != before => before = now,
            _ => return,
        }
    }
}
