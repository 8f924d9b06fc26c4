//! The figures of docs/assurance.md that one relay can show, and how a slice of each is done.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use super::ledger::Slice;
use super::{Said, listen};
use crate::artefacts::{ASAN_WORKS, Profile, asan_library, library, relay};
use crate::fuzz;
use crate::process::{Failure, Outcome, cannot, cargo, root, run};

/// Does a slice.
type SliceOf = dyn Fn(&Turn) -> Outcome<Done>;

/// One thing that a release needs an amount of.
pub struct Figure {
    /// The row in docs/assurance.md.
    pub number: u8,
    pub name: String,
    /// What is counted.
    pub unit: &'static str,
    pub goal: u64,
    pub sum: Sum,
    /// A slice of fewer seconds makes no sense.
    pub least: u64,
    /// What it runs, which is built before the clock starts.
    pub programs: Programs,
    pub slice: Box<SliceOf>,
}

/// What figures run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Programs {
    /// Commands that build for themselves what they need.
    Commands,
    Chaos,
    Attack,
    Simulation,
    /// The library, and tests that abuse it.
    Tests,
    TestsOfRelay,
    /// Those with AddressSanitizer.
    Sanitized,
    Fuzz,
}

impl Programs {
    /// Builds them.
    pub fn build(self) -> Outcome<()> {
        let optimised = |package| run(&mut cargo(["build", "--release", "--package", package]));
        match self {
            Programs::Commands => Ok(()),
            Programs::Chaos => relay(Profile::Release).and_then(|_| optimised("crvideo-chaos")),
            Programs::Attack => relay(Profile::Release).and_then(|_| optimised("crvideo-attack")),
            Programs::Simulation => run(&mut cargo(["build", "--profile", "sim", "--package", "crvideo-sim"])),
            Programs::Tests => {
                library(Profile::Dev)?;
                relay(Profile::Dev)?;
                let tests = ["test", "--no-run", "--package", "crvideo", "--test", "hostile", "--test", "torture"];
                run(&mut cargo(tests))
            }
            Programs::TestsOfRelay => run(&mut cargo(["test", "--no-run", "--package", "crvideo-relay", "--lib"])),
            Programs::Sanitized => Programs::Tests.build().and_then(|()| asan_library().map(drop)),
            Programs::Fuzz => fuzz::build_all(),
        }
    }
}

/// How slices add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sum {
    /// Each has done something else than the others.
    Added,
    /// Only the longest counts.
    Longest,
    /// Those since the last failure count.
    InARow,
}

impl Sum {
    pub fn of<'a>(self, slices: impl Iterator<Item = &'a Slice>) -> u64 {
        match self {
            Sum::Added => slices.map(|slice| slice.amount).sum(),
            Sum::Longest => slices.map(|slice| slice.amount).max().unwrap_or(0),
            Sum::InARow => slices.fold(0, |sum, slice| if slice.failures > 0 { 0 } else { sum + slice.amount }),
        }
    }
}

/// What a slice is given.
pub struct Turn {
    /// What has been done on this code.
    pub done: u64,
    pub goal: u64,
    pub seconds: u64,
    /// Amount in a second, where one is known.
    pub rate: Option<f64>,
    /// Where what is said is put.
    pub log: PathBuf,
}

/// What a slice has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    pub amount: u64,
    pub failures: u64,
}

impl Done {
    /// So much, well or not.
    fn all(amount: u64, well: bool) -> Self {
        Self { amount, failures: u64::from(!well) }
    }

    /// What was read out of what a command has said. Nothing to be read is a failure.
    fn read(amount: Option<u64>, said: &Said) -> Self {
        Self::all(amount.unwrap_or(0), said.well && amount.is_some())
    }
}

impl Turn {
    /// How much fits into the time, and is still asked for; `first` where no rate is known.
    fn amount(&self, first: u64) -> u64 {
        self.amount_of(self.goal.saturating_sub(self.done), first)
    }

    /// The same where only a whole run counts.
    fn whole(&self, first: u64) -> u64 {
        self.amount_of(self.goal, first)
    }

    fn amount_of(&self, wanted: u64, first: u64) -> u64 {
        let fits = self.rate.map_or(first, |rate| (rate * self.seconds as f64) as u64);
        fits.min(wanted.max(1)).max(1)
    }

