//! The addresses of images, revisions, files and contents.

use super::answers::Answers;
use super::content::ContentPlan;
use super::reply::{Reply, Resource};
use super::request::{Request, decode};
use crate::catalogue::Catalogue;
use crate::image::ServedImage;
use crate::workers::Workers;
use freestone_core::{Error, ErrorKind, Id, Result, Sha1, lock, path};
use freestone_format::Revision;
use freestone_manifest::{Entry, EntryKind};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// The number of contents that are kept open, so that a client that reads one in many ranges finds
/// its layout cached.
const OPEN_MAX: usize = 256;
/// The number of entries in one listing of a directory, and of revisions in one listing of these.
const LISTED_MAX: usize = 1000;

/// A site with the images of a catalogue, and the revisions and files that they are made of.
pub struct Site {
    catalogue: Arc<Catalogue>,
    workers: Arc<Workers>,
    open: Mutex<HashMap<Id, Arc<ServedImage>>>,
}

/// A reply, or `None` for an address that has nothing.
type MaybeReply = Result<Option<Reply>>;

impl Site {
    /// Creates a site of `catalogue`; `workers` read, decode and prove.
    pub fn new(catalogue: Arc<Catalogue>, workers: Arc<Workers>) -> Self {
        Self { catalogue, workers, open: Mutex::default() }
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
    fn find(&self, request: &Request) -> MaybeReply {
        let parts: Option<Vec<Vec<u8>>> = request.path[..]
            .strip_prefix(b"/")
            .map(|path| path.split(|byte| *byte == b'/').map(decode).collect())
            .unwrap_or_default();
        let Some(parts) = parts else { return Ok(None) };
        let texts: Vec<&str> =
            parts.iter().map(|part| std::str::from_utf8(part).unwrap_or("\0")).collect();
        match &texts[..] {
            ["images", name @ ..] if !name.is_empty() => self.image(&name.join("/"), request),
            ["refs"] => Ok(Some(self.refs()?)),
            ["revisions"] => Ok(Some(self.revisions(request)?)),
            ["revisions", name] => self.revision(name),
            ["revisions", name, "tree", ..] => self.tree(name, &parts[3..], request),
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
            tag: export.name.clone(),
            name: export.name,
            image: export.image,
            kind,
            is_fixed: export.is_fixed,
            mtime: None,
        };
        Ok(Some(Reply::resource(resource, request)))
    }

    /// Replies with the refs: `/refs`.
    fn refs(&self) -> Result<Reply> {
        let mut refs: Vec<Value> = Vec::new();
        if self.catalogue.serves_all() {
            for entry in self.catalogue.store().refs().list()? {
                let revision = entry.revision().map(|id| id.to_string());
                let (name, n, time) = (&entry.name, entry.n, entry.time);
                refs.push(json!({ "ref": name, "n": n, "revision": revision, "time": time }));
            }
        }
        let bound: HashMap<String, String> =
            self.catalogue.bound().into_iter().map(|(name, id)| (name, id.to_string())).collect();
        Ok(Reply::json(&json!({ "served": bound, "refs": refs }))
            .header("Cache-Control", "no-cache"))
    }

    /// Replies with the list of revisions: `/revisions`.
    fn revisions(&self, request: &Request) -> Result<Reply> {
        let ids = self.catalogue.revision_ids()?;
        let after = after(request);
        let mut left = ids.iter().filter(|id| id.to_string().as_bytes() > &after[..]);
        let mut listed = Vec::new();
        for id in left.by_ref().take(LISTED_MAX) {
            if let Some(revision) = self.catalogue.store().revision(id)? {
                listed.push(revision_json(id, &revision));
            }
        }
        let next = left.next().and(listed.last().map(|last| last["revision"].clone()));
        let reply = Reply::json(&json!({ "revisions": listed, "after": next }));
        Ok(reply.header("Cache-Control", "no-cache"))
    }

    /// Replies with a revision: `/revisions/REV`.
    fn revision(&self, name: &str) -> MaybeReply {
        let Some((id, _)) = self.catalogue.revision(name)? else { return Ok(None) };
        let revision = self.catalogue.store().revision(&id)?;
        Ok(revision.map(|revision| {
            Reply::json(&revision_json(&id, &revision)).header("Cache-Control", "no-cache")
        }))
    }

    /// Replies with a file or the listing of a directory: `/revisions/REV/tree/PATH`.
    fn tree(&self, name: &str, parts: &[Vec<u8>], request: &Request) -> MaybeReply {
        let Some((id, is_fixed)) = self.catalogue.revision(name)? else { return Ok(None) };
        let store = self.catalogue.store();
        let Some(revision) = store.revision(&id)? else { return Ok(None) };
        let tree = store.tree(&revision.root)?;
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
                    kind: "application/octet-stream",
                    is_fixed,
                    mtime: Some(entry.mtime),
                };
                return Ok(Some(Reply::resource(resource, request)));
            }
        }
        let after = after(request);
        let start = if after.is_empty() || path::fault(&after).is_some() {
            wanted.clone()
        } else {
            // After everything below the last entry of the previous listing.
            [&wanted[..], if wanted.is_empty() { b"" } else { b"/" }, &after, &[1]].concat()
        };
        let mut cursor = tree.seek(&start)?;
        let skipped = if wanted.is_empty() { 0 } else { wanted.len() + 1 };
        let mut entries = Vec::new();
        let (mut next, mut next_encoded, mut last) = (Value::Null, Value::Null, Vec::new());
        while let Some(entry) = cursor.next()? {
            if entry.path == wanted {
                continue;
            }
            if !path::is_below(&entry.path, &wanted) {
                break;
            }
            if entries.len() == LISTED_MAX {
                next = entries.last().map_or(Value::Null, |last: &Value| last["path"].clone());
                next_encoded = Value::from(encode(&last));
                break;
            }
            let is_directory = entry.is_directory();
            let after_all_below = [&entry.path[..], &[1]].concat();
            last = entry.path[skipped..].to_vec();
            entries.push(entry_json(&entry.path[skipped..], entry));
            if is_directory {
                cursor = tree.seek(&after_all_below)?;
            }
        }
        let listing = json!({ "entries": entries, "after": next, "after_encoded": next_encoded });
        Ok(Some(Reply::json(&listing)))
    }

    /// Replies with a content by its SHA-1: `/contents/sha1/HEX`.
    fn sha1(&self, hex: &str, request: &Request) -> MaybeReply {
        let Ok(sha1) = Sha1::parse(hex) else { return Ok(None) };
        let records = self.catalogue.store().records()?;
        let Some(found) = records.find_sha1(&sha1)? else { return Ok(None) };
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

    /// Replies with an error, and logs it if the client did not cause it.
    fn failed(&self, request: &Request, error: &Error) -> Reply {
        let status = match error.kind() {
            ErrorKind::NotFound => 404,
            ErrorKind::Usage => 400,
            _ => {
                let name = String::from_utf8_lossy(&request.path);
                self.catalogue.service().failed(&name, 0, error);
                500
            }
        };
        Reply::error(status, &error.to_string())
    }
}

impl Answers for Site {
    fn answer(&self, request: &Request) -> Reply {
        match self.find(request) {
            Ok(Some(reply)) => reply,
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
