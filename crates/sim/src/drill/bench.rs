//! A session alone, and a relay that says to it exactly what a drill wants it to say.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use crvideo_proto::frame::{Frame, FrameReader, SESSION_LIMIT};
use crvideo_proto::id::TaskId;
use crvideo_proto::message::{self as msg, Address, Body, CLASS_BULK, CLASS_COMMANDS, Message, PeerState};
use crvideo_proto::out::OutQueue;
use crvideo_proto::pack::Writer;
use crvideo_proto::session::{CommandCall, Config, Conn, Credential, Event, Identity, Now, Output, Session};

use super::desk::{Verdict, must};
use crate::world::{CONNS, START_MICROS};

/// The session's first epoch.
pub(super) const EPOCH: u64 = 1_000;

pub(super) struct Bench {
    pub(super) session: Session,
    pub(super) now: Now,
    /// What the session has told its application.
    pub(super) events: Vec<Event>,
    /// All else that it wants done.
    pub(super) wishes: Vec<Output>,
    /// What it has written.
    pub(super) frames: Vec<Frame>,
    tasks: u8,
}

impl Bench {
    /// A session that is logged in and may have so many bytes waiting for its application.
    pub(super) fn new(inbound_limit: u64) -> Result<Self, String> {
        let config = Config {
            command_timeout: Duration::from_secs(30),
            transfer_timeout: Duration::from_secs(60),
            offer_timeout: Duration::from_secs(20),
            buffer_limit: 1 << 20,
            inbound_limit,
            max_send_bytes_per_s: 0,
            agent: "drill",
        };
        let now = Now { mono: Duration::from_secs(1), unix: START_MICROS / 1_000_000 };
        let mut bench = Self {
            session: Session::new(config, [1; 16], 1),
            now,
            events: Vec::new(),
            wishes: Vec::new(),
            frames: Vec::new(),
            tasks: 0,
        };
        let credential = Credential::Secret("secret".to_owned());
        let identity = Identity { servers: 1, project: 1, user: "alice".to_owned(), credential };
        bench.session.login(identity, 1, now);
        bench.link(EPOCH, false)?;
        Ok(bench)
    }

    /// The relay takes the session's connection, and lets it in.
    pub(super) fn link(&mut self, epoch: u64, resumed: bool) -> Verdict {
        self.look();
        self.session.connected(Conn::Command, self.now);
        self.look();
        let hello = self.taken(msg::Hello::METHOD).pop().ok_or("no hello")?;
        let answer = msg::HelloAnswer { version: 1, features: 0, agent: "drill".to_owned(), salt: None };
        self.reply(hello.seq, &answer);
        let login = self.taken(msg::Login::METHOD).pop().ok_or("no login")?;
        let (ticket, expires_ms) = ([2; 16], 1 << 40);
        let answer = msg::LoginAnswer { epoch, resumed, ticket, expires_ms, heartbeat_ms: u32::MAX / 4, max_file: 0 };
        self.reply(login.seq, &answer);
        must(self.session.is_logged_in(), || "a login that is granted is none".to_owned())
    }

    /// The session may open its bulk connection at once.
    pub(super) fn link_bulk(&mut self) -> Verdict {
        let mut out = OutQueue::default();
        out.one_way(&msg::Wake {});
        self.feed(out);
        self.session.connected(Conn::Bulk, self.now);
        self.look();
        let hello = self.taken(msg::Hello::METHOD).pop().ok_or("no hello on the bulk connection")?;
        let answer = msg::HelloAnswer { version: 1, features: 0, agent: "drill".to_owned(), salt: None };
        self.reply_on(Conn::Bulk, hello.seq, &answer);
        let bulk = self.taken(msg::Bulk::METHOD).pop().ok_or("no ticket is shown")?;
        self.reply_on(Conn::Bulk, bulk.seq, &msg::BulkAnswer { ticket: [3; 16] });
        Ok(())
    }

    /// The link breaks, and is back.
    pub(super) fn relink(&mut self, epoch: u64) -> Verdict {
        self.break_link();
        self.link(epoch, epoch == EPOCH)
    }

    /// The link breaks, and the session tries to come back.
    pub(super) fn break_link(&mut self) {
        self.session.closed(Conn::Command, crvideo_proto::code::SOCKETEXCEPTION, self.now);
        self.pass(Duration::from_secs(2));
    }

    /// Carries out what the session wants; what it writes is kept.
    pub(super) fn look(&mut self) {
        for conn in CONNS {
            let bytes = self.session.out(conn).take();
            self.session.written(conn, self.now);
            let mut reader = FrameReader::new(SESSION_LIMIT);
            reader.feed(&bytes);
            while let Ok(Some(frame)) = reader.next_frame() {
                self.frames.push(frame);
            }
        }
        self.hear();
        if CONNS.iter().any(|conn| !self.session.out(*conn).is_empty()) {
            self.look();
        }
    }

