//! A directory as a source, through what the crate shows: what is listed, what is refused, what
//! is left out, and what opening does when the directory changes meanwhile.

#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod grown;
mod left_out;
mod links;
mod listing;
mod order;
mod races;
mod special;
