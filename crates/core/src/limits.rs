//! The limits of the whole system, each with its reason. Those marked *format* are frozen with
//! format version 1; the others may change.

/// The length of a device block. Every image's length is a multiple of it, because Xen's sectors
/// are 4096 bytes and an incomplete last one is dropped. *format*
pub const BLOCK_BYTES: u64 = 4096;

/// The unit of tar, and of a measure. *format*
pub const TAR_BLOCK_BYTES: u64 = 512;

/// A content longer than this is cut into chunks and has a content record. It bounds the bytes that
/// are read to change or prove a part of a small file. *format*
pub const CONTENT_WHOLE_BYTES_MAX: u64 = 1 << 20;

/// Contents of at least this start at a multiple of [`BLOCK_BYTES`] in a tar image and at a
/// congruent offset of a pack, so that they can be shared by reflink. *format*
pub const ALIGNED_CONTENT_BYTES_MIN: u64 = 1 << 16;

/// The shortest chunk that the chunker cuts, except at the end of a stretch. *format*
pub const CHUNK_BYTES_MIN: usize = 256 << 10;

/// The chunk length that the chunker's masks aim at. *format*
pub const CHUNK_BYTES_MEAN: usize = 1 << 20;

/// The longest chunk. It bounds the memory of one read. *format*
pub const CHUNK_BYTES_MAX: usize = 4 << 20;

/// A run of at least this many all-zero 4096-byte units of a chunked content is a zero item:
/// shorter holes cost more items than they save. *format*
pub const ZERO_RUN_UNITS_MIN: u64 = 16;

/// A rope node of fewer items is closed only at the end of its level. *format*
pub const NODE_ITEMS_MIN: usize = 8;

/// A rope node of this many items is closed whatever follows. It bounds the length of a node, even
/// if an attacker chooses the names. *format*
pub const NODE_ITEMS_MAX: usize = 128;

/// One in this many items starts a node of the next level. *format*
pub const NODE_FANOUT: u64 = 25;

/// The most levels of a rope that a reader follows. A node has at least 8 items, so 22 levels hold
/// 2^66 entries; more levels are damage or an attack.
pub const ROPE_LEVELS_MAX: u8 = 22;

/// The longest path. Linux does not allow a longer one in a system call. *format*
pub const PATH_BYTES_MAX: usize = 4095;

/// The longest text of a link that became a file. *format*
pub const LINK_BYTES_MAX: usize = 4095;

/// The longest encoded node: 128 items with the longest paths, links and extensions. A reader
/// allocates no more than this for a node, whatever a length field claims.
pub const NODE_BYTES_MAX: usize = 2 << 20;

/// The most bytes of extension fields in one entry, node or record. *format*
pub const EXTENSION_BYTES_MAX: usize = 4096;

/// The largest mtime: the largest number of eleven octal digits. The smallest is 0. *format*
pub const MTIME_MAX: i64 = (1 << 33) - 1;

/// The longest payload of a pax header: MirageOS's reader accepts only one block of it. *format*
pub const PAX_PAYLOAD_BYTES_MAX: usize = 512;

/// The largest size in a ustar header: the largest number of eleven octal digits. A larger file
/// needs a pax `size` record. *format*
pub const USTAR_SIZE_MAX: u64 = (1 << 33) - 1;

/// The longest message of a revision. A revision is read whole.
pub const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// The most labels of one revision.
pub const LABELS_MAX: usize = 256;

/// The longest file `format` of a store. It may grow.
pub const HEADER_BYTES_MAX: u64 = 64 << 10;

/// The longest label: key and value together, in bytes.
pub const LABEL_BYTES_MAX: usize = 4096;

/// The most parents of one revision.
pub const PARENTS_MAX: usize = 64;

/// The longest encoded revision: the limits of message, labels and parents added up, and a margin.
pub const REVISION_BYTES_MAX: usize = 2 << 20;

/// A pack is closed when it has grown to this length. It bounds what an interrupted upload has to
/// repeat, and the space of a spool.
pub const PACK_BYTES_TARGET: u64 = 64 << 20;

/// The most records of one pack: a bound for readers, which hold a table in memory. Writers close a
/// pack after 2^15.
pub const PACK_RECORDS_MAX: u64 = 1 << 18;
