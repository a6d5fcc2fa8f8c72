//! Law 1: damage anywhere in a store never yields a wrong byte, and `verify --data` finds it.
//!
//! The store is small and has all there is: every kind of record and every codec, bases, content
//! trees, manifests of several nodes, labels, segments of several tiers, refs of several entries
//! and a deleted one. Every byte gets a bit flipped; every file is cut, emptied in part, appended
//! to, deleted, and swapped with another of its kind. Bytes of large raw records are sampled;
//! with `FREESTONE_LONG=1` every byte of the store is flipped.

#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use freestone_core::{Error, ErrorKind, Id, Result, Watch};
use freestone_format::pack::{self, Base};
use freestone_format::record::{Codec, RecordKind};
use freestone_format::{RefEntry, Revision};
use freestone_maintain as maintain;
use freestone_push::PushOptions;
use freestone_store::{Expect, Store};
use freestone_testkit::{
    Forge, Frozen, MemorySource, ReadBack, Reading, findings, noise, push_tree, text,
};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn is_long() -> bool {
    std::env::var_os("FREESTONE_LONG").is_some()
}

const COMMIT: &str = "0123456789abcdef0123";

/// Contents that differ by little, each fit to be the base of the next.
fn versions() -> [Vec<u8>; 4] {
    std::array::from_fn(|n| {
        let mut bytes = noise(1500, 77);
        bytes[100 * n] ^= 1;
        bytes[700] = u8::try_from(n).unwrap();
        bytes
    })
}

/// Packs with bases, and a record of a kind that only a later version knows.
fn write_bases(store: &Store) -> Result<()> {
    let [first, second, third, fourth] = versions();
    let mut forge = Forge::default();
    let at = forge.add(RecordKind::Chunk, Codec::Raw, &first)?;
    let at = forge.add_above(Base::Same(at), &first, &second)?;
    forge.add_above(Base::Same(at), &second, &third)?;
    forge.add(RecordKind::Other(200), Codec::Raw, b"what a later version knows")?;
    let pack = forge.write(&**store.backend())?;
    let base = forge.base(pack, 0);
    let mut other = Forge::default();
    other.add_above(base, &first, &fourth)?;
    other.write(&**store.backend())?;
    maintain::reindex(store, Watch::default())?;
    Ok(())
}

fn build(root: &Path) -> Result<()> {
    let store = Store::init(root)?;
    write_bases(&store)?;
    let mut tree = MemorySource::of([
        ("aligned", noise(66_000, 1)),
        ("raw", noise(400, 2)),
        ("text", text(700, 3)),
        ("zeros", vec![0; 5000]),
        ("large", [b"0123456789abcdef".repeat(1 << 16), vec![0; 1 << 17], text(900, 4)].concat()),
    ]);
    for (n, version) in versions().into_iter().enumerate() {
        tree.set(format!("versions/{n}"), version);
    }
    for n in 0..60 {
        tree.set(format!("pages/{n}"), format!("page {n}"));
    }
    tree.set("tool", "#!/bin/sh");
    tree.files.get_mut(&b"tool"[..]).unwrap().0 = true;
    let options = |time| PushOptions { time, threads: 1, ..PushOptions::default() };
    for n in 0..10u8 {
        tree.set("changes", [n; 20]);
        let mut options = options(1000 + i64::from(n));
        if n % 4 == 1 {
            options.labels.insert("git.commit".into(), format!("{COMMIT}{n:02}"));
            options.message = Some("with a label".into());
        }
        push_tree(&store, &tree, &options)?;
    }
    // Nothing new but a label: all that lists it is a segment of one row.
    let mut labelled = options(1500);
    labelled.labels.insert("git.commit".into(), format!("{COMMIT}ff"));
    push_tree(&store, &tree, &labelled)?;
    let other = PushOptions { ref_name: Some("sites/other".into()), ..options(2000) };
    push_tree(&store, &MemorySource::of([("only", "this")]), &other)?;
    let (first, second) = (store.resolve("main@1")?.id, store.resolve("main@2")?.id);
    store.refs().set("gone", first, Expect::Absent, 3000)?;
    store.refs().set("gone", second, Expect::Any, 3001)?;
    store.refs().delete("gone", Expect::Any, 3002)?;
    Ok(())
}

