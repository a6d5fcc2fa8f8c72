//! Reading our images with other programs. A program that is missing fails the test.

use crate::images::{all_options, image, kept_time, mirage, of_type, plan};
use crate::layout::boundary_sizes;
use crate::site::{Built, Data, Image, Site, noise};
use freestone_core::Plan;
use freestone_image::ReadAt;
use freestone_image::fat::{FatOptions, FatType};
use freestone_manifest::EntryKind;
use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::path::Path;
use std::process::Command;
use std::time::UNIX_EPOCH;

/// Runs a program of Debian's `package`. Returns what it printed.
fn run(package: &str, command: &mut Command) -> String {
    // The directories of fsck.fat, which are not in every PATH.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let command = command.env("LC_ALL", "C.UTF-8").env("TZ", "UTC").env("PATH", path);
    let output = command.output().unwrap_or_else(|error| {
        panic!("{command:?}: {error}; these tests need Debian's package {package}")
    });
    let told = [&output.stdout[..], &output.stderr].concat();
    let told = String::from_utf8_lossy(&told).into_owned();
    assert!(output.status.success(), "{command:?}: {told}");
    told
}

/// A letter beyond UTF-16's first 65,536, which mtools does not know.
const CLEF: &str = "𝄞 clef";

/// All kinds of names that FAT holds, ASCII ones alone if `is_mirage`.
fn names(is_mirage: bool) -> Site {
    let mut site = Site::default()
        .directory("EMPTY", 1_111_111_111)
        .full_file("old", true, 0, Data::Bytes(b"before 1980".to_vec()))
        .full_file("new", false, (1 << 33) - 1, Data::Bytes(b"after 2107".to_vec()));
    let ascii = [
        "README",
        "README.TXT",
        "readme.md",
        "Index.html",
        ".htaccess",
        "A.B.C",
        "a b",
        "-rf",
        "+",
        "=[];,",
        "longer than short.html",
        "longer than shorts.html",
        "LONGER~1.HTM",
        "{}",
        "~1",
        "no.dot.at.end",
        "12345678.123",
        "con",
        "$x",
        "%20",
        "#",
        "'",
        "`",
    ];
    let wide = ["é.html", "É2.HTML", "日本語のファイル名", CLEF, "straße", "a\u{301}"];
    let wide = if is_mirage { &[][..] } else { &wide };
    for name in ascii.iter().chain(wide) {
        site = site.file(*name, *name).file(format!("dir/deep er/{name}"), *name);
    }
    for length in [8, 9, 12, 13, 14, 26, 27, 200, 247, 255] {
        site = site.file(format!("n/{}", "n".repeat(length)), "n");
    }
    for number in 0..150 {
        site = site.file(format!("pages/page-{number:05}.html"), noise(number, 700));
    }
    site
}

fn images() -> Vec<(Built, FatOptions)> {
    let mut images = Vec::new();
    for options in [FatOptions::default(), of_type(FatType::Fat16), of_type(FatType::Fat32)] {
        images.push((boundary_sizes().build(), options));
    }
    for options in all_options().into_iter().filter(|options| options.size().is_none()) {
        let is_mirage = options.profile() == mirage().profile();
        images.push((names(is_mirage).build(), options));
    }
    images
}

fn write(folder: &Path, built: &Built, options: FatOptions) -> std::path::PathBuf {
    let path = folder.join("x.img");
    let bytes = image(built, options);
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    for (index, block) in bytes.chunks(4096).enumerate() {
        if block.iter().any(|byte| *byte != 0) {
            std::os::unix::fs::FileExt::write_all_at(&file, block, index as u64 * 4096).unwrap();
        }
    }
    path
}

