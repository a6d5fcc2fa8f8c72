//! A fixed number of threads for work that takes time: reading, decoding, proving.
//!
//! They never touch a connection, so a client that does not read its replies delays only itself.
//! Each holds a few megabytes at most, so their number bounds the memory that all clients together
//! can make a server use.
//!
//! Clients take turns: the next job is one of the client that the threads have worked for least. A
//! client that was idle starts level with the least served one that waits, so it neither waits for
//! the others' queues nor saves up time.

use crossbeam_channel::bounded;
use freestone_core::{Error, ErrorKind, Result, lock, threads};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

type Job = Box<dyn FnOnce() + Send>;

/// Threads that a server needs besides: two of its own, and one for a connection.
const THREADS_LEFT: usize = 3;

/// The threads. When they are dropped, they finish the work that is queued and end.
pub struct Workers {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

/// The jobs of all clients.
#[derive(Default)]
struct Queue {
    state: Mutex<QueueState>,
    /// Notified when there is a job, or when the threads are to end.
    changed: Condvar,
}

#[derive(Default)]
struct QueueState {
    clients: HashMap<u64, ClientJobs>,
    /// The clients that have jobs, by the time that was spent for each.
    waiting: BTreeSet<(Duration, u64)>,
    /// The time that had been spent for the client whose job was taken last.
    level: Duration,
    /// The number of clients so far.
    count: u64,
    is_ending: bool,
}

/// The jobs of one client. Their number is bounded by that of its requests in flight.
#[derive(Default)]
struct ClientJobs {
    spent: Duration,
    jobs: VecDeque<Job>,
}

/// A client of the threads, which has its own turns.
pub struct WorkersClient {
    queue: Arc<Queue>,
    number: u64,
}

impl Workers {
    /// Starts `count` threads, or as many as leave some for the connections.
    ///
    /// # Errors
    /// The system provides too few for a server.
    pub fn start(count: NonZeroUsize) -> Result<Self> {
        let mut workers = Self { queue: Arc::default(), threads: Vec::with_capacity(count.get()) };
        for _ in 0..count.get() {
            let queue = workers.queue.clone();
            workers.threads.push(threads::start("worker", move || queue.work())?);
            if !threads::are_available(THREADS_LEFT + 1) {
                break;
            }
        }
        if threads::are_available(THREADS_LEFT) { Ok(workers) } else { Err(threads::none_left()) }
    }

    /// Returns a new client, whose jobs take turns with those of other clients.
    pub fn client(&self) -> WorkersClient {
        let mut state = lock(&self.queue.state);
        state.count += 1;
        let number = state.count;
        state.clients.insert(number, ClientJobs::default());
        WorkersClient { queue: self.queue.clone(), number }
    }
}

impl WorkersClient {
    /// Queues `work`. The thread that runs it then calls `done` with its result, which is an error
    /// if `work` panics; `done` must not panic.
    pub fn queue<T>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
        done: impl FnOnce(Result<T>) + Send + 'static,
    ) {
        let job = move || {
            let result = catch_unwind(AssertUnwindSafe(work));
            done(result.unwrap_or_else(|_| Err(panicked())));
        };
        lock(&self.queue.state).put(self.number, Box::new(job));
        self.queue.changed.notify_one();
    }

    /// Runs `work` on one of the threads, and waits for its result.
    ///
    /// # Errors
    /// `work` returns an error or panics.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (give, take) = bounded(1);
        self.queue(work, move |result| {
            let _ = give.send(result);
        });
        take.recv().unwrap_or_else(|_| Err(panicked()))
    }
}

/// The jobs that have not begun are dropped: nobody waits for them any more.
impl Drop for WorkersClient {
    fn drop(&mut self) {
        let mut state = lock(&self.queue.state);
        let gone = state.clients.remove(&self.number);
        if let Some(gone) = &gone {
            state.waiting.remove(&(gone.spent, self.number));
        }
        drop(state);
    }
}

