//! Lists the paths that a push of a directory would contain, as `find -printf '%P %T@ %i\n'` does:
//! `cargo run --release -p freestone-source --example list -- DIR`.

use freestone_core::item::{ItemKind, ItemSource};
use freestone_source::directory::{DirectoryOptions, open};
use std::error::Error;
use std::io::{BufWriter, Write, stdout};
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let root = std::env::args_os().nth(1).ok_or("name a directory")?;
    let options = DirectoryOptions {
        keep_version_control: true,
        skip_special: true,
        ..DirectoryOptions::default()
    };
    let (mut walk, _) = open(Path::new(&root), &options)?;
    let mut out = BufWriter::new(stdout().lock());
    while let Some(item) = walk.next()? {
        out.write_all(&item.path)?;
        match item.kind {
            ItemKind::Directory => writeln!(out, " {}", item.mtime)?,
            ItemKind::File { stamp, .. } => writeln!(out, " {} {}", item.mtime, stamp.inode)?,
        }
    }
    out.flush()?;
    eprintln!("{:?}", walk.report());
    Ok(())
}
