//! How much of something may come in a second.

use std::time::Duration;

/// So much in a second on average, and at most so much at once. The time comes from outside.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    per_s: f64,
    burst: f64,
    /// What may come at once at `at`; below zero it is owed.
    left: f64,
    at: Duration,
}

impl Rate {
    /// Full at the beginning.
    pub(crate) fn new(per_s: u64, burst: u64) -> Self {
        let (per_s, burst) = (per_s.max(1) as f64, burst.max(1) as f64);
        Self { per_s, burst, left: burst, at: Duration::ZERO }
    }

    fn refill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.left = (self.left + passed * self.per_s).min(self.burst);
    }

    /// Takes `amount` if it is there; `false`, and nothing taken, if not.
    pub(crate) fn take(&mut self, amount: u64, now: Duration) -> bool {
        let there = self.has(amount, now);
        if there {
            self.left -= amount as f64;
        }
        there
    }

    /// Takes `amount` even if it is not there, and says how long to wait until what is owed has come in.
    pub(crate) fn charge(&mut self, amount: u64, now: Duration) -> Duration {
        self.refill(now);
        self.left -= amount as f64;
        Duration::try_from_secs_f64(-self.left / self.per_s).unwrap_or_default()
    }

    /// Whether `amount` is there.
    pub(crate) fn has(&mut self, amount: u64, now: Duration) -> bool {
        self.refill(now);
        self.left >= amount as f64
    }

    /// Whether nothing is missing: then it is as good as a new one.
    pub(crate) fn is_full(&mut self, now: Duration) -> bool {
        self.refill(now);
        self.left >= self.burst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn over_any_time_no_more_comes_than_the_burst_and_the_rate() {
        let mut rate = Rate::new(2, 5);
        let taken = |rate: &mut Rate, now| (0..100).filter(|_| rate.take(1, now)).count();
        assert_eq!(taken(&mut rate, S), 5);
        assert_eq!(taken(&mut rate, S * 2), 2);
        assert_eq!(taken(&mut rate, S), 0, "a time that goes back gives nothing");
        assert!(!rate.is_full(S * 4));
        assert!(rate.is_full(S * 5));
        assert_eq!(taken(&mut rate, S * 1_000), 5);
    }

    #[test]
    fn what_is_owed_is_waited_for() {
        let mut rate = Rate::new(1_000, 1_000);
        assert_eq!(rate.charge(1_000, S), Duration::ZERO);
        assert_eq!(rate.charge(500, S), S / 2);
        assert_eq!(rate.charge(500, S), S);
        assert_eq!(rate.charge(0, S * 2), Duration::ZERO);
    }
}
