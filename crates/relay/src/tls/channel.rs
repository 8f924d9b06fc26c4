//! What flows on an encrypted connection after the handshake. It knows no socket: what the socket gives goes in, and
//! what it shall take comes out.

use std::io::{self, IoSlice, Write};
use std::sync::Arc;

use crvideo_proto::frame::FrameReader;
use rustls::ServerConnection;

use crate::guard::{Budget, Share};

/// Encrypted bytes that may wait for the socket. More plain text is not taken until the socket has taken these.
const SEND_LIMIT: usize = 64 * 1024;
/// The longest record: its head, 16 KiB of plain text, and what encryption adds at most.
const LONGEST_RECORD: usize = 5 + 16 * 1024 + 256;

/// The relay's side of one encrypted connection.
pub(crate) struct Channel {
    tls: ServerConnection,
    /// The client has said that nothing more comes.
    ended: bool,
    /// Bytes of a record of which a part has come, at most.
    partial: usize,
    /// What waits in it.
    share: Share,
}

impl Channel {
    /// Goes on after a handshake.
    pub(crate) fn new(mut tls: ServerConnection, budget: &Arc<Budget>) -> Self {
        tls.set_buffer_limit(Some(SEND_LIMIT));
        Self { tls, ended: false, partial: 0, share: Share::of(budget) }
    }

    /// Charges what waits after something was done.
    fn settle<T>(&mut self, done: T) -> T {
        // Nothing new has come, so this only says how much waits; a connection that has failed is about to end.
        let unsent = self.tls.process_new_packets().map_or(0, |waits| waits.tls_bytes_to_write());
        self.share.set(unsent + self.partial);
        done
    }

    /// Whether encrypted bytes wait for the socket.
    pub(crate) fn has_unsent(&self) -> bool {
        self.tls.wants_write()
    }

    /// Hands encrypted bytes to the socket, by one vectored write.
    pub(crate) fn send(&mut self, to: &mut dyn Write) -> io::Result<usize> {
        let sent = self.tls.write_tls(to);
        self.settle(sent)
    }

    /// Encrypts as much as may wait for the socket; how much that is.
    pub(crate) fn encrypt(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let taken = self.tls.writer().write_vectored(slices);
        self.settle(taken)
    }

    /// Takes what came from the socket; the plain text goes to the reader. Returns its length.
    pub(crate) fn decrypt(&mut self, mut bytes: &[u8], reader: &mut FrameReader) -> io::Result<usize> {
        let mut total = reader.feed_from(&mut self.tls.reader());
        while !bytes.is_empty() {
            let before = bytes.len();
            self.tls.read_tls(&mut bytes)?;
            let state = self.tls.process_new_packets().map_err(io::Error::other)?;
            self.ended |= state.peer_has_closed();
            let plain = reader.feed_from(&mut self.tls.reader());
            let waits = if plain > 0 { 0 } else { self.partial + before - bytes.len() };
            self.partial = waits.min(LONGEST_RECORD);
            total += plain;
            if bytes.len() == before {
                // What follows the end of a connection is nobody's.
                break;
            }
        }
        Ok(self.settle(total))
    }

    /// Whether the client has said that nothing more comes.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Says that nothing more comes from our side.
    pub(crate) fn end(&mut self) {
        self.tls.send_close_notify();
    }
}
