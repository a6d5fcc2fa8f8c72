//! Repositories that somebody else made: wrong objects, huge ones, and files that are no files.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like tests")]

mod repository;

use freestone_core::item::{ChangeSource, FileOpener};
use freestone_core::{Error, ErrorKind, Result};
use freestone_git::tree::{TreeChanges, TreeOptions};
use freestone_git::{Blobs, ObjectId, Repository, Variables};
use repository::{Site, git, put, put_as, tree};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// Does `work` in a thread, and fails if it takes too long.
fn soon<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, wait) = mpsc::channel();
    std::thread::spawn(move || done.send(work()));
    let outcome = wait.recv_timeout(Duration::from_secs(60));
    outcome.unwrap_or_else(|_| panic!("{what} does not end"))
}

/// Reads all that a commit of `main` holds. Returns the number of paths.
fn read_all(path: &Path) -> Result<u64> {
    let repository = Repository::open(path)?;
    let commit = repository.resolve("main")?;
    read_tree(&repository, commit.tree, None)
}

fn read_tree(repository: &Repository, tree: ObjectId, since: Option<ObjectId>) -> Result<u64> {
    let options = TreeOptions { skip_special: false, since: since.map(|tree| (tree, false)) };
    let mut changes = TreeChanges::new(repository, tree, &options, Arc::default())?;
    let mut paths = 0;
    while let Some(change) = changes.next()? {
        paths += 1;
        if let freestone_core::item::ChangeKind::File {
            bytes: freestone_core::item::FileBytes::Named(name),
            ..
        } = change.kind
        {
            let read = Blobs::new(repository).open(&name)?.read_to_end(&mut Vec::new());
            read.map_err(|error| Error::corrupt("a blob cannot be read").because(error))?;
        }
    }
    changes.finish().map(|_| paths)
}

#[test]
fn own_files_that_are_no_files_are_refused_and_never_waited_for() {
    let site = Site::new();
    site.write("page", "x");
    let commit = site.commit("one");
    site.git(&["pack-refs", "--all"]);
    site.git(&["repack", "-a", "-d", "-q"]);
    let pack = std::fs::read_dir(site.path().join(".git/objects/pack")).unwrap();
    let index = pack
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .find(|name| name.ends_with(".idx"))
        .unwrap();
    for file in [
        "config",
        "HEAD",
        "commondir",
        "shallow",
        "packed-refs",
        "refs/heads/main",
        "refs/tags/main",
        "objects/info/alternates",
        "objects/pack/multi-pack-index",
        &format!("objects/pack/{index}"),
        &format!("objects/pack/{}", index.replace(".idx", ".pack")),
        "",
    ] {
        let place = site.path().join(".git").join(file);
        let kept = site.path().join("kept");
        let is_there = place.exists();
        if is_there {
            std::fs::rename(&place, &kept).unwrap();
        }
        let place = match file {
            "" => site.path().join(".git"),
            _ => place,
        };
        for how in ["pipe", "zeros"] {
            match how {
                "pipe" => mknodat(CWD, &place, FileType::Fifo, Mode::RUSR, 0).unwrap(),
                _ => symlink("/dev/zero", &place).unwrap(),
            }
            let path = site.path();
            let error = soon(&format!("{file} as {how}"), move || read_all(&path)).unwrap_err();
            let said = error.to_string();
            assert!(said.contains("is not a regular file"), "{file} as {how}: {said}");
            assert_eq!(error.kind(), ErrorKind::Refused, "{file} as {how}");
            std::fs::remove_file(&place).unwrap();
        }
        if is_there {
            std::fs::rename(&kept, &place).unwrap();
        }
    }
    assert_eq!(read_all(&site.path()).unwrap(), 1);
    assert_eq!(site.head(), commit);
}

