//! Writes revisions to a bare git repository.
//!
//! Objects are written one by one, as git itself writes new ones; `git gc` packs them. They depend
//! on the revisions alone, so an object that was written before is found again and left as it is.

mod edits;
mod object;
mod tree;

pub use object::BlobWriter;
pub use tree::{NewEntry, TreeWriter, name_fault};

use crate::large::LargeObject;
use crate::own_file::{self, shown};
use crate::refs;
use crate::repository::{self, Repository};
use freestone_core::{Error, ErrorKind, Result, path};
use gix_hash::ObjectId;
use gix_object::Kind;
use gix_odb::find::Header;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

const CONFIG: &str = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n";

/// A bare repository, open for writing.
pub struct BareRepository {
    repository: Repository,
    root: PathBuf,
}

/// A commit to be written.
pub struct NewCommit<'a> {
    /// Its tree.
    pub tree: ObjectId,
    /// Its parents.
    pub parents: &'a [ObjectId],
    /// The author and time, `NAME <MAIL> SECONDS ZONE`, if that is known.
    pub author: Option<&'a str>,
    /// The committer and time, in the same form. Without one, the author is used.
    pub committer: Option<&'a str>,
    /// The time of the commit if there is no author, in seconds since 1970.
    pub time: i64,
    /// Its message.
    pub message: &'a str,
}

fn wrong(what: &str, path: &Path, error: io::Error) -> Error {
    Error::io(format!("cannot {what} {}", shown(path)), error)
}

