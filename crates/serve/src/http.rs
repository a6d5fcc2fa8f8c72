//! Serves images and files over HTTP/1.1: `GET` and `HEAD`, with ranges, strong ETags, and all
//! conditions on them and on dates (RFC 9110, RFC 9112).
//!
//! `httparse` parses the requests. A connection has one thread and follows the same rules as with
//! NBD: workers do what takes time, and memory is bounded. A client that sends or receives too
//! slowly is disconnected (`docs/decisions/http-threads.md`).

mod answers;
mod connection;
mod content;
mod reply;
mod request;
mod site;

use crate::activity::Activity;
use crate::metrics::ProtocolMetrics;
use crate::server::Protocol;
use crate::service::Service;
use crate::workers::WorkersClient;
use answers::Answers;
use reply::Reply;
use request::Request;
use rustix::fd::OwnedFd;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub use site::Site;

impl Protocol for Site {
    fn serve(
        &self,
        socket: Arc<OwnedFd>,
        is_ending: &AtomicBool,
        activity: &Arc<Activity>,
    ) -> io::Result<()> {
        let workers = self.workers().client();
        connection::serve(&socket, self, self.metrics(), Some(&workers), is_ending, activity)
    }

    fn metrics(&self) -> &ProtocolMetrics {
        &self.service().metrics.http
    }

    fn service(&self) -> &Service {
        self.catalogue().service()
    }
}

/// A server of a service's metrics at `/metrics`, as text for Prometheus.
pub struct MetricsPage(
    /// The service whose metrics are served.
    pub Arc<Service>,
);

impl Answers for MetricsPage {
    fn answer(&self, request: &Request, _: Option<&WorkersClient>) -> Reply {
        match &request.path[..] {
            b"/metrics" => {
                let text = self.0.metrics.text(self.0.cached_bytes());
                Reply::text(200, "text/plain; version=0.0.4; charset=utf-8", text)
            }
            _ => Reply::error(404, "the metrics are at /metrics"),
        }
    }
}

impl Protocol for MetricsPage {
    fn serve(
        &self,
        socket: Arc<OwnedFd>,
        is_ending: &AtomicBool,
        activity: &Arc<Activity>,
    ) -> io::Result<()> {
        connection::serve(&socket, self, self.metrics(), None, is_ending, activity)
    }

    fn metrics(&self) -> &ProtocolMetrics {
        &self.0.metrics.scrapes
    }

    fn service(&self) -> &Service {
        &self.0
    }
}
