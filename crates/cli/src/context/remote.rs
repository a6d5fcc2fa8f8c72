//! Opening stores that a URL names.

use crate::location::Location;
use freestone_core::Result;
use freestone_store::backend::Backend;
use freestone_store::backend::directory::Directory;
use freestone_store::upstream::directory_of;
use std::path::PathBuf;
use std::sync::Arc;
#[cfg(feature = "remote")]
use {
    crate::config::Config, crate::global::Global, crate::interrupt::Interrupt,
    crate::output::Output, std::io::Write, std::num::NonZeroU32, std::time::Duration,
};

/// Opens what a URL names.
pub(super) type Open = Box<dyn Fn(&str) -> Result<Arc<dyn Backend>> + Send + Sync>;

/// How requests are made: what the options say, else the configuration.
#[cfg(feature = "remote")]
pub(super) fn options(
    global: &Global,
    config: &Config,
    output: &Output,
    interrupt: &Interrupt,
) -> freestone_remote::Options {
    let default = freestone_remote::Options::default();
    let seconds = |given: Option<NonZeroU32>, default: Duration| {
        given.map_or(default, |seconds| Duration::from_secs(u64::from(seconds.get())))
    };
    let is_quiet = output.is_quiet();
    let notice = move |text: &str| {
        if !is_quiet {
            // Nobody can be told that nothing can be said.
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    };
    let patience = seconds(config.retry_for, default.patience);
    // Who says how long means it from the beginning.
    let first_patience = seconds(config.retry_for, default.first_patience);
    let pusher = std::env::var("FREESTONE_PUSHER").ok().filter(|name| !name.is_empty());
    freestone_remote::Options {
        rate_limit: global.limit_rate.or(config.limit_rate),
        stall: seconds(config.timeout, default.stall),
        first_patience,
        patience,
        pusher,
        cancel: interrupt.given_up(),
        notice: freestone_remote::options::Notice(Arc::new(notice)),
        ..default
    }
}

/// Opens what an upstream's URL names, or the target of a copy.
///
/// # Errors
/// [`ErrorKind::Refused`] if this build does not know the kind.
pub(super) fn opener(#[cfg(feature = "remote")] remote: freestone_remote::Options) -> Open {
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
