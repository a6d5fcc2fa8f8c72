//! The program and its store: what the commands do, say and refuse.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like tests")]

#[path = "../program/mod.rs"]
mod program;
#[path = "../support/mod.rs"]
mod support;

mod compact;
mod corpus;
mod errors;
mod extract;
mod fat;
mod golden;
mod help;
mod host;
mod host_corpus;
mod hostile;
mod image;
mod keeping;
mod lies;
mod limits;
mod million;
mod push_tar;
mod readers;
mod sparse;
mod store;
mod strangers;
