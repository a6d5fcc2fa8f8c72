//! Revisions as commits: git opens them, finds nothing wrong, and has what freestone has.

use crate::support::{self, freestone, git, git_tree_in, git_tree_of, output};
use freestone_core::item::{FileStamp, Item, ItemKind, ItemSource};
use freestone_core::{Result, Watch};
use freestone_push::{PushOptions, Source};
use freestone_testkit::corpus;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(support::scratch());
        output(freestone(&place.store()).arg("init"));
        place
    }

    fn store(&self) -> PathBuf {
        self.at("store")
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, arguments: &[&str]) -> serde_json::Value {
        let mut write = freestone(&self.store());
        write.args(["--json", "git", "write"]).arg(self.at("out.git")).args(arguments);
        serde_json::from_str(&output(&mut write)).unwrap()
    }

    /// Pushes an archive with one empty file.
    fn push_tar(&self, path: &str) {
        let mut header = tar::Header::new_ustar();
        header.set_path(path).unwrap();
        header.set_size(0);
        header.set_mode(0o644);
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.resize(1536, 0);
        std::fs::write(self.at("x.tar"), bytes).unwrap();
        output(freestone(&self.store()).arg("push").arg(self.at("x.tar")));
    }

    /// What is said when `directory` is refused.
    fn refused(&self, directory: &Path, refs: &[&str]) -> String {
        let mut write = freestone(&self.store());
        let refused = write.args(["git", "write"]).arg(directory).args(refs).output().unwrap();
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(7), "{said}");
        said
    }

    fn fsck(&self) {
        let out = self.at("out.git");
        let said = git(&out, &["fsck", "--strict", "--full", "--no-dangling"]);
        assert_eq!(said, "");
    }
}

#[test]
fn commits_that_were_pushed_come_back_as_they_were() {
    let place = Place::new();
    let site = place.at("site");
    git(place.0.path(), &["init", "-q", "-b", "main", "site"]);
    for (key, value) in [("user.name", "É U"), ("user.email", "a@example.org")] {
        git(&site, &["config", key, value]);
    }
    let commit = |message: &str| {
        git(&site, &["add", "-A"]);
        git(&site, &["commit", "-q", "--allow-empty", "-m", message]);
    };
    std::fs::create_dir_all(site.join("a/b")).unwrap();
    for (path, text) in [("a/b/c", "deep"), ("a.txt", "beside"), ("a-b", "between"), ("run", "x")] {
        std::fs::write(site.join(path), text).unwrap();
    }
    std::fs::write(site.join("large"), vec![7; 3_000_000]).unwrap();
    std::fs::set_permissions(site.join("run"), PermissionsExt::from_mode(0o755)).unwrap();
    symlink("b/c", site.join("a/link")).unwrap();
    commit("first\n\nwith a body\n\n- and a list");
    std::fs::write(site.join("a/b/c"), "deeper").unwrap();
    std::fs::remove_file(site.join("a.txt")).unwrap();
    commit("second: a file goes");
    std::fs::remove_dir_all(site.join("a")).unwrap();
    std::fs::write(site.join("a"), "a file where a directory was").unwrap();
    std::fs::remove_file(site.join("run")).unwrap();
    std::fs::create_dir(site.join("run")).unwrap();
    std::fs::write(site.join("run/x"), "a directory where a file was").unwrap();
    commit("third");
    commit("fourth: nothing");
    let mut push = freestone(&place.store());
    output(push.args(["push", "--history", "--git"]).arg(&site));
    let answer = place.write(&[]);
    assert_eq!(answer["commits"], 4);
    place.fsck();
    // Not only the trees: the very commits.
    let log = ["log", "--format=%H %T %an %ae %at %ct %B", "main"];
    assert_eq!(git(&place.at("out.git"), &log), git(&site, &log));
    // Only what is new is written, and a branch of somebody else's stays.
    assert_eq!(place.write(&[])["commits"], 0);
    std::fs::write(site.join("new"), "new").unwrap();
    commit("fifth");
    let mut push = freestone(&place.store());
    output(push.args(["push", "--git"]).arg(&site));
    assert_eq!(place.write(&["main"])["commits"], 1);
    assert_eq!(git(&place.at("out.git"), &log), git(&site, &log));
    place.fsck();
    let work = place.at("work");
    git(place.0.path(), &["clone", "-q", "out.git", "work"]);
    let there = ["-c", "user.name=x", "-c", "user.email=y"];
    git(&work, &[&there[..], &["commit", "-q", "--allow-empty", "-m", "elsewhere"]].concat());
    git(&work, &["push", "-q", "origin", "main"]);
    let mut write = freestone(&place.store());
    let refused = write.args(["git", "write"]).arg(place.at("out.git")).output().unwrap();
    assert_eq!(refused.status.code(), Some(6), "{}", String::from_utf8_lossy(&refused.stderr));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--force"));
    assert_eq!(place.write(&["--force"])["branches"][0]["changed"], true);
    assert_eq!(git(&place.at("out.git"), &log), git(&site, &log));
}

