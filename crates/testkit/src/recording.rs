//! A backend that counts what is asked of it.

use freestone_backend::{Backend, Created, Listed, Object, Spool};
use freestone_core::Result;
use std::sync::{Arc, Mutex, PoisonError};

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// A listing of a folder.
    List(String),
    /// The beginning of a listing of a folder.
    ListFirst(String),
    /// An object opened.
    Open(String),
    /// Bytes read of an object: offset and length.
    Read(String, u64, u64),
    /// An object mapped.
    Map(String),
    /// An object made.
    Create(String),
    /// A hint written.
    Hint(String),
    /// An object removed.
    Remove(String),
}

type Log = Arc<Mutex<Vec<Recorded>>>;

/// Passes everything on to another backend, and remembers it.
pub struct Recording {
    inner: Arc<dyn Backend>,
    log: Log,
}

fn note(log: &Log, request: Recorded) {
    log.lock().unwrap_or_else(PoisonError::into_inner).push(request);
}

impl Recording {
    /// Records what is asked of `inner`.
    pub fn new(inner: Arc<dyn Backend>) -> Self {
        Self { inner, log: Log::default() }
    }

    /// Returns what was asked since the last call.
    pub fn take(&self) -> Vec<Recorded> {
        std::mem::take(&mut *self.log.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct RecordingObject {
    inner: Box<dyn Object>,
    name: String,
    log: Log,
}

impl Object for RecordingObject {
    fn length(&self) -> u64 {
        self.inner.length()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        note(&self.log, Recorded::Read(self.name.clone(), offset, out.len() as u64));
        self.inner.read_at(offset, out)
    }

    fn map(&self) -> Result<freestone_core::wire::Bytes> {
        note(&self.log, Recorded::Map(self.name.clone()));
        self.inner.map()
    }

    fn refute(&self, offset: u64, length: u64) -> bool {
        self.inner.refute(offset, length)
    }
}

impl Backend for Recording {
    fn place(&self) -> String {
        self.inner.place()
    }

    fn prepare(&self) -> Result<()> {
        self.inner.prepare()
    }

    fn open_listed(&self, name: &str, length: u64) -> Result<Box<dyn Object>> {
        let inner = self.inner.open_listed(name, length)?;
        Ok(Box::new(RecordingObject { inner, name: name.into(), log: self.log.clone() }))
    }

    fn hint(&self, name: &str, bytes: &[u8]) -> Result<()> {
        note(&self.log, Recorded::Hint(name.into()));
        self.inner.hint(name, bytes)
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        note(&self.log, Recorded::List(folder.into()));
        self.inner.list(folder)
    }

    fn list_first(&self, folder: &str, count: usize) -> Result<Vec<Listed>> {
        note(&self.log, Recorded::ListFirst(folder.into()));
        self.inner.list_first(folder, count)
    }

    fn open(&self, name: &str) -> Result<Option<Box<dyn Object>>> {
        note(&self.log, Recorded::Open(name.into()));
        let object = self.inner.open(name)?;
        Ok(object.map(|inner| {
            Box::new(RecordingObject { inner, name: name.into(), log: self.log.clone() })
                as Box<dyn Object>
        }))
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created> {
        note(&self.log, Recorded::Create(name.into()));
        self.inner.create(name, bytes)
    }

    fn spool(&self) -> Result<Spool> {
        self.inner.spool()
    }

    fn publish(&self, spool: Spool, name: &str) -> Result<Created> {
        note(&self.log, Recorded::Create(name.into()));
        self.inner.publish(spool, name)
    }

    fn settle(&self, folder: &str) -> Result<()> {
        self.inner.settle(folder)
    }

    fn remove(&self, name: &str) -> Result<()> {
        note(&self.log, Recorded::Remove(name.into()));
        self.inner.remove(name)
    }
}
