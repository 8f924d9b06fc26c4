//! One server's client of an RTM gate, as a state machine.
//!
//! The shell (the library's io thread, or a test) feeds in calls, bytes, pieces of files and the time, then carries
//! out every [`Output`], writes what [`Client::out`] holds, and comes back at [`Client::deadline`]. The gate may be
//! anybody's: the published wire is all that is needed.
//!
//! * `types`: what goes in and comes out.
//! * `calls`: the parameters of each call, and what its answer must have.
//! * `gate`: the connection to the server gate: made on demand, kept, made again while something is listened to.
//! * `listen`: what is listened to, and what is pushed.
//! * `upload`: files, each by a token and a connection to the file gate that the answer names.
//! * `chunks`: large files in chunks, where the server offers that.
//! * `receipts`: what becomes of messages at each recipient, where the server offers that. These two are all that is not
//!   the published wire.

mod calls;
mod chunks;
mod gate;
mod listen;
mod receipts;
mod types;
mod upload;

pub use types::*;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::frame::{Frame, FrameReader};
use crate::out::OutQueue;
use crate::rtm::params::{Fields, Params};
use crate::rtm::{code, mid::Mids, quest};
use crate::session::Now;
use gate::Gate;
use listen::Wanted;
use receipts::Receipts;
use upload::{FileLink, Upload};

/// Largest answer or push that is taken: the limit of the stock server, whose package includes the header.
const FRAME_LIMIT: usize = 8 * 1024 * 1024;
/// A call whose quest was certainly not sent before its connection ended is sent again at most this often.
const MAX_TRIES: u8 = 3;

/// What the answer to a quest of ours is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Call(u64),
    /// Listening is said again; this is the last quest of that.
    Listen {
        last: bool,
    },
    Ping,
    /// Whether the server tells what becomes of messages.
    Receipts,
}

/// A quest that has no answer yet.
#[derive(Debug, Clone, Copy)]
struct Asked {
    what: What,
    /// Where the quest begins in the connection's stream.
    start: u64,
    /// Where it ends.
    end: u64,
}

/// One connection's buffers and open quests.
#[derive(Debug)]
struct Wire {
    out: OutQueue,
    reader: FrameReader,
    asked_by_seq: BTreeMap<u32, Asked>,
    next_seq: u32,
}

impl Wire {
    fn new() -> Self {
        Self {
            out: OutQueue::default(),
            reader: FrameReader::new(FRAME_LIMIT),
            asked_by_seq: BTreeMap::new(),
            next_seq: 1,
        }
    }

    /// Takes the next sequence number.
    fn seq(&mut self) -> u32 {
        let seq = self.next_seq;
        self.next_seq = self.next_seq.wrapping_add(1);
        seq
    }

    fn ask(&mut self, method: &'static str, fields: Fields, what: What) {
        let (seq, start) = (self.seq(), self.out.position());
        log::trace!("RTM quest {seq} {method:?}");
        self.out.whole(&quest(seq, method, fields));
        self.asked_by_seq.insert(seq, Asked { what, start, end: self.out.position() });
    }

    /// Nobody waits for the answer of this call any more.
    fn forget(&mut self, id: u64) {
        self.asked_by_seq.retain(|_, asked| asked.what != What::Call(id));
    }
}

/// How far a call is.
#[derive(Debug)]
enum Step {
    /// It waits for the gate.
    Waiting,
    /// Its quest is queued on the gate's connection.
    Asked,
    /// It is a file, and has its token.
    Upload(Box<Upload>),
}

#[derive(Debug)]
struct Running {
    action: Action,
    deadline: Duration,
    step: Step,
    tries: u8,
    /// What becomes of it at its recipients is told.
    watched: bool,
}

