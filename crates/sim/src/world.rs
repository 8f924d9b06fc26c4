//! Time, and everything that moves in it.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use crvideo_proto::code;
use crvideo_proto::id::TaskId;
use crvideo_proto::message::Rtm;
use crvideo_proto::session::{Conn, Event, Now, Output, Receipt};
use crvideo_relay::core::ConnectionId;

use crate::agenda::Agenda;
use crate::defect::Defect;
use crate::files::{Done, Job, Sink};
use crate::hub::Hub;
use crate::ledger::Ledger;
use crate::meddler::{Meddler, Tape};
use crate::party::{Letter, Manners, Party, Stage, Wired};
use crate::pipe::{Got, Pipe};
use crate::plan::{FILE_LIMIT, PROJECTS, Plan, Project, RESTLESS, USERS};
use crate::rng::Rng;
use crate::trace::Trace;

/// The start of every run, in microseconds since 1970.
pub(crate) const START_MICROS: u64 = 1_000_000_000_000_000;
/// How long before its use a token was made that does not last long, in seconds.
const TOKEN_AGE_S: u64 = 55;
/// All content is cut out of this much.
const MATERIAL: usize = 4 * 1_024 * 1_024;
/// A sender may be this far ahead of its target's application, and one command more.
const COMMAND_WINDOW: u64 = (1_024 + 64) * 1_024 + 256;
/// So many steps without any time passing are a hang.
const MAX_STEPS_AT_ONCE: u32 = 100_000;

/// The two directions of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// From client to relay.
    Up,
    Down,
}

/// A connection between a session and the relay.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) party: usize,
    pub(crate) conn: Conn,
    /// The client has not closed its end.
    pub(crate) client: bool,
    /// The relay's end, as long as it is open.
    pub(crate) hub: Option<ConnectionId>,
    pub(crate) up: Pipe,
    pub(crate) down: Pipe,
    /// A box on the way has its hand in it.
    pub(crate) meddled: bool,
}

impl Link {
    pub(crate) fn pipe(&mut self, way: Way) -> &mut Pipe {
        match way {
            Way::Up => &mut self.up,
            Way::Down => &mut self.down,
        }
    }
}

/// What happens at a time that is known beforehand.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A connection is made, or not.
    Connect(u64),
    /// Somebody looks at the end of a pipe.
    Look(u64, Way),
    /// The relay's patience with a client that does not close its side ends.
    LingerOver(ConnectionId),
    /// A party's shell carries out what its session wants.
    Turn(usize),
    /// A piece of a source has been read.
    SourceRead {
        party: usize,
        task: TaskId,
        offset: u64,
        len: usize,
        generation: u32,
    },
    /// A sink does a job.
    SinkJob {
        party: usize,
        id: u64,
        job: Job,
        report_at: Duration,
    },
    /// A sink's report reaches the session.
    SinkDone {
        party: usize,
        id: u64,
        done: Done,
    },
    /// An application looks at its letters.
    Read(usize),
    /// An application answers an offer.
    Decide {
        party: usize,
        source: Arc<str>,
        task: TaskId,
        accept: bool,
    },
    /// An event that was held back on purpose.
    Tell(usize, Event),
    /// A destroyed session is waited for no longer.
    Bury(usize),
    /// An application has heard that its token expires.
    Renew(usize),
    /// By now a link that has fallen silent must have been given up by the end that hears nothing.
    Noticed(u64, Way),
    /// By now the relay must have closed a connection on which nothing comes any more.
    Closed(u64),
    /// By now the relay must have closed connections on which nobody has logged in.
    StrangersOver(Vec<ConnectionId>),
    KillHub,
    StartHub,
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) rng: Rng,
    pub(crate) now: Duration,
    queue: Agenda<Happening>,
    pub(crate) parties: Vec<Party>,
    pub(crate) links: BTreeMap<u64, Link>,
    pub(crate) hub: Option<Hub>,
    pub(crate) last_epoch: u64,
    /// What servers have sent to users who have not confirmed it.
    /// What boxes on the way have heard, by party, kind of connection and direction.
    tapes: BTreeMap<(usize, usize, Way), Tape>,
    pub(crate) mailbox: BTreeMap<(i64, &'static str), Vec<Rtm>>,
    pub(crate) ledger: Ledger,
    pub(crate) trace: Trace,
    pub(crate) defect: Option<Defect>,
    /// How often the planted defect has struck.
    pub(crate) struck: u64,
    held_back: Option<(usize, Event)>,
    pub(crate) material: Bytes,
    pub(crate) healed: bool,
    /// The next call uses the id of another incarnation of its user.
    pub(crate) again: bool,
    still: u32,
    next: u64,
}

pub(crate) const CONNS: [Conn; 2] = [Conn::Command, Conn::Bulk];

pub(crate) fn index(conn: Conn) -> usize {
    match conn {
        Conn::Command => 0,
        Conn::Bulk => 1,
    }
}

