//! Faults that hit at one moment only, which chance hardly finds. Each trial begins when all is well, with two users of
//! one project, and what it says of the end holds by the contract alone.

mod absence;
mod bulk;
mod files;
mod repetition;

use std::time::Duration;

use crvideo_proto::id::TaskId;
use crvideo_proto::session::{Conn, Kind};

use crate::files::Job;
use crate::ledger::What;
use crate::script::{EVERYBODY_BACK, PROBE_PATIENCE};
use crate::world::{Way, World, index};

/// How closely a trial looks for its moment.
const CLOSELY: Duration = Duration::from_micros(500);

/// What a trial makes worse, for as long as it lasts.
#[derive(Debug, Default)]
pub(crate) struct Hardship {
    /// Boxes on all new connections keep what passes, and the trial says what they repeat.
    pub(crate) taped: bool,
    /// The connections of a party take until then to be made.
    pub(crate) unreachable: Option<(usize, Duration)>,
    /// So many new bulk connections of a party break at once.
    pub(crate) fragile: Option<(usize, u32)>,
    /// Applications decide nothing by themselves.
    pub(crate) undecided: bool,
    /// Removing what a sink has taken takes so long at least.
    pub(crate) removal: Duration,
    /// Writing to a sink takes so long at least.
    pub(crate) writing: Duration,
    /// Completing one does.
    pub(crate) finishing: Duration,
}

impl Hardship {
    pub(crate) fn unreachable_for(&self, party: usize, now: Duration) -> Duration {
        let until = self.unreachable.filter(|(of, _)| *of == party).map_or(now, |(_, until)| until);
        until.saturating_sub(now)
    }

    pub(crate) fn breaks_bulk_of(&mut self, party: usize) -> bool {
        match &mut self.fragile {
            Some((of, left)) if *of == party && *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        }
    }

    pub(crate) fn work(&self, job: &Job) -> Duration {
        match job {
            Job::Open => Duration::ZERO,
            Job::Write(_) => self.writing,
            Job::Finish(_) => self.finishing,
        }
    }
}

impl World {
    /// One of the trials, if there are two who can undergo it.
    pub(crate) fn trial(&mut self) {
        let mut in_now = (0..self.parties.len()).filter(|at| self.parties[*at].is_in());
        let Some(one) = in_now.next() else { return };
        let project = self.parties[one].project;
        let Some(other) = in_now.find(|at| self.parties[*at].project == project) else { return };
        let which = self.rng.below(TRIALS.len());
        let (name, trial) = TRIALS[which];
        self.trace.note(37, one as u64, which as u64, || format!("party {one} and party {other} undergo {name}"));
        trial(self, one, other);
        self.hardship = Hardship::default();
        self.wait_for(EVERYBODY_BACK, World::everybody_is_in);
        self.wait_for(PROBE_PATIENCE * 4, |world| world.ledger.all_ended() && world.is_quiet());
    }

    /// Runs until something is true, looking closely.
    fn watch_for(&mut self, patience: Duration, what: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + patience;
        while self.ledger.violation.is_none() && self.now < end {
            if what(self) {
                return true;
            }
            self.run_until(self.now + CLOSELY);
        }
        false
    }

    fn pass(&mut self, time: Duration) {
        self.run_until(self.now + time);
    }

    /// A transfer from one party to another; `sure`: it must succeed.
    fn try_transfer(&mut self, from: usize, to: usize, size: usize, timeout: Duration, sure: bool) -> TaskId {
        let task = TaskId::random(self.rng.bytes());
        self.try_task(task, from, to, size, timeout, sure);
        task
    }

    fn try_task(&mut self, task: TaskId, from: usize, to: usize, size: usize, timeout: Duration, sure: bool) {
        let content = self.content(size);
        let target = self.parties[to].user;
        self.call(from, target, What::Transfer(Kind::File), task, content, Some(timeout), None, sure, true);
    }

    /// What an application wants to hear of transfers that come in.
    fn wants(&mut self, party: usize, offers: bool) {
        self.parties[party].wants_offers = offers;
        self.parties[party].session.set_wants(offers, true);
    }

    fn link_of(&self, party: usize, conn: Conn) -> Option<u64> {
        self.parties[party].wired[index(conn)].filter(|wired| wired.open && !wired.given_up).map(|wired| wired.link)
    }

    /// Makes sure that a party has a bulk connection, by sending it something.
    fn bring_up_bulk(&mut self, from: usize, to: usize) -> bool {
        self.try_transfer(from, to, 10, PROBE_PATIENCE, true);
        self.wait_for(PROBE_PATIENCE, |world| world.ledger.all_ended() && world.is_quiet());
        self.link_of(to, Conn::Bulk).is_some() && self.link_of(from, Conn::Bulk).is_some()
    }

    /// A connection breaks, and what is on its way is lost.
    pub(crate) fn break_link(&mut self, link: u64) {
        for way in [Way::Up, Way::Down] {
            let Some(line) = self.links.get_mut(&link) else { continue };
            line.pipe(way).end(0, self.now);
            self.look_later(link, way);
        }
    }

    /// All links of a party swallow everything from now on, and it comes back no sooner than told.
    fn silence(&mut self, party: usize, ways: &[Way], until: Duration) {
        self.hardship.unreachable = Some((party, until));
        for line in self.links.values_mut().filter(|line| line.party == party) {
            ways.iter().for_each(|way| line.pipe(*way).swallow());
        }
    }

    /// Limits of sizes and speeds, and short patience, make most trials pointless.
    fn can_send(&self, size: u64) -> bool {
        let limit = self.ledger.file_limit.unwrap_or(u64::MAX);
        self.ledger.send_rate.is_none() && size <= limit
    }
}

type Trial = fn(&mut World, usize, usize);

const TRIALS: [(&str, Trial); 13] = [
    ("an answer that is lost", World::lose_an_answer),
    ("a target that hears and cannot speak", World::be_mute),
    ("a cancel that nobody hears", World::cancel_in_vain),
    ("an end that is known too early", World::be_missed),
    ("a bulk connection that is torn", World::tear_bulk),
    ("a bulk connection that is wanted again", World::want_bulk_again),
    ("fragile bulk connections", World::have_fragile_bulk),
    ("commands that are never written", World::write_nothing),
    ("a late decision", World::decide_late),
    ("a sender that leaves when all is sent", World::leave_behind),
    ("sources that are read too far ahead", World::hoard),
    ("repetitions of earlier incarnations", World::hear_ghosts),
    ("repetitions of the target's words", World::hear_echoes),
];
