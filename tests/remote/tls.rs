//! TLS before a server, certificates of an authority of the tests' own, and a plain web server.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Ends what it started.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An authority that signs certificates.
pub struct Authority {
    folder: tempfile::TempDir,
}

/// A certificate and its key.
pub struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
}

impl Authority {
    pub fn new() -> Self {
        let authority = Self { folder: tempfile::tempdir().unwrap() };
        let certificate = authority.path("ca.pem");
        authority.request("ca", None, &["-subj", "/CN=Authority of the tests", "-days", "30"]);
        assert!(certificate.exists());
        authority
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The authority's own certificate.
    pub fn certificate(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// A certificate for `name`, such as `IP:127.0.0.1`, that is valid now.
    pub fn sign(&self, name: &str) -> Certificate {
        self.sign_at(name, None)
    }

    /// One whose day is long over.
    pub fn sign_long_ago(&self, name: &str) -> Certificate {
        self.sign_at(name, Some("-30d"))
    }

    fn sign_at(&self, name: &str, when: Option<&str>) -> Certificate {
        let file = format!("{}{}", name.replace(':', "-"), when.unwrap_or_default());
        let (ca, ca_key) = (self.certificate(), self.path("ca.key"));
        let names = format!("subjectAltName={name}");
        self.request(
            &file,
            when,
            &[
                "-CA",
                ca.to_str().unwrap(),
                "-CAkey",
                ca_key.to_str().unwrap(),
                "-subj",
                "/CN=server",
                "-addext",
                &names,
                "-addext",
                "basicConstraints=critical,CA:FALSE",
                "-days",
                "1",
            ],
        );
        Certificate {
            certificate: self.path(&format!("{file}.pem")),
            key: self.path(&format!("{file}.key")),
        }
    }

    /// Has openssl make a key and a certificate; `when` sets its clock.
    fn request(&self, file: &str, when: Option<&str>, arguments: &[&str]) {
        let mut command = match when {
            Some(when) => {
                let mut command = Command::new("faketime");
                command.args(["-f", when, "openssl"]);
                command
            }
            None => Command::new("openssl"),
        };
        command
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
            .args(["-nodes", "-keyout"])
            .arg(self.path(&format!("{file}.key")))
            .arg("-out")
            .arg(self.path(&format!("{file}.pem")))
            .args(arguments);
        let output = command.output().unwrap_or_else(|error| {
            panic!("openssl or faketime: {error}; `scripts/setup --test` installs them")
        });
        assert!(
            output.status.success(),
            "{command:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// TLS before a server of this machine, until it is dropped.
pub struct Tls {
    pub port: u16,
    _process: Ended,
}

impl Tls {
    pub fn before(port: u16, certificate: &Certificate) -> Self {
        let script = freestone_testkit::top().join("tests/remote/tls.py");
        let mut child = Command::new("python3")
            .arg(script)
            .args([&certificate.certificate, &certificate.key])
            .arg(port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = child.stdout.take().unwrap();
        let process = Ended(child);
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).unwrap();
        let port = line.trim().strip_prefix("ready ").and_then(|port| port.parse().ok());
        Self { port: port.expect("tls.py does not start, see above"), _process: process }
    }
}

/// Busybox's web server, which gives the files of a folder, until it is dropped.
pub struct WebServer {
    pub port: u16,
    _process: Ended,
}

impl WebServer {
    pub fn of(folder: &Path) -> Self {
        for _ in 0..20 {
            let port = free_port();
            let child = Command::new("busybox")
                .args(["httpd", "-f", "-p", &format!("127.0.0.1:{port}"), "-h"])
                .arg(folder)
                .spawn()
                .unwrap();
            let mut process = Ended(child);
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(10) {
                // Somebody else took the port.
                if process.0.try_wait().unwrap().is_some() {
                    break;
                }
                if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return Self { port, _process: process };
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        panic!("busybox httpd does not start");
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
