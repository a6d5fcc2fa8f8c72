//! `freestone verify`.

use crate::exit::Exit;
use crate::output::text;
use crate::progress;
use crate::session::Session;
use crate::size::{count, show};
use crate::time;
use clap::Args;
use freestone_core::Result;
use freestone_store::verify::{Finding, VerifyOptions, VerifyReport};
use serde::Serialize;
use std::time::Instant;

/// Look for damage in the store
///
/// Checks that everything that is named is there and fits together: packs by their tables, index
/// segments, revisions down to every entry, refs. Changes nothing. Exit code 3 if anything is
/// damaged; each finding is a line.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  freestone verify
  freestone verify --data        what a scrub does, once a month

With --json: {\"findings\": [{\"object\", \"fault\"}], \"finding_count\", \"packs\", \"records\",
\"bytes_proven\", \"segments\", \"revisions\", \"entries\", \"refs\" (what was looked at), \"seconds\"}")]
pub struct Verify {
    /// Read every stored byte too, and prove it by its hash
    #[arg(long)]
    data: bool,
}

/// The answer as JSON; its keys stand in the help.
#[derive(Serialize)]
struct Answer {
    findings: Vec<JsonFinding>,
    finding_count: u64,
    packs: u64,
    records: u64,
    bytes_proven: u64,
    segments: u64,
    revisions: u64,
    entries: u64,
    refs: u64,
    seconds: f64,
}

#[derive(Serialize)]
struct JsonFinding {
    object: String,
    fault: String,
}

impl Verify {
    pub fn run(&self, session: &Session) -> Result<Exit> {
        let begun = Instant::now();
        let store = session.store()?;
        // It writes nothing, so it may end anywhere.
        session.interrupt.end_at_once();
        let mut findings: Vec<Finding> = Vec::new();
        let report = progress::during(&session.output, "verifying", || {
            store.verify(VerifyOptions { data: self.data }, &mut |finding| findings.push(finding))
        })?;
        if session.output.is_json() {
            session.output.json(&answer(findings, &report, begun))?;
        } else {
            say(&findings, &report, begun, session)?;
        }
        Ok(if report.findings == 0 { Exit::Done } else { Exit::Corrupt })
    }
}

fn answer(findings: Vec<Finding>, report: &VerifyReport, begun: Instant) -> Answer {
    let findings = findings.into_iter();
    let findings = findings.map(|Finding { object, fault }| JsonFinding { object, fault });
    Answer {
        findings: findings.collect(),
        finding_count: report.findings,
        packs: report.packs,
        records: report.records,
        bytes_proven: report.bytes_proven,
        segments: report.segments,
        revisions: report.revisions,
        entries: report.entries,
        refs: report.refs,
        seconds: begun.elapsed().as_secs_f64(),
    }
}

fn say(
    findings: &[Finding],
    report: &VerifyReport,
    begun: Instant,
    session: &Session,
) -> Result<()> {
    let output = &session.output;
    for finding in findings {
        output.line(format_args!("{}: {}", text(&finding.object), text(&finding.fault)))?;
    }
    let result = match report.findings {
        0 => "no damage".to_owned(),
        damaged => count(damaged, "finding", "findings"),
    };
    output.note(format_args!(
        "{result} in {} with {}, {}, {} with {}, {}; {} proven, {}",
        count(report.packs, "pack", "packs"),
        count(report.records, "record", "records"),
        count(report.segments, "index segment", "index segments"),
        count(report.revisions, "revision", "revisions"),
        count(report.entries, "entry", "entries"),
        count(report.refs, "ref", "refs"),
        show(report.bytes_proven),
        time::show_duration(begun.elapsed()),
    ));
    if report.findings > 0 {
        output.note("what is damaged in the index alone, `freestone store reindex` makes anew");
    }
    Ok(())
}
