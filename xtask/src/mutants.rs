//! `cargo xtask mutants`: whether tests notice when crates/proto is changed.

use std::path::Path;
use std::process::Command;

use crate::process::{Failure, Outcome, cannot, cargo, root, run, target_dir};
use crate::tools;

/// Text of `cargo xtask help mutants`.
pub const DETAILS: &str =
    "Changes crates/proto in one place after the other with cargo-mutants and sees whether a test of the crate fails.
What was tried is remembered in target/mutants, so that each run goes on where the last one was stopped; what no test
noticed is listed at the end. A cargo-mutants that is missing is installed, which takes some minutes.

  --minutes N     stops after this time (10)
  --file GLOB     only in these files, for instance crates/proto/src/pack.rs
  --again         forgets what was tried before";

/// Runs the command.
pub fn mutants(arguments: &[String]) -> Outcome<()> {
    let (mut minutes, mut file, mut again) = (10u64, None, false);
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| Failure::usage(format!("{word} needs a value")));
        match word.as_str() {
            "--minutes" => {
                let text = value()?;
                minutes = text.parse().map_err(|_| Failure::usage(format!("`{text}` is not a number of minutes")))?;
            }
            "--file" => file = Some(value()?.clone()),
            "--again" => again = true,
            option => return Err(Failure::usage(format!("there is no option `{option}`"))),
        }
    }
    if !tools::is_present("cargo-mutants") {
        run(&mut cargo(["install", "--locked", "cargo-mutants"]))?;
    }
    let directory = target_dir().join("mutants");
    if again {
        let _ = std::fs::remove_dir_all(&directory);
    }
    std::fs::create_dir_all(&directory).map_err(cannot("create", &directory))?;
    // Interrupted, it removes its copy of the sources and ends the tests that it runs.
    let mut command = Command::new("timeout");
    command.args(["--signal=INT", "--kill-after=60", &(minutes * 60).to_string(), "cargo"]);
    command.current_dir(root()).args(["mutants", "--package", "crvideo-proto", "--no-shuffle", "--iterate"]);
    command.args(["--baseline", "skip", "--timeout", "120", "--colors", "never", "--output"]).arg(&directory);
    if let Some(file) = file {
        command.args(["--file", &file]);
    }
    // Neither survivors nor the end of the time are a fault of this command.
    let status = command.status().map_err(|error| Failure::new(format!("cannot start cargo-mutants: {error}")))?;
    match status.code() {
        // All noticed; some not noticed; some too slow; the time was over (timeout's own code).
        Some(0 | 2 | 3 | 124) => {}
        _ => return Err(Failure::new(format!("cargo-mutants failed ({status})"))),
    }
    report(&directory.join("mutants.out"))
}

/// Prints what cargo-mutants has written down: in `previously_caught.txt` what earlier runs have found, elsewhere what
/// the last one has.
fn report(directory: &Path) -> Outcome<()> {
    let lines = |name: &str| -> Vec<String> {
        let text = std::fs::read_to_string(directory.join(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    };
    let caught = lines("previously_caught.txt").len() + lines("caught.txt").len();
    let (missed, slow) = (lines("missed.txt"), lines("timeout.txt").len());
    println!("mutants: {caught} noticed, {slow} too slow, {} not noticed by any test", missed.len());
    for line in missed {
        println!("  {line}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_command_line_is_refused() {
        for line in [["--minutes", "x"], ["--fast", ""], ["--again", "--file"]] {
            assert_eq!(mutants(&line.map(str::to_owned)).unwrap_err().exit_code(), 2, "{line:?}");
        }
    }
}
