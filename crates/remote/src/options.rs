//! How requests are made.

use crate::traffic::Traffic;
use freestone_core::{Error, ErrorKind, Result};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How requests are made. Clones share what is counted.
#[derive(Clone)]
pub struct RemoteOptions {
    /// Bytes a second that are sent at most, and as many that are received.
    pub rate_limit: Option<u64>,
    /// How long a request may go without any progress.
    pub stall: Duration,
    /// How long a request that fails is tried again, where trying again can help.
    pub patience: Duration,
    /// The same for an end point that has not answered once: most likely its name is wrong.
    pub first_patience: Duration,
    /// Requests that are open at the same time.
    pub requests_max: usize,
    /// The name of who pushes, for a server on which only one may.
    pub pusher: Option<String>,
    /// What variables of the environment say, where not this process's own count.
    pub environment: Option<Vec<(String, String)>>,
    /// What requests came to.
    pub traffic: Arc<Traffic>,
    /// Set to give up.
    pub cancel: Arc<AtomicBool>,
    /// Is told what is being waited for, when it takes long.
    pub notice: Notice,
}

/// Takes lines for people.
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
    pub(crate) fn check(&self) -> Result<()> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Failed, "interrupted"));
        }
        Ok(())
    }
}
