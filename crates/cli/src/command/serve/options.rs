//! What every server is told, and what it says when it is ready.

use crate::context::Context;
use crate::output::short;
use crate::values::name::Name;
use crate::values::size;
use clap::Args;
use freestone_core::{Error, ErrorKind, Id, Result};
use freestone_image::Format;
use freestone_serve::listen::{Address, Listener};
use freestone_serve::{
    CACHE_BYTES_DEFAULT, CACHE_BYTES_MIN, Catalogue, Scope, Server, Service, Workers, http,
};
use rustix::event::{PollFd, PollFlags, poll};
use serde::Serialize;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
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

/// The answer as JSON, when the server is ready.
#[derive(Serialize)]
struct Answer {
    listening: Vec<String>,
    metrics: Option<String>,
    exports: Vec<String>,
    revisions: BTreeMap<String, String>,
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

/// Says where the server listens and what it serves, to people, programs and systemd.
///
/// # Errors
/// The standard output cannot be written.
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
        if let Some(place) = metrics {
            output.note(format_args!("figures at http://{place}/metrics"));
        }
        for place in listening {
            output.line(place)?;
        }
    }
    output.finish()?;
    tell_systemd("READY=1");
    Ok(())
}

/// Tells the service manager, if there is one (`sd_notify`(3)).
fn tell_systemd(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let Ok(socket) = UnixDatagram::unbound() else { return };
    let name = path.as_encoded_bytes();
    // A name that begins with @ is none of the file system.
    let _ = match name.strip_prefix(b"@") {
        None => socket.send_to(state.as_bytes(), &path),
        Some(rest) => SocketAddr::from_abstract_name(rest)
            .and_then(|address| socket.send_to_addr(state.as_bytes(), &address)),
    };
}

/// Binds the names anew at each SIGHUP, which makes `again` readable, for as long as the process
/// lives.
///
/// # Errors
/// The system gives no thread.
pub fn bind_at_hangup(catalogue: &Arc<Catalogue>, again: OwnedFd) -> Result<()> {
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
                    for (name, id) in catalogue.bound() {
                        service.log(&format!("serving {name}, revision {}", short(&id)));
                    }
                }
                Err(error) => service.log(&format!("the names stay as they were: {error}")),
            }
        }
    };
    in_background("hangup", watch)
}

/// Makes durable what was fetched while it was served.
pub fn end(catalogue: &Catalogue) {
    // Who is offline adds nothing, and must not lose what nobody could bring back.
    let Some(follower) = catalogue.store().following().filter(|f| !f.is_offline()) else { return };
    for outcome in [follower.flush(), follower.evict()] {
        if let Err(error) = outcome {
            catalogue.service().log(&error.to_string());
        }
    }
}

fn in_background(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let thread = thread::Builder::new().name(name.into()).spawn(work);
    thread
        .map(|_| ())
        .map_err(|error| Error::new(ErrorKind::Failed, "cannot start a thread").because(error))
}
