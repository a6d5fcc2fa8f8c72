//! `store compact` as a program: what it says, that it can be killed, and who may be beside it.

use crate::program::{Home, Ran};
use crate::support::whole_machine;
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

const PUSHES: usize = 24;

/// Bytes that neither repeat nor compress.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    freestone_testkit::noise(length, seed)
}

/// What the site is at push `n`: pages that change a word, an image now and then.
fn change(home: &Home, n: usize) {
    let page = |n: usize, at: usize| {
        let text = freestone_testkit::text(6000, at as u64);
        [&text[..3000], format!("change {n}").as_bytes(), &text[3000..]].concat()
    };
    if n == 0 {
        (0..30).for_each(|at| home.write(format!("site/pages/{at:02}"), &page(0, at)));
    }
    home.write(format!("site/pages/{:02}", n % 30), &page(n, n % 30));
    home.write("site/pages/index", &page(n, 99));
    if n % 8 == 5 {
        home.write("site/logo.png", &noise(90_000, n as u64));
    }
}

fn grown() -> Home {
    let home = Home::new();
    home.ok(["init"]);
    for n in 0..PUSHES {
        change(&home, n);
        home.ok(["push", "site", "-m", &format!("change {n}")]);
    }
    home
}

/// The digest of the image of every revision of `main`.
fn images(home: &Home) -> BTreeMap<String, String> {
    let log = home.ok(["log", "main", "--json"]);
    log.lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let revision = line["revision"].as_str().unwrap().to_owned();
            let digest = home.json(["image", &revision, "--digest"])["blake3"].to_string();
            (revision, digest)
        })
        .collect()
}

/// The files of the store that say what it holds, and their lengths.
fn files(home: &Home) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    let mut folders = ["packs", "index", "revisions", "refs", "gc"].map(String::from).to_vec();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(home.path("store").join(&folder)) else { continue };
        for entry in entries {
            let entry = entry.unwrap();
            let name = format!("{folder}/{}", entry.file_name().to_str().unwrap());
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(name),
                false => _ = found.insert(name, entry.metadata().unwrap().len()),
            }
        }
    }
    found
}

fn sum(files: &BTreeMap<String, u64>, folder: &str) -> (u64, u64) {
    let within = files.iter().filter(|(name, _)| name.starts_with(folder));
    within.fold((0, 0), |(count, bytes), (_, length)| (count + 1, bytes + length))
}

fn stored(files: &BTreeMap<String, u64>) -> u64 {
    ["packs/", "index/", "revisions/", "refs/"].map(|folder| sum(files, folder).1).iter().sum()
}

#[test]
fn a_push_after_it_reads_no_file_again() {
    let home = Home::with_revisions();
    let hashed = || home.json(["push", "site"])["files_hashed"].clone();
    // A file that was written just now may change again without a change of its times.
    std::thread::sleep(std::time::Duration::from_millis(200));
    hashed();
    assert_eq!(hashed(), 0);
    for grace in ["1h", "0"] {
        home.ok(["store", "compact", "--all", "--grace", grace]);
        assert_eq!(hashed(), 0, "{grace}");
    }
}

