//! The rules of freestone's layout, each broken by a change of an image of ours.

use super::broken;
use crate::raw::{Raw, sum};
use crate::site::{Site, noise};
use freestone_core::tar1::pax_record;
use freestone_image::tar::TarOptions;
use freestone_image::tar::strict::TarRule;
use std::collections::BTreeSet;
use std::ops::Range;

/// An image that freestone wrote.
struct Ours(Vec<u8>);

impl Ours {
    fn new() -> Self {
        let site = Site::default()
            .directory("d", 5)
            .file("d/big", noise(1, 70_000))
            .file("d/small", "small")
            .file([b'p'; 120], "pax")
            .directory("z", 7);
        let image = site.build().image(TarOptions::default());
        assert_eq!(broken(&image), BTreeSet::new());
        Self(image)
    }

    /// Returns the offset of the first header whose name field begins with `name`.
    fn header(&self, name: &[u8]) -> usize {
        let is_it = |block: &[u8]| block.starts_with(name) && block[257..].starts_with(b"ustar");
        self.0.chunks(512).position(is_it).unwrap() * 512
    }

    /// Returns the image with a changed header, whose checksum is right again.
    fn patched(&self, header: usize, offset: usize, bytes: &[u8]) -> Vec<u8> {
        let mut image = self.0.clone();
        image[header + offset..header + offset + bytes.len()].copy_from_slice(bytes);
        sum(&mut image[header..header + 512]);
        image
    }

    /// Returns the image with other bytes in a range.
    fn spliced(&self, range: Range<usize>, bytes: impl Into<Vec<u8>>) -> Vec<u8> {
        let mut image = self.0.clone();
        image.splice(range, bytes.into());
        image
    }

    fn with_byte(&self, offset: usize) -> Vec<u8> {
        self.spliced(offset..offset + 1, [1])
    }
}

/// An image that breaks a rule, and possibly others that follow from it.
pub struct Case {
    pub rule: TarRule,
    image: Vec<u8>,
    also: &'static [TarRule],
}

fn case(rule: TarRule, image: Vec<u8>, also: &'static [TarRule]) -> Case {
    Case { rule, image, also }
}

/// The rules that also break when bytes are inserted or removed, because the end moves.
const MOVED: &[TarRule] = &[TarRule::Size, TarRule::Length, TarRule::Tail];

fn fields(ours: &Ours) -> Vec<Case> {
    let directory = ours.header(b"d/\0");
    let file = ours.header(b"d/small");
    let filler = ours.header(b"./\0");
    let pax = ours.header(b"././@Pax");
    let changes: [(usize, usize, &[u8]); 19] = [
        (file, 100, b"0000600"),
        (file, 100, b"0000744"),
        (file, 108, b"0000001"),
        (file, 116, b"0000001"),
        (file, 124, b"          5\0"),
        (file, 136, b"      00005\0"),
        (file, 156, b"\0"),
        (file, 157, b"link"),
        (file, 257, b"ustar  \0"),
        (file, 265, b"root"),
        (file, 297, b"root"),
        (file, 329, b"0000001"),
        (file, 500, b"x"),
        (directory, 100, b"0000644"),
        (filler, 136, b"00000000001"),
        (filler, 100, b"0000700"),
        (pax, 0, b"PaxHeader\0\0\0\0"),
        (pax, 136, b"00000000001"),
        (pax, 100, b"0000755"),
    ];
    let patched = |(header, offset, bytes)| ours.patched(header, offset, bytes);
    // Readers ignore a space before a checksum.
    let spaced = |header: usize| ours.spliced(header + 148..header + 149, *b" ");
    let images = changes.into_iter().map(patched);
    let images = images.chain([directory, file, filler, pax].map(spaced));
    images.map(|image| case(TarRule::Fields, image, &[])).collect()
}

fn headers(ours: &Ours) -> Vec<Case> {
    use TarRule::{Head, Order, Parents, PaxNeed};
    let comment = pax_record(b"comment", b"x");
    let global = Raw::default().member(b'g', b"pax_global_header", &comment).0;
    let time = Raw::default().pax(&pax_record(b"mtime", b"1600000000")).0;
    let long = Raw::default().member(b'L', b"././@LongLink", b"z/\0").0;
    let (d, z, small) = (ours.header(b"d/\0"), ours.header(b"z/"), ours.header(b"d/small"));
    let pax = ours.header(b"././@Pax");
    vec![
        case(Head, ours.spliced(z..z, global), MOVED),
        case(PaxNeed, ours.patched(pax + 1024, 0, b"q"), &[]),
        case(PaxNeed, ours.patched(small, 0, b"./small"), &[Order, Parents]),
        case(
            PaxNeed,
            ours.spliced(z..z, time),
            &[TarRule::Fields, TarRule::Size, TarRule::Length, TarRule::Tail],
        ),
        case(PaxNeed, ours.spliced(z..z, long), MOVED),
        case(Order, ours.patched(z, 0, b"c/"), &[]),
        case(Parents, ours.patched(d, 0, b"c/"), &[]),
    ]
}

fn places(ours: &Ours) -> Vec<Case> {
    use TarRule::{Alignment, Fillers, Padding, Size, Tail};
    let (filler, z) = (ours.header(b"./\0"), ours.header(b"z/"));
    let (small, pax) = (ours.header(b"d/small"), ours.header(b"././@Pax"));
    let one = &ours.0[filler..filler + 512];
    vec![
        case(Fillers, ours.spliced(z..z, one), MOVED),
        case(Fillers, ours.spliced(z..z + 512, one), &[]),
        case(Fillers, ours.spliced(filler..filler, one.repeat(8)), MOVED),
        case(Fillers, ours.patched(filler, 3, b"x"), &[]),
        case(Fillers, ours.patched(filler, 346, b"x"), &[]),
        case(
            Alignment,
            ours.spliced(filler..filler + 512, []),
            &[Fillers, Size, TarRule::Length, Tail],
        ),
        case(Padding, ours.with_byte(small + 512 + 100), &[]),
        case(Padding, ours.with_byte(pax + 1023), &[]),
        case(Padding, ours.with_byte(ours.0.len() - 1), &[Tail]),
        case(Size, ours.spliced(ours.0.len()..ours.0.len(), [0; 4096]), &[]),
    ]
}

/// Returns images that break every rule of the layout.
pub fn cases() -> Vec<Case> {
    let ours = Ours::new();
    [fields(&ours), headers(&ours), places(&ours)].into_iter().flatten().collect()
}

#[test]
fn an_image_that_breaks_a_rule_breaks_just_that() {
    for (index, Case { rule, image, also }) in cases().into_iter().enumerate() {
        let mut found = broken(&image);
        assert!(found.remove(&rule), "{index} {rule}: {found:?}");
        found.retain(|other| !also.contains(other));
        assert_eq!(found, BTreeSet::new(), "{index} {rule}");
    }
}
