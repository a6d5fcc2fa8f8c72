//! What stands in the place of files, and refs.

use super::*;

#[test]
fn pipes_in_the_place_of_files_are_not_waited_for() {
    let _bounded = bounded();
    let (_folder, store) = new_store();
    let root = store.root().unwrap();
    let made = push_tree(&store, &MemorySource::of([("a", "b")]), &PushOptions::default()).unwrap();
    let pack = freestone_testkit::pack_name(&store.index().unwrap().packs().unwrap()[0].0);
    let pipe = |name: &str| {
        let path = root.join(name);
        let _ = std::fs::remove_file(&path);
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    };
    pipe("tmp/left-over");
    push_tree(&store, &MemorySource::of([("a", "c")]), &PushOptions::default()).unwrap();
    pipe(&format!("revisions/{}", made.id));
    assert!(reopened(&store).revision(&made.id).is_ok(), "its pack has it");
    pipe(&pack);
    assert!(read_chunk(&reopened(&store), b"b").is_err());
    assert!(!findings(&reopened(&store)).unwrap().is_empty());
    pipe(&format!("refs/main/{}", ref_place::key(1)));
    assert!(store.resolve("main@1").is_err());
    pipe("format");
    assert!(Store::open(root).is_err());
}

#[test]
fn ref_entries_of_any_number_are_taken_as_they_are() {
    let _bounded = bounded();
    let (_folder, store) = new_store();
    let id =
        push_tree(&store, &MemorySource::of([("a", "b")]), &PushOptions::default()).unwrap().id;
    for n in [2, 1 << 40, (1 << 63) - 1, 1 << 63] {
        let entry = RefEntry {
            action: RefAction::Set(id),
            name: "main".into(),
            log_id: [1; 16],
            n,
            previous: Some(Id([6; 32])),
            time: i64::MIN,
        };
        let object = format!("refs/main/{}", ref_place::key(n));
        store.backend().create(&object, &entry.encode()).unwrap();
        assert_eq!(store.refs().newest("main").unwrap().unwrap().n, n);
        let _ = store.refs().log("main");
        assert!(!findings(&store).unwrap().is_empty(), "entry {n} leans on none");
    }
    // Behind the last number that there is nothing can be added.
    let error = store.refs().set("main", id, Expect::Any, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    // What is no entry is left alone.
    for name in ["latest", "ffffffffffffffff", "x", "7ffffffffffffffff"] {
        store.backend().create(&format!("refs/main/{name}"), b"?").unwrap();
    }
    for folder in ["refs/%2e%2e", "refs/a%2f", "refs/.git"] {
        store.backend().create(&format!("{folder}/{}", ref_place::key(1)), b"?").unwrap();
    }
    assert_eq!(store.refs().list().unwrap().len(), 1);
}

#[test]
fn names_never_lead_out_of_the_store() {
    let _bounded = bounded();
    let (folder, store) = new_store();
    std::fs::write(folder.path().join("secret"), "x").unwrap();
    for name in ["../secret", "a/../../secret", "/etc/passwd", ".", "..", "a\0b"] {
        assert_eq!(store.refs().newest(name).map(drop).unwrap_err().kind(), ErrorKind::Usage);
        assert_eq!(store.resolve(name).map(drop).unwrap_err().kind(), ErrorKind::Usage, "{name}");
        let options = PushOptions { ref_name: Some(name.into()), ..PushOptions::default() };
        let pushed = push_tree(&store, &MemorySource::of([("a", "b")]), &options);
        assert_eq!(pushed.unwrap_err().kind(), ErrorKind::Usage);
    }
    let outside: Vec<_> =
        Path::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(outside.len(), 2, "{outside:?}");
}
