//! How a number of packs is reported.

use crate::values::size::{count, show};
use serde::Serialize;

/// Packs as JSON: how many, and their bytes.
#[derive(Serialize)]
pub(super) struct JsonPacks {
    count: u64,
    bytes: u64,
}

impl From<(u64, u64)> for JsonPacks {
    fn from((count, bytes): (u64, u64)) -> Self {
        Self { count, bytes }
    }
}

/// Returns the text for so many packs, and their bytes.
pub(super) fn packs((number, bytes): (u64, u64)) -> String {
    format!("{} of {}", count(number, "pack", "packs"), show(bytes))
}