#[test]
fn objects_that_are_no_files_are_refused_and_never_waited_for() {
    let site = Site::new();
    site.write("page", "x");
    site.commit("one");
    let objects = site.path().join(".git/objects");
    for name in ["HEAD", "HEAD^{tree}", "HEAD:page"] {
        let id = site.git(&["rev-parse", name]).trim().to_owned();
        let (place, kept) = (objects.join(&id[..2]).join(&id[2..]), site.path().join("kept"));
        std::fs::rename(&place, &kept).unwrap();
        for how in ["pipe", "zeros"] {
            match how {
                "pipe" => mknodat(CWD, &place, FileType::Fifo, Mode::RUSR, 0).unwrap(),
                _ => symlink("/dev/zero", &place).unwrap(),
            }
            let path = site.path();
            let error = soon(&format!("{name} as {how}"), move || read_all(&path)).unwrap_err();
            assert!(error.to_string().contains("is not a regular file"), "{name}: {error}");
            assert_eq!(error.kind(), ErrorKind::Refused, "{name} as {how}");
            std::fs::remove_file(&place).unwrap();
        }
        std::fs::rename(&kept, &place).unwrap();
    }
    assert_eq!(read_all(&site.path()).unwrap(), 1);
}

/// A repository that names a commit of another one, and leads to its objects.
#[test]
fn objects_outside_of_the_repository_of_another_user_are_refused() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("only root can make a repository of another user");
        return;
    }
    let private = Site::new();
    private.write("page", "private");
    let commit = private.commit("one");
    private.git(&["config", "gc.auto", "0"]);
    let theirs = private.path().join(".git/objects");
    let id = commit.trim();
    let loose = format!("{}/{}", &id[..2], &id[2..]);
    private.git(&["repack", "-a", "-q"]);
    let packs = theirs.join("pack");
    let pack = std::fs::read_dir(&packs).unwrap().next().unwrap().unwrap().file_name();
    let pack = Path::new("pack").join(pack);
    for how in ["alternates", "objects", "pack", &loose[..2], &loose, pack.to_str().unwrap()] {
        let folder = tempfile::tempdir().unwrap();
        git(folder.path(), &["init", "-q", "--bare", "-b", "main", "."]);
        let objects = folder.path().join("objects");
        let place = objects.join(how);
        match how {
            "alternates" => {
                let line = format!("{}\n", theirs.display());
                std::fs::write(objects.join("info/alternates"), line).unwrap();
            }
            "objects" => {
                std::fs::remove_dir_all(&objects).unwrap();
                symlink(&theirs, &objects).unwrap();
            }
            "pack" => {
                std::fs::remove_dir(&place).unwrap();
                symlink(&packs, &place).unwrap();
            }
            _ => {
                std::fs::create_dir_all(place.parent().unwrap()).unwrap();
                symlink(theirs.join(how), &place).unwrap();
            }
        }
        std::fs::write(folder.path().join("refs/heads/main"), format!("{id}\n")).unwrap();
        let is_whole = ["alternates", "objects", "pack"].contains(&how);
        // A user's own repository may borrow what it wants to.
        assert_eq!(read_all(folder.path()).is_ok(), is_whole, "{how}");
        std::os::unix::fs::chown(folder.path(), Some(1234), None).unwrap();
        let error = read_all(folder.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{how}: {error}");
        let said = error.to_string();
        assert!(said.contains("leads to objects outside of the repository"), "{how}: {said}");
        assert!(error.hint_text().unwrap().contains("git repack -a -d"), "{how}");
        // Its owner says that it is trusted, as git does in a hook.
        let set = |name: &str| (name == "GIT_DIR").then(|| folder.path().into());
        let opened = Repository::open_with(folder.path(), &Variables::new(set)).unwrap();
        if is_whole {
            opened.resolve("main").unwrap();
        }
    }
    // What is within the repository may be borrowed: the pool of a server that keeps it there.
    let folder = tempfile::tempdir().unwrap();
    git(folder.path(), &["init", "-q", "--bare", "-b", "main", "."]);
    let mut copy = std::process::Command::new("cp");
    copy.arg("-r").arg(&theirs).arg(folder.path().join("pool"));
    assert!(copy.status().unwrap().success());
    std::fs::write(folder.path().join("objects/info/alternates"), "../pool\n").unwrap();
    std::fs::write(folder.path().join("refs/heads/main"), format!("{id}\n")).unwrap();
    assert_eq!(read_all(folder.path()).unwrap(), 1);
}

