//! The session's two connections: connecting, login, resuming, heart-beats, tokens, the way out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::types::*;
use super::{EXPIRY_NOTICE, Session};
use crate::code;
use crate::frame::{Frame, FrameReader, Kind as FrameKind, SESSION_LIMIT};
use crate::message::{
    Body, Bulk as BulkQuest, BulkAnswer, Bye, CloseBulk, Empty, Envelope, FEATURE_BOTH_EPOCHS, FEATURE_SEAL, Hello,
    HelloAnswer, Login, LoginAnswer, Logout, Message, NewTicket, Pong, Rtm, TokenAnswer, UpdateToken, UsersAnswer,
    Watch, read_answer,
};
use crate::out::OutQueue;
use crate::pack::PackError;
use crate::seal::Seal;

/// The protocol version spoken.
pub const PROTOCOL_VERSION: u32 = 1;
/// How long the relay may take to confirm a logout.
const LOGOUT_DEADLINE: Duration = Duration::from_secs(5);
/// The same, when the session is dropped and nobody waits for the outcome itself.
const FAREWELL_DEADLINE: Duration = Duration::from_secs(1);
/// A link on which nothing has come for this many heart-beats is dead.
const SILENT_BEATS: u32 = 2;
/// Shortest pause before reconnecting; the longest possible one doubles each time.
const BACKOFF_FIRST_MS: u64 = 200;
/// Longest pause before reconnecting.
const BACKOFF_LAST_MS: u64 = 20_000;
/// A bulk connection that nothing needs is closed after this long.
const BULK_IDLE: Duration = Duration::from_secs(30);
/// Secret holders renew their token this long before it expires.
const RENEW_BEFORE: Duration = Duration::from_secs(60);

/// Where the session's life stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Not logged in.
    Idle,
    /// The first login is under way.
    LoggingIn { cookie: usize },
    /// Logged in; a lost link is repaired.
    Kept,
    /// The relay is being told.
    LoggingOut { cookie: usize },
    /// The session is being dropped, and the relay is being told.
    Ending,
}

/// Where the command connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    Down,
    Connecting { server: usize, until: Duration },
    Greeting { server: usize, until: Duration },
    LoggingIn { server: usize, until: Duration },
    Up { server: usize, silent_at: Duration },
    Waiting { attempt: u32, next_server: usize, until: Duration },
    Leaving { until: Duration },
}

/// Where the bulk connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bulk {
    Closed,
    Connecting {
        until: Duration,
    },
    Greeting {
        until: Duration,
    },
    Attaching {
        until: Duration,
    },
    /// `idle_at` is when it will be closed unless something needs it, `silent_at` when it will be given up unless
    /// something comes.
    Up {
        idle_at: Option<Duration>,
        silent_at: Duration,
    },
    Closing {
        until: Duration,
        wanted: bool,
    },
    Waiting {
        attempt: u32,
        until: Duration,
    },
}

/// What the answer to a quest of ours is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pending {
    Hello,
    Login,
    Attach,
    Ticket,
    Token,
    Logout,
    CloseBulk,
    Find(Arc<str>),
    Users { cookie: usize, user: Option<String>, found: Vec<String> },
    Watch { cookie: Option<usize>, on: bool },
}

/// One connection's buffers and open quests.
#[derive(Debug)]
pub(super) struct Wire {
    pub out: OutQueue,
    pub reader: FrameReader,
    pub pending_by_seq: BTreeMap<u32, Pending>,
    pub next_seq: u32,
    /// Routed messages carry the epochs of both sides.
    pub both_epochs: bool,
    /// Some were for another session.
    pub strays: bool,
    /// Counts connections, so that what was queued on an earlier one is told apart.
    pub generation: u32,
}

impl Default for Wire {
    fn default() -> Self {
        Self {
            out: OutQueue::default(),
            reader: FrameReader::new(SESSION_LIMIT),
            pending_by_seq: BTreeMap::new(),
            next_seq: 0,
            both_epochs: false,
            strays: false,
            generation: 0,
        }
    }
}

impl Wire {
    pub fn quest<M: Message>(&mut self, message: &M, pending: Pending) {
        let seq = self.next_seq;
        self.next_seq = self.next_seq.wrapping_add(1);
        self.pending_by_seq.insert(seq, pending);
        self.out.quest(seq, message);
    }

    fn reset(&mut self) -> BTreeMap<u32, Pending> {
        let generation = self.generation.wrapping_add(1);
        std::mem::replace(self, Self { generation, ..Self::default() }).pending_by_seq
    }
}

