//! What the core keeps of one connection.

use std::sync::Arc;
use std::time::Duration;

use crvideo_proto::seal::Seal;

use super::SessionId;
use crate::guard::{Block, Budget, Charged};

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Has not said hello.
    Fresh,
    /// Has said hello and must log in, or present a ticket.
    Greeted,
    /// The command connection of a session.
    Command(SessionId),
    /// The bulk connection of a session.
    Bulk(SessionId),
    /// A bulk connection that its client has closed: what was queued still goes out.
    ClosedBulk(SessionId),
    /// Belongs to no session any more; its last words go out.
    Done,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) role: Role,
    /// The transport encrypts, and so notices what changes on the way.
    pub(super) encrypted: bool,
    /// Routed messages carry the epochs of both sides.
    pub(super) both_epochs: bool,
    /// What the shell must expect at the end of each frame, from the next one on.
    pub(super) seal: Option<Seal>,
    /// Which address it counts for, if any.
    pub(super) from: Option<Block>,
    /// Goes out before `out`.
    pub(super) head: Option<Box<Charged>>,
    /// Frames that wait here. It always begins with a whole frame.
    pub(super) out: Charged,
    /// Bytes that the shell has taken and not yet written.
    pub(super) taken: usize,
    /// Nothing is read any more, and the connection ends when everything is written.
    pub(super) closing: bool,
    /// The shell has been told that there is something to do.
    pub(super) woken: bool,
    /// When it gave its last sign of life.
    pub(super) alive_at: Duration,
    /// Since when bytes wait without the socket taking any; `None` while none wait.
    pub(super) stuck_since: Option<Duration>,
    /// When the connection ends, whatever happens: the time to log in, or to flush last words.
    pub(super) close_by: Option<Duration>,
    /// When its timer rings.
    pub(super) armed: Option<Duration>,
}

impl Connection {
    pub(super) fn new(now: Duration, from: Option<Block>, queues: &Arc<Budget>) -> Self {
        Self {
            role: Role::Fresh,
            encrypted: false,
            both_epochs: false,
            seal: None,
            from,
            head: None,
            out: Charged::new(queues),
            taken: 0,
            closing: false,
            woken: false,
            alive_at: now,
            stuck_since: None,
            close_by: None,
            armed: None,
        }
    }

    /// Bytes on their way to this connection that its socket has not taken.
    pub(super) fn queued(&self) -> usize {
        self.head.as_ref().map_or(0, |head| head.len()) + self.out.len() + self.taken
    }

    /// Whether nobody has logged in on it.
    pub(super) fn before_login(&self) -> bool {
        matches!(self.role, Role::Fresh | Role::Greeted)
    }
}
