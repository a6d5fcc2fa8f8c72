//! A long history that was pushed in one go is as small as it gets already: a compaction keeps it
//! so, and a reindexing does not write what the packs have.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use freestone_core::item::{ChangeKind, ChangeSource, FileBytes, ItemChange};
use freestone_core::{Error, Id, Result, Watch};
use freestone_format::revision::Revision;
use freestone_maintain::{self as maintain, CompactOptions};
use freestone_push::PushOptions;
use freestone_push::series::{Items, Series, Step, push_series};
use freestone_store::Store;
use freestone_testkit::{MemorySource, findings, noise};
use std::collections::BTreeMap;
use std::time::Duration;

/// Revisions of forty small files, each of which changes one of them.
struct History {
    files: MemorySource,
    next: u64,
    count: u64,
}

struct Changes(std::vec::IntoIter<ItemChange>);

impl ChangeSource for Changes {
    fn next(&mut self) -> Result<Option<ItemChange>> {
        Ok(self.0.next())
    }

    fn refuse(&mut self, _: &[u8], why: Error) -> Result<()> {
        Err(why)
    }

    fn finish(&mut self) -> Result<Vec<(String, String)>> {
        Ok(Vec::new())
    }
}

fn path(number: u64) -> String {
    format!("page-{number:02}.txt")
}

impl Series for History {
    fn begin(&mut self, _: Option<(&Id, &Revision)>) -> Result<()> {
        Ok(())
    }

    fn next(&mut self, _: Option<(&Id, &Revision)>) -> Result<Option<Step<'_>>> {
        if self.next == self.count {
            return Ok(None);
        }
        let number = self.next;
        self.next += 1;
        let changed = if number == 0 { 0..40 } else { number * 7 % 40..number * 7 % 40 + 1 };
        let change = |at: u64| {
            let digits: String =
                noise(9, number * 100 + at).iter().map(|b| format!("{b:02x}")).collect();
            let text = format!("revision {number} of page {at}\n{}\n{digits}\n", "x".repeat(100));
            self.files.set(path(at), text);
            let bytes = FileBytes::Named(path(at).into_bytes());
            let kind = ChangeKind::File { executable: false, link: None, bytes };
            ItemChange { path: path(at).into_bytes(), kind }
        };
        let changes: Vec<ItemChange> = changed.map(change).collect();
        let hex = freestone_core::digest::sha1(&number.to_le_bytes()).to_string();
        Ok(Some(Step {
            items: Items::Changes(Box::new(Changes(changes.into_iter()))),
            opener: &self.files,
            time: 1000 + i64::try_from(number).unwrap(),
            message: Some(format!("change {number}")),
            labels: BTreeMap::from([("git.commit".into(), hex)]),
        }))
    }
}

fn pushed(count: u64) -> (tempfile::TempDir, Store, Id) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::init(&folder.path().join("store")).unwrap();
    let mut history = History { files: MemorySource::default(), next: 0, count };
    let options = PushOptions { thorough: true, threads: 1, ..PushOptions::default() };
    let outcome = push_series(&store, &mut history, &options, Watch::default()).unwrap();
    assert_eq!(outcome.made, count);
    (folder, store, outcome.last.id)
}

#[test]
fn a_compaction_never_makes_a_store_larger() {
    // More than a batch: the packs are rewritten as one.
    let (_folder, store, last) = pushed(1500);
    let before = maintain::stored_bytes(&store).unwrap();
    let options = CompactOptions { all: true, grace: Duration::ZERO, ..CompactOptions::default() };
    maintain::compact(&store, &options, Watch::default()).unwrap();
    let after = maintain::stored_bytes(&store).unwrap();
    assert!(after <= before, "{before} bytes became {after}");
    assert_eq!(findings(&store).unwrap(), []);
    assert_eq!(store.revision_ids().unwrap().len(), 1500);
    assert!(store.revision(&last).unwrap().is_some());
}

#[test]
fn a_reindexing_writes_no_files_of_revisions_that_others_came_from() {
    let (_folder, store, last) = pushed(50);
    let files = |store: &Store| store.backend().list("revisions").unwrap();
    let before = files(&store);
    assert_eq!(before.len(), 1, "a batch has a file of its last revision");
    assert_eq!(maintain::reindex(&store, Watch::default()).unwrap().revisions, 0);
    assert_eq!(files(&store), before);
    store.backend().remove(&format!("revisions/{last}")).unwrap();
    assert_eq!(maintain::reindex(&store, Watch::default()).unwrap().revisions, 1);
    assert_eq!(files(&store), before);
    assert_eq!(store.revision_ids().unwrap().len(), 50);
}
