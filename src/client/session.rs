//! What the application's threads, the io thread and the queues share of a session.

use std::collections::{HashMap, HashSet};
use std::ops::Deref;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crvideo_proto::code;
use crvideo_proto::id::TaskId;
use crvideo_proto::session::Receipt;

use super::Code;
use super::config::SessionConfig;
use super::event::{Event, EventHandler};
use super::io::{self, Order};
use super::life::{Life, Party};
use super::queue::{EventQueue, is_terminal};
use super::sink;

/// Where a session's life stands, for the calls that must know at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// Not logged in.
    Out,
    /// A login is under way.
    Entering,
    /// Logged in.
    In,
    /// A logout is under way.
    Leaving,
}

/// The latest progress of one transfer, with one place in the queue however often it changes.
#[derive(Debug, Default)]
pub struct Slot {
    latest: AtomicU64,
    queued: AtomicBool,
}

impl Slot {
    /// Stores a value; whether a place in the queue must be taken for it.
    pub fn put(&self, value: u64) -> bool {
        self.latest.store(value, Ordering::SeqCst);
        !self.queued.swap(true, Ordering::SeqCst)
    }

    fn take(&self) -> u64 {
        self.queued.store(false, Ordering::SeqCst);
        self.latest.load(Ordering::SeqCst)
    }
}

/// What remains to be done when an event has been handled.
#[derive(Debug, Default)]
pub struct After {
    /// Bytes of a command that the application held.
    pub charge: u64,
    /// Proof for the io thread.
    pub receipt: Option<Box<Receipt>>,
    /// The event ends a task: its reservation is given back, with this many bytes.
    pub ends_task: Option<u64>,
    /// The event counts against the limit on status pushes.
    pub status: bool,
    /// The event brings a file in a directory of ours, which goes when nobody hears of it. One at a path of the
    /// application's own stays in any case.
    pub file: Option<Box<Path>>,
}

/// An event in a queue.
pub struct Delivery {
    /// The event.
    pub event: Event,
    /// Where a progress event's newest value is.
    pub slot: Option<Arc<Slot>>,
    /// What follows.
    pub after: After,
}

/// Status pushes that may wait; later ones are dropped, and the drop is logged.
const MAX_STATUS_WAITING: u32 = 65_536;

/// The shared half of a session.
pub struct Shared {
    life: Life,
    config: SessionConfig,
    handler: Arc<dyn EventHandler>,
    stage: Mutex<Stage>,
    /// Whom the last call has sent to: most calls of a session name the same user again.
    latest_target: Mutex<Option<Arc<str>>>,
    status_waiting: AtomicU32,
    /// Tasks whose id the caller chose or could choose again, while they run.
    running: Mutex<HashSet<TaskId>>,
    /// Transfers that come in; true while the application has to decide.
    incoming: Mutex<HashMap<(Arc<str>, TaskId), bool>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while one of these locks is held leaves plain data behind that is still true.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A session's life is used all over; it may be asked as if the session itself were.
impl Deref for Shared {
    type Target = Life;

    fn deref(&self) -> &Life {
        &self.life
    }
}

impl Party for Shared {
    fn life(&self) -> &Life {
        &self.life
    }

    fn released(&self) {
        self.handler.released();
    }
}

impl Shared {
    /// A session that is not logged in.
    pub fn new(handle: u64, config: SessionConfig, queue: Arc<EventQueue>, handler: Arc<dyn EventHandler>) -> Self {
        Self {
            life: Life::new(handle, queue, config.task_limit, config.outbound_limit),
            config,
            handler,
            stage: Mutex::new(Stage::Out),
            latest_target: Mutex::new(None),
            status_waiting: AtomicU32::new(0),
            running: Mutex::new(HashSet::new()),
            incoming: Mutex::new(HashMap::new()),
        }
    }

    /// The session's settings.
    pub fn config(&self) -> &SessionConfig {
        &self.config
    }

    /// The application's side.
    pub fn handler(&self) -> &Arc<dyn EventHandler> {
        &self.handler
    }

    // ---- life ---------------------------------------------------------------------------------------------

    /// Moves from one stage to the next and gives the io thread the order for it, or says why not. Both are one step:
    /// orders of several threads stand in the queue as their stages follow each other.
    pub fn enter(&self, from: &[Stage], to: Stage, refusal: Code, order: Order) -> Result<(), Code> {
        let mut stage = lock(&self.stage);
        if !from.contains(&stage) {
            return Err(refusal);
        }
        self.give(order)?;
        *stage = to;
        Ok(())
    }

