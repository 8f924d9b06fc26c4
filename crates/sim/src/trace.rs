//! What happened, as a hash that two equal runs share, and as lines for whoever looks into a failure.

use std::time::Duration;

/// FNV-1a's prime and offset basis, for 64 bits.
const PRIME: u64 = 0x100_0000_01b3;
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;

#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) hash: u64,
    pub(crate) now: Duration,
    lines: Option<Vec<String>>,
}

impl Trace {
    pub(crate) fn new(with_lines: bool) -> Self {
        Self { hash: BASIS, now: Duration::ZERO, lines: with_lines.then(Vec::new) }
    }

    /// Something happened.
    pub(crate) fn mark(&mut self, kind: u64, who: u64, what: u64) {
        for part in [self.now.as_nanos() as u64, kind, who, what] {
            self.hash = (self.hash ^ part).wrapping_mul(PRIME);
        }
    }

    /// Something happened that is worth a line.
    pub(crate) fn note(&mut self, kind: u64, who: u64, what: u64, line: impl FnOnce() -> String) {
        self.mark(kind, who, what);
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>12.6} {}", self.now.as_secs_f64(), line()));
        }
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }
}
