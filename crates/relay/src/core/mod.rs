//! Who is online, and where a frame goes. No socket, clock, thread or file is known here:
//! connections, frames and the time go in; bytes for connections and the next deadline come out.

mod beat;
mod connection;
mod courier;
mod epochs;
mod find;
mod flow;
mod guesses;
mod login;
mod operator;
mod route;
mod servers;
mod session;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
mod timers;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crvideo_proto::code;
use crvideo_proto::frame::{Frame, Kind, SESSION_LIMIT, VERSION};
use crvideo_proto::message::{self as msg, Body, Message};
use crvideo_proto::out::OutQueue;
use crvideo_proto::pack::{PackError, validate};
use crvideo_proto::seal::Seal;
use tracing::debug;
use zeroize::Zeroize;

use crate::guard::{Block, Charged, GuardSettings, Memory};

use connection::{Connection, Role};
pub use courier::{Mail, News};
pub use epochs::Epochs;
use epochs::{Ended, Last, Why};
pub use operator::{Counters, SESSIONS_PAGE, SessionInfo};
pub use servers::Presence;
use session::{Class, Session};
use timers::{Subject, Timers};

/// Names a connection, for ever.
pub type ConnectionId = u64;
/// Names a session inside the core, for ever.
type SessionId = u64;

/// A session is joined with at most this many others.
pub const MAX_CORRESPONDENTS: usize = 65_536;
/// Names in one answer to `crusers`.
pub const USERS_PAGE: usize = 1_000;
/// A user whose link is lost counts as offline after this time.
pub const AWAY_IS_OFFLINE: Duration = Duration::from_secs(10);
/// A client that was asked for a bulk connection has this long to open it.
pub const WAKE_DEADLINE: Duration = Duration::from_secs(10);
/// Last words are given up after this time.
pub const FLUSH_DEADLINE: Duration = Duration::from_secs(30);
/// The hard limit of a queue is this many times its soft limit.
pub const HARD_LIMIT_FACTOR: usize = 4;
/// No frame of a logged-in client is larger, its header and method included.
const LARGEST_FRAME: usize = SESSION_LIMIT + 512;
/// Questions about users of an earlier run of the relay that are remembered.
pub const MAX_ASKED: usize = 65_536;

/// FPNN's code for a method that nobody knows.
const UNKNOWN_METHOD: i32 = 20_004;
/// In tests, this method makes the core panic in the middle of its work.
#[cfg(test)]
pub(crate) const FAILPOINT: &str = "crpanic";
/// What the relay says about itself in the hello.
const AGENT: &str = concat!("crvideo-relay/", env!("CARGO_PKG_VERSION"));

/// The time, as the shell sees it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Now {
    /// Since the relay's start; never goes back.
    pub at: Duration,
    /// Microseconds since 1970; may step.
    pub unix_micros: u64,
}

/// Limits and times of the core.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Connections in all.
    pub max_connections: usize,
    /// Connections on which nobody has logged in yet.
    pub max_before_login: usize,
    /// From accept to login.
    pub login_deadline: Duration,
    /// Heart-beat of the command connections.
    pub heartbeat: Duration,
    /// How long an epoch outlives its command connection.
    pub resume_window: Duration,
    /// How long after the start a user who is not here may still be one of an earlier run.
    pub startup_grace: Duration,
    /// A socket that takes nothing for this long while bytes wait is closed.
    pub stall_timeout: Duration,
    /// Soft limit of the bytes queued towards a session on its command connection.
    pub command_queue: usize,
    /// Soft limit of the bytes queued towards a session on its bulk connection.
    pub bulk_queue: usize,
    /// Limits for each address, session and project.
    pub guard: GuardSettings,
}

/// A tenant.
#[derive(Clone)]
pub struct Tenant {
    /// Project id.
    pub id: i64,
    /// One or two secrets.
    pub secrets: Vec<String>,
    /// Largest file in bytes, 0 for no limit.
    pub max_file: u64,
}

/// Nobody finds secrets in memory that is used again.
impl Drop for Tenant {
    fn drop(&mut self) {
        self.secrets.zeroize();
    }
}

/// Secrets never reach a log.
impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tenant {{ id: {}, secrets: {} hidden, max_file: {} }}", self.id, self.secrets.len(), self.max_file)
    }
}

