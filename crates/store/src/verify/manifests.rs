//! That every revision has all that it names.

use super::{Verifier, describe};
use crate::format::record::RecordKind;
use crate::format::revision::Revision;
use freestone_core::plan::NodeKind;
use freestone_core::{Error, Id, Result, Source, path};
use freestone_manifest::content::{ContentRecord, pieces, visit_nodes};
use freestone_manifest::{Child, Entry, Kind, Tree, placement_fault};
use std::collections::HashSet;

/// Manifest leaves and large contents that were checked already: they are shared by revisions.
#[derive(Default)]
struct Checked {
    leaves: HashSet<Id>,
    contents: HashSet<Id>,
}

impl Verifier<'_> {
    pub(super) fn revisions(&mut self) -> Result<()> {
        let mut ids: HashSet<Id> = self.store.revision_ids()?.into_iter().collect();
        let held = self.held.records.keys();
        ids.extend(held.filter(|(kind, _)| *kind == RecordKind::Revision).map(|(_, id)| *id));
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
        for parent in &revision.parents {
            if !matches!(self.store.revision(parent), Ok(Some(_))) {
                self.found(format!("revision {id}"), format!("its parent {parent} is missing"));
            }
        }
        Ok(())
    }

    /// Walks a manifest. Leaves that another revision has too were checked with it, but for how
    /// they follow each other.
    fn order(
        &mut self,
        id: &Id,
        tree: &Tree<crate::records::Records>,
        checked: &mut Checked,
    ) -> Result<()> {
        let mut new = Vec::new();
        tree.visit(&mut |child, level| {
            if level == 1 && checked.leaves.insert(child.id) {
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

    fn entry(
        &mut self,
        tree: &Tree<crate::records::Records>,
        entry: &Entry,
        checked: &mut Checked,
    ) -> Result<()> {
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
        if !checked.contents.insert(content) {
            return Ok(());
        }
        visit_nodes(tree.source(), &content, &mut |kind, id| self.node(kind, id))?;
        let mut chunks = Vec::new();
        pieces(
            tree.source(),
            &content,
            size,
            Some(&sha1),
            0..size,
            &mut |piece| match piece.source {
                Source::Chunk(id) => {
                    chunks.push((Some(id), piece.length));
                    self.chunk(&id, piece.length)
                }
                _ => {
                    chunks.push((None, piece.length));
                    Ok(())
                }
            },
        )?;
        if self.options.data {
            self.whole(tree, &content, &chunks)?;
        }
        Ok(())
    }

    fn node(&self, kind: NodeKind, id: &Id) -> Result<bool> {
        if self.held.records.contains_key(&(kind.into(), *id)) {
            return Ok(true);
        }
        Err(Error::corrupt(format!("{} {id} is in no pack", RecordKind::from(kind).word())))
    }

    fn chunk(&self, id: &Id, length: u64) -> Result<()> {
        let key = (RecordKind::Chunk, *id);
        match self.held.records.get(&key) {
            _ if self.damaged.contains(&key) => {
                Err(Error::corrupt(format!("chunk {id} is damaged")))
            }
            None => Err(Error::corrupt(format!("chunk {id} is in no pack"))),
            Some(found) if *found != length => {
                Err(Error::corrupt(format!("chunk {id} is {found} bytes long, not {length}")))
            }
            Some(_) => self.listed(id),
        }
    }

    /// That a chunk which a pack holds is found by the index.
    fn listed(&self, id: &Id) -> Result<()> {
        if self.store.index()?.find(RecordKind::Chunk, id, &mut |_| Ok(true))? {
            return Ok(());
        }
        Err(Error::corrupt(format!(
            "chunk {id} is in no index segment: `freestone store reindex` lists it again"
        )))
    }

    /// Hashes a large content as a whole.
    fn whole(
        &mut self,
        tree: &Tree<crate::records::Records>,
        content: &Id,
        chunks: &[(Option<Id>, u64)],
    ) -> Result<()> {
        let record = ContentRecord::read(tree.source(), content)?;
        let mut sha1 = freestone_core::digest::sha1_hasher();
        let mut blake3 = freestone_core::digest::PlainHasher::default();
        let zeros = vec![0; 1 << 16];
        let mut bytes = Vec::new();
        for (chunk, length) in chunks {
            if let Some(id) = chunk {
                freestone_core::ChunkSource::chunk(tree.source(), id, *length, &mut bytes)?;
                sha1.update(&bytes);
                blake3.update(&bytes);
                continue;
            }
            let mut left = *length;
            while left > 0 {
                let part = &zeros[..usize::try_from(left).unwrap_or(usize::MAX).min(zeros.len())];
                sha1.update(part);
                blake3.update(part);
                left -= part.len() as u64;
            }
        }
        if sha1.finish() != record.sha1 || blake3.finish() != record.blake3 {
            return Err(Error::corrupt(format!(
                "content {content} has not the SHA-1 and BLAKE3 that its record says"
            )));
        }
        Ok(())
    }
}
