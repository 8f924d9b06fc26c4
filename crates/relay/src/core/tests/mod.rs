//! Scenarios with virtual time: what clients send, and what they get.

mod bulk;
mod courier;
mod find;
mod flow;
mod guard;
mod login;
mod route;
mod servers;
mod stop;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use crvideo_proto::frame::{Frame, FrameReader, Kind, SESSION_LIMIT};
use crvideo_proto::id::TaskId;
use crvideo_proto::message::{self as msg, Body, Message, PeerState, Routed, read_answer};
use crvideo_proto::out::OutQueue;
use crvideo_proto::token;

use super::*;

const SECRET: &str = "secret";
const PROJECT: i64 = 1;
/// A project with a limit on files.
const STRICT: i64 = 2;
const MAX_FILE: u64 = 1_000;
/// The relay's start, in microseconds since 1970.
const START: u64 = 1_000_000_000_000_000;
const START_S: u64 = START / 1_000_000;
const HOUR: u64 = 3_600;

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn settings() -> Settings {
    Settings {
        max_connections: 100,
        max_before_login: 10,
        login_deadline: secs(10),
        heartbeat: secs(20),
        resume_window: secs(60),
        startup_grace: Duration::ZERO,
        stall_timeout: secs(30),
        command_queue: 2_000,
        bulk_queue: 10_000,
        guard: GuardSettings::default(),
    }
}

/// What a client has received on one connection and not looked at.
#[derive(Default)]
struct Inbox {
    reader: Option<FrameReader>,
    frames: VecDeque<Frame>,
    closed: bool,
    /// Its socket takes nothing.
    stuck: bool,
    taken: OutQueue,
}

struct World {
    core: Core,
    now: Now,
    inboxes: BTreeMap<ConnectionId, Inbox>,
    seq: u32,
}

/// A logged-in client.
#[derive(Clone)]
struct Client {
    user: &'static str,
    project: i64,
    name: [u8; 16],
    link: ConnectionId,
    epoch: u64,
    ticket: [u8; 16],
}

impl World {
    fn new() -> Self {
        Self::with(settings(), Epochs::by_clock(START))
    }

    fn with(settings: Settings, epochs: Epochs) -> Self {
        let tenant = |id, max_file| Tenant { id, secrets: vec!["older".into(), SECRET.into()], max_file };
        let mut drawn = 0u128;
        let random = move || {
            drawn += 1;
            Some(drawn.to_be_bytes())
        };
        let tenants = vec![tenant(PROJECT, 0), tenant(STRICT, MAX_FILE)];
        let core = Core::new(settings, tenants, epochs, Box::new(random));
        let now = Now { at: Duration::ZERO, unix_micros: START };
        Self { core, now, inboxes: BTreeMap::new(), seq: 0 }
    }

    /// Lets time pass, from deadline to deadline, and everybody answer pings.
    fn pass(&mut self, time: Duration) {
        let end = self.now.at + time;
        while let Some(next) = self.core.next_deadline().filter(|next| *next <= end) {
            self.set_time(next.max(self.now.at));
            self.core.tick(self.now);
            self.pump();
            self.answer_pings();
        }
        self.set_time(end);
        self.core.tick(self.now);
        self.pump();
    }

    fn set_time(&mut self, at: Duration) {
        self.now.unix_micros += (at - self.now.at).as_micros() as u64;
        self.now.at = at;
    }

    fn answer_pings(&mut self) {
        let pinged = |inbox: &mut Inbox| {
            let before = inbox.frames.len();
            inbox.frames.retain(|frame| frame.method() != msg::Ping::METHOD);
            before > inbox.frames.len()
        };
        let ids: Vec<_> = self.inboxes.iter_mut().filter_map(|(id, inbox)| pinged(inbox).then_some(*id)).collect();
        for id in ids {
            self.one_way(id, &msg::Pong {});
        }
    }

    fn open(&mut self) -> ConnectionId {
        let id = self.core.opened(self.now).unwrap();
        self.inboxes.insert(id, Inbox { reader: Some(FrameReader::new(SESSION_LIMIT)), ..Inbox::default() });
        id
    }

    fn feed(&mut self, id: ConnectionId, out: &mut OutQueue) {
        let mut reader = FrameReader::new(SESSION_LIMIT);
        reader.feed(&out.take());
        while let Some(frame) = reader.next_frame().unwrap() {
            self.core.frame(id, &frame, self.now);
        }
        self.pump();
    }

    fn one_way<M: Message>(&mut self, id: ConnectionId, message: &M) {
        let mut out = OutQueue::default();
        out.one_way(message);
        self.feed(id, &mut out);
    }

    fn routed<M: Message>(&mut self, id: ConnectionId, to: &Client, message: &M) {
        let mut out = OutQueue::default();
        out.routed(to.user, to.epoch, message);
        self.feed(id, &mut out);
    }

    /// Asks, and returns what was answered.
    fn ask<M: Message, A: Body>(&mut self, id: ConnectionId, message: &M) -> Result<A, i64> {
        self.seq += 1;
        let mut out = OutQueue::default();
        out.quest(self.seq, message);
        self.feed(id, &mut out);
        let inbox = self.inboxes.get_mut(&id).unwrap();
        let at = inbox.frames.iter().position(|frame| frame.kind == Kind::Answer && frame.seq == self.seq);
        let frame = inbox.frames.remove(at.expect("an answer")).unwrap();
        read_answer(&frame).unwrap().map_err(|error| error.code)
    }

