//! However an image is attached, any range of it is that of the written image: through NBD, HTTP
//! and the mount, on a device and as a file, in each format.

use crate::mounting::{Mount, may_mount};
use crate::program::Home;
use crate::server::client::Client;
use crate::server::{Server, noise, start, take};
use proptest::prelude::*;
use std::cell::RefCell;
use std::fs::File;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Trees of different sizes: lengths of files from nothing to several chunks, around the ends of
/// sectors, of clusters and of what is one chunk; texts, noise and holes.
fn write_site(home: &Home, seed: u64) {
    let random = noise(seed + 1, 4096);
    let mut numbers = random.chunks(2).map(|two| usize::from(u16::from_le_bytes([two[0], two[1]])));
    let mut next = |below: usize| numbers.next().unwrap() % below;
    let around = [0, 1, 511, 512, 4095, 4096, 4097, 65_535, 65_536, 70_001, 1 << 20, 3_000_000];
    for at in 0..next(60) + usize::from(seed > 0) {
        let length = around[next(around.len())] + next(3);
        let bytes = match next(4) {
            0 => vec![0; length],
            1 => format!("file {at} of a tree\n").into_bytes().repeat(length / 18 + 1),
            _ => noise(seed * 1000 + at as u64, length),
        };
        // Names that FAT must give another short name, too.
        let folder = ["", "docs/", "docs/A long name of a folder/", "x/y/z/"][next(4)];
        home.write(
            format!("site/{folder}file {at:02} of many.data"),
            &bytes[..length.min(bytes.len())],
        );
    }
    home.write("site/index.html", b"<h1>hello</h1>\n");
}

/// How a range of an image is had.
type Read = Box<dyn Fn(u64, usize) -> Vec<u8>>;

fn over_nbd(server: &Server, export: &str, is_structured: bool) -> Read {
    let client = RefCell::new(Client::new(server.connect(), export, is_structured));
    Box::new(move |offset, length| {
        client.borrow_mut().read(offset, u32::try_from(length).unwrap()).unwrap()
    })
}

fn over_http(server: &Server, image: &str) -> Read {
    let stream = RefCell::new(TcpStream::connect(server.place()).unwrap());
    let image = image.to_owned();
    Box::new(move |offset, length| {
        let stream = &mut *stream.borrow_mut();
        let last = offset + length as u64 - 1;
        let asked = format!(
            "GET /images/{image} HTTP/1.1\r\nHost: x\r\nRange: bytes={offset}-{last}\r\n\r\n"
        );
        stream.write_all(asked.as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(take(stream, 1));
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 206 "), "{head}");
        assert!(head.contains(&format!("\r\nContent-Length: {length}\r\n")), "{head}");
        take(stream, length)
    })
}

fn of_file(path: &Path) -> Read {
    let file = File::open(path).unwrap();
    Box::new(move |offset, length| {
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, offset).unwrap();
        bytes
    })
}

/// A loop device with room for an image and more.
struct Device(PathBuf);

impl Device {
    fn new(home: &Home, name: &str, length: u64) -> Self {
        let backing = home.path(name);
        File::create(&backing).unwrap().set_len(length).unwrap();
        let attached = Command::new("losetup").args(["--find", "--show"]).arg(&backing).output();
        let attached = attached.unwrap();
        assert!(attached.status.success(), "{}", String::from_utf8_lossy(&attached.stderr));
        Self(String::from_utf8(attached.stdout).unwrap().trim().into())
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("-d").arg(&self.0).status();
    }
}

/// Endings of images' names, with what `image` is told to write the same.
const FORMATS: [(&str, &[&str]); 3] = [
    ("tar", &[]),
    ("fat", &["--format", "fat"]),
    ("mirage.fat", &["--format", "fat", "--profile", "mirage"]),
];

/// A start and a length, out of 2^32 each, of which some are near to the ends, and some short.
fn ranges() -> impl Strategy<Value = Vec<(u32, u32, u8)>> {
    prop::collection::vec((any::<u32>(), any::<u32>(), 0..4u8), 1..12)
}

fn range((start, length, kind): (u32, u32, u8), whole: usize) -> (u64, usize) {
    let scale =
        |part: u32, of: usize| usize::try_from((u64::from(part) * of as u64) >> 32).unwrap();
    let start = match kind {
        0 => scale(start, whole.min(10_000)),
        1 => whole - 1 - scale(start, whole.min(10_000)),
        _ => scale(start, whole),
    };
    let most = if kind == 3 { 3_000_000 } else { 10_000 };
    (start as u64, (1 + scale(length, most)).min(whole - start))
}

#[test]
fn every_sink_gives_what_the_written_image_holds() {
    let mounts = may_mount();
    for seed in 0..4 {
        let home = Home::new();
        write_site(&home, seed);
        home.ok(["init"]);
        let id = home.ok(["push", "site"]).trim().to_owned();
        let nbd = Server::nbd(&home, "nbd", &["main"]);
        let http = start(home.command(["serve", "http", "main", "--listen", "127.0.0.1:0"]));
        let mount = mounts.then(|| Mount::start(&home, &[]));
        for (ending, options) in FORMATS {
            let written = format!("www.{ending}");
            home.ok(["image", "main", "-o", &written].iter().chain(options));
            let image = home.read(&written);
            let name = format!("{id}.{ending}");
            let mut sinks: Vec<(&str, Read)> = Vec::new();
            let mut devices = Vec::new();
            if let Some(mount) = &mount {
                sinks.push(("FUSE", of_file(&mount.path(&name))));
                let device =
                    Device::new(&home, &format!("disk.{ending}"), image.len() as u64 + 8192);
                let place = device.0.to_str().unwrap();
                home.ok(["image", "main", "-o", place].iter().chain(options));
                sinks.push(("device", of_file(&device.0)));
                devices.push(device);
            }
            // After the device, which may take long to write: the server closes what idles.
            sinks.push(("NBD, structured replies", over_nbd(&nbd, &name, true)));
            sinks.push(("NBD, simple replies", over_nbd(&nbd, &format!("main.{ending}"), false)));
            sinks.push(("file", of_file(&home.path(&written))));
            sinks.push(("HTTP", over_http(&http, &name)));
            let length = image.len();
            let mut config = ProptestConfig::with_cases(24);
            config.failure_persistence = None;
            proptest!(config, |(ranges in ranges())| {
                for asked in ranges {
                    let (start, count) = range(asked, length);
                    let from = usize::try_from(start).unwrap();
                    for (sink, read) in &sinks {
                        assert!(
                            read(start, count) == image[from..from + count],
                            "{sink}, {ending}, tree {seed}: {count} bytes at {start}"
                        );
                    }
                }
            });
            drop(sinks);
        }
        for (server, what) in [(&nbd, "nbd"), (&http, "http")] {
            assert_eq!(server.log().lines().count(), 1, "{what}: {}", server.log());
        }
    }
}
