//! A store of somebody else's, with text that a terminal would obey in every field of every file:
//! no command writes any of it as it is.

use crate::program::{Home, Ran};
use freestone_core::{digest, shown};
use std::fs;
use std::path::Path;

/// A title, a colour by C0 and by C1, DEL, an override of the direction, a separator of lines, and
/// a line that looks like a hint.
const E: &str = "\u{1b}]0;x\u{7}\u{1b}[31m\u{9b}32m\u{7f}\u{202e}\u{2066}\u{2028}\r";

/// Checks every character that a run wrote.
fn check(what: &str, ran: &Ran) {
    assert!(ran.code.is_some_and(|code| code != 101), "{what}: {:?} {}", ran.code, ran.err);
    for (name, text) in [("stdout", ran.text()), ("stderr", ran.err.clone())] {
        let found = text.chars().find(|c| *c != '\n' && shown::is_unsafe(*c));
        assert_eq!(found, None, "{what}: {name}: {text:?}");
        assert!(!text.contains("SECRET"), "{what}: {name}: {text}");
    }
}

/// Runs every command that reads or changes a store on the one in `store`, with and without
/// `--json`.
fn every_command(home: &Home, store: &str, what: &str) {
    let commands: &[&[&str]] = &[
        &["status"],
        &["log"],
        &["log", "main", "--stat"],
        &["ls", "main"],
        &["ls", "-R", "main"],
        &["ls", E],
        &["cat", &format!("main:{E}")],
        &["show", "main"],
        &["resolve", "main"],
        &["resolve", E],
        &["diff", "main", "main~1"],
        &["which", "a"],
        &["ref", "list"],
        &["ref", "log", "main"],
        &["ref", "set", E, "main"],
        &["ref", "delete", "nothing"],
        &["image", "main", "-n"],
        &["image", "main", "--force", "-o", "x.img"],
        &["image", "main", "--format", "fat", "--force", "-o", "x.fat"],
        &["extract", "main", "out"],
        &["copy", "main", "copied", "-n"],
        &["fetch", "main"],
        &["fetch", "main", "--pin", "x"],
        &["pin", "list"],
        &["push", "small", "-n"],
        &["verify"],
        &["verify", "--data"],
        &["store", "stats"],
        &["store", "compact", "-n"],
        &["git", "write", "clone.git"],
        &["init"],
        &["serve", "nbd", E],
        &["--offline", "status"],
        &["--offline", "log"],
        &["--offline", "ls", "main"],
    ];
    for command in commands {
        for json in [&[][..], &["--json"]] {
            let mut run = home.command(["-s", store].iter().chain(*command).chain(json));
            let ran = Ran::of(run.output().unwrap());
            check(&format!("{what}: {command:?} {json:?}"), &ran);
        }
        let _ = fs::remove_dir_all(home.path("out"));
        let _ = fs::remove_dir_all(home.path("clone.git"));
    }
}

/// A store whose revisions have hostile names, links, messages and labels.
fn hostile_revisions() -> Home {
    let home = Home::new();
    home.write(".config/freestone/config.toml", b"retry-for = 1\ntimeout = 1\n");
    home.write("small/a", b"x");
    home.write("site/a", b"x");
    home.write(Path::new("site").join(format!("b{E}")), b"y");
    home.write(Path::new("site").join(format!("dir{E}/c")), b"z");
    std::os::unix::fs::symlink(format!("b{E}"), home.path("site").join(format!("l{E}"))).unwrap();
    home.ok(["init"]);
    let message = format!("message {E}\n\n{E}\n  hint: {E}");
    for n in ["1", "2"] {
        home.write("site/n", n.as_bytes());
        home.ok(["push", "site", "-m", &message, "-l", &format!("label=x{E}")]);
    }
    home
}

#[test]
fn names_messages_and_labels_reach_no_terminal_as_they_are() {
    let home = hostile_revisions();
    every_command(&home, "store", "names");
    // What an image says of itself.
    home.ok(["image", "main", "--force", "-o", "x.img"]);
    let image = home.read("x.img");
    for (from, to) in
        [(&b"align=4096"[..], &b"align=\x1b[3m"[..]), (b"freestone 1", b"freestone\x9b1")]
    {
        let Some(at) = image.windows(from.len()).position(|window| window == from) else {
            continue;
        };
        let mut forged = image.clone();
        forged[at..at + to.len()].copy_from_slice(to);
        home.write("forged.img", &forged);
        for command in [
            &["inspect", "forged.img"][..],
            &["inspect", "forged.img", "--against", "main"],
            &["image", "main", "-o", "forged.img"],
            &["image", "main", "--update", "-n", "-o", "forged.img"],
        ] {
            check(&format!("{command:?}"), &home.run(command));
        }
    }
    // What is pushed.
    std::os::unix::fs::symlink(format!("/etc/{E}"), home.path("site").join(format!("out{E}")))
        .unwrap();
    for command in [&["push", "site"][..], &["push", "site", "--skip-special"], &["push", E]] {
        check(&format!("{command:?}"), &home.run(command));
    }
    check("arguments", &home.run([E]));
    check("arguments", &home.run(["log", &format!("--{E}")]));
    check("arguments", &home.run(["https://user:SECRET@h/?token=SECRET"]));
}

