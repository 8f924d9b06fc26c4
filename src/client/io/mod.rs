//! The io thread: one for the whole process, however many sessions it holds.
//!
//! Orders come in by one queue; sockets and timers are watched by one `Poll`; the state machines of sessions and RTM
//! clients run here and nowhere else. It never calls the application, never touches a file and never waits for anything but `Poll`.

mod eager;
mod links;
mod rtm;
mod session;
mod socket;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender};
use crvideo_proto::code;
use crvideo_proto::id::TaskId;
use crvideo_proto::session::{CommandCall, Identity, Now, Receipt, TransferCall};
use mio::{Events, Poll, Registry, Token, Waker};
use once_cell::sync::OnceCell;

use super::Code;
use super::config::{ServerAddress, TlsSettings};
use super::fault;
use super::numbers::ByNumber;
use super::pool::FILES;
use super::private_dir;
use super::queue::EventQueue;
use super::rtm as client_rtm;
use super::session::Shared;
use super::sink;
use super::sleep::Asleep;
use super::source::Source;
use super::tls::Trust;
use crate::sys::{be_prompt, spawn_quiet};
use eager::Eager;
pub use links::Link;
use links::{Links, Tokens};
use rtm::RtmEntry;
pub use rtm::RtmOrder;
use session::SessionEntry;

/// What a login takes.
pub struct Login {
    pub identity: Identity,
    pub servers: Vec<ServerAddress>,
    pub tls: TlsSettings,
}

/// What the io thread is told to do. It is copied from place to place, so what is large and rare is boxed.
pub enum Order {
    /// A new session.
    Attach(Arc<Shared>, [u8; 16]),
    /// A new RTM client, with a number that tells it from others.
    AttachRtm(Arc<client_rtm::Shared>, u64),
    /// Something for an RTM client.
    Rtm(u64, Box<RtmOrder>),
    /// Log in.
    Login(u64, Box<Login>, usize),
    /// Log out.
    Logout(u64, usize),
    /// Use a new token.
    Token(u64, String),
    /// What the application wants to hear of transfers that come in.
    Wants(u64, bool, bool),
    /// Send a command.
    Command(u64, CommandCall),
    /// Send a buffer, or a file (then with its path as the caller gave it).
    Transfer(u64, Box<TransferCall>, Arc<Source>, Option<Arc<PathBuf>>),
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
    Receipt(u64, Box<Receipt>),
    /// End a session or an RTM client.
    Destroy(u64),
    /// A name has been resolved (for the connecting attempt with this number).
    Resolved(u64, Link, u64, Vec<SocketAddr>),
    /// Whom the session trusts has been loaded (for the login with this number), or why it cannot be.
    Trusted(u64, u64, Result<Trust, String>),
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
    /// Another one when the host has closed its descriptor.
    waker: RwLock<Waker>,
    asleep: Asleep,
    /// The host has closed descriptors of the thread's.
    closed: AtomicBool,
}

/// Attempts at waking the thread: an interrupted one is no reason to leave an order lying.
const WAKE_ATTEMPTS: usize = 3;

impl Handle {
    fn wake(&self) {
        for _ in 0..WAKE_ATTEMPTS {
            let woken = self.waker.read().unwrap_or_else(PoisonError::into_inner).wake();
            let Err(error) = woken else { return };
            if error.kind() != std::io::ErrorKind::Interrupted {
                log::error!("cannot wake the network thread: {error}");
                if error.raw_os_error() == Some(libc::EBADF) {
                    self.closed.store(true, Ordering::SeqCst);
                }
                break;
            }
        }
        // Nobody else would try while the thread counts as awake.
        self.asleep.goes_on();
    }
}

static IO: OnceCell<Arc<Handle>> = OnceCell::new();
/// Sessions that the io thread holds.
pub static LIVE: AtomicUsize = AtomicUsize::new(0);

