//! Servers under hostile clients, many clients, moving refs, and damage.

use crate::program::Home;
use crate::server::client::{Client, greet, option, option_reply};
use crate::server::{self, Server, noise, start, take, until, varied};
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crate::server::wire::{self, command, errno, option as options, option_reply as kinds};

/// The memory that clients may make a server use, beyond what it has at first: 32 MiB of cache (as
/// these tests set it), four workers' chunks and stored bytes, layouts, buffers.
const MEMORY_MAX: u64 = (64 + 32) << 20;

/// Reads of all lengths at all offsets, many at once, return the image's bytes: in both kinds of
/// replies, and also with the smallest cache.
#[test]
fn random_reads_in_flight_are_the_image() {
    let (home, image) = varied();
    for (arguments, is_structured) in [
        (&["main"][..], true),
        (&["main"], false),
        (&["main", "--prove", "--cache", "16M", "--workers", "1"], true),
        (&["main", "--cache", "16M"], false),
    ] {
        let server = Server::nbd(&home, "nbd", arguments);
        let mut client = Client::new(server.connect(), "main", is_structured);
        assert_eq!(client.length, image.len() as u64);
        for round in 0..8u64 {
            let numbers = noise(round + 10, 32 * 16);
            let mut asked = Vec::new();
            for (cookie, random) in numbers.chunks(16).enumerate() {
                let offset = u64::from_le_bytes(random[..8].try_into().unwrap()) % client.length;
                let most = [1, 512, 4096, 100_000, 131_072, 131_073, 3_000_000]
                    [usize::from(random[8]) % 7];
                let length =
                    (u64::from(u32::from_le_bytes(random[9..13].try_into().unwrap())) % most + 1)
                        .min(client.length - offset);
                asked.push((offset, length));
                client.request(
                    command::READ,
                    cookie as u64,
                    offset,
                    u32::try_from(length).unwrap(),
                );
            }
            let replies = client.replies(asked.len());
            for (cookie, (offset, length)) in asked.into_iter().enumerate() {
                let start = usize::try_from(offset).unwrap();
                let expected = &image[start..start + usize::try_from(length).unwrap()];
                let got = replies[&(cookie as u64)].as_ref().unwrap();
                assert!(got == expected, "{length} bytes at {offset}, {arguments:?}");
            }
        }
    }
}

#[test]
fn invalid_requests_are_refused_and_the_connection_stays() {
    let (home, image) = varied();
    let server = Server::nbd(&home, "nbd", &["main"]);
    for is_structured in [true, false] {
        let mut client = Client::new(server.connect(), "", is_structured);
        let end = client.length;
        assert_eq!(client.read(end - 10, 10).unwrap(), image[image.len() - 10..]);
        for (offset, length) in [(end - 10, 11), (end, 1), (u64::MAX, 1), (u64::MAX - 5, 100)] {
            assert_eq!(client.read(offset, length), Err(errno::INVAL), "{offset} {length}");
        }
        assert_eq!(client.read(0, wire::PAYLOAD_BYTES_MAX + 1), Err(errno::INVAL));
        // Writes are refused and their data is skipped. So are requests to trim, to write zeros,
        // and unknown ones.
        client.request(command::WRITE, 5, 0, 100_000);
        client.stream.write_all(&vec![0xff; 100_000]).unwrap();
        assert_eq!(client.replies(1)[&5], Err(errno::PERM));
        for (command, error) in [
            (command::TRIM, errno::PERM),
            (command::WRITE_ZEROES, errno::PERM),
            // No context was chosen.
            (command::BLOCK_STATUS, errno::INVAL),
            (command::UNDEFINED, errno::INVAL),
        ] {
            client.request(command, 6, 0, 4096);
            assert_eq!(client.replies(1)[&6], Err(error), "{command}");
        }
        for command in [command::FLUSH, command::CACHE] {
            client.request(command, 7, 0, 4096);
            assert_eq!(client.replies(1)[&7], Ok(Vec::new()));
        }
        assert_eq!(client.read(0, 0), Ok(Vec::new()));
        assert!(client.read(5, 1000).unwrap() == image[5..1005]);
    }
}

