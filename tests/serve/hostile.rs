//! What a server must bear: clients that mean ill, many clients, refs that move, damage.

use crate::program::Home;
use crate::server::client::{Client, greet, option, option_reply};
use crate::server::{self, Server, noise, start, take, until, varied};
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// More memory than this, beyond what a server has at first, no clients may make it use: 32 MiB
/// of cache (as these tests give it), four workers' chunks and stored bytes, layouts, buffers.
const MEMORY_MAX: u64 = (64 + 32) << 20;

/// Requests of all sizes at all places, many at once, are answered with the image's bytes; by
/// both kinds of replies, and again with the smallest cache.
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
                client.request(0, cookie as u64, offset, u32::try_from(length).unwrap());
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
fn what_cannot_be_answered_is_refused_and_the_connection_goes_on() {
    let (home, image) = varied();
    let server = Server::nbd(&home, "nbd", &["main"]);
    for is_structured in [true, false] {
        let mut client = Client::new(server.connect(), "", is_structured);
        let end = client.length;
        assert_eq!(client.read(end - 10, 10).unwrap(), image[image.len() - 10..]);
        for (offset, length) in [(end - 10, 11), (end, 1), (u64::MAX, 1), (u64::MAX - 5, 100)] {
            assert_eq!(client.read(offset, length), Err(22), "{offset} {length}");
        }
        assert_eq!(client.read(0, (32 << 20) + 1), Err(22));
        // Writes are refused and their data passed over; trims, zeros and what nobody knows too.
        client.request(1, 5, 0, 100_000);
        client.stream.write_all(&vec![0xff; 100_000]).unwrap();
        assert_eq!(client.replies(1)[&5], Err(1));
        for (command, error) in [(4, 1), (6, 1), (7, 22), (99, 22)] {
            client.request(command, 6, 0, 4096);
            assert_eq!(client.replies(1)[&6], Err(error), "{command}");
        }
        for command in [3, 5] {
            client.request(command, 7, 0, 4096);
            assert_eq!(client.replies(1)[&7], Ok(Vec::new()));
        }
        assert_eq!(client.read(0, 0), Ok(Vec::new()));
        assert!(client.read(5, 1000).unwrap() == image[5..1005]);
    }
}

#[test]
fn options_that_make_no_sense_are_refused_one_by_one() {
    let home = Home::with_revisions();
    let server = Server::nbd(&home, "nbd", &["main"]);
    let mut stream = server.connect();
    greet(&mut stream);
    let unknown = [&5u32.to_be_bytes()[..], b"none!", &[0, 0]].concat();
    for (number, data, error) in [
        (99, &b"whatever"[..], 0x8000_0001u32),
        (5, b"", 0x8000_0001),
        (3, b"data", 0x8000_0003),
        (7, b"", 0x8000_0003),
        (7, b"\xff\xff\xff\xff", 0x8000_0003),
        (7, &unknown, 0x8000_0006),
        (10, b"\0\0\0\0\xff\xff\xff\xff", 0x8000_0003),
        (7, &vec![0; 100_000], 0x8000_0009),
    ] {
        option(&mut stream, number, data);
        assert_eq!(option_reply(&mut stream).0, error, "option {number}");
    }
    option(&mut stream, 1, b"main");
    assert_eq!(take(&mut stream, 10).len(), 10);
}

/// Opens connections that do the given thing and hold on.
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
fn clients_that_mean_ill_take_no_memory_and_keep_nobody_waiting() {
    let (home, _) = varied();
    let server = Server::nbd(&home, "nbd", &["main", "--cache", "32M", "--workers", "4"]);
    // Half open: nothing is ever said.
    flood(&server, 50, |_| server.connect());
    // Rubbish, from the first byte on, and after a good beginning.
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
    // An option that says that it is 4 GiB long.
    flood(&server, 50, |_| {
        let mut stream = server.connect();
        greet(&mut stream);
        let option = [&b"IHAVEOPT"[..], &7u32.to_be_bytes(), &u32::MAX.to_be_bytes()].concat();
        let _ = stream.write_all(&option);
        stream
    });
    // As many and as long reads as fit, and never a look at an answer.
    flood(&server, 50, |at| {
        let mut client = Client::new(server.connect(), "main", at.is_multiple_of(2));
        client.stream.set_nonblocking(true).unwrap();
        let length = u32::try_from(client.length.min(32 << 20)).unwrap();
        let mut request = [&0x2560_9513u32.to_be_bytes()[..], &[0; 20]].concat();
        request.extend(length.to_be_bytes());
        for _ in 0..1000 {
            if client.stream.write_all(&request).is_err() {
                break;
            }
        }
        client.stream
    });
    // A byte, and another one much later.
    flood(&server, 50, |_| {
        let mut stream = server.connect();
        stream.write_all(&[0]).unwrap();
        stream
    });
}