    /// Runs a command of ours.
    fn xtask(&self, words: &[&str], environment: &[(&str, String)]) -> Outcome<Said> {
        let program = std::env::current_exe().map_err(|error| Failure::new(format!("who am I? {error}")))?;
        let environment = environment.iter().map(|(key, value)| (key, value));
        listen(Command::new(program).args(words).current_dir(root()).envs(environment), &self.log)
    }

    /// Runs one test of tests/hostile.rs.
    fn hostile(&self, test: &str, asan: bool, environment: &[(&str, String)]) -> Outcome<Said> {
        let mut command = cargo(["test", "--package", "crvideo", "--test", "hostile", "--", "--nocapture", "--exact"]);
        command.arg(test).env("CRVIDEO_LIB_DIR", library(Profile::Dev)?);
        command.env("CRVIDEO_RELAY_BIN", relay(Profile::Dev)?);
        if asan {
            command.env("CRVIDEO_ASAN_LIB_DIR", asan_library()?);
        }
        listen(command.envs(environment.iter().map(|(key, value)| (key, value))), &self.log)
    }

    /// Runs one test of the relay's.
    fn of_relay(&self, test: &str, environment: &[(&str, String)]) -> Outcome<Said> {
        let mut command = cargo(["test", "--package", "crvideo-relay", "--lib", "--", "--nocapture", test]);
        listen(command.envs(environment.iter().map(|(key, value)| (key, value))), &self.log)
    }
}

/// All of them.
pub fn figures() -> Outcome<Vec<Figure>> {
    let mut all = vec![
        figure(1, "cuts", "connections cut", 10_000, Programs::Chaos, |turn| chaos(turn, "cuts", "cuts", 100)),
        figure(2, "kills", "processes killed", 1_500, Programs::Chaos, |turn| chaos(turn, "kills", "kills", 10)),
        figure(3, "flips", "bits flipped on the wire", 100_000, Programs::Chaos, |turn| {
            chaos(turn, "flips", "flips of content", 200)
        }),
        figure(3, "stored", "bits flipped in the store", 110_000, Programs::TestsOfRelay, stored),
        figure(4, "sim", "simulated systems", 1_000_000, Programs::Simulation, simulate),
        figure(5, "torture", "scenarios exhausted", scenarios()?.len() as u64, Programs::Tests, torture),
        figure(6, "cycles", "sessions come and gone", 10_000, Programs::Tests, |turn| {
            times(turn, 200, "sessions_that_come_and_go_with_tasks_in_flight_leave_nothing_behind")
        }),
    ];
    if ASAN_WORKS {
        all.push(figure(6, "calls", "random calls", 1_000_000, Programs::Sanitized, random_calls));
        for target in fuzz::targets()? {
            let name = format!("fuzz {target}");
            all.push(figure(7, &name, "executions", 100_000_000, Programs::Fuzz, move |turn| {
                executions(turn, &target)
            }));
        }
    }
    all.extend([
        Figure { least: 240, ..figure(8, "attack", "runs of all floods", 1, Programs::Attack, attack) },
        Figure {
            sum: Sum::Longest,
            ..figure(9, "probes", "probes of other projects", 1_000_000, Programs::TestsOfRelay, probes)
        },
        figure(9, "swaps", "files beside swapped links", 100_000, Programs::Tests, |turn| {
            times(turn, 100, "a_directory_that_is_swapped_for_a_link_leads_no_file_astray")
        }),
        Figure {
            sum: Sum::Longest,
            least: 180,
            ..figure(10, "soak", "minutes without a break", 150, Programs::Chaos, soak)
        },
        Figure {
            sum: Sum::Longest,
            least: 120,
            ..figure(10, "mutants", "% of mutants noticed", 90, Programs::Commands, mutants)
        },
        Figure {
            sum: Sum::InARow,
            least: 600,
            ..figure(10, "suite", "runs of all tests in a row", 100, Programs::Commands, suite)
        },
        Figure { least: 60, ..figure(10, "abi", "comparisons of the interface", 1, Programs::Commands, abi) },
    ]);
    Ok(all)
}

fn figure(
    number: u8,
    name: &str,
    unit: &'static str,
    goal: u64,
    programs: Programs,
    slice: impl Fn(&Turn) -> Outcome<Done> + 'static,
) -> Figure {
    Figure { number, name: name.to_owned(), unit, goal, sum: Sum::Added, least: 0, programs, slice: Box::new(slice) }
}

