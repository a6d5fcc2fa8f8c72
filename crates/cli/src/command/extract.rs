//! `freestone extract`.

mod place;

use crate::exit::Exit;
use crate::name::{self, Name};
use crate::order;
use crate::output;
use crate::part::{Bring, Part};
use crate::progress::{Progress, Unit};
use crate::session::Session;
use crate::size::{count, show};
use crate::time;
use clap::Args;
use freestone_core::{ChunkSource, Error, ExtentSource, Result, path};
use freestone_manifest::{Entry, EntryKind, content};
use freestone_store::Records;
use place::{Place, Target};
use serde::Serialize;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

/// Write the files of a revision, or of a directory of it, into a new directory
///
/// A directory that does not exist yet appears when all is there, and not at all if anything
/// fails. An empty one is filled, and emptied again if anything fails. Links that became files
/// when they were pushed stay files. Owners are whoever runs this; modes heed the umask.
#[derive(Args)]
#[command(after_long_help = after_help())]
pub struct Extract {
    /// The revision, or a directory of it
    #[arg(value_name = "REV[:PATH]")]
    name: OsString,

    /// The directory; empty or new
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

fn after_help() -> String {
    format!(
        "\
Examples:
  freestone extract main ./site
  freestone extract main~5:docs /tmp/docs

With --json: {{\"revision\", \"output\", \"files\", \"directories\", \"content_bytes\"}}

{}",
        name::TEXT
    )
}

/// The answer as JSON; its keys stand in the help.
#[derive(Serialize)]
struct Answer {
    revision: String,
    output: String,
    files: u64,
    directories: u64,
    content_bytes: u64,
}

/// What was written so far.
#[derive(Default)]
struct Sums {
    files: AtomicU64,
    directories: AtomicU64,
    bytes: AtomicU64,
}

impl Extract {
    pub fn run(&self, session: &Session) -> Result<Exit> {
        let begun = Instant::now();
        let name = Name::parse(&self.name)?;
        let part = Part::find(&session.store()?, &name)?;
        part.directory()?;
        part.bring(Bring::Contents, session)?;
        let target = Target::prepare(&self.directory)?;
        let sums = Sums::default();
        fill(&part, target.place(), &sums, session)?;
        target.finish()?;
        let (files, directories, bytes) =
            (sums.files.into_inner(), sums.directories.into_inner(), sums.bytes.into_inner());
        if session.output.is_json() {
            let (revision, output) = (part.id.to_string(), output::place(&self.directory));
            let answer = Answer { revision, output, files, directories, content_bytes: bytes };
            session.output.json(&answer)?;
        } else {
            session.output.note(format_args!(
                "{}: {} and {}, {}, {}",
                self.directory.display(),
                count(files, "file", "files"),
                count(directories, "directory", "directories"),
                show(bytes),
                time::show_duration(begun.elapsed()),
            ));
        }
        Ok(Exit::Done)
    }
}

/// Writes what is below `part` to `place`.
fn fill(part: &Part, place: &Place, sums: &Sums, session: &Session) -> Result<()> {
    let total = part.entry.is_none().then_some(part.revision.bytes);
    let progress = session.progress("extracting", Unit::Bytes, total);
    let writing = Writing { place, records: part.records(), progress: &progress, session };
    let mut below = part.below()?;
    order::run(
        session.workers(),
        || {
            while let Some((entry, path)) = below.next()? {
                session.interrupt.check()?;
                if !entry.is_directory() {
                    return Ok(Some(Entry { path: path.to_vec(), ..entry.clone() }));
                }
                // Before what is in it is given to anybody.
                place.make_directory(path)?;
                sums.directories.fetch_add(1, Ordering::Relaxed);
            }
            Ok(None)
        },
        |file| writing.file(&file),
        |size| {
            sums.files.fetch_add(1, Ordering::Relaxed);
            sums.bytes.fetch_add(size, Ordering::Relaxed);
            Ok(())
        },
    )?;
    // Last, since making what is in a directory changes its time.
    let mut below = part.below()?;
    while let Some((entry, path)) = below.next()? {
        session.interrupt.check()?;
        if entry.is_directory() {
            place.set_directory_time(path, entry.mtime)?;
        }
    }
    Ok(())
}

/// What is needed to write any file.
struct Writing<'a> {
    place: &'a Place,
    records: &'a Records,
    progress: &'a Progress,
    session: &'a Session,
}

impl Writing<'_> {
    /// Writes a file; gives its size.
    fn file(&self, entry: &Entry) -> Result<u64> {
        let EntryKind::File { executable, size, sha1, content } = &entry.kind else { return Ok(0) };
        let file = self.place.make_file(&entry.path, *executable)?;
        let wrong =
            |error| Error::io(format!("{} cannot be written", path::display(&entry.path)), error);
        let mut buffer = Vec::new();
        content::pieces(self.records, content, *size, Some(sha1), 0..*size, &mut |piece| {
            self.session.interrupt.check()?;
            match &piece.source {
                ExtentSource::Chunk(id) => {
                    let chunk = self.records.chunk_in(id, piece.length, &mut buffer)?;
                    file.write_all_at(chunk, piece.offset).map_err(wrong)?;
                }
                ExtentSource::Inline(bytes) => {
                    file.write_all_at(bytes, piece.offset).map_err(wrong)?;
                }
                // A hole.
                ExtentSource::Zeros => {}
            }
            self.progress.add(piece.length);
            Ok(())
        })
        .map_err(|error| error.context(path::display(&entry.path)))?;
        finish(&file, *size, entry.mtime).map_err(wrong)?;
        Ok(*size)
    }
}

fn finish(file: &File, size: u64, mtime: i64) -> std::io::Result<()> {
    if file.metadata()?.len() != size {
        file.set_len(size)?;
    }
    let seconds = u64::try_from(mtime).unwrap_or(0);
    file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds))
}
