//! Names of commits mean what they mean to git, which is asked for each of them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like tests")]

mod repository;

use freestone_core::ErrorKind;
use freestone_git::Repository;
use repository::{Site, commit_of_git};

/// Names without suffixes.
const NAMES: &str = "\
    HEAD @ main side light light2 v1 nested both loose heads/both tags/both refs/heads/both \
    refs/tags/both refs/both remotes/both origin origin/main origin/HEAD remotes/origin dangling \
    symbolic broken notes/x refs/notes/x none tree-tag blob-tag FETCH_HEAD ORIG_HEAD MERGE_HEAD \
    config hooks refs refs/heads objects ../main ./main main/ /main heads//main main.lock @{-1} \
    @{-2} @{-3} @{-9} @{-0} @{0} @{1} @{2} @{99} HEAD@{0} HEAD@{1} HEAD@{3} HEAD@{99} @@{1} \
    main@{0} main@{1} main@{2} main@{4} heads/main@{1} refs/heads/main@{1} side@{0} side@{1} \
    v1@{0} both@{0} none@{0} origin@{0} symbolic@{0} @{-1}@{0} main-worktree/HEAD v1-1-g -g g \
    HEAD@ @@ HEAD@{ HEAD@{}";

/// What may follow a name.
const SUFFIXES: &str = "\
    ^ ^0 ^1 ^2 ^3 ~ ~0 ~1 ~2 ~9 ^^ ~1^2 ^2~1 ^{} ^{commit} ^{tree} ^{tag} ^{blob} ^{object} \
    ^{bad} ^{tag}^{} ^{tree}^{} ^{commit}~1 ^{}^ ~99999999999 ^99999999999 ^0~1 ~~ \
    ^{commit}^{commit}";

/// Compares a name with git.
fn compare(site: &Site, repository: &Repository, name: &str, wrong: &mut Vec<String>) {
    let expected = commit_of_git(&site.path(), name);
    let found = repository.resolve(name);
    let got = found.as_ref().ok().map(|commit| commit.id.to_string());
    if got != expected {
        let error = found.err().map(|error| error.to_string());
        wrong.push(format!("{name}: git says {expected:?}, we say {got:?} ({error:?})"));
    }
}

/// A history with a merge, tags of all kinds, and names that mean several things.
fn site() -> (Site, Vec<String>) {
    let site = Site::new();
    let mut commits = Vec::new();
    for number in 0..6 {
        site.write("page", format!("{number}\n"));
        commits.push(site.commit(&format!("commit {number}")));
    }
    site.git(&["branch", "side", &commits[2]]);
    site.git(&["checkout", "-q", "side"]);
    site.write("other", "x");
    commits.push(site.commit("on the side"));
    site.git(&["checkout", "-q", "main"]);
    site.git(&["merge", "-q", "--no-ff", "-m", "merged", "side"]);
    commits.push(site.head());
    site.git(&["tag", "light", &commits[1]]);
    site.git(&["tag", "-a", "-m", "said", "v1", &commits[3]]);
    site.git(&["tag", "-a", "-m", "said", "nested", "v1"]);
    site.git(&["tag", "tree-tag", "HEAD^{tree}"]);
    site.git(&["tag", "-a", "-m", "said", "blob-tag", "HEAD:page"]);
    // One name at several places: a tag comes before a branch, and both before a remote's.
    site.git(&["branch", "both", &commits[0]]);
    site.git(&["tag", "both", &commits[1]]);
    site.git(&["update-ref", "refs/remotes/both/HEAD", &commits[2]]);
    site.git(&["update-ref", "refs/remotes/origin/main", &commits[4]]);
    site.git(&["symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main"]);
    site.git(&["update-ref", "refs/both", &commits[5]]);
    site.git(&["symbolic-ref", "refs/heads/dangling", "refs/heads/none"]);
    site.git(&["update-ref", "refs/remotes/dangling", &commits[4]]);
    site.git(&["symbolic-ref", "refs/heads/symbolic", "refs/heads/side"]);
    site.git(&["update-ref", "refs/notes/x", &commits[2]]);
    // A branch with the name of an id, and one with the name of a prefix of another commit's id.
    site.git(&["update-ref", &format!("refs/heads/{}", commits[1]), &commits[4]]);
    site.git(&["update-ref", &format!("refs/heads/{}", &commits[2][..8]), &commits[5]]);
    site.git(&["update-ref", &format!("refs/tags/v1-9-g{}", &commits[0][..7]), &commits[5]]);
    site.git(&["pack-refs", "--all"]);
    site.git(&["update-ref", "refs/heads/loose", &commits[0]]);
    site.git(&["update-ref", "refs/tags/light2", &commits[0]]);
    site.git(&["checkout", "-q", "side"]);
    site.git(&["checkout", "-q", &commits[3]]);
    site.git(&["checkout", "-q", "main"]);
    let dot_git = site.path().join(".git");
    std::fs::write(dot_git.join("FETCH_HEAD"), format!("{}\t\tbranch 'x'\n", commits[2])).unwrap();
    std::fs::write(dot_git.join("refs/heads/broken"), "no id\n").unwrap();
    std::fs::write(dot_git.join("ORIG_HEAD"), format!("{}\n", commits[1])).unwrap();
    (site, commits)
}