#[test]
fn its_figures_are_those_of_the_files() {
    let home = grown();
    let (before, images_before) = (files(&home), images(&home));
    let (count, bytes) = sum(&before, "packs/");
    assert_eq!(count, PUSHES as u64);

    let dry = home.json(["store", "compact", "--dry-run"]);
    assert_eq!(dry["dry_run"], true);
    assert_eq!(
        (&dry["old_packs"]["count"], &dry["old_packs"]["bytes"]),
        (&count.into(), &bytes.into())
    );
    assert_eq!(dry["revision_files"], PUSHES);
    assert_eq!(dry["stored_bytes_before"], stored(&before));
    assert_eq!(dry["stored_bytes_after"], dry["stored_bytes_before"]);
    let said = home.run(["store", "compact", "-n"]).err;
    assert!(
        said.starts_with("would rewrite 24 packs of ")
            && said.contains("move 24 files of revisions into packs"),
        "{said}"
    );
    assert_eq!(files(&home), before, "a dry run changes nothing");

    let done = home.json(["store", "compact"]);
    let after = files(&home);
    assert_eq!(done["dry_run"], false);
    assert_eq!(done["old_packs"]["count"], count);
    assert_eq!(done["new_packs"]["count"], 1);
    assert_eq!(done["removed_packs"]["count"], 0);
    assert_eq!(
        (&done["waiting_packs"]["count"], &done["waiting_packs"]["bytes"]),
        (&count.into(), &bytes.into())
    );
    assert_eq!(sum(&after, "packs/").0, count + 1, "the old ones wait");
    let new: Vec<_> = after.iter().filter(|(name, _)| !before.contains_key(*name)).collect();
    let new_pack = new.iter().find(|(name, _)| name.starts_with("packs/")).unwrap();
    assert_eq!(done["new_packs"]["bytes"], *new_pack.1);
    assert_eq!(sum(&after, "revisions/").0, 0);
    assert_eq!(done["stored_bytes_before"], stored(&before));
    assert_eq!(done["stored_bytes_after"], stored(&after));
    assert_eq!(images(&home), images_before);

    let ran = home.run(["store", "compact", "--grace", "0"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(
        ran.err.starts_with(
            "nothing to rewrite; moved 0 files of revisions into packs\nremoved 24 packs of "
        ),
        "{}",
        ran.err
    );
    assert!(ran.out.is_empty());
    let last = files(&home);
    assert_eq!(sum(&last, "packs/"), (1, *new_pack.1));
    assert!(stored(&last) < stored(&before) / 10 * 9, "{} of {}", stored(&last), stored(&before));
    let stats = home.json(["store", "stats"]);
    assert_eq!(stats["stored_bytes"], stored(&last));
    assert_eq!(stats["revisions"], PUSHES);
    assert_eq!(images(&home), images_before);
    home.ok(["verify", "--data"]);
    assert!(home.run(["-q", "store", "compact"]).err.is_empty());
}

#[test]
fn killed_at_any_time_it_has_lost_nothing_and_goes_on() {
    let _machine = whole_machine();
    let home = grown();
    let expected = images(&home);
    // How long it takes, on a copy.
    let copy = Home::new();
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .arg(home.path("store"))
        .arg(copy.path("store"))
        .status();
    assert!(copied.unwrap().success());
    let begun = Instant::now();
    copy.ok(["store", "compact", "--grace", "0"]);
    let first = begun.elapsed();

    let wanted = if std::env::var_os("FREESTONE_LONG").is_some() { 200 } else { 8 };
    let (mut killed, mut rounds, mut whole) = (0, 0, first);
    while killed < wanted {
        let chance = f64::from(noise(1, rounds)[0]) / 256.0;
        let arguments = ["-q", "store", "compact", "--all", "--grace", "0"];
        let begun = Instant::now();
        let mut child = home.command(arguments).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(whole.mul_f64(chance));
        child.kill().unwrap();
        let ended = child.wait().unwrap();
        assert!(ended.signal() == Some(9) || ended.success(), "{ended}");
        rounds += 1;
        match ended.success() {
            // What is compacted already takes less long to be compacted again.
            true => whole = whole.min(begun.elapsed()).mul_f64(0.9),
            false => killed += 1,
        }
        assert!(rounds < 50 * wanted, "{killed} of {rounds} were killed");
        home.ok(["verify", "--data"]);
        assert_eq!(images(&home), expected, "round {rounds}");
    }
    let done = home.json(["store", "compact", "--grace", "0"]);
    assert_eq!(done["waiting_packs"]["count"], 0);
    let left = files(&home);
    assert_eq!(sum(&left, "packs/").0, 1, "{left:?}");
    // What says that all collections are over.
    assert_eq!(sum(&left, "gc/"), (1, 0));
    assert_eq!(images(&home), expected);
    home.ok(["verify", "--data"]);
    println!("{killed} kills in {rounds} rounds; the first whole one took {first:?}");
}

#[test]
fn readers_and_pushers_go_on_beside_it() {
    let home = grown();
    let expected = images(&home);
    let must = |ran: Ran, what: &str| assert_eq!(ran.code, Some(0), "{what}: {}", ran.err);
    let (home, expected) = (&home, &expected);
    let compacted = &AtomicUsize::new(0);
    let pushed = std::thread::scope(|scope| {
        let pusher = scope.spawn(move || {
            let mut pushed = PUSHES;
            // On a busy machine all pushes may be done before the second compaction begins.
            while pushed < 2 * PUSHES || compacted.load(Ordering::Relaxed) < 2 {
                change(home, pushed);
                let message = format!("change {pushed}");
                must(home.run(["push", "site", "--retry", "-m", &message]), "push");
                pushed += 1;
            }
            pushed
        });
        let reader = scope.spawn(move || {
            let mut rounds = 0;
            while rounds == 0 || !pusher.is_finished() {
                for (revision, digest) in expected {
                    let found = home.json(["image", revision, "--digest"]);
                    assert_eq!(found["blake3"].to_string(), *digest);
                }
                rounds += 1;
            }
            (pusher.join().unwrap(), rounds)
        });
        while !reader.is_finished() {
            let ran = home.run(["store", "compact", "--all"]);
            // The pusher waits for two, and must end where one fails.
            compacted.fetch_add(if ran.code == Some(0) { 1 } else { 2 }, Ordering::Relaxed);
            must(ran, "compact");
        }
        let (pushed, rounds) = reader.join().unwrap();
        println!(
            "{compacted:?} compactions beside pushes up to {pushed}, {rounds} readings of all"
        );
        pushed
    });
    home.ok(["verify", "--data"]);
    assert_eq!(home.ok(["log", "main", "--json"]).lines().count(), pushed);
    let now = images(home);
    assert!(expected.iter().all(|(revision, digest)| now[revision] == *digest));
    home.ok(["store", "compact", "--grace", "0"]);
    assert_eq!(images(home), now);
}
