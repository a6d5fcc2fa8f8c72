//! The addresses of images, revisions, files and contents.

use super::answers::Answers;
use super::content::ContentPlan;
use super::reply::{Reply, Resource, media_type};
use super::request::{Request, decode};
use crate::catalogue::Catalogue;
use crate::image::ServedImage;
use crate::service::error_text;
use crate::workers::{Workers, WorkersClient};
use freestone_core::digest::plain;
use freestone_core::{Error, ErrorKind, Id, Result, Sha1, Watch, lock, path};
use freestone_format::Revision;
use freestone_manifest::{Entry, EntryKind, Tree};
use freestone_store::{PROVEN_BYTES_MAX, Records};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// The number of contents that are kept open, so that a client that reads one in many ranges finds
/// its layout cached.
const OPEN_MAX: usize = 256;
/// The number of entries in one listing of a directory, and of revisions in one listing of these.
const LISTED_MAX: usize = 1000;
/// The bytes of these in one listing, unless a single one is longer. Each of many connections may
/// have a listing in memory that its client does not receive.
const LISTED_BYTES_MAX: usize = 256 << 10;

/// A site with the images of a catalogue, and the revisions and files that they are made of.
pub struct Site {
    catalogue: Arc<Catalogue>,
    workers: Arc<Workers>,
    open: Mutex<HashMap<Id, Arc<ServedImage>>>,
    hosts: Vec<String>,
}

/// A reply, or `None` for an address that has nothing.
type MaybeReply = Result<Option<Reply>>;

impl Site {
    /// Creates a site of `catalogue`; `workers` read, decode and prove.
    pub fn new(catalogue: Arc<Catalogue>, workers: Arc<Workers>) -> Self {
        Self { catalogue, workers, open: Mutex::default(), hosts: Vec::new() }
    }

    /// Answers also for these host names on the loopback interface.
    #[must_use]
    pub fn with_hosts(mut self, hosts: Vec<String>) -> Self {
        self.hosts = hosts;
        self
    }

    /// Returns the catalogue.
    pub(super) fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Returns the workers.
    pub(super) fn workers(&self) -> &Workers {
        &self.workers
    }

    /// Finds the reply to `request`.
    fn find(&self, request: &Request, workers: Option<&WorkersClient>) -> MaybeReply {
        let parts: Option<Vec<Vec<u8>>> = request.path[..]
            .strip_prefix(b"/")
            .map(|path| path.split(|byte| *byte == b'/').map(decode).collect())
            .unwrap_or_default();
        let Some(parts) = parts else { return Ok(None) };
        let texts: Vec<&str> =
            parts.iter().map(|part| std::str::from_utf8(part).unwrap_or("\0")).collect();
        match &texts[..] {
            ["images", name @ ..] if !name.is_empty() => self.image(&name.join("/"), request),
            ["refs"] => {
                let catalogue = self.catalogue.clone();
                run(workers, move || refs(&catalogue)).map(Some)
            }
            ["revisions"] => {
                let (catalogue, after) = (self.catalogue.clone(), after(request));
                run(workers, move || revisions(&catalogue, &after)).map(Some)
            }
            ["revisions", name] => {
                let (catalogue, name) = (self.catalogue.clone(), (*name).to_owned());
                run(workers, move || revision(&catalogue, &name))
            }
            ["revisions", name, "tree", ..] => self.tree(name, &parts[3..], request, workers),
            ["contents", "sha1", hex] if self.catalogue.serves_all() => self.sha1(hex, request),
            [""] => Ok(Some(Reply::json(&json!({ "images": self.catalogue.names() })))),
            _ => Ok(None),
        }
    }

    /// Replies with an image: `/images/NAME`.
    fn image(&self, name: &str, request: &Request) -> MaybeReply {
        let Some(export) = self.catalogue.find(name)? else { return Ok(None) };
        let is_tar = export.name.ends_with(".tar");
        let kind = if is_tar { "application/x-tar" } else { "application/octet-stream" };
        let resource = Resource {
            tag: plain(export.image.identity().as_bytes()).to_string(),
            name: export.name,
            image: export.image,
            kind,
            is_fixed: export.is_fixed,
            mtime: None,
        };
        Ok(Some(Reply::resource(resource, request)))
    }

    /// Replies with a file or the listing of a directory: `/revisions/REV/tree/PATH`.
    fn tree(
        &self,
        name: &str,
        parts: &[Vec<u8>],
        request: &Request,
        workers: Option<&WorkersClient>,
    ) -> MaybeReply {
        let Some((id, is_fixed)) = self.catalogue.revision(name)? else { return Ok(None) };
        let store = self.catalogue.store();
        let Some(revision) = store.revision(&id)? else { return Ok(None) };
        let tree = store.manifest(&revision)?;
        let mut wanted = parts.join(&b'/');
        if wanted.ends_with(b"/") {
            wanted.pop();
        }
        if !wanted.is_empty() {
            if path::fault(&wanted).is_some() {
                return Ok(None);
            }
            let Some(entry) = tree.get(&wanted)? else { return Ok(None) };
            if let EntryKind::File { size, content, .. } = &entry.kind {
                let resource = Resource {
                    image: self.content(content, *size)?,
                    name: format!("{id}:{}", path::display(&wanted)),
                    tag: content.to_string(),
                    kind: media_type(&wanted),
                    is_fixed,
                    mtime: Some(entry.mtime),
                };
                return Ok(Some(Reply::resource(resource, request)));
            }
        }
        let after = after(request);
        run(workers, move || directory(&tree, &wanted, &after)).map(Some)
    }

