//! One connection of a session, from the name of the server to the bytes on the socket.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read};
use std::net::SocketAddr;
use std::time::Duration;

use crvideo_proto::frame::FrameReader;
use crvideo_proto::out::OutQueue;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::sys;

/// Parts handed to one system call.
const SLICES: usize = 64;

/// How far a connection is.
#[derive(Debug)]
pub enum State {
    /// The name is being resolved.
    Resolving,
    /// One address is being tried; the others wait.
    Connecting(VecDeque<SocketAddr>),
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
    pub stream: Option<TcpStream>,
    /// The socket's name in `Poll`.
    pub token: Token,
    /// While the name is being resolved: until when that may take.
    pub resolve_by: Option<Duration>,
    /// The socket takes nothing until `Poll` says so.
    pub blocked: bool,
    /// The session has given this connection up; it is closed before the turn ends.
    pub given_up: bool,
}

impl Connection {
    /// A connection whose server's name is being resolved.
    pub fn new(attempt: u64) -> Self {
        Self {
            attempt,
            state: State::Resolving,
            stream: None,
            token: Token(0),
            resolve_by: None,
            blocked: false,
            given_up: false,
        }
    }

    /// Begins to connect to the next address that can be begun with; false when none is left.
    pub fn try_next(&mut self, registry: &Registry, token: Token) -> bool {
        let State::Connecting(addresses) = &mut self.state else { return false };
        while let Some(address) = addresses.pop_front() {
            match TcpStream::connect(address).and_then(|mut stream| {
                registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
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
                let _ = sys::keep_alive(stream);
                Some(Ok(()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotConnected => None,
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// Reads once into a connection's reader; 0 means that the other side has ended the stream.
    pub fn read(&mut self, scratch: &mut [u8], reader: &mut FrameReader) -> io::Result<usize> {
        let Some(stream) = &mut self.stream else { return Err(io::ErrorKind::WouldBlock.into()) };
        if let Some(buffer) = reader.large_rest() {
            return sys::recv_into(stream, buffer);
        }
        let len = stream.read(scratch)?;
        reader.try_feed(scratch.get(..len).unwrap_or_default())?;
        Ok(len)
    }

    /// Writes what the socket takes; an error means that the connection has ended.
    pub fn write(&mut self, out: &mut OutQueue) -> io::Result<usize> {
        let Some(stream) = &self.stream else { return Ok(0) };
        let mut total = 0;
        while !out.is_empty() && !self.blocked {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = out.slices(&mut slices);
            match sys::send_vectored(stream, slices.get(..count).unwrap_or_default()) {
                Ok(sent) => {
                    out.advance(sent);
                    total += sent;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.blocked = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(total)
    }
}
