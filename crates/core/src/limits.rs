//! Every limit of the system, each with its reason. Those marked *format* are frozen with format
//! version 1; the others may change.

/// A device block, and what every image's length is a multiple of: Xen's sectors are 4096 bytes
/// and a trailing part of one is dropped. *format*
pub const BLOCK_BYTES: u64 = 4096;

/// The unit of tar, and of a measure. *format*
pub const TAR_BLOCK_BYTES: u64 = 512;

/// A content longer than this is cut into chunks and has a content record. It bounds what is
/// read to change or prove a part of a small file. *format*
pub const CONTENT_WHOLE_BYTES_MAX: u64 = 1 << 20;

/// Contents of at least this start at a multiple of [`BLOCK_BYTES`] in a tar image and at a
/// congruent offset of a pack, so that they can be shared by reflink. *format*
pub const ALIGNED_CONTENT_BYTES_MIN: u64 = 1 << 16;

/// The shortest chunk that the chunker cuts, but for the last of a stretch. *format*
pub const CHUNK_BYTES_MIN: usize = 256 << 10;

/// What the chunker's masks aim at. *format*
pub const CHUNK_BYTES_MEAN: usize = 1 << 20;

/// The longest chunk. It bounds what one read holds in memory. *format*
pub const CHUNK_BYTES_MAX: usize = 4 << 20;

/// A run of at least this many all-zero 4096-byte units of a chunked content is a zero item:
/// shorter holes cost more items than they save. *format*
pub const ZERO_RUN_UNITS_MIN: u64 = 16;

/// A rope node of fewer items is closed only at the end of its level. *format*
pub const NODE_ITEMS_MIN: usize = 8;

/// A rope node of this many items is closed whatever follows: it bounds what hostile names can
/// make of a node. *format*
pub const NODE_ITEMS_MAX: usize = 128;

/// One in this many items starts a node of the next level. *format*
pub const NODE_FANOUT: u64 = 25;

/// Levels of a rope that a reader follows. 8 items a node at least, so 22 levels hold 2^66
/// entries; more is damage or malice.
pub const ROPE_LEVELS_MAX: u8 = 22;

/// The longest path. Linux allows no longer one in a system call. *format*
pub const PATH_BYTES_MAX: usize = 4095;

/// The longest text of a link that became a file. *format*
pub const LINK_BYTES_MAX: usize = 4095;

/// The longest encoded node: 128 items with the longest paths, links and extensions. A reader
/// allocates no more than this for a node, whatever a length field claims.
pub const NODE_BYTES_MAX: usize = 2 << 20;

/// Extension fields of one entry, node or record, in bytes together. *format*
pub const EXTENSION_BYTES_MAX: usize = 4096;

/// The largest mtime: what eleven octal digits hold. The smallest is 0. *format*
pub const MTIME_MAX: i64 = (1 << 33) - 1;

/// The payload of a pax header: MirageOS's reader takes no more than one block of it. *format*
pub const PAX_PAYLOAD_BYTES_MAX: usize = 512;

/// A larger file needs a pax `size` record: what eleven octal digits hold. *format*
pub const USTAR_SIZE_MAX: u64 = (1 << 33) - 1;

/// The longest message of a revision. A revision is read whole.
pub const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// Labels of one revision.
pub const LABELS_MAX: usize = 256;

/// A label's key and value together, in bytes.
pub const LABEL_BYTES_MAX: usize = 4096;

/// Parents of one revision.
pub const PARENTS_MAX: usize = 64;

/// The longest encoded revision: what the three limits above allow, and some room.
pub const REVISION_BYTES_MAX: usize = 2 << 20;

/// A pack is closed when it has grown to this: it bounds what an interrupted upload repeats and
/// what a spool needs.
pub const PACK_BYTES_TARGET: u64 = 64 << 20;

/// Records of one pack: a bound for readers. 2^22 records of the smallest size fill a pack.
pub const PACK_RECORDS_MAX: u64 = 1 << 22;
