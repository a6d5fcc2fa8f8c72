//! Looking for damage: checks that everything is there on which something else depends, and, if
//! asked, that every stored byte is what its id says.
//!
//! What is named is listed before what it depends on, so that a push that runs meanwhile is never
//! taken for damage: first the revisions, then the index, then the packs. A pack that no segment
//! lists belongs to a push that is running or was killed: its bytes are checked, but nothing
//! has to be there for it.
//!
//! What is of a later version is reported too, but is not damage; and where there is any, what this
//! program does not find may be in it, and is not damage either. The same holds for what cannot be
//! read, since the disk fails or permissions are missing.

mod contents;
mod held;
mod manifests;
mod packs;

use crate::kept::kept;
use freestone_core::{Error, ErrorKind, Id, Result, Sha1, Watch};
use freestone_format::hint;
use freestone_format::ref_entry::{self, RefAction};
use freestone_format::ref_place::{RefPlace, key};
use freestone_store::fence::Collections;
use freestone_store::{CollectedRef, Index, LiveSegment, Place, Store, revisions};
use held::{Held, Keys};
use std::collections::{BTreeMap, BTreeSet, HashSet};
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
    /// Whether it is not damage, but of a later version, so that this program cannot tell.
    pub newer: bool,
    /// Whether it is not damage, but could not be read: the disk or the permissions are at fault.
    pub unreadable: bool,
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
    /// Revisions that a collection did not keep: they need not be whole, and were not checked.
    pub collected: u64,
    /// Manifest entries.
    pub entries: u64,
    /// Refs.
    pub refs: u64,
    /// What is damaged.
    pub findings: u64,
    /// What is of a later version, or may be in what is.
    pub newer: u64,
    /// What could not be read, or may be in what could not.
    pub unreadable: u64,
}

struct Verifier<'a> {
    store: &'a Store,
    options: VerifyOptions,
    report: VerifyReport,
    /// The index, if it can be opened.
    index: Option<Arc<Index>>,
    /// The revisions that have to be whole; `None` if all have to be.
    kept: Option<HashSet<Id>>,
    /// Contents that no revision needs to have any more.
    taken_down: BTreeMap<Id, Sha1>,
    /// Packs that segments name and that are not there, with the names of the segments.
    gone: Vec<(String, Error)>,
    held: Held,
    keys: Keys,
    /// Revisions that a live pack holds.
    revisions_held: Vec<Id>,
    watch: Watch<'a>,
    each: &'a mut dyn FnMut(Finding),
}

/// Looks for damage and gives `each` what is found. `watch` counts the records of packs and the
/// entries of manifests that were looked at.
///
/// # Errors
/// Listing failed, so that nothing can be said; there is no room for a temporary file; or `watch` was
/// cancelled. Damage is no error, but a finding.
pub fn verify(
    store: &Store,
    options: VerifyOptions,
    watch: Watch<'_>,
    each: &mut dyn FnMut(Finding),
) -> Result<VerifyReport> {
    store.refresh();
    let mut verifier = Verifier {
        store,
        options,
        report: VerifyReport::default(),
        index: None,
        kept: kept(store)?,
        taken_down: Collections::list(&**store.backend())?.taken_down,
        gone: Vec::new(),
        held: Held::default(),
        keys: Keys::default(),
        revisions_held: Vec::new(),
        watch,
        each,
    };
    let revisions = revisions::with_files(&**store.backend())?;
    let hinted = store.refs().hinted()?;
    verifier.segments();
    verifier.packs()?;
    if verifier.index.is_some() {
        verifier.revisions(revisions)?;
    }
    verifier.refs(&hinted)?;
    if verifier.report.findings > 0 {
        for (name, error) in std::mem::take(&mut verifier.gone) {
            verifier.found_error(name, &error);
        }
    }
    Ok(verifier.report)
}

