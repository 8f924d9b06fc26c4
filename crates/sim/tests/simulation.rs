//! Many seeds, each the life of a whole system; and the proof that the ledger finds what is wrong.
//!
//! `CRVIDEO_SIM_SEEDS` says how many seeds to run, `CRVIDEO_SIM_FROM` from which one on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU64, Ordering};

use crvideo_sim::{Defect, Report, judge, run};

/// Seeds of one ordinary test run.
const SEEDS: u64 = 2_000;
/// Seeds that are run twice.
const SEEDS_TWICE: u64 = 200;
/// Lines of a failing run that are shown; all of them go to a file.
const SHOWN: usize = 40;
/// Threads that run seeds.
const THREADS: u64 = 2;
/// A planted defect must be found within this many seeds.
const SEEDS_A_DEFECT: u64 = 300;
/// What does not happen in the seeds of a test run is not tested.
const MUST_BE_SEEN: &[&str] = &[
    "commands with 0",
    "commands with 1102",
    "commands with 1106",
    "commands with 1107",
    "commands with 12",
    "commands with 10",
    "commands with 205",
    "commands with 207",
    "transfers with 0",
    "transfers with 1102",
    "transfers with 1103",
    "transfers with 1105",
    "transfers with 1107",
    "transfers with 1402",
    "transfers with 205",
    "transfers with 207",
    "transfers with 606",
    "cancels with 0",
    "cancels with 207",
    "cancels with 1104",
    "transfers with 1405",
    "repeated calls",
    "frames meddled with",
    "ids of other incarnations",
    "RTM messages",
    "tokens that end",
    "status news",
    "logins with 0",
    "logins with 7",
    "logins with 18",
    "logins with 19",
    "logins with 21",
    "logins with 22",
    "sessions ended by an operator",
    "lines lost with 18",
    "lines lost with 10",
    "transfers ended at the receiver with 207",
    "transfers ended at the receiver with 606",
    "transfers ended at the receiver with 1105",
];
/// Seeds that once found something.
const REGRESSIONS: &[u64] = &[3_169, 27_371, 34_738];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// A run that breaks no rule; if it does, what led there is shown.
fn must_hold(seed: u64) -> Report {
    let violation = match judge(seed, None) {
        Ok(report) => return report,
        Err(violation) => violation,
    };
    let lines = catch_unwind(|| run(seed, None, true)).map(|report| report.lines).unwrap_or_default();
    let path = std::env::temp_dir().join(format!("crvideo-sim-{seed}.log"));
    std::fs::write(&path, lines.join("\n")).unwrap();
    let tail = lines[lines.len().saturating_sub(SHOWN)..].join("\n");
    panic!("{tail}\nseed {seed}: {violation}\nall lines: {}", path.display());
}

#[test]
fn no_seed_breaks_a_rule() {
    let from = number("CRVIDEO_SIM_FROM").unwrap_or(0);
    let until = from + number("CRVIDEO_SIM_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(from);
    let work = || {
        let mut sights = BTreeMap::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= until {
                return sights;
            }
            add(&mut sights, must_hold(seed).sights);
        }
    };
    let mut sights = BTreeMap::new();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            add(&mut sights, thread.join().expect("a seed broke a rule"));
        }
    });
    eprintln!("{} seeds: {sights:#?}", until - from);
    for must_be_seen in MUST_BE_SEEN.iter().filter(|_| until - from >= SEEDS) {
        assert!(sights.contains_key(*must_be_seen), "no {must_be_seen} in {} seeds", until - from);
    }
}

fn add(sights: &mut BTreeMap<String, u64>, more: BTreeMap<String, u64>) {
    for (what, count) in more {
        *sights.entry(what).or_default() += count;
    }
}

#[test]
fn regression_seeds_hold() {
    for seed in REGRESSIONS {
        must_hold(*seed);
    }
}

#[test]
fn equal_seeds_are_equal_runs() {
    for seed in 0..SEEDS_TWICE {
        assert_eq!(must_hold(seed).hash, must_hold(seed).hash, "seed {seed}");
    }
}

#[test]
fn every_planted_defect_is_found() {
    for (defect, rule) in Defect::ALL {
        let verdict = |seed| judge(seed, Some(defect)).err().map(|violation| (seed, violation));
        let mut found = (0..SEEDS_A_DEFECT).filter_map(verdict);
        let (seed, violation) = found
            .find(|(_, violation)| violation.contains(rule))
            .unwrap_or_else(|| panic!("{defect:?} is not found in {SEEDS_A_DEFECT} seeds"));
        eprintln!("{defect:?}: seed {seed}: {violation}");
    }
}
