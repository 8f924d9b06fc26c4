//! One connection: its socket's bytes to the core, and the core's bytes to its socket.

use std::cell::RefCell;
use std::io::{self, ErrorKind, IoSlice, Write};
use std::net::Shutdown;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crvideo_proto::frame::{Frame, FrameError, FrameReader, PRE_LOGIN_LIMIT, SESSION_LIMIT};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::sleep_until;
use tracing::{debug, error, info, trace, warn};

use crate::core::{ConnectionId, Output};
use crate::guard::{self, Charged, Pace, Place};
use crate::seldom::Seldom;
use crate::shared::Shared;
use crate::tls::{self, Channel, Tls};

/// Bytes of one read, for all connections that a thread serves.
const SCRATCH: usize = 64 * 1024;
/// Reads from one connection before the others have their turn.
const READS_IN_A_ROW: usize = 16;
/// Bytes that are read or written in a row: moving so many takes less time than a command may wait.
const BYTES_IN_A_ROW: usize = 512 * 1024;
/// After so many frames the others have their turn, too: tiny frames take more time than bytes.
const FRAMES_IN_A_ROW: usize = 1_024;
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

/// What a connection may take of what many share.
pub(crate) struct Share {
    /// Among the connections of its address.
    pub(crate) place: Place,
    /// How fast it may send.
    pub(crate) pace: Pace,
}

/// A connection's state, as small as can be: most connections are idle.
struct Link {
    entry: Entry,
    stream: OwnedReadHalf,
    /// The other half. Others may write to it while nothing of what the core has for this connection is under way here.
    writer: Arc<OwnedWriteHalf>,
    /// Encrypts and decrypts; `None` on a connection in plain text.
    channel: Option<Box<Channel>>,
    reader: FrameReader,
    /// What the reader holds.
    held: guard::Share,
    logged_in: bool,
    /// What came first on a connection in plain text is the beginning of TLS.
    met_tls: bool,
    out: Charged,
    share: Share,
    /// Frames and bytes that were read and not charged yet.
    read: (usize, usize),
    /// It was not read to the end, because others have their turn.
    has_more: bool,
    /// The core may have something to write or to say.
    look: bool,
    /// Nothing is read before.
    paused_until: Option<Instant>,
}

/// A connection's place in the core. Whatever ends a task, a panic too, the core hears of it.
struct Entry {
    shared: Arc<Shared>,
    id: ConnectionId,
}

impl Drop for Entry {
    fn drop(&mut self) {
        if std::thread::panicking() {
            error!(connection = self.id, "a fault of the relay has ended a connection; please report it with the log");
        }
        self.shared.close(self.id);
    }
}

