//! One TCP connection of the RTM dialect: what comes to the desk, answers and pushes to the socket.

use std::fmt;
use std::future::pending;
use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crvideo_proto::frame::{Frame, FrameError, Kind};
use crvideo_proto::rtm::answer;
use crvideo_proto::rtm::params::{Fields, Params};
use crvideo_proto::rtm::reader::{Event, Reader};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, info, trace, warn};

use super::cipher::{Opener, Sealer};
use super::desk::Desk;
use super::files::Upload;
use super::outbox::{Next, no_slices};
use crate::guard::{Pace, Share};

/// Bytes of one read.
const SCRATCH: usize = 16 * 1024;
/// The time to flush answers when a connection ends.
const FLUSH: Duration = Duration::from_secs(2);
/// When the relay stops, so many reads are still made of what was on its way, as long as they follow each other within
/// this time.
const LAST_READS: u32 = 64;
const LAST_WORDS: Duration = Duration::from_millis(50);
/// After the last answer, a client has this long to close its side. Closing at once would make the kernel reset the
/// connection when unread bytes are there, and the reset can overtake the answer.
const LINGER: Duration = Duration::from_secs(1);

/// Why nothing more is read.
enum End {
    /// The client has closed its side.
    Closed,
    /// The socket has failed.
    Broken(io::Error),
    /// What came is no frame.
    NoFrame(FrameError),
    /// It cannot be encrypted as the client wants it.
    NoKey,
    /// Nothing has come for too long.
    Silent,
    /// The relay is stopping.
    Stopping,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Closed => f.write_str("the client has closed it"),
            End::Broken(error) => write!(f, "it is broken: {error}"),
            End::NoFrame(error) => write!(f, "what came {error}"),
            End::NoKey => f.write_str("its key is of no use, or did not come first"),
            End::Silent => f.write_str("nothing has come for too long"),
            End::Stopping => f.write_str("the relay is stopping"),
        }
    }
}

struct Link {
    desk: Desk,
    stream: TcpStream,
    /// Seals what is written, once the client has asked for that.
    sealer: Mutex<Option<Sealer>>,
}

/// Serves a connection to its end.
pub(super) async fn serve(desk: Desk, stream: TcpStream, stopped: watch::Receiver<bool>) {
    let link = Link { desk, stream, sealer: Mutex::new(None) };
    let (id, from) = (link.desk.client.id, link.desk.client.from);
    let mut incoming = Incoming::new(&link, stopped);
    let end = {
        let mut writing = pin!(link.write());
        let end = tokio::select! {
            end = incoming.read() => end,
            flushed = &mut writing => {
                if flushed {
                    debug!(link = id, %from, "closed by the relay");
                    link.linger().await;
                }
                return;
            }
        };
        link.desk.client.out.finish();
        if timeout(FLUSH, writing).await.is_err() {
            debug!(link = id, %from, "the last answers were not taken");
        }
        end
    };
    debug!(link = id, %from, why = %end, "closed");
    if !matches!(end, End::Closed | End::Broken(_)) {
        link.linger().await;
    }
}

