//! A host's store by the command line: images of what it fetches, without the upstream, after
//! kills, and copies.

use crate::program::{self, Home};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// Bytes that do not compress, the same for the same seed.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    next.flatten().take(length).collect()
}

/// A home with an upstream in `store`, three revisions of it, and a host's store in `host`.
fn with_host() -> Home {
    let home = Home::with_revisions();
    home.write("site/big", &noise(3_000_000, 1));
    home.write("site/docs/c.bin", &noise(90_000, 2));
    home.ok(["push", "site", "-m", "the third"]);
    home.ok(["init", "host", "--upstream", "store", "--host", "web-1"]);
    home
}

fn digest(home: &Home, arguments: &[&str]) -> String {
    let answer = home.ok(arguments.iter().chain(&["--digest"]));
    answer.lines().next().unwrap().to_owned()
}

#[test]
fn a_host_makes_the_same_images_and_goes_on_without_the_upstream() {
    let home = with_host();
    let preview = home.json(["-s", "host", "image", "main", "-n"]);
    let bytes = preview["fetch"]["bytes"].as_u64().unwrap();
    assert!((3_090_000..3_250_000).contains(&bytes), "{preview}");
    let told = home.ok(["-s", "host", "image", "main", "-n"]);
    assert!(told.contains("fetch    2.9 MiB in "), "{told}");
    let expected = digest(&home, &["image", "main"]);
    let ran = home.run(["-s", "host", "image", "main", "-o", "www.img"]);
    assert!(ran.err.contains("fetched 2.9 MiB in "), "{}", ran.err);
    assert_eq!(digest(&home, &["-s", "host", "image", "main"]), expected);
    assert!(home.ok(["-s", "host", "image", "main", "-n"]).contains("nothing, all of it is here"));
    assert_eq!(home.ok(["-s", "host", "cat", "main~1:index.html"]), "<h1>second</h1>\n");
    home.ok(["-s", "host", "extract", "main~2:docs", "docs"]);
    assert_eq!(home.read("docs/a.txt"), b"a\n");
    home.ok(["-s", "host", "fetch", "main"]);

    fs::rename(home.path("store"), home.path("gone")).unwrap();
    let error = home.fails(4, ["-s", "host", "image", "main", "-o", "www.img"]);
    assert!(error.contains("is unreachable since 20"), "{error}");
    assert!(error.contains("--offline") && error.contains("(main)"), "{error}");
    let status = home.ok(["-s", "host", "status"]);
    assert!(status.contains("unreachable since") && status.contains("complete "), "{status}");
    assert_eq!(digest(&home, &["-s", "host", "--offline", "image", "main"]), expected);
    assert!(home.ok(["-s", "host", "--offline", "ls", "-R", "main"]).contains("docs/deep/b.txt"));
    home.ok(["-s", "host", "--offline", "inspect", "www.img", "--against", "main"]);
    let error = home.fails(5, ["-s", "host", "--offline", "image", "main~2", "-o", "old.img"]);
    assert!(error.contains("is not here") && error.contains("freestone fetch"), "{error}");
    assert!(!home.path("old.img").exists());
    fs::rename(home.path("gone"), home.path("store")).unwrap();
    assert!(home.ok(["-s", "host", "status"]).contains(", reachable"));
}

#[test]
fn what_makes_no_sense_on_a_host_is_refused_with_the_way_to_do_it() {
    let home = with_host();
    for line in
        [&["push", "site"][..], &["ref", "set", "x", "main"], &["verify"], &["store", "stats"]]
    {
        let error = home.fails(7, ["-s", "host"].iter().chain(line));
        assert!(error.contains("/store"), "{error}");
    }
    home.fails(7, ["fetch", "main"]);
    home.fails(2, ["-s", "host", "--offline", "fetch", "main"]);
    home.fails(2, ["init", "other", "--cache-size", "1G"]);
    home.fails(5, ["init", "other", "--upstream", "nothing"]);
    home.fails(7, ["init", "other", "--upstream", "host"]);
    home.fails(2, ["init", "other", "--upstream", "store", "--host", "a/b"]);
    assert!(!home.path("other/format").exists());
    let config = String::from_utf8(home.read("host/upstream")).unwrap();
    home.write(
        "host/upstream",
        config.replace("cache-size: 10737418240", "cache-size: lots").as_bytes(),
    );
    let error = home.fails(2, ["-s", "host", "status"]);
    assert!(error.contains("no size in \"lots\""), "{error}");
}

