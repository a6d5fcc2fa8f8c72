//! What a host receives of a real site, revision after revision, counted at the upstream.

use crate::support::{self, freestone, git, output};
use freestone_backend::Backend;
use freestone_backend::directory::Directory;
use freestone_core::Watch;
use freestone_follow::{self as follow, Fetch, Fetched, Opening, Subject};
use freestone_maintain as maintain;
use freestone_store::Store;
use freestone_testkit::{Distant, corpus};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Every so many revisions of the corpus one is pushed.
const STEP: usize = 24;

struct Host<'a> {
    root: &'a Path,
    upstream: &'a Path,
}

impl Host<'_> {
    /// Fetches a revision as a new process would; each answer of the upstream takes `pause`.
    fn fetch(&self, rev: &str, pause: Duration) -> (Fetched, Arc<Distant>) {
        self.bring(rev, true, pause)
    }

    /// The same of the manifest alone.
    fn entries(&self, rev: &str, pause: Duration) -> Arc<Distant> {
        self.bring(rev, false, pause).1
    }

    fn bring(&self, rev: &str, contents: bool, pause: Duration) -> (Fetched, Arc<Distant>) {
        let directory: Arc<dyn Backend> = Arc::new(Directory::new(self.upstream));
        let distant = Arc::new(Distant::new(directory, pause));
        let upstream =
            |_: &str| -> freestone_core::Result<Arc<dyn Backend>> { Ok(distant.clone()) };
        let opening = Opening { upstream: &upstream, ..Opening::default() };
        let opened = follow::open(self.root, &opening).unwrap();
        let resolved = opened.store.resolve_to_read(rev).unwrap();
        follow::prime(&opened, &resolved.id).unwrap();
        let subject = Subject { root: resolved.revision.root, below: None, contents };
        let fetched = follow::fetch(&opened, &subject, &Fetch::default()).unwrap();
        (fetched, distant.clone())
    }

    fn renew(&self) {
        let _ = std::fs::remove_dir_all(self.root);
        let url = self.upstream.to_str().unwrap();
        drop(follow::init(self.root, url, None, "h", &Opening::default()).unwrap());
    }
}

#[test]
fn a_host_receives_what_it_needs_and_little_more() {
    let Some(bundle) = corpus() else { return };
    let _machine = support::whole_machine();
    let folder = support::scratch();
    let site = folder.path().join("site");
    git(folder.path(), &["clone", "-q", bundle.to_str().unwrap(), "site"]);
    let commits = git(&site, &["log", "--first-parent", "--reverse", "--format=%H %ct"]);
    let commits: Vec<(&str, &str)> =
        commits.lines().step_by(STEP).map(|line| line.split_once(' ').unwrap()).collect();
    let (store, root) = (folder.path().join("store"), folder.path().join("host"));
    output(freestone(&store).arg("init"));
    for (commit, time) in &commits {
        git(&site, &["checkout", "-q", "-f", commit]);
        output(freestone(&store).args(["-q", "push"]).arg(&site).env("SOURCE_DATE_EPOCH", time));
    }
    let host = Host { root: &root, upstream: &store };
    let none = Duration::ZERO;
    let image = |store: &Path, rev: &str, offline: bool| {
        let mut command = freestone(store);
        command.args(["-q", "image", rev, "--digest"]);
        output(if offline { command.arg("--offline") } else { &mut command })
    };

    // A cold host images the newest: no more than a twentieth in vain, the index included.
    let last = commits.len();
    let newest = format!("main@{last}");
    host.renew();
    let (cold, distant) = host.fetch("main", none);
    let needed = {
        // All that it needs, bases included, is here now, and nothing else: what came with the
        // nodes is counted where it is read.
        let files = host.root.join("cache");
        assert!(files.exists());
        kept_bytes(&files)
    };
    let received = distant.bytes();
    eprintln!(
        "cold, newest: {received} bytes in {} requests for {needed} bytes kept; contents {cold:?}",
        distant.requests()
    );
    assert!(received as f64 <= 1.05 * needed as f64, "{received} bytes for {needed}");
    assert_eq!(image(&root, &newest, true), image(&store, &newest, false));

    // Revision after revision: each brings what changed in it.
    host.renew();
    let (mut total, mut depths) = (0, Vec::new());
    for n in 1..=last {
        let rev = format!("main@{n}");
        let (fetched, distant) = host.fetch(&rev, none);
        let packs: u64 = distant
            .log()
            .iter()
            .filter(|(_, name, _)| name.starts_with("packs/"))
            .map(|(_, _, bytes)| bytes)
            .sum();
        total += packs;
        depths.push(distant.depth());
        let store_grew = grown(&store, n);
        assert!(
            packs <= store_grew + store_grew / 20 + 8192,
            "{rev}: {packs} bytes of packs, the store grew by {store_grew}; {fetched:?}"
        );
        if n == last || n % 8 == 1 {
            assert_eq!(image(&root, &rev, true), image(&store, &rev, false));
        }
    }
    eprintln!("one after the other: {total} bytes of packs; requests in sequence {depths:?}");

    let first = Distant::least_depth(6, |pause| {
        host.renew();
        // The first content is asked for when the manifest is there.
        host.entries("main", pause).depth() + 1
    });
    assert!(first <= 6, "a cold image begins after {first} requests in sequence");
    let before = format!("main@{}", last - 1);
    let next = Distant::least_depth(8, |pause| {
        host.renew();
        host.fetch(&before, none);
        host.fetch("main", pause).1.depth()
    });
    assert!(next <= 8, "the next image begins after {next} requests in sequence");
}

/// Bytes of what a cache keeps, by its runs; index, revisions and refs whole.
fn kept_bytes(cache: &Path) -> u64 {
    let mut sum = 0;
    let mut open = vec![cache.to_path_buf()];
    while let Some(path) = open.pop() {
        for entry in std::fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if let Some(id) = name.strip_suffix(".runs") {
                let id = freestone_core::Id::parse(id).unwrap();
                let bytes = std::fs::read(&path).unwrap();
                let file = freestone_format::runs::RunsFile::decode(&id, &bytes).unwrap();
                sum += file.runs.bytes();
            }
        }
    }
    sum
}

/// By how many bytes of packs the store grew with entry `n` of main.
fn grown(store: &Path, n: usize) -> u64 {
    let opened = Store::open(store).unwrap();
    let id = opened.resolve(&format!("main@{n}")).unwrap().id;
    let stats = maintain::stats(&opened, Watch::default()).unwrap();
    stats.growth.iter().find(|growth| growth.revision == id).unwrap().stored
}