#[test]
fn invalid_options_are_refused_and_the_negotiation_continues() {
    let home = Home::with_revisions();
    let server = Server::nbd(&home, "nbd", &["main"]);
    let mut stream = server.connect();
    greet(&mut stream);
    let unknown = [&5u32.to_be_bytes()[..], b"none!", &[0, 0]].concat();
    for (number, data, error) in [
        (options::UNDEFINED, &b"whatever"[..], kinds::ERR_UNSUP),
        (options::STARTTLS, b"", kinds::ERR_UNSUP),
        (options::LIST, b"data", kinds::ERR_INVALID),
        (options::GO, b"", kinds::ERR_INVALID),
        (options::GO, b"\xff\xff\xff\xff", kinds::ERR_INVALID),
        (options::GO, &unknown, kinds::ERR_UNKNOWN),
        (options::SET_META_CONTEXT, b"\0\0\0\0\xff\xff\xff\xff", kinds::ERR_INVALID),
        (options::GO, &vec![0; 100_000], kinds::ERR_TOO_BIG),
    ] {
        option(&mut stream, number, data);
        assert_eq!(option_reply(&mut stream).0, error, "option {number}");
    }
    option(&mut stream, options::EXPORT_NAME, b"main");
    assert_eq!(take(&mut stream, wire::EXPORT_BYTES).len(), wire::EXPORT_BYTES);
}

/// Opens `count` connections by `each`, and checks the memory of the server while they are open.
fn flood(server: &Server, count: usize, each: impl Fn(usize) -> std::os::unix::net::UnixStream) {
    let before = server.memory();
    let held: Vec<_> = (0..count).map(each).collect();
    let mut client = Client::new(server.connect(), "main", true);
    for at in 0..20 {
        assert!(client.read(at * 4096, 4096).is_ok());
    }
    let grown = server.memory().saturating_sub(before);
    assert!(grown < MEMORY_MAX, "{count} connections take {grown} bytes");
    drop(held);
}

#[test]
fn hostile_clients_take_no_memory_and_delay_nobody() {
    let (home, _) = varied();
    let server = Server::nbd(&home, "nbd", &["main", "--cache", "32M", "--workers", "4"]);
    // Connections on which nothing is sent.
    flood(&server, 50, |_| server.connect());
    // Random bytes, from the first byte on, and after a valid negotiation.
    flood(&server, 50, |at| {
        let mut stream = server.connect();
        let _ = stream.write_all(&noise(at as u64, 100_000));
        stream
    });
    flood(&server, 50, |at| {
        let mut client = Client::new(server.connect(), "main", at.is_multiple_of(2));
        let _ = client.stream.write_all(&noise(at as u64, 100_000));
        client.stream
    });
    // An option whose data is to be 4 GiB long.
    flood(&server, 50, |_| {
        let mut stream = server.connect();
        greet(&mut stream);
        let _ = stream.write_all(&wire::option_head(options::GO, u32::MAX));
        stream
    });
    // As many reads as fit, each as long as allowed, from a client that never receives a reply.
    flood(&server, 50, |at| {
        let mut client = Client::new(server.connect(), "main", at.is_multiple_of(2));
        client.stream.set_nonblocking(true).unwrap();
        let length = u32::try_from(client.length.min(wire::PAYLOAD_BYTES_MAX.into())).unwrap();
        let request = wire::request(command::READ, 0, 0, length);
        for _ in 0..1000 {
            if client.stream.write_all(&request).is_err() {
                break;
            }
        }
        client.stream
    });
    // One byte, and then nothing.
    flood(&server, 50, |_| {
        let mut stream = server.connect();
        stream.write_all(&[0]).unwrap();
        stream
    });
}

#[test]
fn a_thousand_connections_leave_no_files_threads_or_memory() {
    let (home, image) = varied();
    let server = Server::nbd(&home, "nbd", &["main"]);
    let visit = |at: usize| {
        let mut client = Client::new(server.connect(), "main", at.is_multiple_of(2));
        let offset = at * 9000;
        let got = client.read(offset as u64, 9000).unwrap();
        assert!(got == image[offset..offset + 9000]);
        match at % 3 {
            0 => client.request(command::DISC, 0, 0, 0),
            1 => client.stream.shutdown(Shutdown::Both).unwrap(),
            // Disconnects while requests are in flight.
            _ => (0..10).for_each(|at| client.request(command::READ, at, 0, 1 << 20)),
        }
    };
    (0..100).for_each(visit);
    let settled = |files, threads| {
        until(
            || server.file_count() <= files && server.thread_count() <= threads,
            || {
                format!(
                    "{} of {files} files, {} of {threads} threads",
                    server.file_count(),
                    server.thread_count()
                )
            },
        );
    };
    // The server's own, a pack or two, and an event or two.
    settled(40, 12);
    let (files, threads, memory) = (server.file_count(), server.thread_count(), server.memory());
    (0..1000).for_each(visit);
    settled(files, threads);
    let grown = server.memory().saturating_sub(memory);
    assert!(grown < 16 << 20, "{grown} bytes");
}

