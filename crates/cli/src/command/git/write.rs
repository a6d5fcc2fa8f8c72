//! `freestone git write`.

use crate::exit::Exit;
use crate::name::Name;
use crate::output::short;
use crate::part::{Bring, Part};
use crate::progress::{Progress, Unit};
use crate::session::Session;
use crate::size::count;
use clap::Args;
use freestone_core::plan::{ChunkSource, ExtentSource};
use freestone_core::{Error, ErrorKind, Id, Result, path};
use freestone_git::ObjectId;
use freestone_git::write::{
    BareRepository, BlobWriter, NewCommit, NewEntry, TreeWriter, branch_fault,
};
use freestone_manifest::{Change, Entry, EntryKind, Times, Tree, content, diff};
use freestone_store::{Records, Revision, Store};
use serde::Serialize;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// What says which commit a revision was written as, in the repository's folder.
const WRITTEN: &str = "freestone-revisions";
/// Contents whose blobs are remembered.
const BLOBS_MAX: usize = 1 << 20;
/// Commits that a power cut may take: a run after it goes on behind those that are listed.
const UNLISTED_MAX: usize = 256;
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Write revisions as commits of a bare repository
///
/// Each ref becomes a branch, and the revisions that it came from, the commits before. Only
/// revisions that are not there yet are written. A revision that was pushed from a commit keeps its
/// message, its author and times, and the commit's tree; links are links again. Git has no empty
/// directories: they are left out.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  freestone git write site.git
  freestone git write site.git main live

With --json: {\"repository\", \"commits\" (written), \"branches\": [{\"ref\", \"revision\", \"commit\",
\"changed\"}]}")]
pub struct Write {
    /// The repository; it is made if nothing is there
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    /// The refs; else all
    #[arg(value_name = "REF")]
    refs: Vec<String>,

    /// Change a branch that points at a commit of somebody else's, too
    #[arg(long)]
    force: bool,
}

/// The answer as JSON; its keys stand in the help.
#[derive(Serialize)]
struct Answer {
    repository: String,
    commits: u64,
    branches: Vec<Branch>,
}

#[derive(Serialize)]
struct Branch {
    r#ref: String,
    revision: String,
    commit: String,
    changed: bool,
}

impl Write {
    pub fn run(&self, session: &Session) -> Result<Exit> {
        let store = session.store()?;
        let refs = self.wanted(&store)?;
        let head = refs.iter().find(|(name, _)| name == "main").or(refs.first());
        let Some((head, _)) = head else {
            return Err(Error::not_found("the store has no refs, and nothing to write"));
        };
        let target = BareRepository::open(&self.directory, head)?;
        let progress = session.progress("writing commits", Unit::Things, None);
        let mut writer = Writer::new(&store, &target, session, &progress)?;
        let mut branches = Vec::new();
        for (name, revision) in &refs {
            let commit = writer.commit_of(revision);
            // What was written before an error or an interrupt need not be written again.
            let settled = writer.settle();
            let commit = commit?;
            settled?;
            let may_go = |now: ObjectId| self.force || writer.is_ours(now);
            let changed = target.set_branch(name, commit, &may_go)?;
            branches.push(Branch {
                r#ref: name.clone(),
                revision: revision.to_string(),
                commit: commit.to_string(),
                changed,
            });
        }
        let made = writer.made;
        drop(writer);
        drop(progress);
        if session.output.is_json() {
            let repository = self.directory.display().to_string();
            session.output.json(&Answer { repository, commits: made, branches })?;
            return Ok(Exit::Done);
        }
        for branch in &branches {
            session.output.line(format_args!("{} {}", branch.commit, branch.r#ref))?;
        }
        session.output.note(format_args!(
            "wrote {} to {}",
            count(made, "commit", "commits"),
            self.directory.display()
        ));
        Ok(Exit::Done)
    }

    /// The refs, with the revisions that they name.
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
                    .hint("`freestone ref list` shows the refs")
            })?;
            wanted.push((name.clone(), id));
        }
        for (name, _) in &wanted {
            if let Some(fault) = branch_fault(name) {
                let what = format!("ref {name} cannot be a branch of git's: it {fault}");
                return Err(Error::refused(what).hint("name the refs that are to be written"));
            }
        }
        Ok(wanted)
    }
}

