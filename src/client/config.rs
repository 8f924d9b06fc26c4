//! What a caller can set.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
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
    /// Bytes of received files that may be where the library put them, or be on their way there; 0 is no limit.
    pub download_quota: u64,
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
            download_quota: 0,
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

/// Which connections are encrypted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TlsMode {
    /// All but those to loopback addresses.
    #[default]
    Auto,
    /// All.
    Always,
    /// None: everything is sent in plain text.
    Never,
}

/// How a session's connections are encrypted, and whom it trusts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// Which connections are encrypted.
    pub mode: TlsMode,
    /// PEM file of the authorities that are trusted; `None` for the platform's.
    pub ca_file: Option<PathBuf>,
    /// SHA-256 of the only public key (its SubjectPublicKeyInfo) that is taken. Without `ca_file` it stands for the
    /// chain of certificates and their dates; the name is checked in any case.
    pub pinned_key: Option<[u8; 32]>,
    /// Take every certificate: whoever stands between can read and change everything.
    pub insecure: bool,
}

impl TlsSettings {
    /// Reads the SHA-256 of a key: 64 hexadecimal digits, or base64, with or without `sha256/` or `sha256//` before it.
    pub fn parse_pin(text: &str) -> Option<[u8; 32]> {
        let text = text.strip_prefix("sha256//").or_else(|| text.strip_prefix("sha256/")).unwrap_or(text);
        if text.len() == 64 {
            return from_hex(text);
        }
        STANDARD.decode(text).ok()?.try_into().ok()
    }
}

/// 32 bytes from 64 hexadecimal digits.
fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digit = |at: usize| char::from(*pair.get(at)?).to_digit(16);
        *byte = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
    }
    Some(bytes)
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
    /// Encryption.
    pub tls: TlsSettings,
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

#[cfg(test)]
mod tests {
    use super::*;

    // printf crvideo | openssl dgst -sha256 -binary | base64, and | od -An -tx1
    const BASE64: &str = "YHSS0xLnBC7DTG+igaBYhdsMVQfuAj49L28wZMcPk7A=";
    const HEX: &str = "607492d312e7042ec34c6fa281a05885db0c5507ee023e3d2f6f3064c70f93b0";

    #[test]
    fn a_pinned_key_is_read_in_both_forms() {
        let pin = TlsSettings::parse_pin(HEX).unwrap();
        assert_eq!(pin.first(), Some(&u8::from_str_radix(&HEX[..2], 16).unwrap()));
        assert_eq!(pin.last(), Some(&u8::from_str_radix(&HEX[62..], 16).unwrap()));
        let upper = HEX.to_uppercase();
        for same in [BASE64, &upper, &format!("sha256/{BASE64}"), &format!("sha256//{BASE64}")] {
            assert_eq!(TlsSettings::parse_pin(same), Some(pin), "{same}");
        }
    }

    #[test]
    fn what_is_no_pinned_key_is_refused() {
        let spoiled = BASE64.replace('=', "");
        for bad in ["", "sha256/", &HEX[1..], &format!("{HEX}0"), &HEX.replace('5', "g"), &spoiled, "sha1/abc"] {
            assert_eq!(TlsSettings::parse_pin(bad), None, "{bad}");
        }
        // The last character has two bits that belong to no byte.
        assert_eq!(TlsSettings::parse_pin(&format!("{}B=", "A".repeat(42))), None);
        assert_eq!(TlsSettings::parse_pin(&format!("{}A=", "A".repeat(42))), Some([0; 32]));
        assert_eq!(TlsSettings::parse_pin(&format!("{}*A=", "A".repeat(41))), None);
    }
}
