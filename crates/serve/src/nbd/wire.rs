//! The numbers and layouts of the protocol. All numbers on the wire are big-endian.

use std::io;

/// What a server says first, and what every option begins with.
pub const HELLO: u64 = 0x4e42_444d_4147_4943;
pub const OPTION: u64 = 0x4948_4156_454f_5054;
pub const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
pub const REQUEST: u32 = 0x2560_9513;
pub const SIMPLE_REPLY: u32 = 0x6744_6698;
pub const STRUCTURED_REPLY: u32 = 0x668e_33ef;

/// Flags of the handshake, of both sides.
pub const FIXED_NEWSTYLE: u16 = 1;
pub const NO_ZEROES: u16 = 2;

/// Options.
pub mod option {
    pub const EXPORT_NAME: u32 = 1;
    pub const ABORT: u32 = 2;
    pub const LIST: u32 = 3;
    pub const INFO: u32 = 6;
    pub const GO: u32 = 7;
    pub const STRUCTURED_REPLY: u32 = 8;
    pub const LIST_META_CONTEXT: u32 = 9;
    pub const SET_META_CONTEXT: u32 = 10;
}

/// Replies to options.
pub mod reply {
    pub const ACK: u32 = 1;
    pub const SERVER: u32 = 2;
    pub const INFO: u32 = 3;
    pub const META_CONTEXT: u32 = 4;
    pub const ERR_UNSUPPORTED: u32 = 0x8000_0001;
    pub const ERR_POLICY: u32 = 0x8000_0002;
    pub const ERR_INVALID: u32 = 0x8000_0003;
    pub const ERR_UNKNOWN: u32 = 0x8000_0006;
    pub const ERR_TOO_BIG: u32 = 0x8000_0009;
}

/// What an INFO reply is about.
pub mod info {
    pub const EXPORT: u16 = 0;
    pub const NAME: u16 = 1;
    pub const DESCRIPTION: u16 = 2;
    pub const BLOCK_SIZE: u16 = 3;
}

/// What an export can do.
pub mod export {
    pub const HAS_FLAGS: u16 = 1;
    pub const READ_ONLY: u16 = 1 << 1;
    pub const SEND_DF: u16 = 1 << 7;
    pub const CAN_MULTI_CONN: u16 = 1 << 8;
    pub const SEND_CACHE: u16 = 1 << 10;
}

/// Requests.
pub mod command {
    pub const READ: u16 = 0;
    pub const WRITE: u16 = 1;
    pub const DISCONNECT: u16 = 2;
    pub const FLUSH: u16 = 3;
    pub const TRIM: u16 = 4;
    pub const CACHE: u16 = 5;
    pub const WRITE_ZEROES: u16 = 6;
    pub const BLOCK_STATUS: u16 = 7;
    /// Flag: do not fragment.
    pub const DF: u16 = 1 << 2;
    /// Flag: one extent is enough.
    pub const REQ_ONE: u16 = 1 << 3;
}

/// Chunks of structured replies.
pub mod chunk {
    pub const DONE: u16 = 1;
    pub const NONE: u16 = 0;
    pub const OFFSET_DATA: u16 = 1;
    pub const OFFSET_HOLE: u16 = 2;
    pub const BLOCK_STATUS: u16 = 5;
    pub const ERROR: u16 = 0x8001;
}

/// Errors of requests.
pub mod errno {
    pub const PERM: u32 = 1;
    pub const IO: u32 = 5;
    pub const INVAL: u32 = 22;
    pub const OVERFLOW: u32 = 75;
}

/// Of a run in a block status: nothing is allocated, and it reads as zeros.
pub const HOLE_AND_ZERO: u32 = 3;

/// The only kind of block status that is known here, and the number that it is given.
pub const ALLOCATION: &str = "base:allocation";
pub const ALLOCATION_ID: u32 = 1;

/// The longest read that is taken: what all clients can live with.
pub const READ_BYTES_MAX: u32 = 32 << 20;

/// The bytes of a request.
pub const REQUEST_BYTES: usize = 28;
/// The bytes of a simple reply before its data.
pub const SIMPLE_BYTES: usize = 16;
/// The bytes of a structured reply's chunk before its payload.
pub const CHUNK_BYTES: usize = 20;

/// Returns the error of a client that breaks the protocol.
pub fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    pub flags: u16,
    pub command: u16,
    pub cookie: u64,
    pub offset: u64,
    pub length: u32,
}

impl Request {
    /// Reads one; `None` if it does not begin as one.
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

/// The head of a simple reply.
pub fn simple(cookie: u64, error: u32) -> [u8; SIMPLE_BYTES] {
    let mut out = [0; SIMPLE_BYTES];
    out[..4].copy_from_slice(&SIMPLE_REPLY.to_be_bytes());
    out[4..8].copy_from_slice(&error.to_be_bytes());
    out[8..].copy_from_slice(&cookie.to_be_bytes());
    out
}

/// The head of a chunk with `length` bytes of payload.
pub fn structured(cookie: u64, flags: u16, kind: u16, length: u32) -> [u8; CHUNK_BYTES] {
    let mut out = [0; CHUNK_BYTES];
    out[..4].copy_from_slice(&STRUCTURED_REPLY.to_be_bytes());
    out[4..6].copy_from_slice(&flags.to_be_bytes());
    out[6..8].copy_from_slice(&kind.to_be_bytes());
    out[8..16].copy_from_slice(&cookie.to_be_bytes());
    out[16..].copy_from_slice(&length.to_be_bytes());
    out
}

/// A chunk that says that something cannot be had. It has no text: what is wrong stands in the
/// server's log.
pub fn failure(cookie: u64, is_last: bool, error: u32) -> [u8; CHUNK_BYTES + 6] {
    let mut out = [0; CHUNK_BYTES + 6];
    out[..CHUNK_BYTES].copy_from_slice(&structured(cookie, is_last.into(), chunk::ERROR, 6));
    out[CHUNK_BYTES..CHUNK_BYTES + 4].copy_from_slice(&error.to_be_bytes());
    out
}

/// Takes numbers and texts off the front of bytes; `None` where they end too early.
pub struct FieldReader<'a>(pub &'a [u8]);

impl<'a> FieldReader<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    pub fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    /// A length in four bytes, and that many bytes.
    pub fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        let (string, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(string)
    }
}

/// An export's name and what is asked of it, as INFO and GO carry them.
pub struct ExportQuery<'a> {
    pub name: &'a [u8],
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

/// An export's name and the contexts that are asked for, as the options for contexts carry them.
pub struct ContextQuery<'a> {
    pub name: &'a [u8],
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
            // Each takes bytes, so their number is bounded by what was received.
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
    fn what_options_carry_is_read_whole_and_nothing_behind_it() {
        let mut bytes = [&3u32.to_be_bytes()[..], b"abc", &[0, 2, 0, 3, 0, 1]].concat();
        let asked = ExportQuery::parse(&bytes).unwrap();
        assert_eq!((asked.name, &asked.infos[..]), (&b"abc"[..], &[3, 1][..]));
        bytes.push(0);
        assert!(ExportQuery::parse(&bytes).is_none());
        assert!(ExportQuery::parse(&bytes[..bytes.len() - 2]).is_none());
        // A length far beyond what follows is refused before anything is made of it.
        let contexts = [&0u32.to_be_bytes()[..], &u32::MAX.to_be_bytes()].concat();
        assert!(ContextQuery::parse(&contexts).is_none());
    }
}
