//! Who tries to log in, how often it fails, and when to stop looking at it. A token cannot be guessed; this keeps those
//! who try all the same from costing others anything.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use crate::guard::{Block, GuardSettings, Rate};

/// Users, addresses and pairs of them of which something is remembered, each.
pub(super) const MAX_REMEMBERED: usize = 65_536;
/// Failed logins of one user in a second that are looked at, when he has failed too often already.
const USER_FAILURES_PER_S: u64 = 1;
/// The same of one address.
const ADDRESS_FAILURES_PER_S: u64 = 10;
/// Failures of one user from one address before the next one costs a pause.
const FREE_FAILURES: u32 = 5;
/// The pause after the first failure that costs one; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// No pause is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// After so long without a failure everything is forgiven.
const FORGIVEN_AFTER: Duration = Duration::from_secs(600);

/// A user of a project.
type User = (i64, Arc<str>);

/// Failures of one user from one address.
#[derive(Debug, Clone, Copy, Default)]
struct Strikes {
    count: u32,
    last: Duration,
    /// Until when nothing of them is looked at.
    until: Duration,
}

/// What is remembered of those who try to log in.
#[derive(Debug)]
pub(super) struct Guesses {
    settings: GuardSettings,
    logins_by_block: HashMap<Block, Rate>,
    failures_by_block: HashMap<Block, Rate>,
    failures_by_user: HashMap<User, Rate>,
    strikes: HashMap<(User, Block), Strikes>,
    cleared_at: Duration,
}

impl Guesses {
    pub(super) fn new(settings: &GuardSettings) -> Self {
        Self {
            settings: settings.clone(),
            logins_by_block: HashMap::new(),
            failures_by_block: HashMap::new(),
            failures_by_user: HashMap::new(),
            strikes: HashMap::new(),
            cleared_at: Duration::ZERO,
        }
    }

    /// Whether a login may be looked at now. It counts as one.
    pub(super) fn may_try(&mut self, project: i64, user: &str, from: Option<Block>, now: Duration) -> bool {
        self.clear(now);
        let settings = &self.settings;
        let one_left = |rate: Option<&mut Rate>| rate.is_none_or(|rate| rate.has(1, now));
        let key = (project, Arc::from(user));
        if settings.user_failures > 0 && !one_left(self.failures_by_user.get_mut(&key)) {
            return false;
        }
        let Some(block) = from else { return true };
        if settings.address_failures > 0 && !one_left(self.failures_by_block.get_mut(&block)) {
            return false;
        }
        if self.strikes.get(&(key, block)).is_some_and(|strikes| strikes.until > now) {
            return false;
        }
        if settings.address_logins_per_s == 0 {
            return true;
        }
        let new = Rate::new(settings.address_logins_per_s, settings.address_login_burst);
        entry(&mut self.logins_by_block, block, new).is_none_or(|rate| rate.take(1, now))
    }

    /// A login was looked at and was wrong. `guess`: the token may have been made up for this user.
    pub(super) fn failed(&mut self, project: i64, user: &str, guess: bool, from: Option<Block>, now: Duration) {
        let settings = &self.settings;
        let key: User = (project, user.into());
        if guess && settings.user_failures > 0 {
            let new = Rate::new(USER_FAILURES_PER_S, settings.user_failures);
            if let Some(rate) = entry(&mut self.failures_by_user, key.clone(), new) {
                rate.charge(1, now);
            }
        }
        let Some(block) = from else { return };
        if settings.address_failures > 0 {
            let new = Rate::new(ADDRESS_FAILURES_PER_S, settings.address_failures);
            if let Some(rate) = entry(&mut self.failures_by_block, block, new) {
                rate.charge(1, now);
            }
        }
        if guess && let Some(strikes) = entry(&mut self.strikes, (key, block), Strikes::default()) {
            strikes.count = strikes.count.saturating_add(1);
            strikes.last = now;
            if let Some(over) = strikes.count.checked_sub(FREE_FAILURES + 1) {
                strikes.until = now + FIRST_PAUSE.saturating_mul(1 << over.min(16)).min(LONGEST_PAUSE);
            }
        }
    }

    /// A user has logged in from an address: what failed there before was his own mistake.
    pub(super) fn succeeded(&mut self, project: i64, user: &str, from: Option<Block>) {
        if let Some(block) = from
            && !self.strikes.is_empty()
        {
            self.strikes.remove(&((project, user.into()), block));
        }
    }

