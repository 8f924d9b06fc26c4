//! How much more the same programs do with more processors.

use std::process::Command;
use std::time::Duration;

use super::figure::{Figure, Rows};
use super::ground::{Files, Ground, Mode, Noise, SETTLED};
use super::sessions::crowd;
use super::systems::{Load, System, Systems};
use crate::process::{Failure, Outcome, output_of, run};
use crate::tools;

pub const FIGURE: Figure = Figure {
    name: "cores",
    description: "commands, files and logins with all programs on one processor, and on two, and on all",
    measure,
};

const LOADS: [Load; 2] = [
    Load { what: "one pair, 64 in flight", pairs: 1, bytes: 100, in_flight: 64 },
    Load { what: "50 pairs, 5 in flight each", pairs: 50, bytes: 100, in_flight: 5 },
];
const FILES: usize = 16;
const FILE_SIZE: u64 = 64 << 20;
const LOGINS: u64 = 5_000;

fn measure(ground: &Ground, rows: &mut Rows) -> Outcome<()> {
    if !tools::is_present("taskset") {
        rows.leave_out("on 1 processor", "", "needs the program taskset");
        return Ok(());
    }
    let all = processors()?;
    let systems = Systems::prepare(ground)?;
    let file = ground.noise("cores.bin", FILE_SIZE)?;
    for round in 1..=ground.options.runs {
        println!("bench: cores, round {round} of {}", ground.options.runs);
        for count in counts(all.len()) {
            let _confined = Confined::to(&all[..count], &all)?;
            commands(ground, rows, &systems, count)?;
            files(ground, rows, &file, count)?;
            let logins = crowd(ground, LOGINS, Mode::Thread, None)?;
            if logins.failed > 0.0 {
                return Err(Failure::new(format!("{} logins have failed", logins.failed)));
            }
            add(rows, "logins", "1/s", count, logins.logins);
        }
    }
    Ok(())
}

/// One, two, four and so on, and all that there are.
fn counts(all: usize) -> Vec<usize> {
    let doubled = std::iter::successors(Some(1), |count| Some(count * 2)).take_while(|count| *count < all);
    doubled.chain([all]).collect()
}

fn commands(ground: &Ground, rows: &mut Rows, systems: &Systems, count: usize) -> Outcome<()> {
    for load in LOADS {
        let mut trio = systems.start(ground, System::Ours(Mode::Thread), load.pairs)?;
        trio.run(ground, &load, SETTLED)?;
        let done = trio.run(ground, &load, Duration::from_secs(ground.options.seconds))?;
        add(rows, load.what, "1/s", count, done.rate);
    }
    Ok(())
}

fn files(ground: &Ground, rows: &mut Rows, file: &Noise, count: usize) -> Outcome<()> {
    let relay = ground.relay()?;
    let bob = ground.peer(&relay, "bob", Mode::Thread, Files::Discarded)?;
    let mut alice = ground.peer(&relay, "alice", Mode::Thread, Files::Discarded)?;
    let (_, seconds) = alice.batch(&bob, FILES, file)?;
    add(rows, "16 files of 64 MiB at once", "GB/s", count, FILES as f64 * FILE_SIZE as f64 / 1e9 / seconds);
    Ok(())
}

/// What so many processors do, against what one does.
fn add(rows: &mut Rows, what: &str, unit: &'static str, count: usize, value: f64) {
    let name = |count: usize| format!("{what}, {count} {}", if count == 1 { "processor" } else { "processors" });
    let row = rows.add(name(count), unit, value);
    if count > 1 {
        row.against(name(1));
    }
}

/// While it lives, what this thread starts runs on some processors only.
struct Confined<'a> {
    /// Those that were there before.
    all: &'a [usize],
}

impl<'a> Confined<'a> {
    fn to(processors: &[usize], all: &'a [usize]) -> Outcome<Self> {
        // Made first, so that a failure undoes what it has done.
        let confined = Self { all };
        confine(processors)?;
        Ok(confined)
    }
}

impl Drop for Confined<'_> {
    fn drop(&mut self) {
        if let Err(failure) = confine(self.all) {
            println!("bench: what follows has too few processors: {failure}");
        }
    }
}

/// The program `taskset` for this thread: figures are taken on the process's first one, whose number is the process's.
fn taskset() -> Command {
    let mut taskset = Command::new("taskset");
    taskset.args(["--pid", "--cpu-list"]);
    taskset
}

fn confine(processors: &[usize]) -> Outcome<()> {
    let list = processors.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    run(taskset().arg(list).arg(std::process::id().to_string()).stdout(std::process::Stdio::null()))
}

/// The processors that this thread may use.
fn processors() -> Outcome<Vec<usize>> {
    let said = output_of(taskset().arg(std::process::id().to_string()))?;
    processors_in(&said)
        .ok_or_else(|| Failure::new(format!("taskset says `{}`, which names no processors", said.trim())))
}

/// What `taskset` says: `pid 1's current affinity list: 0-3,6`.
fn processors_in(said: &str) -> Option<Vec<usize>> {
    let (_, list) = said.trim().rsplit_once(": ")?;
    let mut processors = Vec::new();
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        processors.extend(first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?);
    }
    Some(processors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_doubled_until_there_are_no_more() {
        assert_eq!(counts(1), [1]);
        assert_eq!(counts(2), [1, 2]);
        assert_eq!(counts(6), [1, 2, 4, 6]);
    }

    #[test]
    fn the_processors_are_read_from_what_taskset_says() {
        assert_eq!(processors_in("pid 7's current affinity list: 0-2,6\n"), Some(vec![0, 1, 2, 6]));
        assert_eq!(processors_in("pid 7's current affinity list: 3\n"), Some(vec![3]));
        assert_eq!(processors_in("taskset: failed"), None);
    }
}
