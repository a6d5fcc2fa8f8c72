//! Entries of a manifest, made of items. The time of an entry changes only when the entry does.

use freestone_core::item::{Content, Item, ItemKind};
use freestone_core::limits::{CONTENT_WHOLE_BYTES_MAX, MTIME_MAX};
use freestone_core::{Id, NodeSource, Result, path};
use freestone_format::record::RecordKind;
use freestone_manifest::{Entry, EntryKind, Search, Wanted};
use freestone_store::Index;

/// Returns the content of a file's entry; `None` for a directory.
pub(crate) fn content_of(entry: &Entry) -> Option<Content> {
    match entry.kind {
        EntryKind::File { size, sha1, content, .. } => Some(Content { size, sha1, id: content }),
        EntryKind::Directory => None,
    }
}

/// Returns the kind of the record that a content of `size` bytes is found by.
pub(crate) fn first_record(size: u64) -> RecordKind {
    match size {
        0..=CONTENT_WHOLE_BYTES_MAX => RecordKind::Chunk,
        _ => RecordKind::ContentRecord,
    }
}

/// Returns the entry of `item`, whose content is `content` if it is a file. `parent` is the entry
/// of the first parent at the same path. If nothing has changed, the entry is the parent's, with
/// the extensions of later versions. Otherwise its time is the revision's, or the parent's plus a
/// second if that is later and can be stored.
pub(crate) fn entry(
    item: Item,
    content: Option<Content>,
    parent: Option<&Entry>,
    revision_time: i64,
    fixed: Option<i64>,
) -> Entry {
    let (kind, link) = match (item.kind, content) {
        (ItemKind::File { executable, link, .. }, Some(content)) => {
            let Content { size, sha1, id } = content;
            (EntryKind::File { executable, size, sha1, content: id }, link)
        }
        _ => (EntryKind::Directory, None),
    };
    let entry = Entry { path: item.path, mtime: 0, kind, link, extensions: Vec::new() };
    timed(entry, parent, revision_time, fixed)
}

/// Checks that something new may have the content of `entry`.
///
/// # Errors
/// [`Refused`](freestone_core::ErrorKind::Refused) if it was taken down.
pub(crate) fn check(entry: &Entry, index: &Index) -> Result<()> {
    let content = content_of(entry).map_or(Ok(()), |content| index.check_content(&content.id));
    content.map_err(|error| error.context(path::display(&entry.path)))
}

/// Checks that something new may have all contents of the manifest `root`: also those that were taken
/// over from a parent without being looked at. Reads nothing if no content was taken down.
///
/// # Errors
/// As [`check`]; or a node cannot be read.
pub(crate) fn check_all<S: NodeSource>(nodes: &S, root: &Id, index: &Index) -> Result<()> {
    if !index.has_taken_down() {
        return Ok(());
    }
    let wanted = &mut Wanted {
        is_wanted: &mut |entry| check(entry, index).map(|()| false),
        node: None,
        each: &mut |_| Ok(()),
    };
    Search::default().manifest(nodes, root, wanted).map(|_| ())
}

/// Gives `entry` its time and extensions, if the first parent has `parent` at the same path.
pub(crate) fn timed(
    entry: Entry,
    parent: Option<&Entry>,
    revision_time: i64,
    fixed: Option<i64>,
) -> Entry {
    let clamp = |time: i64| time.clamp(0, MTIME_MAX);
    let mtime = match (fixed, parent) {
        (Some(time), _) => clamp(time),
        (None, Some(parent)) if parent.kind == entry.kind => parent.mtime,
        // One commit of a wrong clock must not give all later contents of a path one time.
        (None, Some(parent)) if parent.mtime >= MTIME_MAX => clamp(revision_time),
        (None, Some(parent)) => clamp(revision_time.max(parent.mtime.saturating_add(1))),
        (None, None) => clamp(revision_time),
    };
    let extensions = match parent {
        Some(parent) if parent.kind == entry.kind => parent.extensions.clone(),
        _ => Vec::new(),
    };
    Entry { mtime, extensions, ..entry }
}

#[cfg(test)]
mod tests {
    use super::*;
    use freestone_core::digest::{plain, sha1};
    use freestone_core::item::FileStamp;

    fn file(executable: bool) -> Item {
        let stamp = FileStamp { device: 0, inode: 0, size: 1, mtime_ns: 0, ctime_ns: 0 };
        let kind = ItemKind::File { executable, stamp, link: None };
        Item { path: b"a".to_vec(), mtime: 5, kind }
    }

    fn content(bytes: &[u8]) -> Option<Content> {
        Some(Content { size: bytes.len() as u64, sha1: sha1(bytes), id: plain(bytes) })
    }

    #[test]
    fn times_follow_the_content_and_not_the_clock() {
        let first = entry(file(false), content(b"x"), None, 100, None);
        assert_eq!(first.mtime, 100);
        let same = entry(file(false), content(b"x"), Some(&first), 200, None);
        assert_eq!(same, first);
        let changed = entry(file(false), content(b"y"), Some(&first), 200, None);
        assert_eq!(changed.mtime, 200);
        let skewed = entry(file(false), content(b"y"), Some(&first), 50, None);
        assert_eq!(skewed.mtime, 101);
        let executable = entry(file(true), content(b"x"), Some(&first), 200, None);
        assert_eq!(executable.mtime, 200);
        let directory = Item { kind: ItemKind::Directory, ..file(false) };
        let turned = entry(directory.clone(), None, Some(&first), 200, None);
        assert_eq!(turned.mtime, 200);
        assert_eq!(entry(directory, None, Some(&turned), 300, None), turned);
        assert_eq!(entry(file(false), content(b"x"), Some(&first), 1, Some(7)).mtime, 7);
        assert_eq!(entry(file(false), content(b"x"), None, -5, None).mtime, 0);
        let far = entry(file(false), content(b"x"), None, i64::MAX, None);
        assert_eq!(far.mtime, MTIME_MAX);
        let after = entry(file(false), content(b"y"), Some(&far), 300, None);
        assert_eq!(after.mtime, 300);
        assert_eq!(entry(file(false), content(b"z"), Some(&after), 200, None).mtime, 301);
    }

    #[test]
    fn what_later_versions_added_to_an_unchanged_entry_is_kept() {
        let mut parent = entry(file(false), content(b"x"), None, 100, None);
        parent.extensions = vec![2, 1, 7];
        assert_eq!(entry(file(false), content(b"x"), Some(&parent), 9, None), parent);
        assert!(entry(file(false), content(b"y"), Some(&parent), 9, None).extensions.is_empty());
    }
}
