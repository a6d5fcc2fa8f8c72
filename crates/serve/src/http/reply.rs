//! Replies before they are sent.

use super::request::{Request, RequestedRange, precondition, wanted};
use crate::image::ServedImage;
use crate::service::HeldReply;
use freestone_core::digest::plain;
use freestone_core::shown;
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
    /// Counts a long body in memory.
    pub held: Option<HeldReply>,
}

/// An image or a content that is served by ranges.
pub struct Resource {
    /// The image.
    pub image: Arc<ServedImage>,
    /// Its name, for the log.
    pub name: String,
    /// The ETag without its quotes: the same bytes have the same, and no other bytes have it.
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
        Self { status, headers, body: Body::Bytes(text.into()), held: None }
    }

    /// Creates a reply in JSON.
    pub fn json(value: &serde_json::Value) -> Self {
        Self::json_text(&format!("{value}\n"))
    }

    /// Creates a reply of a text in JSON.
    pub fn json_text(text: &str) -> Self {
        Self::text(200, "application/json", shown::json(text).into_owned())
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

    /// Adds a strong ETag to a complete reply in memory, and evaluates the preconditions of
    /// `request`.
    #[must_use]
    pub fn conditional(self, request: &Request) -> Self {
        let (200, Body::Bytes(bytes)) = (self.status, &self.body) else { return self };
        let etag = format!("\"{}\"", plain(bytes));
        match precondition(request, &etag, None) {
            Some(status) => Self::unmet(status).header("ETag", &etag),
            None => self.header("ETag", &etag),
        }
    }

    /// Creates the reply to a request whose precondition is not met: 304 or 412.
    fn unmet(status: u16) -> Self {
        if status == 304 {
            return Self {
                status,
                headers: String::new(),
                body: Body::Bytes(Vec::new()),
                held: None,
            };
        }
        Self::error(status, "a precondition of the request is not met")
    }

    /// Creates a reply with the part of `resource` that `request` wants.
    pub fn resource(resource: Resource, request: &Request) -> Self {
        let etag = format!("\"{}\"", resource.tag);
        let length = resource.image.length();
        let cache =
            if resource.is_fixed { "public, max-age=31536000, immutable" } else { "no-cache" };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // A server must not send a date that is later than its own time.
        let mtime = resource.mtime.and_then(|mtime| u64::try_from(mtime).ok());
        let mtime = mtime.filter(|mtime| *mtime <= now.as_secs());
        let modified = mtime.and_then(|mtime| {
            let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(mtime))?;
            // HTTP can write dates up to the year 9999.
            (mtime < 253_402_300_800).then(|| httpdate::fmt_http_date(time))
        });
        let with = |reply: Self| {
            let reply = reply
                .header("ETag", &etag)
                .header("Cache-Control", cache)
                .header("Accept-Ranges", "bytes");
            match &modified {
                Some(date) => reply.header("Last-Modified", date),
                None => reply,
            }
        };
        if let Some(status) = precondition(request, &etag, mtime) {
            return with(Self::unmet(status));
        }
        // A strong ETag proves that the bytes are the same; a date never does.
        let is_same = request.if_range.as_ref().is_none_or(|tag| *tag == etag);
        // Ranges are defined for GET only (RFC 9110, 14.2).
        let range = request.range.as_deref().filter(|_| is_same && request.method == "GET");
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
        let reply = with(Self { status, headers, body, held: None });
        if status != 206 {
            return reply;
        }
        reply.header("Content-Range", format_args!("bytes {start}-{}/{length}", end - 1))
    }

    /// Returns true if the status is that of an error.
    pub fn is_error(&self) -> bool {
        self.status >= 400
    }

    /// Returns the bytes of memory that the body takes.
    pub fn memory_bytes(&self) -> usize {
        match &self.body {
            Body::Bytes(bytes) => bytes.capacity(),
            Body::Image(..) => 0,
        }
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
            412 => "Precondition Failed",
            413 => "Content Too Large",
            416 => "Range Not Satisfiable",
            421 => "Misdirected Request",
            431 => "Request Header Fields Too Large",
            503 => "Service Unavailable",
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

/// Returns the media type of a file by the end of its name.
///
/// A document that could run scripts in the server's name, such as HTML or SVG, is no type of its
/// own: with `nosniff` browsers only download it.
pub fn media_type(path: &[u8]) -> &'static str {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let Some(dot) = name.iter().rposition(|byte| *byte == b'.') else {
        return "application/octet-stream";
    };
    match &name[dot + 1..].to_ascii_lowercase()[..] {
        b"css" => "text/css; charset=utf-8",
        b"js" | b"mjs" => "text/javascript; charset=utf-8",
        b"txt" => "text/plain; charset=utf-8",
        b"json" | b"map" => "application/json",
        b"wasm" => "application/wasm",
        b"png" => "image/png",
        b"jpg" | b"jpeg" => "image/jpeg",
        b"gif" => "image/gif",
        b"webp" => "image/webp",
        b"avif" => "image/avif",
        b"ico" => "image/x-icon",
        b"woff" => "font/woff",
        b"woff2" => "font/woff2",
        b"mp3" => "audio/mpeg",
        b"mp4" => "video/mp4",
        b"webm" => "video/webm",
        _ => "application/octet-stream",
    }
}
