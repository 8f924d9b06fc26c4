//! A descriptor that is kept for the time when there are no others.

use std::fs::File;
use std::sync::{Mutex, PoisonError};

use socket2::SockRef;
use tokio::net::TcpListener;

/// Those who are closed in one go; the others have their turn after a pause.
const MOST_AT_ONCE: usize = 1_024;

/// A descriptor in reserve. When all others are in use it is given up for a moment, so that a client who waits can be
/// told no by a close instead of waiting for ever.
#[derive(Debug)]
pub(crate) struct Spare(Mutex<Option<File>>);

#[cfg(unix)]
const NOTHING: &str = "/dev/null";
#[cfg(not(unix))]
const NOTHING: &str = "NUL";

impl Spare {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(File::open(NOTHING).ok()))
    }

    /// Accepts those who wait, one after the other on the reserved descriptor, and closes them.
    pub(crate) fn shed(&self, listener: &TcpListener) {
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(spare.take());
        // What is accepted is closed at once; the listener does not block, so it ends when nobody waits any more.
        let listener = SockRef::from(listener);
        let _ = (0..MOST_AT_ONCE).try_for_each(|_| listener.accept().map(drop));
        *spare = File::open(NOTHING).ok();
    }
}
