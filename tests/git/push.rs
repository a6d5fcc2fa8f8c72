//! Commits as revisions: what git has is what the image has, and it costs what changed.

use crate::support::{self, freestone, git, git_tree_in, git_tree_of, output};
use freestone_testkit::corpus;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A repository and a store.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { folder: support::scratch() };
        git(place.folder.path(), &["init", "-q", "-b", "main", "site"]);
        for (key, value) in [("user.name", "A U"), ("user.email", "a@example.org")] {
            git(&place.site(), &["config", key, value]);
        }
        output(freestone(&place.store()).arg("init"));
        place
    }

    fn site(&self) -> PathBuf {
        self.folder.path().join("site")
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.site().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Commits all that there is; gives the commit.
    fn commit(&self, message: &str) -> String {
        git(&self.site(), &["add", "-A", "-f"]);
        git(&self.site(), &["commit", "-q", "--allow-empty", "-m", message]);
        git(&self.site(), &["rev-parse", "HEAD"]).trim().to_owned()
    }

    fn push(&self, arguments: &[&str]) -> String {
        let mut push = freestone(&self.store());
        push.args(["push", "--git"]).arg(self.site()).args(arguments);
        output(&mut push).trim().to_owned()
    }

    /// What a push that fails says, and its exit code.
    fn refused(&self, arguments: &[&str]) -> (String, i32) {
        let mut push = freestone(&self.store());
        push.args(["push", "--git"]).arg(self.site()).args(arguments);
        let refused = push.output().unwrap();
        assert!(!refused.status.success(), "{arguments:?}");
        (String::from_utf8(refused.stderr).unwrap(), refused.status.code().unwrap())
    }

    fn extracted(&self, revision: &str) -> PathBuf {
        let to = self.folder.path().join(format!("out-{}", revision.replace([':', '/'], "-")));
        output(freestone(&self.store()).args(["-q", "extract", revision]).arg(&to));
        to
    }

    fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let text = output(freestone(&self.store()).arg("--json").args(arguments));
        serde_json::from_str(&text).unwrap()
    }

    /// That a revision holds the files of a commit.
    fn check(&self, revision: &str, commit: &str) {
        let tree = git_tree_in(&self.extracted(revision));
        assert_eq!(tree, git_tree_of(&self.site(), commit));
    }
}

#[test]
fn a_commit_is_pushed_with_what_it_says_and_found_by_its_id() {
    let place = Place::new();
    place.write("index.html", "hello");
    place.write("a/b/c.txt", "deep");
    place.write("a.txt", "beside the directory");
    place.write(".gitignore", "target");
    place.write("CVS/kept", "git has it");
    place.write("run", "#!/bin/sh");
    let run = place.site().join("run");
    std::fs::set_permissions(run, PermissionsExt::from_mode(0o755)).unwrap();
    let first = place.commit("first\n\nwith a body");
    let revision = place.push(&[]);
    place.check(&revision, &first);
    let shown = place.json(&["show", "main"]);
    assert_eq!(shown["labels"]["git.commit"], first);
    assert_eq!(shown["message"], "first\n\nwith a body\n");
    assert!(shown["labels"]["git.author"].as_str().unwrap().starts_with("A U <a@example.org> "));
    let time = git(&place.site(), &["log", "-1", "--format=%ct"]).trim().parse::<i64>().unwrap();
    assert_eq!(shown["time"], time);
    for name in [&first[..8], &first] {
        let name = format!("commit:{name}");
        assert_eq!(output(freestone(&place.store()).args(["resolve", &name])).trim(), revision);
    }
    // Again: nothing is new.
    assert_eq!(place.push(&[]), revision);
    // Files and directories that come, go, and take each other's place.
    std::fs::remove_dir_all(place.site().join("a")).unwrap();
    place.write("a", "a file now");
    std::fs::remove_file(place.site().join("a.txt")).unwrap();
    place.write("a.txt/in/it", "a directory now");
    place.write("index.html", "hello again");
    let second = place.commit("second");
    let answer = place.json(&["push", "--git", place.site().to_str().unwrap()]);
    assert_eq!(answer["files_hashed"], 3, "only what changed is read: {answer}");
    let names: Vec<String> = ["new", "changed", "gone"].map(|key| answer[key].to_string()).into();
    assert_eq!(names, ["2", "3", "2"], "{answer}");
    place.check("main", &second);
    output(freestone(&place.store()).args(["verify", "--data"]));
}

