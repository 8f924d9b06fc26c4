//! Many users at work: all kinds of tasks, cancels, logouts, new sessions, logins elsewhere.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crvideo_proto::code;

use crate::journal::{Journal, Kind};
use crate::party::{Habits, Party, own_id, until};
use crate::rng::Rng;

/// Once everything is healed, something new succeeds within this time (I12).
pub const RECOVERY: Duration = Duration::from_secs(30);

/// How the crowd behaves.
#[derive(Debug, Clone)]
pub struct Manners {
    /// Users.
    pub users: usize,
    /// Of a hundred steps, those that end a session in some way.
    pub restless: u64,
    /// Largest buffer and file.
    pub largest: u64,
    /// Tasks of one user that run at once.
    pub at_once: u64,
    /// Milliseconds between two steps of one user, at most.
    pub pause: u64,
}

/// Orders to all users.
struct Orders {
    stop: AtomicBool,
    /// Tasks that may have been sent by now.
    allowed: AtomicU64,
    sent: AtomicU64,
    /// Milliseconds between two steps, at most.
    pause: AtomicU64,
}

/// The users, each on a thread of its own.
pub struct Crowd {
    orders: Arc<Orders>,
    threads: Vec<JoinHandle<Party>>,
    places: Vec<SocketAddr>,
}

impl Crowd {
    /// Starts them; user number n connects to place n, from the start again.
    pub fn start(manners: &Manners, places: &[SocketAddr], habits: &Habits, journal: &Arc<Journal>, seed: u64) -> Self {
        let orders = Arc::new(Orders {
            stop: AtomicBool::new(false),
            allowed: AtomicU64::new(u64::MAX),
            sent: AtomicU64::new(0),
            pause: AtomicU64::new(manners.pause),
        });
        let places: Vec<_> = places.iter().copied().cycle().take(manners.users).collect();
        let threads = places.iter().enumerate().map(|(number, place)| {
            let worker = Worker {
                number,
                at: *place,
                manners: manners.clone(),
                habits: habits.clone(),
                journal: journal.clone(),
                orders: orders.clone(),
                rng: Rng::of_part(seed, 1_000 + number as u64),
            };
            std::thread::spawn(move || worker.work())
        });
        let threads = threads.collect();
        Self { orders, threads, places }
    }

    /// Tasks that were sent.
    pub fn sent(&self) -> u64 {
        self.orders.sent.load(Ordering::SeqCst)
    }

    /// Lets the users send so many tasks in all, from now on.
    pub fn allow(&self, tasks: u64) {
        self.orders.allowed.store(tasks, Ordering::SeqCst);
    }

    /// Everybody stops sending. Then all tasks end, and something new succeeds between all of them; what does not is
    /// returned as violations.
    pub fn settle(self, kinds: &[Kind]) -> Vec<String> {
        self.orders.stop.store(true, Ordering::SeqCst);
        let mut wrong = Vec::new();
        let joined = self.threads.into_iter().map(JoinHandle::join);
        let parties: Vec<_> = joined.map(|it| it.expect("a user's thread does not panic")).collect();
        let all_ended = Instant::now() + Duration::from_secs(60);
        for party in &parties {
            if !party.settle(all_ended.saturating_duration_since(Instant::now())) {
                wrong.push(format!("I1: {} tasks of {} do not end", party.open(), party.user));
            }
        }
        let healed = Instant::now();
        let left = || RECOVERY.saturating_sub(healed.elapsed());
        for (party, place) in parties.iter().zip(&self.places) {
            if party.is_out() && !party.log_in_within(left(), *place) {
                wrong.push(format!(
                    "I12: {} cannot log in {:?} after everything was healed",
                    party.user,
                    healed.elapsed()
                ));
            }
        }
        std::thread::scope(|scope| {
            let probes: Vec<_> = parties
                .iter()
                .enumerate()
                .map(|(at, party)| {
                    let target = &parties[(at + 1) % parties.len()];
                    scope.spawn(move || probe(party, &target.user, kinds, healed))
                })
                .collect();
            wrong.extend(probes.into_iter().flat_map(|it| it.join().expect("a probe does not panic")));
        });
        wrong
    }
}

/// What of these kinds does not get from one to another within [`RECOVERY`].
fn probe(party: &Party, target: &str, kinds: &[Kind], healed: Instant) -> Vec<String> {
    let mut wrong = Vec::new();
    for kind in kinds {
        let mut tries = Vec::new();
        let works = || {
            let began = healed.elapsed();
            let end = party.result(*kind, target, b"probe", RECOVERY.saturating_sub(healed.elapsed()));
            tries.push((began, end));
            end == Some(code::NOERR)
        };
        if !until(RECOVERY.saturating_sub(healed.elapsed()), works) {
            let (of, lines) = (&party.user, party.lines());
            tries.dedup_by_key(|it| it.1);
            wrong.push(format!("I12: no {kind:?} from {of} to {target}, lines lost and found {lines:?}: {tries:?}"));
        }
    }
    wrong
}

struct Worker {
    number: usize,
    at: SocketAddr,
    manners: Manners,
    habits: Habits,
    journal: Arc<Journal>,
    orders: Arc<Orders>,
    rng: Rng,
}

impl Worker {
    fn work(mut self) -> Party {
        let name = format!("user-{}", self.number);
        let mut party = Party::new(&name, &self.habits, &self.journal);
        while !self.orders.stop.load(Ordering::SeqCst) {
            if party.is_out() && party.login(self.at) != code::NOERR {
                std::thread::sleep(self.rng.millis(5, 50));
                continue;
            }
            if self.rng.percent(self.manners.restless) {
                party = self.turn(party, &name);
            } else if party.open() < self.manners.at_once && self.may_send() {
                self.send(&party);
            }
            let pause = self.orders.pause.load(Ordering::SeqCst);
            std::thread::sleep(self.rng.millis(0, pause));
        }
        party
    }

    fn may_send(&self) -> bool {
        self.orders.sent.load(Ordering::SeqCst) < self.orders.allowed.load(Ordering::SeqCst)
    }

    fn send(&mut self, party: &Party) {
        let kind = match self.rng.below(10) {
            0..6 => Kind::Command,
            6..8 => Kind::Buffer,
            _ => Kind::File,
        };
        let largest = if kind == Kind::Command { 8_192 } else { self.manners.largest };
        let size = if self.rng.percent(5) { 0 } else { self.rng.magnitude(1, largest) };
        let content = self.rng.bytes(size as usize);
        let target = format!("user-{}", self.rng.below(self.manners.users as u64));
        let id = self.rng.percent(50).then(|| own_id(&mut self.rng));
        if party.send(kind, &target, &content, id).is_some() {
            self.orders.sent.fetch_add(1, Ordering::SeqCst);
        }
        if self.rng.percent(10) {
            party.cancel_some(&mut self.rng);
        }
    }

    /// Ends a session in one of the ways there are.
    fn turn(&mut self, party: Party, name: &str) -> Party {
        match self.rng.below(4) {
            0 => party.logout(),
            1 => {
                party.destroy();
                return Party::new(name, &self.habits, &self.journal);
            }
            2 => {
                // Logs in elsewhere, which ends the session here.
                let other = Party::new(name, &self.habits, &self.journal);
                other.login(self.at);
                return other;
            }
            _ => party.cancel_some(&mut self.rng),
        }
        party
    }
}
