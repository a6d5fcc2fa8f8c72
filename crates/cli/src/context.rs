//! What every command works with.

mod remote;

use crate::config::{self, Config};
use crate::global::Global;
use crate::interrupt::Interrupt;
use crate::location::Location;
use crate::output::Output;
use crate::output::progress::{Progress, Unit, while_working};
use crate::values::time;
use freestone_core::wire::to_usize;
use freestone_core::{Error, ErrorKind, Result, Watch};
use freestone_sink::Control;
use freestone_source::{directory, exclude};
use freestone_store::Store;
use freestone_store::upstream::{Opening, directory_of};
use remote::Open;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
#[cfg(feature = "remote")]
use {freestone_store::backend::Backend, std::sync::Arc};

/// Threads, unless the configuration says otherwise: more do not help the disk.
const WORKERS_MAX: usize = 16;

/// Outputs, configuration, and the way to the store.
pub struct Context {
    /// Where answers and all else go.
    pub output: Output,
    /// What was configured.
    pub config: Config,
    /// Whether the end was asked for.
    pub interrupt: Interrupt,
    /// Builds the grammar of the whole command line, for manual pages and completions.
    pub grammar: fn() -> clap::Command,
    store: Option<PathBuf>,
    offline: bool,
    open: Open,
    #[cfg(feature = "remote")]
    remote: freestone_remote::Options,
}

impl Context {
    /// What `global` says, and the configuration.
    ///
    /// # Errors
    /// The configuration cannot be read or makes no sense.
    pub fn new(
        global: &Global,
        interrupt: Interrupt,
        grammar: fn() -> clap::Command,
    ) -> Result<Self> {
        let output = Output::new(global.json, global.quiet, global.verbose);
        let config = Config::load(global.config.as_deref())?;
        #[cfg(feature = "remote")]
        let remote = remote::options(global, &config, &output, &interrupt);
        Ok(Self {
            open: remote::opener(
                #[cfg(feature = "remote")]
                remote.clone(),
            ),
            #[cfg(feature = "remote")]
            remote,
            output,
            config,
            interrupt,
            grammar,
            store: global.store.clone(),
            offline: global.offline,
        })
    }

    /// Where the store is, or is to be.
    ///
    /// # Errors
    /// Nothing says where; or it is of a kind that this build does not know.
    pub fn store_location(&self) -> Result<Location> {
        let place = self.named_store().or_else(default_store).ok_or_else(|| {
            Error::new(ErrorKind::Usage, "nothing says where the store is, not even $HOME")
                .hint("name it with -s, or in $FREESTONE_STORE")
        })?;
        Location::parse(place)
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
        let place = self.store_location()?;
        self.output.detail(format_args!("store {place}"));
        match &place {
            Location::Directory(path) => Store::open_with(path, &self.opening()),
            #[cfg(feature = "remote")]
            Location::Remote(place) => {
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
    ) -> Result<directory::Options> {
        let mut patterns = self.config.exclude.clone().unwrap_or_default();
        for file in exclude_from {
            patterns.extend(exclude::read_patterns(file)?);
        }
        patterns.extend_from_slice(excludes);
        let default = directory::Options::default();
        let memory = self.config.memory.map(to_usize);
        Ok(directory::Options {
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

    /// Does `work`, which reports to the watch that it is given, and meanwhile shows a progress bar:
    /// `label`, then how much of `total` is done, in `unit`. The watch is cancelled when the program
    /// is to end.
    pub fn watched<T>(
        &self,
        label: &'static str,
        unit: Unit,
        total: Option<u64>,
        work: impl FnOnce(Watch<'_>) -> T,
    ) -> T {
        let bar = Progress::new(&self.output, label, unit, total);
        let (add, set_total) = (|units| bar.add(units), |units| bar.set_total(units));
        work(Watch::new(self.interrupt.flag(), &add).with_total(&set_total))
    }

    /// Does `work` on an image of `length` bytes, as [`Self::watched`], for a sink.
    pub fn watched_sink<T>(
        &self,
        label: &'static str,
        length: u64,
        work: impl FnOnce(Control<'_>) -> T,
    ) -> T {
        self.watched(label, Unit::Bytes, Some(length), |watch| {
            let progress = |bytes| watch.add(bytes);
            let default = Control::default();
            work(Control {
                workers: self.config.threads.unwrap_or(default.workers),
                progress: &progress,
                cancel: self.interrupt.flag(),
                ..default
            })
        })
    }

    /// Does `work` as [`Self::watched`], where `work` only counts what is done: `count` is called
    /// again and again meanwhile, and returns how many things are done, and of how many if that is
    /// known. `cancel` is set when the program is to end.
    pub fn watched_counters<T>(
        &self,
        label: &'static str,
        cancel: Option<&AtomicBool>,
        mut count: impl FnMut() -> (u64, Option<u64>) + Send,
        work: impl FnOnce() -> T,
    ) -> T {
        self.watched(label, Unit::Things, None, |watch| {
            let mut seen = 0;
            let look = || {
                if watch.is_cancelled()
                    && let Some(cancel) = cancel
                {
                    cancel.store(true, Ordering::Relaxed);
                }
                let (done, total) = count();
                if let Some(total) = total {
                    watch.set_total(total);
                }
                watch.add(done.saturating_sub(seen));
                seen = seen.max(done);
            };
            while_working(look, work)
        })
    }
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