#[test]
fn fsck_finds_nothing_to_mend() {
    let folder = tempfile::tempdir().unwrap();
    for (built, options) in images() {
        let path = write(folder.path(), &built, options);
        let told = run("dosfstools", Command::new("fsck.fat").args(["-n", "-v"]).arg(path));
        let lines = told.lines().filter(|line| line.contains(" files, ")).count();
        assert_eq!(lines, 1, "{told}");
        for word in ["differ", "bad", "rong", "ould", "orphan", "issing", "nvalid", "not "] {
            let odd = told.lines().find(|line| line.contains(word));
            assert_eq!(odd, None, "{options}: {told}");
        }
    }
}

/// The files and directories that a program unpacked, by path: time, and content or `None`.
fn unpacked(folder: &Path, top: &Path, found: &mut BTreeMap<String, (i64, Option<Vec<u8>>)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(top).unwrap().to_str().unwrap().to_owned();
        let modified = path.metadata().unwrap().modified().unwrap();
        let time = modified.duration_since(UNIX_EPOCH).unwrap().as_secs();
        let content = (!path.is_dir()).then(|| std::fs::read(&path).unwrap());
        found.insert(name, (i64::try_from(time).unwrap(), content));
        if path.is_dir() {
            unpacked(&path, top, found);
        }
    }
}

fn expected(built: &Built) -> BTreeMap<String, (i64, Option<Vec<u8>>)> {
    let told = |entry: &freestone_manifest::Entry| {
        let content = match entry.kind {
            EntryKind::Directory => None,
            EntryKind::File { .. } => Some(built.content(&entry.path)),
        };
        let name = String::from_utf8(entry.path.clone()).unwrap();
        (name, (kept_time(entry.mtime), content))
    };
    built.entries.iter().map(told).collect()
}

fn assert_same(
    found: &BTreeMap<String, (i64, Option<Vec<u8>>)>,
    built: &Built,
    with_times: bool,
    what: &str,
) {
    let expected = expected(built);
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{what}");
    for (path, (time, content)) in found {
        let (expected_time, expected_content) = &expected[path];
        assert!(content == expected_content, "{what}: {path}");
        // mtools treats 2100 as a leap year.
        if with_times && content.is_some() && *expected_time < 4_107_542_400 {
            assert_eq!(time, expected_time, "{what}: {path}");
        }
    }
}

#[test]
fn mtools_copies_every_file_out() {
    for (built, options) in images() {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path(), &built, options);
        let out = folder.path().join("out");
        std::fs::create_dir(&out).unwrap();
        let mut command = Command::new("mcopy");
        command.args(["-s", "-Q", "-n", "-m", "-i"]).arg(path).arg("::/").arg(&out);
        run("mtools", &mut command);
        let mut found = BTreeMap::new();
        unpacked(&out, &out, &mut found);
        let known = |path: &String| path.replace("__ clef", CLEF);
        let found = found.iter().map(|(path, told)| (known(path), told.clone())).collect();
        assert_same(&found, &built, true, &options.to_string());
    }
}

#[test]
fn seven_zip_unpacks_every_file() {
    for options in
        [FatOptions::default(), of_type(FatType::Fat16), of_type(FatType::Fat32), mirage()]
    {
        let built = names(options.profile() == mirage().profile()).build();
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path(), &built, options);
        let out = folder.path().join("out");
        let mut target = std::ffi::OsString::from("-o");
        target.push(&out);
        run("p7zip-full", Command::new("7z").args(["x", "-y", "-tFAT"]).arg(target).arg(path));
        let mut found = BTreeMap::new();
        unpacked(&out, &out, &mut found);
        assert_same(&found, &built, false, &options.to_string());
    }
}

/// The crate `fatfs`, over a plan: nothing is written.
struct Disk<'a>(Image<'a>, u64);

impl Read for Disk<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let count = out.len().min(usize::try_from(self.0.length() - self.1).unwrap());
        self.0.read_at(self.1, &mut out[..count]).map_err(std::io::Error::other)?;
        self.1 += count as u64;
        Ok(count)
    }
}

