//! Time, and everything that moves in it.

mod application;
mod net;
mod patience;
mod shell;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use crvideo_proto::code;
use crvideo_proto::id::TaskId;
use crvideo_proto::message::Rtm;
use crvideo_proto::session::{Conn, Event, Now};
use crvideo_relay::core::ConnectionId;

use crate::agenda::Agenda;
use crate::credit::Credit;
use crate::defect::Defect;
use crate::files::{Done, Job};
use crate::hub::Hub;
use crate::ledger::Ledger;
use crate::meddler::Tape;
use crate::party::{Manners, Party};
use crate::pipe::Pipe;
use crate::plan::{FILE_LIMIT, PROJECTS, Plan, Project, RESTLESS, USERS};
use crate::rng::Rng;
use crate::trace::Trace;
use crate::trials::Hardship;

/// The start of every run, in microseconds since 1970.
pub(crate) const START_MICROS: u64 = 1_000_000_000_000_000;
/// All content is cut out of this much.
const MATERIAL: usize = 4 * 1_024 * 1_024;
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
    /// A connection breaks.
    Break(u64),
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
    pub(crate) tapes: BTreeMap<(usize, usize, Way), Tape>,
    pub(crate) mailbox: BTreeMap<(i64, &'static str), Vec<Rtm>>,
    pub(crate) ledger: Ledger,
    pub(crate) credit: Credit,
    pub(crate) trace: Trace,
    pub(crate) defect: Option<Defect>,
    /// How often the planted defect has struck.
    pub(crate) struck: u64,
    held_back: Option<(usize, Event)>,
    pub(crate) material: Bytes,
    pub(crate) healed: bool,
    /// On every new connection, all that passed on the earlier ones comes again, and nothing else is wrong.
    pub(crate) haunted: bool,
    /// The next call uses the id of another incarnation of its user.
    pub(crate) again: bool,
    /// What the trial that is under way makes worse.
    pub(crate) hardship: Hardship,
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
        let credit = Credit::judging(plan.meddled == 0);
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
            credit,
            trace: Trace::new(with_lines),
            defect,
            struck: 0,
            held_back: None,
            material: material(),
            healed: false,
            haunted: false,
            again: false,
            hardship: Hardship::default(),
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

    /// Something happens now.
    pub(crate) fn happen_now(&mut self, what: Happening) {
        self.happen(what);
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
            Happening::Break(link) => self.break_link(link),
            Happening::KillHub => self.kill_hub(),
            Happening::StartHub => self.start_hub(),
        }
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
