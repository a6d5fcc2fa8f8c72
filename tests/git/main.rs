//! Git repositories: commits as revisions, and revisions as commits.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like tests")]

#[path = "../support/mod.rs"]
mod support;

mod kill;
mod push;
mod write;
