//! The quick part of `scripts/readers`: readers that are installed, at the bounds of the formats at
//! which readers differ.

use crate::program::Home;

#[test]
fn installed_readers_read_what_was_written() {
    let home = Home::new();
    let script = freestone_testkit::top().join("scripts/readers");
    let program = env!("CARGO_BIN_EXE_freestone");
    let mut command = home.wrapped("python3", [script.as_os_str()]);
    command.args(["--quick", "--bin", program]).env("PYTHONDONTWRITEBYTECODE", "1");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{failed}");
    // GRUB is what reads FAT16 of 4085 clusters as FAT12; without it little would be shown.
    for reader in ["gnu-tar", "bsdtar", "busybox", "python", "fsck.fat", "mcopy", "minfo", "grub"] {
        assert!(said.contains(&format!(" {reader} ")), "{reader} is not installed:\n{said}");
    }
}
