//! The relay's shell: what `crvideo-relay` does with sockets and tokio, done with pipes and virtual time.

use std::collections::BTreeMap;
use std::time::Duration;

use crvideo_proto::code;
use crvideo_proto::frame::{FrameReader, PRE_LOGIN_LIMIT, SESSION_LIMIT};
use crvideo_proto::id::TaskId;
use crvideo_proto::message::Rtm;
use crvideo_proto::out::OutQueue;
use crvideo_proto::session::Conn;
use crvideo_relay::core::{ConnectionId, Core, Epochs, Mail, News, Now, Output, Tenant};

use crate::credit::Credit;
use crate::defect::Defect;
use crate::pipe::Got;
use crate::plan::{FILE_LIMIT, PROJECTS, Project, USERS};
use crate::world::{Happening, START_MICROS, Way, World};

/// After the last word, a client has this long to close its side.
const LINGER: Duration = Duration::from_secs(1);

/// A connection as the relay's shell sees it.
#[derive(Debug)]
struct Socket {
    link: u64,
    reader: FrameReader,
    out: OutQueue,
    logged_in: bool,
    lingers: bool,
}

/// The relay, while it runs.
pub(crate) struct Hub {
    pub(crate) core: Core,
    started: Duration,
    pub(crate) stopping: bool,
    sockets: BTreeMap<ConnectionId, Socket>,
}

impl Hub {
    pub(crate) fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }
}

impl World {
    fn hub_now(&self) -> Now {
        let started = self.hub.as_ref().map_or(self.now, |hub| hub.started);
        Now { at: self.now - started, unix_micros: START_MICROS + self.now.as_micros() as u64 }
    }

    /// When the relay's core must be called.
    pub(crate) fn hub_deadline(&self) -> Option<Duration> {
        let hub = self.hub.as_ref()?;
        hub.core.next_deadline().map(|at| hub.started + at)
    }

    /// The relay starts, again or for the first time.
    pub(crate) fn start_hub(&mut self) {
        if self.hub.is_some() {
            return;
        }
        self.trace.note(1, 0, 0, || "the relay starts".to_owned());
        let unix = START_MICROS + self.now.as_micros() as u64;
        let epochs = match self.plan.keeps_epochs && self.last_epoch > 0 {
            true => Epochs::after(self.last_epoch, unix, u64::MAX),
            false => Epochs::by_clock(unix),
        };
        let mut rng = self.rng.clone();
        self.rng.next();
        let max_file = if self.plan.limits_files { FILE_LIMIT } else { 0 };
        let tenant = |it: &Project| Tenant { id: it.id, secrets: vec![it.secret.to_owned()], max_file };
        let tenants = PROJECTS.iter().map(tenant).collect();
        let random = Box::new(move || Some(rng.bytes()));
        let mut core = Core::new(self.plan.settings.clone(), tenants, epochs, random);
        core.start_courier(Now { at: Duration::ZERO, unix_micros: unix });
        self.hub = Some(Hub { core, started: self.now, stopping: false, sockets: BTreeMap::new() });
    }

    /// The relay says good-bye; its shell gives it a moment.
    pub(crate) fn stop_hub(&mut self) {
        let now = self.hub_now();
        let Some(hub) = &mut self.hub else { return };
        hub.core.stop(now);
        hub.stopping = true;
        self.trace.note(2, 0, 0, || "the relay stops".to_owned());
        self.tend_hub();
    }

    /// The relay is no more; what is on its way may be lost.
    pub(crate) fn kill_hub(&mut self) {
        let Some(mut hub) = self.hub.take() else { return };
        self.trace.note(3, 0, 0, || "the relay is gone".to_owned());
        self.last_epoch = hub.core.epochs().last();
        for socket in hub.sockets.into_values() {
            self.close_at_hub(socket.link, true);
        }
    }

    pub(crate) fn tick_hub(&mut self) {
        let now = self.hub_now();
        if let Some(hub) = &mut self.hub {
            hub.core.tick(now);
        }
        self.tend_hub();
    }

    /// A client's connection has come; whether the relay takes it.
    pub(crate) fn accept(&mut self, link: u64) -> Option<ConnectionId> {
        let now = self.hub_now();
        let hub = self.hub.as_mut()?;
        let id = hub.core.opened(now).ok()?;
        let (reader, out) = (FrameReader::new(PRE_LOGIN_LIMIT), OutQueue::default());
        hub.sockets.insert(id, Socket { link, reader, out, logged_in: false, lingers: false });
        if self.haunted || self.hardship.taped || self.rng.percent(self.plan.encrypted) {
            hub.core.is_encrypted(id);
        } else if let Some(line) = self.links.get_mut(&link).filter(|line| line.conn == Conn::Command) {
            for meddler in [&mut line.up.meddler, &mut line.down.meddler].into_iter().flatten() {
                (meddler.sealed, meddler.exchanges) = (true, true);
            }
        }
        Some(id)
    }

