//! Revisions that are forgotten, contents that are taken down, and what keeps what.

use super::beside::Copies;
use super::*;
use freestone_core::item::{ChangeKind, ChangeSource, FileBytes, ItemChange};
use freestone_core::limits::CONTENT_WHOLE_BYTES_MAX;
use freestone_core::{Error, digest};
use freestone_format::record::RecordKind;
use freestone_format::revision::Revision;
use freestone_maintain::{Asked, Holder};
use freestone_push::series::{Items, Series, Step, push_series};
use freestone_store::read_table;
use freestone_testkit::Recording;
use std::collections::HashSet;
use std::sync::atomic::AtomicUsize;

fn why(store: &Store, asked: Asked) -> Vec<Holder> {
    let mut holders = Vec::new();
    maintain::why(store, asked, 2, Watch::default(), &mut |holder| {
        holders.push(holder);
        Ok(())
    })
    .unwrap();
    holders
}

fn named(holder: &Holder) -> Vec<(&str, u64, u64, bool)> {
    holder.named_by.iter().map(|of| (&*of.name, of.first, of.last, of.is_newest)).collect()
}

#[test]
fn what_keeps_a_revision_a_content_a_chunk_and_a_node() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::init(folder.path()).unwrap();
    let trees = history(&store, 4);
    store.set_pin(&store.refs(), "hosts/web/www", trees[&2].0, 5000).unwrap();
    // The same revision again, in a row: one range.
    store.set_ref("main", trees[&4].0, Expect::Any, 5001).unwrap();
    let of = why(&store, Asked::Revision(trees[&2].0));
    assert_eq!(of.len(), 1);
    assert_eq!(named(&of[0]), [("hosts/web/www", 1, 1, true), ("main", 2, 2, false)]);
    let of = why(&store, Asked::Revision(trees[&4].0));
    assert_eq!(named(&of[0]), [("main", 4, 5, true)]);
    // A page that only revisions 1 and 2 have changed.
    let large = &trees[&2].1.files[&b"large/2"[..]].1;
    let of = why(&store, Asked::Sha1(digest::sha1(large)));
    assert_eq!(of.len(), 1);
    assert_eq!((of[0].revision, &of[0].paths), (trees[&2].0, &vec![b"large/2".to_vec()]));
    let page = &trees[&1].1.files[&b"pages/30"[..]].1;
    let of = why(&store, Asked::Record(digest::plain(page)));
    let newest_first: Vec<Id> = of.iter().map(|holder| holder.revision).collect();
    assert_eq!(newest_first, [4, 3, 2, 1].map(|n| trees[&n].0));
    // A chunk of the large content, and a node of its manifest.
    let mut found = HashSet::new();
    for listed in store.backend().list("packs").unwrap() {
        let id = pack::id_of_object(&listed.name).unwrap();
        let object = store.backend().open(&listed.name).unwrap().unwrap();
        for row in read_table(&*object, &id).unwrap() {
            let is_part = row.kind == RecordKind::Chunk && row.plain > 262_144;
            let is_node = matches!(row.kind, RecordKind::ManifestNode | RecordKind::ContentNode);
            if is_part || is_node {
                assert!(
                    !why(&store, Asked::Record(row.id)).is_empty(),
                    "{} {}",
                    row.kind.word(),
                    row.id
                );
                found.insert(row.kind);
            }
        }
    }
    assert_eq!(found.len(), 3);
    assert_eq!(why(&store, Asked::Sha1(digest::sha1(b"nowhere"))), []);
    assert_eq!(why(&store, Asked::Record(Id([3; 32]))), []);
}

#[test]
fn a_forgotten_revision_goes_with_the_next_collection_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::init(folder.path()).unwrap();
    let trees = history(&store, 4);
    // What is newest, or pinned, is not forgotten.
    store.set_pin(&store.refs(), "hosts/web/www", trees[&1].0, 5000).unwrap();
    for n in [1, 4] {
        let error = maintain::forget(&store, &trees[&n].0, false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    }
    maintain::forget(&store, &trees[&2].0, true).unwrap();
    let all = GcOptions { policy: now(), ..options(None) };
    maintain::gc(&store, &all, Watch::default()).unwrap();
    check(&store, trees.values());
    let named = maintain::forget(&store, &trees[&2].0, false).unwrap();
    assert_eq!(named.len(), 1);
    maintain::gc(&store, &all, Watch::default()).unwrap();
    check(&store, [1, 3, 4].map(|n| &trees[&n]).into_iter());
    let error = store.resolve("main@2").unwrap_err();
    assert!(error.to_string().contains("was forgotten"), "{error}");
    // Entries that are kept before it are looked at as before: one that is lost is found.
    store.refs().delete("hosts/web/www", Expect::Any, 6000).unwrap();
    check(&store, [1, 3, 4].map(|n| &trees[&n]).into_iter());
    let packs = store.backend().list("packs").unwrap();
    let mut lost = 0;
    for listed in &packs {
        let bytes = store.backend().get(&listed.name, 1 << 30).unwrap().unwrap();
        store.backend().remove(&listed.name).unwrap();
        lost += usize::from(!findings(&Store::open(folder.path()).unwrap()).unwrap().is_empty());
        store.backend().create(&listed.name, &bytes).unwrap();
    }
    assert_eq!(lost, packs.len());
    // Pushed again as the newest entry, it is kept.
    let id = push_to(&store, "again", &trees[&2].1, 1002);
    maintain::gc(&store, &all, Watch::default()).unwrap();
    check(&store, [(id, trees[&2].1.clone())].iter());
}

