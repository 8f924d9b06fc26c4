//! Encryption: who the relay proves to be, and how connections begin.
//!
//! * `identity`: the certificate and its key, from files that may change.
//! * `handshake`: the beginning of an encrypted connection, so that many of them cost the others little.
//! * `channel`: what flows on one after that, for connections that are not served by tokio's streams.

mod channel;
mod handshake;
mod identity;

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::NoServerSessionStorage;

pub(crate) use channel::Channel;
pub(crate) use handshake::{Handshakes, failure};
pub(crate) use identity::{Identity, keep_fresh};

use crate::config::ConfigError;

/// What an operator can set about encryption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// PEM file with the relay's certificate, followed by those that lead to its authority.
    pub cert: Option<PathBuf>,
    /// PEM file with the key of that certificate.
    pub key: Option<PathBuf>,
    /// Listeners on loopback addresses are encrypted, too.
    pub loopback: bool,
    /// HTTP is encrypted, too. Off where a proxy before it encrypts.
    pub http: bool,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self { cert: None, key: None, loopback: false, http: true }
    }
}

impl TlsConfig {
    /// Says in one sentence what is wrong with the settings themselves.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let missing = match (&self.cert, &self.key) {
            (Some(_), None) => "a certificate (tls.cert) but no key; name the key's file by --tls-key",
            (None, Some(_)) => "a key (tls.key) but no certificate; name the certificate's file by --tls-cert",
            (None, None) if self.loopback => {
                "tls.loopback but no certificate; name the files of one and its key by --tls-cert and --tls-key"
            }
            _ => return Ok(()),
        };
        Err(ConfigError(format!("there is {missing}")))
    }
}

/// What encrypted listeners share.
#[derive(Debug)]
pub(crate) struct Tls {
    pub(crate) identity: Arc<Identity>,
    pub(crate) handshakes: Handshakes,
    /// For connections of our own protocol.
    pub(crate) frames: Arc<ServerConfig>,
    /// For HTTP.
    pub(crate) http: Arc<ServerConfig>,
}

impl Tls {
    /// Loads the certificate and its key; `None` where none is configured.
    pub(crate) fn load(config: &TlsConfig) -> Result<Option<Arc<Self>>, ConfigError> {
        let (Some(cert), Some(key)) = (&config.cert, &config.key) else { return Ok(None) };
        let identity = Arc::new(Identity::load(cert.clone(), key.clone()).map_err(ConfigError)?);
        let setup = |error: rustls::Error| ConfigError(format!("TLS cannot be set up ({error}); report this"));
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(setup)?;
        let mut frames = builder.with_no_client_auth().with_cert_resolver(identity.clone());
        // Tickets hold all that a short handshake needs; the relay remembers nothing.
        frames.session_storage = Arc::new(NoServerSessionStorage {});
        frames.ticketer = ring::Ticketer::new().map_err(setup)?;
        let mut http = frames.clone();
        http.alpn_protocols = vec![b"http/1.1".to_vec()];
        let (frames, http) = (Arc::new(frames), Arc::new(http));
        Ok(Some(Arc::new(Self { identity, handshakes: Handshakes::new(), frames, http })))
    }
}
