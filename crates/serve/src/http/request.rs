//! Parses requests.

use std::ops::Range;
use std::time::SystemTime;

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
    /// The header `If-Match`.
    pub if_match: Option<String>,
    /// The header `If-Unmodified-Since`.
    pub if_unmodified_since: Option<String>,
    /// The header `If-None-Match`.
    pub if_none_match: Option<String>,
    /// The header `If-Modified-Since`.
    pub if_modified_since: Option<String>,
    /// The header `Host`.
    pub host: Option<String>,
    /// Whether the connection stays open for further requests.
    pub keeps: bool,
    /// Whether a body follows, which `GET` and `HEAD` do not have.
    pub has_body: bool,
}

/// The result of parsing the first bytes of a request.
pub enum Parsed {
    /// A head, and its length in bytes.
    Request(Box<Request>, usize),
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
    let mut hosts = 0;
    for header in head.headers.iter() {
        let text = String::from_utf8_lossy(header.value).trim().to_owned();
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        // Several lines of one header are one list. Where no list is allowed, its value is then
        // malformed, and so the header means nothing.
        let add = |known: &mut Option<String>| match known {
            Some(known) => known.extend([", ", &text]),
            None => *known = Some(text.clone()),
        };
        if is("range") {
            add(&mut request.range);
        } else if is("if-range") {
            add(&mut request.if_range);
        } else if is("if-match") {
            add(&mut request.if_match);
        } else if is("if-unmodified-since") {
            add(&mut request.if_unmodified_since);
        } else if is("if-none-match") {
            add(&mut request.if_none_match);
        } else if is("if-modified-since") {
            add(&mut request.if_modified_since);
        } else if is("host") {
            hosts += 1;
            add(&mut request.host);
        } else if is("connection") {
            let close = has_word(&text, "close");
            request.keeps = !close && (request.keeps || has_word(&text, "keep-alive"));
        } else if is("content-length") {
            request.has_body |= header.value != b"0";
        } else if is("transfer-encoding") {
            request.has_body = true;
        }
    }
    // A request of HTTP/1.1 has exactly one (RFC 9112, 3.2).
    if hosts > 1 || (version >= 1 && hosts == 0) {
        return Parsed::Wrong;
    }
    Parsed::Request(Box::new(request), length)
}

