//! The core behind its lock, and who is woken when it has something to say.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, mpsc, watch};

use crate::core::{ConnectionId, Core, Mail, Now, Presence, Refused};
use crate::guard::{Block, Memory};
use crate::sys;

/// A connection's task.
struct Task {
    notify: Arc<Notify>,
    /// Where its client is.
    from: SocketAddr,
}

struct State {
    core: Core,
    task_by_connection: HashMap<ConnectionId, Task>,
    /// What the timer task sleeps until.
    sleeps_until: Option<Duration>,
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
        let mut state = self.lock();
        let now = Now { at: self.started.elapsed(), unix_micros: unix_micros() };
        let result = work(&mut state.core, now);
        let mut woken = Vec::new();
        for id in state.core.take_woken() {
            if Some(id) != own {
                woken.extend(state.task_by_connection.get(&id).map(|task| task.notify.clone()));
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
        let mail = state.core.take_mail();
        drop(state);
        if !mail.is_empty()
            && let Some(courier) = &*self.mail.lock().unwrap_or_else(PoisonError::into_inner)
        {
            for letter in mail {
                if courier.try_send(letter).is_err() {
                    tracing::debug!("the courier has too much mail");
                }
            }
        }
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
        self.lock().task_by_connection.insert(id, Task { notify: notify.clone(), from });
        Ok((id, notify))
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
