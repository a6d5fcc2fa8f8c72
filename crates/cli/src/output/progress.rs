//! Progress bars, on a terminal, for work that takes longer than a second.

use crate::output::Output;
use freestone_core::threads;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A bar appears only after this time, so that short work shows none.
const SHOWN_AFTER: Duration = Duration::from_secs(1);

/// The progress bar of one piece of work. Any number of threads may update it.
pub struct Progress {
    bar: ProgressBar,
    unit: Unit,
    begun: Instant,
    /// True until the bar is shown; false from the beginning if it must not be.
    waits: AtomicBool,
}

/// The unit that a progress bar counts in.
#[derive(Clone, Copy)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Files, entries or other things.
    Things,
}

fn style(unit: Unit, is_total_known: bool) -> ProgressStyle {
    let template = match (unit, is_total_known) {
        (Unit::Bytes, true) => {
            "{msg} [{bar:30}] {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left"
        }
        (Unit::Bytes, false) => "{msg} {spinner} {bytes}, {bytes_per_sec}",
        (Unit::Things, true) => "{msg} [{bar:30}] {human_pos} of {human_len}, {eta} left",
        (Unit::Things, false) => "{msg} {spinner} {human_pos}",
    };
    let style = ProgressStyle::with_template(template);
    style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

/// How often [`while_working`] calls `look`.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Does `work`, and meanwhile calls `look` again and again on another thread.
pub fn while_working<T>(mut look: impl FnMut() + Send, work: impl FnOnce() -> T) -> T {
    struct Ended<'a>(&'a AtomicBool, thread::Thread);
    impl Drop for Ended<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
            self.1.unpark();
        }
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = threads::spawn(scope, || {
            while !done.load(Ordering::Relaxed) {
                look();
                thread::park_timeout(LOOK_EVERY);
            }
        });
        // Dropped also if the work panics: the scope waits for the watcher. Without a thread for it
        // nothing is shown.
        let _ended = watcher.map(|watcher| Ended(&done, watcher.thread().clone()));
        work()
    })
}

impl Progress {
    /// Creates the bar of work called `label`, of `total` units if that is known.
    pub fn new(output: &Output, label: &'static str, unit: Unit, total: Option<u64>) -> Self {
        let shown = output.shows_progress();
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden());
        bar.set_style(style(unit, total.is_some()));
        bar.set_message(label);
        Self { bar, unit, begun: Instant::now(), waits: AtomicBool::new(shown) }
    }

    /// Sets the number of units, once it is known.
    pub fn set_total(&self, total: u64) {
        if self.bar.length() != Some(total) {
            self.bar.set_length(total);
            self.bar.set_style(style(self.unit, true));
        }
    }

    /// Adds units that are done.
    pub fn add(&self, units: u64) {
        self.bar.inc(units);
        if units == 0 {
            self.bar.tick();
        }
        if self.waits.load(Ordering::Relaxed)
            && self.begun.elapsed() > SHOWN_AFTER
            && self.waits.swap(false, Ordering::Relaxed)
        {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }
}

/// Removes the bar from the terminal.
impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
