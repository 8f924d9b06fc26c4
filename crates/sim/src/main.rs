//! Runs seeds from the command line; `cargo xtask sim` builds this program and passes its arguments on.
#![forbid(unsafe_code)]
// A command-line program talks to its user by printing.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crvideo_sim::{Defect, judge, run};

const USAGE: &str = "\
Usage: cargo xtask sim [--seeds N] [--from S] [--minutes M] [--defect NAME] [--threads T]
       cargo xtask sim --seed S [--defect NAME]

  --seeds N      how many seeds to run; 10,000 unless told
  --from S       the first of them; 0 unless told
  --minutes M    run for so long instead
  --seed S       run one seed and print all that happens in it
  --defect NAME  plant a fault, and run until it is found; `--defect list` names all of them
  --threads T    how many seeds run at a time; as many as there are processors unless told

Exit code: 0 no rule was broken (or the planted fault was found), 1 one was, 2 the arguments are wrong.";
/// How often it is said how far the work has come.
const SAY_EVERY: Duration = Duration::from_secs(5);
/// A seed that runs for longer than this hangs, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it is looked at whether one does.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// All seeds that run at a time need no more pages of memory than this (2 GiB).
const MOST_PAGES: u64 = 512 * 1_024;
/// So many violations are enough to stop.
const ENOUGH: usize = 5;

#[derive(Debug)]
struct Options {
    seeds: u64,
    from: u64,
    minutes: Option<f64>,
    seed: Option<u64>,
    defect: Option<Defect>,
    threads: usize,
}

impl Options {
    fn read(arguments: &[String]) -> Result<Self, String> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut options = Self { seeds: 10_000, from: 0, minutes: None, seed: None, defect: None, threads };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let value = words.next().ok_or(format!("`{word}` needs a value"))?;
            match word.as_str() {
                "--seeds" => options.seeds = number(word, value)?,
                "--from" => options.from = number(word, value)?,
                "--minutes" => options.minutes = Some(number(word, value)?),
                "--seed" => options.seed = Some(number(word, value)?),
                "--threads" => options.threads = number::<usize>(word, value)?.clamp(1, 1_024),
                "--defect" => options.defect = Some(defect(value)?),
                _ => return Err(format!("there is no option `{word}`")),
            }
        }
        Ok(options)
    }
}

fn number<T: std::str::FromStr>(word: &str, value: &str) -> Result<T, String> {
    value.replace(['_', ','], "").parse().map_err(|_| format!("`{word} {value}`: not a number that fits"))
}

fn defect(name: &str) -> Result<Defect, String> {
    let named = Defect::ALL.into_iter().find(|(defect, _)| format!("{defect:?}").eq_ignore_ascii_case(name));
    named.map(|(defect, _)| defect).ok_or_else(|| {
        let names: Vec<String> = Defect::ALL.iter().map(|(defect, _)| format!("{defect:?}")).collect();
        format!("there is no defect `{name}`, but {}", names.join(", "))
    })
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|word| matches!(word.as_str(), "help" | "--help" | "-h")) {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let options = match Options::read(&arguments) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("sim: {error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    // A panic is a finding like any other, and told with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    match options.seed {
        Some(seed) => replay(seed, &options),
        None => run_many(&options),
    }
}

/// Prints everything that happens in one seed, also if that ends in a panic.
fn replay(seed: u64, options: &Options) -> ExitCode {
    let violation = judge(seed, options.defect).err();
    match std::panic::catch_unwind(|| run(seed, options.defect, true)) {
        Ok(report) => report.lines.iter().for_each(|line| println!("{line}")),
        Err(_) => println!("(the run ends in a panic before its lines can be printed)"),
    }
    match violation {
        Some(violation) => {
            println!("seed {seed}: {violation}");
            ExitCode::FAILURE
        }
        None => {
            println!("seed {seed}: no rule was broken");
            ExitCode::SUCCESS
        }
    }
}

/// What the threads share.
struct Work {
    next: AtomicU64,
    done: AtomicU64,
    found: Mutex<Vec<(u64, String)>>,
    /// Seeds that run, and since when.
    running: Mutex<BTreeMap<u64, Instant>>,
    /// Threads that have not come to their end.
    threads: AtomicU64,
    start: Instant,
    end: Option<Instant>,
    until: u64,
}

