//! `freestone ls`.

use crate::exit::Exit;
use crate::name::{self, Name};
use crate::output::{JSON_SEE, JsonEntry};
use crate::part::{Bring, Part};
use crate::session::Session;
use crate::time;
use clap::Args;
use freestone_core::{Result, path};
use freestone_manifest::{Entry, EntryKind};
use serde::Serialize;
use std::ffi::OsString;

/// List what is in a revision, or in a directory of it
///
/// Directories end in a slash. Control characters and bytes that are not UTF-8 are written \xNN,
/// and \ is doubled.
#[derive(Args)]
#[command(after_long_help = after_help())]
pub struct Ls {
    /// The revision, or a directory or file of it
    #[arg(value_name = "REV[:PATH]")]
    name: OsString,

    /// List what is in directories too
    #[arg(short = 'R', long)]
    recursive: bool,

    /// Show mode, size, time and SHA-1
    #[arg(short, long)]
    long: bool,
}

fn after_help() -> String {
    format!(
        "\
Examples:
  freestone ls main
  freestone ls -lR main:docs

With --json: {{\"revision\", \"entries\": [{{\"path\" (in the directory), \"kind\" (file or directory),
\"mtime\", and of files \"size\", \"executable\", \"sha1\", \"content\" (the content id), \"link\" (the
text of the link that it was, escaped as in path_escaped)}}]}}
{JSON_SEE}

{}",
        name::TEXT
    )
}

/// The answer as JSON, but for the entries; its keys stand in the help.
#[derive(Serialize)]
struct Answer {
    revision: String,
}

impl Ls {
    pub fn run(&self, session: &Session) -> Result<Exit> {
        let name = Name::parse(&self.name)?;
        let part = Part::find(&session.store()?, &name)?;
        if self.recursive {
            part.bring(Bring::Entries, session)?;
        }
        if session.output.is_json() {
            let answer = Answer { revision: part.id.to_string() };
            session.output.json_list(&answer, "entries", |list| {
                self.each(&part, session, &mut |entry, path| {
                    list.item(&JsonEntry::new(path, entry))
                })
            })?;
        } else {
            self.each(&part, session, &mut |entry, path| self.line(entry, path, session))?;
        }
        Ok(Exit::Done)
    }

    fn each(
        &self,
        part: &Part,
        session: &Session,
        each: &mut dyn FnMut(&Entry, &[u8]) -> Result<()>,
    ) -> Result<()> {
        if let Some(file) = part.entry.as_ref().filter(|entry| !entry.is_directory()) {
            let name_start = path::parent(&file.path).map_or(0, |parent| parent.len() + 1);
            return each(file, &file.path[name_start..]);
        }
        let mut below = part.below()?;
        loop {
            session.interrupt.check()?;
            let Some((entry, path)) = below.next()? else { return Ok(()) };
            each(entry, path)?;
            if !self.recursive && entry.is_directory() {
                let path = entry.path.clone();
                below.skip(&path)?;
            }
        }
    }

    fn line(&self, entry: &Entry, path: &[u8], session: &Session) -> Result<()> {
        let slash = if entry.is_directory() { "/" } else { "" };
        let shown = path::display(path);
        if !self.long {
            return session.output.line(format_args!("{shown}{slash}"));
        }
        let time = time::show(entry.mtime);
        match &entry.kind {
            EntryKind::Directory => session
                .output
                .line(format_args!("drwxr-xr-x {:>12} {time} {:40} {shown}{slash}", "-", "-")),
            EntryKind::File { executable, size, sha1, .. } => {
                let mode = if *executable { "-rwxr-xr-x" } else { "-rw-r--r--" };
                session.output.line(format_args!("{mode} {size:>12} {time} {sha1} {shown}"))
            }
        }
    }
}
