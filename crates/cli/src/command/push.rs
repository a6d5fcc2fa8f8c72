//! `freestone push`.

mod archive;
mod directory;
#[cfg(feature = "git")]
mod git;
mod report;

use crate::command::refs;
use crate::context::Context;
use crate::exit::Exit;
use crate::location;
use crate::output::progress::Unit;
use crate::transfer;
use crate::values::name::{self, Name};
use crate::values::time;
use clap::Args;
use directory::PushedDirectory;
use freestone_core::{Error, ErrorKind, Result};
use freestone_push::{PushOptions, Source};
use freestone_store::Store;
use report::Pushed;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Push a directory, an archive or a commit as a new revision, and update a ref
///
/// Prints the id of the revision. Only new contents are stored. If nothing is new, no revision is
/// made, and the id of the ref's revision is printed; a new message or label counts as new. A path
/// keeps its time while its content stays the same; new and changed paths get the time of the
/// revision. Links to files inside the directory are stored as those files; other links, devices,
/// sockets, pipes and Git LFS pointers are refused. Directories of version control systems, such as
/// .git, are left out. Git attributes such as export-ignore are not applied.
///
/// A tar archive (plain, gzip or zstd) is read once, in bounded memory, under the same rules. Of a
/// commit, only what differs from the ref's revision is read, if that was made from a commit too;
/// a commit that is an ancestor of that one is refused. The new revision gets the commit's message,
/// time and author, and can be named as commit:HEX.
#[derive(Args)]
#[command(after_long_help = after_help())]
pub struct Push {
    /// Directory or tar archive to push; - reads an archive from standard input
    #[arg(value_name = "DIR|FILE.tar|-")]
    #[cfg_attr(feature = "git", arg(required_unless_present = "git", conflicts_with = "git"))]
    #[cfg_attr(not(feature = "git"), arg(required = true))]
    directory: Option<PathBuf>,

    /// Push a commit of the git repository at REPO, bare or with a working tree
    #[cfg(feature = "git")]
    #[arg(long, value_name = "REPO", conflicts_with_all = ["exclude", "exclude_from"])]
    git: Option<PathBuf>,

    /// Commit to push: a branch, a tag, an id, … Default: HEAD
    #[cfg(feature = "git")]
    #[arg(long, value_name = "COMMIT", requires = "git")]
    commit: Option<String>,

    /// Push only this directory of the commit
    #[cfg(feature = "git")]
    #[arg(long, value_name = "DIR", requires = "git")]
    subdir: Option<PathBuf>,

    /// Also make a revision of each earlier commit that the ref does not have yet, following first
    /// parents only
    #[cfg(feature = "git")]
    #[arg(long, requires = "git", conflicts_with = "message")]
    history: bool,

    /// Also push a commit that is an ancestor of the one that the ref's revision was made from, to set
    /// the ref back
    #[cfg(feature = "git")]
    #[arg(long, requires = "git", conflicts_with = "history")]
    older: bool,

    /// Start after this commit
    #[cfg(feature = "git")]
    #[arg(long, value_name = "COMMIT", requires = "history")]
    since: Option<String>,

    /// Ref to update. Default: $FREESTONE_REF, then `ref` in the configuration, then main
    #[arg(long = "ref", value_name = "NAME")]
    ref_name: Option<String>,

    /// Do not update a ref
    #[arg(long, conflicts_with_all = ["ref_name", "expect", "retry"])]
    no_ref: bool,

    /// Parent of the new revision, if the ref does not exist yet
    #[arg(long, value_name = "REV")]
    parent: Option<OsString>,

    /// Push only if the ref names this revision now (none: if it does not exist). Otherwise fail
    /// with exit code 6
    #[arg(long, value_name = "REV|none")]
    expect: Option<OsString>,

    /// If another push changes the ref meanwhile, continue from its revision instead of failing
    #[arg(long)]
    retry: bool,

    /// Message of the revision
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,

    /// Label of the revision, such as git.commit=4f2a…; may be repeated
    #[arg(short, long = "label", value_name = "K=V", value_parser = label)]
    labels: Vec<(String, String)>,

    /// Leave out paths that match this pattern, written as in a .gitignore; may be repeated
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,

    /// Leave out paths that match a pattern in this file, one pattern per line
    #[arg(long, value_name = "FILE")]
    exclude_from: Vec<PathBuf>,

    /// Set the time of all entries: seconds since 1970, or a time such as 2026-05-04T12:00:00Z
    #[arg(long, value_name = "T", value_parser = time::argument)]
    mtime: Option<i64>,

    /// Skip devices, sockets, pipes, and links that do not lead to a file inside, instead of
    /// failing
    #[arg(long)]
    skip_special: bool,

    /// Report what would be pushed, and write nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// Labels that `push --git` sets, and on which later pushes depend.
const RESERVED_LABELS: [&str; 3] = ["git.subdir", "git.links", "git.skipped"];

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a label has the form KEY=VALUE".to_owned()),
    }
}

