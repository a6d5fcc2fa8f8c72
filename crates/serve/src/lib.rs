//! Servers of freestone's images. A client that attaches an image reads it from the store: the image
//! is never written anywhere.
//!
//! - A [`ServedImage`] can be read at any offset, by many threads.
//! - A [`Catalogue`] binds names to revisions, and opens their images.
//! - A [`Server`] accepts connections, and serves the images of a catalogue by [`http`] or [`nbd`].
//! - All connections share one [`Service`], which has the caches and the metrics, and a fixed number
//!   of threads for what takes time ([`Workers`]).
//!
//! # Example
//!
//! This serves the revision that the ref `main` of a store names, over HTTP on a port that the
//! system chooses. With [`nbd::Nbd`] in the place of [`http::Site`] it serves over NBD.
//!
//! ```
//! use freestone_image::Format;
//! use freestone_serve::listen::{Address, Listener};
//! use freestone_serve::{CACHE_BYTES_DEFAULT, Catalogue, Scope, Server, Service, Workers, http};
//! use freestone_store::Store;
//! use std::io::{Read, Write};
//! use std::net::TcpStream;
//! use std::num::NonZeroUsize;
//! use std::os::fd::AsFd;
//! use std::os::unix::net::UnixStream;
//! use std::sync::Arc;
//! use std::thread;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("store");
//! # let files = freestone_testkit::MemorySource::of([("index.html", "<h1>hello</h1>\n")]);
//! # freestone_testkit::push_tree(&Store::init(&path)?, &files, &Default::default())?;
//! let store = Store::open(&path)?;
//! let log = Box::new(|line: &str| eprintln!("{line}"));
//! let service = Arc::new(Service::new(CACHE_BYTES_DEFAULT, false, log));
//! let scope = Scope {
//!     revisions: vec!["main".into()],
//!     all: false,
//!     follow: false,
//!     before: Default::default(),
//!     formats: Format::attached(),
//! };
//! let catalogue = Arc::new(Catalogue::open(store, scope, service)?);
//! let workers = Arc::new(Workers::start(NonZeroUsize::MIN)?);
//!
//! let listener = Listener::bind(&Address::parse("127.0.0.1:0")?)?;
//! let address = listener.to_string();
//! let server = Server::new(http::Site::new(catalogue, workers), 16);
//! // The server runs until `stop` is readable.
//! let (stop, mut stopper) = UnixStream::pair()?;
//! let running = thread::spawn(move || server.run(vec![listener], stop.as_fd()));
//!
//! let mut client = TcpStream::connect(address)?;
//! client.write_all(b"GET /revisions/main/tree/index.html HTTP/1.0\r\n\r\n")?;
//! let mut reply = String::new();
//! client.read_to_string(&mut reply)?;
//! assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"));
//! assert!(reply.ends_with("<h1>hello</h1>\n"));
//!
//! stopper.write_all(b"x")?;
//! running.join().expect("the server does not panic")?;
//! # Ok(())
//! # }
//! ```

mod activity;
mod cache;
mod catalogue;
pub mod http;
mod image;
mod layout;
pub mod listen;
mod metrics;
pub mod nbd;
mod server;
mod service;
mod socket;
mod workers;

pub use activity::Activity;
pub use catalogue::{Catalogue, Export, Scope};
pub use image::{Attempt, ServedImage};
pub use metrics::{Counter, Histogram, Metrics, ProtocolMetrics};
pub use server::{Protocol, Server};
pub use service::{CACHE_BYTES_DEFAULT, CACHE_BYTES_MIN, Logger, Service};
pub use workers::{Workers, WorkersClient};
