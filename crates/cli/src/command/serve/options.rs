//! The options of both servers.

use super::bindings::Bindings;
use super::lifecycle::in_background;
use crate::context::Context;
use crate::values::name::Name;
use crate::values::size;
use clap::Args;
use freestone_core::{Error, Result};
use freestone_follow::{Follower, Opened};
use freestone_image::Format;
use freestone_serve::listen::{Address, Listener};
use freestone_serve::{
    CACHE_BYTES_DEFAULT, CACHE_BYTES_MIN, Catalogue, Scope, Server, Service, Workers, http,
};
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;

/// The least number of worker threads: some of them wait for a disk.
const WORKERS_MIN: usize = 4;
/// The most connections for metrics: usually one client asks, now and then.
const METRICS_CONNECTIONS_MAX: usize = 8;

/// The options of both servers.
#[derive(Args)]
pub struct ServeOptions {
    /// Revisions whose images are served, by name and by id
    #[arg(value_name = "REV", required_unless_present = "all")]
    revisions: Vec<OsString>,

    /// Also serve every other revision of the store, by its id
    #[arg(long)]
    all: bool,

    /// Address to listen on: unix:PATH or HOST:PORT; may be repeated. If systemd passes sockets
    /// (LISTEN_FDS), they are used instead
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    listen: Vec<Address>,

    /// Bind the names again for every client, instead of once at the start
    #[arg(long)]
    follow: bool,

    /// Memory for decoded contents
    #[arg(long, value_name = "BYTES", default_value = "64M", value_parser = cache)]
    cache: u64,

    /// Maximum number of connections at once; further ones take the place of idle ones, or are closed
    #[arg(long, value_name = "N", default_value = "128")]
    max_connections: NonZeroUsize,

    /// Number of threads that read, decode and hash. Default: twice the number of processors, at
    /// least 4
    #[arg(long, value_name = "N")]
    workers: Option<NonZeroUsize>,

    /// Serve Prometheus metrics at http://HOST:PORT/metrics
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    metrics: Option<Address>,

    /// Hash everything each time it is read, also what was hashed since the start
    #[arg(long)]
    prove: bool,
}

fn address(text: &str) -> Result<Address, String> {
    Address::parse(text).map_err(|error| match error.hint_text() {
        Some(hint) => format!("{error}; {hint}"),
        None => error.to_string(),
    })
}

fn cache(text: &str) -> Result<u64, String> {
    debug_assert_eq!(size::parse("64M").ok(), Some(CACHE_BYTES_DEFAULT), "the default");
    match size::argument(text)? {
        bytes if bytes >= CACHE_BYTES_MIN => Ok(bytes),
        _ => Err(format!("give at least {}, enough for four chunks", size::show(CACHE_BYTES_MIN))),
    }
}

impl ServeOptions {
    /// Returns the maximum number of connections.
    pub fn connections_max(&self) -> usize {
        self.max_connections.get()
    }

    /// Starts the worker threads.
    ///
    /// # Errors
    /// The system cannot start threads.
    pub fn workers(&self) -> Result<Arc<Workers>> {
        let found = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let usual = NonZeroUsize::new((2 * found).max(WORKERS_MIN)).unwrap_or(NonZeroUsize::MIN);
        Workers::start(self.workers.unwrap_or(usual)).map(Arc::new)
    }

    /// Starts to serve metrics, if that was asked for, and returns their address.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub fn metrics(&self, catalogue: &Catalogue) -> Result<Option<String>> {
        let Some(address) = &self.metrics else { return Ok(None) };
        let listener = Listener::bind(address)?;
        let address = listener.to_string();
        let figures = http::MetricsPage(catalogue.service().clone());
        let server = Server::new(figures, METRICS_CONNECTIONS_MAX);
        // Nothing is ever written to `keep`: metrics are served until the process ends.
        let (stop, keep) = UnixStream::pair()
            .map_err(|error| Error::io("cannot make a pair of sockets", error))?;
        in_background("metrics", move || {
            let _keep = keep;
            let _ = server.run(vec![listener], stop.as_fd());
        })?;
        Ok(Some(address))
    }

    /// Returns the sockets passed by systemd, or binds the given addresses, or `default`.
    ///
    /// # Errors
    /// One of them cannot be listened on.
    pub fn listeners(&self, default: &str) -> Result<Vec<Listener>> {
        let given = Listener::from_systemd()?;
        if !given.is_empty() {
            return Ok(given);
        }
        if self.listen.is_empty() {
            return Ok(vec![Listener::bind(&Address::parse(default)?)?]);
        }
        self.listen.iter().map(Listener::bind).collect()
    }

    /// Opens the store and binds the names, to the revisions that `bindings` remembers if there are
    /// some. Also returns the store's follower, if it has one.
    ///
    /// # Errors
    /// A name does not name a revision, or its image cannot be laid out.
    pub(super) fn catalogue(
        &self,
        bindings: Option<&Bindings>,
        context: &Context,
    ) -> Result<(Arc<Catalogue>, Option<Follower>)> {
        let Opened { store, follower } = context.opened()?;
        let before = bindings.map(|bindings| bindings.read(&store.id().to_string()));
        let revisions: Result<Vec<String>> =
            self.revisions.iter().map(|rev| Name::parse_revision(rev)).collect();
        let scope = Scope {
            revisions: revisions?,
            all: self.all,
            follow: self.follow,
            before: before.unwrap_or_default(),
            formats: Format::attached(),
        };
        let log = context.output.log();
        let service = Service::new(self.cache, self.prove, log);
        let catalogue = Catalogue::open(store, scope, Arc::new(service))?;
        Ok((Arc::new(catalogue), follower))
    }
}