#[test]
fn connections_are_limited_and_slow_negotiations_end() {
    let home = Home::with_revisions();
    // Two servers, since the time limit must not end a negotiation before all are connected.
    let server = Server::nbd(&home, "few", &["main", "--max-connections", "3"]);
    let mut clients: Vec<_> = (0..2).map(|_| Client::new(server.connect(), "main", true)).collect();
    for client in &mut clients {
        assert!(client.read(0, 512).is_ok());
    }
    let mut slow = server.connect();
    take(&mut slow, wire::GREETING_BYTES);
    // One too many: it takes the place of the one that has chosen nothing yet.
    let mut fourth = Client::new(server.connect(), "main", true);
    assert!(fourth.read(0, 512).is_ok());
    assert_eq!(slow.read(&mut [0]).unwrap_or(0), 0);
    for client in &mut clients {
        assert!(client.read(0, 512).is_ok());
    }
    server.expect_log("all 3 connections are in use");
    // Now all three were active a moment ago, and a further one is closed.
    let mut fifth = server.connect();
    assert_eq!(fifth.read(&mut [0]).unwrap_or(0), 0);
    assert!(fourth.read(0, 512).is_ok());

    let options = ["main", "--max-connections", "3", "--negotiation-timeout", "1"];
    let server = Server::nbd(&home, "soon", &options);
    // On a busy machine the time limit may end a negotiation; then another one is tried.
    let chosen = (0..20).find_map(|_| {
        let client = || Client::new(server.connect(), "main", true);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(client)).ok()
    });
    let mut chosen = chosen.expect("a client that chooses in time");
    let mut slow = server.connect();
    take(&mut slow, wire::GREETING_BYTES);
    // The time limit ends the slow one, and there is room again.
    assert_eq!(slow.read(&mut [0]).unwrap_or(0), 0);
    until(|| server.connect().read(&mut [0]).unwrap_or(0) == 1, || "room".into());
    // A client that has chosen an export may stay idle.
    assert!(chosen.read(0, 512).is_ok());
}

#[test]
fn a_ref_that_moves_changes_nothing_for_connected_clients() {
    let home = Home::with_revisions();
    home.ok(["image", "main", "-o", "old.img"]);
    let old = home.read("old.img");
    let id = home.ok(["resolve", "main"]).trim().to_owned();
    let server = Server::nbd(&home, "bound", &["main"]);
    let follows = Server::nbd(&home, "follows", &["main", "--follow"]);
    let length = u32::try_from(old.len()).unwrap();
    let connect = |server: &Server, name: &str| Client::new(server.connect(), name, true);
    let by_id = format!("{id}.tar");
    let mut held: Vec<Client> = Vec::new();
    for server in [&server, &follows] {
        held.extend((0..4).map(|_| connect(server, "main")));
        held.extend((0..4).map(|_| connect(server, &by_id)));
    }
    home.write("site/index.html", &noise(5, 50_000));
    home.ok(["push", "site"]);
    home.ok(["image", "main", "-o", "new.img"]);
    let new = home.read("new.img");
    let new_id = home.ok(["resolve", "main"]);
    for client in &mut held {
        assert!(client.read(0, length).unwrap() == old);
    }
    for _ in 0..2 {
        for server in [&server, &follows] {
            assert!(connect(server, &by_id).read(0, length).unwrap() == old);
        }
        assert!(connect(&server, "main").read(0, length).unwrap() == old);
        let mut follower = connect(&follows, "main");
        assert_eq!(follower.length, new.len() as u64);
        assert!(follower.read(0, u32::try_from(new.len()).unwrap()).unwrap() == new);
    }
    server.signal("HUP");
    // The log also has such a line from the start, but with the old revision.
    server.expect_log(&format!("serving main, revision {}", &new_id[..12]));
    assert_eq!(connect(&server, "main").length, new.len() as u64);
    assert!(connect(&server, &by_id).read(0, length).unwrap() == old);
    assert!(held[0].read(0, length).unwrap() == old);
    assert_eq!(server.end("TERM").0.code(), Some(0));
}

