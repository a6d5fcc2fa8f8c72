//! `freestone image`.

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
use freestone_sink::device::Fit;
use freestone_sink::update::Updated;
use freestone_sink::{self as sink, SinkReport};
use options::DirectoryOptions;
use report::ImageReport;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;
use subject::{ImageSubject, RevisionOptions};

/// Build the block image of a revision, of a directory in it, or of a local directory
///
/// An image is a tar archive that MirageOS, GNU tar, bsdtar, busybox and Python read alike, padded
/// for block devices; or a FAT file system. Its bytes depend only on the content, the format and
/// the options: they are the same on every machine.
///
/// A file is written under a temporary name and renamed when it is complete, so that programs that
/// have the old image open keep it. A device is written in place, and so is a file with --update:
/// until the image is complete, its first bytes mark it as unfinished. On file systems that support
/// it (xfs, btrfs), a file shares large contents with the store.
#[derive(Args)]
#[command(
    group = ArgGroup::new("what to do").required(true).multiple(true).args(["output", "digest", "dry_run"]),
    after_long_help = after_help()
)]
pub struct Image {
    /// Revision, or directory in a revision; or a local directory, which must begin with . or / and
    /// needs no store
    #[arg(value_name = "REV[:PATH]|DIR")]
    subject: OsString,

    /// File or device to write the image to, or - for standard output
    #[arg(short, long, value_name = "FILE|DEVICE|-")]
    output: Option<PathBuf>,

    #[command(flatten)]
    format: FormatOptions,

    /// Print the BLAKE3, the SHA-256 and the length of the image; without -o, write nothing
    #[arg(long)]
    digest: bool,

    /// Write only what differs from the image that is there, in place. Until this is done, the file
    /// or device is marked as unfinished
    #[arg(long, requires = "output")]
    update: bool,

    /// Hash all content, also what was hashed before and is shared with the store
    #[arg(long)]
    prove: bool,

    /// Read the written image back from the medium, and compare it
    #[arg(long, requires = "output")]
    read_back: bool,

    /// Overwrite a file or device that holds anything but an image made by freestone
    #[arg(long, requires = "output")]
    force: bool,

    /// Report what would be written, and write nothing
    #[arg(short = 'n', long, conflicts_with_all = ["digest", "read_back"])]
    dry_run: bool,

    #[command(flatten)]
    directory: DirectoryOptions,
}

fn after_help() -> String {
    let examples = "\
Examples:
  freestone image main -o www.img              the newest revision of the ref main
  freestone image main~1:docs -o /dev/vg/docs  a directory of the revision before, to a device
  freestone image main --update -o /dev/vg/www write only what changed since the image on the device
  freestone image ./site -o www.img            a local directory, without a store
  freestone image main --digest                the digest that sha256sum would print
  freestone image main --format fat --free 1M -o www.img    a FAT file system, 1 MiB of it free
  freestone image main -o - | ssh host 'cat > www.img'

With --json: {\"image\" (its name), \"format\", \"root\", \"revision\" or null, \"length\", \"entries\",
\"content_bytes\", \"output\" or null. If an image was written, in bytes: \"written\", \"zeros\", \"shared\"
(with the store), \"read\" (to compare), \"checked\" (hashed now); also \"updated\" (true if in place) and
\"from\" (the name of the previous image, or null). With --digest: \"blake3\", \"sha256\". With -n, if the
store follows an upstream: \"fetch\": {\"bytes\", \"requests\"}. Always: \"notes\": [what some readers
cannot do with it], \"skipped\": [{\"path\", \"reason\"}],
\"skipped_count\",";
    let transfer = transfer::JSON_TEXT;
    format!("{examples}\n{transfer}}}\n{JSON_SEE}\n\n{}\n\n{}", name::TEXT, size::TEXT)
}

impl Image {
    /// Runs the command.
    ///
    /// # Errors
    /// The subject cannot be read, the format cannot represent it, or the image cannot be written.
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
            // Checked before a directory is read in vain. The length is checked once it is known.
            let fit = Fit { length: 0, sector_bytes: format.sector_bytes() };
            sink::check(fit, path, &overwrite)?;
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
                sink::check(Fit::of(&*subject.plan), path, &overwrite)?;
                made.output = Some(path);
            }
            made.dry_run(&subject, context)?;
            return Ok(Exit::Done);
        }
        let report = match self.take(&subject, is_stdout, output, &overwrite, context) {
            // The reader knows that it stopped reading, but an incomplete image is a failure.
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

    /// Checks that the options can be used together.
    fn check(&self, context: &Context, is_stdout: bool) -> Result<()> {
        let usage = |what: &str| Err(Error::new(ErrorKind::Usage, what));
        if self.directory.is_given() && !name::is_directory(&self.subject) {
            return Err(Error::new(
                ErrorKind::Usage,
                "--mtime, --exclude, --exclude-from and --skip-special apply to the image of a local \
                 directory, not of a revision",
            )
            .hint("a local directory begins with . or /, as in ./site"));
        }
        if is_stdout && !self.dry_run {
            if context.output.is_json() {
                return usage(
                    "standard output cannot take both the image and the JSON; write the image to a file",
                );
            }
            if self.read_back {
                return usage("--read-back needs a file or device, not standard output");
            }
            if self.update {
                return usage("--update needs a file or device, not standard output");
            }
            if context.output.is_terminal() {
                return Err(Error::refused("a binary image is not written to a terminal")
                    .hint("give a file with -o, or redirect the output"));
            }
        }
        Ok(())
    }

    /// Writes the whole image, or only hashes it if there is no output.
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
                    return sink::stream::write(&image, &mut stdout, "standard output", &control)
                        .map(written);
                }
                return sink::digest(&image, &control).map(|(_, report)| written(report));
            };
            if self.update {
                let base_of = |head: &_| target::base(head, subject.store.as_ref());
                return sink::update::update(&image, path, overwrite, &base_of, &control);
            }
            // For digests all content must be read, so nothing can be shared.
            let raw = subject.raw.as_deref().filter(|_| !self.digest);
            let image = raw.map_or(image, |raw| image.sharing(raw));
            sink::write(&image, path, overwrite, &control).map(written)
        })?;
        if let Some(path) = output.filter(|_| self.read_back) {
            let compare = |control: sink::Control<'_>| sink::read_back(&image, path, &control);
            if let Some(difference) = context.watched_sink("reading back", length, compare)? {
                let offset = difference.offset;
                let what = format!(
                    "{}: what was read back differs from the image at byte {offset}",
                    path.display()
                );
                return Err(Error::corrupt(what)
                    .hint("the medium returned other bytes than were written to it; replace it"));
            }
        }
        Ok(report)
    }
}

/// Converts the report of an image that was written from the start, not updated.
fn written(report: SinkReport) -> Updated {
    Updated { report, ..Updated::default() }
}