/// What the session keeps between connections of one login.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Terms {
    pub ticket: Option<[u8; 16]>,
    pub heartbeat: Duration,
    pub max_file: u64,
    pub expires_at: Duration,
    pub notice_at: Option<Duration>,
    pub failures: u32,
    pub bulk_failures: u32,
    /// The last bulk connection was given up in the middle of its closing: what was on its way may be lost, and the
    /// relay may believe that it has arrived.
    pub bulk_torn: bool,
}

impl Session {
    // ---- calls of the shell -------------------------------------------------------------------------------

    /// Starts the first login; one `LoginRslt` follows. The shell has made sure that none is under way.
    pub fn login(&mut self, identity: Identity, cookie: usize, now: Now) {
        debug_assert_eq!(self.mode, Mode::Idle);
        self.identity = Some(Box::new(identity));
        self.mode = Mode::LoggingIn { cookie };
        self.epoch = 0;
        self.watching = false;
        self.connect(0, now);
    }

    /// Starts the logout; one `LogoutRslt` follows, after the terminal events of all tasks.
    pub fn logout(&mut self, cookie: usize, now: Now) {
        // A login that is given up leaves nothing behind that the relay would have to hear of.
        let missed = if self.mode == Mode::Kept { code::CONNECTIONLOST } else { code::NOERR };
        let reachable = self.leave(now);
        self.mode = Mode::LoggingOut { cookie };
        if reachable {
            self.line = Line::Leaving { until: now.mono + LOGOUT_DEADLINE };
        } else {
            self.logged_out(missed);
        }
    }

    /// Ends the session for good: terminal events of all tasks come out as outputs, and the relay is told where it can
    /// be, so that others do not take a session that has left for one whose link is lost. The session is over when
    /// [`is_quiet`](Self::is_quiet); nothing is accepted any more.
    pub fn shut_down(&mut self, now: Now) {
        if let Line::Leaving { until } = &mut self.line {
            *until = (*until).min(now.mono + FAREWELL_DEADLINE);
            return;
        }
        if self.leave(now) {
            self.mode = Mode::Ending;
            self.line = Line::Leaving { until: now.mono + FAREWELL_DEADLINE };
        } else {
            self.mode = Mode::Idle;
            self.line = Line::Down;
        }
    }

    /// Replaces the token, at once where the link is up, else with the next login.
    pub fn update_token(&mut self, token: String) {
        if let Some(identity) = self.identity.as_deref_mut() {
            identity.credential = Credential::Token(token.clone());
        }
        if let Line::Up { .. } = self.line {
            self.wire.quest(&UpdateToken { token }, Pending::Token);
        }
    }

    /// The socket of a connection is there.
    pub fn connected(&mut self, conn: Conn, now: Now) {
        let features = match conn {
            Conn::Command => FEATURE_BOTH_EPOCHS | FEATURE_SEAL,
            Conn::Bulk => FEATURE_BOTH_EPOCHS,
        };
        let agent = self.config.agent.to_owned();
        let hello = Hello { lowest: PROTOCOL_VERSION, highest: PROTOCOL_VERSION, features, agent };
        // An answer that belongs to an earlier connection must not fit a quest of this one.
        self.wire_of(conn).next_seq = self.random_below(1 << 32) as u32;
        match (conn, self.line, self.bulk) {
            (Conn::Command, Line::Connecting { server, until }, _) => {
                self.line = Line::Greeting { server, until };
                self.wire.quest(&hello, Pending::Hello);
            }
            (Conn::Bulk, _, Bulk::Connecting { until }) => {
                self.bulk = Bulk::Greeting { until };
                self.bulk_wire.quest(&hello, Pending::Hello);
            }
            _ => {}
        }
        self.settle(now);
    }

    /// The socket of a connection could not be made; `err` says why.
    pub fn connect_failed(&mut self, conn: Conn, err: i32, now: Now) {
        self.closed(conn, err, now);
    }

    /// A connection has ended; `err` says how the shell saw it.
    pub fn closed(&mut self, conn: Conn, err: i32, now: Now) {
        match conn {
            Conn::Command => self.line_lost(err, now),
            Conn::Bulk => self.bulk_lost(now),
        }
        self.settle(now);
    }

    /// The reader of a connection, for reading large frames without a copy; call [`received`](Self::received) after.
    pub fn reader(&mut self, conn: Conn) -> &mut FrameReader {
        &mut self.wire_of(conn).reader
    }

