//! The effects of the options on an image.

use crate::layout::assert_read_back;
use crate::site::{Site, noise};
use freestone_core::ErrorKind;
use freestone_image::tar::strict::{TarRule, check};
use freestone_image::tar::{Align, TarOptions};
use freestone_image::{Container, Format, HEAD_BYTES, Identity, ImageName, identify};
use freestone_manifest::Tree;

fn site() -> crate::site::Built {
    Site::default().file("a/b", noise(1, 70_000)).file("c", "c").build()
}

#[test]
fn an_image_says_what_it_is() {
    let built = site();
    for options in [
        TarOptions::default(),
        TarOptions::new(Align::None, Some(1 << 20), None).unwrap(),
        TarOptions::new(Align::Blocks, None, Some(1 << 20)).unwrap(),
    ] {
        let name = ImageName { format: Format::Tar(options), root: built.root };
        let image = built.image(options);
        assert_eq!(identify(&image[..HEAD_BYTES]), Identity::Image(name));
        let plan = name.format.plan(Tree::open(built.nodes.clone(), &name.root).unwrap()).unwrap();
        assert_eq!(plan.identity(), name.to_string());
        assert_eq!(plan.length(), image.len() as u64);
        let unfinished = plan.unfinished_head();
        assert!(
            matches!(identify(&unfinished), Identity::Unfinished { becoming: Some(n), .. } if n == name)
        );
    }
}

#[test]
fn padding_and_sizes_are_kept() {
    let built = site();
    let natural = built.image(TarOptions::default()).len() as u64;
    for (pad_to, size, length) in [
        (Some(1 << 20), None, 1 << 20),
        (Some(4096), None, natural),
        (None, Some(natural), natural),
        (None, Some(natural + 4096), natural + 4096),
    ] {
        let image = built.image(TarOptions::new(Align::Blocks, pad_to, size).unwrap());
        assert_eq!(image.len() as u64, length);
        assert_read_back(&image, &built);
    }
    let options = TarOptions::new(Align::Blocks, None, Some(natural - 4096)).unwrap();
    let error = built.plan(options).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.hint_text().unwrap().contains(&natural.to_string()));
}

#[test]
fn without_alignment_there_are_no_fillers() {
    let built = site();
    let filler = |image: &[u8]| image.chunks(512).filter(|b| b.starts_with(b"./\0")).count();
    assert!(filler(&built.image(TarOptions::default())) > 0);
    assert_eq!(filler(&built.image(TarOptions::new(Align::None, None, None).unwrap())), 0);
}

#[test]
fn a_device_may_be_longer_than_its_image_and_a_file_may_not() {
    let mut image = site().image(TarOptions::default());
    image.extend(noise(2, 8192));
    let on = |container| check(&image, container, &mut |_| Ok(())).unwrap().violations;
    assert_eq!(on(Container::Device).count(), 0);
    let rules: Vec<_> = on(Container::File).kept().iter().map(|v| v.rule).collect();
    assert_eq!(rules, [TarRule::Size.name()]);
}
