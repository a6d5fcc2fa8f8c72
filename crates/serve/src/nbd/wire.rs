//! The constants and layouts of the protocol, by its specification
//! (<https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md>). All numbers on the wire
//! are big-endian.

use std::io;

/// The first magic number that a server sends: `NBDMAGIC`.
pub const HELLO: u64 = 0x4e42_444d_4147_4943;
/// The second magic number of a server, and the first of every option: `IHAVEOPT`.
pub const OPTION: u64 = 0x4948_4156_454f_5054;
/// The magic number of a reply to an option.
pub const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
/// The magic number of a request.
pub const REQUEST: u32 = 0x2560_9513;
/// The magic number of a simple reply.
pub const SIMPLE_REPLY: u32 = 0x6744_6698;
/// The magic number of a structured reply's chunk.
pub const STRUCTURED_REPLY: u32 = 0x668e_33ef;

/// The handshake flag, of both sides, for the fixed newstyle negotiation.
pub const FIXED_NEWSTYLE: u16 = 1;
/// The handshake flag, of both sides, for a reply to EXPORT_NAME without its 124 zeros.
pub const NO_ZEROES: u16 = 2;

/// The options of the negotiation (`NBD_OPT_…`).
pub mod option {
    /// Chooses an export and ends the negotiation; has no error reply.
    pub const EXPORT_NAME: u32 = 1;
    /// Ends the negotiation without an export.
    pub const ABORT: u32 = 2;
    /// Lists the exports.
    pub const LIST: u32 = 3;
    /// Returns information about an export.
    pub const INFO: u32 = 6;
    /// Returns information about an export, chooses it and ends the negotiation.
    pub const GO: u32 = 7;
    /// Enables structured replies.
    pub const STRUCTURED_REPLY: u32 = 8;
    /// Lists the contexts of block status.
    pub const LIST_META_CONTEXT: u32 = 9;
    /// Chooses the contexts of block status.
    pub const SET_META_CONTEXT: u32 = 10;
}

/// The kinds of replies to options (`NBD_REP_…`).
pub mod reply {
    /// The last reply of an option that succeeded.
    pub const ACK: u32 = 1;
    /// The name of an export.
    pub const SERVER: u32 = 2;
    /// Information about an export.
    pub const INFO: u32 = 3;
    /// A context of block status.
    pub const META_CONTEXT: u32 = 4;
    /// The error of an option that the server does not support.
    pub const ERR_UNSUPPORTED: u32 = 0x8000_0001;
    /// The error of an option that the server refuses.
    pub const ERR_POLICY: u32 = 0x8000_0002;
    /// The error of an option with invalid data.
    pub const ERR_INVALID: u32 = 0x8000_0003;
    /// The error of an unknown export.
    pub const ERR_UNKNOWN: u32 = 0x8000_0006;
    /// The error of an option with too much data.
    pub const ERR_TOO_BIG: u32 = 0x8000_0009;
}

/// The kinds of information about an export (`NBD_INFO_…`).
pub mod info {
    /// Its length and transmission flags.
    pub const EXPORT: u16 = 0;
    /// Its own name.
    pub const NAME: u16 = 1;
    /// Its description for people.
    pub const DESCRIPTION: u16 = 2;
    /// The minimum, preferred and maximum lengths of a read.
    pub const BLOCK_SIZE: u16 = 3;
}

/// The transmission flags of an export (`NBD_FLAG_…`).
pub mod export {
    /// The flags are valid; always set.
    pub const HAS_FLAGS: u16 = 1;
    /// Writes are refused.
    pub const READ_ONLY: u16 = 1 << 1;
    /// Requests may have the flag DF.
    pub const SEND_DF: u16 = 1 << 7;
    /// Several connections read the same bytes.
    pub const CAN_MULTI_CONN: u16 = 1 << 8;
    /// CACHE is supported.
    pub const SEND_CACHE: u16 = 1 << 10;
}

