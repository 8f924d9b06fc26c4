//! A program in another language, by nothing but its foreign function interface: Python and ctypes, one thread.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

#[path = "c/harness.rs"]
mod harness;

use std::process::Command;

use harness::{Relay, Running, Scratch, artefacts, installed, root};

#[test]
fn python_sends_a_command_a_buffer_and_a_file_on_one_thread() {
    if !installed("python3") {
        eprintln!("skipped: python3 is not installed");
        return;
    }
    let relay = Relay::start();
    let scratch = Scratch::new();
    let mut python = Command::new("python3");
    // An exception in a callback is printed, not raised: -W error and the assertions behind the callbacks find it.
    python.args(["-X", "dev"]).arg(root().join("tests/python/roundtrip.py"));
    python.arg(artefacts().lib_dir.join("libcrvideo.so")).args(relay.args()).arg(scratch.path(""));
    python.env("PYTHONDONTWRITEBYTECODE", "1");
    let done = Running::start(python).finish().exits(0).says("everything arrived");
    assert!(!done.stderr.contains("Traceback"), "{}", done.report());
}
