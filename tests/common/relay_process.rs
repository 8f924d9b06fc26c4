//! The relay as a process, for programs that harm it: built where it is not given, started until it is ready, and killed
//! when it is dropped.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;

#[path = "cargo.rs"]
mod cargo;

use cargo::cargo_command;

/// What a relay says when it is ready, before its addresses.
const READY: &str = "crvideo-relay ready";

/// A relay that runs.
pub struct RelayProcess(Child);

impl RelayProcess {
    /// Starts it, and waits until it is ready; returns the line that says so. Fails with what it has said instead.
    pub fn start(mut command: Command) -> Result<(Self, String), String> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut process = Self(child.map_err(|error| format!("{command:?}: {error}"))?);
        let mut line = String::new();
        let read = process.0.stdout.take().map(|out| BufReader::new(out).read_line(&mut line));
        if line.starts_with(READY) {
            return Ok((process, line));
        }
        Err(format!("the relay is not ready ({read:?}): {line:?}"))
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) -> std::io::Result<ExitStatus> {
        self.0.wait()
    }
}

impl Drop for RelayProcess {
    fn drop(&mut self) {
        let _ = (self.0.kill(), self.0.wait());
    }
}

/// The relay's program: the one that `CRVIDEO_RELAY_BIN` names, or the one that is built here for tests.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(given) = std::env::var_os("CRVIDEO_RELAY_BIN") {
            return given.into();
        }
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tmp/artefacts");
        let mut cargo = cargo_command();
        cargo.args(["build", "--quiet", "--package", "crvideo-relay", "--bin", "crvideo-relay", "--target-dir"]);
        let status = cargo.arg(&target).current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo runs");
        assert!(status.success(), "{cargo:?}: {status}");
        target.join("debug/crvideo-relay")
    })
}
