//! Tests that need root: real block devices, on loop devices, and a file system that is full.
//!
//! Set `FREESTONE_NO_LOOP=1` where loop devices cannot be had; otherwise that is a failure.

#![allow(clippy::unwrap_used, reason = "in a test, it fails the test")]

mod toy;

use freestone_core::{ErrorKind, Extent, Plan, Result, Watch};
use freestone_sink::device::Fit;
use freestone_sink::update::update;
use freestone_sink::{
    Control, Difference, Image, Overwrite, SinkReport, Target, check, compare, read_back, write,
};
use rustix::fs::{FlockOperation, OFlags, fcntl_lock};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tempfile::NamedTempFile;
use toy::{MAGIC, Toy};

const CAREFUL: Overwrite = Overwrite { force: false, is_ours };
const FORCE: Overwrite = Overwrite { force: true, is_ours: |_| false };
const SIZE: usize = 24 << 20;
/// Set for a test's child process: the device that it locks.
const LOCKS: &str = "FREESTONE_TEST_LOCKS";

fn is_ours(head: &[u8; 4096]) -> bool {
    head.starts_with(MAGIC) || head[..] == *Toy::new().unfinished_head()
}

/// A loop device over a temporary file. The kernel detaches it when `held` is closed, even if this
/// process is killed.
struct Loop {
    path: PathBuf,
    held: File,
    _backing: NamedTempFile,
    _turn: MutexGuard<'static, ()>,
}

/// Lets one test run at a time: a new child process has open, for a moment, the files of the other
/// tests, and a device that is open exclusively is in use.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Loop {
    /// Creates a device that holds `bytes`. Returns `None` only if the environment allows that.
    fn new(bytes: &[u8]) -> Option<Self> {
        Self::with_sectors(bytes, 512)
    }

    /// Creates a device with logical sectors of this many bytes.
    fn with_sectors(bytes: &[u8], sector: u32) -> Option<Self> {
        if std::env::var_os("FREESTONE_NO_LOOP").is_some_and(|value| value == "1") {
            eprintln!("SKIPPED: FREESTONE_NO_LOOP=1, so nothing about devices was tested");
            return None;
        }
        let turn = turn();
        let mut backing = NamedTempFile::new().unwrap();
        backing.write_all(bytes).unwrap();
        let mut attach = Command::new("losetup");
        let attached = attach
            .args(["--find", "--show", "--sector-size", &sector.to_string()])
            .arg(backing.path())
            .output();
        let attached = attached.expect("losetup, or FREESTONE_NO_LOOP=1");
        let said = String::from_utf8_lossy(&attached.stderr);
        assert!(attached.status.success(), "{said}: be root, or set FREESTONE_NO_LOOP=1");
        let path = PathBuf::from(String::from_utf8(attached.stdout).unwrap().trim());
        let held = File::open(&path).unwrap();
        let detached = Command::new("losetup").arg("--detach").arg(&path).status().unwrap();
        assert!(detached.success());
        Some(Self { path, held, _backing: backing, _turn: turn })
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; SIZE];
        self.held.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    fn held_for_writing(&self) -> File {
        OpenOptions::new().write(true).open(&self.path).unwrap()
    }

    fn put(&self, toy: &Toy, overwrite: &Overwrite) -> Result<SinkReport> {
        write(&toy.image(), &self.path, overwrite, &Control::default())
    }
}

/// An image with content, an unaligned hole that is longer than a window, and content again.
fn toy() -> Toy {
    let mut toy = toy::site(100, 8000, 6, 1 << 20);
    toy.inline(vec![7; 512]);
    toy.zeros(9 << 20);
    toy.inline(vec![9; 3584]);
    toy.zeros(100 << 10);
    toy.pad(4096);
    toy
}

/// An image whose format has sectors.
struct Sectors(Toy, u32);

impl Plan for Sectors {
    fn length(&self) -> u64 {
        self.0.length()
    }

    fn extents(&self, range: Range<u64>, each: &mut dyn FnMut(Extent) -> Result<()>) -> Result<()> {
        self.0.extents(range, each)
    }

    fn identity(&self) -> String {
        self.0.identity()
    }

    fn sector_bytes(&self) -> Option<u32> {
        Some(self.1)
    }
}

#[test]
fn an_image_for_smaller_sectors_than_the_devices_is_refused() {
    for (device_has, image_has, fits) in
        [(512, 512, true), (512, 4096, true), (4096, 4096, true), (4096, 512, false)]
    {
        let Some(device) = Loop::with_sectors(&vec![0; SIZE], device_has) else { return };
        let plan = Sectors(toy(), image_has);
        let image = Image::new(&plan, &plan.0);
        for overwrite in [CAREFUL, FORCE] {
            let dry = check(Fit::of(&plan), &device.path, &overwrite);
            let written = write(&image, &device.path, &overwrite, &Control::default());
            let base = |_: &[u8; 4096]| Ok(None);
            let updated = update(&image, &device.path, &overwrite, &base, &Control::default());
            let what = format!("{image_has} on {device_has}");
            let results = [dry.map(drop), written.map(drop), updated.map(drop)];
            for result in results {
                if fits {
                    assert!(result.is_ok(), "{what}: {result:?}");
                    continue;
                }
                let error = result.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Refused);
                assert!(error.to_string().contains("has sectors of 4096 bytes"), "{error}");
                assert!(error.hint_text().unwrap().contains("--block-size 4096"), "{error}");
                assert!(device.bytes().iter().all(|byte| *byte == 0), "{what}: it was written");
            }
        }
    }
}

