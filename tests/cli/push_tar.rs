//! Archives as revisions: what real programs write, in any order, compressed or not, and what
//! hostile ones would.

use crate::support::{self, freestone, git_tree_in, output};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

struct Place(tempfile::TempDir);

/// A name, a type flag, the name of what is linked to, and the bytes.
type Member<'a> = (&'a [u8], u8, &'a [u8], &'a [u8]);

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

    fn push(&self, archive: &Path, arguments: &[&str]) -> (Result<String, i32>, String) {
        let mut push = freestone(&self.store());
        let pushed = push.args(["push", "--no-ref"]).args(arguments).arg(archive).output().unwrap();
        let said = String::from_utf8_lossy(&pushed.stderr).into_owned();
        match pushed.status.success() {
            true => (Ok(String::from_utf8(pushed.stdout).unwrap().trim().to_owned()), said),
            false => (Err(pushed.status.code().unwrap()), said),
        }
    }

    fn extracted(&self, revision: &str) -> PathBuf {
        let to = self.at("out");
        let _ = std::fs::remove_dir_all(&to);
        output(freestone(&self.store()).args(["-q", "extract", revision]).arg(&to));
        to
    }

    /// An archive of members that are written as they are told.
    fn forged(&self, members: &[Member<'_>]) -> PathBuf {
        let mut bytes = Vec::new();
        for (path, kind, link, data) in members {
            let mut header = tar::Header::new_ustar();
            let raw = header.as_mut_bytes();
            raw[..path.len()].copy_from_slice(path);
            raw[157..157 + link.len()].copy_from_slice(link);
            header.set_mode(0o644);
            header.set_size(data.len() as u64);
            header.set_entry_type(tar::EntryType::new(*kind));
            header.set_cksum();
            bytes.extend_from_slice(header.as_bytes());
            bytes.extend_from_slice(data);
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
        bytes.resize(bytes.len() + 1024, 0);
        let place = self.at("forged.tar");
        std::fs::write(&place, bytes).unwrap();
        place
    }
}

/// A directory with what archives may hold.
fn grow(top: &Path) {
    let write = |path: &str, bytes: &[u8]| {
        let path = top.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    write("index.html", b"hello");
    write("a/b/c.txt", b"deep");
    write("a.txt", b"beside a");
    write("empty", b"");
    write("caf\u{e9}/na\u{ef}ve.txt", b"names");
    write(&format!("{}/{}", "long".repeat(40), "name".repeat(40)), b"long names");
    let large: Vec<u8> =
        (0..3_000_000u32).flat_map(|n| (n.wrapping_mul(2_654_435_761)).to_le_bytes()).collect();
    write("large.bin", &large[..5_000_000]);
    write("run", b"#!/bin/sh");
    std::fs::set_permissions(top.join("run"), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::create_dir(top.join("nothing")).unwrap();
    symlink("../a.txt", top.join("a/link")).unwrap();
    std::fs::hard_link(top.join("index.html"), top.join("a/again.html")).unwrap();
}

#[test]
fn archives_of_real_programs_are_what_their_directory_is() {
    let place = Place::new();
    let top = place.at("top");
    grow(&top);
    let mut push = freestone(&place.store());
    let directory =
        output(push.env("SOURCE_DATE_EPOCH", "1000").args(["push", "--no-ref"]).arg(&top));
    let expected = git_tree_in(&place.extracted(directory.trim()));
    let script = "import sys, tarfile\nt = tarfile.open(sys.argv[1], 'w', format=int(sys.argv[2]))\n\
                  t.add(sys.argv[3], arcname='.')\nt.close()";
    let tar = |arguments: &[&str]| {
        let mut tar = Command::new("tar");
        tar.args(arguments).arg("-C").arg(&top).args(["-cf"]).arg(place.at("x.tar")).arg(".");
        tar
    };
    let mut writers: Vec<Command> = vec![
        tar(&["--format=gnu"]),
        tar(&["--format=posix"]),
        tar(&["--format=gnu", "--sort=name", "-z"]),
        tar(&["--format=posix", "--zstd"]),
    ];
    for format in ["gnutar", "pax", "ustar"] {
        let mut tar = Command::new("bsdtar");
        if format == "ustar" {
            // It cannot hold the long names.
            tar.args(["--exclude", "*long*"]);
        }
        tar.args(["--format", format, "-C"]).arg(&top).arg("-cf").arg(place.at("x.tar")).arg(".");
        writers.push(tar);
    }
    for format in ["1", "2"] {
        let mut python = Command::new("python3");
        python.args(["-c", script]).arg(place.at("x.tar")).arg(format).arg(&top);
        writers.push(python);
    }
    for writer in &mut writers {
        let made = writer.output().unwrap();
        assert!(made.status.success(), "{writer:?}: {}", String::from_utf8_lossy(&made.stderr));
        let (revision, said) = place.push(&place.at("x.tar"), &[]);
        let revision = revision.unwrap_or_else(|_| panic!("{writer:?}: {said}"));
        let mut found = git_tree_in(&place.extracted(&revision));
        if format!("{writer:?}").contains("ustar") {
            found.extend(
                expected
                    .iter()
                    .filter(|(path, _)| path.starts_with(b"long"))
                    .map(|(p, f)| (p.clone(), f.clone())),
            );
        } else {
            assert!(place.at("out/nothing").is_dir());
        }
        assert_eq!(found, expected, "{writer:?}");
        // By way of the standard input, the same; and link texts are kept.
        let mut push = freestone(&place.store());
        push.args(["push", "--no-ref", "-"]).stdin(std::fs::File::open(place.at("x.tar")).unwrap());
        let piped = output(&mut push);
        let digest = |revision: &str| {
            let shown = output(freestone(&place.store()).args(["--json", "show", revision]));
            serde_json::from_str::<serde_json::Value>(&shown).unwrap()["content_digest"].clone()
        };
        assert_eq!(digest(piped.trim()), digest(&revision), "{writer:?}");
        if !format!("{writer:?}").contains("ustar") {
            assert_eq!(digest(directory.trim()), digest(&revision), "{writer:?}");
        }
    }
    // A second push of the same to a ref is up to date, and what changed keeps other times.
    output(freestone(&place.store()).args(["push"]).arg(place.at("x.tar")));
    let again = freestone(&place.store()).args(["push"]).arg(place.at("x.tar")).output().unwrap();
    assert!(String::from_utf8_lossy(&again.stderr).contains("up to date"));
    output(freestone(&place.store()).args(["verify", "--data"]));
}

#[test]
fn git_archive_is_pushed_through_a_pipe() {
    let place = Place::new();
    let site = place.at("site");
    support::git(place.0.path(), &["init", "-q", "site"]);
    std::fs::create_dir(site.join("d")).unwrap();
    std::fs::write(site.join("d/f"), "x").unwrap();
    support::git(&site, &["add", "."]);
    support::git(&site, &["-c", "user.name=x", "-c", "user.email=y", "commit", "-qm", "m"]);
    let mut archive = Command::new("git");
    let mut archive = archive
        .current_dir(&site)
        .args(["archive", "HEAD"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut push = freestone(&place.store());
    let revision = output(push.args(["push", "-"]).stdin(archive.stdout.take().unwrap()));
    assert!(archive.wait().unwrap().success());
    let tree = git_tree_in(&place.extracted(revision.trim()));
    assert_eq!(tree, support::git_tree_of(&site, "HEAD"));
}

#[test]
fn hostile_and_odd_members_are_refused_by_name() {
    let place = Place::new();
    let archive = place.forged(&[
        (b"good", b'0', b"", b"fine"),
        (b"../out", b'0', b"", b"x"),
        (b"/etc/passwd", b'0', b"", b"x"),
        (b"a/../../b", b'0', b"", b"x"),
        (b"device", b'3', b"", b""),
        (b"pipe", b'6', b"", b""),
        (b"out-link", b'2', b"../../etc/passwd", b""),
        (b"dangling", b'2', b"nothing", b""),
        (b"round", b'2', b"round", b""),
        (b"dir/x", b'0', b"", b"x"),
        (b"to-dir", b'2', b"dir", b""),
        (b"hard-to-nothing", b'1', b"nothing", b""),
        (b"good/below", b'0', b"", b"x"),
        (b"sparse", b'S', b"", b""),
        (b"more", b'M', b"", b""),
    ]);
    let (refused, said) = place.push(&archive, &[]);
    assert_eq!(refused, Err(7), "{said}");
    for line in [
        "../out: a path that leads out",
        "/etc/passwd: a path",
        "a/../../b: a path",
        "device: a device",
        "pipe: a device, pipe",
        "out-link: a link that leads out",
        "dangling: a link that leads nowhere",
        "round: a link that leads in a circle",
        "to-dir: a link to a directory",
        "hard-to-nothing: a hard link",
        "good/below: a path below a file",
        "sparse: a sparse",
        "more: a file that began",
    ] {
        let line = line.replace("pipe: a device, pipe", "pipe: a pipe");
        let line = line.replace("pipe: a pipe", "pipe: ");
        assert!(said.contains(&line), "{line}: {said}");
    }
    assert!(said.contains("13 paths cannot be pushed"), "{said}");
    let (revision, said) = place.push(&archive, &["--skip-special"]);
    let out = place.extracted(&revision.unwrap());
    let mut names: Vec<_> =
        std::fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["dir", "good"], "{said}");
}

#[test]
fn the_last_of_a_path_counts_and_directories_are_made() {
    let place = Place::new();
    let archive = place.forged(&[
        (b"z/y/x", b'0', b"", b"implied"),
        (b"twice", b'0', b"", b"first"),
        (b"./b//c/.", b'5', b"", b""),
        (b"once", b'0', b"", b"target"),
        (b"hard", b'1', b"once", b""),
        (b"harder", b'1', b"./hard", b""),
        (b"soft", b'2', b"hard", b""),
        (b"twice", b'0', b"", b"second"),
        (b"a", b'0', b"", b"before its turn"),
        (b"CVS/Entries", b'0', b"", b"D\n"),
        (b"CVS/left", b'0', b"", b"out"),
        (b"log.bak", b'0', b"", b"out"),
    ]);
    let (revision, said) = place.push(&archive, &["--exclude", "*.bak"]);
    let out = place.extracted(&revision.unwrap_or_else(|_| panic!("{said}")));
    let read = |path: &str| std::fs::read_to_string(out.join(path)).unwrap();
    assert_eq!(read("z/y/x"), "implied");
    assert_eq!(read("twice"), "second");
    assert!(out.join("b/c").is_dir());
    assert_eq!([read("hard"), read("harder"), read("soft")], ["target", "target", "target"]);
    assert!(!out.join("CVS").exists() && !out.join("log.bak").exists());
    // Which of two was meant is not known.
    let archive =
        place.forged(&[(b"t", b'0', b"", b"1"), (b"h", b'1', b"t", b""), (b"t", b'0', b"", b"2")]);
    let (refused, said) = place.push(&archive, &[]);
    assert!(refused.is_err() && said.contains("h: a hard link"), "{said}");
}

#[test]
fn what_is_no_archive_is_said_to_be_none() {
    let place = Place::new();
    let file = place.at("file");
    let said = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        let (refused, said) = place.push(&file, &[]);
        assert!(refused.is_err(), "{said}");
        said
    };
    assert!(said(b"").contains("is empty"));
    assert!(said(b"hello").contains("is not a tar archive"));
    assert!(said(&[b'x'; 2000]).contains("is not a tar archive"));
    assert!(said(b"\xfd7zXZ\0....").contains("compressed by xz"));
    assert!(said(b"PK\x03\x04....").contains("zip"));
    let whole =
        std::fs::read(place.forged(&[(b"a", b'0', b"", &[7; 2000]), (b"b", b'0', b"", b"b")]))
            .unwrap();
    // Cut in a member, between two, or before the end marks: nothing is pushed, and no ref named.
    for cut in [100, 512, 600, 2_559, 2_561, 3_000] {
        said(&whole[..cut]);
    }
    for cut in [2_560, 3_584] {
        let said = said(&whole[..cut]);
        assert!(said.contains("ends without an end mark"), "{cut}: {said}");
        assert!(said.contains("(cat FILE; head -c 1024 /dev/zero) | freestone push -"), "{said}");
    }
    // One of the two marks is enough.
    std::fs::write(&file, &whole[..3_584 + 512]).unwrap();
    let (revision, said_of_one) = place.push(&file, &[]);
    assert!(revision.is_ok(), "{said_of_one}");
    let mut broken = whole.clone();
    broken[2_560] ^= 1;
    assert!(said(&broken).contains("no valid header at byte 2560"));
    let sized = place.forged(&[(b"dir", b'5', b"", b"bytes of a directory")]);
    let (refused, said) = place.push(&sized, &[]);
    assert!(refused.is_err() && said.contains("tar readers disagree"), "{said}");
    let none = freestone(&place.store()).args(["ref", "list"]).output().unwrap();
    assert!(none.stdout.is_empty());
}

#[test]
fn the_archive_of_an_empty_git_tree_is_pushed() {
    let place = Place::new();
    let site = place.at("site");
    support::git(place.0.path(), &["init", "-q", "site"]);
    let commit = ["-c", "user.name=x", "-c", "user.email=y", "commit", "--allow-empty", "-qm", "m"];
    support::git(&site, &commit);
    support::git(&site, &["archive", "-o", "../empty.tar", "HEAD"]);
    let (revision, said) = place.push(&place.at("empty.tar"), &[]);
    assert!(revision.is_ok(), "{said}");
}

#[test]
fn a_sparse_file_of_many_extents_hides_no_members_behind_it() {
    let place = Place::new();
    let top = place.at("top");
    std::fs::create_dir(&top).unwrap();
    let sparse = std::fs::File::create(top.join("a-sparse")).unwrap();
    for extent in 0..60_u64 {
        std::os::unix::fs::FileExt::write_all_at(&sparse, b"data", extent << 17).unwrap();
    }
    sparse.set_len(60 << 17).unwrap();
    std::fs::write(top.join("b"), "behind").unwrap();
    for format in ["gnu", "posix"] {
        let mut tar = Command::new("tar");
        tar.args(["--sparse", "--hole-detection=raw", "--sort=name", "--format", format, "-C"]);
        output(tar.arg(&top).arg("-cf").arg(place.at("x.tar")).arg("."));
        let (refused, said) = place.push(&place.at("x.tar"), &[]);
        assert!(refused.is_err() && said.contains("a-sparse: a sparse file"), "{format}: {said}");
        let (revision, said) = place.push(&place.at("x.tar"), &["--skip-special"]);
        let out = place.extracted(&revision.unwrap_or_else(|_| panic!("{format}: {said}")));
        assert_eq!(std::fs::read(out.join("b")).unwrap(), b"behind");
        assert_eq!(std::fs::read_dir(&out).unwrap().count(), 1, "{format}");
    }
}

#[test]
fn gzip_that_is_padded_with_zeros_is_pushed() {
    let place = Place::new();
    let archive = place.forged(&[(b"a", b'0', b"", b"a")]);
    output(Command::new("gzip").arg("-k").arg(&archive));
    let packed = place.at("forged.tar.gz");
    let mut bytes = std::fs::read(&packed).unwrap();
    bytes.resize(10_240, 0);
    std::fs::write(&packed, &bytes).unwrap();
    let (revision, said) = place.push(&packed, &[]);
    assert!(revision.is_ok(), "{said}");
    bytes.push(b'x');
    std::fs::write(&packed, &bytes).unwrap();
    let (refused, said) = place.push(&packed, &[]);
    assert!(refused.is_err() && said.contains("after its last gzip member"), "{said}");
}

#[test]
fn memory_is_bounded_whatever_the_archive_claims() {
    let place = Place::new();
    // A long name that claims to be a gigabyte long.
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(1 << 30);
    header.set_cksum();
    std::fs::write(place.at("x.tar"), header.as_bytes()).unwrap();
    let (refused, said) = place.push(&place.at("x.tar"), &[]);
    assert!(refused.is_err() && said.contains("a header of 1073741824 bytes"), "{said}");
    // Many paths in little memory are sorted on the disk.
    let mut script = Command::new("python3");
    script.arg("-c").arg(
        "import io, sys, tarfile\nt = tarfile.open(sys.argv[1], 'w')\nfor n in range(20000):\n \
         i = tarfile.TarInfo(f'{(n * 7919) % 20000:05}/f')\n i.size = 1\n \
         t.addfile(i, io.BytesIO(b'x'))\nt.close()",
    );
    output(script.arg(place.at("many.tar")));
    std::fs::write(place.at("config.toml"), "memory = \"1M\"\n").unwrap();
    let mut push = freestone(&place.store());
    push.arg("--config").arg(place.at("config.toml")).args(["--json", "push"]);
    let answer = output(push.arg(place.at("many.tar")));
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["entries"], 40_000, "{answer}");
}

#[test]
fn a_few_long_paths_do_not_become_a_hundred_thousand_directories() {
    let place = Place::new();
    for (count, expected) in [(10, None), (50, Some(7))] {
        let mut archive = tar::Builder::new(Vec::new());
        for number in 0..count {
            let mut header = tar::Header::new_gnu();
            header.set_size(0);
            header.set_mode(0o644);
            let path = format!("{number:02}/{}f", "a/".repeat(2000));
            archive.append_data(&mut header, path, std::io::empty()).unwrap();
        }
        let file = place.at("deep.tar");
        std::fs::write(&file, archive.into_inner().unwrap()).unwrap();
        let (pushed, said) = place.push(&file, &["-n"]);
        assert_eq!(pushed.err(), expected, "{said}");
        assert_eq!(
            said.contains("directories that it does not list"),
            expected.is_some(),
            "{said}"
        );
    }
}
