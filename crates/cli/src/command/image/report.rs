//! The result of `image`: what was written, or would be.

use super::subject::ImageSubject;
use crate::context::Context;
use crate::following::{self, JsonFetch};
use crate::output;
use crate::output::skipped::{self, JsonSkipped};
use crate::transfer::Transfer;
use crate::values::size::{count, show};
use crate::values::time;
use freestone_core::Result;
use freestone_image::Format;
use freestone_sink::update::Updated;
use serde::Serialize;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

/// Prints the result.
pub(super) struct ImageReport<'a> {
    /// The file or device that the image was written to.
    pub(super) output: Option<&'a Path>,
    /// The format of the image.
    pub(super) format: Format,
}

/// The result as JSON. The help of `image` documents its keys.
#[derive(Serialize)]
struct Answer {
    image: String,
    format: &'static str,
    root: String,
    revision: Option<String>,
    length: u64,
    entries: u64,
    content_bytes: u64,
    output: Option<String>,
    #[serde(flatten)]
    written: Option<Written>,
    #[serde(flatten)]
    digests: Option<Digests>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fetch: Option<JsonFetch>,
    transfer: Transfer,
    notes: Vec<String>,
    skipped: Vec<JsonSkipped>,
    skipped_count: u64,
}

#[derive(Serialize)]
struct Written {
    written: u64,
    zeros: u64,
    shared: u64,
    read: u64,
    checked: u64,
    updated: bool,
    from: Option<String>,
}

#[derive(Serialize)]
struct Digests {
    blake3: String,
    sha256: String,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl ImageReport<'_> {
    fn answer(&self, subject: &ImageSubject) -> Answer {
        Answer {
            image: subject.plan.identity(),
            format: self.format.name(),
            root: subject.root.to_string(),
            revision: subject.revision.map(|id| id.to_string()),
            length: subject.plan.length(),
            entries: subject.entries,
            content_bytes: subject.bytes,
            output: self.output.map(output::place),
            written: None,
            digests: None,
            fetch: subject.preview.as_ref().map(JsonFetch::new),
            transfer: Transfer::default(),
            notes: subject.plan.notes(),
            skipped: JsonSkipped::all(&subject.report),
            skipped_count: subject.report.refused_count,
        }
    }

    /// Prints what would be written.
    pub(super) fn dry_run(&self, subject: &ImageSubject, context: &Context) -> Result<()> {
        let output = &context.output;
        if output.is_json() {
            return output.json(&self.answer(subject));
        }
        skipped::note(&subject.report, output);
        for note in subject.plan.notes() {
            output.note(format_args!("{note}"));
        }
        let length = subject.plan.length();
        output.line(format_args!("image    {}", subject.plan.identity()))?;
        output.line(format_args!("length   {length} ({})", show(length)))?;
        output.line(format_args!("entries  {}", subject.entries))?;
        output.line(format_args!("content  {} ({})", subject.bytes, show(subject.bytes)))?;
        if let Some(preview) = &subject.preview {
            output.line(format_args!("fetch    {}", following::sum(preview)))?;
        }
        if let Some(path) = self.output {
            output.line(format_args!("output   {}", path.display()))?;
        }
        Ok(())
    }

    /// Prints what was written.
    pub(super) fn done(
        &self,
        subject: &ImageSubject,
        updated: &Updated,
        is_stdout: bool,
        took: Duration,
        context: &Context,
    ) -> Result<()> {
        let output = &context.output;
        let report = &updated.report;
        let digests = report.digests.as_ref().map(|digests| Digests {
            blake3: digests.blake3.to_string(),
            sha256: hex(&digests.sha256),
        });
        if output.is_json() {
            let written = Written {
                written: report.written,
                zeros: report.zeros,
                shared: report.shared,
                read: report.read,
                checked: report.checked,
                updated: updated.in_place,
                from: updated.from.clone(),
            };
            let written = self.output.map(|_| written);
            let transfer = Transfer::of(context);
            return output.json(&Answer { written, digests, transfer, ..self.answer(subject) });
        }
        skipped::note(&subject.report, output);
        for note in subject.plan.notes() {
            output.note(format_args!("{note}"));
        }
        if let Some(digests) = digests {
            let lines = [
                format!("blake3  {}", digests.blake3),
                format!("sha256  {}", digests.sha256),
                format!("length  {}", report.length),
            ];
            for line in lines {
                // Standard output may be taken by the image.
                if is_stdout { output.aside(line) } else { output.line(line)? }
            }
        }
        if self.output.is_some() || is_stdout {
            let place = self.output.map_or_else(|| "-".into(), |path| path.display().to_string());
            let mut done = format!("wrote {}", show(report.written));
            if report.zeros > 0 {
                let _ = write!(done, ", skipped {} of zeros", show(report.zeros));
            }
            if report.shared > 0 {
                let _ = write!(done, ", shared {} with the store", show(report.shared));
            }
            if report.read > 0 {
                let _ = write!(done, ", read {} to compare", show(report.read));
            }
            let _ = write!(done, ", hashed {}", show(report.checked));
            if updated.up_to_date {
                done = "up to date".to_owned();
            }
            output.note(format_args!(
                "{place}: {} with {} and {} of content; {done}; {}",
                show(report.length),
                count(subject.entries, "entry", "entries"),
                show(subject.bytes),
                time::show_duration(took),
            ));
            Transfer::note(context);
        }
        Ok(())
    }
}
