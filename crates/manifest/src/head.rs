//! The fields at the beginning of every node of a rope, the same for manifests and content trees.
//!
//! ```text
//! version 1 | level, 1 for a leaf | extensions | item count
//! ```

use freestone_core::limits::{NODE_BYTES_MAX, NODE_ITEMS_MAX, ROPE_LEVELS_MAX};
use freestone_core::wire::{Reader, Writer, to_usize};
use freestone_core::{Error, Result};

/// The version that this code writes and reads.
const VERSION: u8 = 1;

/// Begins a node of `level` with `count` items. The caller appends the items.
pub(crate) fn write(level: u8, count: usize) -> Writer {
    let mut out = Writer::default();
    out.u8(VERSION);
    out.u8(level);
    out.string(&[]);
    out.varint(count as u64);
    out
}

/// Reads the head of the node `bytes`. Returns its level, the number of its items, and the reader
/// at the first item. `what` names the kind of node in errors, such as "a node".
///
/// # Errors
/// The node is longer or has more items than any node may have, or its level is out of range; its
/// version or its extensions are [newer](Error::newer).
pub(crate) fn read<'a>(bytes: &'a [u8], what: &str) -> Result<(u8, usize, Reader<'a>)> {
    if bytes.len() > NODE_BYTES_MAX {
        return Err(Error::corrupt(format!("{what} is longer than {NODE_BYTES_MAX} bytes")));
    }
    let mut input = Reader::new(bytes);
    input.version(VERSION, what)?;
    let level = input.u8()?;
    if level == 0 || level > ROPE_LEVELS_MAX {
        return Err(Error::corrupt(format!("{what} of level {level}")));
    }
    if !input.extensions()?.is_empty() {
        return Err(Error::newer(format!("{what} with unknown extensions")));
    }
    let count = input.varint()?;
    if count > NODE_ITEMS_MAX as u64 {
        return Err(Error::corrupt(format!("{what} of more than {NODE_ITEMS_MAX} items")));
    }
    Ok((level, to_usize(count), input))
}

/// Reads the level and the item count of the node in `input`, and checks neither. Returns `None` if
/// the bytes are not a node.
pub(crate) fn skim(input: &mut Reader<'_>) -> Option<(u8, u64)> {
    let (_, level) = (input.u8().ok()?, input.u8().ok()?);
    input.extensions().ok()?;
    Some((level, input.varint().ok()?))
}
