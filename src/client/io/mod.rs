//! The io thread: one for the whole process, however many sessions it holds.
//!
//! Orders come in by one queue; sockets and timers are watched by one `Poll`; every session's state machine runs
//! here and nowhere else. It never calls the application, never touches a file and never waits for anything but `Poll`.

mod entry;
mod socket;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender};
use crvideo_proto::code;
use crvideo_proto::id::TaskId;
use crvideo_proto::session::{CommandCall, Conn, Identity, Now, Receipt, TransferCall};
use mio::{Events, Poll, Registry, Token, Waker};
use once_cell::sync::OnceCell;

use super::Code;
use super::config::ServerAddress;
use super::pool::FILES;
use super::private_dir;
use super::session::Shared;
use super::sink;
use super::source::Source;
use crate::sys::spawn_quiet;
use entry::Entry;

/// What the io thread is told to do.
pub enum Order {
    /// A new session.
    Attach(Arc<Shared>, [u8; 16]),
    /// Log in.
    Login(u64, Identity, Vec<ServerAddress>, usize),
    /// Log out.
    Logout(u64, usize),
    /// Use a new token.
    Token(u64, String),
    /// What the application wants to hear of transfers that come in.
    Wants(u64, bool, bool),
    /// Send a command.
    Command(u64, CommandCall),
    /// Send a buffer, or a file (then with its path as the caller gave it).
    Transfer(u64, TransferCall, Arc<Source>, Option<Arc<PathBuf>>),
    /// Cancel a transfer.
    Cancel(u64, TaskId, usize),
    /// Accept an offer.
    Accept(u64, Arc<str>, TaskId, Option<PathBuf>),
    /// Refuse an offer.
    Refuse(u64, Arc<str>, TaskId),
    /// Cancel a transfer that comes in.
    CancelReceive(u64, Arc<str>, TaskId),
    /// Ask who is online.
    Users(u64, Option<String>, usize),
    /// Switch the status push.
    Watch(u64, bool, usize),
    /// An event with a receipt has been handled.
    Receipt(u64, Receipt),
    /// End a session.
    Destroy(u64),
    /// A name has been resolved (for the connecting attempt with this number).
    Resolved(u64, Conn, u64, Vec<SocketAddr>),
    /// A piece of a source has been read.
    Read(u64, TaskId, u32, Result<(Bytes, Option<[u8; 32]>), Code>),
    /// A sink has written up to here, or failed.
    Written(u64, u64, Result<u64, Code>),
    /// A sink is complete, or failed.
    Finished(u64, u64, Result<(), Code>),
    /// A sink is removed.
    Aborted(u64, u64),
}

struct Handle {
    orders: Sender<Order>,
    waker: Waker,
    /// The thread has been woken and has not looked yet.
    woken: AtomicBool,
}

static IO: OnceCell<Arc<Handle>> = OnceCell::new();
/// Sessions that the io thread holds.
pub static LIVE: AtomicUsize = AtomicUsize::new(0);

const WAKE: Token = Token(0);
/// Orders taken in one turn, before sockets get theirs again.
const ORDERS_A_TURN: usize = 4_096;
/// Socket events taken in one turn.
const EVENTS_A_TURN: usize = 1_024;
/// How long a destroyed session's files may take to be removed before its last event is given anyway.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(2);

/// Starts the io thread if it does not run yet.
pub fn start() -> Result<(), Code> {
    let started = IO.get_or_try_init(|| {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        let (orders, receiver) = crossbeam_channel::unbounded();
        let handle = Arc::new(Handle { orders, waker, woken: AtomicBool::new(false) });
        let thread = IoThread::new(poll, receiver, handle.clone());
        spawn_quiet("crvideo-io", move || thread.run())?;
        Ok(handle)
    });
    started.map(drop).map_err(|error: std::io::Error| {
        log::error!("cannot start the network thread: {error}");
        code::NETWORK_INITFAILED
    })
}

