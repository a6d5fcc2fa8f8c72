//! `freestone forget`.

use super::why::{lines, show_named};
use crate::context::Context;
use crate::exit::Exit;
use crate::following;
use crate::output::progress::Unit;
use crate::output::short;
use crate::values::name::{self, Name};
use crate::values::size::{count, show};
use clap::Args;
use freestone_core::{Error, ErrorKind, Id, Result, Sha1};
use freestone_maintain::{self as maintain, Asked, Holder};
use freestone_store::Store;
use serde::Serialize;
use std::ffi::OsString;

/// Paths of a revision that are shown.
const PATHS_MAX: usize = 10;

/// Stop keeping a revision, or take a content out of all revisions
///
/// A revision that was forgotten is not kept, whatever the policy says: the next `freestone store gc`
/// removes what only it needs. The newest revision of a ref cannot be forgotten.
#[derive(Args)]
#[command(after_long_help = after_help())]
pub struct Forget {
    /// Revision; or the content, by its SHA-1, that is to be taken down
    #[arg(value_name = "REV|sha1:HEX")]
    name: OsString,

    /// Take the content out of all revisions of the store, now and for good
    #[arg(long)]
    everywhere: bool,

    /// Report what would be forgotten, and write nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

fn after_help() -> String {
    format!(
        "\
Examples:
  freestone forget main@17
  freestone forget -n sha1:2fd4e1c67a2d28fced849ee1bb76e7391b93eb12
  freestone forget sha1:2fd4e1c67a2d28fced849ee1bb76e7391b93eb12 --everywhere

With --everywhere, the revisions that hold the content are listed, and it is taken down: packs that
have it are written again without it, and removed at once. Pushes that have it are refused from then
on. The revisions stay; an image or an extraction of one that held the content fails and says so,
and all its other paths can be read. Hosts that follow the store may have it in their caches: delete
the folder cache/ of their stores. Images and backups that were made before still have it, and so do
other stores: run the command there, too. It cannot be undone.

{}

With --json, of a revision: {{\"revision\", \"refs\": [{{\"ref\", \"first\", \"last\"}}] (the entries that
name it)}}; of a content: {{\"sha1\", \"content\" (its id; null with -n), \"revisions\" (that hold it),
\"packs\" (that were removed), \"bytes\" (of these)}}",
        name::TEXT
    )
}

/// The result for a revision as JSON. The help documents its keys.
#[derive(Serialize)]
struct Forgotten {
    revision: String,
    refs: Vec<JsonNamed>,
}

#[derive(Serialize)]
struct JsonNamed {
    r#ref: String,
    first: u64,
    last: u64,
}

/// The result for a content as JSON. The help documents its keys.
#[derive(Serialize)]
struct TakenDown {
    sha1: String,
    content: Option<String>,
    revisions: Vec<String>,
    packs: u64,
    bytes: u64,
}

impl Forget {
    /// Runs the command.
    ///
    /// # Errors
    /// The revision or content does not exist, a ref names the revision now, or the store cannot be
    /// written to.
    pub fn run(&self, context: &Context) -> Result<Exit> {
        let store = context.store()?;
        following::refuse_follower(&store)?;
        match name::sha1(&self.name)? {
            Some(sha1) => self.content(&store, &sha1, context)?,
            None if self.everywhere => {
                return Err(Error::new(
                    ErrorKind::Usage,
                    "--everywhere takes a content down, not a revision",
                )
                .hint("name the content by its SHA-1: sha1: and 40 hex digits"));
            }
            None => self.revision(&store, context)?,
        }
        Ok(Exit::Done)
    }

    fn revision(&self, store: &Store, context: &Context) -> Result<()> {
        let id = store.resolve(&Name::parse_revision(&self.name)?)?.id;
        let named = maintain::forget(store, &id, self.dry_run)?;
        if context.output.is_json() {
            let refs = named.into_iter().map(|of| JsonNamed {
                r#ref: of.name,
                first: of.first,
                last: of.last,
            });
            return context
                .output
                .json(&Forgotten { revision: id.to_string(), refs: refs.collect() });
        }
        let named: Vec<String> = named.iter().map(show_named).collect();
        let named = match named.is_empty() {
            true => "no ref names it".to_owned(),
            false => format!("it is {}", named.join(", ")),
        };
        let id = short(&id);
        context.output.note(match self.dry_run {
            true => format!("would forget revision {id}: {named}"),
            false => format!(
                "forgot revision {id}: {named}. `freestone store gc` removes what only it needs"
            ),
        });
        Ok(())
    }

    fn content(&self, store: &Store, sha1: &Sha1, context: &Context) -> Result<()> {
        let mut holders: Vec<Holder> = Vec::new();
        context.watched("searching revisions", Unit::Things, None, |watch| {
            maintain::why(store, Asked::Sha1(*sha1), PATHS_MAX, watch, &mut |holder| {
                holders.push(holder);
                Ok(())
            })
        })?;
        if !context.output.is_json() {
            for line in holders.iter().flat_map(lines) {
                context.output.line(line)?;
            }
        }
        let revisions = count(holders.len() as u64, "revision holds it", "revisions hold it");
        if !self.everywhere && !self.dry_run {
            return Err(Error::new(ErrorKind::Usage, revisions).hint(
                "--everywhere takes it out of all of them, now and for good; -n only lists them",
            ));
        }
        let done = match self.dry_run {
            true => None,
            false => {
                let now = context.time()?;
                // The next takedown or collection goes on from where this one was killed.
                context.interrupt.end_at_once();
                Some(context.watched("taking it out", Unit::Things, None, |watch| {
                    maintain::take_down(store, sha1, now, watch)
                })?)
            }
        };
        let packs = done.map_or((0, 0), |done| done.packs);
        if context.output.is_json() {
            return context.output.json(&TakenDown {
                sha1: sha1.to_string(),
                content: done.map(|done| done.content.to_string()),
                revisions: holders.iter().map(|h| Id::to_string(&h.revision)).collect(),
                packs: packs.0,
                bytes: packs.1,
            });
        }
        context.output.note(match done {
            None => format!("{revisions}; it would be taken out of all"),
            Some(_) => format!(
                "{revisions}, and it was taken out of all: removed {} of {}",
                count(packs.0, "pack", "packs"),
                show(packs.1)
            ),
        });
        Ok(())
    }
}
