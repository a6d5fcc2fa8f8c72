//! That every revision has all that it names.

use super::Verifier;
use super::held::Key;
use freestone_core::plan::NodeKind;
use freestone_core::{Error, Id, Result, path};
use freestone_format::record::RecordKind;
use freestone_format::revision::Revision;
use freestone_manifest::{Entry, EntryKind, Tree, placement_fault};
use freestone_store::{Place, Records, check_totals, revisions};
use std::collections::HashSet;

/// Manifest nodes and large contents that were checked already: they are shared by revisions.
/// About 16 bytes a node, one for some 25 entries.
#[derive(Default)]
pub(super) struct Checked {
    nodes: HashSet<Key>,
    pub(super) contents: HashSet<Key>,
}

impl Verifier<'_> {
    /// Checks the revisions that have a file, and those that a live pack holds.
    pub(super) fn revisions(&mut self, with_file: Vec<Id>) -> Result<()> {
        let mut ids = std::mem::take(&mut self.revisions_held);
        ids.extend(with_file);
        ids.sort_unstable();
        ids.dedup();
        let mut checked = Checked::default();
        for id in ids {
            if self.kept.as_ref().is_some_and(|kept| !kept.contains(&id)) {
                self.report.collected += 1;
                continue;
            }
            self.report.revisions += 1;
            if let Err(error) = revisions::read_file(&**self.store.backend(), &id) {
                self.found_error(format!("revisions/{id}"), &error);
            }
            match self.store.revision(&id) {
                Ok(Some(revision)) => {
                    if let Err(error) = self.revision(&id, &revision, &mut checked) {
                        if self.is_cancelled() {
                            return Err(error);
                        }
                        self.found_error(format!("revision {id}"), &error);
                    }
                }
                Ok(None) => {
                    let error = self.missing("is in no pack");
                    self.found_error(format!("revision {id}"), &error);
                }
                // Its file says the same.
                Err(error) if error.is_newer() => {}
                Err(error) => self.found_error(format!("revision {id}"), &error),
            }
        }
        Ok(())
    }

    fn revision(&mut self, id: &Id, revision: &Revision, checked: &mut Checked) -> Result<()> {
        let tree = self.store.tree(&revision.root)?;
        if let Err(error) = check_totals(revision, tree.summary()) {
            self.found_error(format!("revision {id}"), &error);
        }
        self.order(id, &tree, checked)?;
        self.index_of(id, revision);
        for parent in &revision.parents {
            // One that is not here at all may be elsewhere: history is cut where a revision was
            // copied without what came before it. What refs name is checked by their logs.
            if matches!(self.store.revision(parent), Ok(None)) || self.kept.is_some() {
                continue;
            }
            if let Some(error) = self.revision_fault(parent, &format!("its parent {parent} is")) {
                self.found_error(format!("revision {id}"), &error);
            }
        }
        Ok(())
    }

    /// Checks that the index lists the revision and its labels.
    fn index_of(&mut self, id: &Id, revision: &Revision) {
        let held = self.held.get(RecordKind::Revision, id);
        // It may be in what is of a later version.
        let mut is_listed = held.map_or(self.report.newer > 0, |held| held.listed);
        if let (Some(index), Some(commit)) = (&self.index, revision.commit_prefix()) {
            let places = index.find_commits(commit, commit).unwrap_or_default();
            let is_it = |place: &Place| {
                // What cannot be read is reported with the pack.
                self.store.packs().holds(place, id).unwrap_or_else(|error| !error.is_damage())
            };
            is_listed &= places.iter().any(is_it);
        }
        if !is_listed {
            self.found(
                format!("revision {id}"),
                "no index segment lists it with its commit: `freestone store reindex` \
                 makes the index again",
            );
        }
    }

    /// Walks a manifest. Leaves that another revision has too were checked with it, but for how
    /// they follow each other.
    fn order(&mut self, id: &Id, tree: &Tree<Records>, checked: &mut Checked) -> Result<()> {
        let mut new = Vec::new();
        tree.visit(&mut |child, level| {
            if level > 1 {
                return Ok(checked.nodes.insert(self.keys.of(RecordKind::ManifestNode, &child.id)));
            }
            if checked.nodes.insert(self.keys.of(RecordKind::ManifestNode, &child.id)) {
                new.push(child.first.clone());
            }
            Ok(true)
        })?;
        let mut previous: Option<(Vec<u8>, bool)> = None;
        let mut cursor = tree.cursor().lenient();
        let mut new = new.into_iter().peekable();
        let mut is_new = false;
        while let Some(entry) = cursor.next()? {
            self.report.entries += 1;
            self.watch.step(1)?;
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
                self.found_error(object, &error);
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
        let EntryKind::File { size, sha1, content, .. } = entry.kind else { return Ok(()) };
        if self.taken_down.contains_key(&content) {
            return Ok(());
        }
        if !entry.is_chunked() {
            self.chunk(&content, size)?;
            let found = self.held.get(RecordKind::Chunk, &content).and_then(|held| held.sha1);
            return match found {
                Some(found) if found != self.keys.of_sha1(&sha1) => {
                    Err(Error::corrupt(format!("its SHA-1 is not {sha1}")))
                }
                _ => Ok(()),
            };
        }
        self.content(tree.source(), &content, size, &sha1, checked)
    }

    pub(super) fn node(&self, kind: NodeKind, id: &Id) -> Result<()> {
        let kind = RecordKind::from(kind);
        match self.held.get(kind, id) {
            Some(_) => Ok(()),
            None => Err(self.missing(&format!("{} {id} is in no pack", kind.word()))),
        }
    }

    pub(super) fn chunk(&self, id: &Id, length: u64) -> Result<()> {
        match self.held.get(RecordKind::Chunk, id) {
            None => Err(self.missing(&format!("chunk {id} is in no pack"))),
            Some(held) if held.damaged => Err(Error::corrupt(format!("chunk {id} is damaged"))),
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
