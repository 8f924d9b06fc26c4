//! Commands side by side with other systems: the same work, in turns, on the same machine.

use std::time::Duration;

use super::beside::{Bar, Need, add_ratio, set_up};
use super::fan::{self, Fan};
use super::figure::{Figure, Rows};
use super::ground::{Files, GIB, Ground, Mode, Peer, SETTLED, SOON, most_files, number};
use super::sessions::{Crowd, crowd, crowd_at};
use super::systems::{Load, NatsMode, Run, System, Systems, Trio};
use crate::process::{Failure, Outcome};

pub const FIGURE: Figure = Figure {
    name: "peers",
    description: "commands beside ZeroMQ, NATS and the floor: the same work in turns, with what is to be reached",
    measure,
};

const ONE: Load = Load { what: "one in flight", pairs: 1, bytes: 100, in_flight: 1 };

/// Loads of which operations in a second are counted, and what our rate is to be against ZeroMQ's and NATS's, and our
/// processor time against ZeroMQ's.
const RATES: [(Load, Bar, Bar, Bar); 5] = [
    (
        Load { what: "64 in flight", pairs: 1, bytes: 100, in_flight: 64 },
        Bar::AtLeast(1.5),
        Bar::AtLeast(5.0),
        Bar::AtMost(0.6),
    ),
    (
        Load { what: "256 in flight", pairs: 1, bytes: 100, in_flight: 256 },
        Bar::AtLeast(1.5),
        Bar::AtLeast(5.0),
        Bar::None,
    ),
    (
        Load { what: "50 pairs, 5 in flight each", pairs: 50, bytes: 100, in_flight: 5 },
        Bar::AtLeast(1.5),
        Bar::None,
        Bar::None,
    ),
    (
        Load { what: "1,000 bytes, 64 in flight", pairs: 1, bytes: 1_000, in_flight: 64 },
        Bar::None,
        Bar::None,
        Bar::None,
    ),
    (
        Load { what: "64 KiB, 16 in flight", pairs: 1, bytes: 65_536, in_flight: 16 },
        Bar::AtLeast(1.2),
        Bar::None,
        Bar::None,
    ),
];

/// Our latency against NATS's, by its faster mode.
const LATENCY_TO_NATS: f64 = 0.8;
/// Commands beside a file: against the idle median; in microseconds; against NATS on one connection.
const BUSY_TO_IDLE: f64 = 2.0;
const BUSY_P99_US: f64 = 1_000.0;
const BUSY_P99_TO_NATS: f64 = 0.2;
/// Logins in a second, and how many there are.
const LOGINS: f64 = 5_000.0;
const LOGIN_COUNT: u64 = 20_000;
/// With more than half of the ports that this machine has for connections to one address, the kernel looks for a free one
/// as long as for all the rest of a login.
const LOGIN_ADDRESSES: &str = "127.0.0.1:0,127.0.0.2:0";
/// Descriptors that a program has beside those of its users. Where the system gives fewer than all need, fewer log in.
const OTHER_FILES: u64 = 200;
/// Memory of an idle session, in KB (1,000 bytes).
const RELAY_PLAIN_KB: f64 = 6.0;
const RELAY_TLS_KB: f64 = 20.0;
const LIBRARY_KB: f64 = 8.0;
/// One message to some, and to as many as the user wants.
const FAN: Fan = Fan { users: 1_000, messages: 50, bytes: 1_000 };
const MESSAGES_TO_MANY: u32 = 10;
/// The file that travels beside commands, again and again.
const FILE: u64 = GIB as u64;

/// A part of a round, by the name that the user knows it by. The number of the round says who begins: whoever comes
/// later in it finds a machine that others have left warm, or slow.
type Part = fn(&Ground, &mut Rows, &Systems, usize) -> Outcome<()>;
const PARTS: [(&str, Part); 5] =
    [("commands", loads), ("file", beside_a_file), ("fan", fans), ("logins", logins), ("idle", idle)];