    /// There may be something to read from a client.
    pub(crate) fn hub_reads(&mut self, link: u64) {
        let now = self.hub_now();
        let Some(line) = self.links.get_mut(&link) else { return };
        let (Some(id), Some(hub)) = (line.hub, self.hub.as_mut()) else { return };
        let got = line.up.read(self.now, &mut self.rng);
        let meddled = line.meddled;
        let Some(socket) = hub.sockets.get_mut(&id) else { return };
        match got {
            Got::Nothing => return,
            Got::Bytes(_) if socket.lingers => {}
            Got::Bytes(bytes) => {
                self.trace.note(4, id, bytes.len() as u64, || format!("hub reads {}", bytes.len()));
                socket.reader.feed(&bytes);
                let deaf = self.defect == Some(Defect::DeafRelay) && self.now > Duration::from_secs(5);
                if let Err(breach) = take_frames(&mut hub.core, socket, id, now, deaf, &mut self.credit) {
                    if !meddled {
                        self.ledger.violated(breach);
                    }
                    self.drop_socket(id);
                } else if let Some(breach) = self.credit.breach.take().filter(|_| !self.ledger.restarts) {
                    // After a restart, a sender may begin a sequence with the same epoch once again.
                    self.ledger.violated(breach);
                }
            }
            Got::End => {
                self.trace.note(5, id, 0, || format!("the relay sees the end of connection {id}"));
                self.drop_socket(id);
            }
        }
        self.tend_hub();
        self.room_made(link, Way::Up);
    }

    /// The connection's task in the relay ends.
    pub(crate) fn drop_socket(&mut self, id: ConnectionId) {
        let now = self.hub_now();
        let Some(hub) = &mut self.hub else { return };
        let Some(socket) = hub.sockets.remove(&id) else { return };
        hub.core.lost(id, now);
        self.close_at_hub(socket.link, !socket.lingers);
    }

    /// The client has taken bytes, so there may be room for more.
    pub(crate) fn hub_may_write(&mut self, id: ConnectionId) {
        self.write_socket(id);
        self.tend_hub();
    }

    /// Looks after all connections that the core has something for.
    pub(crate) fn tend_hub(&mut self) {
        self.sort_mail();
        loop {
            let Some(hub) = &mut self.hub else { return };
            let mut woken = hub.core.take_woken();
            if woken.is_empty() {
                return;
            }
            // The order in which tasks run is nobody's promise.
            woken.sort_unstable();
            for id in woken {
                self.write_socket(id);
            }
        }
    }

    /// An operator, or a server, ends the session of a user: his client hears `err`, and does not come back by itself.
    pub(crate) fn end_by_operator(&mut self, project: Project, user: &'static str, err: i32) {
        let now = self.hub_now();
        let Some(hub) = self.hub.as_mut().filter(|hub| !hub.stopping) else { return };
        let ended = match err {
            code::KICKOUT_BY_RELOGIN => hub.core.kick_out(project.id, user, now),
            _ => hub.core.end_revoked(project.id, user, now),
        };
        self.trace.note(32, project.id as u64, err as u64, || format!("an operator ends {user}'s session: {ended}"));
        self.ledger.saw(if ended { "sessions ended by an operator" } else { "operators who find nobody" });
        for party in (0..self.parties.len()).filter(|at| self.parties[*at].user == user) {
            self.ledger.operator_ends(party);
        }
        self.tend_hub();
    }

    /// Strangers connect who never say a word, as many as the relay takes.
    pub(crate) fn strangers_come(&mut self) {
        let now = self.hub_now();
        let Some(hub) = self.hub.as_mut().filter(|hub| !hub.stopping) else { return };
        let room = self.plan.settings.max_before_login.saturating_sub(hub.core.before_login());
        let ids: Vec<ConnectionId> = (0..=room).map_while(|_| hub.core.opened(now).ok()).collect();
        self.trace.note(34, ids.len() as u64, 0, || format!("{} strangers connect", ids.len()));
        if ids.len() != room {
            self.ledger.violated(format!("the relay takes {} strangers and has room for {room}", ids.len()));
        }
        let by = self.plan.settings.login_deadline + Duration::from_secs(1);
        self.later(by, Happening::StrangersOver(ids));
    }

