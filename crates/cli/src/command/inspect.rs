//! `freestone inspect`.

use crate::context::Context;
use crate::exit::Exit;
use crate::output::{JSON_SEE, JsonPath};
use crate::part::{Need, Part};
use crate::values::name::{self, Name};
use crate::values::size::{count, show};
use clap::Args;
use freestone_core::wire::to_usize;
use freestone_core::{Error, ErrorKind, Result};
use freestone_image::{
    self as image, CheckReport, Container, HEAD_BYTES, Identity, ImageName, ReadAt, identify,
};
use serde::Serialize;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};

/// Identify a file or device, and check that its readers will accept it
///
/// A tar archive is checked against the rules that MirageOS, GNU tar, bsdtar, busybox and Python
/// have in common, and a FAT file system against those that its readers have in common. An image
/// made by freestone must also be laid out exactly as freestone does it. Exit code 3 if a rule is
/// broken or the content differs, 1 if it is not an image at all.
#[derive(Args)]
#[command(after_long_help = after_help())]
pub struct Inspect {
    /// File or device to inspect
    #[arg(value_name = "FILE|DEVICE")]
    place: PathBuf,

    /// Compare it with the image of this revision, or of a directory in it, in the same format and
    /// with the same options
    #[arg(long, value_name = "REV[:PATH]")]
    against: Option<OsString>,
}

fn after_help() -> String {
    format!(
        "\
Examples:
  freestone inspect www.img
  freestone inspect /dev/vg/www --against main

With --json: {{\"kind\" (image, unfinished, archive, filesystem, blank or other), \"what\" (in words),
\"image\" (its name) or null, \"root\" or null, \"length\", \"files\", \"directories\", \"content_bytes\",
\"violation_count\", \"violations\": [{{\"rule\", \"offset\", \"path\", \"what\", \"why\"}}] (the first 100),
\"notes\": [what some readers cannot do with it, though it breaks no rule],
\"against\": {{\"revision\", \"root\", \"equal\", \"offset\" and \"path\" (of the first difference)}} or null}}
{JSON_SEE}

{}",
        name::TEXT
    )
}

/// The result as JSON. The help documents its keys.
#[derive(Serialize)]
struct Answer {
    kind: &'static str,
    what: String,
    image: Option<String>,
    root: Option<String>,
    length: u64,
    files: u64,
    directories: u64,
    content_bytes: u64,
    violation_count: u64,
    violations: Vec<JsonViolation>,
    notes: Vec<String>,
    against: Option<Comparison>,
}

#[derive(Serialize)]
struct JsonViolation {
    rule: &'static str,
    offset: u64,
    #[serde(flatten)]
    path: Option<JsonPath>,
    what: String,
    why: &'static str,
}

/// The result of the comparison.
#[derive(Serialize)]
struct Comparison {
    revision: String,
    root: String,
    equal: bool,
    offset: Option<u64>,
    #[serde(flatten)]
    path: Option<JsonPath>,
}

/// A file or device that is open.
struct OpenedFile<'a> {
    path: &'a Path,
    file: File,
    length: u64,
    container: Container,
}

impl<'a> OpenedFile<'a> {
    fn open(path: &'a Path) -> Result<Self> {
        let name = path.display();
        let wrong = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::not_found(format!("{name} does not exist")),
            _ => Error::io(format!("{name} cannot be opened"), error),
        };
        // Opening a pipe would wait for its other end.
        let kind = std::fs::metadata(path).map_err(wrong)?.file_type();
        let container = if kind.is_file() {
            Container::File
        } else if kind.is_block_device() {
            Container::Device
        } else {
            let what = format!("{name} is neither a regular file nor a block device");
            return Err(Error::new(ErrorKind::Usage, what).hint("give a file or a device"));
        };
        let mut file = File::open(path).map_err(wrong)?;
        let length = file.seek(SeekFrom::End(0)).map_err(wrong)?;
        Ok(Self { path, file, length, container })
    }

    fn identity(&self) -> Result<Identity> {
        let length = to_usize(self.length).min(HEAD_BYTES);
        let mut head = vec![0; length];
        self.read_at(0, &mut head)?;
        Ok(identify(&head))
    }

    /// Compares it with the image of `name`, in the format and with the options that its head
    /// names.
    fn compare(&self, identity: &Identity, name: &OsStr, context: &Context) -> Result<Comparison> {
        let Identity::Image(image) = identity else {
            let (place, what) = (self.path.display(), describe(identity).1);
            return Err(Error::refused(format!("{place}: {what}"))
                .hint("only a complete image made by freestone can be compared with a revision"));
        };
        let part = Part::find(&context.opened()?, &Name::parse(name)?)?;
        part.fetch(Need::Contents, context)?;
        let manifest = part.manifest(&context.interrupt)?;
        let root = manifest.id();
        let plan = image.format.plan(manifest)?;
        let image = freestone_sink::Image::new(&*plan, part.records());
        let compare = |control: freestone_sink::Control<'_>| {
            freestone_sink::compare(&image, self.path, &control)
        };
        let difference = context.watched_sink("comparing", plan.length(), compare)?;
        Ok(Comparison {
            revision: part.id.to_string(),
            root: root.to_string(),
            equal: difference.is_none(),
            offset: difference.map(|difference| difference.offset),
            path: None,
        })
    }
}

