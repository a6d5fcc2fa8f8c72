//! What a command sent and received: its line of figures, and its part of the JSON.

use crate::session::Session;
use crate::size::{count, show};
use serde::Serialize;

/// What the help says of it, where a command answers with it.
pub const JSON_TEXT: &str = "\
\"transfer\": {\"requests\", \"retries\" (those of them that were made again), \"sent_bytes\",
\"received_bytes\"}, nothing for stores in directories";

/// What was sent and received so far, as JSON.
#[derive(Clone, Copy, Default, Serialize)]
pub struct Transfer {
    /// Requests, those that were made again included.
    pub requests: u64,
    /// Those that were made again.
    pub retries: u64,
    /// Bytes of bodies sent.
    pub sent_bytes: u64,
    /// Bytes of bodies received.
    pub received_bytes: u64,
}

impl Transfer {
    /// What the session has sent and received; nothing for stores in directories.
    pub fn of(session: &Session) -> Self {
        #[cfg(feature = "remote")]
        {
            let figures = session.traffic().stats();
            Self {
                requests: figures.requests,
                retries: figures.retries,
                sent_bytes: figures.sent,
                received_bytes: figures.received,
            }
        }
        #[cfg(not(feature = "remote"))]
        {
            let _ = session;
            Self::default()
        }
    }

    /// Says it to people, if there was anything.
    pub fn note(session: &Session) {
        let transfer = Self::of(session);
        if transfer.requests == 0 {
            return;
        }
        let again = match transfer.retries {
            0 => String::new(),
            retries => format!(" ({retries} made again)"),
        };
        session.output.note(format_args!(
            "{}{again}: sent {}, received {}",
            count(transfer.requests, "request", "requests"),
            show(transfer.sent_bytes),
            show(transfer.received_bytes),
        ));
    }
}
