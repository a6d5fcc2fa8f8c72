//! What of a directory was skipped, as it is told.

use crate::output::{JsonPath, Output};
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
    /// All that `report` lists.
    pub fn all(report: &SourceReport) -> Vec<Self> {
        let skipped = report.refused.iter().map(|refusal| Self {
            path: JsonPath::new(&refusal.path),
            reason: refusal.reason.to_string(),
        });
        skipped.collect()
    }
}

/// Tells people what was skipped and what was left out.
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
        (report.version_control_count, "of version control's"),
        (report.excluded_count, "that patterns match"),
        (report.left_out_count, "that is freestone's own"),
    ] {
        if left_out > 0 {
            output.detail(format_args!("left out {left_out} {why}"));
        }
    }
}
