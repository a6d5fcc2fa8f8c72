//! Tests of the tar format over manifests in memory.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like tests")]

mod format_page;
mod golden;
mod layout;
mod options;
mod oracles;
mod property;
mod raw;
mod rules;
mod site;