fn after_help() -> String {
    format!(
        "\
Examples:
  freestone push ./site
  freestone push ./site --ref live -m 'new front page' -l git.commit=$(git rev-parse HEAD)
  freestone push ./site --exclude '*.bak' --exclude /drafts -n
  docker export web | freestone push -
  freestone push --git . --commit v1.2 --subdir public
  freestone push --git /srv/site.git --history

The time of the revision is $SOURCE_DATE_EPOCH if that is set, otherwise the current time.

With --json: {{\"revision\", \"up_to_date\", \"made\" (number of revisions made), \"dry_run\", \"ref\" and
\"n\" (the new entry of the ref, or null), \"parents\", \"entries\", \"content_bytes\", \"new\", \"changed\",
\"gone\" (numbers of entries), \"files_hashed\", \"bytes_hashed\", \"bytes_stored\" (in a dry run: bytes
of contents that the store lacks), \"seconds\", \"skipped\": [{{\"path\", \"reason\"}}], \"skipped_count\",
{}}}

{}",
        transfer::JSON_TEXT,
        name::TEXT
    )
}

impl Push {
    /// Runs the command.
    ///
    /// # Errors
    /// The source cannot be read or holds what cannot be pushed, the ref was changed meanwhile, or the
    /// store cannot be written.
    pub fn run(&self, context: &Context) -> Result<Exit> {
        let begun = Instant::now();
        let store = context.store()?;
        let options = self.options(&store, context)?;
        let pushed = self.push(&store, &options, context)?;
        report::say(&pushed, &options, begun.elapsed(), context)?;
        Ok(Exit::Done)
    }

    fn push(&self, store: &Store, options: &PushOptions, context: &Context) -> Result<Pushed> {
        #[cfg(feature = "git")]
        if let Some(place) = &self.git {
            return self.push_commits(place, store, options, context);
        }
        let place = self.directory.as_deref().unwrap_or(Path::new(""));
        match archive::is_one(place) {
            true => self.push_archive(place, store, options, context),
            false => self.push_directory(place, store, options, context),
        }
    }

    fn push_directory(
        &self,
        place: &Path,
        store: &Store,
        options: &PushOptions,
        context: &Context,
    ) -> Result<Pushed> {
        let directory = PushedDirectory::new(place, self.walking(store, context)?)?;
        let source =
            Source { walk: &|| directory.walk(), opener: &directory, key: Some(directory.key()) };
        let outcome = context.watched("pushing", Unit::Things, None, |watch| {
            freestone_push::push(store, &source, options, watch)
        })?;
        let made = u64::from(!outcome.up_to_date);
        Ok(Pushed { outcome, made, left_out: directory.report() })
    }

    fn push_archive(
        &self,
        place: &Path,
        store: &Store,
        options: &PushOptions,
        context: &Context,
    ) -> Result<Pushed> {
        let walking = self.walking(store, context)?;
        let mut archive = archive::ArchiveSeries::open(place, walking, options)?;
        let pushed = context.watched("pushing", Unit::Things, None, |watch| {
            freestone_push::push_series(store, &mut archive, options, watch)
        })?;
        Ok(Pushed { outcome: pushed.last, made: pushed.made, left_out: archive.report() })
    }

    #[cfg(feature = "git")]
    fn push_commits(
        &self,
        place: &Path,
        store: &Store,
        options: &PushOptions,
        context: &Context,
    ) -> Result<Pushed> {
        let variables = freestone_git::Variables::new(|name| std::env::var_os(name));
        let repository = freestone_git::Repository::open_with(place, &variables)?;
        let selection = git::CommitSelection {
            commit: self.commit.as_deref().unwrap_or("HEAD"),
            subdir: self.subdir.as_deref(),
            history: self.history,
            since: self.since.as_deref(),
            skip_special: self.skip_special,
            older: self.older,
        };
        let mut commits = git::CommitSeries::new(&repository, &selection, options, context)?;
        let count = commits.counter();
        let pushed = context.watched_counters("pushing commits", count, |watch| {
            freestone_push::push_series(store, &mut commits, options, watch)
        })?;
        Ok(Pushed { outcome: pushed.last, made: pushed.made, left_out: commits.report() })
    }

    fn options(&self, store: &Store, context: &Context) -> Result<PushOptions> {
        let parent = match &self.parent {
            None => None,
            Some(name) => Some(store.resolve(&Name::parse_revision(name)?)?.id),
        };
        let mut labels = BTreeMap::new();
        for (key, value) in &self.labels {
            if RESERVED_LABELS.contains(&&**key) {
                let what = format!("label {key:?} is set by `push --git` and cannot be given");
                return Err(Error::new(ErrorKind::Usage, what));
            }
            if labels.insert(key.clone(), value.clone()).is_some_and(|before| before != *value) {
                let what = format!("label {key:?} is given twice, with different values");
                return Err(Error::new(ErrorKind::Usage, what));
            }
        }
        let workers = context.push_workers();
        Ok(PushOptions {
            ref_name: (!self.no_ref).then(|| context.ref_name(self.ref_name.as_deref())),
            parent,
            expect: refs::expectation(store, self.expect.as_ref())?,
            retry: self.retry,
            message: self.message.clone(),
            labels,
            time: context.time()?,
            mtime: self.mtime,
            dry_run: self.dry_run,
            #[cfg(feature = "git")]
            thorough: self.history,
            #[cfg(feature = "rocksdb")]
            working: if workers.is_some() { Some(freestone_working::open) } else { None },
            threads: workers.map_or(1, NonZeroUsize::get),
            ..PushOptions::default()
        })
    }

    fn walking(
        &self,
        store: &Store,
        context: &Context,
    ) -> Result<freestone_source::directory::DirectoryOptions> {
        let store_root = store.root().map(location::absolute).transpose()?;
        Ok(freestone_source::directory::DirectoryOptions {
            skip_special: self.skip_special,
            leave_out: store_root.into_iter().collect(),
            ..context.walking(&self.exclude_from, &self.exclude)?
        })
    }
}
