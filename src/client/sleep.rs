//! A thread that takes from a queue and sleeps while that is empty, and those who put something in: the hand-over between
//! them, in which no wake-up may be lost and none should be wasted. The types come from the parent module, so that
//! `tests/sleep_model.rs` can run this very code with a scheduler that tries every order of its steps.

use super::primitives::{AtomicBool, Condvar, Duration, Mutex, MutexGuard, Ordering, PoisonError};

/// Whether the thread sleeps or is about to, and nobody has woken it yet.
///
/// It says so and then looks at the queue; whoever puts something in does so and then looks whether it sleeps. All of
/// these are sequentially consistent, so that one of the two sees the other.
#[derive(Debug, Default)]
pub struct Asleep(AtomicBool);

impl Asleep {
    /// The thread is about to sleep: whether it may, which it may not unless `is_empty` says that nothing waits.
    pub fn may_sleep(&self, is_empty: impl FnOnce() -> bool) -> bool {
        self.0.store(true, Ordering::SeqCst);
        is_empty()
    }

    /// The thread is awake.
    pub fn is_over(&self) {
        self.0.store(false, Ordering::SeqCst);
    }

    /// Whether the thread sleeps or is about to.
    fn is_on(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Whoever has put something in: whether the thread must be woken, and nobody else does it.
    pub fn must_be_ended(&self) -> bool {
        self.is_on() && self.0.swap(false, Ordering::SeqCst)
    }

    /// Whoever had to wake the thread could not: the next one must.
    pub fn goes_on(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Where a thread sleeps that waits for nothing else than its queue.
#[derive(Debug, Default)]
pub struct Bed {
    asleep: Asleep,
    /// Held on the way to sleep.
    made: Mutex<()>,
    bell: Condvar,
}

impl Bed {
    /// Sleeps until it is rung for, or for `most` (`None`: for ever), unless something waits. One thread at a time; it
    /// may return early.
    pub fn sleep(&self, is_empty: impl FnOnce() -> bool, most: Option<Duration>) {
        let made = self.lock();
        if self.asleep.may_sleep(is_empty) {
            match most {
                Some(most) => drop(self.bell.wait_timeout(made, most)),
                None => drop(self.bell.wait(made)),
            }
        }
        self.asleep.is_over();
    }

    /// Wakes the thread that sleeps here, if there is one and something waits; whether that was so, and one thing alone
    /// waits.
    pub fn ring(&self, waiting: impl FnOnce() -> usize) -> bool {
        let waiting = if self.asleep.is_on() { waiting() } else { 0 };
        let woken = waiting > 0 && self.asleep.must_be_ended();
        if woken {
            // Between saying so and sleeping it holds this lock.
            drop(self.lock());
            self.bell.notify_one();
        }
        woken && waiting == 1
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
