//! The commands that work with a store, on two small revisions.

use crate::program::{self, Home, Ran};
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

#[test]
fn a_push_prints_the_id_alone_and_figures_beside_it() {
    let home = Home::with_revisions();
    let id = home.ok(["resolve", "main"]);
    let again = home.run(["push", "site"]);
    assert_eq!((again.code, again.text()), (Some(0), id.clone()));
    assert!(again.err.starts_with("up to date, 5 entries; "), "{}", again.err);
    let quiet = home.run(["push", "site", "-q"]);
    assert_eq!((quiet.text(), quiet.err.as_str()), (id.clone(), ""));
    let labelled = home.json(["push", "site", "-l", "k=v"]);
    assert_eq!(labelled["up_to_date"], false);
    assert_eq!(labelled["parents"][0], id.trim());
    assert_eq!((&labelled["ref"], &labelled["n"]), (&"main".into(), &3.into()));
    home.write("site/new", b"new");
    let would = home.json(["push", "site", "-n"]);
    assert_eq!((&would["new"], &would["dry_run"]), (&1.into(), &true.into()));
    assert_eq!(home.json(["resolve", "main"])["revision"], labelled["revision"]);
}

#[test]
fn an_interrupted_push_leaves_the_store_as_it_was() {
    let home = Home::with_revisions();
    let before = home.json(["status"]);
    // A terabyte of zeros is read for longer than anybody waits.
    fs::File::create(home.path("site/huge")).unwrap().set_len(1 << 40).unwrap();
    let child = home.command(["push", "site"]).stderr(Stdio::piped()).spawn().unwrap();
    program::until_it_catches(child.id(), 15);
    std::thread::sleep(Duration::from_millis(300));
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.err.as_str()), (Some(130), "freestone: interrupted\n"));
    let after = home.json(["status"]);
    assert_eq!((&after["refs"], &after["revisions"]), (&before["refs"], &before["revisions"]));
    home.ok(["verify", "--data"]);
}

/// Places the entry of a ref in the store, as another program could: `ref set` refuses the name.
fn place_ref(home: &Home, name: &str, revision: &str) {
    use freestone_format::ref_entry::{RefAction, RefEntry};
    use freestone_format::ref_place;
    let action = RefAction::Set(freestone_core::Id::parse(revision).unwrap());
    let entry =
        RefEntry { action, name: name.into(), log_id: [7; 16], n: 1, previous: None, time: 1 };
    home.write(format!("store/refs/{name}/{}", ref_place::key(1)), &entry.encode());
}

#[test]
fn an_id_is_an_id_whatever_refs_there_are() {
    let home = Home::with_revisions();
    let id = home.ok(["resolve", "main"]).trim().to_owned();
    let other = home.ok(["resolve", "main~1"]).trim().to_owned();
    let names = [id.clone(), id[..8].into(), id[..31].into(), id.to_uppercase(), id[..63].into()];
    for name in &names {
        let refused = home.run(["ref", "set", name, &other]);
        assert_eq!(refused.code, Some(2), "{name}: {}", refused.err);
        assert!(refused.err.contains("cannot be the name of a ref"), "{}", refused.err);
        assert_eq!(home.run(["push", "site", "--ref", name]).code, Some(2), "{name}");
        place_ref(&home, name, &other);
    }
    for name in &names {
        assert_eq!(home.ok(["resolve", name]).trim(), id, "{name}");
        assert_eq!(home.ok(["cat", &format!("{name}:index.html")]), "<h1>second</h1>\n");
        assert_eq!(home.ok(["resolve", &format!("{name}~1")]).trim(), other, "{name}");
    }
    // A ref of such a name is passed over by what lists or copies refs.
    assert_eq!(lines(&home.ok(["ref", "list"])).len(), 1);
    home.ok(["init", "--store", "copy"]);
    home.ok(["copy", &id, "--to", "copy"]);
    assert_eq!(home.ok(["resolve", &id, "--store", "copy"]).trim(), id);
    let absent = home.run(["resolve", &"ab".repeat(32)]);
    assert_eq!(absent.code, Some(5), "{}", absent.err);
}

