//! Stores that others use or put files into, odd terminals, and upstreams that nobody named.

use crate::program::{Home, NOW, Ran, ok};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Puts what file managers, synchronisers, NAS and network file systems leave into a folder.
fn strew(folder: &Path) {
    for name in [".DS_Store", ".nfs000000000000000a", "Thumbs.db", "a (conflicted copy).idx", "~$x"]
    {
        fs::write(folder.join(name), "another program's").unwrap();
    }
    fs::create_dir_all(folder.join("@eaDir/x")).unwrap();
    fs::write(folder.join("@eaDir/x/SYNO@.fileindexdb"), "").unwrap();
    let _ = symlink("/nonexistent", folder.join("dangling"));
    let pipe = folder.join("pipe");
    assert!(Command::new("mkfifo").arg("-m").arg("644").arg(pipe).status().unwrap().success());
}

fn folders(below: &Path) -> Vec<std::path::PathBuf> {
    let mut all = vec![below.to_owned()];
    for entry in fs::read_dir(below).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            all.extend(folders(&entry.path()));
        }
    }
    all
}

#[test]
fn files_of_other_programs_in_a_store_change_nothing() {
    let home = Home::with_revisions();
    home.ok(["store", "compact", "--all"]);
    let image = home.ok(["image", "main", "--digest"]);
    folders(&home.path("store")).iter().for_each(|folder| strew(folder));
    assert_eq!(home.ok(["image", "main", "--digest"]), image);
    for n in 0..12 {
        home.write("site/n", format!("{n}").as_bytes());
        home.ok(["push", "site"]);
    }
    assert_eq!(home.ok(["ref", "list"]).lines().count(), 1);
    for command in [
        &["verify", "--data"][..],
        &["status"],
        &["log", "main"],
        &["store", "stats"],
        &["store", "compact", "--all", "--grace", "0"],
        &["store", "reindex"],
        &["verify", "--data"],
        &["init", "host", "--upstream", "store"],
        &["-s", "host", "fetch", "main"],
        &["init", "copy"],
        &["copy", "main", "--to", "copy"],
    ] {
        home.ok(command);
    }
    let image = home.ok(["image", "main", "--digest"]);
    for store in ["host", "copy"] {
        assert_eq!(home.ok(["-s", store, "image", "main", "--digest"]), image);
    }
}

#[test]
fn what_killed_commands_left_is_removed_by_the_next() {
    let home = Home::with_revisions();
    home.ok(["init", "copy"]);
    let id = home.ok(["resolve", "main"]).trim().to_owned();
    for (store, command) in [
        ("store", &["store", "reindex"][..]),
        ("store", &["ref", "set", "other", &id]),
        ("store", &["ref", "delete", "other"]),
        ("store", &["push", "site", "-m", "again"]),
        ("store", &["store", "compact"]),
        ("copy", &["copy", "main", "--to", "copy"]),
    ] {
        let folder = home.path(store).join("tmp");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("0123456789abcdef"), "left over").unwrap();
        home.ok(command);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "{command:?}");
    }
}

fn mode(home: &Home, name: &str) -> u32 {
    fs::metadata(home.path(name)).unwrap().permissions().mode() & 0o7777
}

/// Runs the program under a umask.
fn with_umask(home: &Home, umask: &str, arguments: &[&str]) -> String {
    let script = format!("umask {umask}; exec \"$@\"");
    let mut all = vec!["-c", &script, "sh", env!("CARGO_BIN_EXE_freestone")];
    all.extend(arguments);
    ok(&mut home.wrapped("sh", all))
}

#[test]
fn a_new_store_is_its_owners_alone_unless_it_is_shared() {
    let home = Home::new();
    home.write("site/secret", b"x");
    for (umask, own, shared) in
        [("022", 0o700, 0o755), ("002", 0o700, 0o775), ("077", 0o700, 0o700)]
    {
        let (one, all) = (format!("own-{umask}"), format!("shared-{umask}"));
        with_umask(&home, umask, &["init", &one]);
        with_umask(&home, umask, &["init", "--shared", &all]);
        assert_eq!((mode(&home, &one), mode(&home, &all)), (own, shared), "umask {umask}");
        with_umask(&home, umask, &["-s", &all, "push", "site"]);
        assert_eq!(mode(&home, &format!("{all}/packs")), shared, "umask {umask}");
    }
}