    /// Hears the session without taking what it writes.
    pub(super) fn hear(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Event(event) => self.events.push(event),
                other => self.wishes.push(other),
            }
        }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now.mono + time;
        while let Some(next) = self.session.deadline().filter(|next| *next <= end) {
            self.now.mono = self.now.mono.max(next);
            self.session.timeout(self.now);
            self.look();
        }
        self.now.mono = end;
    }

    fn feed(&mut self, mut out: OutQueue) {
        self.feed_bytes(&out.take());
    }

    /// The command connection has brought bytes.
    pub(super) fn feed_bytes(&mut self, bytes: &[u8]) {
        self.session.reader(Conn::Command).feed(bytes);
        self.session.received(Conn::Command, self.now);
        self.look();
    }

    fn reply(&mut self, seq: u32, body: &impl Body) {
        self.reply_on(Conn::Command, seq, body);
    }

    fn reply_on(&mut self, conn: Conn, seq: u32, body: &impl Body) {
        let mut out = OutQueue::default();
        out.answer(seq, body);
        let bytes = out.take();
        self.session.reader(conn).feed(&bytes);
        self.session.received(conn, self.now);
        self.look();
    }

    pub(super) fn news(&mut self, user: &str, epoch: u64, state: PeerState) {
        self.news_of(user, epoch, state, CLASS_COMMANDS | CLASS_BULK);
    }

    pub(super) fn news_of(&mut self, user: &str, epoch: u64, state: PeerState, class: u8) {
        let mut out = OutQueue::default();
        out.one_way(&msg::Peer { user: user.to_owned(), epoch, state: state as u8, class });
        self.feed(out);
    }

    /// A message of another user.
    pub(super) fn from<M: Message>(&mut self, user: &str, epoch: u64, message: &M) {
        self.feed_bytes(&frame_from(user, epoch, message));
    }

    /// Answers the question where a user is; an error when that was not asked.
    pub(super) fn found(&mut self, user: &str, epoch: u64, state: PeerState) -> Verdict {
        let asked = |frame: &Frame| msg::Find::read(&frame.payload).is_ok_and(|find| find.user == user);
        let quest = self.taken(msg::Find::METHOD).into_iter().rfind(asked);
        let quest = quest.ok_or_else(|| format!("nobody asks where {user} is"))?;
        self.reply(quest.seq, &msg::FindAnswer { epoch, state: state as u8 });
        Ok(())
    }

    /// What the session has written of one kind.
    pub(super) fn taken(&mut self, method: &str) -> Vec<Frame> {
        let (taken, left) = self.frames.drain(..).partition(|frame| frame.method() == method);
        self.frames = left;
        taken
    }

    /// Messages to others, with the epochs that they are for.
    pub(super) fn sent<M: Message>(&mut self) -> Vec<(u64, M)> {
        let frames = self.taken(M::METHOD);
        let read = |frame: &Frame| Some((Address::to(&frame.payload).ok()?.epoch, M::read(&frame.payload).ok()?));
        frames.iter().filter_map(read).collect()
    }

    /// To which epochs commands have gone.
    pub(super) fn commands_to(&mut self) -> Vec<u64> {
        self.sent::<msg::Command>().into_iter().map(|(epoch, _)| epoch).collect()
    }

    /// The application sends a command.
    pub(super) fn send(&mut self, target: &str, size: usize, timeout_s: u64) {
        self.tasks += 1;
        let task = TaskId::from_bytes([self.tasks; 16]);
        let (data, timeout) = (Bytes::from(vec![1; size]), Some(Duration::from_secs(timeout_s)));
        let call = CommandCall { target: target.into(), task, chosen: false, data, timeout, cookie: self.tasks.into() };
        self.session.send_command(call, self.now);
        self.hear();
    }

    /// How commands have ended.
    pub(super) fn results(&mut self) -> Vec<i32> {
        let (results, left) = self.events.drain(..).partition(|it| matches!(it, Event::CommandRslt { .. }));
        self.events = left;
        let code = |it: Event| if let Event::CommandRslt { err, .. } = it { Some(err) } else { None };
        Vec::<Event>::into_iter(results).filter_map(code).collect()
    }

    /// Commands that the application hears, each with its receipt.
    pub(super) fn commands(&mut self) -> Vec<Option<crvideo_proto::session::Receipt>> {
        let (commands, left) = self.events.drain(..).partition(|it| matches!(it, Event::Command { .. }));
        self.events = left;
        let receipt = |it: Event| if let Event::Command { receipt, .. } = it { Some(receipt) } else { None };
        Vec::<Event>::into_iter(commands).filter_map(receipt).collect()
    }
}

/// A message of another user, as the relay passes it on.
pub(super) fn frame_from<M: Message>(user: &str, epoch: u64, message: &M) -> Bytes {
    let mut pairs = BytesMut::new();
    let mut writer = Writer::new(&mut pairs);
    message.put_pairs(&mut writer);
    let tail = writer.take_tail();
    let mut out = OutQueue::default();
    out.forward_with_tail(M::METHOD, message.pairs() + 2, user, epoch, pairs.freeze(), tail);
    out.take().into()
}
