//! The manifest and contents that an image is built from.

use super::options::DirectoryOptions;
use crate::context::Context;
use crate::location;
use crate::loose::{self, Loose};
use crate::output::progress::Unit;
use crate::part::{Need, Part};
use crate::values::name::Name;
use crate::values::time;
use freestone_core::{ChunkSource, Error, ErrorKind, Id, Plan, RawChunks, Result, Watch};
use freestone_follow::Fetched;
use freestone_image::Format;
use freestone_manifest::Tree;
use freestone_source::directory;
use freestone_store::Store;
use std::ffi::OsStr;
use std::path::Path;

/// Options for a revision.
pub(super) struct RevisionOptions {
    /// Nothing is to be written: contents are not fetched, only counted.
    pub(super) dry_run: bool,
    /// Stored bytes are hashed again, even if they were hashed before.
    pub(super) prove_again: bool,
}

/// The manifest and contents that an image is built from, with the image's plan.
pub(super) struct ImageSubject {
    /// The plan of the image.
    pub(super) plan: Box<dyn Plan>,
    /// The chunks of the contents.
    pub(super) chunks: Box<dyn ChunkSource>,
    /// Finds chunks that are stored raw in the store's files, so that they can be shared.
    pub(super) raw: Option<Box<dyn RawChunks>>,
    /// The store, if it is from one.
    pub(super) store: Option<Store>,
    /// The revision, if it is from one.
    pub(super) revision: Option<Id>,
    /// The root of the manifest.
    pub(super) root: Id,
    /// Number of entries.
    pub(super) entries: u64,
    /// Total bytes of the contents.
    pub(super) bytes: u64,
    /// The paths that were left out of a local directory.
    pub(super) report: directory::SourceReport,
    /// How much would be fetched, in a dry run on a store that follows an upstream.
    pub(super) preview: Option<Fetched>,
}

impl ImageSubject {
    /// Finds the revision, or the directory in one, that `argument` names.
    pub(super) fn revision(
        argument: &OsStr,
        format: Format,
        options: RevisionOptions,
        context: &Context,
    ) -> Result<Self> {
        let RevisionOptions { dry_run, prove_again } = options;
        // A name that is also a local directory was probably meant as one.
        let with_hint = |error: Error| match error.kind() {
            ErrorKind::NotFound if Path::new(argument).is_dir() => {
                error.hint(format!("write ./{} for the local directory", argument.display()))
            }
            _ => error,
        };
        let opened = context.opened().map_err(with_hint)?;
        if !prove_again {
            opened.store.load_proofs();
        }
        let part = Part::find(&opened, &Name::parse(argument)?).map_err(with_hint)?;
        let mut preview = None;
        if dry_run {
            preview = part.preview(context)?;
        } else {
            part.fetch(Need::Contents, context)?;
        }
        let tree = part.manifest(&context.interrupt)?;
        let (root, entries, bytes) = (tree.id(), tree.summary().entries, tree.summary().bytes);
        Ok(Self {
            plan: format.plan(tree)?,
            chunks: Box::new(part.records().clone()),
            raw: Some(Box::new(part.records().clone())),
            store: Some(opened.store),
            revision: Some(part.id),
            root,
            entries,
            bytes,
            report: directory::SourceReport::default(),
            preview,
        })
    }

    /// Reads the local directory `place`, without the file `output`.
    pub(super) fn directory(
        place: &Path,
        given: &DirectoryOptions,
        output: Option<&Path>,
        format: Format,
        context: &Context,
    ) -> Result<Self> {
        let options = directory::DirectoryOptions {
            skip_special: given.skip_special,
            leave_out: output.map(location::absolute).transpose()?.into_iter().collect(),
            ..context.walking(&given.exclude_from, &given.exclude)?
        };
        let mtime = match given.mtime {
            Some(mtime) => Some(mtime),
            None => time::source_date_epoch()?,
        };
        let (walk, opener) = directory::open(place, &options)?;
        let read = |watch: Watch<'_>| {
            let reading = loose::ReadOptions { mtime, workers: context.workers(), watch };
            loose::read(walk, opener, &reading)
        };
        let Loose { root, nodes, contents, report } =
            context.watched("hashing", Unit::Bytes, None, read)?;
        Ok(Self {
            plan: format.plan(Tree::open(nodes, &root.id)?)?,
            chunks: Box::new(contents),
            raw: None,
            store: None,
            revision: None,
            root: root.id,
            entries: root.entries,
            bytes: root.bytes,
            report,
            preview: None,
        })
    }
}