#[test]
fn directories_become_commits_and_come_back_equal() {
    let place = Place::new();
    let top = place.at("top");
    for (path, text) in [("a/b/c", "1"), ("a!", "2"), ("z", "3")] {
        let path = top.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    std::fs::create_dir(top.join("nothing")).unwrap();
    let push = |name: &str, time: &str| {
        let mut push = freestone(&place.store());
        push.args(["push", "--ref", name, "-m", "said\0so".split('\0').next().unwrap()]).arg(&top);
        output(push.env("SOURCE_DATE_EPOCH", time)).trim().to_owned()
    };
    push("main", "1000");
    std::fs::write(top.join("a/b/c"), "changed").unwrap();
    push("main", "2000");
    push("sites/www", "3000");
    let answer = place.write(&[]);
    assert_eq!(answer["branches"].as_array().unwrap().len(), 2);
    place.fsck();
    let out = place.at("out.git");
    assert_eq!(git(&out, &["log", "--format=%ct %s", "main"]), "2000 said\n1000 said\n");
    assert_eq!(git_tree_of(&out, "sites/www"), git_tree_in(&top));
    // Back again: the same contents, and the same trees.
    let mut push = freestone(&place.store());
    output(push.args(["push", "--history", "--ref", "back", "--git"]).arg(&out));
    let diff = output(freestone(&place.store()).args(["-q", "diff", "main", "back"]));
    assert_eq!(diff.trim_end(), format!("D {:>12} {:>12} nothing/", "-", ""));
    place.write(&["back"]);
    let tree = |name: &str| git(&out, &["rev-parse", &format!("{name}^{{tree}}")]);
    assert_eq!(tree("back"), tree("main"));
    place.fsck();
}

/// A copy has the newest revision only: what was before it is not there, and nothing is damaged.
#[test]
fn a_history_that_was_cut_is_written_as_far_as_it_goes() {
    let place = Place::new();
    let top = place.at("top");
    std::fs::create_dir(&top).unwrap();
    for (name, time) in [("first", "1000"), ("second", "2000"), ("third", "3000")] {
        std::fs::write(top.join(name), name).unwrap();
        let mut push = freestone(&place.store());
        output(push.args(["push", "-m", name]).arg(&top).env("SOURCE_DATE_EPOCH", time));
        // The second revision is in a repository already.
        if name == "second" {
            place.write(&[]);
        }
        std::fs::remove_file(top.join(name)).unwrap();
    }
    let copy = place.at("copy");
    output(freestone(&copy).arg("init"));
    output(freestone(&place.store()).args(["copy", "main", "--to"]).arg(&copy));
    let log = freestone(&copy).arg("log").output().unwrap();
    assert!(log.status.success());
    let said = String::from_utf8(log.stdout).unwrap();
    assert!(said.lines().count() == 1 && said.ends_with("third\n"), "{said}");
    let noted = String::from_utf8(log.stderr).unwrap();
    assert!(noted.contains("the history ends here: "), "{noted}");
    output(freestone(&copy).args(["log", "--stat", "--json"]));
    let write = |repository: &str| {
        output(freestone(&copy).args(["git", "write"]).arg(place.at(repository)));
        git(&place.at(repository), &["fsck", "--strict", "--full", "--no-dangling"]);
        let files = git(&place.at(repository), &["ls-tree", "--name-only", "main"]);
        assert_eq!(files, "third\n", "{repository}");
        git(&place.at(repository), &["log", "--format=%s", "main"])
    };
    assert_eq!(write("new.git"), "third\n");
    // Where the parent was written before, it stays the parent; the tree is the revision's.
    assert_eq!(write("out.git"), "third\nsecond\nfirst\n");
}

#[test]
fn what_git_cannot_hold_is_refused() {
    for (path, said) in [
        ("sub/.GIT/config", "sub/.GIT/config: git refuses a name"),
        ("sub/a\\.git/config", "git refuses a name that means the repository itself"),
        ("sub/.gitmodules/x", "sub/.gitmodules/x: git refuses a directory that means .gitmodules"),
    ] {
        let place = Place::new();
        place.push_tar(path);
        let told = place.refused(&place.at("out.git"), &[]);
        assert!(told.contains(said), "{told}");
    }
    let place = Place::new();
    place.push_tar("file");
    git(place.0.path(), &["init", "-q", "work"]);
    for directory in [place.at("work"), place.store()] {
        assert!(place.refused(&directory, &[]).contains("is not a bare git repository"));
    }
}

/// A source of one file with the text of a link that it would not have, had it been pushed.
struct Forged(&'static str);

impl ItemSource for Forged {
    fn next(&mut self) -> Result<Option<Item>> {
        let text = std::mem::take(&mut self.0);
        let stamp = FileStamp { device: 0, inode: 0, size: 1, mtime_ns: 0, ctime_ns: 0 };
        let link = Some(text.as_bytes().to_vec());
        let kind = ItemKind::File { executable: false, stamp, link };
        Ok((!text.is_empty()).then(|| Item { path: b"link".to_vec(), mtime: 1, kind }))
    }
}

#[test]
fn a_link_out_of_the_repository_is_not_written() {
    let bytes = freestone_testkit::MemorySource::of([("link", "x")]);
    for text in ["../../etc/passwd", "/etc/passwd", "a/../../b", "link", "."] {
        let place = Place::new();
        let store = freestone_store::Store::open(&place.store()).unwrap();
        let walk = || -> Result<Box<dyn ItemSource>> { Ok(Box::new(Forged(text))) };
        let source = Source { walk: &walk, opener: &bytes, key: None };
        let options = PushOptions { ref_name: Some("main".into()), ..PushOptions::default() };
        freestone_push::push(&store, &source, &options, Watch::default()).unwrap();
        let told = place.refused(&place.at("out.git"), &[]);
        assert!(told.contains("path link would become a link"), "{text}: {told}");
    }
}

#[test]
fn four_times_the_revisions_take_about_four_times_as_long() {
    let _alone = support::whole_machine();
    let took = |count: usize| {
        let place = Place::new();
        git(place.0.path(), &["init", "-q", "--bare", "in.git"]);
        let mut text = String::new();
        for number in 0..count {
            let time = 1_500_000_000 + number;
            text += &format!("commit refs/heads/main\ncommitter A <a@b> {time} +0000\ndata 1\nx\n");
            for file in 0..if number == 0 { 60 } else { 1 } {
                let name = (number + file) % 60;
                text += &format!("M 100644 inline d{}/f{name}\ndata 6\n{number:06}\n", name % 7);
            }
        }
        let mut import = std::process::Command::new("git");
        import.args(["fast-import", "--quiet"]).current_dir(place.at("in.git"));
        let mut import = import.stdin(std::process::Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut import.stdin.take().unwrap(), text.as_bytes()).unwrap();
        assert!(import.wait().unwrap().success());
        let mut push = freestone(&place.store());
        output(
            push.args(["push", "--history", "--commit", "main", "--git"]).arg(place.at("in.git")),
        );
        let mut write = freestone(&place.store());
        support::processor_time(write.args(["-q", "git", "write"]).arg(place.at("out.git")))
    };
    let (few, many) = (took(700), took(2800));
    assert!(many < 6 * few, "{few:?} for 700, {many:?} for 2,800");
}

#[test]
fn what_was_written_before_an_error_is_not_written_again() {
    let place = Place::new();
    place.push_tar("good");
    place.push_tar("sub/.git~/x");
    place.push_tar("sub/.GIT/config");
    place.refused(&place.at("out.git"), &[]);
    let list = std::fs::read_to_string(place.at("out.git/freestone-revisions")).unwrap();
    assert_eq!(list.lines().count(), 2, "{list}");
    for line in list.lines() {
        let commit = line.split(' ').nth(1).unwrap();
        assert_eq!(git(&place.at("out.git"), &["cat-file", "-t", commit]), "commit\n");
    }
}

#[test]
fn a_branch_inside_the_name_of_a_packed_one_is_refused() {
    let place = Place::new();
    place.push_tar("file");
    place.write(&[]);
    let out = place.at("out.git");
    git(&out, &["branch", "sites", "main"]);
    git(&out, &["pack-refs", "--all"]);
    assert!(!out.join("refs/heads/sites").exists());
    let mut push = freestone(&place.store());
    output(push.args(["push", "--ref", "sites/www"]).arg(place.at("x.tar")));
    let told = place.refused(&out, &["sites/www"]);
    assert!(told.contains("sites/www cannot exist beside branch sites"), "{told}");
    git(&out, &["branch", "-D", "sites"]);
    place.write(&["sites/www"]);
    place.fsck();
}

#[test]
fn a_real_history_comes_back_commit_by_commit() {
    let Some(bundle) = corpus() else { return };
    let place = Place::new();
    git(place.0.path(), &["clone", "-q", "--bare", bundle.to_str().unwrap(), "site.git"]);
    let mut push = freestone(&place.store());
    output(push.args(["push", "--history", "--git"]).arg(place.at("site.git")));
    assert_eq!(place.write(&[])["commits"], 620);
    place.fsck();
    let head = |name: &str| git(&place.at(name), &["rev-parse", "main"]);
    assert_eq!(head("out.git"), head("site.git"));
}
