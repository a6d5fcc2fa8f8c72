//! Reporting the paths of a directory that were skipped.

use crate::output::{JsonPath, Output};
use crate::values::size::count;
use freestone_core::path;
use freestone_source::directory::SourceReport;
use serde::Serialize;

/// A path that was skipped, as JSON.
#[derive(Serialize)]
pub struct JsonSkipped {
    #[serde(flatten)]
    path: JsonPath,
    reason: String,
}

impl JsonSkipped {
    /// Converts all paths that `report` lists.
    pub fn all(report: &SourceReport) -> Vec<Self> {
        let skipped = report.refused.iter().map(|refusal| Self {
            path: JsonPath::new(&refusal.path),
            reason: refusal.reason.to_string(),
        });
        skipped.collect()
    }
}

/// Prints what was skipped and what of version control was left out; with `--verbose`, also what
/// was left out on request.
pub fn note(report: &SourceReport, output: &Output) {
    for refusal in &report.refused {
        let path = path::display(&refusal.path);
        output.note(format_args!("skipped {path}: {}", refusal.reason));
    }
    let more = report.refused_count - report.refused.len() as u64;
    if more > 0 {
        output.note(format_args!("skipped {more} more"));
    }
    if report.version_control_count > 0 {
        let paths = count(report.version_control_count, "path", "paths");
        output.note(format_args!("left out {paths} of version control"));
    }
    if let Some(attributes) = &report.export_attributes {
        output.note(format_args!(
            "{} marks paths with export-ignore, which are pushed all the same; to leave them out, use \
             `git archive COMMIT | freestone push -`",
            path::display(attributes)
        ));
    }
    for (left_out, why) in [
        (report.excluded_count, "excluded by patterns"),
        (report.left_out_count, "the store or the output itself"),
    ] {
        if left_out > 0 {
            let paths = count(left_out, "path", "paths");
            output.detail(format_args!("left out {paths}: {why}"));
        }
    }
}
