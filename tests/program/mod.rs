//! The program, run in a home of its own, where nothing of this machine's user is seen.
#![allow(dead_code, reason = "each program of tests uses its part")]

use std::ffi::OsStr;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The time that everything is made at.
pub const NOW: &str = "1700000000";

/// A home, in which the program runs, and a directory for its caches.
pub struct Home(tempfile::TempDir, tempfile::TempDir);

/// What a run came to.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: Vec<u8>,
    pub err: String,
}

impl Home {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap())
    }

    /// A home with a store in `store` and a site in `site`, of which `main` is the second
    /// revision.
    pub fn with_revisions() -> Self {
        let home = Self::new();
        home.write("site/index.html", b"<h1>first</h1>\n");
        home.write("site/docs/a.txt", b"a\n");
        home.write("site/docs/deep/b.txt", &[b'b'; 70_000]);
        home.ok(["init"]);
        home.ok(["push", "site", "-m", "the first", "-l", "git.commit=0123456789abcdef"]);
        home.write("site/index.html", b"<h1>second</h1>\n");
        home.write("site/run.sh", b"#!/bin/sh\n");
        home.set_mode("site/run.sh", 0o755);
        fs::remove_file(home.path("site/docs/a.txt")).unwrap();
        home.ok(["push", "site", "-m", "the second\n\nat length"]);
        home
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file and the directories that it needs.
    pub fn write(&self, name: impl AsRef<Path>, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub fn read(&self, name: impl AsRef<Path>) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    pub fn set_mode(&self, name: impl AsRef<Path>, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// The program with arguments; the store is `store`.
    pub fn command<I: IntoIterator<Item: AsRef<OsStr>>>(&self, arguments: I) -> Command {
        self.wrapped(env!("CARGO_BIN_EXE_freestone"), arguments)
    }

    /// Another program with arguments, in the same surroundings.
    pub fn wrapped<I: IntoIterator<Item: AsRef<OsStr>>>(
        &self,
        program: &str,
        arguments: I,
    ) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(self.0.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.0.path())
            .env("TMPDIR", self.0.path())
            .env("XDG_CACHE_HOME", self.1.path())
            .env("COLUMNS", "100")
            .env("FREESTONE_STORE", "store")
            .env("SOURCE_DATE_EPOCH", NOW)
            .stdin(Stdio::null());
        command
    }

    /// The program with arguments, under a limit as `prlimit` takes it. Root has no limit of threads,
    /// so it runs as another user then, to whom the home is given.
    pub fn limited<I: IntoIterator<Item: AsRef<OsStr>>>(
        &self,
        limit: &str,
        arguments: I,
    ) -> Command {
        let program = env!("CARGO_BIN_EXE_freestone");
        if !rustix::process::geteuid().is_root() {
            let mut command = self.wrapped("prlimit", [limit, program]);
            command.args(arguments);
            return command;
        }
        // Others cannot enter all directories to the program.
        let copy = self.path("freestone");
        if !copy.exists() {
            fs::copy(program, &copy).unwrap();
        }
        // The limit is of all threads of a user: each home has its own.
        let mut hasher = DefaultHasher::new();
        self.0.path().hash(&mut hasher);
        let user = &(20_000 + hasher.finish() % 40_000).to_string();
        for directory in [&self.0, &self.1] {
            let mut chown = Command::new("chown");
            chown.args(["-R", user]).arg(directory.path());
            assert!(chown.status().unwrap().success());
        }
        let user = ["--reuid", user, "--regid", user, "--clear-groups", "prlimit", limit];
        let mut command = self.wrapped("setpriv", user);
        command.arg(copy).args(arguments);
        command
    }

    pub fn run<I: IntoIterator<Item: AsRef<OsStr>>>(&self, arguments: I) -> Ran {
        Ran::of(self.command(arguments).output().unwrap())
    }

    /// Runs what must succeed; gives what it printed.
    pub fn ok<I: IntoIterator<Item: AsRef<OsStr>>>(&self, arguments: I) -> String {
        let mut command = self.command(arguments);
        let ran = Ran::of(command.output().unwrap());
        assert_eq!(ran.code, Some(0), "{command:?}: {}{}", ran.err, ran.text());
        ran.text()
    }

    /// Runs what must succeed with `--json`.
    pub fn json<I: IntoIterator<Item: AsRef<OsStr>>>(&self, arguments: I) -> serde_json::Value {
        let mut command = self.command(arguments);
        let ran = Ran::of(command.arg("--json").output().unwrap());
        assert_eq!(ran.code, Some(0), "{command:?}: {}", ran.err);
        serde_json::from_slice(&ran.out).unwrap()
    }

    /// Runs what must fail with `code`; gives what it said.
    pub fn fails<I: IntoIterator<Item: AsRef<OsStr>>>(&self, code: i32, arguments: I) -> String {
        let mut command = self.command(arguments);
        let ran = Ran::of(command.output().unwrap());
        assert_eq!(ran.code, Some(code), "{command:?}: {}", ran.err);
        ran.err
    }

    /// The names in a directory, sorted.
    pub fn names(&self, name: impl AsRef<Path>) -> Vec<String> {
        let entries = fs::read_dir(self.path(name)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// Runs what was made of [`Home::command`].
pub fn ran(command: &mut Command) -> Ran {
    Ran::of(command.output().unwrap())
}

/// What it prints, where it must succeed.
pub fn ok(command: &mut Command) -> String {
    let ran = ran(command);
    assert_eq!(ran.code, Some(0), "{command:?}: {}", ran.err);
    ran.text()
}

impl Ran {
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: output.stdout,
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.out.clone()).unwrap()
    }
}

/// Waits until the process catches the signal: before that it would be ended by it.
pub fn until_it_catches(pid: u32, signal: u32) {
    let begun = Instant::now();
    loop {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
        if u64::from_str_radix(mask, 16).unwrap() >> (signal - 1) & 1 == 1 {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "signal {signal} is not caught");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Holds `found` against the file `name` under `tests/snapshots`; with
/// `FREESTONE_UPDATE_SNAPSHOTS=1` writes it there.
pub fn snapshot(name: &str, found: &str) {
    let path = freestone_testkit::top().join("tests/snapshots").join(name);
    if std::env::var_os("FREESTONE_UPDATE_SNAPSHOTS").is_some() {
        fs::write(&path, found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    if found == expected {
        return;
    }
    let different = found.lines().zip(expected.lines()).position(|(a, b)| a != b);
    let at = different.unwrap_or_else(|| found.lines().count().min(expected.lines().count()));
    panic!(
        "{} differs from line {}: found {:?}, expected {:?}; if the change is meant, run the test \
         with FREESTONE_UPDATE_SNAPSHOTS=1 and look at what changed",
        path.display(),
        at + 1,
        found.lines().nth(at),
        expected.lines().nth(at),
    );
}
