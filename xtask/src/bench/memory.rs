//! How much memory a large file costs, how fast it is, and whether it arrives.

use super::figure::{Figure, Rows};
use super::ground::{Files, GIB, Ground, MIB, Mode, SENT, SETTLED, Watched, hash};
use super::proc;
use crate::process::{Failure, Outcome};

pub const FIGURE: Figure =
    Figure { name: "memory", description: "a large file through the relay: memory, rate and processor time", measure };

/// What a process may grow by while a file of any size passes, in MiB.
pub const GROWTH_LIMIT: f64 = 16.0;

fn measure(ground: &Ground, rows: &mut Rows) -> Outcome<()> {
    let size = ground.options.size;
    println!("bench: making a file of {:.2} GiB", size as f64 / GIB);
    let file = ground.noise("memory.bin", size)?;
    let source = hash(file.path())?;
    for run in 1..=ground.options.runs {
        println!("bench: memory, run {run} of {}", ground.options.runs);
        let relay = ground.relay()?;
        let bob = ground.peer(&relay, "bob", Mode::Thread, Files::Kept)?;
        let mut alice = ground.peer(&relay, "alice", Mode::Thread, Files::Kept)?;
        std::thread::sleep(SETTLED);
        let pids = [("sender", alice.pid()), ("relay", relay.pid()), ("receiver", bob.pid())];
        let idle = [alice.settle()?, relay.settle()?, bob.settle()?];
        let cpu_before = pids.map(|(_, pid)| proc::cpu_seconds(pid));

        alice.send(&bob, &file)?;
        let result = alice.sent(SENT)?;
        if result.code != 0 {
            return Err(Failure::new(format!("the file was not sent: error {}", result.code)));
        }
        let mut cpu = 0.0;
        for (((what, pid), idle), before) in pids.into_iter().zip(idle).zip(cpu_before) {
            let peak = proc::memory(pid)?.peak;
            let seconds = (proc::cpu_seconds(pid)? - before?) / (size as f64 / GIB);
            cpu += seconds;
            rows.add(format!("{what}: idle"), "MiB", idle.rss / MIB);
            rows.add(format!("{what}: peak"), "MiB", peak / MIB);
            rows.add(format!("{what}: growth"), "MiB", (peak - idle.rss) / MIB).at_most(GROWTH_LIMIT);
            rows.add(format!("{what}: processor"), "s/GiB", seconds);
        }
        rows.add("all three: processor", "s/GiB", cpu);
        rows.add("rate", "GB/s", size as f64 / 1e9 / result.seconds);
        rows.add("received file equals the source", "", f64::from(bob.received(SENT)? == source)).exactly(1.0);
    }
    Ok(())
}
