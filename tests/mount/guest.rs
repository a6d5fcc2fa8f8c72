//! A guest boots and reads images from block devices, however they are attached: the digests that
//! it finds are those of the files that were pushed.

use crate::mounting::{Mount, may_mount};
use crate::program::Home;
use crate::server::Server;
use freestone_core::digest;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Emulated on a busy machine a boot may take long; one that takes longer hangs.
const BOOT_MAX: Duration = Duration::from_secs(400);

/// A drive of the guest.
struct Drive {
    /// How the image is attached, for people.
    name: &'static str,
    /// What the guest reads it as: `tar` or `fat`.
    kind: &'static str,
    /// What QEMU is told.
    options: String,
    /// The image, to compare the whole device with.
    image: Vec<u8>,
}

fn files(home: &Home) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for section in 0..4 {
        for page in 0..8 {
            let text = format!("section {section}, page {page}\n").repeat(page * 97 + 1);
            files.insert(format!("section-{section}/page-{page}.html"), text.into_bytes());
        }
    }
    let large = (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    files.insert("video.bin".into(), large);
    files.insert("empty".into(), Vec::new());
    files
        .into_iter()
        .map(|(path, bytes)| {
            home.write(format!("site/{path}"), &bytes);
            (format!("./{path}"), digest::sha1(&bytes).to_string())
        })
        .collect()
}

fn guest() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guest");
    let script = freestone_testkit::top().join("tests/guest/make");
    let made = Command::new(script).arg(&directory).status().unwrap();
    assert!(made.success(), "the guest's kernel cannot be had");
    directory
}

/// What the guest says.
fn boot(drives: &[Drive]) -> String {
    let guest = guest();
    let kinds: Vec<&str> = drives.iter().map(|drive| drive.kind).collect();
    // Messages of the kernel would come in between the digests.
    let line = format!("console=ttyS0 quiet loglevel=0 panic=-1 drives={}", kinds.join(","));
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args(["-accel", "tcg", "-m", "256", "-display", "none", "-serial", "stdio"])
        .args(["-monitor", "none", "-no-reboot", "-nic", "none", "-nodefaults"])
        .arg("-kernel")
        .arg(guest.join("vmlinuz"))
        .arg("-initrd")
        .arg(guest.join("initramfs"))
        .args(["-append", &line]);
    for drive in drives {
        command.args(["-drive", &format!("if=virtio,format=raw,{}", drive.options)]);
    }
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = spawned.expect("qemu-system-x86_64; `scripts/setup --test` installs it");
    let mut stdout = child.stdout.take().unwrap();
    let reading = std::thread::spawn(move || {
        let mut said = Vec::new();
        stdout.read_to_end(&mut said).unwrap();
        String::from_utf8_lossy(&said).replace('\r', "")
    });
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > BOOT_MAX {
            child.kill().unwrap();
            panic!("the guest did not end: {}", reading.join().unwrap());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    reading.join().unwrap()
}

#[test]
fn a_guest_finds_every_file_on_every_kind_of_drive() {
    if !may_mount() {
        return;
    }
    let home = Home::new();
    let expected = files(&home);
    home.ok(["init"]);
    let revision = home.ok(["push", "site"]);
    let mount = Mount::start(&home, &[]);
    let server = Server::nbd(&home, "nbd", &["main"]);
    let mut drives = Vec::new();
    for kind in ["tar", "fat"] {
        let written = home.path(format!("www.{kind}"));
        home.ok(["image", "main", "--format", kind, "-o", written.to_str().unwrap()]);
        let export = format!("{}.{kind}", revision.trim());
        let mut drive = |name, options| {
            drives.push(Drive { name, kind, options, image: fs::read(&written).unwrap() });
        };
        drive("a written file", format!("readonly=on,file={}", written.display()));
        drive(
            "a file of the mount, opened for writing too",
            format!("file={}", mount.path(&export).display()),
        );
        drive(
            "an export of the server",
            format!(
                "readonly=on,file.driver=nbd,file.server.type=unix,file.server.path={},\
                 file.export={export}",
                server.socket().display()
            ),
        );
    }
    let said = boot(&drives);
    let mut parts = said.split("== ").skip(1);
    for (drive, letter) in drives.iter().zip('a'..) {
        let name = format!("{} as {}", drive.name, drive.kind);
        let part = parts.next().unwrap_or_else(|| panic!("{name}: {said}"));
        let mut lines = part.lines();
        let first = lines.next().unwrap();
        let whole = format!("{letter} {}  -", digest::sha1(&drive.image));
        assert_eq!(first, whole, "{name}: the whole device");
        let found: BTreeMap<String, String> = lines
            .filter_map(|line| line.split_once("  "))
            .map(|(digest, path)| (path.to_owned(), digest.to_owned()))
            .collect();
        assert_eq!(found, expected, "{name}: {said}");
    }
    assert!(parts.next().is_some_and(|end| end.starts_with("end")), "{said}");
    assert!(fs::metadata(mount.path("main.tar")).is_ok(), "the mount is still there");
    assert_eq!(server.log().lines().count(), 1, "nothing failed: {}", server.log());
}