impl std::io::Seek for Disk<'_> {
    fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
        self.1 = match to {
            std::io::SeekFrom::Start(at) => at,
            std::io::SeekFrom::Current(by) => self.1.checked_add_signed(by).unwrap(),
            std::io::SeekFrom::End(by) => self.0.length().checked_add_signed(by).unwrap(),
        };
        Ok(self.1)
    }
}

impl std::io::Write for Disk<'_> {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        panic!("a reader writes");
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn listed<'a>(
    directory: &fatfs::Dir<'a, Disk<'_>>,
    prefix: &str,
    found: &mut BTreeMap<String, (i64, Option<Vec<u8>>)>,
) {
    for entry in directory.iter() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if name == "." || name == ".." {
            continue;
        }
        let path = format!("{prefix}{name}");
        let content = entry.is_file().then(|| {
            let mut content = Vec::new();
            entry.to_file().read_to_end(&mut content).unwrap();
            assert_eq!(content.len() as u64, entry.len());
            content
        });
        if content.is_none() {
            listed(&entry.to_dir(), &format!("{path}/"), found);
        }
        found.insert(path, (0, content));
    }
}

#[test]
fn the_crate_fatfs_reads_every_file() {
    for (built, options) in images() {
        let plan = plan(&built, options).unwrap();
        let disk = Disk(Image { plan: &plan, built: &built }, 0);
        let options_of = fatfs::FsOptions::new().update_accessed_date(false);
        let volume = fatfs::FileSystem::new(disk, options_of).unwrap();
        let expected = match plan.fat_type() {
            FatType::Fat12 => fatfs::FatType::Fat12,
            FatType::Fat16 => fatfs::FatType::Fat16,
            FatType::Fat32 => fatfs::FatType::Fat32,
        };
        assert_eq!(volume.fat_type(), expected);
        let mut found = BTreeMap::new();
        listed(&volume.root_dir(), "", &mut found);
        assert_same(&found, &built, false, &options.to_string());
        let told = volume.stats().unwrap();
        assert_eq!(u64::from(told.total_clusters()), plan.clusters());
    }
}

/// Checks the bounds of the types as other programs count clusters.
#[test]
fn others_tell_the_same_type_at_the_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let built = Site::default().file("a", "a").build();
    for (free, fat_type) in
        [(4083, "12 bit"), (4084, "16 bit"), (65_523, "16 bit"), (65_524, "32 bit")]
    {
        let plan = plan(&built, FatOptions::default().with_free(free * 4096).unwrap()).unwrap();
        let path = folder.path().join("x.img");
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(plan.length()).unwrap();
        let mut front = vec![0; 2 << 20];
        Image { plan: &plan, built: &built }.read_at(0, &mut front).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &front, 0).unwrap();
        let told = run("dosfstools", Command::new("fsck.fat").args(["-n", "-v"]).arg(&path));
        assert!(told.contains(fat_type), "{free}: {told}");
    }
}

/// While an image is written in place, programs do not take it for a file system.
#[test]
fn an_unfinished_image_is_refused_by_all() {
    let folder = tempfile::tempdir().unwrap();
    let built = names(true).build();
    for options in [FatOptions::default(), of_type(FatType::Fat32), mirage()] {
        let plan = plan(&built, options).unwrap();
        let mut bytes = image(&built, options);
        bytes[..4096].copy_from_slice(&plan.unfinished_head());
        let path = folder.path().join("x.img");
        std::fs::write(&path, &bytes).unwrap();
        for command in [Command::new("fsck.fat").arg("-n"), Command::new("mdir").arg("-i")] {
            let path_of = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
            let output = command.arg(&path).env("PATH", path_of).output().unwrap();
            assert!(!output.status.success(), "{command:?}");
        }
        let disk = fatfs::FileSystem::new(Cursor::new(bytes), fatfs::FsOptions::new());
        assert!(disk.is_err());
    }
}
