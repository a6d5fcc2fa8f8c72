//! The seam between a connection and a site: a request in, a reply out.

use super::reply::Reply;
use super::request::Request;

/// A site that answers requests.
pub trait Answers {
    /// Answers `request`, whose method is `GET` or `HEAD`.
    fn answer(&self, request: &Request) -> Reply;
}