impl World {
    pub(crate) fn new(seed: u64, defect: Option<Defect>, with_lines: bool) -> Self {
        let mut rng = Rng::new(seed);
        let plan = Plan::draw(&mut rng);
        let mut ledger = Ledger::default();
        ledger.calm = plan.calm;
        ledger.rotten = plan.bad_files > 0 && !plan.calm;
        ledger.buffer_limit = plan.config.buffer_limit;
        ledger.heartbeat = plan.settings.heartbeat;
        ledger.boxes = plan.meddled > 0;
        ledger.restarts = plan.weights.relay > 0;
        ledger.restless = plan.restless.then_some(RESTLESS);
        ledger.patient = plan.patient;
        ledger.send_rate = Some(plan.config.max_send_bytes_per_s).filter(|rate| *rate > 0);
        ledger.file_limit = plan.limits_files.then_some(FILE_LIMIT);
        let mut world = Self {
            plan,
            rng,
            now: Duration::ZERO,
            queue: Agenda::new(),
            parties: Vec::new(),
            links: BTreeMap::new(),
            hub: None,
            last_epoch: 0,
            tapes: BTreeMap::new(),
            mailbox: BTreeMap::new(),
            ledger,
            trace: Trace::new(with_lines),
            defect,
            struck: 0,
            held_back: None,
            material: material(),
            healed: false,
            again: false,
            still: 0,
            next: 1,
        };
        world.trace.note(0, seed, 0, String::new);
        world.start_hub();
        for (project, user) in world.members() {
            for device in 0..world.plan.devices {
                world.add_party(project, user, device);
            }
        }
        world
    }

    /// All users of all projects.
    pub(crate) fn members(&self) -> Vec<(Project, &'static str)> {
        let users = |project: &Project| USERS[..self.plan.users].iter().map(|user| (*project, *user)).collect();
        PROJECTS[..self.plan.projects].iter().flat_map(|project| -> Vec<_> { users(project) }).collect()
    }

    pub(crate) fn add_party(&mut self, project: Project, user: &'static str, device: usize) -> usize {
        let (name, seed) = (self.rng.bytes(), self.rng.next());
        let mut party = Party::new(project, user, device, self.plan.config.clone(), name, seed);
        party.wants_offers = self.rng.percent(40) && !self.plan.patient;
        party.manners = self.rng.pick(&[Manners::Accepts, Manners::Accepts, Manners::AnyOfThese]);
        party.renews = self.rng.percent(60) || self.plan.calm;
        party.session.set_wants(party.wants_offers, self.rng.percent(50));
        self.parties.push(party);
        self.parties.len() - 1
    }

    /// A number that is never given twice.
    pub(crate) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(crate) fn now_of_session(&self) -> Now {
        Now { mono: self.now, unix: START_MICROS / 1_000_000 + self.now.as_secs() }
    }

    // ---- time ---------------------------------------------------------------------------------------------

    pub(crate) fn at(&mut self, at: Duration, what: Happening) {
        self.queue.enter(at.max(self.now), what);
    }

    pub(crate) fn later(&mut self, after: Duration, what: Happening) {
        self.at(self.now + after, what);
    }

    /// Lets time pass until `end`.
    pub(crate) fn run_until(&mut self, end: Duration) {
        while self.ledger.violation.is_none() && self.step(end) {}
    }

    /// Does what comes next; `false` when nothing does before `end`.
    fn step(&mut self, end: Duration) -> bool {
        let queued = self.queue.first();
        let parties = self.parties.iter().enumerate();
        let timer = parties.filter_map(|(at, party)| Some((party.deadline?, at))).min();
        let hub = self.hub_deadline();
        let Some(next) = [queued, timer.map(|(at, _)| at), hub].into_iter().flatten().min().filter(|at| *at <= end)
        else {
            self.set_time(end);
            return false;
        };
        self.still = if next > self.now { 0 } else { self.still + 1 };
        if self.still > MAX_STEPS_AT_ONCE {
            self.ledger.violated(format!("I10: a hang (queue {queued:?}, timer {timer:?}, relay {hub:?})"));
            return false;
        }
        self.set_time(next);
        if queued.is_some_and(|at| at <= next) {
            if let Some(what) = self.queue.pop() {
                self.happen(what);
            }
        } else if let Some((_, party)) = timer.filter(|(at, _)| *at <= next) {
            self.trace.mark(6, party as u64, 0);
            let now = self.now_of_session();
            self.parties[party].session.timeout(now);
            self.touch(party);
        } else {
            self.tick_hub();
        }
        true
    }

    fn set_time(&mut self, at: Duration) {
        self.now = self.now.max(at);
        self.trace.now = self.now;
    }

