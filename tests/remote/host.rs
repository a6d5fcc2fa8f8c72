//! A real site in a bucket: pushed revision by revision by machines that hold nothing, and imaged
//! by hosts that follow the bucket, with what each receives.

use crate::ceph::Ceph;
use crate::program::{Home, Ran};
use crate::support::{git, scratch, whole_machine};
use freestone_format::ref_place::RefPlace;
use freestone_format::runs::RunsFile;
use freestone_remote::{RemoteOptions, StoreUrl};
use freestone_store::Store;
use freestone_testkit::{corpus, noise, text};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const URL: &str = "s3://test/site";
/// Revisions of the usual run.
const REVISIONS: usize = 12;
/// Entries of `main` in the end.
const ENTRIES: u64 = 620;
/// What a listing says of an object takes at most.
const LISTED_BYTES: u64 = 450;
/// The store's header, a ref's entry, a revision, what surrounds listings, and small gaps.
const FIXED_BYTES: u64 = 12 << 10;

/// A site's revisions, oldest first, each brought about in turn.
enum Site {
    /// Commits, with their times.
    Corpus(PathBuf, Vec<(String, String)>),
    Generated(PathBuf),
}

impl Site {
    fn new(folder: &Path) -> Self {
        let site = folder.join("site");
        let Some(bundle) = corpus() else {
            eprintln!("a generated site takes its place");
            fs::create_dir(&site).unwrap();
            return Self::Generated(site);
        };
        git(folder, &["clone", "-q", bundle.to_str().unwrap(), "site"]);
        let commits = git(&site, &["log", "--first-parent", "--reverse", "--format=%H %ct"]);
        let commits: Vec<(String, String)> = commits
            .lines()
            .map(|line| line.split_once(' ').unwrap())
            .map(|(commit, time)| (commit.to_owned(), time.to_owned()))
            .collect();
        let step = match std::env::var_os("FREESTONE_LONG") {
            Some(_) => 1,
            None => commits.len().div_ceil(REVISIONS),
        };
        // The newest is the last; what is between them is changed at once.
        let mut commits: Vec<_> = commits.into_iter().rev().step_by(step).collect();
        commits.reverse();
        Self::Corpus(site, commits)
    }

    fn count(&self) -> usize {
        match self {
            Self::Corpus(_, commits) => commits.len(),
            Self::Generated(_) => REVISIONS,
        }
    }

    /// Brings revision `n` about, from 1 on; gives where it is, and its time.
    fn at(&self, n: usize) -> (&Path, String) {
        match self {
            Self::Corpus(site, commits) => {
                let (commit, time) = &commits[n - 1];
                git(site, &["checkout", "-q", "-f", commit]);
                (site, time.clone())
            }
            Self::Generated(site) => {
                let changed = if n == 1 { 0..400 } else { 30 * n..30 * n + 20 };
                for file in changed {
                    let path = site.join(format!("{}/{file}", file % 20));
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    let seed = (file * 1000 + n) as u64;
                    let bytes = match file % 10 {
                        0 => noise(40_000, seed),
                        _ => text(9_000, seed),
                    };
                    fs::write(path, bytes).unwrap();
                }
                (site, (1_700_000_000 + n).to_string())
            }
        }
    }
}

/// What a command sent and received.
#[derive(Clone, Copy)]
struct Transfer {
    requests: u64,
    sent: u64,
    received: u64,
}

impl std::fmt::Display for Transfer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { requests, sent, received } = self;
        write!(f, "{requests} requests, {sent} bytes sent, {received} received")
    }
}

impl Transfer {
    fn of(answer: &Value) -> Self {
        let field = |key: &str| answer["transfer"][key].as_u64().unwrap();
        Self {
            requests: field("requests"),
            sent: field("sent_bytes"),
            received: field("received_bytes"),
        }
    }
}

/// Runs what must succeed with `--json`, with the server's variables.
fn ask(home: &Home, ceph: &Ceph, arguments: &[&str]) -> Value {
    let mut command = home.command(arguments);
    let ran = Ran::of(command.arg("--json").envs(ceph.variables()).output().unwrap());
    assert_eq!(ran.code, Some(0), "{command:?}: {}", ran.err);
    serde_json::from_slice(&ran.out).unwrap()
}

fn digests(answer: &Value) -> (String, String) {
    let of = |key: &str| answer[key].as_str().unwrap().to_owned();
    (of("blake3"), of("sha256"))
}

/// A host with an empty store.
fn host(ceph: &Ceph) -> Home {
    let home = Home::new();
    ask(&home, ceph, &["init", "--upstream", URL, "--cache-size", "4G"]);
    home
}

/// What a host keeps: bytes of packs, by their runs, and of each index segment.
#[derive(Default)]
struct Kept {
    packs: u64,
    index: BTreeMap<String, u64>,
}

impl Kept {
    /// Bytes of segments that came since.
    fn new_index(&self, before: &Self) -> u64 {
        let new = self.index.iter().filter(|(name, _)| !before.index.contains_key(*name));
        new.map(|(_, bytes)| bytes).sum()
    }

    fn at(home: &Home) -> Self {
        let mut kept = Self::default();
        let mut open = vec![home.path("store/cache")];
        while let Some(path) = open.pop() {
            let Ok(entries) = fs::read_dir(path) else { continue };
            for entry in entries {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap();
                if path.is_dir() {
                    open.push(path);
                } else if let Some(id) = name.strip_suffix(".runs") {
                    let id = freestone_core::Id::parse(id).unwrap();
                    let file = RunsFile::decode(&id, &fs::read(&path).unwrap()).unwrap();
                    kept.packs += file.runs.bytes();
                } else if path.parent().unwrap().ends_with("index") {
                    kept.index.insert(name.to_owned(), fs::metadata(&path).unwrap().len());
                }
            }
        }
        kept
    }
}

