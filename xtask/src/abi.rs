//! `cargo xtask abi`: whether programs that were linked with the library before still work with it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Failure, Outcome, cannot, cargo, root, run, target_dir};
use crate::tools;

/// Text of `cargo xtask help abi`.
pub const DETAILS: &str =
    "Builds the library with debug information and compares its functions and the types that they reach with
tests/abi/baseline.abi, by abidiff (Debian: abigail-tools). A function that is gone or whose parameters have changed
fails (exit code 1), and so does a struct with another layout; what was added is reported. `--accept` writes the
baseline again, for a release or after an addition that is meant.";

/// abidiff's exit code has these bits (its manual, section \"Return values\").
const ERROR: i32 = 1 | 2;
/// Something was changed or removed in a way that breaks programs.
const INCOMPATIBLE: i32 = 8;

/// Runs the command.
pub fn abi(arguments: &[String]) -> Outcome<()> {
    let accept = match arguments {
        [] => false,
        [word] if word == "--accept" => true,
        _ => return Err(Failure::usage("abi takes `--accept` or nothing")),
    };
    tools::prepare_for_abi()?;
    let library = library()?;
    let present = target_dir().join("abi/present.abi");
    describe(&library, &present)?;
    let baseline = root().join("tests/abi/baseline.abi");
    if accept {
        std::fs::copy(&present, &baseline).map_err(cannot("write", &baseline))?;
        println!("abi: {} is the library's interface from now on", baseline.display());
        return Ok(());
    }
    compare(&baseline, &present)
}

/// The library, with what the debugger and abidw must know of its own types; what it depends on is built as always.
fn library() -> Outcome<PathBuf> {
    let mut command = cargo(["rustc", "--package", "crvideo", "--lib", "--crate-type", "cdylib"]);
    run(command.args(["--", "-Cdebuginfo=2"]))?;
    let directory = target_dir().join("abi");
    std::fs::create_dir_all(&directory).map_err(cannot("create", &directory))?;
    let library = directory.join("libcrvideo.so");
    std::fs::copy(target_dir().join("debug/libcrvideo.so"), &library).map_err(cannot("copy", &library))?;
    Ok(library)
}

/// Writes down functions and types, without anything that depends on the machine or on where a line stands.
fn describe(library: &Path, to: &Path) -> Outcome<()> {
    let without = ["--no-corpus-path", "--no-comp-dir-path", "--no-show-locs", "--no-elf-needed", "--no-architecture"];
    run(Command::new("abidw").args(without).arg("--out-file").arg(to).arg(library))?;
    let text = std::fs::read_to_string(to).map_err(cannot("read", to))?;
    std::fs::write(to, without_c(&text)).map_err(cannot("write", to))
}

/// Leaves out what dependencies have brought in C: nothing of it is exported, and it names places of this machine.
fn without_c(description: &str) -> String {
    let mut inside = false;
    let mut kept = String::with_capacity(description.len());
    for line in description.lines() {
        inside |= line.contains("<abi-instr ") && line.contains("language='LANG_C99'");
        if !inside {
            kept.push_str(line);
            kept.push('\n');
        }
        inside &= !line.contains("</abi-instr>");
    }
    kept
}

fn compare(baseline: &Path, present: &Path) -> Outcome<()> {
    let output = Command::new("abidiff")
        .args(["--no-show-locs", "--no-corpus-path", "--no-architecture"])
        .args([baseline, present])
        .output()
        .map_err(|error| Failure::new(format!("cannot start abidiff: {error}")))?;
    print!("{}", String::from_utf8_lossy(&output.stdout));
    match output.status.code() {
        Some(0) => {
            println!("abi: nothing has changed");
            Ok(())
        }
        Some(code) if code & ERROR != 0 => {
            Err(Failure::new(format!("abidiff failed: {}", String::from_utf8_lossy(&output.stderr))))
        }
        Some(code) if code & INCOMPATIBLE == 0 && !changes_functions(&String::from_utf8_lossy(&output.stdout)) => {
            println!(
                "abi: programs that were linked before still work; `cargo xtask abi --accept` renews the baseline"
            );
            Ok(())
        }
        _ => Err(Failure::new("programs that were linked with the library before may not work with it any more")),
    }
}

/// Whether abidiff's summary counts functions that were removed or changed: it calls a change of a parameter's type
/// compatible where sizes stay.
fn changes_functions(report: &str) -> bool {
    let summary = report.lines().find_map(|line| line.strip_prefix("Functions changes summary:"));
    let count = |part: &str| part.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
    summary.is_some_and(|summary| {
        summary.split(',').any(|part| (part.contains("Removed") || part.contains("Changed")) && count(part) > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn additions_are_told_from_changes() {
        let added = "Functions changes summary: 0 Removed, 0 Changed, 2 Added functions\n";
        assert!(!changes_functions(added));
        assert!(!changes_functions(
            "Functions changes summary: 0 Removed, 0 Changed (3 filtered out), 2 Added functions\n"
        ));
        for text in
            ["1 Removed, 0 Changed, 2 Added functions", "0 Removed, 1 Changed (2 filtered out), 0 Added function"]
        {
            assert!(changes_functions(&format!("Functions changes summary: {text}\n")), "{text}");
        }
    }

    #[test]
    fn what_dependencies_have_in_c_is_left_out() {
        let instr =
            |language: &str| format!("  <abi-instr path='/a' language='{language}'>\n    <type/>\n  </abi-instr>\n");
        let (ours, c) = (instr("LANG_Rust"), instr("LANG_C99"));
        assert_eq!(without_c(&format!("<abi>\n{c}{ours}{c}</abi>\n")), format!("<abi>\n{ours}</abi>\n"));
    }

    #[test]
    fn an_unknown_option_is_refused() {
        assert_eq!(abi(&["--renew".to_owned()]).unwrap_err().exit_code(), 2);
    }
}
