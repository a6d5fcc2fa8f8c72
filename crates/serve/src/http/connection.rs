//! An HTTP connection: each request is answered before the next one is read.

use super::answers::Answers;
use super::reply::{Body, Reply};
use super::request::{HEAD_BYTES_MAX, Parsed, Request, is_local, parse};
use crate::activity::Activity;
use crate::image::ServedImage;
use crate::metrics::ProtocolMetrics;
use crate::service::error_text;
use crate::socket::DeadlineSocket;
use crate::workers::WorkersClient;
use freestone_core::Result;
use freestone_core::wire::to_usize;
use rustix::fd::OwnedFd;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The bytes of an image that are read and sent at once.
const PIECE_BYTES: usize = 128 << 10;
/// The time limit of an idle connection, and of receiving the head of a request.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// The time limit of a client to receive a piece; a slower client is disconnected.
const PIECE_TIME: Duration = Duration::from_secs(60);

/// The time for which a connection that is to be closed still receives. If it were closed with bytes
/// unread, the system would discard the last reply.
const LINGER_TIME: Duration = Duration::from_secs(1);
/// The bytes that it receives then.
const LINGER_BYTES_MAX: usize = 1 << 20;

/// Serves a connection to its end; `answers` may wait for `workers`, or has none if it needs none.
///
/// # Errors
/// The connection is lost, or the client breaks the protocol or its time limits.
pub fn serve<A: Answers>(
    socket: &OwnedFd,
    answers: &A,
    metrics: &ProtocolMetrics,
    workers: Option<&WorkersClient>,
    is_ending: &AtomicBool,
    activity: &Activity,
) -> io::Result<()> {
    let mut received = Vec::new();
    let is_loopback = is_loopback(socket);
    loop {
        activity.waits();
        let Some(request) = receive(socket, &mut received, is_ending)? else { return Ok(()) };
        activity.works();
        let begun = Instant::now();
        let is_head = request.as_ref().is_ok_and(|request| request.method == "HEAD");
        let reply = match request {
            Ok(request) if request.has_body => {
                Reply::error(413, "requests with a body are not accepted")
            }
            Ok(request) if !matches!(&*request.method, "GET" | "HEAD") => {
                Reply::error(405, "only GET and HEAD are supported").header("Allow", "GET, HEAD")
            }
            Ok(request)
                if is_loopback
                    && !is_local(request.host.as_deref().unwrap_or(""), answers.hosts()) =>
            {
                Reply::error(421, "this server does not answer for this host name (see --host)")
            }
            Ok(request) => {
                let keeps = request.keeps && !is_ending.load(Ordering::Relaxed);
                let reply = answers.answer(&request, workers);
                send(&Outlet { socket, activity }, &reply, is_head, keeps, metrics, workers)?;
                metrics.answered(begun, reply.is_error());
                if keeps {
                    continue;
                }
                return Ok(());
            }
            Err(status) => Reply::error(status, "not an HTTP request"),
        };
        send(&Outlet { socket, activity }, &reply, is_head, false, metrics, workers)?;
        metrics.answered(begun, reply.is_error());
        linger(socket);
        return Err(io::ErrorKind::InvalidData.into());
    }
}

/// Returns true if the connection comes from this machine by TCP.
fn is_loopback(socket: &OwnedFd) -> bool {
    let address = rustix::net::getsockname(socket).ok();
    address
        .and_then(|address| std::net::SocketAddr::try_from(address).ok())
        .is_some_and(|address| address.ip().to_canonical().is_loopback())
}

/// Ends the sending side, and receives for a while what the client still sends.
fn linger(socket: &OwnedFd) {
    let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Write);
    let mut until = DeadlineSocket { socket, deadline: Instant::now() + LINGER_TIME };
    let (mut part, mut left) = ([0; 4096], LINGER_BYTES_MAX);
    while let Ok(count @ 1..) = until.read(&mut part) {
        left = left.saturating_sub(count);
        if left == 0 {
            return;
        }
    }
}

