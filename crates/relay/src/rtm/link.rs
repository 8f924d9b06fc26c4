//! One connection of the RTM dialect: its quests to the methods, answers and pushes to its socket.

use std::fmt;
use std::future::pending;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crvideo_proto::frame::{Frame, FrameError, Kind};
use crvideo_proto::rtm::reader::{Event, FILE_METHODS, Reader};
use crvideo_proto::rtm::{answer, code, error, read_answer};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, trace, warn};

use super::Refusal;
use super::files::{CHUNK_METHODS, Upload};
use super::gate::Gate;
use super::hub::LinkId;
use super::methods;
use super::outbox::{Next, Outbox, no_slices};

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

/// What methods see of a connection.
pub(super) struct Client {
    pub(super) id: LinkId,
    pub(super) from: SocketAddr,
    /// The address of ours that it has connected to.
    pub(super) local: SocketAddr,
    /// It has connected where files are sent to, and servers' quests are not served.
    pub(super) files_only: bool,
    pub(super) out: Arc<Outbox>,
    listens: AtomicBool,
    /// Its place among those of whom nothing is known yet.
    stranger: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Client {
    pub(super) fn new(
        id: LinkId,
        [from, local]: [SocketAddr; 2],
        files_only: bool,
        out: Outbox,
        stranger: OwnedSemaphorePermit,
    ) -> Self {
        let (out, stranger) = (Arc::new(out), Mutex::new(Some(stranger)));
        Self { id, from, local, files_only, out, listens: AtomicBool::new(false), stranger }
    }

    /// It has shown that it knows a secret.
    pub(super) fn trust(&self) {
        self.stranger.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Whether it gets pushes from now on. Who listens may be silent for ever.
    pub(super) fn set_listening(&self, listens: bool) {
        self.listens.store(listens, Ordering::Relaxed);
    }

    fn listens(&self) -> bool {
        self.listens.load(Ordering::Relaxed)
    }
}

/// Why nothing more is read.
enum End {
    /// The client has closed its side.
    Closed,
    /// The socket has failed.
    Broken(io::Error),
    /// What came is no frame.
    NoFrame(FrameError),
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
            End::Silent => f.write_str("nothing has come for too long"),
            End::Stopping => f.write_str("the relay is stopping"),
        }
    }
}

struct Link {
    gate: Arc<Gate>,
    client: Client,
    stream: TcpStream,
}

/// Whatever ends a task, a panic too, its listening ends.
impl Drop for Link {
    fn drop(&mut self) {
        self.gate.hub.forget(self.client.id);
    }
}

/// Serves a connection to its end.
pub(super) async fn serve(gate: Arc<Gate>, client: Client, stream: TcpStream, stopped: watch::Receiver<bool>) {
    let link = Link { gate, client, stream };
    let (id, from) = (link.client.id, link.client.from);
    let mut incoming = Incoming::new(&link, stopped);
    let end = {
        let mut writing = pin!(link.write());
        let end = tokio::select! {
            end = incoming.read() => end,
            () = &mut writing => return,
        };
        link.client.out.finish();
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
    /// Writes what waits, until that is over or the client does not take it.
    async fn write(&self) {
        let stall = self.gate.stall_timeout;
        loop {
            let mut batch = match self.client.out.next().await {
                Next::Write(batch) => batch,
                Next::Done => return,
                Next::Overflow => {
                    warn!(
                        link = self.client.id, from = %self.client.from,
                        "closed because it does not take its pushes as fast as they come; see rtm.push_queue"
                    );
                    return;
                }
            };
            while !batch.is_done() {
                let mut slices = no_slices();
                let count = batch.slices(&mut slices);
                match self.stream.try_write_vectored(&slices[..count]) {
                    Ok(0) => return,
                    Ok(count) => batch.advance(count),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        if timeout(stall, self.stream.writable()).await.is_err() {
                            warn!(
                                link = self.client.id, from = %self.client.from,
                                "closed because it has taken nothing for {stall:?} while answers or pushes waited"
                            );
                            return;
                        }
                    }
                    Err(error) => {
                        debug!(link = self.client.id, %error, "broken");
                        return;
                    }
                }
            }
            self.client.out.written(&batch);
        }
    }

    /// Waits for the client to close its side, and throws away what it still says.
    async fn linger(mut self) {
        let _ = self.stream.shutdown().await;
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

    fn refuse(&self, quest: &Frame, refusal: &Refusal) {
        let (code, text, from) = (refusal.code, &refusal.text, self.client.from);
        debug!(link = self.client.id, %from, method = ?quest.method(), code, text, "refused");
        if (code == code::BAD_SIGN || code == code::BAD_TS) && self.gate.bad_signs.now() {
            warn!(%from, text, "quests are refused for their signatures; check the server's project, secret and clock");
        }
        if quest.kind == Kind::Quest {
            self.client.out.frame(&error(quest, code, text));
        }
    }
}

/// The reading half.
struct Incoming<'a> {
    link: &'a Link,
    reader: Reader,
    stopped: watch::Receiver<bool>,
    /// Reads that are left once the relay stops.
    last_reads: u32,
    opened: Instant,
    heard: Instant,
    /// A whole quest has come, or the beginning of a file.
    began: bool,
    /// A quest with a file that is being read.
    upload: Option<Upload>,
}