impl ReadAt for OpenedFile<'_> {
    fn length(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let cannot = format!("{}: cannot be read at byte {offset}", self.path.display());
        self.file.read_exact_at(out, offset).map_err(|error| Error::io(cannot, error))
    }
}

impl Inspect {
    /// Runs the command.
    ///
    /// # Errors
    /// The file cannot be read, or cannot be compared.
    pub fn run(&self, context: &Context) -> Result<Exit> {
        let opened = OpenedFile::open(&self.place)?;
        let identity = opened.identity()?;
        let (kind, what) = describe(&identity);
        let mut against = match &self.against {
            None => None,
            Some(name) => Some(opened.compare(&identity, name, context)?),
        };
        let report = image::check(&opened, opened.container, &identity, &mut |found| {
            if let Some(Comparison { offset: Some(offset), path: path @ None, .. }) = &mut against
                && found.bytes.contains(offset)
            {
                *path = Some(JsonPath::new(&found.path));
            }
            context.interrupt.check()
        })?;
        let is_known = report.is_some();
        let report = report.unwrap_or_default();
        let is_good = report.violations.count() == 0 && against.as_ref().is_none_or(|a| a.equal);
        if context.output.is_json() {
            context.output.json(&answer(
                kind,
                &what,
                &opened,
                name_of(&identity),
                &report,
                against,
            ))?;
        } else {
            say(&what, &opened, name_of(&identity), &report, against.as_ref(), context)?;
        }
        match kind {
            "unfinished" => Ok(Exit::Corrupt),
            _ if !is_known => Ok(Exit::Failed),
            _ if is_good => Ok(Exit::Done),
            _ => Ok(Exit::Corrupt),
        }
    }
}

/// Returns the name of an image that freestone made.
fn name_of(identity: &Identity) -> Option<&ImageName> {
    match identity {
        Identity::Image(name) => Some(name),
        _ => None,
    }
}

/// Returns its kind, for programs, and a description, for people.
fn describe(identity: &Identity) -> (&'static str, String) {
    match identity {
        Identity::Image(name) => ("image", format!("an image made by freestone: {name}")),
        Identity::Unfinished { becoming: Some(name), .. } => {
            ("unfinished", format!("an unfinished image, to become: {name}"))
        }
        Identity::Unfinished { text, .. } => ("unfinished", text.replace('\n', "; ")),
        Identity::Blank => ("blank", "blank (zeros)".to_owned()),
        Identity::Other(what @ "a tar archive") => ("archive", (*what).to_owned()),
        Identity::Other(what @ "a FAT file system") => ("filesystem", (*what).to_owned()),
        Identity::Other(what) => ("other", (*what).to_owned()),
    }
}

fn answer(
    kind: &'static str,
    what: &str,
    opened: &OpenedFile<'_>,
    name: Option<&ImageName>,
    report: &CheckReport,
    against: Option<Comparison>,
) -> Answer {
    let violation = |violation: &image::Violation| JsonViolation {
        rule: violation.rule,
        offset: violation.offset,
        path: violation.path.as_deref().map(JsonPath::new),
        what: violation.what.clone(),
        why: violation.why,
    };
    Answer {
        kind,
        what: what.to_owned(),
        image: name.map(ToString::to_string),
        root: name.map(|name| name.root.to_string()),
        length: opened.length,
        files: report.files,
        directories: report.directories,
        content_bytes: report.bytes,
        violation_count: report.violations.count(),
        violations: report.violations.kept().iter().map(violation).collect(),
        notes: report.notes.clone(),
        against,
    }
}

fn say(
    what: &str,
    opened: &OpenedFile<'_>,
    name: Option<&ImageName>,
    report: &CheckReport,
    against: Option<&Comparison>,
    context: &Context,
) -> Result<()> {
    let output = &context.output;
    output.line(format_args!("{}: {what}", opened.path.display()))?;
    let length = opened.length;
    output.line(format_args!("length   {length} ({})", show(length)))?;
    if report.files + report.directories > 0 || report.is_whole {
        let files = count(report.files, "file", "files");
        let directories = count(report.directories, "directory", "directories");
        let bytes = report.bytes;
        output.line(format_args!(
            "holds    {files}, {directories}, {bytes} bytes ({})",
            show(bytes)
        ))?;
        match report.violations.count() {
            0 => output.line("rules    kept")?,
            broken => {
                output.line(format_args!("rules    broken {}", count(broken, "time", "times")))?;
            }
        }
    }
    for violation in report.violations.kept() {
        output.line(format_args!("  {violation}"))?;
    }
    let more = report.violations.count() - report.violations.kept().len() as u64;
    if more > 0 {
        output.line(format_args!("  and {more} more"))?;
    }
    for note in &report.notes {
        output.line(format_args!("note     {note}"))?;
    }
    let Some(against) = against else { return Ok(()) };
    let revision = &against.revision;
    // With another root it is a different image, and the offset of the difference means nothing.
    let root = &against.root;
    if name.is_some_and(|name| name.root.to_string() != *root) {
        return output.line(format_args!(
            "against  {revision}: a different image; its root would be {root}"
        ));
    }
    match (against.offset, &against.path) {
        (None, _) => output.line(format_args!("against  {revision}: equal")),
        (Some(offset), Some(path)) => output
            .line(format_args!("against  {revision}: differs from byte {offset} on, in {path}")),
        (Some(offset), None) => {
            output.line(format_args!("against  {revision}: differs from byte {offset} on"))
        }
    }
}
