//! Image formats of freestone: they turn a manifest into a plan, and have strict models of the
//! programs that read the images.
//!
//! An image is a pure function of a manifest's root, a format, and its options. The function is
//! frozen once it is released, which golden digests in the tests check. Every image has its
//! [`ImageName`] in its first 4096 bytes, so [`identify`] can distinguish it from anything else, and
//! [`check()`] can say which rules of its readers it breaks.
//!
//! # Example
//!
//! A manifest with one file becomes a tar image:
//!
//! ```
//! use freestone_core::{ExtentSource, digest};
//! use freestone_image::{Container, Format, Identity, ImageName, check, identify};
//! use freestone_manifest::{Builder, Entry, EntryKind, MemoryNodes, Tree};
//!
//! let content = b"hello, image\n";
//! let id = digest::plain(content);
//! let (size, sha1) = (content.len() as u64, digest::sha1(content));
//! let kind = EntryKind::File { executable: false, size, sha1, content: id };
//! let mut builder = Builder::new(MemoryNodes::default());
//! builder.push(Entry { kind, ..Entry::directory("hello.txt", 0) })?;
//! let (root, nodes) = builder.finish()?;
//!
//! let format = Format::named("tar").expect("a name in Format::NAMES");
//! let plan = format.plan(Tree::open(nodes, &root.id)?)?;
//! let mut image: Vec<u8> = Vec::new();
//! plan.extents(0..plan.length(), &mut |extent| {
//!     match extent.source {
//!         ExtentSource::Inline(bytes) => image.extend(bytes),
//!         ExtentSource::Zeros => image.resize(image.len() + extent.length as usize, 0),
//!         ExtentSource::Chunk(chunk) => {
//!             assert_eq!(chunk, id);
//!             image.extend(content);
//!         }
//!     }
//!     Ok(())
//! })?;
//! assert_eq!(image.len() as u64, plan.length());
//!
//! let identity = identify(&image);
//! assert_eq!(identity, Identity::Image(ImageName { format, root: root.id }));
//! let report = check(&image, Container::File, &identity, &mut |_| Ok(()))?;
//! assert_eq!(report.map(|report| report.violations.count()), Some(0));
//! # Ok::<(), freestone_core::Error>(())
//! ```
//!
//! The crate `freestone-sink` does in parallel what the loop does here, and writes to files, devices
//! and streams.
//!
//! # Adding a format
//!
//! A format has one folder next to [`tar`] and [`fat`], with
//! 1. `options.rs`: the options. They are parsed strictly and printed in one canonical way, because
//!    the text is part of the image's name. They implement [`FormatOptions`], which is all that the
//!    rest of the crate needs of the folder;
//! 2. `plan.rs`: a [`Plan`](freestone_core::Plan) over a manifest's
//!    [`Tree`](freestone_manifest::Tree). It knows the image's length when it is opened, refuses a
//!    manifest with a list of all paths that the format cannot hold, and emits the extents of any
//!    range without holding the others. The same code measures and writes;
//! 3. `strict.rs`: a model of what the format's readers accept, with its rules in one list
//!    (`rules!`). `inspect` uses it, and the tests use it as an oracle. It shares with the writer
//!    only the measure and the head.
//!
//! Then the format gets a line in the list of formats (`formats.rs`), from which [`Format`],
//! [`identify`] and [`check()`] are made. Sinks, servers and commands need no change: `--format` and
//! `inspect` know all formats of the list. Flags for the format's own options are added where the
//! command line makes options of flags.

mod check;
mod extents;
pub mod fat;
mod format;
mod formats;
mod hash;
mod head;
mod length;
mod marks;
mod read;
mod report;
mod rule;
pub mod tar;
mod violation;

pub use check::check;
pub use format::{FormatOptions, HEAD_BYTES};
pub use formats::{Format, ImageName};
pub use head::{Identity, identify};
pub use read::ReadAt;
pub use report::{CheckReport, Container, Found};
pub use violation::{Violation, Violations};