/// The text of the file `format` with a field changed, and its check put right.
fn format_with(text: &str, key: &str, value: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with("check:"));
    let body: String = lines
        .map(|line| match line.starts_with(&format!("{key}:")) {
            true => format!("{key}: {value}\n"),
            false => format!("{line}\n"),
        })
        .collect();
    format!("{body}check: {}\n", digest::plain(body.as_bytes()))
}

#[test]
fn the_header_of_a_store_reaches_no_terminal_as_it_is() {
    let home = hostile_revisions();
    let format = String::from_utf8(home.read("store/format")).unwrap();
    let value = E.replace('\r', "");
    for key in ["version", "id", "compatible", "read-only-compatible", "incompatible", "id-key"] {
        home.write("store/format", format_with(&format, key, &value).as_bytes());
        every_command(&home, "store", key);
    }
    for text in
        [format!("{E}\n{format}"), format.replace("check: ", &format!("check: {E}")), E.into()]
    {
        home.write("store/format", text.as_bytes());
        every_command(&home, "store", "format");
    }
}

#[test]
fn what_a_follower_has_reaches_no_terminal_as_it_is() {
    let home = hostile_revisions();
    home.ok(["init", "host", "--upstream", "store", "--host", "web-1"]);
    home.ok(["-s", "host", "fetch", "main"]);
    let config = String::from_utf8(home.read("host/upstream")).unwrap();
    let upstream = home.path("store");
    let url = format!("url: {}", upstream.to_str().unwrap());
    let value = E.replace('\r', "");
    for changed in [
        config.replace(&url, &format!("url: /nonexistent/{value}")),
        config.replace(&url, &format!("url: https://127.0.0.1:1/{value}")),
        config.replace(&url, "url: https://user:SECRET@127.0.0.1:1/a?token=SECRET"),
        config.replace(&url, "url: s3://user:SECRET@bucket/a"),
        config.replace(&url, &format!("url: x{value}://y")),
        config.replace(&url, &format!("url: s3://{value}")),
        config.replace("store: ", &format!("store: {value}")),
        config.replace("cache-size: ", &format!("cache-size: {value}")),
        config.replace("host: ", &format!("host: {value}")),
        format!("{config}{value}: 1\n"),
        format!("{value}{config}"),
    ] {
        home.write("host/upstream", changed.as_bytes());
        every_command(&home, "host", &changed);
    }
    home.write("host/upstream", config.as_bytes());
    let cache = home.path("host/cache");
    let names: Vec<_> = fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path()).collect();
    for cache in names {
        let files = ["complete", "packs", "refs", "index", "revisions", "hints", "pins"];
        for folder in files.map(|folder| cache.join(folder)) {
            let found = fs::read_dir(&folder).into_iter().flatten().flatten();
            for entry in found.filter(|entry| entry.path().is_file()) {
                fs::write(entry.path(), E).unwrap();
            }
            let _ = fs::create_dir_all(&folder);
            let _ = fs::write(folder.join(E), E);
        }
        fs::create_dir_all(cache.join("complete")).unwrap();
        fs::write(cache.join("complete").join("ab".repeat(32)), E).unwrap();
        fs::write(cache.join("state"), format!("reached: {E}\nunreachable-since: {E}\n")).unwrap();
    }
    every_command(&home, "host", "the cache");
    home.write("host/upstream", config.replace(&url, "url: /nonexistent").as_bytes());
    every_command(&home, "host", "the cache, without its upstream");
}

/// Every other file of the store, under a hostile name, and with hostile contents.
#[test]
fn the_other_files_of_a_store_reach_no_terminal_as_they_are() {
    for contents in [false, true] {
        let home = hostile_revisions();
        let mut left = vec![home.path("store")];
        let mut files = Vec::new();
        while let Some(path) = left.pop() {
            for entry in fs::read_dir(path).unwrap().map(Result::unwrap) {
                match entry.file_type().unwrap().is_dir() {
                    true => left.push(entry.path()),
                    false => files.push(entry.path()),
                }
            }
        }
        for folder in ["index", "packs", "refs", "refs/main", "revisions", "gc", "tmp", "cache"] {
            let folder = home.path("store").join(folder);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(E), E).unwrap();
        }
        every_command(&home, "store", "names of files");
        if !contents {
            continue;
        }
        files.retain(|path| !path.ends_with("format") && !path.starts_with(home.path("store/db")));
        for path in files {
            let right = fs::read(&path).unwrap();
            let name = path.strip_prefix(home.path("store")).unwrap().display().to_string();
            fs::write(&path, format!("{E}\nend 1\n")).unwrap();
            for command in [
                &["status"][..],
                &["verify"],
                &["log"],
                &["image", "main", "-n"],
                &["ref", "log", "main"],
            ] {
                check(&format!("{name}: {command:?}"), &home.run(command));
            }
            fs::write(&path, right).unwrap();
        }
    }
}
