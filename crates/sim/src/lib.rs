//! Whole systems in one thread and virtual time: sessions and a relay, as the library and the relay run them, joined by
//! pipes that are slow, break and lose bytes. A seed decides everything; a ledger that knows the contract and nothing
//! of the code judges what happened.
//!
//! * `plan`, `script`: what a seed draws, before and while things happen.
//! * `trials`: faults that hit at one moment only, each after the healing of some seeds.
//! * `world`, `party`, `files`, `hub`, `pipe`, `meddler`: time; the shells around the session and the relay's core;
//!   what joins them.
//! * `drill`: one machine alone, and what chance hardly brings about.
//! * `ledger`: the rules. `credit`: one more, read off the wire. `defect`: faults that prove that the ledger finds faults.
#![forbid(unsafe_code)]

mod agenda;
mod credit;
mod defect;
mod drill;
mod files;
mod hub;
mod ledger;
mod meddler;
mod party;
mod pipe;
mod plan;
mod rng;
mod script;
mod trace;
mod trials;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use defect::Defect;

/// How a run went.
#[derive(Debug)]
pub struct Report {
    /// The first rule that was broken.
    pub violation: Option<String>,
    /// Equal for equal runs.
    pub hash: u64,
    /// How often what has happened.
    pub sights: BTreeMap<String, u64>,
    /// How often the planted defect struck.
    pub struck: u64,
    /// What happened, where that was asked for.
    pub lines: Vec<String>,
}

/// Runs what a seed stands for.
pub fn run(seed: u64, defect: Option<Defect>, with_lines: bool) -> Report {
    if with_lines {
        trace::keep_log();
    }
    let mut world = world::World::new(seed, defect, with_lines);
    if with_lines {
        let plan = format!("{:?}", world.plan);
        world.trace.note(0, 0, 0, || plan);
    } else {
        world.trace.mark(0, 0, 0);
    }
    if let Some(wrong) = drill::of(seed) {
        world.ledger.violated(format!("a drill: {wrong}"));
    }
    world.run();
    Report {
        violation: world.ledger.violation.take(),
        hash: world.trace.hash,
        sights: world.ledger.sights(),
        struck: world.struck,
        lines: world.trace.into_lines(),
    }
}

/// The same without lines, judged: a panic counts as a violation.
pub fn judge(seed: u64, defect: Option<Defect>) -> Result<Report, String> {
    let report = catch_unwind(AssertUnwindSafe(|| run(seed, defect, false))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        format!("I10: a panic: {}", text.unwrap_or("without text"))
    })?;
    match &report.violation {
        Some(violation) => Err(violation.clone()),
        None => Ok(report),
    }
}
