//! A repository that is open for reading.

use crate::commit::Commit;
use freestone_core::{Error, Result};
use gix_hash::ObjectId;
use gix_object::{Find, Kind};
use gix_odb::Header as _;
use gix_odb::find::Header;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Bytes of decoded objects that each thread keeps, since others are stored as what differs from
/// them.
const PACK_CACHE_BYTES: usize = 16 << 20;
/// The longest file of a shallow clone's ends that is read.
const SHALLOW_BYTES_MAX: u64 = 64 << 20;

/// A repository: bare or not, with alternates, shallow or whole. Used by many threads at once.
///
/// Of its configuration only the names of its objects are looked at, and nothing of the user's: who
/// pushes does not matter.
pub struct Repository {
    path: PathBuf,
    objects: Mutex<gix_odb::Handle>,
    pub(crate) refs: gix_ref::file::Store,
    /// Commits whose parents are missing, sorted: the clone is shallow.
    cut: Vec<ObjectId>,
    /// Handles that no thread uses just now; each keeps what it decoded last.
    idle: Mutex<Vec<gix_odb::Handle>>,
}

/// The cause of an error of gitoxide's.
pub(crate) fn cause(error: impl std::fmt::Display) -> std::io::Error {
    std::io::Error::other(error.to_string())
}

/// The folders of a repository: its own, and the one that its working directories share.
fn folders(path: &Path) -> Result<(PathBuf, PathBuf)> {
    let shown = path.display();
    if !path.exists() {
        return Err(Error::not_found(format!("{shown}: no such directory")));
    }
    let dot = path.join(".git");
    let own = match std::fs::read_to_string(&dot) {
        // A working directory that is linked to a repository.
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
        return Err(Error::not_found(format!("{shown} is no git repository")).hint(
            "name a repository or the top of its working directory; a bundle has to be cloned first",
        ));
    }
    Ok((own, common))
}

impl Repository {
    /// Opens the repository at `path`, or the one of the working directory there.
    ///
    /// # Errors
    /// There is none, or it is of a kind that cannot be read, such as one with SHA-256 or reftable.
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

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lets `work` use a handle.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&gix_odb::Handle) -> T) -> T {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let handle = idle().pop();
        let handle = handle
            .unwrap_or_else(|| self.objects.lock().unwrap_or_else(PoisonError::into_inner).clone());
        let outcome = work(&handle);
        idle().push(handle);
        outcome
    }

    /// An object of any kind; `None` if the repository does not have it.
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
                .hint("`git fsck` tells what is damaged")
        })?;
        Ok(kind.map(|kind| (kind, bytes)))
    }

    /// What an object is, without what it holds, which may be more than memory has; `None` too if it
    /// cannot be read.
    pub(crate) fn header(&self, id: ObjectId) -> Option<Header> {
        if id == ObjectId::empty_tree(id.kind()) {
            return Some(Header::Loose { kind: Kind::Tree, size: 0 });
        }
        self.with(|objects| objects.try_header(&id)).ok().flatten()
    }

    /// The bytes of an object; `None` if the repository does not have it.
    ///
    /// # Errors
    /// It cannot be read, or is of another kind.
    pub(crate) fn object(&self, id: ObjectId, kind: Kind) -> Result<Option<Vec<u8>>> {
        match self.any_object(id)? {
            Some((found, _)) if found != kind => {
                Err(Error::corrupt(format!("git object {id} is a {found} and no {kind}")))
            }
            found => Ok(found.map(|(_, bytes)| bytes)),
        }
    }

    /// The same of an object that must be there.
    ///
    /// # Errors
    /// As [`Self::object`], or it is missing.
    pub(crate) fn need(&self, id: ObjectId, kind: Kind) -> Result<Vec<u8>> {
        self.object(id, kind)?.ok_or_else(|| {
            Error::not_found(format!("{}: {kind} {id} is missing", self.path.display())).hint(
                "in a partial clone `git fetch --refetch` brings what is missing; else `git fsck` \
                 tells more",
            )
        })
    }

    /// The commit `id`; `None` if the repository does not have it, as beyond a shallow clone.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn commit(&self, id: ObjectId) -> Result<Option<Commit>> {
        let bytes = self.object(id, Kind::Commit)?;
        bytes.map(|bytes| Commit::parse(id, &bytes)).transpose()
    }

    /// The same of a commit that must be there.
    ///
    /// # Errors
    /// As [`Self::commit`], or it is missing.
    pub fn expect_commit(&self, id: ObjectId) -> Result<Commit> {
        Commit::parse(id, &self.need(id, Kind::Commit)?)
    }

    /// Whether the repository was cut off at `id`: the clone is shallow, and lacks its parents.
    pub fn is_cut_at(&self, id: ObjectId) -> bool {
        self.cut.binary_search(&id).is_ok()
    }
}

/// The commits at which a shallow clone ends.
fn shallow_ends(file: &Path) -> Result<Vec<ObjectId>> {
    let wrong = |error| Error::io(format!("{} cannot be read", file.display()), error);
    let text = match std::fs::metadata(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Ok(metadata) if metadata.len() > SHALLOW_BYTES_MAX => {
            return Err(Error::corrupt(format!("{} is too long", file.display())));
        }
        Ok(_) => std::fs::read_to_string(file).map_err(wrong)?,
        Err(error) => return Err(wrong(error)),
    };
    let id = |line: &str| ObjectId::from_hex(line.as_bytes()).ok();
    let mut ends: Vec<ObjectId> = text.lines().filter_map(id).collect();
    ends.sort_unstable();
    Ok(ends)
}

/// Refuses repositories whose objects or refs are kept in another way than can be read.
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
            "{shown}: a git repository of SHA-256, and only those of SHA-1 can be read"
        ))
        .hint("check it out, and push the directory"));
    }
    if is_other("refstorage", "files") {
        return Err(Error::refused(format!(
            "{shown}: a git repository with its refs in a reftable, and only refs in files can be \
             read"
        ))
        .hint("`git refs migrate --ref-format=files` changes that"));
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
