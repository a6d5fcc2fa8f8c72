//! The context of a command: its outputs, the configuration, and the way to the store.

mod remote;

use crate::config::{self, Config};
use crate::global::Global;
use crate::interrupt::Interrupt;
use crate::location::Location;
use crate::output::Output;
use crate::output::progress::{Progress, Unit, while_working};
use crate::upstreams;
use crate::values::time;
use freestone_backend::directory::directory_of;
use freestone_core::wire::to_usize;
use freestone_core::{Error, ErrorKind, Result, Watch, threads};
use freestone_files::caches;
use freestone_follow::{Opened, Opening, Patience};
use freestone_sink::Control;
use freestone_source::{directory, exclude};
use freestone_store::Store;
use remote::Open;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
#[cfg(feature = "remote")]
use {freestone_backend::Backend, std::sync::Arc};

/// The most threads, unless the configuration gives a number: more do not make a disk faster.
const WORKERS_MAX: usize = 16;

/// The threads of a push besides those that read: for the walk, for sealing packs, for showing how
/// far it is, and those of the working index.
const PUSH_THREADS: usize = 8;

/// The context of a command.
pub struct Context {
    /// Standard output and standard error.
    pub output: Output,
    /// The configuration.
    pub config: Config,
    /// Set when a signal asks the program to end.
    pub interrupt: Interrupt,
    /// Builds the grammar of the whole command line, for manual pages and completions.
    pub grammar: fn() -> clap::Command,
    store: Option<PathBuf>,
    offline: bool,
    trust_upstream: Vec<String>,
    open: Open,
    /// How long upstreams that are directories are waited for.
    patience: Patience,
    #[cfg(feature = "remote")]
    remote: freestone_remote::RemoteOptions,
}

impl Context {
    /// Creates the context of a command from the options in `global` and the configuration.
    ///
    /// # Errors
    /// The configuration cannot be read or is not valid.
    pub fn new(
        global: &Global,
        interrupt: Interrupt,
        grammar: fn() -> clap::Command,
    ) -> Result<Self> {
        let output = Output::new(global.json, global.quiet, global.verbose);
        let config = Config::load(global.config.as_deref())?;
        #[cfg(feature = "remote")]
        let remote = remote::options(global, &config, &output, &interrupt);
        let patience = remote::patience(&config, &output, &interrupt);
        Ok(Self {
            patience,
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
            trust_upstream: global.trust_upstream.clone(),
        })
    }