#[test]
fn a_subdirectory_has_a_revision_for_commits_that_left_it_alone() {
    let place = Place::new();
    place.write("site/index.html", "hello");
    place.write("code/main.rs", "fn main() {}");
    let first = place.commit("first");
    let before = place.push(&["--subdir", "site/"]);
    assert_eq!(std::fs::read_dir(place.extracted(&before)).unwrap().count(), 1);
    place.write("code/main.rs", "fn main() { }");
    let second = place.commit("only code");
    let after = place.push(&["--subdir", "site"]);
    assert_ne!(before, after);
    let root = |name: &str| place.json(&["show", name])["root"].clone();
    assert_eq!(root(&before), root(&after));
    for (commit, revision) in [(first, before), (second, after)] {
        let name = format!("commit:{commit}");
        assert_eq!(output(freestone(&place.store()).args(["resolve", &name])).trim(), revision);
    }
    let (said, code) = place.refused(&["--subdir", "missing"]);
    assert!(said.contains("has no directory missing") && code == 5, "{said}");
    let (said, code) = place.refused(&["--subdir", "../x"]);
    assert!(said.contains("part . or ..") && code == 2, "{said}");
}

#[test]
fn links_become_their_files_and_follow_them() {
    let place = Place::new();
    place.write("files/a", "one");
    place.write("files/b", "two");
    symlink("files/a", place.site().join("current")).unwrap();
    symlink("../current", place.site().join("files/back")).unwrap();
    place.commit("links");
    place.push(&[]);
    let out = place.extracted("main");
    assert_eq!(std::fs::read_to_string(out.join("current")).unwrap(), "one");
    assert_eq!(std::fs::read_to_string(out.join("files/back")).unwrap(), "one");
    let linked = place.json(&["ls", "-R", "main"]).to_string();
    assert!(linked.contains("../current"), "{linked}");
    // The file changes, the links do not: they hold what it holds.
    place.write("files/a", "three");
    place.commit("a file");
    let revision = place.push(&[]);
    let out = place.extracted(&revision);
    assert_eq!(std::fs::read_to_string(out.join("current")).unwrap(), "three");
    assert_eq!(std::fs::read_to_string(out.join("files/back")).unwrap(), "three");
    // Links that lead nowhere are refused, all of them listed, or skipped and counted.
    symlink("/etc/passwd", place.site().join("files/out")).unwrap();
    symlink("files", place.site().join("to_directory")).unwrap();
    std::fs::remove_file(place.site().join("files/b")).unwrap();
    symlink("gone", place.site().join("files/b")).unwrap();
    place.commit("bad links");
    let (said, code) = place.refused(&[]);
    assert_eq!(code, 7);
    for line in
        ["files/b: a link that leads nowhere", "files/out: a link that leads out", "to_directory: "]
    {
        assert!(said.contains(line), "{said}");
    }
    let revision = place.push(&["--skip-special"]);
    let out = place.extracted(&revision);
    assert!(!out.join("files/b").exists() && out.join("current").exists());
    assert_eq!(place.json(&["show", &revision])["labels"]["git.skipped"], "3");
    // What was skipped once may be there now: the next push looks at all of it.
    place.write("files/gone", "here");
    place.commit("no longer dangling");
    let revision = place.push(&["--skip-special"]);
    let out = place.extracted(&revision);
    assert_eq!(std::fs::read_to_string(out.join("files/b")).unwrap(), "here");
}

#[test]
fn submodules_and_lfs_pointers_are_never_content() {
    let place = Place::new();
    place.write("index.html", "hello");
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
    place.write("video.mp4", pointer);
    let commit = place.commit("first");
    git(&place.site(), &["update-index", "--add", "--cacheinfo", &format!("160000,{commit},sub")]);
    git(&place.site(), &["commit", "-q", "-m", "a submodule"]);
    let (said, code) = place.refused(&[]);
    assert!(
        said.contains("sub: a submodule") && said.contains("video.mp4: a Git LFS pointer"),
        "{said}"
    );
    assert_eq!(code, 7);
    assert!(said.contains("2 paths cannot be pushed") && said.contains("--skip-special"), "{said}");
    let revision = place.push(&["--skip-special"]);
    let listed = output(freestone(&place.store()).args(["ls", &revision]));
    assert!(listed.contains("index.html") && !listed.contains("video"), "{listed}");
    // Next time without the option, though neither has changed.
    place.write("index.html", "hello again");
    place.commit("third");
    assert_eq!(place.refused(&[]).1, 7);
}

