//! What is said now and then, however often it happens.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// While something goes on happening, it is said once in this time.
const SAY_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// What is said now and then, however often it happens.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<Option<Instant>>);

impl Seldom {
    /// Has said nothing yet.
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Whether it is time to say it again.
    pub(crate) fn now(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|at| at.elapsed() >= SAY_AGAIN_AFTER);
        if due {
            *last = Some(Instant::now());
        }
        due
    }
}