    /// Returns the location of the store that was chosen, which need not exist.
    ///
    /// # Errors
    /// No store is given and there is no default; or it is of a kind that this build does not
    /// support.
    pub fn store_location(&self) -> Result<Location> {
        let place = self.named_store().or_else(default_store).ok_or_else(|| {
            Error::new(ErrorKind::Usage, "no store is given, and $HOME is not set")
                .hint("name a store with --store or in $FREESTONE_STORE")
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

    /// Opens the store, for commands that fetch nothing in advance.
    ///
    /// # Errors
    /// As [`Self::opened`].
    pub fn store(&self) -> Result<Store> {
        Ok(self.opened()?.store)
    }

    /// Opens the store, with its follower if it follows an upstream.
    ///
    /// # Errors
    /// It does not exist, or cannot be opened.
    pub fn opened(&self) -> Result<Opened> {
        let place = self.store_location()?;
        self.output.detail(format_args!("using store {place}"));
        match &place {
            Location::Directory(path) => self.store_in(path),
            #[cfg(feature = "remote")]
            Location::Remote(place) => {
                if self.offline {
                    return Err(Error::refused(format!(
                        "store {place} cannot be used with --offline"
                    ))
                    .hint("leave out --offline, or use a local store that follows this one"));
                }
                Store::open_backend(self.remote(place)?, None).map(Opened::plain)
            }
        }
    }

    /// Opens another store, at `place`.
    ///
    /// # Errors
    /// As [`Self::store`].
    pub fn store_at(&self, place: &str) -> Result<Store> {
        match directory_of(place) {
            Some(path) => Ok(self.store_in(&path)?.store),
            None => Store::open_backend((self.open)(place)?, None),
        }
    }

    /// Opens the store in the directory `root`. An upstream that it names itself is contacted only if
    /// the user named it, too.
    ///
    /// # Errors
    /// As [`Self::store`].
    pub fn store_in(&self, root: &Path) -> Result<Opened> {
        let upstream = |url: &str| {
            let configured = self.config.trust_upstreams.iter().flatten();
            upstreams::check(root, url, self.trust_upstream.iter().chain(configured))?;
            (self.open)(url)
        };
        let opening =
            Opening { offline: self.offline, upstream: &upstream, patience: self.patience.clone() };
        let opened = freestone_follow::open(root, &opening)?;
        self.keep_caches(&opened.store);
        Ok(opened)
    }

    /// Lets `store` keep this user's caches. Without them it works, too: more has to be hashed.
    fn keep_caches(&self, store: &Store) {
        let variable = std::env::var_os;
        let Some(base) = caches::of_user(variable("XDG_CACHE_HOME"), variable("HOME")) else {
            return;
        };
        match caches::open(&base, &store.id().to_string()) {
            Ok(folder) => store.keep_caches_in(folder),
            Err(error) => {
                let base = base.display();
                self.output.detail(format_args!("nothing is cached in {base}: {error}"));
            }
        }
    }

    /// Returns how a store is made that follows an upstream: the user names it.
    pub fn opening(&self) -> Opening<'_> {
        Opening { offline: self.offline, upstream: &*self.open, patience: self.patience.clone() }
    }

    /// Returns true if `--offline` was given.
    pub fn is_offline(&self) -> bool {
        self.offline
    }

    /// Opens the backend of the remote store at `place`.
    ///
    /// # Errors
    /// The environment does not say how to reach it.
    #[cfg(feature = "remote")]
    pub fn remote(&self, place: &freestone_remote::StoreUrl) -> Result<Arc<dyn Backend>> {
        freestone_remote::open(place, self.remote.clone())
    }

    /// Returns the counts of requests and bytes that were exchanged with remote stores so far.
    #[cfg(feature = "remote")]
    pub fn traffic(&self) -> &freestone_remote::Traffic {
        &self.remote.traffic
    }

    /// Returns true if the store was given by `--store`.
    pub fn has_store_option(&self) -> bool {
        self.store.is_some()
    }

    /// Returns the name of the ref to use: `given`, or the default from the environment or the
    /// configuration, or `main`.
    pub fn ref_name(&self, given: Option<&str>) -> String {
        let variable = std::env::var("FREESTONE_REF").ok().filter(|name| !name.is_empty());
        let configured = || self.config.ref_name.clone();
        given.map(str::to_owned).or(variable).or_else(configured).unwrap_or_else(|| "main".into())
    }

    /// Returns the time for what is made now: `SOURCE_DATE_EPOCH`, or the current time.
    ///
    /// # Errors
    /// `SOURCE_DATE_EPOCH` is not a time.
    pub fn time(&self) -> Result<i64> {
        Ok(time::source_date_epoch()?.unwrap_or_else(time::now))
    }

    /// Returns how a directory is walked. Paths are left out by the patterns of the configuration,
    /// of the files `exclude_from`, and of `excludes`; later patterns take precedence.
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
        let memory = self.config.memory.map(to_usize);
        Ok(directory::DirectoryOptions {
            excludes: patterns,
            memory_bytes: memory.unwrap_or(default.memory_bytes),
            ..default
        })
    }

    /// Returns the number of threads to use.
    pub fn workers(&self) -> NonZeroUsize {
        self.config.threads.unwrap_or_else(|| {
            let found = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
            found.min(NonZeroUsize::new(WORKERS_MAX).unwrap_or(NonZeroUsize::MIN))
        })
    }

    /// Returns the number of threads that read for a push, where the system provides those and the
    /// ones that a push has besides; fewer if it has to. Returns `None` if it does not provide enough
    /// for the working index, which ends the process where it gets no thread.
    pub fn push_workers(&self) -> Option<NonZeroUsize> {
        let halve = |count: &usize| (*count > 1).then_some(count / 2);
        let mut counts = std::iter::successors(Some(self.workers().get()), halve);
        let found = counts.find(|count| threads::are_available(count + PUSH_THREADS));
        found.and_then(NonZeroUsize::new)
    }

    /// Does `work`, which reports to the watch that it is given, and meanwhile shows a progress
    /// bar: `label`, then how much of `total` is done, in `unit`. The watch is cancelled when the
    /// program is to end.
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
            let default = Control::default();
            let workers = self.config.threads.unwrap_or(default.workers);
            work(Control { workers, watch, ..default })
        })
    }

    /// Does `work` as [`Self::watched`], but shows what `count` returns: it is called again and again
    /// meanwhile, and returns how many things are done, and of how many if that is known. The watch
    /// that `work` is given only cancels it.
    pub fn watched_counters<T>(
        &self,
        label: &'static str,
        mut count: impl FnMut() -> (u64, Option<u64>) + Send,
        work: impl FnOnce(Watch<'_>) -> T,
    ) -> T {
        self.watched(label, Unit::Things, None, |watch| {
            let mut seen = 0;
            let look = || {
                let (done, total) = count();
                if let Some(total) = total {
                    watch.set_total(total);
                }
                watch.add(done.saturating_sub(seen));
                seen = seen.max(done);
            };
            while_working(look, || work(Watch::cancelled_by(self.interrupt.flag())))
        })
    }
}

/// Returns the default location of the store.
fn default_store() -> Option<PathBuf> {
    // systemd may name several directories, separated by colons.
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
