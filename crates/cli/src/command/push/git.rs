//! Commits of a git repository as revisions.

use super::report;
use crate::output::text;
use crate::session::Session;
use freestone_core::limits::{LABEL_BYTES_MAX, MESSAGE_BYTES_MAX};
use freestone_core::{Error, ErrorKind, Id, Result, path};
use freestone_git::tree::{self, LABEL_LINKS, LABEL_SKIPPED, TreeChanges};
use freestone_git::{Blobs, Chain, Commit, ObjectId, Repository};
use freestone_source::report::SourceReport;
use freestone_store::Revision;
use freestone_store::push::PushOptions;
use freestone_store::push::series::{Items, Series, Step};
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The label that names the commit of a revision.
const LABEL_COMMIT: &str = "git.commit";
/// The label that says that a revision holds this directory of the commit, and nothing else.
const LABEL_SUBDIR: &str = "git.subdir";
const LABEL_AUTHOR: &str = "git.author";
const LABEL_COMMITTER: &str = "git.committer";

/// What is pushed of a repository.
pub(super) struct Wanted<'a> {
    pub(super) commit: &'a str,
    pub(super) subdir: Option<&'a Path>,
    pub(super) history: bool,
    pub(super) since: Option<&'a str>,
    pub(super) skip_special: bool,
}

/// Commits to be pushed.
pub(super) struct Commits<'a> {
    repository: &'a Repository,
    blobs: Blobs<'a>,
    tip: Commit,
    subdir: Vec<u8>,
    history: bool,
    since: Option<ObjectId>,
    skip_special: bool,
    options: PushOptions,
    session: &'a Session,
    pending: VecDeque<ObjectId>,
    reported: Arc<Mutex<SourceReport>>,
    /// Commits that are done, and all.
    pub(super) done: Arc<AtomicU64>,
    pub(super) total: Arc<AtomicU64>,
}

/// The path of a directory of the commit, without slashes at its ends.
fn subdir(place: Option<&Path>) -> Result<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt;
    let bytes = place.map_or(&b""[..], |place| place.as_os_str().as_bytes());
    let parts = bytes.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    let joined = parts.collect::<Vec<_>>().join(&b'/');
    match path::fault(&joined).filter(|_| !joined.is_empty()) {
        None => Ok(joined),
        Some(fault) => Err(Error::new(
            ErrorKind::Usage,
            format!("--subdir {}: the path {fault}", path::display(bytes)),
        )),
    }
}