#[test]
fn a_device_with_data_anywhere_is_not_blank() {
    let Some(device) = Loop::new(&vec![0; SIZE]) else { return };
    for at in [510, 2 << 20, SIZE as u64 / 2, SIZE as u64 - 1] {
        device.held_for_writing().write_all_at(b"x", at).unwrap();
        let error = device.put(&toy(), &CAREFUL).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{at}");
        assert!(error.hint_text().unwrap().contains("--force"));
        device.held_for_writing().write_all_at(&[0], at).unwrap();
    }
    device.put(&toy(), &CAREFUL).unwrap();
}

#[test]
fn the_device_holds_the_image_and_the_bytes_after_it_stay() {
    let Some(device) = Loop::new(&vec![0xaa; SIZE]) else { return };
    let toy = toy();
    let image = toy.bytes();
    let report = device.put(&toy, &FORCE).unwrap();
    let bytes = device.bytes();
    assert!(bytes[..image.len()] == image);
    assert!(bytes[image.len()..].iter().all(|&byte| byte == 0xaa));
    assert_eq!(report.length, image.len() as u64);
    assert_eq!(report.written + report.zeros, report.length);
    assert!(report.zeros > 8 << 20, "{report:?}");
    let control = Control::default();
    assert_eq!(compare(&toy.image(), &device.path, &control).unwrap(), None);
    assert_eq!(read_back(&toy.image(), &device.path, &control).unwrap(), None);
    // It holds our image now, so a shorter one may replace it; through a link, as for device names.
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("by-id");
    symlink(&device.path, &link).unwrap();
    let short = toy::site(3, 8000, 0, 0);
    let target = check(Fit::of(&short), &link, &CAREFUL).unwrap();
    assert!(matches!(&target, Target::Device(path) if *path == device.path), "{target:?}");
    write(&short.image(), &link, &CAREFUL, &control).unwrap();
    assert!(device.bytes().starts_with(&short.bytes()));
    let offset = compare(&toy.image(), &device.path, &control).unwrap().unwrap().offset;
    assert!(offset < short.length());
}

#[test]
fn an_image_without_a_block_of_data_can_be_written() {
    let Some(device) = Loop::new(&vec![0xaa; SIZE]) else { return };
    let mut toy = Toy::default();
    toy.zeros(10 << 20);
    device.put(&toy, &FORCE).unwrap();
    let bytes = device.bytes();
    assert!(bytes[..10 << 20].iter().all(|&byte| byte == 0));
    assert_eq!(bytes[10 << 20], 0xaa);
}

#[test]
fn only_blank_devices_and_our_own_are_overwritten() {
    let head = |bytes: &[u8]| {
        let mut device = bytes.to_vec();
        device.resize(SIZE, 0);
        device
    };
    let mut at_the_end = vec![0; SIZE];
    at_the_end[SIZE - 512] = 1;
    let mut in_the_middle = vec![0; SIZE];
    in_the_middle[SIZE / 2] = 1;
    let mut late = vec![0; SIZE];
    late[(1 << 20) - 1] = 1;
    for (name, old, allowed) in [
        ("blank", vec![0; SIZE], true),
        ("ours", head(MAGIC), true),
        ("unfinished", head(&Toy::new().unfinished_head()), true),
        ("foreign", head(b"precious"), false),
        ("copy of a partition table", at_the_end, false),
        ("late in the first MiB", late, false),
        ("data in the middle", in_the_middle, false),
    ] {
        let Some(device) = Loop::new(&old) else { return };
        let length = toy().length();
        assert_eq!(
            check(Fit { length, sector_bytes: None }, &device.path, &CAREFUL).is_ok(),
            allowed,
            "{name}"
        );
        assert!(device.bytes() == old, "looking changes nothing");
        match device.put(&toy(), &CAREFUL) {
            Ok(_) => assert!(allowed, "{name}"),
            Err(error) => {
                assert!(!allowed, "{name}: {error}");
                assert_eq!(error.kind(), ErrorKind::Refused);
                assert!(error.hint_text().unwrap().contains("--force"));
                assert!(device.bytes() == old, "{name}: a refusal changes nothing");
                device.put(&toy(), &FORCE).unwrap();
            }
        }
        assert!(device.bytes().starts_with(&toy().bytes()), "{name}");
    }
}

