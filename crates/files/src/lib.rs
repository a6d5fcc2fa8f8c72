//! Directories that are opened once, and reached through their descriptors only.
//!
//! A program that opens `store/packs/x` by its path, and later `store/tmp/y`, follows whatever
//! links somebody put there in between. A [`Folder`] is opened once. Every name below it is
//! resolved by the kernel from its descriptor (`openat2` with `RESOLVE_BENEATH`,
//! `RESOLVE_NO_SYMLINKS` and `RESOLVE_NO_MAGICLINKS`), or part by part with `O_NOFOLLOW` where the
//! kernel is older than 5.6 or a sandbox forbids the call. Both are equally strict:
//!
//! - No link is ever followed, at any part of a name. A link is an error (`ELOOP` or `ENOTDIR`).
//! - A name never leaves the folder. `..`, `.`, empty parts and absolute names are errors
//!   (`EINVAL`).
//! - Reading opens regular files only, and never waits: a pipe or a device is an error, not a hang.
//! - New files are created (`O_EXCL`), never opened; temporary files have random names.
//! - Only a name in the folder is removed or replaced, never what a link leads to.
//!
//! ```
//! use freestone_files::Folder;
//! use std::io::Write;
//! use std::path::Path;
//!
//! # fn main() -> std::io::Result<()> {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path();
//! let folder = Folder::open(path)?;
//! folder.create_folder("tmp", 0o755)?;
//! let mut temporary = folder.create_temporary("tmp", "", 0o644)?;
//! temporary.file.write_all(b"content")?;
//! folder.rename_new(&temporary.name, "content")?;
//! assert_eq!(folder.read_whole("content", 100)?, b"content");
//!
//! // A link is not followed, wherever it leads.
//! std::os::unix::fs::symlink("content", path.join("link"))?;
//! assert!(folder.read_file("link").is_err());
//! # Ok(())
//! # }
//! ```

pub mod caches;
mod entries;
mod folder;
mod lock;
mod owner;
mod resolve;
mod temporary;

pub use entries::{Entries, FolderEntry};
pub use folder::Folder;
pub use lock::lock_within;
pub use owner::{Owner, may_follow};
pub use temporary::{Temporary, prefix_beside};
