//! `docs/format.md` is enough to write tar images: a second program, made from the page alone,
//! writes the same bytes. And its table of a header is what is written.

use crate::layout::{boundary_sizes, paths_of, unaligned};
use crate::site::{Data, Site, noise};
use freestone_image::tar::{Align, TarOptions};
use freestone_manifest::EntryKind;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

/// Entries with names, times and sizes on both sides of every bound.
fn varied() -> Site {
    let mut site = Site::default()
        .directory("empty", 0)
        .full_file("run", true, (1 << 33) - 1, Data::Bytes(b"#!/bin/sh\n".to_vec()))
        .file(&b"odd/\xff\n\\ "[..], "odd")
        .file("film", noise(9, 1 << 20))
        .file([b'\xff'; 100], "not text, in the header")
        .file([b'\xff'; 101], "not text, in pax")
        .file([b'\xff'; 481], "not text, as long as can be")
        .directory([b'\xfe'; 300], 5);
    for length in [99, 100, 101, 155, 156, 255, 256, 257, 300, 502] {
        for (index, mut path) in paths_of(length).into_iter().enumerate() {
            let top = format!("{length}-{index}");
            path[1..=top.len()].copy_from_slice(top.as_bytes());
            for first in [b'f', b'd'] {
                path[0] = first;
                site = match first {
                    b'f' => site.file(path.clone(), path.clone()),
                    _ if length < 502 => site.directory(path.clone(), 1_333_333_333),
                    _ => site,
                };
            }
        }
    }
    site
}

#[test]
fn a_second_program_made_from_the_page_writes_the_same_bytes() {
    let padded = TarOptions::new(Align::Blocks, Some(1 << 20), None).unwrap();
    let sized = TarOptions::new(Align::None, None, Some(1 << 24)).unwrap();
    for (what, site) in
        [("empty", Site::default()), ("sizes", boundary_sizes()), ("varied", varied())]
    {
        let built = site.build();
        let folder = tempfile::tempdir().unwrap();
        let mut list = String::new();
        for (number, entry) in built.entries.iter().enumerate() {
            let path: String = entry.path.iter().map(|byte| format!("{byte:02x}")).collect();
            let mtime = entry.mtime;
            match entry.kind {
                EntryKind::Directory => list.push_str(&format!("d {mtime} {path}\n")),
                EntryKind::File { executable, .. } => {
                    let file = folder.path().join(number.to_string());
                    fs::write(&file, built.content(&entry.path)).unwrap();
                    let kind = if executable { 'x' } else { 'f' };
                    list.push_str(&format!("{kind} {mtime} {path} {}\n", file.display()));
                }
            }
        }
        let listed = folder.path().join("list");
        fs::write(&listed, list).unwrap();
        for options in [TarOptions::default(), unaligned(), padded, sized] {
            let number = |value: Option<u64>| value.unwrap_or(0).to_string();
            let align = if options.align() == Align::None { "none" } else { "4096" };
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tar/second.py");
            let output = Command::new("python3")
                .arg(script)
                .args([&built.root.to_string(), align])
                .args([number(options.pad_to()), number(options.size())])
                .stdin(Stdio::from(File::open(&listed).unwrap()))
                .output()
                .expect("python3");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let image = built.image(options);
            let differs = image.iter().zip(&output.stdout).position(|(a, b)| a != b);
            assert_eq!(differs, None, "{what}, {options}");
            assert_eq!(image.len(), output.stdout.len(), "{what}, {options}");
        }
    }
}