#[test]
fn an_image_that_is_longer_than_the_device_is_refused() {
    let Some(device) = Loop::new(&vec![0; SIZE]) else { return };
    let mut toy = toy();
    toy.zeros(SIZE as u64 - toy.length());
    device.put(&toy, &CAREFUL).unwrap();
    toy.zeros(4096);
    let error = device.put(&toy, &FORCE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    let name = device.path.display();
    let text = format!("{name}: has {SIZE} bytes, and the image needs {}", SIZE + 4096);
    assert_eq!(error.to_string(), text);
    let length = SIZE as u64;
    let found = compare(&toy.image(), &device.path, &Control::default()).unwrap();
    assert_eq!(found, Some(Difference { offset: length, length }));
}

#[test]
fn a_device_in_use_is_refused_even_by_force() {
    let Some(device) = Loop::new(&vec![0; SIZE]) else { return };
    let mut exclusively = OpenOptions::new();
    exclusively.read(true).custom_flags(OFlags::EXCL.bits().cast_signed());
    let mounted = exclusively.open(&device.path).unwrap();
    let error = device.put(&toy(), &FORCE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(error.to_string(), format!("{}: in use", device.path.display()));
    assert!(device.bytes().iter().all(|&byte| byte == 0));
    drop(mounted);
    device.put(&toy(), &FORCE).unwrap();
}

#[test]
fn a_device_that_a_guest_has_locked_is_refused_even_by_force() {
    if let Some(device) = std::env::var_os(LOCKS) {
        let file = File::open(device).unwrap();
        fcntl_lock(&file, FlockOperation::NonBlockingLockShared).unwrap();
        println!("locked");
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        return;
    }
    let Some(device) = Loop::new(&vec![0; SIZE]) else { return };
    let mut guest = Command::new(std::env::current_exe().unwrap());
    let test = "a_device_that_a_guest_has_locked_is_refused_even_by_force";
    guest.args(["--exact", "--nocapture", test]).env(LOCKS, &device.path);
    let mut guest = guest.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(guest.stdout.take().unwrap()).lines();
    assert!(said.by_ref().map_while(std::result::Result::ok).any(|line| line.ends_with("locked")));
    let error = device.put(&toy(), &FORCE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(error.to_string(), format!("{}: in use", device.path.display()));
    drop(guest.stdin.take());
    assert!(guest.wait().unwrap().success());
    device.put(&toy(), &FORCE).unwrap();
}

#[test]
fn a_write_that_ends_early_leaves_the_unfinished_head() {
    let Some(device) = Loop::new(&vec![0; SIZE]) else { return };
    let old = toy::site(9, 8000, 0, 0);
    device.put(&old, &CAREFUL).unwrap();
    let mut failing = toy();
    failing.fails_after = Some(103);
    let error = device.put(&failing, &CAREFUL).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(device.bytes()[..4096], failing.unfinished_head());

    device.put(&old, &CAREFUL).unwrap();
    assert!(device.bytes().starts_with(&old.bytes()));
    let cancel = AtomicBool::new(false);
    let progress = |_| cancel.store(true, Ordering::Relaxed);
    let control = Control { watch: Watch::new(&cancel, &progress), ..Control::default() };
    let error = write(&toy().image(), &device.path, &CAREFUL, &control).unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Failed, "interrupted"));
    assert_eq!(device.bytes()[..4096], toy().unfinished_head());

    // The next write may finish it without `force`.
    device.put(&toy(), &CAREFUL).unwrap();
    assert!(device.bytes().starts_with(&toy().bytes()));
}

#[test]
fn a_cancelled_write_that_did_not_begin_changes_nothing() {
    let Some(device) = Loop::new(&vec![0; SIZE]) else { return };
    let cancel = AtomicBool::new(true);
    let control = Control { watch: Watch::cancelled_by(&cancel), ..Control::default() };
    write(&toy().image(), &device.path, &CAREFUL, &control).unwrap_err();
    assert!(device.bytes().iter().all(|&byte| byte == 0));
}

/// A small file system, which is unmounted when this is dropped.
struct Small {
    directory: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Small {
    fn new() -> Self {
        let turn = turn();
        let directory = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=3m", "tmpfs"]).arg(directory.path());
        assert!(mount.status().unwrap().success(), "be root, or set FREESTONE_NO_LOOP=1");
        Self { directory, _turn: turn }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.directory.path()).status();
    }
}

#[test]
fn without_room_the_target_is_unchanged_and_the_error_says_so() {
    if std::env::var_os("FREESTONE_NO_LOOP").is_some_and(|value| value == "1") {
        eprintln!("SKIPPED: FREESTONE_NO_LOOP=1, so a full file system was not tested");
        return;
    }
    let small = Small::new();
    let path: &Path = &small.directory.path().join("www.img");
    fs::write(path, MAGIC.repeat(1000)).unwrap();
    let error = write(&toy().image(), path, &CAREFUL, &Control::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage);
    assert!(error.to_string().ends_with("www.img: there is no room for the image"), "{error}");
    assert!(error.hint_text().unwrap().contains("unchanged"));
    assert_eq!(fs::read(path).unwrap(), MAGIC.repeat(1000));
    assert_eq!(
        fs::read_dir(small.directory.path()).unwrap().count(),
        1,
        "no temporary file is left"
    );
}
