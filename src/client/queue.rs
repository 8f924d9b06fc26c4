//! Event queues: where the io thread leaves events, and where the application takes them.

use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use crvideo_proto::code;

use super::Code;
use super::event::Event;
use super::fault;
use super::life::{Life, Party};
use super::logging::LogLine;
use super::rtm;
use super::session::{Delivery, Shared};
use super::sleep::Bed;
use crate::sys::EventFd;

thread_local! {
    /// How many callbacks this thread is inside of.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// A number that no other thread has.
    static THREAD: u64 = THREADS.fetch_add(1, Ordering::Relaxed);
}
static THREADS: AtomicU64 = AtomicU64::new(1);

/// This thread's number; 0 while it ends, when it runs no callback any more.
fn this_thread() -> u64 {
    THREAD.try_with(|number| *number).unwrap_or(0)
}

/// Whether this thread is inside a callback of ours.
pub fn inside_callback() -> bool {
    DEPTH.try_with(|depth| depth.get() > 0).unwrap_or(false)
}

/// Something that waits in a queue. It is copied from place to place, so what is large and rare is boxed.
pub enum Item {
    /// An event of a session.
    Event(Arc<Shared>, Delivery),
    /// The end of a call of an RTM client, or what it was told.
    Rtm(Arc<rtm::Shared>, Box<rtm::Delivery>),
    /// A log line.
    Log(LogLine),
    /// All events of a destroyed session or RTM client stand before this.
    Fence(Arc<dyn Party>),
}

type Wake = Box<dyn Fn() + Send + Sync>;

/// Items that wait together for one hand-over.
type Batch = Vec<Item>;
/// Items of a batch that waits no longer for others.
const BATCH: usize = 16;

/// An event queue. Its length is bounded by what may be put in: every task reserves the places of its own events
/// before it is accepted, progress has one place a task, and what comes in is limited by credit.
pub struct EventQueue {
    sender: Sender<Batch>,
    receiver: Receiver<Batch>,
    /// What has been put in since the last hand-over.
    open: Mutex<Batch>,
    /// Items that were handed over and not handled yet.
    waiting: AtomicIsize,
    signal: Option<EventFd>,
    /// The application knows the descriptor, so it must tell the truth.
    watched: AtomicBool,
    /// Where whoever takes items out waits for them.
    bed: Bed,
    /// Read while the function runs, so that whoever changes it waits for that.
    wake: RwLock<Option<Wake>>,
    /// Sessions and logs that are attached.
    attached: AtomicUsize,
    /// Held by whoever takes items out; the items it has already taken from the channel.
    taken: Mutex<VecDeque<Item>>,
    /// Whose event is being handled: a session's handle, or one of the marks.
    running: AtomicU64,
    /// By which thread.
    runner: AtomicU64,
    /// Held on the way to waiting for `idle`.
    lounge: Mutex<()>,
    idle: Condvar,
    /// Threads that wait for `idle`.
    patient: AtomicUsize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while one of these locks is held leaves plain data behind that is still true.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl EventQueue {
    /// A queue; one that is polled gets a descriptor.
    pub fn new(polled: bool) -> std::io::Result<Self> {
        let (sender, receiver) = crossbeam_channel::unbounded();
        let signal = if polled { Some(EventFd::new()?) } else { None };
        Ok(Self {
            sender,
            receiver,
            open: Mutex::new(Batch::new()),
            waiting: AtomicIsize::new(0),
            signal,
            watched: AtomicBool::new(false),
            bed: Bed::default(),
            wake: RwLock::new(None),
            attached: AtomicUsize::new(0),
            taken: Mutex::new(VecDeque::new()),
            running: AtomicU64::new(NOBODY),
            runner: AtomicU64::new(0),
            lounge: Mutex::new(()),
            idle: Condvar::new(),
            patient: AtomicUsize::new(0),
        })
    }

    /// The descriptor of a polled queue. Only from the first call on does it follow the queue.
    pub fn descriptor(&self) -> Option<i32> {
        let signal = self.signal.as_ref()?;
        if !self.watched.swap(true, Ordering::SeqCst) && self.waiting.load(Ordering::SeqCst) > 0 {
            signal.raise();
        }
        Some(signal.number())
    }

    /// The descriptor, if anybody looks at it.
    fn signal(&self) -> Option<&EventFd> {
        self.signal.as_ref().filter(|_| self.watched.load(Ordering::SeqCst))
    }

    /// Sets the function that is called when the queue becomes non-empty. After this the former one is never called.
    pub fn set_wake(&self, wake: Option<Wake>) {
        *self.wake.write().unwrap_or_else(PoisonError::into_inner) = wake;
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.call_wake();
        }
    }

