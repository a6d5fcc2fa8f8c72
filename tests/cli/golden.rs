//! A store that format version 1 has written, kept as it was: every later program reads it, and
//! makes of the same content the same revisions and images, byte for byte.

use crate::support::{freestone, output};
use std::fs;
use std::path::{Path, PathBuf};

/// What each revision was made of, by the number that [`tree`] is given, and what came out: its
/// id, and the BLAKE3 of its image.
const REVISIONS: [(u64, &str, &str); 3] = [
    (
        1,
        "5280afe21e21d484c84e8983ec6b76cfa9a1629ead79cf46b6a1db2e9549f04b",
        "61bb771f665698fe24d91aaf560118fdc57b76b60b9a0222fcd82b3163304e61",
    ),
    (
        2,
        "80f745d1d867161493fb5f0fe2bdf70d90fa3f9465abd1f6cc379371bed41d9e",
        "9f654ee34e18c8ffabe9d5e850338600d3c04075cb1bdeb9f5e282172fe7103b",
    ),
    (
        3,
        "3329f897cf47f5605fce95f77e4a3d1c8759752e5b9939c4ad8bdbf8570c112e",
        "86d11fed032e5a99e550a61da31e677cb81ddce17bbb7237d939595cc41eeddb",
    ),
];

/// As pushed, and as compacted: with bases, references, and an index without rows.
const STORES: [&str; 2] = ["store-1", "store-1-compacted"];

/// What revisions of `store-1-history`, six commits of git in one pack, give: the BLAKE3 of the image.
const HISTORY: [(&str, &str); 3] = [
    ("main", "000867f2f56fa21650143d19d5f4976cf03c20b124d6b58c75013cb61cdb85bf"),
    ("main~2", "400cce9ad3717985e341343b7ff765971a70ccf24065783cdb614a4a89e78921"),
    ("main~5", "b1a543a80001b91a6044526bea20d0b5fad0c81cf00095564aa2572444d7a9dd"),
];

fn kept(name: &str) -> PathBuf {
    freestone_testkit::top().join("tests/golden").join(name)
}

fn write(top: &Path, path: &str, bytes: impl AsRef<[u8]>) {
    let path = top.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Every kind of record: small and large contents, compressible and not, zeros, empty, links.
fn tree(top: &Path, number: u64) {
    let _ = fs::remove_dir_all(top);
    write(top, "index.html", format!("<h1>Revision {number}</h1>\n").repeat(20));
    write(top, "empty", "");
    write(top, "zeros", vec![0; 5000]);
    write(top, "noise.bin", freestone_testkit::noise(700, number));
    write(top, "docs/page.html", freestone_testkit::text(3000, 7));
    let mut large = "a line that is repeated often\n".repeat(50_000).into_bytes();
    large.splice(400_000..400_000, vec![0; 200_000]);
    large[usize::try_from(number).unwrap() * 1000] = b'!';
    write(top, "docs/large.txt", large);
    write(top, "docs/n\u{e4}me", "not ASCII");
    write(top, &format!("docs/{}", "long-".repeat(40)), "a long name");
    fs::create_dir_all(top.join("empty-directory")).unwrap();
    std::os::unix::fs::symlink("index.html", top.join("link.html")).unwrap();
    use std::os::unix::fs::PermissionsExt;
    write(top, "run.sh", "#!/bin/sh\n");
    fs::set_permissions(top.join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    for n in 0..60u64 {
        write(top, &format!("many/{n:03}"), format!("file {n} of many, {}\n", (n * number) % 50));
    }
}

/// Pushes the three revisions, and gives their ids.
fn push_all(store: &Path, site: &Path) -> Vec<String> {
    REVISIONS
        .iter()
        .map(|(number, ..)| {
            tree(site, *number);
            let mut push = freestone(store);
            push.args(["-q", "push", "-m", "golden", "-l"]).arg(format!("number={number}"));
            push.arg(site).env("SOURCE_DATE_EPOCH", (1_700_000_000 + number * 100).to_string());
            output(&mut push).trim().to_string()
        })
        .collect()
}

fn image_blake3(store: &Path, rev: &str) -> String {
    let told = output(freestone(store).args(["-q", "--json", "image", rev, "--digest"]));
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    told["blake3"].as_str().unwrap().to_string()
}

#[test]
fn the_same_content_becomes_the_same_revisions_and_images() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    output(freestone(&store).args(["-q", "init"]));
    let ids = push_all(&store, &folder.path().join("site"));
    let made: Vec<(u64, String, String)> = REVISIONS
        .iter()
        .zip(ids)
        .map(|((number, ..), id)| (*number, id.clone(), image_blake3(&store, &id)))
        .collect();
    let expected: Vec<(u64, String, String)> =
        REVISIONS.iter().map(|(n, id, image)| (*n, id.to_string(), image.to_string())).collect();
    assert_eq!(made, expected);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_history_of_version_1_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    copy(&kept("store-1-history"), &store);
    output(freestone(&store).args(["-q", "verify", "--data"]));
    for (rev, image) in HISTORY {
        assert_eq!(image_blake3(&store, rev), image, "{rev}");
    }
}

#[test]
fn the_cache_of_a_host_of_version_1_is_read_without_its_upstream() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    copy(&kept("store-1-host"), &store);
    let (rev, image) = HISTORY[0];
    let told =
        output(freestone(&store).args(["-q", "--offline", "--json", "image", rev, "--digest"]));
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["blake3"], image);
}

#[test]
fn stores_of_version_1_are_read_and_written() {
    STORES.into_iter().for_each(is_read_and_written);
}

fn is_read_and_written(name: &str) {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    copy(&kept(name), &store);
    output(freestone(&store).args(["-q", "verify", "--data"]));
    for (number, id, image) in REVISIONS {
        assert_eq!(image_blake3(&store, id), image, "revision {number}");
        let rev = format!("main@{number}");
        assert_eq!(output(freestone(&store).args(["resolve", &rev])).trim(), id);
    }
    let site = folder.path().join("site");
    tree(&site, 3);
    let again = output(freestone(&store).args(["-q", "push"]).arg(&site));
    assert_eq!(again.trim(), REVISIONS[2].1, "nothing is new");
    tree(&site, 4);
    output(freestone(&store).args(["-q", "push"]).arg(&site));
    output(freestone(&store).args(["-q", "store", "reindex"]));
    output(freestone(&store).args(["-q", "verify", "--data"]));
    for (_, id, image) in REVISIONS {
        assert_eq!(image_blake3(&store, id), image);
    }
}
