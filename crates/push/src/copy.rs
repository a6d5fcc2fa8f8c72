//! Copying revisions to another store: what that lacks of them, and the entries of refs.
//!
//! A copy is a push whose source is a store: records are read and proven, written to packs of the
//! target's own, listed, and named by a revision and by ref entries, in that order; so one that
//! was killed leaves a whole store, and is gone on with by copying again. What is stored without a
//! base is copied as it is stored; the rest is stored anew, since its base may not be there.

use freestone_core::digest::sha1_hasher;
use freestone_core::limits::{ALIGNED_CONTENT_BYTES_MIN, CONTENT_WHOLE_BYTES_MAX};
use freestone_core::plan::{ChunkSource, NodeKind, NodeSource};
use freestone_core::{Error, ErrorKind, ExtentSource, Id, Result, Sha1};
use freestone_format::frame::decompress;
use freestone_format::record::{Codec, RecordKind};
use freestone_format::ref_entry::{self, RefEntry};
use freestone_format::revision::Revision;
use freestone_manifest::content::{ContentRecord, pieces, visit_nodes};
use freestone_manifest::{EntryKind, Items, Node, Subtree};
use freestone_store::Index;
use freestone_store::Store;
use freestone_store::write::encoding::{self, Encoded};
use freestone_store::write::lane::NewRecord;
use freestone_store::write::writer::{SHARED, Session};
use freestone_store::{Records, read::records::missing};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Ids that are remembered as being at the target; more are looked up again.
const SEEN_MAX: usize = 1 << 20;

/// How revisions are copied.
#[derive(Default)]
pub struct CopyOptions<'a> {
    /// Whether to write nothing.
    pub dry_run: bool,
    /// Told the plain bytes that were copied.
    pub progress: Option<&'a (dyn Fn(u64) + Sync)>,
    /// Set to stop.
    pub cancel: Option<&'a AtomicBool>,
}

/// What was copied, or would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Revisions that the target did not have.
    pub revisions: u64,
    /// Records that it did not have.
    pub records: u64,
    /// Bytes of these records as they are stored in the source.
    pub bytes: u64,
    /// Bytes that the target grew by: packs and segments. None in a dry run.
    pub bytes_stored: u64,
    /// Entries of refs that were made.
    pub ref_entries: u64,
}

/// Copies revisions from one store to another.
pub struct Copier<'a> {
    source: &'a Store,
    target: &'a Store,
    options: CopyOptions<'a>,
    from: Records,
    to: Records,
    /// Manifest nodes and contents that are at the target with all below them.
    seen: HashSet<Id>,
    revisions: HashSet<Id>,
    copied: Copied,
}

impl<'a> Copier<'a> {
    /// Copies from `source` to `target`.
    ///
    /// # Errors
    /// The target may not be written to, or an index cannot be read.
    pub fn new(source: &'a Store, target: &'a Store, options: CopyOptions<'a>) -> Result<Self> {
        if !options.dry_run {
            target.check_writable()?;
        }
        let index = Arc::new(Index::open(&**target.backend())?);
        Ok(Self {
            source,
            target,
            options,
            from: source.records()?,
            to: Records { index, packs: target.packs().clone() },
            seen: HashSet::new(),
            revisions: HashSet::new(),
            copied: Copied::default(),
        })
    }

    /// What was copied so far.
    pub fn copied(&self) -> Copied {
        self.copied
    }

    /// Copies a revision with all that it needs, unless the target has it.
    ///
    /// # Errors
    /// Something of it is missing or damaged, or the target cannot be written.
    pub fn revision(&mut self, id: &Id) -> Result<()> {
        if self.revisions.contains(id) || self.target.revision(id)?.is_some() {
            return Ok(());
        }
        let revision = self.source.revision(id)?;
        let revision =
            revision.ok_or_else(|| Error::not_found(format!("there is no revision {id}")))?;
        let session = (!self.options.dry_run).then(|| {
            Session::new(self.target.backend().clone(), self.to.clone(), sha1_hasher, false)
        });
        let outcome = self.all_of(id, &revision, session.as_ref());
        if let Err(error) = outcome {
            return Err(match session {
                Some(session) => session.failure(error),
                None => error,
            });
        }
        if let Some(session) = session {
            let written = session.counter();
            let finished = session.finish()?;
            freestone_store::revisions::write_file(
                &**self.target.backend(),
                &revision,
                &finished.locator,
            )?;
            self.copied.bytes_stored += written.bytes.load(Ordering::Relaxed);
        }
        self.revisions.insert(*id);
        self.copied.revisions += 1;
        Ok(())
    }