/// Why a link's life goes on or not.
enum Next {
    /// Wait for the socket or the core.
    Wait,
    /// There is more to write, after others have had their turn.
    Yield,
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
    share: Share,
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
    if channel.is_some() {
        entry.shared.with(None, |core, _| core.is_encrypted(entry.id));
    }
    let memory = entry.shared.memory().clone();
    let (stream, writer) = stream.into_split();
    let writer = Arc::new(writer);
    if channel.is_none() {
        entry.shared.may_write(entry.id, &writer);
    }
    let mut link = Link {
        entry,
        stream,
        writer,
        channel,
        reader: FrameReader::new(PRE_LOGIN_LIMIT).keep_apart(),
        held: guard::Share::of(&memory.reading),
        logged_in: false,
        met_tls: false,
        out: Charged::new(&memory.queues),
        share,
        read: (0, 0),
        has_more: false,
        look: true,
        paused_until: None,
    };
    // What came behind the handshake may have been read with it.
    if link.channel.is_some() && !link.read() {
        return;
    }
    loop {
        match link.write() {
            Next::Wait => {}
            Next::Yield => {
                link.look = true;
                yield_now().await;
            }
            Next::Linger => return link.linger().await,
            Next::HearOut => return link.hear_out().await,
            Next::Drop => return,
        }
        let paused =
            link.paused_until.take_if(|until| *until <= Instant::now()).is_none() && link.paused_until.is_some();
        let unsent = link.has_unsent();
        let interest = match (paused, unsent) {
            (true, _) => Interest::WRITABLE,
            (false, false) => Interest::READABLE,
            (false, true) => Interest::READABLE | Interest::WRITABLE,
        };
        let pause = sleep_until(link.paused_until.unwrap_or_else(Instant::now).into());
        let readable = tokio::select! {
            ready = link.stream.ready(interest), if !paused || !link.out.is_empty() => {
                ready.map_or(true, |ready| ready.is_readable() || ready.is_error())
            }
            () = notify.notified() => {
                link.look = true;
                false
            }
            () = pause, if paused => false,
        };
        if readable && !paused {
            if !link.read() {
                return;
            }
            link.slow_down();
            if link.has_more {
                // A socket that always has more would never let this thread go.
                yield_now().await;
            }
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
                        Some((stream, Box::new(Channel::new(connection, &entry.shared.memory().tls))))
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

/// How many of these pieces have so many bytes together; all of them where they have fewer.
fn portion(slices: &[IoSlice<'_>], bytes: usize) -> usize {
    let mut sum = 0;
    let whole = slices.iter().take_while(|slice| {
        let more = sum < bytes;
        sum += slice.len();
        more
    });
    whole.count()
}

/// A socket that takes what it can at once.
struct AtOnce<'a>(&'a OwnedWriteHalf);

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

/// What can be read at once, else `WouldBlock`. Unlike `try_read` this knows that a socket has nothing more after a read
/// that did not fill its buffer, and saves the system call that would say so.
fn at_once(read: impl Future<Output = io::Result<usize>>) -> io::Result<usize> {
    match pin!(read).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => Err(ErrorKind::WouldBlock.into()),
    }
}

impl Link {
    fn has_unsent(&self) -> bool {
        !self.out.is_empty() || self.channel.as_ref().is_some_and(|channel| channel.has_unsent())
    }

    /// Reads what is there; `false` when the connection is over.
    fn read(&mut self) -> bool {
        let goes_on = self.read_frames();
        self.held.set(self.reader.memory());
        goes_on
    }

    fn read_frames(&mut self) -> bool {
        let mut bytes = 0;
        self.has_more = false;
        for _ in 0..READS_IN_A_ROW {
            match self.read_once() {
                Ok(0) => return false,
                Ok(count) => {
                    bytes += count;
                    self.read.1 += count;
                }
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
            if bytes >= BYTES_IN_A_ROW || self.read.0 >= FRAMES_IN_A_ROW {
                break;
            }
        }
        self.has_more = true;
        true
    }

    /// Reads nothing more for a while when more has come than may.
    fn slow_down(&mut self) {
        static FAST: Seldom = Seldom::new();
        let (frames, bytes) = std::mem::take(&mut self.read);
        let pause = self.share.pace.charge(frames, bytes);
        if !pause.is_zero() {
            self.paused_until = Some(Instant::now() + pause);
            if FAST.now() {
                info!(
                    connection = self.entry.id,
                    "a client sends more than it may and is read more slowly; see [guard]"
                );
            }
        }
    }

    fn read_once(&mut self) -> io::Result<usize> {
        if self.channel.is_some() {
            return self.read_encrypted();
        }
        if let Some(buffer) = self.reader.large_rest() {
            return at_once(self.stream.read_buf(buffer));
        }
        SCRATCH_BUFFER.with_borrow_mut(|scratch| {
            let most = self.reader.next_read(scratch.len());
            let count = at_once(self.stream.read(&mut scratch[..most]))?;
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
            let count = at_once(self.stream.read(scratch))?;
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
                if error == FrameError::Seal {
                    static CHANGED: Seldom = Seldom::new();
                    if CHANGED.now() {
                        warn!(
                            connection = self.entry.id,
                            "frames are changed or repeated on their way to this relay; the connection is closed"
                        );
                    }
                } else if self.met_tls {
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
        self.read.0 += frames.len();
        let logged_in = self.logged_in;
        let ((joined, seal), look) = self.entry.shared.with_own(id, |core, now| {
            for frame in frames.iter() {
                core.frame(id, frame, now);
            }
            if logged_in {
                return (None, None);
            }
            (core.project_of(id).map(|project| (project, core.is_bulk(id))), core.take_seal(id))
        });
        frames.clear();
        self.look |= look;
        if let Some(seal) = seal {
            self.reader.expect_seals(seal);
        }
        if let Some((project, bulk)) = joined {
            self.logged_in = true;
            if bulk {
                self.reader.expect_bulk();
            }
            self.share.place.trust();
            self.share.pace.joins(project);
            self.reader.set_limit(SESSION_LIMIT);
        }
    }

    /// Writes what is there, as far as the socket takes it.
    fn write(&mut self) -> Next {
        if !std::mem::take(&mut self.look) && !self.has_unsent() {
            return Next::Wait;
        }
        let (mut written, mut in_a_row) = (0, 0);
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
                    Output::Write(out) => *self.out.change() = out,
                    Output::Wait => return Next::Wait,
                    Output::Close => return Next::Linger,
                    Output::Gone => return Next::Drop,
                }
                written = 0;
            }
            if in_a_row >= BYTES_IN_A_ROW {
                let next = self.flushed(written);
                return if matches!(next, Output::Gone) { Next::Drop } else { Next::Yield };
            }
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = self.out.slices(&mut slices);
            let count = portion(&slices[..count], BYTES_IN_A_ROW);
            let taken = match &mut self.channel {
                None => self.writer.try_write_vectored(&slices[..count]),
                Some(channel) => channel.encrypt(&slices[..count]),
            };
            match taken {
                Ok(0) => return Next::HearOut,
                Ok(count) => {
                    self.out.change().advance(count);
                    written += count;
                    in_a_row += count;
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
            match channel.send(&mut AtOnce(&self.writer)) {
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
        let _ = SockRef::from(self.stream.as_ref()).shutdown(Shutdown::Write);
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};

    use crvideo_proto::frame::{FLAG_MSGPACK, Kind, VERSION};
    use crvideo_proto::message::Hello;
    use crvideo_proto::out::OutQueue;

    use super::*;
    use crate::core::FAILPOINT;
    use crate::{BlockingRelay, Config, GuardSettings};

    const PATIENCE: Duration = Duration::from_secs(20);

    fn connect(address: SocketAddr) -> TcpStream {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn greet(stream: &mut TcpStream) {
        let mut out = OutQueue::default();
        out.quest(1, &Hello { lowest: 1, highest: 1, features: 0, agent: "test".into() });
        stream.write_all(&out.take()).unwrap();
        let mut magic = [0; 4];
        stream.read_exact(&mut magic).unwrap();
        assert_eq!(&magic, b"FPNN");
    }

    #[test]
    fn a_panic_ends_the_one_connection_that_it_is_about() {
        let relay = BlockingRelay::start_dev().unwrap();
        let mut bystanders: Vec<_> = (0..100).map(|_| connect(relay.address())).collect();
        for _ in 0..3 {
            let mut victim = connect(relay.address());
            let (method, payload) = (FAILPOINT.as_bytes().into(), vec![0x80].into());
            let frame =
                Frame { kind: Kind::Quest, version: VERSION, flags: FLAG_MSGPACK, status: 0, seq: 1, method, payload };
            let mut bytes = Vec::new();
            frame.encode(&mut bytes);
            victim.write_all(&bytes).unwrap();
            let mut rest = Vec::new();
            // A reset is an end, too.
            let _ = victim.read_to_end(&mut rest);
            assert!(rest.is_empty());
        }
        bystanders.iter_mut().for_each(greet);
        assert_eq!(relay.connections(), bystanders.len());
    }

    #[test]
    fn whoever_does_not_speak_fpnn_is_closed_without_a_word() {
        let relay = BlockingRelay::start_dev().unwrap();
        let websocket = "GET /service/websocket HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
        let strangers: [&[u8]; 6] = [
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"POST /x HTTP/1.1\r\n\r\n",
            websocket.as_bytes(),
            b"SSH-2.0-OpenSSH_9.6\r\n",
            &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 0xa5],
            &[0x9c, 0x11, 0xfe, 0x42, 0x07, 0xd3, 0x88, 0x5a, 0x31, 0xee, 0x90, 0x0b],
        ];
        for first in strangers {
            let mut stream = connect(relay.address());
            stream.write_all(first).unwrap();
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            assert!(answer.is_empty(), "{answer:?} to {first:?}");
        }
    }

    #[test]
    fn one_address_has_so_many_connections_and_so_many_strangers() {
        let guard = GuardSettings {
            count_loopback: true,
            address_connections: 5,
            address_before_login: 3,
            ..GuardSettings::default()
        };
        let relay = BlockingRelay::start(Config { guard, ..Config::dev().unwrap() }).unwrap();
        let mut strangers: Vec<_> = (0..3).map(|_| connect(relay.address())).collect();
        strangers.iter_mut().for_each(greet);
        let refused = |mut stream: TcpStream| stream.read(&mut [0]).map_or(true, |count| count == 0);
        assert!(refused(connect(relay.address())));
        // The limit is one of the address, whatever it connects to.
        assert!(refused(connect(relay.http_address().unwrap())));
        strangers.pop();
        let start = Instant::now();
        while relay.connections() > 2 {
            assert!(start.elapsed() < PATIENCE);
            std::thread::yield_now();
        }
        // Its place is free a moment after its connection has gone.
        while refused_hello(relay.address()) {
            assert!(start.elapsed() < PATIENCE);
        }
    }

    fn refused_hello(address: SocketAddr) -> bool {
        let mut stream = connect(address);
        let mut out = OutQueue::default();
        out.quest(1, &Hello { lowest: 1, highest: 1, features: 0, agent: "test".into() });
        stream.write_all(&out.take()).is_err() || stream.read_exact(&mut [0; 4]).is_err()
    }
}