/// One tenant and who is there of it.
#[derive(Debug)]
struct Project {
    tenant: Tenant,
    session_by_user: BTreeMap<Arc<str>, SessionId>,
    /// Names that count as online.
    online: BTreeSet<Arc<str>>,
    watchers: BTreeSet<SessionId>,
    /// Who asked for users of an earlier run that have not come back yet, and the epoch meant, 0 for any.
    askers_by_user: BTreeMap<Arc<str>, BTreeMap<SessionId, u64>>,
}

/// What the shell does next for a connection.
#[derive(Debug)]
pub enum Output {
    /// Write this.
    Write(OutQueue),
    /// Nothing to do until woken.
    Wait,
    /// All is written: close.
    Close,
    /// The core has given the connection up: drop it at once.
    Gone,
}

/// Why the core does not take a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// There are [`Settings::max_connections`] connections.
    Full,
    /// There are [`Settings::max_before_login`] connections without a login.
    TooManyStrangers,
    /// The relay is stopping.
    Stopping,
}

/// A breach of the protocol. Each of them ends the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Breach {
    Version(u8),
    Answer,
    Payload(PackError),
    Order,
    WrongConnection,
    Address(&'static str),
}

impl From<PackError> for Breach {
    fn from(error: PackError) -> Self {
        Breach::Payload(error)
    }
}

/// Draws 16 random bytes; `None` when the system has none to give.
pub type Random = Box<dyn FnMut() -> Option<[u8; 16]> + Send>;

/// The relay without its sockets.
pub struct Core {
    settings: Settings,
    random: Random,
    now: Now,
    epochs: Epochs,
    ended: Ended,
    projects: BTreeMap<i64, Project>,
    connections: BTreeMap<ConnectionId, Connection>,
    before_login: usize,
    sessions: BTreeMap<SessionId, Session>,
    session_by_ticket: HashMap<[u8; 16], SessionId>,
    asked: usize,
    timers: Timers,
    beat: beat::Beat,
    courier: courier::Courier,
    servers: servers::Servers,
    guesses: guesses::Guesses,
    memory: Arc<Memory>,
    pressure_said: Option<Duration>,
    counters: Counters,
    last_id: u64,
    /// When the operator was told of a refused login.
    refusal_said: Option<Duration>,
    /// Connections that the shell must look at.
    woken: Vec<ConnectionId>,
    /// Connections over their hard limit; they are closed before the call returns.
    overflowed: Vec<ConnectionId>,
    stopping: bool,
}

impl Core {
    /// A relay with nobody there.
    pub fn new(settings: Settings, tenants: Vec<Tenant>, epochs: Epochs, random: Random) -> Self {
        let projects = tenants.into_iter().map(|tenant| (tenant.id, Project::new(tenant))).collect();
        let mut core = Self {
            random,
            now: Now::default(),
            epochs,
            ended: Ended::default(),
            projects,
            connections: BTreeMap::new(),
            before_login: 0,
            sessions: BTreeMap::new(),
            session_by_ticket: HashMap::new(),
            asked: 0,
            timers: Timers::default(),
            beat: beat::Beat::default(),
            courier: courier::Courier::default(),
            servers: servers::Servers::default(),
            guesses: guesses::Guesses::new(&settings.guard),
            memory: Memory::new(settings.guard.max_queued),
            pressure_said: None,
            counters: Counters::default(),
            last_id: 0,
            refusal_said: None,
            woken: Vec::new(),
            overflowed: Vec::new(),
            stopping: false,
            settings,
        };
        core.start_beat();
        core.timers.arm(Subject::Startup, &mut None, core.settings.startup_grace);
        core
    }

    /// A connection has been accepted from an address that is not counted.
    pub fn opened(&mut self, now: Now) -> Result<ConnectionId, Refused> {
        self.opened_from(None, now)
    }

    /// A connection has been accepted.
    pub fn opened_from(&mut self, from: Option<Block>, now: Now) -> Result<ConnectionId, Refused> {
        self.now = now;
        if self.stopping {
            return Err(Refused::Stopping);
        }
        if self.connections.len() >= self.settings.max_connections {
            return Err(Refused::Full);
        }
        if self.before_login >= self.settings.max_before_login {
            return Err(Refused::TooManyStrangers);
        }
        let id = self.next_id();
        self.connections.insert(id, Connection::new(now.at, from, &self.memory.queues));
        self.before_login += 1;
        self.close_by(id, now.at + self.settings.login_deadline);
        Ok(id)
    }

