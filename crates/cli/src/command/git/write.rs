//! `freestone git write`.

use crate::contents::{self, Wanted};
use crate::context::Context;
use crate::exit::Exit;
use crate::output::progress::Unit;
use crate::output::{place, short};
use crate::part::{Need, Part};
use crate::values::name::Name;
use crate::values::size::count;
use clap::Args;
use freestone_core::{Error, ErrorKind, Id, Result, Sha1, Watch, path};
use freestone_follow::Opened;
use freestone_format::Revision;
use freestone_git::ObjectId;
use freestone_git::write::{
    BareRepository, BlobWriter, NewCommit, NewEntry, TreeWriter, branch_fault,
};
use freestone_manifest::{Change, Entry, EntryKind, Times, Tree, diff};
use freestone_source::follow::{Found, follow};
use freestone_source::report::Reason;
use freestone_store::{Records, Store, open_manifest};
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The file in the repository that lists which commit each revision was written as.
const WRITTEN: &str = "freestone-revisions";
/// The most contents whose blobs are remembered, so that copies are written once.
const BLOBS_MAX: usize = 1 << 17;
/// The longest line of the list of commits: two ids and a space, and some room.
const LINE_BYTES_MAX: u64 = 1 << 10;
/// The most commits that a power failure can lose: the next run continues after those in the list.
const UNLISTED_MAX: usize = 256;

/// Write revisions as commits of a bare git repository
///
/// Each ref becomes a branch, and the ancestors of its revision become the commits before it. Only
/// revisions that the repository does not have yet are written. A revision that was pushed from a
/// commit keeps the message, the author, the times and the tree of that commit, with its links. Git
/// cannot store empty directories: they are left out.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  freestone git write site.git
  freestone git write site.git main live

With --json: {\"repository\", \"commits\" (number written), \"branches\": [{\"ref\", \"revision\", \"commit\",
\"changed\"}]}")]
pub struct Write {
    /// Repository to write to; it is created if it does not exist
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    /// Refs to write. Default: all
    #[arg(value_name = "REF")]
    refs: Vec<String>,

    /// Also change branches that point to commits that freestone did not write
    #[arg(long)]
    force: bool,
}

/// The result as JSON. The help documents its keys.
#[derive(Serialize)]
struct Answer {
    repository: String,
    commits: u64,
    branches: Vec<JsonBranch>,
}

#[derive(Serialize)]
struct JsonBranch {
    r#ref: String,
    revision: String,
    commit: String,
    changed: bool,
}