    fn call_wake(&self) {
        if let Some(wake) = &*self.wake.read().unwrap_or_else(PoisonError::into_inner) {
            wake();
        }
    }

    /// Counts a user of the queue.
    pub fn attach(&self) {
        self.attached.fetch_add(1, Ordering::SeqCst);
    }

    /// Counts one user less.
    pub fn detach(&self) {
        self.attached.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether the queue may be ended.
    pub fn is_free(&self) -> bool {
        self.attached.load(Ordering::SeqCst) == 0 && self.taken.try_lock().is_ok()
    }

    /// Adds an item, and wakes whoever waits for one.
    pub fn push(&self, item: Item) {
        lock(&self.open).push(item);
        self.ring();
    }

    /// Adds an item that may wait for others until the next [`ring`](Self::ring).
    pub fn put(&self, item: Item) {
        let mut open = lock(&self.open);
        open.push(item);
        let first = open.len() >= BATCH && self.hand_over(&mut open);
        drop(open);
        if first {
            self.raise();
        }
    }

    /// Hands over what was put in; whether nothing waited before. Whoever calls this holds the lock, so that batches
    /// keep their order, and raises the descriptor without it.
    fn hand_over(&self, open: &mut Batch) -> bool {
        let count = open.len();
        if count == 0 {
            return false;
        }
        // The next batch is probably as large as this one.
        let batch = std::mem::replace(open, Batch::with_capacity(count));
        // The receiver lives in this very struct, so sending cannot fail.
        let _ = self.sender.send(batch);
        self.waiting.fetch_add(count as isize, Ordering::SeqCst) == 0
    }

    /// Hands over what was put in, and wakes whoever waits for it; whether anybody had to be woken, and for one item
    /// alone.
    pub fn ring(&self) -> bool {
        let first = self.hand_over(&mut lock(&self.open));
        if first {
            self.raise();
        }
        let items = || usize::try_from(self.waiting.load(Ordering::SeqCst)).unwrap_or(0).max(1);
        self.bed.ring(|| if self.receiver.is_empty() { 0 } else { items() })
    }

    /// The next items; `None` when there are none until then (`None`: for ever). One thread at a time.
    fn next(&self, until: Option<Instant>) -> Option<Batch> {
        loop {
            if let Ok(batch) = self.receiver.try_recv() {
                return Some(batch);
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return None;
            }
            self.bed.sleep(|| self.receiver.is_empty(), left);
        }
    }

    fn raise(&self) {
        if let Some(signal) = self.signal() {
            signal.raise();
        }
        self.call_wake();
    }

    fn one_handled(&self) {
        if self.waiting.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.lower();
        }
    }

    fn lower(&self) {
        let Some(signal) = self.signal() else { return };
        signal.lower();
        // Something may have come between the count and the descriptor.
        if self.waiting.load(Ordering::SeqCst) > 0 {
            signal.raise();
        }
    }

