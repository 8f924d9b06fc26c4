//! `cargo xtask release-check`: what a release must have gone through, in slices, and how far it has come.

mod figures;
mod ledger;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use self::figures::{Done, Figure, Sum, Turn, figures};
use self::ledger::{Ledger, Slice};
use crate::process::{Failure, Outcome, cannot, output_of, root, target_dir};

/// Text of `cargo xtask help release-check`.
pub const DETAILS: &str = "Does a slice of each figure of docs/assurance.md that one relay can show (or of those named), for N minutes (10) in
all, the one that has come least far first, and prints what has been reached. It is remembered in
target/release-check/ledger.txt, one line for each slice, so that many runs add up; what programs say is beside it, in a
file for each figure. What counts is what was run on the present code: a change of anything but documents and xtask
begins anew, and a tree with changes that are not committed counts for none. Figures that need more time than their share
wait for a longer run; with a name alone a figure has all of it. What the figures run is built before the time begins.

  --minutes N     how long (0: print what has been reached, and run nothing)

Exit code 1 when a slice has failed, now or before, on this code.";

/// Figures that are not worth a shorter slice.
const LEAST: u64 = 5;

/// Runs the command.
pub fn release_check(arguments: &[String]) -> Outcome<()> {
    let wish = Wish::read(arguments)?;
    let directory = target_dir().join("release-check");
    std::fs::create_dir_all(&directory).map_err(cannot("create", &directory))?;
    let mut ledger = Ledger::open(directory.join("ledger.txt"))?;
    let code = code()?;
    let figures = figures()?;
    if let Some(name) = wish.names.iter().find(|name| figures.iter().all(|figure| figure.name != **name)) {
        let names: Vec<&str> = figures.iter().map(|figure| figure.name.as_str()).collect();
        return Err(Failure::usage(format!("there is no figure `{name}`, but {}", names.join(", "))));
    }
    run_slices(&wish, &figures, &code, &mut ledger, &directory)?;
    print!("{}", table(&figures, &code, &ledger));
    println!("code {code}; {}", ledger.path().display());
    let failed: Vec<&str> =
        figures.iter().map(|it| it.name.as_str()).filter(|it| ledger.failures(it, &code) > 0).collect();
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!("failed: {}; what they said is in {}", failed.join(", "), directory.display())))
}

/// What is asked for.
#[derive(Debug, PartialEq)]
struct Wish {
    minutes: u64,
    names: Vec<String>,
}

impl Wish {
    fn read(arguments: &[String]) -> Outcome<Self> {
        let mut wish = Self { minutes: 10, names: Vec::new() };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--minutes" => {
                    let value = words.next().ok_or_else(|| Failure::usage("--minutes needs a number"))?;
                    let minutes = value.parse();
                    wish.minutes =
                        minutes.map_err(|_| Failure::usage(format!("`{value}` is not a number of minutes")))?;
                }
                option if option.starts_with('-') => {
                    return Err(Failure::usage(format!("there is no option `{option}`")));
                }
                name => wish.names.push(name.to_owned()),
            }
        }
        Ok(wish)
    }
}

/// What is under test: everything that is committed but the documents and these commands, or that it is not committed.
fn code() -> Outcome<String> {
    let git = |arguments: &[&str]| output_of(Command::new("git").current_dir(root()).args(arguments));
    let code = [".", ":(exclude)docs", ":(exclude)xtask", ":(exclude,glob)**/*.md"];
    let changed = git(&[&["status", "--porcelain", "--"][..], &code].concat())?;
    if !changed.trim().is_empty() {
        return Ok("not-committed".to_owned());
    }
    let commit = git(&[&["log", "-1", "--format=%H", "--"][..], &code].concat())?;
    Ok(commit.trim().chars().take(12).collect())
}

/// Runs slices until the time is over: each figure has an equal part of what is left.
fn run_slices(wish: &Wish, all: &[Figure], code: &str, ledger: &mut Ledger, directory: &Path) -> Outcome<()> {
    let progress = |figure: &Figure| ledger.amount(&figure.name, code, figure.sum) as f64 / figure.goal as f64;
    let mut waiting: Vec<(f64, &Figure)> = all.iter().map(|figure| (progress(figure), figure)).collect();
    waiting.retain(|(progress, figure)| match wish.names.as_slice() {
        [] => *progress < 1.0,
        names => names.contains(&figure.name),
    });
    waiting.sort_by(|a, b| a.0.total_cmp(&b.0));
    if wish.minutes > 0 {
        build(&waiting)?;
    }
    let end = Instant::now() + Duration::from_secs(60 * wish.minutes);
    while !waiting.is_empty() {
        let left = end.saturating_duration_since(Instant::now()).as_secs();
        if left < LEAST {
            break;
        }
        let share = left / waiting.len() as u64;
        let (_, figure) = waiting.remove(0);
        if share.max(LEAST) < figure.least {
            println!(
                "release-check: {} waits for a run in which it has {} s, not {share} s",
                figure.name, figure.least
            );
            continue;
        }
        let share = Duration::from_secs(share.max(LEAST));
        run_share(figure, share, code, ledger, directory)?;
    }
    Ok(())
}

