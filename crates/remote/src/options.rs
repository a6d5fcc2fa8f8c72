//! How requests are made.

use crate::traffic::Traffic;
use freestone_core::{Result, Watch};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// How requests are made. Clones share the counters.
#[derive(Clone)]
pub struct RemoteOptions {
    /// The limit of bytes a second, for sending and for receiving separately.
    pub rate_limit: Option<u64>,
    /// How long a request may take without any progress.
    pub stall: Duration,
    /// How long a failed request is repeated, counted from its first failure.
    pub patience: Duration,
    /// The same for a server that never answered: most likely its name is wrong.
    pub first_patience: Duration,
    /// The most requests that are made at the same time.
    pub requests_max: usize,
    /// The name of this pusher, for a server on which only one may push.
    pub pusher: Option<String>,
    /// Variables to use in place of this process's environment.
    pub environment: Option<Vec<(String, String)>>,
    /// Counts requests and bytes.
    pub traffic: Arc<Traffic>,
    /// Set to stop all requests: they fail with [`freestone_core::Error::interrupted`]. Shared and
    /// not borrowed, as a `Watch` is, since a backend may live as long as the process.
    pub cancel: Arc<AtomicBool>,
    /// Receives a line that says what is being waited for, when it takes long.
    pub notice: Notice,
}

/// Receives lines that are to be shown to the user.
#[derive(Clone)]
pub struct Notice(pub Arc<dyn Fn(&str) + Send + Sync>);

impl fmt::Debug for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Notice")
    }
}

impl Default for RemoteOptions {
    fn default() -> Self {
        Self {
            rate_limit: None,
            stall: Duration::from_secs(30),
            patience: Duration::from_secs(60),
            first_patience: Duration::from_secs(5),
            requests_max: 16,
            pusher: None,
            environment: None,
            traffic: Arc::default(),
            cancel: Arc::default(),
            notice: Notice(Arc::new(|_| {})),
        }
    }
}

impl RemoteOptions {
    /// Checks that requests are to go on.
    pub(crate) fn check(&self) -> Result<()> {
        Watch::cancelled_by(&self.cancel).check()
    }
}
