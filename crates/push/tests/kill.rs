//! Real processes, really killed: the test binary runs itself again as a pusher or a reader.
//!
//! A pusher prints each revision that was acknowledged; it is killed at a random time, and then
//! all that it acknowledged has to be there, and nothing half of anything. Two pushers and a
//! reader side by side must not disturb each other. With `FREESTONE_LONG=1` there are more rounds.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use freestone_core::Id;
use freestone_format::RefAction;
use freestone_push::PushOptions;
use freestone_store::Store;
use freestone_testkit::{MemorySource, Reading, findings, noise, push_tree, text};
use std::io::{BufRead, BufReader, Lines};
use std::ops::Range;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

const ROLE: &str = "FREESTONE_TEST_ROLE";
const MARK: &str = "@@";

fn is_long() -> bool {
    std::env::var_os("FREESTONE_LONG").is_some()
}

fn number(variable: &str) -> u64 {
    std::env::var(variable).unwrap().parse().unwrap()
}

/// The tree of pusher `who`'s at its push `n`; now and then with a content that has a tree of its
/// own, or a pack of its own.
fn tree(who: u64, n: u64) -> MemorySource {
    let mut tree = MemorySource::of([
        ("changes", text(500, 1000 * who + n)),
        ("d/all", text(2000, 1)),
        ("image", noise(70_000, who + n / 4)),
    ]);
    for file in 0..12 {
        tree.set(format!("pages/{file}"), text(200, (file + n) % 30));
    }
    if n % 3 == 1 {
        tree.set("large", [text(1 << 20, 5), n.to_le_bytes().to_vec()].concat());
    }
    if n % 5 == 2 {
        tree.set("video", [vec![7; 9 << 20], n.to_le_bytes().to_vec()].concat());
    }
    tree.explicit()
}

/// Which tree a revision must be, by its message.
fn tree_of(message: &str) -> MemorySource {
    let mut words = message.split(' ').map(|word| word.parse().unwrap());
    tree(words.next().unwrap(), words.next().unwrap())
}

/// Starts this binary again, to play `role` on the store at `root`.
fn start(role: &str, root: &Path, who: u64, from: u64, count: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_other_process", "--nocapture"])
        .env(ROLE, role)
        .env("FREESTONE_TEST_ROOT", root)
        .env("FREESTONE_TEST_WHO", who.to_string())
        .env("FREESTONE_TEST_FROM", from.to_string())
        .env("FREESTONE_TEST_COUNT", count.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn the_other_process() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let root = PathBuf::from(std::env::var_os("FREESTONE_TEST_ROOT").unwrap());
    match &role[..] {
        "push" => push_in_a_loop(&root),
        _ => read_in_a_loop(&root),
    }
}

fn push_in_a_loop(root: &Path) {
    let (who, from, count) = (
        number("FREESTONE_TEST_WHO"),
        number("FREESTONE_TEST_FROM"),
        number("FREESTONE_TEST_COUNT"),
    );
    let store = Store::open(root).unwrap();
    println!("\n{MARK} ready");
    for n in from..from + count {
        let options = PushOptions {
            retry: true,
            message: Some(format!("{who} {n}")),
            labels: [("push".to_owned(), format!("{who}.{n}"))].into(),
            time: i64::try_from(1000 + n).unwrap(),
            ..PushOptions::default()
        };
        let made = push_tree(&store, &tree(who, n), &options).unwrap();
        println!("{MARK} {} {}", made.id, made.ref_entry.unwrap().n);
    }
}

/// Reads the newest revision again and again, until it may not any more.
fn read_in_a_loop(root: &Path) {
    let lasting = Store::open(root).unwrap();
    println!("\n{MARK} ready");
    let mut rounds = 0;
    while !root.join("../stop").exists() {
        let fresh = Store::open(root).unwrap();
        lasting.refresh();
        for store in [&fresh, &lasting] {
            let Some(entry) = store.refs().newest("main").unwrap() else { continue };
            // The index has to be listed after the ref was read.
            store.refresh();
            let id = entry.revision().unwrap();
            let message = store.revision(&id).unwrap().unwrap().message;
            assert!(Reading::new(store).revision(&id).unwrap() == tree_of(&message));
        }
        if rounds % 8 == 0 {
            assert_eq!(findings(&fresh).unwrap(), []);
        }
        rounds += 1;
    }
    println!("{MARK} read {rounds}");
}

/// What a process prints behind the mark.
struct Told(Lines<BufReader<ChildStdout>>);

impl Told {
    fn by(process: &mut Child) -> Self {
        Self(BufReader::new(process.stdout.take().unwrap()).lines())
    }

    fn expect_ready(&mut self) {
        assert_eq!(self.next().as_deref(), Some("ready"));
    }

    fn acknowledged(self) -> Vec<(Id, u64)> {
        let parse = |line: String| {
            let (id, n) = line.split_once(' ').unwrap();
            (Id::parse(id).unwrap(), n.parse().unwrap())
        };
        self.map(parse).collect()
    }
}

impl Iterator for Told {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        // The pipe of a process that was killed may end within a line: that was not acknowledged.
        let line = self.0.find_map(|line| {
            Some(line.ok()?.strip_prefix(MARK)?.trim().to_owned()).filter(|line| !line.is_empty())
        })?;
        Some(line)
    }
}

