//! How far apart in time requests are, counted in requests: a *depth* is how many had to follow
//! each other until the answer.

use freestone_backend::{Backend, Created, Listed, Object, Spool};
use freestone_core::Result;
use freestone_core::wire::Bytes;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

#[derive(Default)]
struct State {
    /// The greatest depth of a request that was answered.
    answered: AtomicU64,
    requests: AtomicU64,
    bytes: AtomicU64,
    pause: Duration,
    /// Returns depth, name and bytes of each request, in the order of the answers.
    log: Mutex<Vec<(u64, String, u64)>>,
}

impl State {
    /// Counts a request as one deeper than all that were answered before. It takes a while, so that
    /// those that do not wait for each other have begun before one of them is answered; on a
    /// machine that is slow at that the depth comes out too great, never too small.
    fn ask<T>(&self, name: &str, bytes: u64, request: impl FnOnce() -> T) -> T {
        let depth = self.answered.load(Ordering::SeqCst) + 1;
        self.requests.fetch_add(1, Ordering::SeqCst);
        self.bytes.fetch_add(bytes, Ordering::SeqCst);
        let answer = request();
        std::thread::sleep(self.pause);
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.push((depth, name.into(), bytes));
        self.answered.fetch_max(depth, Ordering::SeqCst);
        answer
    }
}

/// Passes everything on to another backend, and counts requests, bytes and depth.
pub struct Distant {
    inner: Arc<dyn Backend>,
    state: Arc<State>,
}

impl Distant {
    /// Counts what is asked of `inner`; each answer takes `pause`.
    pub fn new(inner: Arc<dyn Backend>, pause: Duration) -> Self {
        Self { inner, state: Arc::new(State { pause, ..State::default() }) }
    }

    /// Returns the number of requests that had to follow each other.
    pub fn depth(&self) -> u64 {
        self.state.answered.load(Ordering::SeqCst)
    }

    /// Returns the fewest of several tries, up to the first that is no more than `enough`. Requests
    /// that follow each other can come out too many on a slow machine, never too few; so each try
    /// is given a longer pause than the one before.
    pub fn least_depth(enough: u64, mut measure: impl FnMut(Duration) -> u64) -> u64 {
        let mut least = u64::MAX;
        for pause in [25, 50, 100, 200, 400, 400, 400, 400, 400, 400] {
            least = least.min(measure(Duration::from_millis(pause)));
            if least <= enough {
                break;
            }
        }
        least
    }

    /// Returns the number of requests that there were.
    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::SeqCst)
    }

    /// Returns the number of bytes that were read.
    pub fn bytes(&self) -> u64 {
        self.state.bytes.load(Ordering::SeqCst)
    }

    /// Depth, name and bytes of each request, in the order of the answers.
    pub fn log(&self) -> Vec<(u64, String, u64)> {
        self.state.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct DistantObject {
    inner: Box<dyn Object>,
    name: String,
    state: Arc<State>,
}

impl Object for DistantObject {
    fn length(&self) -> u64 {
        self.inner.length()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        self.state.ask(&self.name, out.len() as u64, || self.inner.read_at(offset, out))
    }

    fn map(&self) -> Result<Bytes> {
        self.state.ask(&self.name, self.inner.length(), || self.inner.map())
    }
}

impl Backend for Distant {
    fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        self.state.ask(folder, 0, || self.inner.list(folder))
    }

    fn open(&self, name: &str) -> Result<Option<Box<dyn Object>>> {
        // What is far away is opened when it is read.
        let object = self.inner.open(name)?;
        let (name, state) = (name.to_owned(), self.state.clone());
        Ok(object.map(|inner| Box::new(DistantObject { inner, name, state }) as Box<dyn Object>))
    }

    fn hint(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.state.ask(name, 0, || self.inner.hint(name, bytes))
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created> {
        self.state.ask(name, 0, || self.inner.create(name, bytes))
    }

    fn spool(&self) -> Result<Spool> {
        self.inner.spool()
    }

    fn publish(&self, spool: Spool, name: &str) -> Result<Created> {
        self.state.ask(name, 0, || self.inner.publish(spool, name))
    }

    fn settle(&self, folder: &str) -> Result<()> {
        self.inner.settle(folder)
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.state.ask(name, 0, || self.inner.remove(name))
    }
}
