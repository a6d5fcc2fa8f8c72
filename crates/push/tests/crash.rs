//! A disk that stops at every step in turn: whatever a kill or a power cut leaves there, the
//! store opens as it is, is sound, and has all that was acknowledged.
//!
//! The scenario is a list of operations. Each is run once, for what it makes; then, from the same
//! start, once for every step that it takes, stopping there. What each [`Survival`] leaves of the
//! disk is looked at in full, and the operation done again. Equal remains are looked at once;
//! with `FREESTONE_LONG=1` all are, after every operation, over more scenarios.

#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use freestone_core::{ErrorKind, Id, Result, Watch};
use freestone_format::RefAction;
use freestone_maintain::{self as maintain, CompactOptions};
use freestone_push::PushOptions;
use freestone_store::{Expect, Store};
use freestone_testkit::{
    CrashingDisk, MemorySource, Reading, Survival, findings, noise, push_tree, text,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

freestone_testkit::watch_syncs!();

/// What an operation acknowledged: a revision and the tree that was pushed.
type Acknowledged = Option<(Id, MemorySource)>;
type Run = Box<dyn Fn(&Store) -> Result<Acknowledged>>;

struct Operation {
    name: &'static str,
    run: Run,
    /// Whether the short run crashes it too.
    short: bool,
}

/// What a store holds, as far as its users were told.
#[derive(Clone, Default, PartialEq, Debug)]
struct Facts {
    /// The logs of all refs, oldest first.
    refs: BTreeMap<String, Vec<RefAction>>,
    acknowledged: BTreeSet<Id>,
}

type Trees = BTreeMap<Id, MemorySource>;

fn is_long() -> bool {
    std::env::var_os("FREESTONE_LONG").is_some()
}

fn push(tree: MemorySource, options: PushOptions) -> Run {
    let tree = tree.explicit();
    Box::new(move |store| {
        let outcome = push_tree(store, &tree, &options)?;
        Ok(Some((outcome.id, tree.clone())))
    })
}

fn options(time: i64, threads: usize) -> PushOptions {
    PushOptions { time, threads, ..PushOptions::default() }
}

fn first_tree() -> MemorySource {
    let mut tree = MemorySource::of([
        ("empty", Vec::new()),
        ("index.html", text(3000, 1)),
        ("image.png", noise(70_000, 2)),
        ("zeros", vec![0; 5000]),
        ("d/e/f", noise(300, 3)),
        ("two", [text(1 << 20, 4), vec![0; 1 << 17], noise(5000, 4)].concat()),
    ]);
    tree.directories.insert(b"nothing/here".to_vec());
    for n in 0..40 {
        tree.set(format!("pages/{n}"), text(200 + n, n as u64));
    }
    tree
}

/// Pushes until a tier is merged, labels, refs set and deleted, a content with a pack of its own,
/// a reindexing.
fn scenario(threads: usize) -> Vec<Operation> {
    let mut list = Vec::new();
    let mut add = |name, short, run| list.push(Operation { name, run, short });
    let mut tree = first_tree();
    add("first push", true, push(tree.clone(), options(1000, threads)));
    tree.set("index.html", text(3100, 5));
    tree.set("two", [text(1 << 20, 4), vec![0; 1 << 17], noise(6000, 6)].concat());
    tree.files.remove(&b"d/e/f"[..]);
    let mut labelled = options(1100, threads);
    labelled.labels.insert("git.commit".into(), "0123456789abcdef".into());
    add("second push", true, push(tree.clone(), labelled));
    for n in 3..8u8 {
        tree.set("index.html", [n; 50]);
        let name = "small push";
        add(name, false, push(tree.clone(), options(1000 + 100 * i64::from(n), threads)));
    }
    tree.set("index.html", "eighth");
    add("push that merges", true, push(tree.clone(), options(1800, threads)));
    let mut again = options(1900, threads);
    again.labels.insert("again".into(), "yes".into());
    again.ref_name = Some("sites/other".into());
    add("push to another ref", true, push(tree.clone(), again));
    add("ref set", true, Box::new(|store| set_ref(store, "other")));
    add("ref delete", true, Box::new(delete_ref));
    add("ref set again", false, Box::new(|store| set_ref(store, "other")));
    // No deeper than it has to be: more than 8 MiB of new chunks go to a pack of their own.
    tree.set("video", [noise(70_000, 7), vec![1; 9 << 20]].concat());
    tree.set("a/song", [noise(100, 8), text(2 << 20, 8)].concat());
    add("push of a large content", true, push(tree.clone(), options(2000, threads)));
    add(
        "reindex",
        true,
        Box::new(|store| {
            maintain::reindex(store, Watch::default())?;
            Ok(None)
        }),
    );
    add("compact", true, Box::new(compact));
    tree.set("index.html", text(3200, 10));
    add("push over compacted packs", false, push(tree.clone(), options(2050, threads)));
    add("compact again", false, Box::new(compact));
    tree.set("video", [noise(70_000, 9), vec![1; 9 << 20]].concat());
    add("push after all that", false, push(tree, options(2100, threads)));
    list
}

/// Sets a ref to what main was first; done again, it is set to what it is already.
fn set_ref(store: &Store, name: &str) -> Result<Acknowledged> {
    let target = store.resolve("main@1")?.id;
    store.refs().set(name, target, Expect::Any, 1950)?;
    Ok(None)
}

/// Deletes a ref; done again, it is told that there is none.
fn delete_ref(store: &Store) -> Result<Acknowledged> {
    match store.refs().delete("other", Expect::Any, 1960) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(None),
    }
}

