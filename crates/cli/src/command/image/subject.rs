//! What an image is made of.

use super::Directory;
use crate::loose::{self, Loose};
use crate::name::Name;
use crate::part::{Bring, Part};
use crate::progress::Unit;
use crate::session::Session;
use crate::time;
use freestone_core::{ChunkSource, Error, ErrorKind, Id, Plan, RawChunks, Result};
use freestone_image::Format;
use freestone_manifest::Tree;
use freestone_source::directory;
use freestone_store::Store;
use freestone_store::upstream::Fetched;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// How much is to be done for a revision.
pub(super) struct Wishes {
    /// Nothing is to be written: what would be fetched is only told.
    pub(super) dry_run: bool,
    /// What was proven before does not count.
    pub(super) proves: bool,
}

/// A manifest that is laid out, and its contents.
pub(super) struct Subject {
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
    pub(super) report: directory::SourceReport,
    /// What fetching the contents takes, in a dry run on a store that follows an upstream.
    pub(super) preview: Option<Fetched>,
}

impl Subject {
    /// The revision, or the directory of one, that `argument` names.
    /// What was proven before counts unless the wishes say otherwise.
    pub(super) fn revision(
        argument: &OsStr,
        format: Format,
        wishes: Wishes,
        session: &Session,
    ) -> Result<Self> {
        let Wishes { dry_run, proves } = wishes;
        let store = session.store()?;
        if !proves {
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
            preview = part.preview(session)?;
        } else {
            part.bring(Bring::Contents, session)?;
        }
        let (root, nodes) = part.manifest(&session.interrupt)?;
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
            report: directory::SourceReport::default(),
            preview,
        })
    }

    /// The directory `place`, of which `output` is no part.
    pub(super) fn directory(
        place: &Path,
        told: &Directory,
        output: Option<&Path>,
        format: Format,
        session: &Session,
    ) -> Result<Self> {
        let options = directory::DirectoryOptions {
            skip_special: told.skip_special,
            leave_out: output.map(absolute).transpose()?.into_iter().collect(),
            ..session.walking(&told.exclude_from, &told.exclude)?
        };
        let mtime = match told.mtime {
            Some(mtime) => Some(mtime),
            None => time::source_date_epoch()?,
        };
        let (walk, opener) = directory::open(place, &options)?;
        let progress = session.progress("hashing", Unit::Bytes, None);
        let reading = loose::Options {
            mtime,
            workers: session.workers(),
            progress: &progress,
            interrupt: &session.interrupt,
        };
        let Loose { root, nodes, contents, report } = loose::read(walk, opener, &reading)?;
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

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path)
        .map_err(|error| Error::io(format!("{}: no such place", path.display()), error))
}
