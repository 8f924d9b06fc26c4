//! What `cargo xtask chaos` and `cargo xtask soak` run.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::ledger::check_rounds;
use crate::outcome::Outcome;
use crate::relay::Setup;
use crate::rng::{Rng, fresh_seed};
use crate::{flips, herd, kills, power, store, storm, troubled};

/// Seeds that have found something, one line each: the scenario and the seed.
const REGRESSIONS: &str = include_str!("../regressions.txt");
/// Where Debian has the shim that fakes the time.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
/// Rounds of a soak that are not judged.
const WARM_UP: usize = 3;
/// Largest payload of a process that is killed.
const LARGEST: u64 = 100_000_000;
/// Cuts and flips of one run; more are several runs with seeds of their own. A run's four users keep their connections,
/// on each of which no more than 400 flips are planned.
const CUTS_A_RUN: u64 = 1_000;
const FLIPS_A_RUN: u64 = 1_000;
const KILLS_A_RUN: u64 = 50;
/// Users who lose their relay at once.
const HERD: usize = 2_000;
/// Losses of power for one life of a relay.
const LOSSES_A_RUN: u64 = 200;

/// What is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// Connections to be cut.
    pub cuts: u64,
    /// Processes to be killed.
    pub kills: u64,
    /// Bits to be flipped, and frames to be repeated.
    pub flips: u64,
    /// Every so many calls of the relay's store one goes wrong; 0: none.
    pub store: u64,
    /// Losses of power.
    pub power: u64,
    /// Minutes of mixed faults.
    pub minutes: u64,
    /// Repeats a run.
    pub seed: Option<u64>,
}

impl Wish {
    /// Reads a command line.
    pub fn parse(words: &[String]) -> Result<Self, String> {
        let mut wish = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let value = words.next().ok_or_else(|| format!("{word} needs a number"))?;
            let value = value.parse().map_err(|_| format!("{word} {value:?} is not a number"))?;
            match word.as_str() {
                "--cuts" => wish.cuts = value,
                "--kills" => wish.kills = value,
                "--flips" => wish.flips = value,
                "--store" => wish.store = value,
                "--power" => wish.power = value,
                "--minutes" => wish.minutes = value,
                "--seed" => wish.seed = Some(value),
                _ => {
                    return Err(format!(
                        "there is no option {word}; there are --cuts, --kills, --flips, --store, --power, --minutes and --seed"
                    ));
                }
            }
        }
        Ok(wish)
    }
}

/// The seeds of a scenario that have found something before.
pub fn regressions(scenario: &str) -> Vec<u64> {
    let lines = REGRESSIONS.lines().filter(|line| !line.starts_with('#'));
    let of = lines.filter_map(|line| line.rsplit_once(' ').filter(|(name, _)| *name == scenario));
    of.filter_map(|(_, seed)| seed.parse().ok()).collect()
}

/// Runs what is asked for, prints a table, adds to the ledger of runs in `target`; an error when a rule was broken.
pub fn chaos(wish: &Wish, program: &Path, target: &Path) -> Result<(), String> {
    let seed = wish.seed.unwrap_or_else(fresh_seed);
    println!("chaos --seed {seed}");
    let mut all = Vec::new();
    let mut done = |outcome: Outcome| {
        println!("{outcome}");
        all.push(outcome);
    };
    let seeds = |part: u64, of: u64| if of == 0 { seed } else { Rng::of_part(seed, 100 * part + of).next() >> 16 };
    for (run, cuts) in runs(wish.cuts, CUTS_A_RUN) {
        done(storm::cuts(seeds(1, run), cuts));
    }
    let mut killed: Vec<_> = runs(wish.kills, KILLS_A_RUN)
        .map(|(run, count)| kills::kills(seeds(2, run), count, LARGEST, program))
        .collect();
    kills::judge_unknown(&mut killed);
    killed.into_iter().for_each(&mut done);
    for (run, count) in runs(wish.flips, FLIPS_A_RUN) {
        let seed = seeds(3, run);
        done(flips::content(seed, count));
        done(flips::any_bit(seed, count.div_ceil(10)));
        done(flips::frames(seed, count));
    }
    if wish.store > 0 {
        done(store::faults(seeds(5, 0), 1, wish.store));
    }
    for (run, count) in runs(wish.power, LOSSES_A_RUN) {
        done(power::losses(seeds(6, run), count));
    }
    let end = Instant::now() + Duration::from_secs(60 * wish.minutes);
    let mut run = 0;
    while Instant::now() < end {
        let seed = seeds(4, run);
        done(storm::mixed(seed, Duration::from_secs(45)));
        done(storm::restarts(seed, 5));
        done(storm::relay_stopped(seed, 3, Duration::from_secs(8)));
        done(storm::starvation(seed, Duration::from_secs(10)));
        done(herd::relay_killed(seed, HERD, 1));
        match storm::no_packets() {
            None => done(storm::packets(seed, Duration::from_secs(15), program)),
            Some(why) => println!("skipped: lost packets, because {why}"),
        }
        done(troubled::peers(seed, 4, Duration::from_secs(8), None, program));
        match Path::new(FAKETIME) {
            shim if shim.exists() => {
                done(storm::clock_jumps(seed, 6, shim));
                done(troubled::peers(seed, 4, Duration::ZERO, Some(shim), program));
            }
            shim => println!("skipped: clock jumps, because {} is not there; install libfaketime", shim.display()),
        }
        run += 1;
    }
    println!("\n{}", table(&all));
    note(&all, target).map_err(|error| format!("the ledger of runs cannot be written: {error}"))?;
    let bad: usize = all.iter().map(|it| it.report.violations.len()).sum();
    if bad == 0 { Ok(()) } else { Err(format!("{bad} violations; add the seeds to crates/chaos/regressions.txt")) }
}