/// What the sound store says.
struct Truth {
    logs: BTreeMap<String, Vec<RefEntry>>,
    revisions: BTreeMap<Id, (Revision, ReadBack)>,
    commits: BTreeMap<String, Id>,
}

impl Truth {
    fn of(store: &Store) -> Self {
        let (mut logs, mut revisions) = (BTreeMap::new(), BTreeMap::new());
        let mut commits = BTreeMap::new();
        let mut reading = Reading::new(store);
        for newest in store.refs().list_all().unwrap() {
            let log = store.refs().log(&newest.name).unwrap();
            for id in log.iter().filter_map(RefEntry::revision) {
                let revision = store.revision(&id).unwrap().unwrap();
                if let Some(commit) = revision.labels.get("git.commit") {
                    commits.insert(commit.clone(), id);
                }
                let read = reading.manifest(&revision.root).unwrap();
                revisions.insert(id, (revision, read));
            }
            logs.insert(newest.name, log);
        }
        assert_eq!((logs.len(), revisions.len(), commits.len()), (3, 12, 4));
        Self { logs, revisions, commits }
    }

    /// Reads all revisions by all refs; says whether all was there, and gives the errors.
    fn check(&self, store: &Result<Store>) -> Vec<Error> {
        let mut errors = Vec::new();
        let store = match store {
            Ok(store) => store,
            // Without the file `format` the rest cannot be read.
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                return vec![Error::new(error.kind(), error.to_string())];
            }
        };
        let mut reading = Reading::new(store);
        for (name, truth) in &self.logs {
            note(store.refs().log(name), &mut errors, |log| {
                assert!(log.iter().all(|entry| truth.contains(entry)), "another log of {name}");
            });
            for entry in truth {
                let rev = format!("{name}@{}", entry.n);
                let Some(id) = entry.revision() else { continue };
                let Some(resolved) = note(store.resolve(&rev), &mut errors, |_| {}) else {
                    continue;
                };
                let (revision, read) = &self.revisions[&id];
                assert!(resolved.id == id && resolved.revision == *revision, "another {rev}");
                note(reading.manifest(&revision.root), &mut errors, |found| {
                    assert!(found == read, "other content of {rev}");
                });
            }
        }
        for error in &errors {
            let kind = error.kind();
            assert!(!error.is_newer(), "damage that is called newer: {error}");
            // A ref's entry that is not there cannot be told from one that never was.
            let fits = match kind {
                ErrorKind::Corrupt | ErrorKind::Refused => true,
                _ => kind == ErrorKind::NotFound && error.to_string().contains("has no entry"),
            };
            assert!(fits, "{kind:?}: {error}");
        }
        for (commit, id) in &self.commits {
            for listed in labels(store) {
                if let Ok(found) = store.resolve(&format!("commit:{listed}")) {
                    let said = found.revision.labels.get("git.commit");
                    let is_it = said.is_some_and(|said| said.starts_with(&listed));
                    assert!(is_it, "a revision that has not that label");
                }
            }
            match store.resolve(&format!("commit:{commit}")) {
                Ok(found) => assert_eq!(found.id, *id, "another revision of a commit"),
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound));
                }
            }
        }
        errors
    }
}

/// The commits that the index says there are.
fn labels(store: &Store) -> Vec<String> {
    let mut listed = Vec::new();
    for live in store.index().map(|index| index.segments()).iter().flat_map(|live| live.iter()) {
        for at in 0..live.segment.commit_count() {
            let (prefix, _) = live.segment.commit(at).unwrap();
            listed.push(prefix.iter().map(|byte| format!("{byte:02x}")).collect());
        }
    }
    listed
}

/// Looks at what was read, or keeps the error.
fn note<T>(outcome: Result<T>, errors: &mut Vec<Error>, look: impl Fn(&T)) -> Option<T> {
    match outcome {
        Ok(value) => {
            look(&value);
            Some(value)
        }
        Err(error) => {
            errors.push(error);
            None
        }
    }
}

