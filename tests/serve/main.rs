//! The servers of images, over NBD and HTTP.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like tests")]

#[path = "../program/mod.rs"]
mod program;
#[path = "../server/mod.rs"]
mod server;
#[path = "../support/mod.rs"]
mod support;

mod bounds;
mod hostile;
mod http;
mod limits;
mod nbd;
