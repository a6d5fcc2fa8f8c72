//! Writing tar's 512-byte headers.
//!
//! ```text
//!   0 name 100     100 mode 8      108 uid 8       116 gid 8     124 size 12    136 mtime 12
//! 148 checksum 8   156 kind 1      157 link 100    257 "ustar\0" 263 "00"       265 uname 32
//! 297 gname 32     329 devmajor 8  337 devminor 8  345 prefix 155               500 zeros 12
//! ```
//! Numbers are octal with leading zeros and a NUL after them; the checksum is six digits, a NUL and
//! a space. Owners are 0 without names, and modes are 0644 or 0755, as in everything that freestone
//! writes. See *pax Interchange Format* and *ustar Interchange Format* in POSIX.1-2017, `pax`.

use super::options::TarOptions;
use crate::format::FormatOptions;
use freestone_core::Id;
use freestone_core::limits::{MTIME_MAX, PAX_PAYLOAD_BYTES_MAX, USTAR_SIZE_MAX};
use freestone_core::tar1::{Shape, pax_record};
use freestone_manifest::{Entry, EntryKind};

/// The length of a header.
pub(crate) const HEADER_BYTES: usize = 512;
/// The length of the name field.
const NAME_BYTES: usize = 100;

/// The fields of a header that differ between headers.
struct Header<'a> {
    prefix: &'a [u8],
    name: &'a [u8],
    executable: bool,
    size: u64,
    mtime: i64,
    kind: u8,
}

impl Header<'_> {
    fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut block = [0; HEADER_BYTES];
        let mut put = |offset: usize, bytes: &[u8]| {
            block[offset..offset + bytes.len()].copy_from_slice(bytes);
        };
        put(0, self.name);
        put(100, if self.executable { b"0000755" } else { b"0000644" });
        put(108, b"0000000");
        put(116, b"0000000");
        put(124, format!("{:011o}", self.size).as_bytes());
        put(136, format!("{:011o}", self.mtime.clamp(0, MTIME_MAX)).as_bytes());
        put(148, b"        ");
        put(156, &[self.kind]);
        put(257, b"ustar\x0000");
        put(329, b"0000000");
        put(337, b"0000000");
        put(345, self.prefix);
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }
}

/// Appends the header and the payload of pax records, padded to whole blocks.
fn pax(out: &mut Vec<u8>, kind: u8, name: &[u8], records: &[u8]) {
    debug_assert!((1..=PAX_PAYLOAD_BYTES_MAX).contains(&records.len()));
    let size = records.len() as u64;
    let header = Header { prefix: b"", name, executable: false, size, mtime: 0, kind };
    out.extend_from_slice(&header.encode());
    out.extend_from_slice(records);
    out.resize(out.len().next_multiple_of(HEADER_BYTES), 0);
}

/// Creates the first 1024 bytes of an image: a pax `g` header that says what it is.
pub(crate) fn head(image_name: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 * HEADER_BYTES);
    pax(&mut out, b'g', b"pax_global_header", &pax_record(b"comment", image_name.as_bytes()));
    out
}

/// Returns the options and the root that are named in the `g` header at the beginning of a tar
/// image; `None` if it is not exactly such a header.
pub(crate) fn name_in(bytes: &[u8]) -> Option<(TarOptions, Id)> {
    let payload = bytes.get(HEADER_BYTES..2 * HEADER_BYTES)?;
    let record = payload.split(|byte| *byte == b'\n').next()?;
    let (_, text) = std::str::from_utf8(record).ok()?.split_once(" comment=")?;
    let name = TarOptions::parse_image_name(text)?;
    (bytes[..2 * HEADER_BYTES] == head(text)).then_some(name)
}

/// Creates a header that readers ignore.
pub(crate) fn filler() -> [u8; HEADER_BYTES] {
    Header { prefix: b"", name: b"./", executable: true, size: 0, mtime: 0, kind: b'5' }.encode()
}

/// Returns the name field of an entry whose path is in its pax records: as much of the path as
/// fits, with a `/` at the end if and only if it is a directory. Readers without pax see this name.
fn name_in_pax(name: &[u8], is_directory: bool) -> Vec<u8> {
    let kept = &name[..name.len().min(NAME_BYTES - usize::from(is_directory))];
    let mut kept = kept.strip_suffix(b"/").unwrap_or(kept).to_vec();
    if is_directory {
        kept.push(b'/');
    }
    kept
}

