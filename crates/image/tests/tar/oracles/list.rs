//! Listing images with other programs: what no file system takes can be seen here.

use super::{command, run};
use crate::layout::{paths_of, unaligned};
use crate::site::{Built, Data, Image, Site};
use freestone_core::Plan;
use freestone_core::digest::sha1;
use freestone_image::ReadAt;
use freestone_image::tar::TarOptions;
use freestone_manifest::EntryKind;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;

/// An image without entries has a filler: Python takes an archive that has only a `g` header, such as
/// git makes of an empty tree, for damaged.
#[test]
fn an_image_without_entries_is_taken_by_all() {
    for options in [TarOptions::default(), unaligned()] {
        an_empty_image_is_taken(options);
    }
}

fn an_empty_image_is_taken(options: TarOptions) {
    let temporary = tempfile::tempdir().unwrap();
    let image = temporary.path().join("image.tar");
    fs::write(&image, Site::default().build().image(options)).unwrap();
    for (package, program) in
        [("tar", "tar"), ("libarchive-tools", "bsdtar"), ("busybox", "busybox")]
    {
        let mut list = Command::new(program);
        if program == "busybox" {
            list.arg("tar");
        }
        let output = run(package, list.arg("-tf").arg(&image));
        assert_eq!(output.stderr, b"", "{program}");
        assert!(matches!(&output.stdout[..], b"" | b"./\n"), "{program}: {:?}", output.stdout);
    }
    let python = run("python3", Command::new("python3").args(["-c", LIST]).arg(&image));
    assert_eq!((python.stdout, python.stderr), (Vec::new(), Vec::new()));
}

/// Prints the members of an archive as hexadecimal name, kind, mode, size, mtime, SHA-1.
const LIST: &str = "
import hashlib, os, sys, tarfile
with tarfile.open(sys.argv[1], 'r:') as archive:
    for member in archive:
        if member.name == '.':
            continue
        read = member.isfile() and member.size < 1 << 30
        digest = hashlib.sha1(archive.extractfile(member).read()).hexdigest() if read else '-'
        kind = 'd' if member.isdir() else 'f' if member.isfile() else '?'
        name = os.fsencode(member.name).hex()
        print(name, kind, oct(member.mode), member.size, member.mtime, digest)
";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the line that [`LIST`] must print for each entry.
fn listing(built: &Built) -> Vec<String> {
    let line = |entry: &freestone_manifest::Entry| {
        let name = hex(&entry.path);
        match entry.kind {
            EntryKind::Directory => format!("{name} d 0o755 0 {} -", entry.mtime),
            EntryKind::File { executable, size, .. } => {
                let mode = if executable { "0o755" } else { "0o644" };
                let digest = match size {
                    0..0x4000_0000 => sha1(&built.content(&entry.path)).to_string(),
                    _ => "-".into(),
                };
                format!("{name} f {mode} {size} {} {digest}", entry.mtime)
            }
        }
    };
    built.entries.iter().map(line).collect()
}

fn python_listing(image: &Path) -> Vec<String> {
    let script = command(
        "python3",
        &["-X".as_ref(), "utf8".as_ref(), "-c".as_ref(), LIST.as_ref(), image.as_os_str()],
    );
    let output = run("python3", &mut { script });
    String::from_utf8(output.stdout).unwrap().lines().map(String::from).collect()
}

/// Names that no file system takes, times at both ends.
fn extreme() -> Built {
    let mut site = Site::default();
    for length in [256, 300, 501, 502] {
        for path in paths_of(length) {
            site = site.file(path, "x");
        }
        site = site.directory(vec![b'd'; length.min(501)], 0);
    }
    site.full_file("1970", false, 0, Data::Bytes(vec![]))
        .full_file("2242", true, (1 << 33) - 1, Data::Bytes(vec![]))
        .build()
}

#[test]
fn python_lists_names_that_no_file_system_takes() {
    let built = extreme();
    let temporary = tempfile::tempdir().unwrap();
    let image = temporary.path().join("image.tar");
    fs::write(&image, built.image(TarOptions::default())).unwrap();
    assert_eq!(python_listing(&image), listing(&built));
}

#[test]
fn gnu_tar_and_bsdtar_list_names_that_no_file_system_takes() {
    let built = extreme();
    let temporary = tempfile::tempdir().unwrap();
    let image = temporary.path().join("image.tar");
    fs::write(&image, built.image(TarOptions::default())).unwrap();
    let mut expected: Vec<u8> = Vec::new();
    for entry in &built.entries {
        expected.extend(&entry.path);
        expected.extend(if entry.is_directory() { &b"/\n"[..] } else { b"\n" });
    }
    for (package, program) in [("tar", "tar"), ("libarchive-tools", "bsdtar")] {
        let output = run(package, &mut command(program, &["-tf".as_ref(), image.as_os_str()]));
        assert!(output.stdout == expected, "{program}");
    }
}

/// Writes an image with holes of gigabytes.
fn write_sparse(image: &Image<'_>, path: &Path) {
    let mut file = fs::File::create(path).unwrap();
    file.set_len(image.length()).unwrap();
    image
        .plan
        .extents(0..image.length(), &mut |extent| {
            if extent.source != freestone_core::ExtentSource::Zeros {
                let mut bytes = vec![0; usize::try_from(extent.length).unwrap()];
                image.read_at(extent.offset, &mut bytes)?;
                file.seek(SeekFrom::Start(extent.offset)).unwrap();
                file.write_all(&bytes).unwrap();
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn files_of_8_gib_and_more_are_listed_with_their_sizes() {
    let sizes = [(8 << 30) - 1, 8u64 << 30, 9 << 30];
    let mut site = Site::default().file("zzz", "after them");
    for size in sizes {
        site = site.full_file(format!("{size}"), false, 77, Data::Hole(size));
    }
    let built = site.build();
    let plan = built.plan(TarOptions::default()).unwrap();
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("image.tar");
    write_sparse(&Image { plan: &plan, built: &built }, &path);
    assert_eq!(fs::metadata(&path).unwrap().len(), plan.length());
    assert_eq!(python_listing(&path), listing(&built));
    for (package, program) in [("tar", "tar"), ("libarchive-tools", "bsdtar")] {
        let list = run(package, &mut command(program, &["-tvf".as_ref(), path.as_os_str()]));
        let list = String::from_utf8(list.stdout).unwrap();
        for size in sizes {
            assert!(
                list.lines().any(|line| line.matches(&size.to_string()).count() == 2),
                "{list}"
            );
        }
        let options = ["-xOf".as_ref(), path.as_os_str(), "zzz".as_ref()];
        assert_eq!(run(package, &mut command(program, &options)).stdout, b"after them");
    }
}
