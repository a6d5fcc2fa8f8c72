//! Looking for damage: that all is there, that it leans on each other as it should, and, if
//! asked, that every stored byte is what its id says.
//!
//! What is named is listed before what it leans on, so that a push that runs meanwhile is never
//! taken for damage: first the revisions, then the index, then the packs. A pack that no segment
//! lists belongs to a push that is running or was killed: its bytes are checked, but nothing
//! has to be there for it.

mod contents;
mod manifests;
mod packs;

use crate::format::record::RecordKind;
use crate::format::ref_entry::RefAction;
use crate::index::{Index, LiveSegment, Place};
use crate::store::Store;
use freestone_core::{Error, Id, Result, Sha1};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// How thoroughly to look.
#[derive(Clone, Copy, Debug, Default)]
pub struct VerifyOptions {
    /// Read and hash every stored byte too.
    pub data: bool,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The object: a pack, segment, revision, ref, or a path of a revision.
    pub object: String,
    /// What is wrong with it.
    pub fault: String,
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Packs.
    pub packs: u64,
    /// Records of their tables.
    pub records: u64,
    /// Stored bytes that were read and proven.
    pub bytes_proven: u64,
    /// Index segments.
    pub segments: u64,
    /// Revisions.
    pub revisions: u64,
    /// Manifest entries.
    pub entries: u64,
    /// Refs.
    pub refs: u64,
    /// What was found.
    pub findings: u64,
}

/// A record that a pack holds.
pub(crate) struct HeldRecord {
    pub(crate) plain: u64,
    /// Whether a segment says rightly where it is.
    pub(crate) listed: bool,
}

/// What the packs hold, as far as it is needed to check what leans on it. About 60 bytes a record.
#[derive(Default)]
pub(crate) struct Held {
    pub(crate) records: HashMap<(RecordKind, Id), HeldRecord>,
    /// The SHA-1s of small contents, where data was read.
    pub(crate) sha1s: HashMap<Id, Sha1>,
}

struct Verifier<'a> {
    store: &'a Store,
    options: VerifyOptions,
    report: VerifyReport,
    /// The index, if it can be opened.
    index: Option<Arc<Index>>,
    held: Held,
    /// Records that are held but cannot be read.
    damaged: HashSet<(RecordKind, Id)>,
    each: &'a mut dyn FnMut(Finding),
}

impl Store {
    /// Looks for damage and gives `each` what is found.
    ///
    /// # Errors
    /// Listing failed, so that nothing can be said. Damage is no error, but a finding.
    pub fn verify(
        &self,
        options: VerifyOptions,
        each: &mut dyn FnMut(Finding),
    ) -> Result<VerifyReport> {
        self.refresh();
        let mut verifier = Verifier {
            store: self,
            options,
            report: VerifyReport::default(),
            index: None,
            held: Held::default(),
            damaged: HashSet::new(),
            each,
        };
        let revisions = self.revision_ids()?;
        verifier.segments();
        verifier.packs()?;
        if verifier.index.is_some() {
            verifier.revisions(revisions)?;
        }
        verifier.refs()?;
        Ok(verifier.report)
    }
}

impl Verifier<'_> {
    fn found(&mut self, object: impl Into<String>, fault: impl Into<String>) {
        self.report.findings += 1;
        (self.each)(Finding { object: object.into(), fault: fault.into() });
    }

    fn segments(&mut self) {
        let index = match self.store.index() {
            Ok(index) => index,
            Err(error) => return self.found("index", describe(&error)),
        };
        for live in index.segments().iter() {
            self.report.segments += 1;
            if let Err(error) = self.segment(live) {
                self.found(&live.name, describe(&error));
            }
        }
        self.index = Some(index);
    }

    fn segment(&mut self, live: &Arc<LiveSegment>) -> Result<()> {
        let segment = &live.segment;
        segment.verify()?;
        for at in 0..segment.pack_count() {
            let pack = segment.pack(at)?;
            let object = self.store.packs().open(&pack.id)?;
            if pack.length != 0 && object.length() != pack.length {
                let length = object.length();
                return Err(Error::corrupt(format!(
                    "it says that pack {} is {} bytes long, but it is {length}",
                    pack.id, pack.length
                )));
            }
        }
        for at in 0..segment.record_count() {
            Place::of(live, at)?.base()?;
        }
        Ok(())
    }

    fn refs(&mut self) -> Result<()> {
        let names: Vec<String> = match self.store.refs().list_all() {
            Ok(entries) => entries.into_iter().map(|entry| entry.name).collect(),
            Err(error) => {
                self.found("refs", describe(&error));
                return Ok(());
            }
        };
        for name in names {
            self.report.refs += 1;
            let log = match self.store.refs().log(&name) {
                Ok(log) => log,
                Err(error) => {
                    self.found(format!("ref {name}"), describe(&error));
                    continue;
                }
            };
            for (next, before) in log.iter().zip(&log[1.min(log.len())..]) {
                if next.n != before.n + 1 {
                    self.found(
                        format!("ref {name}"),
                        format!("of the entries before {} some are missing", next.n),
                    );
                }
            }
            for entry in log {
                if let RefAction::Set(id) = entry.action
                    && !matches!(self.store.revision(&id), Ok(Some(_)))
                {
                    self.found(
                        format!("ref {name}"),
                        format!("entry {} names revision {id}, which is missing", entry.n),
                    );
                }
            }
        }
        Ok(())
    }
}

/// An error with its causes, in one line.
fn describe(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
