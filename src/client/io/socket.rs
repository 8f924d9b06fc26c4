//! One connection of a session, from the name of the server to the bytes on the socket.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use crvideo_proto::frame::FrameReader;
use crvideo_proto::out::OutQueue;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::super::tls::Channel;
use crate::sys::{self, Kept};

/// Parts handed to one system call.
const SLICES: usize = 64;
/// Bytes of one read during a handshake.
const HANDSHAKE_READ: usize = 4 * 1024;

/// How far a connection is.
#[derive(Debug)]
pub enum State {
    /// The name is being resolved.
    Resolving,
    /// One address is being tried; the others wait.
    Connecting(VecDeque<SocketAddr>),
    /// The socket is there; whom to trust is being loaded.
    Trusting,
    /// The other side is proving who it is.
    Handshaking,
    /// Bytes flow.
    Open,
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    /// Tells this attempt from earlier ones.
    pub attempt: u64,
    /// How far it is.
    pub state: State,
    /// The socket, once there is one.
    pub stream: Option<Kept<TcpStream>>,
    /// Encrypts and decrypts; `None` on a connection in plain text.
    pub channel: Option<Box<Channel>>,
    /// Who the other side must be, and its port.
    pub server: (Box<str>, u16),
    /// The socket's name in `Poll`.
    pub token: Token,
    /// While the name is being resolved: until when that may take.
    pub resolve_by: Option<Duration>,
    /// The socket takes nothing until `Poll` says so.
    pub blocked: bool,
    /// The last read got less than there was room for: the socket has nothing more until `Poll` says so.
    pub drained: bool,
    /// `Poll` has said that nothing comes behind what is there. It says so once, so that must be read to its end.
    pub ending: bool,
    /// The session has given this connection up; it is closed before the turn ends.
    pub given_up: bool,
}

impl Connection {
    /// A connection whose server's name is being resolved.
    pub fn new(attempt: u64, (host, port): (&str, u16)) -> Self {
        Self {
            attempt,
            state: State::Resolving,
            stream: None,
            channel: None,
            server: (host.into(), port),
            token: Token(0),
            resolve_by: None,
            blocked: false,
            drained: false,
            ending: false,
            given_up: false,
        }
    }

    /// Begins to connect to the next address that can be begun with; false when none is left.
    pub fn try_next(&mut self, registry: &Registry, token: Token) -> bool {
        let State::Connecting(addresses) = &mut self.state else { return false };
        while let Some(address) = addresses.pop_front() {
            // The host may close the descriptor before it is registered.
            match TcpStream::connect(address).map(Kept::new).and_then(|mut stream| {
                registry.register(&mut *stream, token, Interest::READABLE | Interest::WRITABLE)?;
                Ok(stream)
            }) {
                Ok(stream) => {
                    self.stream = Some(stream);
                    self.token = token;
                    return true;
                }
                Err(error) => log::info!("cannot connect to {address}: {error}"),
            }
        }
        false
    }

