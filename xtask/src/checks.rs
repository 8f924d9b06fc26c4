//! `test`, `header` and `ci`.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::artefacts::{ASAN_WORKS, Profile, asan_library, library, relay};
use crate::process::{Failure, Outcome, cargo, run};
use crate::{abi, chaos, fuzz, size, supply, tools};

/// Prepares the machine, builds what the tests load and start, and runs them.
pub fn test(arguments: &[String]) -> Outcome<()> {
    let filter = match arguments {
        [] => None,
        [filter] if !filter.starts_with('-') => Some(filter),
        _ => return Err(Failure::usage("test takes one filter at most; options belong to the test runner")),
    };
    tools::prepare_for_tests()?;
    let library_dir = library(Profile::Dev)?;
    let relay = relay(Profile::Dev)?;
    let asan_dir = if ASAN_WORKS { Some(asan_library()?) } else { None };
    if asan_dir.is_none() {
        println!("xtask: no test runs under AddressSanitizer, which is used on x86-64 Linux with glibc only");
    }
    let with_artefacts = |command: &mut Command| {
        command.env("CRVIDEO_LIB_DIR", &library_dir).env("CRVIDEO_RELAY_BIN", &relay);
        if let Some(dir) = &asan_dir {
            command.env("CRVIDEO_ASAN_LIB_DIR", dir);
        }
        run(command)
    };
    // The big run comes last, so that its summary is what one sees at the end.
    if filter.is_none() {
        with_artefacts(&mut cargo(["test", "--workspace", "--doc", "--quiet"]))?;
    }
    with_artefacts(runner().args(filter))
}

fn runner() -> Command {
    if tools::is_present("cargo-nextest") {
        cargo(["nextest", "run", "--workspace", "--no-fail-fast"])
    } else {
        cargo(["test", "--workspace", "--all-targets"])
    }
}

/// Every fault of every scenario, or of one; and the hostile programs in full numbers.
pub fn torture(arguments: &[String]) -> Outcome<()> {
    // The second: how many random calls (0: as many as the test makes by itself), where they are made at all.
    let (what, calls) = match arguments {
        [] => ("all", Some(0)),
        [option, number] if option == "--calls" => match number.parse::<u64>() {
            Ok(calls) if calls > 0 => ("all", Some(calls)),
            _ => return Err(Failure::usage(format!("--calls takes a number above 0, not `{number}`"))),
        },
        [scenario] if !scenario.starts_with('-') => (scenario.as_str(), None),
        _ => return Err(Failure::usage("torture takes one scenario, or --calls and a number")),
    };
    tools::prepare_for_tests()?;
    let library_dir = library(Profile::Dev)?;
    let relay = relay(Profile::Dev)?;
    let asan_dir = if ASAN_WORKS && calls.is_some() { Some(asan_library()?) } else { None };
    let test = |name: &str| {
        let mut command = cargo(["test", "--package", "crvideo", "--test", name, "--", "--nocapture"]);
        command.env("CRVIDEO_LIB_DIR", &library_dir).env("CRVIDEO_RELAY_BIN", &relay);
        command.envs(asan_dir.iter().map(|dir| ("CRVIDEO_ASAN_LIB_DIR", dir)));
        if let Some(calls) = calls.filter(|calls| *calls > 0) {
            command.env("CRVIDEO_RANDOM_CALLS", format!(":{calls}"));
        }
        run(command.env("CRVIDEO_TORTURE", what).env("CRVIDEO_THOROUGH", "1").env("RUST_TEST_THREADS", "1"))
    };
    test("torture")?;
    if calls.is_some() { test("hostile") } else { Ok(()) }
}

/// Writes include/crvideo.h again.
pub fn header() -> Outcome<()> {
    run(cargo(["test", "--package", "crvideo", "--test", "header"]).env("CRVIDEO_UPDATE_HEADER", "1"))
}

/// Runs the simulation with the caller's options.
pub fn simulate(arguments: &[String]) -> Outcome<()> {
    let program = ["run", "--quiet", "--profile", "sim", "--package", "crvideo-sim", "--"];
    run(cargo(program).args(arguments))
}

/// How long each fuzz target runs in `ci`.
const FUZZ_SECONDS: &str = "10";
/// How many systems are simulated there.
const SIMULATED: [&str; 2] = ["--seeds", "50000"];
/// How many links are cut there beside those of the tests.
const CUTS: [&str; 2] = ["--cuts", "3000"];

/// Everything that a change must pass.
pub fn ci() -> Outcome<()> {
    let start = Instant::now();
    step("fmt", || run(&mut cargo(["fmt", "--all", "--check"])))?;
    step("clippy", || run(&mut cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])))?;
    step("deny", || supply::deny(&[]))?;
    step("test", || test(&[]))?;
    step("sim", || simulate(&SIMULATED.map(str::to_owned)))?;
    step("cuts", || chaos::chaos(&CUTS.map(str::to_owned)))?;
    step("abi", || abi::abi(&[]))?;
    step("size", || size::size(&[]))?;
    if ASAN_WORKS {
        step("fuzz", || fuzz::fuzz(&["--seconds".to_owned(), FUZZ_SECONDS.to_owned()]))?;
    }
    println!("ci: all steps passed in {}", in_words(start.elapsed()));
    Ok(())
}

fn step(name: &str, work: impl FnOnce() -> Outcome<()>) -> Outcome<()> {
    println!("ci: {name} …");
    let start = Instant::now();
    let outcome = work();
    let word = if outcome.is_ok() { "passed" } else { "FAILED" };
    println!("ci: {name} {word} after {}", in_words(start.elapsed()));
    outcome
}

fn in_words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < 60 {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        format!("{} min {} s", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_seconds_below_a_minute_and_minutes_above() {
        assert_eq!(in_words(Duration::from_millis(1_250)), "1.2 s");
        assert_eq!(in_words(Duration::from_secs(61)), "1 min 1 s");
    }

    #[test]
    fn test_takes_one_filter_and_no_options() {
        for arguments in [vec!["--nocapture".to_owned()], vec!["a".to_owned(), "b".to_owned()]] {
            assert_eq!(test(&arguments).unwrap_err().exit_code(), 2);
        }
    }
}