#[test]
fn own_files_that_are_too_long_are_refused() {
    let site = Site::new();
    site.write("page", "x");
    site.commit("one");
    for (file, length) in [("config", 5 << 20), ("commondir", 9 << 10), ("shallow", 65 << 20)] {
        let place = site.path().join(".git").join(file);
        let before = std::fs::read(&place);
        std::fs::File::create(&place).unwrap().set_len(length).unwrap();
        let error = read_all(&site.path()).unwrap_err().to_string();
        assert!(error.contains("is longer than"), "{file}: {error}");
        match before {
            Ok(before) => std::fs::write(&place, before).unwrap(),
            Err(_) => std::fs::remove_file(&place).unwrap(),
        }
    }
    // Zeros have no end of line.
    std::fs::File::create(site.path().join(".git/packed-refs")).unwrap().set_len(1 << 40).unwrap();
    let repository = Repository::open(&site.path()).unwrap();
    let error = soon("packed-refs", move || repository.resolve("none")).unwrap_err();
    assert!(error.to_string().contains("a line too long"), "{error}");
}

#[test]
fn an_object_with_other_bytes_than_its_id_says_is_damage() {
    let site = Site::new();
    site.write("page", "true");
    let head = site.commit("one");
    let ids = ["HEAD", "HEAD^{tree}", "HEAD:page"].map(|name| site.git(&["rev-parse", name]));
    let tag = site.put("tag", format!("object {head}\ntype commit\ntag t\n\nm").as_bytes());
    std::fs::write(site.path().join(".git/refs/tags/t"), format!("{tag}\n")).unwrap();
    let objects = site.path().join(".git/objects");
    let other = put(&objects, "blob", b"evil");
    let commit = site.git(&["cat-file", "commit", "HEAD"]).replace("one", "two");
    let evil_tag = format!("object {}\ntype commit\ntag t\n\nm", "1".repeat(40));
    for (id, kind, bytes) in [
        (ids[0].trim(), "commit", commit.into_bytes()),
        (ids[1].trim(), "tree", tree(&[("100644", "page", &other)])),
        (ids[2].trim(), "blob", b"evil".to_vec()),
        (&*tag, "tag", evil_tag.into_bytes()),
    ] {
        let place = objects.join(&id[..2]).join(&id[2..]);
        let before = std::fs::read(&place).unwrap();
        put_as(&objects, id, &[format!("{kind} {}\0", bytes.len()).as_bytes(), &bytes].concat());
        let error = match kind {
            "tag" => Repository::open(&site.path()).unwrap().resolve("t").map(|_| 0).unwrap_err(),
            _ => read_all(&site.path()).unwrap_err(),
        };
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{kind}: {error}");
        let said = error.to_string();
        assert!(said.contains(id) && said.contains("other bytes than its id says"), "{said}");
        std::fs::remove_file(&place).unwrap();
        std::fs::write(&place, before).unwrap();
    }
    assert_eq!(read_all(&site.path()).unwrap(), 1);
}

#[test]
fn a_packed_object_is_hashed_too() {
    let site = Site::new();
    let page = |version: u32| -> String {
        (0..2000).map(|line| format!("{version} {line} line\n")).collect()
    };
    site.write("page", page(1));
    site.commit("one");
    site.write("page", page(1).replace("1 77 ", "1 78 "));
    site.commit("two");
    site.git(&["repack", "-a", "-d", "-q"]);
    assert_eq!(read_all(&site.path()).unwrap(), 1);
    // The ids of two objects change places in the index, so each leads to the other's bytes.
    let folder = site.path().join(".git/objects/pack");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let index =
        files.into_iter().find(|path| path.extension().is_some_and(|e| e == "idx")).unwrap();
    let id =
        |name: &str| ObjectId::from_hex(site.git(&["rev-parse", name]).trim().as_bytes()).unwrap();
    let (new, old) = (id("HEAD:page"), id("HEAD^:page"));
    let mut bytes = std::fs::read(&index).unwrap();
    // Version 2: a header of 8 bytes, 256 counts, then the ids, their checksums and offsets.
    let count = u32::from_be_bytes(bytes[8 + 255 * 4..][..4].try_into().unwrap()) as usize;
    let ids = 8 + 256 * 4;
    let at = |wanted: &ObjectId| {
        (0..count).find(|at| bytes[ids + 20 * at..][..20] == *wanted.as_slice()).unwrap()
    };
    let offsets = ids + 24 * count;
    let (a, b) = (offsets + 4 * at(&new), offsets + 4 * at(&old));
    (0..4).for_each(|byte| bytes.swap(a + byte, b + byte));
    std::fs::remove_file(&index).unwrap();
    std::fs::write(&index, bytes).unwrap();
    let error = read_all(&site.path()).unwrap_err();
    assert!(error.to_string().contains("other bytes than its id says"), "{error}");
}

