//! `cargo xtask fuzz`: the targets of crates/fuzz under libFuzzer.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::artefacts::ASAN_WORKS;
use crate::process::{Failure, Outcome, cannot, cargo, root, run, target_dir};
use crate::tools;

/// Text of `cargo xtask help fuzz`.
pub const DETAILS: &str = "Builds the targets with AddressSanitizer and libFuzzer's instrumentation and runs each of them (or those named) for
N seconds (60) on its committed corpus (fuzz/corpus) and what earlier runs have found (target/fuzz/found). Prints
executions, executions in a second, coverage before and after, and crashes. Inputs that break a rule are put into
fuzz/artifacts; the exit code is then 1, and it is said how to replay them.

  --seconds N     how long each target runs
  --ledger FILE   adds the executions of this run to those in FILE (default: target/fuzz/ledger.txt)
  --replay FILE   runs one target on one file and nothing else
  --minimise      puts the smallest set of inputs that reaches everything known into fuzz/corpus, of at most 200 KB

Exit code 2 where AddressSanitizer cannot be used: it needs x86-64 Linux with glibc, and a C++ compiler.";

/// The target that everything is built for: with an explicit one, build scripts and macros are not instrumented.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";
/// What cargo-fuzz passes to rustc, and that the standard library is checked by AddressSanitizer's interceptors alone.
const FLAGS: &str = "-Zsanitizer=address -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Cforce-frame-pointers";
/// A single allocation above this is a crash; what all of an input take together is bounded by the target itself.
const MALLOC_LIMIT_MB: u32 = 16;
/// The program itself, its corpus and AddressSanitizer's shadow.
const RSS_LIMIT_MB: u32 = 2_048;
/// libFuzzer counts in whole seconds. The target bounds processor time more tightly; this finds who waits for ever.
const TIMEOUT_S: u32 = 2;
/// No input is longer.
const MAX_LEN: u32 = 16_384;
/// A committed corpus is no larger, in bytes.
const CORPUS_LIMIT: u64 = 200_000;

/// What was asked for on the command line.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    seconds: u64,
    ledger: Option<PathBuf>,
    replay: Option<PathBuf>,
    minimise: bool,
    targets: Vec<String>,
}

impl Options {
    fn parse(arguments: &[String]) -> Outcome<Self> {
        let mut options = Self { seconds: 60, ledger: None, replay: None, minimise: false, targets: Vec::new() };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| Failure::usage(format!("{word} needs a value")));
            match word.as_str() {
                "--seconds" => {
                    let text = value()?;
                    options.seconds = text
                        .parse()
                        .ok()
                        .filter(|seconds| *seconds > 0)
                        .ok_or_else(|| Failure::usage(format!("`{text}` is not a number of seconds")))?;
                }
                "--ledger" => options.ledger = Some(value()?.into()),
                "--replay" => options.replay = Some(value()?.into()),
                "--minimise" => options.minimise = true,
                option if option.starts_with('-') => {
                    return Err(Failure::usage(format!("there is no option `{option}`; see `cargo xtask help fuzz`")));
                }
                target => options.targets.push(target.to_owned()),
            }
        }
        if options.replay.is_some() && options.targets.len() != 1 {
            return Err(Failure::usage("--replay needs the name of one target"));
        }
        Ok(options)
    }
}

/// How one target has done.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Row {
    executions: u64,
    per_second: u64,
    /// Edges that the inputs known before reach, and those known now.
    covered: (u64, u64),
    crashes: usize,
}

/// Runs the command.
pub fn fuzz(arguments: &[String]) -> Outcome<()> {
    let options = Options::parse(arguments)?;
    let known = targets()?;
    if let Some(unknown) = options.targets.iter().find(|name| !known.contains(name)) {
        return Err(Failure::usage(format!("there is no target `{unknown}`; there are {}", known.join(", "))));
    }
    if !ASAN_WORKS {
        return Err(Failure::usage("the fuzzer is used on x86-64 Linux with glibc only"));
    }
    tools::prepare_for_fuzzing()?;
    let chosen = if options.targets.is_empty() { known } else { options.targets.clone() };
    let programs = build(&chosen)?;
    if let (Some(file), Some(name)) = (&options.replay, chosen.first()) {
        return run(program(&programs, name).arg(std::path::absolute(file).map_err(cannot("find", file))?));
    }
    if options.minimise {
        return chosen.iter().try_for_each(|name| minimise(&programs, name));
    }
    let mut rows = Vec::new();
    for name in &chosen {
        println!("fuzz: {name} for {} s …", options.seconds);
        rows.push((name.clone(), run_target(&programs, name, options.seconds)?));
    }
    let ledger = options.ledger.unwrap_or_else(|| fuzz_dir().join("ledger.txt"));
    let totals = add_to_ledger(&ledger, &rows)?;
    print!("{}", table(&rows, &totals));
    let crashes: usize = rows.iter().map(|(_, row)| row.crashes).sum();
    if crashes == 0 {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{crashes} inputs break a rule; they are in fuzz/artifacts/TARGET, and \
         `cargo xtask fuzz TARGET --replay FILE` runs one of them again"
    )))
}

