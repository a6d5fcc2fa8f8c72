//! Stores in S3, on Ceph's gateway: what every backend must do, the program from end to end, and
//! what it says when something is wrong.

use crate::ceph::{Ceph, variables};
use crate::program::{Home, Ran};
use crate::support::whole_machine;
use freestone_backend::Backend;
use freestone_core::{ErrorKind, Id};
use freestone_push::PushOptions;
use freestone_remote::{RemoteOptions, StoreUrl};
use freestone_store::{Expect, Store};
use freestone_testkit::{MemorySource, Proxy, Weather, conformance, noise, push_tree, text};
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The backend below `prefix` of the bucket of the server on `port`.
pub fn backend(port: u16, prefix: &str, options: RemoteOptions) -> Arc<dyn Backend> {
    let environment = Some(variables(port, "test"));
    let place = StoreUrl::S3 { bucket: "test".into(), prefix: prefix.into() };
    freestone_remote::open(&place, RemoteOptions { environment, ..options }).unwrap()
}

/// The program with the shared server's variables; its store is below `prefix`.
fn command(home: &Home, port: u16, prefix: &str, arguments: &[&str]) -> Command {
    let mut command = home.command(arguments);
    command.envs(variables(port, "test")).env("FREESTONE_STORE", format!("s3://test/{prefix}"));
    command
}

fn run(home: &Home, port: u16, prefix: &str, arguments: &[&str]) -> Ran {
    Ran::of(command(home, port, prefix, arguments).output().unwrap())
}

pub fn ok(home: &Home, port: u16, prefix: &str, arguments: &[&str]) -> String {
    let ran = run(home, port, prefix, arguments);
    assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.err);
    ran.text()
}

#[test]
fn s3_does_what_every_backend_must() {
    let port = Ceph::shared().port;
    // More than one page of a listing, and more than one part of an upload.
    for (prefix, large, many) in [
        ("conformance", 20_000_000, 1010),
        ("in/it", 9_000_000, 3),
        ("a b+%20&~ä#?[x]{y}'<z>:=*", 100_000, 3),
    ] {
        let backend = backend(port, prefix, RemoteOptions::default());
        conformance::writable(&*backend, large, many).unwrap();
    }
}

/// The server begins its listings with what sorts first, and with no more than it is asked for.
#[test]
fn the_newest_entry_of_a_long_ref_costs_a_short_page() {
    let port = Ceph::shared().port;
    let store = Store::init_backend(backend(port, "long", RemoteOptions::default()), None).unwrap();
    let entries = 60;
    for n in 0..entries {
        store.refs().set("main", Id([n; 32]), Expect::Any, i64::from(n)).unwrap();
    }
    let options = RemoteOptions::default();
    let traffic = options.traffic.clone();
    let refs = Store::open_backend(backend(port, "long", options), None).unwrap().refs();
    let before = traffic.stats();
    assert_eq!(refs.current("main").unwrap(), Some(Id([entries - 1; 32])));
    let after = traffic.stats();
    let (requests, received) = (after.requests - before.requests, after.received - before.received);
    println!("{requests} requests and {received} bytes for the newest of {entries} entries");
    assert_eq!(requests, 2, "the beginning of a listing, and the entry");
    assert!(received < 5000, "{received} bytes for the newest of {entries} entries");
    assert_eq!(refs.log("main").unwrap().len(), usize::from(entries));
}

