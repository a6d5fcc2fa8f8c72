//! Images: of revisions, of parts of them, of directories without any store; and what `inspect`
//! says of them.

use crate::program::{self, Home, Ran};
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::{Command, Stdio};
use std::time::{Duration, UNIX_EPOCH};

fn set_time(home: &Home, name: &str, seconds: u64) {
    let file = fs::File::open(home.path(name)).unwrap();
    file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
}

/// Members as the `tar` crate reads them: path, time, mode, contents.
fn members(image: &[u8]) -> Vec<(String, u64, u32, Vec<u8>)> {
    let mut archive = tar::Archive::new(image);
    let mut members = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let (mtime, mode) = (entry.header().mtime().unwrap(), entry.header().mode().unwrap());
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        if path != "./" && !entry.header().entry_type().is_pax_global_extensions() {
            members.push((path, mtime, mode, bytes));
        }
    }
    members
}

#[test]
fn the_image_of_a_directory_needs_no_store_and_has_the_files_own_times() {
    let home = Home::new();
    home.write("site/a/old", b"old");
    home.write("site/a/b/new", b"new");
    home.write("site/run", b"#!/bin/sh\n");
    home.set_mode("site/run", 0o700);
    home.write("site/large", &vec![5; 3 << 20]);
    fs::create_dir(home.path("site/empty")).unwrap();
    std::os::unix::fs::symlink("a/old", home.path("site/link")).unwrap();
    for (name, time) in [("a/old", 1000), ("a/b/new", 2000), ("run", 3000), ("large", 4000)] {
        set_time(&home, &format!("site/{name}"), time);
    }
    let image = |arguments: &[&str]| {
        let mut command = home.command(["image", "./site", "-o", "site.img"]);
        let output = command.args(arguments).env_remove("SOURCE_DATE_EPOCH").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        home.read("site.img")
    };
    let found = members(&image(&[]));
    let listed: Vec<_> =
        found.iter().map(|(path, time, mode, _)| (&**path, *time, *mode)).collect();
    assert_eq!(
        listed,
        [
            ("a/", 2000, 0o755),
            ("a/b/", 2000, 0o755),
            ("a/b/new", 2000, 0o644),
            ("a/old", 1000, 0o644),
            ("empty/", 0, 0o755),
            ("large", 4000, 0o644),
            ("link", 1000, 0o644),
            ("run", 3000, 0o755),
        ]
    );
    assert!(found[5].3 == vec![5; 3 << 20] && found[6].3 == b"old");
    let times = |image: &[u8]| -> Vec<u64> { members(image).iter().map(|m| m.1).collect() };
    assert_eq!(times(&image(&["--mtime", "7"])), [7; 8]);
    // The one of the environment.
    home.ok(["image", "./site", "-o", "epoch.img"]);
    assert_eq!(times(&home.read("epoch.img")), [1_700_000_000; 8]);
}

#[test]
fn the_image_of_a_directory_is_that_of_its_revision() {
    let home = Home::with_revisions();
    home.ok(["push", "site", "--mtime", "77", "--ref", "fixed"]);
    home.ok(["image", "fixed", "-o", "a.img"]);
    home.ok(["image", "./site", "--mtime", "77", "-o", "b.img"]);
    assert!(home.read("a.img") == home.read("b.img"));
    home.ok(["inspect", "b.img", "--against", "fixed"]);
    // And that of a part is that of the directory by itself.
    home.ok(["image", "fixed:docs", "-o", "a.img"]);
    home.ok(["image", "./site/docs", "--mtime", "77", "-o", "b.img"]);
    assert!(home.read("a.img") == home.read("b.img"));
    home.ok(["inspect", "a.img", "--against", "fixed:docs"]);
}

#[test]
fn an_image_of_a_directory_is_frozen() {
    let home = Home::new();
    home.write("site/index.html", b"<h1>freestone</h1>\n");
    home.write("site/empty", b"");
    home.write(
        "site/docs/large.bin",
        &(0..2_000_000u32).map(|n| (u64::from(n).pow(2) >> 9).to_le_bytes()[0]).collect::<Vec<_>>(),
    );
    let digest = home.ok(["image", "./site", "--digest"]);
    assert_eq!(
        digest,
        "blake3  325deb4fc217b1ecdf116d5853ed234dda5ba80efd346fe81ac2ac5491ee7544\nsha256  549030432e0d39f69d1e7889f542af870f83482482376fd37b80296a567b3d3e\nlength  2011136\n"
    );
}

