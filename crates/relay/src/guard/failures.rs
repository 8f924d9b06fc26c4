//! Who has failed how often, and when to stop looking at what he tries.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use super::Rate;

/// Those of whom failures are remembered; beyond it those are forgotten who have been forgiven.
const MAX_REMEMBERED: usize = 65_536;

/// So many failures of each at once, and so many in a second from then on.
#[derive(Debug)]
pub(crate) struct Failures<K> {
    left_by_key: HashMap<K, Rate>,
    per_s: u64,
    at_once: u64,
}

impl<K: Hash + Eq> Failures<K> {
    /// Nobody has failed yet. `at_once` of 0 is no limit.
    pub(crate) fn new(per_s: u64, at_once: u64) -> Self {
        Self { left_by_key: HashMap::new(), per_s, at_once }
    }

    /// Whether what he tries is to be looked at.
    pub(crate) fn may_try(&mut self, key: &K, now: Duration) -> bool {
        self.left_by_key.get_mut(key).is_none_or(|left| left.has(1, now))
    }

    /// He has failed.
    pub(crate) fn failed(&mut self, key: K, now: Duration) {
        if self.at_once == 0 {
            return;
        }
        if self.left_by_key.len() >= MAX_REMEMBERED && !self.left_by_key.contains_key(&key) {
            self.left_by_key.retain(|_, left| !left.is_full(now));
            if self.left_by_key.len() >= MAX_REMEMBERED {
                return;
            }
        }
        let new = || Rate::new(self.per_s, self.at_once);
        self.left_by_key.entry(key).or_insert_with(new).charge(1, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn who_fails_too_often_waits_and_nobody_else() {
        let mut failures = Failures::new(2, 3);
        for _ in 0..3 {
            assert!(failures.may_try(&1, S));
            failures.failed(1, S);
        }
        assert!(!failures.may_try(&1, S) && failures.may_try(&2, S));
        assert!(failures.may_try(&1, S * 2));
        let mut endless = Failures::new(2, 0);
        (0..1_000).for_each(|_| endless.failed(1, S));
        assert!(endless.may_try(&1, S));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_makes_room_for_others() {
        let mut failures = Failures::new(1, 2);
        (0..MAX_REMEMBERED + 10).for_each(|key| failures.failed(key, S));
        assert_eq!(failures.left_by_key.len(), MAX_REMEMBERED);
        failures.failed(usize::MAX, S * 10);
        assert_eq!(failures.left_by_key.len(), 1);
    }
}
