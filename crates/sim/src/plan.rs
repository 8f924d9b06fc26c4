//! What a seed draws before anything happens: who there is, how patient everybody is, what may go wrong.

use std::time::Duration;

use crvideo_proto::session::Config;
use crvideo_relay::core::Settings;

use crate::pipe::Manner;
use crate::rng::Rng;

/// The users.
pub(crate) const USERS: [&str; 3] = ["alice", "bob", "carol"];

/// The one who may come and go where all else is well.
pub(crate) const RESTLESS: &str = USERS[2];

/// A project: its id and its secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Project {
    pub(crate) id: i64,
    pub(crate) secret: &'static str,
}

/// The projects. The same names stand for different users in each of them.
pub(crate) const PROJECTS: [Project; 2] = [Project { id: 1, secret: "secret" }, Project { id: 2, secret: "other" }];

/// A session closes its bulk connection when nothing has needed it for so long.
pub(crate) const BULK_IDLE: Duration = Duration::from_secs(30);

/// Bytes that a patient session sends in a second.
const PATIENT_RATE: u64 = 100_000;

/// Files may not be larger where a project limits them.
pub(crate) const FILE_LIMIT: u64 = 50_000;

/// How often something is drawn, relative to all else.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weights {
    pub(crate) command: u64,
    pub(crate) flood: u64,
    pub(crate) transfer: u64,
    pub(crate) cancel: u64,
    pub(crate) repeat: u64,
    pub(crate) receiver: u64,
    pub(crate) mood: u64,
    pub(crate) ask: u64,
    pub(crate) login: u64,
    pub(crate) logout: u64,
    pub(crate) destroy: u64,
    pub(crate) cut: u64,
    pub(crate) freeze: u64,
    pub(crate) relay: u64,
    pub(crate) post: u64,
    pub(crate) operator: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Nothing is broken on purpose.
    pub(crate) calm: bool,
    pub(crate) config: Config,
    pub(crate) settings: Settings,
    pub(crate) projects: usize,
    pub(crate) users: usize,
    /// Projects limit the size of files.
    pub(crate) limits_files: bool,
    /// Out of a hundred logins, so many are by a token that does not last long.
    pub(crate) tokens: u64,
    /// Out of a hundred logins, so many are by a credential that is no good.
    pub(crate) forged: u64,
    /// Out of a hundred jobs of a sink, so many take very long.
    pub(crate) hangs: u64,
    /// Devices of each user; logging in on one ends the session on the other.
    pub(crate) devices: usize,
    pub(crate) rounds: usize,
    pub(crate) steps: usize,
    /// Time between two steps at least.
    pub(crate) rest: Duration,
    /// Longest time between two steps beyond that.
    pub(crate) step: Duration,
    pub(crate) weights: Weights,
    /// Out of a hundred transfers, so many have a source or a sink that fails.
    pub(crate) bad_files: u64,
    /// A relay that starts again knows the epochs that it has given.
    pub(crate) keeps_epochs: bool,
    /// How fast applications handle their events at most, in milliseconds each.
    pub(crate) slowness: u64,
    /// How long a source or a sink takes at most for a piece, in milliseconds.
    pub(crate) disk: u64,
    /// Out of a hundred connections, so many are slow.
    pub(crate) slow: u64,
    /// Out of a hundred connections, so many take seconds to be made.
    pub(crate) slow_connects: u64,
    /// [`RESTLESS`] comes and goes, which is nothing to the others.
    pub(crate) restless: bool,
    /// Transfers take longer than a transfer may go without progress, and make progress all the time.
    pub(crate) patient: bool,
    /// Out of a hundred connections, on so many a box on the way meddles with frames.
    pub(crate) meddled: u64,
    /// Out of a hundred connections, so many are encrypted, so that their frames have no seals.
    pub(crate) encrypted: u64,
    /// The largest command in most bursts.
    pub(crate) command_size: usize,
    /// Relay and clients use small buffers everywhere.
    pub(crate) narrow: bool,
    /// The largest content of most transfers.
    pub(crate) transfer_size: u64,
}

