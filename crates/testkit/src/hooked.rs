//! A backend beside which something happens.

use freestone_backend::{Backend, Created, Listed, Object, Spool};
use freestone_core::Result;
use std::sync::Arc;

/// What is about to be done with an object or a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A folder is listed.
    List,
    /// An object is opened.
    Open,
    /// An object is made.
    Create,
    /// An object is removed.
    Remove,
}

/// What is called before each operation, with its object or folder.
pub type Hook = Box<dyn Fn(Operation, &str) + Send + Sync>;

/// Passes everything on to another backend, and calls a function before each operation: what other
/// processes do at that moment.
pub struct Hooked {
    inner: Arc<dyn Backend>,
    hook: Hook,
}

impl Hooked {
    /// Calls `hook` before each operation of `inner`.
    pub fn new(inner: Arc<dyn Backend>, hook: Hook) -> Self {
        Self { inner, hook }
    }
}

impl Backend for Hooked {
    fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        (self.hook)(Operation::List, folder);
        self.inner.list(folder)
    }

    fn open(&self, name: &str) -> Result<Option<Box<dyn Object>>> {
        (self.hook)(Operation::Open, name);
        self.inner.open(name)
    }

    fn hint(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.inner.hint(name, bytes)
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created> {
        (self.hook)(Operation::Create, name);
        self.inner.create(name, bytes)
    }

    fn spool(&self) -> Result<Spool> {
        self.inner.spool()
    }

    fn publish(&self, spool: Spool, name: &str) -> Result<Created> {
        (self.hook)(Operation::Create, name);
        self.inner.publish(spool, name)
    }

    fn settle(&self, folder: &str) -> Result<()> {
        self.inner.settle(folder)
    }

    fn remove(&self, name: &str) -> Result<()> {
        (self.hook)(Operation::Remove, name);
        self.inner.remove(name)
    }
}