    fn happen(&mut self, what: Happening) {
        let now = self.now_of_session();
        match what {
            Happening::Connect(link) => self.connect_now(link),
            Happening::Look(link, way) => {
                let Some(line) = self.links.get_mut(&link) else { return };
                // An earlier look has been asked for since, and has seen to the next one.
                if line.pipe(way).look_at.take_if(|at| *at <= self.now).is_none() {
                    return;
                }
                match way {
                    Way::Up => self.hub_reads(link),
                    Way::Down => self.client_reads(link),
                }
                self.look_after_pause(link, way);
            }
            Happening::LingerOver(id) => {
                self.drop_socket(id);
                self.tend_hub();
            }
            Happening::Turn(party) => self.turn(party),
            Happening::SourceRead { party, task, offset, len, generation } => {
                let Some(source) = self.parties[party].sources.get_mut(&task) else { return };
                match source.read(offset, len) {
                    Some((data, hash)) => self.parties[party].session.source_read(task, generation, data, hash, now),
                    None => self.parties[party].session.source_failed(task, code::SENDFILE_FILEINERROR, now),
                }
                self.touch(party);
            }
            Happening::SinkJob { party, id, job, report_at } => {
                let Some(sink) = self.parties[party].sinks.get_mut(&id) else { return };
                let done = sink.run(job);
                if done != Done::Silent {
                    self.at(report_at, Happening::SinkDone { party, id, done });
                }
            }
            Happening::SinkDone { party, id, done } => self.sink_done(party, id, done),
            Happening::Read(party) => self.application_reads(party),
            Happening::Decide { party, source, task, accept } => {
                let session = &mut self.parties[party].session;
                let heard =
                    if accept { session.accept(&source, task, now) } else { session.refuse(&source, task, now) };
                self.trace.note(7, party as u64, u64::from(heard), || format!("party {party} decides: {accept}"));
                self.touch(party);
            }
            Happening::Tell(party, event) => self.record(party, &event, None),
            Happening::Bury(party) => self.bury(party),
            Happening::Renew(party) => self.renew(party),
            Happening::Noticed(link, way) => self.must_be_noticed(link, way),
            Happening::Closed(link) => self.must_be_closed(link),
            Happening::StrangersOver(ids) => self.strangers_must_be_gone(&ids),
            Happening::KillHub => self.kill_hub(),
            Happening::StartHub => self.start_hub(),
        }
    }

    // ---- connections --------------------------------------------------------------------------------------

    fn connect(&mut self, party: usize, conn: Conn) {
        if conn == Conn::Command {
            self.ledger.tries_to_connect(party, self.now);
        }
        self.hang_up(party, conn, false);
        let link = self.number();
        let bulk = conn == Conn::Bulk;
        let (up, down) = (self.plan.manner(&mut self.rng, bulk), self.plan.manner(&mut self.rng, bulk));
        let (up, down) = if self.healed { (Plan::good_manner(), Plan::good_manner()) } else { (up, down) };
        let (mut up, mut down) = (Pipe::new(up), Pipe::new(down));
        let meddled = !self.healed && self.rng.percent(self.plan.meddled);
        if meddled {
            let often = self.rng.pick(&[1, 5, 20]);
            up.meddler = Some(Box::new(Meddler::new(often, bulk)));
            down.meddler = Some(Box::new(Meddler::new(often, bulk)));
        }
        self.links.insert(link, Link { party, conn, client: true, hub: None, up, down, meddled });
        self.parties[party].wired[index(conn)] = Some(Wired { link, open: false, given_up: false });
        let patience = if self.healed || self.plan.calm || !self.rng.percent(self.plan.slow_connects) {
            self.rng.millis(0, 20)
        } else {
            self.rng.millis(100, 12_000)
        };
        self.later(patience, Happening::Connect(link));
    }

    fn connect_now(&mut self, link: u64) {
        let Some(line) = self.links.get(&link) else { return };
        let (party, conn) = (line.party, line.conn);
        if !line.client {
            self.links.remove(&link);
            return;
        }
        let now = self.now_of_session();
        let accepted = self.accept(link);
        self.trace.note(8, party as u64, link, || format!("party {party} {conn:?} connects: {accepted:?}"));
        if accepted.is_none() {
            self.links.remove(&link);
            self.parties[party].wired[index(conn)] = None;
            self.parties[party].session.connect_failed(conn, code::CREATE_CONN_FAILED, now);
            return self.touch(party);
        }
        if let Some(line) = self.links.get_mut(&link) {
            line.hub = accepted;
        }
        if let Some(wired) = &mut self.parties[party].wired[index(conn)] {
            wired.open = true;
        }
        self.parties[party].session.connected(conn, now);
        self.touch(party);
    }

    /// Makes sure that somebody looks when the pipe has something to give.
    pub(crate) fn look_later(&mut self, link: u64, way: Way) {
        let Some(line) = self.links.get_mut(&link) else { return };
        let pipe = line.pipe(way);
        let Some(at) = pipe.ready_at().map(|at| at.max(self.now)) else { return };
        if pipe.look_at.is_none_or(|before| before > at) {
            pipe.look_at = Some(at);
            self.at(at, Happening::Look(link, way));
        }
    }

    fn look_after_pause(&mut self, link: u64, way: Way) {
        let Some(line) = self.links.get_mut(&link) else { return };
        let wired = self.parties[line.party].wired[index(line.conn)];
        let read = match way {
            Way::Up => line.hub.is_some(),
            Way::Down => wired.is_some_and(|wired| wired.link == link && !wired.given_up),
        };
        let pipe = line.pipe(way);
        if pipe.look_at.is_some() || !read {
            return;
        }
        let Some(at) = pipe.ready_at() else { return };
        let at = at.max(self.now + pipe.manner.pause);
        pipe.look_at = Some(at);
        self.at(at, Happening::Look(link, way));
    }

