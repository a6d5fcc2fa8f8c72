//! `freestone init`.

use crate::context::Context;
use crate::exit::Exit;
use crate::location::Location;
use crate::upstreams;
use crate::values::size;
use clap::Args;
use freestone_core::{Error, ErrorKind, Result, shown};
use freestone_follow::Opened;
use freestone_store::Store;
use serde::Serialize;
use std::path::PathBuf;

/// Create a store
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  freestone init                  at the default location
  freestone init /srv/www.store
  freestone init s3://bucket/www
  freestone init --shared /srv/team.store    for all who push with it
  freestone init --upstream s3://bucket/www --cache-size 2G    follow a store

With --json: {\"store\" (directory or URL), \"store_id\", \"upstream\" (URL or null)}")]
pub struct Init {
    /// Location of the store: a directory, empty or new, or s3://BUCKET/PREFIX. Default: as for
    /// --store
    #[arg(value_name = "STORE")]
    place: Option<PathBuf>,

    /// Follow the store at this URL: cache here what is read from it. Nothing can be pushed to a
    /// store that follows another one
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,

    /// Limit the disk space for cached packs of the upstream; none for no limit
    #[arg(long, value_name = "SIZE|none", default_value = "10G", value_parser = cache_size, requires = "upstream")]
    cache_size: CacheLimit,

    /// Create the directory as the umask says, so that others can read the store or push to it.
    /// Without this, only its owner can
    #[arg(long)]
    shared: bool,

    /// Name under which this host pins revisions at the upstream. Default: the host name
    #[arg(long, value_name = "NAME", requires = "upstream")]
    host: Option<String>,
}

/// The limit of the cache's size; `None` for no limit.
#[derive(Clone, Copy)]
struct CacheLimit(Option<u64>);

fn cache_size(text: &str) -> Result<CacheLimit, String> {
    if text == "none" {
        Ok(CacheLimit(None))
    } else {
        size::argument(text).map(Some).map(CacheLimit)
    }
}

/// Returns the machine's host name, with characters replaced that a ref's name cannot contain.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let allowed = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = name.trim().trim_start_matches('.').chars().map(allowed).take(40).collect();
    if name.is_empty() { "host".into() } else { name }
}

/// The result as JSON. The help documents its keys.
#[derive(Serialize)]
struct Answer {
    store: String,
    store_id: String,
    upstream: Option<String>,
}

impl Init {
    /// Runs the command.
    ///
    /// # Errors
    /// The location holds something, or cannot be written.
    pub fn run(&self, context: &Context) -> Result<Exit> {
        let place = match (&self.place, context.has_store_option()) {
            (Some(_), true) => {
                return Err(Error::new(
                    ErrorKind::Usage,
                    "the store is given twice, as an argument and by --store",
                ));
            }
            (Some(place), false) => Location::parse(place.clone())?,
            (None, _) => context.store_location()?,
        };
        if self.shared {
            self.create_shared(&place)?;
        }
        let opened = match (&place, &self.upstream) {
            (Location::Directory(path), None) => Opened::plain(Store::init(path)?),
            (Location::Directory(path), Some(url)) => {
                let host = self.host.clone().unwrap_or_else(host_name);
                let opening = context.opening();
                let opened = freestone_follow::init(path, url, self.cache_size.0, &host, &opening)?;
                if let Err(error) = upstreams::remember(url) {
                    let hint = error.hint_text().unwrap_or_default();
                    context.output.note(format_args!("{}; {hint}", error.chain()));
                }
                opened
            }
            #[cfg(feature = "remote")]
            (Location::Remote(place), None) => {
                Opened::plain(Store::init_backend(context.remote(place)?, None)?)
            }
            #[cfg(feature = "remote")]
            (Location::Remote(place), Some(_)) => {
                return Err(Error::new(
                    ErrorKind::Usage,
                    format!("{place}: a store that follows an upstream must be a directory"),
                )
                .hint("give a local directory as the store, and this URL with --upstream"));
            }
        };
        let Opened { store, follower } = opened;
        let upstream = follower.map(|follower| shown::url(&follower.config().url));
        if context.output.is_json() {
            let (store_id, store) = (store.id().to_string(), place.json());
            context.output.json(&Answer { store, store_id, upstream })?;
        } else {
            let follows = upstream.map(|url| format!(", which follows {url}")).unwrap_or_default();
            let id = store.id();
            context.output.note(format_args!("created store {id} in {place}{follows}"));
        }
        Ok(Exit::Done)
    }

    /// Creates the directory of the store with the mode that the umask gives.
    fn create_shared(&self, place: &Location) -> Result<()> {
        let Some(path) = place.directory() else {
            return Err(Error::new(ErrorKind::Usage, "--shared is for stores in a directory")
                .hint("the server decides who may read and write a remote store"));
        };
        std::fs::create_dir_all(path)
            .map_err(|error| Error::io(format!("{} cannot be created", path.display()), error))
    }
}
