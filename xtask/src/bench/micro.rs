//! `cargo xtask bench micro`: instructions of the smallest pieces of work, compared with those that are written down.
//!
//! Instructions are counted by valgrind, so a machine that is busy with other things counts the same.

use std::path::PathBuf;
use std::process::Command;

use super::figure::Rows;
use crate::process::{Failure, Outcome, cannot, cargo, output_of, root};
use crate::tools;

/// So much more than what is written down is a regression. Hash maps with other seeds make less than a hundredth.
const TOLERANCE: f64 = 1.03;

/// The counts that are written down.
fn written_down() -> PathBuf {
    root().join("crates/micro/instructions.txt")
}

/// Counts, prints a table, and fails when something takes more than is written down; with `--accept` writes it down.
pub fn run(arguments: &[String]) -> Outcome<()> {
    let accepts = match arguments {
        [] => false,
        [word] if word == "--accept" => true,
        [word, ..] => {
            return Err(Failure::usage(format!("bench micro takes --accept and nothing else, but not {word}")));
        }
    };
    tools::prepare_for_counting()?;
    let counts = counts(&output_of(&mut benchmarks()?)?);
    if counts.is_empty() {
        return Err(Failure::new("nothing was counted"));
    }
    let compiler = output_of(Command::new("rustc").arg("--version"))?.trim().to_owned();
    let path = written_down();
    if accepts {
        std::fs::write(&path, table(&compiler, &counts)).map_err(cannot("write", &path))?;
        println!("written to {}", path.display());
        return Ok(());
    }
    let text = std::fs::read_to_string(&path).map_err(cannot("read", &path))?;
    let (other_compiler, expected) = read_table(&text);
    compare(&counts, &expected, (compiler != other_compiler).then_some(other_compiler))
}

/// The command line that counts, with a runner of the version that the benchmarks were built for.
fn benchmarks() -> Outcome<Command> {
    let lock = root().join("Cargo.lock");
    let text = std::fs::read_to_string(&lock).map_err(cannot("read", &lock))?;
    let version =
        locked_version(&text, "gungraun-runner").ok_or_else(|| Failure::new("Cargo.lock has no gungraun-runner"))?;
    let runner = tools::from_crates_io("gungraun-runner", version, &[])?.join("gungraun-runner");
    let mut command = cargo(["bench", "--package", "crvideo-micro", "--bench", "micro"]);
    command.env("GUNGRAUN_RUNNER", runner).env("GUNGRAUN_COLOR", "never");
    Ok(command)
}

/// The version of a package in Cargo.lock.
fn locked_version<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let (_, entry) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
    entry.split('"').next()
}

/// Names and instructions in what the runner prints: a line with the name, and indented lines with what was counted.
fn counts(printed: &str) -> Vec<(String, u64)> {
    let mut counts = Vec::new();
    let mut name = None;
    for line in printed.lines() {
        if let Some(rest) = line.trim_start().strip_prefix("Instructions:") {
            let digits: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
            counts.extend(name.take().zip(digits.parse().ok()));
        } else if !line.starts_with(char::is_whitespace) && line.contains("::") {
            // Behind the colon stands how its input was made.
            name = line.split_once(' ').map(|(function, input)| {
                let function = function.rsplit("::").next().unwrap_or(function);
                format!("{function} {}", input.split(':').next().unwrap_or(input))
            });
        }
    }
    counts
}

fn table(compiler: &str, counts: &[(String, u64)]) -> String {
    let lines = counts.iter().map(|(name, count)| format!("{count:>12}  {name}\n"));
    format!(
        "# Instructions, written by `cargo xtask bench micro --accept` with\n# {compiler}\n{}",
        lines.collect::<String>()
    )
}

/// The compiler and the counts of a table.
fn read_table(text: &str) -> (String, Vec<(String, u64)>) {
    let compiler = text.lines().nth(1).and_then(|line| line.strip_prefix("# ")).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let counts = lines.filter_map(|line| {
        let (count, name) = line.trim().split_once("  ")?;
        Some((name.to_owned(), count.parse().ok()?))
    });
    (compiler.to_owned(), counts.collect())
}

/// Prints and judges. Another compiler makes other code, so then nothing is judged.
fn compare(counts: &[(String, u64)], expected: &[(String, u64)], other_compiler: Option<String>) -> Outcome<()> {
    let mut rows = Rows::default();
    for (name, count) in counts {
        let count = *count as f64;
        let before = expected.iter().find(|(other, _)| other == name).map(|(_, before)| *before as f64);
        let row = rows.add(name, "", count);
        match before {
            Some(before) if other_compiler.is_none() => drop(row.at_most((before * TOLERANCE).floor())),
            _ => {}
        }
        match before {
            Some(before) => drop(rows.add(format!("{name}: to what is written down"), "×", count / before)),
            None => rows.note(format!("{name} is not written down")),
        }
    }
    for (name, _) in expected.iter().filter(|(name, _)| !counts.iter().any(|(other, _)| other == name)) {
        rows.note(format!("{name} is written down and was not counted"));
    }
    if let Some(compiler) = other_compiler {
        rows.note(format!("nothing is judged: what is written down was counted with {compiler}"));
    }
    println!("\n{}", rows.table("instructions"));
    match rows.broken().as_slice() {
        [] => Ok(()),
        broken => Err(Failure::new(format!("takes more than is written down:\n  {}", broken.join("\n  ")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "\
micro::codec::encode of_100_bytes:command(100)
  Instructions:                1734|1700            (+2.00000%) [+1.02000x]
  L1 Hits:                     2359|N/A             (*********)
micro::session::there_and_back one_in_flight:exchange(), 1, 100
  Instructions:              123456|N/A             (*********)

Gungraun result: Ok. 2 without regressions; 0 regressed; 2 benchmarks finished in 1.0s
";

    fn named(name: &str, count: u64) -> (String, u64) {
        (name.to_owned(), count)
    }

    #[test]
    fn counts_are_found_in_what_the_runner_prints() {
        assert_eq!(
            counts(PRINTED),
            [named("encode of_100_bytes", 1734), named("there_and_back one_in_flight", 123_456)]
        );
    }

    #[test]
    fn a_table_is_read_as_it_was_written() {
        let counts = counts(PRINTED);
        assert_eq!(read_table(&table("rustc 1.99.0", &counts)), ("rustc 1.99.0".to_owned(), counts));
    }

    #[test]
    fn more_than_is_written_down_is_an_error_that_names_it() {
        let before = [named("encode", 1_000), named("decode", 1_000)];
        compare(&[named("encode", 1_030), named("decode", 10)], &before, None).unwrap();
        let failure = compare(&[named("encode", 1_031), named("decode", 10)], &before, None).unwrap_err().to_string();
        assert!(failure.contains("encode: 1,031") && !failure.contains("decode"), "{failure}");
        compare(&[named("encode", 2_000)], &before, Some("rustc 1.1.0".to_owned())).unwrap();
    }

    #[test]
    fn the_version_of_the_runner_is_that_of_the_lock_file() {
        let lock = "[[package]]\nname = \"gungraun\"\nversion = \"1.0.0\"\n\n[[package]]\nname = \"gungraun-runner\"\nversion = \"1.2.3\"\n";
        assert_eq!(locked_version(lock, "gungraun-runner"), Some("1.2.3"));
        assert_eq!(locked_version(lock, "other"), None);
    }

    #[test]
    fn a_word_that_is_not_known_is_a_usage_error() {
        assert_eq!(run(&["--fast".to_owned()]).unwrap_err().exit_code(), 2);
    }
}