    /// Moves on, on the io thread, where the session still stands at `from`: what the application has begun meanwhile
    /// is not over with the end of what was before it.
    pub fn move_on(&self, from: Stage, to: Stage) {
        let mut stage = lock(&self.stage);
        if *stage == from {
            *stage = to;
        }
    }

    /// An error unless the session is logged in.
    pub fn must_be_in(&self) -> Result<(), Code> {
        if *lock(&self.stage) == Stage::In { Ok(()) } else { Err(code::NOT_LOGIN) }
    }

    // ---- tasks and transfers ------------------------------------------------------------------------------

    /// The name of a target, as the io thread takes it.
    pub fn target(&self, name: &str) -> Arc<str> {
        let mut latest = lock(&self.latest_target);
        match &*latest {
            Some(known) if **known == *name => known.clone(),
            _ => latest.insert(name.into()).clone(),
        }
    }

    /// Notes a task whose id could be used again; an error if it runs already.
    pub fn begin(&self, task: TaskId) -> Result<(), Code> {
        if lock(&self.running).insert(task) { Ok(()) } else { Err(code::LOGINSTATE_ERROR) }
    }

    /// The task has ended.
    pub fn end(&self, task: TaskId) {
        lock(&self.running).remove(&task);
    }

    /// Notes a transfer that comes in.
    pub fn incoming(&self, source: Arc<str>, task: TaskId, asking: bool) {
        lock(&self.incoming).insert((source, task), asking);
    }

    /// The transfer has ended.
    pub fn incoming_ended(&self, source: &Arc<str>, task: TaskId) {
        lock(&self.incoming).remove(&(source.clone(), task));
    }

    /// Takes the decision about an offer; an error if there is none to take.
    pub fn decide(&self, source: &Arc<str>, task: TaskId) -> Result<(), Code> {
        match lock(&self.incoming).get_mut(&(source.clone(), task)) {
            Some(asking) if *asking => {
                *asking = false;
                Ok(())
            }
            _ => Err(code::TRANSID_INVALID),
        }
    }

    /// An error unless such a transfer comes in.
    pub fn must_be_incoming(&self, source: &Arc<str>, task: TaskId) -> Result<(), Code> {
        let known = lock(&self.incoming).contains_key(&(source.clone(), task));
        if known { Ok(()) } else { Err(code::TRANSID_INVALID) }
    }

    // ---- delivery -----------------------------------------------------------------------------------------

    /// Puts an event into the queue, which must be rung before the io thread's turn ends.
    pub fn deliver(self: &Arc<Self>, event: Event, slot: Option<Arc<Slot>>, after: After) {
        if after.status && self.status_waiting.fetch_add(1, Ordering::SeqCst) >= MAX_STATUS_WAITING {
            self.status_waiting.fetch_sub(1, Ordering::SeqCst);
            log::warn!("dropped a status push: the application does not handle its events");
            return;
        }
        self.queue().put(super::queue::Item::Event(self.clone(), Delivery { event, slot, after }));
    }

    /// Whether an event is not delivered any more.
    pub fn discards(&self, event: &Event) -> bool {
        self.is_destroyed() && !is_terminal(event)
    }

    /// The event as it is to be handled now, if at all.
    pub fn prepare(&self, mut event: Event, slot: Option<&Slot>) -> Option<Event> {
        if let Some(slot) = slot {
            let latest = slot.take();
            match &mut event {
                Event::SendProgress { sent: value, .. } | Event::ReceiveProgress { received: value, .. } => {
                    *value = latest;
                }
                _ => {}
            }
        }
        (!self.discards(&event)).then_some(event)
    }

    /// Does what follows an event that the application has heard, or (`heard` false) that nobody has.
    pub fn settle(&self, after: After, heard: bool) {
        let After { charge, receipt, ends_task, status, file } = after;
        if charge > 0 {
            self.has_handled(charge);
        }
        if let Some(bytes) = ends_task {
            self.release(bytes);
        }
        if status {
            self.status_waiting.fetch_sub(1, Ordering::SeqCst);
        }
        if let Some(path) = file.filter(|_| !heard) {
            // Removed here, and not on a helper thread: when a session's end is reported, its files are gone.
            sink::remove(&path);
            io::tidy_up();
        }
        if let Some(receipt) = receipt {
            io::give(Order::Receipt(self.handle(), receipt));
        }
    }
}