/// Returns the path of the largest pack.
fn largest_pack(home: &Home) -> PathBuf {
    let mut found = Vec::new();
    for folder in fs::read_dir(home.path("store/packs")).unwrap() {
        found.extend(fs::read_dir(folder.unwrap().path()).unwrap().map(|e| e.unwrap().path()));
    }
    found.into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
}

#[test]
fn damage_fails_only_its_range_and_is_logged_once() {
    let home = Home::new();
    home.write("site/large.bin", &noise(1, 9_000_000));
    home.ok(["init"]);
    home.ok(["push", "site"]);
    home.write("site/small.bin", &noise(2, 2_000_000));
    home.ok(["push", "site"]);
    home.ok(["image", "main", "-o", "written.img"]);
    let image = home.read("written.img");
    let pack = largest_pack(&home);
    let file = fs::File::options().read(true).write(true).open(&pack).unwrap();
    let at = 4_000_000;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();

    let server = Server::nbd(&home, "nbd", &["main"]);
    let scan = |client: &mut Client| {
        let mut failed = 0;
        for offset in (0..image.len()).step_by(65_536) {
            let end = (offset + 65_536).min(image.len());
            match client.read(offset as u64, u32::try_from(end - offset).unwrap()) {
                Ok(bytes) => assert!(bytes == image[offset..end], "wrong bytes at {offset}"),
                Err(error) => {
                    assert_eq!(error, errno::IO);
                    failed += end - offset;
                }
            }
        }
        failed
    };
    let mut client = Client::new(server.connect(), "main", true);
    let failed = scan(&mut client);
    // One chunk, and the rest of the reads that include its ends.
    assert!(failed > 0 && failed <= (4 << 20) + 2 * 65_536, "{failed}");
    assert_eq!(scan(&mut client), failed);
    server.expect_log("is damaged");
    let log = server.log();
    assert_eq!(log.matches("is damaged").count(), 1, "{log}");

    // When it is repaired, it can be read again without a restart.
    file.write_all_at(&byte, at).unwrap();
    assert_eq!(scan(&mut client), 0);
    // When the file is truncated, reads after its end fail, and no others.
    file.set_len(5_000_000).unwrap();
    let mut other = Client::new(server.connect(), "main", false);
    for client in [&mut client, &mut other] {
        let failed = scan(client);
        assert!(failed > 3_000_000 && failed < 9_000_000, "{failed}");
    }
    assert!(other.read(0, 4096).unwrap() == image[..4096]);
    assert_eq!(server.end("TERM").0.code(), Some(0));
}

#[test]
fn systemd_passes_sockets() {
    let home = Home::with_revisions();
    let path = home.path("given.sock");
    let script = "import os,socket,sys; s=socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); \
                  os.dup2(s.fileno(),3); os.set_inheritable(3,True); \
                  os.environ.update(LISTEN_FDS='1',LISTEN_PID=str(os.getpid())); \
                  os.execv(sys.argv[2],sys.argv[2:])";
    let mut command = home.command(["unused"]);
    command = {
        let mut python = std::process::Command::new("/usr/bin/python3");
        python.args(["-c", script]).arg(&path).arg(command.get_program());
        python.args(["serve", "nbd", "main", "--listen", "unix:/nowhere/at/all"]);
        for (name, value) in command.get_envs() {
            python.env(name, value.unwrap_or_default());
        }
        python.current_dir(home.path(""));
        python
    };
    let server = start(command);
    assert_eq!(server.socket(), path);
    assert!(Client::new(server.connect(), "main", true).read(0, 512).is_ok());
    assert_eq!(server.end("TERM").0.code(), Some(0));
    // The file is systemd's, which continues to listen.
    assert!(path.exists());
}