#[test]
fn a_digest_is_what_the_tools_print() {
    let home = Home::with_revisions();
    let digest = home.json(["image", "main", "--digest"]);
    assert!(digest["output"].is_null() && digest["written"].is_null());
    home.ok(["image", "main", "-o", "main.img"]);
    let image = home.read("main.img");
    assert_eq!(digest["length"], image.len() as u64);
    assert_eq!(digest["blake3"], freestone_core::digest::plain(&image).to_string());
    let sha256 = Command::new("sha256sum").arg(home.path("main.img")).output().unwrap();
    let sha256 = String::from_utf8(sha256.stdout).unwrap();
    assert_eq!(digest["sha256"], sha256.split(' ').next().unwrap());
    let piped = home.run(["image", "main", "-o", "-", "--digest"]);
    assert!(piped.out == image);
    assert!(piped.err.contains(&format!("sha256  {}", digest["sha256"].as_str().unwrap())));
}

#[test]
fn sizes_and_alignment_are_what_was_asked_for() {
    let home = Home::with_revisions();
    for (arguments, length) in [
        (&["--pad-to", "1M"][..], 1 << 20),
        (&["--size", "3MiB"], 3 << 20),
        (&["--pad-to", "128K", "--align", "none"], 128 << 10),
    ] {
        home.ok(["image", "main", "-o", "x.img"].iter().chain(arguments));
        assert_eq!(home.read("x.img").len(), length);
        home.ok(["inspect", "x.img", "--against", "main"]);
    }
    let offset = |image: &[u8]| image.windows(4).position(|bytes| bytes == b"bbbb").unwrap();
    assert_ne!(offset(&home.read("x.img")) % 4096, 0);
    home.ok(["image", "main", "-o", "x.img"]);
    assert_eq!(offset(&home.read("x.img")) % 4096, 0);
}

#[test]
fn a_dry_run_writes_nothing_and_tells_what_would_be_refused() {
    let home = Home::with_revisions();
    let would = home.ok(["image", "main", "-o", "x.img", "-n"]);
    assert!(would.contains("\nentries  5\n") && would.ends_with("\noutput   x.img\n"), "{would}");
    assert!(!home.path("x.img").exists());
    home.write("plain", b"mine\n");
    home.fails(7, ["image", "main", "-o", "plain", "-n"]);
    home.ok(["image", "main", "-o", "plain", "-n", "--force"]);
    assert_eq!(home.read("plain"), b"mine\n");
}

#[test]
fn a_target_gives_way_only_if_it_is_an_image() {
    let home = Home::with_revisions();
    home.ok(["image", "main~1", "-o", "x.img"]);
    let before = fs::metadata(home.path("x.img")).unwrap().ino();
    home.ok(["image", "main", "-o", "x.img"]);
    home.ok(["inspect", "x.img", "--against", "main"]);
    assert_ne!(fs::metadata(home.path("x.img")).unwrap().ino(), before, "written beside, renamed");
    home.write("plain", b"mine\n");
    home.fails(7, ["image", "main", "-o", "plain"]);
    home.ok(["image", "main", "-o", "plain", "--force", "--read-back"]);
    home.ok(["inspect", "plain", "--against", "main"]);
}

