//! Stores in object storage: [`S3`] and its like, and [`Web`], plain HTTPS for reading.
//!
//! The rest of freestone is synchronous; here its requests meet the network. One small runtime
//! (see `runtime`) drives all connections; each call waits for its own request. All that can go
//! wrong on the way is told apart in `fault`, and tried again in `retry` as long as that can help.
//!
//! | module | holds |
//! |---|---|
//! | [`url`] | what a URL names |
//! | [`options`], [`traffic`] | how requests are made, and what they came to |
//! | `client`, `rate` | HTTP: counted, limited, never waiting for ever |
//! | `trust` | TLS, and why a certificate is not believed |
//! | `fault`, `retry` | what went wrong, and when to try again |
//! | [`s3`], `bucket`, `upload`, `pusher` | S3: objects, large ones in parts, and who may push |
//! | [`web`] | plain HTTPS, from the hints |
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
pub mod traffic;
mod trust;
mod upload;
pub mod url;
pub mod web;

pub use options::RemoteOptions;
pub use s3::S3;
pub use traffic::Traffic;
pub use url::StoreUrl;
pub use web::Web;

use freestone_core::Result;
use freestone_store::backend::Backend;
use std::sync::Arc;

/// The backend at `place`. Nothing is asked of it yet.
///
/// # Errors
/// The environment makes no sense, or no connection can be made at all from this machine.
pub fn open(place: &StoreUrl, options: RemoteOptions) -> Result<Arc<dyn Backend>> {
    Ok(match place {
        StoreUrl::S3 { bucket, prefix } => Arc::new(S3::new(bucket, prefix, options)?),
        StoreUrl::Web { url } => Arc::new(Web::new(url, options)?),
    })
}