/// The parts that are wanted, or all.
fn wanted(names: &[String]) -> Outcome<Vec<(&'static str, Part)>> {
    if let Some(unknown) = names.iter().find(|name| PARTS.iter().all(|(part, _)| part != name)) {
        let parts = PARTS.map(|(part, _)| part).join(", ");
        return Err(Failure::usage(format!("peers has no part `{unknown}`; there are {parts}")));
    }
    Ok(PARTS.into_iter().filter(|(part, _)| names.is_empty() || names.iter().any(|name| name == part)).collect())
}

/// A part that fails does not take the others with it: rounds are long.
fn measure(ground: &Ground, rows: &mut Rows) -> Outcome<()> {
    let parts = wanted(&ground.options.parts)?;
    let systems = Systems::prepare(ground)?;
    if let Some(version) = systems.versions() {
        rows.note(version);
    }
    let runs = ground.options.runs;
    let mut first_failure = None;
    for run in 1..=runs {
        for (what, part) in &parts {
            println!("bench: peers, round {run} of {runs}: {what}");
            if let Err(failure) = part(ground, rows, &systems, run) {
                println!("bench: peers, {what} FAILED: {failure}");
                first_failure.get_or_insert(Failure::new(format!("{what}: {failure}")));
            }
        }
    }
    first_failure.map_or(Ok(()), Err)
}

fn fans(ground: &Ground, rows: &mut Rows, systems: &Systems, _round: usize) -> Outcome<()> {
    fan::measure(ground, rows, systems, &FAN)?;
    let many = Fan { users: ground.options.users, messages: MESSAGES_TO_MANY, ..FAN };
    fan::measure(ground, rows, systems, &many)
}

/// What a system did in this round; `None` where it is not there.
type Done = Vec<(System, Option<Run>)>;

fn loads(ground: &Ground, rows: &mut Rows, systems: &Systems, round: usize) -> Outcome<()> {
    let mut one_pair = start(ground, systems, 1, round)?;
    latency(rows, &each(ground, systems, &mut one_pair, &ONE)?);
    for (load, to_zeromq, to_nats, cpu) in RATES {
        let done = if load.pairs == 1 {
            each(ground, systems, &mut one_pair, &load)?
        } else {
            each(ground, systems, &mut start(ground, systems, load.pairs, round)?, &load)?
        };
        rates(rows, load.what, &done, [to_zeromq, to_nats, cpu]);
    }
    Ok(())
}

/// Starts all that are there, each of which is the first in some round.
fn start(ground: &Ground, systems: &Systems, pairs: u64, round: usize) -> Outcome<Vec<(System, Trio)>> {
    let mut order = System::ALL;
    order.rotate_left(round % System::ALL.len());
    let present = order.into_iter().filter(|system| systems.missing(*system).is_none());
    present.map(|system| Ok((system, systems.start(ground, system, pairs)?))).collect()
}

/// Lets one after the other do the same; those who wait cost nothing.
fn each(ground: &Ground, systems: &Systems, trios: &mut [(System, Trio)], load: &Load) -> Outcome<Done> {
    let duration = Duration::from_secs(ground.options.seconds);
    let mut done = Vec::new();
    for (system, trio) in trios {
        trio.run(ground, load, SETTLED)?;
        done.push((*system, Some(trio.run(ground, load, duration)?)));
    }
    done.extend(
        System::ALL.into_iter().filter(|system| systems.missing(*system).is_some()).map(|system| (system, None)),
    );
    // In the order of the table, whichever are there.
    done.sort_by_key(|(system, _)| System::ALL.iter().position(|other| other == system));
    Ok(done)
}

