//! The bytes of everything a store holds: pure encoding and decoding, no I/O.
//!
//! `docs/format.md` says all of it in words and tables, and a test compares the two.

pub(crate) mod frame;
pub mod header;
pub mod hint;
pub mod pack;
pub mod record;
pub mod ref_entry;
pub mod retired;
pub mod revision;
pub mod segment;
