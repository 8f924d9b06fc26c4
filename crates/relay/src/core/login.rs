//! Hello, login, resuming, tickets, tokens and the ends of sessions.

use std::sync::Arc;
use std::time::Duration;

use crvideo_proto::code;
use crvideo_proto::id::is_user_id;
use crvideo_proto::message::{self as msg, PeerState};
use crvideo_proto::seal::Seal;
use crvideo_proto::token::{self, CLOCK_TOLERANCE_S, Claims};
use tracing::{debug, warn};

use super::connection::Role;
use super::session::{Class, Session};
use super::timers::Subject;
use crate::guard::Block;

use super::{AGENT, ConnectionId, Core, Last, News, Now, SessionId, Why};

/// The only version of the protocol that is spoken.
const VERSION: u32 = 1;
/// Timers are set no further ahead than this, whatever a token says.
const FAR_AHEAD: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Tokens for projects that do not exist are checked with it, so that they take as long as others.
const NOBODYS_SECRET: &str = "????????????????????????????????";
/// Refused logins are logged once in this time.
const SAY_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// What a good login leads to.
enum Way {
    /// The session is still there.
    Resume(SessionId),
    /// An earlier run of the relay has given this epoch.
    Adopt,
    /// A new epoch; an earlier session of the user ends.
    New,
    /// Somebody has logged in since.
    Superseded,
}

impl Core {
    pub(super) fn hello(&mut self, id: ConnectionId, seq: u32, hello: &msg::Hello) {
        if !(hello.lowest..=hello.highest).contains(&VERSION) {
            self.refuse(id, seq, code::MISMATCHCLIENTVER, "this relay speaks version 1 only");
            return self.close_after_flush(id);
        }
        debug!(connection = id, agent = ?hello.agent, "hello");
        let encrypted = self.connections.get(&id).is_some_and(|connection| connection.encrypted);
        let salt = (hello.features & msg::FEATURE_SEAL != 0 && !encrypted).then(|| self.salt()).flatten();
        let seal = if salt.is_some() { msg::FEATURE_SEAL } else { 0 };
        let features = hello.features & msg::FEATURE_BOTH_EPOCHS | seal;
        self.answer(id, seq, &msg::HelloAnswer { version: VERSION, features, agent: AGENT.to_owned(), salt });
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.role = Role::Greeted;
        connection.both_epochs = features & msg::FEATURE_BOTH_EPOCHS != 0;
        if let Some(salt) = salt {
            connection.out.change().seal(Seal::down(salt));
            connection.seal = Some(Seal::up(salt));
        }
    }

    /// A number that no connection before had; `None` when the system has no random numbers.
    fn salt(&mut self) -> Option<u32> {
        Some(u128::from_be_bytes((self.random)()?) as u32)
    }

    pub(super) fn login(&mut self, id: ConnectionId, seq: u32, login: &msg::Login) {
        let from = self.connections.get(&id).and_then(|connection| connection.from);
        let admitted = self.look_at_token(login.project, &login.user, &login.token, from);
        let done = admitted.and_then(|claims| self.log_in(id, seq, login, &claims));
        if let Err(code) = done {
            debug!(connection = id, project = login.project, user = ?login.user, code, "login refused");
            self.counters.logins_refused += 1;
            self.say_refused(login, code);
            self.refuse_login(id, seq, code);
        }
    }

    /// Tells the operator, now and then, however often it happens.
    fn say_refused(&mut self, login: &msg::Login, code: i32) {
        if code != code::KICKOUT_BY_RELOGIN && self.refusal_said.is_none_or(|at| self.now.at >= at + SAY_AGAIN_AFTER) {
            self.refusal_said = Some(self.now.at);
            let why = code::text(code).to_string_lossy();
            warn!(project = login.project, user = ?login.user, code, %why, "a login was refused");
        }
    }

    fn refuse_login(&mut self, id: ConnectionId, seq: u32, code: i32) {
        let text = code::text(code).to_string_lossy();
        let text = if code == code::SEND_QUEUE_FULL { "too many logins; try again later" } else { &text };
        self.refuse(id, seq, code, text);
        self.close_after_flush(id);
    }

    /// Whether a user may log in with a token, for those who let users in by other ways than a session.
    /// Returns the id of the token, if it has one.
    pub fn check_token(
        &mut self,
        project: i64,
        user: &str,
        token: &str,
        from: Option<Block>,
        now: Now,
    ) -> Result<Option<String>, i32> {
        self.now = now;
        self.look_at_token(project, user, token, from).map(|mut claims| claims.id.take())
    }