    /// A reader has taken bytes: the writer may go on.
    pub(crate) fn room_made(&mut self, link: u64, way: Way) {
        let Some(line) = self.links.get(&link) else { return };
        match (way, line.hub) {
            (Way::Up, _) if line.client => {
                let party = line.party;
                self.touch(party);
            }
            (Way::Down, Some(id)) => self.hub_may_write(id),
            _ => {}
        }
    }

    fn client_reads(&mut self, link: u64) {
        let Some(line) = self.links.get_mut(&link) else { return };
        let (party, conn) = (line.party, line.conn);
        let wired = self.parties[party].wired[index(conn)];
        if !line.client || wired.is_none_or(|wired| wired.link != link || wired.given_up || !wired.open) {
            return;
        }
        let now = self.now_of_session();
        let Some(line) = self.links.get_mut(&link) else { return };
        let got = line.down.read(self.now, &mut self.rng);
        let handled = self.parties[party].handled;
        let session = &mut self.parties[party].session;
        match got {
            Got::Nothing => return,
            Got::Bytes(bytes) => {
                self.trace
                    .note(9, link, bytes.len() as u64, || format!("client reads {} of {link} {conn:?}", bytes.len()));
                let generation = session.generation(conn);
                session.reader(conn).feed(&bytes);
                session.handled_in_all(handled);
                session.received(conn, now);
                if session.generation(conn) != generation {
                    self.give_up(party, conn);
                }
            }
            Got::End => {
                self.trace.note(10, party as u64, link, || format!("party {party} sees the end of {conn:?}"));
                self.give_up(party, conn);
                let err = self.rng.pick(&[code::FORCEDCLOSECONNECTION, code::SOCKETEXCEPTION]);
                self.parties[party].session.closed(conn, err, now);
            }
        }
        self.touch(party);
        self.room_made(link, Way::Down);
    }

    fn give_up(&mut self, party: usize, conn: Conn) {
        if let Some(wired) = &mut self.parties[party].wired[index(conn)] {
            wired.given_up = true;
        }
    }

    /// The client's shell closes a connection, after one attempt to write what is queued.
    fn hang_up(&mut self, party: usize, conn: Conn, flush: bool) {
        if flush {
            self.write(party, conn);
        }
        let Some(wired) = self.parties[party].wired[index(conn)].take() else { return };
        let Some(line) = self.links.get_mut(&wired.link) else { return };
        line.client = false;
        // Unread bytes make the kernel reset the connection, and a reset can destroy what is on its way.
        let reset = line.down.held() > 0 && self.rng.percent(50);
        let keep = if reset { self.rng.below(line.up.held() + 1) } else { usize::MAX };
        line.up.end(keep, self.now + line.up.manner.latency);
        if wired.open && line.hub.is_none() {
            self.links.remove(&wired.link);
        } else {
            self.look_later(wired.link, Way::Up);
        }
    }

    /// The relay's end of a connection is closed: what is on its way to the client may be lost.
    pub(crate) fn close_at_hub(&mut self, link: u64, hard: bool) {
        let Some(line) = self.links.get_mut(&link) else { return };
        line.hub = None;
        if !line.client {
            self.links.remove(&link);
            return;
        }
        let keep = if hard && self.rng.percent(50) { self.rng.below(line.down.held() + 1) } else { usize::MAX };
        line.down.end(keep, self.now + line.down.manner.latency);
        self.look_later(link, Way::Down);
    }

    /// The relay will write no more on a connection.
    pub(crate) fn shut_down_at_hub(&mut self, link: u64) {
        let Some(line) = self.links.get_mut(&link) else { return };
        line.down.end(usize::MAX, self.now + line.down.manner.latency);
        self.look_later(link, Way::Down);
    }

    /// What has just been written passes the box on the way.
    pub(crate) fn meddle(&mut self, link: u64, way: Way) {
        let Some(line) = self.links.get_mut(&link).filter(|line| line.meddled) else { return };
        let tape = self.tapes.entry((line.party, index(line.conn), way)).or_default();
        self.ledger.meddled(line.pipe(way).meddle(tape, &mut self.rng));
    }

    fn write(&mut self, party: usize, conn: Conn) {
        let Some(wired) = self.parties[party].wired[index(conn)].filter(|it| it.open && !it.given_up) else { return };
        let now = self.now_of_session();
        let Some(line) = self.links.get_mut(&wired.link) else { return };
        let session = &mut self.parties[party].session;
        let mut wrote = false;
        let meddled = line.meddled;
        while !session.out(conn).is_empty() && line.up.write(session.out(conn), self.now) > 0 {
            if meddled {
                let tape = self.tapes.entry((party, index(conn), Way::Up)).or_default();
                self.ledger.meddled(line.up.meddle(tape, &mut self.rng));
            }
            session.written(conn, now);
            wrote = true;
        }
        if line.hub.is_none() {
            // The other end is closed: what is written goes nowhere.
            session.out(conn).take();
        } else if wrote {
            self.look_later(wired.link, Way::Up);
        }
    }

    // ---- sessions -----------------------------------------------------------------------------------------

