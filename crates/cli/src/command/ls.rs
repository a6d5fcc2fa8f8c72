//! `freestone ls`.

use crate::context::Context;
use crate::exit::Exit;
use crate::output::{JSON_SEE, JsonEntry};
use crate::part::{Need, Part};
use crate::values::name::{self, Name};
use crate::values::time;
use clap::Args;
use freestone_core::{Result, path};
use freestone_manifest::{Entry, EntryKind};
use serde::Serialize;
use std::ffi::OsString;

/// List the entries of a revision, or of a directory in it
///
/// Names of directories end with a slash. Control characters and bytes that are not UTF-8 are
/// written \xNN, and \ is doubled.
#[derive(Args)]
#[command(after_long_help = after_help())]
pub struct Ls {
    /// Revision, or directory or file in it
    #[arg(value_name = "REV[:PATH]")]
    name: OsString,

    /// List subdirectories recursively
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
\"mtime\"; for files also \"size\", \"executable\", \"sha1\", \"content\" (the content id), \"link\" (the
target, if it was a symbolic link; escaped as in path_escaped)}}]}}
{JSON_SEE}

{}",
        name::TEXT
    )
}

/// The result as JSON, without the entries. The help documents its keys.
#[derive(Serialize)]
struct Answer {
    revision: String,
}

impl Ls {
    /// Runs the command.
    ///
    /// # Errors
    /// The revision or path does not exist or cannot be read.
    pub fn run(&self, context: &Context) -> Result<Exit> {
        let name = Name::parse(&self.name)?;
        let part = Part::find(&context.opened()?, &name)?;
        if self.recursive {
            part.fetch(Need::Entries, context)?;
        }
        if context.output.is_json() {
            let answer = Answer { revision: part.id.to_string() };
            context.output.json_list(&answer, "entries", |list| {
                self.each(&part, context, &mut |entry, path| {
                    list.item(&JsonEntry::new(path, entry))
                })
            })?;
        } else {
            self.each(&part, context, &mut |entry, path| self.line(entry, path, context))?;
        }
        Ok(Exit::Done)
    }

    fn each(
        &self,
        part: &Part,
        context: &Context,
        each: &mut dyn FnMut(&Entry, &[u8]) -> Result<()>,
    ) -> Result<()> {
        if let Some(file) = part.entry.as_ref().filter(|entry| !entry.is_directory()) {
            let name_start = path::parent(&file.path).map_or(0, |parent| parent.len() + 1);
            return each(file, &file.path[name_start..]);
        }
        let mut below = part.below()?;
        loop {
            context.interrupt.check()?;
            let Some((entry, path)) = below.next()? else { return Ok(()) };
            each(entry, path)?;
            if !self.recursive && entry.is_directory() {
                let path = entry.path.clone();
                below.skip(&path)?;
            }
        }
    }

    fn line(&self, entry: &Entry, path: &[u8], context: &Context) -> Result<()> {
        let slash = if entry.is_directory() { "/" } else { "" };
        let shown = path::display(path);
        if !self.long {
            return context.output.line(format_args!("{shown}{slash}"));
        }
        let time = time::show(entry.mtime);
        match &entry.kind {
            EntryKind::Directory => context
                .output
                .line(format_args!("drwxr-xr-x {:>12} {time} {:40} {shown}{slash}", "-", "-")),
            EntryKind::File { executable, size, sha1, .. } => {
                let mode = if *executable { "-rwxr-xr-x" } else { "-rw-r--r--" };
                context.output.line(format_args!("{mode} {size:>12} {time} {sha1} {shown}"))
            }
        }
    }
}
