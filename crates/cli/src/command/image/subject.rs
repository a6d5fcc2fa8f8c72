//! What an image is made of.

use super::options::DirectoryOptions;
use crate::context::Context;
use crate::location;
use crate::loose::{self, Loose};
use crate::output::progress::Unit;
use crate::part::{Need, Part};
use crate::values::name::Name;
use crate::values::time;
use freestone_core::{ChunkSource, ErrorKind, Id, Plan, RawChunks, Result, Watch};
use freestone_image::Format;
use freestone_manifest::Tree;
use freestone_source::directory;
use freestone_store::Store;
use freestone_store::upstream::Fetched;
use std::ffi::OsStr;
use std::path::Path;

/// How much is to be done for a revision.
pub(super) struct RevisionOptions {
    /// Nothing is to be written: what would be fetched is only given.
    pub(super) dry_run: bool,
    /// What was proven before does not count.
    pub(super) prove_again: bool,
}

/// A manifest that is laid out, and its contents.
pub(super) struct ImageSubject {
    pub(super) plan: Box<dyn Plan>,
    pub(super) chunks: Box<dyn ChunkSource>,
    /// Where chunks lie as they are, if they do.
    pub(super) raw: Option<Box<dyn RawChunks>>,
    /// The store that it is from.
    pub(super) store: Option<Store>,
    /// The revision it is of.
    pub(super) revision: Option<Id>,
    pub(super) root: Id,
    pub(super) entries: u64,
    pub(super) bytes: u64,
    /// What was left out of a directory.
    pub(super) report: directory::Report,
    /// What fetching the contents takes, in a dry run on a store that follows an upstream.
    pub(super) preview: Option<Fetched>,
}

impl ImageSubject {
    /// The revision, or the directory of one, that `argument` names.
    /// What was proven before counts unless the wishes say otherwise.
    pub(super) fn revision(
        argument: &OsStr,
        format: Format,
        wishes: RevisionOptions,
        context: &Context,
    ) -> Result<Self> {
        let RevisionOptions { dry_run, prove_again } = wishes;
        let store = context.store()?;
        if !prove_again {
            store.load_proofs();
        }
        let found = Part::find(&store, &Name::parse(argument)?);
        let part = found.map_err(|error| match error.kind() {
            ErrorKind::NotFound if Path::new(argument).is_dir() => {
                let name = argument.display();
                error.hint(format!("the directory {name} is written ./{name}"))
            }
            _ => error,
        })?;
        let mut preview = None;
        if dry_run {
            preview = part.preview(context)?;
        } else {
            part.fetch(Need::Contents, context)?;
        }
        let (root, nodes) = part.manifest(&context.interrupt)?;
        let tree = Tree::open(nodes.clone(), &root)?;
        let (entries, bytes) = (tree.summary().entries, tree.summary().bytes);
        Ok(Self {
            plan: format.plan(nodes, &root)?,
            chunks: Box::new(part.records().clone()),
            raw: Some(Box::new(part.records().clone())),
            store: Some(store),
            revision: Some(part.id),
            root,
            entries,
            bytes,
            report: directory::Report::default(),
            preview,
        })
    }

    /// The directory `place`, of which `output` is no part.
    pub(super) fn directory(
        place: &Path,
        given: &DirectoryOptions,
        output: Option<&Path>,
        format: Format,
        context: &Context,
    ) -> Result<Self> {
        let options = directory::Options {
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
            plan: format.plan(nodes, &root.id)?,
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
