//! A client of NBD as small as can be, which does what it should not, too.
#![allow(dead_code, reason = "each program of tests uses its part")]

use super::take;
use std::collections::HashMap;
use std::io::Write;
use std::os::unix::net::UnixStream;

/// A reply that comes in parts: offsets and bytes, or the error.
type Parts = Result<Vec<(u64, Vec<u8>)>, u64>;

pub struct Client {
    pub stream: UnixStream,
    pub length: u64,
    is_structured: bool,
    /// Of simple replies: how long those are that are waited for.
    lengths: HashMap<u64, usize>,
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Sends an option.
pub fn option(stream: &mut UnixStream, option: u32, data: &[u8]) {
    let length = u32::try_from(data.len()).unwrap().to_be_bytes();
    stream.write_all(&[b"IHAVEOPT", &option.to_be_bytes()[..], &length, data].concat()).unwrap();
}

/// Takes a reply to an option: its kind and data.
pub fn option_reply(stream: &mut UnixStream) -> (u32, Vec<u8>) {
    let head = take(stream, 20);
    assert_eq!(number(&head[..8]), 0x0003_e889_0455_65a9);
    let kind = u32::try_from(number(&head[12..16])).unwrap();
    (kind, take(stream, usize::try_from(number(&head[16..])).unwrap()))
}

/// Says hello.
pub fn greet(stream: &mut UnixStream) {
    let hello = take(stream, 18);
    assert_eq!(&hello[..16], b"NBDMAGICIHAVEOPT");
    stream.write_all(&3u32.to_be_bytes()).unwrap();
}

impl Client {
    /// Chooses `export`, with or without structured replies.
    pub fn new(mut stream: UnixStream, export: &str, is_structured: bool) -> Self {
        greet(&mut stream);
        if is_structured {
            option(&mut stream, 8, &[]);
            assert_eq!(option_reply(&mut stream).0, 1);
        }
        option(&mut stream, 1, export.as_bytes());
        let chosen = take(&mut stream, 10);
        let length = number(&chosen[..8]);
        Self { stream, length, is_structured, lengths: HashMap::new() }
    }

    /// Sends a request.
    pub fn request(&mut self, command: u16, cookie: u64, offset: u64, length: u32) {
        let mut request = 0x2560_9513u32.to_be_bytes().to_vec();
        request.extend([0, 0]);
        request.extend(command.to_be_bytes());
        request.extend(cookie.to_be_bytes());
        request.extend(offset.to_be_bytes());
        request.extend(length.to_be_bytes());
        let bytes = if command == 0 { usize::try_from(length).unwrap() } else { 0 };
        self.lengths.insert(cookie, bytes);
        self.stream.write_all(&request).unwrap();
    }

    /// Takes replies until `count` reads are answered whole: each cookie with what it got, or the
    /// error.
    pub fn replies(&mut self, count: usize) -> HashMap<u64, Result<Vec<u8>, u64>> {
        let mut parts: HashMap<u64, Parts> = HashMap::new();
        let mut done = 0;
        while done < count {
            if !self.is_structured {
                let head = take(&mut self.stream, 16);
                assert_eq!(number(&head[..4]), 0x6744_6698);
                let (error, cookie) = (number(&head[4..8]), number(&head[8..]));
                let length = self.lengths.remove(&cookie).unwrap();
                let got = match error {
                    0 => Ok(vec![(0, take(&mut self.stream, length))]),
                    _ => Err(error),
                };
                assert!(parts.insert(cookie, got).is_none());
                done += 1;
                continue;
            }
            let head = take(&mut self.stream, 20);
            assert_eq!(number(&head[..4]), 0x668e_33ef);
            let (is_last, kind) = (head[5] & 1 == 1, number(&head[6..8]));
            let cookie = number(&head[8..16]);
            let payload = take(&mut self.stream, usize::try_from(number(&head[16..])).unwrap());
            let got = parts.entry(cookie).or_insert_with(|| Ok(Vec::new()));
            match kind {
                0 => {}
                1 => got.as_mut().unwrap().push((number(&payload[..8]), payload[8..].to_vec())),
                2 => {
                    let length = usize::try_from(number(&payload[8..])).unwrap();
                    got.as_mut().unwrap().push((number(&payload[..8]), vec![0; length]));
                }
                0x8001 => *got = Err(number(&payload[..4])),
                _ => panic!("a chunk of kind {kind}"),
            }
            done += usize::from(is_last);
        }
        let whole = |parts: Vec<(u64, Vec<u8>)>| {
            let mut parts = parts;
            parts.sort_by_key(|(offset, _)| *offset);
            parts.into_iter().flat_map(|(_, bytes)| bytes).collect()
        };
        parts.into_iter().map(|(cookie, got)| (cookie, got.map(whole))).collect()
    }

    /// Reads a range.
    pub fn read(&mut self, offset: u64, length: u32) -> Result<Vec<u8>, u64> {
        self.request(0, 77, offset, length);
        self.replies(1).remove(&77).unwrap()
    }
}