#[test]
fn repositories_of_all_kinds_are_read_and_others_refused_plainly() {
    let place = Place::new();
    for number in 0..40 {
        place.write("log.txt", format!("{number}\n").repeat(200 + number));
        place.commit(&format!("commit {number}"));
    }
    git(&place.site(), &["tag", "-a", "-m", "tagged", "v1", "HEAD~2"]);
    git(&place.site(), &["gc", "-q", "--aggressive"]);
    let folder = place.folder.path();
    let head = git(&place.site(), &["rev-parse", "HEAD"]).trim().to_owned();
    git(folder, &["clone", "-q", "--bare", "site", "bare.git"]);
    git(folder, &["clone", "-q", "--shared", "site", "shared"]);
    let url = format!("file://{}", place.site().display());
    git(folder, &["clone", "-q", "--depth", "3", &url, "shallow"]);
    git(&place.site(), &["worktree", "add", "-q", "../linked", "HEAD"]);
    let revision = place.push(&[]);
    for kind in ["bare.git", "shared", "shallow", "linked", "site/.git"] {
        let mut push = freestone(&place.store());
        push.args(["push", "--ref", "other", "--git"]).arg(folder.join(kind));
        assert_eq!(output(&mut push).trim(), revision, "{kind}");
    }
    // Names of commits.
    for (name, same) in
        [("v1", "HEAD~2"), ("main^^", "HEAD~2"), (&head[..9], "HEAD"), ("HEAD^0~3", "HEAD~3")]
    {
        let mut push = freestone(&place.store());
        push.args(["push", "--no-ref", "--git", "site", "--commit", name]).current_dir(folder);
        let revision = output(&mut push);
        let wanted = git(&place.site(), &["rev-parse", same]);
        let shown = place.json(&["show", revision.trim()]);
        assert_eq!(shown["labels"]["git.commit"], wanted.trim(), "{name}");
    }
    let (said, code) = place.refused(&["--commit", "nothing~3"]);
    assert!(said.contains("there is no commit nothing~3") && code == 5, "{said}");
    // History beyond a shallow clone is missing, and said so.
    let mut push = freestone(&place.store());
    push.args(["push", "--ref", "deep", "--history", "--git"]).arg(folder.join("shallow"));
    let refused = push.output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("the clone is shallow") && said.contains("after 3 commits"), "{said}");
    assert_eq!(refused.status.code(), Some(7));
    git(folder, &["init", "-q", "--object-format=sha256", "new"]);
    let said = |name: &str| {
        let mut push = freestone(&place.store());
        push.args(["push", "--git"]).arg(folder.join(name));
        String::from_utf8(push.output().unwrap().stderr).unwrap()
    };
    assert!(said("new").contains("SHA-256"), "{}", said("new"));
    assert!(said("store").contains("not a git repository"), "{}", said("store"));
}

