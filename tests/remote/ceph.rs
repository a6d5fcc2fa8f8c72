//! Ceph's gateway, started by `ceph.sh` once for all tests of a program, and ended with it.

use crate::script::Script;
use std::sync::{Mutex, OnceLock};

/// A gateway with the bucket `test`.
pub struct Ceph {
    pub port: u16,
    script: Script,
}

impl Ceph {
    /// Starts one for a test that does it harm. It ends when the test does. Another may be started
    /// once this one is ready: starting takes a processor and its time.
    pub fn start() -> Self {
        static STARTING: Mutex<()> = Mutex::new(());
        let _starting = freestone_core::lock(&STARTING);
        let (script, port) = Script::start("ceph.sh");
        Self { port: port.parse().unwrap(), script }
    }

    /// Returns the one that all tests of this program share.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Ceph> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Makes the script do something.
    pub fn tell(&self, command: &str) {
        self.script.tell(command);
    }

    /// The variables that a client needs.
    pub fn variables(&self) -> Vec<(String, String)> {
        variables(self.port, "test")
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
