//! The rules of the tree itself: its crates, its files and its pages.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like tests")]

mod circles;
mod files;
mod layers;
mod limits;
mod names;
mod pages;
mod paths;
mod printing;
mod source;
