//! A small client of NBD, which can also break the protocol.
#![allow(dead_code, reason = "each program of tests uses its part")]

use super::take;
use super::wire::{
    self, NumberReader, chunk, client_flag, command, option as options, option_reply as kinds,
};
use std::collections::HashMap;
use std::io::Write;
use std::os::unix::net::UnixStream;

/// The bytes of a reply, or its error number.
pub type Answer = Result<Vec<u8>, u32>;
/// The chunks of a reply: offsets and bytes, or its error number.
type Parts = Result<Vec<(u64, Vec<u8>)>, u32>;

/// A connection that has chosen an export.
pub struct Client {
    pub stream: UnixStream,
    /// The length of the export in bytes.
    pub length: u64,
    is_structured: bool,
    /// By cookie, the length of the data in a simple reply.
    lengths: HashMap<u64, usize>,
}

/// Sends an option.
pub fn option(stream: &mut UnixStream, option: u32, data: &[u8]) {
    let head = wire::option_head(option, u32::try_from(data.len()).unwrap());
    stream.write_all(&[&head, data].concat()).unwrap();
}

/// Receives a reply to an option: its kind and data.
pub fn option_reply(stream: &mut UnixStream) -> (u32, Vec<u8>) {
    let head = take(stream, wire::OPTION_REPLY_BYTES);
    let mut head = NumberReader(&head);
    assert_eq!(head.u64(), wire::OPTION_REPLY_MAGIC);
    let (_option, kind, length) = (head.u32(), head.u32(), head.u32());
    (kind, take(stream, length as usize))
}

/// Receives the server's greeting and sends the client's flags.
pub fn greet(stream: &mut UnixStream) {
    let greeting = take(stream, wire::GREETING_BYTES);
    assert!(greeting.starts_with(wire::GREETING));
    let flags = client_flag::FIXED_NEWSTYLE | client_flag::NO_ZEROES;
    stream.write_all(&flags.to_be_bytes()).unwrap();
}

impl Client {
    /// Chooses `export`, with or without structured replies.
    pub fn new(mut stream: UnixStream, export: &str, is_structured: bool) -> Self {
        greet(&mut stream);
        if is_structured {
            option(&mut stream, options::STRUCTURED_REPLY, &[]);
            assert_eq!(option_reply(&mut stream).0, kinds::ACK);
        }
        option(&mut stream, options::EXPORT_NAME, export.as_bytes());
        let chosen = take(&mut stream, wire::EXPORT_BYTES);
        let length = NumberReader(&chosen).u64();
        Self { stream, length, is_structured, lengths: HashMap::new() }
    }

    /// Sends a request.
    pub fn request(&mut self, command: u16, cookie: u64, offset: u64, length: u32) {
        let data = if command == command::READ { length as usize } else { 0 };
        self.lengths.insert(cookie, data);
        self.stream.write_all(&wire::request(command, cookie, offset, length)).unwrap();
    }

    /// Receives replies until `count` requests are answered, and returns them by cookie.
    pub fn replies(&mut self, count: usize) -> HashMap<u64, Answer> {
        let mut parts: HashMap<u64, Parts> = HashMap::new();
        let mut done = 0;
        while done < count {
            if self.is_structured {
                done += usize::from(self.receive_chunk(&mut parts));
            } else {
                let (cookie, answer) = self.receive_simple();
                assert!(parts.insert(cookie, answer.map(|bytes| vec![(0, bytes)])).is_none());
                done += 1;
            }
        }
        let whole = |mut parts: Vec<(u64, Vec<u8>)>| {
            parts.sort_by_key(|(offset, _)| *offset);
            parts.into_iter().flat_map(|(_, bytes)| bytes).collect()
        };
        parts.into_iter().map(|(cookie, parts)| (cookie, parts.map(whole))).collect()
    }

    /// Receives a simple reply.
    fn receive_simple(&mut self) -> (u64, Answer) {
        let head = take(&mut self.stream, wire::SIMPLE_REPLY_BYTES);
        let mut head = NumberReader(&head);
        assert_eq!(head.u32(), wire::SIMPLE_REPLY_MAGIC);
        let (error, cookie) = (head.u32(), head.u64());
        let length = self.lengths.remove(&cookie).unwrap();
        let answer = if error == 0 { Ok(take(&mut self.stream, length)) } else { Err(error) };
        (cookie, answer)
    }

    /// Receives a chunk of a structured reply; returns true if it is the reply's last.
    fn receive_chunk(&mut self, parts: &mut HashMap<u64, Parts>) -> bool {
        let head = take(&mut self.stream, wire::STRUCTURED_REPLY_BYTES);
        let mut head = NumberReader(&head);
        assert_eq!(head.u32(), wire::STRUCTURED_REPLY_MAGIC);
        let (flags, kind, cookie, length) = (head.u16(), head.u16(), head.u64(), head.u32());
        let payload = take(&mut self.stream, length as usize);
        let mut payload = NumberReader(&payload);
        let reply = parts.entry(cookie).or_insert_with(|| Ok(Vec::new()));
        match kind {
            chunk::NONE => {}
            chunk::OFFSET_DATA => {
                let offset = payload.u64();
                reply.as_mut().unwrap().push((offset, payload.0.to_vec()));
            }
            chunk::OFFSET_HOLE => {
                let (offset, length) = (payload.u64(), payload.u32());
                reply.as_mut().unwrap().push((offset, vec![0; length as usize]));
            }
            chunk::ERROR => *reply = Err(payload.u32()),
            _ => panic!("a chunk of type {kind}"),
        }
        flags & chunk::FLAG_DONE != 0
    }

    /// Reads a range.
    pub fn read(&mut self, offset: u64, length: u32) -> Answer {
        let cookie = 77;
        self.request(command::READ, cookie, offset, length);
        self.replies(1).remove(&cookie).unwrap()
    }
}