    /// Whether the address under way has answered: `None` while it has not.
    pub fn outcome(&self) -> Option<io::Result<()>> {
        let stream = self.stream.as_ref()?;
        if let Ok(Some(error)) | Err(error) = stream.take_error() {
            return Some(Err(error));
        }
        match stream.peer_addr() {
            Ok(_) => {
                // Both are about speed and patience; a connection works without.
                let _ = stream.set_nodelay(true);
                let _ = sys::keep_alive(&**stream);
                Some(Ok(()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotConnected => None,
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// Moves the handshake on as far as the socket lets it; whether it is done. An error is said in words.
    pub fn shake_hands(&mut self) -> Result<bool, String> {
        let (Some(stream), Some(channel)) = (&mut self.stream, &mut self.channel) else { return Ok(false) };
        let mut piece = [0; HANDSHAKE_READ];
        loop {
            let sent = send(stream, channel, &mut self.blocked);
            if !channel.is_handshaking() {
                return Ok(true);
            }
            let broke = |error: io::Error| format!("the connection broke during the TLS handshake ({error})");
            match stream.read(&mut piece) {
                Ok(0) => return Err(CLOSED.to_owned()),
                Ok(len) => channel.take_in(piece.get(..len).unwrap_or_default()).inspect_err(|_| {
                    // The other side is told why, if it can be.
                    let _ = send(stream, channel, &mut false);
                })?,
                // What the server has said, perhaps why, goes before a socket that takes nothing any more.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return sent.map(|()| false).map_err(broke),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Err(CLOSED.to_owned()),
                Err(error) => return Err(broke(error)),
            }
        }
    }

    /// Reads once into a connection's reader; 0 means that the other side has ended the stream. What was changed on the
    /// way is an error of the kind `InvalidData`.
    pub fn read(&mut self, scratch: &mut [u8], reader: &mut FrameReader) -> io::Result<usize> {
        let Some(stream) = &mut self.stream else { return Err(io::ErrorKind::WouldBlock.into()) };
        self.drained = false;
        if let Some(channel) = &mut self.channel {
            return decrypt(stream, channel, scratch, reader);
        }
        if let Some(buffer) = reader.large_rest() {
            let room = buffer.capacity() - buffer.len();
            let len = sys::recv_into(&**stream, buffer)?;
            self.drained = len < room && !self.ending;
            return Ok(len);
        }
        let most = reader.next_read(scratch.len());
        let len = stream.read(scratch.get_mut(..most).unwrap_or_default())?;
        self.drained = len < most && !self.ending;
        reader.try_feed(scratch.get(..len).unwrap_or_default())?;
        Ok(len)
    }

    /// Whether encrypted bytes wait for the socket.
    pub fn has_unsent(&self) -> bool {
        self.channel.as_ref().is_some_and(|channel| channel.has_unsent())
    }

    /// Writes what the socket takes; an error means that the connection has ended. What is encrypted counts as
    /// written, and is bounded.
    pub fn write(&mut self, out: &mut OutQueue) -> io::Result<usize> {
        let Some(stream) = &self.stream else { return Ok(0) };
        let mut total = 0;
        if let Some(channel) = &mut self.channel {
            send(stream, channel, &mut self.blocked)?;
        }
        while !out.is_empty() && !self.blocked {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = out.slices(&mut slices);
            let slices = slices.get(..count).unwrap_or_default();
            let taken = match &mut self.channel {
                None => sys::send_vectored(&**stream, slices),
                Some(channel) => channel.encrypt(slices),
            };
            match taken {
                Ok(taken) => {
                    out.advance(taken);
                    total += taken;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.blocked = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if let Some(channel) = &mut self.channel {
                send(stream, channel, &mut self.blocked)?;
            }
        }
        Ok(total)
    }

    /// Says that nothing more comes, if the socket takes it at once.
    pub fn end(&mut self) {
        if let (Some(stream), Some(channel)) = (&self.stream, &mut self.channel) {
            channel.end();
            let _ = send(stream, channel, &mut self.blocked);
        }
    }
}

/// What a server that ends the connection in the middle of a handshake is told to be.
const CLOSED: &str = "the server has closed the connection during the TLS handshake; if it speaks plain text, give it a \
                      certificate, or set tls to CRVIDEO_TLS_NEVER; else its log may say why";

/// The socket, as what encrypts sees it: it must not raise SIGPIPE either.
struct Quiet<'a>(&'a TcpStream);

impl Write for Quiet<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        sys::send_vectored(self.0, slices.get(..slices.len().min(SLICES)).unwrap_or_default())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sends what is encrypted.
fn send(stream: &TcpStream, channel: &mut Channel, blocked: &mut bool) -> io::Result<()> {
    while channel.has_unsent() && !*blocked {
        match channel.send(&mut Quiet(stream)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => *blocked = true,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads once, and decrypts.
fn decrypt(
    stream: &mut TcpStream,
    channel: &mut Channel,
    scratch: &mut [u8],
    reader: &mut FrameReader,
) -> io::Result<usize> {
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    // Some of it may have come together with the last bytes of the handshake.
    let waited = channel.decrypt(&[], reader).map_err(invalid)?;
    if waited > 0 || channel.has_ended() {
        return Ok(waited);
    }
    let len = stream.read(scratch)?;
    if len == 0 {
        return Ok(0);
    }
    match channel.decrypt(scratch.get(..len).unwrap_or_default(), reader) {
        Ok(0) if !channel.has_ended() => Err(io::ErrorKind::Interrupted.into()),
        Ok(len) => Ok(len),
        Err(why) => {
            // The other side is told why, if it can be.
            let _ = send(stream, channel, &mut false);
            Err(invalid(why))
        }
    }
}
