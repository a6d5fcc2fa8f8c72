//! Reading records, each proven by its hash.
//!
//! | module | what it does |
//! |---|---|
//! | `records` | looks records up in the index, decodes and proves them |
//! | `packs` | opens packs, and settles by their tables what a row of the index may mean |
//! | `raw` | finds chunks that are stored as they are, to share or send them without a copy |
//! | `proofs` | remembers which ranges of packs were proven |
//! | `content` | looks contents up by their SHA-1 |
//! | `names` | remembers which SHA-1s were computed |

mod content;
mod names;
pub(crate) mod packs;
#[doc(hidden)]
pub mod proofs;
mod raw;
#[doc(hidden)]
pub mod records;

pub use content::{FoundContent, PROVEN_BYTES_MAX};
pub use packs::Packs;
pub use raw::{RawRun, RunPart};
pub use records::Records;