impl BareRepository {
    /// Opens the bare repository at `root`. Creates one if `root` is empty or missing; `head` is
    /// then the branch that a clone of it checks out.
    ///
    /// # Errors
    /// `root` is not a bare repository and not empty, or it cannot be written.
    pub fn open(root: &Path, head: &str) -> Result<Self> {
        let is_new = match fs::read_dir(root) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(wrong("read", root, error)),
        };
        if is_new {
            for folder in ["objects/info", "objects/pack", "refs/heads", "refs/tags"] {
                let folder = root.join(folder);
                fs::create_dir_all(&folder).map_err(|error| wrong("create", &folder, error))?;
            }
            let write = |name: &str, text: &str| {
                let path = root.join(name);
                fs::write(&path, text).map_err(|error| wrong("write", &path, error))
            };
            write("config", CONFIG)?;
            write("HEAD", &format!("ref: refs/heads/{head}\n"))?;
        }
        let config = repository::config(root)?;
        let is_bare = config.lines().any(|line| {
            line.split_once('=').is_some_and(|(key, value)| {
                key.trim().eq_ignore_ascii_case("bare") && value.trim() == "true"
            })
        });
        if !is_bare || !root.join("objects").is_dir() {
            return Err(Error::refused(format!("{} is not a bare git repository", shown(root)))
                .hint("name a bare repository, or a directory that does not exist yet"));
        }
        Ok(Self { repository: Repository::open(root)?, root: root.into() })
    }

    /// Returns the repository, for reading.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Returns the directory of the repository.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Opens a file in the directory of the repository for reading; `None` if there is none.
    ///
    /// # Errors
    /// It is not a regular file, or cannot be opened.
    pub fn own_file(&self, name: &str) -> Result<Option<fs::File>> {
        own_file::open(&self.root.join(name))
    }

    /// Returns true if the object is there and hashes to its id. An object that cannot be read
    /// counts as missing, so that it is written again: objects get their names before they are
    /// synced, so after a power failure one may end early.
    pub fn has(&self, id: ObjectId) -> bool {
        if !self.repository.objects.has_without_refresh(id) {
            return false;
        }
        match self.repository.header(id) {
            None => false,
            Some(Header::Packed(_)) => matches!(self.repository.find(id), Ok(Some(_))),
            Some(Header::Loose { kind, size }) => self.is_whole(id, kind, size),
        }
    }

    /// Returns true if the bytes of a loose object hash to its id.
    fn is_whole(&self, id: ObjectId, kind: Kind, size: u64) -> bool {
        let folders = self.repository.objects.folders();
        let Ok(Some(object)) = LargeObject::find(folders, id, kind, size) else { return false };
        let read = object.read().map(|mut bytes| io::copy(&mut bytes, &mut io::sink()));
        matches!(read, Ok(Ok(_)))
    }

    /// Writes the text of a link as a blob.
    ///
    /// # Errors
    /// The object cannot be written.
    pub fn blob(&self, bytes: &[u8]) -> Result<ObjectId> {
        self.object(Kind::Blob, bytes)
    }

    /// Writes a commit.
    ///
    /// # Errors
    /// The object cannot be written.
    pub fn commit(&self, commit: &NewCommit<'_>) -> Result<ObjectId> {
        let unknown = format!("freestone <freestone@localhost> {} +0000", commit.time.max(0));
        let author = commit.author.filter(|line| is_signature(line)).unwrap_or(&unknown);
        let committer = commit.committer.filter(|line| is_signature(line)).unwrap_or(author);
        let mut text = format!("tree {}\n", commit.tree);
        for parent in commit.parents {
            let _ = writeln!(text, "parent {parent}");
        }
        let _ = write!(text, "author {author}\ncommitter {committer}\n\n");
        // Git does not accept a NUL in a message.
        text.push_str(&commit.message.replace('\0', "\u{fffd}"));
        self.object(Kind::Commit, text.as_bytes())
    }

    /// Makes the branch `name` point at `commit`, if it points at nothing now, or at a commit for
    /// which `may_go` returns true. Returns true if the branch changed.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if the branch points at another commit, or another program is
    /// changing it; [`ErrorKind::Refused`] if git cannot have its name beside that of another
    /// branch.
    pub fn set_branch(
        &self,
        name: &str,
        commit: ObjectId,
        may_go: &dyn Fn(ObjectId) -> bool,
    ) -> Result<bool> {
        let path = self.root.join(branch_ref(name)?);
        let mut lock = path.clone().into_os_string();
        lock.push(".lock");
        let lock = PathBuf::from(lock);
        self.check_beside(name)?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|error| {
                wrong("create", folder, error)
                    .hint("git cannot have branches such as a and a/b at the same time")
            })?;
        }
        let mut file = match fs::File::create_new(&lock) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!("branch {name} is being changed: {} exists", shown(&lock)),
                )
                .hint("if no git command is running there, remove that file"));
            }
            file => file.map_err(|error| wrong("create", &lock, error))?,
        };
        let update = |file: &mut fs::File| {
            let now = self.branch(name)?;
            match now {
                Some(now) if now == commit => return Ok(false),
                Some(now) if !may_go(now) => {
                    return Err(Error::new(
                        ErrorKind::Conflict,
                        format!(
                            "branch {name} points at {now}, which was not written from a revision"
                        ),
                    )
                    .hint("write to another repository, or discard that commit with --force"));
                }
                _ => {}
            }
            writeln!(file, "{commit}")
                .and_then(|()| file.sync_all())
                .map_err(|error| wrong("write", &lock, error))?;
            // Git leaves the directories of branches that were packed or deleted.
            remove_empty(&path);
            fs::rename(&lock, &path).map_err(|error| {
                wrong("create", &path, error)
                    .hint("git cannot have branches such as a and a/b at the same time")
            })?;
            Ok(true)
        };
        let outcome = update(&mut file);
        if !matches!(outcome, Ok(true)) {
            let _ = fs::remove_file(&lock);
        }
        outcome
    }

    /// Checks that there is no branch such as `a` or `a/b/c` beside `a/b`. If one of two such
    /// branches is packed, the file system allows the other, but git then refuses both.
    fn check_beside(&self, name: &str) -> Result<()> {
        let refused = |other: &str| {
            Err(Error::refused(format!("branch {name} cannot exist beside branch {other}")).hint(
            "git cannot have branches such as a and a/b: delete that branch, or name other refs",
            ))
        };
        let refs = &self.repository.refs;
        let full = branch_ref(name)?;
        for (end, _) in name.match_indices('/') {
            if refs.has(&branch_ref(&name[..end])?)? {
                return refused(&name[..end]);
            }
        }
        match refs.below(&full)? {
            None => Ok(()),
            Some(other) => refused(&path::display(
                other.strip_prefix("refs/heads/").unwrap_or(&other).as_bytes(),
            )),
        }
    }

    /// Returns the commit that the branch `name` points at.
    fn branch(&self, name: &str) -> Result<Option<ObjectId>> {
        self.repository.refs.exact(&branch_ref(name)?)
    }
}

/// Returns the full name of the ref of a branch.
fn branch_ref(name: &str) -> Result<String> {
    let full = format!("refs/heads/{name}");
    if refs::is_name(&full) {
        return Ok(full);
    }
    Err(Error::refused(format!("branch {}: git refuses the name", path::display(name.as_bytes()))))
}

/// Removes a directory that contains only empty directories. Anything else stays.
fn remove_empty(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_empty(&entry.path());
        }
    }
    let _ = fs::remove_dir(folder);
}

/// Returns true if git accepts `line` as an author or committer: `NAME <MAIL> SECONDS ZONE`.
fn is_signature(line: &str) -> bool {
    let parse = || {
        let (name, rest) = line.split_once(" <")?;
        let (mail, when) = rest.split_once("> ")?;
        let (seconds, zone) = when.split_once(' ')?;
        let bad = |text: &str| text.contains(['<', '>', '\n', '\0']);
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let zone_is_good = zone.len() == 5 && zone.starts_with(['+', '-']) && digits(&zone[1..]);
        let time_is_good =
            digits(seconds) && seconds.len() < 19 && (seconds == "0" || !seconds.starts_with('0'));
        (!bad(name) && !bad(mail) && zone_is_good && time_is_good).then_some(())
    };
    parse().is_some()
}

