//! The store of freestone, opened: contents are kept once across all revisions, and proven when
//! they are read.
//!
//! A [`Store`] is a directory, or whatever else a [`Backend`](freestone_backend::Backend) keeps,
//! with immutable objects. Packs hold the records and are the truth. Index segments are derived
//! from them. Revisions and refs name what the packs hold. [`Records`] reads. The crate
//! `freestone-push` makes revisions, and `freestone-maintain` looks after a store.
//!
//! # Example
//!
//! A revision is found by its name, and a file of it is read:
//!
//! ```
//! use freestone_core::{ChunkSource, Error, Watch, digest};
//! use freestone_manifest::EntryKind;
//! use freestone_push::PushOptions;
//! use freestone_store::{Expect, Store};
//! use freestone_testkit::{MemorySource, push_tree};
//!
//! let folder = tempfile::tempdir().unwrap();
//! let store = Store::init(folder.path())?;
//! // A tree in memory; the front page of `freestone-push` shows how a directory is pushed.
//! push_tree(&store, &MemorySource::of([("robots.txt", "Allow: /\n")]), &PushOptions::default())?;
//!
//! let found = store.resolve("main")?;
//! assert_eq!(store.resolve(&found.id.to_string()[..8])?.id, found.id);
//!
//! let manifest = store.tree(&found.revision.root)?;
//! let entry = manifest.get(b"robots.txt")?.expect("it was pushed");
//! let EntryKind::File { size, sha1, content, .. } = entry.kind else { panic!("it is a file") };
//! let records = store.records()?;
//! let mut bytes = vec![0; size as usize];
//! records.chunk(&content, &mut bytes)?;
//! assert_eq!(bytes, b"Allow: /\n");
//!
//! // A content is also found by its SHA-1, without a path.
//! assert_eq!(sha1, digest::sha1(&bytes));
//! assert_eq!(records.find_sha1(&sha1, u64::MAX, Watch::default())?.map(|found| found.id), Some(content));
//!
//! // A ref is a log: each change is an entry that is never changed again.
//! store.refs().set("stable", found.id, Expect::Absent, 1_700_000_000)?;
//! assert_eq!(store.resolve("stable@1")?.id, found.id);
//! # Ok::<(), Error>(())
//! ```

pub mod fence;
mod forgotten;
pub mod hints;
pub mod index;
mod naming;
mod policy;
mod proven;
pub mod read;
mod refs;
mod resolve;
pub mod revisions;
pub mod spool;
mod store;
pub mod table;
#[doc(hidden)]
pub mod write;

pub use index::{Index, LiveSegment, Place};
pub use read::{FoundContent, PROVEN_BYTES_MAX, Packs, RawRun, Records, RunPart};
pub use refs::{CollectedRef, Expect, Refs};
pub use resolve::Resolved;
pub use store::{Store, check_totals, header_text, open_manifest, read_header};
pub use table::read_table;