    /// Forgets, now and then, what makes no difference any more.
    fn clear(&mut self, now: Duration) {
        if now < self.cleared_at + FIRST_PAUSE {
            return;
        }
        let full =
            |len: usize| len >= MAX_REMEMBERED || (len > 0 && now >= self.cleared_at.saturating_add(FORGIVEN_AFTER));
        let lens =
            [self.logins_by_block.len(), self.failures_by_block.len(), self.failures_by_user.len(), self.strikes.len()];
        if !lens.into_iter().any(full) {
            return;
        }
        self.cleared_at = now;
        self.logins_by_block.retain(|_, rate| !rate.is_full(now));
        self.failures_by_block.retain(|_, rate| !rate.is_full(now));
        self.failures_by_user.retain(|_, rate| !rate.is_full(now));
        self.strikes.retain(|_, strikes| strikes.last + FORGIVEN_AFTER > now);
    }
}

/// The entry of a key, as long as there is room for it.
fn entry<K: Hash + Eq, V>(map: &mut HashMap<K, V>, key: K, new: V) -> Option<&mut V> {
    if map.len() >= MAX_REMEMBERED && !map.contains_key(&key) {
        return None;
    }
    Some(map.entry(key).or_insert(new))
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn block(last: u8) -> Option<Block> {
        Some(Block::of([192, 0, 2, last].into()))
    }

    /// How many of `count` guesses within `time` are looked at.
    fn looked_at(guesses: &mut Guesses, count: u32, time: Duration, from: impl Fn(u32) -> Option<Block>) -> u32 {
        (0..count).map(|at| (at, time * at / count)).fold(0, |seen, (at, now)| {
            let may = guesses.may_try(1, "alice", from(at), now);
            if may {
                guesses.failed(1, "alice", true, from(at), now);
            }
            seen + u32::from(may)
        })
    }

    #[test]
    fn of_a_hundred_thousand_guesses_hardly_more_than_one_a_second_is_looked_at() {
        let settings = GuardSettings::default();
        let burst = u32::try_from(settings.user_failures).unwrap_or_default();
        let hour = S * 3_600;
        let one = looked_at(&mut Guesses::new(&settings), 100_000, hour, |_| block(1));
        assert!((60..=80).contains(&one), "{one}: pauses of up to a minute");
        let many = looked_at(&mut Guesses::new(&settings), 100_000, hour, |at| block(at as u8));
        assert!(many <= burst + 3_600, "{many}");
        let here = looked_at(&mut Guesses::new(&settings), 100_000, hour, |_| None);
        assert!((3_500..=burst + 3_600).contains(&here), "{here}");
    }

    #[test]
    fn who_guesses_from_elsewhere_does_not_keep_a_user_out() {
        let mut guesses = Guesses::new(&GuardSettings::default());
        looked_at(&mut guesses, 1_000, S * 100, |_| block(1));
        assert!(!guesses.may_try(1, "alice", block(1), S * 100));
        assert!(guesses.may_try(1, "alice", block(2), S * 100));
        assert!(guesses.may_try(2, "alice", block(1), S * 100) && guesses.may_try(1, "bob", block(1), S * 100));
    }

    #[test]
    fn a_good_login_forgives() {
        let mut guesses = Guesses::new(&GuardSettings::default());
        for _ in 0..3 {
            for _ in 0..FREE_FAILURES {
                guesses.failed(1, "alice", true, block(1), S);
            }
            assert!(guesses.may_try(1, "alice", block(1), S));
            guesses.succeeded(1, "alice", block(1));
        }
    }

    #[test]
    fn an_address_logs_in_so_often_at_once_and_in_a_second() {
        let settings = GuardSettings { address_login_burst: 10, address_logins_per_s: 2, ..GuardSettings::default() };
        let mut guesses = Guesses::new(&settings);
        let tries = |guesses: &mut Guesses, now| {
            (0..100).filter(|at| guesses.may_try(1, &at.to_string(), block(1), now)).count()
        };
        assert_eq!((tries(&mut guesses, S), tries(&mut guesses, S * 2), tries(&mut guesses, S * 5)), (10, 2, 6));
        assert!(guesses.may_try(1, "alice", block(2), S * 5));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_forgotten() {
        let mut guesses = Guesses::new(&GuardSettings::default());
        for at in 0..MAX_REMEMBERED + 100 {
            guesses.failed(1, &at.to_string(), true, block(at as u8), S);
        }
        assert_eq!((guesses.failures_by_user.len(), guesses.strikes.len()), (MAX_REMEMBERED, MAX_REMEMBERED));
        assert!(guesses.may_try(1, "alice", None, FORGIVEN_AFTER * 3));
        assert_eq!((guesses.failures_by_user.len(), guesses.strikes.len()), (0, 0));
    }
}
