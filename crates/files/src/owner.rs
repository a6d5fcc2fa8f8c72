//! The users who could have changed a file.

use rustix::fs::Stat;
use rustix::process::geteuid;

/// The bits of a mode with which the group or all others may write.
const OTHERS_WRITE: u32 = 0o022;
/// The sticky bit, and the bit with which all others may write.
const STICKY: u32 = 0o1000;
const ALL_WRITE: u32 = 0o002;
/// The user id of root, who may write anything.
const ROOT: u32 = 0;

/// Returns true if a link may be followed by the rule by which Linux protects links in directories
/// that everybody may write to and whose sticky bit is set, such as `/tmp`: the link belongs to the
/// user who follows it, or to the owner of the directory.
///
/// Source: Linux, `Documentation/admin-guide/sysctl/fs.rst`, *protected_symlinks*.
pub fn may_follow(link: &Stat, directory: &Stat) -> bool {
    let is_shared = directory.st_mode & (STICKY | ALL_WRITE) == STICKY | ALL_WRITE;
    !is_shared || link.st_uid == geteuid().as_raw() || link.st_uid == directory.st_uid
}

/// The owner of a file or directory, and whether others may write to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The user id.
    pub user: u32,
    /// Whether the group or all others may write.
    pub others_write: bool,
}

impl Owner {
    /// Returns the owner that is in `stat`.
    pub fn of(stat: &Stat) -> Self {
        Self { user: stat.st_uid, others_write: stat.st_mode & OTHERS_WRITE != 0 }
    }

    /// Returns true if nobody but the user who runs this program, or root, could have written it.
    pub fn is_trusted(self) -> bool {
        (self.user == geteuid().as_raw() || self.user == ROOT) && !self.others_write
    }

    /// Returns true if it belongs to the user who runs this program, and nobody else may write.
    pub fn is_own(self) -> bool {
        self.user == geteuid().as_raw() && !self.others_write
    }
}
