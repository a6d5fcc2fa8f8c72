//! Reads a git repository.

use crate::commit::Commit;
use crate::objects::{Object, Objects};
use crate::own_file::{self, shown};
use crate::refs::Refs;
use crate::variables::Variables;
use freestone_core::{Error, Result};
use gix_hash::ObjectId;
use gix_object::Kind;
use gix_odb::find::Header;
use std::ffi::OsStr;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The longest `shallow` file, which lists the commits at which a shallow clone ends.
const SHALLOW_BYTES_MAX: u64 = 64 << 20;
/// The longest configuration.
const CONFIG_BYTES_MAX: u64 = 4 << 20;
/// The longest file that names a directory.
const LINK_BYTES_MAX: u64 = 8 << 10;
/// The longest tree. It bounds the memory of a directory of a commit, at about 7 million names.
const TREE_BYTES_MAX: u64 = 256 << 20;
/// The longest commit or tag.
const TEXT_BYTES_MAX: u64 = 16 << 20;

/// A git repository that is open for reading: bare or not, with alternates, shallow or complete.
/// Many threads can use it at once.
///
/// Of its configuration only the formats of its objects and refs are read. The user's configuration
/// is ignored, so the result does not depend on the user. Replacements (`git replace`) and grafts
/// are ignored too: the bytes of an object are those that its id proves.
pub struct Repository {
    path: PathBuf,
    pub(crate) objects: Objects,
    pub(crate) refs: Refs,
    /// The commits whose parents are missing because the clone is shallow, sorted.
    cut: Vec<ObjectId>,
}

/// Returns the path that a file of the repository holds, after `start`; `None` if there is no such
/// file, or it holds something else.
fn named_path(file: &Path, start: &[u8]) -> Result<Option<PathBuf>> {
    let text = own_file::read(file, LINK_BYTES_MAX)?;
    let path = text.as_deref().map(<[u8]>::trim_ascii_end);
    Ok(path.and_then(|path| path.strip_prefix(start)).map(|path| OsStr::from_bytes(path).into()))
}

/// Finds the directories of a repository: its own, and the one that all its working directories
/// share.
fn folders(path: &Path) -> Result<(PathBuf, PathBuf)> {
    if !path.exists() {
        return Err(Error::not_found(format!("{}: no such directory", shown(path))));
    }
    let dot = path.join(".git");
    // A linked working directory has a file that names its repository.
    let own = match named_path(&dot, b"gitdir: ")? {
        Some(linked) => path.join(linked),
        None if dot.exists() => dot,
        None => path.to_path_buf(),
    };
    let common = match named_path(&own.join("commondir"), b"")? {
        Some(common) => own.join(common),
        None => own.clone(),
    };
    if own.join("HEAD").symlink_metadata().is_err() || !common.join("objects").is_dir() {
        return Err(Error::not_found(format!("{} is not a git repository", shown(path)))
            .hint("name a repository or the top of its working directory; clone a bundle first"));
    }
    own_file::check(&own.join("HEAD"))?;
    Ok((own, common))
}

