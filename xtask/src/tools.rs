//! The programs that the tests need, and how a bare Debian gets them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Failure, Outcome, cargo, output_of, run, target_dir};

/// A program and the Debian package that has it.
struct Tool {
    program: &'static str,
    package: &'static str,
}

const fn tool(program: &'static str, package: &'static str) -> Tool {
    Tool { program, package }
}

const TEST_TOOLS: &[Tool] = &[
    tool("cc", "gcc"),
    tool("gcc", "gcc"),
    tool("g++", "g++"),
    tool("clang", "clang"),
    tool("make", "make"),
    tool("python3", "python3"),
    tool("valgrind", "valgrind"),
    tool("nm", "binutils"),
    tool("strace", "strace"),
];

/// libFuzzer is compiled from C++.
const FUZZ_TOOLS: &[Tool] = &[tool("cc", "gcc"), tool("g++", "g++")];

/// Sees to it that the programs that the tests need are there.
pub fn prepare_for_tests() -> Outcome<()> {
    prepare(TEST_TOOLS, "the tests need")
}

/// What compares the library's interface.
const ABI_TOOLS: &[Tool] = &[tool("abidw", "abigail-tools"), tool("abidiff", "abigail-tools")];

/// Sees to it that the programs that compare interfaces are there.
pub fn prepare_for_abi() -> Outcome<()> {
    prepare(ABI_TOOLS, "comparing interfaces needs")
}

/// Sees to it that the programs that the fuzzer needs are there.
pub fn prepare_for_fuzzing() -> Outcome<()> {
    prepare(FUZZ_TOOLS, "the fuzzer needs")
}

fn prepare(tools: &[Tool], who_needs: &str) -> Outcome<()> {
    let mut missing = missing_packages(tools);
    if missing.is_empty() {
        return Ok(());
    }
    if can_install() {
        println!("xtask: installing {}", missing.join(" "));
        install(&missing)?;
        missing = missing_packages(tools);
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::usage(format!("{who_needs} these packages, please install them: {}", missing.join(" "))))
}

/// Counts instructions.
const COUNTING_TOOLS: &[Tool] = &[tool("valgrind", "valgrind")];

/// Sees to it that the program that counts instructions is there.
pub fn prepare_for_counting() -> Outcome<()> {
    prepare(COUNTING_TOOLS, "counting instructions needs")
}

/// Samples what processes do.
const SAMPLING_TOOLS: &[Tool] = &[tool("perf", "linux-perf")];

/// Sees to it that the program that samples processes is there.
pub fn prepare_for_sampling() -> Outcome<()> {
    prepare(SAMPLING_TOOLS, "sampling needs")
}

/// The directory with the programs of a crate in just this version, which is built when it is missing.
pub fn from_crates_io(name: &str, version: &str, options: &[&str]) -> Outcome<PathBuf> {
    let home = target_dir().join("tools").join(format!("{name}-{version}"));
    let programs = home.join("bin");
    if !programs.is_dir() {
        let mut install = cargo(["install", "--locked", name, "--version", version, "--root"]);
        run(install.arg(&home).args(options))?;
    }
    Ok(programs)
}

/// Sees to it that packages are there which a measurement compares us with; `missing` tells of those that are not.
/// Where they cannot be installed nothing is done.
pub fn install_if_possible(missing: impl Fn() -> Vec<&'static str>) -> Outcome<Vec<&'static str>> {
    let packages = missing();
    if packages.is_empty() || !can_install() {
        return Ok(packages);
    }
    println!("xtask: installing {}", packages.join(" "));
    install(&packages)?;
    Ok(missing())
}

/// Whether a program can be found by its name.
pub fn is_present(program: &str) -> bool {
    is_in(program, std::env::var_os("PATH").as_deref())
}

fn is_in(program: &str, search_path: Option<&OsStr>) -> bool {
    search_path.is_some_and(|dirs| std::env::split_paths(dirs).any(|dir| dir.join(program).is_file()))
}

fn missing_packages(tools: &[Tool]) -> Vec<&'static str> {
    let mut packages: Vec<_> = tools.iter().filter(|tool| !is_present(tool.program)).map(|tool| tool.package).collect();
    packages.dedup();
    packages
}

fn can_install() -> bool {
    let is_root = || output_of(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    Path::new("/etc/debian_version").exists() && is_present("apt-get") && is_root()
}

fn install(packages: &[&str]) -> Outcome<()> {
    let apt_get = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").arg("-qq");
        command
    };
    run(apt_get().arg("update"))?;
    run(apt_get().args(["install", "-y", "--no-install-recommends"]).args(packages))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_looked_for_in_every_directory_of_the_path() {
        assert!(is_in("sh", Some(OsStr::new("/nowhere:/bin"))));
        assert!(!is_in("sh", Some(OsStr::new("/nowhere"))));
        assert!(!is_in("sh", None));
    }
}
