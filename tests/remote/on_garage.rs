//! Stores on three nodes of Garage, which ignores conditions and goes on without one of them: part
//! of the long run, since Garage is built for it (`tests/remote/garage.sh`).

use crate::garage::Garage;
use crate::program::{Home, Ran, ok, ran};
use freestone_remote::{RemoteOptions, StoreUrl};
use freestone_testkit::{conformance, noise, text};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Whether this is the long run; else says what is left out.
fn is_long() -> bool {
    let is_long = std::env::var_os("FREESTONE_LONG").is_some();
    if !is_long {
        eprintln!("left out: tests on three nodes of Garage; `scripts/test --long` runs them");
    }
    is_long
}

/// The program as the pusher `pusher`, whose store is below `prefix`, asked of a node.
fn command(
    home: &Home,
    (garage, node): (&Garage, usize),
    (pusher, prefix): (&str, &str),
    arguments: &[&str],
) -> Command {
    let mut command = home.command(arguments);
    command
        .envs(garage.variables(node))
        .env("FREESTONE_PUSHER", pusher)
        .env("FREESTONE_STORE", format!("s3://test/{prefix}"));
    command
}

#[test]
fn garage_does_what_every_backend_must_for_one_pusher() {
    if !is_long() {
        return;
    }
    let garage = Garage::shared();
    let environment = Some(garage.variables(0));
    let place = StoreUrl::S3 { bucket: "test".into(), prefix: "conformance".into() };
    let pusher = Some("the tests".to_owned());
    let options = RemoteOptions { environment, pusher, ..RemoteOptions::default() };
    let backend = freestone_remote::open(&place, options).unwrap();
    conformance::writable_alone(&*backend, 20_000_000, 1010).unwrap();
}

#[test]
fn a_second_pusher_is_refused_and_told_why() {
    if !is_long() {
        return;
    }
    let garage = Garage::shared();
    let home = Home::new();
    home.write("site/index.html", b"first");
    let as_pusher = |pusher: &str, arguments: &[&str]| {
        ran(&mut command(&home, (&garage, 0), (pusher, "pushers"), arguments))
    };
    for arguments in [&["init"][..], &["push", "site"]] {
        let ran = as_pusher("ci-1", arguments);
        assert_eq!(ran.code, Some(0), "{}", ran.err);
    }
    let first = as_pusher("ci-2", &["resolve", "main"]).text();
    home.write("site/index.html", b"second");
    for arguments in [
        &["push", "site"][..],
        &["push", "site", "--ref", "other"],
        &["ref", "set", "main", first.trim()],
        &["ref", "delete", "main"],
        &["store", "reindex"],
    ] {
        let ran = as_pusher("ci-2", arguments);
        assert_eq!(ran.code, Some(7), "{arguments:?}: {}", ran.err);
        for words in [
            "this server ignores the condition of create-only puts",
            "the only pusher is \"ci-1\", and this one is \"ci-2\"",
            "FREESTONE_PUSHER=\"ci-1\"",
        ] {
            assert!(ran.err.contains(words), "{arguments:?}: no {words:?} in: {}", ran.err);
        }
    }
    // Nothing of it is there, others read, and the first one goes on.
    assert_eq!(as_pusher("ci-2", &["resolve", "main"]).text(), first);
    assert_eq!(as_pusher("ci-2", &["cat", "main:index.html"]).text(), "first");
    assert_eq!(as_pusher("ci-1", &["push", "site"]).code, Some(0));
    assert_eq!(as_pusher("ci-2", &["cat", "main:index.html"]).text(), "second");
    // A name that only the pusher knows is made up of the machine's.
    let mut nameless = command(&home, (&garage, 0), ("", "pushers"), &["push", "site"]);
    let nameless = ran(nameless.env_remove("FREESTONE_PUSHER"));
    assert_eq!(nameless.code, Some(7), "{}", nameless.err);
}

#[test]
fn a_node_may_be_lost_under_pushes_and_images() {
    if !is_long() {
        return;
    }
    let garage = Garage::shared();
    let home = Home::new();
    home.write("site/large.bin", &noise(12_000_000, 1));
    home.ok(["init"]);
    ok(&mut command(&home, (&garage, 0), ("ci", "lost"), &["init"]));
    let mut images = Vec::new();
    for round in 0..6 {
        // Each of them is missing once, before what follows or in the middle of it.
        let lost = round % 3;
        let at = (&*garage, (lost + 1) % 3);
        home.write("site/index.html", format!("round {round}").as_bytes());
        for file in 0..20 {
            home.write(format!("site/{round}/{file}"), &text(30_000, (round * 100 + file) as u64));
        }
        home.ok(["push", "site"]);
        let begun = Instant::now();
        std::thread::scope(|scope| {
            let push =
                scope.spawn(|| ok(&mut command(&home, at, ("ci", "lost"), &["push", "site"])));
            if round >= 3 {
                std::thread::sleep(Duration::from_millis(100));
            }
            garage.stop(lost);
            push.join().unwrap();
        });
        let pushed = begun.elapsed();
        images.push(home.json(["image", "main", "--digest"])["blake3"].clone());
        let host = Home::new();
        let image = |node: usize, rev: &str| {
            let at = (&*garage, node);
            let image = ["image", rev, "--digest", "--json"];
            let ran = ran(&mut command(&host, at, ("ci", "lost"), &image));
            assert_eq!(ran.code, Some(0), "round {round}, node {lost} lost: {}", ran.err);
            serde_json::from_slice::<serde_json::Value>(&ran.out).unwrap()["blake3"].clone()
        };
        let begun = Instant::now();
        assert_eq!(image((lost + 2) % 3, "main"), images[round]);
        println!("node {lost} lost: push {pushed:.1?}, image {:.1?}", begun.elapsed());
        garage.start(lost);
        // It has what it missed, or knows who has.
        for (n, expected) in (1..).zip(&images) {
            assert_eq!(image(lost, &format!("main@{n}")), *expected, "round {round}, main@{n}");
        }
    }
    ok(&mut command(&Home::new(), (&garage, 1), ("ci", "lost"), &["verify", "--data"]));
}