#[test]
fn the_history_of_a_real_site_is_pushed_as_commits_and_read_back_equal() {
    let Some(bundle) = corpus() else { return };
    let _machine = support::whole_machine();
    let folder = support::scratch();
    git(folder.path(), &["clone", "-q", "--bare", bundle.to_str().unwrap(), "site.git"]);
    let site = folder.path().join("site.git");
    let store = folder.path().join("store");
    output(freestone(&store).arg("init"));
    let push = |arguments: &[&str]| {
        let mut push = freestone(&store);
        push.args(["--json", "push", "--history", "--git"]).arg(&site).args(arguments);
        serde_json::from_str::<serde_json::Value>(&output(&mut push)).unwrap()
    };
    // In two goes, the second going on behind the first; then there is nothing to do.
    assert_eq!(push(&["--commit", "HEAD~20"])["made"], 600);
    assert_eq!(push(&[])["made"], 20);
    assert_eq!(push(&[])["made"], 0);
    let commits = git(&site, &["log", "--first-parent", "--reverse", "--format=%H"]);
    let commits: Vec<&str> = commits.lines().collect();
    assert_eq!(commits.len(), 620);
    let packs = std::fs::read_dir(store.join("packs")).unwrap().count();
    assert!(packs <= 4, "{packs} packs");
    // The digests that pushes of the checkouts have: see tests/corpus.rs.
    let golden = [
        (0, "d1cc758bc289ffde011977e71851c0dcce1ee27e5a31dc75d9a64dcb642b9e99"),
        (100, "8a7131877bd2f9760ebe5fc5f8ffc84768ef7ce2fde5245c84f1e5e083899b27"),
        (333, "5c4e362859dae4989350a0ca18ad4c2f0621388481bd48508a13f819c422d669"),
        (619, "d1e4c18c929c7649b70975bfc23564c8434d390976353f791df449b92160d2ac"),
    ];
    let step = if std::env::var_os("FREESTONE_LONG").is_some() { 1 } else { 31 };
    for number in (0..620).filter(|n| n % step == 0 || golden.iter().any(|(at, _)| at == n)) {
        let name = format!("commit:{}", commits[number]);
        let image = folder.path().join("www.img");
        let _ = std::fs::remove_file(&image);
        output(freestone(&store).args(["-q", "image", &name, "-o"]).arg(&image));
        let unpacked = folder.path().join("unpacked");
        std::fs::create_dir(&unpacked).unwrap();
        output(Command::new("tar").arg("-xf").arg(&image).arg("-C").arg(&unpacked));
        assert_eq!(git_tree_in(&unpacked), git_tree_of(&site, commits[number]), "{name}");
        std::fs::remove_dir_all(&unpacked).unwrap();
        if let Some((_, digest)) = golden.iter().find(|(at, _)| *at == number) {
            let found = freestone_core::digest::plain(&std::fs::read(&image).unwrap());
            assert_eq!(found.to_string(), *digest, "{name}");
        }
    }
    output(freestone(&store).args(["verify", "--data"]));

    // In one go, it is as small as git's own packs, which have no index and no second names for contents.
    let store = folder.path().join("small");
    output(freestone(&store).arg("init"));
    output(freestone(&store).args(["-q", "push", "--history", "--git"]).arg(&site));
    let taken = stored(&store);
    assert!(taken <= 8_000_000, "the history takes {taken} bytes as pushed");
    for _ in 0..2 {
        output(freestone(&store).args(["-q", "store", "compact", "--all", "--grace", "0s"]));
    }
    let taken = stored(&store);
    assert!(taken <= GIT_BEST_PACK_BYTES, "the history takes {taken} bytes compacted");
    output(freestone(&store).args(["verify", "--data"]));
    for (number, digest) in golden {
        let name = format!("commit:{}", commits[number]);
        let mut image = freestone(&store);
        let image = image.args(["--json", "image", &name, "--digest"]);
        let said: serde_json::Value = serde_json::from_str(&output(image)).unwrap();
        assert_eq!(said["blake3"], digest, "{name}, compacted");
    }
}

/// What `git repack` with the widest window and depth makes of the corpus.
const GIT_BEST_PACK_BYTES: u64 = 7_715_018;

/// The lengths of all files of a store that count as its size.
fn stored(store: &Path) -> u64 {
    let said = output(freestone(store).args(["--json", "store", "stats"]));
    serde_json::from_str::<serde_json::Value>(&said).unwrap()["stored_bytes"].as_u64().unwrap()
}

/// The most anonymous memory that a command has while it runs: as far as samples tell, and what it
/// is at least, if they missed it: the kernel's own peak without the most that was seen mapped.
fn peak_of(command: &mut Command) -> (u64, u64) {
    let mut child = command.stdout(std::process::Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let (mut seen, mut mapped, mut whole) = (0u64, 0u64, 0u64);
    while child.try_wait().unwrap().is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let bytes = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let kilobytes =
                line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
            kilobytes.unwrap_or(0) << 10
        };
        seen = seen.max(bytes("RssAnon:"));
        mapped = mapped.max(bytes("RssFile:") + bytes("RssShmem:"));
        whole = whole.max(bytes("VmHWM:"));
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert!(child.wait().unwrap().success());
    (seen, seen.max(whole.saturating_sub(mapped)))
}

