//! `freestone push`.

mod archive;
#[cfg(feature = "git")]
mod git;
mod report;
mod source;

use crate::command::refs;
use crate::exit::Exit;
use crate::name::{self, Name};
use crate::session::Session;
use crate::time;
use crate::transfer;
use clap::Args;
use freestone_core::{Error, ErrorKind, Result};
use freestone_store::push::{PushOptions, PushProgress, Source};
use source::Directory;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Push a directory, an archive or a commit as a revision, and make a ref name it
///
/// Prints the revision's id. Only what is new is stored; if nothing is, the ref's revision is
/// printed again. A path keeps its time while its content stays the same; what changed gets the
/// revision's. Links to files inside the directory become those files; other links, devices,
/// sockets and pipes are refused. Folders of version control are left out.
///
/// A tar archive (plain, gzip or zstd) is read once, in bounded memory, by the same rules. Of a
/// commit only what differs from the ref's revision is read, if that was made of a commit; it gets
/// the commit's message, time and author, and is found again as commit:HEX.
#[derive(Args)]
#[command(after_long_help = after_help())]
pub struct Push {
    /// The directory; or a tar archive, `-` being the standard input
    #[arg(value_name = "DIR|FILE.tar|-")]
    #[cfg_attr(feature = "git", arg(required_unless_present = "git", conflicts_with = "git"))]
    #[cfg_attr(not(feature = "git"), arg(required = true))]
    directory: Option<PathBuf>,

    /// Push a commit of this git repository, or of the one of this working directory
    #[cfg(feature = "git")]
    #[arg(long, value_name = "REPO", conflicts_with_all = ["exclude", "exclude_from"])]
    git: Option<PathBuf>,

    /// Which commit: a branch, a tag, an id, …; else HEAD
    #[cfg(feature = "git")]
    #[arg(long, value_name = "COMMIT", requires = "git")]
    commit: Option<String>,

    /// Only this directory of the commit
    #[cfg(feature = "git")]
    #[arg(long, value_name = "DIR", requires = "git")]
    subdir: Option<PathBuf>,

    /// Make a revision of every commit that led to it, first parents only, and that the ref does
    /// not have yet
    #[cfg(feature = "git")]
    #[arg(long, requires = "git", conflicts_with = "message")]
    history: bool,

    /// Begin behind this commit
    #[cfg(feature = "git")]
    #[arg(long, value_name = "COMMIT", requires = "history")]
    since: Option<String>,

    /// The ref that is to name the revision; else $FREESTONE_REF, the configuration, main
    #[arg(long = "ref", value_name = "NAME")]
    ref_name: Option<String>,

    /// Let no ref name the revision
    #[arg(long, conflicts_with_all = ["ref_name", "expect", "retry"])]
    no_ref: bool,

    /// The revision that this one comes from, where the ref names none yet
    #[arg(long, value_name = "REV")]
    parent: Option<OsString>,

    /// Push only if the ref names this revision now, or nothing; else exit code 6
    #[arg(long, value_name = "REV|none")]
    expect: Option<OsString>,

    /// If another push changes the ref meanwhile, go on from its revision
    #[arg(long)]
    retry: bool,

    /// What to say of the revision
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,

    /// Give the revision a label, such as git.commit=4f2a…; may be repeated
    #[arg(short, long = "label", value_name = "K=V", value_parser = label)]
    labels: Vec<(String, String)>,

    /// Leave out what this pattern matches, written as in a .gitignore; may be repeated
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,

    /// Leave out what the patterns in this file match, one a line
    #[arg(long, value_name = "FILE")]
    exclude_from: Vec<PathBuf>,

    /// Give all entries this time, in seconds since 1970 or like 2026-05-04T12:00:00Z
    #[arg(long, value_name = "T", value_parser = time::argument)]
    mtime: Option<i64>,

    /// Skip links that lead to no file inside, devices, sockets and pipes, instead of refusing
    #[arg(long)]
    skip_special: bool,

    /// Say what would be pushed, and write nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// Labels that say what is so of a revision made of a commit, and that later pushes lean on.
const RESERVED_LABELS: [&str; 3] = ["git.subdir", "git.links", "git.skipped"];

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a label is written KEY=VALUE".to_owned()),
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

$SOURCE_DATE_EPOCH is the revision's time if it is set; else it is now.

With --json: {{\"revision\", \"up_to_date\", \"made\" (how many revisions), \"dry_run\", \"ref\" and \"n\" (the ref's new entry, or null),
\"parents\", \"entries\", \"content_bytes\", \"new\", \"changed\", \"gone\" (entries), \"files_hashed\",
\"bytes_hashed\", \"bytes_stored\" (in a dry run, those of contents that the store does not have),
\"seconds\", \"skipped\": [{{\"path\", \"reason\"}}], \"skipped_count\",
{}}}

{}",
        transfer::JSON_TEXT,
        name::TEXT
    )
}

