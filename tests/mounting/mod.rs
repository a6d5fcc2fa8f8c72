//! A mount that ends with its test.
#![allow(dead_code, reason = "each program of tests uses its part")]

use crate::program::Home;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The time limit of everything that a test waits for, even on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Returns true if the tests may mount; prints that they are skipped if not.
pub fn may_mount() -> bool {
    let forbidden = std::env::var_os("FREESTONE_NO_LOOP").is_some_and(|value| value == "1");
    if forbidden {
        eprintln!("SKIPPED: FREESTONE_NO_LOOP=1, so nothing that needs mounts was tested");
    }
    !forbidden
}

/// A running `freestone mount` of a home's store on its directory `mnt`.
pub struct Mount {
    directory: PathBuf,
    child: Option<Child>,
    said: Option<JoinHandle<String>>,
}

impl Mount {
    /// Mounts with `options`, and waits until it is mounted.
    pub fn start(home: &Home, options: &[&str]) -> Self {
        let directory = home.path("mnt");
        // The directory may exist; if a dead mount is on it, it cannot be created or read.
        let _ = std::fs::create_dir(&directory);
        let mut command = home.command(["mount", "mnt"]);
        let mut child = command.args(options).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let (ready, is_ready) = mpsc::channel();
        let said = std::thread::spawn(move || {
            let mut said = String::new();
            lines.read_line(&mut said).unwrap();
            let _ = ready.send(said.starts_with("mounted at "));
            lines.read_to_string(&mut said).unwrap();
            said
        });
        let mut mount = Self { directory, child: Some(child), said: Some(said) };
        if is_ready.recv_timeout(PATIENCE) != Ok(true) {
            panic!("not mounted: {}", mount.end().1);
        }
        mount
    }

    /// Returns the path of `name` in the mount.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.directory.join(name)
    }

    /// Sends a signal, such as `-TERM`.
    pub fn signal(&self, signal: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// Waits for its end; returns the exit code and what it printed on the standard error.
    pub fn wait(&mut self) -> (Option<i32>, String) {
        let mut child = self.child.take().unwrap();
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if begun.elapsed() > PATIENCE {
                child.kill().unwrap();
                panic!("the mount does not end");
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        (status.code(), self.said.take().unwrap().join().unwrap())
    }

    /// Ends it by SIGTERM, as users do.
    pub fn end(&mut self) -> (Option<i32>, String) {
        self.signal("-TERM");
        self.wait()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        // A failed test leaves the mount.
        let mut unmount = Command::new("umount");
        let _ = unmount.arg("-l").arg(&self.directory).stderr(Stdio::null()).status();
    }
}