    /// Judges a token, unless this user or address has failed or come too often of late.
    fn look_at_token(&mut self, project: i64, user: &str, token: &str, from: Option<Block>) -> Result<Claims, i32> {
        if !self.guesses.may_try(project, user, from, self.now.at) {
            return Err(code::SEND_QUEUE_FULL);
        }
        let admitted = self.admit(project, user, token);
        match &admitted {
            Ok(_) => self.guesses.succeeded(project, user, from),
            // Real tokens that are over, and projects that were mistyped, are nobody's guesses at a token.
            Err(code) => {
                let guess = matches!(*code, code::TOKEN_AUTH_FAILED | code::TOKEN_NOTTOKENTYPE);
                self.guesses.failed(project, user, guess, from, self.now.at);
            }
        }
        admitted
    }

    fn admit(&self, project: i64, user: &str, token: &str) -> Result<Claims, i32> {
        if !is_user_id(user) {
            return Err(code::PARAM_ERR);
        }
        let seconds = self.now.unix_micros / 1_000_000;
        let Some(project) = self.projects.get(&project) else {
            // It takes as long as with a project that is there.
            let _ = token::verify(token, [NOBODYS_SECRET], seconds);
            return Err(code::TOKEN_APPIDNOTEXIST);
        };
        let secrets = project.tenant.secrets.iter().map(String::as_str);
        let claims = token::verify(token, secrets, seconds).map_err(|error| error.code())?;
        if claims.project != project.tenant.id || claims.user != user {
            return Err(code::TOKEN_AUTHINFOERR);
        }
        if self.servers.is_void(&claims) {
            // For its holder a revoked token is one whose time is over.
            return Err(code::TOKEN_TIMEOUT);
        }
        Ok(claims)
    }