/// Adds a row for each system, by which `value` of its run.
fn row_each(rows: &mut Rows, what: &str, unit: &'static str, done: &Done, value: impl Fn(&Run) -> f64) {
    for (system, run) in done {
        let name = format!("{what}, {}", system.name());
        match run {
            Some(run) => {
                rows.add(name, unit, value(run)).shown_in(what, system.name());
            }
            None => rows.leave_out(name, unit, "not on this machine"),
        }
    }
}

/// The best value of the systems that `is_one` picks, by `better` of two.
fn best(
    done: &Done,
    is_one: impl Fn(System) -> bool,
    value: impl Fn(&Run) -> f64,
    better: fn(f64, f64) -> f64,
) -> Option<f64> {
    done.iter().filter(|(system, _)| is_one(*system)).filter_map(|(_, run)| run.as_ref().map(&value)).reduce(better)
}

fn is_nats(system: System) -> bool {
    matches!(system, System::Nats(_))
}

fn latency(rows: &mut Rows, done: &Done) {
    for (what, percent) in [("median", 50.0), ("p99", 99.0)] {
        let what = format!("{}: {what}", ONE.what);
        let value = |run: &Run| run.times.percentile_us(percent);
        row_each(rows, &what, "µs", done, value);
        let nats = best(done, is_nats, value, f64::min);
        for mode in Mode::ALL {
            let ours = best(done, |system| system == System::Ours(mode), value, f64::min);
            let name = format!("{what}, {} to NATS's faster mode", System::Ours(mode).name());
            add_ratio(rows, name, ours, nats, Bar::AtMost(LATENCY_TO_NATS));
        }
    }
    row_each(rows, &format!("{}: processor", ONE.what), "µs each", done, |run| run.cpu);
}

fn rates(rows: &mut Rows, what: &str, done: &Done, [to_zeromq, to_nats, cpu_to_zeromq]: [Bar; 3]) {
    row_each(rows, &format!("{what}: rate"), "1/s", done, |run| run.rate);
    row_each(rows, &format!("{what}: processor"), "µs each", done, |run| run.cpu);
    let zeromq = |value: fn(&Run) -> f64| best(done, |system| system == System::ZeroMq, value, f64::max);
    for mode in Mode::ALL {
        let ours = |value: fn(&Run) -> f64| best(done, |system| system == System::Ours(mode), value, f64::max);
        let name = System::Ours(mode).name();
        let nats = best(done, is_nats, |run| run.rate, f64::max);
        let rate = ours(|run| run.rate);
        add_ratio(rows, format!("{what}: rate, {name} to ZeroMQ"), rate, zeromq(|run| run.rate), to_zeromq);
        add_ratio(rows, format!("{what}: rate, {name} to NATS's faster mode"), rate, nats, to_nats);
        let floor = best(done, |system| system == System::Floor, |run| run.rate, f64::max);
        add_ratio(rows, format!("{what}: rate, {name} to the floor"), rate, floor, Bar::None);
        let cpu = (ours(|run| run.cpu), zeromq(|run| run.cpu));
        add_ratio(rows, format!("{what}: processor, {name} to ZeroMQ"), cpu.0, cpu.1, cpu_to_zeromq);
    }
}

