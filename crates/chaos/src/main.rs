//! Runs scenarios; `cargo xtask chaos` and `cargo xtask soak` start it. It is also the peer that scenarios kill.
#![forbid(unsafe_code)]
#![allow(clippy::print_stderr, clippy::print_stdout)]

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crvideo_chaos::{command, peer, storm};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match words.split_first() {
        Some((name, rest)) if name == "peer" => peer::run(rest),
        Some((name, rest)) if name == "packets" => packets(rest),
        Some((name, rest)) if name == "chaos" => run_chaos(rest),
        Some((name, rest)) if name == "soak" => {
            command::Wish::parse(rest).and_then(|wish| command::soak(wish.minutes, wish.seed))
        }
        _ => Err("say chaos, soak or peer; `cargo xtask help chaos` tells of the options".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("crvideo-chaos: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What `crvideo_chaos::storm::packets` starts.
fn packets(words: &[String]) -> Result<(), String> {
    let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok()).ok_or("packets takes two numbers");
    let outcome = storm::packets_here(number(0)?, Duration::from_secs(number(1)?));
    let report = &outcome.report;
    println!("{outcome}");
    let (faults, unknown) = (outcome.faults(), report.unknown());
    println!("sum: faults={faults} tasks={} delivered={} unknown={unknown}", report.tasks, report.delivered);
    if report.violations.is_empty() { Ok(()) } else { Err("rules were broken".to_owned()) }
}

fn run_chaos(words: &[String]) -> Result<(), String> {
    let wish = command::Wish::parse(words)?;
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let target = program.parent().and_then(Path::parent).unwrap_or(Path::new("."));
    command::chaos(&wish, &program, target)
}
