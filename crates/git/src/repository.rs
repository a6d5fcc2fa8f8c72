//! Reads a git repository.

use crate::commit::Commit;
use freestone_core::{Error, Result, lock};
use gix_hash::ObjectId;
use gix_object::{Find, Kind};
use gix_odb::Header as _;
use gix_odb::find::Header;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The bytes of decoded objects that each thread keeps, because other objects are stored as
/// differences to them.
const PACK_CACHE_BYTES: usize = 16 << 20;
/// The longest `shallow` file, which lists the commits at which a shallow clone ends.
const SHALLOW_BYTES_MAX: u64 = 64 << 20;

/// A git repository that is open for reading: bare or not, with alternates, shallow or complete.
/// Many threads can use it at once.
///
/// Of its configuration only the formats of its objects and refs are read. The user's configuration
/// is ignored, so the result does not depend on the user.
pub struct Repository {
    path: PathBuf,
    objects: Mutex<gix_odb::Handle>,
    pub(crate) refs: gix_ref::file::Store,
    /// The commits whose parents are missing because the clone is shallow, sorted.
    cut: Vec<ObjectId>,
    /// Handles that no thread is using. Each keeps the objects that it decoded last.
    idle: Mutex<Vec<gix_odb::Handle>>,
}

/// Returns an error of gitoxide as a cause for [`Error::because`].
pub(crate) fn cause(error: impl std::fmt::Display) -> std::io::Error {
    std::io::Error::other(error.to_string())
}

/// Finds the directories of a repository: its own, and the one that all its working directories
/// share.
fn folders(path: &Path) -> Result<(PathBuf, PathBuf)> {
    let shown = path.display();
    if !path.exists() {
        return Err(Error::not_found(format!("{shown}: no such directory")));
    }
    let dot = path.join(".git");
    let own = match std::fs::read_to_string(&dot) {
        // A linked working directory has a file that names its repository.
        Ok(text) => match text.trim_end().strip_prefix("gitdir: ") {
            Some(linked) => path.join(linked),
            None => dot,
        },
        Err(_) if dot.is_dir() => dot,
        Err(_) => path.to_path_buf(),
    };
    let common = match std::fs::read_to_string(own.join("commondir")) {
        Ok(text) => own.join(text.trim_end()),
        Err(_) => own.clone(),
    };
    if own.join("HEAD").symlink_metadata().is_err() || !common.join("objects").is_dir() {
        return Err(Error::not_found(format!("{shown} is not a git repository"))
            .hint("name a repository or the top of its working directory; clone a bundle first"));
    }
    Ok((own, common))
}

impl Repository {
    /// Opens the repository at `path`, or the one of the working directory there.
    ///
    /// # Errors
    /// There is no repository, or it uses a format that is not supported, such as SHA-256 or
    /// reftable.
    pub fn open(path: &Path) -> Result<Self> {
        let (own, common) = folders(path)?;
        check_format(&common)?;
        let sha1 = gix_hash::Kind::Sha1;
        let mut objects = gix_odb::at(common.join("objects"), sha1).map_err(|error| {
            Error::io(format!("{}: its objects cannot be opened", path.display()), error)
        })?;
        objects.set_pack_cache(|| {
            Box::new(gix_pack::cache::lru::StaticLinkedList::<64>::new(PACK_CACHE_BYTES))
        });
        let refs = match own == common {
            true => gix_ref::file::Store::at(own, sha1),
            false => gix_ref::file::Store::for_linked_worktree(own, common.clone(), sha1),
        };
        Ok(Self {
            path: path.into(),
            objects: Mutex::new(objects),
            refs,
            cut: shallow_ends(&common.join("shallow"))?,
            idle: Mutex::default(),
        })
    }

    /// Returns the path by which the repository was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Calls `work` with a handle that no other thread is using.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&gix_odb::Handle) -> T) -> T {
        let handle = lock(&self.idle).pop();
        let handle = handle.unwrap_or_else(|| lock(&self.objects).clone());
        let outcome = work(&handle);
        lock(&self.idle).push(handle);
        outcome
    }

    /// Reads an object of any kind; `None` if the repository does not have it.
    pub(crate) fn any_object(&self, id: ObjectId) -> Result<Option<(Kind, Vec<u8>)>> {
        if id == ObjectId::empty_tree(id.kind()) {
            return Ok(Some((Kind::Tree, Vec::new())));
        }
        let mut bytes = Vec::new();
        let found = self.with(|objects| {
            objects.try_find(&id, &mut bytes).map(|found| found.map(|data| data.kind))
        });
        let kind = found.map_err(|error| {
            Error::corrupt(format!("git object {id} cannot be read"))
                .because(cause(error))
                .hint("run `git fsck` for a list of damaged objects")
        })?;
        Ok(kind.map(|kind| (kind, bytes)))
    }

    /// Returns the kind and length of an object without reading its bytes, which may not fit in
    /// memory; `None` if the object is missing or cannot be read.
    pub(crate) fn header(&self, id: ObjectId) -> Option<Header> {
        if id == ObjectId::empty_tree(id.kind()) {
            return Some(Header::Loose { kind: Kind::Tree, size: 0 });
        }
        self.with(|objects| objects.try_header(&id)).ok().flatten()
    }

    /// Reads the bytes of an object; `None` if the repository does not have it.
    ///
    /// # Errors
    /// The object cannot be read, or is of another kind.
    pub(crate) fn object(&self, id: ObjectId, kind: Kind) -> Result<Option<Vec<u8>>> {
        match self.any_object(id)? {
            Some((found, _)) if found != kind => {
                Err(Error::corrupt(format!("git object {id} is a {found}, not a {kind}")))
            }
            found => Ok(found.map(|(_, bytes)| bytes)),
        }
    }

    /// Reads the bytes of an object that must be there.
    ///
    /// # Errors
    /// As [`Self::object`], or the object is missing.
    pub(crate) fn need(&self, id: ObjectId, kind: Kind) -> Result<Vec<u8>> {
        self.object(id, kind)?.ok_or_else(|| {
            Error::not_found(format!("{}: {kind} {id} is missing", self.path.display())).hint(
                "in a partial clone, run `git fetch --refetch` to get missing objects; otherwise, \
                 run `git fsck` for details",
            )
        })
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

/// Reads the commits at which a shallow clone ends.
fn shallow_ends(file: &Path) -> Result<Vec<ObjectId>> {
    let wrong = |error| Error::io(format!("{} cannot be read", file.display()), error);
    let text = match std::fs::metadata(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Ok(metadata) if metadata.len() > SHALLOW_BYTES_MAX => {
            let shown = file.display();
            return Err(Error::corrupt(format!(
                "{shown} is longer than {SHALLOW_BYTES_MAX} bytes"
            )));
        }
        Ok(_) => std::fs::read_to_string(file).map_err(wrong)?,
        Err(error) => return Err(wrong(error)),
    };
    let id = |line: &str| ObjectId::from_hex(line.as_bytes()).ok();
    let mut ends: Vec<ObjectId> = text.lines().filter_map(id).collect();
    ends.sort_unstable();
    Ok(ends)
}

/// Checks that the repository uses supported formats for its objects and refs.
fn check_format(git: &Path) -> Result<()> {
    let text = std::fs::read_to_string(git.join("config")).unwrap_or_default();
    let is_other = |key: &str, known: &str| {
        text.lines().any(|line| {
            let line = line.trim().to_ascii_lowercase();
            line.strip_prefix(key)
                .and_then(|rest| rest.trim_start().strip_prefix('='))
                .is_some_and(|value| value.trim() != known)
        })
    };
    let shown = git.display();
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
