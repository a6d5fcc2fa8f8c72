//! Recognising an image or a device by its first bytes.

use crate::fat::FatOptions;
use crate::format::{FormatOptions, HEAD_BYTES};
use crate::formats::{Format, ImageName};
use crate::tar::TarOptions;

/// The thing that the first [`HEAD_BYTES`] of a file or device belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// An image that freestone wrote.
    Image(ImageName),
    /// An image that freestone began to write in place and did not finish.
    Unfinished {
        /// The image that it was to become, if this version knows the name.
        becoming: Option<ImageName>,
        /// The text in its head, for people.
        text: String,
    },
    /// Zeros.
    Blank,
    /// Something else, with a description of it.
    Other(&'static str),
}

/// The beginning of a head that [`Plan::unfinished_head`](freestone_core::Plan::unfinished_head)
/// returns.
const UNFINISHED: &[u8] = b"freestone: this image is unfinished; ";
/// The words in it before the name of the image.
const BECOMING: &str = "it is being written to: ";

/// Returns what `head` belongs to: the first [`HEAD_BYTES`], or all bytes of a shorter file.
pub fn identify(head: &[u8]) -> Identity {
    let head = &head[..head.len().min(HEAD_BYTES)];
    if let Some((format, root)) = Format::name_in(head) {
        return Identity::Image(ImageName { format, root });
    }
    if let Some(text) = unfinished(head) {
        let becoming = text.lines().find_map(|line| {
            let (_, name) = line.split_once(BECOMING)?;
            ImageName::parse(name)
        });
        return Identity::Unfinished { becoming, text };
    }
    if head.iter().all(|byte| *byte == 0) {
        return Identity::Blank;
    }
    Identity::Other(looks_like(head))
}

/// The smallest unit that devices write whole or not at all.
const SECTOR_BYTES: usize = 512;

/// Returns the text of an unfinished image's head: it is printable, and zeros follow it in its
/// sector.
fn unfinished(head: &[u8]) -> Option<String> {
    if !head.starts_with(UNFINISHED) {
        return None;
    }
    let end = head.iter().position(|byte| *byte == 0).unwrap_or(head.len());
    let text = std::str::from_utf8(&head[..end]).ok()?;
    let is_plain = text.chars().all(|c| c == '\n' || !c.is_control());
    // The first sector is written before the rest of the head, so anything may follow it.
    let sector = &head[end..head.len().min(SECTOR_BYTES).max(end)];
    (is_plain && sector.iter().all(|byte| *byte == 0)).then(|| text.trim_end().to_owned())
}

/// Magic numbers: the offset, the bytes, and a description of what has them. The first match wins.
const MAGICS: &[(usize, &[u8], &str)] = &[
    (0, b"\x1f\x8b", "gzip-compressed data"),
    (0, b"\x28\xb5\x2f\xfd", "zstd-compressed data"),
    (0, b"\xfd7zXZ\0", "xz-compressed data"),
    (0, b"BZh", "bzip2-compressed data"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"\x7fELF", "an ELF program"),
    (0, b"QFI\xfb", "a qcow2 disk image"),
    (0, b"KDMV", "a VMDK disk image"),
    (0, b"conectix", "a VHD disk image"),
    (0, b"vhdxfile", "a VHDX disk image"),
    (0, b"LUKS\xba\xbe", "a LUKS volume"),
    (0, b"hsqs", "a squashfs file system"),
    (0, b"XFSB", "an XFS file system"),
    (3, b"NTFS    ", "an NTFS file system"),
    (3, b"EXFAT   ", "an exFAT file system"),
    (54, b"FAT", <FatOptions as FormatOptions>::LOOKS_LIKE),
    (82, b"FAT32", <FatOptions as FormatOptions>::LOOKS_LIKE),
    (512, b"EFI PART", "a disk with a GPT partition table"),
    (512, b"LABELONE", "an LVM physical volume"),
    (1024, b"\xe2\xe1\xf5\xe0", "an erofs file system"),
    (1024, b"\x10\x20\xf5\xf2", "an F2FS file system"),
    (1080, b"\x53\xef", "an ext2, ext3 or ext4 file system"),
    (4086, b"SWAPSPACE2", "swap space"),
    (257, b"ustar", <TarOptions as FormatOptions>::LOOKS_LIKE),
    // Last, since file systems have it too.
    (510, b"\x55\xaa", "a disk with an MBR partition table"),
];

fn looks_like(head: &[u8]) -> &'static str {
    MAGICS
        .iter()
        .find(|(offset, magic, _)| head.get(*offset..).is_some_and(|at| at.starts_with(magic)))
        .map_or("unknown data", |(_, _, what)| what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use freestone_core::{Extent, Id, Plan, Result};
    use proptest::prelude::*;
    use std::ops::Range;

    fn name() -> ImageName {
        ImageName { format: Format::Tar(TarOptions::default()), root: Id([7; 32]) }
    }

    struct Named;

    impl Plan for Named {
        fn length(&self) -> u64 {
            0
        }
        fn extents(&self, _: Range<u64>, _: &mut dyn FnMut(Extent) -> Result<()>) -> Result<()> {
            Ok(())
        }
        fn identity(&self) -> String {
            name().to_string()
        }
    }

    fn tar_head() -> Vec<u8> {
        let mut head = crate::tar::head(&name().to_string());
        head.resize(HEAD_BYTES, 0x5a);
        head
    }

    #[test]
    fn our_own_heads_are_recognised() {
        assert_eq!(identify(&tar_head()), Identity::Image(name()));
        let Identity::Unfinished { becoming, text } = identify(&Named.unfinished_head()) else {
            panic!("an unfinished head is not recognised");
        };
        assert_eq!(becoming, Some(name()));
        assert!(text.contains("unfinished"));
        // After a crash between the two writes, the rest of the head is still the old one.
        let mut half = Named.unfinished_head();
        half[SECTOR_BYTES..].fill(0x5a);
        assert!(matches!(identify(&half), Identity::Unfinished { becoming: Some(_), .. }));
        half[SECTOR_BYTES - 1] = 0x5a;
        assert!(matches!(identify(&half), Identity::Other(_)));
        assert_eq!(identify(&[0; HEAD_BYTES]), Identity::Blank);
        assert_eq!(identify(b""), Identity::Blank);
    }

    #[test]
    fn a_head_that_differs_in_any_byte_is_not_ours() {
        let head = tar_head();
        for at in 0..1024 {
            let mut changed = head.clone();
            changed[at] ^= 1;
            assert_ne!(identify(&changed), Identity::Image(name()), "byte {at}");
        }
        assert_eq!(identify(&head[..1023]), Identity::Other("a tar archive"));
    }

    #[test]
    fn other_things_are_named() {
        for (offset, magic, what) in MAGICS {
            let mut head = vec![0; HEAD_BYTES];
            head[*offset..*offset + magic.len()].copy_from_slice(magic);
            assert_eq!(identify(&head), Identity::Other(what));
        }
        assert_eq!(identify(b"hello"), Identity::Other("unknown data"));
    }

    proptest! {
        #[test]
        fn no_head_panics(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
            identify(&bytes);
        }

        #[test]
        fn no_damaged_head_panics(at in 0..1100usize, bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            for mut head in [tar_head(), Named.unfinished_head()] {
                head[at..at + bytes.len()].copy_from_slice(&bytes);
                identify(&head);
            }
        }
    }
}
