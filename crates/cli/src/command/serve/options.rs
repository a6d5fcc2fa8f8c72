//! What every server is told, and what it says when it is ready.

use super::lifecycle::in_background;
use crate::context::Context;
use crate::values::name::Name;
use crate::values::size;
use clap::Args;
use freestone_core::{Error, Result};
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

/// Threads that read, decode and prove, at least: some of them wait for a disk.
const WORKERS_MIN: usize = 4;
/// Who asks for figures is one, now and then.
const METRICS_CONNECTIONS_MAX: usize = 8;

/// What every server is told.
#[derive(Args)]
pub struct ServeOptions {
    /// The revisions whose images are served, by name and by id
    #[arg(value_name = "REV", required_unless_present = "all")]
    revisions: Vec<OsString>,

    /// Serve every other revision of the store too, by its id
    #[arg(long)]
    all: bool,

    /// Where to listen: unix:PATH or HOST:PORT; may be repeated. Sockets that systemd hands over
    /// (LISTEN_FDS) are used in the place of these
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    listen: Vec<Address>,

    /// Bind names anew for every client, instead of once at the start
    #[arg(long)]
    follow: bool,

    /// Memory for decoded contents
    #[arg(long, value_name = "BYTES", default_value = "64M", value_parser = cache)]
    cache: u64,

    /// Connections at once; further ones are closed as they come
    #[arg(long, value_name = "N", default_value = "128")]
    max_connections: NonZeroUsize,

    /// Threads that read, decode and prove; else twice as many as processors, at least 4
    #[arg(long, value_name = "N")]
    workers: Option<NonZeroUsize>,

    /// Give figures to Prometheus at http://HOST:PORT/metrics
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    metrics: Option<Address>,

    /// Hash everything that is read, each time, even what was proven since the start
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
        _ => Err(format!("give at least {}, the room of four chunks", size::show(CACHE_BYTES_MIN))),
    }
}

impl ServeOptions {
    /// How many connections there may be.
    pub fn connections_max(&self) -> usize {
        self.max_connections.get()
    }

    /// The threads that do what takes time.
    ///
    /// # Errors
    /// The system gives no threads.
    pub fn workers(&self) -> Result<Arc<Workers>> {
        let found = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let usual = NonZeroUsize::new((2 * found).max(WORKERS_MIN)).unwrap_or(NonZeroUsize::MIN);
        Workers::start(self.workers.unwrap_or(usual)).map(Arc::new)
    }

    /// Where the figures are given, if they are asked for.
    ///
    /// # Errors
    /// That place cannot be listened at.
    pub fn metrics(&self, catalogue: &Catalogue) -> Result<Option<String>> {
        let Some(address) = &self.metrics else { return Ok(None) };
        let listener = Listener::bind(address)?;
        let place = listener.to_string();
        let figures = http::Figures(catalogue.service().clone());
        let server = Server::new(figures, METRICS_CONNECTIONS_MAX);
        // Nothing is ever written to it: this ends with the process.
        let (stop, keep) = UnixStream::pair()
            .map_err(|error| Error::io("cannot make a pair of sockets", error))?;
        in_background("metrics", move || {
            let _keep = keep;
            let _ = server.run(vec![listener], stop.as_fd());
        })?;
        Ok(Some(place))
    }

    /// The sockets of systemd, or those that were told, or `default`.
    ///
    /// # Errors
    /// One of them cannot be listened at.
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

    /// The names, bound.
    ///
    /// # Errors
    /// One of them means nothing, or its image cannot be laid out.
    pub fn catalogue(&self, context: &Context) -> Result<Arc<Catalogue>> {
        let revisions: Result<Vec<String>> =
            self.revisions.iter().map(|rev| Name::parse_revision(rev)).collect();
        let scope = Scope {
            revisions: revisions?,
            all: self.all,
            follow: self.follow,
            formats: Format::attached(),
        };
        let log = context.output.log();
        let service = Service::new(self.cache, self.prove, log);
        Catalogue::open(context.store()?, scope, Arc::new(service)).map(Arc::new)
    }
}