/// The targets, which are the programs of fuzz/targets.
pub fn targets() -> Outcome<Vec<String>> {
    let directory = root().join("fuzz/targets");
    let mut names: Vec<String> = std::fs::read_dir(&directory)
        .map_err(cannot("read", &directory))?
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}

/// Where programs and inputs that were found are put.
/// Builds all of them, where the fuzzer works.
pub fn build_all() -> Outcome<()> {
    if !ASAN_WORKS {
        return Ok(());
    }
    tools::prepare_for_fuzzing()?;
    build(&targets()?).map(drop)
}

fn fuzz_dir() -> PathBuf {
    target_dir().join("fuzz")
}

/// Builds the programs and returns their directory.
fn build(names: &[String]) -> Outcome<PathBuf> {
    let target_dir = fuzz_dir().join("build");
    let mut command =
        cargo(["build", "--release", "--locked", "--target", TRIPLE, "--manifest-path", "fuzz/Cargo.toml"]);
    for name in names {
        command.args(["--bin", name]);
    }
    command
        .env("CARGO_TARGET_DIR", &target_dir)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", FLAGS)
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    run(&mut command)?;
    Ok(target_dir.join(TRIPLE).join("release"))
}

/// A program of the build, with what an input may cost.
fn program(programs: &Path, name: &str) -> Command {
    let mut command = Command::new(programs.join(name));
    // The C compiler gives tables inside SQLite's functions the same name, which is no fault.
    command.env("ASAN_OPTIONS", "detect_odr_violation=0").current_dir(root()).stdin(Stdio::null());
    command.args([
        format!("-timeout={TIMEOUT_S}"),
        format!("-malloc_limit_mb={MALLOC_LIMIT_MB}"),
        format!("-rss_limit_mb={RSS_LIMIT_MB}"),
        format!("-max_len={MAX_LEN}"),
    ]);
    command
}

fn corpus(name: &str) -> PathBuf {
    root().join("fuzz/corpus").join(name)
}

fn found(name: &str) -> Outcome<PathBuf> {
    let directory = fuzz_dir().join("found").join(name);
    std::fs::create_dir_all(&directory).map_err(cannot("create", &directory))?;
    Ok(directory)
}

fn artefacts(name: &str) -> Outcome<PathBuf> {
    let directory = root().join("fuzz/artifacts").join(name);
    std::fs::create_dir_all(&directory).map_err(cannot("create", &directory))?;
    Ok(directory)
}

fn files(directory: &Path) -> usize {
    std::fs::read_dir(directory).map_or(0, |entries| entries.count())
}

/// Runs one target. What it says goes to a file, and here only when it has found something.
fn run_target(programs: &Path, name: &str, seconds: u64) -> Outcome<Row> {
    let (artefacts, before) = (artefacts(name)?, files(&artefacts(name)?));
    let mut command = program(programs, name);
    command.args([
        format!("-max_total_time={seconds}"),
        "-print_final_stats=1".to_owned(),
        format!("-artifact_prefix={}/", artefacts.display()),
    ]);
    let dictionary = root().join("fuzz/dictionaries").join(format!("{name}.dict"));
    if dictionary.is_file() {
        command.arg(format!("-dict={}", dictionary.display()));
    }
    command.arg(found(name)?).arg(corpus(name));
    let output = command.output().map_err(|error| Failure::new(format!("cannot start {name}: {error}")))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let log = fuzz_dir().join(format!("{name}.log"));
    std::fs::write(&log, said.as_bytes()).map_err(cannot("write", &log))?;
    let mut row = read_row(&said);
    row.crashes = files(&artefacts).saturating_sub(before);
    if !output.status.success() {
        row.crashes = row.crashes.max(1);
        let lines: Vec<&str> = said.lines().collect();
        println!("{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        println!("fuzz: {name} broke a rule; all that it said is in {}", log.display());
    }
    Ok(row)
}

/// The row in what libFuzzer prints.
fn read_row(said: &str) -> Row {
    let stat = |name: &str| {
        let line = said.lines().rev().find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name));
        line.and_then(|rest| rest.trim_start_matches(':').trim().parse().ok()).unwrap_or(0)
    };
    let covered = |line: &str| line.split_once("cov: ")?.1.split_whitespace().next()?.parse().ok();
    let of = |mut lines: Box<dyn Iterator<Item = &str> + '_>| lines.find_map(covered).unwrap_or(0);
    let first = of(Box::new(said.lines().filter(|line| line.contains("INITED"))));
    let last = of(Box::new(said.lines().rev().filter(|line| line.starts_with('#'))));
    // A crash comes before the statistics; what was run until then stands in front of each line.
    let run = said.lines().rev().find_map(|line| line.strip_prefix('#')?.split_whitespace().next()?.parse().ok());
    let executions = match stat("number_of_executed_units") {
        0 => run.unwrap_or(0),
        executions => executions,
    };
    Row { executions, per_second: stat("average_exec_per_sec"), covered: (first, last), crashes: 0 }
}

