//! Progress bars: on a terminal, for what takes longer than a second.

use crate::output::Output;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What takes no longer is over before one has looked.
const SHOWN_AFTER: Duration = Duration::from_secs(1);

/// The progress of one piece of work, fed from any number of threads.
pub struct Progress {
    bar: ProgressBar,
    unit: Unit,
    begun: Instant,
    /// Whether it may be shown and is not yet.
    waits: AtomicBool,
}

/// What is counted.
#[derive(Clone, Copy)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Files, entries or whatever else.
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

/// How often work is looked at that does not tell of itself.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Does `work`, and calls `look` again and again meanwhile, on another thread.
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
        let watcher = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                look();
                thread::park_timeout(LOOK_EVERY);
            }
        });
        // Also if the work panics, since the scope waits for the watcher.
        let _ended = Ended(&done, watcher.thread().clone());
        work()
    })
}

impl Progress {
    /// Work called `label` of `total` units, if that is known.
    pub fn new(output: &Output, label: &'static str, unit: Unit, total: Option<u64>) -> Self {
        let shown = output.shows_progress();
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden());
        bar.set_style(style(unit, total.is_some()));
        bar.set_message(label);
        Self { bar, unit, begun: Instant::now(), waits: AtomicBool::new(shown) }
    }

    /// How many units there are is known now.
    pub fn set_total(&self, total: u64) {
        if self.bar.length() != Some(total) {
            self.bar.set_length(total);
            self.bar.set_style(style(self.unit, true));
        }
    }

    /// So many more units are done.
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

/// What is on the terminal goes with it.
impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
