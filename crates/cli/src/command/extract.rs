//! `freestone extract`.

mod destination;

use crate::context::Context;
use crate::exit::Exit;
use crate::ordered;
use crate::output;
use crate::output::progress::Unit;
use crate::part::{Need, Part};
use crate::values::name::{self, Name};
use crate::values::size::{count, show};
use crate::values::time;
use clap::Args;
use destination::{Destination, OutputDirectory};
use freestone_core::{ChunkSource, Error, ExtentSource, Result, Watch, path};
use freestone_manifest::{Entry, EntryKind, content};
use freestone_store::Records;
use serde::Serialize;
use std::ffi::OsString;
use std::fs::File;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

/// Write the files of a revision, or of a directory in it, to a local directory
///
/// A new directory appears only when all files are written, and not at all if anything fails. An
/// empty directory is filled, and emptied again if anything fails. Links that were stored as files
/// when they were pushed stay files. Files belong to the user who runs this; the umask applies to
/// their modes.
#[derive(Args)]
#[command(after_long_help = after_help())]
pub struct Extract {
    /// Revision, or directory in it
    #[arg(value_name = "REV[:PATH]")]
    name: OsString,

    /// Directory to write to, empty or new
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

/// The result as JSON. The help documents its keys.
#[derive(Serialize)]
struct Answer {
    revision: String,
    output: String,
    files: u64,
    directories: u64,
    content_bytes: u64,
}

/// Counts of what was written so far.
#[derive(Default)]
struct Sums {
    files: AtomicU64,
    directories: AtomicU64,
    bytes: AtomicU64,
}

impl Extract {
    /// Runs the command.
    ///
    /// # Errors
    /// The revision does not exist or cannot be read, or the directory cannot be written.
    pub fn run(&self, context: &Context) -> Result<Exit> {
        let begun = Instant::now();
        let name = Name::parse(&self.name)?;
        let part = Part::find(&context.opened()?, &name)?;
        part.directory()?;
        part.fetch(Need::Contents, context)?;
        let target = Destination::prepare(&self.directory)?;
        let sums = Sums::default();
        fill(&part, target.place(), &sums, context)?;
        target.finish()?;
        let (files, directories, bytes) =
            (sums.files.into_inner(), sums.directories.into_inner(), sums.bytes.into_inner());
        if context.output.is_json() {
            let (revision, output) = (part.id.to_string(), output::place(&self.directory));
            let answer = Answer { revision, output, files, directories, content_bytes: bytes };
            context.output.json(&answer)?;
        } else {
            context.output.note(format_args!(
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

/// Writes the entries below `part` to `place`.
fn fill(part: &Part, place: &OutputDirectory, sums: &Sums, context: &Context) -> Result<()> {
    let total = part.entry.is_none().then_some(part.revision.bytes);
    context.watched("extracting", Unit::Bytes, total, |watch| {
        fill_watched(part, place, sums, context.workers(), watch)
    })
}

/// Does what [`fill`] does, reporting the bytes that were written to `watch`.
fn fill_watched(
    part: &Part,
    place: &OutputDirectory,
    sums: &Sums,
    workers: NonZeroUsize,
    watch: Watch<'_>,
) -> Result<()> {
    let files = FileWriter { place, records: part.records(), watch };
    let mut below = part.below()?;
    ordered::run(
        workers,
        || {
            while let Some((entry, path)) = below.next()? {
                watch.check()?;
                if !entry.is_directory() {
                    return Ok(Some(Entry { path: path.to_vec(), ..entry.clone() }));
                }
                // Created before any thread gets a file in it.
                place.make_directory(path)?;
                sums.directories.fetch_add(1, Ordering::Relaxed);
            }
            Ok(None)
        },
        |file| files.write(&file),
        |size| {
            sums.files.fetch_add(1, Ordering::Relaxed);
            sums.bytes.fetch_add(size, Ordering::Relaxed);
            Ok(())
        },
    )?;
    // Set at the end, because creating entries in a directory changes its time.
    let mut below = part.below()?;
    while let Some((entry, path)) = below.next()? {
        watch.check()?;
        if entry.is_directory() {
            place.set_directory_time(path, entry.mtime)?;
        }
    }
    Ok(())
}

/// Writes the files of a revision.
struct FileWriter<'a> {
    place: &'a OutputDirectory,
    records: &'a Records,
    watch: Watch<'a>,
}

impl FileWriter<'_> {
    /// Writes a file and returns its size.
    fn write(&self, entry: &Entry) -> Result<u64> {
        let EntryKind::File { executable, size, sha1, content } = &entry.kind else { return Ok(0) };
        let file = self.place.make_file(&entry.path, *executable)?;
        let wrong =
            |error| Error::io(format!("{} cannot be written", path::display(&entry.path)), error);
        let mut buffer = Vec::new();
        content::pieces(self.records, content, *size, Some(sha1), 0..*size, &mut |piece| {
            self.watch.check()?;
            match &piece.source {
                ExtentSource::Chunk(id) => {
                    let chunk = self.records.chunk_in(id, piece.length, &mut buffer)?;
                    file.write_all_at(chunk, piece.offset).map_err(wrong)?;
                }
                ExtentSource::Inline(bytes) => {
                    file.write_all_at(bytes, piece.offset).map_err(wrong)?;
                }
                // It becomes a hole.
                ExtentSource::Zeros => {}
            }
            self.watch.add(piece.length);
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
