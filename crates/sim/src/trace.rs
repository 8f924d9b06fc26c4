//! What happened, as a hash that two equal runs share, and as lines for whoever looks into a failure.

use std::cell::RefCell;
use std::time::Duration;

/// FNV-1a's prime and offset basis, for 64 bits.
const PRIME: u64 = 0x100_0000_01b3;
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;

thread_local! {
    /// What the sessions have logged since the last line.
    static LOGGED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Keeps what the sessions log for the trace of this thread.
struct Keeper;

impl log::Log for Keeper {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        LOGGED.with_borrow_mut(|logged| logged.push(format!("             | {}", record.args())));
    }

    fn flush(&self) {}
}

/// From now on the lines of a trace contain what the sessions log.
pub(crate) fn keep_log() {
    if log::set_logger(&Keeper).is_ok() {
        log::set_max_level(log::LevelFilter::Trace);
    }
}

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
            LOGGED.with_borrow_mut(|logged| lines.append(logged));
            lines.push(format!("{:>12.6} {}", self.now.as_secs_f64(), line()));
        }
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }
}
