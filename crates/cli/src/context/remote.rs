//! Opening stores by URL.

use crate::location::Location;
use freestone_backend::Backend;
use freestone_backend::directory::{Directory, directory_of};
use freestone_core::Result;
use std::path::PathBuf;
use std::sync::Arc;
use {
    crate::config::Config, crate::interrupt::Interrupt, crate::output::Output,
    freestone_follow::Patience, std::num::NonZeroU32, std::time::Duration,
};

/// How long a failed request is repeated, unless the configuration says it.
const RETRY_FOR: Duration = Duration::from_secs(60);
/// The same for an upstream that never answered.
const FIRST_RETRY_FOR: Duration = Duration::from_secs(5);

/// A function that opens the backend of the store at a URL.
pub(super) type Open = Box<dyn Fn(&str) -> Result<Arc<dyn Backend>> + Send + Sync>;

/// Returns the time in seconds that is configured, or the default.
fn seconds(given: Option<NonZeroU32>, default: Duration) -> Duration {
    given.map_or(default, |seconds| Duration::from_secs(u64::from(seconds.get())))
}

/// Returns how long upstreams that are directories are waited for: as long as those of a network.
pub(super) fn patience(config: &Config, output: &Output, interrupt: &Interrupt) -> Patience {
    Patience {
        retry_for: seconds(config.retry_for, RETRY_FOR),
        first_retry_for: seconds(config.retry_for, FIRST_RETRY_FOR),
        notice: Some(output.notice().into()),
        cancel: Some(interrupt.given_up()),
    }
}

/// Returns how requests are made. Options take precedence over the configuration.
#[cfg(feature = "remote")]
pub(super) fn options(
    global: &crate::global::Global,
    config: &Config,
    output: &Output,
    interrupt: &Interrupt,
) -> freestone_remote::RemoteOptions {
    let default = freestone_remote::RemoteOptions::default();
    let pusher = std::env::var("FREESTONE_PUSHER").ok().filter(|name| !name.is_empty());
    freestone_remote::RemoteOptions {
        rate_limit: global.limit_rate.or(config.limit_rate),
        stall: seconds(config.timeout, default.stall),
        patience: seconds(config.retry_for, RETRY_FOR),
        // A configured timeout applies to the first request, too.
        first_patience: seconds(config.retry_for, FIRST_RETRY_FOR),
        pusher,
        cancel: interrupt.given_up(),
        notice: freestone_remote::options::Notice(output.notice().into()),
        ..default
    }
}

/// Returns a function that opens an upstream, or the target of a copy. It fails if this build does
/// not support the kind of URL.
pub(super) fn opener(#[cfg(feature = "remote")] remote: freestone_remote::RemoteOptions) -> Open {
    Box::new(move |url| {
        if let Some(path) = directory_of(url) {
            return Ok(Arc::new(Directory::new(path)));
        }
        match Location::parse(PathBuf::from(url))? {
            Location::Directory(path) => Ok(Arc::new(Directory::new(path))),
            #[cfg(feature = "remote")]
            Location::Remote(place) => freestone_remote::open(&place, remote.clone()),
        }
    })
}