#[test]
fn a_large_blob_is_read_as_a_stream() {
    const LENGTH: usize = 96 << 20;
    let place = Place::new();
    place.write("large", freestone_testkit::noise(LENGTH, 1));
    let commit = place.commit("a large file");
    for form in ["loose", "packed"] {
        if form == "packed" {
            git(&place.site(), &["gc", "-q"]);
        }
        let store = place.folder.path().join(form);
        output(freestone(&store).arg("init"));
        let (peak, _) = peak_of(freestone(&store).args(["-q", "push", "--git"]).arg(place.site()));
        assert!(peak < 64 << 20, "{form}: {} MiB", peak >> 20);
        let out = place.folder.path().join(format!("out-{form}"));
        output(freestone(&store).args(["-q", "extract", "main"]).arg(&out));
        assert_eq!(git_tree_in(&out), git_tree_of(&place.site(), &commit));
    }
}

#[test]
fn a_commit_that_would_set_the_ref_back_is_refused_unless_asked_for() {
    let place = Place::new();
    let commits: Vec<String> = (0..3)
        .map(|number| {
            place.write("page", number.to_string());
            place.commit("another")
        })
        .collect();
    let first = place.push(&["--commit", &commits[0]]);
    let third = place.push(&["--commit", &commits[2]]);
    for more in [&["--commit", &commits[1]][..], &["--commit", &commits[1], "--retry"]] {
        let (said, code) = place.refused(more);
        assert_eq!(code, 7, "{said}");
        let wanted = format!("commit {} is an ancestor of commit {}", commits[1], commits[2]);
        assert!(said.contains(&wanted) && said.contains("--older"), "{said}");
    }
    assert_eq!(place.refused(&["--commit", &commits[1], "--history"]).1, 7);
    assert_eq!(output(freestone(&place.store()).args(["resolve", "main"])).trim(), third);
    // The same commit again is up to date, and a revision without a ref sets nothing back.
    assert_eq!(place.push(&["--commit", &commits[2]]), third);
    place.push(&["--commit", &commits[1], "--no-ref"]);
    place.check(&place.push(&["--commit", &commits[1], "--older"]), &commits[1]);
    place.push(&["--commit", &commits[2]]);
    let back = place.push(&["--commit", &commits[0], "--expect", "main"]);
    place.check(&back, &commits[0]);
    assert_ne!(first, third);
    // Commits of which neither is an ancestor of the other are no order.
    git(&place.site(), &["checkout", "-q", "-b", "side", &commits[0]]);
    place.write("page", "side");
    let side = place.commit("side");
    place.push(&["--commit", &commits[2]]);
    place.check(&place.push(&["--commit", &side]), &side);
}

/// Pushes a directory, an archive of it and a commit of it, and returns what each says, its exit
/// code and the paths that it pushed.
fn by_all_ways(place: &Place, more: &[&str]) -> Vec<(String, Option<i32>, String)> {
    place.commit("all of it");
    let folder = place.folder.path();
    let tar = folder.join("site.tar");
    let site = place.site();
    output(
        Command::new("tar")
            .arg("-cf")
            .arg(&tar)
            .args(["--exclude=./.git", "-C"])
            .arg(&site)
            .arg("."),
    );
    let sources =
        [vec![site.clone().into_os_string()], vec![tar.into()], vec!["--git".into(), site.into()]];
    let mut done = Vec::new();
    for (number, source) in sources.iter().enumerate() {
        let name = format!("way{number}-{}", more.len());
        let mut push = freestone(&place.store());
        let pushed =
            push.arg("push").args(source).args(["--ref", &name]).args(more).output().unwrap();
        let listed = freestone(&place.store()).args(["ls", "-R", &name]).output().unwrap();
        done.push((
            String::from_utf8(pushed.stderr).unwrap(),
            pushed.status.code(),
            String::from_utf8(listed.stdout).unwrap(),
        ));
    }
    done
}

