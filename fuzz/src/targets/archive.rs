//! Archives: members, their extended headers, and the two compressions.

use crate::Goldens;
use flate2::Compression;
use flate2::write::GzEncoder;
use freestone_core::item::{Content, StreamSource};
use freestone_core::{Id, Result, Sha1, pax as records};
use freestone_source::archive::{Archive, ArchiveOptions};
use std::io::{self, Cursor, Read, Write};
use std::sync::{Arc, Mutex};
use tar::{Builder, EntryType, Header};

/// The unit of a tar archive.
const BLOCK: usize = 512;
/// Where a header has its checksum.
const CHECKSUM: usize = 148;
/// Where a header has its magic number.
const MAGIC: usize = 257;
/// A file's bytes are read as far as this, which bounds what a compressed input can ask for.
const READ_BYTES_MAX: u64 = 16 << 20;

pub(super) fn pax(data: &[u8]) -> bool {
    records::records(data).is_some()
}

pub(super) fn pax_payloads(_: &Goldens) -> Vec<Vec<u8>> {
    let record = freestone_core::tar1::pax_record;
    let all =
        [record(b"path", &b"a".repeat(300)), record(b"size", b"77"), record(b"mtime", b"1.5")];
    vec![all.concat(), record(b"linkpath", b"../a"), record(b"GNU.sparse.major", b"1")]
}

/// Computes the checksums of all headers again, which would stop nearly all changed inputs.
fn with_checksums(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    for block in bytes.chunks_exact_mut(BLOCK) {
        if block[MAGIC..].starts_with(b"ustar") {
            block[CHECKSUM..CHECKSUM + 8].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[CHECKSUM..CHECKSUM + 8].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    bytes
}

fn read(bytes: Vec<u8>) -> Result<()> {
    let options = ArchiveOptions {
        excludes: vec!["*.left-out".into()],
        skip_special: true,
        // Some inputs go to the temporary file.
        memory_bytes: 512,
        spill_dir: std::env::temp_dir(),
    };
    let reported = Arc::new(Mutex::default());
    let mut archive = Archive::open("input", Box::new(Cursor::new(bytes)), &options, reported)?;
    while let Some((_, file)) = archive.next_file()? {
        let size = io::copy(&mut file.take(READ_BYTES_MAX), &mut io::sink());
        let size = size.map_err(|error| freestone_core::Error::io("it cannot be read", error))?;
        if size == READ_BYTES_MAX {
            return Ok(());
        }
        archive.stored(Content { size, sha1: Sha1([1; 20]), id: Id([2; 32]) })?;
    }
    let mut sorted = archive.sorted()?;
    while sorted.next()?.is_some() {}
    sorted.finish().map(drop)
}

pub(super) fn archive(data: &[u8]) -> bool {
    read(data.to_vec()).is_ok() | read(with_checksums(data)).is_ok()
}

fn member(builder: &mut Builder<Vec<u8>>, kind: EntryType, path: &str, bytes: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_mtime(1_700_000_000);
    header.set_size(bytes.len() as u64);
    builder.append_data(&mut header, path, bytes).unwrap();
}

fn link(builder: &mut Builder<Vec<u8>>, kind: EntryType, path: &str, target: &str) {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_size(0);
    builder.append_link(&mut header, path, target).unwrap();
}

pub(super) fn archives(_: &Goldens) -> Vec<Vec<u8>> {
    let mut small = Builder::new(Vec::new());
    member(&mut small, EntryType::Directory, "site/", b"");
    member(&mut small, EntryType::Regular, "site/index.html", b"<h1>hello</h1>\n");
    member(&mut small, EntryType::Regular, "site/index.html", b"again");
    let small = small.into_inner().unwrap();

    let mut links = Builder::new(Vec::new());
    member(&mut links, EntryType::Regular, "a/b", &[7; 700]);
    link(&mut links, EntryType::Symlink, "a/link", "b");
    link(&mut links, EntryType::Symlink, "up", "a/../a/link");
    link(&mut links, EntryType::Link, "hard", "a/b");
    member(&mut links, EntryType::Fifo, "pipe", b"");
    let links = links.into_inner().unwrap();

    let mut long = Builder::new(Vec::new());
    // GNU's long name, and extended headers of pax.
    member(&mut long, EntryType::Regular, &format!("{}end", "long/".repeat(40)), b"");
    let path = format!("{}end", "x/".repeat(90));
    long.append_pax_extensions([("path", path.as_bytes()), ("mtime", b"7.25")]).unwrap();
    member(&mut long, EntryType::Regular, "short", b"extended");
    let long = long.into_inner().unwrap();

    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&small).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(&links[..], 1).unwrap();
    vec![small, links, long, gzip, zstd]
}