/// Receives the next request. Returns `None` if the client disconnects, and the status of an error
/// reply if the client sends something else.
fn receive(
    socket: &OwnedFd,
    received: &mut Vec<u8>,
    is_ending: &AtomicBool,
) -> io::Result<Option<Result<Box<Request>, u16>>> {
    let mut until = DeadlineSocket { socket, deadline: Instant::now() + HEAD_TIME };
    loop {
        match parse(received) {
            Parsed::Request(request, length) => {
                received.drain(..length);
                return Ok(Some(Ok(request)));
            }
            Parsed::Wrong => return Ok(Some(Err(400))),
            Parsed::Partial if received.len() >= HEAD_BYTES_MAX => return Ok(Some(Err(431))),
            Parsed::Partial => {}
        }
        if is_ending.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let mut part = [0; 4096];
        match until.read(&mut part) {
            Ok(0) => return Ok(None),
            Ok(count) => received.extend(&part[..count]),
            // An idle client may end here; one that has sent half a request may not.
            Err(error) if error.kind() == io::ErrorKind::TimedOut && received.is_empty() => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
    }
}

/// A socket that replies are sent to, and the activity that records it.
struct Outlet<'a> {
    socket: &'a OwnedFd,
    activity: &'a Activity,
}

/// Sends all of `bytes` within the time limit of a piece.
fn send_all(out: &Outlet<'_>, bytes: &[u8]) -> io::Result<()> {
    out.activity.waits();
    let deadline = Instant::now() + PIECE_TIME;
    DeadlineSocket { socket: out.socket, deadline }.write_all(bytes)?;
    out.activity.works();
    Ok(())
}

/// Sends a reply; only its head if `is_head`. `keeps` says whether the connection stays open.
fn send(
    out: &Outlet<'_>,
    reply: &Reply,
    is_head: bool,
    keeps: bool,
    metrics: &ProtocolMetrics,
    workers: Option<&WorkersClient>,
) -> io::Result<()> {
    let head = reply.head(keeps);
    let (image, part, name) = match &reply.body {
        Body::Bytes(bytes) => {
            let body = if is_head || reply.status == 304 { &[][..] } else { bytes };
            if body.len() > PIECE_BYTES {
                send_all(out, &head)?;
                return body.chunks(PIECE_BYTES).try_for_each(|part| send_all(out, part));
            }
            return send_all(out, &[&head, body].concat());
        }
        Body::Image(image, part, name) => (image, part.clone(), name),
    };
    if is_head || part.is_empty() {
        return send_all(out, &head);
    }
    // The first piece is read before the head is sent, so that an error can still be reported to
    // the client.
    let mut buffer = vec![0; PIECE_BYTES];
    let mut used = head.len();
    buffer[..used].copy_from_slice(&head);
    let mut at = part.start;
    while at < part.end {
        let room = (part.end - at).min((buffer.len() - used) as u64);
        let length = to_usize(room);
        let piece = &mut buffer[used..used + length];
        if let Err(error) = fill(image, at, piece, workers) {
            image.service().failed(name, at, &error);
            metrics.failures.add(1);
            if at > part.start {
                return Err(io::Error::other("the rest cannot be read"));
            }
            let reply = Reply::error(500, &error_text(&error));
            let Body::Bytes(text) = &reply.body else { return Ok(()) };
            return send_all(out, &[&reply.head(keeps), &text[..]].concat());
        }
        send_all(out, &buffer[..used + length])?;
        metrics.sent_bytes.add(length as u64);
        at += length as u64;
        used = 0;
    }
    Ok(())
}

/// Fills `piece` with what is available, or else with what a worker reads.
fn fill(
    image: &Arc<ServedImage>,
    offset: u64,
    piece: &mut [u8],
    workers: Option<&WorkersClient>,
) -> Result<()> {
    let done = image.try_read(offset, piece).bytes;
    if done == piece.len() {
        return Ok(());
    }
    let Some(workers) = workers else { return image.read(offset, piece) };
    let (image, range) = (image.clone(), offset..offset + piece.len() as u64);
    piece.copy_from_slice(&workers.run(move || image.read_range(range))?);
    Ok(())
}
