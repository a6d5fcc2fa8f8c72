//! Pushing: a source becomes a revision of a store.
//!
//! | function | source |
//! |---|---|
//! | [`push()`] | a source that is walked as a whole, such as a directory |
//! | [`push_series`] | what has changed from revision to revision, such as commits; or an archive |
//! | [`copy::Copier`] | another store |
//!
//! # Example
//!
//! A directory is pushed, and its file is read back from the store:
//!
//! ```
//! use freestone_core::item::ItemSource;
//! use freestone_core::{ChunkSource, Error, Result, Watch, lock};
//! use freestone_manifest::EntryKind;
//! use freestone_push::{PushOptions, Source, push};
//! use freestone_source::directory::{self, DirectoryOptions};
//! use freestone_store::Store;
//! use std::sync::Mutex;
//!
//! let folder = tempfile::tempdir().unwrap();
//! let site = folder.path().join("site");
//! std::fs::create_dir(&site).unwrap();
//! std::fs::write(site.join("index.html"), "hello, store\n").unwrap();
//! let store = Store::init(&folder.path().join("store"))?;
//!
//! let (walk, opener) = directory::open(&site, &DirectoryOptions::default())?;
//! let walk = Mutex::new(Some(walk));
//! let walk = || -> Result<Box<dyn ItemSource>> {
//!     // A push asks for another walk only if it starts again.
//!     let walk = lock(&walk).take();
//!     Ok(Box::new(walk.ok_or_else(|| Error::refused("the directory is walked once"))?))
//! };
//! let source = Source { walk: &walk, opener: &opener, key: None };
//! let outcome = push(&store, &source, &PushOptions::default(), Watch::default())?;
//! assert_eq!((outcome.new, outcome.up_to_date), (1, false));
//!
//! let manifest = store.tree(&store.resolve("main")?.revision.root)?;
//! let entry = manifest.get(b"index.html")?.expect("it was pushed");
//! let EntryKind::File { size, content, .. } = entry.kind else { panic!("it is a file") };
//! let mut bytes = vec![0; size as usize];
//! store.records()?.chunk(&content, &mut bytes)?;
//! assert_eq!(bytes, b"hello, store\n");
//! # Ok::<(), Error>(())
//! ```
//!
//! # What happens in which order
//!
//! Contents and nodes go to packs while the source is read. Then the packs, the segments that list
//! them, the file of the revision and the entry of the ref become durable, each before the next. A
//! push that is killed at any point has changed nothing that was there before.
//! `docs/architecture.md` describes the threads.

mod attempt;
mod by_digest;
pub mod copy;
mod entry;
mod faults;
mod file;
mod jobs;
mod nodes;
mod options;
mod ordered;
mod outcome;
mod parent;
mod pipeline;
mod progress;
mod push;
mod pushed_ref;
mod readers;
pub mod series;
mod start;
mod whole;

pub use options::{OpenWorkingIndex, PushOptions, Source};
pub use outcome::PushOutcome;
pub use push::push;
pub use series::push_series;