    /// A session has been given something: its shell's turn comes soon.
    pub(crate) fn touch(&mut self, party: usize) {
        if self.parties[party].vanished {
            return;
        }
        self.parties[party].deadline = self.parties[party].session.deadline();
        if std::mem::replace(&mut self.parties[party].turn, true) {
            return;
        }
        let after = if self.rng.percent(80) { Duration::ZERO } else { self.rng.millis(0, 2) };
        self.later(after, Happening::Turn(party));
    }

    /// A destroyed session is over when it says so, or when its shell's patience ends.
    fn bury(&mut self, party: usize) {
        for conn in CONNS {
            self.hang_up(party, conn, true);
        }
    }

    /// What was going to break does not.
    pub(crate) fn forget_faults(&mut self) {
        self.queue.retain(|what| !matches!(what, Happening::KillHub));
    }

    fn turn(&mut self, party: usize) {
        if self.parties[party].vanished {
            return;
        }
        self.parties[party].turn = false;
        loop {
            let mut moved = false;
            while let Some(output) = self.parties[party].session.poll_output() {
                self.output(party, output);
                moved = true;
            }
            for conn in CONNS {
                if self.parties[party].wired[index(conn)].is_some_and(|wired| wired.given_up) {
                    self.hang_up(party, conn, false);
                }
                self.write(party, conn);
            }
            if !moved {
                break;
            }
        }
        self.parties[party].deadline = self.parties[party].session.deadline();
        if self.parties[party].destroyed && self.parties[party].session.is_quiet() {
            self.bury(party);
        }
    }

    fn output(&mut self, party: usize, output: Output) {
        match output {
            Output::Connect { conn, .. } => self.connect(party, conn),
            Output::Close { conn } => self.hang_up(party, conn, true),
            Output::Event(event) => self.told(party, event),
            Output::Read { task, offset, len, generation } => {
                self.ledger.source_read(party, task);
                let slow = self.rng.millis(0, if self.healed { 3 } else { self.plan.disk });
                let Some(source) = self.parties[party].sources.get_mut(&task) else { return };
                source.busy_until = source.busy_until.max(self.now) + slow;
                let at = source.busy_until;
                self.at(at, Happening::SourceRead { party, task, offset, len, generation });
            }
            Output::CloseSource { task } => self.ledger.source_closed(party, task),
            Output::OpenSink { id, size, kind } => {
                self.ledger.sink_opened(party, id);
                let bad = self.rng.percent(self.plan.bad_files) && !self.healed;
                let fails = bad.then(|| (self.rng.between(1, 4) as u32, code::FILE_WRITE_ERR));
                let mut sink = Sink::new(kind, size, fails);
                sink.rots = bad && !self.plan.calm && self.rng.percent(30);
                sink.trusting = self.defect == Some(Defect::FlipChunkByte);
                self.parties[party].sinks.insert(id, sink);
                self.sink_job(party, id, Job::Open);
                self.check_bound(party);
            }
            Output::Write { id, mut data } => {
                self.ledger.sink_used(party, id);
                if self.defect == Some(Defect::FlipChunkByte) && !data.is_empty() && self.strikes() {
                    let mut bytes = data.to_vec();
                    bytes[0] ^= 1;
                    data = bytes.into();
                }
                self.sink_job(party, id, Job::Write(data));
            }
            Output::FinishSink { id, hash } => {
                self.ledger.sink_used(party, id);
                self.sink_job(party, id, Job::Finish(hash));
            }
            Output::AbortSink { id } => {
                self.ledger.saw("sinks aborted");
                self.ledger.sink_used(party, id);
                if let Some(sink) = self.parties[party].sinks.get_mut(&id) {
                    sink.stop();
                }
                let after = self.rng.millis(0, 5);
                self.later(after, Happening::SinkDone { party, id, done: Done::Aborted });
            }
        }
    }

    /// Jobs of one sink are done in order; their reports may take a while.
    fn sink_job(&mut self, party: usize, id: u64, job: Job) {
        let slowest = if self.healed { 3 } else { self.plan.disk };
        let hangs = !self.healed && self.rng.percent(self.plan.hangs);
        let work = if hangs { self.rng.millis(1_000, 8_000) } else { self.rng.millis(0, slowest) };
        let report = self.rng.millis(0, 1);
        let Some(sink) = self.parties[party].sinks.get_mut(&id) else { return };
        let at = sink.busy_until.max(self.now) + work;
        let report_at = at + report;
        sink.busy_until = report_at;
        self.at(at, Happening::SinkJob { party, id, job, report_at });
    }

    fn sink_done(&mut self, party: usize, id: u64, done: Done) {
        let now = self.now_of_session();
        self.trace.note(11, party as u64, id, || format!("party {party} sink {id}: {done:?}"));
        if done == Done::Aborted {
            if self.defect == Some(Defect::KeepSink) && self.strikes() {
                return;
            }
            self.parties[party].sinks.remove(&id);
            self.ledger.sink_closed(party, id);
        }
        let session = &mut self.parties[party].session;
        match done {
            Done::Silent => {}
            Done::Written(written) => session.sink_written(id, written, now),
            Done::Finished => session.sink_finished(id, now),
            Done::Failed(err) => session.sink_failed(id, err, now),
            Done::Aborted => session.sink_aborted(id, now),
        }
        self.touch(party);
    }

