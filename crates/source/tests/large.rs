//! The memory that a million names in one directory take. The test is alone in its process, because
//! it measures the memory of the process.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use freestone_core::item::ItemSource;
use freestone_source::directory::{DirectoryOptions, open};
use rustix::fs::statvfs;

/// Returns the anonymous memory of this process, in bytes.
fn anonymous() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

#[test]
fn a_million_names_take_less_than_48_mib() {
    let shared_memory = "/dev/shm";
    // A machine with little memory has fewer inodes there.
    let temporary = if statvfs(shared_memory).is_ok_and(|there| there.f_favail >= 1_100_000) {
        tempfile::tempdir_in(shared_memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    };
    for number in 0..1_000_000 {
        std::fs::File::create(temporary.path().join(format!("{number:012}"))).unwrap();
    }
    for (memory_bytes, anonymous_max) in [(64 << 20, 48 << 20), (4 << 20, 8 << 20)] {
        let before = anonymous();
        let started = std::time::Instant::now();
        let options = DirectoryOptions { memory_bytes, ..DirectoryOptions::default() };
        let (mut walk, _) = open(temporary.path(), &options).unwrap();
        let mut most = anonymous();
        let listed = started.elapsed();
        let mut count = 0;
        while walk.next().unwrap().is_some() {
            count += 1;
            if count % 100_000 == 0 {
                most = most.max(anonymous());
            }
        }
        assert_eq!(count, 1_000_000);
        let taken = most.saturating_sub(before);
        println!("{memory_bytes}: {taken} bytes, {listed:?} listed, {:?}", started.elapsed());
        assert!(taken < anonymous_max, "{taken} bytes");
    }
}