impl Verifier<'_> {
    fn found(&mut self, object: impl Into<String>, fault: impl Into<String>) {
        self.report.findings += 1;
        let (newer, unreadable) = (false, false);
        (self.each)(Finding { object: object.into(), fault: fault.into(), newer, unreadable });
    }

    /// Reports what `error` says of `object`.
    fn found_error(&mut self, object: impl Into<String>, error: &Error) {
        let (object, fault, newer) = (object.into(), error.chain(), error.is_newer());
        if newer {
            self.report.newer += 1;
        } else if error.kind() == ErrorKind::Storage {
            self.report.unreadable += 1;
        } else {
            return self.found(object, fault);
        }
        (self.each)(Finding { object, fault, newer, unreadable: !newer });
    }

    /// Says that `what` is not there; or that this is not known, where something is of a later
    /// version or could not be read.
    fn missing(&self, what: &str) -> Error {
        match self.report {
            VerifyReport { newer: 0, unreadable: 0, .. } => Error::missing(what),
            VerifyReport { unreadable: 0, .. } => {
                Error::newer(format!("{what} that this program can read"))
            }
            _ => Error::new(ErrorKind::Storage, format!("{what} that could be read")),
        }
    }

    /// Returns true if `error` ends the verification, in place of being a finding.
    fn is_cancelled(&self) -> bool {
        self.watch.is_cancelled()
    }

    fn segments(&mut self) {
        let index = match self.store.index() {
            Ok(index) => index,
            Err(error) => return self.found_error("index", &error),
        };
        for live in index.segments().iter() {
            self.report.segments += 1;
            if let Err(error) = self.segment(live) {
                self.found_error(&live.name, &error);
            }
        }
        self.index = Some(index);
    }

    fn segment(&mut self, live: &Arc<LiveSegment>) -> Result<()> {
        let segment = &live.segment;
        segment.verify()?;
        for at in 0..segment.pack_count() {
            let pack = segment.pack(at)?;
            let object = match self.store.packs().open(&pack.id) {
                // A merge beside a collection may have listed what it removed. Whether anything that
                // is kept needs the pack is found later.
                Err(error) if error.is_damage() && self.kept.is_some() => {
                    self.gone.push((live.name.clone(), error));
                    continue;
                }
                object => object?,
            };
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

    /// Checks the refs. The hints that were `hinted` say how many places each has at least.
    fn refs(&mut self, hinted: &BTreeMap<String, u64>) -> Result<()> {
        let mut names: BTreeSet<String> = self.store.refs().names()?.into_iter().collect();
        names.extend(hinted.keys().cloned());
        for name in names {
            self.report.refs += 1;
            let mut places = Vec::new();
            let read = self.store.refs().each_place(&name, &mut |place| {
                places.push(place);
                Ok(true)
            });
            if let Err(error) = read {
                self.found_error(format!("ref {name}"), &error);
                continue;
            }
            let newest = places.first().map_or(0, |place| place.place);
            if let Some(hinted) = hinted.get(&name).filter(|hinted| **hinted > newest) {
                let key = key(*hinted);
                self.found(
                    format!("ref {name}"),
                    format!(
                        "its newest place is {newest}, but there was a place {hinted}: bring \
                         {0}/{key} back from a copy of the store, or set the ref again with \
                         `freestone ref set` (if {0}/{1} is wrong about that, `freestone store \
                         reindex` writes it again)",
                        ref_entry::folder(&name),
                        hint::NAME
                    ),
                );
            }
            // Place 0 may be followed by the place of a copy's first entry.
            let is_gap =
                |pair: &[RefPlace]| pair[0].place != pair[1].place + 1 && pair[1].entry.is_some();
            for pair in places.windows(2).filter(|pair| is_gap(pair)) {
                self.found(
                    format!("ref {name}"),
                    format!("of the places before {} some are missing", pair[0].place),
                );
            }
            let collected = self.store.refs().collected(&name).unwrap_or_else(|error| {
                self.found_error(format!("ref {name}"), &error);
                CollectedRef::default()
            });
            let entries = places.into_iter().filter(|place| place.barrier.is_none());
            let entries = entries.filter_map(|place| place.entry).enumerate();
            for (_, entry) in entries.filter(|(at, entry)| *at == 0 || !collected.may_lack(entry.n))
            {
                let RefAction::Set(id) = entry.action else { continue };
                // What was forgotten is kept only as the newest entry.
                if self.kept.as_ref().is_some_and(|kept| !kept.contains(&id)) {
                    continue;
                }
                let of = format!("entry {} names revision {id}, which is", entry.n);
                if let Some(error) = self.revision_fault(&id, &of) {
                    self.found_error(format!("ref {name}"), &error);
                }
            }
        }
        Ok(())
    }

    /// Returns why the revision `id` cannot be read; `of` says who needs it.
    fn revision_fault(&self, id: &Id, of: &str) -> Option<Error> {
        match self.store.revision(id) {
            Ok(Some(_)) => None,
            Err(error) if error.is_newer() => {
                Some(Error::newer(format!("{of} of a later version")))
            }
            Err(error) if error.kind() == ErrorKind::Storage => Some(error.context(of)),
            _ => Some(self.missing(&format!("{of} in no pack"))),
        }
    }
}