    /// Whether a connection belongs to a session, and may therefore send large frames.
    pub fn logged_in(&self, id: ConnectionId) -> bool {
        self.connections.get(&id).is_some_and(|connection| !connection.before_login())
    }

    /// What flows on a connection is encrypted on its way. Said before its first frame.
    pub fn is_encrypted(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.encrypted = true;
        }
    }

    /// What to expect at the end of each frame of a connection, from the next one on; said once, after its hello.
    pub fn take_seal(&mut self, id: ConnectionId) -> Option<Seal> {
        self.connections.get_mut(&id)?.seal.take()
    }

    /// The project of the session that a connection belongs to.
    pub fn project_of(&self, id: ConnectionId) -> Option<i64> {
        let (Role::Command(session) | Role::Bulk(session)) = self.connections.get(&id)?.role else { return None };
        Some(self.sessions.get(&session)?.project)
    }

    /// Whether a connection is the bulk connection of a session.
    pub fn is_bulk(&self, id: ConnectionId) -> bool {
        self.connections.get(&id).is_some_and(|connection| matches!(connection.role, Role::Bulk(_)))
    }

    /// Bytes have come that are no whole frame yet.
    pub fn heard(&mut self, id: ConnectionId, now: Now) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.alive_at = now.at;
        }
    }

    /// A frame has come.
    pub fn frame(&mut self, id: ConnectionId, frame: &Frame, now: Now) {
        self.now = now;
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.alive_at = now.at;
        self.counters.frames += 1;
        #[cfg(test)]
        assert_ne!(frame.method(), FAILPOINT, "a test has asked for it");
        if connection.closing {
            return;
        }
        let role = connection.role;
        if let Err(breach) = self.dispatch(id, role, frame) {
            debug!(connection = id, method = ?frame.method(), ?breach, "closed for a breach of the protocol");
            self.lose(id);
        }
        self.settle();
    }

    /// A connection has ended: closed by its client, broken, or full of nonsense.
    pub fn lost(&mut self, id: ConnectionId, now: Now) {
        self.now = now;
        self.lose(id);
        self.settle();
    }

    /// `written` more bytes of what was taken have been written: what next?
    pub fn flush(&mut self, id: ConnectionId, written: usize, now: Now) -> Output {
        self.now = now;
        if written > 0 {
            self.progressed(id, written);
            self.settle();
        }
        let Some(connection) = self.connections.get_mut(&id) else { return Output::Gone };
        connection.woken = false;
        if connection.taken > 0 {
            return Output::Wait;
        }
        let next = match connection.head.take() {
            Some(mut head) => head.take(),
            None => connection.out.take(),
        };
        connection.taken = next.len();
        match (connection.taken, connection.closing) {
            (0, true) => Output::Close,
            (0, false) => Output::Wait,
            _ => Output::Write(next),
        }
    }

    /// Takes what waits for a connection, for whoever writes it without the connection's own task; `None` when that has
    /// something to write, or there is nothing. It must come back by [`put_back`](Self::put_back).
    pub(crate) fn take_out(&mut self, id: ConnectionId) -> Option<Charged> {
        let connection = self.connections.get_mut(&id)?;
        if connection.taken > 0 {
            return None;
        }
        let waiting = connection.head.as_deref_mut().unwrap_or(&mut connection.out);
        let mut taken = Charged::new(&self.memory.queues);
        *taken.change() = waiting.take();
        connection.head = None;
        connection.taken = taken.len();
        // Whatever comes meanwhile waits, and its task is told of it at the end.
        connection.woken = true;
        (connection.taken > 0).then_some(taken)
    }

    /// `written` bytes of what was taken have been written; the rest is for the connection's task.
    pub(crate) fn put_back(&mut self, id: ConnectionId, rest: Charged, written: usize, now: Now) {
        self.now = now;
        self.progressed(id, written);
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.woken = false;
            if !rest.is_empty() {
                connection.taken = 0;
                connection.head = Some(Box::new(rest));
            }
            if connection.queued() > 0 || connection.closing {
                connection.woken = true;
                self.woken.push(id);
            }
        }
        self.settle();
    }

    /// The connections that have something to write or to close, since the last call.
    pub fn take_woken(&mut self) -> Vec<ConnectionId> {
        std::mem::take(&mut self.woken)
    }

    /// When [`tick`](Self::tick) must be called.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.timers.first()
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Now) {
        self.now = now;
        while let Some(subject) = self.timers.pop(now.at) {
            match subject {
                Subject::Beat => self.on_beat(),
                Subject::Startup => self.end_startup(),
                Subject::Connection(id) => self.look_at_connection(id),
                Subject::Session(id) => self.look_at_session(id),
            }
        }
        self.settle();
    }

    /// Says good-bye on every connection. Sessions do not end: another run of the relay may take them over.
    pub fn stop(&mut self, now: Now) {
        self.now = now;
        self.stopping = true;
        let ids: Vec<_> = self.connections.keys().copied().collect();
        for id in ids {
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            if matches!(connection.role, Role::Command(_)) && !connection.closing {
                let bye = msg::Bye { code: code::SERVER_EXCEPTION.into(), text: "the relay is stopping".to_owned() };
                connection.out.change().one_way(&bye);
            }
            self.close_after_flush(id);
        }
    }

    /// Gives every connection up.
    pub fn abandon(&mut self) {
        self.stopping = true;
        self.woken.extend(self.connections.keys().copied());
        self.connections.clear();
    }

    /// Connections that are there.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Whether a connection is still there.
    pub fn is_open(&self, id: ConnectionId) -> bool {
        self.connections.contains_key(&id)
    }

    /// Sessions whose epoch lasts, with a connection or without.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Bytes that wait for all sessions together.
    pub fn queued_bytes(&self) -> usize {
        let waiting = self.sessions.values().filter_map(|session| session.waiting.as_ref());
        let waiting = waiting.map(|waiting| waiting.queue.len());
        self.connections.values().map(Connection::queued).chain(waiting).sum()
    }

    /// Bytes of memory of all that is under way: what waits here, and what the shell has charged.
    pub fn memory_used(&self) -> u64 {
        self.memory.used()
    }

    /// The memory of all that is under way.
    pub(crate) fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// How many entries each of the tables has that are empty when nobody is there. For checks against leaks.
    pub fn tables(&self) -> Vec<(&'static str, usize)> {
        let projects = self.projects.values();
        vec![
            ("connections", self.connections.len()),
            ("connections before login", self.before_login),
            ("sessions", self.sessions.len()),
            ("tickets", self.session_by_ticket.len()),
            ("users", projects.clone().map(|project| project.session_by_user.len()).sum()),
            ("users online", projects.clone().map(|project| project.online.len()).sum()),
            ("watchers", projects.clone().map(|project| project.watchers.len()).sum()),
            ("questions", projects.map(|project| project.askers_by_user.len()).sum()),
            ("questions counted", self.asked),
            ("timers of connections and sessions", self.timers.bound()),
            ("connections over their limit", self.overflowed.len()),
        ]
    }

    /// What sessions keep, all of it empty when everybody is there and nothing is under way. For checks against leaks.
    pub fn open_matters(&self) -> Vec<(&'static str, usize)> {
        let sessions = self.sessions.values();
        vec![
            ("transfers", sessions.clone().filter(|it| it.bulk.is_none()).map(|it| it.transfers.len()).sum()),
            (
                "senders that must wait",
                sessions.clone().map(|it| it.blocked_commands.len() + it.blocked_bulk.len()).sum(),
            ),
            ("news for the absent", sessions.clone().map(|it| it.missed.len() + it.missed_ends.len()).sum()),
            ("queues without a connection", sessions.clone().filter(|it| it.waiting.is_some()).count()),
            ("bulk connections asked for", sessions.filter(|it| it.wake_by.is_some()).count()),
            ("sessions that are no more", self.sessions.values().map(|it| self.gone_of(it)).sum()),
            ("connections to be looked at", self.woken.len()),
            ("mail of the courier", self.courier.letters()),
        ]
    }

    /// How many sessions another one remembers that have ended.
    fn gone_of(&self, session: &Session) -> usize {
        let senders = session.waiting.iter().flat_map(|waiting| &waiting.from);
        let blocked = session.blocked_commands.iter().chain(&session.blocked_bulk);
        let others = session.peers.keys().chain(session.transfers.values()).chain(&session.unheard);
        let all = others.chain(&session.missed).chain(senders).chain(blocked);
        all.filter(|id| **id != courier::COURIER && !self.sessions.contains_key(*id)).count()
    }

    /// The most bytes that wait for any one session on its command connection, and on or for its bulk connection.
    pub fn longest_queues(&self) -> [usize; 2] {
        let on = |id: Option<ConnectionId>| id.and_then(|id| self.connections.get(&id)).map_or(0, Connection::queued);
        self.sessions.values().fold([0, 0], |[commands, bulk], session| {
            let waiting = session.waiting.as_ref().map_or(0, |waiting| waiting.queue.len());
            [commands.max(on(session.command)), bulk.max(on(session.bulk)).max(waiting)]
        })
    }

    /// Whether a connection is the command connection of a session that lasts.
    pub fn serves(&self, id: ConnectionId) -> bool {
        let role = self.connections.get(&id).map(|connection| connection.role);
        matches!(role, Some(Role::Command(session)) if self.sessions.get(&session).is_some_and(|it| it.command == Some(id)))
    }

    /// The epochs, for the shell to note on disk.
    pub fn epochs(&mut self) -> &mut Epochs {
        &mut self.epochs
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn dispatch(&mut self, id: ConnectionId, role: Role, frame: &Frame) -> Result<(), Breach> {
        if frame.version != VERSION {
            return Err(Breach::Version(frame.version));
        }
        if frame.kind == Kind::Answer {
            return Err(Breach::Answer);
        }
        let seq = (frame.kind == Kind::Quest).then_some(frame.seq);
        match (role, seq) {
            (Role::Fresh | Role::Greeted, None) => Err(Breach::Order),
            (Role::Fresh, Some(seq)) => self.on_fresh_quest(id, seq, frame),
            (Role::Greeted, Some(seq)) => self.on_greeted_quest(id, seq, frame),
            (Role::Command(session), Some(seq)) => self.on_quest(id, session, seq, frame),
            (Role::Command(session), None) => self.on_one_way(id, session, Class::Commands, frame),
            (Role::Bulk(session), Some(seq)) => self.on_bulk_quest(id, session, seq, frame),
            (Role::Bulk(session), None) => self.on_one_way(id, session, Class::Bulk, frame),
            (Role::ClosedBulk(_) | Role::Done, _) => Ok(()),
        }
    }

    fn on_fresh_quest(&mut self, id: ConnectionId, seq: u32, frame: &Frame) -> Result<(), Breach> {
        match frame.method() {
            msg::Hello::METHOD => self.hello(id, seq, &msg::Hello::read(&frame.payload)?),
            _ => return Err(Breach::Order),
        }
        Ok(())
    }

    fn on_greeted_quest(&mut self, id: ConnectionId, seq: u32, frame: &Frame) -> Result<(), Breach> {
        match frame.method() {
            msg::Login::METHOD => self.login(id, seq, &msg::Login::read(&frame.payload)?),
            msg::Bulk::METHOD => self.attach_bulk(id, seq, &msg::Bulk::read(&frame.payload)?),
            _ => return Err(Breach::Order),
        }
        Ok(())
    }

    fn on_quest(&mut self, id: ConnectionId, session: SessionId, seq: u32, frame: &Frame) -> Result<(), Breach> {
        let payload = &frame.payload;
        match frame.method() {
            msg::Find::METHOD => self.find(id, session, seq, &msg::Find::read(payload)?),
            msg::Users::METHOD => self.users(id, session, seq, &msg::Users::read(payload)?),
            msg::Watch::METHOD => self.watch(id, session, seq, &msg::Watch::read(payload)?),
            msg::UpdateToken::METHOD => self.update_token(id, session, seq, &msg::UpdateToken::read(payload)?),
            msg::NewTicket::METHOD => {
                msg::NewTicket::read(payload)?;
                self.new_ticket(id, session, seq);
            }
            msg::Logout::METHOD => {
                msg::Logout::read(payload)?;
                self.logout(id, session, seq);
            }
            msg::Hello::METHOD | msg::Login::METHOD | msg::Bulk::METHOD => return Err(Breach::Order),
            msg::CloseBulk::METHOD => return Err(Breach::WrongConnection),
            method => self.unknown_quest(id, seq, method, payload)?,
        }
        Ok(())
    }

    fn on_bulk_quest(&mut self, id: ConnectionId, session: SessionId, seq: u32, frame: &Frame) -> Result<(), Breach> {
        match frame.method() {
            msg::CloseBulk::METHOD => {
                msg::CloseBulk::read(&frame.payload)?;
                self.close_bulk(id, session, seq);
            }
            msg::Hello::METHOD | msg::Login::METHOD | msg::Bulk::METHOD => return Err(Breach::Order),
            method => self.unknown_quest(id, seq, method, &frame.payload)?,
        }
        Ok(())
    }

    fn unknown_quest(&mut self, id: ConnectionId, seq: u32, method: &str, payload: &Bytes) -> Result<(), Breach> {
        validate(payload)?;
        self.refuse(id, seq, UNKNOWN_METHOD, &format!("Unknow method: {method}"));
        Ok(())
    }

    fn on_one_way(&mut self, id: ConnectionId, session: SessionId, class: Class, frame: &Frame) -> Result<(), Breach> {
        // Looked up once: that it is text is checked each time.
        let method = frame.method();
        match route::class_of(method) {
            Some(of) if of == class => self.route(id, session, class, method, frame),
            Some(_) => Err(Breach::WrongConnection),
            None if method == msg::Got::METHOD => {
                let got = msg::Got::read(&frame.payload)?;
                self.put_mail(session, News::Got(got.id));
                Ok(())
            }
            // `crpong` has done its work by coming; an unknown message is a newer client's.
            None => Ok(validate(&frame.payload)?),
        }
    }

    /// Ends a connection at once. If it was a session's, the session hears of it.
    fn lose(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.remove(&id) else { return };
        self.timers.disarm(Subject::Connection(id), connection.armed);
        self.woken.push(id);
        if connection.before_login() {
            self.before_login -= 1;
        }
        if self.stopping {
            return;
        }
        match connection.role {
            Role::Command(session) => self.detach(session, id),
            Role::Bulk(session) => self.bulk_broke(session, id),
            Role::ClosedBulk(session) if connection.queued() > 0 => self.bulk_lost(session),
            Role::Fresh | Role::Greeted | Role::ClosedBulk(_) | Role::Done => {}
        }
    }

    /// Closes the connections that have gone over their hard limit. Closing one may send news to others.
    fn settle(&mut self) {
        while let Some(id) = self.overflowed.pop() {
            debug!(connection = id, "closed because it takes too slowly");
            self.lose(id);
        }
    }

    /// Reads nothing more from a connection and ends it when everything is written.
    fn close_after_flush(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.before_login() {
            self.before_login -= 1;
            connection.role = Role::Done;
        }
        connection.closing = true;
        connection.close_by = None;
        let by = self.now.at + FLUSH_DEADLINE;
        self.close_by(id, by);
        self.queued(id);
    }

    fn close_by(&mut self, id: ConnectionId, by: Duration) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.close_by = Some(by);
            self.timers.arm(Subject::Connection(id), &mut connection.armed, by);
        }
    }

    /// Something was put into a connection's queue, or it is to be closed.
    fn queued(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if !connection.woken {
            connection.woken = true;
            self.woken.push(id);
        }
        let queued = connection.queued();
        if queued > 0 && connection.stuck_since.is_none() {
            connection.stuck_since = Some(self.now.at);
            let by = self.now.at + self.settings.stall_timeout;
            self.timers.arm(Subject::Connection(id), &mut connection.armed, by);
        }
        let hard = match connection.role {
            // A queue takes one message more while it is below its soft limit, and that one may be a whole chunk.
            Role::Bulk(_) | Role::ClosedBulk(_) => {
                let soft = self.settings.bulk_queue;
                soft.saturating_mul(HARD_LIMIT_FACTOR).max(soft.saturating_add(LARGEST_FRAME))
            }
            _ => self.settings.command_queue.saturating_mul(HARD_LIMIT_FACTOR),
        };
        if queued > hard {
            self.overflowed.push(id);
        }
    }

    fn answer(&mut self, id: ConnectionId, seq: u32, body: &impl Body) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.out.change().answer(seq, body);
            self.queued(id);
        }
    }

    fn refuse(&mut self, id: ConnectionId, seq: u32, code: i32, text: &str) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.out.change().error(seq, code, text);
            self.queued(id);
        }
    }

    /// Sends a message of the relay's own to a session, if it has a command connection.
    fn tell(&mut self, session: SessionId, message: &impl Message) {
        let Some(id) = self.sessions.get(&session).and_then(|session| session.command) else { return };
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.out.change().one_way(message);
            self.queued(id);
        }
    }
}

impl Project {
    fn new(tenant: Tenant) -> Self {
        Self {
            tenant,
            session_by_user: BTreeMap::new(),
            online: BTreeSet::new(),
            watchers: BTreeSet::new(),
            askers_by_user: BTreeMap::new(),
        }
    }
}