#[test]
fn hostile_http_clients_take_no_memory_and_delay_nobody() {
    let (home, image) = varied();
    let server = start(home.command([
        "serve",
        "http",
        "main",
        "--listen",
        "127.0.0.1:0",
        "--cache",
        "32M",
        "--workers",
        "4",
    ]));
    let connect = || {
        let stream = TcpStream::connect(server.place()).unwrap();
        stream.set_read_timeout(Some(server::PATIENCE)).unwrap();
        stream
    };
    let get = b"GET /images/main.tar HTTP/1.1\r\nHost: x\r\n\r\n";
    let before = server.memory();
    let mut held = Vec::new();
    for at in 0..100usize {
        let mut stream = connect();
        stream.set_nonblocking(true).unwrap();
        let _ = match at % 5 {
            0 => Ok(()),
            1 => stream.write_all(&noise(at as u64, 50_000)),
            2 => stream.write_all(b"GET / HTTP/1.1\r\nX: "),
            3 => stream.write_all(&[&b"GET / HTTP/1.1\r\nX: "[..], &vec![b'x'; 60_000]].concat()),
            // The whole image, many times, and none of it is received.
            _ => (0..20).try_for_each(|_| stream.write_all(get)),
        };
        held.push(stream);
    }
    let mut stream = connect();
    let request = "GET /images/main.tar HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    assert!(got.ends_with(&image));
    let grown = server.memory().saturating_sub(before);
    assert!(grown < MEMORY_MAX, "{grown} bytes");
    drop(held);
    until(|| server.thread_count() < 12, || format!("{} threads", server.thread_count()));
}

/// Clients that have chosen an export and request nothing, and clients that request much and receive
/// nothing, do not keep a new client out.
#[test]
fn clients_that_do_nothing_give_way_to_new_ones() {
    let (home, image) = varied();
    let server = Server::nbd(&home, "nbd", &["main", "--max-connections", "8"]);
    let mut idle: Vec<_> = (0..8).map(|_| Client::new(server.connect(), "main", true)).collect();
    let mut active = Client::new(server.connect(), "main", true);
    assert!(active.read(0, 4096).unwrap() == image[..4096]);
    assert_eq!(idle[0].stream.read(&mut [0]).unwrap_or(0), 0, "the longest idle one");
    let mut deaf: Vec<_> = (0..7)
        .map(|at| {
            let mut client = Client::new(server.connect(), "main", at % 2 == 0);
            client.stream.set_nonblocking(true).unwrap();
            let length = u32::try_from(image.len()).unwrap();
            let request = wire::request(command::READ, 0, 0, length);
            while client.stream.write_all(&request).is_ok() {}
            assert!(active.read(0, 4096).is_ok());
            client
        })
        .collect();
    let active = std::cell::RefCell::new(active);
    until(
        || {
            // One that is refused is one of several tries.
            assert!(active.borrow_mut().read(4096, 4096).is_ok());
            server.connect().read(&mut [0]).unwrap_or(0) == 1
        },
        || "a place of a client that receives nothing".into(),
    );
    deaf.clear();
    assert_eq!(server.end("TERM").0.code(), Some(0));
}

/// A client that reads little is not kept waiting by clients that want everything loaded.
#[test]
fn a_small_read_does_not_wait_for_large_ones() {
    let home = Home::new();
    for at in 0..4 {
        home.write(format!("site/{at}.bin"), &noise(at, 12_000_000));
    }
    home.ok(["init"]);
    home.ok(["push", "site"]);
    let options = ["main", "--prove", "--cache", "16M", "--workers", "1"];
    let server = Server::nbd(&home, "nbd", &options);
    let mut modest = Client::new(server.connect(), "main", true);
    let length = wire::PAYLOAD_BYTES_MAX;
    let greedy: Vec<_> = (0..10)
        .map(|_| {
            let mut client = Client::new(server.connect(), "main", true);
            client.stream.set_nonblocking(true).unwrap();
            for at in 0..100u64 {
                let request = wire::request(command::CACHE, at, at << 16, length);
                if client.stream.write_all(&request).is_err() {
                    break;
                }
            }
            client
        })
        .collect();
    // Without turns it would wait for a thousand times 32 MiB.
    let begun = std::time::Instant::now();
    for at in 0..10 {
        assert!(modest.read(46_000_000 + at * 100_000, 4096).is_ok());
    }
    let taken = begun.elapsed();
    assert!(taken.as_secs() < 10, "{taken:?} for ten reads of 4 KiB");
    drop(greedy);
}
