//! The bytes of everything a store holds: pure encoding and decoding, no I/O.
//!
//! `docs/format.md` says all of it in words and tables, and a test compares the two.

pub mod frame;
pub mod header;
pub mod hint;
pub mod pack;
pub mod record;
pub mod ref_entry;
pub mod references;
pub mod retired;
pub mod revision;
pub mod runs;
pub mod segment;
pub mod upstream;

pub use header::StoreId;
pub use ref_entry::{RefAction, RefEntry};
pub use revision::Revision;