#[test]
fn names_that_mean_something_else_are_no_refs() {
    let home = Home::with_revisions();
    assert_eq!(home.run(["ref", "set", "latest", "main"]).code, Some(2));
    for name in ["HEAD", "FETCH_HEAD", "a.lock", "a..b", "a."] {
        let refused = home.run(["ref", "set", name, "main"]);
        assert_eq!(refused.code, Some(2), "{name}: {}", refused.err);
        place_ref(&home, name, home.ok(["resolve", "main"]).trim());
        assert_ne!(home.run(["resolve", name]).code, Some(0), "{name}");
    }
    assert_eq!(lines(&home.ok(["ref", "list"])).len(), 1);
    home.ok(["verify"]);
}

#[test]
fn what_a_later_version_wrote_is_refused_and_no_damage() {
    use freestone_core::digest::{context, derived};
    use freestone_format::ref_place;

    let home = Home::with_revisions();
    let store = freestone_store::Store::open(&home.path("store")).unwrap();
    let newest = store.refs().newest("main").unwrap().unwrap();
    let entry =
        freestone_format::RefEntry { n: newest.n + 1, previous: Some(newest.id()), ..newest };
    let mut bytes = entry.encode();
    let end = bytes.len() - 32;
    bytes[7] = b'2';
    let check = derived(context::REF_ENTRY, &bytes[..end]);
    bytes[end..].copy_from_slice(&check.0);
    home.write(format!("store/refs/main/{}", ref_place::key(entry.n)), &bytes);
    for line in [&["resolve", "main"][..], &["push", "site"], &["verify"], &["verify", "--json"]] {
        let ran = home.run(line);
        assert_eq!(ran.code, Some(7), "{line:?}: {}", ran.err);
        assert!(ran.err.ends_with("hint: use a newer freestone\n"), "{line:?}: {}", ran.err);
    }
    assert!(
        home.run(["verify"]).text().contains("ref main: place 3 of ref main: it is of a later")
    );
    // Damage beside it counts.
    home.write("store/revisions/1", b"x");
    home.write(format!("store/refs/other/{}", ref_place::key(1)), b"x");
    let found = home.run(["verify", "--json"]);
    assert_eq!(found.code, Some(3));
    let answer: serde_json::Value = serde_json::from_str(&found.text()).unwrap();
    assert_eq!((&answer["finding_count"], &answer["newer_count"]), (&1.into(), &1.into()));
}

#[test]
fn a_push_chooses_ref_and_parent() {
    let home = Home::with_revisions();
    let first = home.ok(["resolve", "main~1"]);
    let mut command = home.command(["push", "site", "-q"]);
    let output = command.env("FREESTONE_REF", "live").output().unwrap();
    assert!(output.status.success());
    assert_eq!(home.ok(["resolve", "live"]).as_bytes(), output.stdout);
    home.ok(["push", "site", "--no-ref", "-m", "nobody's"]);
    assert_eq!(lines(&home.ok(["ref", "list"])).len(), 2);
    home.ok(["push", "site", "--ref", "branch", "--parent", "main~1", "-m", "branch"]);
    assert_eq!(home.ok(["resolve", "branch~1"]), first);
    home.fails(6, ["push", "site", "--expect", "none"]);
    home.ok(["push", "site", "--expect", "main", "-m", "expected"]);
    let pushed = home.ok(["push", "site", "--mtime", "1000", "--ref", "old"]);
    let ls = home.json(["ls", "-R", pushed.trim()]);
    assert!(ls["entries"].as_array().unwrap().iter().all(|entry| entry["mtime"] == 1000));
}

#[test]
fn a_push_leaves_out_what_it_is_told_and_the_store() {
    let home = Home::with_revisions();
    fs::rename(home.path("store"), home.path("site/store")).unwrap();
    home.write("patterns", b"# comment\n*.txt\n!b.txt\n");
    home.write("site/.git/config", b"x");
    home.write("site/docs/x.txt", b"x");
    home.write("config.toml", b"exclude = [\"run.sh\"]\nstore = \"site/store\"\n");
    let mut command = home.command(["--config", "config.toml", "push", "site", "--exclude-from"]);
    command.args(["patterns", "--exclude", "/index.html"]).env_remove("FREESTONE_STORE");
    assert!(command.output().unwrap().status.success());
    let listed = home.ok(["-s", "site/store", "ls", "-R", "main"]);
    assert_eq!(lines(&listed), ["docs/", "docs/deep/", "docs/deep/b.txt"]);
}