/// What `verify --data` says, in one text; empty if nothing.
fn verified(store: &Result<Store>) -> String {
    let findings = match store {
        Ok(store) => findings(store),
        Err(error) => return error.to_string(),
    };
    match findings {
        Ok(findings) => {
            let line = |f: &freestone_maintain::Finding| format!("{}: {}\n", f.object, f.fault);
            findings.iter().map(line).collect()
        }
        Err(error) => error.to_string(),
    }
}

/// The part of a file's name that messages name it by.
fn word_for(name: &str) -> String {
    let parts: Vec<&str> = name.split('/').collect();
    match parts[..] {
        // "the file `format` of the store is damaged"
        ["format"] => "store".into(),
        ["refs", folder, _] => format!("ref {}", folder.replace("%2F", "/")),
        [.., file] => file.trim_end_matches(".pack").to_owned(),
        [] => String::new(),
    }
}

/// Whether an object is only for those who cannot list.
fn is_hint(name: &str) -> bool {
    name.ends_with("/latest")
}

/// Whether the object `other`, in the place of the hint `name`, tells of refs or entries that are
/// not there; or is not a hint at all, which is damage of the object that it was.
fn says_more(frozen: &Frozen, name: &str, other: &str) -> bool {
    if !is_hint(other) {
        return true;
    }
    let lines = freestone_format::hint::decode(&frozen.objects[other]).unwrap();
    let entries = |folder: &str| {
        let folder = format!("{folder}/");
        frozen.objects.keys().filter(|key| key.starts_with(&folder) && !is_hint(key)).count()
    };
    if !is_hint(name) {
        return true;
    }
    match name.rsplit_once('/') {
        Some(("refs", _)) => lines.iter().any(|line| entries(&format!("refs/{line}")) == 0),
        Some((folder, _)) if folder.starts_with("refs/") => {
            lines[0].parse().is_ok_and(|n: usize| n > entries(folder))
        }
        _ => false,
    }
}

/// The bytes of a file that nobody misses: gaps between records, the locator of a revision, hints.
fn idle(name: &str, bytes: &[u8]) -> Vec<Range<usize>> {
    if is_hint(name) {
        return std::iter::once(0..bytes.len()).collect();
    }
    let at = |n: u64| usize::try_from(n).unwrap();
    let mut idle = Vec::new();
    if name.starts_with("revisions/") {
        let length = u32::from_le_bytes(bytes[8..12].try_into().unwrap());
        idle.push(12 + at(length.into())..bytes.len());
    }
    if name.starts_with("packs/") {
        let trailer = bytes[bytes.len() - 16..].try_into().unwrap();
        let (start, length) = pack::table_place(bytes.len() as u64, trailer).unwrap();
        let rows = pack::decode_table(&bytes[at(start)..][..at(length)], start).unwrap();
        let mut end = 16;
        for row in rows {
            idle.push(end..at(row.offset));
            end = at(row.offset + row.stored);
        }
        idle.push(end..at(start));
        idle.retain(|gap| !gap.is_empty());
    }
    idle
}

fn is_idle(idle: &[Range<usize>], at: usize) -> bool {
    idle.iter().any(|range| range.contains(&at))
}

/// Names the damage when a check panics.
struct Naming<'a>(&'a str);

impl Drop for Naming<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("after damage: {}", self.0);
        }
    }
}

#[test]
fn the_store_has_all_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    build(&root).unwrap();
    let store = Store::open(&root).unwrap();
    let (mut kinds, mut codecs) = (BTreeSet::new(), BTreeSet::new());
    for (pack, _) in store.index().unwrap().packs().unwrap() {
        let object = store.backend().open(&freestone_testkit::pack_name(&pack)).unwrap().unwrap();
        for row in freestone_store::read_table(&*object, &pack).unwrap() {
            kinds.insert(row.kind.number());
            codecs.insert(row.codec.number());
        }
    }
    assert_eq!(kinds, [1, 2, 3, 4, 5, 200].into());
    assert_eq!(codecs, [0, 1, 2, 3].into());
    let tiers: BTreeSet<u8> =
        store.index().unwrap().segments().iter().map(|segment| segment.tier).collect();
    assert_eq!(tiers, [0, 1, 4].into());
    let main = store.resolve("main").unwrap();
    assert_eq!(store.tree(&main.revision.root).unwrap().levels(), 2);
    assert_eq!(verified(&Ok(store)), "");
}

