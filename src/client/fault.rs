//! Places at which a test lets the library panic, to see that its host survives. A library that is not built for its own
//! unit tests has none.

/// A place of this name.
#[cfg(not(test))]
#[inline(always)]
pub fn point(_site: &'static str) {}

#[cfg(test)]
pub use armed::{arm, point};

#[cfg(test)]
mod armed {
    use std::sync::{Mutex, PoisonError};

    static ARMED: Mutex<Option<&'static str>> = Mutex::new(None);

    /// The next passage of this place panics. Returns the place that was armed before and has not been passed.
    pub fn arm(site: Option<&'static str>) -> Option<&'static str> {
        std::mem::replace(&mut ARMED.lock().unwrap_or_else(PoisonError::into_inner), site)
    }

    /// Panics if this place is armed, once.
    pub fn point(site: &'static str) {
        let mut armed = ARMED.lock().unwrap_or_else(PoisonError::into_inner);
        if *armed == Some(site) {
            *armed = None;
            drop(armed);
            panic!("at {site}, as a test wants it");
        }
    }
}
