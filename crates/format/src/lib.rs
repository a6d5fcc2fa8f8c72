//! Every byte that a store writes: pure encoding and decoding, without I/O and without a clock.
//!
//! Decoders take hostile bytes. They return an error, never panic, and allocate nothing that only a
//! length field asks for. `docs/format.md` describes everything in words and tables, and a test
//! compares the two.
//!
//! # Example
//!
//! A pack with one chunk is put together, and read as a store reads it:
//!
//! ```
//! use freestone_core::{Result, digest};
//! use freestone_format::pack::{self, HEADER, Row, TRAILER_BYTES};
//! use freestone_format::record::{Codec, RecordKind, checksum};
//!
//! # fn main() -> Result<()> {
//! let chunk = b"a chunk";
//! let length = chunk.len() as u64;
//! let row = Row {
//!     kind: RecordKind::Chunk,
//!     codec: Codec::Raw,
//!     id: digest::plain(chunk),
//!     checksum: checksum(chunk),
//!     offset: HEADER.len() as u64,
//!     stored: length,
//!     plain: length,
//!     base: None,
//! };
//! let table = pack::encode_table(&[row.clone()], &[7; 16]);
//! let trailer = pack::encode_trailer(table.len() as u64);
//! let bytes = [&HEADER[..], chunk, &table, &trailer].concat();
//! println!("{}", pack::object_name(&pack::pack_id(&table)));
//!
//! // The trailer says where the table is, and the table where each record is.
//! let length = bytes.len() as u64;
//! let trailer = bytes[bytes.len() - TRAILER_BYTES as usize..].try_into().unwrap();
//! let (offset, table_bytes) = pack::table_place(length, trailer)?;
//! let table = &bytes[offset as usize..(offset + table_bytes) as usize];
//! assert_eq!(pack::decode_table(table, offset)?, [row]);
//!
//! // A table that was damaged is an error.
//! assert!(pack::decode_table(&table[..table.len() - 1], offset).is_err());
//! # Ok(())
//! # }
//! ```

pub mod collected;
pub mod condemned;
pub mod forgotten;
pub mod frame;
pub mod header;
pub mod hint;
pub mod pack;
pub mod policy;
pub mod record;
pub mod ref_entry;
pub mod ref_place;
pub mod references;
pub mod revision;
pub mod runs;
pub mod segment;
pub mod upstream;

pub use header::StoreId;
pub use ref_entry::{RefAction, RefEntry};
pub use ref_place::RefPlace;
pub use revision::Revision;