const WAKE: Token = Token(0);
/// Orders taken in one turn, before sockets get theirs again.
const ORDERS_A_TURN: usize = 4_096;
/// How long the thread waits at most, while there are sessions, until it finds out that its descriptors are closed. More
/// than a heart-beat, so that an idle session is looked at only when one comes.
const LOOK_EVERY: Duration = Duration::from_secs(25);
/// Pause before another attempt at opening descriptors.
const REOPEN_PAUSE: Duration = Duration::from_millis(100);
/// Sessions that are seen to before the queues are rung: those who wait should not wait for hundreds of others.
const RING_EVERY: usize = 16;
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
        let handle = Arc::new(Handle {
            orders,
            waker: RwLock::new(waker),
            asleep: Asleep::default(),
            closed: AtomicBool::new(false),
        });
        let mut scratch = Vec::new();
        scratch.try_reserve_exact(SCRATCH)?;
        scratch.resize(SCRATCH, 0);
        // Later there may be no thread to be had, and then nobody would remove a file or say that a session has ended.
        FILES.ready()?;
        let thread = IoThread::new(poll, receiver, handle.clone(), scratch);
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
    if handle.asleep.must_be_ended() {
        handle.wake();
    }
}

/// Removes the private directory once no session is left: the last one found a file in it that is gone now.
pub fn tidy_up() {
    if LIVE.load(Ordering::SeqCst) == 0 {
        private_dir::remove_if_empty();
    }
}

/// The session or RTM client that an order is for.
fn owner_of(order: &Order) -> u64 {
    match order {
        Order::Attach(shared, _) => shared.handle(),
        Order::AttachRtm(shared, _) => shared.life().handle(),
        Order::Rtm(owner, _)
        | Order::Login(owner, ..)
        | Order::Logout(owner, ..)
        | Order::Token(owner, ..)
        | Order::Wants(owner, ..)
        | Order::Command(owner, ..)
        | Order::Transfer(owner, ..)
        | Order::Cancel(owner, ..)
        | Order::Accept(owner, ..)
        | Order::Refuse(owner, ..)
        | Order::CancelReceive(owner, ..)
        | Order::Users(owner, ..)
        | Order::Watch(owner, ..)
        | Order::Receipt(owner, ..)
        | Order::Destroy(owner)
        | Order::Resolved(owner, ..)
        | Order::Trusted(owner, ..)
        | Order::Read(owner, ..)
        | Order::Written(owner, ..)
        | Order::Finished(owner, ..)
        | Order::Aborted(owner, ..) => *owner,
    }
}

/// A session or an RTM client, as the thread sees it.
trait Entry: Send {
    /// Carries out an order of the application's, or takes a result of the pool's.
    fn carry_out(&mut self, order: &mut Option<Order>, now: Now);
    /// Its connections.
    fn links(&mut self) -> &mut Links;
    /// Reads what has come on a connection; whether there may be more.
    fn read(&mut self, link: Link, scratch: &mut [u8], now: Now) -> bool;
    /// Carries out what the state machine wants, and writes what it has queued. Whoever waits for its events is woken
    /// later, by the thread.
    fn drive(&mut self, context: &mut Context<'_>);
    /// When it must be looked at again.
    fn deadline(&self) -> Option<Duration>;
    /// The deadline has passed.
    fn timeout(&mut self, now: Now);
    /// Ends it; its last event is given when everything is done, or at `ends_at`.
    fn destroy(&mut self, now: Now, ends_at: Duration);
    /// Whether everything is done after it was destroyed.
    fn is_over(&self, now: Now) -> bool;
    /// Where its events go.
    fn queue(&self) -> &Arc<EventQueue>;
    /// Ends everything because of a fault.
    fn fail(&mut self, err: Code);
    /// Closes all connections.
    fn close_all(&mut self, registry: &Registry, tokens: &mut Tokens);
    /// The host has closed descriptors of ours.
    fn descriptors_lost(&mut self, now: Now);
    /// Sees to the last event of what was destroyed.
    fn last_word(&self);
}

/// An entry's place in the thread's lists.
struct Placed {
    entry: Box<dyn Entry>,
    /// Stands in the list of those to look at.
    dirty: bool,
    /// Its place in the timers.
    timer: Option<Duration>,
}

struct IoThread {
    poll: Poll,
    orders: Receiver<Order>,
    /// The order that is being carried out, until it is somebody's: a fault must not lose it.
    order: Option<Order>,
    handle: Arc<Handle>,
    start: Instant,
    entries: ByNumber<u64, Placed>,
    /// Which connection a token belongs to.
    tokens: Tokens,
    next_token: usize,
    timers: BTreeSet<(Duration, u64)>,
    /// Sessions whose outputs must be looked at before this turn ends.
    dirty: Vec<u64>,
    /// Connections from which more could have been read.
    unread: Vec<(u64, Link)>,
    /// Queues that may have got events since they were rung.
    unrung: Vec<Arc<EventQueue>>,
    eager: Eager,
    /// Received files by the time at which they are removed.
    expiring: BTreeMap<Duration, Vec<PathBuf>>,
    scratch: Vec<u8>,
}

/// What an entry needs of the thread.
struct Context<'a> {
    registry: &'a Registry,
    tokens: &'a mut Tokens,
    next_token: &'a mut usize,
    expiring: &'a mut BTreeMap<Duration, Vec<PathBuf>>,
    /// Connections from which there may be more to read, whatever `Poll` has said.
    unread: &'a mut Vec<(u64, Link)>,
    now: Now,
}

