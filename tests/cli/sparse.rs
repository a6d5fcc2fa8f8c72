//! A sparse file of more than 8 GiB, whose size no octal field holds: pushed, kept in a few
//! kilobytes, and read back out of its image at the right place.

use crate::support::{self, freestone, output};
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::{Command, Stdio};

const SIZE: u64 = (8 << 30) + 12_345;
const END: &[u8] = b"the end of a long file\n";

#[test]
fn a_sparse_file_over_8_gib_goes_in_and_comes_out() {
    // On a disk: what is sparse there takes no room, and this is more than memory may hold.
    let folder = tempfile::tempdir().unwrap();
    let site = folder.path().join("site");
    std::fs::create_dir(&site).unwrap();
    let file = File::create(site.join("disk.raw")).unwrap();
    file.set_len(SIZE).unwrap();
    file.write_all_at(b"the beginning\n", 0).unwrap();
    file.write_all_at(END, SIZE - END.len() as u64).unwrap();
    std::fs::write(site.join("after"), "what comes behind it\n").unwrap();
    let store = folder.path().join("store");
    output(freestone(&store).args(["-q", "init"]));
    output(freestone(&store).args(["-q", "push"]).arg(&site));
    let stored: u64 = support::file_lengths(&store.join("packs"));
    assert!(stored < 20_000, "{stored} bytes are stored");

    let image = folder.path().join("disk.img");
    output(freestone(&store).args(["-q", "image", "main", "-o"]).arg(&image));
    let metadata = image.metadata().unwrap();
    assert!(metadata.len() > SIZE && metadata.blocks() * 512 < 1 << 20, "the image is sparse");
    output(freestone(&store).args(["inspect"]).arg(&image));

    // Its readers find the file that lies behind it, and the end of the long one.
    for reader in [&["tar"][..], &["bsdtar"]] {
        let listed = output(Command::new(reader[0]).args(["-tvf"]).arg(&image));
        let found = listed
            .lines()
            .any(|line| line.contains(&SIZE.to_string()) && line.trim_end().ends_with("disk.raw"));
        assert!(found && listed.contains("after"), "{reader:?}: {listed}");
    }
    let python = "import sys, tarfile\n\
                  image = tarfile.open(sys.argv[1])\n\
                  file = image.extractfile('disk.raw')\n\
                  file.seek(-23, 2)\n\
                  sys.stdout.write(file.read().decode() + image.extractfile('after').read().decode())";
    let read = output(Command::new("python3").args(["-c", python]).arg(&image));
    assert_eq!(read, "the end of a long file\nwhat comes behind it\n");
    let cat = freestone(&store).args(["cat", "main:disk.raw"]).stdout(Stdio::piped()).spawn();
    let mut cat = cat.unwrap();
    let tail = output(Command::new("tail").args(["-c", "23"]).stdin(cat.stdout.take().unwrap()));
    assert!(cat.wait().unwrap().success());
    assert_eq!(tail.as_bytes(), END);
}
