//! One connection: its socket's bytes to the core, and the core's bytes to its socket.

use std::cell::RefCell;
use std::io::{self, ErrorKind, IoSlice, Write};
use std::sync::Arc;
use std::time::Duration;

use crvideo_proto::frame::{Frame, FrameReader, PRE_LOGIN_LIMIT, SESSION_LIMIT};
use crvideo_proto::out::OutQueue;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tracing::{debug, trace};

use crate::core::{ConnectionId, Output};
use crate::shared::Shared;
use crate::tls::{self, Channel, Tls};

/// Bytes of one read, for all connections that a thread serves.
const SCRATCH: usize = 64 * 1024;
/// Reads from one connection before the others have their turn.
const READS_IN_A_ROW: usize = 16;
/// Pieces in one write.
const SLICES: usize = 64;
/// How a TLS client begins: a record of a handshake, in a version whose first number is 3.
const TLS_BEGINS: &[u8] = &[22, 3];
/// After the last word, a client has this long to close its side. Closing at once would make the kernel
/// reset the connection when unread bytes are there, and the reset can overtake the last word.
const LINGER: Duration = Duration::from_secs(1);

thread_local! {
    // An idle connection must hold no buffer, so the threads hold one each.
    static SCRATCH_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into_boxed_slice());
}

/// A connection's state, as small as can be: most connections are idle.
struct Link {
    entry: Entry,
    stream: TcpStream,
    /// Encrypts and decrypts; `None` on a connection in plain text.
    channel: Option<Box<Channel>>,
    reader: FrameReader,
    logged_in: bool,
    /// What came first on a connection in plain text is the beginning of TLS.
    met_tls: bool,
    out: OutQueue,
}

/// A connection's place in the core. Whatever ends a task, a panic too, the core hears of it.
struct Entry {
    shared: Arc<Shared>,
    id: ConnectionId,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.shared.close(self.id);
    }
}

/// Why a link's life goes on or not.
enum Next {
    /// Wait for the socket or the core.
    Wait,
    /// Last words are out.
    Linger,
    /// The client is gone, but may have said something before.
    HearOut,
    /// It is over.
    Drop,
}

/// Serves a connection to its end, encrypted where `tls` is given.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    stream: TcpStream,
    tls: Option<Arc<Tls>>,
    id: ConnectionId,
    notify: Arc<Notify>,
) {
    let entry = Entry { shared, id };
    let (stream, channel) = match tls {
        None => (stream, None),
        // Boxed, so that connections do not keep the room of their handshakes.
        Some(tls) => match Box::pin(shake_hands(&entry, stream, &tls, &notify)).await {
            Some((stream, channel)) => (stream, Some(channel)),
            None => return,
        },
    };
    let reader = FrameReader::new(PRE_LOGIN_LIMIT);
    let mut link = Link { entry, stream, channel, reader, logged_in: false, met_tls: false, out: OutQueue::default() };
    // What came behind the handshake may have been read with it.
    if link.channel.is_some() && !link.read() {
        return;
    }
    loop {
        match link.write() {
            Next::Wait => {}
            Next::Linger => return link.linger().await,
            Next::HearOut => return link.hear_out().await,
            Next::Drop => return,
        }
        let interest = if link.has_unsent() { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        let readable = tokio::select! {
            ready = link.stream.ready(interest) => ready.map_or(true, |ready| ready.is_readable() || ready.is_error()),
            () = notify.notified() => false,
        };
        if readable && !link.read() {
            return;
        }
    }
}

/// The handshake. It has no deadline of its own: the one from accept to login, which the core keeps, holds for both.
async fn shake_hands(
    entry: &Entry,
    stream: TcpStream,
    tls: &Tls,
    notify: &Notify,
) -> Option<(TcpStream, Box<Channel>)> {
    let mut shaking = std::pin::pin!(tls.handshakes.shake(stream, tls.frames.clone()));
    loop {
        tokio::select! {
            shaken = &mut shaking => {
                return match shaken {
                    Ok(stream) => {
                        let (stream, connection) = stream.into_inner();
                        Some((stream, Box::new(Channel::new(connection))))
                    }
                    Err(error) => {
                        debug!(connection = entry.id, %error, "{}", tls::failure(&error));
                        None
                    }
                };
            }
            () = notify.notified() => {
                let next = entry.shared.with(Some(entry.id), |core, now| core.flush(entry.id, 0, now));
                if !matches!(next, Output::Wait) {
                    debug!(connection = entry.id, "closed: the TLS handshake has not ended in time, or the relay stops");
                    return None;
                }
            }
        }
    }
}

/// A socket that takes what it can at once.
struct AtOnce<'a>(&'a TcpStream);

impl Write for AtOnce<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Link {
    fn has_unsent(&self) -> bool {
        !self.out.is_empty() || self.channel.as_ref().is_some_and(|channel| channel.has_unsent())
    }

