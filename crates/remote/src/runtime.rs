//! The runtime that drives all connections of this process.

use freestone_core::{Error, ErrorKind, Result};
use std::sync::OnceLock;
use tokio::runtime::{Builder, Runtime};

/// Threads that drive connections: they move bytes, and all else happens on the callers' threads.
const THREADS: usize = 2;

/// The runtime, made at the first call. It lives as long as the process.
///
/// # Errors
/// The system lends no threads or no descriptors.
pub(crate) fn get() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<std::io::Result<Runtime>> = OnceLock::new();
    let made = RUNTIME.get_or_init(|| {
        Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("freestone-net")
            .enable_all()
            .build()
    });
    made.as_ref().map_err(|error| {
        Error::new(ErrorKind::Failed, format!("no threads for the network: {error}"))
    })
}
