//! URLs of stores: a bucket and a prefix in it, or a folder on a web server.

use freestone_core::{Error, ErrorKind, Result, shown};
use std::fmt;

/// The URL of a store that is not a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// `s3://BUCKET/PREFIX`.
    S3 {
        /// The bucket.
        bucket: String,
        /// The beginning of all keys of the store, without a `/` at either end; may be empty.
        prefix: String,
    },
    /// `https://HOST/PATH`, read only.
    Web {
        /// The URL, without a `/` at its end.
        url: String,
    },
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
            Self::Web { url } => f.write_str(url),
        }
    }
}

fn usage(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Usage, what)
}

impl StoreUrl {
    /// Parses a URL.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if it is not the URL of a store, [`ErrorKind::Refused`] if it is
    /// `http://` and the server is not this machine.
    pub fn parse(text: &str) -> Result<Self> {
        let shown = shown::url(text);
        let (scheme, rest) =
            text.split_once("://").ok_or_else(|| usage(format!("store {shown}: not a URL")))?;
        match scheme {
            "s3" => Self::parse_s3(text, rest),
            "https" => Self::parse_web(text, rest),
            "http" => {
                let place = Self::parse_web(text, rest)?;
                if is_loopback(authority(rest)) {
                    return Ok(place);
                }
                Err(Error::refused(format!(
                    "store {shown}: over plain http anybody on the network path can change what a ref names"
                ))
                .hint("use https://; plain http is for servers on this machine, as in http://127.0.0.1:8080"))
            }
            _ => Err(usage(format!("store {shown}: unknown kind {scheme}://")).hint(
                "a store is a directory, s3://BUCKET/PREFIX, or https://HOST/PATH for reading",
            )),
        }
    }

    fn parse_s3(text: &str, rest: &str) -> Result<Self> {
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_bucket = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
        if bucket.is_empty() || !bucket.bytes().all(is_bucket) {
            let shown = shown::url(text);
            return Err(usage(format!("store {shown}: this does not name a bucket"))
                .hint("write s3://BUCKET/PREFIX; the server is named by AWS_ENDPOINT_URL"));
        }
        let prefix = prefix.trim_end_matches('/');
        check_path(text, prefix)?;
        Ok(Self::S3 { bucket: bucket.into(), prefix: prefix.into() })
    }

    fn parse_web(text: &str, rest: &str) -> Result<Self> {
        if rest.contains(['?', '#', '@']) {
            let shown = shown::url(text);
            return Err(usage(format!("store {shown}: a store's URL has no ?, # or @")));
        }
        let path = rest.split_once('/').map_or("", |(_, path)| path);
        check_path(text, path.trim_end_matches('/'))?;
        if authority(rest).is_empty() {
            return Err(usage(format!("store {}: the server is missing", shown::url(text))));
        }
        Ok(Self::Web { url: text.trim_end_matches('/').into() })
    }
}

/// Checks that every server and tool understands the parts of `path` in the same way.
fn check_path(text: &str, path: &str) -> Result<()> {
    let is_fine = |part: &str| {
        !part.is_empty() && part != "." && part != ".." && !part.contains(|c: char| c.is_control())
    };
    if path.is_empty() || path.split('/').all(is_fine) {
        return Ok(());
    }
    let shown = shown::url(text);
    Err(usage(format!(
        "store {shown}: its path has a part that is empty, . or .., or has control characters"
    )))
}

/// Returns the server's part of a URL, `HOST[:PORT]`; `rest` is what follows the scheme.
fn authority(rest: &str) -> &str {
    rest.split('/').next().unwrap_or_default()
}

/// Returns true if `HOST[:PORT]` is this machine.
fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_parsed() {
        for (text, shown) in [
            ("s3://bucket", "s3://bucket"),
            ("s3://bucket/", "s3://bucket"),
            ("s3://my-bucket/a/b/", "s3://my-bucket/a/b"),
            ("https://host/a", "https://host/a"),
            ("https://host:8443", "https://host:8443"),
            ("http://127.0.0.1:80/a/", "http://127.0.0.1:80/a"),
            ("http://[::1]:80/a", "http://[::1]:80/a"),
            ("http://localhost/a", "http://localhost/a"),
        ] {
            assert_eq!(StoreUrl::parse(text).unwrap().to_string(), shown);
        }
        let place = StoreUrl::parse("s3://b/c/d").unwrap();
        assert_eq!(place, StoreUrl::S3 { bucket: "b".into(), prefix: "c/d".into() });
    }

    #[test]
    fn other_urls_are_refused() {
        for (text, kind) in [
            ("s3://", ErrorKind::Usage),
            ("s3:///a", ErrorKind::Usage),
            ("s3://b//a", ErrorKind::Usage),
            ("s3://b/../a", ErrorKind::Usage),
            ("https://", ErrorKind::Usage),
            ("https://h/a?b", ErrorKind::Usage),
            ("https://user@h/a", ErrorKind::Usage),
            ("ftp://h/a", ErrorKind::Usage),
            ("directory", ErrorKind::Usage),
            ("http://host/a", ErrorKind::Refused),
            ("http://localhost.example.com/a", ErrorKind::Refused),
            ("http://10.0.0.1/a", ErrorKind::Refused),
        ] {
            assert_eq!(StoreUrl::parse(text).unwrap_err().kind(), kind, "{text}");
        }
    }
}