    /// Replies with a content by its SHA-1: `/contents/sha1/HEX`. The first reply proves the SHA-1.
    fn sha1(&self, hex: &str, request: &Request) -> MaybeReply {
        let Ok(sha1) = Sha1::parse(hex) else { return Ok(None) };
        let records = self.catalogue.store().records()?;
        let found = records.find_sha1(&sha1, PROVEN_BYTES_MAX, Watch::default())?;
        let Some(found) = found else { return Ok(None) };
        let resource = Resource {
            image: self.content(&found.id, found.size)?,
            name: format!("sha1:{sha1}"),
            tag: found.id.to_string(),
            kind: "application/octet-stream",
            is_fixed: true,
            mtime: None,
        };
        Ok(Some(Reply::resource(resource, request)))
    }

    /// Opens a content of `size` bytes.
    fn content(&self, id: &Id, size: u64) -> Result<Arc<ServedImage>> {
        let mut open = lock(&self.open);
        if let Some(image) = open.get(id) {
            return Ok(image.clone());
        }
        let records = self.catalogue.store().records()?;
        let plan = ContentPlan { records: records.clone(), id: *id, size };
        let service = self.catalogue.service().clone();
        let image = Arc::new(ServedImage::new(Box::new(plan), records, service));
        if open.len() >= OPEN_MAX {
            open.clear();
        }
        open.insert(*id, image.clone());
        Ok(image)
    }

    /// Counts a long reply until it is sent, or replies that it must be asked for again later.
    fn hold(&self, mut reply: Reply) -> Reply {
        let bytes = reply.memory_bytes();
        if bytes <= LISTED_BYTES_MAX + (1 << 10) {
            return reply;
        }
        reply.held = self.catalogue.service().hold_reply(bytes as u64);
        if reply.held.is_some() {
            return reply;
        }
        Reply::error(503, "other clients receive long replies now").header("Retry-After", 1)
    }

    /// Replies with an error, and logs it if the client did not cause it.
    fn failed(&self, request: &Request, error: &Error) -> Reply {
        let status = match error.kind() {
            ErrorKind::NotFound => 404,
            ErrorKind::Usage => 400,
            ErrorKind::Refused => 403,
            // Others use what the reply needs.
            ErrorKind::Conflict => 503,
            _ => {
                let name = String::from_utf8_lossy(&request.path);
                self.catalogue.service().failed(&name, 0, error);
                500
            }
        };
        let reply = Reply::error(status, &error_text(error));
        if status == 503 { reply.header("Retry-After", 1) } else { reply }
    }
}

/// Replies with the refs: `/refs`.
fn refs(catalogue: &Catalogue) -> Result<Reply> {
    let mut refs: Vec<Value> = Vec::new();
    if catalogue.serves_all() {
        for entry in catalogue.store().refs().list()? {
            let revision = entry.revision().map(|id| id.to_string());
            let (name, n, time) = (&entry.name, entry.n, entry.time);
            refs.push(json!({ "ref": name, "n": n, "revision": revision, "time": time }));
        }
    }
    let bound: HashMap<String, String> =
        catalogue.bound().into_iter().map(|(name, id)| (name, id.to_string())).collect();
    Ok(Reply::json(&json!({ "served": bound, "refs": refs })).header("Cache-Control", "no-cache"))
}

/// Replies with the list of revisions: `/revisions`.
fn revisions(catalogue: &Catalogue, after: &[u8]) -> Result<Reply> {
    let ids = catalogue.revision_ids()?;
    let left = ids.iter().filter(|id| id.to_string().as_bytes() > after);
    let mut listing = Listing::default();
    let mut next = Value::Null;
    let mut last = Value::Null;
    for id in left {
        let Some(revision) = catalogue.store().revision(id)? else { continue };
        if !listing.add(&revision_json(id, &revision)) {
            next = last;
            break;
        }
        last = Value::from(id.to_string());
    }
    let reply = listing.reply("revisions", &[("after", next)]);
    Ok(reply.header("Cache-Control", "no-cache"))
}

/// Replies with a revision: `/revisions/REV`.
fn revision(catalogue: &Catalogue, name: &str) -> MaybeReply {
    let Some((id, _)) = catalogue.revision(name)? else { return Ok(None) };
    let revision = catalogue.store().revision(&id)?;
    Ok(revision.map(|revision| {
        Reply::json(&revision_json(&id, &revision)).header("Cache-Control", "no-cache")
    }))
}

