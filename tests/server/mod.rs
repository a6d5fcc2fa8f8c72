//! A server of freestone that runs while a test runs.
#![allow(dead_code, reason = "each program of tests uses its part")]

pub mod client;
pub mod wire;

use crate::program::Home;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The time limit of everything that a test waits for: far more than it takes.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A server that is ready. It is killed when this is dropped.
pub struct Server {
    child: Child,
    /// The addresses that it prints, on which it listens.
    pub places: Vec<String>,
    log: Arc<Mutex<String>>,
    reading: Option<JoinHandle<()>>,
}

/// Starts `command`, which prints its address on the standard output.
pub fn start(mut command: Command) -> Server {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap();
    let log = Arc::new(Mutex::new(String::new()));
    let (lines, shared) = (BufReader::new(child.stderr.take().unwrap()), log.clone());
    let reading = thread::spawn(move || {
        for line in lines.lines().map_while(Result::ok) {
            shared.lock().unwrap().push_str(&format!("{line}\n"));
        }
    });
    let mut server = Server { child, places: Vec::new(), log, reading: Some(reading) };
    let mut out = BufReader::new(server.child.stdout.take().unwrap());
    let mut first = String::new();
    out.read_line(&mut first).unwrap();
    assert!(!first.is_empty(), "the server did not start: {}", server.end_log());
    server.places.push(first.trim_end().to_owned());
    server
}

impl Server {
    /// Starts `freestone serve nbd` with `arguments`, on the socket `NAME.sock` of `home`.
    pub fn nbd(home: &Home, name: &str, arguments: &[&str]) -> Self {
        let listen = format!("unix:{}", home.path(format!("{name}.sock")).display());
        let mut all = vec!["serve", "nbd", "--listen", &listen];
        all.extend(arguments);
        start(home.command(all))
    }

    /// Returns the process's id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the path of the Unix socket that it listens on.
    pub fn socket(&self) -> PathBuf {
        self.places[0].strip_prefix("unix:").unwrap().into()
    }

    /// Returns `HOST:PORT` of a server on TCP.
    pub fn place(&self) -> &str {
        &self.places[0]
    }

    /// Returns the URI of an export.
    pub fn uri(&self, export: &str) -> String {
        format!("nbd+unix:///{export}?socket={}", self.socket().display())
    }

    /// Connects to the Unix socket.
    pub fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Returns the log so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until the log has `text`.
    pub fn expect_log(&self, text: &str) {
        until(|| self.log().contains(text), || format!("{text:?} in the log:\n{}", self.log()));
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Sends a signal that ends it, and returns its exit status and log.
    pub fn end(mut self, signal: &str) -> (ExitStatus, String) {
        self.signal(signal);
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, self.end_log());
            }
            assert!(began.elapsed() < PATIENCE, "the server does not end: {}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for its end, and returns its log.
    fn end_log(&mut self) -> String {
        let _ = self.child.wait();
        if let Some(reading) = self.reading.take() {
            reading.join().unwrap();
        }
        self.log()
    }

    /// Returns the number of its open files.
    pub fn file_count(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    /// Returns the number of packs that it has open and that have no name any more.
    pub fn removed_pack_count(&self) -> usize {
        let files = fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().flatten();
        let names = files.filter_map(|file| fs::read_link(file.path()).ok());
        names.filter(|name| name.as_os_str().as_bytes().ends_with(b".pack (deleted)")).count()
    }

    /// Returns the number of its threads.
    pub fn thread_count(&self) -> usize {
        fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap().count()
    }

    /// Returns the size of its anonymous memory in bytes.
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until `holds` returns true; `what` says what is waited for.
pub fn until(holds: impl Fn() -> bool, what: impl Fn() -> String) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "waited in vain for {}", what());
        thread::sleep(Duration::from_millis(5));
    }
}

/// Reads exactly `count` bytes.
pub fn take(stream: &mut impl Read, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// Returns bytes that do not compress, the same for the same `seed`.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        // xorshift64*
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend(state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Creates a home whose `main` has files of all kinds of content, and returns it with `main`'s
/// image.
pub fn varied() -> (Home, Vec<u8>) {
    let home = Home::new();
    home.write("site/index.html", b"<h1>hello</h1>\n");
    home.write("site/raw/large.bin", &noise(1, 9_000_000));
    home.write("site/raw/small.bin", &noise(2, 70_000));
    let mut text = String::new();
    for line in 0..200_000 {
        text.push_str(&format!("line {line} of a text that compresses\n"));
    }
    home.write("site/text/large.txt", text.as_bytes());
    home.write("site/sparse.bin", &[&noise(3, 5000)[..], &vec![0; 3_000_000], b"end"].concat());
    for at in 0..300 {
        home.write(format!("site/many/{at}.txt"), format!("number {at}\n").repeat(at).as_bytes());
    }
    home.ok(["init"]);
    home.ok(["push", "site"]);
    home.ok(["image", "main", "-o", "written.img"]);
    let image = home.read("written.img");
    (home, image)
}
