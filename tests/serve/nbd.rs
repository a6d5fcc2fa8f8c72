//! `freestone serve nbd` with the usual clients.

use crate::program::Home;
use crate::server::client::Client;
use crate::server::{Server, noise, varied};
use crate::support::output;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::server::wire;

fn run(program: &str, arguments: &[&str]) -> String {
    output(Command::new(program).args(arguments))
}

#[test]
fn libnbd_lists_describes_and_copies() {
    let (home, image) = varied();
    let server = Server::nbd(&home, "nbd", &["main"]);
    let id = home.ok(["resolve", "main"]).trim().to_owned();

    let listed = run("nbdinfo", &["--list", "--json", &server.uri("")]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let names: Vec<&str> = listed["exports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|export| export["export-name"].as_str().unwrap())
        .collect();
    assert!(names.contains(&&*format!("{id}.tar")), "{names:?}");

    for (name, multi) in [("main", false), ("", false), (&*format!("{id}.tar"), true)] {
        let info = run("nbdinfo", &["--json", &server.uri(name)]);
        let info: serde_json::Value = serde_json::from_str(&info).unwrap();
        let export = &info["exports"][0];
        assert_eq!(export["export-size"], image.len());
        assert_eq!(export["is_read_only"], true);
        assert_eq!(export["can_multi_conn"], multi, "{name}");
        assert_eq!(export["block_size_preferred"], 4096);
        assert!(export["description"].as_str().unwrap().starts_with("freestone 1 tar"));
        assert_eq!(info["structured"], true);
    }

    let copy = home.path("copy.img");
    for (name, connections) in [("main", "1"), (&*format!("{id}.tar"), "4")] {
        let connections = format!("--connections={connections}");
        run("nbdcopy", &[&connections, &server.uri(name), copy.to_str().unwrap()]);
        assert!(fs::read(&copy).unwrap() == image, "{name}");
    }
}

/// QEMU requests each listed export on one connection, and stops at the first that is refused.
#[test]
fn qemu_lists_many_exports_of_which_fat_cannot_hold_one() {
    let home = Home::new();
    home.ok(["init"]);
    for n in 0..80 {
        home.write("site/n", format!("{n}").as_bytes());
        home.write("site/A.html", b"A");
        home.write("site/a.html", b"a");
        home.ok(["push", "site"]);
    }
    let revisions: Vec<String> = (0..80).map(|n| format!("main~{n}")).collect();
    let revisions: Vec<&str> = revisions.iter().map(String::as_str).collect();
    let server = Server::nbd(&home, "nbd", &revisions);
    let socket = server.socket();
    let listed = run("qemu-nbd", &["--list", "-k", socket.to_str().unwrap()]);
    assert!(listed.starts_with("exports available: 160\n"), "{listed}");
    assert_eq!(listed.matches(".tar'").count(), 80);
    let refused = Command::new("nbdinfo").arg(server.uri("main~1.fat")).output().unwrap();
    assert!(!refused.status.success());
}

/// The holes that nbdinfo reports are zeros, and long runs of zeros are holes.
#[test]
fn holes_are_the_zeros() {
    let (home, image) = varied();
    let server = Server::nbd(&home, "nbd", &["main"]);
    let map = run("nbdinfo", &["--map", "--json", &server.uri("main")]);
    let map: serde_json::Value = serde_json::from_str(&map).unwrap();
    let mut end = 0;
    let mut holes = 0;
    for run in map.as_array().unwrap() {
        let offset = usize::try_from(run["offset"].as_u64().unwrap()).unwrap();
        let length = usize::try_from(run["length"].as_u64().unwrap()).unwrap();
        assert_eq!(offset, end);
        end = offset + length;
        if run["type"] == wire::HOLE_AND_ZERO {
            assert!(image[offset..end].iter().all(|byte| *byte == 0));
            holes += length;
        } else {
            assert_eq!(run["type"], 0);
        }
    }
    assert_eq!(end, image.len());
    assert!(holes > 2_900_000, "{holes}");
}

#[test]
fn qemu_converts_compares_and_reads() {
    let (home, image) = varied();
    let server = Server::nbd(&home, "nbd", &["main"]);
    let (uri, copy) = (server.uri("main"), home.path("copy.img"));
    let (written, copy) = (home.path("written.img"), copy.to_str().unwrap());
    let written = written.to_str().unwrap();
    run("qemu-img", &["compare", "-f", "raw", "-F", "raw", written, &uri]);
    run("qemu-img", &["convert", "-f", "raw", "-O", "raw", &uri, copy]);
    assert!(fs::read(copy).unwrap() == image);
    // Two ranges, of which one starts and ends within blocks.
    let read = run("qemu-io", &["-r", "-f", "raw", "-c", "read 0 1k", "-c", "read 5 70000", &uri]);
    assert!(!read.contains("error") && read.matches("bytes at offset").count() == 2, "{read}");
    let refused = Command::new("qemu-io").args(["-f", "raw", "-c", "write 0 512", &uri]).output();
    let refused = refused.unwrap();
    assert!(!refused.status.success() || !refused.stderr.is_empty(), "it was written to");
}

#[test]
fn fio_reads_at_random_over_four_connections() {
    let (home, image) = varied();
    let server = Server::nbd(&home, "nbd", &["main"]);
    let id = home.ok(["resolve", "main"]).trim().to_owned();
    let uri = server.uri(&format!("{id}.tar"));
    let size = (image.len() / 4096 * 4096).to_string();
    let ran = run(
        "fio",
        &[
            "--name=nbd",
            "--ioengine=nbd",
            &format!("--uri={uri}"),
            "--rw=randread",
            "--bs=4k",
            "--iodepth=32",
            "--numjobs=4",
            "--thread",
            &format!("--size={size}"),
            "--io_size=8m",
            "--output-format=json",
        ],
    );
    // fio may print other lines before its JSON.
    let ran: serde_json::Value = serde_json::from_str(&ran[ran.find('{').unwrap()..]).unwrap();
    for job in ran["jobs"].as_array().unwrap() {
        assert_eq!(job["error"], 0);
        assert_eq!(job["read"]["io_bytes"], 8 << 20);
    }
}

#[test]
fn signals_end_the_server_with_success_and_remove_its_socket() {
    let home = Home::with_revisions();
    for signal in ["TERM", "INT"] {
        let server = Server::nbd(&home, signal, &["main"]);
        let socket = server.socket();
        let _idle = server.connect();
        let (status, log) = server.end(signal);
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(!Path::exists(&socket));
    }
}

/// A client that connects again by the name of a ref, to a server that was started again after the
/// ref had moved, finds the bytes of before; SIGHUP gives out the newer image.
#[test]
fn a_restart_does_not_change_what_a_name_means() {
    let (home, image) = varied();
    let before = home.ok(["resolve", "main"]).trim().to_owned();
    let read = |server: &Server| {
        let copy = home.path("copy.img");
        run("nbdcopy", &[&server.uri("main"), copy.to_str().unwrap()]);
        fs::read(&copy).unwrap()
    };
    let server = Server::nbd(&home, "www", &["main"]);
    assert!(read(&server) == image);
    assert!(server.end("TERM").0.success());
    home.write("site/new", b"another image");
    home.ok(["push", "site"]);
    home.ok(["image", "main", "-o", "newer.img"]);
    let newer = home.read("newer.img");
    assert!(newer != image);

    for signal in ["TERM", "KILL"] {
        let server = Server::nbd(&home, "www", &["main"]);
        server.expect_log(&format!("main stays revision {before}"));
        assert!(read(&server) == image, "the device of a client changed under it");
        server.end(signal);
    }
    // A server at another socket has other clients.
    assert!(read(&Server::nbd(&home, "other", &["main"])) == newer);
    // What others may have written, and what is another store's, is not believed.
    let bound = home.path("www.sock.bound");
    let kept = fs::read(&bound).unwrap();
    home.set_mode("www.sock.bound", 0o666);
    let server = Server::nbd(&home, "www", &["main"]);
    assert!(read(&server) == newer);
    server.end("TERM");
    let text = String::from_utf8(kept.clone()).unwrap();
    let at = text.find("store\":\"").unwrap() + 8;
    let other = [&text[..at], &"0".repeat(32), &text[at + 32..]].concat();
    fs::write(&bound, other).unwrap();
    let server = Server::nbd(&home, "www", &["main"]);
    assert!(read(&server) == newer);
    server.end("TERM");

    fs::write(&bound, kept).unwrap();
    let server = Server::nbd(&home, "www", &["main"]);
    assert!(read(&server) == image);
    server.signal("HUP");
    let now = home.ok(["resolve", "main"]).trim().to_owned();
    server.expect_log(&format!("serving main, revision {}", &now[..12]));
    assert!(read(&server) == newer);
    server.end("TERM");
    assert!(read(&Server::nbd(&home, "www", &["main"])) == newer);
}

/// A server that runs through many compactions holds few removed packs open: their room would not
/// become free, and descriptors would run out.
#[test]
fn packs_that_compactions_removed_are_closed() {
    let home = Home::with_revisions();
    let server = Server::nbd(&home, "compacted", &["main", "--all", "--follow"]);
    for round in 0..15 {
        home.write("site/index.html", &noise(round + 100, 50_000));
        home.ok(["push", "site"]);
        home.ok(["store", "compact", "--all", "--grace", "0", "--level", "1"]);
        home.ok(["image", "main", "--force", "-o", "new.img"]);
        let image = home.read("new.img");
        let mut client = Client::new(server.connect(), "main", true);
        assert!(client.read(0, u32::try_from(image.len()).unwrap()).unwrap() == image);
    }
    let removed = server.removed_pack_count();
    assert!(removed <= 4, "{removed} removed packs are open");
}