impl Work {
    fn found(&self) -> std::sync::MutexGuard<'_, Vec<(u64, String)>> {
        self.found.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn next(&self, enough: usize) -> Option<u64> {
        if self.end.is_some_and(|end| Instant::now() >= end) || self.found().len() >= enough {
            return None;
        }
        let seed = self.next.fetch_add(1, Ordering::Relaxed);
        (seed < self.until).then_some(seed)
    }

    fn running(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Instant>> {
        self.running.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn judge(&self, seed: u64, options: &Options) {
        self.running().insert(seed, Instant::now());
        if let Err(violation) = judge(seed, options.defect) {
            println!("seed {seed}: {violation}");
            self.found().push((seed, violation));
        }
        self.running().remove(&seed);
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends the program when a seed does not come to its end: nothing else can stop a thread that loops.
    fn watch(&self) {
        while self.threads.load(Ordering::Relaxed) > 0 {
            std::thread::park_timeout(LOOK_EVERY);
            let running: Vec<(u64, Instant)> = self.running().iter().map(|(seed, since)| (*seed, *since)).collect();
            let Some((seed, since)) = running.into_iter().min_by_key(|(_, since)| *since) else { continue };
            let why = match () {
                () if since.elapsed() > PATIENCE => "has not come to its end",
                () if pages() > MOST_PAGES => "uses up all memory, or another one that runs now",
                () => continue,
            };
            println!("seed {seed}: I10: it {why} after {:?}", since.elapsed());
            std::process::exit(1);
        }
    }

    fn rate(&self) -> (u64, f64) {
        let done = self.done.load(Ordering::Relaxed);
        (done, done as f64 / self.start.elapsed().as_secs_f64())
    }
}

fn run_many(options: &Options) -> ExitCode {
    let start = Instant::now();
    let work = Work {
        next: AtomicU64::new(options.from),
        done: AtomicU64::new(0),
        found: Mutex::new(Vec::new()),
        running: Mutex::new(BTreeMap::new()),
        threads: AtomicU64::new(options.threads as u64),
        start,
        end: options.minutes.map(|minutes| start + Duration::from_secs_f64(minutes.clamp(0.0, 1e6) * 60.0)),
        until: if options.minutes.is_some() { u64::MAX } else { options.from.saturating_add(options.seeds) },
    };
    let enough = if options.defect.is_some() { 1 } else { ENOUGH };
    let last_said = Mutex::new(start);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| work.watch()).thread().clone();
        for _ in 0..options.threads {
            let (watcher, work, last_said) = (watcher.clone(), &work, &last_said);
            scope.spawn(move || {
                while let Some(seed) = work.next(enough) {
                    work.judge(seed, options);
                    say_now_and_then(work, last_said);
                }
                work.threads.fetch_sub(1, Ordering::Relaxed);
                watcher.unpark();
            });
        }
    });
    conclude(&work, options)
}

/// Pages of memory that the program has; 0 where the system does not tell.
fn pages() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0)
}

fn say_now_and_then(work: &Work, last_said: &Mutex<Instant>) {
    if let Ok(mut last_said) = last_said.try_lock()
        && last_said.elapsed() >= SAY_EVERY
    {
        *last_said = Instant::now();
        let (done, rate) = work.rate();
        eprintln!("{done} seeds, {rate:.0} a second");
    }
}

fn conclude(work: &Work, options: &Options) -> ExitCode {
    let (done, rate) = work.rate();
    let first = work.found().iter().map(|(seed, _)| *seed).min();
    println!("{done} seeds from {}, {rate:.0} a second, {} broke a rule", options.from, work.found().len());
    let planted = options.defect.map_or(String::new(), |defect| format!(" --defect {defect:?}"));
    if let Some(seed) = first {
        println!("see what happens in it: cargo xtask sim --seed {seed}{planted}");
    }
    if first.is_some() == options.defect.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Options, String> {
        Options::read(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn a_wrong_argument_is_an_error_that_names_it() {
        for (line, word) in [
            ("--seed", "--seed"),
            ("--seeds many", "many"),
            ("--seeds -1", "-1"),
            ("--speed 1", "--speed"),
            ("--defect nothing", "nothing"),
        ] {
            let Err(error) = read(line) else { panic!("{line} is taken") };
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn options_are_read() {
        let options = read("--seeds 1_000 --from 7 --minutes 0.5 --defect delivertwice --threads 3").ok();
        let it = options.map(|it| (it.seeds, it.from, it.minutes, it.defect, it.threads));
        assert_eq!(it, Some((1_000, 7, Some(0.5), Some(Defect::DeliverTwice), 3)));
    }
}