/// Writes a loose blob of zeros, and returns its id.
fn zeros(objects: &Path, length: usize) -> String {
    let mut hasher = freestone_core::digest::sha1_hasher();
    let mut bytes = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    let header = format!("blob {length}\0");
    hasher.update(header.as_bytes());
    bytes.write_all(header.as_bytes()).unwrap();
    let step = vec![0; 1 << 20];
    for _ in 0..length >> 20 {
        hasher.update(&step);
        bytes.write_all(&step).unwrap();
    }
    let id = hasher.finish().to_string();
    let place = objects.join(&id[..2]).join(&id[2..]);
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    std::fs::write(place, bytes.finish().unwrap()).unwrap();
    id
}

#[test]
fn a_long_blob_is_a_stream_that_is_proven_at_its_end() {
    let site = Site::new();
    let objects = site.path().join(".git/objects");
    let length = 80 << 20;
    let id = zeros(&objects, length);
    site.commit_tree(&site.put("tree", &tree(&[("100644", "zeros", &id)])));
    let read = |path: &Path| {
        let repository = Repository::open(path).unwrap();
        let mut file = Blobs::new(&repository).open(id.as_bytes())?;
        assert_eq!(file.stamp().unwrap().size, length as u64);
        let (mut sum, mut step) = (0, vec![0; 1 << 20]);
        loop {
            match file.read(&mut step).map_err(|error| Error::corrupt("x").because(error))? {
                0 => break,
                count => sum += count,
            }
        }
        file.seek(length as u64 - 3).unwrap();
        assert_eq!(file.read_to_end(&mut Vec::new()).unwrap(), 3);
        Ok::<_, Error>(sum)
    };
    assert_eq!(read(&site.path()).unwrap(), length);
    // The same in a pack, where git stores such a blob by itself.
    site.git(&["-c", "core.bigFileThreshold=1m", "repack", "-a", "-d", "-q"]);
    assert!(!objects.join(&id[..2]).join(&id[2..]).exists());
    assert_eq!(read(&site.path()).unwrap(), length);
    // A loose object whose last byte is another one, whose header lies, and which ends early.
    let packed = site.path().join(".git/objects/pack");
    std::fs::remove_dir_all(&packed).unwrap();
    let (header, rest) = (format!("blob {length}\0"), vec![0; length]);
    for (bytes, said) in [
        ([header.as_bytes(), &rest[1..], b"x"].concat(), "other bytes than its id says"),
        ([header.as_bytes(), &rest[1..]].concat(), "shorter than it states"),
        ([header.as_bytes(), &rest, b"x"].concat(), "longer than it states"),
    ] {
        put_as(&objects, &id, &bytes);
        let error = read(&site.path()).unwrap_err().chain();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn trees_with_more_paths_than_can_be_listed_are_refused() {
    let site = Site::new();
    let blob = site.put("blob", b"x");
    let mut top = site.put("tree", &tree(&[("100644", "f", &blob)]));
    for _ in 0..40 {
        top = site.put("tree", &tree(&[("40000", "a", &top), ("40000", "b", &top)]));
    }
    site.commit_tree(&top);
    let path = site.path();
    let error = soon("a tree of 2^40 paths", move || read_all(&path)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains(" paths, of 81 entries"), "{error}");
    // The same as what went away, and as what changed everywhere.
    let other = site.put("blob", b"y");
    let mut second = site.put("tree", &tree(&[("100644", "f", &other)]));
    for _ in 0..40 {
        second = site.put("tree", &tree(&[("40000", "a", &second), ("40000", "b", &second)]));
    }
    let few = site.put("tree", &tree(&[("100644", "f", &blob)]));
    let id = |hex: &str| ObjectId::from_hex(hex.as_bytes()).unwrap();
    for (new, old) in [(&few, &top), (&second, &top), (&top, &few)] {
        let (new, old, path) = (id(new), id(old), site.path());
        let error = soon("a difference of 2^40 paths", move || {
            read_tree(&Repository::open(&path).unwrap(), new, Some(old))
        });
        let error = error.unwrap_err();
        assert!(error.to_string().contains(" paths, of 81 entries"), "{error}");
    }
}

#[test]
fn copies_of_a_directory_are_no_attack() {
    let site = Site::new();
    let blob = site.put("blob", b"x");
    let names: Vec<String> = (0..300).map(|number| format!("{number:04}")).collect();
    let files: Vec<_> = names.iter().map(|name| ("100644", &**name, &*blob)).collect();
    let inner = site.put("tree", &tree(&files));
    let folders: Vec<_> = names.iter().map(|name| ("40000", &**name, &*inner)).collect();
    site.commit_tree(&site.put("tree", &tree(&folders)));
    let repository = Repository::open(&site.path()).unwrap();
    let commit = repository.resolve("main").unwrap();
    let options = TreeOptions { skip_special: false, since: None };
    let mut changes = TreeChanges::new(&repository, commit.tree, &options, Arc::default()).unwrap();
    let mut paths = 0;
    while changes.next().unwrap().is_some() {
        paths += 1;
    }
    assert_eq!(paths, 300 * 301);
}

#[test]
fn the_objects_of_a_push_that_is_received_are_found_in_the_hook() {
    let site = Site::new();
    site.write("page", "1");
    site.commit("one");
    let server = tempfile::tempdir().unwrap();
    git(server.path(), &["init", "-q", "--bare", "."]);
    let incoming = server.path().join("objects/incoming");
    std::fs::create_dir(&incoming).unwrap();
    let blob = put(&incoming, "blob", b"x");
    let top = put(&incoming, "tree", &tree(&[("100644", "f", &blob)]));
    let text = format!("tree {top}\nauthor a <a> 1 +0000\ncommitter a <a> 1 +0000\n\nm");
    let commit = put(&incoming, "commit", text.as_bytes());
    let set = |name: &str| match name {
        "GIT_DIR" => Some(server.path().into()),
        "GIT_OBJECT_DIRECTORY" | "GIT_QUARANTINE_PATH" => Some(incoming.clone().into()),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES" => Some(server.path().join("objects").into()),
        _ => None,
    };
    let in_hook = Repository::open_with(server.path(), &Variables::new(set)).unwrap();
    let found = in_hook.resolve(&commit).unwrap();
    assert_eq!(read_tree(&in_hook, found.tree, None).unwrap(), 1);
    assert!(in_hook.resolve(&commit[..12]).is_ok());
    let outside = Repository::open(server.path()).unwrap();
    assert_eq!(outside.resolve(&commit).unwrap_err().kind(), ErrorKind::NotFound);
    let elsewhere = Repository::open_with(&site.path(), &Variables::new(set)).unwrap();
    assert!(elsewhere.resolve(&commit).is_err() && elsewhere.resolve("main").is_ok());
}

#[test]
fn a_commit_is_an_ancestor_by_any_parent_and_whatever_the_clocks_say() {
    let site = Site::new();
    let commit = |parents: &[&str], time: i64| {
        let tree = site.put("tree", b"");
        let parents: String = parents.iter().map(|parent| format!("parent {parent}\n")).collect();
        let who = format!("a <a> {time} +0000");
        let text = format!("tree {tree}\n{parents}author {who}\ncommitter {who}\n\nm");
        site.put("commit", text.as_bytes())
    };
    let first = commit(&[], 1_000_000);
    let side = commit(&[&first], 1_000_100);
    let main = commit(&[&first], 1_000_200);
    let merge = commit(&[&main, &side], 1_000_300);
    let wrong_clock = commit(&[&merge], 990_000);
    let last = commit(&[&wrong_clock], 1_000_400);
    let repository = Repository::open(&site.path()).unwrap();
    let is_ancestor = |older: &str, newer: &str| {
        let older = repository.resolve(older).unwrap();
        let newer = ObjectId::from_hex(newer.as_bytes()).unwrap();
        repository.is_ancestor(&older, newer, &mut || Ok(())).unwrap()
    };
    for older in [&first, &side, &main, &merge, &wrong_clock] {
        assert!(is_ancestor(older, &last), "{older}");
        assert!(!is_ancestor(&last, older), "{older}");
    }
    assert!(!is_ancestor(&side, &main) && !is_ancestor(&last, &last));
    assert!(!is_ancestor(&first, &"1".repeat(40)));
}
