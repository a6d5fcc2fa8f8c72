//! A backend whose listings begin with anything, as those of servers may that do not sort.

use crate::noise;
use freestone_backend::{Backend, Created, Listed, Object, Spool};
use freestone_core::Result;
use std::sync::Arc;

/// What the beginning of a listing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// What sorts first, as it should be.
    Sorted,
    /// What sorts last, backwards.
    Backwards,
    /// Objects in an order that this number makes.
    Drawn(u64),
    /// Everything, however little was asked for.
    Everything,
}

/// Passes everything on to another backend, and begins listings with something else.
pub struct Disordered {
    inner: Arc<dyn Backend>,
    beginning: Beginning,
}

impl Disordered {
    /// Begins the listings of `inner` with `beginning`.
    pub fn new(inner: Arc<dyn Backend>, beginning: Beginning) -> Self {
        Self { inner, beginning }
    }
}

impl Backend for Disordered {
    fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        self.inner.list(folder)
    }

    fn list_first(&self, folder: &str, count: usize) -> Result<Vec<Listed>> {
        let mut listed = self.inner.list(folder)?;
        match self.beginning {
            Beginning::Sorted | Beginning::Everything => {}
            Beginning::Backwards => listed.reverse(),
            Beginning::Drawn(seed) => {
                let seed = |name: &str| {
                    name.bytes().fold(seed, |sum, byte| sum.wrapping_mul(31) ^ u64::from(byte))
                };
                listed.sort_by_cached_key(|listed| noise(8, seed(&listed.name)));
            }
        }
        if self.beginning != Beginning::Everything {
            listed.truncate(count);
        }
        Ok(listed)
    }

    fn open(&self, name: &str) -> Result<Option<Box<dyn Object>>> {
        self.inner.open(name)
    }

    fn hint(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.inner.hint(name, bytes)
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created> {
        self.inner.create(name, bytes)
    }

    fn spool(&self) -> Result<Spool> {
        self.inner.spool()
    }

    fn publish(&self, spool: Spool, name: &str) -> Result<Created> {
        self.inner.publish(spool, name)
    }

    fn settle(&self, folder: &str) -> Result<()> {
        self.inner.settle(folder)
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.inner.remove(name)
    }
}