impl<'a> Incoming<'a> {
    fn new(link: &'a Link, stopped: watch::Receiver<bool>) -> Self {
        let now = Instant::now();
        let reader = link.gate.files.reader();
        let last_reads = LAST_READS;
        Self { link, reader, stopped, last_reads, opened: now, heard: now, began: false, upload: None }
    }

    async fn read(&mut self) -> End {
        loop {
            loop {
                match self.reader.next_event() {
                    Ok(Some(event)) => self.take(event).await,
                    Ok(None) => break,
                    Err(error) => return End::NoFrame(error),
                }
            }
            if let Err(end) = self.wait().await {
                return end;
            }
            match self.read_once() {
                Ok(0) => return End::Closed,
                Ok(_) => self.heard = Instant::now(),
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
        let gate = &self.link.gate;
        if !self.began {
            return Some(self.opened + gate.first_quest_deadline);
        }
        if let Some(upload) = &self.upload {
            return Some((self.heard + gate.stall_timeout).min(upload.deadline()));
        }
        // SDKs without handlers never answer a ping, so those who listen are held for alive as long as they take.
        (!self.link.client.listens()).then(|| self.heard + gate.config.idle_timeout)
    }

    fn read_once(&mut self) -> io::Result<usize> {
        if let Some(buffer) = self.reader.large_rest() {
            return self.link.stream.try_read_buf(buffer);
        }
        let mut scratch = [0; SCRATCH];
        let count = self.link.stream.try_read(&mut scratch)?;
        self.reader.feed(scratch.get(..count).unwrap_or_default());
        Ok(count)
    }

    async fn take(&mut self, event: Event) {
        self.began = true;
        match event {
            Event::Frame(frame) if frame.kind == Kind::Answer => self.link.note(&frame),
            Event::Frame(frame) => self.link.serve(&frame).await,
            Event::TooLarge { quest, most } => self.link.refuse_size(&quest, most),
            Event::Begin { quest, .. } => self.upload = Some(self.link.gate.files.begin(quest)),
            Event::File { len, before } => {
                if let Some(upload) = &mut self.upload {
                    upload.file(len, &before).await;
                }
            }
            Event::Piece(bytes) => {
                if let Some(upload) = &mut self.upload {
                    upload.piece(bytes).await;
                }
            }
            Event::End(end) => {
                if let Some(upload) = self.upload.take() {
                    self.link.client.out.room().await;
                    self.link.answer_file(upload.end(end).await);
                }
            }
        }
        // While we work, the client is not the one who is silent.
        self.heard = Instant::now();
    }
}

impl Link {
    /// Serves a quest. Answers wait until the client has taken those of before.
    async fn serve(&self, quest: &Frame) {
        self.client.out.room().await;
        if FILE_METHODS.contains(&quest.method()) {
            return self.answer_file(self.gate.files.whole(quest).await);
        }
        if CHUNK_METHODS.contains(&quest.method()) {
            return self.answer_file(self.gate.files.chunk(quest).await);
        }
        match methods::serve(&self.gate, &self.client, quest).await {
            Ok(fields) if quest.kind == Kind::Quest => self.client.out.frame(&answer(quest, fields)),
            Ok(_) => {}
            Err(refusal) => self.refuse(quest, &refusal),
        }
    }

    /// A file was sent, or refused.
    fn answer_file(&self, answer: Option<Frame>) {
        if let Some(answer) = answer {
            if answer.status == 0 {
                // Its token came from a quest that was signed.
                self.client.trust();
            }
            self.client.out.frame(&answer);
        }
    }

    fn refuse_size(&self, quest: &Frame, most: usize) {
        if quest.kind != Kind::Answer {
            let text = format!("the payload of {:?} is larger than the {most} bytes that are allowed", quest.method());
            self.refuse(quest, &Refusal::new(code::TOO_LARGE, text));
        }
    }

    /// The answer to a push. Nobody waits for it, and some SDKs answer well with an error's status and the other way
    /// round.
    fn note(&self, frame: &Frame) {
        if let Err((code, text)) = read_answer(frame) {
            debug!(link = self.client.id, seq = frame.seq, code, text, "a push was answered with an error");
        }
    }
}