/// Replies with the entries of the directory `wanted` that come after the entry `after`.
fn directory(tree: &Tree<Records>, wanted: &[u8], after: &[u8]) -> Result<Reply> {
    let start = if after.is_empty() || path::fault(after).is_some() {
        wanted.to_vec()
    } else {
        // After everything below the last entry of the previous listing.
        [wanted, if wanted.is_empty() { b"" } else { b"/" }, after, &[1]].concat()
    };
    let mut cursor = tree.seek(&start)?;
    let skipped = if wanted.is_empty() { 0 } else { wanted.len() + 1 };
    let mut listing = Listing::default();
    let (mut next, mut next_encoded) = (Value::Null, Value::Null);
    let (mut last, mut last_path) = (Vec::new(), Value::Null);
    while let Some(entry) = cursor.next()? {
        if entry.path == wanted {
            continue;
        }
        if !path::is_below(&entry.path, wanted) {
            break;
        }
        let json = entry_json(&entry.path[skipped..], entry);
        if !listing.add(&json) {
            next = last_path;
            next_encoded = Value::from(encode(&last));
            break;
        }
        let is_directory = entry.is_directory();
        let after_all_below = [&entry.path[..], &[1]].concat();
        last = entry.path[skipped..].to_vec();
        last_path = json["path"].clone();
        if is_directory {
            cursor = tree.seek(&after_all_below)?;
        }
    }
    Ok(listing.reply("entries", &[("after", next), ("after_encoded", next_encoded)]))
}

/// A listing that is being written as JSON.
#[derive(Default)]
struct Listing {
    text: String,
    count: usize,
}

impl Listing {
    /// Appends `item`, or returns false if there is no room for it. The first one always has room.
    fn add(&mut self, item: &Value) -> bool {
        let item = item.to_string();
        let is_full = self.count == LISTED_MAX || self.text.len() + item.len() > LISTED_BYTES_MAX;
        if self.count > 0 && is_full {
            return false;
        }
        if self.count > 0 {
            self.text.push(',');
        }
        self.text.push_str(&item);
        self.count += 1;
        true
    }

    /// Returns the listing as the field `name` of an object that also has `fields`.
    fn reply(self, name: &str, fields: &[(&str, Value)]) -> Reply {
        let mut text = self.text;
        text.insert_str(0, &format!("{{\"{name}\":["));
        text.push(']');
        for (name, value) in fields {
            text.push_str(&format!(",\"{name}\":{value}"));
        }
        text.push_str("}\n");
        Reply::json_text(&text)
    }
}

/// Runs `work` on one of the workers, if there are some.
fn run<T: Send + 'static>(
    workers: Option<&WorkersClient>,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match workers {
        Some(workers) => workers.run(work),
        None => work(),
    }
}

impl Answers for Site {
    fn hosts(&self) -> &[String] {
        &self.hosts
    }

    fn answer(&self, request: &Request, workers: Option<&WorkersClient>) -> Reply {
        match self.find(request, workers) {
            Ok(Some(reply)) => self.hold(reply.conditional(request)),
            Ok(None) => Reply::error(404, "nothing is served at this address"),
            Err(error) => self.failed(request, &error),
        }
    }
}

/// Returns the value of `?after=`; empty if there is none.
fn after(request: &Request) -> Vec<u8> {
    let fields = request.query.split(|byte| *byte == b'&');
    let value = fields.filter_map(|field| field.strip_prefix(b"after=")).next();
    value.and_then(decode).unwrap_or_default()
}

/// Encodes a path, which may have any bytes, for `?after=`.
fn encode(path: &[u8]) -> String {
    let mut text = String::new();
    for byte in path {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                text.push(char::from(*byte));
            }
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

/// Returns a revision as JSON.
fn revision_json(id: &Id, revision: &Revision) -> Value {
    json!({
        "revision": id.to_string(),
        "root": revision.root.to_string(),
        "content_digest": revision.content_digest.to_string(),
        "time": revision.time,
        "entries": revision.entries,
        "content_bytes": revision.bytes,
        "parents": revision.parents.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "message": revision.message,
        "labels": revision.labels,
    })
}

/// Returns an entry of a listing as JSON.
fn entry_json(name: &[u8], entry: &Entry) -> Value {
    let (key, text) = match std::str::from_utf8(name) {
        Ok(text) => ("path", text.to_owned()),
        Err(_) => ("path_escaped", path::display(name)),
    };
    match &entry.kind {
        EntryKind::Directory => json!({ key: text, "kind": "directory", "mtime": entry.mtime }),
        EntryKind::File { executable, size, sha1, content } => json!({
            key: text,
            "kind": "file",
            "mtime": entry.mtime,
            "size": size,
            "executable": executable,
            "sha1": sha1.to_string(),
            "content": content.to_string(),
        }),
    }
}
