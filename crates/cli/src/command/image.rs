//! `freestone image`: the image of a revision, of a part of one, or of a directory.

mod format;
mod options;
mod report;
mod subject;
mod target;

use crate::context::Context;
use crate::exit::{Exit, is_closed_output};
use crate::output::JSON_SEE;
use crate::transfer;
use crate::values::{name, size};
use clap::{ArgGroup, Args};
use format::FormatOptions;
use freestone_core::{Error, ErrorKind, Result};
use freestone_image::{Identity, identify};
use freestone_sink::update::Updated;
use freestone_sink::{self as sink, Report};
use options::DirectoryOptions;
use report::ImageReport;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;
use subject::{ImageSubject, RevisionOptions};

/// Write the block image of a revision, of a part of one, or of a directory
///
/// An image is a tar archive that MirageOS, GNU tar, bsdtar, busybox and Python read alike, padded
/// for block devices; or a FAT file system. It is a function of content, format and options alone:
/// the same bytes on every machine.
///
/// A file is written beside its target and renamed, so that whoever has the old image open keeps
/// it. A device is written in place, and says that it is unfinished meanwhile; so is a file with
/// --update. On file systems that can (xfs, btrfs), a file shares large content with the store.
#[derive(Args)]
#[command(
    group = ArgGroup::new("what to do").required(true).multiple(true).args(["output", "digest", "dry_run"]),
    after_long_help = after_help()
)]
pub struct Image {
    /// A revision or a part of one; or a directory, which begins with . or / and needs no store
    #[arg(value_name = "REV[:PATH]|DIR")]
    subject: OsString,

    /// Where it goes: a file, a device, or - for the standard output
    #[arg(short, long, value_name = "FILE|DEVICE|-")]
    output: Option<PathBuf>,

    #[command(flatten)]
    format: FormatOptions,

    /// Print the image's BLAKE3, SHA-256 and length; without -o nothing is written
    #[arg(long)]
    digest: bool,

    /// Write only what differs from what is there, in place; until it is done, the file or device
    /// says that it is unfinished
    #[arg(long, requires = "output")]
    update: bool,

    /// Hash all content, also what was proven before and is shared with the store
    #[arg(long)]
    prove: bool,

    /// Read back what was written, from the medium, and compare it with the image
    #[arg(long, requires = "output")]
    read_back: bool,

    /// Overwrite a file or device that holds something else than an image of freestone's
    #[arg(long, requires = "output")]
    force: bool,

    /// Say what would be written, and write nothing
    #[arg(short = 'n', long, conflicts_with_all = ["digest", "read_back"])]
    dry_run: bool,

    #[command(flatten)]
    directory: DirectoryOptions,
}

fn after_help() -> String {
    let examples = "\
Examples:
  freestone image main -o www.img              of the ref main
  freestone image main~1:docs -o /dev/vg/docs  of a part of the revision before, to a device
  freestone image main --update -o /dev/vg/www only what changed, on the device that has an older one
  freestone image ./site -o www.img            of a directory, without any store
  freestone image main --digest                what sha256sum would print of it
  freestone image main --format fat --free 1M -o www.img    a FAT file system, 1 MiB of it free
  freestone image main -o - | ssh host 'cat > www.img'

With --json: {\"image\" (its name), \"format\", \"root\", \"revision\" or null, \"length\", \"entries\",
\"content_bytes\", \"output\" or null; if something was written, \"written\", \"zeros\", \"shared\" (with
the store), \"read\" (to compare) and \"checked\" (hashed now), all bytes, \"updated\" (whether in place)
and \"from\" (the image that was there, if known) or null; \"blake3\" and \"sha256\" (with --digest),
\"fetch\": {\"bytes\", \"requests\"} (with -n, if the store follows an upstream),
\"skipped\": [{\"path\", \"reason\"}], \"skipped_count\",";
    let transfer = transfer::JSON_TEXT;
    format!("{examples}\n{transfer}}}\n{JSON_SEE}\n\n{}\n\n{}", name::TEXT, size::TEXT)
}