#[test]
fn a_store_is_made_pushed_to_and_read_from_empty_homes() {
    let port = Ceph::shared().port;
    let site = Home::new();
    site.write("site/index.html", b"<h1>first</h1>\n");
    site.write("site/large.bin", &noise(3_000_000, 5));
    site.write("site/docs/a.txt", &text(100_000, 1));
    ok(&site, port, "cli", &["init"]);
    // A directory's store, for comparison.
    site.ok(["init"]);
    site.ok(["push", "site"]);
    let first = ok(&site, port, "cli", &["push", "site"]);
    site.write("site/index.html", b"<h1>second</h1>\n");
    let second = ok(&site, port, "cli", &["push", "site", "-m", "second"]);
    assert_ne!(first, second);
    site.ok(["push", "site", "-m", "second"]);
    site.ok(["image", "main", "-o", "local.img"]);
    let host = Home::new();
    ok(&host, port, "cli", &["image", "main", "-o", "remote.img"]);
    assert!(host.read("remote.img") == site.read("local.img"));
    ok(&host, port, "cli", &["extract", "main~1", "out"]);
    assert_eq!(host.read("out/index.html"), b"<h1>first</h1>\n");
    for arguments in [
        &["verify", "--data"][..],
        &["ls", "main"],
        &["log"],
        &["show", second.trim()],
        &["ref", "list"],
        &["store", "stats"],
        &["status"],
        &["diff", first.trim(), second.trim()],
        &["store", "reindex"],
        &["verify", "--data"],
    ] {
        ok(&host, port, "cli", arguments);
    }
    assert_eq!(ok(&host, port, "cli", &["cat", "main:index.html"]), "<h1>second</h1>\n");
    let twice = run(&host, port, "cli", &["init"]);
    assert_eq!(twice.code, Some(7), "{}", twice.err);
    // The figures are there, and bytes are those that went.
    let ran = run(&host, port, "cli", &["image", "main", "-o", "again.img", "--json"]);
    let answer: serde_json::Value = serde_json::from_slice(&ran.out).unwrap();
    let received = answer["transfer"]["received_bytes"].as_u64().unwrap();
    assert!((3_000_000..3_600_000).contains(&received), "{answer}");
}

#[test]
fn what_no_ref_needs_is_collected_from_a_bucket() {
    let port = Ceph::shared().port;
    let home = Home::new();
    ok(&home, port, "gc", &["init"]);
    for n in 0..6 {
        home.write("site/page", &noise(200_000, n));
        home.write("site/other", &text(3000, n));
        ok(&home, port, "gc", &["push", "site", "-m", &n.to_string()]);
    }
    let now = ["--min-age", "0", "--grace", "0", "--json"];
    let collect = [&["store", "gc", "--keep-last", "2"][..], &now].concat();
    let done: serde_json::Value = serde_json::from_str(&ok(&home, port, "gc", &collect)).unwrap();
    ok(&home, port, "gc", &["verify", "--data"]);
    let bytes = |key: &str| done[key].as_u64().unwrap();
    assert!(bytes("stored_bytes_after") * 2 < bytes("stored_bytes_before"), "{done}");
    ok(&home, port, "gc", &["image", "main@5", "--digest"]);
    assert_eq!(run(&home, port, "gc", &["image", "main@4", "--digest"]).code, Some(5));
    // It goes on as before: what was removed is pushed again.
    home.write("site/page", &noise(200_000, 1));
    ok(&home, port, "gc", &["push", "site"]);
    ok(&home, port, "gc", &["verify", "--data"]);
}

/// A public bucket whose objects may be read, but not listed, by its URL.
#[test]
fn a_store_is_read_over_http_without_listing() {
    let port = Ceph::shared().port;
    Ceph::shared().tell("public");
    let home = Home::new();
    home.write("site/index.html", b"first");
    home.write("site/large.bin", &noise(1_500_000, 6));
    ok(&home, port, "web", &["init"]);
    for revision in 0..12 {
        home.write("site/index.html", format!("revision {revision}").as_bytes());
        ok(&home, port, "web", &["push", "site"]);
    }
    ok(&home, port, "web", &["push", "site", "--ref", "a/b", "-m", "another"]);
    ok(&home, port, "web", &["image", "main", "-o", "right.img"]);

    let url = format!("http://127.0.0.1:{port}/test/web");
    // What can be read by name is read as from any backend.
    let direct = backend(port, "web", RemoteOptions::default());
    let names = ["packs", "index", "revisions", "refs"].map(|folder| direct.list(folder).unwrap());
    let objects: BTreeMap<String, Vec<u8>> = names
        .into_iter()
        .flatten()
        .map(|listed| {
            let bytes = direct.get(&listed.name, 64 << 20).unwrap().unwrap();
            (listed.name, bytes)
        })
        .collect();
    assert!(objects.len() > 40, "{} objects", objects.len());
    let web =
        freestone_remote::open(&StoreUrl::parse(&url).unwrap(), RemoteOptions::default()).unwrap();
    conformance::findable(&*web, &objects).unwrap();
    let host = Home::new();
    let over = |arguments: &[&str], code| {
        let ran = Ran::of(host.command(arguments).env("FREESTONE_STORE", &url).output().unwrap());
        assert_eq!(ran.code, Some(code), "{arguments:?}: {}", ran.err);
        (ran.text(), ran.err)
    };
    over(&["image", "main", "-o", "web.img"], 0);
    assert!(host.read("web.img") == home.read("right.img"));
    for arguments in
        [&["verify", "--data"][..], &["log"], &["status"], &["store", "stats"], &["ls", "a/b"]]
    {
        over(arguments, 0);
    }
    assert_eq!(over(&["cat", "main~3:index.html"], 0).0, "revision 8");
    let (listed, _) = over(&["ref", "list"], 0);
    assert!(listed.contains("a/b") && listed.contains("main"), "{listed}");
    assert!(over(&["push", "/etc/apt"], 7).1.contains("can only be read"));
    assert!(over(&["init",], 7).1.contains("can only be read"));

    // Hints decide nothing: with an old one, and without any, the newest is found all the same.
    let line = |n: u64| freestone_format::hint::encode(&[n.to_string()]);
    for hint in [Some(line(3)), Some(b"rubbish".to_vec()), None] {
        match hint {
            Some(hint) => direct.hint("refs/main/latest", &hint).unwrap(),
            None => direct.remove("refs/main/latest").unwrap(),
        }
        assert_eq!(over(&["cat", "main:index.html"], 0).0, "revision 11");
    }
    // What hints were lost comes back with `reindex`.
    direct.remove("refs/latest").unwrap();
    direct.remove("index/latest").unwrap();
    over(&["cat", "main:index.html"], 3);
    ok(&home, port, "web", &["store", "reindex"]);
    assert_eq!(over(&["cat", "main:index.html"], 0).0, "revision 11");
    assert_eq!(over(&["ref", "list"], 0).0, listed);
}