/// Size of the buffer that all connections share for small reads.
const SCRATCH: usize = 64 * 1024;

impl IoThread {
    fn new(poll: Poll, orders: Receiver<Order>, handle: Arc<Handle>, scratch: Vec<u8>) -> Self {
        Self {
            poll,
            orders,
            order: None,
            handle,
            start: Instant::now(),
            entries: ByNumber::default(),
            tokens: Tokens::default(),
            next_token: 1,
            timers: BTreeSet::new(),
            dirty: Vec::new(),
            unread: Vec::new(),
            unrung: Vec::new(),
            eager: Eager::new(),
            expiring: BTreeMap::new(),
            scratch,
        }
    }

    fn run(mut self) {
        be_prompt();
        let mut events = Events::with_capacity(EVENTS_A_TURN);
        loop {
            // A fault in one turn ends the sessions, not the host.
            if catch_unwind(AssertUnwindSafe(|| self.turn(&mut events))).is_err() {
                log::error!("a fault inside the library: the network thread panicked; all sessions end");
                if catch_unwind(AssertUnwindSafe(|| self.recover())).is_err() {
                    log::error!("sessions cannot be ended in order");
                }
            }
        }
    }

    fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Now { mono: self.start.elapsed(), unix }
    }

    fn turn(&mut self, events: &mut Events) {
        self.eager.linger(|| !self.orders.is_empty());
        let mut timeout = self.time_to_wait();
        if timeout != Some(Duration::ZERO) && !self.handle.asleep.may_sleep(|| self.orders.is_empty()) {
            timeout = Some(Duration::ZERO);
        }
        let polled = self.poll.poll(events, timeout);
        self.handle.asleep.is_over();
        self.eager.woke(!self.orders.is_empty(), Instant::now());
        match polled {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return,
            Err(error) => {
                log::error!("the network thread cannot wait for events: {error}");
                match error.raw_os_error() {
                    Some(libc::EBADF | libc::EINVAL) => self.handle.closed.store(true, Ordering::SeqCst),
                    // Do not spin.
                    _ => std::thread::sleep(REOPEN_PAUSE),
                }
            }
        }
        if self.handle.closed.swap(false, Ordering::SeqCst) {
            events.clear();
            self.reopen();
        }
        fault::point("io: a turn");
        let now = self.now();
        for event in events.iter() {
            if event.token() == WAKE {
                continue;
            }
            if let Some((owner, link)) = self.tokens.get(&event.token()).copied() {
                let ending = event.is_read_closed() || event.is_error();
                self.socket_event(owner, link, event.is_writable(), ending, now);
            }
        }
        for (owner, link) in std::mem::take(&mut self.unread) {
            self.read(owner, link, now);
        }
        for _ in 0..ORDERS_A_TURN {
            let Ok(order) = self.orders.try_recv() else { break };
            self.order = Some(order);
            self.carry_out(now);
        }
        self.due_timers(now);
        self.drive_dirty(now);
    }

    /// Begins anew with other descriptors: the host has closed ours, or some of them.
    fn reopen(&mut self) {
        let now = self.now();
        let owners: Vec<u64> = self.entries.keys().copied().collect();
        for owner in owners {
            if let Some(placed) = self.entries.get_mut(&owner) {
                placed.entry.descriptors_lost(now);
            }
            self.touch(owner);
        }
        self.tokens.clear();
        self.unread.clear();
        let opened = Poll::new().and_then(|poll| Ok((Waker::new(poll.registry(), WAKE)?, poll)));
        match opened {
            Ok((waker, poll)) => {
                log::warn!("the host has closed descriptors of this library; its connections are made again");
                let mut current = self.handle.waker.write().unwrap_or_else(PoisonError::into_inner);
                // Not closed: their numbers may be other files' by now, even those of the new ones.
                std::mem::forget(std::mem::replace(&mut self.poll, poll));
                std::mem::forget(std::mem::replace(&mut *current, waker));
            }
            Err(error) => {
                log::error!("the network thread cannot begin anew, and tries again: {error}");
                self.handle.closed.store(true, Ordering::SeqCst);
                std::thread::sleep(REOPEN_PAUSE);
            }
        }
    }

    fn time_to_wait(&self) -> Option<Duration> {
        if !self.unread.is_empty() || !self.orders.is_empty() {
            return Some(Duration::ZERO);
        }
        let timer = self.timers.first().map(|(at, _)| *at);
        let file = self.expiring.first_key_value().map(|(at, _)| *at);
        let next = [timer, file].into_iter().flatten().min().map(|at| at.saturating_sub(self.start.elapsed()));
        // A wait for descriptors that the host closes meanwhile would last for ever.
        let look = (!self.entries.is_empty()).then_some(LOOK_EVERY);
        [next, look].into_iter().flatten().min()
    }

    fn due_timers(&mut self, now: Now) {
        while let Some((at, owner)) = self.timers.first().copied().filter(|(at, _)| *at <= now.mono) {
            self.timers.remove(&(at, owner));
            if let Some(placed) = self.entries.get_mut(&owner) {
                placed.timer = None;
                placed.entry.timeout(now);
                self.touch(owner);
            }
        }
        while let Some(entry) = self.expiring.first_entry().filter(|entry| *entry.key() <= now.mono) {
            for path in entry.remove() {
                FILES.run(move || sink::remove(&path));
            }
        }
    }

    fn touch(&mut self, owner: u64) {
        if let Some(placed) = self.entries.get_mut(&owner)
            && !std::mem::replace(&mut placed.dirty, true)
        {
            self.dirty.push(owner);
        }
    }

    fn drive_dirty(&mut self, now: Now) {
        for (at, owner) in std::mem::take(&mut self.dirty).into_iter().enumerate() {
            if at % RING_EVERY == RING_EVERY - 1 {
                self.ring();
            }
            let Some(placed) = self.entries.get_mut(&owner) else { continue };
            placed.dirty = false;
            let queue = placed.entry.queue();
            if !self.unrung.iter().any(|known| Arc::ptr_eq(known, queue)) {
                self.unrung.push(queue.clone());
            }
            let mut context = Context {
                registry: self.poll.registry(),
                tokens: &mut self.tokens,
                next_token: &mut self.next_token,
                expiring: &mut self.expiring,
                unread: &mut self.unread,
                now,
            };
            fault::point("io: driving a session");
            placed.entry.drive(&mut context);
            if placed.entry.is_over(now) {
                self.bury(owner);
                continue;
            }
            let deadline = placed.entry.deadline();
            if deadline != placed.timer {
                if let Some(old) = placed.timer {
                    self.timers.remove(&(old, owner));
                }
                self.timers.extend(deadline.map(|at| (at, owner)));
                placed.timer = deadline;
            }
        }
        self.ring();
    }

    /// Wakes whoever waits for events. That takes longer than to make one, so it comes behind all that waits for a
    /// socket, and once for many.
    fn ring(&mut self) {
        let mut for_one = false;
        for queue in self.unrung.drain(..) {
            for_one |= queue.ring();
        }
        if for_one {
            self.eager.told(Instant::now());
        }
    }

    fn bury(&mut self, owner: u64) {
        let Some(mut placed) = self.entries.remove(&owner) else { return };
        if let Some(at) = placed.timer {
            self.timers.remove(&(at, owner));
        }
        placed.entry.close_all(self.poll.registry(), &mut self.tokens);
        placed.entry.last_word();
    }

    /// Ends all sessions after a fault, and carries out the order that it has interrupted: whoever gave it waits for an
    /// answer.
    fn recover(&mut self) {
        let now = self.now();
        self.fail_all(now);
        self.carry_out(now);
        self.drive_dirty(now);
    }

    fn fail_all(&mut self, now: Now) {
        let owners: Vec<u64> = self.entries.keys().copied().collect();
        for owner in owners {
            let failed = catch_unwind(AssertUnwindSafe(|| {
                if let Some(placed) = self.entries.get_mut(&owner) {
                    placed.entry.fail(code::INNER_ERR);
                    placed.dirty = false;
                }
                self.touch(owner);
                self.drive_dirty(now);
            }));
            if failed.is_err() {
                log::error!("{owner:#x} cannot be ended in order");
                self.entries.remove(&owner);
            }
        }
        self.dirty.clear();
    }

    // ---- sockets ------------------------------------------------------------------------------------------

    fn socket_event(&mut self, owner: u64, link: Link, writable: bool, ending: bool, now: Now) {
        fault::point("io: a socket");
        let Some(placed) = self.entries.get_mut(&owner) else { return };
        placed.entry.links().ready(link, writable, ending);
        self.touch(owner);
        self.read(owner, link, now);
    }

    fn read(&mut self, owner: u64, link: Link, now: Now) {
        fault::point("io: a read");
        let Some(placed) = self.entries.get_mut(&owner) else { return };
        if placed.entry.read(link, &mut self.scratch, now) {
            self.unread.push((owner, link));
        }
        self.touch(owner);
    }

    // ---- orders -------------------------------------------------------------------------------------------

    fn add(&mut self, owner: u64, entry: Box<dyn Entry>) {
        self.entries.insert(owner, Placed { entry, dirty: false, timer: None });
    }

    fn carry_out(&mut self, now: Now) {
        let Some(order) = &self.order else { return };
        fault::point("io: an order");
        let owner = owner_of(order);
        let for_entry = !matches!(
            order,
            Order::Attach(..) | Order::AttachRtm(..) | Order::Destroy(_) | Order::Resolved(..) | Order::Trusted(..)
        );
        if for_entry && let Some(placed) = self.entries.get_mut(&owner) {
            placed.entry.carry_out(&mut self.order, now);
            return self.touch(owner);
        }
        let Some(order) = self.order.take() else { return };
        match order {
            Order::Attach(shared, session_id) => {
                return self.add(owner, Box::new(SessionEntry::new(shared, session_id)));
            }
            Order::AttachRtm(shared, seed) => return self.add(owner, Box::new(RtmEntry::new(shared, seed))),
            order => {
                // Whoever gave an order that comes too late has been told by the last events, or (results of file
                // work) nobody waits for it.
                let Some(placed) = self.entries.get_mut(&owner) else {
                    return log::debug!("an order came too late for {owner:#x}");
                };
                match order {
                    Order::Destroy(_) => placed.entry.destroy(now, now.mono + REMOVAL_PATIENCE),
                    Order::Resolved(_, link, attempt, addresses) => {
                        placed.entry.links().resolved(link, attempt, addresses);
                    }
                    Order::Trusted(_, login, trust) => placed.entry.links().trusted(login, trust),
                    _ => {}
                }
            }
        }
        self.touch(owner);
    }
}