#[test]
fn inspect_tells_what_something_is_and_where_it_differs() {
    let home = Home::with_revisions();
    home.ok(["image", "main", "-o", "x.img"]);
    let file = fs::OpenOptions::new().write(true).open(home.path("x.img")).unwrap();
    let content = home.read("x.img").windows(4).position(|bytes| bytes == b"bbbb").unwrap();
    file.write_all_at(b"B", content as u64 + 5).unwrap();
    home.ok(["inspect", "x.img"]);
    let ran = home.run(["inspect", "x.img", "--against", "main", "--json"]);
    assert_eq!(ran.code, Some(3));
    let answer: serde_json::Value = serde_json::from_slice(&ran.out).unwrap();
    assert_eq!(answer["against"]["offset"], content as u64 + 5);
    assert_eq!(answer["against"]["path"], "docs/deep/b.txt");
    let other = home.run(["inspect", "x.img", "--against", "main~1"]);
    assert!(other.text().contains(": a different image; its root would be "), "{}", other.text());
    // A rule that is broken.
    file.write_all_at(b"9", 2048 + 104).unwrap();
    let ran = home.run(["inspect", "x.img", "--json"]);
    assert_eq!(ran.code, Some(3));
    let answer: serde_json::Value = serde_json::from_slice(&ran.out).unwrap();
    assert!(answer["violation_count"].as_u64().unwrap() > 0);
    assert!(answer["violations"][0]["rule"].is_string());
    // Other things.
    home.write("blank", &[0; 8192]);
    home.write("gzip", b"\x1f\x8bxxxxxx");
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_dir_all("docs", home.path("site/docs")).unwrap();
    home.write("other.tar", &archive.into_inner().unwrap());
    for (name, kind, code) in
        [("blank", "blank", 1), ("gzip", "other", 1), ("other.tar", "archive", 3)]
    {
        let ran = home.run(["inspect", name, "--json"]);
        let answer: serde_json::Value = serde_json::from_slice(&ran.out).unwrap();
        assert_eq!((&answer["kind"], ran.code), (&kind.into(), Some(code)), "{answer}");
    }
}

#[test]
fn a_file_that_changes_between_reading_and_writing_is_named() {
    let home = Home::new();
    // Far more than the pipe and all workers hold, so that nobody reads `z` before it changes.
    let mut content = vec![1; 128 << 20];
    home.write("site/a", &content);
    home.write("site/z", b"as it was");
    let mut command = home.command(["image", "./site", "-o", "-"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    std::io::Read::read_exact(&mut stdout, &mut content[..4096]).unwrap();
    home.write("site/z", b"otherwise");
    std::io::copy(&mut stdout, &mut std::io::sink()).unwrap();
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(6), "{}", ran.err);
    assert!(ran.err.contains("file z changed while the image was made\n"), "{}", ran.err);
}

#[test]
fn an_interrupt_leaves_nothing_behind() {
    let home = Home::new();
    home.write("site/a", b"a");
    // A terabyte of zeros is read for longer than anybody waits.
    fs::File::create(home.path("site/huge")).unwrap().set_len(1 << 40).unwrap();
    let mut command = home.command(["image", "./site", "-o", "x.img"]);
    let child = command.stderr(Stdio::piped()).spawn().unwrap();
    program::until_it_catches(child.id(), 2);
    std::thread::sleep(Duration::from_millis(300));
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.err.as_str()), (Some(130), "freestone: interrupted\n"));
    assert_eq!(home.names(""), ["site"]);
}

#[test]
fn an_image_to_a_terminal_is_refused() {
    let home = Home::with_revisions();
    let program = env!("CARGO_BIN_EXE_freestone");
    // `script` gives the program a terminal.
    let line = format!("{program} image main -o -; echo code $?");
    let mut command = home.command(["--version"]);
    let environment: Vec<_> =
        command.get_envs().map(|(k, v)| (k.to_owned(), v.map(ToOwned::to_owned))).collect();
    command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).current_dir(home.path(""));
    for (key, value) in environment {
        command.env(key, value.unwrap());
    }
    let Ok(output) = command.stdin(Stdio::null()).output() else {
        eprintln!("`script` is missing: nothing is tested with a terminal");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("freestone: a binary image is not written to a terminal"), "{text}");
    assert!(text.contains("code 7"), "{text}");
}

/// A directory that is named without `./` is taken for a revision. Whatever is wrong with that, the
/// other meaning is named.
#[test]
fn a_directory_named_like_a_revision_is_hinted_at() {
    let home = Home::new();
    home.write("site/index.html", b"x");
    let image = ["image", "site", "-o", "www.img"];
    let hint = "write ./site for the local directory";
    let said = home.fails(5, image);
    assert!(said.contains(hint), "without a store: {said}");
    home.ok(["init"]);
    let said = home.fails(5, image);
    assert!(said.contains(hint), "without such a ref: {said}");
    let mut command = home.command(image);
    let output = command.env_remove("FREESTONE_STORE").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(hint), "without a store being named: {said}");
}
