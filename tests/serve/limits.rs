//! Servers to which the system gives few threads or few open files.

use crate::program::{Home, Ran};
use crate::server::client::Client;
use crate::server::{Server, start, until};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Stdio;
use std::time::Duration;

/// Starts `serve` under a limit. Returns what it says if it does not start.
fn limited(home: &Home, limit: &str, arguments: &[&str]) -> Result<Server, Ran> {
    let all = ["serve"].iter().chain(arguments);
    // A server that cannot start ends at once. One that can would run for ever.
    let mut probe = home.limited(limit, all.clone());
    let mut child = probe.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0];
    let has_started = child.stdout.as_mut().unwrap().read(&mut first).unwrap() > 0;
    if has_started {
        child.kill().unwrap();
    }
    let output = child.wait_with_output().unwrap();
    if !has_started {
        return Err(Ran::of(output));
    }
    // Whether the last thread that fits can start depends on when those of the beginning have
    // ended: so a second start may fail where the first did not.
    for _ in 0..20 {
        let started = catch_unwind(AssertUnwindSafe(|| start(home.limited(limit, all.clone()))));
        if let Ok(server) = started {
            return Ok(server);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("{limit}: the server has started once, and then never again");
}

fn with_image() -> (Home, Vec<u8>) {
    let home = Home::with_revisions();
    home.ok(["image", "main", "-o", "expected.img"]);
    let image = home.read("expected.img");
    (home, image)
}

fn refused(what: &str, ran: &Ran, setting: &str) {
    assert!(matches!(ran.code, Some(1 | 4)), "{what}: {:?} {}", ran.code, ran.err);
    assert!(ran.err.contains("hint: ") && ran.err.contains(setting), "{what}: {}", ran.err);
}

/// Reads the image over one connection after the other. `count` is how many threads the server has
/// without clients.
fn read_by_nbd(server: &Server, image: &[u8], count: usize, what: &str) {
    for _ in 0..3 {
        until(|| server.thread_count() <= count, || format!("{what}: {}", server.log()));
        let mut client = Client::new(server.connect(), "main", true);
        let length = u32::try_from(image.len()).unwrap();
        assert!(client.read(0, length).unwrap() == image, "{what}");
    }
}

#[test]
fn a_server_that_starts_with_few_threads_serves() {
    let (home, image) = with_image();
    let listen = format!("unix:{}", home.path("nbd.sock").display());
    let mut served = 0;
    for count in 1..10 {
        let what = format!("{count} threads");
        let limit = format!("--nproc={count}");
        let arguments = ["nbd", "main", "--listen", &listen, "--workers", "4"];
        match limited(&home, &limit, &arguments) {
            Err(ran) => refused(&what, &ran, "ulimit -u"),
            Ok(server) => {
                read_by_nbd(&server, &image, server.thread_count(), &what);
                let (status, log) = server.end("TERM");
                assert_eq!(status.code(), Some(0), "{what}: {log}");
                served += 1;
            }
        }
    }
    assert!(served >= 3, "{served}");
}

#[test]
fn a_server_lives_on_when_it_runs_out_of_threads_or_files() {
    let (home, image) = with_image();
    let listen = format!("unix:{}", home.path("nbd.sock").display());
    for limit in ["--nproc=8", "--nofile=32"] {
        let arguments = ["nbd", "main", "--listen", &listen, "--workers", "2"];
        let server = limited(&home, limit, &arguments).map_err(|ran| ran.err).unwrap();
        let count = server.thread_count();
        let idle: Vec<UnixStream> = (0..60).map(|_| server.connect()).collect();
        match limit {
            // Without a thread a connection is refused; files are counted before they run out.
            "--nproc=8" => server.expect_log("a connection cannot be "),
            _ => server.expect_log("new ones take the place of idle ones"),
        }
        drop(idle);
        read_by_nbd(&server, &image, count, limit);
        let (status, log) = server.end("TERM");
        assert_eq!(status.code(), Some(0), "{limit}: {log}");
        assert!(!log.contains("panicked"), "{log}");
    }
}

#[test]
fn a_server_that_starts_with_few_files_serves() {
    let (home, image) = with_image();
    let mut served = 0;
    for count in (8..40).step_by(4) {
        let what = format!("{count} files");
        let limit = format!("--nofile={count}");
        match limited(&home, &limit, &["http", "main", "--listen", "127.0.0.1:0"]) {
            Err(ran) => refused(&what, &ran, "ulimit -n"),
            Ok(server) => {
                let mut stream = TcpStream::connect(server.place()).unwrap();
                stream
                    .write_all(b"GET /images/main.tar HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
                    .unwrap();
                let mut reply = Vec::new();
                stream.read_to_end(&mut reply).unwrap();
                // Short of files it says so, and does not end.
                let is_whole = reply.ends_with(&image);
                let head = String::from_utf8_lossy(&reply[..reply.len().min(200)]).into_owned();
                assert!(is_whole || head.starts_with("HTTP/1.1 50"), "{what}: {head}");
                served += usize::from(is_whole);
                let (status, log) = server.end("TERM");
                assert_eq!(status.code(), Some(0), "{what}: {log}");
            }
        }
    }
    assert!(served > 0);
}
