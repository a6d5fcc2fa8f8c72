//! A server that a script starts, does things to, and ends.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// The script runs until this is dropped.
pub struct Script {
    name: &'static str,
    running: Mutex<(Child, ChildStdin, BufReader<ChildStdout>)>,
}

impl Script {
    /// Starts `tests/remote/NAME` with a folder of its own; gives what it says after "ready".
    pub fn start(name: &'static str) -> (Self, String) {
        let script = freestone_testkit::top().join("tests/remote").join(name);
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("freestone-{name}-{}-{number}", std::process::id()));
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
        let said = line.trim().strip_prefix("ready ");
        let said = said.unwrap_or_else(|| panic!("{name} fails, see above")).to_owned();
        (Self { name, running: Mutex::new((child, input, output)) }, said)
    }

    /// Has the script do something.
    pub fn tell(&self, command: &str) {
        let mut running = self.running.lock().unwrap();
        let (_, input, output) = &mut *running;
        writeln!(input, "{command}").unwrap();
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "ok\n", "{}: {command}", self.name);
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let (child, _, _) = self.running.get_mut().unwrap_or_else(PoisonError::into_inner);
        // SIGTERM, so that the script ends what it started.
        let _ = Command::new("kill").arg(child.id().to_string()).status();
        let _ = child.wait();
    }
}
