//! The configuration: defaults for what would otherwise be given to every command.
//!
//! `/etc/freestone/config.toml` is read first, then the user's file, whose keys take precedence.
//! `--config FILE` replaces both. Unknown keys are refused, so that a misspelled one is noticed.

use crate::values::size;
use freestone_core::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use std::io;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};

/// The text about the configuration in the help.
pub const TEXT: &str = "\
Configuration: /etc/freestone/config.toml, then ~/.config/freestone/config.toml
($XDG_CONFIG_HOME), whose keys take precedence. --config FILE replaces both. All keys are optional:
  store = \"/srv/www.store\"   the store, as with -s; relative to the directory of the file
  ref = \"main\"               the default ref, as with --ref
  threads = 4                number of threads that hash, read and write
  memory = \"32M\"             memory for sorting the names of a directory; beyond it, TMPDIR is used
  exclude = [\"*.bak\"]        patterns of files to leave out, applied before those of --exclude
For stores on servers:
  trust-upstreams = [\"s3://bucket\"]  upstreams that may be contacted, as with --trust-upstream
  limit-rate = \"10M\"         bytes per second, as with --limit-rate
  timeout = 30               seconds that a request may take without any progress
  retry-for = 60             seconds for which a failing request is repeated";

/// The keys, for hints.
const KEYS: &str = "store, ref, threads, memory, exclude, limit-rate, timeout, retry-for, \
     trust-upstreams";

/// The path of the system's configuration.
const SYSTEM: &str = "/etc/freestone/config.toml";

/// The keys of a configuration.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The store.
    pub store: Option<PathBuf>,
    /// The default ref.
    #[serde(rename = "ref")]
    pub ref_name: Option<String>,
    /// Threads that hash, read and write.
    pub threads: Option<NonZeroUsize>,
    /// Bytes of memory for sorting the names of a directory.
    #[serde(default, deserialize_with = "size_or_number")]
    pub memory: Option<u64>,
    /// The upstreams that may be contacted although the user has not named them before.
    #[serde(rename = "trust-upstreams")]
    pub trust_upstreams: Option<Vec<String>>,
    /// Patterns of files to leave out.
    pub exclude: Option<Vec<String>>,
    /// The most bytes per second to send, and to receive.
    #[serde(rename = "limit-rate", default, deserialize_with = "size_or_number")]
    pub limit_rate: Option<u64>,
    /// Seconds that a request may take without any progress.
    pub timeout: Option<NonZeroU32>,
    /// Seconds for which a failing request is repeated.
    #[serde(rename = "retry-for")]
    pub retry_for: Option<NonZeroU32>,
}

fn size_or_number<'de, D: Deserializer<'de>>(input: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a size is a number of bytes, or a text such as \"32M\"")]
    enum Either {
        Number(u64),
        Text(String),
    }
    match Either::deserialize(input)? {
        Either::Number(number) => Ok(Some(number)),
        Either::Text(text) => size::argument(&text).map(Some).map_err(D::Error::custom),
    }
}

impl Config {
    /// Reads the configuration. `only` is the file given by `--config`, if any.
    ///
    /// # Errors
    /// A file cannot be read, or is not a valid configuration ([`ErrorKind::Usage`]).
    pub fn load(only: Option<&Path>) -> Result<Self> {
        if let Some(path) = only {
            return Self::read(path)?.ok_or_else(|| {
                let path = path.display();
                Error::not_found(format!("configuration {path} does not exist"))
            });
        }
        let mut config = Self::read(Path::new(SYSTEM))?.unwrap_or_default();
        if let Some(path) = user_directory("XDG_CONFIG_HOME", ".config")
            && let Some(user) = Self::read(&path.join("freestone/config.toml"))?
        {
            config = user.or(config);
        }
        Ok(config)
    }

    fn or(self, other: Self) -> Self {
        Self {
            store: self.store.or(other.store),
            ref_name: self.ref_name.or(other.ref_name),
            threads: self.threads.or(other.threads),
            memory: self.memory.or(other.memory),
            exclude: self.exclude.or(other.exclude),
            trust_upstreams: self.trust_upstreams.or(other.trust_upstreams),
            limit_rate: self.limit_rate.or(other.limit_rate),
            timeout: self.timeout.or(other.timeout),
            retry_for: self.retry_for.or(other.retry_for),
        }
    }

    /// Reads one file. Returns `None` if it does not exist.
    fn read(path: &Path) -> Result<Option<Self>> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                let what = format!("configuration {} cannot be read", path.display());
                return Err(Error::io(what, error));
            }
        };
        let mut config = Self::parse(&text).map_err(|error| error.context(path.display()))?;
        if let (Some(store), Some(directory)) = (&config.store, path.parent())
            && !is_url(&store.to_string_lossy())
        {
            config.store = Some(directory.join(store));
        }
        Ok(Some(config))
    }

    fn parse(text: &str) -> Result<Self> {
        toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| {
                text.get(..span.start).map_or(1, |before| 1 + before.matches('\n').count())
            });
            // The rest of the message lists the fields of the Rust type; the hint lists the keys.
            let message = error.message();
            let message = message.split(", expected").next().unwrap_or(message);
            let message = message.replace("unknown field", "unknown key");
            Error::new(ErrorKind::Usage, format!("line {line}: {message}"))
                .hint(format!("the keys are {KEYS}; `freestone --help` describes them"))
        })
    }
}

/// Returns true if `store` is a URL and not a directory.
pub fn is_url(store: &str) -> bool {
    store.contains("://")
}

/// Returns the user's directory that the environment variable `variable` names. The default is
/// `fallback` in the home directory; without a home directory there is none.
pub fn user_directory(variable: &str, fallback: &str) -> Option<PathBuf> {
    // The XDG base directory specification says that relative paths are to be ignored.
    let named = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    named.or_else(|| {
        let home = std::env::var_os("HOME").map(PathBuf::from)?;
        home.is_absolute().then(|| home.join(fallback))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_are_read() {
        let config = Config::parse(
            "store = \"/srv/s\"\nref = \"live\"\nthreads = 2\nmemory = \"1M\"\nexclude = [\"a\"]\n",
        )
        .unwrap();
        assert_eq!(config.store.unwrap(), Path::new("/srv/s"));
        assert_eq!(config.ref_name.unwrap(), "live");
        assert_eq!(config.threads.unwrap().get(), 2);
        assert_eq!(config.memory, Some(1 << 20));
        assert_eq!(config.exclude.unwrap(), ["a"]);
        assert_eq!(Config::parse("memory = 17").unwrap().memory, Some(17));
        assert!(Config::parse("").unwrap().store.is_none());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, what) in [
            ("store = \"a\"\n\nsotre = \"b\"\n", "line 3: unknown key `sotre`"),
            ("threads = 0\n", "line 1: "),
            ("\nmemory = \"1X\"\n", "line 2: \"1X\" is not a size"),
            ("\nmemory = true\n", "line 2: a size is a number"),
            ("ref = \n", "line 1: "),
            ("exclude = \"a\"\n", "line 1: "),
        ] {
            let error = Config::parse(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage);
            assert!(error.to_string().starts_with(what), "{error}");
        }
    }

    #[test]
    fn the_second_file_wins_by_key() {
        let config = |text| Config::parse(text).unwrap();
        let both = config("ref = \"b\"").or(config("ref = \"a\"\nthreads = 3"));
        assert_eq!((both.ref_name.as_deref(), both.threads.unwrap().get()), (Some("b"), 3));
    }
}
