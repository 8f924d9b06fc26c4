//! What a project's servers may ask of the core about its users, and what they hear of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crvideo_proto::code;
use crvideo_proto::message::PeerState;
use crvideo_proto::token::{CLOCK_TOLERANCE_S, Claims};

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

/// What a session whose token was revoked hears.
const REVOKED: &str = "the token has been revoked";
/// Single tokens that are void and not expired, over all projects.
pub const MAX_VOID_IDS: usize = 1_000_000;

/// What the core keeps for servers.
#[derive(Debug, Default)]
pub(super) struct Servers {
    /// Whether anybody wants to hear of users.
    listening: bool,
    presence: Vec<Presence>,
    revocations_by_project: BTreeMap<i64, HashMap<Arc<str>, Revocation>>,
    /// Ids of tokens that are void, and when they expire.
    void_ids: HashMap<(i64, Box<str>), u64>,
}

impl Servers {
    pub(super) fn note(&mut self, presence: Presence) {
        if self.listening {
            self.presence.push(presence);
        }
    }

    /// Whether a token was revoked. One that does not say when it was made may be an old one.
    pub(super) fn is_void(&self, claims: &Claims) -> bool {
        let until = self.revocation(claims.project, &claims.user).map(|it| it.until);
        let by_user = until.is_some_and(|until| claims.issued.is_none_or(|issued| issued <= until));
        by_user || claims.id.as_deref().is_some_and(|id| self.is_void_id(claims.project, id))
    }

    fn is_void_id(&self, project: i64, id: &str) -> bool {
        !self.void_ids.is_empty() && self.void_ids.contains_key(&(project, id.into()))
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
        // The client must not come back by itself, as after a login elsewhere.
        self.end_session_of(project, user, (code::KICKOUT_BY_RELOGIN, "kicked out by a server or an operator"), now)
    }

    fn end_session_of(&mut self, project: i64, user: &str, bye: (i32, &str), now: Now) -> bool {
        self.now = now;
        let session = self.projects.get(&project).and_then(|project| project.session_by_user.get(user)).copied();
        let Some(session) = session else { return false };
        self.end(session, PeerState::Gone, Some(bye));
        self.counters.kicked_out += 1;
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

    /// Voids the one token with this id, which expires at `expires` (seconds since 1970), and ends the session that
    /// lives by it, if there is one. `false` when too many are remembered already.
    pub fn revoke_id(&mut self, project: i64, id: &str, expires: u64, now: Now) -> bool {
        self.now = now;
        if !self.remember_revoked_id(project, id, expires) {
            return false;
        }
        let by_it = |session: &super::Session| session.project == project && session.token_id.as_deref() == Some(id);
        let void: Vec<_> = self.sessions.iter().filter(|(_, session)| by_it(session)).map(|(id, _)| *id).collect();
        for session in void {
            self.end(session, PeerState::Gone, Some((code::TOKEN_TIMEOUT, REVOKED)));
        }
        self.settle();
        true
    }

    /// The same, of before the relay's start.
    pub fn remember_revoked_id(&mut self, project: i64, id: &str, expires: u64) -> bool {
        let room = self.servers.void_ids.len() < MAX_VOID_IDS;
        let known = self.servers.is_void_id(project, id);
        if room || known {
            let until = self.servers.void_ids.entry((project, id.into())).or_default();
            *until = expires.max(*until);
        }
        room || known
    }

    /// Ends the session of a user whose tokens were revoked; `false` when there is none.
    pub fn end_revoked(&mut self, project: i64, user: &str, now: Now) -> bool {
        self.end_session_of(project, user, (code::TOKEN_TIMEOUT, REVOKED), now)
    }

    /// Forgets the ids of tokens that have expired meanwhile.
    pub fn sweep_revocations(&mut self, now: Now) {
        let now_s = now.unix_micros / 1_000_000;
        self.servers.void_ids.retain(|_, expires| expires.saturating_add(2 * CLOCK_TOLERANCE_S) > now_s);
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
