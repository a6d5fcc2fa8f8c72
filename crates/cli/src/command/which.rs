//! `freestone which`.

use crate::context::Context;
use crate::exit::Exit;
use crate::output::progress::Unit;
use crate::output::{JSON_SEE, JsonPath, short};
use crate::values::name::{self, Name};
use crate::values::time;
use clap::Args;
use freestone_core::item::Content;
use freestone_core::limits::CONTENT_WHOLE_BYTES_MAX;
use freestone_core::wire::to_usize;
use freestone_core::{Error, Id, Result, Sha1, Watch, path};
use freestone_format::Revision;
use freestone_manifest::{self as manifest, Entry, EntryKind};
use freestone_store::write::{OwnLane, Writer, WriterOptions};
use freestone_store::{Index, Records, Store};
use serde::Serialize;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::sync::Arc;

/// Find the revisions that hold a content, and its paths in them
///
/// A line has the first digits of the revision's id, its time, and the path; the newest revision
/// comes first. Exit code 5 if no revision holds the content. A local file is found by its bytes.
/// A SHA-1 is compared with those that the revisions say; where it is the same, the bytes are read
/// to prove it.
#[derive(Args)]
#[command(after_long_help = after_help())]
pub struct Which {
    /// SHA-1 of the content, or a local file with this content
    #[arg(value_name = "sha1:HEX|PATH")]
    content: OsString,

    /// For each path at which REV holds the content, find the first revision since which it has
    /// been there without a break. Default: the default ref of `push`
    #[arg(long, value_name = "REV", num_args = 0..=1, require_equals = true,
        default_missing_value = "")]
    since: Option<OsString>,
}