impl Repository {
    /// Opens the repository at `path`, or the one of the working directory there.
    ///
    /// # Errors
    /// There is no repository, or it uses a format that is not supported, such as SHA-256 or
    /// reftable; one of its own files is not a regular file, or too long; it belongs to another user
    /// and borrows objects from outside.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, &Variables::default())
    }

    /// Opens the repository at `path` as [`Self::open`] does, with the objects that the variables
    /// of a hook name, if they are about this repository. Then it may borrow objects of others, too.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(path: &Path, variables: &Variables) -> Result<Self> {
        let (own, common) = folders(path)?;
        check_format(&common)?;
        let folder = common.join("objects");
        let more = variables.folders_for(&own, &common);
        let canonical = common
            .canonicalize()
            .map_err(|error| Error::io(format!("{} cannot be opened", shown(&common)), error))?;
        // As git does, a user's own repository is trusted.
        let is_own = std::fs::metadata(&canonical)
            .is_ok_and(|folder| folder.uid() == rustix::process::geteuid().as_raw());
        let is_trusted = is_own || variables.are_about(&own, &common);
        let inside = Some(&*canonical).filter(|_| !is_trusted);
        Ok(Self {
            path: path.into(),
            objects: Objects::open(&folder, inside, &more)?,
            refs: Refs::new(&own, &common),
            cut: shallow_ends(&common.join("shallow"))?,
        })
    }

    /// Returns the path by which the repository was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path by which the repository was opened, as text for people.
    pub(crate) fn shown(&self) -> String {
        shown(&self.path)
    }

    /// Finds an object of any kind; `None` if the repository does not have it.
    ///
    /// # Errors
    /// The object cannot be read, or does not hash to its id.
    pub(crate) fn find(&self, id: ObjectId) -> Result<Option<Object>> {
        if id == ObjectId::empty_tree(id.kind()) {
            return Ok(Some(Object::Whole(Kind::Tree, Vec::new(), None)));
        }
        self.objects.find(id)
    }

    /// Returns the kind and length that an object states, without reading its bytes; `None` if the
    /// object is missing or cannot be read.
    pub(crate) fn header(&self, id: ObjectId) -> Option<Header> {
        if id == ObjectId::empty_tree(id.kind()) {
            return Some(Header::Loose { kind: Kind::Tree, size: 0 });
        }
        self.objects.header(id)
    }

    /// Returns the kind that an object states; `None` if the object is missing.
    ///
    /// # Errors
    /// The object cannot be read.
    pub(crate) fn kind(&self, id: ObjectId) -> Result<Option<Kind>> {
        match self.header(id) {
            Some(header) => Ok(Some(header.kind())),
            // It may be missing or damaged.
            None => Ok(self.find(id)?.map(|found| found.kind())),
        }
    }

    /// Reads the bytes of an object that is not a blob; `None` if the repository does not have it.
    ///
    /// # Errors
    /// The object cannot be read, is of another kind or too long, or does not hash to its id.
    pub(crate) fn object(&self, id: ObjectId, kind: Kind) -> Result<Option<Vec<u8>>> {
        let Some(found) = self.find(id)? else { return Ok(None) };
        if found.kind() != kind {
            let found = found.kind();
            return Err(Error::corrupt(format!("git object {id} is a {found}, not a {kind}")));
        }
        let (size, max) = match &found {
            Object::Whole(_, bytes, _) => (bytes.len() as u64, length_max(kind)),
            Object::Large(large) => (large.size(), length_max(kind)),
        };
        if size > max {
            return Err(Error::refused(format!(
                "git {kind} {id} has {size} bytes, and at most {max} are supported"
            )));
        }
        match found {
            Object::Whole(_, bytes, _) => Ok(Some(bytes)),
            Object::Large(large) => {
                let mut bytes = Vec::new();
                large.read()?.read_to_end(&mut bytes).map_err(|error| {
                    Error::corrupt(format!("git object {id} cannot be read")).because(error)
                })?;
                Ok(Some(bytes))
            }
        }
    }

    /// Reads the bytes of an object that must be there.
    ///
    /// # Errors
    /// As [`Self::object`], or the object is missing.
    pub(crate) fn need(&self, id: ObjectId, kind: Kind) -> Result<Vec<u8>> {
        self.object(id, kind)?.ok_or_else(|| self.missing(id, kind))
    }

    /// Returns the error of an object that is missing.
    pub(crate) fn missing(&self, id: ObjectId, kind: Kind) -> Error {
        Error::not_found(format!("{}: {kind} {id} is missing", self.shown())).hint(
            "in a partial clone, run `git fetch --refetch --no-filter` to get missing objects; \
             otherwise, run `git fsck` for details",
        )
    }

    /// Reads the commit `id`; `None` if the repository does not have it, such as beyond the end of
    /// a shallow clone.
    ///
    /// # Errors
    /// The commit cannot be read.
    pub fn commit(&self, id: ObjectId) -> Result<Option<Commit>> {
        let bytes = self.object(id, Kind::Commit)?;
        bytes.map(|bytes| Commit::parse(id, &bytes)).transpose()
    }

    /// Reads a commit that must be there.
    ///
    /// # Errors
    /// As [`Self::commit`], or the commit is missing.
    pub fn expect_commit(&self, id: ObjectId) -> Result<Commit> {
        Commit::parse(id, &self.need(id, Kind::Commit)?)
    }

    /// Returns true if the clone is shallow and ends at `id`, so that the parents of `id` are
    /// missing.
    pub fn is_cut_at(&self, id: ObjectId) -> bool {
        self.cut.binary_search(&id).is_ok()
    }
}

/// Returns the longest object of a kind that is read whole.
fn length_max(kind: Kind) -> u64 {
    match kind {
        Kind::Tree => TREE_BYTES_MAX,
        Kind::Commit | Kind::Tag => TEXT_BYTES_MAX,
        Kind::Blob => u64::MAX,
    }
}

/// Reads the commits at which a shallow clone ends.
fn shallow_ends(file: &Path) -> Result<Vec<ObjectId>> {
    let text = own_file::read(file, SHALLOW_BYTES_MAX)?.unwrap_or_default();
    let lines = text.split(|byte| *byte == b'\n');
    let mut ends: Vec<ObjectId> =
        lines.filter_map(|line| ObjectId::from_hex(line.trim_ascii_end()).ok()).collect();
    ends.sort_unstable();
    Ok(ends)
}

/// Reads the configuration of the repository in `git`; empty if there is none.
///
/// # Errors
/// It is not a regular file, or too long.
pub(crate) fn config(git: &Path) -> Result<String> {
    let text = own_file::read(&git.join("config"), CONFIG_BYTES_MAX)?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Checks that the repository uses supported formats for its objects and refs.
fn check_format(git: &Path) -> Result<()> {
    let text = config(git)?;
    let is_other = |key: &str, known: &str| {
        text.lines().any(|line| {
            let line = line.trim().to_ascii_lowercase();
            line.strip_prefix(key)
                .and_then(|rest| rest.trim_start().strip_prefix('='))
                .is_some_and(|value| value.trim() != known)
        })
    };
    let shown = shown(git);
    if is_other("objectformat", "sha1") {
        return Err(Error::refused(format!(
            "{shown}: a git repository with SHA-256 ids; only SHA-1 is supported"
        ))
        .hint("check it out, and push the directory"));
    }
    if is_other("refstorage", "files") {
        return Err(Error::refused(format!(
            "{shown}: a git repository with a reftable; only refs in files are supported"
        ))
        .hint("run `git refs migrate --ref-format=files` to convert it"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_whose_refs_are_no_files_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let git = folder.path();
        std::fs::create_dir(git.join("objects")).unwrap();
        std::fs::create_dir(git.join("refs")).unwrap();
        std::fs::write(git.join("HEAD"), "ref: refs/heads/.invalid\n").unwrap();
        let open = |value: &str| {
            let text = format!("[core]\n\tbare = true\n[extensions]\n\trefStorage = {value}\n");
            std::fs::write(git.join("config"), text).unwrap();
            Repository::open(git).err().map(|error| error.to_string())
        };
        assert_eq!(open("files"), None);
        assert!(open("reftable").is_some_and(|said| said.contains("reftable")));
    }
}
