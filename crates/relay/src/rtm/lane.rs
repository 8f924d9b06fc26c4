//! What is on its way to a user for whom nothing else waits.

use std::time::Duration;

use crvideo_proto::id::TaskId;
use tokio::time::Instant;

/// All that waits in the store for a user has been sent to his session, so that what is new can be sent to it at once,
/// without a look into the store. There is one for each user who is there, so it is small.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// Everything up to this message has been sent, or is not for him.
    seen: i64,
    /// Messages that he has not acknowledged: their number in the store, by their id to him.
    sent: Vec<(TaskId, i64)>,
    /// When something was sent or acknowledged last.
    moved: Option<Instant>,
}

impl Lane {
    /// For a user who has been sent everything up to a message.
    pub(super) fn behind(seen: i64) -> Self {
        Self { seen, ..Self::default() }
    }

    /// Whether a message has been looked at.
    pub(super) fn has_seen(&self, message: i64) -> bool {
        message <= self.seen
    }

    /// Messages on their way.
    pub(super) fn len(&self) -> usize {
        self.sent.len()
    }

    /// A message has been sent.
    pub(super) fn sent(&mut self, task: TaskId, message: i64, now: Instant) {
        self.seen = message;
        self.sent.push((task, message));
        self.moved = Some(now);
    }

    /// The user has acknowledged a message. Its number, if it was on its way.
    pub(super) fn got(&mut self, task: TaskId, now: Instant) -> Option<i64> {
        let at = self.sent.iter().position(|(sent, _)| *sent == task)?;
        self.moved = Some(now);
        let (_, message) = self.sent.remove(at);
        if self.sent.is_empty() {
            // Most lanes are idle.
            self.sent = Vec::new();
        }
        Some(message)
    }

    /// Whether something is on its way of which nothing has been heard for so long.
    pub(super) fn is_silent(&self, patience: Duration, now: Instant) -> bool {
        !self.sent.is_empty() && self.moved.is_none_or(|moved| moved + patience <= now)
    }

    /// What is on its way, and up to where everything has been looked at.
    pub(super) fn into_parts(self) -> (Vec<(TaskId, i64)>, i64) {
        (self.sent, self.seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(number: u8) -> TaskId {
        TaskId::random([number; 16])
    }

    #[test]
    fn what_is_acknowledged_is_told_once_and_by_its_number() {
        let (mut lane, now) = (Lane::behind(5), Instant::now());
        assert!(lane.has_seen(5) && !lane.has_seen(6));
        lane.sent(task(6), 6, now);
        lane.sent(task(9), 9, now);
        assert_eq!((lane.len(), lane.has_seen(9), lane.has_seen(10)), (2, true, false));
        assert_eq!([task(9), task(9), task(1)].map(|task| lane.got(task, now)), [Some(9), None, None]);
        assert_eq!(lane.into_parts(), (vec![(task(6), 6)], 9));
    }

    #[test]
    fn only_what_is_on_its_way_is_missed_and_any_sign_of_life_counts() {
        let (mut lane, now, patience) = (Lane::behind(0), Instant::now(), Duration::from_secs(30));
        assert!(!lane.is_silent(patience, now + patience));
        lane.sent(task(1), 1, now);
        lane.sent(task(2), 2, now);
        let later = now + patience;
        assert!(lane.is_silent(patience, later) && !lane.is_silent(patience, later - Duration::from_millis(1)));
        lane.got(task(1), later);
        assert!(!lane.is_silent(patience, later));
        lane.got(task(2), later);
        assert!(!lane.is_silent(patience, later + patience));
    }
}