#[test]
fn what_is_wrong_is_said_with_what_to_do() {
    let server = Ceph::start();
    let port = server.port;
    let home = Home::new();
    home.write("site/a", b"a");
    // Longer than the server takes to say what is wrong, on a busy machine too.
    fs::write(home.path("soon.toml"), "timeout = 10\nretry-for = 20\n").unwrap();
    ok(&home, port, "wrong", &["init"]);
    ok(&home, port, "wrong", &["push", "site"]);
    let says = |arguments: &[&str], code, set: &dyn Fn(&mut Command), words: &[&str]| {
        let mut command = command(&home, port, "wrong", arguments);
        command.args(["--config", "soon.toml"]);
        set(&mut command);
        let ran = Ran::of(command.output().unwrap());
        assert_eq!(ran.code, Some(code), "{words:?}: {}", ran.err);
        for word in words.iter().chain(&["hint: "]) {
            assert!(ran.err.contains(word), "no {word:?} in: {}", ran.err);
        }
    };
    let variable = |key: &'static str, value: &'static str| {
        move |command: &mut Command| {
            command.env(key, value);
        }
    };
    let status = &["status"][..];
    says(status, 4, &variable("AWS_ACCESS_KEY_ID", "nobody"), &["bad credentials", "access key"]);
    says(status, 4, &variable("AWS_SECRET_ACCESS_KEY", "x"), &["bad credentials", "signature"]);
    says(status, 5, &variable("FREESTONE_STORE", "s3://none/a"), &["no such bucket"]);
    says(
        status,
        5,
        &variable("FREESTONE_STORE", "s3://test/none"),
        &["no freestone store at s3://test/none"],
    );
    says(status, 2, &variable("FREESTONE_STORE", "ftp://test/none"), &["unknown kind ftp://"]);
    says(status, 7, &variable("FREESTONE_STORE", "http://example.com/a"), &["plain http"]);

    // A clock that is an hour off, by libfaketime.
    let mut skewed = Command::new("faketime");
    skewed
        .args(["-f", "-1h", env!("CARGO_BIN_EXE_freestone"), "status"])
        .env("FREESTONE_STORE", "s3://test/wrong")
        .envs(variables(port, "test"));
    let skewed =
        Ran::of(skewed.output().unwrap_or_else(|error| {
            panic!("faketime: {error}; `scripts/setup --test` installs it")
        }));
    assert_eq!(skewed.code, Some(4), "{}", skewed.err);
    assert!(skewed.err.contains("clocks"), "{}", skewed.err);

    // A key that may only read reads, and cannot push.
    server.tell("read-only");
    let reader = |command: &mut Command| {
        command.envs(variables(port, "reader"));
    };
    let mut reading = command(&home, port, "wrong", &["image", "main", "-o", "x.img"]);
    reader(&mut reading);
    assert_eq!(Ran::of(reading.output().unwrap()).code, Some(0));
    home.write("site/a", b"changed");
    says(&["push", "site"], 4, &reader, &["the key may not do that", "use a key that may"]);

    // A quota.
    server.tell("quota 3");
    says(&["push", "site"], 4, &|_| {}, &["is full, or a quota is used up", "nothing is lost"]);
    server.tell("quota -1");
    ok(&home, port, "wrong", &["push", "site"]);

    // What nobody says is found out by waiting. A full disk: writes hang.
    fs::write(home.path("soon.toml"), "timeout = 2\nretry-for = 3\n").unwrap();
    server.tell("full");
    home.write("site/a", b"changed again");
    let begun = Instant::now();
    says(&["push", "site"], 4, &|_| {}, &["does not answer", "full"]);
    assert!(begun.elapsed() < Duration::from_secs(30));

    server.tell("kill");
    says(status, 4, &|_| {}, &["cannot be reached"]);
    says(
        status,
        4,
        &variable("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
        &["http://127.0.0.1:9 cannot be reached", "Connection refused"],
    );
}

/// What changes on the way is found out, whatever it does to the bytes.
#[test]
fn no_weather_makes_a_wrong_byte() {
    let port = Ceph::shared().port;
    let mut tree = MemorySource::default();
    for file in 0..40 {
        tree.set(format!("dir{}/file{file}", file % 5), text(20_000 + 3000 * file, file as u64));
    }
    tree.set("large", noise(3_000_000, 9));
    let store =
        Store::init_backend(backend(port, "weather", RemoteOptions::default()), None).unwrap();
    let revision = push_tree(&store, &tree, &PushOptions::default()).unwrap().id;
    let id = revision.to_string();
    let home = Home::new();
    ok(&home, port, "weather", &["image", &id, "-o", "right.img"]);
    let right = home.read("right.img");
    fs::write(home.path("soon.toml"), "timeout = 2\nretry-for = 30\n").unwrap();

    let rounds = if std::env::var_os("FREESTONE_LONG").is_some() { 40 } else { 4 };
    let bad = Weather { delay: 300, drop: 60, truncate: 60, ..Weather::default() };
    let mut seen = [0; 4];
    for seed in 0..rounds {
        // What breaks connections is mended by trying again.
        let proxy = Proxy::before(port, bad, seed).unwrap();
        let arguments = ["image", &id, "-o", "bad.img", "--force", "--config", "soon.toml"];
        ok(&home, proxy.port(), "weather", &arguments);
        assert!(home.read("bad.img") == right, "a wrong byte with seed {seed}");
        let happened = proxy.happened();
        seen[0] += happened.dropped.load(Ordering::Relaxed);
        seen[1] += happened.truncated.load(Ordering::Relaxed);
        // So is what goes silent.
        let silent = Weather { stall: 10, delay: 100, ..Weather::default() };
        let proxy = Proxy::before(port, silent, seed).unwrap();
        ok(&home, proxy.port(), "weather", &arguments);
        assert!(home.read("bad.img") == right, "a wrong byte with seed {seed}");
        seen[2] += proxy.happened().stalled.load(Ordering::Relaxed);
        // What flips bits is mended, or named.
        let wrong = Weather { corrupt: 100, ..Weather::default() };
        let proxy = Proxy::before(port, wrong, seed).unwrap();
        fs::remove_file(home.path("bad.img")).unwrap();
        let ran = run(&home, proxy.port(), "weather", &arguments);
        match ran.code {
            Some(0) => assert!(home.read("bad.img") == right, "a wrong byte with seed {seed}"),
            code => {
                assert!([Some(3), Some(4), Some(5)].contains(&code), "{code:?}: {}", ran.err);
                // What it said while it tried again stands before.
                let is_named = ran.err.lines().any(|line| line.starts_with("freestone: "));
                assert!(is_named, "{}", ran.err);
                assert!(!home.path("bad.img").exists(), "half an image with seed {seed}");
            }
        }
        seen[3] += proxy.happened().corrupted.load(Ordering::Relaxed);
    }
    assert!(seen.iter().all(|seen| *seen > 0), "the weather was too good: {seen:?}");
}

/// Pushes in bad weather: what is said to be there is there, and verifies.
#[test]
fn pushes_in_bad_weather_are_whole_or_named() {
    let port = Ceph::shared().port;
    let weather = Weather { delay: 100, drop: 30, truncate: 30, corrupt: 30, stall: 3 };
    let direct = backend(port, "storm", RemoteOptions::default());
    Store::init_backend(direct.clone(), None).unwrap();
    let (mut done, mut failed) = (BTreeMap::new(), 0);
    for seed in 0..6 {
        let proxy = Proxy::before(port, weather, seed).unwrap();
        let soon = RemoteOptions {
            stall: Duration::from_secs(2),
            patience: Duration::from_secs(20),
            ..RemoteOptions::default()
        };
        let mut tree = MemorySource::default();
        tree.set("same", text(100_000, 3));
        tree.set("own", noise(400_000, seed));
        let outcome = Store::open_backend(backend(proxy.port(), "storm", soon), None)
            .and_then(|store| push_tree(&store, &tree, &PushOptions::default()));
        match outcome {
            Ok(outcome) => drop(done.insert(outcome.id, tree)),
            Err(error) => {
                assert_ne!(error.kind(), ErrorKind::Failed, "{error}");
                failed += 1;
            }
        }
    }
    assert!(!done.is_empty(), "all {failed} pushes failed");
    let store = Store::open_backend(direct, None).unwrap();
    let log: Vec<Id> =
        store.refs().log("main").unwrap().iter().filter_map(|entry| entry.revision()).collect();
    for (id, tree) in done {
        assert!(log.contains(&id), "{id} was pushed and is not in the log");
        let back = freestone_testkit::Reading::new(&store).revision(&id).unwrap();
        assert!(back == tree.explicit(), "{id} differs");
    }
}

/// One push of a pusher in its own site to the store `race`, killed now and then.
fn raced(home: &Home, port: u16, pusher: usize, round: usize) -> Ran {
    let site = format!("site{pusher}");
    let seed = (pusher * 1000 + round) as u64;
    home.write(format!("{site}/file"), &text(30_000, seed));
    home.write(format!("{site}/{round}"), &seed.to_le_bytes());
    let mut push = command(home, port, "race", &["push", &site]);
    // Every other one goes on after a conflict.
    if pusher.is_multiple_of(2) {
        push.arg("--retry");
    }
    push.stdout(std::process::Stdio::piped());
    push.stderr(std::process::Stdio::piped());
    let mut child = push.spawn().unwrap();
    if seed % 5 == 3 {
        std::thread::sleep(Duration::from_millis(20 * (seed % 7)));
        child.kill().unwrap();
    }
    Ran::of(child.wait_with_output().unwrap())
}

/// Eight at once on one ref, some killed, and the gateway killed under all of them.
#[test]
fn pushers_side_by_side_lose_nothing_that_was_said_to_be_done() {
    let _machine = whole_machine();
    let server = Ceph::start();
    let port = server.port;
    let home = Home::new();
    ok(&home, port, "race", &["init"]);
    let pushes = if std::env::var_os("FREESTONE_LONG").is_some() { 200 } else { 40 };
    const PUSHERS: usize = 8;
    let ended = AtomicBool::new(false);
    // Odd while the gateway is killed and started again.
    let turns = AtomicUsize::new(0);
    let (done, killed) = std::thread::scope(|scope| {
        let (home, server, ended, turns) = (&home, &server, &ended, &turns);
        let pushers: Vec<_> = (0..PUSHERS)
            .map(|pusher| {
                scope.spawn(move || {
                    let (mut done, mut lost, mut killed, mut failed) = (Vec::new(), 0, 0, 0);
                    for round in 0..pushes / PUSHERS {
                        let before = turns.load(Ordering::SeqCst);
                        let ran = raced(home, port, pusher, round);
                        let is_cut_off = before % 2 == 1 || turns.load(Ordering::SeqCst) != before;
                        match ran.code {
                            Some(0) => done.push(ran.text().trim().to_owned()),
                            Some(6) => lost += 1,
                            None => killed += 1,
                            // The gateway is gone for longer than it waits.
                            Some(4) if is_cut_off => failed += 1,
                            code => panic!("{code:?}: {}", ran.err),
                        }
                    }
                    (done, lost, killed, failed)
                })
            })
            .collect();
        let gateway = scope.spawn(move || {
            let mut kills = 0;
            for pause in (1..).map(|n| Duration::from_millis(700 * n)) {
                let begun = Instant::now();
                while begun.elapsed() < pause && !ended.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(20));
                }
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                turns.fetch_add(1, Ordering::SeqCst);
                server.tell("kill");
                server.tell("start");
                turns.fetch_add(1, Ordering::SeqCst);
                kills += 1;
            }
            kills
        });
        let outcomes: Vec<_> =
            pushers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        ended.store(true, Ordering::Relaxed);
        let kills: usize = gateway.join().unwrap();
        let outcomes: Vec<_> = outcomes.into_iter().map(Result::unwrap).collect();
        let done: Vec<String> = outcomes.iter().flat_map(|(done, ..)| done.clone()).collect();
        let lost: usize = outcomes.iter().map(|(_, lost, ..)| lost).sum();
        let killed: usize = outcomes.iter().map(|(_, _, killed, _)| killed).sum();
        let failed: usize = outcomes.iter().map(|(.., failed)| failed).sum();
        println!(
            "{} done, {lost} lost, {killed} killed, {failed} out of reach; \
             the gateway killed {kills} times",
            done.len()
        );
        assert!(kills >= 2, "the gateway was killed {kills} times");
        (done, killed + failed)
    });
    assert!(done.len() >= PUSHERS, "only {} pushes were done", done.len());
    let log = ok(&home, port, "race", &["ref", "log", "main", "--json"]);
    let entries: Vec<String> = log
        .lines()
        .map(|line| {
            let entry: serde_json::Value = serde_json::from_str(line).unwrap();
            entry["revision"].as_str().unwrap().to_owned()
        })
        .collect();
    for id in &done {
        assert!(entries.contains(id), "{id} was said to be pushed and is not in the log");
    }
    // What is there beside them was made by one that was killed, or cut off, before it could say so.
    let others = entries.len() - done.len();
    assert!(others <= killed, "{others} entries of nobody, and {killed} were killed or cut off");
    ok(&home, port, "race", &["verify", "--data"]);
    for id in done.iter().take(3) {
        ok(&home, port, "race", &["image", id, "-o", "x.img", "--force"]);
    }
}

