//! Parses requests.

use std::ops::Range;

/// The longest head of a request in bytes.
pub const HEAD_BYTES_MAX: usize = 16 << 10;
/// The number of headers that a request may have.
const HEADERS_MAX: usize = 64;

/// The head of a request.
#[derive(Debug, Default)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The target's path, as it was sent: still percent-encoded, and without its query.
    pub path: Vec<u8>,
    /// The query, as it was sent, without its `?`.
    pub query: Vec<u8>,
    /// The header `Range`.
    pub range: Option<String>,
    /// The header `If-Range`.
    pub if_range: Option<String>,
    /// The header `If-None-Match`.
    pub if_none_match: Option<String>,
    /// Whether the connection stays open for further requests.
    pub keeps: bool,
    /// Whether a body follows, which `GET` and `HEAD` do not have.
    pub has_body: bool,
}

/// The result of parsing the first bytes of a request.
pub enum Parsed {
    /// A head, and its length in bytes.
    Request(Request, usize),
    /// The beginning of a head.
    Partial,
    /// Not a request.
    Wrong,
}

/// Parses the head at the beginning of `bytes`.
pub fn parse(bytes: &[u8]) -> Parsed {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    let length = match head.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Parsed::Partial,
        Err(_) => return Parsed::Wrong,
    };
    let (Some(method), Some(target), Some(version)) = (head.method, head.path, head.version) else {
        return Parsed::Wrong;
    };
    // Every server must accept the absolute form, though it is meant for proxies.
    let target = match target.strip_prefix("http://") {
        Some(rest) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => target,
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request {
        method: method.to_owned(),
        path: path.as_bytes().to_vec(),
        query: query.as_bytes().to_vec(),
        keeps: version >= 1,
        ..Request::default()
    };
    for header in head.headers.iter() {
        let text = || std::str::from_utf8(header.value).ok().map(|text| text.trim().to_owned());
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("range") {
            request.range = text();
        } else if is("if-range") {
            request.if_range = text();
        } else if is("if-none-match") {
            request.if_none_match = text();
        } else if is("connection") {
            let close = text().is_some_and(|text| has_word(&text, "close"));
            let keep = text().is_some_and(|text| has_word(&text, "keep-alive"));
            request.keeps = !close && (request.keeps || keep);
        } else if is("content-length") {
            request.has_body |= header.value != b"0";
        } else if is("transfer-encoding") {
            request.has_body = true;
        }
    }
    Parsed::Request(request, length)
}

/// Returns true if a comma-separated list has `word`, in upper or lower case.
fn has_word(list: &str, word: &str) -> bool {
    list.split(',').any(|found| found.trim().eq_ignore_ascii_case(word))
}

/// Decodes percent-encoding; returns `None` if it is malformed.
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digits;
        (digits, rest) = rest.split_at_checked(2)?;
        let digit =
            |at: usize| char::from(digits[at]).to_digit(16).and_then(|d| u8::try_from(d).ok());
        out.push(digit(0)? << 4 | digit(1)?);
    }
    Some(out)
}

/// The part of a resource that a request wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestedRange {
    /// All of it: the request has no range, several, or a malformed one.
    All,
    /// This part.
    Part(Range<u64>),
    /// A range that is not inside of the resource.
    Nothing,
}

/// Parses the value of a `Range` header for a resource of `length` bytes. Several ranges are
/// answered with the whole resource, as servers may.
pub fn wanted(range: &str, length: u64) -> RequestedRange {
    let Some(("bytes", list)) = range.split_once('=') else { return RequestedRange::All };
    let Some((first, last)) = list.trim().split_once('-') else { return RequestedRange::All };
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // A number of more than 64 bits is greater than every length.
        is_number.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    match (first, number(first), last, number(last)) {
        ("", _, _, Some(0)) => RequestedRange::Nothing,
        ("", _, _, Some(_)) if length == 0 => RequestedRange::Nothing,
        ("", _, _, Some(count)) => RequestedRange::Part(length.saturating_sub(count)..length),
        (_, Some(first), "", _) if first < length => RequestedRange::Part(first..length),
        (_, Some(first), _, Some(last)) if last < first => RequestedRange::All,
        (_, Some(first), _, Some(last)) if first < length => {
            RequestedRange::Part(first..last.saturating_add(1).min(length))
        }
        (_, Some(_), "", _) | (_, Some(_), _, Some(_)) => RequestedRange::Nothing,
        _ => RequestedRange::All,
    }
}

