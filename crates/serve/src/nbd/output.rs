//! Replies on their way out, gathered so that many small ones take one call of the system.

use super::wire::{CHUNK_BYTES, SIMPLE_BYTES, chunk, simple, structured};
use crate::socket::send_all;
use rustix::fd::OwnedFd;
use std::io;
use std::sync::Arc;

/// The bytes of an image that one reply, or one chunk of a structured reply, holds in memory.
pub const PIECE_BYTES: usize = 128 << 10;
const _: () = assert!(SIMPLE_BYTES <= DATA_BYTES);
const BUFFER_BYTES: usize = PIECE_BYTES + (32 << 10);
/// What stands before the data of a structured reply's chunk: its head, and an offset.
pub const DATA_BYTES: usize = CHUNK_BYTES + 8;

pub struct Output {
    socket: Arc<OwnedFd>,
    buffer: Box<[u8]>,
    used: usize,
}

impl Output {
    pub fn new(socket: Arc<OwnedFd>) -> Self {
        // Its pages cost nothing before they are written to.
        Self { socket, buffer: vec![0; BUFFER_BYTES].into(), used: 0 }
    }

    pub fn flush(&mut self) -> io::Result<()> {
        let used = std::mem::take(&mut self.used);
        send_all(&self.socket, &self.buffer[..used])
    }

    fn make_room(&mut self, length: usize) -> io::Result<()> {
        if self.buffer.len() - self.used < length { self.flush() } else { Ok(()) }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.buffer[self.used..self.used + bytes.len()].copy_from_slice(bytes);
        self.used += bytes.len();
    }

    /// Where the data of a piece goes, behind a head of `head` bytes: to be filled before one of
    /// the `…_data` is called.
    pub fn room(&mut self, head: usize, length: usize) -> io::Result<&mut [u8]> {
        self.make_room(head + length)?;
        let start = self.used + head;
        Ok(&mut self.buffer[start..start + length])
    }

    /// The data in the room, behind [`SIMPLE_BYTES`], is all that a simple reply holds.
    pub fn simple_data(&mut self, cookie: u64, length: usize) {
        self.push(&simple(cookie, 0));
        self.used += length;
    }

    /// The data in the room, without any head, goes on with a simple reply.
    pub fn used_room(&mut self, length: usize) {
        self.used += length;
    }

    /// The data in the room, behind [`DATA_BYTES`], is a chunk of a structured reply.
    pub fn structured_data(&mut self, cookie: u64, is_last: bool, offset: u64, length: usize) {
        let payload = u32::try_from(length + 8).unwrap_or(u32::MAX);
        let head = structured(cookie, u16::from(is_last), chunk::OFFSET_DATA, payload);
        self.push(&head);
        self.push(&offset.to_be_bytes());
        self.used += length;
    }

    /// A chunk that says that `length` bytes are zeros.
    pub fn hole(&mut self, cookie: u64, is_last: bool, offset: u64, length: u32) -> io::Result<()> {
        self.make_room(DATA_BYTES + 4)?;
        self.push(&structured(cookie, u16::from(is_last), chunk::OFFSET_HOLE, 12));
        self.push(&offset.to_be_bytes());
        self.push(&length.to_be_bytes());
        Ok(())
    }

    /// Any bytes, however many.
    pub fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        for part in bytes.chunks(PIECE_BYTES) {
            self.make_room(part.len())?;
            self.push(part);
        }
        Ok(())
    }
}