/// Nobody else is there, so old packs go at once.
fn compact(store: &Store) -> Result<Acknowledged> {
    let options = CompactOptions { grace: Duration::ZERO, level: 3, ..CompactOptions::default() };
    maintain::compact(store, &options, Watch::default())?;
    Ok(None)
}

fn open(disk: &CrashingDisk) -> Store {
    Store::open_backend(disk.backend(), Some(disk.root().into())).unwrap()
}

fn refs_of(store: &Store) -> BTreeMap<String, Vec<RefAction>> {
    let mut refs = BTreeMap::new();
    for entry in store.refs().list_all().unwrap() {
        let log = store.refs().log(&entry.name).unwrap();
        let mut actions: Vec<RefAction> = log.iter().rev().map(|entry| entry.action).collect();
        if entry.name == "other" {
            // Done again, it is set to what it was set to already.
            actions.dedup();
        }
        refs.insert(entry.name, actions);
    }
    refs
}

/// Where and how a crash happened, for messages.
struct Crash<'a> {
    operation: &'a Operation,
    place: String,
    before: &'a Facts,
    after: &'a Facts,
    trees: &'a Trees,
    counts: &'a Counts,
}

impl Crash<'_> {
    /// Looks at all that a store in `root` must have.
    fn check(&self, root: &Path, acknowledged: &BTreeSet<Id>) {
        let place = format!("{}, {}", self.operation.name, self.place);
        let store = Store::open(root).unwrap_or_else(|error| panic!("{place}: {error}"));
        assert_eq!(findings(&store).unwrap(), [], "{place}");
        let refs = refs_of(&store);
        assert!(
            refs == self.before.refs || refs == self.after.refs,
            "{place}: refs are {refs:?}, not {:?} or {:?}",
            self.before.refs,
            self.after.refs
        );
        let named = refs.values().flatten().filter_map(|action| match action {
            RefAction::Set(id) => Some(*id),
            RefAction::Delete => None,
        });
        let mut reading = Reading::new(&store);
        for id in named.chain(acknowledged.iter().copied()).collect::<BTreeSet<_>>() {
            let tree = reading.revision(&id).unwrap_or_else(|e| panic!("{place}: {id}: {e}"));
            assert!(tree == self.trees[&id], "{place}: revision {id} is another");
            let resolved = store.resolve(&id.to_string()).unwrap();
            assert_eq!(resolved.id, id, "{place}");
            if let Some(commit) = resolved.revision.labels.get("git.commit") {
                let found = store.resolve(&format!("commit:{commit}"));
                assert_eq!(found.unwrap().id, id, "{place}");
            }
        }
    }

    /// Does the operation again, to its end.
    fn again(&self, store: &Store) {
        let place = format!("{}, {}, again", self.operation.name, self.place);
        let done = (self.operation.run)(store).unwrap_or_else(|e| panic!("{place}: {e}"));
        if let Some((id, tree)) = done {
            assert!(self.trees[&id] == tree, "{place}");
        }
        assert_eq!(refs_of(store), self.after.refs, "{place}");
    }

    /// Looks at what a crash left, and goes on there.
    fn survive(&self, disk: &CrashingDisk, acknowledged: &BTreeSet<Id>) {
        let print = fingerprint(disk.root());
        let mut looked = self.counts.looked_at.borrow_mut();
        let is_settled = self.before == self.after;
        let remains = (self.operation.name, is_settled, acknowledged.clone(), print);
        if !is_long() && !looked.insert(remains) {
            return;
        }
        self.counts.checked.set(self.counts.checked.get() + 1);
        self.check(disk.root(), acknowledged);
        self.again(&open(disk));
        let left_over = disk.root().join("tmp").read_dir().map_or(0, Iterator::count);
        // A push clears what was left in `tmp/`.
        let cleared = left_over == 0 || !self.operation.name.contains("push");
        assert!(cleared, "{}, {}", self.operation.name, self.place);
    }
}