impl Link {
    /// Writes what waits, until that is over (`true`) or the client does not take it.
    async fn write(&self) -> bool {
        let (stall, client) = (self.desk.gate.stall_timeout, &self.desk.client);
        loop {
            let mut batch = match client.out.next().await {
                Next::Write(batch) => batch,
                Next::Done => return true,
                Next::Overflow => {
                    warn!(
                        link = client.id, from = %client.from,
                        "closed because it does not take its pushes as fast as they come; see rtm.push_queue"
                    );
                    return false;
                }
            };
            if let Some(sealer) = &mut *self.sealer.lock().unwrap_or_else(PoisonError::into_inner) {
                batch.seal(|package| sealer.seal(package));
            }
            while !batch.is_done() {
                let mut slices = no_slices();
                let count = batch.slices(&mut slices);
                match self.stream.try_write_vectored(&slices[..count]) {
                    Ok(0) => return false,
                    Ok(count) => batch.advance(count),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        if timeout(stall, self.stream.writable()).await.is_err() {
                            warn!(
                                link = client.id, from = %client.from,
                                "closed because it has taken nothing for {stall:?} while answers or pushes waited"
                            );
                            return false;
                        }
                    }
                    Err(error) => {
                        debug!(link = client.id, %error, "broken");
                        return false;
                    }
                }
            }
            client.out.written(&batch);
        }
    }

    /// Waits for the client to close its side, and throws away what it still says.
    async fn linger(&self) {
        let _ = SockRef::from(&self.stream).shutdown(Shutdown::Write);
        let drained = timeout(LINGER, async {
            let mut scratch = [0; 1024];
            while self.stream.readable().await.is_ok() {
                match self.stream.try_read(&mut scratch) {
                    Ok(0) => return,
                    Err(error) if error.kind() != ErrorKind::WouldBlock => return,
                    _ => {}
                }
            }
        });
        if drained.await.is_err() {
            trace!("a client did not close its side");
        }
    }
}

/// How fast a connection is read: more than it may send waits in the kernel, which slows its client down.
pub(super) struct Reading {
    pace: Pace,
    joined: bool,
    /// Frames and bytes that were read and not charged yet.
    pub(super) frames: usize,
    pub(super) bytes: usize,
}

impl Reading {
    pub(super) fn new(desk: &Desk) -> Self {
        Self { pace: Pace::new(&desk.gate.paces, desk.client.block()), joined: false, frames: 0, bytes: 0 }
    }

    /// Waits when more has come than may.
    pub(super) async fn slow_down(&mut self, desk: &Desk) {
        if let (false, Some(project)) = (self.joined, desk.client.project()) {
            self.joined = true;
            self.pace.joins(project);
        }
        let (frames, bytes) = (std::mem::take(&mut self.frames), std::mem::take(&mut self.bytes));
        if frames + bytes == 0 {
            return;
        }
        let pause = self.pace.charge(frames, bytes);
        if pause.is_zero() {
            return;
        }
        if desk.gate.slowed.now() {
            let (link, from) = (desk.client.id, desk.client.from);
            info!(link, %from, "an RTM client sends more than it may and is read more slowly; see [guard]");
        }
        sleep(pause).await;
    }
}

/// The reading half.
struct Incoming<'a> {
    link: &'a Link,
    reader: Reader,
    /// How fast it may send.
    pace: Reading,
    /// What the reader holds.
    held: Share,
    stopped: watch::Receiver<bool>,
    /// Reads that are left once the relay stops.
    last_reads: u32,
    opened: Instant,
    heard: Instant,
    /// A whole quest has come, or the beginning of a file.
    began: bool,
    /// A quest with a file that is being read.
    upload: Option<Upload>,
    /// Opens what comes, once the client has asked for that.
    opener: Option<Opener>,
}

impl<'a> Incoming<'a> {
    fn new(link: &'a Link, stopped: watch::Receiver<bool>) -> Self {
        let now = Instant::now();
        let reader = link.desk.gate.files.reader();
        let held = Share::of(&link.desk.gate.core.memory().reading);
        let last_reads = LAST_READS;
        Self {
            link,
            reader,
            pace: Reading::new(&link.desk),
            held,
            stopped,
            last_reads,
            opened: now,
            heard: now,
            began: false,
            upload: None,
            opener: None,
        }
    }