impl Image {
    pub fn run(&self, context: &Context) -> Result<Exit> {
        let begun = Instant::now();
        let is_stdout = self.output.as_deref() == Some(Path::new("-"));
        self.check(context, is_stdout)?;
        let format = self.format.format()?;
        let output = self.output.as_deref().filter(|_| !is_stdout);
        let overwrite = sink::Overwrite {
            force: self.force,
            is_ours: |head| {
                matches!(identify(head), Identity::Image(_) | Identity::Unfinished { .. })
            },
        };
        if let Some(path) = output {
            // Before a directory is read for nothing; its length is checked when it is known.
            sink::check(0, path, &overwrite)?;
        }
        let subject = if name::is_directory(&self.subject) {
            ImageSubject::directory(
                Path::new(&self.subject),
                &self.directory,
                output,
                format,
                context,
            )?
        } else {
            let wishes = RevisionOptions { dry_run: self.dry_run, prove_again: self.prove };
            ImageSubject::revision(&self.subject, format, wishes, context)?
        };
        let mut made = ImageReport { output: None, format };
        if self.dry_run {
            if let Some(path) = output {
                sink::check(subject.plan.length(), path, &overwrite)?;
                made.output = Some(path);
            }
            made.dry_run(&subject, context)?;
            return Ok(Exit::Done);
        }
        let report = match self.take(&subject, is_stdout, output, &overwrite, context) {
            // Whoever read it knows why; but an image that is not whole is none.
            Err(error) if is_closed_output(&error) => return Ok(Exit::Failed),
            report => report?,
        };
        if let Some(store) = &subject.store {
            store.save_proofs();
        }
        made.output = output;
        made.done(&subject, &report, is_stdout, begun.elapsed(), context)?;
        Ok(Exit::Done)
    }

    /// What makes no sense together.
    fn check(&self, context: &Context, is_stdout: bool) -> Result<()> {
        let usage = |what: &str| Err(Error::new(ErrorKind::Usage, what));
        if self.directory.is_given() && !name::is_directory(&self.subject) {
            return Err(Error::new(
                ErrorKind::Usage,
                "--mtime, --exclude, --exclude-from and --skip-special are for the image of a \
                 directory, not of a revision",
            )
            .hint("a directory begins with . or /, as in ./site"));
        }
        if is_stdout && !self.dry_run {
            if context.output.is_json() {
                return usage("the image and JSON cannot both go to the standard output");
            }
            if self.read_back {
                return usage("the standard output cannot be read back");
            }
            if self.update {
                return usage("the standard output cannot be updated");
            }
            if context.output.is_terminal() {
                return Err(Error::refused(
                    "the standard output is a terminal, no place for an image",
                )
                .hint("name a file with -o, or redirect the output"));
            }
        }
        Ok(())
    }

    /// Takes the image whole.
    fn take(
        &self,
        subject: &ImageSubject,
        is_stdout: bool,
        output: Option<&Path>,
        overwrite: &sink::Overwrite,
        context: &Context,
    ) -> Result<Updated> {
        let image = sink::Image::new(&*subject.plan, &*subject.chunks);
        let length = subject.plan.length();
        let report = context.watched_sink("writing", length, |control| {
            let control = sink::Control { digest: self.digest, ..control };
            let Some(path) = output else {
                if is_stdout {
                    let mut stdout = sink::stream::stdout()?;
                    return sink::stream::write(
                        &image,
                        &mut stdout,
                        "the standard output",
                        &control,
                    )
                    .map(written);
                }
                return sink::digest(&image, &control).map(|(_, report)| written(report));
            };
            if self.update {
                let base_of = |head: &_| target::base(head, subject.store.as_ref());
                return sink::update::update(&image, path, overwrite, &base_of, &control);
            }
            // All content is hashed on its way to the digests.
            let raw = subject.raw.as_deref().filter(|_| !self.digest);
            let image = raw.map_or(image, |raw| image.sharing(raw));
            sink::write(&image, path, overwrite, &control).map(written)
        })?;
        if let Some(path) = output.filter(|_| self.read_back) {
            let compare = |control: sink::Control<'_>| sink::read_back(&image, path, &control);
            if let Some(difference) = context.watched_sink("reading back", length, compare)? {
                let offset = difference.offset;
                let what = format!("{}: differs from the image at byte {offset}", path.display());
                return Err(Error::corrupt(what)
                    .hint("the medium did not keep what was written to it; use another one"));
            }
        }
        Ok(report)
    }
}

/// What was written anew.
fn written(report: Report) -> Updated {
    Updated { report, ..Updated::default() }
}
