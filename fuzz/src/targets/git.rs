//! Objects of git repositories. They are given as loose objects of a repository, since that is the
//! way from outside to the code that parses them.

use crate::Goldens;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use freestone_core::digest;
use freestone_core::item::ChangeSource;
use freestone_git::tree::{TreeChanges, TreeOptions};
use freestone_git::write::BareRepository;
use freestone_git::{ObjectId, Repository};
use std::cell::RefCell;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// The id of a tree that does not exist.
const TREE: &str = "aa00000000000000000000000000000000000000";
/// The id of the blob `../a`.
const BLOB: &str = "82f488f26965d3d02080ccf7969854a23f0f32b1";

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
        let (blob, _) = new.add("blob", b"../a");
        assert_eq!(blob.to_string(), BLOB);
        new
    }

    /// Adds an object. Returns its id, which is the hash of its bytes, and its file.
    fn add(&self, kind: &str, bytes: &[u8]) -> (ObjectId, PathBuf) {
        let plain = [format!("{kind} {}\0", bytes.len()).as_bytes(), bytes].concat();
        let id = ObjectId::from_bytes_or_panic(&digest::sha1(&plain).0);
        let hex = id.to_string();
        let path = self.directory.path().join("git/objects").join(&hex[..2]);
        fs::create_dir_all(&path).unwrap();
        let mut out = ZlibEncoder::new(Vec::new(), Compression::none());
        out.write_all(&plain).unwrap();
        let path = path.join(&hex[2..]);
        fs::write(&path, out.finish().unwrap()).unwrap();
        (id, path)
    }
}

/// Calls `read` with a repository that has the object of these bytes, and the object's id.
fn with_object(kind: &str, bytes: &[u8], read: impl Fn(&Repository, ObjectId) -> bool) -> bool {
    thread_local! {
        static REPOSITORY: RefCell<Option<InputRepository>> = const { RefCell::new(None) };
    }
    REPOSITORY.with_borrow_mut(|repository| {
        let repository = repository.get_or_insert_with(InputRepository::new);
        let (id, path) = repository.add(kind, bytes);
        let outcome = read(repository.repository.repository(), id);
        fs::remove_file(path).unwrap();
        outcome
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
        "tree {TREE}\nparent {BLOB}\nauthor A U <a@b> 7 +0100\ncommitter C <c@d> 9 -0230\n\ntitle\n\nbody\n"
    );
    let signed = format!(
        "tree {TREE}\nauthor A <> 1 +0000\ncommitter C <> -2 +0000\nencoding ISO-8859-1\n\
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