    // ---- applications -------------------------------------------------------------------------------------

    /// Whether the planted defect strikes now.
    fn strikes(&mut self) -> bool {
        let strikes = self.rng.percent(20);
        self.struck += u64::from(strikes);
        strikes
    }

    /// A session tells its application something; a planted defect may see to it that it hears something else.
    fn told(&mut self, party: usize, mut event: Event) {
        if let Event::LineOff { err } = event {
            self.must_come_back(party, err);
        }
        let here = match (self.defect, &event) {
            (Some(Defect::DeliverTwice | Defect::SwallowCommand | Defect::SwapCommands), Event::Command { .. })
            | (Some(Defect::SwallowResult | Defect::RepeatResult | Defect::DelayResult), Event::CommandRslt { .. })
            | (Some(Defect::SwallowResult | Defect::RepeatResult), Event::TransferRslt { .. })
            | (Some(Defect::SwallowCancelResult), Event::CancelRslt { .. })
            | (Some(Defect::SwallowTransferEnded), Event::TransferEnded { .. }) => true,
            (Some(Defect::FlipCommandByte), Event::Command { data, .. }) => !data.is_empty(),
            (Some(Defect::ClaimSuccess), Event::CommandRslt { err, .. }) => *err != code::NOERR,
            (Some(Defect::ClaimFailure), Event::CommandRslt { err, .. }) => *err == code::SEND_OUTCOME_UNKNOWN,
            (Some(Defect::ProgressBack), Event::Progress { sent, total, .. }) => *sent > 0 && sent < total,
            (Some(Defect::SwallowFirstProgress), Event::Progress { sent, total, .. }) => *sent == 0 && *total > 0,
            (Some(Defect::ForgetUser), Event::UsersRslt { users, .. }) => !users.is_empty(),
            (Some(Defect::ClaimLogin), Event::LoginRslt { err, .. }) => *err != code::NOERR,
            _ => false,
        };
        let held_back = self.held_back.take_if(|(of, _)| *of == party);
        let gone = match (self.defect, &event) {
            (Some(Defect::SwallowProgress), Event::Progress { sent, total, .. }) => *sent > 0 && sent < total,
            (Some(Defect::SwallowStatus), Event::UserStatus { .. }) | (Some(Defect::SwallowLineOn), Event::LineOn) => {
                self.strikes()
            }
            _ => false,
        };
        if gone {
            return;
        }
        if here && self.strikes() {
            match self.defect {
                Some(Defect::DeliverTwice | Defect::RepeatResult) => self.record(party, &event, None),
                Some(Defect::ProgressBack) => {
                    self.record(party, &event, None);
                    if let Event::Progress { sent, .. } = &mut event {
                        *sent -= 1;
                    }
                }
                Some(Defect::SwapCommands) => {
                    self.held_back = Some((party, event));
                    return;
                }
                Some(Defect::DelayResult) => {
                    let much = self.plan.config.command_timeout + Duration::from_secs(5);
                    return self.later(much, Happening::Tell(party, event));
                }
                _ => match &mut event {
                    Event::Command { data, .. } if self.defect == Some(Defect::FlipCommandByte) => {
                        let mut bytes = data.to_vec();
                        bytes[0] ^= 1;
                        *data = bytes.into();
                    }
                    Event::CommandRslt { err, .. } if self.defect == Some(Defect::ClaimSuccess) => *err = code::NOERR,
                    Event::LoginRslt { err, .. } => *err = code::NOERR,
                    Event::UsersRslt { users, .. } => users.truncate(users.len() - 1),
                    Event::CommandRslt { err, .. } if self.defect == Some(Defect::ClaimFailure) => {
                        *err = code::CONNECTIONLOST;
                    }
                    _ => {
                        self.parties[party].note(&event);
                        return;
                    }
                },
            }
        }
        match event {
            Event::TokenWillExpire => self.later(Duration::from_millis(100), Happening::Renew(party)),
            Event::LineOff { err: code::TOKEN_TIMEOUT } => self.token_was_refused(party),
            _ => {}
        }
        let finished = self.parties[party].note(&event);
        let content = finished.map(|sink| self.content_of(party, &event, sink));
        self.record(party, &event, content);
        if let Some((_, late)) = held_back {
            self.parties[party].note(&late);
            self.record(party, &late, None);
        }
        if !self.parties[party].letters.is_empty() {
            self.check_bound(party);
            self.application_turn(party);
        }
    }

    /// A session that has lost its link comes back, unless it was told to go.
    fn must_come_back(&mut self, party: usize, err: i32) {
        let it = &self.parties[party];
        let over = !it.session.is_logged_in() && it.is_in();
        if over && ![code::KICKOUT_BY_RELOGIN, code::TOKEN_TIMEOUT].contains(&err) {
            self.ledger.violated(format!("the session of party {party} is over with {err}, and should come back"));
        }
    }

