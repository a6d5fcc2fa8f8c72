//! Stores in buckets and on web servers, and the hosts that follow them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like tests")]

#[path = "../program/mod.rs"]
mod program;
#[path = "../support/mod.rs"]
mod support;

mod ceph;
mod garage;
mod host;
mod on_garage;
mod over_tls;
mod placeholders;
mod s3;
mod script;
mod tls;