/// The state machine. Maps that it walks through are ordered, so that equal inputs have equal outputs.
#[derive(Debug)]
pub struct Client {
    config: Config,
    gate: Gate,
    running_by_call: BTreeMap<u64, Running>,
    deadlines: BTreeSet<(Duration, u64)>,
    /// Calls that wait for the gate, in their order.
    waiting: VecDeque<u64>,
    wanted: Wanted,
    receipts: Receipts,
    file_links: BTreeMap<Link, FileLink>,
    next_link: Link,
    /// Files with a token that wait for a connection, in their order.
    waiting_files: VecDeque<u64>,
    /// Files in chunks whose connection was lost, by the time at which they go on.
    resumes: BTreeSet<(Duration, u64)>,
    salts: Mids,
    /// Bytes of pushes handed to the application, in all.
    delivered: u64,
    /// Bytes of pushes that it has handled, in all.
    handled: u64,
    /// Pushes are being refused, which has been logged.
    refusing: bool,
    outputs: VecDeque<Output>,
    random: u64,
}

impl Client {
    /// A client without a connection. `seed` must be different in each process.
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            config,
            gate: Gate::new(),
            running_by_call: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            waiting: VecDeque::new(),
            wanted: Wanted::default(),
            receipts: Receipts::default(),
            file_links: BTreeMap::new(),
            next_link: GATE + 1,
            waiting_files: VecDeque::new(),
            resumes: BTreeSet::new(),
            salts: Mids::new(seed),
            delivered: 0,
            handled: 0,
            refusing: false,
            outputs: VecDeque::new(),
            random: seed | 1,
        }
    }

    // ---- calls of the shell -------------------------------------------------------------------------------

    /// Begins a call; one [`Output::Ended`] follows.
    pub fn call(&mut self, call: Call, now: Now) {
        let Call { id, action, timeout } = call;
        let deadline = now.mono + timeout;
        let refused = matches!(&action, Action::Listen { change, listen } if !self.wanted.has_room(*change, listen));
        self.running_by_call.insert(id, Running { action, deadline, step: Step::Waiting, tries: 0, watched: false });
        self.deadlines.insert((deadline, id));
        if refused {
            return self.failed(id, code::TOO_MANY, "more is listened to than one client may");
        }
        self.waiting.push_back(id);
        self.drive(now);
    }

    /// Ends everything with `code`: each call gets its end, nothing is listened to, and every connection is closed.
    pub fn end(&mut self, code: i32, text: &str) {
        self.wanted = Wanted::default();
        self.receipts.stop();
        self.drop_gate();
        for link in self.file_links.keys().copied().collect::<Vec<_>>() {
            self.drop_link(link);
        }
        for id in self.running_by_call.keys().copied().collect::<Vec<_>>() {
            self.failed(id, code, text);
        }
    }

    /// What the shell must do next. Call until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether [`poll_output`](Self::poll_output) would return something.
    pub fn has_output(&self) -> bool {
        !self.outputs.is_empty()
    }

    /// Changes whenever the client gives a connection up.
    pub fn generation(&self, link: Link) -> u32 {
        if link == GATE { self.gate.generation } else { self.file_links.contains_key(&link).into() }
    }

    fn wire(&mut self, link: Link) -> Option<&mut Wire> {
        if link == GATE { Some(&mut self.gate.wire) } else { self.file_links.get_mut(&link).map(|link| &mut link.wire) }
    }

    /// What waits to be written to a connection. After writing, call [`written`](Self::written).
    pub fn out(&mut self, link: Link) -> Option<&mut OutQueue> {
        self.wire(link).map(|wire| &mut wire.out)
    }

    /// The reader of a connection, to be fed; call [`received`](Self::received) after.
    pub fn reader(&mut self, link: Link) -> Option<&mut FrameReader> {
        self.wire(link).map(|wire| &mut wire.reader)
    }

    /// The socket of a connection is there.
    pub fn connected(&mut self, link: Link, now: Now) {
        if link == GATE {
            self.gate_connected(now);
        } else {
            self.link_connected(link);
        }
        self.drive(now);
    }

    /// The socket of a connection could not be made; `err` is the contract's code for the reason.
    pub fn connect_failed(&mut self, link: Link, err: i32, now: Now) {
        self.closed(link, err, now);
    }

    /// A connection has ended; `err` is the contract's code for the reason.
    pub fn closed(&mut self, link: Link, err: i32, now: Now) {
        let reason = crate::code::text(err).to_str().unwrap_or_default();
        if link == GATE {
            self.gate_lost(reason, now);
        } else {
            self.link_lost(link, reason, now);
        }
        self.drive(now);
    }

    /// The socket has taken bytes: there may be room for more.
    pub fn written(&mut self, link: Link, now: Now) {
        if link == GATE {
            self.gate.used(now);
        } else {
            self.pump(link);
        }
    }

    /// Bytes have been fed to a connection's reader.
    pub fn received(&mut self, link: Link, now: Now) {
        if link == GATE {
            self.gate.heard(now);
        }
        let generation = self.generation(link);
        while let Some(wire) = self.wire(link) {
            match wire.reader.next_frame() {
                Ok(Some(frame)) => self.frame(link, &frame, now),
                Ok(None) => break,
                Err(error) => {
                    log::warn!("the RTM server's data {error}; closing the connection");
                    self.outputs.push_back(Output::Close { link });
                    self.closed(link, crate::code::RSPDAT_ERR, now);
                    break;
                }
            }
            // A frame can end the connection that it came on; what follows it is void.
            if self.generation(link) != generation {
                break;
            }
        }
        self.drive(now);
    }

    /// How many bytes of pushes the application has handled since the client was made.
    pub fn handled_in_all(&mut self, bytes: u64) {
        self.handled = self.handled.max(bytes.min(self.delivered));
    }

    /// When [`timeout`](Self::timeout) must be called, as time since the shell's start.
    pub fn deadline(&self) -> Option<Duration> {
        let call = self.deadlines.first().map(|(at, _)| *at);
        let links = self.file_links.values().filter_map(FileLink::deadline).min();
        let resume = self.resumes.first().map(|(at, _)| *at);
        [call, links, resume, self.gate_deadline(), self.receipts_deadline()].into_iter().flatten().min()
    }

    /// A deadline has passed.
    pub fn timeout(&mut self, now: Now) {
        while let Some((at, id)) = self.deadlines.first().copied()
            && at <= now.mono
        {
            self.call_timed_out(id);
        }
        self.gate_timeout(now);
        self.receipts_timeout(now);
        self.links_timeout(now);
        self.resume_uploads(now);
        self.drive(now);
    }

    // ---- calls --------------------------------------------------------------------------------------------

    /// Moves on what can be moved on.
    fn drive(&mut self, now: Now) {
        self.drive_gate(now);
        self.drive_files(now);
        self.gate.rest(!self.needs_connection(), now);
    }

    fn frame(&mut self, link: Link, frame: &Frame, now: Now) {
        log::trace!("RTM {:?} {} {:?} of {} bytes came", frame.kind, frame.seq, frame.method(), frame.payload.len());
        match frame.kind {
            crate::frame::Kind::Answer => self.answered(link, frame, now),
            _ if link == GATE => self.asked(frame),
            // Nothing is asked of us on a file gate.
            crate::frame::Kind::Quest => {
                let text = format!("Unknow method: {}", frame.method());
                let answer = crate::rtm::error(frame, code::UNKNOWN_METHOD, &text);
                if let Some(out) = self.out(link) {
                    out.whole(&answer);
                }
            }
            crate::frame::Kind::OneWay => log::debug!("a file gate sent {:?}", frame.method()),
        }
    }

    fn answered(&mut self, link: Link, frame: &Frame, now: Now) {
        let asked = self.wire(link).and_then(|wire| wire.asked_by_seq.remove(&frame.seq));
        let Some(Asked { what, .. }) = asked else {
            return log::debug!("an answer that nobody waits for");
        };
        let outcome = crate::rtm::read_answer(frame);
        match (what, outcome) {
            (What::Ping, _) => {}
            (What::Receipts, outcome) => self.receipts_answered(outcome, now),
            (What::Listen { last }, outcome) => self.listens_again(last, outcome.map(drop), now),
            (What::Call(id), Err((code, text))) => {
                // Success is told by the answer's status alone: a failure with the number 0 must not look like it.
                let code = if code == 0 { code::UNKNOWN } else { code };
                let text = if text.is_empty() { default_text(code) } else { text };
                self.upload_answered(link, now);
                self.finish(id, Err(Failure { code, text }));
            }
            (What::Call(id), Ok(params)) if link == GATE => {
                let Some(running) = self.running_by_call.get(&id) else { return };
                match running.action.answer(&params) {
                    Ok(answer) => self.good(id, answer, params.opt_int("chunked").ok().flatten().unwrap_or_default()),
                    Err(error) => self.failed(id, code::DECODE, format!("the server's answer is incomplete: {error}")),
                }
            }
            (What::Call(id), Ok(params)) if self.goes_in_chunks(id) => self.chunk_answered(id, link, &params, now),
            (What::Call(id), Ok(params)) => {
                self.upload_answered(link, now);
                self.sent(id, &params);
            }
        }
    }

    /// The file gate has taken a file.
    fn sent(&mut self, id: u64, params: &Params) {
        match params.opt_int("mtime") {
            Ok(mtime) => self.finish(id, Ok(Answer::Sent { mtime: mtime.unwrap_or_default(), watched: false })),
            Err(error) => self.failed(id, code::DECODE, format!("the server's answer is wrong: {error}")),
        }
    }

    fn goes_in_chunks(&self, id: u64) -> bool {
        let step = self.running_by_call.get(&id).map(|running| &running.step);
        matches!(step, Some(Step::Upload(upload)) if upload.chunks.is_some())
    }

    /// The gate has given a good answer.
    fn good(&mut self, id: u64, answer: Answer, largest_in_chunks: u64) {
        let Some(running) = self.running_by_call.get(&id) else { return };
        match (&running.action, answer) {
            (Action::File(_), Answer::FileToken { token, endpoint }) => {
                self.token_is_there(id, token, &endpoint, largest_in_chunks);
            }
            (Action::Listen { change, listen }, answer) => {
                self.wanted.apply(*change, listen);
                self.finish(id, Ok(answer));
            }
            (_, answer) => self.finish(id, Ok(answer)),
        }
    }

    /// A call is over.
    fn finish(&mut self, id: u64, mut outcome: Outcome) {
        let Some(running) = self.running_by_call.remove(&id) else { return };
        if let Ok(Answer::Sent { watched, .. }) = &mut outcome {
            *watched = running.watched;
        }
        let sent = running.sends();
        self.deadlines.remove(&(running.deadline, id));
        match running.step {
            Step::Waiting => self.waiting.retain(|other| *other != id),
            Step::Asked => self.gate.wire.forget(id),
            Step::Upload(upload) => self.upload_over(id, &upload),
        }
        self.outputs.push_back(Output::Ended { call: id, outcome });
        self.release_receipts(sent);
    }

    fn failed(&mut self, id: u64, code: i32, text: impl Into<String>) {
        self.finish(id, Err(Failure::new(code, text)));
    }

    fn call_timed_out(&mut self, id: u64) {
        let text = match self.running_by_call.get(&id).map(|running| &running.step) {
            // Nothing was sent, so this is known to have had no effect.
            Some(Step::Waiting) => return self.failed(id, code::CONNECTION, "no connection to the gate in time"),
            Some(Step::Upload(upload)) if upload.link_is_missing() => {
                return self.failed(id, code::CONNECTION, "no connection to the file gate in time");
            }
            Some(Step::Upload(upload)) => upload.progress_text(),
            _ => default_text(code::TIMEOUT),
        };
        self.failed(id, code::TIMEOUT, text);
    }

    /// A quest of a call ended with its connection. One of which the server has not got everything goes again.
    fn connection_took(&mut self, id: u64, sent: bool, reason: &str) {
        let Some(running) = self.running_by_call.get_mut(&id) else { return };
        running.tries += 1;
        if sent {
            return self.failed(
                id,
                code::CONNECTION_CLOSED,
                format!("the connection ended before the answer: {reason}"),
            );
        }
        if running.tries >= MAX_TRIES {
            return self.failed(
                id,
                code::CONNECTION,
                format!("every connection ended before the quest was sent: {reason}"),
            );
        }
        running.step = Step::Waiting;
        self.waiting.push_back(id);
    }

    /// A number from 0 up to `below`, for jitter only (xorshift64).
    fn random_below(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below.max(1)
    }
}

/// The text of a number for which the server has given none.
fn default_text(code: i32) -> String {
    let text = code::text(code).unwrap_or(c"The server gave a number without a text.");
    text.to_string_lossy().into_owned()
}
