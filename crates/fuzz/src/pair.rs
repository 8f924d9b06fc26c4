//! A relay's core with the shell that a target plays around it. Whatever clients say, what the relay writes is frames,
//! and when everybody has gone nothing is left.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use crvideo_proto::frame::{FLAG_MSGPACK, Frame, FrameReader, Kind, PRE_LOGIN_LIMIT, SESSION_LIMIT, VERSION};
use crvideo_proto::message::{self as msg, Body, Message, read_answer};
use crvideo_proto::out::OutQueue;
use crvideo_proto::pack::validate;
use crvideo_proto::seal::Seal;
use crvideo_proto::token;
use crvideo_relay::GuardSettings;
use crvideo_relay::core::{ConnectionId, Core, Epochs, Now, Output, Settings, Tenant};

use crate::client::{PROJECT, SECRET, START};

/// The users who log in with a good token.
pub(crate) const USERS: [&str; 3] = ["alice", "bob", "carol"];
/// Nothing may be left so long after everybody has gone.
const AFTERWARDS: Duration = Duration::from_secs(600);
/// A client's reader takes what a relay may write at most: a chunk, a forwarded address and its method.
const LARGEST: usize = SESSION_LIMIT + 1024;

#[derive(Debug)]
struct Socket {
    reader: FrameReader,
    /// Checks what the relay writes.
    writes: FrameReader,
    large: bool,
}

/// The relay.
pub(crate) struct Relay {
    core: Core,
    now: Duration,
    sockets: BTreeMap<ConnectionId, Socket>,
    last_seq: u32,
    /// Connections that the relay has closed.
    pub(crate) closed: Vec<ConnectionId>,
}

impl Relay {
    pub(crate) fn new() -> Self {
        let settings = Settings {
            max_connections: 40,
            max_before_login: 20,
            login_deadline: Duration::from_secs(10),
            heartbeat: Duration::from_secs(20),
            resume_window: Duration::from_secs(30),
            startup_grace: Duration::from_secs(2),
            stall_timeout: Duration::from_secs(30),
            command_queue: 128 * 1024,
            bulk_queue: 512 * 1024,
            guard: GuardSettings::default(),
        };
        let tenant = Tenant { id: PROJECT, secrets: vec![SECRET.to_owned()], max_file: 400_000 };
        let mut drawn = 0u64;
        let random = Box::new(move || {
            drawn += 1;
            let mut bytes = [0xa5; 16];
            bytes[..8].copy_from_slice(&drawn.to_le_bytes());
            Some(bytes)
        });
        let core = Core::new(settings, vec![tenant], Epochs::by_clock(START * 1_000_000), random);
        Self { core, now: Duration::ZERO, sockets: BTreeMap::new(), last_seq: 0, closed: Vec::new() }
    }

    fn time(&self) -> Now {
        Now { at: self.now, unix_micros: START * 1_000_000 + self.now.as_micros() as u64 }
    }

    /// A connection comes; `None` when the relay takes no more.
    pub(crate) fn open(&mut self) -> Option<ConnectionId> {
        let id = self.core.opened(self.time()).ok()?;
        let (reader, writes) = (FrameReader::new(PRE_LOGIN_LIMIT), FrameReader::new(LARGEST));
        self.sockets.insert(id, Socket { reader, writes, large: false });
        Some(id)
    }

    pub(crate) fn is_open(&self, id: ConnectionId) -> bool {
        self.sockets.contains_key(&id)
    }

    /// Bytes come on a connection, as the relay's shell takes them.
    pub(crate) fn hear(&mut self, id: ConnectionId, bytes: &[u8]) {
        let now = self.time();
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        socket.reader.feed(bytes);
        self.core.heard(id, now);
        loop {
            match socket.reader.next_frame() {
                Ok(Some(frame)) => self.core.frame(id, &frame, now),
                Ok(None) => break,
                Err(_) => return self.lose(id),
            }
            if let Some(seal) = self.core.take_seal(id) {
                socket.reader.expect_seals(seal);
            }
            if !self.core.is_open(id) {
                return self.lose(id);
            }
            if !socket.large && self.core.logged_in(id) {
                socket.large = true;
                socket.reader.set_limit(SESSION_LIMIT);
            }
        }
    }

    /// Everything that the relay has for a connection, `most` bytes at most but for the last piece.
    pub(crate) fn say(&mut self, id: ConnectionId, most: usize) -> Vec<u8> {
        let now = self.time();
        let mut said = Vec::new();
        let mut written = 0;
        while self.is_open(id) {
            match self.core.flush(id, written, now) {
                Output::Write(mut out) if said.len() < most => {
                    written = out.len();
                    said.extend(out.take());
                }
                Output::Write(out) => {
                    // The socket has taken no more of it: it is lost with the connection.
                    drop::<OutQueue>(out);
                    self.lose(id);
                }
                Output::Wait => break,
                Output::Close | Output::Gone => self.lose(id),
            }
        }
        self.check(id, &said);
        said
    }

    /// What the relay writes is whole frames with payloads of the wire's form.
    fn check(&mut self, id: ConnectionId, said: &[u8]) {
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        socket.writes.feed(said);
        loop {
            match socket.writes.next_frame() {
                Ok(Some(frame)) => {
                    let valid = validate(&frame.payload);
                    assert!(valid.is_ok(), "the relay wrote {:?}, of which {valid:?}", frame.method());
                    check_sender(&frame);
                    // Only the answer to the first quest can be read as one to a hello.
                    let hello = msg::HelloAnswer::read(&frame.payload).ok().filter(|_| frame.kind == Kind::Answer);
                    if let Some(salt) = hello.and_then(|hello| hello.salt) {
                        socket.writes.expect_seals(Seal::down(salt));
                    }
                }
                Ok(None) => break,
                Err(error) => panic!("the relay wrote what {error}"),
            }
        }
        assert_eq!(socket.writes.buffered(), 0, "the relay wrote a part of a frame");
    }

