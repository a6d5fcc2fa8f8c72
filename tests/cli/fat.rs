//! FAT images by the program: of revisions, of parts of them, of directories without any store; and
//! what `inspect` says of them.

use crate::program::Home;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

/// Runs a program that reads FAT, which Debian has in dosfstools and mtools.
fn run(command: &mut Command) -> String {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let output = command.env("PATH", path).env("LC_ALL", "C.UTF-8").output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {told}{failed}");
    told
}

/// The files below a folder.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        for entry in fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read(path).unwrap());
            }
        }
    }
    found
}

/// Checks that other programs read from an image what stands in a folder.
fn assert_holds(home: &Home, image: &str, folder: &str) {
    let image = home.path(image);
    run(Command::new("fsck.fat").arg("-n").arg(&image));
    let out = tempfile::tempdir().unwrap();
    run(Command::new("mcopy")
        .args(["-s", "-Q", "-n", "-i"])
        .arg(&image)
        .arg("::/")
        .arg(out.path()));
    assert!(files(out.path()) == files(&home.path(folder)), "{folder}");
}

#[test]
fn images_of_revisions_parts_and_directories_hold_their_files() {
    let home = Home::with_revisions();
    for options in
        [&[][..], &["--profile", "mirage"], &["--fat-type", "32"], &["--block-size", "4096"]]
    {
        let image = |subject: &str, name: &str| {
            let given = ["image", subject, "--format", "fat", "-o", name];
            home.ok(given.iter().chain(options));
        };
        image("main", "a.img");
        assert_holds(&home, "a.img", "site");
        home.ok(["inspect", "a.img", "--against", "main"]);
        image("main:docs", "b.img");
        assert_holds(&home, "b.img", "site/docs");
        home.ok(["inspect", "b.img", "--against", "main:docs"]);
        image("./site", "c.img");
        assert_holds(&home, "c.img", "site");
    }
}

#[test]
fn the_image_of_a_directory_is_that_of_its_revision() {
    let home = Home::with_revisions();
    home.ok(["push", "site", "--mtime", "1700000000", "--ref", "fixed"]);
    home.ok(["image", "fixed", "--format", "fat", "-o", "a.img"]);
    home.ok(["image", "./site", "--format", "fat", "--mtime", "1700000000", "-o", "b.img"]);
    assert!(home.read("a.img") == home.read("b.img"));
    let piped = home.run(["image", "fixed", "--format", "fat", "-o", "-"]);
    assert!(piped.out == home.read("a.img"));
    // A tar image gives way to it, and it to a tar image.
    home.ok(["image", "fixed", "-o", "a.img"]);
    home.ok(["image", "fixed", "--format", "fat", "-o", "a.img"]);
    assert!(home.read("a.img") == home.read("b.img"));
}

#[test]
fn sizes_free_space_and_types_are_what_was_asked_for() {
    let home = Home::with_revisions();
    for (options, length, fat_type) in [
        (&["--size", "8M"][..], 8 << 20, "12 bit"),
        (&["--size", "32M"], 32 << 20, "16 bit"),
        (&["--pad-to", "1M"], 1 << 20, "12 bit"),
        (&["--fat-type", "16", "--size", "3M"], 3 << 20, "16 bit"),
        (&["--free", "300M", "--pad-to", "1M"], 301 << 20, "32 bit"),
    ] {
        home.ok(["image", "main", "--format", "fat", "-o", "x.img"].iter().chain(options));
        assert_eq!(fs::metadata(home.path("x.img")).unwrap().len(), length);
        let told = run(Command::new("fsck.fat").args(["-n", "-v"]).arg(home.path("x.img")));
        assert!(told.contains(fat_type), "{options:?}: {told}");
        home.ok(["inspect", "x.img", "--against", "main"]);
    }
    // The free space is there for who writes.
    home.write("more", &vec![7; 300 << 20]);
    let mut copy = Command::new("mcopy");
    run(copy.arg("-i").arg(home.path("x.img")).arg(home.path("more")).arg("::/"));
    let refused =
        home.fails(7, ["image", "main", "--format", "fat", "--size", "4096", "-o", "y.img"]);
    assert!(refused.contains("give --size "), "{refused}");
    assert!(!home.path("y.img").exists());
}

