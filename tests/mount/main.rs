//! Attached images: mounted, booted from, brought up to date in place, and shared with the store.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like tests")]

#[path = "../mounting/mod.rs"]
mod mounting;
#[path = "../program/mod.rs"]
mod program;
#[path = "../server/mod.rs"]
mod server;

mod every_sink;
mod files;
mod guest;
mod share;
mod update;
