//! Servers that answer without an end, too slowly, or with claims that cannot be: every call ends,
//! with an error or with what is right.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use freestone_backend::Backend;
use freestone_core::{Error, ErrorKind};
use freestone_remote::options::Notice;
use freestone_remote::{RemoteOptions, StoreUrl};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A request: its first line, and its headers in lower case.
struct Request {
    line: String,
    headers: Vec<String>,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// Starts a server that answers each request by `answer`, and closes the connection. Returns its
/// port.
fn server(answer: impl Fn(&Request, &mut TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answer) = (stream.unwrap(), answer.clone());
            std::thread::spawn(move || {
                let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let line = lines.next().unwrap_or_default();
                let headers =
                    lines.take_while(|line| !line.is_empty()).map(|line| line.to_lowercase());
                let request = Request { line, headers: headers.collect() };
                answer(&request, &mut stream);
            });
        }
    });
    port
}

fn reply(stream: &mut TcpStream, status: &str, headers: &str, body: &[u8]) {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nETag: \"1\"\r\n\
         Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n{headers}Connection: close\r\n\r\n"
    );
    // The client may have given up.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
}

/// A page of a listing with these keys and sizes, and the token of the next.
fn page(keys: &[(String, u64)], next: Option<&str>) -> Vec<u8> {
    let mut xml = format!("<ListBucketResult><IsTruncated>{}</IsTruncated>", next.is_some());
    if let Some(next) = next {
        xml += &format!("<NextContinuationToken>{next}</NextContinuationToken>");
    }
    for (key, size) in keys {
        xml += &format!(
            "<Contents><Key>{key}</Key><LastModified>2020-01-01T00:00:00.000Z</LastModified>\
             <ETag>x</ETag><Size>{size}</Size></Contents>"
        );
    }
    (xml + "</ListBucketResult>").into_bytes()
}

fn options() -> RemoteOptions {
    RemoteOptions {
        stall: Duration::from_secs(1),
        patience: Duration::from_secs(1),
        first_patience: Duration::from_secs(1),
        ..RemoteOptions::default()
    }
}

fn s3(port: u16, options: RemoteOptions) -> Arc<dyn Backend> {
    let variables = [
        ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}")),
        ("AWS_SKIP_SIGNATURE", "true".into()),
        ("AWS_REGION", "x".into()),
    ];
    let environment = variables.map(|(name, value)| (name.to_owned(), value)).to_vec();
    let place = StoreUrl::S3 { bucket: "b".into(), prefix: "store".into() };
    let options = RemoteOptions { environment: Some(environment), ..options };
    freestone_remote::open(&place, options).unwrap()
}

fn web(port: u16, options: RemoteOptions) -> Arc<dyn Backend> {
    let place = StoreUrl::Web { url: format!("http://127.0.0.1:{port}") };
    freestone_remote::open(&place, options).unwrap()
}

/// Checks that listing the packs ends soon, with an error of storage; returns its text.
fn listing_fails(answer: impl Fn(&Request, &mut TcpStream) + Send + Sync + 'static) -> String {
    let begun = Instant::now();
    let error = s3(server(answer), options()).list("packs").unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(error.kind(), ErrorKind::Storage, "{error}");
    error.chain()
}

/// The number of the page that a request asks for: the servers here name pages by numbers.
fn asked(request: &Request) -> usize {
    let token = request.line.split_once("continuation-token=");
    let token = token.map(|(_, rest)| rest.chars().take_while(char::is_ascii_digit).collect());
    token.map_or(0, |token: String| token.parse().unwrap())
}

#[test]
fn a_listing_whose_pages_have_no_end_is_given_up() {
    let keys = |from: usize, count: usize| {
        let key = |n| (format!("store/packs/{n:020}"), 1);
        (from * count..(from + 1) * count).map(key).collect::<Vec<_>>()
    };
    for count in [0, 1, 1000] {
        let same = listing_fails(move |_, stream| {
            reply(stream, "200 OK", "", &page(&keys(0, count), Some("7")));
        });
        assert!(same.contains("does not end"), "{same}");
    }
    for count in [0, 1] {
        let said = listing_fails(move |request, stream| {
            let (n, keys) = (asked(request), keys(asked(request), count));
            reply(stream, "200 OK", "", &page(&keys, Some(&(n + 1).to_string())));
        });
        assert!(said.contains("does not end"), "{said}");
    }
    let said = listing_fails(move |request, stream| {
        let n = asked(request);
        reply(stream, "200 OK", "", &page(&keys(n, 20_000), Some(&(n + 1).to_string())));
    });
    assert!(said.contains("more than 1048576 objects"), "{said}");
}