/// Parts of at most so many.
fn runs(count: u64, most: u64) -> impl Iterator<Item = (u64, u64)> {
    (0..count.div_ceil(most)).map(move |run| (run, most.min(count - run * most)))
}

/// One line for each scenario, runs added up.
pub fn table(all: &[Outcome]) -> String {
    let mut text = format!(
        "{:18} {:>8} {:>8} {:>9} {:>9} {:>9} {:>10}\n",
        "scenario", "trials", "faults", "tasks", "delivered", "unknown", "violations"
    );
    let mut names: Vec<_> = all.iter().map(|it| it.name).collect();
    names.dedup();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let mut sum = Outcome::new(name, 0);
        for outcome in all.iter().filter(|it| it.name == name) {
            sum.trials += outcome.trials;
            sum.fired_all(outcome.faults.clone());
            sum.report.add(outcome.report.clone());
        }
        let report = &sum.report;
        let _ = writeln!(
            text,
            "{name:18} {:>8} {:>8} {:>9} {:>9} {:>7.2} % {:>10}",
            sum.trials,
            sum.faults(),
            report.tasks,
            report.delivered,
            sum.unknown_percent(),
            report.violations.len()
        );
    }
    text
}

/// Adds a line of JSON for each run to the ledger of runs.
fn note(all: &[Outcome], target: &Path) -> std::io::Result<()> {
    let path = target.join("chaos-ledger.jsonl");
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs());
    for Outcome { name, seed, trials, faults, report, .. } in all {
        let (fired, unknown, bad) = (faults.values().sum::<u64>(), report.unknown(), report.violations.len());
        let (tasks, delivered) = (report.tasks, report.delivered);
        writeln!(
            file,
            "{{\"time\":{time},\"scenario\":\"{name}\",\"seed\":{seed},\"trials\":{trials},\"faults\":{fired},\
             \"tasks\":{tasks},\"delivered\":{delivered},\"unknown\":{unknown},\"violations\":{bad}}}"
        )?;
    }
    println!("added to {}", path.display());
    Ok(())
}

/// Rounds of mixed faults for so long; memory, threads and descriptors of both programs stay where they were.
pub fn soak(minutes: u64, seed: Option<u64>) -> Result<(), String> {
    let seed = seed.unwrap_or_else(fresh_seed);
    println!("soak --seed {seed}");
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let files: PathBuf = dir.path().join("files");
    std::fs::create_dir(&files).map_err(|error| error.to_string())?;
    let setup = Setup::in_dir(dir.path());
    let relay = setup.start()?;
    let end = Instant::now() + Duration::from_secs(60 * minutes);
    let round = Duration::from_secs(20);
    let mut rounds = [Vec::new(), Vec::new()];
    let mut wrong = Vec::new();
    let start = Instant::now();
    while Instant::now() < end || rounds[0].len() < WARM_UP + 3 {
        let number = rounds[0].len() as u64;
        let (outcome, holdings) = storm::soak_round(Rng::of_part(seed, number).next(), round, &relay, &files);
        wrong.extend(outcome.report.violations.clone());
        for (list, holding) in rounds.iter_mut().zip(holdings) {
            list.push(holding);
        }
        let [library, of_relay] = holdings;
        println!("round {number}: {} tasks, library {library:?}, relay {of_relay:?}", outcome.report.tasks);
    }
    // 1 MiB an hour is what figure 10 allows. Rounds differ by thousands of tasks, so over a few of them nothing below
    // some pages for each task can be told from chance.
    let a_round = start.elapsed().as_secs_f64() / rounds[0].len() as f64;
    let allowed = if minutes >= 60 { 1_048_576.0 * a_round / 3600.0 } else { 2_097_152.0 };
    for (name, list) in ["library", "relay"].iter().zip(&rounds) {
        wrong.extend(check_rounds(list, WARM_UP, allowed as u64).into_iter().map(|it| format!("{name}: {it}")));
    }
    wrong.extend(setup.panics());
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn options_are_numbers_and_unknown_ones_are_named() {
        let wish = Wish::parse(&words("--cuts 5 --seed 7")).unwrap();
        assert_eq!(wish, Wish { cuts: 5, seed: Some(7), ..Wish::default() });
        assert!(Wish::parse(&words("--cats 5")).unwrap_err().contains("--cats"));
        assert!(Wish::parse(&words("--cuts five")).unwrap_err().contains("five"));
        assert!(Wish::parse(&words("--cuts")).unwrap_err().contains("needs a number"));
    }

    #[test]
    fn a_large_wish_is_cut_into_runs_that_add_up() {
        assert_eq!(runs(2_500, 1_000).collect::<Vec<_>>(), [(0, 1_000), (1, 1_000), (2, 500)]);
        assert_eq!(runs(0, 1_000).count(), 0);
    }
}
