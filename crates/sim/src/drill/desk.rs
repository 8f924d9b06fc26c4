//! A relay's core alone, and clients that say exactly what a drill wants them to say.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crvideo_proto::code;
use crvideo_proto::frame::{Frame, FrameReader, Kind, SESSION_LIMIT};
use crvideo_proto::message::{self as msg, Body, Message, PeerState, Routed, read_answer};
use crvideo_proto::out::OutQueue;
use crvideo_proto::token;
use crvideo_relay::core::{ConnectionId, Core, Epochs, Now, Output, Settings, Tenant};

use crate::plan::PROJECTS;
use crate::world::START_MICROS;

/// The relay waits so long for a client that has left, and so long for the others after its own start.
pub(super) const RESUME_WINDOW: Duration = Duration::from_secs(60);
pub(super) const GRACE: Duration = Duration::from_secs(10);
/// Its queue for a client's commands.
pub(super) const QUEUE: usize = 2_000;

/// What is wrong, if something is.
pub(super) type Verdict = Result<(), String>;

/// Judges one thing.
pub(super) fn must(fits: bool, what: impl FnOnce() -> String) -> Verdict {
    if fits { Ok(()) } else { Err(what()) }
}

/// What has come on one connection, and what its client does with it.
#[derive(Default)]
struct Inbox {
    frames: VecDeque<Frame>,
    out: OutQueue,
    closed: bool,
    /// Its client takes nothing.
    stuck: bool,
}

pub(super) struct Desk {
    pub(super) core: Core,
    pub(super) now: Now,
    inboxes: BTreeMap<ConnectionId, Inbox>,
    seq: u32,
}

/// A client that has logged in.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) user: &'static str,
    pub(super) name: [u8; 16],
    pub(super) epoch: u64,
    pub(super) link: ConnectionId,
    pub(super) ticket: [u8; 16],
}

/// News of a peer: whose, of which epoch, what, for which classes.
pub(super) type Heard = (String, u64, PeerState, u8);

impl Desk {
    /// A relay whose clock shows so many microseconds after (or before) the start of a run.
    pub(super) fn new(clock: i64, transfers: usize) -> Self {
        let unix_micros = START_MICROS.saturating_add_signed(clock);
        let mut settings = Settings {
            max_connections: 100,
            max_before_login: 20,
            login_deadline: Duration::from_secs(10),
            heartbeat: Duration::from_secs(20),
            resume_window: RESUME_WINDOW,
            startup_grace: GRACE,
            stall_timeout: Duration::from_secs(1_000),
            command_queue: QUEUE,
            bulk_queue: QUEUE,
            guard: crvideo_relay::GuardSettings::default(),
        };
        settings.guard.session_transfers = transfers;
        let tenant = Tenant { id: PROJECTS[0].id, secrets: vec![PROJECTS[0].secret.to_owned()], max_file: 0 };
        let mut drawn = 0u128;
        let random = move || {
            drawn += 1;
            Some(drawn.to_be_bytes())
        };
        let core = Core::new(settings, vec![tenant], Epochs::by_clock(unix_micros), Box::new(random));
        Self { core, now: Now { at: Duration::ZERO, unix_micros }, inboxes: BTreeMap::new(), seq: 0 }
    }