/// Adds what was run to what the ledger has, and returns the sums.
fn add_to_ledger(ledger: &Path, rows: &[(String, Row)]) -> Outcome<BTreeMap<String, u64>> {
    let text = std::fs::read_to_string(ledger).unwrap_or_default();
    let mut totals: BTreeMap<String, u64> = text
        .lines()
        .filter_map(|line| {
            let (name, count) = line.split_once(' ')?;
            Some((name.to_owned(), count.trim().parse().ok()?))
        })
        .collect();
    for (name, row) in rows {
        *totals.entry(name.clone()).or_default() += row.executions;
    }
    let lines: String = totals.iter().map(|(name, count)| format!("{name} {count}\n")).collect();
    std::fs::write(ledger, lines).map_err(cannot("write", ledger))?;
    Ok(totals)
}

fn table(rows: &[(String, Row)], totals: &BTreeMap<String, u64>) -> String {
    let mut text = format!(
        "{:16} {:>12} {:>9} {:>9} {:>9} {:>8} {:>16}\n",
        "target", "executions", "a second", "edges", "new", "crashes", "executions ever"
    );
    for (name, row) in rows {
        let (before, after) = row.covered;
        let _ = writeln!(
            text,
            "{name:16} {:>12} {:>9} {:>9} {:>9} {:>8} {:>16}",
            row.executions,
            row.per_second,
            after,
            after.saturating_sub(before),
            row.crashes,
            totals.get(name).copied().unwrap_or(0)
        );
    }
    text
}

/// Replaces a committed corpus by the smallest inputs that reach everything that is known to be reached. Those that
/// a bug's mending has left behind, and those made by hand, stay: their names begin with `regression` and `seed`.
fn minimise(programs: &Path, name: &str) -> Outcome<()> {
    let (corpus, merged) = (corpus(name), fuzz_dir().join("merged").join(name));
    let _ = std::fs::remove_dir_all(&merged);
    std::fs::create_dir_all(&merged).map_err(cannot("create", &merged))?;
    let mut command = program(programs, name);
    command.arg("-merge=1").arg(&merged).arg(&corpus).arg(found(name)?).stderr(Stdio::null());
    run(&mut command)?;
    let mut inputs: Vec<(u64, PathBuf)> = std::fs::read_dir(&merged)
        .map_err(cannot("read", &merged))?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.metadata().ok()?.len(), entry.path()))
        })
        .collect();
    inputs.sort();
    for entry in std::fs::read_dir(&corpus).map_err(cannot("read", &corpus))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("regression") && !name.starts_with("seed") {
            std::fs::remove_file(entry.path()).map_err(cannot("remove", &entry.path()))?;
        }
    }
    let (mut size, mut kept) = (0, 0);
    for (len, from) in &inputs {
        if size + len > CORPUS_LIMIT {
            break;
        }
        let Some(file) = from.file_name() else { continue };
        let to = corpus.join(file);
        std::fs::copy(from, &to).map_err(cannot("write", &to))?;
        (size, kept) = (size + len, kept + 1);
    }
    println!("fuzz: {name}: {kept} of {} inputs, {size} bytes", inputs.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_command_line_names_targets_and_times() {
        let options = Options::parse(&words("--seconds 5 token --ledger l.txt file_name")).unwrap();
        assert_eq!((options.seconds, options.targets), (5, words("token file_name")));
        assert_eq!(options.ledger, Some("l.txt".into()));
        for line in ["--seconds", "--seconds 0", "--seconds x", "--fast", "--replay file", "--replay file a b"] {
            assert_eq!(Options::parse(&words(line)).unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn an_unknown_target_is_named() {
        let failure = fuzz(&words("tokn")).unwrap_err();
        assert!(failure.to_string().contains("`tokn`"), "{failure}");
    }

    #[test]
    fn a_row_is_read_out_of_what_libfuzzer_prints() {
        let said = "#2\tINITED cov: 3 ft: 4 corp: 1/1b exec/s: 0 rss: 30Mb\n\
                    #4096\tpulse  cov: 70 ft: 90 corp: 9/99b lim: 43 exec/s: 2048 rss: 40Mb\n\
                    stat::number_of_executed_units: 5000\nstat::average_exec_per_sec:     2500\n";
        let row = Row { executions: 5_000, per_second: 2_500, covered: (3, 70), crashes: 0 };
        assert_eq!(read_row(said), row);
        let crashed = "#2\tINITED cov: 3 ft: 4\n#77\tNEW    cov: 5 ft: 6\npanicked\n";
        assert_eq!(read_row(crashed).executions, 77);
    }

    #[test]
    fn the_ledger_adds_up() {
        let directory = std::env::temp_dir().join(format!("xtask-ledger-{}", std::process::id()));
        let scratch = crate::process::Scratch::create(directory).unwrap();
        let ledger = scratch.path().join("ledger.txt");
        let rows = [("token".to_owned(), Row { executions: 7, ..Row::default() })];
        add_to_ledger(&ledger, &rows).unwrap();
        assert_eq!(add_to_ledger(&ledger, &rows).unwrap()["token"], 14);
    }
}
