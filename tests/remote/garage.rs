//! Three nodes of Garage, started by `garage.sh` once for all tests of a program, and ended with it.

use crate::script::Script;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Three nodes that share the bucket `test`.
pub struct Garage {
    ports: Vec<u16>,
    script: Script,
}

impl Garage {
    /// The one that all tests of this program share, for one test at a time: each may stop nodes.
    pub fn shared() -> MutexGuard<'static, Self> {
        static SHARED: OnceLock<Mutex<Garage>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| {
            let (script, ports) = Script::start("garage.sh");
            let ports = ports.split(' ').map(|port| port.parse().unwrap()).collect();
            Mutex::new(Self { ports, script })
        });
        shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills a node.
    pub fn stop(&self, node: usize) {
        self.script.tell(&format!("stop {node}"));
    }

    /// Starts it again, and waits until the nodes see each other.
    pub fn start(&self, node: usize) {
        self.script.tell(&format!("start {node}"));
    }

    /// The variables of a client of a node.
    pub fn variables(&self, node: usize) -> Vec<(String, String)> {
        [
            ("AWS_ACCESS_KEY_ID", format!("GK{:024}", 1)),
            ("AWS_SECRET_ACCESS_KEY", format!("{:064}", 1)),
            ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.ports[node])),
            ("AWS_ALLOW_HTTP", "true".into()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }
}