#[test]
fn ls_lists_a_directory_or_all_below_it() {
    let home = Home::with_revisions();
    assert_eq!(lines(&home.ok(["ls", "main"])), ["docs/", "index.html", "run.sh"]);
    assert_eq!(lines(&home.ok(["ls", "main:docs/"])), ["deep/"]);
    assert_eq!(lines(&home.ok(["ls", "-R", "main:docs"])), ["deep/", "deep/b.txt"]);
    assert_eq!(lines(&home.ok(["ls", "main:docs/deep/b.txt"])), ["b.txt"]);
    assert_eq!(lines(&home.ok(["ls", "main@1:docs"])), ["a.txt", "deep/"]);
    let long = home.ok(["ls", "-l", "main"]);
    assert!(lines(&long)[2].starts_with("-rwxr-xr-x           10 2023-11-14 22:13:20Z "), "{long}");
    home.write("site/docs/deep-er", b"x");
    home.write("site/docs/deep\u{1}", b"x");
    home.ok(["push", "site"]);
    // Names that begin like a directory's come right behind all that is in it.
    assert_eq!(lines(&home.ok(["ls", "main:docs"])), ["deep/", "deep\\x01", "deep-er"]);
}

#[test]
fn cat_gives_bytes_by_path_and_by_sha1() {
    let home = Home::with_revisions();
    assert_eq!(home.ok(["cat", "main~1:docs/a.txt"]), "a\n");
    let ls = home.json(["ls", "main:docs/deep"]);
    let sha1 = format!("sha1:{}", ls["entries"][0]["sha1"].as_str().unwrap());
    assert_eq!(home.ok(["cat", &sha1]), "b".repeat(70_000));
    let mut large = vec![0; 5 << 20];
    large[3 << 20..].iter_mut().enumerate().for_each(|(at, byte)| {
        *byte = ((at * at) >> 7).to_le_bytes()[0];
    });
    home.write("site/large", &large);
    home.ok(["push", "site"]);
    assert!(home.run(["cat", "main:large"]).out == large);
    let sha1 = format!("sha1:{}", freestone_core::digest::sha1(&large));
    assert!(home.run(["cat", &sha1]).out == large);
}

#[test]
fn log_and_show_tell_of_revisions() {
    let home = Home::with_revisions();
    let log = home.ok(["log"]);
    assert_eq!(lines(&log).len(), 2);
    assert!(lines(&log)[0].ends_with(" 2023-11-14 22:13:20Z    68 KiB  the second"), "{log}");
    let second: serde_json::Value =
        serde_json::from_str(lines(&home.ok(["log", "main", "--json"]))[1]).unwrap();
    assert_eq!(second["labels"]["git.commit"], "0123456789abcdef");
    assert_eq!(lines(&home.ok(["log", "-n", "1"])).len(), 1);
    assert_eq!(lines(&home.ok(["log", "main~1"])).len(), 1);
    assert!(home.ok(["show", "main"]).ends_with("\n\n  the second\n  \n  at length\n"));
    assert!(home.ok(["show", "commit:01234567"]).contains("label     git.commit=0123456789abcdef"));
}

#[test]
fn diff_tells_what_is_new_changed_and_gone() {
    let home = Home::with_revisions();
    let diff = home.ok(["diff", "main~1", "main"]);
    let words: Vec<Vec<&str>> =
        diff.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        words,
        [&["D", "2", "docs/a.txt"][..], &["M", "15", "16", "index.html"], &["A", "10", "run.sh"]]
    );
    assert_eq!(home.run(["diff", "--exit-code", "main~1", "main"]).code, Some(8));
    assert_eq!(home.run(["diff", "--exit-code", "main", "main"]).code, Some(0));
    assert_eq!(home.ok(["diff", "main~1:docs/deep", "main:docs/deep"]), "");
    let json = home.json(["diff", "main~1:docs", "main:docs"]);
    assert_eq!(json["changes"][0]["path"], "a.txt");
    assert!(json["changes"][0]["after"].is_null());
}