#[test]
fn a_thousand_connections_come_and_go_without_a_trace() {
    let (home, image) = varied();
    let server = Server::nbd(&home, "nbd", &["main"]);
    let visit = |at: usize| {
        let mut client = Client::new(server.connect(), "main", at.is_multiple_of(2));
        let offset = at * 9000;
        let got = client.read(offset as u64, 9000).unwrap();
        assert!(got == image[offset..offset + 9000]);
        match at % 3 {
            0 => client.request(2, 0, 0, 0),
            1 => client.stream.shutdown(Shutdown::Both).unwrap(),
            // Gone with requests on their way.
            _ => (0..10).for_each(|at| client.request(0, at, 0, 1 << 20)),
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
    // Its own, a pack or two, and a wakeful signal or two.
    settled(40, 12);
    let (files, threads, memory) = (server.file_count(), server.thread_count(), server.memory());
    (0..1000).for_each(visit);
    settled(files, threads);
    let grown = server.memory().saturating_sub(memory);
    assert!(grown < 16 << 20, "{grown} bytes");
}

#[test]
fn there_are_no_more_connections_than_allowed_and_slow_negotiations_end() {
    let home = Home::with_revisions();
    // Two servers, since time must not run out while all connections are made.
    let server = Server::nbd(&home, "few", &["main", "--max-connections", "3"]);
    let mut clients: Vec<_> = (0..2).map(|_| Client::new(server.connect(), "main", true)).collect();
    let mut slow = server.connect();
    take(&mut slow, 18);
    // One too many: it is closed at once.
    let mut fourth = server.connect();
    assert_eq!(fourth.read(&mut [0]).unwrap_or(0), 0);
    for client in &mut clients {
        assert!(client.read(0, 512).is_ok());
    }

    let options = ["main", "--max-connections", "3", "--negotiation-timeout", "1"];
    let server = Server::nbd(&home, "soon", &options);
    // On a busy machine its time may run out before it has chosen: then again.
    let chosen = (0..20).find_map(|_| {
        let client = || Client::new(server.connect(), "main", true);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(client)).ok()
    });
    let mut chosen = chosen.expect("a client that chooses in time");
    let mut slow = server.connect();
    take(&mut slow, 18);
    // The slow one's time runs out, and there is room again.
    assert_eq!(slow.read(&mut [0]).unwrap_or(0), 0);
    until(|| server.connect().read(&mut [0]).unwrap_or(0) == 1, || "room".into());
    // Who has chosen may be silent as long as it likes.
    assert!(chosen.read(0, 512).is_ok());
}

#[test]
fn a_ref_that_moves_changes_nothing_for_whom_it_serves() {
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
    // It said at its start what it serves, too: of the old revision.
    server.expect_log(&format!("serving main, revision {}", &new_id[..12]));
    assert_eq!(connect(&server, "main").length, new.len() as u64);
    assert!(connect(&server, &by_id).read(0, length).unwrap() == old);
    assert!(held[0].read(0, length).unwrap() == old);
    assert_eq!(server.end("TERM").0.code(), Some(0));
}

/// The pack that holds most of the store.
fn largest_pack(home: &Home) -> PathBuf {
    let mut found = Vec::new();
    for folder in fs::read_dir(home.path("store/packs")).unwrap() {
        found.extend(fs::read_dir(folder.unwrap().path()).unwrap().map(|e| e.unwrap().path()));
    }
    found.into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
}

#[test]
fn damage_hurts_only_its_range_and_is_logged_once() {
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
                    assert_eq!(error, 5);
                    failed += end - offset;
                }
            }
        }
        failed
    };
    let mut client = Client::new(server.connect(), "main", true);
    let failed = scan(&mut client);
    // One chunk, and what is read together with its ends.
    assert!(failed > 0 && failed <= (4 << 20) + 2 * 65_536, "{failed}");
    assert_eq!(scan(&mut client), failed);
    server.expect_log("is damaged");
    let log = server.log();
    assert_eq!(log.matches("is damaged").count(), 1, "{log}");

    // Mended, it is read again, without anybody doing anything.
    file.write_all_at(&byte, at).unwrap();
    assert_eq!(scan(&mut client), 0);
    // Cut off under the server: what lay behind the cut fails, and nothing else.
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
fn systemd_hands_over_sockets() {
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
    // It was systemd's file, and systemd goes on listening.
    assert!(path.exists());
}

#[test]
fn http_clients_that_mean_ill_take_no_memory_and_keep_nobody_waiting() {
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
    let get = b"GET /images/main.tar HTTP/1.1\r\n\r\n";
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
            // All of the image, again and again, and none of it is taken.
            _ => (0..20).try_for_each(|_| stream.write_all(get)),
        };
        held.push(stream);
    }
    let mut stream = connect();
    let request = "GET /images/main.tar HTTP/1.1\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    assert!(got.ends_with(&image));
    let grown = server.memory().saturating_sub(before);
    assert!(grown < MEMORY_MAX, "{grown} bytes");
    drop(held);
    until(|| server.thread_count() < 12, || format!("{} threads", server.thread_count()));
}