/// The commands of requests (`NBD_CMD_…`), and their flags (`NBD_CMD_FLAG_…`).
pub mod command {
    /// Reads a range.
    pub const READ: u16 = 0;
    /// Writes a range; the data follows the request.
    pub const WRITE: u16 = 1;
    /// Ends the connection; has no reply.
    pub const DISCONNECT: u16 = 2;
    /// Makes earlier writes durable.
    pub const FLUSH: u16 = 3;
    /// Discards a range.
    pub const TRIM: u16 = 4;
    /// Loads a range that the client will read soon.
    pub const CACHE: u16 = 5;
    /// Writes zeros to a range.
    pub const WRITE_ZEROES: u16 = 6;
    /// Returns which parts of a range are holes.
    pub const BLOCK_STATUS: u16 = 7;
    /// The flag of a READ whose reply must not be split.
    pub const DF: u16 = 1 << 2;
    /// The flag of a BLOCK_STATUS whose reply needs only one extent.
    pub const REQ_ONE: u16 = 1 << 3;
}

/// The types of structured replies' chunks (`NBD_REPLY_TYPE_…`), and their flag.
pub mod chunk {
    /// The flag of the last chunk of a reply.
    pub const DONE: u16 = 1;
    /// Nothing.
    pub const NONE: u16 = 0;
    /// An offset, and data.
    pub const OFFSET_DATA: u16 = 1;
    /// An offset, and a length of zeros.
    pub const OFFSET_HOLE: u16 = 2;
    /// A context, and runs.
    pub const BLOCK_STATUS: u16 = 5;
    /// An error number, and a text.
    pub const ERROR: u16 = 0x8001;
}

/// The error numbers of replies (`NBD_E…`).
pub mod errno {
    /// The request would write.
    pub const PERM: u32 = 1;
    /// The bytes cannot be read.
    pub const IO: u32 = 5;
    /// The request is invalid.
    pub const INVAL: u32 = 22;
    /// The reply would have to be split, and the request does not allow it.
    pub const OVERFLOW: u32 = 75;
}

/// The status of a run that is not allocated and reads as zeros (`NBD_STATE_HOLE |
/// NBD_STATE_ZERO`).
pub const HOLE_AND_ZERO: u32 = 3;

/// The only context of block status that this server has.
pub const ALLOCATION: &str = "base:allocation";
/// The number of that context.
pub const ALLOCATION_ID: u32 = 1;

/// The longest read that is accepted, which all clients support.
pub const READ_BYTES_MAX: u32 = 32 << 20;

/// The length of a request.
pub const REQUEST_BYTES: usize = 28;
/// The length of a simple reply before its data.
pub const SIMPLE_BYTES: usize = 16;
/// The length of a structured reply's chunk before its payload.
pub const CHUNK_BYTES: usize = 20;

/// Returns the error of a client that breaks the protocol.
pub fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// A request of the transmission phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The flags of [`command`].
    pub flags: u16,
    /// One of [`command`].
    pub command: u16,
    /// The client's number for the request, which the reply repeats.
    pub cookie: u64,
    /// Where in the export the range starts, in bytes.
    pub offset: u64,
    /// The length of the range in bytes.
    pub length: u32,
}

impl Request {
    /// Parses a request; returns `None` if it does not begin with its magic number.
    pub fn parse(bytes: &[u8; REQUEST_BYTES]) -> Option<Self> {
        let mut fields = FieldReader(bytes);
        if fields.u32()? != REQUEST {
            return None;
        }
        Some(Self {
            flags: fields.u16()?,
            command: fields.u16()?,
            cookie: fields.u64()?,
            offset: fields.u64()?,
            length: fields.u32()?,
        })
    }
}

/// Returns the head of a simple reply.
pub fn simple(cookie: u64, error: u32) -> [u8; SIMPLE_BYTES] {
    let mut out = [0; SIMPLE_BYTES];
    out[..4].copy_from_slice(&SIMPLE_REPLY.to_be_bytes());
    out[4..8].copy_from_slice(&error.to_be_bytes());
    out[8..].copy_from_slice(&cookie.to_be_bytes());
    out
}