    /// Bytes have been fed to a connection's reader.
    pub fn received(&mut self, conn: Conn, now: Now) {
        if !self.is_there(conn) {
            // The connection was given up with the other one, before the shell came to reading what it had brought.
            self.wire_of(conn).reader = FrameReader::new(SESSION_LIMIT);
            return;
        }
        let silence = now.mono + self.terms.heartbeat * SILENT_BEATS;
        match (conn, &mut self.line, &mut self.bulk) {
            (Conn::Command, Line::Up { silent_at, .. }, _) | (Conn::Bulk, _, Bulk::Up { silent_at, .. }) => {
                *silent_at = silence;
            }
            _ => {}
        }
        // A frame can end the connection that it came on; what follows it goes with the connection.
        loop {
            let frame = match self.wire_of(conn).reader.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => {
                    log::warn!("the relay's data {error}; closing the connection");
                    self.break_off(conn, code::RSPDAT_ERR, now);
                    break;
                }
            };
            if let Err(error) = self.frame(conn, &frame, now) {
                log::warn!("the relay sent {:?}: {error}; closing the connection", frame.method());
                self.break_off(conn, code::RSPDAT_ERR, now);
            }
        }
        self.settle(now);
    }

    /// Whether a connection stands on which the relay can say something.
    fn is_there(&self, conn: Conn) -> bool {
        match conn {
            Conn::Command => !matches!(self.line, Line::Down | Line::Connecting { .. } | Line::Waiting { .. }),
            Conn::Bulk => !matches!(self.bulk, Bulk::Closed | Bulk::Connecting { .. } | Bulk::Waiting { .. }),
        }
    }

    /// Whether a connection belongs to the session by now. What others send comes no earlier: before the hello's answer
    /// nobody could tell for which epoch it is.
    fn is_up(&self, conn: Conn) -> bool {
        match conn {
            Conn::Command => matches!(self.line, Line::Up { .. }),
            Conn::Bulk => matches!(self.bulk, Bulk::Up { .. } | Bulk::Closing { .. }),
        }
    }

    // ---- deadlines ----------------------------------------------------------------------------------------

    pub(super) fn line_deadline(&self) -> Option<Duration> {
        let line = match self.line {
            Line::Down => None,
            Line::Connecting { until, .. }
            | Line::Greeting { until, .. }
            | Line::LoggingIn { until, .. }
            | Line::Waiting { until, .. }
            | Line::Leaving { until } => Some(until),
            Line::Up { silent_at, .. } => Some(silent_at),
        };
        let notice = if self.mode == Mode::Kept { self.terms.notice_at } else { None };
        [line, notice].into_iter().flatten().min()
    }

    pub(super) fn bulk_deadline(&self) -> Option<Duration> {
        match self.bulk {
            Bulk::Closed => None,
            Bulk::Connecting { until }
            | Bulk::Greeting { until }
            | Bulk::Attaching { until }
            | Bulk::Closing { until, .. }
            | Bulk::Waiting { until, .. } => Some(until),
            Bulk::Up { idle_at, silent_at } => Some(idle_at.map_or(silent_at, |idle_at| idle_at.min(silent_at))),
        }
    }

    pub(super) fn line_timeout(&mut self, now: Now) {
        match self.line {
            Line::Connecting { until, .. } if until <= now.mono => {
                self.break_off(Conn::Command, code::CREATE_CONN_FAILED, now);
            }
            Line::Greeting { until, .. } | Line::LoggingIn { until, .. } if until <= now.mono => {
                self.break_off(Conn::Command, code::NOSERVER_RSP, now);
            }
            Line::Up { silent_at, .. } if silent_at <= now.mono => {
                log::warn!("nothing came from the relay for two heart-beats; reconnecting");
                self.break_off(Conn::Command, code::CONNECTIONLOST, now);
            }
            Line::Waiting { next_server, until, .. } if until <= now.mono => self.connect(next_server, now),
            Line::Leaving { until } if until <= now.mono => {
                self.outputs.push_back(Output::Close { conn: Conn::Command });
                self.logged_out(code::NOSERVER_RSP);
            }
            _ => {}
        }
        if self.mode == Mode::Kept && self.terms.notice_at.is_some_and(|at| at <= now.mono) {
            self.terms.notice_at = None;
            self.token_is_ending(now);
        }
    }

    pub(super) fn bulk_timeout(&mut self, now: Now) {
        if self.bulk_deadline().is_none_or(|at| at > now.mono) {
            return;
        }
        match self.bulk {
            Bulk::Up { silent_at, .. } if silent_at <= now.mono => {
                log::warn!("nothing came on the bulk connection for two and a half heart-beats; opening another one");
                self.terms.bulk_torn = true;
                self.break_off(Conn::Bulk, code::CONNECTIONLOST, now);
            }
            Bulk::Up { .. } => {
                log::debug!("closing the bulk connection: nothing needs it");
                self.bulk_wire.quest(&CloseBulk {}, Pending::CloseBulk);
                self.bulk = Bulk::Closing { until: now.mono + LOGOUT_DEADLINE, wanted: false };
            }
            Bulk::Waiting { .. } => self.connect_bulk(now),
            _ => self.break_off(Conn::Bulk, code::NOSERVER_RSP, now),
        }
    }

    fn token_is_ending(&mut self, now: Now) {
        let by_secret =
            self.identity.as_deref().is_some_and(|identity| matches!(identity.credential, Credential::Secret(_)));
        if !by_secret {
            self.event(Event::TokenWillExpire);
        } else if let Line::Up { .. } = self.line {
            let token = self.token(now);
            self.wire.quest(&UpdateToken { token }, Pending::Token);
        }
    }

    // ---- the command connection ---------------------------------------------------------------------------

    pub(super) fn wire_of(&mut self, conn: Conn) -> &mut Wire {
        match conn {
            Conn::Command => &mut self.wire,
            Conn::Bulk => &mut self.bulk_wire,
        }
    }

    fn connect(&mut self, server: usize, now: Now) {
        self.line = Line::Connecting { server, until: now.mono + CONNECT_DEADLINE };
        self.outputs.push_back(Output::Connect { conn: Conn::Command, server });
    }

    /// Ends a connection from our side.
    pub(super) fn break_off(&mut self, conn: Conn, err: i32, now: Now) {
        self.outputs.push_back(Output::Close { conn });
        match conn {
            Conn::Command => self.line_lost(err, now),
            Conn::Bulk => self.bulk_lost(now),
        }
    }

    fn line_lost(&mut self, err: i32, now: Now) {
        let server = match self.line {
            Line::Connecting { server, .. }
            | Line::Greeting { server, .. }
            | Line::LoggingIn { server, .. }
            | Line::Up { server, .. } => server,
            Line::Leaving { .. } => {
                let done = self.wire.reset().values().all(|pending| *pending != Pending::Logout);
                return self.logged_out(if done { code::NOERR } else { err });
            }
            Line::Down | Line::Waiting { .. } => return,
        };
        let was_up = matches!(self.line, Line::Up { .. });
        self.line = Line::Down;
        self.mark_handed_commands();
        self.mark_lost_answers();
        let open = self.wire.reset();
        self.drop_bulk();
        let servers = self.identity.as_deref().map_or(1, |identity| identity.servers.max(1));
        match self.mode {
            Mode::Idle | Mode::LoggingOut { .. } | Mode::Ending => {}
            Mode::LoggingIn { .. } if server + 1 < servers => {
                let at = self.at_server(server);
                log::info!("the login of {:?} {at} failed with {err}; trying the next address", self.user());
                self.connect(server + 1, now);
            }
            Mode::LoggingIn { .. } => self.login_failed(err),
            Mode::Kept => {
                if was_up {
                    let at = self.at_server(server);
                    log::warn!("{:?} has lost the link to the relay {at} ({err}); reconnecting", self.user());
                    self.event(Event::LineOff { err });
                    self.terms.failures = 0;
                    self.peers_unknown(now);
                    self.fail_queries(open, err);
                    self.cancels_without_link();
                } else {
                    self.terms.failures = self.terms.failures.saturating_add(1);
                    log::debug!("{:?} cannot come back {} ({err})", self.user(), self.at_server(server));
                }
                // The address that worked last is tried first, the others in turn.
                let next_server = if was_up { server } else { (server + 1) % servers };
                self.wait(next_server, now);
            }
        }
    }

    fn wait(&mut self, next_server: usize, now: Now) {
        let attempt = self.terms.failures;
        let until = now.mono + self.backoff(attempt);
        self.line = Line::Waiting { attempt, next_server, until };
    }

    /// The first pause is certain, all above it is chance, so that thousands of clients do not come back at once.
    fn backoff(&mut self, attempt: u32) -> Duration {
        let most = BACKOFF_FIRST_MS.saturating_mul(4 << attempt.min(16)).min(BACKOFF_LAST_MS);
        Duration::from_millis(BACKOFF_FIRST_MS + self.random_below(most - BACKOFF_FIRST_MS))
    }

    fn login_failed(&mut self, err: i32) {
        let Mode::LoggingIn { cookie } = self.mode else { return };
        self.mode = Mode::Idle;
        if err == code::NOT_LOGIN {
            log::info!("{:?} gives up the login", self.user());
        } else {
            log::warn!("the login of {:?} has failed with {err}", self.user());
        }
        self.event(Event::LoginRslt { err, cookie });
    }

    /// The relay has refused a login, or ended the session: no coming back.
    pub(super) fn session_over(&mut self, err: i32) {
        self.mark_handed_commands();
        self.line = Line::Down;
        let open = self.wire.reset();
        self.drop_bulk();
        self.outputs.push_back(Output::Close { conn: Conn::Command });
        match self.mode {
            Mode::LoggingIn { .. } => self.login_failed(err),
            Mode::Kept => {
                log::warn!("the session of {:?} has ended with {err}", self.user());
                self.end_everything(err);
                self.fail_queries(open, err);
                self.mode = Mode::Idle;
                self.event(Event::LineOff { err });
            }
            Mode::LoggingOut { .. } | Mode::Ending => self.logged_out(code::NOERR),
            Mode::Idle => {}
        }
    }

    /// Ends all tasks and says farewell; whether the relay can hear it.
    pub(super) fn leave(&mut self, _now: Now) -> bool {
        match self.mode {
            Mode::LoggingIn { .. } => self.login_failed(code::NOT_LOGIN),
            Mode::LoggingOut { .. } | Mode::Ending => self.logged_out(code::CONNECTIONLOST),
            Mode::Kept => log::info!("{:?} logs out", self.user()),
            Mode::Idle => {}
        }
        self.end_everything(code::NOT_LOGIN);
        let open = std::mem::take(&mut self.wire.pending_by_seq);
        self.fail_queries(open, code::NOT_LOGIN);
        self.drop_bulk();
        if let Line::Up { .. } = self.line {
            self.wire.quest(&Logout {}, Pending::Logout);
            return true;
        }
        if self.line != Line::Down {
            self.outputs.push_back(Output::Close { conn: Conn::Command });
        }
        self.wire.reset();
        false
    }

    fn logged_out(&mut self, err: i32) {
        let mode = std::mem::replace(&mut self.mode, Mode::Idle);
        match err {
            code::NOERR => log::info!("{:?} is logged out", self.user()),
            err => log::warn!("{:?} is logged out, but the relay may not know ({err})", self.user()),
        }
        self.line = Line::Down;
        self.wire.reset();
        if let Mode::LoggingOut { cookie } = mode {
            self.event(Event::LogoutRslt { err, cookie });
        }
    }

    pub(super) fn user(&self) -> &str {
        self.identity.as_deref().map_or("", |identity| &identity.user)
    }

    /// A server, for the log. Its address is known to the shell alone.
    fn at_server(&self, server: usize) -> String {
        let servers = self.identity.as_deref().map_or(1, |identity| identity.servers);
        format!("at server {} of {servers}", server + 1)
    }

    // ---- frames -------------------------------------------------------------------------------------------

    fn frame(&mut self, conn: Conn, frame: &Frame, now: Now) -> Result<(), PackError> {
        log::trace!("{:?} reads {:?} {:?} of {} bytes", self.user(), frame.kind, frame.method(), frame.payload.len());
        match frame.kind {
            FrameKind::Answer => self.answer(conn, frame, now),
            FrameKind::Quest => {
                // Version 1 defines no quest of the relay's.
                let text = format!("Unknow method: {}", frame.method());
                self.wire_of(conn).out.error(frame.seq, 20_004, &text);
                Ok(())
            }
            FrameKind::OneWay => self.one_way(conn, frame, now),
        }
    }

    fn one_way(&mut self, conn: Conn, frame: &Frame, now: Now) -> Result<(), PackError> {
        if self.mode != Mode::Kept || !self.is_up(conn) {
            return Ok(());
        }
        let payload = &frame.payload;
        match &frame.method[..] {
            b"crping" => self.wire_of(conn).out.one_way(&Pong {}),
            b"crbye" => self.bye(&Bye::read(payload)?, now),
            b"crpeer" => self.peer_news(payload, now)?,
            b"crwake" => self.want_bulk(now),
            b"crstatus" => self.status_news(payload)?,
            b"crrtm" => self.rtm_arrived(Rtm::read(payload)?),
            method => {
                let done = match Envelope::open(payload) {
                    // Meant for an earlier session of the same user.
                    Ok(it) if self.wire_of(conn).both_epochs && it.address.own != Some(self.epoch) => {
                        self.strayed(conn, frame.method());
                        Ok(())
                    }
                    Ok(envelope) => self.routed(method, envelope, now),
                    Err(error) => Err(error),
                };
                // These come from other users: what is wrong with them harms nobody but the message.
                if let Err(error) = done {
                    log::debug!("dropped a {:?} that another user sent: {error}", frame.method());
                }
            }
        }
        Ok(())
    }

    /// Said once on a connection: whatever repeats frames does so often.
    fn strayed(&mut self, conn: Conn, method: &str) {
        if !std::mem::replace(&mut self.wire_of(conn).strays, true) {
            log::warn!("dropped a {method:?} for another session of this user; something on the way repeats frames");
        }
    }

    fn bye(&mut self, bye: &Bye, now: Now) {
        log::info!("the relay says farewell: {} {:?}", bye.code, bye.text);
        let err = i32::try_from(bye.code).unwrap_or(code::UNKNOWNERR);
        if err == code::SERVER_EXCEPTION {
            self.break_off(Conn::Command, err, now);
        } else {
            self.session_over(err);
        }
    }

    fn answer(&mut self, conn: Conn, frame: &Frame, now: Now) -> Result<(), PackError> {
        let Some(pending) = self.wire_of(conn).pending_by_seq.remove(&frame.seq) else {
            log::debug!("an answer to a question never asked");
            return Ok(());
        };
        match pending {
            Pending::Hello => match read_answer::<HelloAnswer>(frame)? {
                Ok(answer) => self.greeted(conn, &answer, now),
                Err(error) => self.refused(conn, error.code, now),
            },
            Pending::Login => match read_answer::<LoginAnswer>(frame)? {
                Ok(answer) => self.logged_in(&answer, now),
                Err(error) => self.refused(conn, error.code, now),
            },
            Pending::Attach => match read_answer::<BulkAnswer>(frame)? {
                Ok(answer) => self.attached(&answer, now),
                Err(_) => self.break_off(Conn::Bulk, code::SERVER_EXCEPTION, now),
            },
            Pending::Ticket => {
                self.terms.ticket = read_answer::<BulkAnswer>(frame)?.ok().map(|answer| answer.ticket);
                // Whatever it was asked for still waits for the connection, on this side or at the relay.
                if self.bulk == Bulk::Closed && self.terms.ticket.is_some() {
                    self.connect_bulk(now);
                } else if self.bulk == Bulk::Closed {
                    self.bulk_later(now);
                }
            }
            Pending::Token => match read_answer::<TokenAnswer>(frame)? {
                Ok(answer) => self.token_lasts(answer.expires_ms, now),
                Err(error) => log::warn!("the relay refused the new token: {} {:?}", error.code, error.text),
            },
            Pending::Logout => {
                self.outputs.push_back(Output::Close { conn: Conn::Command });
                self.logged_out(code::NOERR);
            }
            Pending::CloseBulk => {}
            Pending::Find(target) => self.found(&target, frame, now)?,
            // A quest whose answer makes no sense is no longer pending, so its end is told here, before the connection's.
            Pending::Users { cookie, user, found } => match read_answer::<UsersAnswer>(frame).inspect_err(|_| {
                let (err, users) = (code::RSPDAT_ERR, Vec::new());
                self.event(Event::UsersRslt { err, users, cookie });
            })? {
                Ok(answer) => self.users_page(cookie, user, found, answer),
                Err(error) => {
                    let err = known_code(error.code);
                    self.event(Event::UsersRslt { err, users: Vec::new(), cookie });
                }
            },
            Pending::Watch { cookie, on } => {
                let answer = read_answer::<Empty>(frame).inspect_err(|_| {
                    if let Some(cookie) = cookie {
                        self.event(Event::WatchRslt { err: code::RSPDAT_ERR, cookie });
                    }
                })?;
                let err = answer.map_or_else(|error| known_code(error.code), |_| code::NOERR);
                if err == code::NOERR {
                    self.watching = on;
                }
                if let Some(cookie) = cookie {
                    self.event(Event::WatchRslt { err, cookie });
                }
            }
        }
        Ok(())
    }

    fn greeted(&mut self, conn: Conn, answer: &HelloAnswer, now: Now) {
        if answer.version != PROTOCOL_VERSION {
            return self.refused(conn, code::MISMATCHCLIENTVER.into(), now);
        }
        let wire = self.wire_of(conn);
        wire.both_epochs = answer.features & FEATURE_BOTH_EPOCHS != 0;
        if answer.features & FEATURE_SEAL != 0 {
            let Some(salt) = answer.salt.filter(|_| conn == Conn::Command) else {
                return self.break_off(conn, code::RSPDAT_ERR, now);
            };
            let wire = self.wire_of(conn);
            wire.reader.expect_seals(Seal::down(salt));
            wire.out.seal(Seal::up(salt));
        }
        match (conn, self.line, self.bulk) {
            (Conn::Command, Line::Greeting { server, until }, _) => {
                let Some((project, user)) =
                    self.identity.as_deref().map(|identity| (identity.project, identity.user.clone()))
                else {
                    return;
                };
                let token = self.token(now);
                let login = Login { project, user, token, session: self.session_id, epoch: self.epoch };
                self.wire.quest(&login, Pending::Login);
                self.line = Line::LoggingIn { server, until };
            }
            (Conn::Bulk, _, Bulk::Greeting { until }) => {
                // A ticket works once; the answer brings the next one.
                let Some(ticket) = self.terms.ticket.take() else {
                    return self.break_off(Conn::Bulk, code::INNER_ERR, now);
                };
                let lost = self.terms.bulk_torn.then_some(true);
                self.bulk_wire.quest(&BulkQuest { ticket, lost }, Pending::Attach);
                self.bulk = Bulk::Attaching { until };
            }
            _ => {}
        }
    }

    /// An error answer to hello or login.
    fn refused(&mut self, conn: Conn, err: i64, now: Now) {
        let err = known_code(err);
        if conn == Conn::Bulk || matches!(err, code::SERVER_EXCEPTION | code::SEND_QUEUE_FULL) {
            return self.break_off(conn, err, now);
        }
        let by_secret =
            self.identity.as_deref().is_some_and(|identity| matches!(identity.credential, Credential::Secret(_)));
        let err = match err {
            code::TOKEN_APPIDNOTEXIST | code::TOKEN_AUTH_FAILED if by_secret => code::ANCTPSWD_ERR,
            err => err,
        };
        self.session_over(err);
    }

    fn logged_in(&mut self, answer: &LoginAnswer, now: Now) {
        let Line::LoggingIn { server, .. } = self.line else { return };
        let heartbeat = Duration::from_millis(answer.heartbeat_ms.max(100).into());
        self.terms.ticket = Some(answer.ticket);
        self.terms.heartbeat = heartbeat;
        self.terms.max_file = answer.max_file;
        self.terms.failures = 0;
        self.terms.bulk_failures = 0;
        self.line = Line::Up { server, silent_at: now.mono + heartbeat * SILENT_BEATS };
        let resumed = answer.resumed && answer.epoch == self.epoch;
        let first = self.epoch == 0;
        self.epoch = answer.epoch;
        if self.wire.both_epochs {
            self.wire.out.stamp(self.epoch);
        }
        self.token_lasts(answer.expires_ms, now);
        let (at, epoch) = (self.at_server(server), self.epoch);
        if let Mode::LoggingIn { cookie } = self.mode {
            let project = self.identity.as_deref().map_or(0, |identity| identity.project);
            log::info!("{:?} of project {project} is logged in {at}, epoch {epoch}", self.user());
            self.mode = Mode::Kept;
            self.event(Event::LoginRslt { err: code::NOERR, cookie });
            return;
        }
        if resumed {
            log::info!("{:?} has its link back {at}: epoch {epoch} goes on", self.user());
        } else {
            log::warn!("{:?} has its link back {at}, but in a new epoch, {epoch}", self.user());
        }
        if !resumed && !first {
            self.epoch_lost();
        }
        self.event(Event::LineOn);
        if self.watching {
            self.wire.quest(&Watch { on: true }, Pending::Watch { cookie: None, on: true });
        }
        self.find_again(now);
    }

    fn token_lasts(&mut self, expires_ms: u64, now: Now) {
        let left = Duration::from_millis(expires_ms.min(1 << 42));
        let by_secret =
            self.identity.as_deref().is_some_and(|identity| matches!(identity.credential, Credential::Secret(_)));
        let before = if by_secret { RENEW_BEFORE } else { EXPIRY_NOTICE };
        self.terms.expires_at = now.mono + left;
        self.terms.notice_at = Some(now.mono + left.saturating_sub(before));
    }

    // ---- the bulk connection ------------------------------------------------------------------------------

    /// Something needs the bulk connection.
    pub(super) fn want_bulk(&mut self, now: Now) {
        match &mut self.bulk {
            Bulk::Closed => self.connect_bulk(now),
            Bulk::Closing { wanted, .. } => *wanted = true,
            Bulk::Up { idle_at, .. } => *idle_at = None,
            _ => {}
        }
    }

    /// Opens the bulk connection when a transfer waits for it, and lets it go idle when none is left.
    pub(super) fn drive_bulk(&mut self, now: Now) {
        let needed = self.awaits_bytes() || self.wants_to_send();
        match &mut self.bulk {
            Bulk::Closed if needed && matches!(self.line, Line::Up { .. }) => self.connect_bulk(now),
            Bulk::Up { idle_at, .. } if needed => *idle_at = None,
            Bulk::Up { idle_at, .. } => *idle_at = idle_at.or(Some(now.mono + BULK_IDLE)),
            _ => {}
        }
    }

    fn connect_bulk(&mut self, now: Now) {
        let Line::Up { server, .. } = self.line else {
            self.bulk = Bulk::Closed;
            return;
        };
        if self.terms.ticket.is_none() {
            if !self.wire.pending_by_seq.values().any(|pending| *pending == Pending::Ticket) {
                self.wire.quest(&NewTicket {}, Pending::Ticket);
            }
            self.bulk = Bulk::Closed;
            return;
        }
        self.bulk = Bulk::Connecting { until: now.mono + CONNECT_DEADLINE };
        self.outputs.push_back(Output::Connect { conn: Conn::Bulk, server });
    }

    fn attached(&mut self, answer: &BulkAnswer, now: Now) {
        let Bulk::Attaching { .. } = self.bulk else { return };
        self.terms.ticket = Some(answer.ticket);
        self.terms.bulk_failures = 0;
        self.terms.bulk_torn = false;
        if self.bulk_wire.both_epochs {
            self.bulk_wire.out.stamp(self.epoch);
        }
        let silent_at = now.mono + self.terms.heartbeat * SILENT_BEATS;
        self.bulk = Bulk::Up { idle_at: Some(now.mono + BULK_IDLE), silent_at };
        self.bulk_wire.reader.expect_bulk();
    }

    fn bulk_lost(&mut self, now: Now) {
        let was = self.bulk;
        let open = self.bulk_wire.reset();
        self.bulk = Bulk::Closed;
        self.rewind_sendings();
        let closed_in_order = !open.values().any(|pending| *pending == Pending::CloseBulk);
        match was {
            Bulk::Closed | Bulk::Waiting { .. } => self.bulk = was,
            Bulk::Closing { wanted: false, .. } if closed_in_order => {}
            Bulk::Closing { wanted: true, .. } if closed_in_order => self.connect_bulk(now),
            Bulk::Closing { .. } => {
                self.terms.bulk_torn = true;
                self.bulk_later(now);
            }
            _ => self.bulk_later(now),
        }
    }

    /// Opens the bulk connection after a pause.
    fn bulk_later(&mut self, now: Now) {
        self.terms.bulk_failures = self.terms.bulk_failures.saturating_add(1);
        let attempt = self.terms.bulk_failures;
        let until = now.mono + self.backoff(attempt.saturating_sub(1));
        self.bulk = Bulk::Waiting { attempt, until };
    }

    /// The bulk connection ends with the command connection that it belongs to.
    pub(super) fn drop_bulk(&mut self) {
        if !matches!(self.bulk, Bulk::Closed | Bulk::Waiting { .. }) {
            self.outputs.push_back(Output::Close { conn: Conn::Bulk });
        }
        self.bulk_wire.reset();
        self.bulk = Bulk::Closed;
        self.terms.ticket = None;
        self.rewind_sendings();
    }
}

/// A code from the wire, if the contract knows it.
pub(super) fn known_code(code: i64) -> i32 {
    i32::try_from(code).ok().filter(|code| code::ALL.contains(code)).unwrap_or(code::UNKNOWNERR)
}
