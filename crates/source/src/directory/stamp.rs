//! Converts the result of `stat` to the types of core.

use freestone_core::item::FileStamp;
use rustix::fs::{FileType, Mode, Stat};

/// Returns the stamp of a file.
pub(super) fn of(stat: &Stat) -> FileStamp {
    FileStamp {
        device: stat.st_dev,
        inode: stat.st_ino,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mtime_ns: nanoseconds(stat.st_mtime, stat.st_mtime_nsec.into()),
        ctime_ns: nanoseconds(stat.st_ctime, stat.st_ctime_nsec.into()),
    }
}

/// Returns a time in nanoseconds since 1970, limited to the range of an i64 (years 1677 to 2262).
fn nanoseconds(seconds: i64, nanoseconds: i128) -> i64 {
    let all = i128::from(seconds) * 1_000_000_000 + nanoseconds;
    i64::try_from(all).unwrap_or(if all < 0 { i64::MIN } else { i64::MAX })
}

/// Returns the kind of a file.
pub(super) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Returns true if the owner of the file may execute it.
pub(super) fn executable(stat: &Stat) -> bool {
    Mode::from_raw_mode(stat.st_mode).contains(Mode::XUSR)
}

/// Returns the numbers that differ between a directory and another one that replaced it.
pub(super) fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_count_forwards_and_stop_at_the_ends() {
        assert_eq!(nanoseconds(1, 5), 1_000_000_005);
        assert_eq!(nanoseconds(-1, 999_999_999), -1);
        assert_eq!(nanoseconds(i64::MAX, 0), i64::MAX);
        assert_eq!(nanoseconds(i64::MIN, 0), i64::MIN);
    }
}