#[test]
fn an_answer_without_an_end_is_given_up() {
    let said = listing_fails(|_, stream| {
        let head =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n12\r\n<ListBucketResult>\r\n";
        let piece = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
        let _ = stream.write_all(head.as_bytes());
        while stream.write_all(piece.as_bytes()).is_ok() {}
    });
    assert!(said.contains("more than 16777216 bytes"), "{said}");
    // What follows a range is not read.
    let port = server(|_, stream| {
        let head = format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nETag: \"1\"\r\n\
             Content-Range: bytes 0-9/10\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\n",
            1u64 << 40
        );
        let _ = stream.write_all(head.as_bytes());
        while stream.write_all(b"abcde").is_ok() {}
    });
    let mut bytes = [0; 10];
    web(port, options()).read_range("packs/x", 0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"abcdeabcde");
}

#[test]
fn a_few_bytes_a_second_are_no_progress() {
    let port = server(|request, stream| {
        let range = request.header("range").unwrap().trim_start_matches("bytes=");
        let start: usize = range.split('-').next().unwrap().parse().unwrap();
        let length = 1000 - start;
        let head = format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Length: {length}\r\nETag: \"1\"\r\n\
             Content-Range: bytes {start}-999/1000\r\n\
             Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\n"
        );
        let _ = stream.write_all(head.as_bytes());
        while stream.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let begun = Instant::now();
    let error = web(port, options()).read_range("packs/x", 0, &mut [0; 1000]).unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(error.chain().contains("fewer than 256 bytes a second"), "{}", error.chain());
}

#[test]
fn what_a_listing_claims_is_taken_only_for_this_store() {
    let port = server(|_, stream| {
        let keys =
            [("store/packs/a", u64::MAX), ("other/packs/b", 1), ("q", 1), ("storepacks/c", 1)]
                .map(|(key, size)| (key.to_owned(), size));
        reply(stream, "200 OK", "", &page(&keys, None));
    });
    let listed = s3(port, options()).list("packs").unwrap();
    let listed: Vec<_> = listed.iter().map(|listed| (&listed.name[..], listed.length)).collect();
    assert_eq!(listed, [("packs/a", u64::MAX)]);
}

fn error_of(code: &str, more: &str) -> Vec<u8> {
    format!("<Error><Code>{code}</Code><Message>m</Message>{more}</Error>").into_bytes()
}

/// The answer to HEAD has no body, so what 400 or 403 means is found by another request.
#[test]
fn a_status_without_a_code_is_asked_for_again() {
    for (status, code, said) in [
        ("400 Bad Request", "ExpiredToken", "expired"),
        ("403 Forbidden", "AccessDenied", "may not"),
    ] {
        let port = server(move |request, stream| match request.line.starts_with("HEAD ") {
            true => reply(stream, status, "", b""),
            false => reply(stream, status, "", &error_of(code, "")),
        });
        let backend = s3(port, options());
        let spool = backend.spool().unwrap();
        let error = backend.publish(spool, "packs/ab/x").unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[test]
fn an_object_in_an_archive_is_named_as_such() {
    let port = server(|_, stream| {
        let body = error_of("InvalidObjectState", "<StorageClass>GLACIER</StorageClass>");
        reply(stream, "403 Forbidden", "", &body);
    });
    let error = s3(port, options()).open("packs/ab/x").err().unwrap();
    assert!(error.to_string().contains("storage class is GLACIER"), "{error}");
    assert!(error.hint_text().unwrap().contains("lifecycle"), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::Storage);
}

/// A key that may not delete: the caller learns it each time, the user once.
#[test]
fn a_key_that_may_not_delete_is_named_once() {
    let port =
        server(|_, stream| reply(stream, "403 Forbidden", "", &error_of("AccessDenied", "")));
    let said: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = said.clone();
    let notice = Notice(Arc::new(move |line| noted.lock().unwrap().push(line.to_owned())));
    let backend = s3(port, RemoteOptions { notice, ..options() });
    for name in ["index/a", "index/b", "index/a"] {
        assert_eq!(backend.remove(name).unwrap_err().kind(), ErrorKind::Storage);
    }
    let said = said.lock().unwrap();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("may not delete"), "{said:?}");
}

/// Hosting for applications of one page answers 200 and a page, whatever is asked for.
#[test]
fn a_server_that_answers_for_what_is_not_there_is_named() {
    let port = server(|request, stream| {
        let page = b"<!doctype html><title>all there is</title>";
        let last = page.len() - 1;
        let range = format!("Content-Range: bytes 0-{last}/{}\r\n", page.len());
        match request.header("range") {
            Some(_) => reply(stream, "206 Partial Content", &range, page),
            None => reply(stream, "200 OK", "", page),
        }
    });
    let error: Error = web(port, options()).list("refs/main").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage, "{error}");
    assert!(error.to_string().contains("answers 200 for what is not there"), "{error}");
}
