//! Tests of the tar format over manifests in memory.

#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests are not marked as tests

mod golden;
mod layout;
mod options;
mod oracles;
mod property;
mod raw;
mod rules;
mod site;
