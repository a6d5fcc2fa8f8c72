//! Replies before they are sent.

use super::request::{Request, RequestedRange, matches, wanted};
use crate::image::ServedImage;
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The body of a reply.
pub enum Body {
    /// These bytes.
    Bytes(Vec<u8>),
    /// A part of an image or of a content, and its name for the log.
    Image(Arc<ServedImage>, Range<u64>, String),
}

/// A reply.
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The header lines beside those that every reply has.
    pub headers: String,
    /// The body.
    pub body: Body,
}

/// An image or a content that is served by ranges.
pub struct Resource {
    /// The image.
    pub image: Arc<ServedImage>,
    /// Its name, for the log.
    pub name: String,
    /// The ETag without its quotes; no other bytes have the same.
    pub tag: String,
    /// The media type.
    pub kind: &'static str,
    /// Whether the address means these bytes forever.
    pub is_fixed: bool,
    /// The modification time in seconds since 1970.
    pub mtime: Option<i64>,
}

impl Reply {
    /// Creates a reply with a body of the media type `kind`.
    pub fn text(status: u16, kind: &str, text: impl Into<Vec<u8>>) -> Self {
        let headers = format!("Content-Type: {kind}\r\n");
        Self { status, headers, body: Body::Bytes(text.into()) }
    }

    /// Creates a reply in JSON.
    pub fn json(value: &serde_json::Value) -> Self {
        Self::text(200, "application/json", format!("{value}\n"))
    }

    /// Creates an error reply with a text for people.
    pub fn error(status: u16, what: &str) -> Self {
        Self::text(status, "text/plain; charset=utf-8", format!("{what}\n"))
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        let _ = write!(self.headers, "{name}: {value}\r\n");
        self
    }

    /// Creates a reply with the part of `resource` that `request` wants.
    pub fn resource(resource: Resource, request: &Request) -> Self {
        let etag = format!("\"{}\"", resource.tag);
        let length = resource.image.length();
        let cache =
            if resource.is_fixed { "public, max-age=31536000, immutable" } else { "no-cache" };
        let with = |reply: Self| {
            let reply = reply
                .header("ETag", &etag)
                .header("Cache-Control", cache)
                .header("Accept-Ranges", "bytes");
            let since = resource.mtime.and_then(|mtime| u64::try_from(mtime).ok());
            match since
                .and_then(|since| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(since)))
            {
                // HTTP can write dates up to the year 9999.
                Some(time) if since < Some(253_402_300_800) => {
                    reply.header("Last-Modified", httpdate::fmt_http_date(time))
                }
                _ => reply,
            }
        };
        if request.if_none_match.as_ref().is_some_and(|list| matches(list, &etag)) {
            let empty = Self { status: 304, headers: String::new(), body: Body::Bytes(Vec::new()) };
            return with(empty);
        }
        // A strong ETag proves that the bytes are the same; a date never does.
        let is_same = request.if_range.as_ref().is_none_or(|tag| *tag == etag);
        let range = request.range.as_deref().filter(|_| is_same);
        let (status, part) = match range.map_or(RequestedRange::All, |range| wanted(range, length))
        {
            RequestedRange::All => (200, 0..length),
            RequestedRange::Part(part) => (206, part),
            RequestedRange::Nothing => {
                return Self::error(416, "the range is not inside of the resource")
                    .header("Content-Range", format_args!("bytes */{length}"));
            }
        };
        let headers = format!("Content-Type: {}\r\n", resource.kind);
        let (start, end) = (part.start, part.end);
        let body = Body::Image(resource.image, part, resource.name);
        let reply = with(Self { status, headers, body });
        if status != 206 {
            return reply;
        }
        reply.header("Content-Range", format_args!("bytes {start}-{}/{length}", end - 1))
    }

    /// Returns true if the status is that of an error.
    pub fn is_error(&self) -> bool {
        self.status >= 400
    }

    /// Returns the length of the body in bytes.
    pub fn length(&self) -> u64 {
        match &self.body {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::Image(_, part, _) => part.end - part.start,
        }
    }

    /// Returns the head as it is sent; `keeps` says whether the connection stays open.
    pub fn head(&self, keeps: bool) -> Vec<u8> {
        let word = match self.status {
            200 => "OK",
            206 => "Partial Content",
            304 => "Not Modified",
            400 => "Bad Request",
            404 => "Not Found",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            413 => "Content Too Large",
            416 => "Range Not Satisfiable",
            431 => "Request Header FieldReader Too Large",
            _ => "Internal Server Error",
        };
        let mut head = format!("HTTP/1.1 {} {word}\r\n", self.status);
        let _ = write!(head, "Date: {}\r\n", httpdate::fmt_http_date(SystemTime::now()));
        head.push_str(&self.headers);
        if self.status != 304 {
            let _ = write!(head, "Content-Length: {}\r\n", self.length());
        }
        head.push_str("X-Content-Type-Options: nosniff\r\n");
        head.push_str(if keeps {
            "Connection: keep-alive\r\n\r\n"
        } else {
            "Connection: close\r\n\r\n"
        });
        head.into_bytes()
    }
}
