//! A source in memory.

use freestone_core::item::{FileOpener, FileStamp, Item, ItemKind, ItemSource, OpenFile};
use freestone_core::{Error, Result, Watch, path};
use freestone_push::{PushOptions, PushOutcome, Source};
use freestone_store::Store;
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

/// A tree of files in memory: paths and bytes; directories follow from the paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemorySource {
    /// The files: whether they are executable, and their bytes.
    pub files: BTreeMap<Vec<u8>, (bool, Arc<Vec<u8>>)>,
    /// Directories beside those that files are in.
    pub directories: std::collections::BTreeSet<Vec<u8>>,
}

impl MemorySource {
    /// Files that are not executable.
    pub fn of<P: AsRef<[u8]>, B: Into<Vec<u8>>>(files: impl IntoIterator<Item = (P, B)>) -> Self {
        let mut source = Self::default();
        for (path, bytes) in files {
            source.set(path, bytes);
        }
        source
    }

    /// Puts a file in, or other bytes in the place of one.
    pub fn set(&mut self, path: impl AsRef<[u8]>, bytes: impl Into<Vec<u8>>) {
        self.files.insert(path.as_ref().to_vec(), (false, Arc::new(bytes.into())));
    }

    /// Returns the same tree with every directory named, as it is read back.
    #[must_use]
    pub fn explicit(mut self) -> Self {
        for item in self.items() {
            if item.kind == ItemKind::Directory {
                self.directories.insert(item.path);
            }
        }
        self
    }

    /// Starts a walk over the items.
    pub fn walk(&self) -> Box<dyn ItemSource> {
        Box::new(Items(self.items().into_iter()))
    }

    /// Returns the items, in manifest order.
    pub fn items(&self) -> Vec<Item> {
        let mut kinds: BTreeMap<Vec<u8>, ItemKind> = BTreeMap::new();
        let mut add_above = |path: &[u8]| {
            let mut at = path.to_vec();
            while let Some(parent) = path::parent(&at).map(<[u8]>::to_vec) {
                kinds.insert(parent.clone(), ItemKind::Directory);
                at = parent;
            }
        };
        self.files.keys().for_each(|path| add_above(path));
        self.directories.iter().for_each(|path| add_above(path));
        for directory in &self.directories {
            kinds.insert(directory.clone(), ItemKind::Directory);
        }
        for (path, (executable, bytes)) in &self.files {
            let stamp = stamp(bytes);
            kinds.insert(
                path.clone(),
                ItemKind::File { executable: *executable, stamp, link: None },
            );
        }
        let mut items: Vec<Item> =
            kinds.into_iter().map(|(path, kind)| Item { path, mtime: 1, kind }).collect();
        items.sort_by(|a, b| path::compare(&a.path, &b.path));
        items
    }
}

fn stamp(bytes: &[u8]) -> FileStamp {
    FileStamp { device: 1, inode: 1, size: bytes.len() as u64, mtime_ns: 1, ctime_ns: 1 }
}

struct Items(std::vec::IntoIter<Item>);

impl ItemSource for Items {
    fn next(&mut self) -> Result<Option<Item>> {
        Ok(self.0.next())
    }
}

struct MemoryFile {
    bytes: Arc<Vec<u8>>,
    at: usize,
}

impl Read for MemoryFile {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let count = (&self.bytes[self.at..]).read(out)?;
        self.at += count;
        Ok(count)
    }
}

impl OpenFile for MemoryFile {
    fn stamp(&self) -> Result<FileStamp> {
        Ok(stamp(&self.bytes))
    }

    fn seek(&mut self, offset: u64) -> Result<()> {
        self.at = usize::try_from(offset).unwrap_or(usize::MAX).min(self.bytes.len());
        Ok(())
    }
}

impl FileOpener for MemorySource {
    fn open(&self, path: &[u8]) -> Result<Box<dyn OpenFile>> {
        let file = self.files.get(path);
        let (_, bytes) = file.ok_or_else(|| Error::not_found(path::display(path)))?;
        Ok(Box::new(MemoryFile { bytes: bytes.clone(), at: 0 }))
    }
}

/// Pushes a tree in memory.
///
/// # Errors
/// As [`freestone_push::push()`].
pub fn push_tree(store: &Store, tree: &MemorySource, options: &PushOptions) -> Result<PushOutcome> {
    let walk = || -> Result<Box<dyn ItemSource>> { Ok(tree.walk()) };
    let source = Source { walk: &walk, opener: tree, key: None };
    freestone_push::push(store, &source, options, Watch::default())
}

/// Bytes that do not compress, the same for the same seed.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Bytes that compress, the same for the same seed.
pub fn text(length: usize, seed: u64) -> Vec<u8> {
    const WORDS: [&str; 12] = [
        "image ",
        "block ",
        "store ",
        "revision ",
        "chunk ",
        "pack ",
        "the ",
        "of ",
        "and ",
        "is ",
        "reader ",
        "page\n",
    ];
    let mut bytes = Vec::with_capacity(length + 16);
    for byte in noise(length / 2 + 8, seed) {
        bytes.extend_from_slice(WORDS[usize::from(byte) % WORDS.len()].as_bytes());
        if bytes.len() >= length {
            break;
        }
    }
    bytes.truncate(length);
    bytes
}