    /// Lets time pass; everybody who takes what comes answers heart-beats.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now.at + time;
        loop {
            let next = self.core.next_deadline().filter(|next| *next <= end).unwrap_or(end).max(self.now.at);
            self.now.unix_micros += (next - self.now.at).as_micros() as u64;
            self.now.at = next;
            self.core.tick(self.now);
            self.pump();
            let pinged: Vec<ConnectionId> = self.inboxes.keys().copied().collect();
            for id in pinged {
                if !self.take(id, msg::Ping::METHOD).is_empty() {
                    self.say(id, &msg::Pong {});
                }
            }
            if next >= end {
                return;
            }
        }
    }

    fn feed(&mut self, id: ConnectionId, mut out: OutQueue) {
        let mut reader = FrameReader::new(SESSION_LIMIT);
        reader.feed(&out.take());
        while let Ok(Some(frame)) = reader.next_frame() {
            self.core.heard(id, self.now);
            self.core.frame(id, &frame, self.now);
        }
        self.pump();
    }

    /// Moves what the core has for clients to those who take it.
    pub(super) fn pump(&mut self) {
        loop {
            for (id, inbox) in &mut self.inboxes {
                let mut written = 0;
                while !inbox.closed {
                    if inbox.out.is_empty() {
                        match self.core.flush(*id, written, self.now) {
                            Output::Write(out) => inbox.out = out,
                            Output::Wait => break,
                            Output::Close | Output::Gone => {
                                inbox.closed = true;
                                self.core.lost(*id, self.now);
                                break;
                            }
                        }
                    } else if matches!(self.core.flush(*id, written, self.now), Output::Gone) {
                        inbox.closed = true;
                        self.core.lost(*id, self.now);
                        break;
                    }
                    if inbox.stuck {
                        break;
                    }
                    let bytes = inbox.out.take();
                    written = bytes.len();
                    let mut reader = FrameReader::new(SESSION_LIMIT);
                    reader.feed(&bytes);
                    while let Ok(Some(frame)) = reader.next_frame() {
                        inbox.frames.push_back(frame);
                    }
                }
            }
            if self.core.take_woken().is_empty() {
                return;
            }
        }
    }

    pub(super) fn stick(&mut self, id: ConnectionId, stuck: bool) {
        if let Some(inbox) = self.inboxes.get_mut(&id) {
            inbox.stuck = stuck;
        }
        self.pump();
    }

    pub(super) fn cut(&mut self, id: ConnectionId) {
        self.core.lost(id, self.now);
        self.pump();
    }

    fn take(&mut self, id: ConnectionId, method: &str) -> Vec<Frame> {
        let Some(inbox) = self.inboxes.get_mut(&id) else { return Vec::new() };
        let (taken, left): (Vec<Frame>, _) = inbox.frames.drain(..).partition(|frame| frame.method() == method);
        inbox.frames = left.into();
        taken
    }

    pub(super) fn got<M: Message>(&mut self, id: ConnectionId) -> Vec<M> {
        self.take(id, M::METHOD).iter().filter_map(|frame| M::read(&frame.payload).ok()).collect()
    }

    pub(super) fn got_routed<M: Message>(&mut self, id: ConnectionId) -> Vec<Routed<M>> {
        self.take(id, M::METHOD).iter().filter_map(|frame| Routed::read(&frame.payload).ok()).collect()
    }

    pub(super) fn news(&mut self, of: &Client) -> Vec<Heard> {
        let news = self.got::<msg::Peer>(of.link).into_iter();
        news.map(|it| (it.user, it.epoch, PeerState::from_wire(it.state), it.class)).collect()
    }

    pub(super) fn say<M: Message>(&mut self, id: ConnectionId, message: &M) {
        let mut out = OutQueue::default();
        out.one_way(message);
        self.feed(id, out);
    }

    pub(super) fn send<M: Message>(&mut self, by: ConnectionId, to: &Client, message: &M) {
        let mut out = OutQueue::default();
        out.routed(to.user, to.epoch, message);
        self.feed(by, out);
    }

    pub(super) fn ask<M: Message, A: Body>(&mut self, id: ConnectionId, message: &M) -> Result<A, String> {
        self.seq += 1;
        let seq = self.seq;
        let mut out = OutQueue::default();
        out.quest(seq, message);
        self.feed(id, out);
        let frames = self.inboxes.get_mut(&id).map(|inbox| &mut inbox.frames);
        let at = frames.as_ref().and_then(|it| it.iter().position(|it| it.kind == Kind::Answer && it.seq == seq));
        let frame = frames.zip(at).and_then(|(frames, at)| frames.remove(at));
        match frame.as_ref().map(read_answer) {
            Some(Ok(Ok(answer))) => Ok(answer),
            Some(Ok(Err(error))) => Err(error.code.to_string()),
            _ => Err(format!("no answer to {}", M::METHOD)),
        }
    }

    fn hello(&mut self) -> Result<ConnectionId, String> {
        let id = self.core.opened(self.now).map_err(|_| "the relay takes no connection".to_owned())?;
        self.inboxes.insert(id, Inbox::default());
        let hello = msg::Hello { lowest: 1, highest: 1, features: 0, agent: "drill".into() };
        self.ask::<_, msg::HelloAnswer>(id, &hello).map(|_| id)
    }

    /// A login by a session of this name that asks for this epoch; whether it was resumed.
    pub(super) fn enter(
        &mut self,
        user: &'static str,
        name: [u8; 16],
        epoch: u64,
        lasts_s: u64,
    ) -> Result<(Client, bool), String> {
        let link = self.hello()?;
        let (project, seconds) = (PROJECTS[0], self.now.unix_micros / 1_000_000);
        let token = token::mint(project.id, user, seconds + lasts_s, project.secret);
        let login = msg::Login { project: project.id, user: user.into(), token, session: name, epoch };
        let answer: msg::LoginAnswer = self.ask(link, &login)?;
        Ok((Client { user, name, epoch: answer.epoch, link, ticket: answer.ticket }, answer.resumed))
    }

    /// A new login.
    pub(super) fn login(&mut self, user: &'static str, name: u8) -> Result<Client, String> {
        self.enter(user, [name; 16], 0, 100_000).map(|(client, _)| client)
    }

    /// A client that comes back must be taken as the one it was.
    pub(super) fn resume(&mut self, client: &mut Client) -> Verdict {
        let (back, resumed) = self.enter(client.user, client.name, client.epoch, 100_000)?;
        must(resumed && back.epoch == client.epoch, || format!("{} comes back and is not resumed", client.user))?;
        *client = back;
        Ok(())
    }

    /// A login that must be refused, because somebody has logged in since.
    pub(super) fn must_be_superseded(&mut self, by: &Client, why: &str) -> Verdict {
        let tried = self.enter(by.user, by.name, by.epoch, 100_000).map(|(it, resumed)| (it.epoch, resumed));
        must(tried == Err(code::KICKOUT_BY_RELOGIN.to_string()), || format!("I11: {why}: a login gave {tried:?}"))
    }

    /// A login that must be let in with another epoch than it asks for.
    pub(super) fn must_be_new(&mut self, by: &Client, why: &str) -> Result<Client, String> {
        let (it, resumed) = self.enter(by.user, by.name, by.epoch, 100_000)?;
        must(!resumed && it.epoch != by.epoch, || format!("I11: {why}: resumed {resumed} in epoch {}", it.epoch))?;
        Ok(it)
    }

    pub(super) fn logout(&mut self, client: &Client) -> Verdict {
        self.ask::<_, msg::Empty>(client.link, &msg::Logout {}).map(|_| ())
    }

    pub(super) fn find(&mut self, who: &Client, whom: &str) -> Result<(u64, PeerState), String> {
        let answer: msg::FindAnswer = self.ask(who.link, &msg::Find { user: whom.into() })?;
        Ok((answer.epoch, PeerState::from_wire(answer.state)))
    }

    pub(super) fn open_bulk(&mut self, client: &mut Client, lost: bool) -> Result<ConnectionId, String> {
        let id = self.hello()?;
        let bulk = msg::Bulk { ticket: client.ticket, lost: lost.then_some(true) };
        client.ticket = self.ask::<_, msg::BulkAnswer>(id, &bulk)?.ticket;
        Ok(id)
    }

    pub(super) fn is_closed(&self, id: ConnectionId) -> bool {
        !self.core.is_open(id)
    }

    /// How much of one kind the relay keeps.
    pub(super) fn keeps(&self, what: &str) -> usize {
        let all = self.core.open_matters().into_iter().chain(self.core.tables());
        all.filter(|(name, _)| *name == what).map(|(_, count)| count).sum()
    }

    /// Of a session that has ended nothing may be kept.
    pub(super) fn must_have_forgotten(&self) -> Verdict {
        let kept = self.keeps("sessions that are no more");
        must(kept == 0, || format!("I8: the relay keeps {kept} names of sessions that have ended"))
    }
}
