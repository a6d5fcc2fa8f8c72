//! A host's store: a cache over an upstream.
//!
//! A store that *follows* another has no packs of its own. What is read comes from its cache; what
//! the cache lacks is fetched from the *upstream* and stays in the cache. Nothing is trusted because
//! it is in the cache: every record is proven when it is read, and only proven bytes are kept.
//! `docs/upstreams.md` describes it for users.
//!
//! # Example
//!
//! ```
//! use freestone_follow::{Fetch, Opening, Subject, fetch, init, note_complete, prime};
//! use freestone_store::Store;
//! # use freestone_testkit::{MemorySource, push_tree};
//!
//! # fn main() -> freestone_core::Result<()> {
//! # let folder = tempfile::tempdir().unwrap();
//! # let (upstream, host) = (folder.path().join("upstream"), folder.path().join("host"));
//! let store = Store::init(&upstream)?;
//! # let mut tree = MemorySource::default();
//! # tree.set("index.html", "<h1>a page</h1>");
//! # push_tree(&store, &tree, &Default::default()).unwrap();
//! // A host's store, with a cache of at most 64 MiB.
//! let url = upstream.to_str().unwrap();
//! let opened = init(&host, url, Some(64 << 20), "web-1", &Opening::default())?;
//!
//! // Everything that the revision needs is fetched, proven and made durable.
//! let main = opened.store.resolve_to_read("main")?;
//! prime(&opened, &main.id)?;
//! let fetched = fetch(&opened, &Subject::whole(main.revision.root), &Fetch::default())?;
//! assert!(fetched.bytes > 0);
//! note_complete(&opened, &main.id, "main")?;
//!
//! // From now on the revision can be read without the upstream.
//! drop((store, opened));
//! std::fs::remove_dir_all(&upstream).unwrap();
//! let opened = freestone_follow::open(&host, &Opening { offline: true, ..Opening::default() })?;
//! let tree = opened.store.tree(&opened.store.resolve("main")?.revision.root)?;
//! assert!(tree.get(b"index.html")?.is_some());
//! # Ok(())
//! # }
//! ```
//!
//! # Functions
//!
//! | function | what it does |
//! |---|---|
//! | [`init`], [`open`], [`offline`] | create and open such a store; [`open`] opens any store |
//! | [`prime`], [`fetch`] | fetch what a revision needs, in few requests |
//! | [`make_durable`], [`note_complete`] | make durable what was fetched |
//! | [`is_complete`], [`complete`] | which revisions can be read offline |
//! | [`pin`], [`unpin`], [`pins`] | protect revisions from eviction |
//!
//! A [`Store`](freestone_store::Store) does not know that it follows another: it reads through a
//! [`Backend`](freestone_backend::Backend), and the backend here is the [`Follower`]. So functions
//! that fetch take an [`Opened`]: the store, and its follower if it has one. For stores that follow
//! nothing they do nothing, and callers need not distinguish.

mod cache;
mod client;
mod complete;
mod fetch;
mod follower;
mod opening;
mod pins;
mod protection;
mod reach;
mod view;

pub use client::{Notify, Patience, Traffic};
pub use complete::{complete, is_complete, make_durable, note_complete};
pub use fetch::{Fetch, Fetched, Subject, fetch, prime};
pub use follower::Follower;
pub use opening::{Opened, Opening, init, offline, open};
pub use pins::{Pin, Pinned, is_pinned_at_upstream, pin, pins, unpin};
pub use reach::{Complete, LastSeen};
