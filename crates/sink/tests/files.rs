//! Writing to files: refusals, leftovers, and attributes that are kept.

#![allow(clippy::unwrap_used, reason = "in a test, it fails the test")]

mod toy;

use freestone_core::{ErrorKind, Result, Watch};
use freestone_sink::device::Fit;
use freestone_sink::{Control, Overwrite, SinkReport, Target, check, write};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use toy::{MAGIC, Toy};

static NEVER: AtomicBool = AtomicBool::new(false);

const CAREFUL: Overwrite = Overwrite { force: false, is_ours: |head| head.starts_with(MAGIC) };
const FORCE: Overwrite = Overwrite { force: true, is_ours: |_| false };
/// Set for a test's child process: the directory in which it writes, and dies.
const DIES_IN: &str = "FREESTONE_TEST_DIES_IN";

fn toy() -> Toy {
    toy::site(100, 8000, 12, 1 << 20)
}

fn put(toy: &Toy, path: &Path, overwrite: &Overwrite) -> Result<SinkReport> {
    write(&toy.image(), path, overwrite, &Control::default())
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Checks that `path` is refused, by `check` and by `write`; returns the message and the hint.
fn refused(path: &Path, overwrite: &Overwrite) -> String {
    let dry = check(Fit { length: 4096, sector_bytes: None }, path, overwrite).unwrap_err();
    let wet = put(&Toy::new(), path, overwrite).unwrap_err();
    assert_eq!((dry.kind(), wet.kind()), (ErrorKind::Refused, ErrorKind::Refused), "{path:?}");
    assert_eq!(dry.to_string(), wet.to_string());
    format!("{wet}; {}", wet.hint_text().expect("every refusal says what to do"))
}

#[test]
fn only_empty_files_and_our_own_are_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("www.img");
    let toy = toy();
    for (old, ours) in [
        (vec![], true),
        (toy.bytes(), true),
        (b"precious".to_vec(), false),
        (MAGIC.to_vec(), false),
        (vec![0; 1 << 20], false),
    ] {
        fs::write(&path, &old).unwrap();
        if !ours {
            assert!(refused(&path, &CAREFUL).contains("--force"));
            assert_eq!(fs::read(&path).unwrap(), old);
        }
        put(&toy, &path, if ours { &CAREFUL } else { &FORCE }).unwrap();
        assert!(fs::read(&path).unwrap() == toy.bytes());
    }
    assert_eq!(names(directory.path()), ["www.img"]);
}

#[test]
fn what_is_no_place_for_a_file_is_refused_even_by_force() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let (fifo, socket) = (at("fifo"), at("socket"));
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let _listening = UnixListener::bind(&socket).unwrap();
    symlink("loop", at("loop")).unwrap();
    for (path, says) in [
        (directory.path(), "a directory"),
        (&at("new/"), "a directory"),
        (&at("new/."), "a directory"),
        (&at(".."), "a directory"),
        (Path::new(""), "a directory"),
        (&fifo, "neither a regular file nor a block device"),
        (&socket, "neither a regular file nor a block device"),
        (Path::new("/dev/null"), "neither a regular file nor a block device"),
        (Path::new("/dev/freestone-no-such-device"), "under /dev"),
        (Path::new("/dev/../dev/freestone-no-such-device"), "under /dev"),
        (Path::new("/dev/stdout"), "give `-`"),
        (Path::new("/dev/fd/1"), "give `-`"),
        (Path::new("/proc/self/fd/1"), "give `-`"),
        (&at("loop"), "too many symbolic links"),
    ] {
        let refusal = refused(path, &FORCE);
        assert!(refusal.contains(says), "{path:?}: {refusal}");
    }
    assert!(!Path::new("/dev/freestone-no-such-device").exists());
    assert_eq!(names(directory.path()), ["fifo", "loop", "socket"]);
}

#[test]
fn a_directory_that_is_not_there_is_not_found() {
    let error = put(&Toy::new(), Path::new("/nowhere/www.img"), &CAREFUL).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.to_string(), "directory /nowhere does not exist");
}

