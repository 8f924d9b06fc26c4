//! What flows on an encrypted connection after the handshake. It knows no socket: what the socket gives goes in, and
//! what it shall take comes out.

use std::io::{self, BufRead, IoSlice, Write};

use crvideo_proto::frame::FrameReader;
use rustls::ServerConnection;

/// Encrypted bytes that may wait for the socket. More plain text is not taken until the socket has taken these.
const SEND_LIMIT: usize = 64 * 1024;

/// The relay's side of one encrypted connection.
pub(crate) struct Channel {
    tls: ServerConnection,
    /// The client has said that nothing more comes.
    ended: bool,
}

impl Channel {
    /// Goes on after a handshake.
    pub(crate) fn new(mut tls: ServerConnection) -> Self {
        tls.set_buffer_limit(Some(SEND_LIMIT));
        Self { tls, ended: false }
    }

    /// Whether encrypted bytes wait for the socket.
    pub(crate) fn has_unsent(&self) -> bool {
        self.tls.wants_write()
    }

    /// Hands encrypted bytes to the socket, by one vectored write.
    pub(crate) fn send(&mut self, to: &mut dyn Write) -> io::Result<usize> {
        self.tls.write_tls(to)
    }

    /// Encrypts as much as may wait for the socket; how much that is.
    pub(crate) fn encrypt(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.tls.writer().write_vectored(slices)
    }

    /// Takes what came from the socket; the plain text goes to the reader. Returns its length.
    pub(crate) fn decrypt(&mut self, mut bytes: &[u8], reader: &mut FrameReader) -> io::Result<usize> {
        let mut total = self.plain_text(reader);
        while !bytes.is_empty() {
            let before = bytes.len();
            self.tls.read_tls(&mut bytes)?;
            let state = self.tls.process_new_packets().map_err(io::Error::other)?;
            self.ended |= state.peer_has_closed();
            total += self.plain_text(reader);
            if bytes.len() == before {
                // What follows the end of a connection is nobody's.
                break;
            }
        }
        Ok(total)
    }

    fn plain_text(&mut self, reader: &mut FrameReader) -> usize {
        let mut total = 0;
        let mut plain = self.tls.reader();
        while let Ok(piece) = plain.fill_buf()
            && !piece.is_empty()
        {
            let len = piece.len();
            reader.feed(piece);
            plain.consume(len);
            total += len;
        }
        total
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