/// Creates all headers of an entry: `fillers` fillers, its pax header if it needs one, and its own
/// header. `shape` is the entry's.
pub(crate) fn entry(entry: &Entry, shape: &Shape, fillers: u64) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..fillers {
        out.extend_from_slice(&filler());
    }
    if !shape.pax.is_empty() {
        pax(&mut out, b'x', b"././@PaxHeader", &shape.pax);
    }
    let (is_directory, executable, size) = match entry.kind {
        EntryKind::Directory => (true, true, 0),
        EntryKind::File { executable, size, .. } => (false, executable, size),
    };
    let cut;
    let (prefix, name) = match shape.split {
        Some(slash) => (&shape.name[..slash], &shape.name[slash + 1..]),
        None if shape.pax_path => {
            cut = name_in_pax(&shape.name, is_directory);
            (&[][..], &cut[..])
        }
        None => (&[][..], &shape.name[..]),
    };
    let header = Header {
        prefix,
        name,
        executable,
        size: if size > USTAR_SIZE_MAX { 0 } else { size },
        mtime: entry.mtime,
        kind: if is_directory { b'5' } else { b'0' },
    };
    out.extend_from_slice(&header.encode());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use freestone_core::Sha1;

    fn file(path: &[u8], size: u64) -> Entry {
        let kind =
            EntryKind::File { executable: false, size, sha1: Sha1([0; 20]), content: Id([0; 32]) };
        Entry { kind, ..Entry::directory(path, 1_700_000_000) }
    }

    fn headers(of: &Entry, fillers: u64) -> Vec<u8> {
        entry(of, &Shape::of(&of.path, of.size()).unwrap(), fillers)
    }

    #[test]
    fn a_header_is_what_gnu_tar_writes_for_ustar() {
        let block = headers(&file(b"hello.txt", 1234), 0);
        assert_eq!(block.len(), 512);
        let mut expected = vec![0; 512];
        let fields: [(usize, &[u8]); 11] = [
            (0, b"hello.txt"),
            (100, b"0000644\0"),
            (108, b"0000000\0"),
            (116, b"0000000\0"),
            (124, b"00000002322\0"),
            (136, b"14524770400\0"),
            (148, b"011112\0 "),
            (156, b"0"),
            (257, b"ustar\x0000"),
            (329, b"0000000\0"),
            (337, b"0000000\0"),
        ];
        for (offset, bytes) in fields {
            expected[offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        assert_eq!(block, expected);
    }

    #[test]
    fn the_head_is_two_blocks() {
        let head = head("freestone 1 tar align=4096;pad=0;size=0 00");
        assert_eq!(head.len(), 1024);
        assert_eq!(head[156], b'g');
        assert_eq!(&head[124..136], b"00000000066\0");
        assert!(head[512..].starts_with(b"54 comment=freestone 1 tar align=4096;"));
        assert!(head[566..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn fillers_stand_before_pax_and_pax_before_the_header() {
        let blocks = headers(&file(&[b'x'; 101], 1 << 20), 2);
        assert_eq!(blocks.len(), 5 * 512);
        let kinds: Vec<u8> = [0, 1, 2, 4].iter().map(|block| blocks[block * 512 + 156]).collect();
        assert_eq!(kinds, b"55x0");
        assert!(blocks.starts_with(b"./\0"));
        assert!(blocks[3 * 512..].starts_with(b"111 path=xxx"));
        assert!(blocks[4 * 512..].starts_with(&[b'x'; 100]));
    }

    #[test]
    fn only_the_name_of_a_directory_ends_in_a_slash_even_when_cut() {
        let mut path = vec![b'd'; 99];
        path.extend(b"/");
        path.extend([b'f'; 200]);
        assert_eq!(name_in_pax(&path, false), [b'd'; 99]);
        path.push(b'/');
        assert_eq!(name_in_pax(&path, true), [&[b'd'; 99][..], b"/"].concat());
        path.remove(0);
        assert_eq!(name_in_pax(&path, true), [&[b'd'; 98][..], b"/"].concat());
    }

    #[test]
    fn a_size_in_pax_leaves_zero_in_the_header() {
        let blocks = headers(&file(b"big", 9 << 30), 0);
        assert!(blocks[512..].starts_with(b"19 size=9663676416\n\0"));
        assert_eq!(&blocks[1024 + 124..1024 + 136], b"00000000000\0");
        let below = headers(&file(b"big", USTAR_SIZE_MAX), 0);
        assert_eq!(&below[124..136], b"77777777777\0");
    }
}