/// Adds entries to `main` that all name what it names, so that it is as long as that of a site of
/// many years.
fn lengthen(ceph: &Ceph) {
    let place = StoreUrl::parse(URL).unwrap();
    let options = RemoteOptions { environment: Some(ceph.variables()), ..RemoteOptions::default() };
    let store = Store::open_backend(freestone_remote::open(&place, options).unwrap(), None);
    let refs = store.unwrap().refs();
    let mut head = refs.head("main").unwrap().unwrap();
    while head.place < ENTRIES {
        let newest = head.entry.clone().unwrap();
        let entry = refs.append("main", &head, newest.action, newest.time, &mut || Ok(())).unwrap();
        head = RefPlace::of_entry(head.place + 1, entry);
    }
}

#[test]
fn hosts_receive_what_they_need_of_a_site_in_a_bucket() {
    let _machine = whole_machine();
    let ceph = Ceph::start();
    let folder = scratch();
    let site = Site::new(folder.path());
    let last = site.count();
    let local = Home::new();
    local.ok(["init"]);
    ask(&local, &ceph, &["-s", URL, "init"]);

    let mut pushed = Vec::new();
    for n in 1..=last {
        let (path, time) = site.at(n);
        let push = |home: &Home, store: &str| {
            let mut command = home.command(["-s", store, "push", "--json"]);
            command.arg(path).env("SOURCE_DATE_EPOCH", &time).envs(ceph.variables());
            let ran = Ran::of(command.output().unwrap());
            assert_eq!(ran.code, Some(0), "{command:?}: {}", ran.err);
            serde_json::from_slice::<Value>(&ran.out).unwrap()
        };
        let here = push(&local, "store");
        let there = push(&Home::new(), URL);
        assert_eq!(here["revision"], there["revision"], "main@{n}");
        pushed.push(Transfer::of(&there));
    }
    let images: Vec<_> = (1..=last)
        .map(|n| digests(&local.json(["image", &format!("main@{n}"), "--digest"])))
        .collect();
    let stats = ask(&local, &ceph, &["-s", URL, "store", "stats"]);
    let grown: Vec<u64> = stats["growth"]
        .as_array()
        .unwrap()
        .iter()
        .map(|revision| revision["stored_bytes"].as_u64().unwrap())
        .collect();
    assert_eq!(grown.len(), last);

    let image_of = |home: &Home, name: &str, n: usize| {
        let answer = ask(home, &ceph, &["image", name, "--digest"]);
        assert_eq!(digests(&answer), images[n - 1], "{name}");
        Transfer::of(&answer)
    };
    let image = |home: &Home, n: usize| image_of(home, &format!("main@{n}"), n);
    // Revision after revision: each brings what changed in it, and the listings.
    let follower = host(&ceph);
    let mut before = Kept::at(&follower);
    for n in 1..=last {
        let transfer = image(&follower, n);
        let kept = Kept::at(&follower);
        let (grown, index) = (grown[n - 1], kept.new_index(&before));
        eprintln!(
            "main@{n}: grew by {grown}; push: {}; image: {}, {index} of them index",
            pushed[n - 1],
            transfer
        );
        let listings = LISTED_BYTES * (last + kept.index.len()) as u64;
        let bound = grown + grown / 20 + index + listings + FIXED_BYTES;
        let received = transfer.received;
        assert!(received <= bound, "main@{n}: {received} bytes received, at most {bound} expected");
        // What it says is what there is.
        assert!(received >= kept.packs - before.packs + index, "main@{n}: {received} bytes");
        before = kept;
    }
    // The name of the ref has no more than the beginning of the ref listed, however long it is.
    lengthen(&ceph);
    let again = image_of(&follower, "main", last);
    eprintln!("main@{last} again: {}; as main: {again}", image(&follower, last));
    let index = LISTED_BYTES * before.index.len() as u64;
    assert!(again.received <= FIXED_BYTES + index, "{again}");

    // A cold one, the newest by the name of the ref: no more than a twentieth in vain.
    let cold = host(&ceph);
    let transfer = image_of(&cold, "main", last);
    let kept = Kept::at(&cold);
    let index: u64 = kept.index.values().sum();
    let needed = kept.packs + index;
    let share = transfer.received as f64 / needed as f64;
    eprintln!(
        "cold, main: {transfer}; keeps {} of packs, {index} of index: {share:.4} times",
        kept.packs
    );
    assert!(share <= 1.05, "{transfer} for {needed} bytes that are needed");

    // Without the server, what was fetched is here.
    ceph.tell("kill");
    let newest = format!("main@{last}");
    for (home, name) in [(&follower, &newest[..]), (&cold, "main")] {
        let answer = ask(home, &ceph, &["--offline", "image", name, "--digest"]);
        assert_eq!(digests(&answer), images[last - 1]);
        assert_eq!(Transfer::of(&answer).requests, 0);
    }
    assert_eq!(
        digests(&ask(&follower, &ceph, &["--offline", "image", "main@1", "--digest"])),
        images[0]
    );
    let mut command = follower.command(["image", &newest, "--digest"]);
    let ran = Ran::of(command.envs(ceph.variables()).output().unwrap());
    assert_eq!(ran.code, Some(4), "{}", ran.err);
    assert!(ran.err.contains("unreachable since"), "{}", ran.err);
}
