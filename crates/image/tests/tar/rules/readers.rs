//! The readers' rules, each broken by an archive put together by hand.

use super::broken;
use crate::raw::Raw;
use freestone_core::tar1::pax_record;
use freestone_image::tar::mirage::{MirageNode, MirageStore};
use freestone_image::tar::strict::TarRule;
use std::collections::{BTreeMap, BTreeSet};

/// The files of an archive that MirageOS shows; `None` if it does not boot.
type Seen = Option<Vec<String>>;

const CRASHES: Seen = None;

fn sees(paths: &[&str]) -> Seen {
    Some(paths.iter().map(ToString::to_string).collect())
}

fn mirage(image: &Vec<u8>) -> Seen {
    fn walk(nodes: &BTreeMap<Vec<u8>, MirageNode>, at: &str, out: &mut Vec<String>) {
        for (name, node) in nodes {
            let path = format!("{at}{}", String::from_utf8_lossy(name));
            match node {
                MirageNode::Value { .. } => out.push(path),
                MirageNode::Dictionary { nodes, .. } => walk(nodes, &format!("{path}/"), out),
            }
        }
    }
    let store = MirageStore::connect(image, 512).ok()?;
    let mut out = Vec::new();
    walk(store.nodes(), "", &mut out);
    Some(out)
}

/// An archive that breaks one rule.
pub struct Case {
    pub rule: TarRule,
    image: Vec<u8>,
    seen: Seen,
}

fn case(rule: TarRule, image: Vec<u8>, seen: Seen) -> Case {
    Case { rule, image, seen }
}

fn ends(rule: TarRule, raw: Raw, seen: Seen) -> Case {
    case(rule, raw.end(), seen)
}

fn raw() -> Raw {
    Raw::default()
}

fn path(path: &[u8]) -> Vec<u8> {
    pax_record(b"path", path)
}

fn headers() -> Vec<Case> {
    use TarRule::{Checksum, DirectoryData, DirectorySlash, MemberKind, Octal};
    let mut wrong_sum = raw().file("a", b"").end();
    wrong_sum[0] = b'b';
    let file = || raw().file("a", b"");
    vec![
        case(Checksum, wrong_sum, CRASHES),
        ends(Octal, file().patch(124, b"\x80\0\0\0\0\0\0\0\0\0\0\0"), CRASHES),
        ends(Octal, file().patch(108, b"000008\0"), CRASHES),
        ends(Octal, file().patch(136, b"-0000000001\0"), CRASHES),
        ends(Octal, file().patch(329, b"\xff"), CRASHES),
        ends(MemberKind, raw().member(b'1', b"hard", b""), sees(&["hard"])),
        ends(MemberKind, raw().member(b'2', b"link", b""), sees(&["link"])),
        ends(MemberKind, raw().member(b'3', b"tty", b""), sees(&["tty"])),
        ends(MemberKind, raw().member(b'S', b"sparse", b""), sees(&["sparse"])),
        ends(DirectorySlash, raw().directory("a"), sees(&["a"])),
        ends(DirectorySlash, raw().file("a/", b""), sees(&[])),
        ends(DirectoryData, raw().member(b'5', b"a/", b"data").file("a/b", b""), sees(&["a/b"])),
        ends(DirectoryData, raw().member(b'5', b"./", b"data").file("b", b""), sees(&["b"])),
    ]
}

fn payloads() -> Vec<Case> {
    use TarRule::{
        GlobalComment, LongName, PaxCharset, PaxFollower, PaxRecords, PaxRepeated, Payload,
    };
    let long = |name: &[u8], payload: &[u8]| raw().member(b'L', name, payload);
    let both = [path(b"one"), path(b"two")].concat();
    let between = raw().pax(&path(b"one")).member(b'L', b"././@LongLink", b"two\0");
    let global = raw().member(b'g', b"g", &path(b"one"));
    vec![
        ends(Payload, raw().pax(&path(&[b'p'; 503])).file("a", b""), CRASHES),
        ends(Payload, raw().pax(b"").file("a", b""), CRASHES),
        ends(Payload, raw().member(b'g', b"g", b"").file("a", b""), CRASHES),
        ends(Payload, long(b"././@LongLink", &[b'n'; 513]).file("a", b""), CRASHES),
        ends(PaxRecords, raw().pax(b"nonsense").file("a", b""), CRASHES),
        ends(PaxRecords, raw().pax(b"9 size=x\n").file("a", b""), CRASHES),
        ends(PaxRepeated, raw().pax(&both).file("a", b""), sees(&["one"])),
        ends(PaxCharset, raw().pax(&path(b"\xff")).file("a", b""), sees(&["\u{fffd}"])),
        ends(PaxFollower, between.file("a", b""), sees(&["a", "one"])),
        ends(PaxFollower, raw().pax(&path(b"one")), CRASHES),
        ends(GlobalComment, global.file("a", b"").file("b", b""), sees(&["one"])),
        ends(LongName, long(b"@LongLink", b"n\0").file("a", b""), sees(&["@LongLink", "a"])),
    ]
}

