//! Turns: pieces come in any order, and a turn makes the workers do one step in the order of the
//! image.

use crate::piece::ImagePiece;
use freestone_core::{Result, lock};
use std::ops::ControlFlow;
use std::sync::{Condvar, Mutex, PoisonError};

/// Something that the bytes of an image pass through in order.
///
/// It needs no queue: a worker waits with its piece until all pieces before it have passed. The
/// windows are taken in order, so the piece for which all others wait is always being produced.
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

    /// Waits for the turn of `piece`, and calls `act`. Returns `Break` if the turn will not come
    /// any more.
    ///
    /// # Errors
    /// Those of `act`; then the pieces after this one have no turn.
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

    /// Ends the waiting of all workers.
    pub fn stop(&self) {
        lock(&self.state).stopped = true;
        self.changed.notify_all();
    }

    /// Returns what the bytes passed through.
    pub fn into_inner(self) -> T {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner).it
    }
}
