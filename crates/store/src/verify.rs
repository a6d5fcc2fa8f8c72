//! Looking for damage: that all is there, that it leans on each other as it should, and, if
//! asked, that every stored byte is what its id says.

mod manifests;

use crate::format::record::{Codec, RecordKind, checksum};
use crate::format::ref_entry::RefAction;
use crate::packs::{self, read_table};
use crate::store::Store;
use freestone_core::digest::sha1_hasher;
use freestone_core::{Error, Id, Result, Sha1};
use std::collections::{HashMap, HashSet};

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

/// What the packs hold, as far as it is needed to check what leans on it. About 60 bytes a record.
#[derive(Default)]
pub(crate) struct Held {
    /// Records by kind and id: their plain length.
    pub(crate) records: HashMap<(RecordKind, Id), u64>,
    /// The SHA-1s of small contents, where data was read.
    pub(crate) sha1s: HashMap<Id, Sha1>,
}

struct Verifier<'a> {
    store: &'a Store,
    options: VerifyOptions,
    report: VerifyReport,
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
            held: Held::default(),
            damaged: HashSet::new(),
            each,
        };
        verifier.packs()?;
        let index_is_sound = verifier.segments()?;
        if index_is_sound {
            verifier.revisions()?;
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

    fn packs(&mut self) -> Result<()> {
        for listed in self.store.backend().list("packs")? {
            let Some(id) = packs::id_of_object(&listed.name) else { continue };
            self.report.packs += 1;
            if let Err(error) = self.pack(&id) {
                self.found(listed.name, describe(&error));
            }
        }
        Ok(())
    }

    fn pack(&mut self, id: &Id) -> Result<()> {
        let object = self.store.packs().open(id)?;
        let rows = read_table(&*object, id)?;
        let mut stored = Vec::new();
        for row in &rows {
            self.report.records += 1;
            self.held.records.insert((row.kind, row.id), row.plain);
            if !self.options.data {
                continue;
            }
            // Of any length that fits the pack; the table's decoder has checked that it does.
            stored.resize(usize::try_from(row.stored).unwrap_or(0), 0);
            object.read_at(row.offset, &mut stored)?;
            if checksum(&stored) != row.checksum {
                let word = row.kind.word();
                self.damaged.insert((row.kind, row.id));
                self.found(
                    packs::object_name(id),
                    format!("{word} {} at {} is damaged", row.id, row.offset),
                );
            } else if row.codec == Codec::Raw {
                self.prove(id, row.kind, &row.id, &stored);
            }
        }
        if !self.options.data {
            return Ok(());
        }
        let coded = rows.iter().filter(|row| row.codec != Codec::Raw);
        let mut plain = Vec::new();
        for row in coded {
            if self.damaged.contains(&(row.kind, row.id)) {
                continue;
            }
            match self.decode(row, &mut plain) {
                Ok(()) => self.prove(id, row.kind, &row.id, &plain),
                Err(error) => {
                    self.damaged.insert((row.kind, row.id));
                    let word = row.kind.word();
                    self.found(
                        packs::object_name(id),
                        format!("{word} {}: {}", row.id, describe(&error)),
                    );
                }
            }
        }
        Ok(())
    }

    fn decode(&self, row: &crate::format::pack::Row, plain: &mut Vec<u8>) -> Result<()> {
        // By the index, since a base may lie in another pack; a record of an unknown kind has no
        // id to be proven by, and its checksum was right.
        if matches!(row.kind, RecordKind::Other(_)) {
            return Ok(());
        }
        match self.store.records()?.read(row.kind, &row.id, plain)? {
            true => Ok(()),
            false => Err(Error::corrupt("it is in no index segment")),
        }
    }

    fn prove(&mut self, pack: &Id, kind: RecordKind, id: &Id, plain: &[u8]) {
        self.report.bytes_proven += plain.len() as u64;
        if kind.id_of(plain).is_some_and(|found| found != *id) {
            self.damaged.insert((kind, *id));
            self.found(
                packs::object_name(pack),
                format!("{} {id} is not what its id says", kind.word()),
            );
        }
        if kind == RecordKind::Chunk {
            let mut hasher = sha1_hasher();
            hasher.update(plain);
            self.held.sha1s.insert(*id, hasher.finish());
        }
    }

    fn segments(&mut self) -> Result<bool> {
        let index = match self.store.index() {
            Ok(index) => index,
            Err(error) => {
                self.found("index", describe(&error));
                return Ok(false);
            }
        };
        for live in index.segments().iter() {
            self.report.segments += 1;
            if let Err(error) = self.segment(&live.segment) {
                self.found(&live.name, describe(&error));
            }
        }
        Ok(true)
    }

    fn segment(&mut self, segment: &crate::format::segment::Segment) -> Result<()> {
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
            segment.row(at)?;
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
