//! How much may wait for a session, and who must wait when that is too much.

use std::time::Duration;

use bytes::Bytes;
use crvideo_proto::message::{self as msg, CLASS_BULK, CLASS_COMMANDS, Message, PeerState, Routed};
use crvideo_proto::pack::Writer;
use tracing::{debug, warn};

use super::connection::Role;
use super::courier::COURIER;
use super::session::{Class, Waiting};
use super::{ConnectionId, Core, News, SessionId, WAKE_DEADLINE};
use crate::guard::{Changing, Pressure};

/// While too much waits for all together, a queue takes this part of what it takes else.
const PRESSED: usize = 16;
/// While that lasts, the operator hears of it once in this time.
const SAY_AGAIN_AFTER: Duration = Duration::from_secs(10);

impl Core {
    /// What a queue whose soft limit is `limit` may take while so much waits for all together. An empty one always takes
    /// a message, or a sender would wait for something that never comes.
    fn pressed(&mut self, limit: usize) -> usize {
        let pressure = self.memory.pressure();
        if pressure == Pressure::None {
            return limit;
        }
        let now = self.now.at;
        if self.pressure_said.is_none_or(|at| now >= at + SAY_AGAIN_AFTER) {
            self.pressure_said = Some(now);
            let (used, most) = (self.memory.used(), self.settings.guard.max_queued);
            warn!(used, most, "more waits for slow clients than guard.max_queued allows; queues are cut short");
        }
        if pressure == Pressure::High { limit / PRESSED } else { 1 }
    }

    fn soft_limit(&self, class: Class) -> usize {
        match class {
            Class::Commands => self.settings.command_queue,
            Class::Bulk => self.settings.bulk_queue,
        }
    }

