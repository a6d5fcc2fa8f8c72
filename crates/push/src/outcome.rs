//! What a push did.

use crate::options::PushOptions;
use freestone_core::{Id, Measure};
use freestone_format::ref_entry::RefEntry;
use freestone_format::revision::Revision;
use freestone_manifest::Subtree;

/// The result of a push.
#[derive(Clone, Debug)]
pub struct PushOutcome {
    /// The revision's id; in a dry run, that of the revision that would be made.
    pub id: Id,
    /// The revision.
    pub revision: Revision,
    /// Whether there was nothing new, so that the revision is the parent.
    pub up_to_date: bool,
    /// The ref's new entry, if one was made.
    pub ref_entry: Option<RefEntry>,
    /// Entries that differ from the parent's at the same path.
    pub changed: u64,
    /// Entries that the parent does not have.
    pub new: u64,
    /// Entries that only the parent has.
    pub gone: u64,
    /// Files that were read and hashed.
    pub files_hashed: u64,
    /// Bytes that were read and hashed.
    pub bytes_hashed: u64,
    /// Bytes of the packs and segments that were written. In a dry run, the plain bytes of contents
    /// that the store does not have.
    pub bytes_stored: u64,
    /// Whether the stat cache was used. It is not while another process uses it.
    pub stat_cache: bool,
    /// Whether the manifest holds what tar cannot express.
    pub inexpressible: bool,
}

/// A manifest that was made from a source, and how it differs from the parent's.
pub(crate) struct Walked {
    pub(crate) root: Subtree,
    pub(crate) changed: u64,
    pub(crate) new: u64,
    pub(crate) gone: u64,
    pub(crate) files_hashed: u64,
    pub(crate) bytes_hashed: u64,
}

impl PushOutcome {
    /// Returns the outcome of a push that made the manifest `walked` on top of `parent`.
    pub(crate) fn of(
        options: &PushOptions,
        parent: Option<&(Id, Revision)>,
        walked: &Walked,
        stat_cache: bool,
    ) -> Self {
        let Subtree { id: root, content_digest, entries, bytes, measure, .. } = walked.root;
        let same = parent.filter(|(_, parent)| {
            let has = |(key, value): (&String, &String)| parent.labels.get(key) == Some(value);
            // Times that were asked for count; others follow the content.
            let same_times = options.mtime.is_none() || parent.root == root;
            parent.content_digest == content_digest
                && same_times
                && options.labels.iter().all(has)
                && options.message.as_ref().is_none_or(|message| *message == parent.message)
        });
        let (id, revision) = match (same, parent) {
            (Some(parent), _) => parent.clone(),
            (None, parent) => {
                // Equal content keeps the parent's root: nothing but labels and message is new.
                let root = match parent {
                    Some((_, parent))
                        if parent.content_digest == content_digest && options.mtime.is_none() =>
                    {
                        parent.root
                    }
                    _ => root,
                };
                let revision = Revision {
                    root,
                    content_digest,
                    entries,
                    bytes,
                    time: options.time,
                    parents: parent.iter().map(|(id, _)| *id).collect(),
                    message: options.message.clone().unwrap_or_default(),
                    labels: options.labels.clone(),
                };
                (revision.id(), revision)
            }
        };
        Self {
            changed: walked.changed,
            new: walked.new,
            gone: walked.gone,
            files_hashed: walked.files_hashed,
            bytes_hashed: walked.bytes_hashed,
            up_to_date: same.is_some(),
            stat_cache,
            inexpressible: measure == Measure::Inexpressible,
            ..Self::up_to_date(id, revision)
        }
    }

    /// Returns the outcome of a push that found nothing new: revision `id` stays.
    pub(crate) fn up_to_date(id: Id, revision: Revision) -> Self {
        Self {
            id,
            revision,
            up_to_date: true,
            ref_entry: None,
            changed: 0,
            new: 0,
            gone: 0,
            files_hashed: 0,
            bytes_hashed: 0,
            bytes_stored: 0,
            stat_cache: false,
            inexpressible: false,
        }
    }
}
