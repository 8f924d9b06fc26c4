//! The helper pool: the few threads on which files are read and written and names are resolved.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::sys::spawn_quiet;

type Job = Box<dyn FnOnce() + Send>;

/// A pool whose threads start when there is work, up to a limit, and then wait for more.
pub struct Pool {
    name: &'static str,
    limit: usize,
    state: Mutex<PoolState>,
    work: Condvar,
}

struct PoolState {
    jobs: VecDeque<Job>,
    threads: usize,
    /// Threads that wait for a job. One that has been woken counts until it has taken its job.
    idle: usize,
}

/// Reads and writes files.
pub static FILES: Pool = Pool::new("crvideo-files", 4);
/// Resolves names; apart from the files, because a slow name server can hold a thread for a minute, and a broken one
/// for ever. A thread starts only for a name that none of the others is free for.
pub static NAMES: Pool = Pool::new("crvideo-names", 16);

impl Pool {
    const fn new(name: &'static str, limit: usize) -> Self {
        let state = PoolState { jobs: VecDeque::new(), threads: 0, idle: 0 };
        Self { name, limit, state: Mutex::new(state), work: Condvar::new() }
    }

    /// Runs a job soon. What callers hand in is bounded by their own limits on transfers and logins.
    pub fn run(&'static self, job: impl FnOnce() + Send + 'static) {
        let mut state = lock(&self.state);
        state.jobs.push_back(Box::new(job));
        if state.jobs.len() <= state.idle {
            return self.work.notify_one();
        }
        if state.threads >= self.limit {
            return;
        }
        drop(state);
        // Where there is a thread already, it takes the job when it is free.
        if let Err(error) = self.start_thread() {
            log::error!("cannot start a helper thread: {error}");
        }
    }

    /// Whether jobs wait for a thread.
    fn is_wanted(&self) -> bool {
        !lock(&self.state).jobs.is_empty()
    }

    /// Makes sure of one thread at least: without any, jobs would wait for ever.
    pub fn ready(&'static self) -> io::Result<()> {
        if lock(&self.state).threads > 0 { Ok(()) } else { self.start_thread() }
    }

    fn start_thread(&'static self) -> io::Result<()> {
        lock(&self.state).threads += 1;
        spawn_quiet(self.name, || self.serve()).map(drop).inspect_err(|_| lock(&self.state).threads -= 1)
    }

    fn serve(&self) {
        loop {
            let job = self.next_job();
            // A job that panics has told nobody; its transfer ends by its own deadline.
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                log::error!("a fault inside the library: a helper job panicked");
            }
        }
    }

    fn next_job(&self) -> Job {
        let mut state = lock(&self.state);
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return job;
            }
            state.idle += 1;
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }
}

fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// One job a turn, so that strands share the pool fairly. While nobody else wants the thread, the next turn follows
    /// at once: another thread would have to be woken for it.
    fn schedule(self: &Arc<Self>) {
        let strand = self.clone();
        FILES.run(move || {
            loop {
                let Some(job) = lock(&strand.state).jobs.pop_front() else { return };
                let outcome = catch_unwind(AssertUnwindSafe(job));
                let mut state = lock(&strand.state);
                state.running = !state.jobs.is_empty();
                let more = state.running;
                drop(state);
                let alone = outcome.is_ok() && !FILES.is_wanted();
                if more && !alone {
                    strand.schedule();
                }
                if let Err(panic) = outcome {
                    std::panic::resume_unwind(panic);
                }
                if !more || !alone {
                    return;
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn jobs_run_beside_jobs_that_never_end_as_long_as_the_limit_allows() {
        static POOL: Pool = Pool::new("test", 4);
        let (sender, ended) = mpsc::channel();
        let gate = Arc::new(Mutex::new(()));
        let shut = lock(&gate);
        for round in 0..3 {
            let gate = gate.clone();
            POOL.run(move || drop(lock(&gate)));
            // Whoever comes behind a job that hangs must find a thread, however the two meet.
            for at in 0..200 {
                let sender = sender.clone();
                POOL.run(move || sender.send((round, at)).unwrap());
                assert_eq!(ended.recv_timeout(PATIENCE), Ok((round, at)));
            }
        }
        assert_eq!(lock(&POOL.state).threads, 4);
        drop(shut);
    }

    #[test]
    fn the_jobs_of_a_strand_run_in_their_order_and_one_at_a_time_also_after_a_panic() {
        let strand = Arc::<Strand>::default();
        let (sender, ended) = mpsc::channel();
        let alone = Arc::new(Mutex::new(()));
        for at in 0..1_000 {
            let (sender, alone) = (sender.clone(), alone.clone());
            strand.run(move || {
                let _alone = alone.try_lock().unwrap();
                sender.send(at).unwrap();
            });
            if at % 100 == 50 {
                strand.run(|| panic!("a fault in a job"));
            }
        }
        let all: Vec<_> = (0..1_000).map(|_| ended.recv_timeout(PATIENCE).unwrap()).collect();
        assert_eq!(all, (0..1_000).collect::<Vec<_>>());
    }

    #[test]
    fn a_job_that_panics_takes_no_thread_with_it() {
        static POOL: Pool = Pool::new("test", 1);
        let (sender, ended) = mpsc::channel();
        POOL.run(|| panic!("a fault in a job"));
        POOL.run(move || sender.send(1).unwrap());
        assert_eq!(ended.recv_timeout(PATIENCE), Ok(1));
    }
}
