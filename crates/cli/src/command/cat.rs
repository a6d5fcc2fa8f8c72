//! `freestone cat`.

use crate::exit::Exit;
use crate::name::{self, Name};
use crate::part::{Bring, Part};
use crate::session::Session;
use clap::Args;
use freestone_core::{ChunkSource, Error, ErrorKind, Extent, ExtentSource, Id, Result, Sha1, path};
use freestone_manifest::{Entry, EntryKind, content};
use freestone_store::Records;
use std::ffi::OsString;

/// Zeros are written so many at a time.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Write a file of a revision, or any content by its SHA-1, to the standard output
#[derive(Args)]
#[command(after_long_help = after_help())]
pub struct Cat {
    /// The file; or sha1: and the SHA-1 of a content
    #[arg(value_name = "REV:PATH|sha1:HEX")]
    name: OsString,
}

fn after_help() -> String {
    format!(
        "\
Examples:
  freestone cat main:index.html
  freestone cat sha1:2fd4e1c67a2d28fced849ee1bb76e7391b93eb12 > found

{}",
        name::TEXT
    )
}

impl Cat {
    pub fn run(&self, session: &Session) -> Result<Exit> {
        let store = session.store()?;
        if session.output.is_json() {
            return Err(Error::new(
                ErrorKind::Usage,
                "a content is bytes, and is not given as JSON",
            ));
        }
        if let Some(sha1) = name::sha1(&self.name)? {
            let records = store.records()?;
            let content = records.find_sha1(&sha1)?.ok_or_else(|| {
                Error::not_found(format!("no content has the SHA-1 {sha1}"))
                    .hint("it is what `sha1sum` prints of the file")
            })?;
            return write(&records, &content.id, content.size, &sha1, session);
        }
        let name = Name::parse(&self.name)?;
        let part = Part::find(&store, &name)?;
        match &part.entry {
            Some(Entry { kind: EntryKind::File { content, size, sha1, .. }, .. }) => {
                part.bring(Bring::Contents, session)?;
                write(part.records(), content, *size, sha1, session)
            }
            Some(Entry { path, kind: EntryKind::Directory, .. }) => {
                let path = path::display(path);
                Err(Error::new(ErrorKind::Usage, format!("{path} is a directory"))
                    .hint("`freestone ls` lists it, `freestone extract` takes it out"))
            }
            None => Err(Error::new(ErrorKind::Usage, "a whole revision is not a file")
                .hint("name a file of it, as in main:index.html")),
        }
    }
}

fn write(records: &Records, id: &Id, size: u64, sha1: &Sha1, session: &Session) -> Result<Exit> {
    let mut buffer = Vec::new();
    let mut each = |piece: Extent| {
        session.interrupt.check()?;
        match piece.source {
            ExtentSource::Chunk(id) => {
                let chunk = records.chunk_in(&id, piece.length, &mut buffer)?;
                session.output.bytes(chunk)
            }
            ExtentSource::Inline(bytes) => session.output.bytes(&bytes),
            ExtentSource::Zeros => {
                let mut left = piece.length;
                while left > 0 {
                    let count = left.min(ZEROS.len() as u64);
                    session.output.bytes(&ZEROS[..usize::try_from(count).unwrap_or(0)])?;
                    left -= count;
                }
                Ok(())
            }
        }
    };
    content::pieces(records, id, size, Some(sha1), 0..size, &mut each)?;
    Ok(Exit::Done)
}
