//! Opening stores by URL.

use crate::location::Location;
use freestone_backend::Backend;
use freestone_backend::directory::{Directory, directory_of};
use freestone_core::Result;
use std::path::PathBuf;
use std::sync::Arc;
#[cfg(feature = "remote")]
use {
    crate::config::Config, crate::global::Global, crate::interrupt::Interrupt,
    crate::output::Output, std::num::NonZeroU32, std::time::Duration,
};

/// A function that opens the backend of the store at a URL.
pub(super) type Open = Box<dyn Fn(&str) -> Result<Arc<dyn Backend>> + Send + Sync>;

/// Returns how requests are made. Options take precedence over the configuration.
#[cfg(feature = "remote")]
pub(super) fn options(
    global: &Global,
    config: &Config,
    output: &Output,
    interrupt: &Interrupt,
) -> freestone_remote::RemoteOptions {
    let default = freestone_remote::RemoteOptions::default();
    let seconds = |given: Option<NonZeroU32>, default: Duration| {
        given.map_or(default, |seconds| Duration::from_secs(u64::from(seconds.get())))
    };
    let notice = output.notice();
    let patience = seconds(config.retry_for, default.patience);
    // A configured timeout applies to the first request, too.
    let first_patience = seconds(config.retry_for, default.first_patience);
    let pusher = std::env::var("FREESTONE_PUSHER").ok().filter(|name| !name.is_empty());
    freestone_remote::RemoteOptions {
        rate_limit: global.limit_rate.or(config.limit_rate),
        stall: seconds(config.timeout, default.stall),
        first_patience,
        patience,
        pusher,
        cancel: interrupt.given_up(),
        notice: freestone_remote::options::Notice(notice.into()),
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