fn after_help() -> String {
    format!(
        "\
Examples:
  freestone which ./suspicious.js
  freestone which sha1:2fd4e1c67a2d28fced849ee1bb76e7391b93eb12
  freestone which --since=live ./index.html

With --json: {{\"sha1\", \"found\": [{{\"revision\", \"time\", \"path\"}}]}}
{JSON_SEE}"
    )
}

/// The result as JSON, without what was found. The help documents its keys.
#[derive(Serialize)]
struct Answer {
    sha1: String,
}

#[derive(Serialize)]
struct Found {
    revision: String,
    time: i64,
    #[serde(flatten)]
    path: JsonPath,
}

impl Which {
    /// Runs the command.
    ///
    /// # Errors
    /// No revision holds the content, or a file or record cannot be read.
    pub fn run(&self, context: &Context) -> Result<Exit> {
        let sha1 = name::sha1(&self.content)?;
        let store = context.store()?;
        let sought = match sha1 {
            Some(sha1) => Sought { sha1, id: None },
            None => {
                let content = hash(&self.content, &store, context)?;
                Sought { sha1: content.sha1, id: Some(content.id) }
            }
        };
        let sha1 = sought.sha1;
        if let Some(name) = &self.since {
            let found = since(&store, name, sought, context)?;
            return say(&sha1, &found, context);
        }
        let none = || Error::not_found(format!("no revision holds the content with SHA-1 {sha1}"));
        // All contents of all revisions are listed by their SHA-1s.
        if store.index()?.find_sha1(&sha1)?.is_empty() {
            return Err(none());
        }
        let all = revisions(&store)?;
        let found =
            context.watched("searching", Unit::Things, Some(all.len() as u64), |watch| {
                let mut search = Search::new(&store, sought, watch)?;
                let mut found = Vec::new();
                for (id, revision) in &all {
                    let paths = search.paths(revision)?;
                    if !paths.is_empty() {
                        found.push((id, revision.time, paths));
                    }
                    watch.add(1);
                }
                Ok::<_, Error>(found)
            })?;
        if found.is_empty() {
            return Err(none());
        }
        let lines: Vec<Line> = found
            .iter()
            .rev()
            .flat_map(|(id, time, paths)| paths.iter().map(|path| (**id, *time, path.clone())))
            .collect();
        say(&sha1, &lines, context)
    }
}

/// A revision, its time, and a path at which it holds the content.
type Line = (Id, i64, Vec<u8>);

fn say(sha1: &Sha1, found: &[Line], context: &Context) -> Result<Exit> {
    if context.output.is_json() {
        let answer = Answer { sha1: sha1.to_string() };
        context.output.json_list(&answer, "found", |list| {
            found.iter().try_for_each(|(id, time, path)| {
                let path = JsonPath::new(path);
                list.item(&Found { revision: id.to_string(), time: *time, path })
            })
        })?;
        return Ok(Exit::Done);
    }
    for (id, time, path) in found {
        let (id, time) = (short(id), time::show(*time));
        context.output.line(format_args!("{id} {time} {}", path::display(path)))?;
    }
    Ok(Exit::Done)
}

/// Returns, for each path at which the revision `name` holds the content, the first of the
/// revisions that have held it there without a break since.
fn since(store: &Store, name: &OsStr, sought: Sought, context: &Context) -> Result<Vec<Line>> {
    let default = context.ref_name(None);
    let name = if name.is_empty() { OsStr::new(&default) } else { name };
    let resolved = store.resolve(&Name::parse_revision(name)?)?;
    let watch = Watch::cancelled_by(context.interrupt.flag());
    let mut search = Search::new(store, sought, watch)?;
    let paths = search.paths(&resolved.revision)?;
    if paths.is_empty() {
        let name = name.display();
        return Err(Error::not_found(format!(
            "{name} does not hold the content with SHA-1 {}",
            sought.sha1
        ))
        .hint("leave out --since to search all revisions"));
    }
    let (mut id, mut revision) = (resolved.id, resolved.revision);
    let mut open = paths;
    let mut found = Vec::new();
    while !open.is_empty() {
        watch.check()?;
        let before = match revision.parents.first() {
            Some(parent) => store.revision(parent)?.map(|revision| (*parent, revision)),
            None => None,
        };
        let tree = match &before {
            Some((_, before)) => Some(store.manifest(before)?),
            None => None,
        };
        let mut still = Vec::new();
        for path in open {
            watch.check()?;
            let entry = match &tree {
                Some(tree) => tree.get(&path)?,
                None => None,
            };
            if search.holds(entry.as_ref())? {
                still.push(path);
            } else {
                found.push((id, revision.time, path));
            }
        }
        open = still;
        match before {
            Some(before) => (id, revision) = before,
            None => break,
        }
    }
    Ok(found)
}

/// Returns the content of a local file.
fn hash(place: &OsStr, store: &Store, context: &Context) -> Result<Content> {
    let name = place.display();
    let wrong = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => Error::not_found(format!("file {name} does not exist"))
            .hint("give a local file, or sha1: and 40 hex digits"),
        ErrorKind::IsADirectory => {
            Error::new(freestone_core::ErrorKind::Usage, format!("{name} is a directory"))
                .hint("give a file")
        }
        _ => Error::io(format!("file {name} cannot be read"), error),
    };
    let mut file = File::open(place).map_err(wrong)?;
    // A dry run that knows nothing: it looks nothing up, and writes nothing.
    let records = Records { index: Arc::new(Index::of(Vec::new())), packs: store.packs().clone() };
    let options = WriterOptions { dry_run: true, ..WriterOptions::default() };
    let writer = Writer::new(store, records, options);
    let (mut large, mut own) = (writer.large_content(), OwnLane::of_thread(0));
    // A content of one chunk is read at once, and stays.
    let mut buffer = vec![0; to_usize(CONTENT_WHOLE_BYTES_MAX) + 1];
    loop {
        context.interrupt.check()?;
        let length = fill(&mut file, &mut buffer).map_err(wrong)?;
        large.push(&buffer[..length], &mut own)?;
        if length == buffer.len() {
            continue;
        }
        return match large.finish(None, &mut own)? {
            Some(content) => Ok(content),
            None => writer.put_content(&buffer[..length], None),
        };
    }
}

/// Reads until `buffer` is full or the file ends. Returns how many bytes were read.
fn fill(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// Returns all revisions: those that the store lists, those that refs have named, and all
/// ancestors.
fn revisions(store: &Store) -> Result<Vec<(Id, Revision)>> {
    let mut open = store.revision_ids()?;
    for newest in store.refs().list_all()? {
        let log = store.refs().log(&newest.name)?;
        open.extend(log.iter().filter_map(freestone_format::RefEntry::revision));
    }
    let mut known = HashMap::new();
    while let Some(id) = open.pop() {
        if known.contains_key(&id) {
            continue;
        }
        // A revision that is not in this store cannot be searched.
        if let Some(revision) = store.revision(&id)? {
            open.extend(&revision.parents);
            known.insert(id, revision);
        }
    }
    Ok(parents_first(known))
}

/// Sorts the revisions by time, but each after its parents.
fn parents_first(mut known: HashMap<Id, Revision>) -> Vec<(Id, Revision)> {
    let mut by_time: Vec<(i64, Id)> = known.iter().map(|(id, r)| (r.time, *id)).collect();
    by_time.sort_unstable();
    let mut ordered = Vec::with_capacity(known.len());
    for (_, id) in by_time {
        let mut open = vec![id];
        while let Some(id) = open.last() {
            let Some(revision) = known.get(id) else {
                open.pop();
                continue;
            };
            let before = revision.parents.iter().find(|parent| known.contains_key(*parent));
            if let Some(before) = before {
                open.push(*before);
            } else if let Some(done) = open.pop().and_then(|id| known.remove_entry(&id)) {
                ordered.push(done);
            }
        }
    }
    ordered
}

/// The content that is searched for.
#[derive(Clone, Copy)]
struct Sought {
    sha1: Sha1,
    /// Its content id, of a local file.
    id: Option<Id>,
}

struct Search<'a> {
    store: &'a Store,
    records: Records,
    sought: Sought,
    manifests: manifest::Search,
    watch: Watch<'a>,
}

impl<'a> Search<'a> {
    fn new(store: &'a Store, sought: Sought, watch: Watch<'a>) -> Result<Self> {
        let (records, manifests) = (store.records()?, manifest::Search::default());
        Ok(Self { store, records, sought, manifests, watch })
    }

    /// Returns the paths at which `revision` holds the content.
    fn paths(&mut self, revision: &Revision) -> Result<Vec<Vec<u8>>> {
        // What the revision says of its manifest is checked.
        self.store.manifest(revision)?;
        let mut paths = Vec::new();
        let mut manifests = std::mem::take(&mut self.manifests);
        let wanted = &mut manifest::Wanted {
            is_wanted: &mut |entry| {
                self.watch.check()?;
                self.holds(Some(entry))
            },
            node: None,
            each: &mut |path| {
                paths.push(path.to_vec());
                Ok(())
            },
        };
        manifests.manifest(&self.records, &revision.root, wanted)?;
        self.manifests = manifests;
        Ok(paths)
    }

    /// Returns true if `entry` is a file with the content. Its content id proves that; the SHA-1 is
    /// only said by whoever pushed it, and is computed.
    ///
    /// # Errors
    /// The content cannot be read, or has another SHA-1 than the entry says.
    fn holds(&self, entry: Option<&Entry>) -> Result<bool> {
        let Some(Entry { kind: EntryKind::File { sha1, content, size, .. }, path, .. }) = entry
        else {
            return Ok(false);
        };
        if self.sought.id == Some(*content) {
            return Ok(true);
        }
        if self.sought.sha1 != *sha1 {
            return Ok(false);
        }
        let proven = self.records.prove_sha1(content, *size, sha1, self.watch);
        proven.map(|()| true).map_err(|error| error.context(path::display(path)))
    }
}