/// An option of `cargo xtask chaos`, and the row of its table that says how many faults have fired; each run has a seed
/// of its own.
fn chaos(turn: &Turn, option: &str, row: &str, first: u64) -> Outcome<Done> {
    let said = turn.xtask(&["chaos", &format!("--{option}"), &turn.amount(first).to_string()], &[])?;
    Ok(Done::read(faults_in(&said.text, row), &said))
}

/// The faults of a row of the table of chaos: its third column.
fn faults_in(said: &str, row: &str) -> Option<u64> {
    let columns = said.lines().rev().find_map(|line| {
        let rest = line.strip_prefix(row)?.strip_prefix(' ')?;
        rest.contains('%').then_some(rest)
    })?;
    columns.split_whitespace().nth(1)?.parse().ok()
}

/// Bits of what the relay stores; each slice with another seed.
fn stored(turn: &Turn) -> Outcome<Done> {
    let amount = turn.amount(1_000);
    let environment = [("CRVIDEO_STORED_FLIPS", amount.to_string()), ("CRVIDEO_SEED", (turn.done + 1).to_string())];
    let said = turn.of_relay("bits_that_change_in_what_is_stored_are_noticed_or_do_no_harm", &environment)?;
    let done = said.text.lines().any(|line| line.starts_with(&format!("{amount} flips and truncations:")));
    Ok(Done::read(done.then_some(amount), &said))
}

/// Seeds that follow those of the slices before.
fn simulate(turn: &Turn) -> Outcome<Done> {
    let amount = turn.amount(5_000).to_string();
    let said = turn.xtask(&["sim", "--from", &turn.done.to_string(), "--seeds", &amount], &[])?;
    let line = said.text.lines().rev().find_map(|line| line.split_once(" seeds from ")).map(|(number, _)| number);
    Ok(Done::read(line.and_then(|number| number.parse().ok()), &said))
}

/// The scenarios of tests/c/torture.c, which has a list of them.
fn scenarios() -> Outcome<Vec<String>> {
    let path = root().join("tests/c/torture.c");
    let text = std::fs::read_to_string(&path).map_err(cannot("read", &path))?;
    let named = |line: &&str| line.trim_start().starts_with("SCENARIO(");
    let names = text.lines().filter(named).flat_map(|line| line.split("SCENARIO(").skip(1));
    Ok(names.filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect())
}

/// Every fault of one scenario after the other.
fn torture(turn: &Turn) -> Outcome<Done> {
    let all = scenarios()?;
    let start = Instant::now();
    let mut done = Done { amount: 0, failures: 0 };
    for scenario in all.iter().skip(turn.done as usize) {
        let said = turn.xtask(&["torture", scenario], &[])?;
        let read = Done::read(said.text.contains("faults fired, 0 failures").then_some(1), &said);
        done = Done { amount: done.amount + 1, failures: done.failures + read.failures };
        if start.elapsed().as_secs() >= turn.seconds {
            break;
        }
    }
    Ok(done)
}

/// A test of tests/hostile.rs that does something so many times.
fn times(turn: &Turn, first: u64, test: &str) -> Outcome<Done> {
    let amount = turn.amount(first);
    let said = turn.hostile(test, false, &[("CRVIDEO_TIMES", amount.to_string())])?;
    Ok(Done::read(ran_one_test(&said.text).then_some(amount), &said))
}

fn random_calls(turn: &Turn) -> Outcome<Done> {
    let amount = turn.amount(20_000);
    let calls = [("CRVIDEO_RANDOM_CALLS", format!(":{amount}"))];
    let said = turn.hostile("random_calls_from_all_sides_leave_nothing_wrong_behind", true, &calls)?;
    Ok(Done::read(ran_one_test(&said.text).then_some(amount), &said))
}

/// A filter that fits no test must not count as a test that has passed.
fn ran_one_test(said: &str) -> bool {
    said.lines().any(|line| line.starts_with("test result: ok. 1 passed"))
}

/// One fuzz target, on a ledger of its own: what it has done in this slice alone is in the table.
fn executions(turn: &Turn, target: &str) -> Outcome<Done> {
    let ledger = turn.log.with_extension("executions");
    let _ = std::fs::remove_file(&ledger);
    let (seconds, path) = (turn.seconds.to_string(), ledger.display().to_string());
    let said = turn.xtask(&["fuzz", "--seconds", &seconds, "--ledger", &path, target], &[])?;
    let text = std::fs::read_to_string(&ledger).unwrap_or_default();
    let amount = text.lines().find_map(|line| line.strip_prefix(target)?.trim().parse().ok());
    Ok(Done::read(amount, &said))
}