#[test]
fn links_are_written_through() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("disks")).unwrap();
    symlink("disks/www.img", at("first")).unwrap();
    symlink(at("first"), at("second")).unwrap();
    let toy = toy();
    // First the file does not exist, then it does.
    for _ in 0..2 {
        let target = check(Fit::of(&toy), &at("second"), &CAREFUL).unwrap();
        assert!(matches!(target, Target::File(_)), "{target:?}");
        assert_eq!(target.path(), fs::canonicalize(at("disks")).unwrap().join("www.img"));
        put(&toy, &at("second"), &CAREFUL).unwrap();
        assert!(fs::read(at("disks/www.img")).unwrap() == toy.bytes());
    }
    assert_eq!(names(directory.path()), ["disks", "first", "second"]);
    assert!(fs::symlink_metadata(at("first")).unwrap().is_symlink());
    fs::write(at("disks/www.img"), b"precious").unwrap();
    refused(&at("second"), &CAREFUL);
}

#[test]
fn an_open_image_is_not_disturbed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("www.img");
    let (old, new) = (toy::site(3, 8000, 0, 0), toy());
    put(&old, &path, &CAREFUL).unwrap();
    let mut guest = File::open(&path).unwrap();
    put(&new, &path, &CAREFUL).unwrap();
    let mut seen = Vec::new();
    std::io::Read::read_to_end(&mut guest, &mut seen).unwrap();
    assert!(seen == old.bytes());
    assert!(fs::read(&path).unwrap() == new.bytes());
}

#[test]
fn a_target_keeps_its_mode_and_owner() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    put(&toy(), &at("new"), &CAREFUL).unwrap();
    File::create(at("plain")).unwrap();
    let mode = |name: &str| fs::metadata(at(name)).unwrap().mode() & 0o7777;
    assert_eq!(mode("new"), mode("plain"), "0666 less the umask");

    fs::set_permissions(at("new"), Permissions::from_mode(0o604)).unwrap();
    let owner = if rustix::process::geteuid().is_root() { 1234 } else { 0 };
    if owner != 0 {
        chown(at("new"), Some(owner), Some(owner)).unwrap();
    }
    let before = fs::metadata(at("new")).unwrap();
    put(&toy(), &at("new"), &CAREFUL).unwrap();
    let after = fs::metadata(at("new")).unwrap();
    assert_ne!(before.ino(), after.ino());
    assert_eq!(mode("new"), 0o604);
    assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
}

#[test]
fn zeros_take_no_room() {
    let mut toy = Toy::new();
    toy.zeros(9 << 30);
    toy.content(toy::noise(1, 5000));
    let mut hollow = toy::noise(2, 1 << 16);
    hollow.resize(3 << 20, 0);
    toy.content(hollow);
    toy.pad(4096);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("www.img");
    let report = put(&toy, &path, &CAREFUL).unwrap();
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!((metadata.len(), report.length), (report.length, report.written + report.zeros));
    assert!(report.length > 9 << 30);
    assert!(metadata.blocks() * 512 < 256 << 10, "{} blocks", metadata.blocks());
    assert!(report.written < 128 << 10, "{report:?}");
    assert_eq!(freestone_sink::compare(&toy.image(), &path, &Control::default()).unwrap(), None);
}

#[test]
fn a_failing_chunk_source_leaves_everything_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("www.img");
    let mut toy = toy();
    toy.fails_after = Some(105);
    let error = put(&toy, &path, &CAREFUL).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(names(directory.path()), [""; 0]);
    fs::write(&path, b"precious").unwrap();
    put(&toy, &path, &FORCE).unwrap_err();
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    assert_eq!(names(directory.path()), ["www.img"]);
}

#[test]
fn cancelling_leaves_everything_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("www.img");
    fs::write(&path, b"precious").unwrap();
    let toy = toy();
    // Cancelled before the first piece, after it, and after the last.
    for when in [0, 1, toy.bytes().len() as u64] {
        let (cancel, done) = (AtomicBool::new(when == 0), std::sync::Mutex::new(0));
        let progress = |count| {
            let mut done = done.lock().unwrap();
            *done += count;
            cancel.store(*done >= when, Ordering::Relaxed);
        };
        let control = Control { watch: Watch::new(&cancel, &progress), ..Control::default() };
        let error = write(&toy.image(), &path, &FORCE, &control).unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Failed, "interrupted"));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        assert_eq!(names(directory.path()), ["www.img"]);
    }
}