/// Returns the head of a structured reply's chunk with `length` bytes of payload.
pub fn structured(cookie: u64, flags: u16, kind: u16, length: u32) -> [u8; CHUNK_BYTES] {
    let mut out = [0; CHUNK_BYTES];
    out[..4].copy_from_slice(&STRUCTURED_REPLY.to_be_bytes());
    out[4..6].copy_from_slice(&flags.to_be_bytes());
    out[6..8].copy_from_slice(&kind.to_be_bytes());
    out[8..16].copy_from_slice(&cookie.to_be_bytes());
    out[16..].copy_from_slice(&length.to_be_bytes());
    out
}

/// Returns a structured reply's chunk that reports `error`. It has no text: the server's log says
/// what is wrong.
pub fn failure(cookie: u64, is_last: bool, error: u32) -> [u8; CHUNK_BYTES + 6] {
    let mut out = [0; CHUNK_BYTES + 6];
    out[..CHUNK_BYTES].copy_from_slice(&structured(cookie, is_last.into(), chunk::ERROR, 6));
    out[CHUNK_BYTES..CHUNK_BYTES + 4].copy_from_slice(&error.to_be_bytes());
    out
}

/// A reader of numbers and texts from the front of bytes. It returns `None` where these end too
/// early.
pub struct FieldReader<'a>(
    /// The bytes that are not yet read.
    pub &'a [u8],
);

impl<'a> FieldReader<'a> {
    /// Reads `N` bytes.
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    /// Reads a number of 16 bits.
    pub fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    /// Reads a number of 32 bits.
    pub fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    /// Reads a number of 64 bits.
    pub fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    /// Reads a length of 32 bits, and that many bytes.
    pub fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        let (string, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(string)
    }
}

/// The data of INFO and GO.
pub struct ExportQuery<'a> {
    /// The name of the export.
    pub name: &'a [u8],
    /// The requested kinds of information, of [`info`].
    pub infos: Vec<u16>,
}

impl<'a> ExportQuery<'a> {
    /// Reads it; `None` if it is something else, longer or shorter.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut fields = FieldReader(bytes);
        let name = fields.string()?;
        let count = fields.u16()?;
        let infos: Option<Vec<u16>> = (0..count).map(|_| fields.u16()).collect();
        fields.0.is_empty().then_some(Self { name, infos: infos? })
    }
}

/// The data of LIST_META_CONTEXT and SET_META_CONTEXT.
pub struct ContextQuery<'a> {
    /// The name of the export.
    pub name: &'a [u8],
    /// The requested contexts of block status.
    pub queries: Vec<&'a [u8]>,
}

impl<'a> ContextQuery<'a> {
    /// Reads it; `None` if it is something else, longer or shorter.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut fields = FieldReader(bytes);
        let name = fields.string()?;
        let count = fields.u32()?;
        let mut queries = Vec::new();
        for _ in 0..count {
            // Each takes at least four bytes, so the length of the data bounds their number.
            queries.push(fields.string()?);
        }
        fields.0.is_empty().then_some(Self { name, queries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whatever_is_received_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            ExportQuery::parse(&bytes);
            ContextQuery::parse(&bytes);
            if let Some(first) = bytes.first_chunk::<REQUEST_BYTES>() {
                prop_assert_eq!(Request::parse(first).is_some(), first[..4] == REQUEST.to_be_bytes());
            }
        }
    }

    #[test]
    fn the_data_of_options_is_read_completely_and_must_not_be_longer() {
        let mut bytes = [&3u32.to_be_bytes()[..], b"abc", &[0, 2, 0, 3, 0, 1]].concat();
        let asked = ExportQuery::parse(&bytes).unwrap();
        assert_eq!((asked.name, &asked.infos[..]), (&b"abc"[..], &[3, 1][..]));
        bytes.push(0);
        assert!(ExportQuery::parse(&bytes).is_none());
        assert!(ExportQuery::parse(&bytes[..bytes.len() - 2]).is_none());
        // A count far beyond the data is refused before memory is allocated for it.
        let contexts = [&0u32.to_be_bytes()[..], &u32::MAX.to_be_bytes()].concat();
        assert!(ContextQuery::parse(&contexts).is_none());
    }
}