impl Write {
    /// Runs the command.
    ///
    /// # Errors
    /// A ref does not exist or cannot be a branch, a record cannot be read, or the repository cannot be
    /// written.
    pub fn run(&self, context: &Context) -> Result<Exit> {
        let opened = context.opened()?;
        let refs = self.wanted(&opened.store)?;
        let head = refs.iter().find(|(name, _)| name == "main").or(refs.first());
        let Some((head, _)) = head else {
            return Err(Error::not_found("the store has no refs, so there is nothing to write"));
        };
        let target = BareRepository::open(&self.directory, head)?;
        let (made, branches) = context.watched("writing commits", Unit::Things, None, |watch| {
            self.write_branches(&opened, &target, &refs, context, watch)
        })?;
        if context.output.is_json() {
            let repository = place(&self.directory);
            context.output.json(&Answer { repository, commits: made, branches })?;
            return Ok(Exit::Done);
        }
        for branch in &branches {
            context.output.line(format_args!("{} {}", branch.commit, branch.r#ref))?;
        }
        context.output.note(format_args!(
            "wrote {} to {}",
            count(made, "commit", "commits"),
            shown(&self.directory)
        ));
        Ok(Exit::Done)
    }

    /// Writes the revisions of `refs` and sets their branches. Returns how many commits were
    /// written, and the branches.
    fn write_branches(
        &self,
        opened: &Opened,
        target: &BareRepository,
        refs: &[(String, Id)],
        context: &Context,
        watch: Watch<'_>,
    ) -> Result<(u64, Vec<JsonBranch>)> {
        let mut writer = CommitWriter::new(opened, target, context, watch)?;
        let mut branches = Vec::new();
        for (name, revision) in refs {
            let commit = writer.commit_of(revision);
            // Commits that were written before an error or an interrupt are kept for the next run.
            let settled = writer.settle();
            let commit = commit?;
            settled?;
            let may_go = |now: ObjectId| self.force || writer.is_ours(now);
            let changed = target.set_branch(name, commit, &may_go)?;
            branches.push(JsonBranch {
                r#ref: name.clone(),
                revision: revision.to_string(),
                commit: commit.to_string(),
                changed,
            });
        }
        Ok((writer.made, branches))
    }

    /// Returns the refs to write, with the revisions that they name.
    fn wanted(&self, store: &Store) -> Result<Vec<(String, Id)>> {
        let mut wanted = Vec::new();
        if self.refs.is_empty() {
            for entry in store.refs().list()? {
                wanted.extend(entry.revision().map(|id| (entry.name.clone(), id)));
            }
        }
        for name in &self.refs {
            let id = store.refs().current(name)?.ok_or_else(|| {
                Error::not_found(format!("there is no ref {name}"))
                    .hint("`freestone ref list` lists the refs")
            })?;
            wanted.push((name.clone(), id));
        }
        for (name, _) in &wanted {
            if let Some(fault) = branch_fault(name) {
                let what = format!("ref {name} cannot be a git branch: it {fault}");
                return Err(Error::refused(what).hint("give the refs to write, without this one"));
            }
        }
        Ok(wanted)
    }
}

/// Writes commits.
struct CommitWriter<'a> {
    opened: &'a Opened,
    target: &'a BareRepository,
    context: &'a Context,
    watch: Watch<'a>,
    /// The commits that revisions were written as.
    written: HashMap<Id, ObjectId>,
    /// Those of them that the list in the repository does not have yet.
    unlisted: Vec<(Id, ObjectId)>,
    /// Commits that are there and whole, as was found out before.
    whole: HashSet<ObjectId>,
    /// Revisions that this store does not have.
    missing: HashSet<Id>,
    /// The revision that was written last, which is usually the parent of the next one.
    last: Option<(Id, Revision)>,
    blobs: HashMap<Id, ObjectId>,
    made: u64,
}

impl<'a> CommitWriter<'a> {
    fn new(
        opened: &'a Opened,
        target: &'a BareRepository,
        context: &'a Context,
        watch: Watch<'a>,
    ) -> Result<Self> {
        let written = listed(target)?;
        Ok(Self {
            opened,
            target,
            context,
            watch,
            written,
            unlisted: Vec::new(),
            whole: HashSet::new(),
            missing: HashSet::new(),
            last: None,
            blobs: HashMap::new(),
            made: 0,
        })
    }

    fn is_ours(&self, commit: ObjectId) -> bool {
        self.written.values().any(|known| *known == commit)
    }

    /// Returns the commit of a revision, if it was written and still exists.
    fn known(&mut self, id: &Id) -> Option<ObjectId> {
        let commit = *self.written.get(id)?;
        let is_whole = self.whole.contains(&commit) || self.target.has(commit);
        is_whole.then(|| {
            self.whole.insert(commit);
            commit
        })
    }

    /// Returns the revision `id`; `None` if this store does not have it.
    fn revision(&self, id: &Id) -> Result<Option<Revision>> {
        match &self.last {
            Some((last, revision)) if last == id => Ok(Some(revision.clone())),
            _ => self.opened.store.revision(id),
        }
    }

    /// Returns the commit of a revision, after writing it and its ancestors if necessary.
    fn commit_of(&mut self, tip: &Id) -> Result<ObjectId> {
        let mut open = vec![*tip];
        while let Some(id) = open.last().copied() {
            self.watch.check()?;
            if self.known(&id).is_some() {
                open.pop();
                continue;
            }
            let Some(revision) = self.revision(&id)? else {
                if id == *tip {
                    return Err(Error::missing(format!("revision {id} is missing from the store"))
                        .hint("`freestone verify` lists everything that is missing"));
                }
                // A copy may lack older revisions.
                self.missing.insert(id);
                open.pop();
                continue;
            };
            let mut parents = Vec::new();
            let waiting = open.len();
            let mut cut = None;
            for parent in &revision.parents {
                match self.known(parent) {
                    Some(commit) => parents.push(commit),
                    None if self.missing.contains(parent) => cut = Some(*parent),
                    None => open.push(*parent),
                }
            }
            if open.len() > waiting {
                continue;
            }
            let commit = self.write(&id, &revision, &parents)?;
            if let Some(parent) = cut {
                self.context.output.note(format_args!(
                    "commit {commit} has no parent: revision {}, the parent of {}, is not in this store",
                    short(&parent),
                    short(&id)
                ));
            }
            self.written.insert(id, commit);
            self.whole.insert(commit);
            self.last = Some((id, revision));
            self.unlisted.push((id, commit));
            self.made += 1;
            self.watch.add(1);
            if self.unlisted.len() >= UNLISTED_MAX {
                self.settle()?;
            }
            open.pop();
        }
        self.known(tip).ok_or_else(|| {
            Error::new(
                ErrorKind::Failed,
                "internal error: a commit that was just written is missing (please report this)",
            )
        })
    }