#[test]
fn a_flipped_bit_is_found_and_never_yields_a_wrong_byte() {
    let folder = tempfile::tempdir().unwrap();
    build(&folder.path().join("store")).unwrap();
    let frozen = Frozen::of(&folder.path().join("store")).unwrap();
    let truth = Truth::of(&frozen.open().unwrap());
    let mut flips: Vec<(&str, usize, u8)> = Vec::new();
    for (name, bytes) in &frozen.objects {
        for at in 0..bytes.len() {
            let chance = noise(8, (at + bytes.len()) as u64);
            // What is large is the raw content of a chunk: one place in it is like another.
            let inside = name.starts_with("packs/") && (1 << 14..64_000).contains(&at);
            // Bytes that only a look at the revision can prove are all flipped.
            let of_labels = name.starts_with("index/") && at + 110 > bytes.len();
            let step = if inside {
                1024
            } else if of_labels {
                1
            } else {
                40
            };
            if is_long() || chance[1..3].iter().fold(0, |n, b| n << 8 | usize::from(*b)) % step == 0
            {
                flips.push((name, at, chance[0] % 8));
            }
        }
    }
    let next = AtomicUsize::new(0);
    let unnoticed: Vec<(&str, usize)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..std::thread::available_parallelism().map_or(2, usize::from))
            .map(|_| scope.spawn(|| flip_all(&frozen, &truth, &flips, &next)))
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    println!("{} bits flipped, {} unnoticed", flips.len(), unnoticed.len());
    // What goes unnoticed is exactly what nobody needs.
    for (name, at) in &unnoticed {
        assert!(is_idle(&idle(name, &frozen.objects[*name]), *at), "{name}: byte {at}");
    }
    for (name, at, _) in &flips {
        let is_gap =
            name.starts_with("packs/") && is_idle(&idle(name, &frozen.objects[*name]), *at);
        assert!(!is_gap || unnoticed.contains(&(name, *at)), "{name}: byte {at} is a gap's");
    }
    let of_packs = unnoticed.iter().filter(|(name, _)| name.starts_with("packs/")).count();
    assert!(of_packs > 0 && of_packs < unnoticed.len(), "gaps and locators are among it");
}