    /// What comes in and waits for the application has a limit.
    fn check_bound(&mut self, party: usize) {
        // A new incarnation, of a sender or its target, has a window of its own.
        if self.plan.calm && !self.plan.restless && self.plan.weights.flood > 0 {
            for user in &USERS[..self.plan.users] {
                let of_one = self.parties[party].held_of(user);
                if of_one > COMMAND_WINDOW {
                    self.ledger.violated(format!("I8: {of_one} bytes of commands of {user} wait at party {party}"));
                }
            }
        }
        let (held, limit) = (self.parties[party].held(), self.plan.config.inbound_limit);
        if held > limit {
            self.ledger.violated(format!("I8: party {party} holds {held} bytes for its application, and may {limit}"));
        }
    }

    fn record(&mut self, party: usize, event: &Event, content: Option<Bytes>) {
        let now = self.now;
        self.trace.note(12, party as u64, weight(event), || format!("party {party} hears {}", brief(event)));
        let it = &self.parties[party];
        self.ledger.heard(party, (it.project.id, it.user), event, content, now);
    }

    fn content_of(&mut self, party: usize, event: &Event, mut sink: Sink) -> Bytes {
        if let Event::Buffer { id, .. } | Event::File { id, .. } = event {
            self.ledger.sink_closed(party, *id);
        }
        if !sink.finished || sink.aborting {
            self.ledger.violated(format!("party {party} hears of a transfer whose sink is not complete"));
        }
        if self.defect == Some(Defect::CutContent) && sink.size > 0 && self.strikes() {
            sink.data.pop();
        }
        sink.data.into()
    }

    fn application_turn(&mut self, party: usize) {
        let rng = &mut self.rng;
        let it = &mut self.parties[party];
        if std::mem::replace(&mut it.reading, true) {
            return;
        }
        let pause = if self.healed { Duration::ZERO } else { rng.millis(0, self.plan.slowness) };
        let at = it.asleep_until.max(self.now + pause);
        self.at(at, Happening::Read(party));
    }

    fn application_reads(&mut self, party: usize) {
        let now = self.now_of_session();
        self.parties[party].reading = false;
        if self.parties[party].asleep_until > self.now {
            return self.application_turn(party);
        }
        let at_once = if self.healed { usize::MAX } else { 1 + self.rng.below(4) };
        for _ in 0..at_once {
            let Some(letter) = self.parties[party].letters.pop_front() else { break };
            match letter {
                Letter::Handle { charge, receipt, .. } => {
                    let lost = self.defect == Some(Defect::LoseReceipt) && charge > 0 && self.strikes();
                    let it = &mut self.parties[party];
                    it.handled += if lost { 0 } else { charge };
                    if let Some(receipt) = receipt {
                        if let Receipt::Rtm { id } = &receipt {
                            self.ledger.rtm_handled(*id);
                        }
                        it.session.handled_in_all(it.handled);
                        it.session.receipt(receipt, now);
                        self.touch(party);
                    }
                }
                Letter::Offer { source, task } => self.decide(party, source, task),
            }
        }
        if !self.parties[party].letters.is_empty() {
            self.application_turn(party);
        }
    }

    // ---- tokens and heart-beats ---------------------------------------------------------------------------

    /// A token for a party: one that does not last long, or, when all is healed, one that does.
    pub(crate) fn short_token(&mut self, party: usize) -> String {
        // The relay's tolerance lets a token live on for a minute after its time.
        let life = if self.healed { 100_000 } else { self.rng.between(5, 120) };
        let start = START_MICROS / 1_000_000;
        let expires = (start + self.now.as_secs() + life - TOKEN_AGE_S).max(start);
        let it = &mut self.parties[party];
        let lasts = Duration::from_secs(expires - start);
        it.latest_expires = Some(lasts);
        it.first_expires = Some(it.first_expires.map_or(lasts, |old| old.min(lasts)));
        it.expires = Some(it.expires.map_or(lasts, |old| old.max(lasts)));
        crvideo_proto::token::mint(it.project.id, it.user, expires, it.project.secret)
    }

    fn renew(&mut self, party: usize) {
        if !self.parties[party].is_in() || self.parties[party].expires.is_none() {
            return;
        }
        if self.healed || self.parties[party].renews {
            let token = self.short_token(party);
            self.trace.note(14, party as u64, 0, || format!("party {party} renews its token"));
            self.parties[party].session.update_token(token);
            self.touch(party);
        }
    }

    /// A session ends because of its token only when that has run out.
    fn token_was_refused(&mut self, party: usize) {
        let tolerance = Duration::from_secs(crvideo_proto::token::CLOCK_TOLERANCE_S);
        if self.ledger.may_be_revoked(party) {
            return;
        }
        // Who comes back shows the latest token. Over a link that stands, it may be on its way.
        let it = &self.parties[party];
        let shown = if self.ledger.is_line_off(party) { it.latest_expires } else { it.first_expires };
        let lasts = shown.map(|expires| expires.saturating_add(tolerance));
        // Seconds are counted in whole ones.
        if lasts.is_none_or(|lasts| self.now + Duration::from_secs(1) < lasts) {
            self.ledger.violated(format!("the session of party {party} ended with 18, and its token is good"));
        }
    }

