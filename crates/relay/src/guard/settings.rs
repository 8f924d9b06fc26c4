//! What an operator can set about who may take how much.

use serde::Deserialize;

/// Limits for each address, connection, session and project. In all of them 0 is no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardSettings {
    /// Whether limits for each address hold for connections from this machine, too.
    pub count_loopback: bool,
    /// Connections from one address, on all listeners together.
    pub address_connections: usize,
    /// Those of them on which nobody has logged in yet.
    pub address_before_login: usize,
    /// Files that one address uploads at once.
    pub address_uploads: usize,
    /// Logins from one address in a second, on average.
    pub address_logins_per_s: u64,
    /// Logins from one address at once.
    pub address_login_burst: u64,
    /// Failed logins from one address at once; later they are refused unseen, but for ten in a second.
    pub address_failures: u64,
    /// Failed logins of one user at once; later they are refused unseen, but for one in a second.
    pub user_failures: u64,
    /// Bytes that are read from one address in a second.
    pub address_bytes_per_s: u64,
    /// Frames that are read from one connection in a second.
    pub connection_frames_per_s: u64,
    /// Bytes that are read from one connection in a second.
    pub connection_bytes_per_s: u64,
    /// Bytes that are read from all connections of one project in a second.
    pub project_bytes_per_s: u64,
    /// Transfers of one session under way at once.
    pub session_transfers: usize,
    /// Sessions of one project.
    pub project_sessions: usize,
    /// Bytes that may wait for all sessions together before the queue of each is cut short.
    pub max_queued: usize,
}

impl Default for GuardSettings {
    /// Two thousand people behind one address can work, and come back all at once.
    fn default() -> Self {
        Self {
            count_loopback: false,
            address_connections: 8_192,
            address_before_login: 4_096,
            address_uploads: 256,
            address_logins_per_s: 200,
            address_login_burst: 4_096,
            address_failures: 2_000,
            user_failures: 60,
            address_bytes_per_s: 0,
            connection_frames_per_s: 2_000_000,
            connection_bytes_per_s: 0,
            project_bytes_per_s: 0,
            session_transfers: 65_536,
            project_sessions: 0,
            max_queued: 1024 * 1024 * 1024,
        }
    }
}

/// The section of the configuration file.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct Section {
    count_loopback: Option<bool>,
    address_connections: Option<usize>,
    address_before_login: Option<usize>,
    address_uploads: Option<usize>,
    address_logins_per_s: Option<u64>,
    address_login_burst: Option<u64>,
    address_failures: Option<u64>,
    user_failures: Option<u64>,
    address_bytes_per_s: Option<u64>,
    connection_frames_per_s: Option<u64>,
    connection_bytes_per_s: Option<u64>,
    project_bytes_per_s: Option<u64>,
    session_transfers: Option<usize>,
    project_sessions: Option<usize>,
    max_queued: Option<usize>,
}

impl Section {
    /// Sets what the file sets.
    pub(crate) fn apply(self, to: &mut GuardSettings) {
        fn set<T>(to: &mut T, from: Option<T>) {
            if let Some(from) = from {
                *to = from;
            }
        }
        set(&mut to.count_loopback, self.count_loopback);
        set(&mut to.address_connections, self.address_connections);
        set(&mut to.address_before_login, self.address_before_login);
        set(&mut to.address_uploads, self.address_uploads);
        set(&mut to.address_logins_per_s, self.address_logins_per_s);
        set(&mut to.address_login_burst, self.address_login_burst);
        set(&mut to.address_failures, self.address_failures);
        set(&mut to.user_failures, self.user_failures);
        set(&mut to.address_bytes_per_s, self.address_bytes_per_s);
        set(&mut to.connection_frames_per_s, self.connection_frames_per_s);
        set(&mut to.connection_bytes_per_s, self.connection_bytes_per_s);
        set(&mut to.project_bytes_per_s, self.project_bytes_per_s);
        set(&mut to.session_transfers, self.session_transfers);
        set(&mut to.project_sessions, self.project_sessions);
        set(&mut to.max_queued, self.max_queued);
    }
}