    /// Returns the records of the store, after fetching from an upstream what a revision needs.
    fn records(&self, id: &Id) -> Result<Records> {
        if self.opened.store.root().is_some() && self.opened.follower.is_none() {
            return self.opened.store.records();
        }
        let name = Name { revision: id.to_string(), path: None };
        let part = Part::find(self.opened, &name)?;
        part.fetch(Need::Contents, self.context)?;
        Ok(part.records().clone())
    }

    fn write(&mut self, id: &Id, revision: &Revision, parents: &[ObjectId]) -> Result<ObjectId> {
        let records = self.records(id)?;
        let after = open_manifest(records.clone(), revision)?;
        // The parent may be missing in this store, or its commit in the repository.
        let before = match revision.parents.first() {
            Some(parent) => self.revision(parent)?.zip(self.known(parent)),
            None => None,
        };
        let base = match before {
            Some((_, commit)) => Some(self.target.repository().expect_commit(commit)?.tree),
            None => None,
        };
        let mut writer = TreeWriter::new(self.target, base)?;
        match before {
            Some((before, _)) => {
                let before = open_manifest(records.clone(), &before)?;
                diff(&before, &after, Times::Ignore, &mut |change| match &change.after {
                    Some(entry) if !entry.is_directory() => self.entry(&mut writer, &after, entry),
                    _ if removes(&change) => writer.set(change.path(), None),
                    _ => Ok(()),
                })?;
            }
            None => {
                let mut cursor = after.cursor();
                while let Some(entry) = cursor.next()? {
                    if !entry.is_directory() {
                        self.entry(&mut writer, &after, entry)?;
                    }
                }
            }
        }
        let label = |key: &str| revision.labels.get(key).map(String::as_str);
        self.target.commit(&NewCommit {
            tree: writer.finish()?,
            parents,
            author: label("git.author"),
            committer: label("git.committer"),
            time: revision.time,
            message: &revision.message,
        })
    }

    fn entry(
        &mut self,
        writer: &mut TreeWriter<'_>,
        tree: &Tree<Records>,
        entry: &Entry,
    ) -> Result<()> {
        self.watch.check()?;
        let node = match (&entry.kind, &entry.link) {
            (_, Some(text)) => {
                check_link(tree, &entry.path, text)?;
                NewEntry::Link(self.target.blob(text)?)
            }
            (EntryKind::Directory, None) => return Ok(()),
            (EntryKind::File { executable, size, sha1, content }, None) => {
                let known = self.blobs.get(content).copied();
                let blob = match known {
                    Some(blob) => blob,
                    None => self
                        .blob(tree.source(), content, *size, sha1)
                        .map_err(|error| error.context(path::display(&entry.path)))?,
                };
                NewEntry::File { executable: *executable, blob }
            }
        };
        writer.set(&entry.path, Some(node))
    }

    fn blob(&mut self, records: &Records, id: &Id, size: u64, sha1: &Sha1) -> Result<ObjectId> {
        let mut blob = BlobWriter::new(self.target, size)?;
        let wanted = Wanted { id, size, sha1 };
        contents::read(records, wanted, &self.context.interrupt, &mut |bytes| blob.write(bytes))?;
        let blob = blob.finish()?;
        if self.blobs.len() < BLOBS_MAX {
            self.blobs.insert(*id, blob);
        }
        Ok(blob)
    }