    /// A session must not outlive its token by more than the tolerance.
    pub(crate) fn check_tokens(&mut self) {
        // Over a link that is frozen or broken the session cannot hear of its end.
        let it = &self.plan.weights;
        if it.cut + it.freeze + it.relay > 0 {
            return;
        }
        let grace = Duration::from_secs(crvideo_proto::token::CLOCK_TOLERANCE_S + 10);
        let overdue = self
            .parties
            .iter()
            .position(|it| it.is_in() && !it.destroyed && it.expires.is_some_and(|expires| expires + grace < self.now));
        if let Some(party) = overdue.filter(|party| !self.ledger.is_line_off(*party)) {
            self.ledger.violated(format!("the session of party {party} outlives its token"));
        }
    }

    fn must_be_noticed(&mut self, link: u64, way: Way) {
        let Some(line) = self.links.get(&link) else { return };
        let (party, conn) = (line.party, line.conn);
        let pipe = if way == Way::Up { &line.up } else { &line.down };
        if !pipe.swallows() || conn != Conn::Command {
            return;
        }
        let unnoticed = match way {
            // A relay that stops closes all its connections, and looks at none of them any more.
            Way::Up => {
                let hub = self.hub.as_ref().filter(|hub| !hub.stopping);
                line.hub.is_some_and(|id| hub.is_some_and(|hub| hub.core.serves(id)))
            }
            Way::Down => {
                let here = self.parties[party].wired[0].is_some_and(|it| it.link == link && it.open && !it.given_up);
                here && self.parties[party].stage == Stage::In && !self.ledger.is_line_off(party)
            }
        };
        if unnoticed {
            let end = if way == Way::Up { "relay" } else { "client" };
            self.ledger.violated(format!("the {end} has not noticed in time that connection {link} is dead"));
        }
    }

    fn must_be_closed(&mut self, link: u64) {
        let Some(line) = self.links.get(&link).filter(|line| line.up.swallows()) else { return };
        let hub = self.hub.as_ref().filter(|hub| !hub.stopping);
        if line.hub.is_some_and(|id| hub.is_some_and(|hub| hub.core.is_open(id))) {
            self.ledger.violated(format!("the relay has not closed in time connection {link}, which is dead"));
        }
    }

    /// The program of a party ends at once, and says nothing to anybody.
    pub(crate) fn vanish(&mut self, party: usize) {
        self.trace.note(33, party as u64, 0, || format!("party {party} vanishes"));
        self.parties[party].vanished = true;
        self.parties[party].destroyed = true;
        self.parties[party].deadline = None;
        let silently = self.rng.percent(50);
        for conn in CONNS {
            let Some(wired) = self.parties[party].wired[index(conn)].take() else { continue };
            let Some(line) = self.links.get_mut(&wired.link) else { continue };
            line.client = false;
            if silently {
                line.up.swallow();
                line.down.swallow();
            } else {
                line.up.end(usize::MAX, self.now + line.up.manner.latency);
            }
            self.look_later(wired.link, Way::Up);
        }
    }

    fn decide(&mut self, party: usize, source: Arc<str>, task: TaskId) {
        let manners = match self.parties[party].manners {
            _ if self.healed => Manners::Accepts,
            Manners::AnyOfThese => self.rng.pick(&[Manners::Accepts, Manners::Refuses, Manners::Ignores]),
            manners => manners,
        };
        if manners == Manners::Ignores {
            return;
        }
        let after = if self.healed || self.rng.percent(50) { Duration::ZERO } else { self.rng.millis(0, 8_000) };
        self.later(after, Happening::Decide { party, source, task, accept: manners == Manners::Accepts });
    }
}

/// What all runs cut their content out of.
fn material() -> Bytes {
    static MADE: OnceLock<Bytes> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let mut rng = Rng::new(0);
        let mut bytes = Vec::with_capacity(MATERIAL);
        while bytes.len() < MATERIAL {
            bytes.extend_from_slice(&rng.bytes());
        }
        bytes.into()
    });
    made.clone()
}

/// What of an event goes into the hash of a run.
fn weight(event: &Event) -> u64 {
    let id = |task: &TaskId| u64::from_le_bytes(task.as_bytes()[..8].try_into().unwrap_or_default());
    match event {
        Event::CommandRslt { task, err, .. } | Event::TransferRslt { task, err, .. } => id(task) ^ *err as u64,
        Event::Progress { task, sent, .. } => id(task) ^ sent << 1,
        Event::Command { task, .. } | Event::Buffer { task, .. } | Event::File { task, .. } => id(task) ^ 1 << 40,
        _ => 1,
    }
}

/// An event without its content.
fn brief(event: &Event) -> String {
    match event {
        Event::Command { source, task, data, .. } => format!("Command {task} of {} bytes from {source}", data.len()),
        Event::CommandRslt { task, err, .. } => format!("CommandRslt {task}: {err}"),
        Event::TransferRslt { task, err, .. } => format!("TransferRslt {task}: {err}"),
        Event::Buffer { source, task, .. } | Event::File { source, task, .. } => {
            format!("content of {task} from {source}")
        }
        other => format!("{other:?}"),
    }
}
