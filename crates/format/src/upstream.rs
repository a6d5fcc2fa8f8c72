//! The file `upstream` of a store that follows one: which, and how much of it may be kept here.
//!
//! ```text
//! freestone upstream
//! url: where it is
//! store: its id, 32 hex digits
//! cache-size: bytes that its packs may take here; `none` for no limit
//! host: by what name this host's pins are known
//! ```
//! People may edit it, all but the id; so it has no check. Unknown keys are refused.

use crate::header::StoreId;
use crate::ref_entry::check_part;
use freestone_core::{Error, ErrorKind, Result};

const FIRST_LINE: &str = "freestone upstream";

/// What the file `upstream` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where the upstream is: a directory, or a URL.
    pub url: String,
    /// The upstream's id.
    pub store: StoreId,
    /// Bytes that packs may take here; `None` for no limit.
    pub cache_size: Option<u64>,
    /// By what name this host's pins are known.
    pub host: String,
}

impl Config {
    /// Returns the text of the file.
    pub fn encode(&self) -> String {
        let size = self.cache_size.map_or_else(|| "none".into(), |size| size.to_string());
        format!(
            "{FIRST_LINE}\nurl: {}\nstore: {}\ncache-size: {size}\nhost: {}\n",
            self.url, self.store, self.host
        )
    }

    /// Reads the text of the file.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`]: it says what makes no sense.
    pub fn decode(text: &[u8]) -> Result<Self> {
        let wrong = |what: String| {
            Error::new(ErrorKind::Usage, format!("the file `upstream` of the store {what}")).hint(
                "it has the lines `url:`, `store:`, `cache-size:` (bytes, or none) and `host:`",
            )
        };
        let text = std::str::from_utf8(text).map_err(|_| wrong("is not UTF-8".into()))?;
        let mut lines = text.lines();
        if lines.next() != Some(FIRST_LINE) {
            return Err(wrong(format!("does not begin with `{FIRST_LINE}`")));
        }
        let (mut url, mut store, mut size, mut host) = (None, None, None, None);
        for line in lines.filter(|line| !line.trim().is_empty()) {
            let (key, value) = line.split_once(':').map_or((line, ""), |(k, v)| (k, v.trim()));
            let slot = match key {
                "url" => &mut url,
                "store" => &mut store,
                "cache-size" => &mut size,
                "host" => &mut host,
                _ => return Err(wrong(format!("has an unknown line {line:?}"))),
            };
            if slot.replace(value.to_owned()).is_some() || value.is_empty() {
                return Err(wrong(format!("says {key} twice, or nothing")));
            }
        }
        let missing = |key: &str| wrong(format!("has no line `{key}:`"));
        let store = store.ok_or_else(|| missing("store"))?;
        let size = size.ok_or_else(|| missing("cache-size"))?;
        let cache_size = match size.as_str() {
            "none" => None,
            size => Some(size.parse().map_err(|_| wrong(format!("has no size in {size:?}")))?),
        };
        let host = host.ok_or_else(|| missing("host"))?;
        check_part(&host)?;
        Ok(Self {
            url: url.ok_or_else(|| missing("url"))?,
            store: StoreId::parse(&store)
                .ok_or_else(|| wrong(format!("has no id in {store:?}")))?,
            cache_size,
            host,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_makes_no_sense_is_named() {
        let mut config = Config {
            url: "s3://bucket/a b".into(),
            store: StoreId([7; 16]),
            cache_size: Some(10),
            host: "web-1".into(),
        };
        assert_eq!(Config::decode(config.encode().as_bytes()).unwrap(), config);
        config.cache_size = None;
        let text = config.encode();
        assert_eq!(Config::decode(text.as_bytes()).unwrap(), config);
        for (from, to) in [
            ("freestone upstream", "freestone"),
            ("url: s3://bucket/a b", ""),
            ("url: s3://bucket/a b", "url:"),
            ("url", "uri"),
            ("none", "ten"),
            ("0707", "zz"),
            ("web-1", "a/b"),
            ("host: web-1", "host: web-1\nhost: x"),
        ] {
            let text = text.replacen(from, to, 1);
            assert_eq!(
                Config::decode(text.as_bytes()).unwrap_err().kind(),
                ErrorKind::Usage,
                "{to}"
            );
        }
    }
}
