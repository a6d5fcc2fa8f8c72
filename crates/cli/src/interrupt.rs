//! Signals that ask the program to end: SIGINT, SIGTERM and SIGHUP.
//!
//! The first one sets a flag that all work checks. The work then cleans up, and the program ends
//! with exit code 130. A second signal ends the program at once.

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

/// The flag that says whether the program was asked to end.
#[derive(Clone, Default)]
pub struct Interrupt {
    flag: Arc<AtomicBool>,
    /// Set together with `flag`, except in a server that finishes what it serves: requests to
    /// remote stores and to upstreams are then given up.
    given_up: Arc<AtomicBool>,
    /// The signal handlers that set `given_up`.
    giving_up: Arc<[SigId]>,
    /// The signal handlers of SIGHUP.
    hangup: Arc<[SigId]>,
}

impl Interrupt {
    /// Installs the signal handlers. If that fails, a signal ends the program at once, as by
    /// default.
    pub fn watch() -> Self {
        let (flag, given_up) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let mut giving_up = Vec::new();
        let mut hangup = Vec::new();
        for signal in SIGNALS {
            // Registered before the handler that sets the flag, so that only a second signal ends
            // it.
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

    /// Stops giving up requests to remote stores at the first signal, for a server: what it still
    /// serves may need them.
    pub fn serve_on(&self) {
        for id in self.giving_up.iter() {
            unregister(*id);
        }
    }

    /// Returns a socket that becomes readable when SIGINT or SIGTERM asks for the end, and one that
    /// becomes readable at each SIGHUP. SIGHUP then no longer asks for the end.
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

    /// Lets a signal end the program at once from now on, for work that may be killed at any
    /// moment.
    pub fn end_at_once(&self) {
        for signal in SIGNALS {
            let always = Arc::new(AtomicBool::new(true));
            let _ = flag::register_conditional_shutdown(signal, exit::INTERRUPTED.into(), always);
        }
    }

    /// Returns the flag.
    pub fn flag(&self) -> &AtomicBool {
        &self.flag
    }

    /// Returns the flag that is set when requests to remote stores and to upstreams are to be given
    /// up.
    pub fn given_up(&self) -> Arc<AtomicBool> {
        self.given_up.clone()
    }

    /// Returns true if the program was asked to end.
    pub fn is_set(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }

    /// Checks that the program was not asked to end.
    ///
    /// # Errors
    /// It was.
    pub fn check(&self) -> Result<()> {
        if self.is_set() {
            return Err(Error::interrupted());
        }
        Ok(())
    }
}