    /// Makes commits durable and adds them to the list, before a branch names them.
    fn settle(&mut self) -> Result<()> {
        let list = self.target.root().join(WRITTEN);
        let wrong = |error| Error::io(format!("{} cannot be written", shown(&list)), error);
        let lines: String =
            self.unlisted.iter().map(|(id, commit)| format!("{id} {commit}\n")).collect();
        if lines.is_empty() {
            return Ok(());
        }
        sync_all(self.target.root())?;
        let mut file = File::options().create(true).append(true).open(&list).map_err(wrong)?;
        file.write_all(lines.as_bytes()).and_then(|()| file.sync_all()).map_err(wrong)?;
        self.unlisted.clear();
        Ok(())
    }
}

/// Reads the list of the commits that revisions were written as.
fn listed(target: &BareRepository) -> Result<HashMap<Id, ObjectId>> {
    let mut written = HashMap::new();
    let Some(file) = target.own_file(WRITTEN)? else { return Ok(written) };
    let mut file = BufReader::new(file);
    let mut line = String::new();
    loop {
        line.clear();
        let count = (&mut file).take(LINE_BYTES_MAX).read_line(&mut line).map_err(|error| {
            Error::io(format!("{} cannot be read", shown(&target.root().join(WRITTEN))), error)
        })?;
        if count == 0 {
            return Ok(written);
        }
        // A line that does not parse was cut off by a crash; its commit is written again.
        if let Some((revision, commit)) = line.trim_end().split_once(' ')
            && let (Ok(revision), Ok(commit)) =
                (Id::parse(revision), ObjectId::from_hex(commit.as_bytes()))
        {
            written.insert(revision, commit);
        }
    }
}

/// Checks that a link of a revision can be one of a commit. In a revision that was pushed, its text
/// leads to a file of the revision, or to one that was left out.
fn check_link(tree: &Tree<Records>, link: &[u8], text: &[u8]) -> Result<()> {
    let mut look = |here: &[u8]| {
        Ok(match tree.get(here)? {
            None => Found::Nothing,
            Some(Entry { link: Some(text), .. }) => Found::Link(text),
            Some(entry) if entry.is_directory() => Found::Directory,
            Some(_) => Found::File,
        })
    };
    let reason = match follow(link, text, &mut look)? {
        Ok(_) => return Ok(()),
        Err(Reason::LinkDangling) if stays_inside(link, text) => return Ok(()),
        Err(reason) => reason,
    };
    let shown = path::display(link);
    Err(Error::refused(format!("path {shown} would become {reason}"))
        .hint("no push makes such a revision; do not trust the store that it came from"))
}

/// Returns true if a link leads inside whatever is put at its way later: it goes up only at its
/// beginning.
fn stays_inside(link: &[u8], text: &[u8]) -> bool {
    let mut depth = link.iter().filter(|byte| **byte == b'/').count();
    let mut parts = text.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    let mut part = parts.next();
    while part == Some(b"..") {
        match depth.checked_sub(1) {
            Some(above) => depth = above,
            None => return false,
        }
        part = parts.next();
    }
    !text.starts_with(b"/") && parts.all(|part| part != b"..")
}

/// Returns true if a change that does not add a file removes what was at the path. A directory that
/// stays a directory is not removed: it differs only in what git does not store.
fn removes(change: &Change) -> bool {
    let stays = change.after.is_some();
    change.before.as_ref().is_some_and(|before| !(stays && before.is_directory()))
}

/// Returns a local path for people.
fn shown(path: &Path) -> String {
    path::display(path.as_os_str().as_bytes())
}

/// Makes the whole file system durable. A sync of each of thousands of objects takes far longer.
fn sync_all(folder: &Path) -> Result<()> {
    let sync = || -> std::io::Result<()> { Ok(rustix::fs::syncfs(File::open(folder)?)?) };
    sync().map_err(|error| Error::io(format!("{} cannot be synced", shown(folder)), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_leads_nowhere_must_lead_nowhere_inside() {
        for text in ["x", "../x", "./a/b", "../../x/y", "a//b"] {
            assert!(stays_inside(b"a/b/link", text.as_bytes()), "{text}");
        }
        for text in ["/etc/passwd", "../../../x", "x/../y", "../x/../../y", ".././../../x"] {
            assert!(!stays_inside(b"a/b/link", text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_directory_that_differs_only_in_extensions_keeps_its_entries() {
        let directory = Entry::directory("a", 7);
        let other = Entry { extensions: vec![1], ..directory.clone() };
        let kind = EntryKind::File {
            executable: false,
            size: 0,
            sha1: Sha1([0; 20]),
            content: Id([0; 32]),
        };
        let file = Entry { kind, ..directory.clone() };
        let removed = |before: Option<&Entry>, after: Option<&Entry>| {
            removes(&Change { before: before.cloned(), after: after.cloned() })
        };
        assert!(!removed(Some(&directory), Some(&other)));
        assert!(!removed(None, Some(&directory)));
        assert!(removed(Some(&directory), None));
        assert!(removed(Some(&file), Some(&directory)));
        assert!(removed(Some(&file), None));
    }
}
