//! What clients together can make a server use: memory for long replies, and descriptors.

use crate::program::Home;
use crate::server::client::Client;
use crate::server::{self, Server, start, until};
use crate::support::output;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

/// Connects to a server of HTTP.
fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.place()).unwrap();
    stream.set_read_timeout(Some(server::PATIENCE)).unwrap();
    stream
}

/// Sends `request`, and returns all that the server sends until it ends the connection.
fn answer(server: &Server, request: &[u8]) -> String {
    let mut stream = connect(server);
    stream.write_all(request).unwrap();
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    String::from_utf8(got).unwrap()
}

/// Starts `arguments` with as many descriptors as `count`.
fn start_with_descriptors(home: &Home, count: u32, arguments: &[&str]) -> Server {
    let script = format!("ulimit -n {count}; exec \"$@\"");
    let mut all = vec!["-c", &script, "sh", env!("CARGO_BIN_EXE_freestone"), "serve"];
    all.extend(arguments);
    start(home.wrapped("sh", all))
}

/// Replies of four megabytes that their clients do not receive take a bounded memory: further clients
/// are told to ask again, and are answered when the others have gone.
#[test]
fn long_replies_that_nobody_receives_are_bounded() {
    let home = Home::with_revisions();
    // JSON has six characters for each of these.
    let labels: Vec<String> =
        (0..200).map(|at| format!("k{at}={}", "\u{1}".repeat(4000))).collect();
    let mut push = vec!["push", "site", "-m", "a long one"];
    push.extend(labels.iter().flat_map(|label| ["-l", label]));
    home.ok(push);
    let options = ["--workers", "1", "--listen", "127.0.0.1:0"];
    let server = start(home.command(["serve", "http", "main"].iter().chain(&options)));
    let request = b"GET /revisions/main HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let whole = answer(&server, request);
    assert!(whole.starts_with("HTTP/1.1 200 ") && whole.len() > 4_000_000);
    let before = server.memory();
    let ask = |_| {
        let mut stream = connect(&server);
        stream.write_all(request).unwrap();
        stream
    };
    let held: Vec<TcpStream> = (0..30).map(ask).collect();
    until(|| answer(&server, request).starts_with("HTTP/1.1 503 "), || "a refusal".into());
    let refused = answer(&server, request);
    assert!(refused.contains("\r\nRetry-After: 1\r\n"), "{refused}");
    let grown = server.memory().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes");
    drop(held);
    let body = |reply: &str| reply.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    until(|| body(&answer(&server, request)) == body(&whole), || "the reply".into());
}

/// A client that still sends when its request is refused receives why: the connection is not reset
/// under it.
#[test]
fn a_refusal_reaches_a_client_that_still_sends() {
    let home = Home::with_revisions();
    let server = start(home.command(["serve", "http", "main", "--listen", "127.0.0.1:0"]));
    let filler = vec![b'x'; 700_000];
    for (head, status) in [
        ("GET / HTTP/1.1\r\nX: ", "431"),
        ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 700000\r\n\r\n", "413"),
        ("\u{1}\u{2}\u{3}\r\n\r\n", "400"),
    ] {
        for _ in 0..5 {
            let got = answer(&server, &[head.as_bytes(), &filler].concat());
            assert!(got.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {got}");
        }
    }
}

/// A server whose descriptors are few has as many connections as can be served, and says so.
#[test]
fn few_descriptors_keep_no_client_out() {
    let home = Home::with_revisions();
    home.ok(["image", "main", "-o", "written.img"]);
    let image = home.read("written.img");
    let listen = format!("unix:{}", home.path("nbd.sock").display());
    let server = start_with_descriptors(&home, 40, &["nbd", "main", "--listen", &listen]);
    server.expect_log("the limit of open files has room for 7 connections, not for 128");
    let idle: Vec<_> = (0..60).map(|_| server.connect()).collect();
    // One that comes while many give way may be closed at once, and tries again.
    let read = |_| {
        let attempt = || {
            let mut client = Client::new(server.connect(), "main", true);
            assert!(client.read(0, 4096).unwrap() == image[..4096]);
            client
        };
        let client = (0..20).find_map(|_| {
            std::thread::sleep(Duration::from_millis(100));
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(attempt)).ok()
        });
        client.expect("a client that is served")
    };
    let first: Vec<_> = (0..3).map(read).collect();
    drop(idle);
    for _ in 0..5 {
        // Those that have read something give way when they have been idle for a second.
        std::thread::sleep(Duration::from_millis(1100));
        let _held: Vec<_> = (0..3).map(read).collect();
    }
    drop(first);
    assert_eq!(server.end("TERM").0.code(), Some(0));
}

/// When the descriptors run out nevertheless, idle connections give way, and the server continues.
#[test]
fn a_server_outlives_a_lack_of_descriptors() {
    let home = Home::with_revisions();
    let server = start(home.command(["serve", "http", "main", "--listen", "127.0.0.1:0"]));
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let free = server.file_count() + 4;
    let limit = format!("--nofile={free}:");
    let pid = server.pid().to_string();
    output(Command::new("prlimit").args(["--pid", &pid, &limit]));
    let idle: Vec<_> = (0..20).map(|_| connect(&server)).collect();
    server.expect_log("a connection cannot be accepted");
    let begun = Instant::now();
    assert!(answer(&server, request).starts_with("HTTP/1.1 200 "));
    // Without giving way, idle connections would keep it out until their time limit of 30 seconds.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    drop(idle);
    assert_eq!(server.end("TERM").0.code(), Some(0));
}

/// A server does not keep packs that compactions removed: they would take room on the disk, and
/// descriptors.
#[test]
fn packs_that_were_removed_are_closed() {
    let home = Home::with_revisions();
    let server =
        start(home.command(["serve", "http", "main", "--follow", "--listen", "127.0.0.1:0"]));
    let removed = || {
        let entries = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
        let paths = entries.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
        paths.filter(|path| path.to_string_lossy().ends_with(".pack (deleted)")).count()
    };
    for round in 0..8u64 {
        home.write("site/index.html", format!("round {round}").as_bytes());
        home.write("site/noise.bin", &server::noise(round, 100_000));
        home.ok(["push", "site"]);
        home.ok(["store", "compact", "--all", "--grace", "0"]);
        let request =
            b"GET /images/main.tar HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let mut stream = connect(&server);
        stream.write_all(request).unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        let text = format!("round {round}");
        assert!(got.windows(text.len()).any(|window| window == text.as_bytes()), "{text}");
    }
    assert!(removed() <= 2, "{} packs", removed());
}
