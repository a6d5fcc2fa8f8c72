//! A store in memory that can be read and damaged, but not written.

use freestone_backend::{Backend, Listed, Object};
use freestone_core::wire::Bytes;
use freestone_core::{Error, ErrorKind, Result};
use freestone_store::Store;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The objects of a store. A clone shares their bytes until they are damaged.
#[derive(Clone, Default)]
pub struct Frozen {
    /// The objects by name.
    pub objects: BTreeMap<String, Arc<Vec<u8>>>,
}

impl Frozen {
    /// Returns the store in the directory `root` as it is; what is in `tmp/`, `db/`, `cache/` left
    /// out.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn of(root: &Path) -> io::Result<Self> {
        let mut frozen = Self::default();
        let mut open = vec![String::new()];
        while let Some(folder) = open.pop() {
            for entry in std::fs::read_dir(root.join(&folder))? {
                let entry = entry?;
                let name = format!("{folder}{}", entry.file_name().to_string_lossy());
                if !entry.file_type()?.is_dir() {
                    frozen.objects.insert(name, Arc::new(std::fs::read(entry.path())?));
                } else if !["tmp", "db", "cache"].contains(&&name[..]) {
                    open.push(name + "/");
                }
            }
        }
        Ok(frozen)
    }

    /// Returns the same store with bit `bit` of byte `at` of the object `name` flipped.
    #[must_use]
    pub fn with_flip(&self, name: &str, at: usize, bit: u8) -> Self {
        let mut flipped = self.clone();
        if let Some(byte) = flipped.objects.get_mut(name).and_then(|b| Arc::make_mut(b).get_mut(at))
        {
            *byte ^= 1 << bit;
        }
        flipped
    }

    /// Opens the store.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open(&self) -> Result<Store> {
        Store::open_backend(Arc::new(self.clone()), None)
    }
}

impl Backend for Frozen {
    fn read_only(&self) -> Error {
        Error::new(ErrorKind::Storage, "a frozen store cannot be written")
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        let start = format!("{folder}/");
        let listed = self.objects.iter().filter(|(name, _)| name.starts_with(&start));
        let listed = listed.map(|(name, bytes)| Listed {
            name: name.clone(),
            length: bytes.len() as u64,
            modified: 0,
        });
        Ok(listed.collect())
    }

    fn open(&self, name: &str) -> Result<Option<Box<dyn Object>>> {
        let bytes = self.objects.get(name).cloned();
        Ok(bytes.map(|bytes| Box::new(FrozenObject(bytes)) as Box<dyn Object>))
    }

    fn settle(&self, _: &str) -> Result<()> {
        Ok(())
    }
}

struct FrozenObject(Arc<Vec<u8>>);

impl Object for FrozenObject {
    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = self.0.get(start..).and_then(|bytes| bytes.get(..out.len()));
        let bytes = bytes.ok_or_else(|| Error::corrupt("a frozen object ends too early"))?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn map(&self) -> Result<Bytes> {
        Ok(self.0.clone())
    }
}
