//! Answers, before they are sent.

use super::request::{Request, RequestedRange, matches, wanted};
use crate::image::ServedImage;
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// What an answer carries.
pub enum Body {
    /// These bytes.
    Bytes(Vec<u8>),
    /// A part of an image or a content, and its name for the log.
    Image(Arc<ServedImage>, Range<u64>, String),
}

/// An answer.
pub struct Reply {
    pub status: u16,
    pub headers: String,
    pub body: Body,
}

/// Something that is served by ranges.
pub struct Resource {
    pub image: Arc<ServedImage>,
    /// Its name, for the log.
    pub name: String,
    /// What tells its bytes from all others, without quotes.
    pub tag: String,
    pub kind: &'static str,
    /// Whether the address always means these bytes.
    pub is_fixed: bool,
    /// In seconds since 1970.
    pub mtime: Option<i64>,
}

impl Reply {
    /// A text, or whatever else `kind` says.
    pub fn text(status: u16, kind: &str, text: impl Into<Vec<u8>>) -> Self {
        let headers = format!("Content-Type: {kind}\r\n");
        Self { status, headers, body: Body::Bytes(text.into()) }
    }

    /// An answer in JSON.
    pub fn json(value: &serde_json::Value) -> Self {
        Self::text(200, "application/json", format!("{value}\n"))
    }

    /// An error, with what to say of it.
    pub fn error(status: u16, what: &str) -> Self {
        Self::text(status, "text/plain; charset=utf-8", format!("{what}\n"))
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        let _ = write!(self.headers, "{name}: {value}\r\n");
        self
    }

    /// The part of `resource` that `request` asks for.
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
                // What HTTP can write ends with the year 9999.
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
        // Only a strong ETag says that the bytes are the same; a date never does.
        let is_same = request.if_range.as_ref().is_none_or(|tag| *tag == etag);
        let range = request.range.as_deref().filter(|_| is_same);
        let (status, part) = match range.map_or(RequestedRange::All, |range| wanted(range, length))
        {
            RequestedRange::All => (200, 0..length),
            RequestedRange::Part(part) => (206, part),
            RequestedRange::Nothing => {
                return Self::error(416, "there are no such bytes")
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

    /// How many bytes the body has.
    pub fn length(&self) -> u64 {
        match &self.body {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::Image(_, part, _) => part.end - part.start,
        }
    }

    /// The head as it is sent; `keeps` says whether the connection stays open.
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