    /// Moves what the core has for the connections to those that take it.
    fn pump(&mut self) {
        self.core.take_woken();
        for (id, inbox) in &mut self.inboxes {
            while !inbox.closed {
                if inbox.taken.is_empty() {
                    match self.core.flush(*id, 0, self.now) {
                        Output::Write(out) => inbox.taken = out,
                        Output::Wait => break,
                        Output::Close | Output::Gone => {
                            inbox.closed = true;
                            self.core.lost(*id, self.now);
                        }
                    }
                }
                if inbox.stuck || inbox.closed {
                    break;
                }
                let bytes = inbox.taken.take();
                let reader = inbox.reader.as_mut().unwrap();
                reader.feed(&bytes);
                while let Some(frame) = reader.next_frame().unwrap() {
                    inbox.frames.push_back(frame);
                }
                // The answer is looked at by the next turn.
                if let Output::Write(out) = self.core.flush(*id, bytes.len(), self.now) {
                    inbox.taken = out;
                }
            }
        }
        // What was written may have unblocked others.
        if !self.core.take_woken().is_empty() {
            self.pump();
        }
    }

    fn stick(&mut self, id: ConnectionId, stuck: bool) {
        self.inboxes.get_mut(&id).unwrap().stuck = stuck;
        self.pump();
    }

    fn cut(&mut self, id: ConnectionId) {
        self.core.lost(id, self.now);
        self.pump();
    }

    fn closed(&self, id: ConnectionId) -> bool {
        self.inboxes[&id].closed
    }

    /// Everything of one kind that has come, taken out.
    fn got<M: Message>(&mut self, id: ConnectionId) -> Vec<M> {
        self.take(id, M::METHOD).iter().map(|frame| M::read(&frame.payload).unwrap()).collect()
    }

    fn got_routed<M: Message>(&mut self, id: ConnectionId) -> Vec<Routed<M>> {
        self.take(id, M::METHOD).iter().map(|frame| Routed::read(&frame.payload).unwrap()).collect()
    }

    fn take(&mut self, id: ConnectionId, method: &str) -> Vec<Frame> {
        let inbox = self.inboxes.get_mut(&id).unwrap();
        let (taken, left) = inbox.frames.drain(..).partition(|frame| frame.method() == method);
        inbox.frames = left;
        Vec::from_iter::<VecDeque<Frame>>(taken)
    }

    /// News of peers: (user, epoch, state, class).
    fn news(&mut self, id: ConnectionId) -> Vec<(String, u64, PeerState, u8)> {
        let peers = self.got::<msg::Peer>(id);
        peers.into_iter().map(|it| (it.user, it.epoch, PeerState::from_wire(it.state), it.class)).collect()
    }

    fn hello(&mut self) -> ConnectionId {
        let id = self.open();
        let hello = msg::Hello { lowest: 1, highest: 3, features: 12, agent: "test".into() };
        let answer: msg::HelloAnswer = self.ask(id, &hello).unwrap();
        assert_eq!((answer.version, answer.features), (1, 0));
        id
    }

    fn mint(&self, project: i64, user: &str, valid_s: u64) -> String {
        token::mint(project, user, self.now.unix_micros / 1_000_000 + valid_s, SECRET)
    }

    fn try_login(
        &mut self,
        project: i64,
        user: &str,
        token: String,
        session: [u8; 16],
        epoch: u64,
    ) -> (ConnectionId, Result<msg::LoginAnswer, i64>) {
        let id = self.hello();
        let login = msg::Login { project, user: user.into(), token, session, epoch };
        (id, self.ask(id, &login))
    }

    fn login_to(&mut self, project: i64, user: &'static str) -> Client {
        let name = u128::from(self.seq).to_le_bytes();
        let token = self.mint(project, user, HOUR);
        let (link, answer) = self.try_login(project, user, token, name, 0);
        let answer = answer.unwrap();
        assert!(!answer.resumed);
        Client { user, project, name, link, epoch: answer.epoch, ticket: answer.ticket }
    }

    fn login(&mut self, user: &'static str) -> Client {
        self.login_to(PROJECT, user)
    }

    fn try_resume(&mut self, client: &Client) -> (ConnectionId, Result<msg::LoginAnswer, i64>) {
        let token = self.mint(client.project, client.user, HOUR);
        self.try_login(client.project, client.user, token, client.name, client.epoch)
    }

    fn resume(&mut self, client: &mut Client) {
        let (link, answer) = self.try_resume(client);
        let answer = answer.unwrap();
        assert_eq!((answer.epoch, answer.resumed), (client.epoch, true));
        (client.link, client.ticket) = (link, answer.ticket);
    }

    fn find(&mut self, who: &Client, whom: &str) -> (u64, u8) {
        let answer: msg::FindAnswer = self.ask(who.link, &msg::Find { user: whom.into() }).unwrap();
        (answer.epoch, answer.state)
    }

    /// Two clients that have found each other.
    fn pair(&mut self) -> (Client, Client) {
        let (alice, bob) = (self.login("alice"), self.login("bob"));
        assert_eq!(self.find(&alice, "bob"), (bob.epoch, 1));
        (alice, bob)
    }

    /// Opens the bulk connection.
    fn bulk(&mut self, client: &mut Client) -> ConnectionId {
        let id = self.hello();
        let answer: msg::BulkAnswer = self.ask(id, &msg::Bulk { ticket: client.ticket, lost: None }).unwrap();
        client.ticket = answer.ticket;
        id
    }
}

fn task(number: u8) -> TaskId {
    TaskId::from_bytes([number; 16])
}

/// A small message of the command class.
fn confirm(offset: u64) -> msg::Confirm {
    msg::Confirm { task: task(1), offset, limit: 9 }
}

/// A piece of a transfer.
fn data(offset: u64, len: usize) -> msg::Data {
    msg::Data { task: task(1), offset, data: Bytes::from(vec![offset as u8; len]) }
}

fn offsets(messages: Vec<Routed<msg::Data>>) -> Vec<u64> {
    messages.into_iter().map(|it| it.message.offset).collect()
}
