//! Encryption between a session and its relay.
//!
//! * `trust`: whom a session trusts, and how that is loaded.
//! * `channel`: one encrypted connection: bytes of the socket in, bytes of frames out, and back. It knows no socket.
//! * `explain`: what went wrong, and what to do, in words.
//! * `absent`: what stands for all of them in a library that is built without encryption.

#[cfg(feature = "tls")]
mod channel;
#[cfg(feature = "tls")]
mod explain;
#[cfg(feature = "tls")]
mod trust;

#[cfg(not(feature = "tls"))]
mod absent;

#[cfg(not(feature = "tls"))]
pub use absent::{Channel, Trust, load};
#[cfg(feature = "tls")]
pub use channel::Channel;
#[cfg(feature = "tls")]
pub use trust::{Trust, load};

use std::net::IpAddr;

use super::config::{TlsMode, TlsSettings};

/// Whether a connection to this address is encrypted.
pub fn wanted(settings: &TlsSettings, address: IpAddr) -> bool {
    match settings.mode {
        TlsMode::Auto => !address.to_canonical().is_loopback(),
        TlsMode::Always => true,
        TlsMode::Never => false,
    }
}

#[cfg(all(test, feature = "tls"))]
#[path = "../../../tests/common/certificates.rs"]
mod certificates;
#[cfg(all(test, feature = "tls"))]
#[path = "tests.rs"]
mod handshakes;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses_are_reached_in_plain_text_unless_the_application_says_so() {
        let of =
            |mode, address: &str| wanted(&TlsSettings { mode, ..TlsSettings::default() }, address.parse().unwrap());
        for local in ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"] {
            assert!(!of(TlsMode::Auto, local), "{local}");
            assert!(of(TlsMode::Always, local), "{local}");
        }
        for other in ["128.0.0.1", "10.0.0.1", "0.0.0.0", "::", "fe80::1", "::2", "::ffff:10.0.0.1"] {
            assert!(of(TlsMode::Auto, other), "{other}");
            assert!(!of(TlsMode::Never, other), "{other}");
        }
    }
}
