//! What `stat` says of a node, and for how long that holds.

use crate::nodes::Node;
use crate::place::Options;
use freestone_manifest::EntryKind;
use fuser::{FileAttr, FileType, INodeNo};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long the kernel need not ask again for what has an id in its path: it never changes.
const FOREVER: Duration = Duration::from_secs(24 * 3600);
/// How long it may take a ref that it knows for unmoved.
const BRIEFLY: Duration = Duration::from_secs(1);

/// The unit that a file's blocks are counted in.
const STAT_BLOCK_BYTES: u64 = 512;
/// What readers are told to read at a time.
const PREFERRED_BYTES: u32 = 128 << 10;

/// How long the attributes and the name of a node hold.
pub(crate) fn holds(node: &Node) -> Duration {
    match node {
        Node::Top | Node::Trees | Node::Link { .. } => BRIEFLY,
        Node::Image { .. } | Node::TreeTop { .. } | Node::Entry { .. } => FOREVER,
    }
}

/// What a node is.
pub(crate) fn kind(node: &Node) -> FileType {
    match node {
        Node::Top | Node::Trees | Node::TreeTop { .. } => FileType::Directory,
        Node::Link { .. } => FileType::Symlink,
        Node::Image { .. } => FileType::RegularFile,
        Node::Entry { entry, .. } if entry.is_directory() => FileType::Directory,
        Node::Entry { .. } => FileType::RegularFile,
    }
}

/// The attributes of node `number`. `target_bytes` is how long the text of a link is.
pub(crate) fn of(number: u64, node: &Node, target_bytes: u64, options: &Options) -> FileAttr {
    let (size, time) = match node {
        Node::Top | Node::Trees => (0, 0),
        Node::Link { .. } => (target_bytes, 0),
        Node::Image { length, time, .. } => (*length, *time),
        Node::TreeTop { time, .. } => (0, *time),
        Node::Entry { entry, .. } => (entry.size().unwrap_or(0), entry.mtime),
    };
    let kind = kind(node);
    let perm = match (kind, node) {
        (FileType::Directory, _) => options.directory_mode(),
        (FileType::Symlink, _) => 0o777,
        (_, Node::Entry { entry, .. })
            if matches!(entry.kind, EntryKind::File { executable: true, .. }) =>
        {
            options.mode | (options.mode & 0o444) >> 2
        }
        _ => options.mode,
    };
    let time = at(time);
    FileAttr {
        ino: INodeNo(number),
        size,
        blocks: size.div_ceil(STAT_BLOCK_BYTES),
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind,
        perm,
        nlink: if kind == FileType::Directory { 2 } else { 1 },
        uid: options.uid,
        gid: options.gid,
        rdev: 0,
        blksize: PREFERRED_BYTES,
        flags: 0,
    }
}

fn at(seconds: i64) -> SystemTime {
    let away = Duration::from_secs(seconds.unsigned_abs());
    let time =
        if seconds < 0 { UNIX_EPOCH.checked_sub(away) } else { UNIX_EPOCH.checked_add(away) };
    time.unwrap_or(UNIX_EPOCH)
}
