//! Writing records, for freestone's own crates.

pub mod bases;
pub mod encoding;
mod fresh;
pub mod lane;
mod sealer;
pub mod similar;
pub mod writer;
