//! The seam between a connection and a site: a request in, a reply out.

use super::reply::Reply;
use super::request::Request;
use crate::workers::WorkersClient;

/// A site that answers requests.
pub trait Answers {
    /// Answers `request`, whose method is `GET` or `HEAD`.
    /// It may wait for `workers`, if there are some.
    fn answer(&self, request: &Request, workers: Option<&WorkersClient>) -> Reply;

    /// Returns the host names for which the site answers also on the loopback interface, beside
    /// addresses and names without dots.
    fn hosts(&self) -> &[String] {
        &[]
    }
}
