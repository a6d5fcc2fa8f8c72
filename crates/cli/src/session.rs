//! What every command works with.

use crate::arguments::Global;
use crate::config::{self, Config};
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::place::Place;
use crate::progress::{Progress, Unit};
use crate::time;
use freestone_core::{Error, ErrorKind, Result};
use freestone_sink::Control;
use freestone_source::{directory, exclude};
use freestone_store::Store;
use freestone_store::backend::Backend;
use freestone_store::backend::directory::Directory;
use freestone_store::upstream::{Opening, directory_of};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
#[cfg(feature = "remote")]
use {std::io::Write, std::num::NonZeroU32, std::time::Duration};

/// Opens what a URL names.
type Open = Box<dyn Fn(&str) -> Result<Arc<dyn Backend>> + Send + Sync>;

/// Threads, unless the configuration says otherwise: more do not help the disk.
const WORKERS_MAX: usize = 16;

/// Outputs, configuration, and the way to the store.
pub struct Session {
    /// Where answers and all else go.
    pub output: Output,
    /// What was configured.
    pub config: Config,
    /// Whether the end was asked for.
    pub interrupt: Interrupt,
    store: Option<PathBuf>,
    offline: bool,
    open: Open,
    #[cfg(feature = "remote")]
    remote: freestone_remote::Options,
}

impl Session {
    /// What `global` says, and the configuration.
    ///
    /// # Errors
    /// The configuration cannot be read or makes no sense.
    pub fn new(global: &Global, interrupt: Interrupt) -> Result<Self> {
        let output = Output::new(global.json, global.quiet, global.verbose);
        let config = Config::load(global.config.as_deref())?;
        #[cfg(feature = "remote")]
        let remote = remote_options(global, &config, &output, &interrupt);
        Ok(Self {
            open: opener(
                #[cfg(feature = "remote")]
                remote.clone(),
            ),
            #[cfg(feature = "remote")]
            remote,
            output,
            config,
            interrupt,
            store: global.store.clone(),
            offline: global.offline,
        })
    }

    /// Where the store is, or is to be.
    ///
    /// # Errors
    /// Nothing says where; or it is of a kind that this build does not know.
    pub fn store_place(&self) -> Result<Place> {
        let place = self.named_store().or_else(default_store).ok_or_else(|| {
            Error::new(ErrorKind::Usage, "nothing says where the store is, not even $HOME")
                .hint("name it with -s, or in $FREESTONE_STORE")
        })?;
        Place::parse(place)
    }

    fn named_store(&self) -> Option<PathBuf> {
        let variable = std::env::var_os("FREESTONE_STORE").filter(|value| !value.is_empty());
        self.store
            .clone()
            .or_else(|| variable.map(PathBuf::from))
            .or_else(|| self.config.store.clone())
    }

    /// Opens the store.
    ///
    /// # Errors
    /// There is none, or it cannot be opened.
    pub fn store(&self) -> Result<Store> {
        let place = self.store_place()?;
        self.output.detail(format_args!("store {place}"));
        match &place {
            Place::Directory(path) => Store::open_with(path, &self.opening()),
            #[cfg(feature = "remote")]
            Place::Remote(place) => {
                if self.offline {
                    return Err(Error::refused(format!("store {place} is not here"))
                        .hint("leave out --offline, or name a host's store that follows it"));
                }
                Store::open_backend(self.remote(place)?, None)
            }
        }
    }

    /// Opens another store than the one that is worked on.
    ///
    /// # Errors
    /// As [`Self::store`].
    pub fn store_at(&self, place: &str) -> Result<Store> {
        match directory_of(place) {
            Some(path) => Store::open_with(&path, &self.opening()),
            None => Store::open_backend((self.open)(place)?, None),
        }
    }

