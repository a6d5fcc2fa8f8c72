//! Ceph's gateway, started by `ceph.sh` once for all tests of a program, and ended with it.
#![allow(dead_code, reason = "each test uses its part")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};

/// A gateway with the bucket `test`.
pub struct Ceph {
    pub port: u16,
    commands: Mutex<(Child, ChildStdin, BufReader<ChildStdout>)>,
}

impl Ceph {
    /// One of its own, for a test that does it harm. It ends when the test does.
    pub fn start() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/remote/ceph.sh");
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("freestone-ceph-{}-{number}", std::process::id()));
        let mut child = Command::new("bash")
            .arg(script)
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let port = line.trim().strip_prefix("ready ").and_then(|port| port.parse().ok());
        let port = port.unwrap_or_else(|| {
            panic!(
                "Ceph does not start, see above; `scripts/setup --test` installs what is missing"
            )
        });
        Self { port, commands: Mutex::new((child, input, output)) }
    }

    /// The one that all tests of this program share.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Ceph> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Has the script do something.
    pub fn tell(&self, command: &str) {
        let mut commands: MutexGuard<'_, _> = self.commands.lock().unwrap();
        let (_, input, output) = &mut *commands;
        writeln!(input, "{command}").unwrap();
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "ok\n", "ceph.sh: {command}");
    }

    /// The variables that a client needs.
    pub fn variables(&self) -> Vec<(String, String)> {
        variables(self.port, "test")
    }
}

impl Drop for Ceph {
    fn drop(&mut self) {
        let commands = self.commands.get_mut();
        let (child, _, _) = commands.unwrap_or_else(std::sync::PoisonError::into_inner);
        // SIGTERM, so that the script ends what it started.
        let _ = Command::new("kill").arg(child.id().to_string()).status();
        let _ = child.wait();
    }
}

/// The variables for a server on `port`, as the user `user`.
pub fn variables(port: u16, user: &str) -> Vec<(String, String)> {
    [
        ("AWS_ACCESS_KEY_ID", format!("{user}-key")),
        ("AWS_SECRET_ACCESS_KEY", format!("{user}-secret")),
        ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}")),
        ("AWS_ALLOW_HTTP", "true".into()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}
