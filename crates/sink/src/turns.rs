//! Pieces come in any order; a turn makes their workers do one thing in the order of the image.

use crate::piece::ImagePiece;
use freestone_core::{Result, lock};
use std::ops::ControlFlow;
use std::sync::{Condvar, Mutex, PoisonError};

/// Something that the bytes of an image go through in order.
///
/// It needs no queue: a worker waits with its piece until all before it have gone through. The
/// windows are taken in order, so the piece that everybody waits for is always being made.
pub(crate) struct Turns<T> {
    state: Mutex<TurnState<T>>,
    changed: Condvar,
}

struct TurnState<T> {
    next: u64,
    stopped: bool,
    it: T,
}

impl<T> Turns<T> {
    pub fn new(it: T) -> Self {
        let state = TurnState { next: 0, stopped: false, it };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Lets `piece` do `act` when it is its turn. `Break` if that will not come any more.
    ///
    /// # Errors
    /// What `act` returns; no piece after this one has a turn then.
    pub fn take(
        &self,
        piece: &ImagePiece,
        act: impl FnOnce(&mut T) -> Result<()>,
    ) -> Result<ControlFlow<()>> {
        let mut state = lock(&self.state);
        while state.next != piece.offset && !state.stopped {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.stopped {
            return Ok(ControlFlow::Break(()));
        }
        act(&mut state.it)?;
        state.next = piece.offset + piece.length;
        self.changed.notify_all();
        Ok(ControlFlow::Continue(()))
    }

    /// Ends everybody's waiting.
    pub fn stop(&self) {
        lock(&self.state).stopped = true;
        self.changed.notify_all();
    }

    /// What the bytes went through.
    pub fn into_inner(self) -> T {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner).it
    }
}
