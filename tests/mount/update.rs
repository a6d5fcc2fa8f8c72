//! `image --update`: only what differs is written, a target in use is refused, and one that was
//! killed says so until the next run finishes it.

use crate::program::{self, Home};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// A site of pages of 10 KB, some large files, and three revisions: the first; one page changed in
/// length not at all; that page longer, so that all behind it moves.
fn home() -> Home {
    let home = Home::new();
    let page = |n: u32, byte: char| format!("page {n:04} {byte}").repeat(1000);
    for n in 0..400 {
        home.write(format!("site/{:02}/{n:04}.html", n % 20), page(n, 'a').as_bytes());
    }
    let large: Vec<u8> =
        (0..9_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    home.write("site/video.bin", &large);
    home.ok(["init"]);
    home.ok(["push", "site"]);
    home.write("site/10/0130.html", page(130, 'b').as_bytes());
    home.ok(["push", "site"]);
    home.write("site/10/0130.html", page(130, 'b').repeat(2).as_bytes());
    home.ok(["push", "site"]);
    for (rev, name) in [("main~2", "first.img"), ("main~1", "second.img"), ("main", "third.img")] {
        home.ok(["image", rev, "-o", name]);
    }
    home
}

fn number(answer: &serde_json::Value, key: &str) -> u64 {
    answer[key].as_u64().unwrap_or_else(|| panic!("{key} of {answer}"))
}

fn copy(home: &Home, from: &str, to: &str) {
    fs::copy(home.path(from), home.path(to)).unwrap();
}

#[test]
fn only_what_differs_is_read_and_written() {
    let home = home();
    copy(&home, "first.img", "www.img");
    let inode = fs::metadata(home.path("www.img")).unwrap().ino();
    let answer = home.json(["image", "main~1", "--update", "--read-back", "-o", "www.img"]);
    assert!(home.read("www.img") == home.read("second.img"));
    assert_eq!(fs::metadata(home.path("www.img")).unwrap().ino(), inode);
    // The page, its header, and twice the head.
    assert!(number(&answer, "written") < 40_000, "{answer}");
    assert!(number(&answer, "read") < 60_000, "{answer}");
    assert!(number(&answer, "checked") < 60_000, "{answer}");
    assert_eq!(answer["updated"], true);
    assert!(answer["from"].as_str().unwrap().starts_with("freestone 1 tar "));
    // The same again.
    let said = home.command(["image", "main~1", "--update", "-o", "www.img"]).output().unwrap();
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(said.contains("up to date"), "{said}");
    // What moves is written again, and the file grows and shrinks.
    for (rev, expected) in [("main", "third.img"), ("main~2", "first.img"), ("main", "third.img")] {
        let answer = home.json(["image", rev, "--update", "-o", "www.img"]);
        assert!(home.read("www.img") == home.read(expected), "{rev}");
        assert!(number(&answer, "written") < number(&answer, "length"));
    }
    // With digests everything is looked at, and the same is written.
    let answer = home.json(["image", "main~1", "--update", "--digest", "-o", "www.img"]);
    assert!(home.read("www.img") == home.read("second.img"));
    assert!(
        number(&answer, "read") >= number(&answer, "length") - 4096 && answer["sha256"].is_string()
    );
}

#[test]
fn a_target_that_is_not_known_is_compared_whole() {
    let home = home();
    // An image whose manifest the store does not have.
    home.write("other/10/0130.html", b"other");
    home.ok(["image", "./other", "-o", "www.img"]);
    let answer = home.json(["image", "main", "--update", "-o", "www.img"]);
    assert!(home.read("www.img") == home.read("third.img"));
    assert!(answer["from"].is_null());
    // Cut off: its head is right, its length is not.
    let file = OpenOptions::new().write(true).open(home.path("www.img")).unwrap();
    file.set_len(100_000).unwrap();
    home.ok(["image", "main", "--update", "-o", "www.img"]);
    assert!(home.read("www.img") == home.read("third.img"));
    // New, and empty.
    for name in ["new.img", "empty.img"] {
        if name == "empty.img" {
            home.write(name, b"");
        }
        let answer = home.json(["image", "main", "--update", "-o", name]);
        assert!(home.read(name) == home.read("third.img"));
        assert_eq!(answer["updated"], false);
    }
    // Something else.
    home.write("else", &[7; 9000]);
    home.fails(7, ["image", "main", "--update", "-o", "else"]);
    assert!(home.read("else") == [7; 9000]);
    home.ok(["image", "main", "--update", "--force", "-o", "else"]);
    assert!(home.read("else") == home.read("third.img"));
    home.fails(2, ["image", "main", "--update", "-o", "-"]);
    // A directory, without any store.
    home.ok(["image", "./site", "--update", "-o", "www.img", "--mtime", program::NOW]);
    assert!(home.read("www.img") == fs::read(home.path("www.img")).unwrap());
}

/// Holds a lock on a file while it lives: Python, which can take each kind.
struct Holder(std::process::Child);

impl Holder {
    fn new(path: &Path, how: &str) -> Self {
        let program = format!(
            "import fcntl,struct,sys,time\n\
             f=open(sys.argv[1],'r+b')\n\
             {how}\n\
             print('held',flush=True)\n\
             time.sleep(600)\n"
        );
        let mut child = Command::new("python3")
            .args(["-c", &program])
            .arg(path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
        assert_eq!(line, "held\n");
        Self(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_target_in_use_is_refused() {
    let home = home();
    copy(&home, "first.img", "www.img");
    let path = home.path("www.img");
    // QEMU's: a read lock of an open file description on one byte, 37 being F_OFD_SETLK.
    let shared = "fcntl.fcntl(f,37,struct.pack('hhqqi4x',fcntl.F_RDLCK,0,201,1,0))";
    for how in [shared, "fcntl.flock(f,fcntl.LOCK_SH)", "fcntl.lockf(f,fcntl.LOCK_EX,1,100)"] {
        let holder = Holder::new(&path, how);
        let said = home.fails(7, ["image", "main", "--update", "-o", "www.img"]);
        assert!(said.contains("in use"), "{how}: {said}");
        assert!(home.read("www.img") == home.read("first.img"), "{how}");
        drop(holder);
    }
    // QEMU itself, which has opened the image and waits.
    let mut qemu = Command::new("qemu-system-x86_64")
        .args(["-S", "-nodefaults", "-display", "none", "-accel", "tcg", "-m", "32"])
        .args(["-monitor", "stdio", "-drive"])
        .arg(format!("if=virtio,format=raw,readonly=on,file={}", path.display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("qemu-system-x86_64; `scripts/setup --test` installs it");
    let mut greeting = [0; 4];
    std::io::Read::read_exact(qemu.stdout.as_mut().unwrap(), &mut greeting).unwrap();
    let said = home.fails(7, ["image", "main", "--update", "-o", "www.img"]);
    assert!(said.contains("in use"), "{said}");
    qemu.kill().unwrap();
    qemu.wait().unwrap();
    home.ok(["image", "main", "--update", "-o", "www.img"]);
    assert!(home.read("www.img") == home.read("third.img"));
}

/// What reads an image, and that it takes `path` or fails loudly.
fn is_taken(path: &Path) -> bool {
    let take = |program: &str, options: &[&str]| {
        let mut command = Command::new(program);
        command.args(options).arg(path).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().unwrap().success()
    };
    let taken = take("tar", &["-tf"]);
    for (program, options) in [
        ("bsdtar", &["-tf"][..]),
        ("busybox", &["tar", "-tf"]),
        ("python3", &["-c", "import sys,tarfile;list(tarfile.open(sys.argv[1],'r:'))"]),
    ] {
        assert_eq!(take(program, options), taken, "{program}");
    }
    taken
}

#[test]
fn killed_at_any_moment_it_is_old_or_new_or_unfinished_and_is_finished_by_the_next() {
    let home = home();
    let (old, new) = (home.read("first.img"), home.read("third.img"));
    let kills = if std::env::var_os("FREESTONE_LONG").is_some() { 500 } else { 20 };
    let (mut unfinished, mut delay) = (0, Duration::ZERO);
    for round in 0..kills {
        copy(&home, "first.img", "www.img");
        let mut child = home
            .command(["image", "main", "--update", "-o", "www.img"])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Kill it a little later each time; begin anew when it is too late.
        sleep(delay);
        child.kill().unwrap();
        child.wait().unwrap();
        let found = home.read("www.img");
        if found == new {
            delay = Duration::ZERO;
        } else {
            delay += Duration::from_millis(2);
        }
        if found != old && found != new {
            unfinished += 1;
            assert!(found.starts_with(b"freestone: this image is unfinished"), "round {round}");
            let text = String::from_utf8_lossy(&found[..1000]);
            assert!(text.contains("it was: freestone 1 tar"), "{text}");
            assert!(!is_taken(&home.path("www.img")));
            assert_eq!(home.run(["inspect", "www.img"]).code, Some(3));
        }
        home.ok(["image", "main", "--update", "-o", "www.img"]);
        assert!(home.read("www.img") == new, "round {round}");
    }
    assert!(is_taken(&home.path("www.img")));
    eprintln!("{unfinished} of {kills} were unfinished");
}

/// A loop device over a file.
struct Loop(PathBuf);

impl Loop {
    fn new(backing: &Path) -> Option<Self> {
        if std::env::var_os("FREESTONE_NO_LOOP").is_some_and(|value| value == "1") {
            eprintln!("SKIPPED: FREESTONE_NO_LOOP=1, so no device was updated");
            return None;
        }
        let attached = Command::new("losetup").args(["--find", "--show"]).arg(backing).output();
        let attached = attached.unwrap();
        assert!(attached.status.success(), "{}", String::from_utf8_lossy(&attached.stderr));
        Some(Self(PathBuf::from(String::from_utf8(attached.stdout).unwrap().trim())))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("-d").arg(&self.0).status();
    }
}

#[test]
fn a_device_is_updated_and_a_file_that_is_one_is_in_use() {
    let home = home();
    let (first, third) = (home.read("first.img"), home.read("third.img"));
    let behind = vec![0xaa; 1 << 20];
    home.write("disk", &[&first[..], &behind].concat());
    home.write("small", &first[..first.len() - 4096]);
    let Some(device) = Loop::new(&home.path("disk")) else { return };
    let said = home.fails(7, ["image", "main", "--update", "-o", "disk"]);
    assert!(said.contains("in use as /dev/loop"), "{said}");
    let name = device.0.to_str().unwrap().to_owned();
    let answer = home.json(["image", "main", "--update", "--read-back", "-o", &name]);
    assert!(number(&answer, "written") < number(&answer, "length"));
    assert!(answer["from"].is_string());
    let answer = home.json(["image", "main~1", "--update", "-o", &name]);
    assert!(number(&answer, "read") > 0);
    let answer = home.json(["image", "main", "--update", "-o", &name]);
    assert_eq!(number(&answer, "length"), third.len() as u64);
    drop(device);
    let disk = home.read("disk");
    assert!(disk.starts_with(&third));
    // What lies behind the longer image is untouched.
    assert!(disk[third.len().max(first.len())..].iter().all(|byte| *byte == 0xaa));
    // Too small: refused before anything is written.
    let Some(device) = Loop::new(&home.path("small")) else { return };
    let name = device.0.to_str().unwrap().to_owned();
    let said = home.fails(7, ["image", "main", "--update", "-o", &name]);
    assert!(said.contains("bytes, and the image needs"), "{said}");
    drop(device);
    assert!(home.read("small") == first[..first.len() - 4096]);
}

#[test]
fn damage_that_the_head_does_not_show_is_found_by_reading_back() {
    let home = home();
    copy(&home, "first.img", "www.img");
    let file = OpenOptions::new().write(true).open(home.path("www.img")).unwrap();
    file.write_all_at(b"damage", 5_000_000).unwrap();
    let said = home.fails(3, ["image", "main~1", "--update", "--read-back", "-o", "www.img"]);
    assert!(said.contains("differs from the image at byte 5000000"), "{said}");
}