/// Packs of 64 MiB go through in parts, whatever the speed.
#[test]
fn memory_is_bounded_with_large_packs_and_slow_peers() {
    let port = Ceph::shared().port;
    let home = Home::new();
    for file in 0..5 {
        home.write(format!("site/{file}"), &noise(30_000_000, file));
    }
    ok(&home, port, "memory", &["init"]);
    let limit = ["--limit-rate", "60M"];
    let begun = Instant::now();
    let push = most_memory(command(&home, port, "memory", &["push", "site"]).args(limit));
    // 150 MB at 63 MB a second.
    assert!(begun.elapsed() > Duration::from_millis(2200), "the limit does not limit");
    let image =
        most_memory(command(&home, port, "memory", &["image", "main", "-o", "x.img"]).args(limit));
    println!("most anonymous memory: push {} MiB, image {} MiB", push >> 20, image >> 20);
    assert!(push < 128 << 20, "push took {} MiB", push >> 20);
    assert!(image < 128 << 20, "image took {} MiB", image >> 20);
}

/// Runs what must succeed; the largest anonymous memory that was seen, in bytes.
fn most_memory(command: &mut Command) -> u64 {
    let mut child = command.spawn().unwrap();
    let mut most = 0;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success());
            return most;
        }
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kilobytes =
            line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        most = most.max(kilobytes.unwrap_or(0) << 10);
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn an_entry_whose_answer_was_lost_is_ours() {
    let port = Ceph::shared().port;
    let direct = backend(port, "lost", RemoteOptions::default());
    let store = Store::init_backend(direct, None).unwrap();
    let id = Id([7; 32]);
    // Every answer is cut off now and then, after the server has done what was asked.
    let weather = Weather { drop: 1500, ..Weather::default() };
    for time in 0..10_i64 {
        let proxy = Proxy::before(port, weather, time.unsigned_abs()).unwrap();
        let refs =
            Store::open_backend(backend(proxy.port(), "lost", RemoteOptions::default()), None);
        let refs = refs.unwrap().refs();
        refs.set("main", id, Expect::Any, time).unwrap();
    }
    let log = store.refs().log("main").unwrap();
    assert_eq!(log.len(), 10, "an entry was made twice, or not at all");
}
