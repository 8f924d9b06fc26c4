//! What an operator sees of the core.

use super::{ConnectionId, Core};

/// Sessions in one answer to [`Core::list_sessions`].
pub const SESSIONS_PAGE: usize = 1_000;

/// What has happened since the relay's start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Sessions that began.
    pub logins: u64,
    /// Logins that were refused.
    pub logins_refused: u64,
    /// Sessions that a server or an operator ended.
    pub kicked_out: u64,
    /// Frames that came.
    pub frames: u64,
}

/// One session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    /// Project id.
    pub project: i64,
    /// The user.
    pub user: String,
    /// Its epoch.
    pub epoch: u64,
    /// When it began, in seconds since 1970.
    pub since: u64,
    /// Its command connection; `None` while its link is lost.
    pub connection: Option<ConnectionId>,
    /// Transfers that it sends.
    pub transfers: usize,
}

impl Core {
    /// The sessions of a project behind a user, by name, at most [`SESSIONS_PAGE`], and whether there are more.
    pub fn list_sessions(&self, project: i64, after: Option<&str>) -> (Vec<SessionInfo>, bool) {
        use std::ops::Bound::{Excluded, Unbounded};
        let Some(project) = self.projects.get(&project) else { return (Vec::new(), false) };
        let from = after.map_or(Unbounded, Excluded);
        let mut users = project.session_by_user.range::<str, _>((from, Unbounded));
        let ids = users.by_ref().take(SESSIONS_PAGE);
        let sessions = ids.filter_map(|(_, id)| {
            let session = self.sessions.get(id)?;
            Some(SessionInfo {
                project: session.project,
                user: (*session.user).to_owned(),
                epoch: session.epoch,
                since: session.since / 1_000_000,
                connection: session.command,
                transfers: session.transfers.len(),
            })
        });
        let sessions = sessions.collect();
        (sessions, users.next().is_some())
    }

    /// The projects.
    pub fn project_ids(&self) -> Vec<i64> {
        self.projects.keys().copied().collect()
    }

    /// What has happened since the relay's start.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Connections on which nobody has logged in yet.
    pub fn before_login(&self) -> usize {
        self.before_login
    }
}