#[test]
fn pins_are_left_at_the_upstream_where_that_can_be_written() {
    let home = with_host();
    let pinned = home.json(["-s", "host", "fetch", "main", "--pin", "www"]);
    assert_eq!(pinned["pinned_upstream"], true);
    assert!(home.ok(["ref", "list"]).contains("hosts/web-1/www"));
    let ran = home.run(["-s", "host", "pin", "list"]);
    assert!(ran.text().contains("www, complete; pinned at the upstream too"), "{}", ran.text());
    // A host that may not write to it is told what that means.
    let config = String::from_utf8(home.read("host/upstream")).unwrap();
    home.write("host/upstream", config.replace("web-1", "web-2").as_bytes());
    let refs = home.path("store/refs");
    fs::remove_dir_all(home.path("store/tmp")).unwrap();
    fs::write(home.path("store/tmp"), "in the way").unwrap();
    let ran = home.run(["-s", "host", "fetch", "main", "--pin", "www"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.err.contains("the pin could not be changed at "), "{}", ran.err);
    assert!(home.ok(["-s", "host", "status"]).contains("not pinned at the upstream"));
    fs::remove_file(home.path("store/tmp")).unwrap();
    assert!(refs.exists());
    home.ok(["-s", "host", "fetch", "main", "--pin", "www"]);
    assert!(home.ok(["ref", "list"]).contains("hosts/web-2/www"));
    home.ok(["-s", "host", "pin", "remove", "www"]);
    assert!(!home.ok(["ref", "list"]).contains("hosts/web-2/www"));
    assert_eq!(home.ok(["-s", "host", "pin", "list"]), "");
    home.fails(5, ["-s", "host", "pin", "remove", "www"]);
}

#[test]
fn what_a_host_has_pinned_is_not_collected() {
    let home = with_host();
    home.ok(["-s", "host", "fetch", "main~1", "--pin", "www"]);
    home.ok(["-s", "host", "fetch", "main~2"]);
    let gc = ["store", "gc", "--keep-last", "1", "--min-age", "0", "--grace", "0"];
    let preview = home.json(gc.iter().chain(&["-n"]));
    let pin = preview["refs"].as_array().unwrap().iter().find(|of| of["ref"] == "hosts/web-1/www");
    assert_eq!(pin.unwrap()["kept"][0]["why"], "newest");
    home.ok(gc);
    let checked = home.json(["verify", "--data"]);
    assert_eq!(checked["finding_count"], 0, "{checked}");
    assert_eq!(home.ok(["-s", "host", "cat", "main@2:index.html"]), "<h1>second</h1>\n");
    assert_eq!(home.ok(["cat", "main@2:index.html"]), "<h1>second</h1>\n");
    let error = home.fails(5, ["image", "main@1", "--digest"]);
    assert!(error.contains("main@1 was collected"), "{error}");
    // What is gone at the upstream is not fetched again, nor pinned.
    home.fails(3, ["-s", "host", "fetch", "main@1", "--pin", "old"]);
    assert!(!home.ok(["ref", "list"]).contains("hosts/web-1/old"));
}

#[test]
fn offline_a_host_says_what_it_has() {
    let home = with_host();
    let resolve = |rev| home.ok(["resolve", rev]).trim().to_owned();
    let (id, before) = (resolve("main"), resolve("main~1"));
    let expected = digest(&home, &["image", "main"]);
    for what in [&id[..], "main"] {
        home.ok(["-s", "host", "fetch", what]);
        assert_eq!(digest(&home, &["-s", "host", "--offline", "image", &id]), expected);
        let status = home.ok(["-s", "host", "--offline", "status"]);
        assert!(status.contains(&format!("complete   {} ", &id[..12])), "{status}");
        let log = home.ok(["-s", "host", "--offline", "log", &id]);
        assert!(log.contains(&id[..12]) || log.contains(&id), "{log}");
        let error = home.fails(5, ["-s", "host", "--offline", "image", &before, "--digest"]);
        assert!(error.contains("freestone fetch"), "{error}");
        if what == id {
            fs::remove_dir_all(home.path("host/cache")).unwrap();
        }
    }
    home.ok(["-s", "host", "--offline", "log", "main"]);
    // The upstream is away: what is asked about it is answered at once.
    fs::rename(home.path("store"), home.path("away")).unwrap();
    let begun = std::time::Instant::now();
    let status = home.ok(["-s", "host", "status"]);
    assert!(status.contains("unreachable since") && status.contains("complete "), "{status}");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[test]
fn a_host_whose_cache_cannot_be_written_makes_images_all_the_same() {
    let home = with_host();
    let expected = digest(&home, &["image", "main"]);
    home.write("host/cache", b"in the way");
    let ran = home.run(["-s", "host", "image", "main", "--digest"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.text().starts_with(&expected), "{}", ran.text());
    assert_eq!(ran.err.matches("is not kept").count(), 1, "{}", ran.err);
    // What is to be kept is not called complete.
    let error = home.fails(4, ["-s", "host", "fetch", "main"]);
    assert!(!error.contains("complete here"), "{error}");
}

/// A compaction puts what is pinned elsewhere at the upstream: that is said, and mended.
#[test]
fn pins_are_brought_again_once_the_upstream_was_compacted() {
    let home = with_host();
    let before = home.ok(["image", "main", "--digest"]);
    home.ok(["-s", "host", "fetch", "main", "--pin", "www"]);
    home.ok(["store", "compact", "--all", "--grace", "0"]);
    // What lists the index finds the new places.
    home.ok(["-s", "host", "ls", "main"]);
    let list = home.run(["-s", "host", "pin", "list"]).text();
    assert!(list.contains("www, incomplete here"), "{list}");
    home.ok(["-s", "host", "fetch", "--pins"]);
    let list = home.run(["-s", "host", "pin", "list"]).text();
    assert!(list.contains("www, complete"), "{list}");
    fs::rename(home.path("store"), home.path("away")).unwrap();
    assert_eq!(home.ok(["-s", "host", "--offline", "image", "main", "--digest"]), before);
    home.fails(2, ["-s", "host", "fetch"]);
}

#[test]
fn a_host_that_is_killed_again_and_again_makes_the_same_image_in_the_end() {
    let home = with_host();
    for file in 0..40 {
        home.write(format!("site/many/{file}"), &noise(150_000, 100 + file));
    }
    home.ok(["push", "site"]);
    let expected = digest(&home, &["image", "main"]);
    let kills = if std::env::var_os("FREESTONE_LONG").is_some() { 300 } else { 20 };
    for kill in 0..kills {
        let mut child = home.command(["-q", "-s", "host", "fetch", "main"]).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(kill * 7 % 130));
        // It may have ended by itself.
        let _ = child.kill();
        child.wait().unwrap();
        let ran = home.run(["-q", "-s", "host", "--offline", "image", "main", "--digest"]);
        match ran.code {
            Some(0) => assert!(ran.text().starts_with(&expected), "{}", ran.text()),
            Some(5) => {}
            code => panic!("{code:?}: {}", ran.err),
        }
        // Where all that went before were killed early, there is none yet.
        if kill % 5 == 4 && home.path("host/cache").exists() {
            fs::remove_dir_all(home.path("host/cache")).unwrap();
        }
    }
    home.ok(["-s", "host", "fetch", "main"]);
    assert_eq!(digest(&home, &["-s", "host", "--offline", "image", "main"]), expected);
}

/// A limit of threads makes a fetch slower, and does not end it.
#[test]
fn a_host_with_few_threads_fetches_the_same() {
    // The limit counts all threads of a user, and does not hold for root: so root becomes a user who
    // has none.
    const USER: u32 = 61_234;
    let home = with_host();
    if fs::metadata(home.path("")).unwrap().uid() != 0 {
        return;
    }
    let expected = digest(&home, &["image", "main"]);
    fs::copy(env!("CARGO_BIN_EXE_freestone"), home.path("freestone")).unwrap();
    for limit in [1, 2, 3, 5, 8] {
        let _ = fs::remove_dir_all(home.path("host/cache"));
        let owner = format!("{USER}:{USER}");
        program::ok(home.wrapped("chown", ["-R", &owner, "."]).arg(home.path("")));
        let user = format!("--reuid={USER}");
        let threads = format!("--nproc={limit}");
        let become_user = [&user[..], "--regid=61234", "--clear-groups", "prlimit", &threads];
        let fetch = ["./freestone", "-s", "host", "fetch", "main"];
        let ran = program::ran(&mut home.wrapped("setpriv", become_user.iter().chain(&fetch)));
        assert_eq!(ran.code, Some(0), "{limit}: {}", ran.err);
        assert_eq!(digest(&home, &["-s", "host", "--offline", "image", "main"]), expected);
    }
}

fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_files(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

#[test]
fn a_copy_on_a_stick_is_a_store_of_its_own() {
    let home = with_host();
    home.ok(["init", "stick"]);
    let preview = home.json(["copy", "main", "--to", "stick", "-n"]);
    assert_eq!(preview["revisions"], 1);
    let copied = home.json(["-s", "host", "copy", "main", "--to", "stick"]);
    assert_eq!((&copied["revisions"], &copied["ref_entries"]), (&1.into(), &1.into()));
    assert_eq!(copied["records"], preview["records"]);
    home.write("site/index.html", b"<h1>fourth</h1>\n");
    home.ok(["push", "site"]);
    home.ok(["copy", "main", "--to", "stick"]);
    let again = home.ok(["copy", "main", "--to", "stick", "-n"]);
    assert!(again.contains("lacks 0 revisions"), "{again}");
    // Carried elsewhere, without all others.
    copy_files(&home.path("stick"), &home.path("elsewhere"));
    let expected = digest(&home, &["image", "main"]);
    assert_eq!(digest(&home, &["-s", "elsewhere", "image", "main"]), expected);
    assert_eq!(home.ok(["-s", "elsewhere", "resolve", "main@3"]), home.ok(["resolve", "main@3"]));
    home.ok(["-s", "elsewhere", "verify", "--data"]);
    home.fails(2, ["copy", "main", "--to", "store"]);
    home.fails(5, ["copy", "main", "--to", "nowhere"]);
    // A ref of the same name that went another way is left alone.
    home.ok(["init", "other"]);
    home.ok(["-s", "other", "push", "site/docs"]);
    let error = home.fails(6, ["copy", "main", "--to", "other"]);
    assert!(error.contains("another ref"), "{error}");
}