/// Gives the io thread an order. The queue is bounded by the callers' own limits: every order belongs to a task, a
/// transfer or a session.
pub fn give(order: Order) {
    let Some(handle) = IO.get() else { return };
    // The receiver lives as long as the process: the thread never ends.
    let _ = handle.orders.send(order);
    if !handle.woken.swap(true, Ordering::SeqCst)
        && let Err(error) = handle.waker.wake()
    {
        log::error!("cannot wake the network thread: {error}");
    }
}

/// Removes the private directory once no session is left: the last one found a file in it that is gone now.
pub fn tidy_up() {
    if LIVE.load(Ordering::SeqCst) == 0 {
        private_dir::remove_if_empty();
    }
}

struct IoThread {
    poll: Poll,
    orders: Receiver<Order>,
    handle: Arc<Handle>,
    start: Instant,
    entries: HashMap<u64, Entry>,
    /// Which connection a token belongs to.
    conn_by_token: HashMap<Token, (u64, Conn)>,
    next_token: usize,
    timers: BTreeSet<(Duration, u64)>,
    /// Sessions whose outputs must be looked at before this turn ends.
    dirty: Vec<u64>,
    /// Connections from which more could have been read.
    unread: Vec<(u64, Conn)>,
    /// Received files by the time at which they are removed.
    expiring: BTreeMap<Duration, Vec<PathBuf>>,
    scratch: Vec<u8>,
}

/// What an entry needs of the thread.
struct Context<'a> {
    registry: &'a Registry,
    conn_by_token: &'a mut HashMap<Token, (u64, Conn)>,
    next_token: &'a mut usize,
    expiring: &'a mut BTreeMap<Duration, Vec<PathBuf>>,
    now: Now,
}

/// Size of the buffer that all connections share for small reads.
const SCRATCH: usize = 64 * 1024;

impl IoThread {
    fn new(poll: Poll, orders: Receiver<Order>, handle: Arc<Handle>) -> Self {
        Self {
            poll,
            orders,
            handle,
            start: Instant::now(),
            entries: HashMap::new(),
            conn_by_token: HashMap::new(),
            next_token: 1,
            timers: BTreeSet::new(),
            dirty: Vec::new(),
            unread: Vec::new(),
            expiring: BTreeMap::new(),
            scratch: vec![0; SCRATCH],
        }
    }

    fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS_A_TURN);
        loop {
            // A fault in one turn ends the sessions, not the host.
            if catch_unwind(AssertUnwindSafe(|| self.turn(&mut events))).is_err() {
                log::error!("a fault inside the library: the network thread panicked; all sessions end");
                self.fail_all();
            }
        }
    }

    fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Now { mono: self.start.elapsed(), unix }
    }

    fn turn(&mut self, events: &mut Events) {
        let timeout = self.time_to_wait();
        match self.poll.poll(events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return,
            Err(error) => {
                // The host has closed our descriptor: do not spin.
                log::error!("the network thread cannot wait for events: {error}");
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        self.handle.woken.store(false, Ordering::SeqCst);
        let now = self.now();
        for event in events.iter() {
            if event.token() == WAKE {
                continue;
            }
            if let Some((session, conn)) = self.conn_by_token.get(&event.token()).copied() {
                self.socket_event(session, conn, event.is_writable(), now);
            }
        }
        for (session, conn) in std::mem::take(&mut self.unread) {
            self.read(session, conn, now);
        }
        for _ in 0..ORDERS_A_TURN {
            let Ok(order) = self.orders.try_recv() else { break };
            self.carry_out(order, now);
        }
        self.due_timers(now);
        self.drive_dirty(now);
    }

    fn time_to_wait(&self) -> Option<Duration> {
        if !self.unread.is_empty() || !self.orders.is_empty() {
            return Some(Duration::ZERO);
        }
        let timer = self.timers.first().map(|(at, _)| *at);
        let file = self.expiring.first_key_value().map(|(at, _)| *at);
        let next = [timer, file].into_iter().flatten().min()?;
        Some(next.saturating_sub(self.start.elapsed()))
    }

    fn due_timers(&mut self, now: Now) {
        while let Some((at, session)) = self.timers.first().copied().filter(|(at, _)| *at <= now.mono) {
            self.timers.remove(&(at, session));
            if let Some(entry) = self.entries.get_mut(&session) {
                entry.timer = None;
                entry.timeout(now);
                self.touch(session);
            }
        }
        while let Some(entry) = self.expiring.first_entry().filter(|entry| *entry.key() <= now.mono) {
            for path in entry.remove() {
                FILES.run(move || sink::remove(&path));
            }
        }
    }

    fn touch(&mut self, session: u64) {
        if let Some(entry) = self.entries.get_mut(&session)
            && !std::mem::replace(&mut entry.dirty, true)
        {
            self.dirty.push(session);
        }
    }

    fn drive_dirty(&mut self, now: Now) {
        for session in std::mem::take(&mut self.dirty) {
            let Some(entry) = self.entries.get_mut(&session) else { continue };
            entry.dirty = false;
            let mut context = Context {
                registry: self.poll.registry(),
                conn_by_token: &mut self.conn_by_token,
                next_token: &mut self.next_token,
                expiring: &mut self.expiring,
                now,
            };
            entry.drive(&mut context);
            if entry.is_over(now) {
                self.bury(session);
                continue;
            }
            let deadline = entry.deadline();
            if deadline != entry.timer {
                if let Some(old) = entry.timer {
                    self.timers.remove(&(old, session));
                }
                self.timers.extend(deadline.map(|at| (at, session)));
                entry.timer = deadline;
            }
        }
    }

    fn bury(&mut self, session: u64) {
        let Some(mut entry) = self.entries.remove(&session) else { return };
        if let Some(at) = entry.timer {
            self.timers.remove(&(at, session));
        }
        entry.close_all(self.poll.registry(), &mut self.conn_by_token);
        let fence = entry.fence();
        if LIVE.fetch_sub(1, Ordering::SeqCst) > 1 {
            return fence();
        }
        // The last session takes the private directory with it, before whoever waits for its end goes on.
        FILES.run(move || {
            private_dir::remove_if_empty();
            fence();
        });
    }

    fn fail_all(&mut self) {
        let now = self.now();
        let sessions: Vec<u64> = self.entries.keys().copied().collect();
        for session in sessions {
            let failed = catch_unwind(AssertUnwindSafe(|| {
                if let Some(entry) = self.entries.get_mut(&session) {
                    entry.fail(code::INNER_ERR);
                    entry.dirty = false;
                }
                self.touch(session);
                self.drive_dirty(now);
            }));
            if failed.is_err() {
                log::error!("session {session:#x} cannot be ended in order");
                self.entries.remove(&session);
            }
        }
        self.dirty.clear();
    }

    // ---- sockets ------------------------------------------------------------------------------------------

    fn socket_event(&mut self, session: u64, conn: Conn, writable: bool, now: Now) {
        let Some(entry) = self.entries.get_mut(&session) else { return };
        if writable {
            entry.writable(conn);
        }
        self.touch(session);
        self.read(session, conn, now);
    }

    fn read(&mut self, session: u64, conn: Conn, now: Now) {
        let Some(entry) = self.entries.get_mut(&session) else { return };
        if entry.read(conn, &mut self.scratch, now) {
            self.unread.push((session, conn));
        }
        self.touch(session);
    }

    // ---- orders -------------------------------------------------------------------------------------------

    fn carry_out(&mut self, order: Order, now: Now) {
        let session = match order {
            Order::Attach(shared, session_id) => {
                let handle = shared.handle();
                self.entries.insert(handle, Entry::new(shared, session_id));
                return;
            }
            Order::Destroy(session) => {
                if let Some(entry) = self.entries.get_mut(&session) {
                    entry.destroy(now, now.mono + REMOVAL_PATIENCE);
                }
                session
            }
            Order::Resolved(session, conn, attempt, addresses) => {
                if let Some(entry) = self.entries.get_mut(&session) {
                    entry.resolved(conn, attempt, addresses);
                }
                session
            }
            other => {
                let session = entry::session_of(&other);
                match self.entries.get_mut(&session) {
                    Some(entry) => entry.carry_out(other, now),
                    None => entry::give_up(other),
                }
                session
            }
        };
        self.touch(session);
    }
}
