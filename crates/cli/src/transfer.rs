//! The requests and bytes that a command exchanged with servers: a line, and a part of the JSON.

use crate::context::Context;
use crate::values::size::{count, show};
use serde::Serialize;

/// The text about it in the help of commands that report it.
pub const JSON_TEXT: &str = "\
\"transfer\": {\"requests\", \"retries\" (requests that were repeated), \"sent_bytes\",
\"received_bytes\"} (all 0 for a store in a directory)";

/// The requests and bytes so far, as JSON.
#[derive(Clone, Copy, Default, Serialize)]
pub struct Transfer {
    /// Requests, including repeated ones.
    pub requests: u64,
    /// Requests that were repeated.
    pub retries: u64,
    /// Bytes of bodies sent.
    pub sent_bytes: u64,
    /// Bytes of bodies received.
    pub received_bytes: u64,
}

impl Transfer {
    /// Returns what was exchanged with remote stores so far; all 0 for stores in directories.
    pub fn of(context: &Context) -> Self {
        #[cfg(feature = "remote")]
        {
            let counts = context.traffic().stats();
            Self {
                requests: counts.requests,
                retries: counts.retries,
                sent_bytes: counts.sent,
                received_bytes: counts.received,
            }
        }
        #[cfg(not(feature = "remote"))]
        {
            let _ = context;
            Self::default()
        }
    }

    /// Prints a line about it, if there were any requests.
    pub fn note(context: &Context) {
        let transfer = Self::of(context);
        if transfer.requests == 0 {
            return;
        }
        let again = match transfer.retries {
            0 => String::new(),
            retries => format!(" ({retries} repeated)"),
        };
        context.output.note(format_args!(
            "{}{again}: sent {}, received {}",
            count(transfer.requests, "request", "requests"),
            show(transfer.sent_bytes),
            show(transfer.received_bytes),
        ));
    }
}
