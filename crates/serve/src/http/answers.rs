//! What answers the requests of a connection.

use super::reply::Reply;
use super::request::Request;

/// Answers requests.
pub trait Answers {
    /// The answer to `request`, whose method is `GET` or `HEAD`.
    fn answer(&self, request: &Request) -> Reply;
}