    /// Handles what waits, on a polled queue.
    pub fn poll(&self, timeout: Option<Duration>) -> Result<u32, Code> {
        if inside_callback() && self.is_running_here() {
            return Err(code::LOGINSTATE_ERROR);
        }
        let Ok(mut taken) = self.taken.try_lock() else { return Err(code::LOGINSTATE_ERROR) };
        taken.extend(self.receiver.try_iter().flatten());
        if taken.is_empty() {
            // One that is too far away to be told is never.
            let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
            taken.extend(self.next(until).into_iter().flatten());
            taken.extend(self.receiver.try_iter().flatten());
            if taken.is_empty() {
                // Whoever put something in may have raised the descriptor only after it was handled.
                self.lower();
            }
        }
        // What comes while these are handled waits for the next call, so that a flood cannot keep a thread for ever.
        let mut left = taken.len();
        let mut handled = 0;
        while left > 0 {
            let Some(item) = taken.pop_front() else { break };
            left -= 1;
            handled += u32::from(self.handle_item(item));
        }
        drop(taken);
        self.rest();
        Ok(handled)
    }

    /// Handles events for ever: the life of the library's callback thread.
    pub fn serve(&self) {
        while let Some(batch) = self.next(None) {
            for item in batch {
                self.handle_item(item);
            }
        }
    }

    fn is_running_here(&self) -> bool {
        self.running.load(Ordering::SeqCst) != NOBODY && self.runner.load(Ordering::SeqCst) == this_thread()
    }

    /// Hands one item to the application; whether a callback could run for it.
    fn handle_item(&self, item: Item) -> bool {
        let handled = match item {
            Item::Event(session, delivery) => self.deliver(&session, delivery),
            Item::Rtm(client, delivery) => self.deliver_rtm(&client, *delivery),
            Item::Log(line) => {
                self.run_callback(LOG_MARK, || line.deliver());
                true
            }
            Item::Fence(party) => {
                self.run_callback(party.life().handle(), || party.released());
                party.life().fence_passed();
                self.rest();
                false
            }
        };
        self.one_handled();
        handled
    }

    fn deliver(&self, session: &Arc<Shared>, delivery: Delivery) -> bool {
        let Delivery { event, slot, after } = delivery;
        let Some(event) = session.prepare(event, slot.as_deref()) else {
            session.settle(after, false);
            return false;
        };
        let (mut handled, mut heard) = (false, false);
        self.run_callback(session.handle(), || {
            // The session may have been destroyed since it was asked for the event: ask again now that whoever
            // destroys it can see us and wait.
            if !session.discards(&event) {
                heard = session.handler().handle(session.handle(), &event);
                handled = true;
                fault::point("after a callback");
            }
        });
        drop(event);
        session.settle(after, heard);
        handled
    }

    fn deliver_rtm(&self, client: &Arc<rtm::Shared>, delivery: rtm::Delivery) -> bool {
        let after = delivery.after();
        let mut handled = false;
        self.run_callback(client.life().handle(), || handled = client.hand_over(delivery));
        client.settle(after);
        handled
    }

    /// Calls the application, visibly for those who must wait until that is over.
    fn run_callback(&self, whose: u64, call: impl FnOnce()) {
        self.runner.store(this_thread(), Ordering::Release);
        // Whoever destroys the session sees this, or we see there that it is destroyed.
        self.running.store(whose, Ordering::SeqCst);
        DEPTH.with(|depth| depth.set(depth.get() + 1));
        // A fault must not take the thread with it, nor what follows the call: a task's place, the end of a destroy.
        if catch_unwind(AssertUnwindSafe(call)).is_err() {
            log::error!("a fault inside the library: handing over an event panicked");
        }
        DEPTH.with(|depth| depth.set(depth.get() - 1));
        self.running.store(NOBODY, Ordering::SeqCst);
        self.rest();
    }

    /// Something is over for which a thread may wait.
    fn rest(&self) {
        if self.patient.load(Ordering::SeqCst) > 0 {
            // Between looking and waiting it holds this lock.
            drop(lock(&self.lounge));
            self.idle.notify_all();
        }
    }

