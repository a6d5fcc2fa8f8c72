//! Large content is shared with the store where the file system can: shown by its extents and by
//! the space that is left.

use crate::mounting::may_mount;
use crate::program::{self, Home};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Content of raw chunks, as much as fills more than a pack.
const LARGE_BYTES: usize = 24 << 20;
const FILES: u64 = 4;

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..length.div_ceil(8)).flat_map(step).take(length).collect()
}

fn run(command: &mut Command) -> String {
    let output = command.output();
    let output = output.unwrap_or_else(|_| panic!("{command:?}: `scripts/setup --test`"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A file system in a file, mounted.
struct Mounted(PathBuf);

impl Mounted {
    fn new(home: &Home, make: &[&str]) -> Self {
        let image = home.path(format!("{}.disk", make[0]));
        File::create(&image).unwrap().set_len(1 << 30).unwrap();
        run(Command::new(make[0]).args(&make[1..]).arg(&image));
        let place = home.path(format!("on-{}", make[0]));
        fs::create_dir(&place).unwrap();
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&place));
        Self(place)
    }

    /// Bytes that are free when all is written.
    fn free(&self) -> u64 {
        run(Command::new("sync").arg("-f").arg(&self.0));
        let stat = run(Command::new("stat").args(["-f", "-c", "%f %S"]).arg(&self.0));
        let mut numbers = stat.split_whitespace().map(|word| word.parse::<u64>().unwrap());
        numbers.next().unwrap() * numbers.next().unwrap()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn shared_extents(path: &Path) -> usize {
    let listed = run(Command::new("filefrag").arg("-v").arg(path));
    listed.lines().filter(|line| line.contains("shared")).count()
}

#[test]
fn proven_content_is_shared_on_xfs_and_btrfs() {
    if !may_mount() {
        return;
    }
    for make in [&["mkfs.xfs", "-q"][..], &["mkfs.btrfs", "-q"]] {
        let home = Home::new();
        for n in 0..FILES {
            home.write(
                format!("site/{n}.bin"),
                &noise(n, LARGE_BYTES + 1000 * usize::try_from(n).unwrap()),
            );
        }
        home.write("site/zeros.bin", &[noise(8, 100_001), vec![0; 1 << 20]].concat());
        home.write("site/small.html", b"small");
        home.ok(["image", "./site", "-o", "expected.img", "--mtime", program::NOW]);
        let mounted = Mounted::new(&home, make);
        let store = mounted.0.join("store");
        let in_store = |arguments: &[&str]| {
            let mut command = home.command(arguments);
            command.arg("--json").env("FREESTONE_STORE", &store);
            serde_json::from_str::<serde_json::Value>(&run(&mut command)).unwrap()
        };
        in_store(&["init"]);
        in_store(&["push", "site"]);
        std::thread::sleep(std::time::Duration::from_millis(100));
        let content = FILES * LARGE_BYTES as u64;
        let mut checked = Vec::new();
        for round in 0..3 {
            let path = mounted.0.join(format!("{round}.img"));
            let before = mounted.free();
            let output = path.to_str().unwrap();
            let mut arguments = vec!["image", "main", "-o", output];
            // The last as if nothing had been proven.
            arguments.extend((round == 2).then_some("--prove"));
            let made = in_store(&arguments);
            let number = |key: &str| made[key].as_u64().unwrap();
            let sum = number("written") + number("shared") + number("zeros");
            assert_eq!(sum, number("length"), "{made}");
            assert!(number("shared") > content - (256 << 10), "{made}");
            // The heads, ends of contents, and what the file system needs for itself.
            let used = before.saturating_sub(mounted.free());
            assert!(used < 1 << 20, "{}: {used} bytes", make[0]);
            assert!(shared_extents(&path) > 0);
            checked.push(number("checked"));
            assert!(fs::read(&path).unwrap() == home.read("expected.img"), "{}", make[0]);
        }
        // Hashed once, then remembered, unless that is not wanted.
        assert!(checked[0] > content && checked[2] > content, "{checked:?}");
        assert!(checked[1] < 256 << 10, "{checked:?}");
        // With digests all goes through memory, and says the same.
        let path = mounted.0.join("digest.img");
        in_store(&["image", "main", "--digest", "-o", path.to_str().unwrap()]);
        assert!(fs::read(&path).unwrap() == home.read("expected.img"));
    }
}

#[test]
fn where_nothing_is_shared_the_image_is_the_same() {
    let home = Home::new();
    home.write("site/large.bin", &noise(1, 9 << 20));
    home.write("site/small.html", b"small");
    home.ok(["init"]);
    home.ok(["push", "site"]);
    home.ok(["image", "./site", "-o", "expected.img", "--mtime", program::NOW]);
    std::thread::sleep(std::time::Duration::from_millis(100));
    // To another file system, and beside the store, before and after it is proven.
    let elsewhere = if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" };
    let elsewhere = tempfile::tempdir_in(elsewhere).unwrap();
    for _ in 0..2 {
        for path in [home.path("www.img"), elsewhere.path().join("www.img")] {
            for align in ["4096", "none"] {
                home.ok(["image", "main", "--align", align, "-o", path.to_str().unwrap()]);
                home.ok(["inspect", path.to_str().unwrap(), "--against", "main"]);
            }
            home.ok(["image", "main", "-o", path.to_str().unwrap()]);
            assert!(fs::read(&path).unwrap() == home.read("expected.img"));
        }
        home.ok(["verify", "--data"]);
    }
}
