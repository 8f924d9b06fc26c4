//! A crowd whose connections and processes are broken while it works: cuts at random bytes (figure 1), and a mixture
//! of everything that is drawn anew every few seconds (F24).

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crvideo_proto::code;
use rustix::process::Signal;

use crate::crowd::{Crowd, Manners};
use crate::journal::{Journal, Kind};
use crate::ledger::{Holdings, Process, check, files_below};
use crate::outcome::Outcome;
use crate::party::{Habits, Party, StallWatch, until};
use crate::proxy::{CUTS, Cut, Draw, Fault, Lane, Plan, Proxy, Way};
use crate::relay::{Relay, Setup};
use crate::rng::Rng;

/// Proxies that the users share.
const PROXIES: usize = 8;
/// Tasks for each cut.
const TASKS_A_CUT: u64 = 10;
/// All kinds of content.
pub const KINDS: [Kind; 3] = [Kind::Command, Kind::Buffer, Kind::File];

/// A relay, proxies before it, and one journal.
struct Stage {
    dir: tempfile::TempDir,
    setup: Setup,
    journal: Arc<Journal>,
    proxies: Vec<Proxy>,
    before: Holdings,
    _watch: StallWatch,
}

impl Stage {
    fn new(seed: u64, change: impl FnOnce(&mut Setup)) -> (Self, Relay) {
        let dir = tempfile::tempdir().unwrap();
        let mut setup = Setup::in_dir(dir.path());
        change(&mut setup);
        let relay = setup.start().unwrap();
        std::fs::create_dir(dir.path().join("files")).unwrap();
        let journal = Arc::new(Journal::default());
        // The library's own threads and descriptors come with its first session and stay.
        drop(Party::logged_in("first", &Habits::in_dir(&dir.path().join("files")), &journal, relay.clients));
        // So does the pair of sockets by which tokio hears of signals.
        drop(Proxy::new(relay.clients));
        let before = Holdings::of(None);
        let calm: fn() -> Draw = || Box::new(|_, _| Plan::default());
        let proxies = (0..PROXIES).map(|at| Proxy::with_plan(relay.clients, seed ^ at as u64, calm())).collect();
        let watch = StallWatch::start(&journal);
        (Self { dir, setup, journal, proxies, before, _watch: watch }, relay)
    }

    fn files(&self) -> std::path::PathBuf {
        self.dir.path().join("files")
    }

    fn places(&self) -> Vec<SocketAddr> {
        self.proxies.iter().map(Proxy::address).collect()
    }

    fn cuts(&self) -> u64 {
        self.proxies.iter().map(|it| it.count("cut")).sum()
    }

    fn draw(&self, draw: impl Fn() -> Draw) {
        self.proxies.iter().for_each(|it| it.redraw(draw()));
    }

    /// Everything is healed: new connections are whole, and nothing is held any more.
    fn heal(&self) {
        self.proxies.iter().for_each(Proxy::heal);
    }

    /// Ends the run: all that was noted is judged, and nothing may be left.
    fn judge(self, outcome: &mut Outcome, stopped: Duration) {
        for proxy in &self.proxies {
            outcome.fired_all(proxy.fired());
        }
        let left = files_below(&self.files());
        if !left.is_empty() {
            outcome.violated(format!("I9: {} files are left: {:?}", left.len(), left.first()));
        }
        let Self { setup, journal, proxies, before, _watch, dir } = self;
        drop((proxies, _watch));
        outcome.report.violations.extend(setup.panics());
        let same = || Holdings::of(None).descriptors <= before.descriptors;
        if !until(Duration::from_secs(20), same) {
            let now = Holdings::of(None);
            let links = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
            let open: Vec<_> = links.filter_map(|it| std::fs::read_link(it.path()).ok()).collect();
            outcome.violated(format!("I9: {} descriptors became {}: {open:?}", before.descriptors, now.descriptors));
        }
        let process = Process { entries: journal.entries(), killed: false, stopped };
        outcome.report.add(check(&[process], &BTreeSet::new()));
        drop(dir);
    }
}