#[test]
fn which_finds_a_content_wherever_it_was() {
    let home = Home::with_revisions();
    home.write("site/copy.txt", b"a\n");
    home.ok(["push", "site", "-m", "third"]);
    home.write("a", b"a\n");
    let found = home.json(["which", "a"]);
    let short = |rev: &str| home.json(["resolve", rev])["revision"].clone();
    let expected = [(short("main"), "copy.txt"), (short("main~2"), "docs/a.txt")];
    let found: Vec<_> = found["found"].as_array().unwrap().iter().collect();
    assert_eq!(found.len(), 2);
    for (found, (revision, path)) in found.iter().zip(expected) {
        assert_eq!((&found["revision"], &found["path"]), (&revision, &path.into()));
    }
    // What no ref names any more is still there.
    home.ok(["ref", "delete", "main"]);
    let sha1 = format!("sha1:{}", freestone_core::digest::sha1(b"a\n"));
    assert_eq!(lines(&home.ok(["which", &sha1])).len(), 2);
    // The index knows what is in no revision: none is read.
    fs::remove_dir_all(home.path("store/packs")).unwrap();
    home.fails(3, ["which", &sha1]);
    home.fails(5, ["which", &format!("sha1:{}", freestone_core::digest::sha1(b"absent"))]);
}

#[test]
fn refs_are_set_listed_and_deleted() {
    let home = Home::with_revisions();
    home.ok(["ref", "set", "sites/a/www", "main~1", "--expect", "none"]);
    home.ok(["ref", "set", "sites/a/www", "main", "--expect", "main~1"]);
    home.fails(6, ["ref", "set", "sites/a/www", "main", "--expect", "main~1"]);
    let list = home.ok(["ref", "list"]);
    assert_eq!(lines(&list).len(), 2);
    assert!(list.contains("\nsites/a/www "), "{list}");
    home.fails(6, ["ref", "delete", "sites/a/www", "--expect", "main~1"]);
    home.ok(["ref", "delete", "sites/a/www", "--expect", "main"]);
    home.fails(5, ["resolve", "sites/a/www"]);
    let log = home.ok(["ref", "log", "sites/a/www"]);
    assert_eq!(lines(&log).len(), 3);
    assert!(log.starts_with("sites/a/www@3      deleted "), "{log}");
    for count in 0..4 {
        let first = home.ok(["ref", "log", "sites/a/www", "-n", &count.to_string()]);
        assert_eq!(lines(&first), lines(&log)[..count]);
    }
    home.fails(5, ["ref", "log", "sites/b/www", "-n", "0"]);
    assert_eq!(home.ok(["resolve", "sites/a/www@2"]), home.ok(["resolve", "main"]));
}

#[test]
fn names_of_pins_are_set_by_pins_alone() {
    let home = Home::with_revisions();
    home.ok(["init", "host", "--upstream", "store", "--host", "web-1"]);
    home.ok(["-s", "host", "fetch", "main", "--pin", "www"]);
    let list = home.ok(["ref", "list"]);
    for arguments in [
        &["push", "site", "--ref", "hosts/x"][..],
        &["push", "site", "--ref", "hosts/web-1/www"],
        &["push", "site", "-n", "--ref", "hosts/web-1/www"],
        &["ref", "set", "hosts/web-1/www", "main~1"],
        &["ref", "set", "hosts/web-1/new", "main"],
    ] {
        let said = home.fails(2, arguments);
        assert!(said.contains("cannot be set: names that begin with hosts/ are those of pins"));
        assert!(said.contains("hint: use another name"), "{said}");
    }
    assert_eq!(home.ok(["ref", "list"]), list);
    // They are read, copied, and deleted as any other ref: the host may be gone.
    home.ok(["image", "hosts/web-1/www", "-n"]);
    home.ok(["init", "copied"]);
    home.ok(["copy", "hosts/web-1/www", "--to", "copied"]);
    assert!(home.ok(["-s", "copied", "ref", "list"]).starts_with("hosts/web-1/www "));
    home.ok(["ref", "delete", "hosts/web-1/www"]);
    assert!(!home.ok(["ref", "list"]).contains("hosts/"));
}

