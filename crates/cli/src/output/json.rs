//! JSON values that several commands print.

use freestone_core::{Id, path};
use freestone_format::Revision;
use freestone_manifest::{Entry, EntryKind};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// A path in JSON: see [`JSON_TEXT`](super::JSON_TEXT).
#[derive(Serialize)]
pub struct JsonPath {
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_escaped: Option<String>,
}

impl JsonPath {
    /// Converts `path`.
    pub fn new(path: &[u8]) -> Self {
        match std::str::from_utf8(path) {
            Ok(text) => Self { path: Some(text.to_owned()), path_escaped: None },
            Err(_) => Self { path: None, path_escaped: Some(path::display(path)) },
        }
    }
}

impl fmt::Display for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.path, &self.path_escaped) {
            (Some(text), _) => f.write_str(&path::display(text.as_bytes())),
            (None, escaped) => f.write_str(escaped.as_deref().unwrap_or_default()),
        }
    }
}

/// An entry of a manifest. The help of `ls` documents its keys.
#[derive(Serialize)]
pub struct JsonEntry {
    #[serde(flatten)]
    path: JsonPath,
    kind: &'static str,
    mtime: i64,
    #[serde(flatten)]
    file: Option<JsonFile>,
}

#[derive(Serialize)]
struct JsonFile {
    size: u64,
    executable: bool,
    sha1: String,
    content: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<String>,
}

impl JsonEntry {
    /// Converts `entry`, with `path` as its path.
    pub fn new(path: &[u8], entry: &Entry) -> Self {
        let (kind, file) = match &entry.kind {
            EntryKind::Directory => ("directory", None),
            EntryKind::File { executable, size, sha1, content } => {
                let file = JsonFile {
                    size: *size,
                    executable: *executable,
                    sha1: sha1.to_string(),
                    content: content.to_string(),
                    link: entry.link.as_deref().map(path::display),
                };
                ("file", Some(file))
            }
        };
        Self { path: JsonPath::new(path), kind, mtime: entry.mtime, file }
    }
}

/// A revision as JSON.
#[derive(Serialize)]
pub struct JsonRevision {
    revision: String,
    root: String,
    content_digest: String,
    time: i64,
    entries: u64,
    content_bytes: u64,
    parents: Vec<String>,
    message: String,
    labels: BTreeMap<String, String>,
}

impl JsonRevision {
    /// The keys, for the help.
    pub const KEYS: &str = "\"revision\", \"root\", \"content_digest\", \"time\", \"entries\",
\"content_bytes\", \"parents\": [], \"message\", \"labels\": {}";

    /// Converts `revision`, whose id is `id`.
    pub fn new(id: &Id, revision: &Revision) -> Self {
        Self {
            revision: id.to_string(),
            root: revision.root.to_string(),
            content_digest: revision.content_digest.to_string(),
            time: revision.time,
            entries: revision.entries,
            content_bytes: revision.bytes,
            parents: revision.parents.iter().map(ToString::to_string).collect(),
            message: revision.message.clone(),
            labels: revision.labels.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_json_is_text_or_escaped() {
        let json = |path: &[u8]| serde_json::to_string(&JsonPath::new(path)).unwrap();
        assert_eq!(json("a/é\n\\".as_bytes()), r#"{"path":"a/é\n\\"}"#);
        assert_eq!(json(b"caf\xe9\\"), r#"{"path_escaped":"caf\\xe9\\\\"}"#);
    }

    #[test]
    fn an_entry_in_json_has_what_its_kind_has() {
        let directory = JsonEntry::new(b"d", &Entry::directory("d", 5));
        let json = serde_json::to_string(&directory).unwrap();
        assert_eq!(json, r#"{"path":"d","kind":"directory","mtime":5}"#);
    }
}