/// Returns the reason why `name`, a valid name of a ref, cannot be that of a git branch; `None` if
/// it can.
pub fn branch_fault(name: &str) -> Option<&'static str> {
    let ends_badly = |part: &str| part.ends_with(".lock") || part.ends_with('.');
    match () {
        () if name.contains("..") => Some("has two dots in a row"),
        () if name.split('/').any(ends_badly) => Some("has a part that ends in . or .lock"),
        () if name.starts_with('-') => Some("begins with -"),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    /// Returns the path of the file of a loose object.
    fn loose(target: &BareRepository, id: ObjectId) -> PathBuf {
        let hex = id.to_string();
        target.root.join("objects").join(&hex[..2]).join(&hex[2..])
    }

    fn target_in(folder: &Path) -> (BareRepository, ObjectId) {
        let target = BareRepository::open(folder, "main").unwrap();
        let tree = TreeWriter::new(&target, None).unwrap().finish().unwrap();
        let commit = NewCommit {
            tree,
            parents: &[],
            author: None,
            committer: None,
            time: 7,
            message: "said",
        };
        let commit = target.commit(&commit).unwrap();
        (target, commit)
    }

    #[test]
    fn a_damaged_object_is_not_there_and_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (target, _) = target_in(folder.path());
        let bytes: Vec<u8> = (0..9_000_u32).flat_map(|n| (n * n).to_le_bytes()).collect();
        let id = target.blob(&bytes).unwrap();
        let file = loose(&target, id);
        let whole = fs::read(&file).unwrap();
        assert!(target.has(id));
        let zeros = vec![0; whole.len()];
        // The third ends after its header; the last lacks only its checksum.
        for damaged in [&[], &zeros[..], &whole[..whole.len() / 2], &whole[..whole.len() - 1]] {
            fs::remove_file(&file).unwrap();
            fs::write(&file, damaged).unwrap();
            assert!(!target.has(id), "{} bytes", damaged.len());
            assert_eq!(target.blob(&bytes).unwrap(), id);
            assert_eq!(fs::read(&file).unwrap(), whole);
        }
    }

    #[test]
    fn a_repository_may_lie_in_a_folder_whose_name_is_no_text() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join(OsStr::from_bytes(b"caf\xe9.git"));
        let (target, commit) = target_in(&root);
        assert!(target.set_branch("main", commit, &|_| false).unwrap());
        assert_eq!(target.branch("main").unwrap(), Some(commit));
    }

    #[test]
    fn branches_inside_anothers_name_are_refused_though_those_are_packed() {
        let folder = tempfile::tempdir().unwrap();
        let (target, commit) = target_in(folder.path());
        let packed = format!(
            "# pack-refs with: peeled fully-peeled sorted \n{commit} refs/heads/a\n\
             {commit} refs/heads/x/y/z\n"
        );
        fs::write(folder.path().join("packed-refs"), packed).unwrap();
        assert!(target.set_branch("l/m", commit, &|_| false).unwrap());
        for (name, other) in
            [("a/b", "a"), ("a/b/c", "a"), ("x", "x/y/z"), ("x/y", "x/y/z"), ("l", "l/m")]
        {
            let error = target.set_branch(name, commit, &|_| true).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused, "{name}");
            let said = error.to_string();
            assert!(said.contains(&format!("{name} cannot exist beside branch {other}")), "{said}");
        }
        for beside in ["ab", "x/y/zz", "x/yz", "l/mn"] {
            assert!(target.set_branch(beside, commit, &|_| false).unwrap(), "{beside}");
        }
        assert!(!target.set_branch("a", commit, &|_| false).unwrap());
    }

    #[test]
    fn empty_folders_that_git_left_are_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        let (target, commit) = target_in(folder.path());
        fs::create_dir_all(folder.path().join("refs/heads/x/y/z")).unwrap();
        fs::create_dir_all(folder.path().join("refs/heads/x/v")).unwrap();
        assert!(target.set_branch("x", commit, &|_| false).unwrap());
        assert_eq!(target.branch("x").unwrap(), Some(commit));
    }

    #[test]
    fn who_did_something_is_written_as_git_takes_it() {
        for good in ["A U <a@b> 7 +0100", "é <> 0 -0230", " <x> 12 +0000"] {
            assert!(is_signature(good), "{good}");
        }
        for bad in [
            "",
            "A U",
            "A <a@b> 7",
            "A <a@b> 7 0100",
            "A <a@b> -7 +0100",
            "A <<> 7 +0100",
            "A <a@b> 07 +0100",
            "A <a> 7 +01000",
            "A\n <a> 7 +0100",
            "A <a> 99999999999999999999 +0000",
        ] {
            assert!(!is_signature(bad), "{bad}");
        }
    }
}
