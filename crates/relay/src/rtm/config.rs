//! What an operator can set about the RTM dialect.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::ConfigError;

/// Settings of the RTM dialect. Nothing is listened on unless an address is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RtmConfig {
    /// Where servers with a project's secret connect.
    pub listen: Option<SocketAddr>,
    /// Where users with RTM SDKs connect.
    pub users: Option<SocketAddr>,
    /// Where files are sent to; without it that is done where servers connect, or users.
    pub files: Option<SocketAddr>,
    /// `host:port` that clients are told to send files to; without it the address that the asking client itself has
    /// connected to, with the port of the listener for files.
    pub file_endpoint: Option<String>,
    /// A file with private keys for FPNN's own encryption, which is insecure and off without it.
    pub insecure_keys: Option<PathBuf>,
    /// How far the time of a signature may be from ours.
    pub clock_window: Duration,
    /// How long a token from `gettoken` is good.
    pub token_life: Duration,
    /// Recipients of one message.
    pub max_targets: usize,
    /// Members of one group.
    pub max_group_members: usize,
    /// Connections in all.
    pub max_connections: usize,
    /// Connections on which no quest has been signed well yet and no user has logged in.
    pub max_strangers: usize,
    /// Such a connection is closed after this time, whatever it says.
    pub stranger_time: Duration,
    /// Bytes of memory that may wait for one connection.
    pub push_queue: usize,
    /// A connection from which nothing has come for this long is closed, unless it listens.
    pub idle_timeout: Duration,
    /// How often connections that listen are pinged.
    pub ping: Duration,
    /// How long messages are kept: for users who are not there, and as history.
    pub message_keep: Duration,
    /// Undelivered messages of one conversation of one user; the oldest go first.
    pub max_undelivered: u32,
    /// Messages of one project; the oldest go first.
    pub max_messages: u32,
}

/// Real SDKs keep a connection for files open for 150 s after its last use, and one of them loses the next file
/// without a word when it was closed before.
const IDLE_TIMEOUT: Duration = Duration::from_secs(180);
/// Real SDKs give a connection up when no ping has come for 40 s.
const PING: Duration = Duration::from_secs(15);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// No token lives longer, and no window of the clock is wider.
const TEN_YEARS: Duration = Duration::from_secs(10 * 366 * 24 * 3600);
/// More recipients do not fit a quest.
const MAX_TARGETS: usize = 10_000;
/// A queue holds at least this many bytes: one message to [`MAX_TARGETS`] users.
const MIN_PUSH_QUEUE: usize = 2 * 1024 * 1024;

impl Default for RtmConfig {
    fn default() -> Self {
        Self {
            listen: None,
            users: None,
            files: None,
            file_endpoint: None,
            insecure_keys: None,
            clock_window: Duration::from_secs(600),
            token_life: DAY * 30,
            max_targets: MAX_TARGETS,
            max_group_members: 10_000,
            max_connections: 8_192,
            max_strangers: 1_024,
            stranger_time: Duration::from_secs(60),
            push_queue: 8 * 1024 * 1024,
            idle_timeout: IDLE_TIMEOUT,
            ping: PING,
            message_keep: DAY * 7,
            max_undelivered: 500,
            max_messages: 1_000_000,
        }
    }
}

impl RtmConfig {
    /// Says in one sentence why a relay cannot run like this.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |text: String| Err(ConfigError(text));
        if self.files.is_some() && self.listen.is_none() && self.users.is_none() {
            return wrong(
                "rtm.files needs rtm.listen or rtm.users, where clients ask for leave to send files; give --rtm".into(),
            );
        }
        if let Some(endpoint) = &self.file_endpoint
            && !is_endpoint(endpoint)
        {
            return wrong(format!(
                "rtm.file_endpoint {endpoint:?} is not of the form HOST:PORT; write a name or an IPv4 address (SDKs \
                 cut it at the colon, so IPv6 does not work) and a port"
            ));
        }
        let times = [
            ("rtm.clock_window", self.clock_window, TEN_YEARS),
            ("rtm.token_life", self.token_life, TEN_YEARS),
            ("rtm.stranger_time", self.stranger_time, DAY),
            ("rtm.idle_timeout", self.idle_timeout, DAY),
            ("rtm.ping", self.ping, DAY),
            ("rtm.message_keep", self.message_keep, TEN_YEARS),
        ];
        for (key, time, most) in times {
            if time < Duration::from_millis(10) || time > most {
                return wrong(format!("{key} is below 0.01 or above {} seconds; correct it", most.as_secs()));
            }
        }
        if !(1..=MAX_TARGETS).contains(&self.max_targets) {
            return wrong(format!("rtm.max_targets is not from 1 to {MAX_TARGETS}; correct it"));
        }
        if self.max_connections == 0 || self.max_strangers == 0 || self.max_group_members == 0 {
            return wrong(
                "rtm.max_connections, rtm.max_strangers or rtm.max_group_members is 0; make it larger".to_owned(),
            );
        }
        if self.push_queue < MIN_PUSH_QUEUE {
            return wrong(format!("rtm.push_queue is below {MIN_PUSH_QUEUE} bytes; make it larger"));
        }
        Ok(())
    }
}

/// Whether clients that cut at the first colon get a host and a port out of it.
fn is_endpoint(text: &str) -> bool {
    text.split_once(':').is_some_and(|(host, port)| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        !host.is_empty() && host.bytes().all(plain) && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_name_or_ipv4_and_a_port() {
        for good in ["files.example.com:13316", "10.0.0.1:1", "relay_1:65535"] {
            assert!(is_endpoint(good), "{good}");
        }
        for bad in ["", "host", "host:", ":1", "host:0", "host:70000", "[::1]:1", "::1:1", "a b:1", "host:1:2"] {
            assert!(!is_endpoint(bad), "{bad}");
        }
    }
}
