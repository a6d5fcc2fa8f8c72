//! The configuration: what would otherwise be said with every command.
//!
//! `/etc/freestone/config.toml` is read first, then the user's; a key of the second replaces the
//! first one's. `--config FILE` is read in the place of both. Keys that are not known are refused,
//! so that a misspelled one does not go unnoticed.

use crate::values::size;
use freestone_core::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use std::io;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};

/// What the help says of the configuration.
pub const TEXT: &str = "\
Configuration: /etc/freestone/config.toml, then ~/.config/freestone/config.toml
($XDG_CONFIG_HOME), whose keys win; or --config FILE in the place of both. Keys, all optional:
  store = \"/srv/www.store\"   the store, as with -s; relative to the file's directory
  ref = \"main\"               the ref that is pushed to, as with --ref
  threads = 4                threads that hash, read and write
  memory = \"32M\"             what sorting a directory's names may hold before it uses TMPDIR
  exclude = [\"*.bak\"]        patterns of what is never pushed, before those of --exclude
For stores that are no directories:
  limit-rate = \"10M\"         bytes a second, as with --limit-rate
  timeout = 30               seconds that a request may go without progress
  retry-for = 60             seconds for which a request that fails is made again";

/// The keys, for hints.
const KEYS: &str = "store, ref, threads, memory, exclude, limit-rate, timeout, retry-for";

/// Where the system's configuration is.
const SYSTEM: &str = "/etc/freestone/config.toml";

/// What a configuration says.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The store.
    pub store: Option<PathBuf>,
    /// The ref that is pushed to.
    #[serde(rename = "ref")]
    pub ref_name: Option<String>,
    /// Threads that hash, read and write.
    pub threads: Option<NonZeroUsize>,
    /// Bytes that sorting a directory's names may hold.
    #[serde(default, deserialize_with = "size_or_number")]
    pub memory: Option<u64>,
    /// Patterns of what is never pushed.
    pub exclude: Option<Vec<String>>,
    /// Bytes a second that are sent at most, and received.
    #[serde(rename = "limit-rate", default, deserialize_with = "size_or_number")]
    pub limit_rate: Option<u64>,
    /// Seconds that a request may go without progress.
    pub timeout: Option<NonZeroU32>,
    /// Seconds for which a request that fails is made again.
    #[serde(rename = "retry-for")]
    pub retry_for: Option<NonZeroU32>,
}

fn size_or_number<'de, D: Deserializer<'de>>(input: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a size is a number of bytes, or a text like \"32M\"")]
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
    /// Reads the configuration; `only` is what `--config` says.
    ///
    /// # Errors
    /// A file cannot be read, or ([`ErrorKind::Usage`]) is no configuration.
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
            limit_rate: self.limit_rate.or(other.limit_rate),
            timeout: self.timeout.or(other.timeout),
            retry_for: self.retry_for.or(other.retry_for),
        }
    }

    /// Reads one file; `None` if there is none.
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
            // What follows the first line of a message lists what would have been known.
            let message = error.message();
            let message = message.split(", expected").next().unwrap_or(message);
            let message = message.replace("unknown field", "unknown key");
            Error::new(ErrorKind::Usage, format!("line {line}: {message}"))
                .hint(format!("the keys are {KEYS}; freestone --help describes them"))
        })
    }
}

/// Whether a store is named that is no directory.
pub fn is_url(store: &str) -> bool {
    store.contains("://")
}

/// The user's directory that `variable` names, by default `fallback` in the home.
pub fn user_directory(variable: &str, fallback: &str) -> Option<PathBuf> {
    // Relative ones are to be ignored, says the XDG base directory specification.
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
            ("\nmemory = \"1X\"\n", "line 2: \"1X\" is no size"),
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
