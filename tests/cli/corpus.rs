//! 620 real revisions of a real site, pushed one after the other from a checkout: how the store
//! grows, and that every image holds its checkout, file by file, for the programs that read tar.

use crate::support::{self, freestone, git, git_tree_of, output, output_bytes};
use freestone_testkit::corpus;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;

const STORE_BYTES_MAX: u64 = 22_000_000;
/// Every so many revisions the rarer readers read the image too.
const SAMPLE: usize = 62;

/// The digest of the image of each of these revisions, by its number from 0.
const GOLDEN: [(usize, &str); 4] = [
    (0, "d1cc758bc289ffde011977e71851c0dcce1ee27e5a31dc75d9a64dcb642b9e99"),
    (100, "8a7131877bd2f9760ebe5fc5f8ffc84768ef7ce2fde5245c84f1e5e083899b27"),
    (333, "5c4e362859dae4989350a0ca18ad4c2f0621388481bd48508a13f819c422d669"),
    (619, "d1e4c18c929c7649b70975bfc23564c8434d390976353f791df449b92160d2ac"),
];

#[test]
fn every_revision_of_a_real_site_is_kept_small_and_read_back_equal() {
    let Some(bundle) = corpus() else { return };
    let _machine = support::whole_machine();
    let folder = support::scratch();
    let site = folder.path().join("site");
    let bundle = bundle.to_str().unwrap();
    git(folder.path(), &["clone", "-q", "-c", "core.autocrlf=false", bundle, "site"]);
    let commits: Vec<(String, String)> =
        git(&site, &["log", "--first-parent", "--reverse", "--format=%H %ct"])
            .lines()
            .map(|line| line.split_once(' ').unwrap())
            .map(|(commit, time)| (commit.into(), time.into()))
            .collect();
    assert_eq!(commits.len(), 620);
    let store = folder.path().join("store");
    output(freestone(&store).arg("init"));

    // Images are read while later revisions are pushed.
    let (pushed, to_check) = mpsc::channel::<(usize, String, String)>();
    let checker = std::thread::spawn({
        let (store, site, work) = (store.clone(), site.clone(), folder.path().join("work"));
        move || {
            let mut digests = BTreeMap::new();
            for (number, commit, revision) in to_check {
                let digest = check_image(&store, &site, &work, number, &commit, &revision);
                digests.insert(number, digest);
            }
            digests
        }
    });
    for (number, (commit, time)) in commits.iter().enumerate() {
        git(&site, &["checkout", "-q", "-f", commit]);
        let label = format!("git.commit={commit}");
        let mut push = freestone(&store);
        push.args(["-q", "push", "-l", &label]).arg(&site).env("SOURCE_DATE_EPOCH", time);
        let revision = output(&mut push).trim().to_string();
        assert_eq!(
            output(freestone(&store).args(["resolve", &format!("commit:{commit}")])).trim(),
            revision
        );
        pushed.send((number, commit.clone(), revision)).unwrap();
    }
    drop(pushed);
    let digests = checker.join().unwrap();
    assert_eq!(digests.len(), 620);

    let size: u64 = ["packs", "index", "revisions", "refs"]
        .iter()
        .map(|part| support::file_lengths(&store.join(part)))
        .sum();
    println!("620 revisions take {size} bytes");
    assert!(size < STORE_BYTES_MAX, "the store has grown to {size} bytes");
    output(freestone(&store).args(["verify", "--data"]));
    let found: Vec<(usize, &str)> =
        GOLDEN.iter().map(|(number, _)| (*number, &*digests[number])).collect();
    assert_eq!(found, GOLDEN);
}

/// Writes the image of a revision, and compares what its readers see with the commit; gives the
/// image's BLAKE3.
fn check_image(
    store: &Path,
    site: &Path,
    work: &Path,
    number: usize,
    commit: &str,
    revision: &str,
) -> String {
    let _ = std::fs::remove_dir_all(work);
    let unpacked = work.join("unpacked");
    std::fs::create_dir_all(&unpacked).unwrap();
    let image = work.join("www.img");
    output(freestone(store).args(["-q", "image", revision, "-o"]).arg(&image));
    output(freestone(store).args(["-q", "inspect"]).arg(&image));
    let expected = git_tree_of(site, commit);
    let unpack = |command: &mut Command| {
        output(command);
        assert_eq!(support::git_tree_in(&unpacked), expected, "revision {number}, {command:?}");
        std::fs::remove_dir_all(&unpacked).unwrap();
        std::fs::create_dir_all(&unpacked).unwrap();
    };
    unpack(Command::new("tar").arg("-xf").arg(&image).arg("-C").arg(&unpacked));
    if number.is_multiple_of(SAMPLE) || number == 619 {
        unpack(Command::new("bsdtar").arg("-xf").arg(&image).arg("-C").arg(&unpacked));
        unpack(Command::new("busybox").args(["tar", "-xf"]).arg(&image).arg("-C").arg(&unpacked));
        let python = "import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])";
        unpack(Command::new("python3").args(["-c", python]).arg(&image).arg(&unpacked));
    }
    let bytes = std::fs::read(&image).unwrap();
    assert_eq!(bytes.len() % 4096, 0);
    let digest = Command::new(env!("CARGO_BIN_EXE_freestone"))
        .arg("-s")
        .arg(store)
        .args(["--json", "image", revision, "--digest"])
        .stderr(Stdio::null())
        .output()
        .unwrap();
    let told = String::from_utf8(output_bytes(digest)).unwrap();
    let blake3 = freestone_core::digest::plain(&bytes).to_string();
    assert!(told.contains(&blake3), "{told}");
    blake3
}
