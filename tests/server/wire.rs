//! The constants and layouts of NBD, written from the protocol's specification
//! (<https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md>) and not from the server's
//! code, so that a wrong number there does not go unnoticed. All numbers are big-endian.
#![allow(dead_code, reason = "each program of tests uses its part")]

/// The two magic numbers that a server sends first: `NBDMAGIC` and `IHAVEOPT`.
pub const GREETING: &[u8] = b"NBDMAGICIHAVEOPT";
/// The length of a server's greeting: the magic numbers, and flags.
pub const GREETING_BYTES: usize = 18;
/// The magic number that every option begins with.
pub const OPTION_MAGIC: &[u8] = b"IHAVEOPT";
/// The magic number of a reply to an option.
pub const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
/// The length of a reply to an option before its data.
pub const OPTION_REPLY_BYTES: usize = 20;
/// The length of the reply to EXPORT_NAME without zeros: a length of 64 bits, and flags.
pub const EXPORT_BYTES: usize = 10;
/// The magic number of a request.
pub const REQUEST_MAGIC: u32 = 0x2560_9513;
/// The magic number of a simple reply.
pub const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
/// The length of a simple reply before its data.
pub const SIMPLE_REPLY_BYTES: usize = 16;
/// The magic number of a structured reply's chunk.
pub const STRUCTURED_REPLY_MAGIC: u32 = 0x668e_33ef;
/// The length of a structured reply's chunk before its payload.
pub const STRUCTURED_REPLY_BYTES: usize = 20;
/// The longest payload that a client may expect every server to support.
pub const PAYLOAD_BYTES_MAX: u32 = 32 << 20;
/// The status of a run that is not allocated and reads as zeros: `NBD_STATE_HOLE` and
/// `NBD_STATE_ZERO`.
pub const HOLE_AND_ZERO: u32 = 1 | 1 << 1;

/// The flags of a client's handshake: `NBD_FLAG_C_…`.
pub mod client_flag {
    pub const FIXED_NEWSTYLE: u32 = 1;
    pub const NO_ZEROES: u32 = 1 << 1;
}

/// The options of the negotiation: `NBD_OPT_…`.
pub mod option {
    pub const EXPORT_NAME: u32 = 1;
    pub const ABORT: u32 = 2;
    pub const LIST: u32 = 3;
    pub const STARTTLS: u32 = 5;
    pub const INFO: u32 = 6;
    pub const GO: u32 = 7;
    pub const STRUCTURED_REPLY: u32 = 8;
    pub const LIST_META_CONTEXT: u32 = 9;
    pub const SET_META_CONTEXT: u32 = 10;
    /// A number that the specification does not define.
    pub const UNDEFINED: u32 = 99;
}

/// The kinds of replies to options: `NBD_REP_…`.
pub mod option_reply {
    pub const ACK: u32 = 1;
    pub const ERR_UNSUP: u32 = 0x8000_0000 | 1;
    pub const ERR_INVALID: u32 = 0x8000_0000 | 3;
    pub const ERR_UNKNOWN: u32 = 0x8000_0000 | 6;
    pub const ERR_TOO_BIG: u32 = 0x8000_0000 | 9;
}

/// The commands of requests: `NBD_CMD_…`.
pub mod command {
    pub const READ: u16 = 0;
    pub const WRITE: u16 = 1;
    pub const DISC: u16 = 2;
    pub const FLUSH: u16 = 3;
    pub const TRIM: u16 = 4;
    pub const CACHE: u16 = 5;
    pub const WRITE_ZEROES: u16 = 6;
    pub const BLOCK_STATUS: u16 = 7;
    /// A number that the specification does not define.
    pub const UNDEFINED: u16 = 99;
}

/// The types of structured replies' chunks: `NBD_REPLY_TYPE_…`.
pub mod chunk {
    pub const NONE: u16 = 0;
    pub const OFFSET_DATA: u16 = 1;
    pub const OFFSET_HOLE: u16 = 2;
    pub const ERROR: u16 = 1 << 15 | 1;
    /// The flag of the last chunk of a reply: `NBD_REPLY_FLAG_DONE`.
    pub const FLAG_DONE: u16 = 1;
}

/// The error numbers of replies: `NBD_E…`.
pub mod errno {
    pub const PERM: u32 = 1;
    pub const IO: u32 = 5;
    pub const INVAL: u32 = 22;
}

/// Returns an option whose data is `length` long, without the data.
pub fn option_head(option: u32, length: u32) -> Vec<u8> {
    [OPTION_MAGIC, &option.to_be_bytes(), &length.to_be_bytes()].concat()
}

/// Returns a request without flags.
pub fn request(command: u16, cookie: u64, offset: u64, length: u32) -> Vec<u8> {
    let mut request = REQUEST_MAGIC.to_be_bytes().to_vec();
    request.extend(0u16.to_be_bytes());
    request.extend(command.to_be_bytes());
    request.extend(cookie.to_be_bytes());
    request.extend(offset.to_be_bytes());
    request.extend(length.to_be_bytes());
    request
}

/// A reader of numbers from the front of bytes.
pub struct NumberReader<'a>(pub &'a [u8]);

impl NumberReader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (first, rest) = self.0.split_first_chunk().unwrap();
        self.0 = rest;
        *first
    }

    /// Reads a number of 16 bits.
    pub fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.take())
    }

    /// Reads a number of 32 bits.
    pub fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.take())
    }

    /// Reads a number of 64 bits.
    pub fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.take())
    }
}