#[test]
fn a_killed_writer_leaves_the_target_and_its_leftovers_go_with_the_next() {
    if let Some(directory) = std::env::var_os(DIES_IN) {
        let control =
            Control { watch: Watch::new(&NEVER, &|_| std::process::abort()), ..Control::default() };
        let path = Path::new(&directory).join("www.img");
        let _ = write(&toy().image(), &path, &FORCE, &control);
        unreachable!("it is dead");
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("www.img"), b"precious").unwrap();
    let test = "a_killed_writer_leaves_the_target_and_its_leftovers_go_with_the_next";
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", test]).env(DIES_IN, directory.path());
    assert!(!child.output().unwrap().status.success());
    assert_eq!(fs::read(at("www.img")).unwrap(), b"precious");
    let left = names(directory.path());
    assert_eq!(left.len(), 2);
    assert!(left[0].starts_with(".www.img.freestone-"), "{left:?}");

    // Files with similar names stay, and so does the file of a writer that is alive.
    let alike = [".www.img.freestone-0123", ".www2.img.freestone-0123456789abcdef"];
    let living = ".www.img.freestone-0123456789abcdef";
    for name in alike {
        File::create(at(name)).unwrap();
    }
    let writer = File::create(at(living)).unwrap();
    writer.lock().unwrap();
    put(&toy(), &at("www.img"), &FORCE).unwrap();
    assert_eq!(names(directory.path()), [alike[0], living, alike[1], "www.img"]);
    drop(writer);
    put(&toy(), &at("www.img"), &CAREFUL).unwrap();
    assert_eq!(names(directory.path()), [alike[0], alike[1], "www.img"]);
}

#[test]
fn two_writers_of_one_target_do_not_disturb_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("www.img");
    let (slow, quick) = (toy(), toy::site(3, 8000, 0, 0));
    let once = Once::new();
    let progress = |_| {
        once.call_once(|| {
            put(&quick, &path, &CAREFUL).unwrap();
            assert!(fs::read(&path).unwrap() == quick.bytes());
        });
    };
    let control = Control { watch: Watch::new(&NEVER, &progress), ..Control::default() };
    write(&slow.image(), &path, &CAREFUL, &control).unwrap();
    assert!(fs::read(&path).unwrap() == slow.bytes());
    assert_eq!(names(directory.path()), ["www.img"]);
}

#[test]
fn the_longest_name_can_be_written() {
    let directory = tempfile::tempdir().unwrap();
    let name = "x".repeat(255);
    put(&toy(), &directory.path().join(&name), &CAREFUL).unwrap();
    assert_eq!(names(directory.path()), [name]);
}

#[test]
fn links_of_others_in_shared_directories_are_not_followed() {
    use std::os::unix::fs::{PermissionsExt, lchown};
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("shared")).unwrap();
    fs::write(at("victim"), b"").unwrap();
    symlink(at("victim"), at("shared/image")).unwrap();
    lchown(at("shared/image"), Some(65534), Some(65534)).unwrap();
    fs::set_permissions(at("shared"), Permissions::from_mode(0o1777)).unwrap();
    refused(&at("shared/image"), &CAREFUL);
    assert_eq!(fs::read(at("victim")).unwrap(), b"");
    // Without the sticky bit the kernel follows it, too.
    fs::set_permissions(at("shared"), Permissions::from_mode(0o777)).unwrap();
    put(&toy(), &at("shared/image"), &CAREFUL).unwrap();
}

#[test]
fn an_exchanged_directory_changes_nothing_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    for name in ["first", "other"] {
        fs::create_dir(at(name)).unwrap();
    }
    fs::write(at("other/www.img"), b"precious").unwrap();
    let toy = toy();
    let Target::File(target) = Target::find(&at("first/www.img")).unwrap() else { panic!() };
    fs::rename(at("first"), at("moved")).unwrap();
    symlink("other", at("first")).unwrap();
    let control = Control::default();
    freestone_sink::file::write(&toy.image(), &target, &CAREFUL, &control).unwrap();
    assert_eq!(fs::read(at("other/www.img")).unwrap(), b"precious");
    assert!(fs::read(at("moved/www.img")).unwrap() == toy.bytes());
}
