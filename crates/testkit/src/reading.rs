//! Reading whole revisions back, every byte by way of the store's proofs.

use crate::MemorySource;
use freestone_core::{ChunkSource, Error, ExtentSource, Id, Result, Watch};
use freestone_maintain::{self as maintain, Finding, VerifyOptions};
use freestone_manifest::content::pieces;
use freestone_manifest::{Entry, EntryKind};
use freestone_store::Store;
use std::collections::HashMap;
use std::sync::Arc;

/// The entries of a revision, each with its file's bytes; a directory has none.
pub type ReadBack = Vec<(Entry, Arc<Vec<u8>>)>;

/// Reads revisions of a store; each content once.
pub struct Reading<'a> {
    store: &'a Store,
    contents: HashMap<Id, Arc<Vec<u8>>>,
}

impl<'a> Reading<'a> {
    /// Reads from `store`, by its index as it is.
    pub fn new(store: &'a Store) -> Self {
        Self { store, contents: HashMap::new() }
    }

    /// Returns all entries below the manifest root `root`, with their bytes.
    ///
    /// # Errors
    /// Something is missing or damaged.
    pub fn manifest(&mut self, root: &Id) -> Result<ReadBack> {
        let tree = self.store.tree(root)?;
        let mut cursor = tree.cursor();
        let mut back = Vec::new();
        while let Some(entry) = cursor.next()?.cloned() {
            let bytes = self.bytes(tree.source(), &entry)?;
            back.push((entry, bytes));
        }
        Ok(back)
    }

    /// Returns the revision `id` as the tree that was pushed.
    ///
    /// # Errors
    /// As [`Self::manifest`]; or there is no such revision.
    pub fn revision(&mut self, id: &Id) -> Result<MemorySource> {
        let revision = self.store.revision(id)?;
        let revision = revision.ok_or_else(|| Error::not_found(format!("revision {id}")))?;
        let mut tree = MemorySource::default();
        for (entry, bytes) in self.manifest(&revision.root)? {
            match entry.kind {
                EntryKind::Directory => drop(tree.directories.insert(entry.path)),
                EntryKind::File { executable, .. } => {
                    tree.files.insert(entry.path, (executable, bytes));
                }
            }
        }
        Ok(tree)
    }

    fn bytes(&mut self, source: &freestone_store::Records, entry: &Entry) -> Result<Arc<Vec<u8>>> {
        let EntryKind::File { size, sha1, content, .. } = &entry.kind else {
            return Ok(Arc::default());
        };
        if let Some(bytes) = self.contents.get(content) {
            return Ok(bytes.clone());
        }
        let (mut bytes, mut buffer) = (Vec::new(), Vec::new());
        pieces(source, content, *size, Some(sha1), 0..*size, &mut |piece| {
            if let ExtentSource::Chunk(id) = piece.source {
                let chunk = source.chunk_in(&id, piece.length, &mut buffer)?;
                bytes.extend_from_slice(chunk);
            } else {
                let zeros = usize::try_from(piece.length).unwrap_or(usize::MAX);
                bytes.resize(bytes.len().saturating_add(zeros), 0);
            }
            Ok(())
        })?;
        let bytes = Arc::new(bytes);
        self.contents.insert(*content, bytes.clone());
        Ok(bytes)
    }
}

/// Returns what `verify --data` finds.
///
/// # Errors
/// As [`maintain::verify`].
pub fn findings(store: &Store) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    maintain::verify(store, VerifyOptions { data: true }, Watch::default(), &mut |finding| {
        findings.push(finding);
    })?;
    Ok(findings)
}