impl Plan {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let calm = rng.percent(15);
        let narrow = rng.percent(25);
        let heartbeat = rng.millis(1_000, 20_000);
        let seconds = |rng: &mut Rng, low: u64, high: u64| rng.millis(low * 1_000, high * 1_000);
        let resume_window = rng.pick(&[5, 20, 60]);
        let grace = rng.pick(&[0, 3, 10]).min(resume_window);
        let settings = Settings {
            max_connections: 1_000,
            max_before_login: 20,
            login_deadline: Duration::from_secs(10),
            heartbeat,
            resume_window: Duration::from_secs(resume_window),
            startup_grace: Duration::from_secs(grace),
            stall_timeout: Duration::from_secs(30),
            command_queue: if narrow { rng.pick(&[64, 128]) * 1_024 } else { 1_024 * 1_024 },
            bulk_queue: if narrow { rng.pick(&[512, 1_024]) * 1_024 } else { 4 * 1_024 * 1_024 },
            guard: crvideo_relay::GuardSettings::default(),
        };
        let short = rng.percent(50) && !calm;
        let config = Config {
            command_timeout: if short { seconds(rng, 1, 10) } else { Duration::from_secs(30) },
            max_send_bytes_per_s: if rng.percent(10) { rng.pick(&[50_000, 200_000]) } else { 0 },
            transfer_timeout: if short { seconds(rng, 2, 20) } else { Duration::from_secs(60) },
            offer_timeout: if short { seconds(rng, 1, 5) } else { Duration::from_secs(20) },
            buffer_limit: 1_280 * 1_024,
            inbound_limit: rng.pick(&[512, 768, 2_048, 8_192, 262_144]) * 1_024,
            agent: "simulation",
        };
        let weights = Weights {
            command: rng.between(2, 20),
            flood: if rng.percent(20) { 2 } else { 0 },
            transfer: rng.between(0, 10),
            cancel: rng.between(0, 5),
            repeat: rng.between(0, 3),
            receiver: rng.between(0, 3),
            mood: rng.between(0, 4),
            ask: rng.between(0, 2),
            login: if calm { 0 } else { rng.between(0, 4) },
            logout: if calm { 0 } else { rng.between(0, 3) },
            destroy: if calm { 0 } else { rng.between(0, 1) },
            cut: if calm { 0 } else { rng.between(0, 8) },
            freeze: if calm { 0 } else { rng.between(0, 4) },
            relay: if calm { 0 } else { rng.between(0, 2) },
            post: if rng.percent(30) { 3 } else { 0 },
            operator: if rng.percent(10) && !calm { 2 } else { 0 },
        };
        let projects = if rng.percent(20) { 2 } else { 1 };
        let mut plan = Self {
            calm,
            config,
            settings,
            projects,
            users: if rng.percent(80) { 2 + rng.below(2) } else { 1 },
            limits_files: rng.percent(10),
            tokens: if rng.percent(25) { 50 } else { 0 },
            forged: if rng.percent(10) && !calm { 30 } else { 0 },
            hangs: if rng.percent(10) && !calm { 2 } else { 0 },
            devices: if calm || projects > 1 { 1 } else { 1 + rng.below(2) },
            rounds: 1 + rng.below(2),
            steps: rng.between(5, 50) as usize,
            rest: Duration::ZERO,
            step: rng.pick(&[3, 30, 300, 3_000].map(Duration::from_millis)),
            weights,
            bad_files: if rng.percent(30) { 10 } else { 0 },
            keeps_epochs: rng.percent(50),
            slowness: rng.pick(&[1, 10, 100, 400]),
            disk: rng.pick(&[3, 3, 50, if calm { 50 } else { 500 }]),
            slow: rng.pick(&[0, 10, 20, 60]),
            slow_connects: if calm { 0 } else { 5 },
            restless: false,
            patient: false,
            meddled: if rng.percent(15) && !calm { 40 } else { 0 },
            encrypted: rng.pick(&[0, 30, 100]),
            command_size: rng.pick(&[100, 100, 2_000, 2_000, 65_536]),
            narrow,
            transfer_size: rng.pick(&[5_000, 20_000, 60_000, 100_000, 600_000]),
        };
        if !calm {
            plan.concentrate(rng);
        } else {
            if rng.percent(30) {
                plan.be_patient();
            }
            plan.restless = rng.percent(50);
            if plan.restless {
                plan.users = USERS.len();
                (plan.weights.login, plan.weights.logout, plan.weights.destroy) = (2, 2, 1);
            }
        }
        plan
    }

    /// Nothing is broken, and whoever counts time without looking at progress breaks off what goes well.
    fn be_patient(&mut self) {
        self.patient = true;
        let it = &mut self.weights;
        (it.command, it.flood, it.transfer, it.mood) = (2, 0, 6, 0);
        self.config.max_send_bytes_per_s = PATIENT_RATE;
        self.config.transfer_timeout = Duration::from_secs(5);
        self.config.inbound_limit = 8_192 * 1_024;
        (self.bad_files, self.slow, self.disk, self.slowness) = (0, 0, 3, 10);
        (self.step, self.steps, self.transfer_size) = (Duration::from_millis(8_000), 8, 600_000);
    }

    /// Most runs are about one thing, because what takes three rare events in a row hardly happens in a mixture.
    fn concentrate(&mut self, rng: &mut Rng) {
        let it = &mut self.weights;
        match rng.below(10) {
            // The relay comes back again and again, and sessions with it, not always in order.
            0 => {
                (it.command, it.transfer, it.relay, it.login, it.cut, it.repeat) = (14, 3, 5, 3, 3, 3);
                (self.step, self.devices) = (Duration::from_millis(1_000), 1 + rng.below(2));
                self.settings.startup_grace = self.settings.resume_window.min(Duration::from_secs(10));
            }
            // Users come and go, while links break.
            1 => {
                (it.command, it.transfer, it.login, it.logout, it.destroy, it.cut, it.repeat) = (16, 4, 6, 6, 2, 6, 6);
                (self.users, self.projects, self.devices) = (2, 1, 2);
                self.step = rng.pick(&[30, 300].map(Duration::from_millis));
            }
            // Applications are too slow for what comes, and their senders give up and go on.
            2 => {
                (it.command, it.flood, it.mood, it.cut, it.freeze, it.post) = (14, 4, 6, 4, 3, 3);
                (self.slowness, self.users, self.command_size) = (400, 2, 65_536);
                self.config.inbound_limit = 512 * 1_024;
                self.config.command_timeout = rng.millis(500, 10_000);
            }
            // Transfers break in the middle, and are cancelled then.
            3 => {
                (it.command, it.transfer, it.cancel, it.receiver, it.cut, it.freeze) = (4, 14, 6, 3, 8, 3);
                (self.disk, self.transfer_size, self.users) = (500, 600_000, 2);
                self.config.transfer_timeout = rng.millis(2_000, 60_000);
            }
            // Two users, and hardly anything but commands and broken links.
            4 => {
                (it.command, it.transfer, it.cut, it.freeze, it.mood) = (20, 1, 10, 4, 2);
                (self.users, self.projects) = (2, 1);
                self.step = rng.pick(&[3, 30, 300].map(Duration::from_millis));
            }
            // Bulk connections are closed because nothing needs them, just when something does.
            5 => {
                (it.command, it.transfer, it.cancel, it.cut, it.freeze) = (2, 14, 2, 3, 1);
                self.rest = BULK_IDLE - Duration::from_millis(300);
                (self.step, self.steps, self.slow) = (Duration::from_millis(600), 5 + rng.below(10), 60);
                (self.users, self.projects) = (2, 1);
            }
            // Links are lost for longer than the relay waits for who was there.
            7 => {
                (it.command, it.transfer, it.cut, it.freeze, it.repeat, it.ask) = (14, 4, 8, 3, 3, 2);
                (self.users, self.projects, self.slow_connects) = (2, 1, 60);
                self.settings.resume_window = Duration::from_secs(5);
                self.settings.startup_grace = Duration::ZERO;
                self.step = rng.pick(&[30, 300, 3_000].map(Duration::from_millis));
            }
            // Boxes on the way have the frames of earlier sessions at hand.
            6 | 8 => {
                (it.command, it.transfer, it.login, it.logout, it.cut) = (10, 5, 5, 4, 3);
                (it.flood, it.cancel, it.repeat) = (rng.below(2) as u64, 3, 6);
                (self.users, self.projects, self.meddled) = (2, 1, 60);
                (self.devices, self.encrypted) = (1 + rng.below(2), rng.pick(&[0, 100, 100]));
            }
            _ => {}
        }
    }

    /// How connections behave when all is well.
    pub(crate) fn good_manner() -> Manner {
        let capacity = 1_024 * 1_024;
        Manner { capacity, latency: Duration::from_millis(1), portion: capacity, pause: Duration::from_micros(20) }
    }

    /// How a new connection behaves in one direction.
    pub(crate) fn manner(&self, rng: &mut Rng, bulk: bool) -> Manner {
        let slow = rng.percent(self.slow);
        if self.calm && slow {
            // Slow, but not so slow that anybody's patience ends.
            let (latency, pause) = (rng.millis(1, 30), Duration::from_micros(100));
            return Manner { capacity: 64 * 1_024, latency, portion: 2_000, pause };
        }
        Manner {
            capacity: if self.narrow && !self.calm {
                rng.pick(&[5_000, 30_000])
            } else {
                rng.pick(&[64 * 1_024, 1_024 * 1_024])
            },
            latency: if slow { rng.millis(10, 200) } else { rng.millis(0, 3) },
            portion: match (slow, bulk) {
                (true, true) => 20_000,
                (true, false) => rng.pick(&[400, 2_000]),
                (false, _) => rng.pick(&[1_448, 64 * 1_024, 1_024 * 1_024]),
            },
            pause: if slow { rng.millis(0, 3) } else { Duration::from_micros(20) },
        }
    }
}
