//! Open packs: their files, and their tables on demand.

use crate::backend::{Backend, Object};
use crate::format::pack::{self, Row};
use crate::raw::Proofs;
use freestone_core::limits::PACK_RECORDS_MAX;
use freestone_core::{Error, Id, Result};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Packs that are kept open: each takes a file descriptor.
const OPEN_MAX: usize = 256;
/// Ids that are kept of pack tables, in all: about 40 bytes each.
const IDS_MAX: usize = 1 << 19;
/// The longest table that is read: what the most records can take.
const TABLE_BYTES_MAX: u64 = PACK_RECORDS_MAX * 128;

/// The name of a pack's object.
pub fn object_name(id: &Id) -> String {
    let id = id.to_string();
    format!("packs/{}/{id}.pack", &id[..2])
}

/// The pack whose object is `name`; `None` if that is none.
pub fn id_of_object(name: &str) -> Option<Id> {
    let id = name.rsplit('/').next()?.strip_suffix(".pack")?;
    let id = Id::parse(id).ok()?;
    (object_name(&id) == name).then_some(id)
}

/// Reads and checks the table of a pack.
///
/// # Errors
/// The pack is not there, cut off, damaged, not the one that it is named for, or of a later
/// version.
pub fn read_table(object: &dyn Object, id: &Id) -> Result<Vec<Row>> {
    let read = || {
        let length = object.length();
        if length < pack::HEADER.len() as u64 + pack::TRAILER_BYTES {
            return Err(Error::corrupt("the pack is cut off"));
        }
        let mut header = [0; 16];
        object.read_at(0, &mut header)?;
        let mut trailer = [0; 16];
        object.read_at(length - pack::TRAILER_BYTES, &mut trailer)?;
        let (offset, bytes) = pack::table_place(length, trailer)?;
        if bytes > TABLE_BYTES_MAX {
            return Err(Error::corrupt("the pack's table is too long"));
        }
        let mut table = vec![0; usize::try_from(bytes).unwrap_or(0)];
        object.read_at(offset, &mut table)?;
        if pack::pack_id(&table) != *id {
            return Err(Error::corrupt("the pack's table is damaged"));
        }
        let rows = pack::decode_table(&table, offset)?;
        // Nothing proves the header: a pack is of a later version if its table is.
        if header != pack::HEADER {
            return Err(Error::corrupt("the pack's header is damaged"));
        }
        Ok(rows)
    };
    read().map_err(|error| error.context(format!("pack {id}")))
}

/// Which record starts where, of one pack; sorted by offset.
pub(crate) type Starts = Arc<Vec<(u64, Id)>>;

/// The packs of a store, opened when they are needed.
pub struct Packs {
    backend: Arc<dyn Backend>,
    open: Mutex<HashMap<Id, Arc<dyn Object>>>,
    starts: Mutex<HashMap<Id, Starts>>,
    is_cache: bool,
    proofs: Proofs,
}

impl Packs {
    /// The packs of `backend`.
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        Self {
            backend,
            open: Mutex::default(),
            starts: Mutex::default(),
            is_cache: false,
            proofs: Proofs::default(),
        }
    }

    /// The packs of `backend`, which keeps what is proven nearer than it found it.
    pub(crate) fn cached(backend: Arc<dyn Backend>) -> Self {
        Self { is_cache: true, ..Self::new(backend) }
    }

    /// Whether the backend wants to know what was proven.
    pub(crate) fn is_cache(&self) -> bool {
        self.is_cache
    }

    /// Opens the pack `id`.
    ///
    /// # Errors
    /// It is not there or cannot be opened.
    pub fn open(&self, id: &Id) -> Result<Arc<dyn Object>> {
        if let Some(object) = self.open.lock().unwrap_or_else(PoisonError::into_inner).get(id) {
            return Ok(object.clone());
        }
        let object = self.backend.open(&object_name(id))?;
        let object: Arc<dyn Object> = object
            .ok_or_else(|| {
                Error::corrupt(format!("pack {id} is missing"))
                    .hint("bring it back from a copy of the store; `freestone verify` lists what is lost without it")
            })?
            .into();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= OPEN_MAX {
            open.clear();
        }
        open.insert(*id, object.clone());
        Ok(object)
    }

    /// Which raw records were proven.
    pub(crate) fn proofs(&self) -> &Proofs {
        &self.proofs
    }

    /// Whether the record that starts at `offset` of pack `pack` is `id`, by the pack's table.
    ///
    /// # Errors
    /// The pack or its table cannot be read.
    pub fn holds(&self, pack: &Id, offset: u64, id: &Id) -> Result<bool> {
        let starts = self.starts(pack)?;
        let first = starts.partition_point(|(start, _)| *start < offset);
        Ok(starts[first..].iter().take_while(|(start, _)| *start == offset).any(|(_, i)| i == id))
    }

    /// Which record starts where in the pack `pack`, by its table.
    pub(crate) fn starts(&self, pack: &Id) -> Result<Starts> {
        let known = self.starts.lock().unwrap_or_else(PoisonError::into_inner).get(pack).cloned();
        known.map_or_else(|| self.read_starts(pack), Ok)
    }

    fn read_starts(&self, pack: &Id) -> Result<Starts> {
        let rows = read_table(&*self.open(pack)?, pack)?;
        let starts: Starts = Arc::new(rows.iter().map(|row| (row.offset, row.id)).collect());
        let mut known = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
        if known.values().map(|starts| starts.len()).sum::<usize>() + starts.len() > IDS_MAX {
            known.clear();
        }
        known.insert(*pack, starts.clone());
        Ok(starts)
    }
}
