//! Devices, pipes and sockets.

use crate::grown::Grown;
use freestone_source::directory::{Reason, Refusal};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use std::os::unix::net::UnixListener;
use std::path::Path;

/// Returns false if the user may not create such a file.
fn make(path: &Path, kind: FileType) -> bool {
    match mknodat(CWD, path, kind, Mode::RUSR | Mode::WUSR, makedev(1, 3)) {
        Err(rustix::io::Errno::PERM) => false,
        made => made.map(|()| true).unwrap(),
    }
}

#[test]
fn each_is_refused_and_may_be_skipped() {
    let grown = Grown::new(&["a/file", "a/to_pipe -> pipe"]);
    assert!(make(&grown.at("a/pipe"), FileType::Fifo));
    let _socket = UnixListener::bind(grown.at("socket")).unwrap();
    let mut expected = vec![
        ("a/pipe", Reason::Pipe, "a pipe"),
        ("a/to_pipe", Reason::LinkToSpecial, "a link to a device, pipe or socket"),
        ("socket", Reason::Socket, "a socket"),
    ];
    if make(&grown.at("block"), FileType::BlockDevice) {
        assert!(make(&grown.at("character"), FileType::CharacterDevice));
        expected.insert(2, ("block", Reason::Device, "a device"));
        expected.insert(3, ("character", Reason::Device, "a device"));
    }
    let lines: Vec<_> = expected.iter().map(|(path, _, text)| format!("{path}: {text}")).collect();
    assert_eq!(grown.refused(), lines);
    let (items, report) = grown.skipping();
    assert_eq!(items, ["a/", "a/file"]);
    let refusals: Vec<_> = expected
        .into_iter()
        .map(|(path, reason, _)| Refusal { path: path.into(), reason })
        .collect();
    assert_eq!(report.refused, refusals);
}