/// Eight at once, each on a ref of its own, some killed, nodes killed under them one at a time.
#[test]
fn pushers_side_by_side_lose_nothing_while_nodes_come_and_go() {
    const PUSHERS: usize = 8;
    const ROUNDS: usize = 10;
    if !is_long() {
        return;
    }
    let garage = Garage::shared();
    let home = Home::new();
    ok(&mut command(&home, (&garage, 0), ("ci", "race"), &["init"]));
    let push = |pusher: usize, round: usize| {
        let (site, name) = (format!("site{pusher}"), format!("of-{pusher}"));
        let seed = (pusher * 1000 + round) as u64;
        home.write(format!("{site}/file"), &text(30_000, seed));
        home.write(format!("{site}/{round}"), &seed.to_le_bytes());
        let arguments = ["push", &site, "--ref", &name];
        let mut push = command(&home, (&garage, pusher % 3), ("ci", "race"), &arguments);
        let mut child = push.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        if seed % 5 == 3 {
            std::thread::sleep(Duration::from_millis(30 * (seed % 7)));
            child.kill().unwrap();
        }
        Ran::of(child.wait_with_output().unwrap())
    };
    let done = std::thread::scope(|scope| {
        let push = &push;
        let pushers: Vec<_> = (0..PUSHERS)
            .map(|pusher| {
                scope.spawn(move || {
                    let (mut done, mut killed, mut failed) = (Vec::new(), 0, 0);
                    for round in 0..ROUNDS {
                        let ran = push(pusher, round);
                        match ran.code {
                            Some(0) => done.push((pusher, ran.text().trim().to_owned())),
                            None => killed += 1,
                            // Its own node is gone for longer than it waits.
                            Some(4) => failed += 1,
                            code => panic!("{code:?}: {}", ran.err),
                        }
                    }
                    (done, killed, failed)
                })
            })
            .collect();
        scope.spawn(|| {
            for node in [0, 1, 2] {
                std::thread::sleep(Duration::from_secs(1));
                garage.stop(node);
                std::thread::sleep(Duration::from_secs(1));
                garage.start(node);
            }
        });
        let ended: Vec<_> = pushers.into_iter().map(|pusher| pusher.join().unwrap()).collect();
        let killed: usize = ended.iter().map(|(_, killed, _)| killed).sum();
        let failed: usize = ended.iter().map(|(.., failed)| failed).sum();
        let done: Vec<_> = ended.into_iter().flat_map(|(done, ..)| done).collect();
        println!("{} done, {killed} killed, {failed} out of reach", done.len());
        done
    });
    assert!(done.len() >= PUSHERS, "only {} pushes were done", done.len());
    let ask = |arguments: &[&str]| ok(&mut command(&home, (&garage, 2), ("ci", "race"), arguments));
    for pusher in 0..PUSHERS {
        let log = ask(&["ref", "log", &format!("of-{pusher}"), "--json"]);
        for (_, id) in done.iter().filter(|(of, _)| *of == pusher) {
            assert!(log.contains(id), "{id} was said to be pushed and is not in the log");
        }
    }
    ask(&["verify", "--data"]);
    for (_, id) in done.iter().step_by(10) {
        ask(&["image", id, "-o", "x.img", "--force"]);
    }
}

/// Without two of three nothing can be agreed on: that is said soon, and passes.
#[test]
fn without_two_nodes_what_is_wrong_is_said() {
    if !is_long() {
        return;
    }
    let garage = Garage::shared();
    let home = Home::new();
    home.write("site/a", b"a");
    home.write("soon.toml", b"timeout = 10\nretry-for = 3\n");
    let run = |arguments: &[&str]| {
        let mut command = command(&home, (&garage, 0), ("ci", "two"), arguments);
        ran(command.args(["--config", "soon.toml"]))
    };
    assert_eq!(run(&["init"]).code, Some(0));
    assert_eq!(run(&["push", "site"]).code, Some(0));
    garage.stop(1);
    garage.stop(2);
    home.write("site/a", b"b");
    let begun = Instant::now();
    let refused = run(&["push", "site"]);
    println!("after {:.1?}: {}", begun.elapsed(), refused.err);
    assert_eq!(refused.code, Some(4), "{}", refused.err);
    assert!(refused.err.contains("is busy or failing") || refused.err.contains("does not answer"));
    assert!(refused.err.contains("hint: "), "{}", refused.err);
    garage.start(1);
    garage.start(2);
    assert_eq!(run(&["push", "site"]).code, Some(0));
    assert_eq!(run(&["cat", "main:a"]).text(), "b");
}