#[derive(Default)]
struct Counts {
    steps: std::cell::Cell<u64>,
    crashes: std::cell::Cell<u64>,
    checked: std::cell::Cell<u64>,
    looked_at: std::cell::RefCell<BTreeSet<Remains>>,
}

type Fingerprint = Vec<(PathBuf, u64)>;
/// What was looked at: after which operation, whether all of it had to be there, what was
/// acknowledged, and the files.
type Remains = (&'static str, bool, BTreeSet<Id>, Fingerprint);

/// The names and lengths of all files; what tells two runs of the same operation apart, the times
/// in the names of segments and the random names in `tmp/`, left out.
fn fingerprint(root: &Path) -> Fingerprint {
    let (mut files, mut folders) = (Vec::new(), vec![root.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().unwrap() {
            let entry = entry.unwrap();
            let path = entry.path().strip_prefix(root).unwrap().to_path_buf();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
                files.push((path, u64::MAX));
            } else if path.starts_with("tmp") {
                files.push(("tmp/spool".into(), entry.metadata().unwrap().len()));
            } else {
                let name = path.to_str().unwrap().to_owned();
                let name = match name.split('-').collect::<Vec<_>>()[..] {
                    [tier, _, id] if name.starts_with("index") => format!("{tier}-{id}"),
                    _ => name,
                };
                files.push((name.into(), entry.metadata().unwrap().len()));
            }
        }
    }
    files.sort();
    files
}

/// Runs the scenario, and crashes its operations at every step.
fn crash_everywhere(operations: &[Operation], folder: &Path) -> Counts {
    let counts = Counts::default();
    let mut trees = Trees::new();
    let mut base = CrashingDisk::new(&folder.join("base-0")).unwrap();
    Store::init_backend(base.backend(), Some(base.root().into())).unwrap();
    let mut before = Facts::default();
    for (number, operation) in operations.iter().enumerate() {
        let next = base.fork(&folder.join(format!("base-{}", number + 1))).unwrap();
        let store = open(&next);
        let made = (operation.run)(&store).unwrap();
        let mut after = Facts { refs: refs_of(&store), ..before.clone() };
        if let Some((id, tree)) = made {
            after.acknowledged.insert(id);
            trees.insert(id, tree);
        }
        if operation.short || is_long() {
            let crash = Crash {
                operation,
                place: String::new(),
                before: &before,
                after: &after,
                trees: &trees,
                counts: &counts,
            };
            crash_operation(crash, &base, folder);
        }
        (base, before) = (next, after);
    }
    counts
}

/// Crashes one operation at every step that it takes from `base` on.
fn crash_operation(mut crash: Crash<'_>, base: &CrashingDisk, folder: &Path) {
    let counts = crash.counts;
    for step in 1.. {
        let disk = base.fork(&folder.join("run")).unwrap();
        let store = open(&disk);
        disk.stop_at(step);
        let done = (crash.operation.run)(&store);
        let stopped = disk.has_stopped();
        assert!(stopped || done.is_ok(), "{}: {:?}", crash.operation.name, done.err());
        // What fails behind the ref's entry is housekeeping: it is acknowledged all the same.
        let facts = if done.is_ok() { crash.after } else { crash.before };
        let acknowledged = &facts.acknowledged;
        counts.steps.set(counts.steps.get() + u64::from(stopped));
        for survival in Survival::all(if is_long() { 6 } else { 2 }) {
            counts.crashes.set(counts.crashes.get() + 1);
            crash.place = format!("step {step}, {survival:?}");
            let left = disk.left_by(survival, &folder.join("left")).unwrap();
            crash.survive(&left, acknowledged);
            if survival != Survival::All {
                continue;
            }
            // Killed, done again without a fault, and now the power fails: what the first run
            // did not come to sync, the second has to.
            crash.place = format!("step {step}, killed, done again, power cut");
            let left = disk.left_by(survival, &folder.join("left")).unwrap();
            crash.again(&open(&left));
            for survival in [Survival::OnlySynced, Survival::RemovedReturn] {
                let left = left.left_by(survival, &folder.join("left-again")).unwrap();
                let settled = Crash { before: crash.after, place: crash.place.clone(), ..crash };
                settled.survive(&left, &crash.after.acknowledged);
            }
        }
        if !stopped {
            return;
        }
        // The same process sees the errors, and then the disk goes on.
        crash.place = format!("step {step}, refused");
        disk.stop_at(0);
        crash.survive(&disk.fork(&folder.join("left")).unwrap(), acknowledged);
        crash.again(&store);
    }
}

/// Nothing here is read from a disk again; in memory it is several times as fast.
fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let path = folder.path().canonicalize().unwrap();
    (folder, path)
}

