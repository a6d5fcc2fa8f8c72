//! A whole collection happens before each operation of another program, in turn: what that program
//! says it did is whole, or it says that it failed.

use super::*;
use freestone_backend::directory::Directory;
use freestone_testkit::Hooked;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

/// Copies of a store of four revisions, each in a directory of its own.
pub struct Copies {
    folder: tempfile::TempDir,
    pub trees: BTreeMap<u64, (Id, MemorySource)>,
}

impl Copies {
    pub fn new(prepare: impl Fn(&Store)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::init(&folder.path().join("store")).unwrap();
        let trees = history(&store, 4);
        prepare(&store);
        Self { folder, trees }
    }

    fn copy(&self, n: usize) -> PathBuf {
        let root = self.folder.path().join(n.to_string());
        let mut command = Command::new("cp");
        command.arg("-a").arg(self.folder.path().join("store")).arg(&root);
        assert!(command.status().unwrap().success());
        root
    }

    /// Runs `act` on a copy of the store for each of its operations: a collection that keeps the
    /// newest entries runs right before that operation. `check` is told what came of it. Returns the
    /// number of operations.
    fn each<T>(
        &self,
        act: impl Fn(&Store) -> Result<T>,
        check: impl Fn(&Store, Result<T>),
    ) -> usize {
        self.each_beside(act, |store| drop(gc(store, 1)), check)
    }

    /// Does the same with `beside` in place of the collection.
    pub fn each_beside<T>(
        &self,
        act: impl Fn(&Store) -> Result<T>,
        beside: impl Fn(&Store) + Send + Sync,
        check: impl Fn(&Store, Result<T>),
    ) -> usize {
        for at in 0.. {
            let root = self.copy(at);
            let operations = Arc::new(AtomicUsize::new(0));
            // The hook asks this thread: it may not borrow what it is to do.
            let (asks, asked) = std::sync::mpsc::channel::<std::sync::mpsc::Sender<()>>();
            let asks = std::sync::Mutex::new(asks);
            let outcome = std::thread::scope(|scope| {
                let (beside, root) = (&beside, &root);
                scope.spawn(move || {
                    if let Ok(done) = asked.recv() {
                        beside(&Store::open(root).unwrap());
                        let _ = done.send(());
                    }
                });
                let counted = operations.clone();
                let hook = move |_: _, _: &str| {
                    if counted.fetch_add(1, Ordering::Relaxed) == at {
                        let (sender, done) = std::sync::mpsc::channel();
                        asks.lock().unwrap().send(sender).unwrap();
                        done.recv().unwrap();
                    }
                };
                let hooked = Hooked::new(Arc::new(Directory::new(root)), Box::new(hook));
                act(&Store::open_backend(Arc::new(hooked), None).unwrap())
            });
            let is_last = operations.load(Ordering::Relaxed) <= at;
            let store = Store::open(&root).unwrap();
            assert_eq!(findings(&store).unwrap(), [], "before operation {at}");
            check(&store, outcome);
            std::fs::remove_dir_all(&root).unwrap();
            if is_last {
                return at;
            }
        }
        0
    }
}

fn assert_whole(store: &Store, id: &Id, tree: &MemorySource) {
    assert!(Reading::new(store).revision(id).unwrap() == *tree);
}

#[test]
fn before_every_operation_of_a_push() {
    let copies = Copies::new(|_| ());
    for name in ["main", "new"] {
        // It has the contents of a revision that is collected.
        let tree = &copies.trees[&1].1;
        let push = |store: &Store| {
            let ref_name = Some(name.to_owned());
            let options =
                PushOptions { ref_name, time: 9000, threads: 1, ..PushOptions::default() };
            Ok(push_tree(store, tree, &options)?.id)
        };
        let operations = copies.each(push, |store, outcome| {
            let id = outcome.unwrap();
            assert_eq!(store.refs().current(name).unwrap(), Some(id));
            assert_whole(store, &id, tree);
            // What it wrote stays listed: another push that finds it may depend on it.
            let options = PushOptions { ref_name: Some("beside".into()), ..PushOptions::default() };
            let beside = push_tree(store, tree, &options).unwrap().id;
            assert_whole(store, &beside, tree);
        });
        assert!(operations > 15, "{operations}");
    }
}

#[test]
fn before_every_operation_of_naming_a_revision() {
    let copies = Copies::new(|_| ());
    let (id, tree) = &copies.trees[&2];
    let check = |name: &'static str| {
        move |store: &Store, outcome: Result<()>| match outcome {
            Ok(()) => {
                assert_eq!(store.refs().current(name).unwrap(), Some(*id));
                assert_whole(store, id, tree);
            }
            Err(error) => {
                let kinds = [ErrorKind::Missing, ErrorKind::Conflict];
                assert!(kinds.contains(&error.kind()), "{error}");
                assert_eq!(store.refs().current(name).unwrap(), None);
            }
        }
    };
    let set = |store: &Store| store.set_ref("named", *id, Expect::Any, 9000).map(drop);
    let pin = |store: &Store| store.set_pin(&store.refs(), "hosts/web/www", *id, 9000).map(drop);
    let operations = copies.each(set, check("named")) + copies.each(pin, check("hosts/web/www"));
    assert!(operations > 6, "{operations}");
}

#[test]
fn before_every_operation_of_a_copy() {
    // The source has all; the target lacks the newest, and a ref that leads to the oldest.
    let source = Copies::new(|store| {
        let first = store.refs().entry("main", 1).unwrap().unwrap().revision().unwrap();
        store.set_ref("old", first, Expect::Absent, 9000).unwrap();
    });
    let root = source.copy(0);
    let from = Store::open(&root).unwrap();
    let targets = Copies { folder: tempfile::tempdir().unwrap(), trees: source.trees.clone() };
    let target = Store::init(&targets.folder.path().join("store")).unwrap();
    let mut copier = Copier::new(&from, &target, CopyOptions::default(), Watch::default()).unwrap();
    copier.ref_entries("main", 1).unwrap();
    copier.ref_entries("main", 3).unwrap();
    drop(copier);
    let copy = |store: &Store| {
        let mut copier = Copier::new(&from, store, CopyOptions::default(), Watch::default())?;
        copier.ref_entries("old", 1)?;
        copier.ref_entries("main", 4)?;
        copier.finish();
        Ok(())
    };
    let operations = targets.each(copy, |store, outcome| {
        if let Err(error) = outcome {
            assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
            // Done again, as the message says, it succeeds.
            copy(store).unwrap();
        }
        assert_eq!(findings(store).unwrap(), []);
        for (name, n) in [("old", 1), ("main", 4)] {
            let (id, tree) = &source.trees[&n];
            assert_eq!(store.refs().current(name).unwrap(), Some(*id));
            assert_whole(store, id, tree);
        }
    });
    assert!(operations > 15, "{operations}");
}
