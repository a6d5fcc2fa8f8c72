//! Stores in object storage: [`S3`] and compatible servers, and [`Web`], plain HTTPS for reading.
//!
//! The rest of freestone is synchronous. One small runtime (see `runtime`) drives all connections,
//! and each call waits for its own request. `fault` classifies everything that can go wrong, and
//! `retry` repeats a request as long as that can help.
//!
//! ```no_run
//! use freestone_remote::{RemoteOptions, StoreUrl};
//!
//! let url = StoreUrl::parse("s3://bucket/www")?;
//! let backend = freestone_remote::open(&url, RemoteOptions::default())?;
//! println!("{} objects", backend.list("packs")?.len());
//! # Ok::<(), freestone_core::Error>(())
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`url`] | URLs of stores |
//! | [`options`], [`traffic`] | how requests are made, and how many there were |
//! | `client`, `rate` | HTTP with counters, a rate limit and time-outs |
//! | `trust` | TLS, and why a certificate is rejected |
//! | `fault`, `retry` | what went wrong, and when to try again |
//! | [`s3`], `bucket`, `upload`, `pusher` | S3: objects, uploads in parts, and who may push |
//! | [`web`] | plain HTTPS, which finds objects by the hints |
//! | `object` | reading an object by ranges |

mod bucket;
mod client;
mod fault;
mod object;
pub mod options;
mod pusher;
mod rate;
mod retry;
mod runtime;
pub mod s3;
mod settings;
pub mod traffic;
mod trust;
mod upload;
pub mod url;
pub mod web;

pub use options::RemoteOptions;
pub use s3::S3;
pub use traffic::{Traffic, TrafficStats};
pub use url::StoreUrl;
pub use web::Web;

use freestone_backend::Backend;
use freestone_core::Result;
use std::sync::Arc;

/// Returns the backend of the store at `url`. No request is made yet.
///
/// # Errors
/// A variable of the environment is invalid, or this machine cannot make HTTPS connections at all.
pub fn open(url: &StoreUrl, options: RemoteOptions) -> Result<Arc<dyn Backend>> {
    Ok(match url {
        StoreUrl::S3 { bucket, prefix } => Arc::new(S3::new(bucket, prefix, options)?),
        StoreUrl::Web { url } => Arc::new(Web::new(url, options)?),
    })
}