/// Returns true if a pack has a record that is named `id`, listed or not.
fn is_in_a_pack(store: &Store, id: &Id) -> bool {
    store.backend().list("packs").unwrap().iter().any(|listed| {
        let pack = pack::id_of_object(&listed.name).unwrap();
        let object = store.backend().open(&listed.name).unwrap().unwrap();
        read_table(&*object, &pack).unwrap().iter().any(|row| row.id == *id)
    })
}

/// Returns true if a pack has these bytes as they are.
fn is_anywhere(store: &Store, part: &[u8]) -> bool {
    store.backend().list("packs").unwrap().iter().any(|listed| {
        let bytes = store.backend().get(&listed.name, 1 << 30).unwrap().unwrap();
        bytes.windows(part.len()).any(|window| window == part)
    })
}

#[test]
fn a_content_that_was_taken_down_is_nowhere_and_all_else_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::init(folder.path()).unwrap();
    let mut tree = MemorySource::default();
    (0..20).for_each(|n| tree.set(format!("pages/{n:02}"), text(3000, n)));
    let secret = noise(5000, 77);
    let large = noise(usize::try_from(CONTENT_WHOLE_BYTES_MAX).unwrap() * 3, 78);
    tree.set("secret", secret.clone());
    tree.set("large", large.clone());
    push_to(&store, "main", &tree, 1000);
    // The next version is stored as a difference to it.
    let mut next = secret.clone();
    next.extend_from_slice(b"and one line more");
    tree.set("secret", next.clone());
    tree.set("copy/of/it", secret.clone());
    let second = push_to(&store, "main", &tree, 1001);
    tree.files.remove(&b"copy/of/it"[..]);
    tree.set("secret", next);
    let third = push_to(&store, "main", &tree, 1002);
    assert!(is_anywhere(&store, &secret[100..200]) && is_anywhere(&store, &large[500..600]));
    for (bytes, holders) in [(&secret, 2), (&large, 3)] {
        let sha1 = digest::sha1(bytes);
        assert_eq!(why(&store, Asked::Sha1(sha1)).len(), holders);
        let done = maintain::take_down(&store, &sha1, 2000, Watch::default()).unwrap();
        assert!(done.packs.0 > 0);
        assert!(!is_in_a_pack(&store, &done.content));
        assert_eq!(findings(&store).unwrap(), []);
        // Again: there is nothing left to do.
        let again = maintain::take_down(&store, &sha1, 2000, Watch::default()).unwrap();
        assert_eq!(again.packs.0, 0);
    }
    assert!(!is_anywhere(&store, &large[500..600]));
    // The other paths can be read; the paths of the content say what happened.
    let manifest = store.manifest(&store.revision(&second).unwrap().unwrap()).unwrap();
    let records = store.records().unwrap();
    for (path, (_, bytes)) in &tree.files {
        let entry = manifest.get(path).unwrap().unwrap();
        let freestone_manifest::EntryKind::File { size, sha1, content, .. } = entry.kind else {
            panic!("a file")
        };
        let mut read = Vec::new();
        let outcome = records.read_content(&content, size, Some(&sha1), &mut |part| {
            read.extend_from_slice(part);
            Ok(())
        });
        if path == b"large" {
            let error = outcome.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
            assert!(error.to_string().contains("was taken down"), "{error}");
        } else {
            outcome.unwrap();
            assert!(read == **bytes, "{}", path.escape_ascii());
        }
    }
    // No push brings it back: neither what is new, nor what is unchanged.
    for path in ["large", "elsewhere"] {
        let mut tree = tree.clone();
        tree.files.remove(&b"large"[..]);
        tree.set(path, large.clone());
        let error = push_tree(&store, &tree, &PushOptions::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    }
    gc(&store, 9);
    assert!(!is_anywhere(&store, &large[500..600]));
    // Without it, pushes go on; a copy lacks it, too, and is no damage.
    tree.files.remove(&b"large"[..]);
    let fourth = push_to(&store, "main", &tree, 1003);
    check(&store, [(fourth, tree.clone().explicit())].iter());
    let target = Store::init(&folder.path().join("copy")).unwrap();
    let mut copier =
        Copier::new(&store, &target, CopyOptions::default(), Watch::default()).unwrap();
    copier.ref_entries("main", 3).unwrap();
    copier.ref_entries("main", 4).unwrap();
    copier.finish();
    assert_eq!(target.refs().entry("main", 3).unwrap().unwrap().revision(), Some(third));
    check(&target, [(fourth, tree.explicit())].iter());
}

