//! Being asked to end: SIGINT, SIGTERM and SIGHUP.
//!
//! The first of them sets a flag that all work looks at; what was begun is cleaned up, and the
//! program ends with exit code 130. The second ends it at once.

use crate::exit;
use freestone_core::{Error, ErrorKind, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const SIGNALS: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// Whether the program was asked to end.
#[derive(Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Watches the signals from now on. Where that is impossible they end the program at once,
    /// as they do by default.
    pub fn watch() -> Self {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in SIGNALS {
            // Before the flag is set by the same signal, so that it acts on the second alone.
            let _ =
                flag::register_conditional_shutdown(signal, exit::INTERRUPTED.into(), flag.clone());
            let _ = flag::register(signal, flag.clone());
        }
        Self(flag)
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
        &self.0
    }

    /// Whether the end was asked for.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// # Errors
    /// The end was asked for.
    pub fn check(&self) -> Result<()> {
        if self.is_set() {
            return Err(Error::new(ErrorKind::Failed, "interrupted"));
        }
        Ok(())
    }
}
