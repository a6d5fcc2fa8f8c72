//! Commits of a git repository that are pushed as revisions.

use crate::context::Context;
use freestone_core::limits::{LABEL_BYTES_MAX, MESSAGE_BYTES_MAX};
use freestone_core::{Error, ErrorKind, Id, Result, lock, path};
use freestone_format::Revision;
use freestone_git::tree::{self, LABEL_LINKS, LABEL_SKIPPED, TreeChanges};
use freestone_git::{Blobs, Chain, Commit, ObjectId, Repository};
use freestone_push::PushOptions;
use freestone_push::series::{Items, Series, Step};
use freestone_source::report::SourceReport;
use freestone_store::Expect;
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// The label with the commit that a revision was made from.
const LABEL_COMMIT: &str = "git.commit";
/// The label with the directory of the commit that a revision holds.
const LABEL_SUBDIR: &str = "git.subdir";
const LABEL_AUTHOR: &str = "git.author";
const LABEL_COMMITTER: &str = "git.committer";

/// The commits of a repository to push.
pub(super) struct CommitSelection<'a> {
    /// The name of the last commit.
    pub(super) commit: &'a str,
    /// The directory of the commit to push.
    pub(super) subdir: Option<&'a Path>,
    /// True if a revision is made of each earlier commit, too.
    pub(super) history: bool,
    /// The commit to start after.
    pub(super) since: Option<&'a str>,
    /// True if what cannot be pushed is skipped and reported, instead of failing.
    pub(super) skip_special: bool,
    /// True if the ref may be set back to an older commit.
    pub(super) older: bool,
}

/// The series of revisions that commits become.
pub(super) struct CommitSeries<'a> {
    repository: &'a Repository,
    blobs: Blobs<'a>,
    tip: Commit,
    subdir: Vec<u8>,
    history: bool,
    since: Option<ObjectId>,
    skip_special: bool,
    older: bool,
    options: PushOptions,
    context: &'a Context,
    pending: VecDeque<ObjectId>,
    reported: Arc<Mutex<SourceReport>>,
    /// Number of commits that are done.
    done: Arc<AtomicU64>,
    /// Number of all commits.
    total: Arc<AtomicU64>,
}

/// Converts the path of a directory of the commit: without slashes at its ends.
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