fn attack(turn: &Turn) -> Outcome<Done> {
    let said = turn.xtask(&["attack"], &[])?;
    Ok(Done::all(u64::from(said.well), said.well))
}

/// Always the same ones in the same order, so that only a longer run is more.
fn probes(turn: &Turn) -> Outcome<Done> {
    let amount = turn.whole(20_000);
    let test = "nothing_that_is_asked_in_one_project_has_an_effect_in_another";
    let said = turn.of_relay(test, &[("CRVIDEO_PROBES", amount.to_string())])?;
    Ok(Done::read(ran_one_test(&said.text).then_some(amount), &said))
}

fn soak(turn: &Turn) -> Outcome<Done> {
    let minutes = (turn.seconds / 60).clamp(1, turn.goal);
    let said = turn.xtask(&["soak", "--minutes", &minutes.to_string()], &[])?;
    Ok(Done::all(if said.well { minutes } else { 0 }, said.well))
}

/// `cargo xtask mutants` goes on where it was stopped, and says what has been noticed so far.
fn mutants(turn: &Turn) -> Outcome<Done> {
    let minutes = (turn.seconds / 60).max(1);
    let said = turn.xtask(&["mutants", "--minutes", &minutes.to_string()], &[])?;
    let mut list = cargo(["mutants", "--list", "--package", "crvideo-proto"]);
    let all = list.output().map_err(|error| Failure::new(format!("cannot list mutants: {error}")))?;
    let all = String::from_utf8_lossy(&all.stdout).lines().count() as u64;
    let noticed = said.text.lines().find_map(|line| line.strip_prefix("mutants: ")?.split(' ').next()?.parse().ok());
    Ok(Done::read(noticed.filter(|_| all > 0).map(|noticed: u64| 100 * noticed / all), &said))
}

fn suite(turn: &Turn) -> Outcome<Done> {
    let start = Instant::now();
    let mut amount = 0;
    loop {
        let said = turn.xtask(&["test"], &[])?;
        if !said.well {
            return Ok(Done { amount, failures: 1 });
        }
        amount += 1;
        let one = start.elapsed().as_secs() / amount;
        if start.elapsed().as_secs() + one > turn.seconds {
            return Ok(Done { amount, failures: 0 });
        }
    }
}

fn abi(turn: &Turn) -> Outcome<Done> {
    let said = turn.xtask(&["abi"], &[])?;
    Ok(Done::all(u64::from(said.well), said.well))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_out_of_the_table_of_chaos() {
        // As `cargo xtask chaos` has printed it.
        let said = "cuts --seed 3: 300 trials, faults {\"cut\": 300}\n\n\
                    scenario             trials   faults     tasks delivered   unknown violations\n\
                    cuts                      1      306      3249      2911     1.20 %          0\n";
        assert_eq!(faults_in(said, "cuts"), Some(306));
        assert_eq!(faults_in(said, "kills"), None);
    }

    #[test]
    fn every_scenario_of_torture_is_known() {
        let scenarios = scenarios().unwrap();
        assert!(scenarios.len() >= 39, "{scenarios:?}");
        assert!(scenarios.iter().any(|name| name == "destroy_receiver_in_flight"), "{scenarios:?}");
        assert!(scenarios.iter().all(|name| name != "name"), "the definition of the macro is no scenario");
    }

    #[test]
    fn a_slice_does_what_fits_and_is_still_asked_for() {
        let turn = |done, rate| Turn { done, goal: 1_000, seconds: 60, rate, log: PathBuf::new() };
        assert_eq!(turn(0, None).amount(50), 50);
        assert_eq!(turn(0, Some(2.0)).amount(50), 120);
        assert_eq!(turn(990, Some(2.0)).amount(50), 10);
        assert_eq!(turn(990, Some(2.0)).whole(50), 120);
        assert_eq!(turn(0, Some(0.001)).amount(50), 1);
    }

    #[test]
    fn what_a_command_does_not_say_is_a_failure() {
        let said = |well| Said { text: String::new(), well };
        assert_eq!(Done::read(Some(5), &said(true)), Done { amount: 5, failures: 0 });
        assert_eq!(Done::read(None, &said(true)), Done { amount: 0, failures: 1 });
        assert_eq!(Done::read(Some(5), &said(false)), Done { amount: 5, failures: 1 });
        assert!(!ran_one_test("test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out"));
    }
}