/// Flips what nobody has flipped yet; gives the places that `verify` does not find.
fn flip_all<'a>(
    frozen: &Frozen,
    truth: &Truth,
    flips: &[(&'a str, usize, u8)],
    next: &AtomicUsize,
) -> Vec<(&'a str, usize)> {
    let mut unnoticed = Vec::new();
    while let Some((name, at, bit)) = flips.get(next.fetch_add(1, Ordering::Relaxed)) {
        let damage = format!("bit {bit} of byte {at} of {name}");
        let _naming = Naming(&damage);
        let store = frozen.with_flip(name, *at, *bit).open();
        let errors = truth.check(&store);
        let said = verified(&store);
        if said.is_empty() {
            assert!(errors.is_empty(), "verify found nothing, but reading fails: {errors:?}");
            unnoticed.push((*name, *at));
        } else {
            assert!(said.contains(&word_for(name)), "{said}");
        }
    }
    unnoticed
}

/// What is done to a file.
#[derive(Clone, Debug)]
enum Damage {
    Cut(usize),
    Delete,
    Zero(Range<usize>),
    Append(Vec<u8>),
    Replace(String),
}

impl Damage {
    fn apply(&self, frozen: &Frozen, name: &str, root: &Path) -> Option<()> {
        let mut bytes = Vec::clone(&frozen.objects[name]);
        match self {
            Self::Cut(length) => bytes.truncate(*length),
            Self::Delete => {
                std::fs::remove_file(root.join(name)).unwrap();
                return Some(());
            }
            Self::Zero(range) => bytes[range.clone()].fill(0),
            Self::Append(garbage) => bytes.extend_from_slice(garbage),
            Self::Replace(other) => {
                write(root, other, &bytes);
                bytes.clone_from(&frozen.objects[other]);
            }
        }
        (bytes != *frozen.objects[name]).then(|| write(root, name, &bytes))
    }

    /// Whether nobody can notice it.
    fn is_silent(&self, frozen: &Frozen, name: &str) -> bool {
        if is_hint(name) {
            return !matches!(
                self,
                Self::Replace(other)
                    if says_more(frozen, name, other) || says_more(frozen, other, name)
            );
        }
        let idle = idle(name, &frozen.objects[name]);
        match self {
            Self::Zero(range) => {
                range.clone().all(|at| is_idle(&idle, at) || frozen.objects[name][at] == 0)
            }
            // The oldest entry of a ref: it may have been pruned. The file of a revision: its pack has it too.
            Self::Delete => {
                name.starts_with("revisions/") || {
                    let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
                    let of_ref = |other: &&String| {
                        other.starts_with(&format!("{folder}/")) && !is_hint(other)
                    };
                    let mut of_ref = frozen.objects.keys().filter(of_ref);
                    // Place 0 comes last; it says nothing once there is an entry.
                    let (place_0, oldest) = (of_ref.next_back(), of_ref.next_back());
                    name.starts_with("refs/")
                        && (place_0.is_none_or(|last| last == name)
                            || oldest.is_none_or(|oldest| oldest == name)
                                && of_ref.next().is_some())
                }
            }
            _ => false,
        }
    }
}

fn write(root: &Path, name: &str, bytes: &[u8]) {
    std::fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
    // Not in place: the file may be a link to that of another copy.
    let _ = std::fs::remove_file(root.join(name));
    std::fs::write(root.join(name), bytes).unwrap();
}

fn damages(frozen: &Frozen, name: &str) -> Vec<Damage> {
    let bytes = &frozen.objects[name];
    let length = bytes.len();
    let (starts, ends, zeros, swaps) = if is_long() {
        (
            &[0, 1, 8, 15, 16, 17, 95, 96][..],
            &[40, 33, 32, 31, 17, 16, 15, 2, 1][..],
            12,
            usize::MAX,
        )
    } else {
        (&[0, 17][..], &[33, 16, 1][..], 3, 3)
    };
    let mut cuts: BTreeSet<usize> = starts.iter().copied().chain([length / 2]).collect();
    cuts.extend(ends.iter().map(|less| length.saturating_sub(*less)));
    cuts.retain(|cut| *cut < length);
    let mut list: Vec<Damage> = cuts.into_iter().map(Damage::Cut).collect();
    list.extend([Damage::Delete, Damage::Append(vec![0]), Damage::Append(noise(100, 9))]);
    for part in 0..zeros {
        let start = (length.saturating_sub(512) * part / (zeros - 1)).min(length);
        list.push(Damage::Zero(start..(start + 512).min(length)));
    }
    let kind = |name: &str| name.split('/').next().map(str::to_owned);
    let others = frozen.objects.keys().filter(|other| kind(other) == kind(name));
    let others = others.filter(|other| other.as_str() > name).take(swaps);
    list.extend(others.cloned().map(Damage::Replace));
    list
}

#[test]
fn damaged_missing_and_swapped_files_are_found_and_never_yield_a_wrong_byte() {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    build(&folder.path().join("store")).unwrap();
    let frozen = Frozen::of(&folder.path().join("store")).unwrap();
    let truth = Truth::of(&frozen.open().unwrap());
    let root = folder.path().join("copy");
    let (mut tried, mut silent, mut mended) = (0, 0, 0);
    for name in frozen.objects.keys() {
        for damage in damages(&frozen, name) {
            let text = format!("{name}: {damage:?}");
            let _naming = Naming(&text);
            let _ = std::fs::remove_dir_all(&root);
            for (name, bytes) in &frozen.objects {
                write(&root, name, bytes);
            }
            if damage.apply(&frozen, name, &root).is_none() {
                continue;
            }
            tried += 1;
            let store = Store::open(&root);
            let errors = truth.check(&store);
            let said = verified(&store);
            assert_eq!(said.is_empty(), damage.is_silent(&frozen, name), "{said}");
            silent += usize::from(said.is_empty());
            let names = |object: &str| said.contains(&word_for(object));
            let named = names(name) || matches!(&damage, Damage::Replace(other) if names(other));
            // Of a segment that is gone, only what it listed can be named.
            let gone = matches!(damage, Damage::Delete) && name.starts_with("index/");
            assert!(said.is_empty() || named || gone, "{said}");
            let is_derived = name.starts_with("index/") || name.starts_with("revisions/");
            if let (true, Ok(store)) = (is_derived, &store) {
                let done = maintain::reindex(store, Watch::default());
                done.unwrap_or_else(|error| panic!("{error}"));
                mended += 1;
                let store = Store::open(&root);
                assert!(truth.check(&store).is_empty() && verified(&store).is_empty());
                truth.commits.keys().for_each(|commit| {
                    store.as_ref().unwrap().resolve(&format!("commit:{commit}")).unwrap();
                });
            } else if !errors.is_empty() && !name.starts_with("refs/") {
                let named = |e: &Error| e.to_string().contains(&word_for(name)) || names_record(e);
                assert!(errors.iter().all(named), "{errors:?}");
            }
        }
    }
    println!("{tried} damages, {silent} silent, {mended} mended by reindex");
    assert!(tried > 300);
}

/// Whether an error names a record, pack or revision by its id.
fn names_record(error: &Error) -> bool {
    error.to_string().split(|c: char| !c.is_ascii_hexdigit()).any(|word| word.len() == 64)
}

#[test]
fn damage_that_a_push_meets_is_refused_or_written_around() {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    build(&folder.path().join("store")).unwrap();
    let frozen = Frozen::of(&folder.path().join("store")).unwrap();
    let root = folder.path().join("copy");
    let tree = MemorySource::of([("a", text(700, 3)), ("b", noise(66_000, 1))]).explicit();
    let (mut pushed, mut refused) = (0, 0);
    for (round, (name, bytes)) in frozen.objects.iter().cycle().take(120).enumerate() {
        let at = usize::from(u16::from_le_bytes(noise(2, round as u64).try_into().unwrap()));
        let text = format!("byte {} of {name}", at % bytes.len());
        let _naming = Naming(&text);
        let _ = std::fs::remove_dir_all(&root);
        for (name, bytes) in &frozen.with_flip(name, at % bytes.len(), 3).objects {
            write(&root, name, bytes);
        }
        let options = PushOptions { ref_name: Some("new".into()), ..PushOptions::default() };
        let outcome = Store::open(&root).and_then(|store| push_tree(&store, &tree, &options));
        match outcome {
            Ok(made) => {
                pushed += 1;
                // What was damaged before is as damaged as it was, but nothing is wrong.
                let store = Store::open(&root).unwrap();
                match Reading::new(&store).revision(&made.id) {
                    Ok(read) => assert!(read == tree),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt),
                }
            }
            Err(error) => {
                refused += 1;
                assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Refused), "{error}");
            }
        }
    }
    assert!(pushed > 20 && refused > 5, "{pushed} {refused}");
}

#[test]
fn an_empty_directory_or_file_in_the_place_of_an_object_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    build(&folder.path().join("store")).unwrap();
    let frozen = Frozen::of(&folder.path().join("store")).unwrap();
    let truth = Truth::of(&frozen.open().unwrap());
    for kind in ["packs/", "index/", "revisions/", "refs/", "format"] {
        let mut damaged = frozen.clone();
        let of_kind = |(name, _): &(&String, &mut Arc<Vec<u8>>)| name.starts_with(kind);
        damaged.objects.iter_mut().filter(of_kind).for_each(|(_, bytes)| *bytes = Arc::default());
        let store = damaged.open();
        truth.check(&store);
        assert!(!verified(&store).is_empty(), "{kind}");
    }
}
