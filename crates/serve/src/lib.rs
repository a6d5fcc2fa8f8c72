//! Servers of freestone's images: whoever attaches one reads it from the store, without it being
//! written anywhere.
//!
//! A [`ServedImage`] is read at any place; a [`Catalogue`] says under which names images are
//! served; a [`Server`] serves them by [`nbd`] or [`http`]. All connections share the caches of
//! one [`Service`], and a fixed number of threads that do what takes time ([`Workers`]).

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

pub use catalogue::{Catalogue, Export, Scope};
pub use image::{Attempt, ServedImage};
pub use metrics::{Counter, Histogram, Metrics, ProtocolMetrics};
pub use server::{Protocol, Server};
pub use service::{CACHE_BYTES_DEFAULT, CACHE_BYTES_MIN, Logger, Service};
pub use workers::Workers;
