//! Epochs: numbers that grow with each login, also over restarts of the relay and steps of the clock.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// An epoch from before this run of the relay may lie this many microseconds ahead of the clock at its start,
/// because clocks get corrected. What lies further ahead was never given by a relay.
pub const ADOPT_AHEAD_MICROS: u64 = 3_600_000_000;

/// Ended epochs that are remembered, over all projects.
pub const MAX_ENDED: usize = 100_000;

/// Gives out epochs.
#[derive(Debug, Clone, Copy)]
pub struct Epochs {
    last: u64,
    ceiling: u64,
    adoptable: u64,
}

impl Epochs {
    /// Without memory of earlier runs: the clock alone makes epochs grow.
    pub fn by_clock(unix_micros: u64) -> Self {
        Self { last: unix_micros, ceiling: u64::MAX, adoptable: unix_micros.saturating_add(ADOPT_AHEAD_MICROS) }
    }

    /// After earlier runs that gave no epoch above `used`; this one may give those up to `ceiling`.
    pub fn after(used: u64, unix_micros: u64, ceiling: u64) -> Self {
        let last = used.max(unix_micros);
        // A data directory that is new says nothing about clients that were served before it was made.
        let adoptable = used.max(unix_micros.saturating_add(ADOPT_AHEAD_MICROS));
        Self { last, ceiling, adoptable }
    }

    /// The highest epoch given so far.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Epochs up to here have been reserved on disk.
    pub fn set_ceiling(&mut self, ceiling: u64) {
        self.ceiling = self.ceiling.max(ceiling);
    }

    /// A new epoch.
    pub(super) fn next(&mut self, unix_micros: u64) -> u64 {
        // The clock may not carry epochs beyond what has been reserved, or they could repeat after a restart.
        self.last = (self.last + 1).max(unix_micros.min(self.ceiling));
        self.last
    }

    /// Whether an earlier run may have given `epoch`; if so, later ones are larger.
    pub(super) fn adopt(&mut self, epoch: u64) -> bool {
        if epoch > self.adoptable {
            return false;
        }
        self.last = self.last.max(epoch);
        true
    }
}

/// The last ended epoch of each user, for as many users as [`MAX_ENDED`].
#[derive(Debug, Default)]
pub(super) struct Ended {
    epoch_by_user: HashMap<(i64, Arc<str>), (u64, Why)>,
    order: VecDeque<(i64, Arc<str>, u64)>,
    forgotten: u64,
}

impl Ended {
    /// Notes the end of an epoch.
    pub(super) fn note(&mut self, project: i64, user: &Arc<str>, epoch: u64, why: Why) {
        self.epoch_by_user.insert((project, user.clone()), (epoch, why));
        self.order.push_back((project, user.clone(), epoch));
        if self.order.len() > MAX_ENDED {
            self.forget();
        }
    }

    fn forget(&mut self) {
        let Some((project, user, epoch)) = self.order.pop_front() else { return };
        let key = (project, user);
        // A user who has ended another epoch since is still remembered by that one.
        if self.epoch_by_user.get(&key).is_some_and(|(last, _)| *last == epoch) {
            self.epoch_by_user.remove(&key);
            self.forgotten = self.forgotten.max(epoch);
        }
    }

    /// The user's last ended epoch, or, for a user who may have been forgotten, an upper bound of it.
    pub(super) fn last(&self, project: i64, user: &Arc<str>) -> Last {
        match self.epoch_by_user.get(&(project, user.clone())) {
            Some((epoch, why)) => Last::Ended(*epoch, *why),
            None => Last::NotAbove(self.forgotten),
        }
    }
}

/// How an epoch has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Its client may go on with a new one.
    Ended,
    /// Its user has been kicked out, which its client may not have heard.
    KickedOut,
}

/// What is known about a user's ended epochs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Last {
    /// This one ended last.
    Ended(u64, Why),
    /// If any was forgotten, it was not above this.
    NotAbove(u64),
}
