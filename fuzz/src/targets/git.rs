//! Objects of git repositories. They are given as loose objects of a repository, since that is the
//! way from outside to the code that parses them.

use crate::Goldens;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use freestone_core::item::ChangeSource;
use freestone_git::tree::{TreeChanges, TreeOptions};
use freestone_git::write::BareRepository;
use freestone_git::{ObjectId, Repository};
use std::cell::RefCell;
use std::fs;
use std::io::Write;
use std::sync::{Arc, Mutex};

/// The id of the object that is read. Git's own check of ids is `git fsck`.
const ID: &str = "aa00000000000000000000000000000000000000";
/// The id of a blob.
const BLOB: &str = "bb00000000000000000000000000000000000000";

/// A repository of an input and a blob.
struct InputRepository {
    directory: tempfile::TempDir,
    repository: BareRepository,
}

impl InputRepository {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let repository = BareRepository::open(&directory.path().join("git"), "main").unwrap();
        let new = Self { directory, repository };
        new.set(BLOB, "blob", b"../a");
        new
    }

    fn set(&self, id: &str, kind: &str, bytes: &[u8]) {
        let path = self.directory.path().join("git/objects").join(&id[..2]);
        fs::create_dir_all(&path).unwrap();
        let mut out = ZlibEncoder::new(Vec::new(), Compression::none());
        write!(out, "{kind} {}\0", bytes.len()).unwrap();
        out.write_all(bytes).unwrap();
        // A new file each time: a file system flushes one that is cut and written again.
        let path = path.join(&id[2..]);
        let _ = fs::remove_file(&path);
        fs::write(path, out.finish().unwrap()).unwrap();
    }
}

/// Calls `read` with a repository that has the object [`ID`] of these bytes.
fn with_object(kind: &str, bytes: &[u8], read: impl Fn(&Repository, ObjectId) -> bool) -> bool {
    thread_local! {
        static REPOSITORY: RefCell<Option<InputRepository>> = const { RefCell::new(None) };
    }
    REPOSITORY.with_borrow_mut(|repository| {
        let repository = repository.get_or_insert_with(InputRepository::new);
        repository.set(ID, kind, bytes);
        read(repository.repository.repository(), ObjectId::from_hex(ID.as_bytes()).unwrap())
    })
}

pub(super) fn commit(data: &[u8]) -> bool {
    with_object("commit", data, |repository, id| match repository.expect_commit(id) {
        Ok(commit) => {
            let _ = commit.title();
            true
        }
        Err(_) => false,
    })
}

pub(super) fn commits(_: &Goldens) -> Vec<Vec<u8>> {
    let plain = format!(
        "tree {ID}\nparent {BLOB}\nauthor A U <a@b> 7 +0100\ncommitter C <c@d> 9 -0230\n\ntitle\n\nbody\n"
    );
    let signed = format!(
        "tree {ID}\nauthor A <> 1 +0000\ncommitter C <> -2 +0000\nencoding ISO-8859-1\n\
         gpgsig -----BEGIN\n of words\n -----END\n\nm\n"
    );
    vec![plain.into_bytes(), signed.into_bytes()]
}

pub(super) fn tree(data: &[u8]) -> bool {
    with_object("tree", data, |repository, id| {
        let options = TreeOptions { skip_special: true, since: None };
        let Ok(mut changes) =
            TreeChanges::new(repository, id, &options, Arc::new(Mutex::default()))
        else {
            return false;
        };
        // A tree that holds itself has no end.
        for _ in 0..100 {
            match changes.next() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return false,
            }
        }
        true
    })
}

pub(super) fn trees(_: &Goldens) -> Vec<Vec<u8>> {
    let blob = ObjectId::from_hex(BLOB.as_bytes()).unwrap();
    let entry =
        |mode: &str, name: &str| [format!("{mode} {name}\0").as_bytes(), blob.as_slice()].concat();
    let files = [entry("100644", "a"), entry("100755", "b")].concat();
    let others = [entry("120000", "l"), entry("160000", "s"), entry("100644", "x")].concat();
    vec![files, others]
}