    fn all_of(&mut self, id: &Id, revision: &Revision, session: Option<&Session>) -> Result<()> {
        self.node(&revision.root, None, session)?;
        self.count(revision.encode().len() as u64);
        session.map_or(Ok(()), |session| session.put_revision(*id, revision))
    }

    /// Copies the entries of a ref, up to entry `n`, behind those that the target has, with the
    /// revisions that they name. A ref that the target does not have begins with entry `n`, so
    /// that `REF@N` means the same in both.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if the target's ref is another; or as [`Self::revision`].
    pub fn ref_entries(&mut self, name: &str, n: u64) -> Result<()> {
        let (source, target) = (self.source.refs(), self.target.refs());
        let entry = |n: u64| -> Result<RefEntry> {
            source.entry(name, n)?.ok_or_else(|| {
                Error::not_found(format!(
                    "ref {name} has no entry {n}, which {name}@{} names",
                    n + 1
                ))
            })
        };
        let conflict = || {
            Error::new(ErrorKind::Conflict, format!("ref {name} of the target is another ref"))
                .hint(format!(
                    "its entries do not continue the source's. Copy the revision by its id, and \
                     name it there: freestone -s TARGET ref set {name} ID"
                ))
        };
        let newest = target.newest(name)?;
        let first = match &newest {
            None => n,
            Some(newest) => {
                // The target's newest entry has to be an entry of this ref too.
                if source.entry(name, newest.n)?.as_ref() != Some(newest) {
                    return Err(conflict());
                }
                newest.n + 1
            }
        };
        let backend = &**self.target.backend();
        if first <= n && !self.options.dry_run {
            // What is there may come from a copy that died before it was durable, or told of.
            target.settle(None)?;
            freestone_store::hints::write_index(backend, &[]);
        }
        for n in first..=n {
            let entry = entry(n)?;
            let before = self.copied.revisions;
            if let Some(id) = entry.revision() {
                self.revision(&id)?;
            }
            self.copied.ref_entries += 1;
            if self.options.dry_run {
                continue;
            }
            if self.copied.revisions > before {
                freestone_store::hints::write_index(backend, &[]);
            }
            let object = format!("{}/{}", ref_entry::folder(name), ref_entry::key(n));
            backend.create(&object, &entry.encode())?;
            if target.entry(name, n)?.as_ref() != Some(&entry) {
                return Err(conflict());
            }
        }
        if !self.options.dry_run {
            // Nor need it have told of its entries.
            freestone_store::hints::write_ref(backend, name, n.max(first - 1), true);
        }
        Ok(())
    }

    /// Ends the copying. Merging segments is housekeeping: what fails about it costs time only.
    pub fn finish(self) -> Copied {
        if self.copied.revisions > 0 && !self.options.dry_run {
            let backend = &**self.target.backend();
            freestone_store::hints::write_index(backend, &[]);
            let _ = freestone_store::index::merge::merge_tiers(backend, &self.to.index);
        }
        self.target.refresh();
        self.copied
    }

    fn check(&self) -> Result<()> {
        match self.options.cancel {
            Some(cancel) if cancel.load(Ordering::Relaxed) => {
                Err(Error::new(ErrorKind::Failed, "interrupted"))
            }
            _ => Ok(()),
        }
    }

    fn count(&mut self, stored: u64) {
        self.copied.records += 1;
        self.copied.bytes += stored;
    }

    fn is_known(&self, kind: RecordKind, id: &Id, session: Option<&Session>) -> Result<bool> {
        match session {
            Some(session) => session.is_known(kind, id, SHARED),
            None => self.to.has(kind, id),
        }
    }

    fn note_seen(&mut self, id: Id) {
        if self.seen.len() >= SEEN_MAX {
            self.seen.clear();
        }
        self.seen.insert(id);
    }

    /// Copies a manifest node, after all below it; `said` is what its parent says of it.
    fn node(
        &mut self,
        id: &Id,
        said: Option<(u8, &Subtree)>,
        session: Option<&Session>,
    ) -> Result<()> {
        if self.seen.contains(id) {
            return Ok(());
        }
        self.check()?;
        let bytes = self.from.node(NodeKind::Manifest, id)?;
        let node =
            Node::decode(&bytes).map_err(|error| error.context(format!("manifest node {id}")))?;
        if let Some((level, child)) = said
            && (node.level + 1 != level || node.child(*id)? != *child)
        {
            return Err(Error::corrupt(format!(
                "manifest node {id} does not agree with its parent"
            )));
        }
        match &node.items {
            Items::Children(children) => {
                for child in children {
                    self.node(&child.id, Some((node.level, child)), session)?;
                }
            }
            Items::Entries(entries) => {
                for entry in entries {
                    if let EntryKind::File { size, sha1, content, .. } = &entry.kind {
                        self.content(content, *size, sha1, session)?;
                    }
                }
            }
        }
        self.put(RecordKind::ManifestNode, id, &bytes, session)?;
        self.note_seen(*id);
        Ok(())
    }