impl Push {
    pub fn run(&self, session: &Session) -> Result<Exit> {
        let begun = Instant::now();
        let store = session.store()?;
        let options = self.options(&store, session)?;
        #[cfg(feature = "git")]
        if let Some(place) = &self.git {
            return self.push_commits(place, &store, &options, session, begun);
        }
        let place = self.directory.as_deref().unwrap_or(Path::new(""));
        if archive::is_one(place) {
            return self.push_archive(place, &store, &options, session, begun);
        }
        let directory = Directory::new(place, self.walking(&store, session)?)?;
        let source =
            Source { walk: &|| directory.walk(), opener: &directory, key: Some(directory.key()) };
        let progress = PushProgress::default();
        let outcome =
            report::watch(&progress, session, || store.push(&source, &options, &progress))?;
        let made = u64::from(!outcome.up_to_date);
        report::say(&outcome, made, &options, &directory.report(), begun.elapsed(), session)?;
        Ok(Exit::Done)
    }

    fn push_archive(
        &self,
        place: &Path,
        store: &freestone_store::Store,
        options: &PushOptions,
        session: &Session,
        begun: Instant,
    ) -> Result<Exit> {
        let mut tar = archive::Tar::open(place, self.walking(store, session)?, options)?;
        let progress = PushProgress::default();
        let pushed =
            report::watch(&progress, session, || store.push_series(&mut tar, options, &progress))?;
        report::say(&pushed.last, pushed.made, options, &tar.report(), begun.elapsed(), session)?;
        Ok(Exit::Done)
    }

    #[cfg(feature = "git")]
    fn push_commits(
        &self,
        place: &Path,
        store: &freestone_store::Store,
        options: &PushOptions,
        session: &Session,
        begun: Instant,
    ) -> Result<Exit> {
        let repository = freestone_git::Repository::open(place)?;
        let wanted = git::Wanted {
            commit: self.commit.as_deref().unwrap_or("HEAD"),
            subdir: self.subdir.as_deref(),
            history: self.history,
            since: self.since.as_deref(),
            skip_special: self.skip_special,
        };
        let mut commits = git::Commits::new(&repository, &wanted, options, session)?;
        let progress = PushProgress::default();
        let counts = (commits.done.clone(), commits.total.clone());
        let pushed = git::watch(counts, &progress, session, || {
            store.push_series(&mut commits, options, &progress)
        })?;
        let report = commits.report();
        report::say(&pushed.last, pushed.made, options, &report, begun.elapsed(), session)?;
        Ok(Exit::Done)
    }

    fn options(&self, store: &freestone_store::Store, session: &Session) -> Result<PushOptions> {
        let parent = match &self.parent {
            None => None,
            Some(name) => Some(store.resolve(&Name::parse_revision(name)?)?.id),
        };
        let mut labels = BTreeMap::new();
        for (key, value) in &self.labels {
            if RESERVED_LABELS.contains(&&**key) {
                let what =
                    format!("label {key:?} says what `push --git` found, and cannot be given");
                return Err(Error::new(ErrorKind::Usage, what));
            }
            if labels.insert(key.clone(), value.clone()).is_some_and(|before| before != *value) {
                let what = format!("label {key:?} is given twice, and not alike");
                return Err(Error::new(ErrorKind::Usage, what));
            }
        }
        Ok(PushOptions {
            ref_name: (!self.no_ref).then(|| session.ref_name(self.ref_name.as_deref())),
            parent,
            expect: refs::expectation(store, self.expect.as_ref())?,
            retry: self.retry,
            message: self.message.clone(),
            labels,
            time: session.time()?,
            mtime: self.mtime,
            dry_run: self.dry_run,
            #[cfg(feature = "git")]
            thorough: self.history,
            threads: session.workers().get(),
            ..PushOptions::default()
        })
    }

    fn walking(
        &self,
        store: &freestone_store::Store,
        session: &Session,
    ) -> Result<freestone_source::directory::DirectoryOptions> {
        let store_root = store.root().map(source::absolute).transpose()?;
        Ok(freestone_source::directory::DirectoryOptions {
            skip_special: self.skip_special,
            leave_out: store_root.into_iter().collect(),
            ..session.walking(&self.exclude_from, &self.exclude)?
        })
    }
}
