//! The runtime that drives all connections of this process.

use freestone_core::{Error, ErrorKind, Result, threads};
use std::sync::OnceLock;
use tokio::runtime::{Builder, Runtime};

/// Threads that drive connections. They only move bytes; everything else is done on the threads of
/// the callers.
const THREADS: usize = 2;

/// Returns the runtime, which the first call starts. It lives as long as the process.
///
/// # Errors
/// The system provides no threads or no file descriptors.
pub(crate) fn get() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<std::io::Result<Runtime>> = OnceLock::new();
    let made = RUNTIME.get_or_init(|| {
        // Without threads for it the runtime would panic. Then whoever waits drives the connections.
        let mut builder = match threads::are_available(THREADS) {
            true => Builder::new_multi_thread(),
            false => Builder::new_current_thread(),
        };
        builder.worker_threads(THREADS).thread_name("freestone-net").enable_all().build()
    });
    made.as_ref().map_err(|error| {
        Error::new(ErrorKind::Failed, format!("cannot start the threads for the network: {error}"))
    })
}
