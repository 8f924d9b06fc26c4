//! Bytes that many share.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use crvideo_proto::out::OutQueue;

/// Bytes that are taken by all who hold shares of them, and how many there may be.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicU64,
    most: u64,
}

impl Budget {
    pub(crate) fn new(most: u64) -> Arc<Self> {
        Arc::new(Self { used: AtomicU64::new(0), most })
    }

    /// Bytes that are taken.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

/// What one holder has taken of a budget; it gives all back when it goes.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    taken: u64,
}

impl Share {
    pub(crate) fn of(budget: &Arc<Budget>) -> Self {
        Self { budget: budget.clone(), taken: 0 }
    }

    /// Takes more; `false`, and nothing taken, when there is not so much left.
    #[must_use]
    pub(crate) fn take(&mut self, bytes: u64) -> bool {
        let most = self.budget.most;
        let more = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= most);
        let taken = self.budget.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        if taken {
            self.taken += bytes;
        }
        taken
    }

    /// So much is held now, whether the budget has it or not: the memory is in use already.
    pub(crate) fn set(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        // What many holders write, they wait for; most changes of a queue do not change its memory.
        if bytes > self.taken {
            self.budget.used.fetch_add(bytes - self.taken, Ordering::Relaxed);
        } else if bytes < self.taken {
            self.budget.used.fetch_sub(self.taken - bytes, Ordering::Relaxed);
        }
        self.taken = bytes;
    }

    /// So much more is held now.
    pub(crate) fn grow(&mut self, bytes: usize) {
        self.budget.used.fetch_add(bytes as u64, Ordering::Relaxed);
        self.taken += bytes as u64;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.taken > 0 {
            self.budget.used.fetch_sub(self.taken, Ordering::Relaxed);
        }
    }
}

/// A queue, and the share of a budget that its memory is.
#[derive(Debug)]
pub(crate) struct Charged {
    queue: OutQueue,
    share: Share,
}

impl Charged {
    pub(crate) fn new(budget: &Arc<Budget>) -> Self {
        Self { queue: OutQueue::default(), share: Share::of(budget) }
    }

    /// The queue, to be changed. It is charged for what it holds then.
    pub(crate) fn change(&mut self) -> Changing<'_> {
        Changing(self)
    }

    /// The queue, charged to nobody; an empty one takes its place.
    pub(crate) fn take(&mut self) -> OutQueue {
        self.change().take_queued()
    }
}

impl Deref for Charged {
    type Target = OutQueue;

    fn deref(&self) -> &OutQueue {
        &self.queue
    }
}

/// A queue that is being changed.
#[derive(Debug)]
pub(crate) struct Changing<'a>(&'a mut Charged);

impl Deref for Changing<'_> {
    type Target = OutQueue;

    fn deref(&self) -> &OutQueue {
        &self.0.queue
    }
}

impl DerefMut for Changing<'_> {
    fn deref_mut(&mut self) -> &mut OutQueue {
        &mut self.0.queue
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.0.share.set(self.0.queue.memory());
    }
}

/// Bytes, and the share of a budget that their memory is.
struct Held {
    bytes: BytesMut,
    _share: Share,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Charges bytes to a budget for as long as anybody holds them, once however many do.
pub(crate) fn hold(budget: &Arc<Budget>, bytes: Bytes) -> Bytes {
    let bytes = bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    let mut share = Share::of(budget);
    share.set(bytes.capacity() + size_of::<Held>() + size_of::<usize>());
    Bytes::from_owner(Held { bytes, _share: share })
}

/// Bytes, and the share that was set to their memory before they came.
struct Kept {
    bytes: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Keeps a share for as long as anybody holds the bytes.
pub(crate) fn keep(bytes: Bytes, share: Share) -> Bytes {
    Bytes::from_owner(Kept { bytes, _share: share })
}

/// What has been read from a connection and not been used yet. Whoever uses it says so; before somebody has begun to,
/// nothing is charged.
#[derive(Debug, Default)]
pub(crate) struct Unused(Mutex<Option<Share>>);

impl Unused {
    fn lock(&self) -> MutexGuard<'_, Option<Share>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on what is read is charged until it is used.
    pub(crate) fn begin(&self, budget: &Arc<Budget>) {
        *self.lock() = Some(Share::of(budget));
    }

