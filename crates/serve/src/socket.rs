//! Receiving from and sending to a connected socket, with and without a deadline.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg};
use std::io::{self, IoSlice};
use std::time::Instant;

/// Receives once into `out`; returns the number of bytes, which is 0 at the end.
///
/// # Errors
/// The connection is lost.
pub fn receive(socket: &OwnedFd, out: &mut [u8]) -> io::Result<usize> {
    loop {
        match recv(socket, &mut *out, RecvFlags::empty()) {
            Ok((count, _)) => return Ok(count),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sends all of `bytes`, without a time limit.
///
/// # Errors
/// The connection is lost.
pub fn send_all(socket: &OwnedFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match send(socket, bytes, SendFlags::NOSIGNAL) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Sends all of `parts` in order, without a time limit.
///
/// # Errors
/// The connection is lost.
pub fn send_parts(socket: &OwnedFd, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
    IoSlice::advance_slices(&mut parts, 0);
    while !parts.is_empty() {
        let mut control = SendAncillaryBuffer::default();
        match sendmsg(socket, parts, &mut control, SendFlags::NOSIGNAL) {
            Ok(count) => IoSlice::advance_slices(&mut parts, count),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// A socket whose reads and writes fail with [`TimedOut`](io::ErrorKind::TimedOut) at a deadline.
pub struct DeadlineSocket<'a> {
    /// The connected socket.
    pub socket: &'a OwnedFd,
    /// When its reads and writes begin to fail.
    pub deadline: Instant,
}

impl DeadlineSocket<'_> {
    /// Waits until the socket is ready for `flags`.
    fn wait(&self, flags: PollFlags) -> io::Result<()> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut fds = [PollFd::new(self.socket, flags)];
        match poll(&mut fds, Some(&left)) {
            Ok(0) => Err(io::ErrorKind::TimedOut.into()),
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl io::Read for DeadlineSocket<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            self.wait(PollFlags::IN)?;
            match recv(self.socket, &mut *out, RecvFlags::DONTWAIT) {
                Ok((count, _)) => return Ok(count),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl io::Write for DeadlineSocket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            self.wait(PollFlags::OUT)?;
            match send(self.socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(count) => return Ok(count),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
