//! What the core keeps of one session.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crvideo_proto::id::TaskId;
use crvideo_proto::message::{CLASS_BULK, CLASS_COMMANDS, PeerState};

use super::{ConnectionId, SessionId};
use crate::guard::{Budget, Charged};

/// The two kinds of traffic between sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Commands and small control messages.
    Commands,
    /// Offers and the bytes of buffers and files.
    Bulk,
}

impl Class {
    /// The class bit on the wire.
    pub(super) fn bit(self) -> u8 {
        match self {
            Class::Commands => CLASS_COMMANDS,
            Class::Bulk => CLASS_BULK,
        }
    }
}

/// Bulk frames that wait for the session's bulk connection.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) queue: Charged,
    /// Who sent them.
    pub(super) from: BTreeSet<SessionId>,
}

impl Waiting {
    pub(super) fn new(queues: &Arc<Budget>, epoch: u64) -> Self {
        let mut queue = Charged::new(queues);
        queue.change().stamp(epoch);
        Self { queue, from: BTreeSet::new() }
    }
}

/// Since when two sessions are joined.
#[derive(Debug, Clone, Copy)]
pub(super) struct Joined {
    pub(super) at: Duration,
    /// From the counter that also names connections: which connections are older.
    pub(super) number: u64,
}

/// One login of one user, from its first connection to the end of its epoch.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) project: i64,
    pub(super) user: Arc<str>,
    /// The client's own name of the session.
    pub(super) name: [u8; 16],
    pub(super) epoch: u64,
    /// The epoch was given by an earlier run of the relay: its peers may be on their way back, too.
    pub(super) adopted: bool,
    /// When its token and the tolerance have run out.
    pub(super) expires_at: Duration,
    /// The id of its token, if that has one.
    pub(super) token_id: Option<Box<str>>,
    /// When it has logged in, in microseconds since 1970.
    pub(super) since: u64,
    /// Transfers that it sends, and to which session.
    pub(super) transfers: BTreeMap<TaskId, SessionId>,
    pub(super) command: Option<ConnectionId>,
    pub(super) bulk: Option<ConnectionId>,
    pub(super) ticket: Option<[u8; 16]>,
    /// Since when it has no command connection.
    pub(super) away_since: Option<Duration>,
    /// The sessions it is joined with.
    pub(super) peers: BTreeMap<SessionId, Joined>,
    /// Peers of which a message was dropped because its command queue was full.
    pub(super) unheard: BTreeSet<SessionId>,
    /// Peers whose state changed while it was away.
    pub(super) missed: BTreeSet<SessionId>,
    /// Peers that ended while it was away.
    pub(super) missed_ends: Vec<(Arc<str>, u64, PeerState)>,
    /// Senders that must wait until its command queue has drained.
    pub(super) blocked_commands: BTreeSet<SessionId>,
    /// Senders that must wait until its bulk queue has drained.
    pub(super) blocked_bulk: BTreeSet<SessionId>,
    pub(super) waiting: Option<Box<Waiting>>,
    /// By when the bulk connection must be here that the client has been asked for.
    pub(super) wake_by: Option<Duration>,
    /// Bulk frames towards it were lost with a connection; its peers are told at the next attach.
    pub(super) bulk_lost: bool,
    /// When its timer rings.
    pub(super) armed: Option<Duration>,
}

impl Session {
    pub(super) fn new(project: i64, user: Arc<str>, name: [u8; 16], epoch: u64) -> Self {
        Self {
            project,
            user,
            name,
            epoch,
            adopted: false,
            expires_at: Duration::ZERO,
            token_id: None,
            since: 0,
            transfers: BTreeMap::new(),
            command: None,
            bulk: None,
            ticket: None,
            away_since: None,
            peers: BTreeMap::new(),
            unheard: BTreeSet::new(),
            missed: BTreeSet::new(),
            missed_ends: Vec::new(),
            blocked_commands: BTreeSet::new(),
            blocked_bulk: BTreeSet::new(),
            waiting: None,
            wake_by: None,
            bulk_lost: false,
            armed: None,
        }
    }

    /// The senders that must wait in one class.
    pub(super) fn blocked(&mut self, class: Class) -> &mut BTreeSet<SessionId> {
        match class {
            Class::Commands => &mut self.blocked_commands,
            Class::Bulk => &mut self.blocked_bulk,
        }
    }

    /// The connection of one class.
    pub(super) fn connection(&self, class: Class) -> Option<ConnectionId> {
        match class {
            Class::Commands => self.command,
            Class::Bulk => self.bulk,
        }
    }

    /// Its bulk connection has gone, and on the next one it repeats the offers of all transfers that go on. Until then
    /// none counts: an offer that its cancel has overtaken would count for as long as the session lasts.
    pub(super) fn offers_come_again(&mut self) {
        self.transfers.clear();
    }

    /// Forgets a session that has ended.
    pub(super) fn forget(&mut self, other: SessionId) {
        self.peers.remove(&other);
        self.transfers.retain(|_, to| *to != other);
        self.unheard.remove(&other);
        self.missed.remove(&other);
        self.blocked_commands.remove(&other);
        self.blocked_bulk.remove(&other);
        if let Some(waiting) = &mut self.waiting {
            waiting.from.remove(&other);
        }
    }
}