/// Returns the first `max` bytes of `text`, or a few less, so that it ends between two characters.
fn cut(text: &str, max: usize) -> &str {
    let end = (0..=max.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

impl<'a> CommitSeries<'a> {
    /// Finds the commits that `wanted` names.
    ///
    /// # Errors
    /// A commit does not exist, or cannot be read.
    pub(super) fn new(
        repository: &'a Repository,
        wanted: &CommitSelection<'_>,
        options: &PushOptions,
        context: &'a Context,
    ) -> Result<Self> {
        if let Some(key) = options.labels.keys().find(|key| key.starts_with("git.")) {
            let what = format!("label {key:?} is taken from the commit and cannot be given");
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
            older: wanted.older || matches!(options.expect, Expect::Revision(_)),
            options: options.clone(),
            context,
            pending: VecDeque::new(),
            reported: Arc::default(),
            done: Arc::default(),
            total: Arc::default(),
        })
    }

    /// Returns a function that returns the number of commits that are done, and of all commits if
    /// there are several.
    pub(super) fn counter(&self) -> impl FnMut() -> (u64, Option<u64>) + Send + use<> {
        let (done, total) = (self.done.clone(), self.total.clone());
        move || {
            let total = total.load(Ordering::Relaxed);
            (done.load(Ordering::Relaxed), (total > 1).then_some(total))
        }
    }

    /// Returns what was skipped in the last commit.
    pub(super) fn report(&self) -> SourceReport {
        lock(&self.reported).clone()
    }

    fn label_of_subdir(&self) -> String {
        match &self.subdir[..] {
            b"" => ".".to_owned(),
            subdir => path::display(subdir),
        }
    }

    /// Returns the commit that `revision` was made from, if the revision holds the same directory.
    fn commit_of(&self, revision: &Revision) -> Option<ObjectId> {
        let same = revision.labels.get(LABEL_SUBDIR) == Some(&self.label_of_subdir());
        let commit = revision.labels.get(LABEL_COMMIT).filter(|_| same)?;
        ObjectId::from_hex(commit.as_bytes()).ok()
    }

    /// Returns the tree that `parent` holds, if that is known: then only differences are read. The
    /// second value is true if the revision has links.
    fn tree_of_parent(&self, parent: &Revision) -> Result<Option<(ObjectId, bool)>> {
        let is_whole = !parent.labels.contains_key(LABEL_SKIPPED) && self.options.mtime.is_none();
        let Some(id) = self.commit_of(parent).filter(|_| is_whole) else { return Ok(None) };
        let commit = match self.repository.commit(id) {
            Ok(Some(commit)) => commit,
            _ => {
                self.context.output.note(format_args!(
                    "commit {id}, from which the parent revision was made, is not in this clone: \
                     reading all files; in a deeper clone, only changes are read"
                ));
                return Ok(None);
            }
        };
        let tree = match self.repository.tree_of(&commit, &self.subdir) {
            Ok(Some(tree)) => tree,
            Ok(None) => ObjectId::empty_tree(id.kind()),
            // A partial clone may have the commit but not its trees.
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

    /// Checks that the ref is not set back: the job of an older commit may end later.
    fn check_order(&self, parent: Option<(&Id, &Revision)>) -> Result<()> {
        let Some((id, revision)) = parent else { return Ok(()) };
        let names_parent = self.options.ref_name.is_some() && self.options.parent != Some(*id);
        let Some(base) = self.commit_of(revision).filter(|_| names_parent && !self.older) else {
            return Ok(());
        };
        let check = &mut || self.context.interrupt.check();
        if !self.repository.is_ancestor(&self.tip, base, check)? {
            return Ok(());
        }
        let tip = self.tip.id;
        Err(Error::refused(format!(
            "commit {tip} is an ancestor of commit {base}, and the ref's revision {id} was \
             made from the newer one"
        ))
        .hint("another push was first; to set the ref back, push with --older or --expect REV"))
    }

    /// Returns the commits from the one that the parent revision was made from up to the tip.
    fn chain(&self, parent: Option<(&Id, &Revision)>) -> Result<Vec<ObjectId>> {
        let base = parent.and_then(|(_, revision)| self.commit_of(revision));
        let since = self.since;
        let chain = Chain::back_from(self.repository, &self.tip, &mut |id| {
            self.context.interrupt.check()?;
            Ok(Some(id) == base || Some(id) == since)
        })?;
        let tip = self.tip.id;
        if chain.met {
            return Ok(chain.commits);
        }
        if let Some(since) = since {
            return Err(Error::refused(format!(
                "commit {since} (--since) is not in the first-parent history of {tip}"
            ))
            .hint(format!("`git log --first-parent {tip}` lists that history")));
        }
        if let Some(cut) = chain.cut {
            return Err(Error::refused(format!(
                "the clone is shallow: its history ends at commit {cut}, after {}; earlier commits are \
                 missing",
                crate::values::size::count(chain.commits.len() as u64, "commit", "commits"),
            ))
            .hint(format!(
                "run `git fetch --unshallow`, or start after that commit with --since {cut}"
            )));
        }
        let Some((id, revision)) = parent else { return Ok(chain.commits) };
        let made_from = match revision.labels.get(LABEL_COMMIT) {
            Some(commit) => format!("was made from commit {commit}, which"),
            None => "was not made from a commit, so it".to_owned(),
        };
        let what =
            format!("the parent revision {id} {made_from} is not in the history of commit {tip}");
        Err(Error::refused(what)
            .hint("push to another --ref, or give with --since the commit to start after"))
    }
}

impl Series for CommitSeries<'_> {
    fn begin(&mut self, parent: Option<(&Id, &Revision)>) -> Result<()> {
        self.check_order(parent)?;
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
                // The directory was deleted. Before it first exists, no revision is made.
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
