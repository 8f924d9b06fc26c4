//! Figure 3 on the wire: content whose bits change on its way, and frames that come twice, late or from another time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crvideo_proto::code;

use crate::frames::FrameFault;
use crate::journal::{Journal, Kind};
use crate::ledger::{Process, check};
use crate::outcome::Outcome;
use crate::party::{Habits, Party, StallWatch};
use crate::proxy::{Draw, Fault, Lane, Plan, Proxy, Way};
use crate::relay::Setup;
use crate::rng::Rng;

/// Frames between two faults of one connection, at most.
const FRAMES_APART: u64 = 12;
/// Faults that are planned for one connection.
const PLANNED: usize = 200;
/// Who sends to each other.
const USERS: u64 = 8;
/// No run stands still for so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is done to what goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// Bits of the content of buffers and files.
    Content,
    /// Any bit.
    AnyBit,
    /// Whole frames.
    Frames,
}

/// Bits of buffers and files change on the wire, until so many have. All are noticed.
pub fn content(seed: u64, count: u64) -> Outcome {
    let outcome = run("flips of content", seed, count, What::Content);
    let flipped = outcome.faults.get("frame FlipContent").copied().unwrap_or(0);
    let noticed = outcome.report.ends.get(&code::ERR_DATA).copied().unwrap_or(0);
    let mut outcome = outcome;
    if flipped > 0 && noticed == 0 {
        outcome.violated("I3: no transfer has ended with 6 although content was flipped");
    }
    outcome
}

/// Any bits change on the wire. Without TLS nothing protects commands and control messages, so what is judged is that
/// nothing crashes or hangs, that each task ends once, and that no buffer or file arrives with other bytes.
pub fn any_bit(seed: u64, count: u64) -> Outcome {
    let mut outcome = run("flips of any bit", seed, count, What::AnyBit);
    let bad = std::mem::take(&mut outcome.report.violations);
    let counts = |it: &String| {
        let of_wire = it.starts_with("I2")
            || it.starts_with("I4")
            || it.starts_with("I6")
            || it.starts_with("I7")
            || it.starts_with("I11");
        let of_command = it.starts_with("I3") && it.contains("Command");
        // An id that has changed on the wire belongs to nobody.
        let of_id = it.starts_with("I3") && it.contains("sent by nobody");
        !(of_wire || of_command || of_id)
    };
    let (bad, unprotected): (Vec<_>, Vec<_>) = bad.into_iter().partition(counts);
    outcome.report.violations = bad;
    outcome.fired("not protected without TLS", unprotected.len() as u64);
    outcome
}

/// Frames are sent twice, swapped, and replayed from this connection and from earlier ones, until so many were.
pub fn frames(seed: u64, count: u64) -> Outcome {
    run("frames", seed, count, What::Frames)
}

fn draw(what: What) -> Draw {
    Box::new(move |_, rng| {
        let mut plan = Plan::default();
        for way in [Way::Up, Way::Down] {
            let lane = lane(what, rng);
            plan = plan.with(way, |it| *it = lane);
        }
        plan
    })
}

fn lane(what: What, rng: &mut Rng) -> Lane {
    let mut lane = Lane::default();
    let mut at = 3;
    match what {
        What::AnyBit => {
            // Most come when the login is over.
            let at = if rng.percent(10) { rng.below(700) } else { rng.magnitude(700, 100_000) };
            lane.faults.push((at, Fault::Flip(rng.below(8) as u8)));
        }
        What::Content | What::Frames => {
            let kinds = match what {
                What::Content => vec![FrameFault::FlipContent],
                _ => vec![FrameFault::Duplicate, FrameFault::Swap, FrameFault::Replay, FrameFault::ReplayOld],
            };
            for _ in 0..PLANNED {
                at += 1 + rng.below(FRAMES_APART);
                lane.frames.push((at, rng.pick(&kinds)));
            }
        }
    }
    lane
}

fn run(name: &'static str, seed: u64, count: u64, what: What) -> Outcome {
    let mut outcome = Outcome::new(name, seed);
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::in_dir(dir.path());
    let relay = setup.start().unwrap();
    let files = dir.path().join("files");
    std::fs::create_dir(&files).unwrap();
    let journal = Arc::new(Journal::default());
    let watch = StallWatch::start(&journal);
    // Each user has a proxy of its own, so that what is replayed is its own.
    let proxies: Vec<_> = (0..USERS).map(|at| Proxy::with_plan(relay.clients, seed + at, draw(what))).collect();
    let mut habits = Habits::in_dir(&files);
    habits.transfer_timeout = Duration::from_secs(5);
    habits.cmd_timeout = Duration::from_secs(5);
    let new = |number: u64| {
        let party = Party::new(&format!("user-{number}"), &habits, &journal);
        party.login(proxies[number as usize].address());
        party
    };
    let mut parties: Vec<_> = (0..USERS).map(new).collect();
    let mut rng = Rng::of_part(seed, 9);
    let fired = || proxies.iter().map(|it| it.count("frame") + it.count("flip")).sum::<u64>();
    let give_up = Instant::now() + PATIENCE + Duration::from_millis(100) * count as u32;
    while fired() < count && Instant::now() < give_up {
        for (at, party) in parties.iter_mut().enumerate() {
            if party.is_out() {
                // What came from another time may have ended the session.
                *party = new(at as u64);
            }
            if party.open() >= 8 {
                continue;
            }
            let kind = match what {
                What::Content => rng.pick(&[Kind::Buffer, Kind::File]),
                _ => rng.pick(&[Kind::Command, Kind::Buffer, Kind::File]),
            };
            let largest = if kind == Kind::Command { 2_000 } else { 60_000 };
            let size = rng.magnitude(1, largest);
            let content = rng.bytes(size as usize);
            party.send(kind, &format!("user-{}", rng.below(USERS)), &content, None);
        }
        std::thread::sleep(Duration::from_millis(3));
    }
    proxies.iter().for_each(Proxy::heal);
    if parties.iter().map(Party::sent).sum::<u64>() == 0 {
        outcome.violated("nothing was sent: the run proves nothing");
    }
    for party in &parties {
        if !party.settle(PATIENCE) {
            outcome.violated(format!("I1: {} tasks of {} do not end", party.open(), party.user));
        }
    }
    drop(parties);
    drop(watch);
    proxies.iter().for_each(|it| outcome.fired_all(it.fired()));
    if let Err(error) = relay.stop() {
        outcome.violated(error);
    }
    outcome.report.violations.extend(setup.panics());
    let process = Process { entries: journal.entries(), killed: false, stopped: Duration::ZERO };
    outcome.report.add(check(&[process], &BTreeSet::new()));
    outcome.trials = count;
    outcome.must_have_fired(if what == What::AnyBit { "flip" } else { "frame" }, count);
    outcome
}
