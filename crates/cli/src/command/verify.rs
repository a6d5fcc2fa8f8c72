//! `freestone verify`.

use crate::context::Context;
use crate::exit::Exit;
use crate::following;
use crate::output::progress::Unit;
use crate::values::size::{count, show};
use crate::values::time;
use clap::Args;
use freestone_core::{Error, ErrorKind, Result};
use freestone_maintain::{self as maintain, Finding, VerifyOptions, VerifyReport};
use serde::Serialize;
use std::time::Instant;

/// Check the store for damage
///
/// Checks that everything that is referenced exists and is consistent: packs by their tables, index
/// segments, revisions down to every entry, and refs. Nothing is changed. Each finding is printed
/// on a line; exit code 3 if anything is damaged. Data of a later version of freestone is listed
/// too, but is not damage: exit code 7 if there is nothing else. The same holds for what cannot be
/// read, since the disk fails or permissions are missing: exit code 4 if nothing is damaged.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  freestone verify
  freestone verify --data        for example once a month

With --json: {\"findings\": [{\"object\", \"fault\", \"newer\" (true: of a later version, not damage),
\"unreadable\" (true: not damage, but it could not be read)}], \"finding_count\" (damage),
\"newer_count\", \"unreadable_count\"; of what was checked: \"packs\", \"records\", \"bytes_proven\"
(hashed), \"segments\", \"revisions\", \"entries\", \"refs\"; \"collected\" (revisions that were not
checked: gc did not keep them, so they need not be whole); \"seconds\"}")]
pub struct Verify {
    /// Also read every stored byte and check its hash. What was checked can be shared with images
    /// without hashing it again
    #[arg(long)]
    data: bool,
}

/// The result as JSON. The help documents its keys.
#[derive(Serialize)]
struct Answer {
    findings: Vec<JsonFinding>,
    finding_count: u64,
    newer_count: u64,
    unreadable_count: u64,
    packs: u64,
    records: u64,
    bytes_proven: u64,
    segments: u64,
    revisions: u64,
    collected: u64,
    entries: u64,
    refs: u64,
    seconds: f64,
}

#[derive(Serialize)]
struct JsonFinding {
    object: String,
    fault: String,
    newer: bool,
    unreadable: bool,
}

impl Verify {
    /// Runs the command.
    ///
    /// # Errors
    /// The store cannot be opened, or has no damage, but data of a later version, or some that
    /// cannot be read.
    pub fn run(&self, context: &Context) -> Result<Exit> {
        let begun = Instant::now();
        let store = context.store()?;
        following::refuse_follower(&store)?;
        let mut findings: Vec<Finding> = Vec::new();
        let options = VerifyOptions { data: self.data };
        let report = context.watched("verifying", Unit::Things, None, |watch| {
            maintain::verify(&store, options, watch, &mut |finding| findings.push(finding))
        });
        let report = match report {
            Ok(report) => report,
            Err(error) => {
                // The findings so far are still worth knowing.
                list(&findings, context)?;
                return Err(error);
            }
        };
        if self.data {
            store.replace_proofs();
        }
        if context.output.is_json() {
            context.output.json(&answer(findings, &report, begun))?;
        } else {
            say(&findings, &report, begun, context)?;
        }
        match (report.findings, report.unreadable, report.newer) {
            (0, 0, 0) => Ok(Exit::Done),
            (0, unreadable @ 1.., _) => {
                let what = count(unreadable, "object", "objects");
                Err(Error::new(ErrorKind::Storage, format!("{what} could not be read"))
                    .hint("see what is wrong with the disk or the permissions, then verify again"))
            }
            (0, _, newer) => {
                let what = count(newer, "object is", "objects are");
                Err(Error::newer(format!("{what} of a later version, and could not be verified")))
            }
            _ => Ok(Exit::Corrupt),
        }
    }
}

fn answer(findings: Vec<Finding>, report: &VerifyReport, begun: Instant) -> Answer {
    let findings = findings.into_iter();
    let findings = findings.map(|Finding { object, fault, newer, unreadable }| JsonFinding {
        object,
        fault,
        newer,
        unreadable,
    });
    Answer {
        findings: findings.collect(),
        finding_count: report.findings,
        newer_count: report.newer,
        unreadable_count: report.unreadable,
        packs: report.packs,
        records: report.records,
        bytes_proven: report.bytes_proven,
        segments: report.segments,
        revisions: report.revisions,
        collected: report.collected,
        entries: report.entries,
        refs: report.refs,
        seconds: begun.elapsed().as_secs_f64(),
    }
}

/// Prints a line for each finding, except with `--json`: then they are part of the result.
fn list(findings: &[Finding], context: &Context) -> Result<()> {
    for finding in findings.iter().filter(|_| !context.output.is_json()) {
        let (object, fault) = (&finding.object, &finding.fault);
        let note = match finding {
            Finding { newer: true, .. } => " (not damage: use a newer freestone)",
            Finding { unreadable: true, .. } => " (not damage: it could not be read)",
            _ => "",
        };
        context.output.line(format_args!("{object}: {fault}{note}"))?;
    }
    Ok(())
}

fn say(
    findings: &[Finding],
    report: &VerifyReport,
    begun: Instant,
    context: &Context,
) -> Result<()> {
    let output = &context.output;
    list(findings, context)?;
    let result = match report.findings {
        0 if report.unreadable > 0 => "no damage as far as could be read".to_owned(),
        0 => "no damage".to_owned(),
        damaged => count(damaged, "finding", "findings"),
    };
    output.note(format_args!(
        "{result} in {} with {}, {}, {} with {}, {}; hashed {}, {}",
        count(report.packs, "pack", "packs"),
        count(report.records, "record", "records"),
        count(report.segments, "index segment", "index segments"),
        count(report.revisions, "revision", "revisions"),
        count(report.entries, "entry", "entries"),
        count(report.refs, "ref", "refs"),
        show(report.bytes_proven),
        time::show_duration(begun.elapsed()),
    ));
    if report.collected > 0 {
        output.note(format_args!(
            "not checked: {} that `freestone store gc` did not keep",
            count(report.collected, "revision", "revisions")
        ));
    }
    if report.findings > 0 {
        output.note("`freestone store reindex` repairs damage that is only in the index");
    }
    Ok(())
}