    fn log_in(&mut self, id: ConnectionId, seq: u32, login: &msg::Login, claims: &Claims) -> Result<(), i32> {
        let user: Arc<str> = login.user.as_str().into();
        let ticket = (self.random)().ok_or(code::SERVER_EXCEPTION)?;
        let way = self.way(login, &user);
        if !matches!(way, Way::Superseded | Way::Resume(_)) {
            self.check_project_room(login.project, &user)?;
        }
        let resumed = matches!(way, Way::Resume(_) | Way::Adopt);
        let session = match way {
            Way::Superseded => return Err(code::KICKOUT_BY_RELOGIN),
            Way::Resume(session) => session,
            Way::Adopt => {
                let id = self.begin(login, &user, login.epoch);
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.adopted = true;
                }
                id
            }
            Way::New => {
                let epoch = self.epochs.next(self.now.unix_micros);
                self.begin(login, &user, epoch)
            }
        };
        self.attach(id, seq, session, ticket, claims, resumed);
        Ok(())
    }

    /// Whether a project may have one more session. A user who is there already takes no more room.
    fn check_project_room(&self, project: i64, user: &Arc<str>) -> Result<(), i32> {
        let most = self.settings.guard.project_sessions;
        let sessions = self.projects.get(&project).map(|project| &project.session_by_user);
        let full = sessions.is_some_and(|sessions| sessions.len() >= most && !sessions.contains_key(user));
        if most > 0 && full { Err(code::SEND_QUEUE_FULL) } else { Ok(()) }
    }

    fn way(&mut self, login: &msg::Login, user: &Arc<str>) -> Way {
        if login.epoch == 0 {
            return Way::New;
        }
        let live = self.projects.get(&login.project).and_then(|project| project.session_by_user.get(user)).copied();
        if let Some((id, session)) = live.and_then(|id| Some((id, self.sessions.get(&id)?))) {
            if session.epoch == login.epoch && session.name == login.session {
                return Way::Resume(id);
            }
            // After a restart, the earlier of two logins may be the first to come back.
            if !session.adopted || login.epoch <= session.epoch {
                return Way::Superseded;
            }
        }
        match self.ended.last(login.project, user) {
            Last::Ended(epoch, _) if epoch > login.epoch => Way::Superseded,
            Last::Ended(epoch, Why::KickedOut) if epoch == login.epoch => Way::Superseded,
            Last::Ended(epoch, Why::Ended) if epoch == login.epoch => Way::New,
            Last::NotAbove(epoch) if login.epoch <= epoch => Way::New,
            _ if self.epochs.adopt(login.epoch) => Way::Adopt,
            _ => Way::New,
        }
    }

    /// Makes a session; an earlier one of the same user ends.
    fn begin(&mut self, login: &msg::Login, user: &Arc<str>, epoch: u64) -> SessionId {
        let id = self.next_id();
        let Some(project) = self.projects.get_mut(&login.project) else { return id };
        // The new session takes the name over first, so that the user does not seem to go offline in between.
        let earlier = project.session_by_user.insert(user.clone(), id);
        let since = self.now.unix_micros;
        let session = Session { since, ..Session::new(login.project, user.clone(), login.session, epoch) };
        self.sessions.insert(id, session);
        self.counters.logins += 1;
        if let Some(earlier) = earlier {
            let bye = (code::KICKOUT_BY_RELOGIN, "the same user has logged in elsewhere");
            self.end(earlier, PeerState::Gone, Some(bye));
        }
        id
    }

    fn attach(
        &mut self,
        id: ConnectionId,
        seq: u32,
        session_id: SessionId,
        ticket: [u8; 16],
        claims: &Claims,
        resumed: bool,
    ) {
        self.let_go(session_id);
        let (expires_ms, expires_at) = self.expiry(claims);
        let Some(session) = self.sessions.get_mut(&session_id) else { return };
        session.command = Some(id);
        session.away_since = None;
        session.expires_at = expires_at;
        session.token_id = claims.id.as_deref().map(Into::into);
        session.ticket = Some(ticket);
        self.session_by_ticket.insert(ticket, session_id);
        let (project_id, user, epoch) = (session.project, session.user.clone(), session.epoch);
        debug!(connection = id, project = project_id, ?user, epoch, resumed, "logged in");
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.out.change().stamp(epoch);
            connection.role = Role::Command(session_id);
            connection.close_by = None;
            self.before_login -= 1;
        }
        let heartbeat_ms = u32::try_from(self.settings.heartbeat.as_millis()).unwrap_or(u32::MAX);
        let max_file = self.projects.get(&project_id).map_or(0, |project| project.tenant.max_file);
        self.answer(id, seq, &msg::LoginAnswer { epoch, resumed, ticket, expires_ms, heartbeat_ms, max_file });
        self.set_online(project_id, &user, true);
        self.tell_what_was_missed(session_id);
        self.tell_peers(session_id, PeerState::On, msg::CLASS_COMMANDS | msg::CLASS_BULK);
        self.came_back(session_id);
        self.put_mail(session_id, News::Here);
        self.watch_over(session_id);
    }

    /// Milliseconds until the token expires, and when the session does.
    fn expiry(&self, claims: &Claims) -> (u64, Duration) {
        let left = claims.expires.saturating_mul(1_000_000).saturating_sub(self.now.unix_micros);
        let ends = claims.expires.saturating_add(CLOCK_TOLERANCE_S).saturating_mul(1_000_000);
        let ends_in = Duration::from_micros(ends.saturating_sub(self.now.unix_micros)).min(FAR_AHEAD);
        (left / 1_000, self.now.at + ends_in)
    }

    pub(super) fn update_token(&mut self, id: ConnectionId, session: SessionId, seq: u32, body: &msg::UpdateToken) {
        let Some((project, user)) = self.sessions.get(&session).map(|it| (it.project, it.user.clone())) else { return };
        match self.admit(project, &user, &body.token) {
            Ok(claims) => {
                let (expires_ms, expires_at) = self.expiry(&claims);
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.expires_at = expires_at;
                    session.token_id = claims.id.as_deref().map(Into::into);
                }
                self.watch_over(session);
                self.answer(id, seq, &msg::TokenAnswer { expires_ms });
            }
            Err(code) => self.refuse(id, seq, code, &code::text(code).to_string_lossy()),
        }
    }

    pub(super) fn logout(&mut self, id: ConnectionId, session: SessionId, seq: u32) {
        self.answer(id, seq, &msg::Empty {});
        self.end(session, PeerState::Left, None);
    }

    pub(super) fn new_ticket(&mut self, id: ConnectionId, session_id: SessionId, seq: u32) {
        let Some(ticket) = (self.random)() else {
            return self.refuse(id, seq, code::SERVER_EXCEPTION, "no random numbers");
        };
        let Some(session) = self.sessions.get_mut(&session_id) else { return };
        if let Some(older) = session.ticket.replace(ticket) {
            self.session_by_ticket.remove(&older);
        }
        self.session_by_ticket.insert(ticket, session_id);
        self.answer(id, seq, &msg::BulkAnswer { ticket });
    }

    pub(super) fn attach_bulk(&mut self, id: ConnectionId, seq: u32, bulk: &msg::Bulk) {
        let Some(session_id) = self.session_by_ticket.remove(&bulk.ticket) else {
            return self.refuse_login(id, seq, code::NOT_LOGIN);
        };
        let ticket = (self.random)();
        let Some(session) = self.sessions.get_mut(&session_id) else { return };
        session.ticket = ticket;
        session.bulk_lost |= bulk.lost == Some(true);
        let Some(ticket) = ticket else {
            return self.refuse_login(id, seq, code::SERVER_EXCEPTION);
        };
        self.session_by_ticket.insert(ticket, session_id);
        if let Some(older) = session.bulk.take() {
            // What was on its way there is lost, and the peers are told so below.
            session.bulk_lost = true;
            self.lose(older);
        }
        self.answer(id, seq, &msg::BulkAnswer { ticket });
        let waiting = self.sessions.get_mut(&session_id).and_then(|session| {
            session.bulk = Some(id);
            session.wake_by = None;
            session.waiting.take()
        });
        let epoch = self.sessions.get(&session_id).map_or(0, |session| session.epoch);
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.out.change().stamp(epoch);
            connection.role = Role::Bulk(session_id);
            connection.close_by = None;
            self.before_login -= 1;
            if let Some(waiting) = waiting {
                connection.head = Some(Box::new(std::mem::replace(&mut connection.out, waiting.queue)));
            }
            self.queued(id);
        }
        self.bulk_is_back(session_id, id);
    }

    pub(super) fn close_bulk(&mut self, id: ConnectionId, session: SessionId, seq: u32) {
        self.answer(id, seq, &msg::Empty {});
        if let Some(session) = self.sessions.get_mut(&session) {
            session.bulk = None;
            session.offers_come_again();
        }
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.role = Role::ClosedBulk(session);
        }
        self.close_after_flush(id);
        // Nothing on this connection can unblock them any more, and what they send now waits for the next one.
        self.unblock(session, Class::Bulk);
    }

    /// A command connection has ended: the session is away.
    pub(super) fn detach(&mut self, id: SessionId, connection: ConnectionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.command != Some(connection) {
            return;
        }
        debug!(user = ?session.user, epoch = session.epoch, "link lost");
        session.command = None;
        session.away_since = Some(self.now.at);
        self.let_go(id);
        self.tell_peers(id, PeerState::Away, msg::CLASS_COMMANDS | msg::CLASS_BULK);
        self.watch_over(id);
    }

    /// Takes from a session what belongs to its present link.
    fn let_go(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.waiting = None;
        session.wake_by = None;
        session.bulk_lost = false;
        session.offers_come_again();
        session.blocked_commands.clear();
        session.blocked_bulk.clear();
        let connections = [session.command.take(), session.bulk.take()];
        if let Some(ticket) = session.ticket.take() {
            self.session_by_ticket.remove(&ticket);
        }
        for connection in connections.into_iter().flatten() {
            self.lose(connection);
        }
    }

    /// Ends a session and its epoch.
    pub(super) fn end(&mut self, id: SessionId, state: PeerState, bye: Option<(i32, &str)>) {
        let Some(session) = self.sessions.remove(&id) else { return };
        debug!(project = session.project, user = ?session.user, epoch = session.epoch, ?state, "session ended");
        self.timers.disarm(Subject::Session(id), session.armed);
        let kicked_out = bye.is_some_and(|(code, _)| code == code::KICKOUT_BY_RELOGIN);
        let why = if kicked_out { Why::KickedOut } else { Why::Ended };
        self.ended.note(session.project, &session.user, session.epoch, why);
        if let Some(ticket) = session.ticket {
            self.session_by_ticket.remove(&ticket);
        }
        if let Some(connection_id) = session.command {
            if let Some(connection) = self.connections.get_mut(&connection_id) {
                if let Some((code, text)) = bye {
                    connection.out.change().one_way(&msg::Bye { code: code.into(), text: text.to_owned() });
                }
                connection.role = Role::Done;
            }
            self.close_after_flush(connection_id);
        }
        if let Some(connection) = session.connection(Class::Bulk) {
            self.lose(connection);
        }
        self.leave_project(id, &session);
        self.tell_peers_of_end(id, &session, state);
    }

    fn leave_project(&mut self, id: SessionId, session: &Session) {
        let Some(project) = self.projects.get_mut(&session.project) else { return };
        project.watchers.remove(&id);
        // A later login of the same user has taken the name over.
        if project.session_by_user.get(&session.user) == Some(&id) {
            project.session_by_user.remove(&session.user);
            self.set_online(session.project, &session.user, false);
        }
    }
}