/// Writes commits.
struct Writer<'a> {
    store: &'a Store,
    target: &'a BareRepository,
    session: &'a Session,
    progress: &'a Progress,
    /// What revisions were written as.
    written: HashMap<Id, ObjectId>,
    /// Those of them that the list in the repository does not have.
    unlisted: Vec<(Id, ObjectId)>,
    blobs: HashMap<Id, ObjectId>,
    made: u64,
}

impl<'a> Writer<'a> {
    fn new(
        store: &'a Store,
        target: &'a BareRepository,
        session: &'a Session,
        progress: &'a Progress,
    ) -> Result<Self> {
        let list = target.root().join(WRITTEN);
        let text = match fs::read_to_string(&list) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            text => text
                .map_err(|error| Error::io(format!("{} cannot be read", list.display()), error))?,
        };
        // What does not parse was cut off by a crash, and is written again.
        let line = |line: &str| {
            let (revision, commit) = line.split_once(' ')?;
            let commit = ObjectId::from_hex(commit.as_bytes()).ok()?;
            Some((Id::parse(revision).ok()?, commit))
        };
        let written = text.lines().filter_map(line).collect();
        Ok(Self {
            store,
            target,
            session,
            progress,
            written,
            unlisted: Vec::new(),
            blobs: HashMap::new(),
            made: 0,
        })
    }

    fn is_ours(&self, commit: ObjectId) -> bool {
        self.written.values().any(|known| *known == commit)
    }

    /// The commit of a revision that was written, and is there.
    fn known(&self, id: &Id) -> Option<ObjectId> {
        match self.written.get(id) {
            Some(commit) if self.target.has(*commit) => Some(*commit),
            _ => None,
        }
    }

    /// The commit of a revision; those before it are written first.
    fn commit_of(&mut self, tip: &Id) -> Result<ObjectId> {
        let mut open = vec![*tip];
        while let Some(id) = open.last().copied() {
            self.session.interrupt.check()?;
            if self.known(&id).is_some() {
                open.pop();
                continue;
            }
            let revision = self.store.revision(&id)?.ok_or_else(|| {
                Error::corrupt(format!("revision {id} is missing from the store"))
                    .hint("`freestone verify` lists all that is missing")
            })?;
            let mut parents = Vec::new();
            let waiting = open.len();
            let mut cut = None;
            for parent in &revision.parents {
                match self.known(parent) {
                    Some(commit) => parents.push(commit),
                    None if self.store.revision(parent)?.is_some() => open.push(*parent),
                    // In a copy the history is cut.
                    None => cut = Some(*parent),
                }
            }
            if open.len() > waiting {
                continue;
            }
            let commit = self.write(&id, &revision, &parents)?;
            if let Some(parent) = cut {
                self.session.output.note(format_args!(
                    "commit {commit} has no parent: {}, the parent of {}, is not in this store",
                    short(&parent),
                    short(&id)
                ));
            }
            self.written.insert(id, commit);
            self.unlisted.push((id, commit));
            self.made += 1;
            self.progress.add(1);
            if self.unlisted.len() >= UNLISTED_MAX {
                self.settle()?;
            }
            open.pop();
        }
        self.known(tip).ok_or_else(|| Error::new(ErrorKind::Failed, "a commit vanished"))
    }

    fn write(&mut self, id: &Id, revision: &Revision, parents: &[ObjectId]) -> Result<ObjectId> {
        let name = Name { revision: id.to_string(), path: None };
        let part = Part::find(self.store, &name)?;
        part.bring(Bring::Contents, self.session)?;
        let records = part.records().clone();
        let after = Tree::open(records.clone(), &revision.root)?;
        // A parent may be a commit of the target, and not be in this store; or the other way round.
        let before = match revision.parents.first() {
            Some(parent) => self.store.revision(parent)?.zip(self.known(parent)),
            None => None,
        };
        let base = match before {
            Some((_, commit)) => Some(self.target.repository().expect_commit(commit)?.tree),
            None => None,
        };
        let mut writer = TreeWriter::new(self.target, base)?;
        match before {
            Some((before, _)) => {
                let before = Tree::open(records.clone(), &before.root)?;
                diff(&before, &after, Times::Ignore, &mut |change| match &change.after {
                    Some(entry) if !entry.is_directory() => {
                        self.entry(&mut writer, &records, entry)
                    }
                    _ if removes(&change) => writer.set(change.path(), None),
                    _ => Ok(()),
                })?;
            }
            None => {
                let mut cursor = after.cursor();
                while let Some(entry) = cursor.next()? {
                    if !entry.is_directory() {
                        self.entry(&mut writer, &records, entry)?;
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
        records: &Records,
        entry: &Entry,
    ) -> Result<()> {
        self.session.interrupt.check()?;
        let node = match (&entry.kind, &entry.link) {
            (_, Some(text)) => NewEntry::Link(self.target.blob(text)?),
            (EntryKind::Directory, None) => return Ok(()),
            (EntryKind::File { executable, size, sha1, content }, None) => {
                let known = self.blobs.get(content).copied();
                let blob = match known {
                    Some(blob) => blob,
                    None => self
                        .blob(records, content, *size, sha1)
                        .map_err(|error| error.context(path::display(&entry.path)))?,
                };
                NewEntry::File { executable: *executable, blob }
            }
        };
        writer.set(&entry.path, Some(node))
    }

    fn blob(
        &mut self,
        records: &Records,
        id: &Id,
        size: u64,
        sha1: &freestone_core::Sha1,
    ) -> Result<ObjectId> {
        let mut blob = BlobWriter::new(self.target, size)?;
        let mut buffer = Vec::new();
        content::pieces(records, id, size, Some(sha1), 0..size, &mut |piece| {
            self.session.interrupt.check()?;
            match &piece.source {
                ExtentSource::Chunk(id) => {
                    let chunk = records.chunk_in(id, piece.length, &mut buffer)?;
                    blob.write(chunk)
                }
                ExtentSource::Inline(bytes) => blob.write(bytes),
                ExtentSource::Zeros => {
                    let mut left = piece.length;
                    while left > 0 {
                        let count = left.min(ZEROS.len() as u64);
                        blob.write(&ZEROS[..usize::try_from(count).unwrap_or(0)])?;
                        left -= count;
                    }
                    Ok(())
                }
            }
        })?;
        let blob = blob.finish()?;
        if self.blobs.len() < BLOBS_MAX {
            self.blobs.insert(*id, blob);
        }
        Ok(blob)
    }

    /// Makes what was written durable, and lists it, before a branch names it.
    fn settle(&mut self) -> Result<()> {
        let list = self.target.root().join(WRITTEN);
        let wrong = |error| Error::io(format!("{} cannot be written", list.display()), error);
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

/// Whether what stood at the path goes, where no file comes. A directory that stays one, and differs
/// in what git has no place for, keeps what is in it.
fn removes(change: &Change) -> bool {
    let stays = change.after.is_some();
    change.before.as_ref().is_some_and(|before| !(stays && before.is_directory()))
}

/// Makes all of the file system durable: a sync for each of thousands of objects takes far longer.
fn sync_all(folder: &Path) -> Result<()> {
    let sync = || -> std::io::Result<()> { Ok(rustix::fs::syncfs(File::open(folder)?)?) };
    sync().map_err(|error| Error::io(format!("{} cannot be synced", folder.display()), error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use freestone_core::Sha1;

    #[test]
    fn a_directory_that_differs_in_extensions_alone_keeps_what_is_in_it() {
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
