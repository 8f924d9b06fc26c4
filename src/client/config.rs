//! What a caller can set.

use std::path::PathBuf;
use std::time::Duration;

use crvideo_proto::id::TaskId;
use zeroize::Zeroize;

/// Largest command in bytes, inclusive.
pub const MAX_COMMAND: usize = 65_536;
/// Default of [`SessionConfig::buffer_limit`].
pub const DEFAULT_BUFFER_LIMIT: u64 = 104_857_600;
/// Default of [`SessionConfig::inbound_limit`].
pub const DEFAULT_INBOUND_LIMIT: u64 = 256 * 1024 * 1024;
/// Default of [`SessionConfig::outbound_limit`].
pub const DEFAULT_OUTBOUND_LIMIT: u64 = 256 * 1024 * 1024;
/// Default of [`SessionConfig::task_limit`].
pub const DEFAULT_TASK_LIMIT: u32 = 65_536;

/// A session's settings.
#[derive(Debug, Clone)]
pub struct SessionConfig {
    /// The event queue, 0 for the library's own.
    pub queue: u64,
    /// Where received files are put; `None` for a private directory below the system's temporary one.
    pub download_dir: Option<PathBuf>,
    /// Sync received files to disk before saying yes.
    pub durable: bool,
    /// Largest buffer that is sent or taken.
    pub buffer_limit: u64,
    /// Bytes of commands and buffers that wait for the application before senders are held back.
    pub inbound_limit: u64,
    /// Bytes of commands and buffers that are accepted and not ended.
    pub outbound_limit: u64,
    /// Tasks that are accepted and not ended.
    pub task_limit: u32,
    /// A command's deadline.
    pub cmd_timeout: Duration,
    /// How long a transfer may go without confirmed progress.
    pub transfer_timeout: Duration,
    /// How long the application may take to answer an offer.
    pub offer_timeout: Duration,
    /// Bytes of buffers and files that are sent in a second; 0 is no limit.
    pub max_send_bytes_per_s: u32,
    /// How long a received file stays when the application does not move it away.
    pub file_ttl: Duration,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            queue: 0,
            download_dir: None,
            durable: false,
            buffer_limit: DEFAULT_BUFFER_LIMIT,
            inbound_limit: DEFAULT_INBOUND_LIMIT,
            outbound_limit: DEFAULT_OUTBOUND_LIMIT,
            task_limit: DEFAULT_TASK_LIMIT,
            cmd_timeout: Duration::from_secs(30),
            transfer_timeout: Duration::from_secs(60),
            offer_timeout: Duration::from_secs(30),
            max_send_bytes_per_s: 0,
            file_ttl: Duration::from_secs(24 * 3600),
        }
    }
}

/// One relay address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddress {
    /// Name, IPv4 or IPv6 address (without brackets).
    pub host: String,
    /// Port, not 0.
    pub port: u16,
}

impl ServerAddress {
    /// Reads `host:port,[v6]:port`; `None` when any part is malformed or there is none.
    pub fn parse_list(list: &str) -> Option<Vec<Self>> {
        list.split(',').map(|part| Self::parse(part.trim())).collect()
    }

    fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => rest.split_once("]:").filter(|(host, _)| host.parse::<std::net::Ipv6Addr>().is_ok())?,
            None => text.rsplit_once(':').filter(|(host, _)| !host.contains([':', ']']))?,
        };
        let port = port.parse().ok().filter(|port| *port != 0)?;
        let plain = !host.is_empty() && host.len() <= 253 && !host.contains(|char: char| char <= ' ' || char == '\x7f');
        plain.then(|| Self { host: host.to_owned(), port })
    }
}

/// How a user proves who it is.
#[derive(Clone)]
pub enum Credential {
    /// A token that the application's backend minted.
    Token(String),
    /// The project's secret, from which the library mints tokens.
    Secret(String),
}

/// Nobody finds a secret in memory that is used again.
impl Drop for Credential {
    fn drop(&mut self) {
        let (Credential::Token(text) | Credential::Secret(text)) = self;
        text.zeroize();
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Credential::Token(_) => "Token(…)",
            Credential::Secret(_) => "Secret(…)",
        })
    }
}

/// Who logs in, and where.
#[derive(Debug, Clone)]
pub struct LoginInfo {
    /// Tried in turn.
    pub servers: Vec<ServerAddress>,
    /// Project id.
    pub project: i64,
    /// User id.
    pub user: String,
    /// Token or secret.
    pub credential: Credential,
}

/// What can be set for one send.
#[derive(Debug, Clone, Default)]
pub struct SendOptions {
    /// Instead of the session's time-out.
    pub timeout: Option<Duration>,
    /// The caller's own task id.
    pub task: Option<TaskId>,
    /// The name shown at the target, instead of the path's last part.
    pub display_name: Option<String>,
}