    /// How stores are opened.
    pub fn opening(&self) -> Opening<'_> {
        Opening { offline: self.offline, upstream: &*self.open }
    }

    /// Whether nobody is to be asked.
    pub fn is_offline(&self) -> bool {
        self.offline
    }

    /// What keeps the objects of the store at `place`.
    ///
    /// # Errors
    /// The environment makes no sense.
    #[cfg(feature = "remote")]
    pub fn remote(&self, place: &freestone_remote::Place) -> Result<Arc<dyn Backend>> {
        freestone_remote::open(place, self.remote.clone())
    }

    /// What requests to stores elsewhere came to so far.
    #[cfg(feature = "remote")]
    pub fn traffic(&self) -> &freestone_remote::Traffic {
        &self.remote.traffic
    }

    /// Whether the store was named by an option.
    pub fn has_store_option(&self) -> bool {
        self.store.is_some()
    }

    /// The ref that is meant: `given`, else what the environment or the configuration says, else
    /// `main`.
    pub fn ref_name(&self, given: Option<&str>) -> String {
        let variable = std::env::var("FREESTONE_REF").ok().filter(|name| !name.is_empty());
        let configured = || self.config.ref_name.clone();
        given.map(str::to_owned).or(variable).or_else(configured).unwrap_or_else(|| "main".into())
    }

    /// The time of what is made now: `SOURCE_DATE_EPOCH`, else the clock's.
    ///
    /// # Errors
    /// `SOURCE_DATE_EPOCH` is no time.
    pub fn time(&self) -> Result<i64> {
        Ok(time::source_date_epoch()?.unwrap_or_else(time::now))
    }

    /// How a directory is walked, with the patterns of the configuration, of `exclude_from`, and
    /// `excludes`, the last winning.
    ///
    /// # Errors
    /// A file of patterns cannot be read.
    pub fn walking(
        &self,
        exclude_from: &[PathBuf],
        excludes: &[String],
    ) -> Result<directory::DirectoryOptions> {
        let mut patterns = self.config.exclude.clone().unwrap_or_default();
        for file in exclude_from {
            patterns.extend(exclude::read_patterns(file)?);
        }
        patterns.extend_from_slice(excludes);
        let default = directory::DirectoryOptions::default();
        let memory = self.config.memory.and_then(|bytes| usize::try_from(bytes).ok());
        Ok(directory::DirectoryOptions {
            excludes: patterns,
            memory_bytes: memory.unwrap_or(default.memory_bytes),
            ..default
        })
    }

    /// How many threads work.
    pub fn workers(&self) -> NonZeroUsize {
        self.config.threads.unwrap_or_else(|| {
            let found = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
            found.min(NonZeroUsize::new(WORKERS_MAX).unwrap_or(NonZeroUsize::MIN))
        })
    }

    /// How a sink takes an image, reporting to `advance`.
    pub fn control<'a>(&'a self, advance: &'a (dyn Fn(u64) + Sync)) -> Control<'a> {
        let default = Control::default();
        Control {
            workers: self.config.threads.unwrap_or(default.workers),
            progress: advance,
            cancel: self.interrupt.flag(),
            ..default
        }
    }

    /// The progress of some work: see [`Progress::new`].
    pub fn progress(&self, label: &'static str, unit: Unit, total: Option<u64>) -> Progress {
        Progress::new(&self.output, label, unit, total)
    }
}

/// How requests are made: what the options say, else the configuration.
#[cfg(feature = "remote")]
fn remote_options(
    global: &Global,
    config: &Config,
    output: &Output,
    interrupt: &Interrupt,
) -> freestone_remote::Options {
    let default = freestone_remote::Options::default();
    let seconds = |given: Option<NonZeroU32>, default: Duration| {
        given.map_or(default, |seconds| Duration::from_secs(u64::from(seconds.get())))
    };
    let is_quiet = output.is_quiet();
    let notice = move |text: &str| {
        if !is_quiet {
            // Nobody can be told that nothing can be said.
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    };
    let patience = seconds(config.retry_for, default.patience);
    // Who says how long means it from the beginning.
    let first_patience = seconds(config.retry_for, default.first_patience);
    let pusher = std::env::var("FREESTONE_PUSHER").ok().filter(|name| !name.is_empty());
    freestone_remote::Options {
        rate_limit: global.limit_rate.or(config.limit_rate),
        stall: seconds(config.timeout, default.stall),
        first_patience,
        patience,
        pusher,
        cancel: interrupt.given_up(),
        notice: freestone_remote::options::Notice(Arc::new(notice)),
        ..default
    }
}

/// Opens what an upstream's URL names, or the target of a copy.
///
/// # Errors
/// [`ErrorKind::Refused`] if this build does not know the kind.
fn opener(#[cfg(feature = "remote")] remote: freestone_remote::Options) -> Open {
    Box::new(move |url| {
        if let Some(path) = directory_of(url) {
            return Ok(Arc::new(Directory::new(path)));
        }
        match Place::parse(PathBuf::from(url))? {
            Place::Directory(path) => Ok(Arc::new(Directory::new(path))),
            #[cfg(feature = "remote")]
            Place::Remote(place) => freestone_remote::open(&place, remote.clone()),
        }
    })
}

/// The store of who names none.
fn default_store() -> Option<PathBuf> {
    // systemd may name several, parted by colons.
    let state = std::env::var("STATE_DIRECTORY").ok();
    let state = state.as_deref().and_then(|list| list.split(':').next());
    if let Some(first) = state.filter(|first| !first.is_empty()) {
        return Some(PathBuf::from(first));
    }
    if rustix::process::geteuid().is_root() {
        return Some(PathBuf::from("/var/lib/freestone"));
    }
    config::user_directory("XDG_DATA_HOME", ".local/share").map(|data| data.join("freestone"))
}