/// Runs slices of one figure until its share of the time is over: how fast it goes is known only after the first.
fn run_share(figure: &Figure, share: Duration, code: &str, ledger: &mut Ledger, directory: &Path) -> Outcome<()> {
    let end = Instant::now() + share;
    loop {
        let start = Instant::now();
        let turn = Turn {
            done: ledger.amount(&figure.name, code, figure.sum),
            goal: figure.goal,
            seconds: end.saturating_duration_since(start).as_secs(),
            rate: ledger.rate(&figure.name),
            log: directory.join(format!("{}.log", figure.name.replace(' ', "-"))),
        };
        println!("release-check: {} for {} s …", figure.name, turn.seconds);
        let Done { amount, failures } = (figure.slice)(&turn)?;
        if failures > 0 {
            println!("release-check: {} FAILED; see {}", figure.name, turn.log.display());
        }
        let (name, code, seconds) = (figure.name.clone(), code.to_owned(), start.elapsed().as_secs());
        ledger.add(Slice { code, figure: name, amount, failures, seconds })?;
        let is_done = failures > 0 || turn.done + amount >= figure.goal || figure.sum != Sum::Added;
        if is_done || end.saturating_duration_since(Instant::now()).as_secs() < LEAST.max(figure.least) {
            return Ok(());
        }
    }
}

/// Builds what they run.
fn build(figures: &[(f64, &Figure)]) -> Outcome<()> {
    let mut built = Vec::new();
    for (_, figure) in figures {
        if !built.contains(&figure.programs) {
            println!("release-check: building what {} needs …", figure.name);
            figure.programs.build()?;
            built.push(figure.programs);
        }
    }
    Ok(())
}

/// What has been reached of each figure.
fn table(figures: &[Figure], code: &str, ledger: &Ledger) -> String {
    let mut text = format!(
        "\n{:3} {:22} {:26} {:>13} {:>13} {:>6} {:>8} {:>15}\n",
        "#", "figure", "of", "this code", "asked for", "", "failures", "ever, any code"
    );
    for figure in figures {
        let amount = ledger.amount(&figure.name, code, figure.sum);
        let _ = writeln!(
            text,
            "{:3} {:22} {:26} {:>13} {:>13} {:>4.0} % {:>8} {:>15}",
            figure.number,
            figure.name,
            figure.unit,
            amount,
            figure.goal,
            // Not 100 % before it is.
            (100.0 * amount as f64 / figure.goal as f64).min(100.0).floor(),
            ledger.failures(&figure.name, code),
            ledger.ever(&figure.name, figure.sum),
        );
    }
    text
}

/// What a command has said, and whether it has ended well.
struct Said {
    text: String,
    well: bool,
}

/// Runs a command to its end; all that it says is added to the log of the figure.
fn listen(command: &mut Command, log: &PathBuf) -> Outcome<Said> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| Failure::new(format!("cannot start {:?}: {error}", command.get_program())))?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(log).map_err(cannot("write", log))?;
    let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
    std::io::Write::write_all(&mut file, format!("== {} ({})\n{text}\n", words.join(" "), output.status).as_bytes())
        .map_err(cannot("write", log))?;
    Ok(Said { text, well: output.status.success() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_command_line_has_a_time_and_names() {
        let wish = Wish::read(&words("--minutes 3 sim soak")).unwrap();
        assert_eq!(wish, Wish { minutes: 3, names: words("sim soak") });
        for line in ["--minutes", "--minutes x", "--fast"] {
            assert_eq!(Wish::read(&words(line)).unwrap_err().exit_code(), 2, "{line}");
        }
        assert_eq!(release_check(&words("no-such-figure")).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn every_figure_has_a_name_of_its_own_and_is_in_the_table() {
        let figures = figures().unwrap();
        let scratch = std::env::temp_dir().join(format!("xtask-release-{}", std::process::id()));
        let scratch = crate::process::Scratch::create(scratch).unwrap();
        let table = table(&figures, "c", &Ledger::open(scratch.path().join("ledger.txt")).unwrap());
        for figure in &figures {
            assert_eq!(figures.iter().filter(|other| other.name == figure.name).count(), 1, "{}", figure.name);
            assert_eq!(table.lines().filter(|line| line.contains(&format!(" {} ", figure.name))).count(), 1);
        }
    }
}
