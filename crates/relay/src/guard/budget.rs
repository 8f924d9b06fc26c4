//! Bytes that many share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// So many bytes and no more, for all who hold shares of them.
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
    #[cfg(test)]
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

/// What one upload has taken of a budget; it gives all back when it goes.
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
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.taken, Ordering::Relaxed);
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
}
