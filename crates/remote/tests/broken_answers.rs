//! Answers that break off: the bytes that arrived are kept, and only the rest is requested again.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use freestone_backend::Backend;
use freestone_remote::{RemoteOptions, StoreUrl};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const OBJECT: &[u8] = b"abcdefghijklmnopqrstuvwxyz";

/// Starts a web server with one object. It breaks off each of the first answers after the number of
/// bytes in `breaks`, and announces more than it sends; later answers are whole. Returns its port,
/// and the ranges that were requested.
fn server(breaks: Vec<usize>) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    std::thread::spawn(move || {
        let mut breaks = breaks.into_iter();
        for stream in listener.incoming() {
            answer(stream.unwrap(), &log, breaks.next());
        }
    });
    (port, asked)
}

fn answer(mut stream: TcpStream, asked: &Mutex<Vec<String>>, broken: Option<usize>) {
    let mut range = String::new();
    for line in BufReader::new(&stream).lines() {
        let line = line.unwrap().to_ascii_lowercase();
        if let Some(found) = line.strip_prefix("range: bytes=") {
            range = found.into();
        }
        if line.is_empty() {
            break;
        }
    }
    let (start, last) = range.split_once('-').unwrap();
    let (start, last): (usize, usize) = (start.parse().unwrap(), last.parse().unwrap());
    asked.lock().unwrap().push(range);
    let body = &OBJECT[start..=last];
    let sent = broken.map_or(body.len(), |at| at.min(body.len()));
    let announced = body.len() + usize::from(broken.is_some());
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\nContent-Length: {announced}\r\n\
         Content-Range: bytes {start}-{last}/{}\r\nETag: \"1\"\r\n\
         Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nConnection: close\r\n\r\n",
        OBJECT.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&body[..sent]).unwrap();
}

fn backend(port: u16) -> Arc<dyn Backend> {
    let place = StoreUrl::Web { url: format!("http://127.0.0.1:{port}") };
    let patience = Duration::from_secs(5);
    freestone_remote::open(&place, RemoteOptions { patience, ..RemoteOptions::default() }).unwrap()
}

fn read(breaks: Vec<usize>) -> (Vec<u8>, Vec<String>) {
    let (port, asked) = server(breaks);
    let mut bytes = vec![0; 20];
    backend(port).read_range("packs/x", 3, &mut bytes).unwrap();
    let asked = asked.lock().unwrap().clone();
    (bytes, asked)
}

#[test]
fn bytes_from_before_a_break_are_not_requested_again() {
    let (bytes, asked) = read(vec![7, 5]);
    assert_eq!(bytes, &OBJECT[3..23]);
    assert_eq!(asked, ["3-22", "10-22", "15-22"]);
}

/// No rest is missing, so nothing can be requested.
#[test]
fn a_break_after_the_last_byte_loses_nothing() {
    let (bytes, asked) = read(vec![20]);
    assert_eq!(bytes, &OBJECT[3..23]);
    assert_eq!(asked, ["3-22"]);
    let (bytes, asked) = read(vec![7, 13]);
    assert_eq!(bytes, &OBJECT[3..23]);
    assert_eq!(asked, ["3-22", "10-22"]);
}