/// Looks at all of a store, reading what entries of the log from `from` on name.
fn check(root: &Path, from: u64, acknowledged: &[(Id, u64)]) -> u64 {
    let store = Store::open(root).unwrap();
    assert_eq!(findings(&store).unwrap(), []);
    let log = store.refs().log("main").unwrap();
    let newest = log.first().map_or(0, |entry| entry.n);
    assert_eq!(log.len() as u64, newest, "the log has gaps");
    for (id, n) in acknowledged {
        let at = usize::try_from(newest - n).unwrap();
        assert_eq!(log[at].action, RefAction::Set(*id), "entry {n}");
    }
    let mut reading = Reading::new(&store);
    for entry in log.iter().filter(|entry| entry.n >= from) {
        let id = entry.revision().unwrap();
        let revision = store.resolve(&id.to_string()).unwrap().revision;
        assert!(reading.revision(&id).unwrap() == tree_of(&revision.message));
        if let Some(before) = log.iter().find(|before| before.n + 1 == entry.n) {
            assert_eq!(revision.parents, [before.revision().unwrap()]);
        }
    }
    newest
}

/// Kills of pushers of one store. All of a store is looked at after each kill, so that a thousand
/// kills of one take a hundred times as long as a hundred.
const KILLS_A_STORE: u64 = 100;

#[test]
fn what_was_acknowledged_survives_kills_at_random_times() {
    let rounds = if is_long() { 1000 } else { 25 };
    let mut first = 0;
    while first < rounds {
        let next = rounds.min(first + KILLS_A_STORE);
        kill_pushers(first..next);
        first = next;
    }
}

/// Kills pushers of a new store, one in each of the rounds.
fn kill_pushers(rounds: Range<u64>) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    Store::init(&root).unwrap();
    let (mut pushed, mut killed) = (0, 0);
    // Until it is known better.
    let mut push_time = Duration::from_millis(100);
    for round in rounds.clone() {
        let mut process = start("push", &root, 1, pushed, 1000);
        let mut told = Told::by(&mut process);
        told.expect_ready();
        let chance = noise(2, round);
        let chance = f64::from(u16::from_le_bytes([chance[0], chance[1]])) / 65536.0;
        let begun = Instant::now();
        std::thread::sleep(push_time.mul_f64(2.5 * chance));
        process.kill().unwrap();
        assert_eq!(process.wait().unwrap().signal(), Some(9), "the pusher failed");
        let life = begun.elapsed();
        let acknowledged = told.acknowledged();
        killed += acknowledged.len();
        let newest = check(&root, pushed.max(1), &acknowledged);
        let last = acknowledged.last().map_or(pushed, |(_, n)| *n);
        assert!(newest <= last + 1, "one push at most was not acknowledged");
        if let Some(count) = u32::try_from(acknowledged.len()).ok().filter(|count| *count > 0) {
            push_time = life / count;
        }
        pushed = newest;
    }
    println!("kills {rounds:?}: {killed} pushes acknowledged, {pushed} made");
    // The store grew, and what kills left in `tmp/` goes with the next push.
    let last = push_tree(&Store::open(&root).unwrap(), &tree(2, 0), &PushOptions::default());
    assert_eq!(last.unwrap().ref_entry.unwrap().n, pushed + 1);
    assert_eq!(std::fs::read_dir(root.join("tmp")).unwrap().count(), 0);
}

#[test]
fn two_pushers_and_a_reader_go_side_by_side() {
    let pushes = if is_long() { 300 } else { 20 };
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    Store::init(&root).unwrap();
    let mut reader = start("read", &root, 0, 0, 0);
    let mut read = Told::by(&mut reader);
    read.expect_ready();
    let pushers = [1, 2].map(|who| start("push", &root, who, 0, pushes));
    let acknowledged = pushers.map(|mut pusher| {
        let mut told = Told::by(&mut pusher);
        // The pipes hold more than all that is printed, so neither waits for the other.
        told.expect_ready();
        let acknowledged = told.acknowledged();
        assert!(pusher.wait().unwrap().success());
        acknowledged
    });
    std::fs::write(folder.path().join("stop"), "").unwrap();
    let rounds = read.next().expect("the reader failed");
    assert!(reader.wait().unwrap().success());
    println!("the reader {rounds} times");
    for list in &acknowledged {
        assert_eq!(list.len() as u64, pushes);
        assert!(list.is_sorted_by_key(|(_, n)| *n));
    }
    let all = acknowledged.concat();
    assert_eq!(check(&root, 1, &all), 2 * pushes, "each entry was acknowledged");
}