fn paths() -> Vec<Case> {
    use TarRule::{DirectoryFirst, DirectoryOnce, FileOnce, Name, OneKind};
    let file = |name: &str| raw().file(name, b"");
    let twice = raw().directory("a/").file("a/b", b"").directory("a/");
    vec![
        ends(DirectoryFirst, file("a/b").directory("a/"), sees(&[])),
        ends(DirectoryOnce, twice, sees(&[])),
        ends(FileOnce, file("a").file("b", b"").file("a", b"2"), sees(&["a", "b"])),
        ends(FileOnce, file("a").file("./a", b"2"), sees(&["a"])),
        ends(OneKind, file("a").file("a/b", b""), CRASHES),
        ends(OneKind, file("b").file("a", b"").file("a/b", b""), CRASHES),
        ends(OneKind, raw().directory("a/").file("a/b", b"").file("a", b""), sees(&["a"])),
        ends(OneKind, file("a").directory("a/"), sees(&[])),
        ends(Name, file("a/./b"), sees(&["a/./b"])),
        ends(Name, file("../b"), sees(&["../b"])),
        ends(Name, file("a//b"), sees(&["a/b"])),
        ends(Name, raw().directory(".//"), CRASHES),
        ends(Name, file(""), sees(&[])),
    ]
}

fn places() -> Vec<Case> {
    use TarRule::{Empty, End, Inside, Length, LoneZeroBlock, Tail};
    let comment = pax_record(b"comment", b"git");
    let mut cut = raw().file("a", &[1; 4096 + 512]).0;
    cut.truncate(cut.len() - 512);
    let mut no_tail = raw().file("a", &[1; 3584]).end();
    no_tail.truncate(4096 + 1024);
    let mut not_zero = raw().file("a", b"").end();
    not_zero[2048] = 1;
    let mut odd = raw().file("a", b"").end();
    odd.extend([0; 512]);
    let far = b"77777777777\0";
    vec![
        case(Inside, cut, CRASHES),
        ends(Inside, raw().file("a", b"").patch(124, far), CRASHES),
        ends(Inside, raw().pax(b"").patch(124, far), CRASHES),
        ends(LoneZeroBlock, raw().file("a", b"").block([0; 512]).file("b", b""), sees(&["a", "b"])),
        ends(Empty, raw().member(b'g', b"pax_global_header", &comment), sees(&[])),
        case(End, raw().file("a", &[1; 3584]).0, CRASHES),
        case(Tail, not_zero, sees(&["a"])),
        case(Tail, no_tail, sees(&["a"])),
        case(Length, odd, sees(&["a"])),
    ]
}

/// Returns archives that break every rule of the readers.
pub fn cases() -> Vec<Case> {
    [headers(), payloads(), paths(), places()].into_iter().flatten().collect()
}

#[test]
fn an_archive_that_breaks_a_rule_breaks_just_that() {
    for (index, Case { rule, image, seen }) in cases().into_iter().enumerate() {
        let mut found = broken(&image);
        assert!(found.remove(&rule), "{index} {rule}: {found:?}");
        // An archive that ends early has a wrong length, too.
        if matches!(rule, TarRule::Tail | TarRule::Inside) {
            found.remove(&TarRule::Length);
        }
        assert_eq!(found, BTreeSet::new(), "{index} {rule}");
        assert_eq!(mirage(&image), seen, "{index} {rule}");
    }
}

#[test]
fn other_programs_archives_that_keep_the_rules_are_taken() {
    let long = "n".repeat(300);
    let image = raw()
        .member(b'g', b"pax_global_header", &pax_record(b"comment", b"git"))
        .directory("./")
        .directory("./z/")
        .file("./z/z", b"z")
        .member(b'L', b"././@LongLink", format!("{long}\0").as_bytes())
        .file("n", b"long")
        .pax(&path(b"x/y"))
        .file("", b"pax")
        .member(0, b"old", b"")
        .end();
    assert_eq!(broken(&image), BTreeSet::new());
    assert_eq!(mirage(&image), sees(&[&long, "old", "x/y", "z/z"]));
}

#[test]
fn mirage_reads_one_more_sector_after_data_that_end_with_one() {
    let archive = raw().file("a", &[1; 3584]).0;
    let get =
        |image: &Vec<u8>, sector| MirageStore::connect(image, sector).map(|s| s.get(b"a").is_ok());
    let mut image = archive.clone();
    image.resize(4096 + 1024, 0);
    assert_eq!(get(&image, 512), Ok(true));
    assert!(get(&image, 4096).is_err(), "the archive's end is not on Xen's device");
    image.resize(8192, 0);
    assert_eq!(get(&image, 4096), Ok(true));
}
