//! A directory as a source, through the public interface: which paths are listed, refused and left
//! out, and what opening does if the directory changes meanwhile.

#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod grown;
mod left_out;
mod links;
mod listing;
mod order;
mod races;
mod special;
