//! What a project's servers may ask of the core about its users, and what they hear of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crvideo_proto::code;
use crvideo_proto::message::PeerState;

use super::{ConnectionId, Core, Now};

/// A user has come or gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// Project id.
    pub project: i64,
    /// The user.
    pub user: Arc<str>,
    /// Has come, or has gone.
    pub online: bool,
    /// The command connection of the one who has come.
    pub connection: Option<ConnectionId>,
}

/// Up to when a user's tokens are void.
#[derive(Debug, Clone, Copy)]
struct Revocation {
    /// Tokens that were made up to this second since 1970 are void.
    until: u64,
    /// A token that is good has been made since, which says the second after `until`.
    replaced: bool,
}

/// What the core keeps for servers.
#[derive(Debug, Default)]
pub(super) struct Servers {
    /// Whether anybody wants to hear of users.
    listening: bool,
    presence: Vec<Presence>,
    revocations_by_project: BTreeMap<i64, HashMap<Arc<str>, Revocation>>,
}

impl Servers {
    pub(super) fn note(&mut self, presence: Presence) {
        if self.listening {
            self.presence.push(presence);
        }
    }

    /// Whether a token that was made at `issued` is void. One that does not say when it was made may be an old one.
    pub(super) fn is_void(&self, project: i64, user: &str, issued: Option<u64>) -> bool {
        let until = self.revocation(project, user).map(|it| it.until);
        until.is_some_and(|until| issued.is_none_or(|issued| issued <= until))
    }

    fn revocation(&self, project: i64, user: &str) -> Option<Revocation> {
        self.revocations_by_project.get(&project)?.get(user).copied()
    }

    fn set(&mut self, project: i64, user: &str, revocation: Revocation) {
        self.revocations_by_project.entry(project).or_default().insert(user.into(), revocation);
    }
}

impl Core {
    /// From now on [`take_presence`](Self::take_presence) must be called.
    pub fn report_presence(&mut self) {
        self.servers.listening = true;
    }

    /// Who has come and gone since the last call, in this order.
    pub fn take_presence(&mut self) -> Vec<Presence> {
        std::mem::take(&mut self.servers.presence)
    }

    /// Whether a user counts as online.
    pub fn is_online(&self, project: i64, user: &str) -> bool {
        self.projects.get(&project).is_some_and(|project| project.online.contains(user))
    }

    /// Ends a user's session for good; `false` when there is none.
    pub fn kick_out(&mut self, project: i64, user: &str, now: Now) -> bool {
        self.now = now;
        let session = self.projects.get(&project).and_then(|project| project.session_by_user.get(user)).copied();
        let Some(session) = session else { return false };
        // The client must not come back by itself, as after a login elsewhere.
        self.end(session, PeerState::Gone, Some((code::KICKOUT_BY_RELOGIN, "kicked out by a server")));
        self.settle();
        true
    }

    /// Voids every token of a user that was made so far, and returns the second up to which they are void. His
    /// session goes on; his next login needs a new token.
    pub fn revoke(&mut self, project: i64, user: &str, now: Now) -> u64 {
        let now_s = now.unix_micros / 1_000_000;
        let until = match self.servers.revocation(project, user) {
            // The token that replaced the void ones says the second after them, and must be void now, too.
            Some(last) if last.until >= now_s => last.until.saturating_add(u64::from(last.replaced)),
            _ => now_s,
        };
        self.servers.set(project, user, Revocation { until, replaced: false });
        until
    }

    /// A revocation of before the relay's start.
    pub fn remember_revocation(&mut self, project: i64, user: &str, until: u64) {
        self.servers.set(project, user, Revocation { until, replaced: true });
    }

    /// When a token that is made now must say that it was made: later than the void ones.
    pub fn issue_time(&mut self, project: i64, user: &str, now: Now) -> u64 {
        let now_s = now.unix_micros / 1_000_000;
        match self.servers.revocation(project, user) {
            Some(last) if last.until >= now_s => {
                self.servers.set(project, user, Revocation { replaced: true, ..last });
                last.until.saturating_add(1)
            }
            _ => now_s,
        }
    }

    /// Revocations that are remembered for a project.
    pub fn revocations(&self, project: i64) -> usize {
        self.servers.revocations_by_project.get(&project).map_or(0, HashMap::len)
    }
}