/// Users of one group push to a shared store; others read it, and cannot write.
#[test]
fn users_of_a_group_share_a_store() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let home = Home::new();
    // Other users must reach the program and the store.
    let program = home.path("freestone");
    fs::copy(env!("CARGO_BIN_EXE_freestone"), &program).unwrap();
    home.set_mode("", 0o755);
    home.write("site/a", b"a");
    fs::create_dir(home.path("shared")).unwrap();
    std::os::unix::fs::chown(home.path("shared"), None, Some(65_000)).unwrap();
    home.set_mode("shared", 0o2775);
    let run = |user: &str, group: &str, arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", user, "--regid", group, "--clear-groups"]);
        command.args(["sh", "-c", "umask 002; exec \"$@\"", "sh"]).arg(&program).args(arguments);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("SOURCE_DATE_EPOCH", NOW);
        command.env("FREESTONE_STORE", home.path("shared/store")).current_dir(home.path(""));
        Ran::of(command.output().unwrap())
    };
    let one = |arguments: &[&str]| run("65001", "65000", arguments);
    let other = |arguments: &[&str]| run("65002", "65000", arguments);
    let stranger = |arguments: &[&str]| run("65003", "65003", arguments);
    let done = |ran: Ran| assert_eq!(ran.code, Some(0), "{}", ran.err);
    done(one(&["init", "--shared"]));
    for round in 0..6 {
        home.write("site/n", format!("{round}").as_bytes());
        done(one(&["push", "site"]));
        home.write("site/m", format!("{round}").as_bytes());
        done(other(&["push", "site"]));
    }
    done(other(&["store", "compact", "--all", "--grace", "0"]));
    done(one(&["store", "reindex"]));
    done(other(&["ref", "set", "live", "main"]));
    done(one(&["verify", "--data"]));
    done(stranger(&["verify", "--data"]));
    done(stranger(&["cat", "main:a"]));
    let refused = stranger(&["push", "site", "-m", "a stranger's"]);
    assert_eq!(refused.code, Some(4), "{}", refused.err);
    assert!(refused.err.contains("can be read, but not written"), "{}", refused.err);
    // A store that is not shared says what it is.
    done(one(&["init", "shared/own"]));
    let refused = other(&["-s", "shared/own", "log"]);
    assert_eq!(refused.code, Some(4), "{}", refused.err);
    assert!(refused.err.contains("freestone init --shared"), "{}", refused.err);
}

/// Terminals without a width, of one column, and that know nothing get output as others do.
#[test]
fn odd_terminals_get_output_as_others_do() {
    let home = Home::with_revisions();
    let program = env!("CARGO_BIN_EXE_freestone");
    for (columns, terminal) in [("0", "xterm"), ("1", "xterm"), ("3", "xterm"), ("80", "dumb")] {
        for command in
            ["push site", "image main --force -o x.img", "verify --data", "--help", "log"]
        {
            let line = format!("stty cols {columns}; exec {program} {command}");
            let mut script = home.wrapped("script", ["-qec", &line, "/dev/null"]);
            let ran = Ran::of(script.env("TERM", terminal).env_remove("COLUMNS").output().unwrap());
            assert_eq!(ran.code, Some(0), "{columns} columns, {command}: {}", ran.text());
        }
    }
}

/// An upstream at a URL that only the store names is not contacted.
#[test]
fn an_upstream_that_nobody_named_is_not_contacted() {
    let home = Home::with_revisions();
    home.ok(["init", "host", "--upstream", "store"]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}/store", listener.local_addr().unwrap());
    let config = String::from_utf8(home.read("host/upstream")).unwrap();
    let line = format!("url: {}", home.path("store").display());
    assert!(config.contains(&line), "{config}");
    home.write("host/upstream", config.replace(&line, &format!("url: {url}")).as_bytes());
    home.write(".config/freestone/config.toml", b"retry-for = 1\ntimeout = 1\n");
    let was_asked = || {
        std::thread::sleep(Duration::from_millis(100));
        std::iter::from_fn(|| listener.accept().ok()).count() > 0
    };
    for command in [&["fetch", "main"][..], &["status"], &["ls", "main"], &["image", "main", "-n"]]
    {
        let ran = home.run(["-s", "host"].iter().chain(command));
        assert!(!was_asked(), "{command:?}: {}", ran.err);
        if command != ["status"] {
            assert!(ran.err.contains(&format!("--trust-upstream {url}")), "{}", ran.err);
        }
    }
    let named = home.run(["-s", "host", "--trust-upstream", &url, "fetch", "main"]);
    assert!(was_asked(), "{}", named.err);
}
