//! The core behind its lock, and who is woken when it has something to say.

use std::collections::HashMap;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::{Notify, mpsc, watch};

use crate::core::{ConnectionId, Core, Mail, Now, Presence, Refused};
use crate::guard::{Block, Charged, Memory};
use crate::sys;

/// A connection's task.
struct Task {
    notify: Arc<Notify>,
    /// Where its client is.
    from: SocketAddr,
    /// Its socket, if what waits for it can be written there as it is.
    socket: Option<Arc<OwnedWriteHalf>>,
}

/// What waits for a connection, on its way to its socket.
struct Write {
    id: ConnectionId,
    socket: Arc<OwnedWriteHalf>,
    out: Charged,
    written: usize,
}

struct State {
    core: Core,
    task_by_connection: HashMap<ConnectionId, Task>,
    /// What the timer task sleeps until.
    sleeps_until: Option<Duration>,
}

/// What waits for many connections, on its way to their sockets.
#[must_use]
pub(crate) struct Writes<'a> {
    shared: &'a Shared,
    writes: Vec<Write>,
}

impl Writes<'_> {
    /// Writes what the sockets take. To be called without any lock.
    pub(crate) fn finish(self) {
        let Self { shared, mut writes } = self;
        for write in &mut writes {
            write.at_once();
        }
        if !writes.is_empty() {
            shared.with(None, |core, now| {
                for Write { id, out, written, .. } in writes {
                    core.put_back(id, out, written, now);
                }
            });
        }
    }
}

impl Write {
    /// Writes what the socket takes now. An error is left to the connection's task, which meets it again.
    fn at_once(&mut self) {
        while !self.out.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = self.out.slices(&mut slices);
            let Ok(taken) = self.socket.try_write_vectored(&slices[..count]) else { return };
            if taken == 0 {
                return;
            }
            self.out.change().advance(taken);
            self.written += taken;
        }
    }
}

/// Hears who comes and goes, and from where who has come. It must not call the core: the core is locked, so that news
/// are heard in their order.
pub(crate) type OnPresence = Box<dyn Fn(&Presence, Option<SocketAddr>) + Send + Sync>;

/// What all tasks of a relay share.
pub(crate) struct Shared {
    state: Mutex<State>,
    memory: Arc<Memory>,
    /// Connections that have ended since memory was given back.
    ended: AtomicUsize,
    /// There are enough of them to give their memory back.
    many_ended: Notify,
    started: Instant,
    /// Wakes the timer task when a deadline has come nearer.
    pub(crate) timer: Notify,
    /// Where the courier's mail goes, as long as there is a courier.
    mail: Mutex<Option<mpsc::Sender<Mail>>>,
    on_presence: OnceLock<OnPresence>,
}

/// So many connections have taken so much memory that giving it back is worth the time.
const MANY: usize = 1_000;
/// It is given back so long after that.
const GATHER: Duration = Duration::from_secs(5);

/// Pieces in one write.
const SLICES: usize = 16;

/// Mail that waits for the courier. What is too much is lost, and made good when the courier asks again.
const MAX_MAIL: usize = 65_536;

/// Microseconds since 1970.
pub(crate) fn unix_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

impl Shared {
    pub(crate) fn new(core: Core) -> Self {
        let memory = core.memory().clone();
        let state = State { core, task_by_connection: HashMap::new(), sleeps_until: None };
        Self {
            state: Mutex::new(state),
            memory,
            ended: AtomicUsize::new(0),
            many_ended: Notify::new(),
            started: Instant::now(),
            timer: Notify::new(),
            on_presence: OnceLock::new(),
            mail: Mutex::new(None),
        }
    }

    /// The memory of all that is under way.
    pub(crate) fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// A connection of any dialect has ended.
    pub(crate) fn has_ended(&self) {
        if self.ended.fetch_add(1, Ordering::Relaxed) + 1 == MANY {
            self.many_ended.notify_one();
        }
    }

