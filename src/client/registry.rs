//! Handles: ids of 8 bits of kind and 56 bits of a counter that never repeats. Never pointers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crvideo_proto::code;
use once_cell::sync::Lazy;

use super::Code;
use super::numbers::ByNumber;
use super::queue::EventQueue;
use super::rtm;
use super::session::Shared;

/// What a handle names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A session.
    Session = 1,
    /// An event queue.
    Queue = 2,
    /// An RTM client.
    Rtm = 3,
}

/// Where the kind stands in a handle.
const KIND_SHIFT: u32 = 56;

static NEXT: AtomicU64 = AtomicU64::new(1);

/// A handle that no other object has or will have.
pub fn new_handle(kind: Kind) -> u64 {
    (kind as u64) << KIND_SHIFT | NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Live objects by handle.
pub struct Table<T>(RwLock<ByNumber<u64, Arc<T>>>);

impl<T> Table<T> {
    fn new() -> Self {
        Self(RwLock::new(ByNumber::default()))
    }

    /// Adds an object.
    pub fn insert(&self, handle: u64, object: Arc<T>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(handle, object);
    }

    /// Looks an object up; 11 when the handle is dead or of another kind.
    pub fn get(&self, handle: u64) -> Result<Arc<T>, Code> {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        table.get(&handle).cloned().ok_or(code::NOT_INIT)
    }

    /// Removes an object: its handle is dead from now on.
    pub fn remove(&self, handle: u64) -> Result<Arc<T>, Code> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&handle).ok_or(code::NOT_INIT)
    }
}

/// All sessions of the process.
pub static SESSIONS: Lazy<Table<Shared>> = Lazy::new(Table::new);
/// All RTM clients of the process.
pub static CLIENTS: Lazy<Table<rtm::Shared>> = Lazy::new(Table::new);
/// All polled queues of the process.
pub static QUEUES: Lazy<Table<EventQueue>> = Lazy::new(Table::new);