#[test]
fn every_name_means_what_it_means_to_git() {
    let (site, commits) = site();
    let repository = Repository::open(&site.path()).unwrap();
    let tree = site.git(&["rev-parse", "HEAD^{tree}"]).trim().to_owned();
    let mut names: Vec<String> = NAMES.split_whitespace().chain([""]).map(str::to_owned).collect();
    for id in commits.iter().chain([&tree]) {
        for digits in [3, 4, 5, 7, 8, 12, 39, 40] {
            names.push(id[..digits].to_owned());
            names.push(id[..digits].to_uppercase());
            names.push(format!("v1-1-g{}", &id[..digits]));
            names.push(format!("no-such-tag-g{}", &id[..digits]));
        }
        names.push(format!("v1-9-g{}", &id[..7]));
    }
    names.push("f".repeat(40));
    names.push("f".repeat(8));
    names.push(site.git(&["describe", "--tags", "--long"]).trim().to_owned());
    let mut wrong = Vec::new();
    for name in &names {
        compare(&site, &repository, name, &mut wrong);
    }
    for name in [
        "HEAD",
        "@",
        "main",
        "v1",
        "nested",
        "both",
        "tree-tag",
        "blob-tag",
        "@{-1}",
        "HEAD@{1}",
        &commits[7],
        &commits[7][..7],
        &format!("v1-1-g{}", &commits[7][..7]),
        "none",
        "",
    ] {
        for suffix in SUFFIXES.split_whitespace().chain([""]) {
            // What git makes of a name that ends in a brace and has `@{`, but no other meaning, is
            // a date or the branch alone, whatever follows.
            let is_quirk = ["{tag}", "{blob}", "{bad}", "{tree}", "{tree}^{}", "{tag}^{}"];
            if name.contains("@{") && is_quirk.iter().any(|end| suffix.ends_with(end)) {
                continue;
            }
            compare(&site, &repository, &format!("{name}{suffix}"), &mut wrong);
        }
    }
    assert!(wrong.is_empty(), "{} names:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn an_id_is_that_id_whatever_a_ref_is_called() {
    let (site, commits) = site();
    let repository = Repository::open(&site.path()).unwrap();
    let found = |name: &str| repository.resolve(name).unwrap().id.to_string();
    assert_eq!(found(&commits[1]), commits[1]);
    assert_eq!(found(&format!("heads/{}", commits[1])), commits[4]);
    assert!(repository.resolve(&format!("{}0", commits[1])).is_err());
    // A prefix is a ref first, as in git.
    assert_eq!(found(&commits[2][..8]), commits[5]);
    assert_eq!(found(&commits[2][..9]), commits[2]);
}

#[test]
fn searches_are_refused_plainly() {
    let (site, _) = site();
    let repository = Repository::open(&site.path()).unwrap();
    for name in [
        ":/commit",
        "HEAD^{/commit}",
        "HEAD:page",
        "main..side",
        "main@{upstream}",
        "@{u}",
        "HEAD@{yesterday}",
        "main@{1 day ago}",
        "main@{push}",
    ] {
        let error = repository.resolve(name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{name}: {error}");
        assert!(error.hint_text().unwrap().contains("git rev-parse"), "{name}");
    }
    let error = repository.resolve("no\u{1b}[31m").unwrap_err().to_string();
    assert!(error.contains("no\\x1b[31m") && !error.contains('\u{1b}'), "{error}");
    let long = format!("HEAD{}", "^".repeat(100_000));
    assert_eq!(repository.resolve(&long).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_prefix_of_several_objects_is_a_commit_if_only_one_is() {
    let site = Site::new();
    let mut ids: Vec<String> = Vec::new();
    // Enough objects that some share four digits.
    for number in 0..700 {
        ids.push(site.put("blob", format!("{number}").as_bytes()));
    }
    site.write("page", "0");
    let mut commits = vec![site.commit("0")];
    let tree = site.git(&["rev-parse", "HEAD^{tree}"]).trim().to_owned();
    for number in 0..300 {
        let text =
            format!("tree {tree}\nauthor a <a> {number} +0000\ncommitter a <a> 1 +0000\n\nm");
        commits.push(site.put("commit", text.as_bytes()));
    }
    let repository = Repository::open(&site.path()).unwrap();
    let mut wrong = Vec::new();
    let mut shared = 0;
    for commit in &commits {
        let others = ids.iter().chain(&commits).filter(|id| id[..4] == commit[..4]).count();
        if others > 1 {
            shared += 1;
            for suffix in ["", "^0", "^{}", "^{tree}", "^{object}"] {
                compare(&site, &repository, &format!("{}{suffix}", &commit[..4]), &mut wrong);
            }
            compare(&site, &repository, &format!("x-1-g{}", &commit[..4]), &mut wrong);
        }
    }
    assert!(shared > 0);
    assert!(wrong.is_empty(), "{} names:\n{}", wrong.len(), wrong.join("\n"));
}