impl QueueState {
    /// Appends a job of client `number`.
    fn put(&mut self, number: u64, job: Job) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        if client.jobs.is_empty() {
            client.spent = client.spent.max(self.level);
            self.waiting.insert((client.spent, number));
        }
        client.jobs.push_back(job);
    }

    /// Takes the next job, and returns it with the number of its client.
    fn take(&mut self) -> Option<(u64, Job)> {
        let (spent, number) = self.waiting.pop_first()?;
        self.level = spent;
        let client = self.clients.get_mut(&number)?;
        let job = client.jobs.pop_front()?;
        if !client.jobs.is_empty() {
            self.waiting.insert((spent, number));
        }
        Some((number, job))
    }

    /// Records that a job of client `number` took `time`.
    fn spend(&mut self, number: u64, time: Duration) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        let before = client.spent;
        client.spent += time;
        if self.waiting.remove(&(before, number)) {
            self.waiting.insert((client.spent, number));
        }
    }
}

impl Queue {
    /// Runs jobs until the threads are to end.
    fn work(&self) {
        let mut state = lock(&self.state);
        loop {
            let Some((number, job)) = state.take() else {
                if state.is_ending {
                    return;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(state);
            let begun = Instant::now();
            job();
            state = lock(&self.state);
            state.spend(number, begun.elapsed());
        }
    }
}

fn panicked() -> Error {
    let what = "internal error: a worker thread panicked (please report this)";
    Error::new(ErrorKind::Failed, what)
}

impl Drop for Workers {
    fn drop(&mut self) {
        lock(&self.queue.state).is_ending = true;
        self.queue.changed.notify_all();
        for thread in self.threads.drain(..) {
            // A worker that holds the last reference cannot wait for itself.
            if thread.thread().id() != thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_panics_is_an_error_and_the_thread_stays() {
        let workers = Workers::start(NonZeroUsize::MIN).unwrap();
        let client = workers.client();
        let panicked = client.run(|| -> Result<()> { panic!("a test's panic") });
        assert!(panicked.unwrap_err().to_string().starts_with("internal error: "));
        assert_eq!(client.run(|| Ok(7)).unwrap(), 7);
    }

    #[test]
    fn a_client_with_one_job_does_not_wait_for_the_queues_of_others() {
        let workers = Workers::start(NonZeroUsize::MIN).unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let (begin, begun) = bounded::<()>(0);
        let greedy: Vec<_> = (0..3).map(|_| workers.client()).collect();
        // The only thread waits here until everything is queued.
        greedy[0].queue(move || Ok(begun.recv().is_ok()), |_| {});
        for number in 0..60 {
            let order = order.clone();
            let work = move || {
                thread::sleep(Duration::from_millis(1));
                lock(&order).push(number % 3);
                Ok(())
            };
            greedy[number % 3].queue(work, |_| {});
        }
        let modest = workers.client();
        let shared = order.clone();
        let work = move || {
            lock(&shared).push(3);
            Ok(())
        };
        modest.queue(work, |_| {});
        begin.send(()).unwrap();
        assert!(modest.run(|| Ok(true)).unwrap());
        let place = lock(&order).iter().position(|number| *number == 3).unwrap();
        assert!(place <= 3, "{place} jobs of others came first");
        // The queues of those that leave are dropped, and the others' are finished.
        drop(greedy);
        drop(workers);
        assert!(lock(&order).len() < 30);
    }

    #[test]
    fn a_client_that_was_idle_does_not_save_up_time() {
        let mut state = QueueState::default();
        for number in [1, 2] {
            state.clients.insert(number, ClientJobs::default());
        }
        let next = |state: &mut QueueState| {
            let (number, _) = state.take().unwrap();
            state.spend(number, Duration::from_secs(1));
            number
        };
        (0..10).for_each(|_| state.put(1, Box::new(|| {})));
        (0..5).for_each(|_| assert_eq!(next(&mut state), 1));
        (0..5).for_each(|_| state.put(2, Box::new(|| {})));
        let taken: Vec<u64> = (0..8).map(|_| next(&mut state)).collect();
        assert!(taken[..4].contains(&1) && taken[..4].contains(&2), "{taken:?}");
    }
}