    pub(crate) fn strangers_must_be_gone(&mut self, ids: &[ConnectionId]) {
        let Some(hub) = &self.hub else { return };
        if ids.iter().any(|id| hub.core.is_open(*id)) {
            self.ledger.violated("the relay keeps connections on which nobody logs in");
        }
    }

    // ---- what servers send in the RTM dialect -------------------------------------------------------------

    /// A server sends a message to a user; the relay keeps it until the user has it.
    pub(crate) fn post(&mut self, project: i64, user: &'static str) {
        let id = TaskId::random(self.rng.bytes());
        let size = self.rng.below(2_000);
        let data = self.content(size);
        self.trace.note(13, project as u64, size as u64, || format!("a server sends {id} to {user} of {project}"));
        self.ledger.posted(id, project, user, data.clone());
        let mail = (project, user);
        let message = Rtm { id, from: 7, kind: 1, place: 0, mid: 1, mtype: 30, mtime: 2, attrs: String::new(), data };
        self.mailbox.entry(mail).or_default().push(message);
        self.deliver_mail(mail, true);
        self.tend_hub();
    }

    /// Sends a user what he has not confirmed: the newest message only, or all of them.
    pub(crate) fn deliver_mail(&mut self, (project, user): (i64, &'static str), newest: bool) {
        let now = self.hub_now();
        let Some(hub) = self.hub.as_mut().filter(|hub| !hub.stopping) else { return };
        let messages = self.mailbox.get(&(project, user)).map_or(&[][..], Vec::as_slice);
        let from = if newest { messages.len().saturating_sub(1) } else { 0 };
        for message in &messages[from..] {
            hub.core.post(project, user, message, now);
        }
    }

    /// What sessions have told the relay about such messages.
    fn sort_mail(&mut self) {
        let Some(hub) = &mut self.hub else { return };
        for Mail { project, user, news } in hub.core.take_mail() {
            let Some(user) = USERS.into_iter().find(|it| **it == *user) else { continue };
            match news {
                News::Here => self.deliver_mail((project, user), false),
                News::Got(id) => {
                    self.ledger.got(id, project, user);
                    if let Some(messages) = self.mailbox.get_mut(&(project, user)) {
                        messages.retain(|message| message.id != id);
                    }
                }
                News::Go(_) | News::Confirm(_) | News::Done(_) => {
                    self.ledger.violated("the relay's courier hears of a transfer that it never began");
                }
            }
        }
    }

    fn write_socket(&mut self, id: ConnectionId) {
        let now = self.hub_now();
        let mut written = 0;
        loop {
            let Some(hub) = &mut self.hub else { return };
            let Some(socket) = hub.sockets.get_mut(&id).filter(|socket| !socket.lingers) else { return };
            if socket.out.is_empty() {
                match hub.core.flush(id, written, now) {
                    Output::Write(out) => socket.out = out,
                    Output::Wait => return,
                    Output::Close => {
                        socket.lingers = true;
                        let link = socket.link;
                        self.shut_down_at_hub(link);
                        return self.later(LINGER, Happening::LingerOver(id));
                    }
                    Output::Gone => return self.drop_socket(id),
                }
                written = 0;
            }
            let Some(line) = self.links.get_mut(&socket.link) else { return };
            let count = line.down.write(&mut socket.out, self.now);
            if count == 0 {
                if matches!(hub.core.flush(id, written, now), Output::Gone) {
                    self.drop_socket(id);
                }
                return;
            }
            written += count;
            let link = socket.link;
            self.meddle(link, Way::Down);
            self.look_later(link, Way::Down);
        }
    }
}

/// Hands the frames that are here to the core. Sessions keep to the protocol, so no frame ends its own connection.
fn take_frames(
    core: &mut Core,
    socket: &mut Socket,
    id: ConnectionId,
    now: Now,
    deaf: bool,
    credit: &mut Credit,
) -> Result<(), String> {
    core.heard(id, now);
    loop {
        match socket.reader.next_frame() {
            Ok(Some(frame)) if deaf && frame.method() == "crcmd" => {}
            Ok(Some(frame)) => {
                credit.check(&frame);
                let was_open = core.is_open(id);
                core.frame(id, &frame, now);
                if was_open && !core.is_open(id) {
                    return Err(format!("the relay closed connection {id} because of a {:?}", frame.method()));
                }
            }
            Ok(None) => return Ok(()),
            Err(error) => return Err(format!("a session wrote what {error}")),
        }
        if let Some(seal) = core.take_seal(id).filter(|_| !socket.logged_in) {
            socket.reader.expect_seals(seal);
        }
        if !socket.logged_in && core.logged_in(id) {
            socket.logged_in = true;
            socket.reader.set_limit(SESSION_LIMIT);
        }
    }
}