    /// So much has been read.
    pub(crate) fn read(&self, bytes: usize) {
        if let Some(share) = &mut *self.lock() {
            share.grow(bytes);
        }
    }

    /// All of it has been used, or is somebody else's now.
    pub(crate) fn used(&self) {
        if let Some(share) = &mut *self.lock() {
            share.set(0);
        }
    }
}

/// The memory of everything that is under way in the relay. Its sum is what [`GuardSettings::max_queued`] bounds.
///
/// [`GuardSettings::max_queued`]: super::GuardSettings::max_queued
#[derive(Debug)]
pub(crate) struct Memory {
    /// What waits for sessions, and is being written to them.
    pub(crate) queues: Arc<Budget>,
    /// What waits for connections of the RTM dialect, and is being written to them.
    pub(crate) outboxes: Arc<Budget>,
    /// Frames of which a part has come.
    pub(crate) reading: Arc<Budget>,
    /// Files on their way to the disk.
    pub(crate) uploads: Arc<Budget>,
    /// Files on their way to HTTP clients.
    pub(crate) downloads: Arc<Budget>,
    /// What is encrypted and not written yet, and records of which a part has come.
    pub(crate) tls: Arc<Budget>,
    most: u64,
}

/// How much memory is in use, by what it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pressure {
    /// Less than the bound.
    None,
    /// More than the bound: queues are cut short.
    High,
    /// More than the bound and a quarter: only queues that are empty take anything.
    Full,
}

impl Memory {
    /// `most` bytes may be in use; 0 is no limit.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        let part = || Budget::new(u64::MAX);
        let most = if most == 0 { u64::MAX } else { most as u64 };
        let (queues, outboxes, reading) = (part(), part(), part());
        Arc::new(Self { queues, outboxes, reading, uploads: part(), downloads: part(), tls: part(), most })
    }

    /// Bytes in use.
    pub(crate) fn used(&self) -> u64 {
        let parts = [&self.queues, &self.outboxes, &self.reading, &self.uploads, &self.downloads, &self.tls];
        parts.into_iter().map(|part| part.used()).sum()
    }

    pub(crate) fn pressure(&self) -> Pressure {
        match self.used() {
            used if used < self.most => Pressure::None,
            used if used < self.most.saturating_add(self.most / 4) => Pressure::High,
            _ => Pressure::Full,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_comes_back_and_never_exceeds_the_budget() {
        let budget = Budget::new(10);
        let (mut first, mut second) = (Share::of(&budget), Share::of(&budget));
        assert!(first.take(6) && !second.take(5) && second.take(4) && !first.take(1));
        assert!(!first.take(u64::MAX));
        drop(first);
        assert_eq!(budget.used(), 4);
        assert!(second.take(6));
    }

    #[test]
    fn bytes_that_many_hold_are_charged_once_until_the_last_has_gone() {
        let budget = Budget::new(0);
        let held = hold(&budget, Bytes::from(vec![7; 1_000]));
        let copies = vec![held.slice(1..5); 100];
        assert!((1_000..1_100).contains(&budget.used()), "{}", budget.used());
        drop(held);
        assert!(budget.used() >= 1_000);
        drop(copies);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn the_pressure_rises_with_what_is_in_use_of_any_kind() {
        let memory = Memory::new(100);
        let (mut one, mut other) = (Share::of(&memory.queues), Share::of(&memory.uploads));
        one.set(60);
        assert_eq!(memory.pressure(), Pressure::None);
        other.set(40);
        assert_eq!(memory.pressure(), Pressure::High);
        one.set(85);
        assert_eq!((memory.used(), memory.pressure()), (125, Pressure::Full));
        drop((one, other));
        assert_eq!((memory.used(), memory.pressure()), (0, Pressure::None));
        let mut endless = Share::of(&Memory::new(0).queues);
        endless.set(usize::MAX);
    }
}
