//! A history that is pushed and killed at random times: run again, it goes on behind what became
//! durable, and ends with the very revisions of a push that nobody disturbed.
//!
//! `FREESTONE_LONG=1` kills more often.

use crate::support::{self, freestone, git, output};
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// More than two batches of revisions have.
const COMMITS: usize = 2200;
/// Of a file that is larger than what is written in one go.
const LARGE_BYTES: usize = 9 << 20;

/// A repository of many small changes, and now and then a large file.
fn grow(repository: &Path) {
    output(Command::new("git").args(["init", "-q", "--bare"]).arg(repository));
    let mut stream = Vec::new();
    for n in 0..COMMITS {
        let time = 1_600_000_000 + 60 * n;
        let (page, message) = (format!("page {n}\n").repeat(20 + n % 50), format!("change {n}"));
        write!(stream, "commit refs/heads/main\ncommitter A U <a@example.org> {time} +0000\n")
            .unwrap();
        write!(stream, "data {}\n{message}\n", message.len()).unwrap();
        writeln!(stream, "M 100644 inline d{}/page{}", n % 7, n % 31).unwrap();
        write!(stream, "data {}\n{page}\n", page.len()).unwrap();
        if n % 400 == 150 {
            let large = freestone_testkit::noise(LARGE_BYTES, n as u64);
            write!(stream, "M 100644 inline large\ndata {}\n", large.len()).unwrap();
            stream.extend_from_slice(&large);
            stream.push(b'\n');
        }
    }
    let mut import = Command::new("git");
    import.arg("--git-dir").arg(repository).args(["fast-import", "--quiet"]).stdin(Stdio::piped());
    let mut import = import.spawn().unwrap();
    import.stdin.take().unwrap().write_all(&stream).unwrap();
    assert!(import.wait().unwrap().success());
}

fn push(store: &Path, repository: &Path) -> Command {
    let mut push = freestone(store);
    push.args(["-q", "push", "--history", "--git"]).arg(repository).args(["--commit", "main"]);
    push
}

/// The revisions that `main` names, newest first; none if there is no such ref yet.
fn revisions(store: &Path) -> Vec<String> {
    let mut log = freestone(store);
    let log = log.args(["--json", "log", "main"]).output().unwrap();
    if log.status.code() == Some(5) {
        return Vec::new();
    }
    assert!(log.status.success(), "{}", String::from_utf8_lossy(&log.stderr));
    let text = String::from_utf8(log.stdout).unwrap();
    let revision = |line: &str| -> String {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["revision"].as_str().unwrap().to_owned()
    };
    text.lines().map(revision).collect()
}

#[test]
fn a_history_that_is_killed_again_and_again_ends_with_the_same_revisions() {
    let _machine = support::whole_machine();
    let folder = support::scratch();
    let repository = folder.path().join("site.git");
    grow(&repository);
    let whole = folder.path().join("whole");
    output(freestone(&whole).arg("init"));
    let begun = Instant::now();
    output(&mut push(&whole, &repository));
    let undisturbed = begun.elapsed();
    let expected = revisions(&whole);
    assert_eq!(expected.len(), COMMITS);
    assert!(output(freestone(&whole).args(["ref", "log", "main"])).lines().count() >= 3);

    let kills_wanted = if std::env::var_os("FREESTONE_LONG").is_some() { 300 } else { 6 };
    let (mut kills, mut stores, mut went_on) = (0, 0, 0);
    let mut said = String::new();
    while kills < kills_wanted {
        let store = folder.path().join(format!("store-{stores}"));
        output(freestone(&store).arg("init"));
        let (mut there, mut stuck) = (0, 0);
        while there < COMMITS {
            let begun_at = there;
            let chance = freestone_testkit::noise(1, 1000 * stores + kills)[0];
            let mut child = push(&store, &repository).stdout(Stdio::null()).spawn().unwrap();
            // A machine that has become busy since needs more time to get anywhere.
            let longer = 1.0 + f64::from(stuck) / 2.0;
            std::thread::sleep(undisturbed.mul_f64(longer * f64::from(chance) / 256.0));
            child.kill().unwrap();
            let ended = child.wait().unwrap();
            let was_killed = ended.signal() == Some(9);
            assert!(was_killed || ended.success(), "{ended}");
            let found = revisions(&store);
            there = found.len();
            // What was durable before stays, what is new is the history's, and none is left out.
            assert!(there >= begun_at);
            stuck = if there > begun_at { 0_u32 } else { stuck + 1 };
            assert_eq!(found, expected[COMMITS - there..]);
            output(freestone(&store).arg("verify"));
            if was_killed {
                kills += 1;
                went_on += u64::from(0 < there && there < COMMITS);
            } else {
                assert_eq!(there, COMMITS, "a push that ended has pushed all");
            }
        }
        assert_eq!(
            output(&mut push(&store, &repository)).trim(),
            expected[0],
            "nothing is left to do"
        );
        output(freestone(&store).args(["verify", "--data"]));
        assert_eq!(std::fs::read_dir(store.join("tmp")).unwrap().count(), 0);
        let newest = folder.path().join("out");
        output(freestone(&store).args(["-q", "extract", "main"]).arg(&newest));
        assert_eq!(support::git_tree_in(&newest), support::git_tree_of(&repository, "main"));
        std::fs::remove_dir_all(&newest).unwrap();
        std::fs::remove_dir_all(&store).unwrap();
        stores += 1;
    }
    writeln!(said, "{kills} kills of {stores} pushes, {went_on} of them between two batches")
        .unwrap();
    println!("{said}undisturbed: {undisturbed:?}");
    assert!(went_on > 0, "no kill came between two batches");
    assert!(undisturbed > Duration::from_millis(50), "too short to be killed in its midst");
    assert_eq!(git(&repository, &["rev-list", "--count", "main"]).trim(), COMMITS.to_string());
}