#[test]
fn a_long_header_is_named_for_what_it_is() {
    let home = Home::with_revisions();
    let format = String::from_utf8(home.read("store/format")).unwrap();
    let padded = |text: &str| format!("{text}{}", "more: \u{e9}\u{e9}\u{e9}\n".repeat(10_000));
    home.write("store/format", padded(&format.replace("version: 1", "version: 2")).as_bytes());
    let said = home.fails(7, ["status"]);
    assert!(said.contains("the store is of format version 2, this program knows 1"), "{said}");
    assert!(said.contains("hint: use a newer freestone"), "{said}");
    home.write("store/format", "<html>\n".repeat(20_000).as_bytes());
    let said = home.fails(5, ["status"]);
    assert!(said.contains("is not that of a freestone store"), "{said}");
    home.write("store/format", padded(&format).as_bytes());
    let said = home.fails(3, ["status"]);
    assert!(said.contains("the file `format` of the store is damaged"), "{said}");
    assert!(said.contains("hint: bring it back from a copy of the store"), "{said}");
    home.write("store/format", format.as_bytes());
    home.ok(["status"]);
}

#[test]
fn status_verify_and_stats_agree_about_the_store() {
    let home = Home::with_revisions();
    let status = home.json(["status"]);
    let stats = home.json(["store", "stats"]);
    let verify = home.json(["verify", "--data"]);
    assert_eq!(status["store"], "store");
    assert_eq!((&status["revisions"], &stats["revisions"]), (&2.into(), &2.into()));
    assert_eq!((&verify["revisions"], &verify["finding_count"]), (&2.into(), &0.into()));
    for folder in ["packs", "index", "revisions", "refs"] {
        assert_eq!(status["bytes"][folder], stats["files"][folder]["bytes"], "{folder}");
    }
    let sums = status["bytes"].as_object().unwrap().values();
    let sum: u64 = sums.map(|bytes| bytes.as_u64().unwrap()).sum();
    assert_eq!(stats["stored_bytes"], sum);
    let before = home.ok(["ls", "-lR", "main"]);
    fs::remove_dir_all(home.path("store/index")).unwrap();
    assert_eq!(home.json(["store", "reindex"])["segments"], 1);
    assert_eq!(home.ok(["ls", "-lR", "main"]), before);
}

#[test]
fn the_store_is_found_where_it_is_said_to_be() {
    let home = Home::new();
    home.write("etc/config.toml", b"store = \"configured\"\n");
    home.write(".config/freestone/config.toml", b"store = \"/nonexistent\"\n");
    let place = |arguments: &[&str], set: &[(&str, &str)]| {
        let mut command = home.command(arguments);
        command.env_remove("FREESTONE_STORE").envs(set.iter().copied()).args(["init", "--json"]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        answer["store"].as_str().unwrap().to_owned()
    };
    let configured = &["--config", "etc/config.toml"][..];
    assert_eq!(place(configured, &[]), "etc/configured");
    assert_eq!(place(configured, &[("FREESTONE_STORE", "variable")]), "variable");
    assert_eq!(place(&["-s", "option"], &[("FREESTONE_STORE", "variable")]), "option");
    let xdg = home.path("xdg/freestone");
    fs::create_dir_all(&xdg).unwrap();
    fs::write(xdg.join("config.toml"), "store = \"mine\"").unwrap();
    let xdg_home = home.path("xdg");
    let mine = place(&[], &[("XDG_CONFIG_HOME", xdg_home.to_str().unwrap())]);
    assert_eq!(mine, xdg.join("mine").to_str().unwrap());
    home.write("empty.toml", b"");
    let state = home.path("state");
    let state = format!("{}:/other", state.display());
    assert_eq!(
        place(&["--config", "empty.toml"], &[("STATE_DIRECTORY", &state)]),
        home.path("state").to_str().unwrap()
    );
}

/// Every command that writes removes what killed ones left, and nothing else.
#[test]
fn commands_that_write_remove_what_killed_ones_left() {
    let home = Home::with_revisions();
    home.ok(["init", "other"]);
    for line in [
        &["copy", "main", "--to", "other"][..],
        &["-s", "other", "ref", "set", "x", "main"],
        &["-s", "other", "store", "reindex"],
        &["-s", "other", "store", "compact"],
        &["-s", "other", "push", "site"],
    ] {
        home.write("other/tmp/0123456789abcdef", b"left over");
        home.write("other/tmp/others", b"stays");
        home.ok(line);
        assert_eq!(home.names("other/tmp"), ["others"], "{line:?}");
    }
}
