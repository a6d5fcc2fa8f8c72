//! That every revision has all that it names.

use super::{Verifier, describe};
use crate::format::record::RecordKind;
use crate::format::revision::Revision;
use crate::records::Records;
use freestone_core::plan::NodeKind;
use freestone_core::{Error, Id, Result, path};
use freestone_manifest::{Child, Entry, Kind, Tree, placement_fault};
use std::collections::HashSet;

/// Manifest nodes and large contents that were checked already: they are shared by revisions.
#[derive(Default)]
pub(super) struct Checked {
    inner_nodes: HashSet<Id>,
    leaves: HashSet<Id>,
    pub(super) contents: HashSet<Id>,
}

impl Verifier<'_> {
    /// Checks the revisions that have a file, and those that a live pack holds.
    pub(super) fn revisions(&mut self, with_file: Vec<Id>) -> Result<()> {
        let of_live = |((kind, id), held): (&(RecordKind, Id), &super::HeldRecord)| {
            (*kind == RecordKind::Revision && held.listed).then_some(*id)
        };
        let mut ids: HashSet<Id> = self.held.records.iter().filter_map(of_live).collect();
        ids.extend(with_file);
        let mut ids: Vec<Id> = ids.into_iter().collect();
        ids.sort_unstable();
        let mut checked = Checked::default();
        for id in ids {
            self.report.revisions += 1;
            if let Err(error) = self.store.revision_file(&id) {
                self.found(format!("revisions/{id}"), describe(&error));
            }
            match self.store.revision(&id) {
                Ok(Some(revision)) => {
                    if let Err(error) = self.revision(&id, &revision, &mut checked) {
                        self.found(format!("revision {id}"), describe(&error));
                    }
                }
                Ok(None) => self.found(format!("revision {id}"), "is missing"),
                Err(error) => self.found(format!("revision {id}"), describe(&error)),
            }
        }
        Ok(())
    }

    fn revision(&mut self, id: &Id, revision: &Revision, checked: &mut Checked) -> Result<()> {
        let tree = self.store.tree(&revision.root)?;
        let Child { content_digest, entries, bytes, .. } = *tree.summary();
        if (content_digest, entries, bytes)
            != (revision.content_digest, revision.entries, revision.bytes)
        {
            self.found(format!("revision {id}"), "is not what its manifest says");
        }
        self.order(id, &tree, checked)?;
        self.index_of(id, revision);
        for parent in &revision.parents {
            if !matches!(self.store.revision(parent), Ok(Some(_))) {
                self.found(format!("revision {id}"), format!("its parent {parent} is missing"));
            }
        }
        Ok(())
    }

    /// That the index lists the revision and its labels.
    fn index_of(&mut self, id: &Id, revision: &Revision) {
        let held = self.held.records.get(&(RecordKind::Revision, *id));
        let mut is_listed = held.is_some_and(|held| held.listed);
        if let Some(index) = &self.index {
            is_listed &= revision.labels.iter().all(|(key, value)| {
                let text = format!("{key}={value}").into_bytes();
                index.labels_from(&text).contains(&(text, *id))
            });
        }
        if !is_listed {
            self.found(
                format!("revision {id}"),
                "no index segment lists it with all its labels: `freestone store reindex` \
                 makes the index anew",
            );
        }
    }

    /// Walks a manifest. Leaves that another revision has too were checked with it, but for how
    /// they follow each other.
    fn order(&mut self, id: &Id, tree: &Tree<Records>, checked: &mut Checked) -> Result<()> {
        let mut new = Vec::new();
        tree.visit(&mut |child, level| {
            if level > 1 {
                return Ok(checked.inner_nodes.insert(child.id));
            }
            if checked.leaves.insert(child.id) {
                new.push(child.first.clone());
            }
            Ok(true)
        })?;
        let mut previous: Option<(Vec<u8>, bool)> = None;
        let mut cursor = tree.cursor();
        let mut new = new.into_iter().peekable();
        let mut is_new = false;
        while let Some(entry) = cursor.next()? {
            self.report.entries += 1;
            let before = previous.as_ref().map(|(path, is_directory)| (&path[..], *is_directory));
            if let Some(fault) = placement_fault(before, &entry.path) {
                let path = path::display(&entry.path);
                self.found(format!("revision {id}"), format!("path {path} {fault}"));
            }
            // A leaf is new until the next leaf's first path; checking an entry twice is harmless.
            if new.peek() == Some(&entry.path) {
                new.next();
                is_new = true;
            }
            if is_new && let Err(error) = self.entry(tree, entry, checked) {
                let object = format!("revision {id}, path {}", path::display(&entry.path));
                self.found(object, describe(&error));
            }
            match &mut previous {
                Some((path, is_directory)) => {
                    path.clone_from(&entry.path);
                    *is_directory = entry.is_directory();
                }
                None => previous = Some((entry.path.clone(), entry.is_directory())),
            }
        }
        Ok(())
    }

    fn entry(&mut self, tree: &Tree<Records>, entry: &Entry, checked: &mut Checked) -> Result<()> {
        let Kind::File { size, sha1, content, .. } = entry.kind else { return Ok(()) };
        if !entry.is_chunked() {
            self.chunk(&content, size)?;
            return match self.held.sha1s.get(&content) {
                Some(found) if *found != sha1 => {
                    Err(Error::corrupt(format!("its SHA-1 is {found}, not {sha1}")))
                }
                _ => Ok(()),
            };
        }
        self.content(tree.source(), &content, size, &sha1, checked)
    }

    pub(super) fn node(&self, kind: NodeKind, id: &Id) -> Result<()> {
        if self.held.records.contains_key(&(kind.into(), *id)) {
            return Ok(());
        }
        Err(Error::corrupt(format!("{} {id} is in no pack", RecordKind::from(kind).word())))
    }

    pub(super) fn chunk(&self, id: &Id, length: u64) -> Result<()> {
        let key = (RecordKind::Chunk, *id);
        match self.held.records.get(&key) {
            _ if self.damaged.contains(&key) => {
                Err(Error::corrupt(format!("chunk {id} is damaged")))
            }
            None => Err(Error::corrupt(format!("chunk {id} is in no pack"))),
            Some(held) if held.plain != length => Err(Error::corrupt(format!(
                "chunk {id} is {} bytes long, not {length}",
                held.plain
            ))),
            Some(held) if !held.listed => Err(Error::corrupt(format!(
                "chunk {id} is in no index segment: `freestone store reindex` lists it again"
            ))),
            Some(_) => Ok(()),
        }
    }
}