    /// Copies a node of a manifest or of a content.
    fn put(
        &mut self,
        kind: RecordKind,
        id: &Id,
        bytes: &[u8],
        session: Option<&Session>,
    ) -> Result<()> {
        if self.is_known(kind, id, session)? {
            return Ok(());
        }
        let stored = self.from.places(kind, id)?.first().map_or(0, |place| place.row.stored);
        self.count(stored);
        session.map_or(Ok(()), |session| session.put_node(kind, *id, bytes))
    }

    fn content(
        &mut self,
        id: &Id,
        size: u64,
        sha1: &Sha1,
        session: Option<&Session>,
    ) -> Result<()> {
        if self.seen.contains(id) {
            return Ok(());
        }
        self.check()?;
        if size <= CONTENT_WHOLE_BYTES_MAX {
            let aligned = (size >= ALIGNED_CONTENT_BYTES_MIN).then_some(0);
            self.chunk(id, size, aligned, Some((*sha1, *id)), session)?;
        } else if !self.is_known(RecordKind::ContentRecord, id, session)? {
            self.large(id, size, sha1, session)?;
        }
        self.note_seen(*id);
        Ok(())
    }

    /// Copies a content that has a record: its chunks, its nodes, its record.
    fn large(&mut self, id: &Id, size: u64, sha1: &Sha1, session: Option<&Session>) -> Result<()> {
        let from = self.from.clone();
        let record = ContentRecord::read(&from, id)?;
        if let Some(session) = session {
            session.check_sha1(sha1, &record.blake3, id)?;
        }
        pieces(&from, id, size, Some(sha1), 0..size, &mut |piece| match piece.source {
            ExtentSource::Chunk(chunk) => {
                self.chunk(&chunk, piece.length, Some(piece.offset), None, session)
            }
            _ => Ok(()),
        })?;
        visit_nodes(&from, id, &mut |kind, node| {
            if kind == NodeKind::Content {
                let bytes = from.node(kind, node)?;
                self.put(RecordKind::ContentNode, node, &bytes, session)?;
            }
            Ok(true)
        })?;
        let bytes = record.encode();
        self.count(bytes.len() as u64);
        session.map_or(Ok(()), |session| {
            session.put_content_record(*id, &bytes, (*sha1, record.blake3))
        })
    }

    /// Copies a chunk; `offset` is where it starts in a content that is aligned.
    fn chunk(
        &mut self,
        id: &Id,
        length: u64,
        offset: Option<u64>,
        sha1: Option<(Sha1, Id)>,
        session: Option<&Session>,
    ) -> Result<()> {
        let kind = RecordKind::Chunk;
        if self.is_known(kind, id, session)? {
            return Ok(());
        }
        self.check()?;
        let place = self.from.places(kind, id)?.into_iter().next();
        let place = place.ok_or_else(|| missing(kind, id))?;
        self.count(place.row.stored);
        let Some(session) = session else { return Ok(()) };
        let mut plain = Vec::new();
        self.from.chunk_in(id, length, &mut plain)?;
        if let Some((sha1, whole)) = &sha1 {
            session.check_sha1(sha1, whole, id)?;
        }
        let mut stored = Vec::new();
        let as_stored = place.row.codec == Codec::Zstd && {
            stored.resize(usize::try_from(place.row.stored).unwrap_or(0), 0);
            let read = self.from.packs.open(&place.pack)?.read_at(place.row.offset, &mut stored);
            // It may have been read from another place, where this one is damaged.
            read.is_ok() && decompress(&stored, None, plain.len()).is_ok_and(|again| again == plain)
        };
        let encoded = match place.row.codec {
            _ if as_stored => Encoded { codec: Codec::Zstd, stored: (&stored[..]).into() },
            Codec::Raw => Encoded { codec: Codec::Raw, stored: (&plain[..]).into() },
            _ if offset.is_some() && length >= ALIGNED_CONTENT_BYTES_MIN => {
                encoding::encode_large(&[&plain])?.swap_remove(0)
            }
            _ => encoding::encode(&plain)?,
        };
        session.add_shared(&[NewRecord {
            kind,
            id: *id,
            codec: encoded.codec,
            stored: &encoded.stored,
            plain: length,
            content_offset: offset.filter(|_| encoded.codec == Codec::Raw),
            sha1,
            base: None,
        }])?;
        if let Some(progress) = self.options.progress {
            progress(length);
        }
        Ok(())
    }
}
