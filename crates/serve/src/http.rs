//! Images and files over HTTP/1.1: `GET` and `HEAD`, with ranges, strong ETags and `If-Range`
//! (RFC 9110, RFC 9112).
//!
//! Requests are parsed by `httparse`. A connection has one thread, as with NBD, and the same
//! rules: what takes time is the workers', memory is bounded, and who is too slow in asking or in
//! taking is cut off (`docs/decisions/http-threads.md`).

mod answers;
mod connection;
mod content;
mod reply;
mod request;
mod site;

use crate::metrics::ProtocolMetrics;
use crate::server::Protocol;
use crate::service::Service;
use answers::Answers;
use reply::Reply;
use request::Request;
use rustix::fd::OwnedFd;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub use site::Site;

impl Protocol for Site {
    fn serve(&self, socket: Arc<OwnedFd>, is_ending: &AtomicBool) -> io::Result<()> {
        connection::serve(&socket, self, self.metrics(), Some(self.workers()), is_ending)
    }

    fn metrics(&self) -> &ProtocolMetrics {
        &self.service().metrics.http
    }

    fn service(&self) -> &Service {
        self.catalogue().service()
    }
}

/// The figures of a service at `/metrics`, as Prometheus reads them.
pub struct MetricsPage(pub Arc<Service>);

impl Answers for MetricsPage {
    fn answer(&self, request: &Request) -> Reply {
        match &request.path[..] {
            b"/metrics" => {
                let text = self.0.metrics.text(self.0.cached_bytes());
                Reply::text(200, "text/plain; version=0.0.4; charset=utf-8", text)
            }
            _ => Reply::error(404, "the figures are at /metrics"),
        }
    }
}

impl Protocol for MetricsPage {
    fn serve(&self, socket: Arc<OwnedFd>, is_ending: &AtomicBool) -> io::Result<()> {
        connection::serve(&socket, self, self.metrics(), None, is_ending)
    }

    fn metrics(&self) -> &ProtocolMetrics {
        &self.0.metrics.scrapes
    }

    fn service(&self) -> &Service {
        &self.0
    }
}
