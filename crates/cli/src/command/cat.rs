//! `freestone cat`.

use crate::contents::{self, Wanted};
use crate::context::Context;
use crate::exit::Exit;
use crate::part::{Need, Part};
use crate::values::name::{self, Name};
use clap::Args;
use freestone_core::{Error, ErrorKind, Result, Watch, path};
use freestone_manifest::{Entry, EntryKind};
use freestone_store::Records;
use std::ffi::OsString;

/// Write a file of a revision, or any content by its SHA-1, to standard output
#[derive(Args)]
#[command(after_long_help = after_help())]
pub struct Cat {
    /// File in a revision; or sha1: and the SHA-1 of a content
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
    /// Runs the command.
    ///
    /// # Errors
    /// The file or content does not exist or cannot be read, or standard output cannot be written.
    pub fn run(&self, context: &Context) -> Result<Exit> {
        let opened = context.opened()?;
        if context.output.is_json() {
            return Err(Error::new(
                ErrorKind::Usage,
                "cat prints the bytes of a file; --json cannot be used",
            ));
        }
        if let Some(sha1) = name::sha1(&self.name)? {
            let records = opened.store.records()?;
            let watch = Watch::cancelled_by(context.interrupt.flag());
            let content = records.find_sha1(&sha1, u64::MAX, watch)?.ok_or_else(|| {
                Error::not_found(format!("no content has the SHA-1 {sha1}"))
                    .hint("give the SHA-1 that `sha1sum` prints for the file")
            })?;
            let wanted = Wanted { id: &content.id, size: content.size, sha1: &sha1 };
            return write(&records, wanted, context);
        }
        let name = Name::parse(&self.name)?;
        let part = Part::find(&opened, &name)?;
        match &part.entry {
            Some(Entry { kind: EntryKind::File { content, size, sha1, .. }, .. }) => {
                part.fetch(Need::Contents, context)?;
                write(part.records(), Wanted { id: content, size: *size, sha1 }, context)
            }
            Some(Entry { path, kind: EntryKind::Directory, .. }) => {
                let path = path::display(path);
                Err(Error::new(ErrorKind::Usage, format!("{path} is a directory")).hint(
                    "list it with `freestone ls`, or write its files with `freestone extract`",
                ))
            }
            None => Err(Error::new(ErrorKind::Usage, "cat needs a file, not a whole revision")
                .hint("give a file in it, as in main:index.html")),
        }
    }
}

fn write(records: &Records, wanted: Wanted<'_>, context: &Context) -> Result<Exit> {
    let mut each = |bytes: &[u8]| context.output.bytes(bytes);
    contents::read(records, wanted, &context.interrupt, &mut each)?;
    Ok(Exit::Done)
}