    /// A connection breaks.
    pub(crate) fn lose(&mut self, id: ConnectionId) {
        if self.sockets.remove(&id).is_some() {
            self.core.lost(id, self.time());
            self.closed.push(id);
        }
    }

    /// Connections that the core has given up or wants to write to.
    pub(crate) fn woken(&mut self) -> Vec<ConnectionId> {
        self.core.take_woken()
    }

    /// Time passes; deadlines are kept on the way.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.core.next_deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.core.tick(self.time());
        }
        self.now = end;
    }

    /// Everybody goes; nothing may be left of them.
    pub(crate) fn finish(&mut self) {
        for id in self.sockets.keys().copied().collect::<Vec<_>>() {
            self.lose(id);
        }
        self.pass(AFTERWARDS);
        assert_eq!(self.core.connections(), 0, "connections are left");
        assert_eq!(self.core.sessions(), 0, "sessions are left");
        assert_eq!(self.core.queued_bytes(), 0, "bytes are queued for nobody");
        self.core.take_woken();
    }

    // ---- a client that keeps to the protocol --------------------------------------------------------------

    /// Asks something; the answer, or `None` when the relay has closed the connection instead.
    pub(crate) fn ask<M: Message, A: Body>(
        &mut self,
        id: ConnectionId,
        message: &M,
    ) -> Option<Result<A, msg::ErrorAnswer>> {
        self.last_seq += 1;
        let seq = self.last_seq;
        let mut out = OutQueue::default();
        out.quest(seq, message);
        self.hear(id, &out.take());
        let said = self.say(id, usize::MAX);
        let mut reader = FrameReader::new(LARGEST);
        reader.feed(&said);
        while let Ok(Some(frame)) = reader.next_frame() {
            if frame.kind == Kind::Answer && frame.seq == seq {
                let answer = read_answer(&frame);
                assert!(answer.is_ok(), "the answer to {:?} cannot be read", M::METHOD);
                return answer.ok();
            }
        }
        None
    }

    pub(crate) fn token_for(&self, user: &str, expires: u64) -> String {
        token::mint(PROJECT, user, expires, SECRET)
    }

    /// Says hello and logs in on a new connection.
    ///
    /// # Panics
    /// When the relay does not take a good token.
    pub(crate) fn log_in(&mut self, user: &str) -> ConnectionId {
        match self.try_log_in(user, 0).and_then(|(id, answer)| answer.ok().map(|_| id)) {
            Some(id) => id,
            None => panic!("the relay does not take a good token"),
        }
    }

    /// The same where the relay may refuse it: too many connections, or an epoch that cannot be resumed.
    pub(crate) fn try_log_in(
        &mut self,
        user: &str,
        epoch: u64,
    ) -> Option<(ConnectionId, Result<msg::LoginAnswer, msg::ErrorAnswer>)> {
        let id = self.open()?;
        self.hello(id)?;
        let token = self.token_for(user, START + 100_000);
        let login = msg::Login { project: PROJECT, user: user.to_owned(), token, session: [1; 16], epoch };
        self.ask(id, &login).map(|answer| (id, answer))
    }

    pub(crate) fn hello(&mut self, id: ConnectionId) -> Option<msg::HelloAnswer> {
        let hello = msg::Hello { lowest: 1, highest: 1, features: 0, agent: "fuzz".to_owned() };
        self.ask(id, &hello)?.ok()
    }

    /// Replaces a live session's token by any text. It is taken when it is one of the session's user that has not
    /// expired, and nothing else; the session lives on all the same.
    pub(crate) fn replace_token(&mut self, id: ConnectionId, text: &str) {
        let good = token::verify(text, [SECRET], START).is_ok_and(|claims| claims.user == USERS[0]);
        let answer = self.ask::<_, msg::TokenAnswer>(id, &msg::UpdateToken { token: text.to_owned() });
        let Some(answer) = answer else {
            panic!("the relay has closed a session because of its new token {text:?}");
        };
        assert_eq!(answer.is_ok(), good, "the token {text:?} was answered with {answer:?}");
        let users = self.ask::<_, msg::UsersAnswer>(id, &msg::Users { user: None, after: None });
        let users = users.and_then(Result::ok).map(|answer| answer.users);
        assert_eq!(users, Some(vec![USERS[0].to_owned()]), "after its token a session is not there any more");
        self.finish();
    }
}

/// What comes from another session says of whom it is, and it is never anybody who has not logged in.
fn check_sender(frame: &Frame) {
    if let Ok(routed) = msg::Routed::<msg::End>::read(&frame.payload) {
        assert!(USERS.contains(&routed.from.as_str()), "a message is from {:?}", routed.from);
    }
}

/// A frame with any payload.
pub(crate) fn frame(kind: Kind, status: u8, seq: u32, method: &str, payload: &[u8]) -> Vec<u8> {
    let method = if kind == Kind::Answer { Bytes::new() } else { Bytes::copy_from_slice(method.as_bytes()) };
    let payload = Bytes::copy_from_slice(payload);
    let frame = Frame { kind, version: VERSION, flags: FLAG_MSGPACK, status, seq, method, payload };
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    bytes
}