#[test]
fn a_store_survives_a_crash_at_every_step() {
    let (_folder, folder) = folder();
    let threads: &[usize] = if is_long() { &[1, 3] } else { &[1] };
    for threads in threads {
        let folder = folder.join(format!("threads-{threads}"));
        std::fs::create_dir(&folder).unwrap();
        let counts = crash_everywhere(&scenario(*threads), &folder);
        std::fs::remove_dir_all(&folder).unwrap();
        println!(
            "{} steps, {} crashes, {} different remains looked at",
            counts.steps.get(),
            counts.crashes.get(),
            counts.checked.get()
        );
        assert!(counts.steps.get() > 100);
    }
}

/// A store after so many operations of the scenario, with what they made.
fn store_after(count: usize, root: &Path) -> CrashingDisk {
    let disk = CrashingDisk::new(root).unwrap();
    Store::init_backend(disk.backend(), Some(disk.root().into())).unwrap();
    scenario(1).iter().take(count).for_each(|operation| {
        (operation.run)(&open(&disk)).unwrap();
    });
    disk
}

#[test]
fn who_leans_on_what_a_killed_push_made_makes_it_durable() {
    let (_folder, folder) = folder();
    let base = store_after(1, &folder.join("base"));
    let push = &scenario(1)[1];
    let Ok(Some((id, tree))) = (push.run)(&open(&base.fork(&folder.join("whole")).unwrap())) else {
        panic!("the push fails");
    };
    let mut seen = 0;
    for step in 1.. {
        let disk = base.fork(&folder.join("run")).unwrap();
        disk.stop_at(step);
        let done = (push.run)(&open(&disk)).is_ok();
        let left = disk.left_by(Survival::All, &folder.join("left")).unwrap();
        let store = open(&left);
        if let Ok(Some(_)) = freestone_store::revisions::read_file(&**store.backend(), &id) {
            seen += 1;
            store.refs().set("pinned", id, Expect::Absent, 1).unwrap();
            let left = left.left_by(Survival::OnlySynced, &folder.join("again")).unwrap();
            let store = Store::open(left.root()).unwrap();
            assert_eq!(store.refs().current("pinned").unwrap(), Some(id));
            assert!(Reading::new(&store).revision(&id).unwrap() == tree, "step {step}");
            assert_eq!(findings(&store).unwrap(), []);
        }
        if done {
            break;
        }
    }
    assert!(seen > 3);
}

#[test]
fn what_a_killed_merge_leaves_is_removed_by_the_next_push() {
    let (_folder, folder) = folder();
    let base = store_after(7, &folder.join("base"));
    let merging = &scenario(1)[7];
    assert_eq!(merging.name, "push that merges");
    let mut left_over = 0;
    for step in 1.. {
        let disk = base.fork(&folder.join("run")).unwrap();
        disk.stop_at(step);
        let done = (merging.run)(&open(&disk)).is_ok();
        let left = disk.left_by(Survival::All, &folder.join("left")).unwrap();
        let segments = |store: &Store| {
            let listed = store.backend().list("index").unwrap();
            let listed = listed.iter().filter(|object| object.name.ends_with(".idx")).count();
            (listed, store.index().unwrap().segments().len())
        };
        let (listed, live) = segments(&open(&left));
        left_over += usize::from(listed > live);
        push(MemorySource::of([("a", "new")]), options(5000, 1))(&open(&left)).unwrap();
        let (listed, live) = segments(&open(&left));
        assert_eq!(listed, live, "step {step}");
        assert_eq!(findings(&open(&left)).unwrap(), []);
        // The push is acknowledged before it merges.
        if done && !disk.has_stopped() {
            break;
        }
    }
    assert!(left_over >= 8);
}

#[test]
fn a_killed_init_is_done_again_in_the_same_place() {
    let (_folder, folder) = folder();
    for step in 1.. {
        let disk = CrashingDisk::new(&folder.join(format!("run-{step}"))).unwrap();
        disk.stop_at(step);
        let made = Store::init_backend(disk.backend(), Some(disk.root().into()));
        assert_eq!(made.is_ok(), !disk.has_stopped());
        for survival in Survival::all(2) {
            let left = disk.left_by(survival, &folder.join("left")).unwrap();
            match Store::open(left.root()) {
                Ok(store) => assert!(push(first_tree(), options(1, 1))(&store).is_ok()),
                Err(_) if made.is_ok() => panic!("{survival:?}: an acknowledged store is gone"),
                Err(error) => {
                    let kind = error.kind();
                    assert_eq!(kind, ErrorKind::NotFound, "{step}, {survival:?}");
                    let made = Store::init(left.root());
                    let store = made.unwrap_or_else(|e| panic!("step {step}, {survival:?}: {e}"));
                    assert!(push(first_tree(), options(1, 1))(&store).is_ok());
                }
            }
        }
        if made.is_ok() {
            assert!(step > 4);
            return;
        }
    }
}