/// Returns true if the list of ETags in an `If-None-Match` has `etag`.
pub fn matches(list: &str, etag: &str) -> bool {
    list.trim() == "*"
        || list.split(',').any(|found| {
            let found = found.trim();
            found.strip_prefix("W/").unwrap_or(found) == etag
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_are_what_the_rfc_says() {
        for (range, length, expected) in [
            ("bytes=0-0", 10, RequestedRange::Part(0..1)),
            ("bytes=2-", 10, RequestedRange::Part(2..10)),
            ("bytes=9-99", 10, RequestedRange::Part(9..10)),
            ("bytes=-3", 10, RequestedRange::Part(7..10)),
            ("bytes=-99", 10, RequestedRange::Part(0..10)),
            ("bytes=0-18446744073709551615", 10, RequestedRange::Part(0..10)),
            ("bytes=0-99999999999999999999999", 10, RequestedRange::Part(0..10)),
            ("bytes=10-", 10, RequestedRange::Nothing),
            ("bytes=10-12", 10, RequestedRange::Nothing),
            ("bytes=-0", 10, RequestedRange::Nothing),
            ("bytes=0-", 0, RequestedRange::Nothing),
            ("bytes=-1", 0, RequestedRange::Nothing),
            ("bytes=5-2", 10, RequestedRange::All),
            ("bytes=0-1,3-4", 10, RequestedRange::All),
            ("bytes=", 10, RequestedRange::All),
            ("bytes=-", 10, RequestedRange::All),
            ("bytes=+1-2", 10, RequestedRange::All),
            ("items=0-1", 10, RequestedRange::All),
        ] {
            assert_eq!(wanted(range, length), expected, "{range} of {length}");
        }
    }

    #[test]
    fn request_heads_are_parsed() {
        let head = b"GET /a%20b?x=1 HTTP/1.1\r\nHost: h\r\nRANGE: bytes=0-1\r\n\r\nmore";
        let Parsed::Request(request, length) = parse(head) else { panic!("no request") };
        assert_eq!((length, request.keeps, request.has_body), (head.len() - 4, true, false));
        assert_eq!(decode(&request.path).unwrap(), b"/a b");
        assert_eq!(request.range.as_deref(), Some("bytes=0-1"));
        assert!(matches!(parse(b"GET / HTTP/1.1\r\nHost"), Parsed::Partial));
        assert!(matches!(parse(b"\x16\x03\x01\0\0"), Parsed::Wrong));
        let Parsed::Request(request, _) = parse(b"GET http://h:1/x HTTP/1.0\r\n\r\n") else {
            panic!("no request")
        };
        assert_eq!((&request.path[..], request.keeps), (&b"/x"[..], false));
        for wrong in ["%", "%1", "%zz", "a%+1"] {
            assert_eq!(decode(wrong.as_bytes()), None, "{wrong}");
        }
        assert!(matches("\"a\", W/\"b\"", "\"b\"") && !matches("\"a\"", "\"b\""));
    }

    proptest! {
        #[test]
        fn whatever_is_received_is_parsed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            parse(&bytes);
            decode(&bytes);
        }

        #[test]
        fn a_part_is_never_empty_and_inside_of_the_resource(range in "bytes=[0-9]{0,20}-[0-9]{0,20}", length in any::<u64>()) {
            if let RequestedRange::Part(part) = wanted(&range, length) {
                prop_assert!(part.start < part.end && part.end <= length);
            }
        }
    }
}
