//! What sessions and RTM clients have in common between the application's threads, the io thread and the queues: being
//! there, being destroyed, and limits on what is under way.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crvideo_proto::code;

use super::Code;
use super::io::{self, Order};
use super::queue::EventQueue;

/// Somebody whose events a queue holds.
pub trait Party: Send + Sync {
    /// Its life.
    fn life(&self) -> &Life;
    /// The last event has been handled. Called once, where events are handled.
    fn released(&self);
}

/// A life.
pub struct Life {
    handle: u64,
    queue: Arc<EventQueue>,
    /// Whether calls are accepted.
    gate: RwLock<bool>,
    destroyed: AtomicBool,
    over: AtomicBool,
    task_limit: u32,
    outbound_limit: u64,
    tasks: AtomicU32,
    outbound: AtomicU64,
    handled: AtomicU64,
}

impl Life {
    /// One that begins, with limits on tasks and bytes that are accepted and not ended.
    pub fn new(handle: u64, queue: Arc<EventQueue>, task_limit: u32, outbound_limit: u64) -> Self {
        Self {
            handle,
            queue,
            gate: RwLock::new(true),
            destroyed: AtomicBool::new(false),
            over: AtomicBool::new(false),
            task_limit,
            outbound_limit,
            tasks: AtomicU32::new(0),
            outbound: AtomicU64::new(0),
            handled: AtomicU64::new(0),
        }
    }

    /// Its handle.
    pub fn handle(&self) -> u64 {
        self.handle
    }

    /// The queue that takes its events.
    pub fn queue(&self) -> &Arc<EventQueue> {
        &self.queue
    }

    /// Gives the io thread an order of the application's; 11 once this is destroyed. Whatever was given before stands
    /// before the order to end, so no accepted call is left without its event.
    pub fn give(&self, order: Order) -> Result<(), Code> {
        let open = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        if !*open {
            return Err(code::NOT_INIT);
        }
        io::give(order);
        Ok(())
    }

    /// Ends it: from now on nothing is accepted, and only terminal events are delivered.
    pub fn destroy(&self) {
        let mut open = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        *open = false;
        self.destroyed.store(true, Ordering::SeqCst);
        io::give(Order::Destroy(self.handle));
    }

    /// Whether it has been destroyed, though its last events may still wait.
    pub fn is_destroyed(&self) -> bool {
        self.destroyed.load(Ordering::SeqCst)
    }

    /// Every event has been handled after it was destroyed.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// The last event has been handled.
    pub fn fence_passed(&self) {
        self.over.store(true, Ordering::SeqCst);
        self.queue.detach();
    }

    /// Reserves a task's place in the queue, and its bytes.
    pub fn reserve(&self, bytes: u64) -> Result<(), Code> {
        let tasks = self.tasks.fetch_add(1, Ordering::SeqCst);
        let before = self.outbound.fetch_add(bytes, Ordering::SeqCst);
        // One task is always allowed, so that a limit below a single buffer does not forbid it for ever.
        let too_many = tasks >= self.task_limit;
        let too_much = before > 0 && before.saturating_add(bytes) > self.outbound_limit;
        if too_many || too_much {
            self.release(bytes);
            return Err(code::SEND_QUEUE_FULL);
        }
        Ok(())
    }

    /// Gives a reservation back.
    pub fn release(&self, bytes: u64) {
        self.tasks.fetch_sub(1, Ordering::SeqCst);
        self.outbound.fetch_sub(bytes, Ordering::SeqCst);
    }

    /// Bytes of what came in that the application has handled, in all.
    pub fn handled(&self) -> u64 {
        self.handled.load(Ordering::SeqCst)
    }

    /// The application has handled so many more.
    pub fn has_handled(&self, bytes: u64) {
        self.handled.fetch_add(bytes, Ordering::SeqCst);
    }
}
