//! `freestone why`.

use crate::context::Context;
use crate::exit::Exit;
use crate::output::progress::Unit;
use crate::output::{JSON_SEE, JsonPath, short};
use crate::part::Part;
use crate::values::name::{self, Name};
use crate::values::size::count;
use crate::values::time;
use clap::Args;
use freestone_core::{Error, ErrorKind, Id, Result, path};
use freestone_maintain::{self as maintain, Asked, Holder, NamedBy};
use freestone_manifest::{Entry, EntryKind};
use serde::Serialize;
use std::ffi::OsString;

/// Paths of a revision that are shown.
const PATHS_MAX: usize = 10;

/// Show which refs and pins keep a revision or a content
///
/// A revision is kept by the entries of refs that name it; a content, by the revisions that hold it.
/// What nothing keeps is removed by the next `freestone store gc`. Exit code 5 if no revision holds
/// it.
#[derive(Args)]
#[command(after_long_help = after_help())]
pub struct Why {
    /// Content by its SHA-1; id of a revision, content, chunk or node; or a revision or a file in it
    #[arg(value_name = "sha1:HEX|ID|REV[:PATH]")]
    name: OsString,

    /// Show all paths of each revision, not only the first
    #[arg(long)]
    all: bool,
}

fn after_help() -> String {
    format!(
        "\
Examples:
  freestone why main~3
  freestone why sha1:2fd4e1c67a2d28fced849ee1bb76e7391b93eb12
  freestone why main:docs/report.pdf

{}

With --json: {{\"holders\": [{{\"revision\", \"time\", \"refs\": [{{\"ref\", \"first\", \"last\" (numbers of
entries), \"newest\" (whether the last is the newest)}}], \"paths\", \"path_count\"}}]}}; \"refs\" is
empty if nothing keeps the revision
{JSON_SEE}",
        name::TEXT
    )
}

/// The result as JSON, without the holders. The help documents its keys.
#[derive(Serialize)]
struct Answer {}

#[derive(Serialize)]
struct JsonHolder<'a> {
    revision: String,
    time: i64,
    refs: Vec<JsonNamed<'a>>,
    paths: Vec<JsonPath>,
    path_count: u64,
}

#[derive(Serialize)]
struct JsonNamed<'a> {
    r#ref: &'a str,
    first: u64,
    last: u64,
    newest: bool,
}

impl Why {
    /// Runs the command.
    ///
    /// # Errors
    /// No revision holds what is asked about, or the store cannot be read.
    pub fn run(&self, context: &Context) -> Result<Exit> {
        let asked = self.asked(context)?;
        let store = context.store()?;
        let paths_max = if self.all { usize::MAX } else { PATHS_MAX };
        let mut holders = Vec::new();
        context.watched("searching revisions", Unit::Things, None, |watch| {
            maintain::why(&store, asked, paths_max, watch, &mut |holder| {
                holders.push(holder);
                Ok(())
            })
        })?;
        if holders.is_empty() {
            let name = self.name.display();
            return Err(Error::not_found(format!("no revision holds {name}")));
        }
        if context.output.is_json() {
            context.output.json_list(&Answer {}, "holders", |list| {
                holders.iter().try_for_each(|holder| list.item(&json(holder)))
            })?;
            return Ok(Exit::Done);
        }
        let mut lines = holders.iter().flat_map(lines);
        lines.try_for_each(|line| context.output.line(line))?;
        Ok(Exit::Done)
    }

    fn asked(&self, context: &Context) -> Result<Asked> {
        if let Some(sha1) = name::sha1(&self.name)? {
            return Ok(Asked::Sha1(sha1));
        }
        if let Some(id) = self.name.to_str().and_then(|name| Id::parse(name).ok()) {
            return Ok(match context.store()?.revision(&id)? {
                Some(_) => Asked::Revision(id),
                None => Asked::Record(id),
            });
        }
        let name = Name::parse(&self.name)?;
        let opened = context.opened()?;
        if name.path.is_none() {
            return Ok(Asked::Revision(opened.store.resolve(&name.revision)?.id));
        }
        match Part::find(&opened, &name)?.entry {
            Some(Entry { kind: EntryKind::File { content, .. }, .. }) => Ok(Asked::Record(content)),
            _ => {
                Err(Error::new(ErrorKind::Usage, format!("{} is a directory", self.name.display()))
                    .hint("give a file, or a whole revision"))
            }
        }
    }
}

fn json(holder: &Holder) -> JsonHolder<'_> {
    let refs = holder.named_by.iter().map(|of| JsonNamed {
        r#ref: &of.name,
        first: of.first,
        last: of.last,
        newest: of.is_newest,
    });
    JsonHolder {
        revision: holder.revision.to_string(),
        time: holder.time,
        refs: refs.collect(),
        paths: holder.paths.iter().map(|path| JsonPath::new(path)).collect(),
        path_count: holder.path_count,
    }
}

/// Returns the text for entries of a ref.
pub(super) fn show_named(of: &NamedBy) -> String {
    let entries = match of.first == of.last {
        true => format!("{}@{}", of.name, of.last),
        false => format!("{}@{} to {}", of.name, of.first, of.last),
    };
    if of.is_newest { format!("{entries} (newest)") } else { entries }
}

/// Returns the lines that say what keeps a revision, and where in it the content is.
pub(super) fn lines(holder: &Holder) -> Vec<String> {
    let (id, time) = (short(&holder.revision), time::show(holder.time));
    let named: Vec<String> = holder.named_by.iter().map(show_named).collect();
    let kept_by = match named.is_empty() {
        true => "nothing keeps it".to_owned(),
        false => named.join(", "),
    };
    let mut lines = vec![format!("{id} {time} {kept_by}")];
    lines.extend(holder.paths.iter().map(|found| format!("    {}", path::display(found))));
    let more = holder.path_count.saturating_sub(holder.paths.len() as u64);
    if more > 0 {
        lines.push(format!("    and {} more", count(more, "path", "paths")));
    }
    lines
}
