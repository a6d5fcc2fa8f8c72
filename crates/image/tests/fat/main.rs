//! Tests of the FAT format over manifests in memory.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like tests")]

mod format_page;
mod golden;
mod images;
mod layout;
mod mirage;
mod oracles;
mod property;
mod refusals;
mod rules;
#[path = "../tar/site.rs"]
#[allow(dead_code, reason = "some of it is for the tests of tar")]
mod site;
