//! A backend far away: it fails, cuts and damages what it gives, or is out of reach.

use freestone_backend::{Backend, Created, Listed, Object, Spool};
use freestone_core::wire::{Bytes, to_usize};
use freestone_core::{Error, ErrorKind, Result};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many of a thousand requests go wrong, and how.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Fail.
    pub errors: u64,
    /// Come with a bit turned over.
    pub flips: u64,
    /// Come with zeros from somewhere on.
    pub cuts: u64,
}

struct State {
    faults: Faults,
    seed: u64,
    requests: AtomicU64,
    /// Whether things go wrong at all.
    active: AtomicBool,
    down: AtomicBool,
    /// What the names of objects begin with that somebody removes as soon as they are made.
    vanishing: Mutex<Option<String>>,
    /// The object that cannot be opened.
    unreadable: Mutex<Option<String>>,
}

/// Passes everything on to another backend, and damages the answers.
pub struct Faulty {
    inner: Arc<dyn Backend>,
    state: Arc<State>,
}

impl State {
    /// Returns a number for this request and `what`, of a thousand.
    fn draw(&self, request: u64, what: u64) -> u64 {
        let mut x = self.seed ^ request.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (what << 32);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn ask(&self) -> Result<u64> {
        let request = self.requests.fetch_add(1, Ordering::Relaxed);
        let fails = self.active.load(Ordering::Relaxed)
            && self.draw(request, 1) % 1000 < self.faults.errors;
        if fails || self.down.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Storage, "the connection was reset"));
        }
        Ok(request)
    }

    fn damage(&self, request: u64, bytes: &mut [u8]) {
        if bytes.is_empty() || !self.active.load(Ordering::Relaxed) {
            return;
        }
        let at = usize::try_from(self.draw(request, 2) % bytes.len() as u64).unwrap_or(0);
        if self.draw(request, 3) % 1000 < self.faults.flips {
            bytes[at] ^= 1 << (request % 8);
        }
        if self.draw(request, 4) % 1000 < self.faults.cuts {
            bytes[at..].fill(0);
        }
    }
}

impl Faulty {
    /// Damages what `inner` gives, the same for the same seed and order of requests.
    pub fn new(inner: Arc<dyn Backend>, faults: Faults, seed: u64) -> Self {
        let state = State {
            faults,
            seed,
            requests: AtomicU64::new(0),
            active: AtomicBool::new(true),
            down: AtomicBool::new(false),
            vanishing: Mutex::default(),
            unreadable: Mutex::default(),
        };
        Self { inner, state: Arc::new(state) }
    }

    /// Sets whether things go wrong from now on.
    pub fn set_active(&self, active: bool) {
        self.state.active.store(active, Ordering::Relaxed);
    }

    /// Sets whether every request fails from now on.
    pub fn set_down(&self, down: bool) {
        self.state.down.store(down, Ordering::Relaxed);
    }

    /// Removes objects whose names begin with `start` as soon as they are made, from now on.
    pub fn set_vanishing(&self, start: &str) {
        *self.vanishing() = Some(start.into());
    }

    /// From now on the object `name` cannot be opened, as by a failing disk.
    pub fn set_unreadable(&self, name: &str) {
        *self.unreadable() = Some(name.into());
    }

    fn unreadable(&self) -> MutexGuard<'_, Option<String>> {
        self.state.unreadable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn vanishing(&self) -> MutexGuard<'_, Option<String>> {
        self.state.vanishing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number of requests that there were.
    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::Relaxed)
    }
}

struct FaultyObject {
    inner: Box<dyn Object>,
    state: Arc<State>,
}

impl Object for FaultyObject {
    fn length(&self) -> u64 {
        self.inner.length()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let request = self.state.ask()?;
        self.inner.read_at(offset, out)?;
        self.state.damage(request, out);
        Ok(())
    }

    fn map(&self) -> Result<Bytes> {
        let request = self.state.ask()?;
        let map = self.inner.map()?;
        let mut bytes = vec![0; to_usize(map.length())];
        map.read_at(0, &mut bytes)?;
        self.state.damage(request, &mut bytes);
        Ok(Arc::new(bytes))
    }
}

impl Backend for Faulty {
    fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        self.state.ask()?;
        self.inner.list(folder)
    }

    fn open(&self, name: &str) -> Result<Option<Box<dyn Object>>> {
        if self.unreadable().as_deref() == Some(name) {
            return Err(Error::new(ErrorKind::Storage, format!("cannot open {name}")));
        }
        let object = self.inner.open(name)?;
        let state = self.state.clone();
        Ok(object.map(|inner| Box::new(FaultyObject { inner, state }) as Box<dyn Object>))
    }

    fn hint(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.state.ask()?;
        self.inner.hint(name, bytes)
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created> {
        self.state.ask()?;
        let created = self.inner.create(name, bytes)?;
        if self.vanishing().as_ref().is_some_and(|start| name.starts_with(start)) {
            self.inner.remove(name)?;
        }
        Ok(created)
    }

    fn spool(&self) -> Result<Spool> {
        self.inner.spool()
    }

    fn publish(&self, spool: Spool, name: &str) -> Result<Created> {
        self.state.ask()?;
        self.inner.publish(spool, name)
    }

    fn settle(&self, folder: &str) -> Result<()> {
        self.inner.settle(folder)
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.state.ask()?;
        self.inner.remove(name)
    }
}
