//! `freestone status`.

mod upstream;

use crate::context::Context;
use crate::exit::Exit;
use crate::output::short;
use crate::values::size::{count, show};
use crate::values::time;
use clap::Args;
use freestone_core::Result;
use freestone_core::wire::total;
use freestone_store::Store;
use serde::Serialize;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Show the store that is used, its refs and its size
///
/// The size is that of the files in packs, index, revisions and refs. Local caches in db and cache
/// can be deleted, and are counted separately.
#[derive(Args)]
#[command(after_long_help = "\
With --json: {\"version\" (of this program), \"store\", \"store_id\", \"revisions\" (number),
\"bytes\": {\"packs\", \"index\", \"revisions\", \"refs\"}, \"beside_bytes\": {\"db\", \"cache\"},
\"left_over_segments\" (merged index segments that could not be removed),
\"refs\": [{\"ref\", \"n\", \"revision\", \"time\"}]}. If the store follows an upstream, also {\"upstream\":
{\"url\", \"store_id\", \"host\", \"cache_size\" (null: no limit), \"offline\", \"reachable\" (null with
--offline), \"reached\" and \"unreachable_since\" (times, or null), \"complete\": [{\"revision\", \"name\"
(under which it was fetched)}], \"pins\" (as in `pin list`)}}. Then revisions and refs are those of
the upstream; with --offline, or if it cannot be reached, those that are known here")]
pub struct Status {}

/// The result as JSON. The help documents its keys.
#[derive(Serialize)]
struct Answer {
    version: &'static str,
    store: String,
    store_id: String,
    revisions: u64,
    bytes: Bytes,
    beside_bytes: Beside,
    left_over_segments: u64,
    refs: Vec<super::refs::JsonRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<upstream::Answer>,
}

#[derive(Serialize)]
struct Bytes {
    packs: u64,
    index: u64,
    revisions: u64,
    refs: u64,
}

#[derive(Serialize)]
struct Beside {
    db: u64,
    cache: u64,
}

/// Returns the total length of the objects in a folder of the store.
fn folder(store: &Store, folder: &str) -> Result<u64> {
    Ok(total(store.backend().list(folder)?.iter().map(|listed| listed.length)))
}

/// Returns the total length of all files below `place`. Files that cannot be read are not counted.
fn below(place: &Path) -> u64 {
    let entries = std::fs::read_dir(place).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => below(&entry.path()),
            // A sparse file counts with the space that it takes on the disk.
            Ok(metadata) if metadata.is_file() => metadata.len().min(metadata.blocks() * 512),
            _ => 0,
        })
        .sum()
}

impl Status {
    /// Runs the command.
    ///
    /// # Errors
    /// The store cannot be opened or read.
    pub fn run(&self, context: &Context) -> Result<Exit> {
        let (mut opened, mut upstream) = (context.opened()?, None);
        if let Some(follower) = opened.follower.clone() {
            let answer;
            (opened, answer) = upstream::look(opened, &follower)?;
            upstream = Some(answer);
        }
        let store = opened.store;
        let place = context.store_location()?;
        let following = upstream.is_some();
        // A store that follows an upstream has only local caches of its own.
        let folder =
            |store: &Store, name: &str| if following { Ok(0) } else { folder(store, name) };
        let bytes = Bytes {
            packs: folder(&store, "packs")?,
            index: folder(&store, "index")?,
            revisions: folder(&store, "revisions")?,
            refs: folder(&store, "refs")?,
        };
        let of_user = store.caches().map(|caches| caches.path());
        let db = of_user.map_or(0, |caches| below(&caches.join("db")));
        let proven = of_user.map_or(0, |caches| below(caches) - db);
        let of_host = place.directory().map_or(0, |path| below(&path.join("cache")));
        let beside = Beside { db, cache: of_host + proven };
        let refs = store.refs().list()?;
        let revisions = store.revision_ids()?.len() as u64;
        let left_over = store.index()?.left_over().len() as u64;
        let out = &context.output;
        if out.is_json() {
            out.json(&Answer {
                version: env!("CARGO_PKG_VERSION"),
                store: place.json(),
                store_id: store.id().to_string(),
                revisions,
                bytes,
                beside_bytes: beside,
                left_over_segments: left_over,
                refs: refs.iter().map(super::refs::JsonRef::new).collect(),
                upstream,
            })?;
            return Ok(Exit::Done);
        }
        let total = total([bytes.packs, bytes.index, bytes.revisions, bytes.refs]);
        out.line(format_args!("freestone  {}", env!("CARGO_PKG_VERSION")))?;
        out.line(format_args!("store      {place}"))?;
        out.line(format_args!("id         {}", store.id()))?;
        if let Some(upstream) = &upstream {
            upstream.say(out)?;
        }
        out.line(format_args!("revisions  {revisions}"))?;
        if !following {
            out.line(format_args!(
                "size       {} (packs {}, index {}, revisions {}, refs {})",
                show(total),
                show(bytes.packs),
                show(bytes.index),
                show(bytes.revisions),
                show(bytes.refs)
            ))?;
        }
        if left_over > 0 {
            let segments = count(left_over, "merged index segment", "merged index segments");
            out.line(format_args!("left over  {segments} that could not be removed"))?;
        }
        let (db, cache) = (show(beside.db), show(beside.cache));
        out.line(format_args!("local      db {db}, cache {cache}"))?;
        for entry in &refs {
            let id = entry.revision().as_ref().map(short).unwrap_or_default();
            let time = time::show(entry.time);
            out.line(format_args!("ref        {id} {time} {}@{}", entry.name, entry.n))?;
        }
        Ok(Exit::Done)
    }
}