    async fn read(&mut self) -> End {
        loop {
            loop {
                match self.reader.next_event() {
                    Ok(Some(Event::Frame(frame))) if self.asks_for_cipher(&frame) => {
                        if let Err(end) = self.begin_cipher(&frame) {
                            return end;
                        }
                    }
                    Ok(Some(event)) => {
                        self.pace.frames += usize::from(matches!(event, Event::Frame(_) | Event::Begin { .. }));
                        self.take(event).await;
                    }
                    Ok(None) => break,
                    Err(error) => return End::NoFrame(error),
                }
            }
            self.held.set(self.reader.memory());
            self.pace.slow_down(&self.link.desk).await;
            if let Err(end) = self.wait().await {
                return end;
            }
            match self.read_once() {
                Ok(0) => return End::Closed,
                Ok(count) => {
                    self.pace.bytes += count;
                    self.heard = Instant::now();
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return End::Broken(error),
            }
        }
    }

    /// Waits for bytes. When the relay stops, those are still read that were on their way.
    async fn wait(&mut self) -> Result<(), End> {
        let stopping = *self.stopped.borrow();
        if stopping && self.last_reads == 0 {
            return Err(End::Stopping);
        }
        let deadline = if stopping { Some(Instant::now() + LAST_WORDS) } else { self.deadline() };
        let silence = async {
            match deadline {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            ready = self.link.stream.ready(Interest::READABLE) => {
                self.last_reads -= u32::from(stopping);
                ready.map(drop).map_err(End::Broken)
            }
            _ = self.stopped.changed(), if !stopping => Ok(()),
            () = silence => Err(if stopping { End::Stopping } else { End::Silent }),
        }
    }

    /// When silence has lasted too long.
    fn deadline(&self) -> Option<Instant> {
        let gate = &self.link.desk.gate;
        if !self.began {
            return Some(self.opened + gate.first_quest_deadline);
        }
        if let Some(upload) = &self.upload {
            return Some((self.heard + gate.stall_timeout).min(upload.deadline()));
        }
        if self.link.desk.client.is_stranger() {
            return Some((self.heard + gate.config.idle_timeout).min(self.opened + gate.config.stranger_time));
        }
        // SDKs without handlers never answer a ping, so those who listen are held for alive as long as they take.
        (!self.link.desk.client.listens()).then(|| self.heard + gate.config.idle_timeout)
    }

    /// Without keys of the operator's, `*key` is a method like any other that is not served.
    fn asks_for_cipher(&self, frame: &Frame) -> bool {
        frame.method() == "*key" && frame.kind == Kind::Quest && self.link.desk.gate.keys.is_some()
    }

    /// From the answer on, which is encrypted already, everything is. As FPNN's own server does, nothing is said to a
    /// client whose key is of no use.
    fn begin_cipher(&mut self, quest: &Frame) -> Result<(), End> {
        let keys = self.link.desk.gate.keys.as_ref().filter(|_| !self.began);
        let ciphers = keys.and_then(|keys| keys.ciphers(&Params::of(quest).ok()?));
        let (opener, sealer) = ciphers.ok_or(End::NoKey)?;
        self.began = true;
        self.opener = Some(opener);
        *self.link.sealer.lock().unwrap_or_else(PoisonError::into_inner) = Some(sealer);
        self.link.desk.client.out.frame(&answer(quest, Fields::new()));
        // A client need not wait for the answer.
        let mut rest = self.reader.take_rest();
        self.open(&mut rest);
        Ok(())
    }

    fn open(&mut self, bytes: &mut [u8]) {
        match &mut self.opener {
            Some(opener) => opener.open(bytes, |plain| self.reader.feed(plain)),
            None => self.reader.feed(bytes),
        }
    }

    fn read_once(&mut self) -> io::Result<usize> {
        if self.opener.is_none()
            && let Some(buffer) = self.reader.large_rest()
        {
            return self.link.stream.try_read_buf(buffer);
        }
        let mut scratch = [0; SCRATCH];
        let count = self.link.stream.try_read(&mut scratch)?;
        self.open(scratch.get_mut(..count).unwrap_or_default());
        Ok(count)
    }

    async fn take(&mut self, event: Event) {
        self.began = true;
        self.link.desk.take(event, &mut self.upload).await;
        // While we work, the client is not the one who is silent.
        self.heard = Instant::now();
    }
}