#[test]
fn directories_archives_and_commits_follow_one_set_of_rules() {
    let place = Place::new();
    place.write("index.html", "hello");
    place.write("wiki/CVS/index.html", "about CVS");
    place.write("wiki/_darcs/index.html", "about darcs");
    place.write("old/CVS/Entries", "D");
    place.write("old/CVS/Root", "r");
    place.write("old/.svn/entries", "12");
    place.write("old/page", "x");
    place.write("new/_darcs/patches/1", "x");
    let ways = by_all_ways(&place, &[]);
    for (said, code, listed) in &ways {
        assert_eq!(*code, Some(0), "{said}");
        assert!(said.contains("of version control"), "{said}");
        assert_eq!(*listed, ways[0].2);
        assert!(
            listed.contains("wiki/CVS/index.html") && listed.contains("wiki/_darcs/index.html")
        );
        assert!(
            !listed.contains("Entries") && !listed.contains(".svn") && !listed.contains("patches")
        );
    }
    let pointer = format!(
        "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 12345\n",
        "7".repeat(64)
    );
    place.write("img/logo.png", &pointer);
    place.write("img/text.png", format!("x{pointer}"));
    for (said, code, _) in by_all_ways(&place, &[]) {
        assert!(said.contains("img/logo.png: a Git LFS pointer"), "{said}");
        assert!(code == Some(7) && said.contains("--skip-special"), "{code:?} {said}");
    }
    let ways = by_all_ways(&place, &["--skip-special"]);
    for (said, code, listed) in &ways {
        assert!(said.contains("skipped img/logo.png: a Git LFS pointer"), "{said}");
        assert_eq!((*code, listed), (Some(0), &ways[0].2));
        assert!(listed.contains("img/text.png") && !listed.contains("logo"), "{listed}");
    }
}

#[test]
fn attributes_that_are_not_applied_are_reported() {
    let place = Place::new();
    place.write("spec/notes", "secret");
    place.write(".gitattributes", "/spec export-ignore\n");
    place.commit("first");
    let said = |place: &Place| {
        let mut push = freestone(&place.store());
        let pushed = push.args(["push", "--git"]).arg(place.site()).output().unwrap();
        String::from_utf8(pushed.stderr).unwrap()
    };
    assert!(said(&place).contains(".gitattributes marks paths with export-ignore"));
    // It is older than what is pushed now.
    place.write("page", "new");
    place.commit("second");
    assert!(said(&place).contains("export-ignore"));
    place.write(".gitattributes", "*.png binary\n");
    place.commit("third");
    assert!(!said(&place).contains("export-ignore"));
}

#[test]
fn a_hook_pushes_the_commit_that_is_being_received() {
    let place = Place::new();
    let folder = place.folder.path();
    git(folder, &["init", "-q", "--bare", "server.git"]);
    let hook = folder.join("server.git/hooks/pre-receive");
    let text = format!(
        "#!/bin/sh\nread old new name\nexec {} -s {} push --git . --commit $new\n",
        env!("CARGO_BIN_EXE_freestone"),
        place.store().display()
    );
    std::fs::write(&hook, text).unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    place.write("page", "x");
    let commit = place.commit("first");
    git(&place.site(), &["push", "-q", "../server.git", "main"]);
    place.check("main", &commit);
}

#[test]
fn what_is_said_of_a_partial_clone_helps() {
    let place = Place::new();
    place.write("page", "x");
    place.commit("first");
    for key in ["uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"] {
        git(&place.site(), &["config", key, "true"]);
    }
    let folder = place.folder.path();
    let url = format!("file://{}", place.site().display());
    git(folder, &["clone", "-q", "--no-checkout", "--filter=blob:none", &url, "part"]);
    let push = || {
        let mut push = freestone(&place.store());
        push.args(["push", "--git"]).arg(folder.join("part")).output().unwrap()
    };
    let said = String::from_utf8(push().stderr).unwrap();
    let (_, advice) = said.split_once("`git ").unwrap();
    let advice: Vec<&str> = advice.split_once('`').unwrap().0.split(' ').collect();
    git(&folder.join("part"), &advice);
    assert!(push().status.success(), "{advice:?}");
}

#[test]
fn replaced_objects_are_pushed_as_their_ids_say() {
    let place = Place::new();
    place.write("page", "1");
    let first = place.commit("first");
    place.write("page", "2");
    let second = place.commit("second");
    git(&place.site(), &["replace", &second, &first]);
    place.push(&[]);
    let out = place.extracted("main");
    assert_eq!(std::fs::read_to_string(out.join("page")).unwrap(), "2");
}
