//! What every command works with.

use crate::arguments::Global;
use crate::config::{self, Config};
use crate::interrupt::Interrupt;
use crate::output::Output;
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
}

impl Session {
    /// What `global` says, and the configuration.
    ///
    /// # Errors
    /// The configuration cannot be read or makes no sense.
    pub fn new(global: &Global, interrupt: Interrupt) -> Result<Self> {
        Ok(Self {
            output: Output::new(global.json, global.quiet, global.verbose),
            config: Config::load(global.config.as_deref())?,
            interrupt,
            store: global.store.clone(),
            offline: global.offline,
        })
    }

    /// Where the store is, or is to be.
    ///
    /// # Errors
    /// Nothing says where; or it is of a kind that this build does not know.
    pub fn store_place(&self) -> Result<PathBuf> {
        let place = self.named_store().or_else(default_store).ok_or_else(|| {
            Error::new(ErrorKind::Usage, "nothing says where the store is, not even $HOME")
                .hint("name it with -s, or in $FREESTONE_STORE")
        })?;
        check_place(place)
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
        self.output.detail(format_args!("store {}", place.display()));
        Store::open_with(&place, &self.opening())
    }

    /// How stores are opened.
    pub fn opening(&self) -> Opening<'static> {
        Opening { offline: self.offline, upstream: &open_upstream }
    }

    /// Whether nobody is to be asked.
    pub fn is_offline(&self) -> bool {
        self.offline
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
        let memory = self.config.memory.and_then(|bytes| usize::try_from(bytes).ok());
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

/// Refuses stores that are no directories.
///
/// # Errors
/// [`ErrorKind::Refused`] if `place` is a URL.
pub fn check_place(place: PathBuf) -> Result<PathBuf> {
    let text = place.to_string_lossy();
    if config::is_url(&text) {
        return Err(Error::refused(format!("store {text}: not supported by this build"))
            .hint("this build knows stores in directories; name one"));
    }
    Ok(place)
}

/// Opens what an upstream's URL names, or the target of a copy.
///
/// # Errors
/// [`ErrorKind::Refused`] if this build does not know the kind.
pub fn open_upstream(url: &str) -> Result<Arc<dyn Backend>> {
    let place = match directory_of(url) {
        Some(path) => path,
        None => check_place(PathBuf::from(url))?,
    };
    Ok(Arc::new(Directory::new(place)))
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
