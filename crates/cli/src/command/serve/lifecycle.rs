//! The steps of both servers when they are ready, at SIGHUP, and at their end.

use crate::context::Context;
use crate::output::short;
use crate::systemd;
use freestone_core::{Id, Result, threads};
use freestone_follow::Follower;
use freestone_serve::Catalogue;
use freestone_serve::listen::Listener;
use rustix::event::{PollFd, PollFlags, poll};
use serde::Serialize;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// The result as JSON, printed when the server is ready.
#[derive(Serialize)]
struct Answer {
    listening: Vec<String>,
    metrics: Option<String>,
    exports: Vec<String>,
    revisions: BTreeMap<String, String>,
}

/// Reports where the server listens and what it serves, and tells systemd that it is ready.
///
/// # Errors
/// Standard output cannot be written.
pub fn ready(
    catalogue: &Catalogue,
    listeners: &[Listener],
    metrics: Option<String>,
    context: &Context,
) -> Result<()> {
    let output = &context.output;
    let bound = catalogue.bound();
    let listening: Vec<String> = listeners.iter().map(ToString::to_string).collect();
    if output.is_json() {
        let shown = |(name, id): (String, Id)| (name, id.to_string());
        output.json(&Answer {
            listening,
            metrics,
            exports: catalogue.names(),
            revisions: bound.into_iter().map(shown).collect(),
        })?;
    } else {
        for (name, id) in bound {
            output.note(format_args!("serving {name}, revision {}", short(&id)));
        }
        if let Some(address) = metrics {
            output.note(format_args!("metrics at http://{address}/metrics"));
        }
        for address in listening {
            output.line(address)?;
        }
    }
    output.finish()?;
    systemd::notify("READY=1");
    Ok(())
}

/// Binds the names again at each SIGHUP, which makes `again` readable, until the process ends, and
/// calls `bound` each time.
///
/// # Errors
/// The system cannot start a thread.
pub fn bind_at_hangup(
    catalogue: &Arc<Catalogue>,
    again: OwnedFd,
    bound: impl Fn(&Catalogue) + Send + 'static,
) -> Result<()> {
    let catalogue = catalogue.clone();
    let watch = move || {
        loop {
            let mut fds = [PollFd::new(&again, PollFlags::IN)];
            if poll(&mut fds, None).is_err() {
                continue;
            }
            let _ = rustix::io::read(&again, &mut [0; 64]);
            let service = catalogue.service();
            match catalogue.bind() {
                Ok(()) => {
                    bound(&catalogue);
                    for (name, id) in catalogue.bound() {
                        service.log(&format!("serving {name}, revision {}", short(&id)));
                    }
                }
                Err(error) => {
                    service.log(&format!("the names keep their revisions: {}", error.chain()));
                }
            }
        }
    };
    in_background("hangup", watch)
}

/// Makes durable what was fetched while serving, and reduces the cache to its size.
pub fn end(catalogue: &Catalogue, follower: Option<&Follower>) {
    // Offline, nothing was fetched, and nothing must be evicted that cannot be fetched again.
    let Some(follower) = follower.filter(|follower| !follower.is_offline()) else { return };
    for outcome in [follower.flush(), follower.evict()] {
        if let Err(error) = outcome {
            catalogue.service().log(&error.chain());
        }
    }
}

/// Starts a thread that runs until the process ends.
pub(super) fn in_background(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    threads::start(name, work).map(drop)
}
