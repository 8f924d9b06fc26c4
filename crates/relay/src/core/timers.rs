//! Which of the core's objects must be looked at, and when.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{ConnectionId, SessionId};

/// What a timer is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// The heart-beat of all sessions' connections.
    Beat,
    /// The end of the time in which clients of an earlier run of the relay may still come back.
    Startup,
    /// A connection.
    Connection(ConnectionId),
    /// A session.
    Session(SessionId),
}

/// One timer at most for each subject. A subject that is looked at too early sets its timer again,
/// so that a deadline which only ever moves back costs nothing.
#[derive(Debug, Default)]
pub(super) struct Timers {
    queue: BTreeSet<(Duration, Subject)>,
}

impl Timers {
    /// Makes sure that `subject` is looked at by `at`. `armed` is the subject's own note of its timer.
    pub(super) fn arm(&mut self, subject: Subject, armed: &mut Option<Duration>, at: Duration) {
        if armed.is_some_and(|armed| armed <= at) {
            return;
        }
        self.disarm(subject, *armed);
        self.queue.insert((at, subject));
        *armed = Some(at);
    }

    /// Removes the subject's timer.
    pub(super) fn disarm(&mut self, subject: Subject, armed: Option<Duration>) {
        if let Some(armed) = armed {
            self.queue.remove(&(armed, subject));
        }
    }

    /// Timers of connections and sessions.
    pub(super) fn bound(&self) -> usize {
        let bound = |subject: &Subject| matches!(subject, Subject::Connection(_) | Subject::Session(_));
        self.queue.iter().filter(|(_, subject)| bound(subject)).count()
    }

    /// The earliest timer.
    pub(super) fn first(&self) -> Option<Duration> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Takes out one timer that is due.
    pub(super) fn pop(&mut self, now: Duration) -> Option<Subject> {
        let (at, _) = self.queue.first()?;
        if *at > now {
            return None;
        }
        self.queue.pop_first().map(|(_, subject)| subject)
    }
}
