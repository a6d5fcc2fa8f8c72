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

/// Prints what was skipped and, with `--verbose`, what was left out.
pub fn note(report: &SourceReport, output: &Output) {
    for refusal in &report.refused {
        let path = path::display(&refusal.path);
        output.note(format_args!("skipped {path}: {}", refusal.reason));
    }
    let more = report.refused_count - report.refused.len() as u64;
    if more > 0 {
        output.note(format_args!("skipped {more} more"));
    }
    for (left_out, why) in [
        (report.version_control_count, "version control"),
        (report.excluded_count, "excluded by patterns"),
        (report.left_out_count, "the store or the output itself"),
    ] {
        if left_out > 0 {
            let paths = count(left_out, "path", "paths");
            output.detail(format_args!("left out {paths}: {why}"));
        }
    }
}