    /// The queue for a message of `from` to `target`; `None` when the sender must wait.
    ///
    /// A queue takes one more message as long as it is below its limit, so that a sender who is blocked
    /// has always something before it whose leaving unblocks it.
    pub(super) fn room(&mut self, target: SessionId, class: Class, from: SessionId) -> Option<Changing<'_>> {
        let limit = self.soft_limit(class);
        let limit = self.pressed(limit);
        let session = self.sessions.get_mut(&target)?;
        if session.blocked(class).contains(&from) {
            return None;
        }
        let connection = session.connection(class).and_then(|id| self.connections.get(&id));
        let waiting = session.waiting.as_ref().map_or(0, |waiting| waiting.queue.len());
        let queued = connection.map_or(waiting, |connection| connection.queued());
        if queued >= limit {
            self.block(target, class, from);
            return None;
        }
        let session = self.sessions.get_mut(&target)?;
        match session.connection(class) {
            Some(id) => self.connections.get_mut(&id).map(|connection| connection.out.change()),
            None if class == Class::Bulk => {
                let epoch = session.epoch;
                let new = || Box::new(Waiting::new(&self.memory.queues, epoch));
                Some(session.waiting.get_or_insert_with(new).queue.change())
            }
            None => None,
        }
    }

    /// A message has been put into the queue that [`room`](Self::room) returned.
    pub(super) fn pushed(&mut self, target: SessionId, class: Class, from: SessionId) {
        let Some(session) = self.sessions.get_mut(&target) else { return };
        if let Some(id) = session.connection(class) {
            return self.queued(id);
        }
        if let Some(waiting) = &mut session.waiting {
            waiting.from.insert(from);
        }
        if session.wake_by.is_none() {
            self.wake(target);
        }
    }

    /// Asks a client for its bulk connection.
    fn wake(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.wake_by = Some(self.now.at + WAKE_DEADLINE);
        self.tell(id, &msg::Wake {});
        self.watch_over(id);
    }

    /// A client has not opened its bulk connection: what waited for it is lost, and its senders wait.
    pub(super) fn give_up_waiting(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.wake_by = None;
        debug!(user = ?session.user, "no bulk connection in time");
        let senders = session.waiting.take().map(|waiting| waiting.from).unwrap_or_default();
        // The courier hears no *on*, but by mail that bytes were lost.
        session.bulk_lost |= senders.contains(&COURIER);
        for sender in senders {
            self.block(id, Class::Bulk, sender);
        }
        // Somebody waits for an *on* that only the next bulk connection brings: the client must not forget it.
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.bulk_lost || !session.blocked_bulk.is_empty() {
            self.wake(id);
        }
    }

    fn block(&mut self, target: SessionId, class: Class, sender: SessionId) {
        let Some(session) = self.sessions.get_mut(&target) else { return };
        if class == Class::Commands {
            session.unheard.insert(sender);
        }
        if session.blocked(class).insert(sender) {
            self.notice(sender, target, PeerState::Busy, class.bit());
        }
    }

    /// Lets the senders go on that had to wait for a session.
    pub(super) fn unblock(&mut self, target: SessionId, class: Class) {
        let Some(session) = self.sessions.get_mut(&target) else { return };
        for sender in std::mem::take(session.blocked(class)) {
            self.notice(sender, target, PeerState::On, class.bit());
            // The target's own commands and transfers to the sender may have lost answers, which are all commands by
            // class. A sender who is away is told of when it comes back.
            let there = self.sessions.get(&sender).is_some_and(|session| session.command.is_some());
            if class == Class::Commands && there {
                self.notice(target, sender, PeerState::On, CLASS_COMMANDS | CLASS_BULK);
            }
        }
    }

    /// A socket has taken bytes.
    pub(super) fn progressed(&mut self, id: ConnectionId, written: usize) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.taken = connection.taken.saturating_sub(written);
        let queued = connection.queued();
        connection.stuck_since = (queued > 0).then_some(self.now.at);
        let (session, class) = match connection.role {
            Role::Command(session) => (session, Class::Commands),
            Role::Bulk(session) => {
                // A ping may wait behind these bytes. When it has gone out with them, an answer is due.
                if queued > 0 {
                    connection.alive_at = self.now.at;
                }
                (session, Class::Bulk)
            }
            _ => return,
        };
        if queued < self.soft_limit(class) / 2 {
            self.unblock(session, class);
        }
    }

    /// A bulk connection broke.
    pub(super) fn bulk_broke(&mut self, session_id: SessionId, connection: ConnectionId) {
        let Some(session) = self.sessions.get_mut(&session_id) else { return };
        if session.bulk != Some(connection) {
            return;
        }
        session.bulk = None;
        session.bulk_lost = true;
        session.offers_come_again();
        self.wake(session_id);
    }

    /// Bulk frames that a client has not taken before it closed the connection are lost.
    pub(super) fn bulk_lost(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.bulk_lost = true;
        match session.bulk {
            Some(bulk) => self.bulk_is_back(id, bulk),
            None if session.command.is_some() => self.wake(id),
            None => {}
        }
    }

    /// A session has a bulk connection: those whose frames were lost or held back may go on.
    pub(super) fn bulk_is_back(&mut self, id: SessionId, bulk: ConnectionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if std::mem::take(&mut session.bulk_lost) {
            session.blocked_bulk.clear();
            self.tell_peers(id, PeerState::On, CLASS_BULK);
            self.put_mail(id, News::Here);
        }
        let queued = self.connections.get(&bulk).map_or(0, |connection| connection.queued());
        if queued < self.soft_limit(Class::Bulk) / 2 {
            self.unblock(id, Class::Bulk);
        }
    }

    /// Sends a session a message as if another had sent it.
    pub(super) fn tell_routed<M: Message>(&mut self, to: SessionId, routed: Routed<M>) {
        let Some(id) = self.sessions.get(&to).and_then(|session| session.command) else { return };
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let mut pairs = bytes::BytesMut::new();
        routed.message.put_pairs(&mut Writer::new(&mut pairs));
        let count = routed.message.pairs() + 2;
        let rest: Bytes = pairs.freeze();
        connection.out.change().forward(M::METHOD, count, &routed.from, routed.epoch, rest);
        self.queued(id);
    }
}
