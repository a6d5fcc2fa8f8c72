//! The freestone program.
fn main() {}
