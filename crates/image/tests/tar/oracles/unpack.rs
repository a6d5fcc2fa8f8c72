//! Unpacking images with other programs.

use super::{command, run};
use crate::layout::{boundary_sizes, paths_of, unaligned};
use crate::site::{Built, Data, Site, noise};
use freestone_image::tar::{Align, TarOptions};
use freestone_manifest::EntryKind;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

/// Names that file systems take and that are hard for programs.
fn hostile() -> Site {
    let names: [&[u8]; 18] = [
        b"-rf",
        b"--checkpoint=1",
        b" ",
        b"trailing ",
        b"new\nline",
        b"back\\slash",
        b"\\n",
        b"\xff\xfe",
        b"L",
        b"K",
        b"@LongLink",
        b"...",
        b"...hidden",
        b"\"quoted'",
        b"*?[",
        "é\u{301}ü".as_bytes(),
        b"\x01\x1b[31m",
        b"pax_global_header",
    ];
    let mut site = Site::default();
    for name in names {
        // bsdtar does not unpack a leading backslash.
        if name[0] != b'\\' {
            site = site.file(name, name);
        }
        site = site.file([b"d/", name, b"/", name].concat(), name);
    }
    site
}

/// Everything that can be unpacked: file systems take all parts of the paths.
fn varied() -> Site {
    let mut site = hostile().directory("empty", 1_111_111_111).full_file(
        "run",
        true,
        1_222_222_222,
        Data::Bytes(b"#!/bin/sh\n".to_vec()),
    );
    for length in [100, 101, 155, 156, 255, 256, 257, 400, 501, 502] {
        for (index, path) in paths_of(length).into_iter().enumerate() {
            let parts_fit = path.split(|byte| *byte == b'/').all(|part| part.len() <= 255);
            if parts_fit && length < 502 {
                let top = format!("{length}-{index}");
                let mut path = path;
                path[1..=top.len()].copy_from_slice(top.as_bytes());
                path[0] = b'f';
                site = site.file(path.clone(), path.clone());
                path[0] = b'g';
                site = site.directory(path, 1_333_333_333);
            }
        }
    }
    let long = ["pax é=\\".repeat(20), "/file".into()].concat();
    site = site.file(long, "an odd name in pax");
    let film = noise(5, (2 << 20) + 77);
    site.file("film", film).full_file("hole", false, 9, Data::Bytes(vec![0; 1_200_000]))
}

/// Returns the images that programs unpack, each with its manifest.
fn images() -> Vec<(&'static str, Built, TarOptions)> {
    vec![
        ("varied", varied().build(), TarOptions::default()),
        ("varied, not aligned", varied().build(), unaligned()),
        ("sizes", boundary_sizes().build(), TarOptions::default()),
        ("sizes, not aligned", boundary_sizes().build(), unaligned()),
        (NEWLINE_IN_PAX, Site::default().file("pax\n/".repeat(60) + "f", "f").build(), unaligned()),
        (
            NOT_UTF8_IN_PAX,
            Site::default().file([&b"\xff/".repeat(150)[..], b"f"].concat(), "f").build(),
            unaligned(),
        ),
    ]
}

/// A path that the `tar` crate cuts at the newline.
const NEWLINE_IN_PAX: &str = "a newline in pax";
/// A path that is not UTF-8, which POSIX requires in pax unless the path is declared as binary. GNU
/// tar does not know such declarations.
const NOT_UTF8_IN_PAX: &str = "pax that is not UTF-8";

/// Checks that a directory holds exactly what the manifest does; the times of directories only if
/// `with_times`.
fn assert_folder_is(folder: &Path, built: &Built, with_times: bool, what: &str) {
    let at = |path: &[u8]| folder.join(OsStr::from_bytes(path));
    for entry in &built.entries {
        let shown = String::from_utf8_lossy(&entry.path);
        let found = fs::symlink_metadata(at(&entry.path))
            .unwrap_or_else(|error| panic!("{what}: {shown}: {error}"));
        assert_eq!(found.is_dir(), entry.is_directory(), "{what}: {shown}");
        if with_times || !entry.is_directory() {
            assert_eq!(found.mtime(), entry.mtime, "{what}: mtime of {shown}");
        }
        let mode = found.permissions().mode() & 0o7777;
        match entry.kind {
            EntryKind::File { executable, .. } => {
                assert_eq!(mode, if executable { 0o755 } else { 0o644 }, "{what}: {shown}");
                let bytes = fs::read(at(&entry.path)).unwrap();
                assert!(bytes == built.content(&entry.path), "{what}: content of {shown}");
            }
            EntryKind::Directory => assert_eq!(mode, 0o755, "{what}: {shown}"),
        }
    }
    let mut count = 0;
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for found in fs::read_dir(folder).unwrap() {
            let found = found.unwrap();
            count += 1;
            if found.file_type().unwrap().is_dir() {
                open.push(found.path());
            }
        }
    }
    assert_eq!(count, built.entries.len(), "{what}: something more was unpacked");
}

