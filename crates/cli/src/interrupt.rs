//! Being asked to end: SIGINT, SIGTERM and SIGHUP.
//!
//! The first of them sets a flag that all work looks at; what was begun is cleaned up, and the
//! program ends with exit code 130. The second ends it at once.

use crate::exit;
use freestone_core::{Error, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::{pipe, unregister};
use signal_hook::{SigId, flag};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const SIGNALS: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// Whether the program was asked to end.
#[derive(Clone, Default)]
pub struct Interrupt {
    flag: Arc<AtomicBool>,
    /// Set with the flag, but by a server that serves on: whether requests to stores are given up.
    given_up: Arc<AtomicBool>,
    /// What sets that.
    giving_up: Arc<[SigId]>,
    /// What SIGHUP does.
    hangup: Arc<[SigId]>,
}

impl Interrupt {
    /// Watches the signals from now on. Where that is impossible they end the program at once,
    /// as they do by default.
    pub fn watch() -> Self {
        let (flag, given_up) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let mut giving_up = Vec::new();
        let mut hangup = Vec::new();
        for signal in SIGNALS {
            // Before the flag is set by the same signal, so that it acts on the second alone.
            let ids = [
                flag::register_conditional_shutdown(signal, exit::INTERRUPTED.into(), flag.clone()),
                flag::register(signal, flag.clone()),
            ];
            let gives_up = flag::register(signal, Arc::clone(&given_up));
            giving_up.extend(gives_up.as_ref().ok());
            if signal == SIGHUP {
                hangup.extend(ids.into_iter().chain([gives_up]).flatten());
            }
        }
        Self { flag, given_up, giving_up: giving_up.into(), hangup: hangup.into() }
    }

    /// From now on the first signal asks for the end and leaves requests to stores alone: what is
    /// served until then may need them.
    pub fn serve_on(&self) {
        for id in self.giving_up.iter() {
            unregister(*id);
        }
    }

    /// A socket that can be read once SIGINT or SIGTERM asked for the end, and one that can be
    /// read at each SIGHUP, which asks a server to look again and no longer to end.
    ///
    /// # Errors
    /// The signals cannot be watched.
    pub fn for_server(&self) -> Result<(OwnedFd, OwnedFd)> {
        let failed = |error| Error::io("cannot watch signals", error);
        let (end, ends) = UnixStream::pair().map_err(failed)?;
        for signal in [SIGINT, SIGTERM] {
            pipe::register(signal, ends.try_clone().map_err(failed)?).map_err(failed)?;
        }
        let (again, agains) = UnixStream::pair().map_err(failed)?;
        pipe::register(SIGHUP, agains).map_err(failed)?;
        for id in self.hangup.iter() {
            unregister(*id);
        }
        Ok((end.into(), again.into()))
    }

    /// From now on a signal ends the program at once: for work that leaves nothing half done.
    pub fn end_at_once(&self) {
        for signal in SIGNALS {
            let always = Arc::new(AtomicBool::new(true));
            let _ = flag::register_conditional_shutdown(signal, exit::INTERRUPTED.into(), always);
        }
    }

    /// The flag itself.
    pub fn flag(&self) -> &AtomicBool {
        &self.flag
    }

    /// What is set when requests to stores are to be given up.
    #[cfg(feature = "remote")]
    pub fn given_up(&self) -> Arc<AtomicBool> {
        self.given_up.clone()
    }

    /// Whether the end was asked for.
    pub fn is_set(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }

    /// # Errors
    /// The end was asked for.
    pub fn check(&self) -> Result<()> {
        if self.is_set() {
            return Err(Error::interrupted());
        }
        Ok(())
    }
}