    /// Waits until no event of a session is being handled on another thread. Inside a callback it does not wait: two
    /// callbacks that wait for each other would never end.
    pub fn wait_for_callback(&self, session: u64) {
        if inside_callback() {
            return;
        }
        self.patient.fetch_add(1, Ordering::SeqCst);
        let mut lounge = lock(&self.lounge);
        while self.running.load(Ordering::SeqCst) == session && self.runner.load(Ordering::SeqCst) != this_thread() {
            lounge = self.idle.wait(lounge).unwrap_or_else(PoisonError::into_inner);
        }
        drop(lounge);
        self.patient.fetch_sub(1, Ordering::SeqCst);
    }

    /// Waits until no log line is being handled on another thread.
    pub fn wait_for_log(&self) {
        self.wait_for_callback(LOG_MARK);
    }

    /// Returns when all events of a destroyed session or RTM client have been handled. On a polled queue they are handled here,
    /// unless another thread polls just now; the events of others keep their places.
    pub fn finish(&self, life: &Life) {
        while !life.is_over() {
            if self.signal.is_some()
                && let Ok(mut taken) = self.taken.try_lock()
            {
                taken.extend(self.receiver.try_iter().flatten());
                if taken.is_empty() {
                    taken.extend(self.next(Some(Instant::now() + PATIENCE)).into_iter().flatten());
                }
                let (own, others) = taken.drain(..).partition(|item| belongs_to(item, life.handle()));
                *taken = others;
                for item in own {
                    self.handle_item(item);
                }
                drop(taken);
                self.rest();
                continue;
            }
            self.patient.fetch_add(1, Ordering::SeqCst);
            let lounge = lock(&self.lounge);
            if !life.is_over() {
                drop(self.idle.wait_timeout(lounge, PATIENCE));
            }
            self.patient.fetch_sub(1, Ordering::SeqCst);
        }
        self.wait_for_callback(life.handle());
    }
}

/// Stands for the log where a session's handle is expected; no session has it.
const LOG_MARK: u64 = 0;
/// Stands for no session at all.
const NOBODY: u64 = u64::MAX;
/// How often a thread that waits for another looks again by itself.
const PATIENCE: Duration = Duration::from_millis(50);

fn belongs_to(item: &Item, handle: u64) -> bool {
    match item {
        Item::Event(session, _) => session.handle() == handle,
        Item::Rtm(client, _) => client.life().handle() == handle,
        Item::Fence(party) => party.life().handle() == handle,
        Item::Log(_) => false,
    }
}

/// Whether an event says how something ended that the application began: those survive a destroy.
pub fn is_terminal(event: &Event) -> bool {
    matches!(
        event,
        Event::LoginRslt { .. }
            | Event::LogoutRslt { .. }
            | Event::SendCmdRlst { .. }
            | Event::SendBufferRlst { .. }
            | Event::SendFileRlst { .. }
            | Event::CancelSendRlst { .. }
            | Event::UserStatusRslt { .. }
            | Event::StatusPushRslt { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the descriptor of a queue is up, as the system sees it.
    fn is_up(queue: &EventQueue) -> bool {
        let descriptor = queue.descriptor().unwrap();
        let facts = std::fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).unwrap();
        let count = facts.lines().find_map(|line| line.strip_prefix("eventfd-count:")).unwrap();
        count.trim() != "0"
    }

    #[test]
    fn regression_a_descriptor_that_was_raised_late_does_not_stay_up() {
        let queue = EventQueue::new(true).unwrap();
        // As a thread does that is held up between putting something in and saying so.
        queue.signal.as_ref().unwrap().raise();
        assert!(is_up(&queue));
        assert_eq!(queue.poll(Some(Duration::ZERO)), Ok(0));
        assert!(!is_up(&queue), "an event loop would spin");
    }
}