/// Median and p99 of commands, in microseconds.
type Latency = [(&'static str, f64); 2];

/// One in flight, idle and while a bulk transfer of the same user saturates the system.
fn beside_a_file(ground: &Ground, rows: &mut Rows, systems: &Systems, round: usize) -> Outcome<()> {
    let nats = nats_beside_a_flood(ground, rows, systems)?;
    let file = ground.noise("peers.bin", FILE)?;
    let mut modes = Mode::ALL;
    modes.rotate_left(round % Mode::ALL.len());
    for mode in modes {
        let name = System::Ours(mode).name();
        let relay = ground.relay()?;
        let bob = ground.peer(&relay, "bob", mode, Files::Discarded)?;
        let mut alice = ground.peer(&relay, "alice", mode, Files::Discarded)?;
        let duration = Duration::from_secs(ground.options.seconds);
        let exchange = |alice: &mut Peer| -> Outcome<Latency> {
            let times = alice.commands(ground, &bob, 1, duration)?.times;
            Ok([("median", times.percentile_us(50.0)), ("p99", times.percentile_us(99.0))])
        };
        alice.commands(ground, &bob, 1, SETTLED)?;
        let idle = exchange(&mut alice)?;
        alice.flood(&bob, &file)?;
        std::thread::sleep(SETTLED);
        let busy = exchange(&mut alice)?;
        let (files, seconds) = alice.dry()?;

        add_latency(rows, "a command, idle", name, idle);
        add_latency(rows, "a command beside a file", name, busy);
        rows.add(format!("that file: rate, {name}"), "GB/s", files * FILE as f64 / 1e9 / seconds);
        let what = format!("a command beside a file: {name}");
        add_ratio(rows, format!("{what}, median to idle"), Some(busy[0].1), Some(idle[0].1), Bar::AtMost(BUSY_TO_IDLE));
        Bar::AtMost(BUSY_P99_US).set(rows.add(format!("{what}, p99"), "µs", busy[1].1));
        let to_nats = Bar::AtMost(BUSY_P99_TO_NATS);
        add_ratio(
            rows,
            format!("{what}, p99 to NATS on one connection"),
            Some(busy[1].1),
            nats.map(|p99| p99.1),
            to_nats,
        );
    }
    Ok(())
}

fn add_latency(rows: &mut Rows, when: &str, name: &str, latency: Latency) {
    for (what, us) in latency {
        let what = format!("{when}: {what}");
        rows.add(format!("{what}, {name}"), "µs", us).shown_in(what, name);
    }
}

/// NATS's median and p99 with messages of 1 MB on the same connection.
fn nats_beside_a_flood(ground: &Ground, rows: &mut Rows, systems: &Systems) -> Outcome<Option<(f64, f64)>> {
    let name = "NATS on one connection";
    let asap = System::Nats(NatsMode::Asap);
    if systems.missing(asap).is_some() {
        for when in ["a command, idle", "a command beside a file"] {
            for what in ["median", "p99"] {
                rows.leave_out(format!("{when}: {what}, {name}"), "µs", "not on this machine");
            }
        }
        return Ok(None);
    }
    let duration = Duration::from_secs(ground.options.seconds);
    let latency = |run: &Run| [("median", run.times.percentile_us(50.0)), ("p99", run.times.percentile_us(99.0))];
    let mut trio = systems.start(ground, asap, 1)?;
    trio.run(ground, &ONE, SETTLED)?;
    let idle = trio.run(ground, &ONE, duration)?;
    add_latency(rows, "a command, idle", name, latency(&idle));
    let mut flooded = systems.start_flooded_nats()?;
    let busy = flooded.run(ground, &ONE, duration)?;
    let line = flooded.asks.wait_for(SOON, |line| line.starts_with("flooded ").then(|| line.to_owned()))?;
    add_latency(rows, "a command beside a file", name, latency(&busy));
    let bytes = number(&line, "messages")? * 1e6;
    rows.add(format!("that file: rate, {name}"), "GB/s", bytes / number(&line, "ns")?);
    let [(_, median), (_, p99)] = latency(&busy);
    Ok(Some((median, p99)))
}

/// As many logins at once as the system lets one program have connections.
fn logins(ground: &Ground, rows: &mut Rows, _systems: &Systems, _round: usize) -> Outcome<()> {
    let count = LOGIN_COUNT.min(most_files()?.saturating_sub(OTHER_FILES));
    let logins = crowd_at(ground, ground.relay_on(LOGIN_ADDRESSES)?, count, Mode::Thread, None)?;
    rows.add(format!("{count} logins at once: refused"), "", logins.failed).exactly(0.0);
    rows.add(format!("{count} logins at once"), "1/s", logins.logins).reach_at_least(LOGINS);
    Ok(())
}

/// What an idle session costs.
fn idle(ground: &Ground, rows: &mut Rows, _systems: &Systems, _round: usize) -> Outcome<()> {
    let count = ground.options.sessions;
    let add = |rows: &mut Rows, how: &str, crowd: &Crowd, relay_limit: f64| {
        for (what, bytes, limit) in [("relay", crowd.relay, relay_limit), ("library", crowd.library, LIBRARY_KB)] {
            rows.add(format!("an idle session, {how}: {what}"), "KB", bytes / 1e3).reach_at_most(limit);
        }
    };
    add(rows, "plain", &crowd(ground, count, Mode::Thread, None)?, RELAY_PLAIN_KB);
    match set_up(&[Need::Program("openssl", "openssl")])? {
        None => {
            let certificate = ground.certificate()?;
            add(rows, "TLS", &crowd(ground, count, Mode::Thread, Some(&certificate))?, RELAY_TLS_KB);
        }
        Some(missing) => {
            for what in ["relay", "library"] {
                rows.leave_out(format!("an idle session, TLS: {what}"), "KB", &missing);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::stats::Times;
    use super::*;

    fn run(us: u64, rate: f64, cpu: f64) -> Option<Run> {
        Some(Run { times: Times::new(vec![us * 1_000]), rate, cpu })
    }

    fn line<'a>(table: &'a str, what: &str) -> &'a str {
        table.lines().find(|line| line.starts_with(what)).unwrap()
    }

    #[test]
    fn parts_are_measured_in_their_order_and_unknown_ones_are_named() {
        let names = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let parts = |words: &[&str]| wanted(&names(words)).unwrap().iter().map(|part| part.0).collect::<Vec<_>>();
        assert_eq!(parts(&[]), ["commands", "file", "fan", "logins", "idle"]);
        assert_eq!(parts(&["logins", "fan"]), ["fan", "logins"]);
        let failure = wanted(&names(&["fan", "fast"])).err().unwrap();
        assert!(failure.to_string().contains("`fast`") && failure.to_string().contains("commands, file"), "{failure}");
    }

    #[test]
    fn the_faster_mode_of_nats_counts() {
        let mut rows = Rows::default();
        let done = vec![
            (System::Ours(Mode::Thread), run(30, 100.0, 1.0)),
            (System::Nats(NatsMode::Asap), run(50, 10.0, 1.0)),
            (System::Nats(NatsMode::Buffered), run(36, 40.0, 1.0)),
        ];
        latency(&mut rows, &done);
        rates(&mut rows, "64 in flight", &done, [Bar::AtLeast(1.5), Bar::AtLeast(5.0), Bar::AtMost(0.6)]);
        let table = rows.table("peers");
        let median = line(&table, "one in flight: median, ours (thread) to NATS's faster mode");
        assert!(median.contains("0.83") && median.ends_with("NOT REACHED, at most 0.80"), "{median}");
        let rate = line(&table, "64 in flight: rate, ours (thread) to NATS's faster mode");
        assert!(rate.contains("2.50") && rate.ends_with("NOT REACHED, at least 5"), "{rate}");
    }

    #[test]
    fn a_system_that_is_not_there_is_left_out_of_rows_and_ratios() {
        let mut rows = Rows::default();
        let done = vec![(System::Ours(Mode::Pump), run(30, 100.0, 1.0)), (System::ZeroMq, None)];
        rates(&mut rows, "64 in flight", &done, [Bar::AtLeast(1.5), Bar::None, Bar::None]);
        let table = rows.table("peers");
        for what in ["64 in flight: rate, ZeroMQ", "64 in flight: rate, ours (pump) to ZeroMQ"] {
            assert!(line(&table, what).contains("left out: "), "{table}");
        }
        assert!(line(&table, "64 in flight: rate, ours (pump)").contains("100"), "{table}");
    }
}
