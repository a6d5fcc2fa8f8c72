//! Manifests that FAT cannot hold are refused, with every path, before they are laid out.

use crate::images::{mirage, of_type, plan};
use crate::site::{Built, Data, Site};
use freestone_core::ErrorKind;
use freestone_image::fat::{FatOptions, FatType};

fn refused(built: &Built, options: FatOptions) -> String {
    let error = plan(built, options).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.hint_text().is_some());
    error.to_string()
}

#[test]
fn every_path_is_listed_with_its_reason() {
    let built = Site::default()
        .file("fine.txt", "x")
        .file("d/a:b", "x")
        .file("d/a?", "x")
        .file("d/new\nline", "x")
        .file(&b"d/\xff"[..], "x")
        .file("d/dot.", "x")
        .file("d/space ", "x")
        .file("d/back\\slash", "x")
        .file("Readme", "x")
        .file("README", "x")
        .file("d/é", "x")
        .file("d/É", "x")
        .file("x".repeat(256), "x")
        .full_file("large", false, 0, Data::Hole((1 << 32) - (32 << 10) + 1))
        .directory("d/Sub", 0)
        .file("d/SUB", "x")
        .build();
    let text = refused(&built, FatOptions::default());
    for (path, why) in [
        ("d/a:b", "holds one of"),
        ("d/a?", "holds one of"),
        ("d/new\\x0aline", "holds a control character"),
        ("d/\\xff", "is not UTF-8"),
        ("d/dot.", "ends in a dot or a space"),
        ("d/space ", "ends in a dot or a space"),
        ("d/back\\\\slash", "holds one of"),
        ("Readme", "differs from README by case alone"),
        ("d/é", "differs from d/É by case alone"),
        ("d/Sub", "differs from d/SUB by case alone"),
        (&"x".repeat(256), "is longer than 255 UTF-16 units"),
        ("large", "is longer than 4 GiB less 32 KiB"),
    ] {
        assert!(text.contains(&format!("\n  {path} {why}")), "{path}: {text}");
    }
    assert!(text.starts_with("FAT cannot hold 12 of the paths:"), "{text}");
    assert!(!text.contains("fine.txt"));
}

#[test]
fn the_list_is_bounded() {
    let mut site = Site::default();
    for number in 0..150 {
        site = site.file(format!("{number:03}?"), "x");
    }
    let text = refused(&site.build(), FatOptions::default());
    assert!(text.contains("150 of the paths") && text.ends_with("\n  and 50 more"), "{text}");
    assert_eq!(text.matches("\n  ").count(), 101);
}

#[test]
fn the_strict_profile_refuses_what_mirageos_cannot_find() {
    let built = Site::default().file("é", "x").file("A B", "x").file(".HTA", "x").build();
    assert!(plan(&built, FatOptions::default()).is_ok());
    let text = refused(&built, mirage());
    assert!(text.contains("3 of the paths"), "{text}");
}

#[test]
fn a_directory_of_too_many_names_is_refused() {
    // Names in upper case take a slot each.
    let flat = |directory: &str, count: u32| {
        let mut site = Site::default();
        for number in 0..count {
            site = site.file(format!("{directory}{number:X}"), "");
        }
        site.build()
    };
    let below = flat("d/", 65_534);
    assert!(plan(&below, FatOptions::default()).is_ok());
    let text = refused(&flat("d/", 65_535), FatOptions::default());
    assert!(text.contains("\n  d holds names for 65535 slots"), "{text}");
    let text = refused(&flat("", 65_537), FatOptions::default());
    assert!(text.contains("\n  (the top) holds names"), "{text}");
    // A root directory that is too large for FAT16's fixed place makes the image FAT32.
    let top = flat("", 65_408);
    assert_eq!(plan(&top, FatOptions::default()).unwrap().fat_type(), FatType::Fat12);
    let mut larger = Site::default().full_file("large", false, 0, Data::Hole(1 << 24));
    for number in 0..65_400 {
        larger = larger.file(format!("{number:X}"), "");
    }
    let larger = larger.file("a longer name to fill more slots, more than there are; and more, and more, and more, and more, and more, and more", "").build();
    for options in
        [FatOptions::default(), FatOptions::default().with_length(None, Some(64 << 20)).unwrap()]
    {
        assert_eq!(plan(&larger, options).unwrap().fat_type(), FatType::Fat32);
    }
    let top = flat("", 65_409);
    assert_eq!(plan(&top, FatOptions::default()).unwrap().fat_type(), FatType::Fat32);
    assert!(refused(&top, of_type(FatType::Fat16)).contains("65409 slots"));
}

#[test]
fn what_no_sector_number_can_say_is_refused() {
    let built = Site::default().build();
    let options = FatOptions::default().with_free(3 << 40).unwrap();
    assert!(refused(&built, options).contains("2^32 sectors"));
    let options = options.with_block_bytes(4096).unwrap();
    assert!(plan(&built, options).is_ok());
    assert!(
        refused(&built, FatOptions::default().with_free(1 << 60).unwrap()).contains("clusters")
    );
}
