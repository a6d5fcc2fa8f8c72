//! What is kept and why, and what is forgotten or taken down.

use crate::program::Home;

/// A home with a store of four revisions: `docs/key` is in the second and third.
fn with_key() -> Home {
    let home = Home::new();
    home.ok(["init"]);
    for n in 1..=4 {
        home.write("site/page", format!("page {n}\n").as_bytes());
        home.write("site/docs/same", b"the same\n");
        if n == 2 {
            home.write("site/docs/key", b"secret\n");
        }
        if n == 4 {
            std::fs::remove_file(home.path("site/docs/key")).unwrap();
        }
        home.ok(["push", "site", "-m", &n.to_string()]);
    }
    home
}

/// A SHA-1 that nothing has.
const ABSENT: &str = "sha1:c1c3a1c5dfbf5e5dfbd29ce7a3d9dfcc3d2d0ec5";

fn sha1_of(home: &Home, name: &str) -> String {
    let listed = home.json(["ls", "-R", name]);
    let entries = listed["entries"].as_array().unwrap();
    let entry = entries.iter().find(|entry| entry["sha1"].is_string()).unwrap();
    format!("sha1:{}", entry["sha1"].as_str().unwrap())
}

#[test]
fn what_keeps_something_is_shown() {
    let home = with_key();
    let why = home.ok(["why", "main:docs/same"]);
    assert_eq!(why.lines().count(), 8, "{why}");
    assert!(why.lines().next().unwrap().contains("main@4 (newest)"), "{why}");
    let why = home.ok(["why", "main@2:docs/key"]);
    assert!(why.contains("main@3\n    docs/key\n") && why.contains("main@2\n"), "{why}");
    let why = home.json(["why", "main@2"]);
    let holders = why["holders"].as_array().unwrap();
    assert_eq!(holders.len(), 1);
    assert_eq!(holders[0]["refs"][0]["first"], 2);
    assert_eq!(holders[0]["refs"][0]["newest"], false);
    home.fails(5, ["why", ABSENT]);
    home.fails(2, ["why", "main:docs"]);
    home.fails(5, ["why", "main:nothing"]);
    home.fails(5, ["why", &"00".repeat(32)]);
    home.fails(2, ["why", "sha1:zz"]);
}

#[test]
fn the_policy_of_the_store_says_what_collections_keep() {
    let home = with_key();
    let none = home.run(["store", "policy"]);
    assert!(none.err.contains("no policy"), "{}", none.err);
    home.fails(2, ["store", "policy", "set", "--unused", "30"]);
    home.ok(["store", "policy", "set", "--keep-last", "3"]);
    let set = ["store", "policy", "set", "--keep-last", "2", "--min-age", "0"];
    let shown = home.ok(set.iter().chain(&["--keep-for", "release/**:all"]));
    assert_eq!(shown, "--keep-for 'release/**:all'\n--keep-last 2\n--unused 50 --min-age 0s\n");
    assert_eq!(home.ok(["store", "policy"]), shown);
    let json = home.json(["store", "policy"]);
    assert_eq!((&json["policy"], &json["refs"][1]["last"]), (&2.into(), &2.into()));
    let preview = home.json(["store", "gc", "-n"]);
    assert_eq!(preview["policy"], 2);
    assert_eq!(preview["refs"][0]["dropped"].as_array().unwrap().len(), 2);
    // Options take its place.
    let preview = home.json(["store", "gc", "-n", "--keep-last", "1"]);
    assert!(preview["policy"].is_null());
    assert_eq!(preview["refs"][0]["dropped"].as_array().unwrap().len(), 3);
    home.ok(["store", "gc", "--grace", "0"]);
    home.ok(["verify", "--data"]);
    home.fails(5, ["cat", "main@2:page"]);
    assert_eq!(home.ok(["cat", "main@3:page"]), "page 3\n");
}

#[test]
fn a_revision_is_forgotten() {
    let home = with_key();
    let error = home.fails(7, ["forget", "main"]);
    assert!(error.contains("freestone ref delete main"), "{error}");
    let ran = home.run(["forget", "-n", "main@2"]);
    assert!(ran.err.contains("would forget") && ran.err.contains("main@2"), "{}", ran.err);
    home.ok(["forget", "main@2"]);
    home.ok(["store", "gc", "--min-age", "0", "--grace", "0", "--unused", "1"]);
    home.ok(["verify", "--data"]);
    let error = home.fails(5, ["cat", "main@2:page"]);
    assert!(error.contains("was forgotten"), "{error}");
    assert_eq!(home.ok(["cat", "main@1:page"]), "page 1\n");
    assert_eq!(home.ok(["cat", "main@3:docs/key"]), "secret\n");
}

#[test]
fn a_content_is_taken_down() {
    let home = with_key();
    let key = sha1_of(&home, "main@2:docs/key");
    let error = home.fails(2, ["forget", &key]);
    assert!(error.contains("2 revisions hold it") && error.contains("--everywhere"), "{error}");
    home.fails(2, ["forget", "main@2", "--everywhere"]);
    let listed = home.ok(["forget", "-n", &key]);
    assert!(listed.contains("main@3\n    docs/key\n"), "{listed}");
    assert_eq!(home.ok(["cat", &key]), "secret\n");
    let done = home.json(["forget", &key, "--everywhere"]);
    assert_eq!(done["revisions"].as_array().unwrap().len(), 2, "{done}");
    assert!(done["packs"].as_u64().unwrap() > 0, "{done}");
    home.ok(["verify", "--data"]);
    for arguments in [
        &["cat", "main@2:docs/key"][..],
        &["image", "main@3", "-o", "www.img"],
        &["extract", "main@3", "out"],
    ] {
        let error = home.fails(5, arguments);
        assert!(error.contains("was taken down"), "{error}");
    }
    assert!(!home.path("www.img").exists());
    assert_eq!(home.ok(["cat", "main@3:page"]), "page 3\n");
    assert_eq!(home.ok(["ls", "main@3:docs"]).lines().count(), 2);
    // Nothing brings it back.
    home.write("site/docs/key", b"secret\n");
    let error = home.fails(7, ["push", "site"]);
    assert!(error.contains("docs/key") && error.contains("was taken down"), "{error}");
    home.ok(["forget", &key, "--everywhere"]);
    // Where it was copied to before, it is still there; a new copy does not have it.
    home.ok(["init", "copy"]);
    home.ok(["copy", "--to", "copy", "main@3"]);
    home.ok(["-s", "copy", "verify", "--data"]);
    home.fails(5, ["-s", "copy", "cat", "main@3:docs/key"]);
}
