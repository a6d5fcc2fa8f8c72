//! `freestone log`.

use crate::exit::Exit;
use crate::name::{self, Name};
use crate::output::{JSON_SEE, JsonRevision, short, text};
use crate::session::Session;
use crate::size::show;
use crate::time;
use clap::Args;
use freestone_core::{Error, Result};
use std::ffi::{OsStr, OsString};

/// List a revision and those it came from, the newest first
///
/// Of several parents the first is followed. What a ref has named in turn, `freestone ref log`
/// lists.
#[derive(Args)]
#[command(after_long_help = after_help())]
pub struct Log {
    /// The revision to begin with; else the ref that is pushed to
    #[arg(value_name = "REV")]
    name: Option<OsString>,

    /// List no more than N
    #[arg(short = 'n', long, value_name = "N")]
    max_count: Option<u64>,
}

fn after_help() -> String {
    format!(
        "\
Examples:
  freestone log
  freestone log main -n 10
  freestone log main --json | jq -r .revision

A line has the id's first digits, the time, the bytes of content, and the message's first line.
With --json, one object a line: {{{}}}
{JSON_SEE}

{}",
        JsonRevision::KEYS,
        name::TEXT
    )
}

impl Log {
    pub fn run(&self, session: &Session) -> Result<Exit> {
        let store = session.store()?;
        let default = session.ref_name(None);
        let name = self.name.as_deref().unwrap_or(OsStr::new(&default));
        let resolved = store.resolve(&Name::parse_revision(name)?)?;
        let (mut id, mut revision) = (resolved.id, resolved.revision);
        let mut count = 0;
        while self.max_count.is_none_or(|max| count < max) {
            session.interrupt.check()?;
            if session.output.is_json() {
                session.output.json(&JsonRevision::new(&id, &revision))?;
            } else {
                let message = text(revision.message.lines().next().unwrap_or_default());
                let (time, size) = (time::show(revision.time), show(revision.bytes));
                let line = format!("{} {time} {size:>9}  {message}", short(&id));
                session.output.line(line.trim_end())?;
            }
            count += 1;
            let Some(parent) = revision.parents.first() else { break };
            let before = store.revision(parent)?;
            revision = before.ok_or_else(|| {
                Error::corrupt(format!("revision {parent}, the parent of {id}, is missing"))
                    .hint("`freestone verify` lists all that is missing")
            })?;
            id = revision.id();
        }
        Ok(Exit::Done)
    }
}
