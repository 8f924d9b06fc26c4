//! `cargo xtask attack`: build optimised programs and start `crvideo-attack`.

use std::process::Command;

use crate::artefacts::{Profile, relay};
use crate::process::{Outcome, cargo, run, target_dir};

/// What `cargo xtask help attack` says.
pub const DETAILS: &str =
    "Floods a relay on this machine while 100 users of it work, and prints a table: its memory, how soon it closes
whom, what it refuses, and how long the users' tasks take, beside the same without a flood. Exit code 1 when a limit is
broken. Without a NAME all floods come: strangers, never-read, descriptors, logins, connects, handshakes. --sample: a
small part of each, as `cargo xtask test` runs it. --memory MIB: the relay is in a cgroup with so much memory, in which
the kernel kills it when it takes more (needs root). Whole floods need about 11,000 descriptors (ulimit -n).";

/// Floods a relay.
pub fn attack(arguments: &[String]) -> Outcome<()> {
    let relay = relay(Profile::Release)?;
    run(&mut cargo(["build", "--release", "--package", "crvideo-attack"]))?;
    let mut program = Command::new(target_dir().join("release/crvideo-attack"));
    run(program.args(arguments).env("CRVIDEO_RELAY_BIN", relay))
}