#[test]
fn what_fat_cannot_hold_is_refused_with_every_path_before_anything_is_written() {
    let home = Home::new();
    home.write("site/Index.html", b"1");
    home.write("site/index.html", b"2");
    home.write("site/docs/a:b", b"3");
    home.write("site/docs/fine", b"4");
    let refused = home.fails(7, ["image", "./site", "--format", "fat", "-o", "x.img"]);
    for line in [
        "FAT cannot hold 2 of the paths:\n",
        "\n  docs/a:b holds one of",
        "\n  index.html differs from Index.html by case alone\n",
    ] {
        assert!(refused.contains(line), "{refused}");
    }
    assert!(!home.path("x.img").exists());
    home.write("ascii/é", b"5");
    home.ok(["image", "./ascii", "--format", "fat", "-o", "x.img"]);
    let strict = ["image", "./ascii", "--format", "fat", "--profile", "mirage", "-o", "y.img"];
    assert!(home.fails(7, strict).contains("é is not ASCII"));
}

#[test]
fn options_of_another_format_are_a_usage_error() {
    let home = Home::with_revisions();
    for (options, told) in [
        (&["--free", "1M"][..], "--free applies only to --format fat"),
        (&["--profile", "mirage"], "--profile applies only to --format fat"),
        (&["--format", "fat", "--align", "none"], "--align applies only to --format tar"),
        (&["--format", "fat", "--block-size", "1024"], "a block size of 1024 bytes"),
        (&["--format", "fat", "--profile", "mirage", "--fat-type", "32"], "does not take FAT32"),
        (&["--format", "fat", "--size", "1000"], "not a multiple of 4096"),
        (&["--format", "iso"], "invalid value 'iso'"),
    ] {
        let failed = home.fails(2, ["image", "main", "-o", "x.img"].iter().chain(options));
        assert!(failed.contains(told), "{failed}");
    }
}

#[test]
fn inspect_tells_what_a_file_system_is_and_where_it_differs() {
    let home = Home::with_revisions();
    home.ok(["image", "main", "--format", "fat", "-o", "x.img"]);
    let answer = home.json(["inspect", "x.img", "--against", "main"]);
    assert_eq!(answer["kind"], "image");
    assert_eq!((&answer["files"], &answer["directories"]), (&3.into(), &2.into()));
    assert!(answer["image"].as_str().unwrap().starts_with("freestone 1 fat profile=any;"));
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
    // A table that differs from its copy.
    file.write_all_at(&[0x77], 4096 + 3).unwrap();
    let ran = home.run(["inspect", "x.img"]);
    assert_eq!(ran.code, Some(3));
    assert!(ran.text().contains("tables-equal at byte "), "{}", ran.text());
    // Another program's.
    let other = fs::File::create(home.path("other.img")).unwrap();
    other.set_len(2 << 20).unwrap();
    run(Command::new("mkfs.fat").arg(home.path("other.img")));
    let answer = home.json(["inspect", "other.img"]);
    assert_eq!((&answer["kind"], &answer["violation_count"]), (&"filesystem".into(), &0.into()));
    home.fails(7, ["image", "main", "--format", "fat", "-o", "other.img"]);
}

/// Names of DOS's devices are written, since all readers but Windows open them, and it is said.
#[test]
fn names_that_windows_cannot_open_are_told() {
    let home = Home::new();
    home.write("site/js/aux.js", b"a");
    home.write("site/con", b"c");
    home.write("site/constant", b"d");
    let image = ["image", "./site", "--format", "fat", "-o", "www.img"];
    let ran = home.run(image);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let note = "con and 1 more: Windows cannot open them";
    assert!(ran.err.contains(note), "{}", ran.err);
    assert!(home.ok(["inspect", "www.img"]).contains(&format!("note     {note}")));
    for command in [&image[..], &["inspect", "www.img"]] {
        let notes = &home.json(command)["notes"];
        assert!(notes[0].as_str().unwrap().starts_with(note), "{notes}");
    }
    // MirageOS is the only reader of this profile; and tar has no such names.
    for options in [&["--format", "fat", "--profile", "mirage"][..], &["--format", "tar"]] {
        let ran = home.run(["image", "./site", "-o", "www.img"].iter().chain(options));
        assert!(ran.code == Some(0) && !ran.err.contains("Windows"), "{}", ran.err);
        assert_eq!(home.json(["inspect", "www.img"])["notes"], serde_json::json!([]));
    }
}