    /// Reads what is there; `false` when the connection is over.
    fn read(&mut self) -> bool {
        for _ in 0..READS_IN_A_ROW {
            match self.read_once() {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    debug!(connection = self.entry.id, %error, "broken");
                    return false;
                }
            }
            if !self.take_frames() {
                return false;
            }
        }
        true
    }

    fn read_once(&mut self) -> io::Result<usize> {
        if self.channel.is_some() {
            return self.read_encrypted();
        }
        if let Some(buffer) = self.reader.large_rest() {
            return self.stream.try_read_buf(buffer);
        }
        SCRATCH_BUFFER.with_borrow_mut(|scratch| {
            let count = self.stream.try_read(scratch)?;
            self.met_tls |= !self.logged_in && self.reader.buffered() == 0 && scratch[..count].starts_with(TLS_BEGINS);
            self.reader.feed(&scratch[..count]);
            Ok(count)
        })
    }

    fn read_encrypted(&mut self) -> io::Result<usize> {
        let Some(channel) = &mut self.channel else { return Ok(0) };
        let waited = channel.decrypt(&[], &mut self.reader)?;
        if waited > 0 || channel.has_ended() {
            return Ok(waited);
        }
        SCRATCH_BUFFER.with_borrow_mut(|scratch| {
            let count = self.stream.try_read(scratch)?;
            if count == 0 {
                return Ok(0);
            }
            match channel.decrypt(&scratch[..count], &mut self.reader)? {
                0 if !channel.has_ended() => Err(ErrorKind::Interrupted.into()),
                count => Ok(count),
            }
        })
    }

    /// Hands the frames that are here to the core; `false` when the connection is over.
    fn take_frames(&mut self) -> bool {
        let mut frames = Vec::new();
        loop {
            let error = match self.reader.next_frame() {
                Ok(Some(frame)) => {
                    frames.push(frame);
                    // Before the login is answered, each frame may change what the next one may be.
                    if self.logged_in {
                        continue;
                    }
                    None
                }
                Ok(None) if frames.is_empty() => {
                    self.entry.shared.with(Some(self.entry.id), |core, now| core.heard(self.entry.id, now));
                    return true;
                }
                Ok(None) => None,
                Err(error) => Some(error),
            };
            let more = !self.logged_in;
            self.hand_over(&mut frames);
            if let Some(error) = error {
                if self.met_tls {
                    debug!(connection = self.entry.id, "closed: the client speaks TLS, and this listener plain text");
                } else {
                    debug!(connection = self.entry.id, %error, "closed because what came is no frame");
                }
                return false;
            }
            if !more || self.reader.buffered() == 0 {
                return true;
            }
        }
    }

    fn hand_over(&mut self, frames: &mut Vec<Frame>) {
        if frames.is_empty() {
            return;
        }
        let id = self.entry.id;
        let logged_in = self.entry.shared.with(Some(id), |core, now| {
            for frame in frames.iter() {
                core.frame(id, frame, now);
            }
            core.logged_in(id)
        });
        frames.clear();
        if logged_in && !self.logged_in {
            self.logged_in = true;
            self.reader.set_limit(SESSION_LIMIT);
        }
    }

    /// Writes what is there, as far as the socket takes it.
    fn write(&mut self) -> Next {
        let mut written = 0;
        loop {
            match self.send_encrypted() {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let next = self.flushed(written);
                    return if matches!(next, Output::Gone) { Next::Drop } else { Next::Wait };
                }
                Err(error) => {
                    debug!(connection = self.entry.id, %error, "broken");
                    return Next::HearOut;
                }
            }
            if self.out.is_empty() {
                match self.flushed(written) {
                    Output::Write(out) => self.out = out,
                    Output::Wait => return Next::Wait,
                    Output::Close => return Next::Linger,
                    Output::Gone => return Next::Drop,
                }
                written = 0;
            }
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = self.out.slices(&mut slices);
            let taken = match &mut self.channel {
                None => self.stream.try_write_vectored(&slices[..count]),
                Some(channel) => channel.encrypt(&slices[..count]),
            };
            match taken {
                Ok(0) => return Next::HearOut,
                Ok(count) => {
                    self.out.advance(count);
                    written += count;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let next = self.flushed(written);
                    return if matches!(next, Output::Gone) { Next::Drop } else { Next::Wait };
                }
                Err(error) => {
                    debug!(connection = self.entry.id, %error, "broken");
                    return Next::HearOut;
                }
            }
        }
    }

    fn flushed(&self, written: usize) -> Output {
        let id = self.entry.id;
        self.entry.shared.with(Some(id), |core, now| core.flush(id, written, now))
    }

    /// Hands what is encrypted to the socket.
    fn send_encrypted(&mut self) -> io::Result<()> {
        let Some(channel) = &mut self.channel else { return Ok(()) };
        while channel.has_unsent() {
            match channel.send(&mut AtOnce(&self.stream)) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes what came before the connection broke. A client that has logged out and closed its socket has ended its
    /// session; if its farewell went unheard, the session would seem to be away, and those who send to it would wait.
    async fn hear_out(mut self) {
        let heard =
            tokio::time::timeout(LINGER, async { while self.stream.readable().await.is_ok() && self.read() {} });
        if heard.await.is_err() {
            trace!(connection = self.entry.id, "the connection broke one way only");
        }
    }

    /// Waits for the client to close its side, and throws away what it still says.
    async fn linger(mut self) {
        if let Some(channel) = &mut self.channel {
            channel.end();
            let _ = self.send_encrypted();
        }
        let _ = self.stream.shutdown().await;
        let drained =
            tokio::time::timeout(LINGER, async { while self.stream.readable().await.is_ok() && self.discard() {} });
        if drained.await.is_err() {
            trace!(connection = self.entry.id, "the client did not close its side");
        }
    }

    fn discard(&self) -> bool {
        SCRATCH_BUFFER.with_borrow_mut(|scratch| match self.stream.try_read(scratch) {
            Ok(count) => count > 0,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        })
    }
}