/// The times of directories that a program sets. Fillers make some programs set them too early.
#[derive(Clone, Copy, PartialEq)]
enum DirectoryTimes {
    Always,
    WithoutFillers,
    Never,
}

/// Unpacks every image with a program. `arguments` receives the image and the directory.
fn assert_unpacks(
    package: &str,
    times: DirectoryTimes,
    arguments: &dyn Fn(&Path, &Path) -> Command,
) {
    for (what, built, options) in images() {
        let with_times = match times {
            DirectoryTimes::Always => true,
            DirectoryTimes::WithoutFillers => options.align() == Align::None,
            DirectoryTimes::Never => false,
        };
        let temporary = tempfile::tempdir().unwrap();
        let image = temporary.path().join("image.tar");
        let folder = temporary.path().join("out");
        fs::write(&image, built.image(options)).unwrap();
        fs::create_dir(&folder).unwrap();
        let mut unpack = arguments(&image, &folder);
        let output = run(package, &mut unpack);
        let said = String::from_utf8_lossy(&output.stderr);
        if package == "tar" && what == NOT_UTF8_IN_PAX {
            let unknown = "tar: Ignoring unknown extended header keyword 'hdrcharset'";
            assert!(said.lines().all(|line| line == unknown), "{what}: {said}");
        } else {
            assert_eq!(said, "", "{what}");
        }
        assert_folder_is(&folder, &built, with_times, what);
    }
}

#[test]
fn gnu_tar_unpacks_all() {
    assert_unpacks("tar", DirectoryTimes::WithoutFillers, &|image, folder| {
        let (image, folder) = (image.as_os_str(), folder.as_os_str());
        command("tar", &["-xpf".as_ref(), image, "-C".as_ref(), folder])
    });
}

#[test]
fn bsdtar_unpacks_all() {
    assert_unpacks("libarchive-tools", DirectoryTimes::Always, &|image, folder| {
        let (image, folder) = (image.as_os_str(), folder.as_os_str());
        command("bsdtar", &["-xpf".as_ref(), image, "-C".as_ref(), folder])
    });
}

#[test]
fn busybox_unpacks_all() {
    assert_unpacks("busybox", DirectoryTimes::Never, &|image, folder| {
        let (image, folder) = (image.as_os_str(), folder.as_os_str());
        command("busybox", &["tar".as_ref(), "-xpf".as_ref(), image, "-C".as_ref(), folder])
    });
}

#[test]
fn python_unpacks_all() {
    const UNPACK: &str = "import sys, tarfile\n\
                          tarfile.open(sys.argv[1], 'r:').extractall(sys.argv[2])\n";
    assert_unpacks("python3", DirectoryTimes::Always, &|image, folder| {
        let (image, folder) = (image.as_os_str(), folder.as_os_str());
        command(
            "python3",
            &["-X".as_ref(), "utf8".as_ref(), "-c".as_ref(), UNPACK.as_ref(), image, folder],
        )
    });
}

#[test]
fn the_tar_crate_reads_all() {
    for (what, built, options) in images().into_iter().filter(|image| image.0 != NEWLINE_IN_PAX) {
        let image = built.image(options);
        let mut archive = tar::Archive::new(&image[..]);
        let mut found = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path_bytes().into_owned();
            let kind = entry.header().entry_type();
            // It hides `x` headers, but shows `g` headers and fillers.
            if path == b"./" || kind.is_pax_global_extensions() {
                continue;
            }
            let mut bytes = Vec::new();
            std::io::copy(&mut entry, &mut bytes).unwrap();
            let path = path.strip_suffix(b"/").map_or(path.clone(), <[u8]>::to_vec);
            assert!(kind.is_dir() || bytes == built.content(&path), "{what}");
            found.push((path, kind.is_dir(), entry.header().mtime().unwrap()));
        }
        let expected: Vec<_> = built
            .entries
            .iter()
            .map(|e| (e.path.clone(), e.is_directory(), e.mtime.unsigned_abs()))
            .collect();
        assert_eq!(found, expected, "{what}");
    }
}