#[test]
fn a_takedown_before_every_operation_of_a_push() {
    let secret = noise(30_000, 99);
    let copies = Copies::new(|store| {
        push_to(store, "other", &MemorySource::of([("secret", secret.clone())]), 8000);
    });
    let mut tree = copies.trees[&4].1.clone();
    tree.set("secret", secret.clone());
    let push = |store: &Store| {
        let options = PushOptions { time: 9000, threads: 1, ..PushOptions::default() };
        push_tree(store, &tree, &options).map(drop)
    };
    let (sha1, id) = (digest::sha1(&secret), digest::plain(&secret));
    let take_down = |store: &Store| {
        maintain::take_down(store, &sha1, 9000, Watch::default()).unwrap();
    };
    let refused = AtomicUsize::new(0);
    let operations = copies.each_beside(push, take_down, |store, outcome| {
        let is_taken = !store.backend().list("gc").unwrap().is_empty();
        match outcome {
            // Its ref was set before the content was taken down.
            Ok(()) => assert!(!is_taken || !is_in_a_pack(store, &id)),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
                refused.fetch_add(1, Ordering::Relaxed);
                // It may have left a pack that nothing names; the next one finds it.
                take_down(store);
                assert!(!is_in_a_pack(store, &id));
            }
        }
        assert_eq!(findings(store).unwrap(), []);
    });
    let refused = refused.load(Ordering::Relaxed);
    assert!(refused > 10 && operations > refused, "{refused} of {operations}");
}

/// The store for who does not know that it is a directory: a push compares digests there.
fn far(root: &Path) -> Store {
    Store::open_backend(Arc::new(Recording::new(Arc::new(Directory::new(root)))), None).unwrap()
}

/// A step that adds the file `more`, and says nothing of the others.
struct OneMore {
    files: MemorySource,
    is_given: bool,
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

impl Series for OneMore {
    fn begin(&mut self, _: Option<(&Id, &Revision)>) -> Result<()> {
        self.is_given = false;
        Ok(())
    }

    fn next(&mut self, _: Option<(&Id, &Revision)>) -> Result<Option<Step<'_>>> {
        if std::mem::replace(&mut self.is_given, true) {
            return Ok(None);
        }
        let bytes = FileBytes::Named(b"more".to_vec());
        let kind = ChangeKind::File { executable: false, link: None, bytes };
        let change = ItemChange { path: b"more".to_vec(), kind };
        Ok(Some(Step {
            items: Items::Changes(Box::new(Changes(vec![change].into_iter()))),
            opener: &self.files,
            time: 9000,
            message: None,
            labels: BTreeMap::new(),
        }))
    }
}

#[test]
fn no_way_of_pushing_takes_over_what_was_taken_down() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::init(folder.path()).unwrap();
    let secret = noise(30_000, 99);
    let mut tree = MemorySource::default();
    (0..40).for_each(|n| tree.set(format!("pages/{n:02}"), text(3000, n)));
    tree.set("secret", secret.clone());
    let first = push_to(&store, "main", &tree, 1000);
    maintain::take_down(&store, &digest::sha1(&secret), 2000, Watch::default()).unwrap();
    tree.set("more", "of it");
    let options = PushOptions { time: 9000, ..PushOptions::default() };
    let assert_refused = |outcome: Result<()>| {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        assert!(error.to_string().contains("secret"), "{error}");
        assert_eq!(store.refs().current("main").unwrap(), Some(first));
    };
    assert_refused(push_tree(&store, &tree, &options).map(drop));
    assert_refused(push_tree(&far(folder.path()), &tree, &options).map(drop));
    let files = MemorySource::of([("more", "of it")]);
    let mut series = OneMore { files, is_given: false };
    let pushed = push_series(&store, &mut series, &options, Watch::default());
    assert_refused(pushed.map(drop));
}

#[test]
fn the_policy_of_a_store_is_the_newest() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::init(folder.path()).unwrap();
    assert_eq!(store.policy().unwrap(), None);
    for last in [3, 2] {
        let others = Keep { last: Some(last), ..Keep::default() };
        store.set_policy(&Policy { others, ..now() }).unwrap();
    }
    let (n, policy) = store.policy().unwrap().unwrap();
    assert_eq!((n, policy.others.last), (2, Some(2)));
    let bad = Policy { patterns: vec![("a\nb".into(), Keep::default())], ..now() };
    assert_eq!(store.set_policy(&bad).unwrap_err().kind(), ErrorKind::Usage);
    // One that is damaged keeps collections from guessing, and can be replaced.
    let name = freestone_format::policy::object_name(2);
    std::fs::write(folder.path().join(&name), "freestone policy\n").unwrap();
    assert!(store.policy().unwrap_err().is_damage());
    assert_eq!(store.set_policy(&now()).unwrap(), 3);
}
