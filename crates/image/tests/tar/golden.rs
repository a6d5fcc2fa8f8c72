//! Digests of fixed images. They are frozen: an image is the same bytes on every host, in every
//! version. Where one changes, the format has changed.

use crate::layout::{boundary_sizes, unaligned};
use crate::site::{Data, Site, noise};
use freestone_core::digest::plain;
use freestone_image::tar::{Align, TarOptions};

fn mixed() -> Site {
    let long = [&b"long/"[..], &[b'p'; 150], b"/", &[b'n'; 100]].concat();
    let mut film = noise(9, 3 << 20);
    film[1 << 20..2 << 20].fill(0);
    Site::default()
        .directory("empty", 1_234_567_890)
        .full_file("bin/run", true, 0, Data::Bytes(b"#!/bin/sh\n".to_vec()))
        .full_file("late", false, (1 << 33) - 1, Data::Bytes(noise(3, 65_536)))
        .file("film", film)
        .file("film2", noise(4, 65_535))
        .file("é/ü", "utf-8")
        .file(&b"odd/\xff\n\\ "[..], "odd")
        .file(long, "split")
        .file([b'x'; 300], "pax")
        .directory([b'd'; 200], 7)
        .full_file("hole", false, 8, Data::Bytes(vec![0; 2 << 20]))
}

#[test]
fn images_are_the_same_for_ever() {
    let padded = TarOptions::new(Align::Blocks, Some(1 << 20), None).unwrap();
    let sized = TarOptions::new(Align::None, None, Some(1 << 24)).unwrap();
    let images = [
        ("empty", Site::default(), TarOptions::default()),
        ("empty, not aligned", Site::default(), unaligned()),
        ("sizes", boundary_sizes(), TarOptions::default()),
        ("sizes, not aligned", boundary_sizes(), unaligned()),
        ("mixed", mixed(), TarOptions::default()),
        ("mixed, padded", mixed(), padded),
        ("mixed, not aligned, of a size", mixed(), sized),
    ];
    let digests: Vec<String> = images
        .into_iter()
        .map(|(what, site, options)| {
            let image = site.build().image(options);
            format!("{what}: {} {}", image.len(), plain(&image))
        })
        .collect();
    let frozen: Vec<&str> = include_str!("golden.txt").lines().collect();
    assert_eq!(digests, frozen);
}
