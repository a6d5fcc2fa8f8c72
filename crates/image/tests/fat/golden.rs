//! Digests of fixed images. They are frozen: an image is the same bytes on every host, in every
//! version. Where one changes, the format has changed.

use crate::images::{all_options, image};
use crate::layout::boundary_sizes;
use crate::site::{Data, Site, noise};
use freestone_core::digest::plain;

fn mixed() -> Site {
    let mut film = noise(9, 3 << 20);
    film[1 << 20..2 << 20].fill(0);
    let mut site = Site::default()
        .directory("empty", 1_234_567_890)
        .full_file("bin/run", true, 0, Data::Bytes(b"#!/bin/sh\n".to_vec()))
        .full_file("late", false, (1 << 33) - 1, Data::Bytes(noise(3, 65_536)))
        .file("film", film)
        .file("film2", noise(4, 65_535))
        .file("odd/a+b=c;d[e],f", "odd")
        .file("odd/A.B.C", "odd")
        .file("n".repeat(255), "long")
        .full_file("hole", false, 8, Data::Bytes(vec![0; 2 << 20]));
    for number in 0..120 {
        site = site.file(format!("pages/page-{number:03}.html"), noise(number, 300));
    }
    site
}

#[test]
fn images_are_the_same_for_ever() {
    let mut digests = Vec::new();
    for (what, site) in
        [("empty", Site::default()), ("sizes", boundary_sizes()), ("mixed", mixed())]
    {
        let built = site.build();
        for options in all_options() {
            let image = image(&built, options);
            digests.push(format!("{what} {options}: {} {}", image.len(), plain(&image)));
        }
    }
    // Names that the strict profile does not take.
    let built = Site::default().file("é/𝄞 Ü.txt", "utf-8").file("É2/A B", "odd").build();
    let image = image(&built, freestone_image::fat::FatOptions::default());
    digests.push(format!("names: {} {}", image.len(), plain(&image)));
    let frozen: Vec<&str> = include_str!("golden.txt").lines().collect();
    assert_eq!(digests, frozen, "{}", digests.join("\n"));
}
