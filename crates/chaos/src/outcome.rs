//! What a scenario has done and found.

use std::collections::BTreeMap;
use std::fmt;

use crate::ledger::Report;

/// One run of one scenario.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The scenario.
    pub name: &'static str,
    /// Repeats it.
    pub seed: u64,
    /// How often its fault was meant to happen.
    pub trials: u64,
    /// What was broken, and how often.
    pub faults: BTreeMap<String, u64>,
    /// Where outcomes are unknown: by what was broken and what was sent, the numbers of [`Report::by_kind`].
    pub unknown: BTreeMap<String, [u64; 3]>,
    /// What the ledger says.
    pub report: Report,
}

impl Outcome {
    /// Nothing yet.
    pub fn new(name: &'static str, seed: u64) -> Self {
        let (faults, unknown) = (BTreeMap::new(), BTreeMap::new());
        Self { name, seed, trials: 0, faults, unknown, report: Report::default() }
    }

    /// A fault has fired so often.
    pub fn fired(&mut self, what: impl Into<String>, count: u64) {
        if count > 0 {
            *self.faults.entry(what.into()).or_default() += count;
        }
    }

    /// Notes where outcomes are unknown.
    pub fn note_unknown(&mut self, after: &str, report: &Report) {
        for (kind, counts) in &report.by_kind {
            let sum = self.unknown.entry(format!("{after}, {kind:?}")).or_default();
            sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
    }

    /// Adds what a proxy has fired.
    pub fn fired_all(&mut self, faults: BTreeMap<String, u64>) {
        for (what, count) in faults {
            self.fired(what, count);
        }
    }

    /// Faults that fired, in all.
    pub fn faults(&self) -> u64 {
        self.faults.values().sum()
    }

    /// Something is wrong that is not in the notes.
    pub fn violated(&mut self, what: impl Into<String>) {
        self.report.violations.push(what.into());
    }

    /// A fault that should have fired and has not is a violation: the run has proved nothing.
    pub fn must_have_fired(&mut self, prefix: &str, at_least: u64) {
        let fired: u64 = self.faults.iter().filter(|it| it.0.starts_with(prefix)).map(|it| it.1).sum();
        if fired < at_least {
            self.violated(format!("{prefix} fired {fired} times only, not {at_least}: the run proves nothing"));
        }
    }

    /// Unknown outcomes in hundredths of all tasks.
    pub fn unknown_percent(&self) -> f64 {
        100.0 * self.report.unknown() as f64 / self.report.tasks.max(1) as f64
    }

    /// Panics with everything when something is wrong.
    pub fn must_be_good(&self) {
        assert!(self.report.violations.is_empty(), "{self}");
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, seed, trials, faults, unknown, report } = self;
        write!(f, "{name} --seed {seed}: {trials} trials, faults {faults:?}, {report}")?;
        unknown.iter().try_for_each(|(of, [tasks, count, delivered])| {
            write!(f, "\n  {of}: {count} of {tasks} unknown, {delivered} of them delivered")
        })
    }
}
