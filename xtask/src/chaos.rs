//! `cargo xtask chaos` and `cargo xtask soak`: build optimised programs and start `crvideo-chaos`.

use std::process::Command;

use crate::artefacts::{Profile, relay};
use crate::process::{Outcome, cargo, run, target_dir};

/// What `cargo xtask help chaos` says.
pub const DETAILS: &str = "\
  --cuts N      end N connections at random bytes, in order, by a reset or in silence; ten times as many tasks
  --kills N     kill N processes (relay, receiver, sender) at random bytes of payloads of up to 100 MB
  --flips N     flip N bits of content and N / 10 of anything on the wire, and repeat or swap N frames
  --store N     every Nth call by which the relay changes its store fails, or is the last before it is killed (1: every)
  --power N     start the relay N times on what a loss of power leaves of its data, unsynced writes lost or in part
  --minutes M   mixed faults, restarts, stops, busy processors and clock jumps for about M minutes
  --seed S      repeat a run; without it the seed is fresh, and printed

Bits of the relay's stored files and rows are flipped by a test of the relay's own, as often as one likes:
CRVIDEO_STORED_FLIPS=100000 cargo nextest run -p crvideo-relay store::tests

Without an option it does a little of each. Every rule of the contract is checked by a ledger that is itself tested. Prints a
table and adds a line of JSON for each run to target/chaos-ledger.jsonl. Fails when a rule was broken.";

/// What is done when nothing is asked for.
const A_LITTLE: [&str; 12] =
    ["--cuts", "300", "--kills", "20", "--flips", "500", "--store", "20", "--power", "50", "--minutes", "1"];

/// Runs scenarios.
pub fn chaos(arguments: &[String]) -> Outcome<()> {
    let little = A_LITTLE.map(str::to_owned);
    let only_a_seed = arguments.iter().all(|word| word == "--seed" || word.parse::<u64>().is_ok());
    let more: &[String] = if only_a_seed { &little } else { &[] };
    start("chaos", arguments.iter().chain(more))
}

/// Runs rounds of mixed faults.
pub fn soak(arguments: &[String]) -> Outcome<()> {
    start("soak", arguments.iter())
}

fn start<'a>(name: &str, arguments: impl Iterator<Item = &'a String>) -> Outcome<()> {
    let relay = relay(Profile::Release)?;
    run(&mut cargo(["build", "--release", "--package", "crvideo-chaos", "--bin", "crvideo-chaos"]))?;
    let mut program = Command::new(target_dir().join("release/crvideo-chaos"));
    // A soak asks what is still held. By itself glibc keeps what was freed, in as many heaps as there were threads.
    if name == "soak" {
        let give_back = [("ARENA_MAX", "1"), ("TRIM_THRESHOLD_", "65536"), ("MMAP_THRESHOLD_", "65536")];
        program.envs(give_back.map(|(name, value)| (format!("MALLOC_{name}"), value)));
    }
    run(program.arg(name).args(arguments).env("CRVIDEO_RELAY_BIN", relay))
}
