//! One encrypted connection. It knows no socket: what the socket gives goes in, and what it shall take comes out.

use std::io::{self, IoSlice, Write};

use crvideo_proto::frame::FrameReader;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use super::explain::explain;
use super::trust::Trust;

/// Encrypted bytes that may wait for the socket. More plain text is not taken until the socket has taken these.
const SEND_LIMIT: usize = 64 * 1024;

/// The client's side of one encrypted connection.
#[derive(Debug)]
pub struct Channel {
    tls: ClientConnection,
    /// The other side has said that nothing more comes.
    ended: bool,
}

impl Channel {
    /// Begins a handshake with a server that must prove to be `host`. What is wrong is said in words.
    pub fn start(trust: &Trust, host: &str) -> Result<Self, String> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("{host:?} is not a name that a certificate could be for; correct the servers"))?;
        let mut tls = ClientConnection::new(trust.config(), name).map_err(|error| explain(&error))?;
        tls.set_buffer_limit(Some(SEND_LIMIT));
        Ok(Self { tls, ended: false })
    }

    /// Whether the other side has not yet proved who it is.
    pub fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// Version and cipher, for the log.
    pub fn version(&self) -> String {
        let version = self.tls.protocol_version().map(|version| format!("{version:?}")).unwrap_or_default();
        let suite = self.tls.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite())).unwrap_or_default();
        let kind = self.tls.handshake_kind().map(|kind| format!("{kind:?}")).unwrap_or_default();
        format!("{version} {suite} {kind}")
    }

    /// Whether encrypted bytes wait for the socket.
    pub fn has_unsent(&self) -> bool {
        self.tls.wants_write()
    }

    /// Hands encrypted bytes to the socket, by one vectored write.
    pub fn send(&mut self, to: &mut dyn Write) -> io::Result<usize> {
        self.tls.write_tls(to)
    }

    /// Encrypts as much as may wait for the socket; how much that is.
    pub fn encrypt(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.tls.writer().write_vectored(slices)
    }

    /// Takes what came from the socket during the handshake.
    pub fn take_in(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        while !bytes.is_empty() {
            self.feed(&mut bytes)?;
        }
        Ok(())
    }

    /// Takes what came from the socket after the handshake; the plain text goes to the reader. Returns its length.
    pub fn decrypt(&mut self, mut bytes: &[u8], reader: &mut FrameReader) -> Result<usize, String> {
        let mut total = reader.feed_from(&mut self.tls.reader());
        while !bytes.is_empty() {
            self.feed(&mut bytes)?;
            total += reader.feed_from(&mut self.tls.reader());
        }
        Ok(total)
    }

    fn feed(&mut self, bytes: &mut &[u8]) -> Result<(), String> {
        let before = bytes.len();
        self.tls.read_tls(bytes).map_err(|error| error.to_string())?;
        let state = self.tls.process_new_packets().map_err(|error| explain(&error))?;
        self.ended |= state.peer_has_closed();
        if bytes.len() == before {
            // What follows the end of a connection is nobody's.
            *bytes = &[];
        }
        Ok(())
    }

    /// Whether the other side has said that nothing more comes.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Says that nothing more comes from our side.
    pub fn end(&mut self) {
        self.tls.send_close_notify();
    }
}