/// A connection that ends at some byte in some way.
fn cut_somewhere(rng: &mut Rng) -> Plan {
    let way = rng.pick(&[Way::Up, Way::Down]);
    // Some end while they are opened; most carry work.
    let at = if rng.percent(20) { rng.below(500) } else { rng.magnitude(500, 2_000_000) };
    let cut = if rng.percent(15) { Cut::Silence } else { rng.pick(&[Cut::Fin, Cut::Rst]) };
    Plan::cut(way, at, cut)
}

/// Figure 1: cuts at random bytes, all kinds of tasks, cancels, logouts, destroys, until so many cuts have fired and
/// ten times as many tasks have been sent.
pub fn cuts(seed: u64, cuts: u64) -> Outcome {
    let mut outcome = Outcome::new("cuts", seed);
    let (stage, relay) = Stage::new(seed, |_| {});
    stage.draw(|| Box::new(|_, rng| cut_somewhere(rng)));
    let manners = Manners { users: 64, restless: 1, largest: 2_000_000, at_once: 16, pause: 60 };
    let crowd = Crowd::start(&manners, &stage.places(), &Habits::in_dir(&stage.files()), &stage.journal, seed);
    let mut rng = Rng::of_part(seed, 2);
    let give_up = Instant::now() + Duration::from_secs(60) + Duration::from_millis(400) * cuts as u32;
    while stage.cuts() < cuts || crowd.sent() < cuts * TASKS_A_CUT {
        if Instant::now() > give_up {
            outcome.violated(format!("the run stands still at {} cuts and {} tasks", stage.cuts(), crowd.sent()));
            break;
        }
        // Tasks and cuts keep step.
        crowd.allow((stage.cuts() + 20) * (TASKS_A_CUT + 1));
        // Idle connections never reach their byte, so from time to time all of one proxy are cut.
        if rng.percent(20) {
            stage.proxies[rng.below(PROXIES as u64) as usize].cut(rng.pick(&[
                Cut::Fin,
                Cut::Rst,
                Cut::Fin,
                Cut::Silence,
            ]));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    stage.heal();
    outcome.report.violations.extend(crowd.settle(&KINDS));
    if let Err(error) = relay.stop() {
        outcome.violated(error);
    }
    outcome.trials = cuts;
    stage.judge(&mut outcome, Duration::ZERO);
    for cut in CUTS {
        outcome.must_have_fired(&format!("cut {cut:?}"), 1 + cuts / 50);
    }
    outcome
}

/// Runs a crowd on a quiet network, does one thing in the middle, and judges.
fn disturb(
    name: &'static str,
    seed: u64,
    change: impl FnOnce(&mut Setup),
    manners: Manners,
    disturb: impl FnOnce(&mut Outcome, &[Proxy], &Setup, Relay) -> (Relay, Duration),
) -> Outcome {
    let mut outcome = Outcome::new(name, seed);
    let (stage, relay) = Stage::new(seed, change);
    let crowd = Crowd::start(&manners, &stage.places(), &Habits::in_dir(&stage.files()), &stage.journal, seed);
    until(Duration::from_secs(30), || crowd.sent() > 5 * manners.users as u64);
    let (relay, stopped) = disturb(&mut outcome, &stage.proxies, &stage.setup, relay);
    stage.heal();
    outcome.report.violations.extend(crowd.settle(&KINDS));
    if let Err(error) = relay.stop() {
        outcome.violated(error);
    }
    stage.judge(&mut outcome, stopped);
    outcome
}

fn small_crowd(users: usize) -> Manners {
    Manners { users, restless: 0, largest: 500_000, at_once: 8, pause: 40 }
}

/// R25: SIGTERM under load, and a start at the same address: no success that is none.
pub fn restarts(seed: u64, count: u64) -> Outcome {
    let mut outcome = disturb(
        "restarts",
        seed,
        |_| {},
        small_crowd(16),
        |outcome, _, setup, mut relay| {
            let mut rng = Rng::of_part(seed, 3);
            for _ in 0..count {
                if let Err(error) = relay.stop() {
                    outcome.violated(error);
                }
                outcome.fired("SIGTERM", 1);
                std::thread::sleep(rng.millis(0, 500));
                relay = setup.start().unwrap();
                std::thread::sleep(rng.millis(500, 1_500));
            }
            (relay, Duration::ZERO)
        },
    );
    outcome.trials = count;
    outcome.must_have_fired("SIGTERM", count);
    outcome
}

/// F4 and F5: packets are lost and connections reset below TCP, for a while. To be run in a network namespace of its own,
/// as root: see [`packets`].
pub fn packets_here(seed: u64, time: Duration) -> Outcome {
    const RULES: &str = "table inet chaos {
        chain input {
            type filter hook input priority 0;
            meta l4proto tcp numgen random mod 1000 < 30 counter drop comment \"lost\"
            meta l4proto tcp numgen random mod 3000 < 1 counter reject with tcp reset comment \"reset\"
        }
    }";
    run_tool("ip", &["link", "set", "lo", "up"]);
    let mut outcome = disturb(
        "packets",
        seed,
        |_| {},
        small_crowd(16),
        |outcome, _, _, relay| {
            run_tool("nft", &[RULES]);
            std::thread::sleep(time);
            let counted = run_tool("nft", &["list", "ruleset"]);
            run_tool("nft", &["flush", "ruleset"]);
            for line in counted.lines() {
                let words: Vec<_> = line.split_whitespace().collect();
                let Some(at) = words.iter().position(|word| *word == "packets") else { continue };
                let what = if line.contains("drop") { "packet lost" } else { "packet answered by a reset" };
                outcome.fired(what, words.get(at + 1).and_then(|count| count.parse().ok()).unwrap_or(0));
            }
            (relay, Duration::ZERO)
        },
    );
    outcome.trials = 1;
    outcome.must_have_fired("packet lost", 1);
    outcome.must_have_fired("packet answered by a reset", 1);
    outcome
}

fn run_tool(name: &str, arguments: &[&str]) -> String {
    let done = Command::new(name).args(arguments).output().unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(done.status.success(), "{name} {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// Why packets cannot be lost here, if so.
pub fn no_packets() -> Option<String> {
    let works = |name: &str, arguments: &[&str]| {
        Command::new(name).args(arguments).output().is_ok_and(|done| done.status.success())
    };
    let all = works("unshare", &["-n", "sh", "-c", "ip link set lo up && nft list ruleset"]);
    (!all).then(|| "it needs root, unshare, ip (iproute2) and nft (nftables)".to_owned())
}

/// Starts `program packets …` in a network namespace of its own; it judges itself and prints what it has found.
pub fn packets(seed: u64, time: Duration, program: &Path) -> Outcome {
    let mut outcome = Outcome::new("packets", seed);
    let mut command = Command::new("unshare");
    command.arg("-n").arg(program).args(["packets", &seed.to_string(), &time.as_secs().to_string()]);
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    print!("{said}");
    if !done.status.success() {
        outcome.violated(format!("{said}{}", String::from_utf8_lossy(&done.stderr)));
    }
    let number = |name: &str| {
        let line = said.lines().rev().find(|line| line.starts_with("sum: "))?;
        line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse::<u64>().ok())
    };
    outcome.trials = 1;
    outcome.fired("packets", number("faults").unwrap_or(0));
    outcome.report.tasks = number("tasks").unwrap_or(0);
    outcome.report.delivered = number("delivered").unwrap_or(0);
    outcome.report.ends.insert(code::SEND_OUTCOME_UNKNOWN, number("unknown").unwrap_or(0));
    outcome.must_have_fired("packets", 1);
    outcome
}

/// F14: the relay is stopped with SIGSTOP for a while, and goes on.
pub fn relay_stopped(seed: u64, count: u64, longest: Duration) -> Outcome {
    let mut outcome = disturb(
        "relay stopped",
        seed,
        |_| {},
        small_crowd(16),
        |outcome, _, _, relay| {
            let mut rng = Rng::of_part(seed, 4);
            for _ in 0..count {
                relay.signal(Signal::STOP);
                outcome.fired("SIGSTOP relay", 1);
                std::thread::sleep(rng.millis(200, longest.as_millis() as u64));
                relay.signal(Signal::CONT);
                std::thread::sleep(rng.millis(200, 800));
            }
            (relay, Duration::ZERO)
        },
    );
    outcome.trials = count;
    outcome
}

/// F15: the relay's wall clock jumps while tasks run. Deadlines are none of the wall clock's business.
pub fn clock_jumps(seed: u64, count: u64, shim: &Path) -> Outcome {
    let jumps = tempfile::tempdir().unwrap();
    let file = jumps.path().join("now");
    // Written beside and renamed, because the shim may read at any moment.
    let jump = |offset: &str| {
        let new = file.with_extension("new");
        std::fs::write(&new, offset).and_then(|()| std::fs::rename(&new, &file)).unwrap();
    };
    jump("+0");
    let env = [
        ("LD_PRELOAD".to_owned(), shim.display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE".to_owned(), file.display().to_string()),
        ("DONT_FAKE_MONOTONIC".to_owned(), "1".to_owned()),
        ("FAKETIME_CACHE_DURATION".to_owned(), "1".to_owned()),
    ];
    let change = |setup: &mut Setup| setup.env.extend(env);
    let mut outcome = disturb("clock jumps", seed, change, small_crowd(8), |outcome, _, _, relay| {
        let mut rng = Rng::of_part(seed, 5);
        for _ in 0..count {
            jump(rng.pick(&["-3600", "+3600", "+315360000", "-315360000", "-86400"]));
            outcome.fired("clock jump", 1);
            std::thread::sleep(rng.millis(1_200, 2_500));
        }
        jump("+0");
        // The shim looks at its file once a second.
        std::thread::sleep(Duration::from_millis(1_500));
        (relay, Duration::ZERO)
    });
    let told = outcome.report.ends.clone();
    let by_time: u64 = [205, 1107].iter().filter_map(|err| told.get(err)).sum();
    if by_time > 0 {
        outcome.violated(format!("C27: a clock that jumped has ended {by_time} tasks: {told:?}"));
    }
    outcome.trials = count;
    outcome
}

/// F19: more work than the processors have time for, and the relay the last to get any.
pub fn starvation(seed: u64, time: Duration) -> Outcome {
    let change = |setup: &mut Setup| setup.before = vec!["nice".to_owned(), "-n".to_owned(), "19".to_owned()];
    disturb("starvation", seed, change, small_crowd(16), |outcome, _, _, relay| {
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let hogs: Vec<_> = (0..6)
            .map(|_| {
                let stop = stop.clone();
                std::thread::spawn(move || {
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                })
            })
            .collect();
        outcome.fired("busy threads", hogs.len() as u64);
        std::thread::sleep(time);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        hogs.into_iter().for_each(|hog| hog.join().unwrap());
        (relay, Duration::ZERO)
    })
}

/// What the mixed nemesis can do; drawn anew every few seconds.
fn mixed_plan(mask: u64) -> Draw {
    Box::new(move |_, rng| {
        let mut plan = Plan::default();
        for way in [Way::Up, Way::Down] {
            let lane = lane(mask, rng);
            plan = plan.with(way, |it| *it = lane);
        }
        if mask & 1 != 0 {
            let way = rng.pick(&[Way::Up, Way::Down]);
            let at = rng.magnitude(1, 1_000_000);
            let cut = Fault::Cut(rng.pick(&CUTS));
            plan = plan.with(way, |lane| {
                lane.faults.push((at, cut));
                lane.faults.sort_by_key(|it| it.0);
            });
        }
        plan.never_read = mask & 32 != 0 && rng.percent(20);
        plan
    })
}

fn lane(mask: u64, rng: &mut Rng) -> Lane {
    let mut lane = Lane::default();
    if mask & 2 != 0 {
        lane.latency = rng.millis(1, 80);
        lane.jitter = rng.millis(0, 40);
    }
    if mask & 4 != 0 {
        lane.rate = Some(rng.magnitude(20_000, 5_000_000));
        lane.slice = Some(8_192);
    }
    if mask & 8 != 0 {
        lane.slice = Some(rng.pick(&[1, 2, 7, 64]));
    }
    if mask & 16 != 0 {
        lane.faults.push((rng.magnitude(1, 100_000), Fault::Stall(rng.millis(100, 4_000))));
    }
    if mask & 64 != 0 {
        lane.faults.push((rng.magnitude(200_000, 500_000), Fault::HalfClose));
    }
    lane
}

/// F24: a random set of faults, drawn anew every few seconds, a quarter of the time calm; then everything is healed
/// and something new succeeds within 30 s.
pub fn mixed(seed: u64, time: Duration) -> Outcome {
    let manners = Manners { users: 24, restless: 1, largest: 1_000_000, at_once: 8, pause: 100 };
    let mut outcome = disturb(
        "mixed",
        seed,
        |_| {},
        manners,
        |outcome, proxies, setup, relay| {
            let mut nemesis = Nemesis { rng: Rng::of_part(seed, 6), proxies, setup, outcome };
            let until = Instant::now() + time;
            let mut relay = relay;
            while Instant::now() < until {
                relay = nemesis.period(relay);
            }
            (relay, Duration::ZERO)
        },
    );
    outcome.trials = outcome.faults();
    outcome.must_have_fired("cut", 1);
    outcome
}

struct Nemesis<'a> {
    rng: Rng,
    proxies: &'a [Proxy],
    setup: &'a Setup,
    outcome: &'a mut Outcome,
}

impl Nemesis<'_> {
    fn period(&mut self, mut relay: Relay) -> Relay {
        let length = self.rng.millis(1_500, 4_000);
        if self.rng.percent(25) {
            self.proxies.iter().for_each(|it| it.redraw(Box::new(|_, _| Plan::default())));
            std::thread::sleep(length);
            return relay;
        }
        // Each kind is there in one of three periods.
        let mask = (0..7).filter(|_| self.rng.percent(35)).fold(0, |mask, bit| mask | 1 << bit);
        for proxy in self.proxies {
            proxy.redraw(mixed_plan(mask));
            if self.rng.percent(60) {
                // Old connections make way for new ones with the new plan.
                proxy.cut(self.rng.pick(&[Cut::Fin, Cut::Rst]));
            }
        }
        let some = &self.proxies[self.rng.below(self.proxies.len() as u64) as usize];
        match self.rng.below(8) {
            0 => {
                relay.kill();
                self.outcome.fired("SIGKILL relay", 1);
                std::thread::sleep(self.rng.millis(0, 1_500));
                relay = self.setup.start().unwrap();
            }
            1 => {
                relay.signal(Signal::STOP);
                self.outcome.fired("SIGSTOP relay", 1);
                std::thread::sleep(self.rng.millis(100, 3_000));
                relay.signal(Signal::CONT);
            }
            2 => some.refuse(true),
            3 => some.go_silent(true),
            4 => some.go_silent_one_way(self.rng.pick(&[Way::Up, Way::Down]), true),
            _ => {}
        }
        std::thread::sleep(length);
        some.refuse(false);
        some.go_silent(false);
        relay
    }
}

/// Rounds of mixed faults for a soak: what the library's process and the relay hold after each, with everything ended.
pub fn soak_round(seed: u64, time: Duration, relay: &Relay, dir: &Path) -> (Outcome, [Holdings; 2]) {
    let mut outcome = Outcome::new("soak", seed);
    let journal = Arc::new(Journal::default());
    {
        let watch = StallWatch::start(&journal);
        let proxy = Proxy::with_plan(relay.clients, seed, mixed_plan(0));
        let manners = Manners { users: 16, restless: 1, largest: 1_000_000, at_once: 8, pause: 60 };
        let crowd = Crowd::start(&manners, &[proxy.address()], &Habits::in_dir(dir), &journal, seed);
        let end = Instant::now() + time;
        let mut rng = Rng::of_part(seed, 7);
        while Instant::now() < end {
            let mask = (0..7).filter(|_| rng.percent(35)).fold(0, |mask, bit| mask | 1 << bit);
            proxy.redraw(mixed_plan(if rng.percent(25) { 0 } else { mask }));
            proxy.cut(rng.pick(&[Cut::Fin, Cut::Rst]));
            std::thread::sleep(rng.millis(500, 3_000));
        }
        proxy.heal();
        outcome.report.violations.extend(crowd.settle(&KINDS));
        outcome.fired_all(proxy.fired());
        drop(watch);
    }
    let process = Process { entries: journal.entries(), killed: false, stopped: Duration::ZERO };
    drop(journal);
    outcome.report.add(check(&[process], &BTreeSet::new()));
    outcome.trials = 1;
    // Connections end a little later than what they were for.
    let settled = Holdings::of(Some(relay.id()));
    until(Duration::from_secs(10), || Holdings::of(Some(relay.id())).descriptors < settled.descriptors);
    (outcome, [Holdings::of(None), Holdings::of(Some(relay.id()))])
}
