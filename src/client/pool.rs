//! The helper pool: the few threads on which files are read and written and names are resolved.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender};
use once_cell::sync::Lazy;

use crate::sys::spawn_quiet;

type Job = Box<dyn FnOnce() + Send>;

/// A pool whose threads start when there is work, up to a limit, and then wait for more.
pub struct Pool {
    name: &'static str,
    limit: usize,
    sender: Sender<Job>,
    receiver: Receiver<Job>,
    threads: AtomicUsize,
    idle: Arc<AtomicUsize>,
}

/// Reads and writes files.
pub static FILES: Lazy<Pool> = Lazy::new(|| Pool::new("crvideo-files", 4));
/// Resolves names; apart from the files, because a slow name server can hold a thread for a minute.
pub static NAMES: Lazy<Pool> = Lazy::new(|| Pool::new("crvideo-names", 2));

impl Pool {
    fn new(name: &'static str, limit: usize) -> Self {
        let (sender, receiver) = crossbeam_channel::unbounded();
        Self { name, limit, sender, receiver, threads: AtomicUsize::new(0), idle: Arc::new(AtomicUsize::new(0)) }
    }

    /// Runs a job soon. What callers hand in is bounded by their own limits on transfers and logins.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) {
        // The receiver lives in this very struct, so sending cannot fail.
        let _ = self.sender.send(Box::new(job));
        if self.idle.load(Ordering::SeqCst) < self.receiver.len() {
            self.grow();
        }
    }

    fn grow(&self) {
        let room = |threads| (threads < self.limit).then_some(threads + 1);
        if self.threads.fetch_update(Ordering::SeqCst, Ordering::SeqCst, room).is_err() {
            return;
        }
        let (jobs, idle) = (self.receiver.clone(), self.idle.clone());
        let work = move || {
            loop {
                idle.fetch_add(1, Ordering::SeqCst);
                let job = jobs.recv();
                idle.fetch_sub(1, Ordering::SeqCst);
                let Ok(job) = job else { break };
                // A job that panics has told nobody; its transfer ends by its own deadline.
                if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
                    log::error!("a fault inside the library: a helper job panicked");
                }
            }
        };
        if let Err(error) = spawn_quiet(self.name, work) {
            self.threads.fetch_sub(1, Ordering::SeqCst);
            log::error!("cannot start a helper thread: {error}");
        }
    }
}

/// Jobs that run one after the other, on whichever thread of a pool is free.
#[derive(Default)]
pub struct Strand {
    state: Mutex<StrandState>,
}

#[derive(Default)]
struct StrandState {
    jobs: VecDeque<Job>,
    running: bool,
}

fn lock(state: &Mutex<StrandState>) -> MutexGuard<'_, StrandState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Strand {
    /// Runs a job after all earlier ones of this strand.
    pub fn run(self: &Arc<Self>, job: impl FnOnce() + Send + 'static) {
        let mut state = lock(&self.state);
        state.jobs.push_back(Box::new(job));
        if !state.running {
            state.running = true;
            drop(state);
            self.schedule();
        }
    }

    /// One job a turn, so that strands share the pool fairly.
    fn schedule(self: &Arc<Self>) {
        let strand = self.clone();
        FILES.run(move || {
            let Some(job) = lock(&strand.state).jobs.pop_front() else { return };
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
            let mut state = lock(&strand.state);
            state.running = !state.jobs.is_empty();
            let more = state.running;
            drop(state);
            if more {
                strand.schedule();
            }
            if let Err(panic) = outcome {
                std::panic::resume_unwind(panic);
            }
        });
    }
}
