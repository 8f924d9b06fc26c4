//! What a receiver that stops in the middle of a file does to others, to memory, and to the honesty of the result.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::figure::{Figure, Rows};
use super::ground::{Commands, Files, Ground, MIB, Mode, SENT, SETTLED, Watched, hash, number};
use super::memory::GROWTH_LIMIT;
use super::proc;
use crate::process::{Failure, Outcome};

pub const FIGURE: Figure = Figure {
    name: "stall",
    description: "a receiver is stopped in the middle of a file while two others exchange commands",
    measure,
};

const SIZE: u64 = 1 << 30;
/// The receiver is stopped when so many bytes have been confirmed.
const MIDDLE: f64 = 0.3 * SIZE as f64;
/// A file that is not to come is waited for so long.
const NOTHING_COMES: Duration = Duration::from_secs(3);

fn measure(ground: &Ground, rows: &mut Rows) -> Outcome<()> {
    let stall = Duration::from_secs(ground.options.stall_seconds);
    let file = ground.noise("stall.bin", SIZE)?;
    let source = hash(file.path())?;
    let relay = ground.relay()?;
    let bob = ground.peer(&relay, "bob", Mode::Thread, Files::Kept)?;
    let mut alice = ground.peer(&relay, "alice", Mode::Thread, Files::Kept)?;
    let dave = ground.peer(&relay, "dave", Mode::Thread, Files::Kept)?;
    let mut carol = ground.peer(&relay, "carol", Mode::Thread, Files::Kept)?;
    carol.commands(ground, &dave, 1, SETTLED)?;

    println!("bench: stall, {} s of commands without a transfer", stall.as_secs());
    let without = carol.commands(ground, &dave, 1, stall)?;
    add(rows, "without the transfer", &without);

    println!("bench: stall, {} s of commands with a receiver that is stopped", stall.as_secs());
    let pids = [("sender", alice.pid()), ("relay", relay.pid()), ("receiver", bob.pid())];
    let idle = [alice.settle()?, relay.settle()?, bob.settle()?];
    alice.send(&bob, &file)?;
    alice.process.wait_for(SENT, |line| {
        (line.starts_with("progress ") && number(line, "sent").is_ok_and(|sent| sent >= MIDDLE)).then_some(())
    })?;
    bob.process.signal("STOP")?;
    let (stopped, stopped_at) = (now()?, Instant::now());
    if !proc::is_stopped(bob.pid())? {
        return Err(Failure::new("the receiver does not stop"));
    }
    add(rows, "with the transfer stalled", &carol.commands(ground, &dave, 1, stall)?);
    std::thread::sleep(stall.saturating_sub(stopped_at.elapsed()));
    let continued = now()?;
    bob.process.signal("CONT")?;

    let result = alice.sent(SENT)?;
    let too_early = result.code == 0 && result.date < continued;
    rows.add("result of the file: code", "", result.code as f64);
    rows.add("result of the file: after the stop", "s", (result.date as f64 - stopped as f64) / 1e9);
    rows.add("success reported while the receiver was stopped", "", f64::from(too_early)).exactly(0.0);
    if result.code == 0 {
        rows.add("received file equals the source", "", f64::from(bob.received(SENT)? == source)).exactly(1.0);
    } else if result.code != OUTCOME_UNKNOWN {
        let came = bob.received(NOTHING_COMES).is_ok();
        rows.add("file arrived in spite of the result", "", f64::from(came)).exactly(0.0);
    }
    for ((what, pid), idle) in pids.into_iter().zip(idle) {
        let growth = proc::memory(pid)?.peak - idle.rss;
        rows.add(format!("{what}: growth"), "MiB", growth / MIB).at_most(GROWTH_LIMIT);
    }
    Ok(())
}

/// `CRVideo_SEND_OUTCOME_UNKNOWN`.
const OUTCOME_UNKNOWN: i64 = 1107;

fn add(rows: &mut Rows, when: &str, commands: &Commands) {
    for (what, percent) in [("median", 50.0), ("p99", 99.0), ("maximum", 100.0)] {
        let row = rows.add(format!("others' commands {when}: {what}"), "µs", commands.times.percentile_us(percent));
        if when.starts_with("with ") {
            row.against(format!("others' commands without the transfer: {what}"));
        }
    }
    rows.add(format!("others' commands {when}: failed"), "", commands.failed).exactly(0.0);
}

fn now() -> Outcome<u128> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map(|since| since.as_nanos()).map_err(|_| Failure::new("the clock is before 1970"))
}
