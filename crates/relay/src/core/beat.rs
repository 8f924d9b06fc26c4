//! What happens as time passes: the heart-beat, silence, stalls and deadlines.

use std::time::Duration;

use crvideo_proto::code;
use crvideo_proto::message::{self as msg, PeerState};
use tracing::debug;

use super::connection::Role;
use super::timers::Subject;
use super::{AWAY_IS_OFFLINE, ConnectionId, Core, SessionId};

/// A session's connection is given up at the half heart-beat at which nothing has come for this many of them, which is
/// two heart-beats after the last sign of life at the latest.
const SILENCE_HALVES: u32 = 3;

/// The tick that all sessions' connections share. Pings go out on every other one; silence may end on each.
#[derive(Debug, Default)]
pub(super) struct Beat {
    halves: u64,
    armed: Option<Duration>,
}

impl Core {
    pub(super) fn start_beat(&mut self) {
        let at = self.now.at + self.settings.heartbeat / 2;
        self.beat.armed = None;
        self.timers.arm(Subject::Beat, &mut self.beat.armed, at);
    }

    pub(super) fn on_beat(&mut self) {
        self.beat.halves += 1;
        self.start_beat();
        let ping = self.beat.halves.is_multiple_of(2);
        let silence = self.settings.heartbeat * SILENCE_HALVES / 2;
        let mut silent = Vec::new();
        let mut alive = Vec::new();
        for (id, connection) in &self.connections {
            if !matches!(connection.role, Role::Command(_) | Role::Bulk(_)) || connection.closing {
                continue;
            }
            if connection.alive_at + silence <= self.now.at {
                silent.push(*id);
            } else if ping {
                alive.push(*id);
            }
        }
        for id in alive {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.out.change().one_way(&msg::Ping {});
                self.queued(id);
            }
        }
        for id in silent {
            debug!(connection = id, "closed because it has fallen silent");
            self.lose(id);
        }
    }

    pub(super) fn look_at_connection(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.armed = None;
        let stalled_at = connection.stuck_since.map(|since| since + self.settings.stall_timeout);
        let Some(due) = [connection.close_by, stalled_at].into_iter().flatten().min() else { return };
        if due <= self.now.at {
            debug!(connection = id, "closed because its time is over");
            self.lose(id);
        } else {
            self.timers.arm(Subject::Connection(id), &mut connection.armed, due);
        }
    }

    /// Sets the session's timer for whatever comes next.
    pub(super) fn watch_over(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let now = self.now.at;
        let ends = session.away_since.map(|since| since + self.settings.resume_window);
        let offline = session.away_since.map(|since| since + AWAY_IS_OFFLINE).filter(|at| *at > now);
        let next = [Some(session.expires_at), session.wake_by, ends, offline].into_iter().flatten().min();
        if let Some(next) = next {
            self.timers.arm(Subject::Session(id), &mut session.armed, next);
        }
    }

    pub(super) fn look_at_session(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.armed = None;
        let now = self.now.at;
        if session.expires_at <= now {
            return self.end(id, PeerState::Gone, Some((code::TOKEN_TIMEOUT, "the token has expired")));
        }
        if session.away_since.is_some_and(|since| since + self.settings.resume_window <= now) {
            return self.end(id, PeerState::Gone, None);
        }
        let offline = session.away_since.is_some_and(|since| since + AWAY_IS_OFFLINE <= now);
        let unheard = session.wake_by.is_some_and(|by| by <= now);
        if offline {
            let (project, user) = (session.project, session.user.clone());
            self.set_online(project, &user, false);
        }
        if unheard {
            self.give_up_waiting(id);
        }
        self.watch_over(id);
    }
}
