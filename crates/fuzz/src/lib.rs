//! What the fuzzer calls. A target takes any bytes and panics when a rule is broken; what it asserts goes beyond "it
//! does not crash": round trips, invariants, bounds on memory and time.
//!
//! `fuzz/` has the programs that libFuzzer drives, and the corpora; `cargo xtask fuzz` builds and runs them. Here the
//! targets are ordinary functions, so that a stable test can run every committed input through them.
//!
//! * `input`: bytes as a list of decisions. Its format is part of the corpora: it may grow, but not change.
//! * `bounds`: what an input may cost.
//! * `client`, `pair`: a session with the shell that a target plays around it; two of them with a relay's core.
//! * One file for each target.
#![deny(unsafe_code)]

mod abi_strings;
mod bounds;
mod chunk_resume;
mod client;
mod file_name;
mod frame_client;
mod frame_relay;
mod input;
mod message_shapes;
mod pair;
mod rtm_client;
mod rtm_gate;
mod stored_state;
mod token;

pub use bounds::{MOST_CPU_TIME, MOST_MEMORY, bounded};

/// One thing to be fuzzed.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name: of its program, its corpus and its dictionary.
    pub name: &'static str,
    /// Takes any bytes; panics when a rule is broken.
    pub run: fn(&[u8]),
}

/// All targets, by name.
pub const TARGETS: &[Target] = &[
    Target { name: "abi_strings", run: abi_strings::run },
    Target { name: "chunk_resume", run: chunk_resume::run },
    Target { name: "file_name", run: file_name::run },
    Target { name: "frame_client", run: frame_client::run },
    Target { name: "frame_relay", run: frame_relay::run },
    Target { name: "message_shapes", run: message_shapes::run },
    Target { name: "rtm_client", run: rtm_client::run },
    Target { name: "rtm_gate", run: rtm_gate::run },
    Target { name: "stored_state", run: stored_state::run },
    Target { name: "token", run: token::run },
];

/// Runs one input through the target with this name, inside its bounds.
///
/// # Panics
/// When a rule is broken, and when there is no such target.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    bounded(name, || match target {
        Some(target) => (target.run)(data),
        None => panic!("there is no target {name:?}"),
    });
}