/// Returns true if `host`, the value of a `Host` header, is an address, a name that only this
/// machine or its network can resolve, or one of `names`.
///
/// Other names are refused on the loopback interface: the owner of a name can let it mean 127.0.0.1,
/// and then a page of that name reads what is served there (*DNS rebinding*).
pub fn is_local(host: &str, names: &[String]) -> bool {
    if host.starts_with('[') {
        return true;
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let name = name.strip_suffix('.').unwrap_or(name);
    !name.contains('.')
        || name.parse::<std::net::Ipv4Addr>().is_ok()
        || name.to_ascii_lowercase().ends_with(".localhost")
        || names.iter().any(|known| known.eq_ignore_ascii_case(name))
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

/// Evaluates the preconditions of a request in the order of RFC 9110, 13.2.2, for a resource with
/// the strong ETag `etag`, which was modified at `mtime`, in seconds since 1970. Returns 412 or 304
/// if the request is to be answered so.
pub fn precondition(request: &Request, etag: &str, mtime: Option<u64>) -> Option<u16> {
    // A date that is malformed means nothing.
    let date = |text: &Option<String>| {
        let time = httpdate::parse_http_date(text.as_deref()?).ok()?;
        time.duration_since(SystemTime::UNIX_EPOCH).ok().map(|time| time.as_secs())
    };
    if let Some(list) = &request.if_match {
        if !matches(list, etag, false) {
            return Some(412);
        }
    } else if let (Some(until), Some(mtime)) = (date(&request.if_unmodified_since), mtime)
        && mtime > until
    {
        return Some(412);
    }
    if let Some(list) = &request.if_none_match {
        if matches(list, etag, true) {
            return Some(304);
        }
    } else if let (Some(since), Some(mtime)) = (date(&request.if_modified_since), mtime)
        && mtime <= since
    {
        return Some(304);
    }
    None
}

/// Returns true if a list of ETags has `etag`, or is `*`; with `with_weak` also if the list has it
/// as a weak one.
fn matches(list: &str, etag: &str, with_weak: bool) -> bool {
    if list.trim() == "*" {
        return true;
    }
    let mut rest = list;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let is_weak = rest.starts_with("W/");
        let tag = rest.strip_prefix("W/").unwrap_or(rest);
        // A tag may have commas. What is malformed ends the list.
        let Some(end) = tag.strip_prefix('"').and_then(|inner| inner.find('"')) else {
            return false;
        };
        let (tag, after) = tag.split_at(end + 2);
        if tag == etag && (with_weak || !is_weak) {
            return true;
        }
        rest = after;
    }
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
    }

    #[test]
    fn a_request_of_1_1_names_one_host() {
        for (head, is_right) in [
            ("GET / HTTP/1.1\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
            ("GET / HTTP/1.0\r\n\r\n", true),
        ] {
            assert_eq!(matches!(parse(head.as_bytes()), Parsed::Request(..)), is_right, "{head}");
        }
        let names = ["www.example.org".to_owned()];
        for (host, expected) in [
            ("127.0.0.1:8080", true),
            ("[::1]:8080", true),
            ("localhost", true),
            ("a.localhost:80", true),
            ("WWW.example.org:80", true),
            ("www.example.org.", true),
            ("example.org", false),
            ("127.0.0.1.example.org:80", false),
            ("www.example.org.evil.example", false),
        ] {
            assert_eq!(is_local(host, &names), expected, "{host}");
        }
    }

    /// The dates are 1, 2 and 3 s after the start of 1970.
    #[test]
    fn preconditions_are_evaluated_in_order() {
        let at = |seconds: u8| format!("Thu, 01 Jan 1970 00:00:0{seconds} GMT");
        let (one, two, three) = (at(1), at(2), at(3));
        for (headers, expected) in [
            (vec![], None),
            (vec![("If-Match", "\"t\"")], None),
            (vec![("If-Match", "*")], None),
            (vec![("If-Match", "W/\"t\"")], Some(412)),
            (vec![("If-Match", "\"x\", \"t\"")], None),
            (vec![("If-Match", "\"x\"")], Some(412)),
            (vec![("If-Match", "\"x\""), ("If-Match", "\"t\"")], None),
            (vec![("If-Match", "\"x\""), ("If-None-Match", "\"t\"")], Some(412)),
            (vec![("If-Match", "\"t\""), ("If-Unmodified-Since", &one)], None),
            (vec![("If-Match", "\"t\""), ("If-None-Match", "\"t\"")], Some(304)),
            (vec![("If-Unmodified-Since", &one)], Some(412)),
            (vec![("If-Unmodified-Since", &two)], None),
            (vec![("If-Unmodified-Since", "tomorrow")], None),
            (vec![("If-None-Match", "\"x,\", W/\"t\"")], Some(304)),
            (vec![("If-None-Match", "\"x, \"t\"")], None),
            (vec![("If-None-Match", "*")], Some(304)),
            (vec![("If-None-Match", "\"x\""), ("If-Modified-Since", &three)], None),
            (vec![("If-Modified-Since", &one)], None),
            (vec![("If-Modified-Since", &two)], Some(304)),
            (vec![("If-Modified-Since", &three)], Some(304)),
            (vec![("If-Modified-Since", "2")], None),
        ] {
            let lines: String =
                headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            let head = format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
            let Parsed::Request(request, _) = parse(head.as_bytes()) else { panic!("{head}") };
            assert_eq!(precondition(&request, "\"t\"", Some(2)), expected, "{lines}");
        }
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
