//! The table of a pack, read from its object.

use freestone_backend::Object;
use freestone_core::limits::PACK_RECORDS_MAX;
use freestone_core::{Error, ErrorKind, Id, Result};
use freestone_format::pack::{self, Row};
use freestone_format::segment::SegmentPack;

/// How often a table is read if the backend may return other bytes the next time.
const READS_MAX: usize = 3;
/// The longest table that is read: the most records need no more.
pub(crate) const TABLE_BYTES_MAX: u64 = PACK_RECORDS_MAX * 128;

/// Reads and checks the table of a pack.
///
/// # Errors
/// The pack is not there, cut off, damaged, not the one that it is named for, or of a later
/// version.
pub fn read_table(object: &dyn Object, id: &Id) -> Result<Vec<Row>> {
    Ok(read_sized_table(object, id)?.0)
}

/// Reads the table of a pack, and returns its length, too.
///
/// # Errors
/// As [`read_table`].
pub fn read_sized_table(object: &dyn Object, id: &Id) -> Result<(Vec<Row>, u64)> {
    let read = || read_table_once(object, id);
    // What came from afar may have been damaged on the way.
    let again = |error: Error| match error.kind() {
        ErrorKind::Corrupt if object.refute(0, object.length()) => read(),
        _ => Err(error),
    };
    read().or_else(again).or_else(again).map_err(|error| error.context(format!("pack {id}")))
}

fn read_table_once(object: &dyn Object, id: &Id) -> Result<(Vec<Row>, u64)> {
    let length = object.length();
    if length < pack::HEADER.len() as u64 + pack::TRAILER_BYTES {
        return Err(Error::corrupt("the pack is cut off"));
    }
    let mut header = [0; 16];
    object.read_at(0, &mut header)?;
    let mut trailer = [0; 16];
    object.read_at(length - pack::TRAILER_BYTES, &mut trailer)?;
    let (offset, bytes) = pack::table_place(length, trailer)?;
    if bytes > TABLE_BYTES_MAX {
        return Err(Error::corrupt("the pack's table is too long"));
    }
    let mut table = vec![0; usize::try_from(bytes).unwrap_or(0)];
    object.read_at(offset, &mut table)?;
    if pack::pack_id(&table) != *id {
        return Err(Error::corrupt("the pack's table is damaged"));
    }
    let rows = pack::decode_table(&table, offset)?;
    // Nothing proves the header: a pack is of a later version if its table is.
    if header != pack::HEADER {
        return Err(Error::corrupt("the pack's header is damaged"));
    }
    Ok((rows, bytes))
}

/// Reads and checks the table of a pack in one read; a segment says where it is.
///
/// # Errors
/// As [`read_table`].
pub(crate) fn read_listed_table(object: &dyn Object, listed: &SegmentPack) -> Result<Vec<Row>> {
    let end = listed.length.checked_sub(pack::TRAILER_BYTES);
    let start = end.and_then(|end| end.checked_sub(listed.table));
    let (Some(start), true) = (start, listed.table <= TABLE_BYTES_MAX) else {
        return Err(Error::corrupt(format!("pack {} cannot have such a table", listed.id)));
    };
    if object.length() < listed.length {
        return Err(Error::corrupt(format!("pack {} is cut off", listed.id)));
    }
    let mut table = vec![0; usize::try_from(listed.table).unwrap_or(0)];
    let mut tries = 1..READS_MAX;
    loop {
        object.read_at(start, &mut table)?;
        if pack::pack_id(&table) == listed.id {
            object.confirm(start, listed.table);
            return pack::decode_table(&table, start)
                .map_err(|error| error.context(format!("pack {}", listed.id)));
        }
        // What came from afar may have been damaged on the way.
        if tries.next().is_none() || !object.refute(start, listed.table) {
            return Err(Error::corrupt(format!("pack {}: its table is damaged", listed.id)));
        }
    }
}

pub(crate) fn missing(id: &Id) -> Error {
    Error::corrupt(format!("pack {id} is missing")).hint(
        "bring it back from a copy of the store; `freestone verify` lists what is lost without it",
    )
}
