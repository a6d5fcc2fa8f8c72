//! The attributes that `stat` returns for an inode, and how long the kernel may cache them.

use crate::inodes::Inode;
use crate::options::MountOptions;
use freestone_manifest::EntryKind;
use fuser::{FileAttr, FileType, INodeNo};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long the kernel may cache what has an id in its path: it never changes.
const FOREVER: Duration = Duration::from_secs(24 * 3600);
/// How long the kernel may cache what depends on a ref.
const BRIEFLY: Duration = Duration::from_secs(1);

/// The unit of `st_blocks`.
const STAT_BLOCK_BYTES: u64 = 512;
/// The value of `st_blksize`: how much a reader is to read at a time.
const PREFERRED_BYTES: u32 = 128 << 10;

/// Returns how long the kernel may cache the name and the attributes of an inode.
pub(crate) fn cache_time(inode: &Inode) -> Duration {
    match inode {
        Inode::Top | Inode::Trees | Inode::Link { .. } => BRIEFLY,
        Inode::Image { .. } | Inode::TreeTop { .. } | Inode::Entry { .. } => FOREVER,
    }
}

/// Returns the file type of an inode.
pub(crate) fn kind(inode: &Inode) -> FileType {
    match inode {
        Inode::Top | Inode::Trees | Inode::TreeTop { .. } => FileType::Directory,
        Inode::Link { .. } => FileType::Symlink,
        Inode::Image { .. } => FileType::RegularFile,
        Inode::Entry { entry, .. } if entry.is_directory() => FileType::Directory,
        Inode::Entry { .. } => FileType::RegularFile,
    }
}

/// Returns the attributes of inode `number`; `target_bytes` is the length of a link's target.
pub(crate) fn of(
    number: u64,
    inode: &Inode,
    target_bytes: u64,
    options: &MountOptions,
) -> FileAttr {
    let (size, time) = match inode {
        Inode::Top | Inode::Trees => (0, 0),
        Inode::Link { .. } => (target_bytes, 0),
        Inode::Image { length, time, .. } => (*length, *time),
        Inode::TreeTop { time, .. } => (0, *time),
        Inode::Entry { entry, .. } => (entry.size().unwrap_or(0), entry.mtime),
    };
    let kind = kind(inode);
    let perm = match (kind, inode) {
        (FileType::Directory, _) => options.directory_mode(),
        (FileType::Symlink, _) => 0o777,
        (_, Inode::Entry { entry, .. })
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

/// Returns the time `seconds` after 1970 began, or before it if negative.
fn at(seconds: i64) -> SystemTime {
    let away = Duration::from_secs(seconds.unsigned_abs());
    let time =
        if seconds < 0 { UNIX_EPOCH.checked_sub(away) } else { UNIX_EPOCH.checked_add(away) };
    time.unwrap_or(UNIX_EPOCH)
}