/// At most `max` bytes of `text`, ending between two characters.
fn cut(text: &str, max: usize) -> &str {
    let end = (0..=max.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

impl<'a> Commits<'a> {
    /// What `wanted` names.
    ///
    /// # Errors
    /// A commit does not exist, or cannot be read.
    pub(super) fn new(
        repository: &'a Repository,
        wanted: &Wanted<'_>,
        options: &PushOptions,
        session: &'a Session,
    ) -> Result<Self> {
        if let Some(key) = options.labels.keys().find(|key| key.starts_with("git.")) {
            let what = format!("label {key:?} follows from the commit, and cannot be given");
            return Err(Error::new(ErrorKind::Usage, what));
        }
        let since = wanted.since.map(|name| repository.resolve(name)).transpose()?;
        Ok(Self {
            repository,
            blobs: Blobs::new(repository),
            tip: repository.resolve(wanted.commit)?,
            subdir: subdir(wanted.subdir)?,
            history: wanted.history,
            since: since.map(|commit| commit.id),
            skip_special: wanted.skip_special,
            options: options.clone(),
            session,
            pending: VecDeque::new(),
            reported: Arc::default(),
            done: Arc::default(),
            total: Arc::default(),
        })
    }

    /// What the last commit had that was skipped.
    pub(super) fn report(&self) -> SourceReport {
        self.reported.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn label_of_subdir(&self) -> String {
        match &self.subdir[..] {
            b"" => ".".to_owned(),
            subdir => path::display(subdir),
        }
    }

    /// The commit that `revision` was made of, if it holds the same directory.
    fn commit_of(&self, revision: &Revision) -> Option<ObjectId> {
        let same = revision.labels.get(LABEL_SUBDIR) == Some(&self.label_of_subdir());
        let commit = revision.labels.get(LABEL_COMMIT).filter(|_| same)?;
        ObjectId::from_hex(commit.as_bytes()).ok()
    }

    /// The tree that `parent` holds, if that is known: from there on, what differs is enough.
    fn tree_of_parent(&self, parent: &Revision) -> Result<Option<(ObjectId, bool)>> {
        let is_whole = !parent.labels.contains_key(LABEL_SKIPPED) && self.options.mtime.is_none();
        let Some(id) = self.commit_of(parent).filter(|_| is_whole) else { return Ok(None) };
        let commit = match self.repository.commit(id) {
            Ok(Some(commit)) => commit,
            _ => {
                self.session.output.note(format_args!(
                    "commit {id} of the parent revision is not in this clone: listing all files; \
                     a deeper clone lists only what changed"
                ));
                return Ok(None);
            }
        };
        let tree = match self.repository.tree_of(&commit, &self.subdir) {
            Ok(Some(tree)) => tree,
            Ok(None) => ObjectId::empty_tree(id.kind()),
            // A clone may have the commit and not its trees.
            Err(_) => return Ok(None),
        };
        Ok(Some((tree, parent.labels.contains_key(LABEL_LINKS))))
    }

    fn labels(&self, commit: &Commit) -> BTreeMap<String, String> {
        let mut labels = self.options.labels.clone();
        labels.insert(LABEL_COMMIT.into(), commit.id.to_string());
        labels.insert(LABEL_SUBDIR.into(), self.label_of_subdir());
        let room = LABEL_BYTES_MAX - LABEL_COMMITTER.len();
        labels.insert(LABEL_AUTHOR.into(), cut(&commit.author, room).to_owned());
        if commit.committer != commit.author {
            labels.insert(LABEL_COMMITTER.into(), cut(&commit.committer, room).to_owned());
        }
        labels
    }

    /// The history from the tip back to what `base` was made of.
    fn chain(&self, parent: Option<(&Id, &Revision)>) -> Result<Vec<ObjectId>> {
        let base = parent.and_then(|(_, revision)| self.commit_of(revision));
        let since = self.since;
        let chain = Chain::behind(self.repository, &self.tip, &mut |id| {
            self.session.interrupt.check()?;
            Ok(Some(id) == base || Some(id) == since)
        })?;
        let tip = self.tip.id;
        if chain.met {
            return Ok(chain.commits);
        }
        if let Some(since) = since {
            return Err(Error::refused(format!(
                "commit {since} of --since is not in the first-parent history of {tip}"
            ))
            .hint("`git log --first-parent` lists it"));
        }
        if let Some(cut) = chain.cut {
            return Err(Error::refused(format!(
                "the clone is shallow: it ends at commit {cut}, {} deep; what came before is \
                 missing",
                crate::size::count(chain.commits.len() as u64, "commit", "commits"),
            ))
            .hint(format!(
                "`git fetch --unshallow` brings the rest; or begin behind it with --since {cut}"
            )));
        }
        let Some((id, revision)) = parent else { return Ok(chain.commits) };
        let of = match revision.labels.get(LABEL_COMMIT) {
            Some(commit) => format!("commit {}", text(commit)),
            None => "no commit".to_owned(),
        };
        Err(Error::refused(format!(
            "the history of {tip} does not lead to revision {id}, which was made of {of}"
        ))
        .hint("push to another --ref, or say with --since behind which commit to begin"))
    }
}

impl Series for Commits<'_> {
    fn begin(&mut self, parent: Option<(&Id, &Revision)>) -> Result<()> {
        self.pending =
            if self.history { self.chain(parent)?.into() } else { VecDeque::from([self.tip.id]) };
        self.done.store(0, Ordering::Relaxed);
        self.total.store(self.pending.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn next(&mut self, parent: Option<(&Id, &Revision)>) -> Result<Option<Step<'_>>> {
        let (commit, tree) = loop {
            self.done.store(
                self.total.load(Ordering::Relaxed).saturating_sub(self.pending.len() as u64),
                Ordering::Relaxed,
            );
            let Some(id) = self.pending.pop_front() else { return Ok(None) };
            let commit = match id == self.tip.id {
                true => self.tip.clone(),
                false => self.repository.expect_commit(id)?,
            };
            match self.repository.tree_of(&commit, &self.subdir)? {
                Some(tree) => break (commit, tree),
                // It is gone again; before it was there, there is nothing to make.
                None if self.history && parent.is_some() => {
                    break (commit, ObjectId::empty_tree(id.kind()));
                }
                None if self.history => {}
                None => {
                    let subdir = path::display(&self.subdir);
                    return Err(Error::not_found(format!("commit {id} has no directory {subdir}"))
                        .hint("--subdir is relative to the top of the repository"));
                }
            }
        };
        let since = match parent {
            Some((_, revision)) => self.tree_of_parent(revision)?,
            None => None,
        };
        let options = tree::TreeOptions { skip_special: self.skip_special, since };
        let reported = self.reported.clone();
        let changes = Box::new(TreeChanges::new(self.repository, tree, &options, reported)?);
        let message = self.options.message.as_deref().unwrap_or(&commit.message);
        Ok(Some(Step {
            items: if since.is_some() { Items::Changes(changes) } else { Items::All(changes) },
            opener: &self.blobs,
            time: commit.time,
            message: Some(cut(message, MESSAGE_BYTES_MAX).to_owned()),
            labels: self.labels(&commit),
        }))
    }
}

/// Does `push`, and shows how many commits are done.
pub(super) fn watch<T>(
    commits: (Arc<AtomicU64>, Arc<AtomicU64>),
    progress: &freestone_store::push::PushProgress,
    session: &Session,
    push: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let (done, total) = commits;
    report::watch_with(progress, session, "pushing commits", push, move || {
        let total = total.load(Ordering::Relaxed);
        (done.load(Ordering::Relaxed), (total > 1).then_some(total))
    })
}