    /// Gives memory back to the system whenever many connections have ended.
    pub(crate) async fn keep_giving_back(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = self.many_ended.notified() => {}
                _ = stopped.changed() => return,
            }
            // Whoever comes together mostly goes together.
            tokio::time::sleep(GATHER).await;
            self.ended.store(0, Ordering::Relaxed);
            if tokio::task::spawn_blocking(sys::give_back_memory).await.is_err() {
                return;
            }
        }
    }

    /// Begins to collect the courier's mail. To be called once.
    pub(crate) fn start_courier(&self) -> mpsc::Receiver<Mail> {
        let (sender, receiver) = mpsc::channel(MAX_MAIL);
        *self.mail.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        self.with(None, |core, now| core.start_courier(now));
        receiver
    }

    /// No more mail will come, which ends the courier.
    pub(crate) fn stop_courier(&self) {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Tells somebody, once and for all, who comes and goes.
    pub(crate) fn on_presence(&self, hears: OnPresence) {
        self.lock().core.report_presence();
        // There is one listener; a second one would be ignored.
        let _ = self.on_presence.set(hears);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in one connection's task must not end all others.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` on the core, and wakes whom it concerns but for `own`, who looks for itself.
    pub(crate) fn with<R>(&self, own: Option<ConnectionId>, work: impl FnOnce(&mut Core, Now) -> R) -> R {
        self.with_core(work, |state, id, woken| {
            if Some(id) != own {
                woken.extend(state.task_by_connection.get(&id).map(|task| task.notify.clone()));
            }
        })
    }

    /// Runs `work` of a connection's own task on the core, and wakes all others whom it concerns. Returns whether the task
    /// itself has something to write or to close, too.
    pub(crate) fn with_own<R>(&self, own: ConnectionId, work: impl FnOnce(&mut Core, Now) -> R) -> (R, bool) {
        let mut look_here = false;
        let result = self.with_core(work, |state, id, woken| {
            if id == own {
                look_here = true;
            } else {
                woken.extend(state.task_by_connection.get(&id).map(|task| task.notify.clone()));
            }
        });
        (result, look_here)
    }

    /// Runs `work`, which has something for many, on the core. The caller is to write as much of it as their sockets take
    /// at once: that is a fraction of what it costs to wake their tasks. Those have the rest.
    pub(crate) fn with_many(&self, work: impl FnOnce(&mut Core, Now)) -> Writes<'_> {
        let mut writes = Vec::new();
        self.with_core(work, |state, id, woken| {
            let Some(task) = state.task_by_connection.get(&id) else { return };
            let out = task.socket.as_ref().and_then(|socket| Some((socket, state.core.take_out(id)?)));
            match out {
                Some((socket, out)) => writes.push(Write { id, socket: socket.clone(), out, written: 0 }),
                None => woken.push(task.notify.clone()),
            }
        });
        Writes { shared: self, writes }
    }

    /// Runs `work` on the core. `look` sees the connections that have something to write or to close, and adds whom to
    /// wake.
    fn with_core<R>(
        &self,
        work: impl FnOnce(&mut Core, Now) -> R,
        mut look: impl FnMut(&mut State, ConnectionId, &mut Vec<Arc<Notify>>),
    ) -> R {
        let mut guard = self.lock();
        let state = &mut *guard;
        let now = Now { at: self.started.elapsed(), unix_micros: unix_micros() };
        let result = work(&mut state.core, now);
        let mut woken = Vec::new();
        for id in state.core.take_woken() {
            look(state, id, &mut woken);
        }
        // The courier has what a session has said before it hears that the session has gone.
        let mail = state.core.take_mail();
        if !mail.is_empty()
            && let Some(courier) = &*self.mail.lock().unwrap_or_else(PoisonError::into_inner)
        {
            for letter in mail {
                if courier.try_send(letter).is_err() {
                    tracing::debug!("the courier has too much mail");
                }
            }
        }
        for presence in state.core.take_presence() {
            let task = presence.connection.and_then(|id| state.task_by_connection.get(&id));
            if let Some(hears) = self.on_presence.get() {
                hears(&presence, task.map(|task| task.from));
            }
        }
        let next = state.core.next_deadline();
        let sooner = next.is_some_and(|next| state.sleeps_until.is_none_or(|until| next < until));
        if sooner {
            state.sleeps_until = next;
        }
        drop(guard);
        // The others are woken outside the lock, or they would run into it.
        for notify in woken {
            notify.notify_one();
        }
        if sooner {
            self.timer.notify_one();
        }
        result
    }

    /// Takes a connection in.
    pub(crate) fn open(&self, from: SocketAddr, block: Option<Block>) -> Result<(ConnectionId, Arc<Notify>), Refused> {
        let notify = Arc::new(Notify::new());
        let id = self.with(None, |core, now| core.opened_from(block, now))?;
        self.lock().task_by_connection.insert(id, Task { notify: notify.clone(), from, socket: None });
        Ok((id, notify))
    }

    /// What waits for a connection may be written to its socket as it is, by whoever has it.
    pub(crate) fn may_write(&self, id: ConnectionId, socket: &Arc<OwnedWriteHalf>) {
        if let Some(task) = self.lock().task_by_connection.get_mut(&id) {
            task.socket = Some(socket.clone());
        }
    }

    /// Where the client of a connection is.
    pub(crate) fn address_of(&self, id: ConnectionId) -> Option<SocketAddr> {
        self.lock().task_by_connection.get(&id).map(|task| task.from)
    }

    /// A connection's task has ended.
    pub(crate) fn close(&self, id: ConnectionId) {
        self.lock().task_by_connection.remove(&id);
        self.with(Some(id), |core, now| core.lost(id, now));
        self.has_ended();
    }

    /// Until when the timer task may sleep.
    pub(crate) fn sleep_until(&self) -> Option<Instant> {
        let mut state = self.lock();
        state.sleeps_until = state.core.next_deadline();
        state.sleeps_until.map(|at| self.started + at)
    }
}
