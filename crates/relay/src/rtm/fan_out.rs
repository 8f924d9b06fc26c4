//! The courier's short way: what is sent to users for whom nothing else waits goes to their sessions at once, many at a
//! time, and what they acknowledge is noted together.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crvideo_proto::message as msg;
use crvideo_proto::rtm::number_of;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::warn;

use super::courier::{Courier, Key, Letter, Load, Mailbox, RETRY, WINDOW, lock};
use super::lane::Lane;
use crate::core::{Core, Mail, News, Now};
use crate::store::{CR, Kind, Stored};

/// Recipients who are served before others have their turn.
const AT_ONCE: usize = 32;
/// Letters of sessions that are taken before others have their turn.
const MAIL_AT_ONCE: usize = 256;
/// What is acknowledged in this time is noted together.
const GATHER: Duration = Duration::from_millis(10);
/// Deliveries, and users who have come, in one job of the store.
const JOB: usize = 1_024;
/// After the store has failed, it is tried again after this time.
const STORE_RETRY: Duration = Duration::from_secs(5);
/// Lanes are looked through for what has not been acknowledged so often, as long as there is any.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Messages that have been stored, each with its users and the dialects in which they were there.
pub(super) type Sent = Vec<(Stored, Vec<(i64, u8)>)>;

/// How messages reach a user.
pub(super) enum Way {
    /// The store is being asked whether anything waits for him. `newer` is the newest message that has come since.
    Asked { newer: i64 },
    /// A task delivers to him.
    Carried(Arc<Mailbox>),
    /// Nothing waits for him, but for what is on its way.
    Direct(Lane),
}

/// How messages reach all users of whom it is known.
#[derive(Default)]
pub(super) struct Ways {
    pub(super) by_user: HashMap<Key, Way>,
    /// Messages on their way in lanes.
    in_lanes: usize,
}

impl Ways {
    /// Sets a user's way, and returns the lane that it takes the place of.
    pub(super) fn set(&mut self, key: Key, way: Way) -> Option<Lane> {
        match self.by_user.insert(key, way) {
            Some(Way::Direct(lane)) => {
                self.in_lanes -= lane.len();
                Some(lane)
            }
            _ => None,
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some(Way::Direct(lane)) = self.by_user.remove(key) {
            self.in_lanes -= lane.len();
        }
    }
}

/// What the courier is told by others than sessions.
pub(super) enum Note {
    /// Messages are on disk and go to their users; `done` is told when they have gone.
    Sent { sent: Sent, done: oneshot::Sender<()> },
    /// A user is not there any more.
    Gone(Key),
    /// Somebody waits until all that sessions have said so far is handed out.
    Heard(oneshot::Sender<()>),
}

/// What gathers for one job of the store.
pub(super) struct Heap<T> {
    items: Mutex<Vec<T>>,
    notify: Notify,
}

impl<T> Default for Heap<T> {
    fn default() -> Self {
        Self { items: Mutex::default(), notify: Notify::new() }
    }
}

impl<T> Heap<T> {
    fn add(&self, more: &mut Vec<T>) {
        if !more.is_empty() {
            lock(&self.items).append(more);
            self.notify.notify_one();
        }
    }

    /// Waits until something is there.
    async fn wait(&self) {
        while lock(&self.items).is_empty() {
            self.notify.notified().await;
        }
    }

    /// As many as fit into a job.
    fn take(&self) -> Vec<T> {
        let mut items = lock(&self.items);
        let count = items.len().min(JOB);
        let rest = items.split_off(count);
        std::mem::replace(&mut *items, rest)
    }
}

/// Messages on their way to their users.
struct FanOut {
    sent: Sent,
    /// The message and the user who are next.
    message: usize,
    user: usize,
    _done: oneshot::Sender<()>,
}

impl FanOut {
    /// The next message with at most so many of its users; `None` when all have been served.
    fn next(&mut self, most: usize) -> Option<(&Stored, &[(i64, u8)])> {
        while self.sent.get(self.message)?.1.len() <= self.user {
            (self.message, self.user) = (self.message + 1, 0);
        }
        let (stored, users) = self.sent.get(self.message)?;
        let from = self.user;
        self.user = users.len().min(from + most);
        Some((stored, users.get(from..self.user)?))
    }
}

/// A message as it is sent to a session, but for the id, which names it to one user.
pub(super) fn message(stored: &Stored) -> msg::Rtm {
    let draft = &stored.draft;
    msg::Rtm {
        id: stored.task(0),
        from: draft.from,
        kind: draft.kind as u8,
        place: if draft.kind == Kind::User { 0 } else { draft.place },
        mid: draft.mid,
        mtype: draft.mtype.unsigned_abs(),
        mtime: draft.mtime,
        attrs: draft.attrs.clone(),
        data: draft.body.clone(),
    }
}

impl Courier {
    /// Works until no more mail will come.
    pub(super) async fn run(self: Arc<Self>, mail: mpsc::Receiver<Mail>, notes: mpsc::UnboundedReceiver<Note>) {
        tokio::select! {
            () = self.sort(mail, notes) => {}
            () = self.keep_noting() => {}
            () = self.keep_asking() => {}
        }
    }

    /// Hands on what sessions say and what others have sent.
    async fn sort(self: &Arc<Self>, mut mail: mpsc::Receiver<Mail>, mut notes: mpsc::UnboundedReceiver<Note>) {
        let mut letters = Vec::with_capacity(MAIL_AT_ONCE);
        let mut fan_out: Option<FanOut> = None;
        let mut look_at = Instant::now();
        loop {
            if let Some(fan) = &mut fan_out {
                if !self.serve_some(fan) {
                    fan_out = None;
                }
                while letters.len() < MAIL_AT_ONCE
                    && let Ok(letter) = mail.try_recv()
                {
                    letters.push(letter);
                }
                self.hand_out(&mut letters);
                yield_now().await;
                continue;
            }
            let on_their_way = lock(&self.ways).in_lanes > 0;
            tokio::select! {
                count = mail.recv_many(&mut letters, MAIL_AT_ONCE) => {
                    if count == 0 {
                        return;
                    }
                    self.hand_out(&mut letters);
                }
                Some(note) = notes.recv() => match note {
                    Note::Sent { sent, done } => fan_out = Some(FanOut { sent, message: 0, user: 0, _done: done }),
                    Note::Gone(key) => {
                        self.hand_out_all(&mut mail, &mut letters);
                        self.forget(key);
                    }
                    Note::Heard(done) => {
                        self.hand_out_all(&mut mail, &mut letters);
                        // Whoever does not wait any more has waited for long.
                        let _ = done.send(());
                    }
                },
                () = sleep_until(look_at), if on_their_way => {
                    self.send_again();
                    look_at = Instant::now() + LOOK_EVERY;
                }
            }
        }
    }

    /// What a session has said before it went is heard before it is forgotten.
    fn hand_out_all(self: &Arc<Self>, mail: &mut mpsc::Receiver<Mail>, letters: &mut Vec<Mail>) {
        while let Ok(letter) = mail.try_recv() {
            letters.push(letter);
        }
        self.hand_out(letters);
    }

    /// Returns when all that sessions have said so far is with those whom it is for.
    pub(super) async fn is_heard(&self) {
        let (done, heard) = oneshot::channel();
        let _ = self.notes.send(Note::Heard(done));
        // When the courier ends with the relay there is nothing to wait for.
        let _ = heard.await;
    }

    /// Messages are stored and go to their users, in the order of these calls; the receiver hears when they have gone.
    pub(super) fn send(&self, sent: Sent) -> oneshot::Receiver<()> {
        let (done, gone) = oneshot::channel();
        // When the courier has ended with the relay, the messages are on disk all the same.
        let _ = self.notes.send(Note::Sent { sent, done });
        gone
    }

    /// A user is not there any more. This may be said under any lock.
    pub(super) fn has_gone(&self, project: i64, user: i64) {
        let _ = self.notes.send(Note::Gone((project, user)));
    }

    fn forget(&self, key: Key) {
        let mut ways = lock(&self.ways);
        if matches!(ways.by_user.get(&key), Some(Way::Direct(_))) && !self.is_there(key.0, key.1) {
            ways.remove(&key);
        }
    }

    /// Sends messages to some users; false when all have been served.
    fn serve_some(self: &Arc<Self>, fan: &mut FanOut) -> bool {
        let (mut name, now) = (String::new(), Instant::now());
        let (mut served, mut carried) = (0, Vec::new());
        let mut ways = lock(&self.ways);
        let writes = self.shared.with_many(|core, at| {
            while served < AT_ONCE
                && let Some((stored, users)) = fan.next(AT_ONCE - served)
            {
                served += users.len();
                let mut message = message(stored);
                for (user, by) in users {
                    name.clear();
                    // Writing to a string cannot fail.
                    let _ = write!(name, "{user}");
                    message.id = stored.task(*user);
                    let key = (stored.draft.project, *user);
                    if !serve(&mut ways, core, (key, *by, &name), stored, &message, (at, now)) {
                        carried.push(key);
                    }
                }
            }
        });
        for key in carried {
            self.carry(&mut ways, key);
        }
        drop(ways);
        writes.finish();
        served > 0
    }

    /// A carrier takes over from a user's lane, if he has one.
    fn carry(self: &Arc<Self>, ways: &mut Ways, key: Key) {
        let (mailbox, load) = (Arc::new(Mailbox::default()), Load::default());
        let lane = ways.set(key, Way::Carried(mailbox.clone()));
        self.start_carrier(key, mailbox, lane.map_or(load, Load::of));
    }

    /// Hands out what sessions have said.
    fn hand_out(self: &Arc<Self>, mail: &mut Vec<Mail>) {
        if mail.is_empty() {
            return;
        }
        let (mut noted, mut asked, now) = (Vec::new(), Vec::new(), Instant::now());
        let mut ways = lock(&self.ways);
        for Mail { project, user, news } in mail.drain(..) {
            let Some(number) = number_of(&user) else { continue };
            let key = (project, number);
            let ways = &mut *ways;
            match (ways.by_user.get_mut(&key), news) {
                (Some(Way::Carried(mailbox)), news) => mailbox.put(Letter::News(news)),
                (Some(Way::Direct(lane)), News::Got(task)) => {
                    if let Some(message) = lane.got(task, now) {
                        ways.in_lanes -= 1;
                        noted.push((project, number, message));
                    }
                }
                // What is on its way may be lost.
                (Some(Way::Direct(lane)), News::Here) if lane.len() > 0 => {
                    // What he has acknowledged before is not sent again.
                    self.noted.add(&mut noted);
                    self.start_over(ways, key);
                }
                (None, News::Here) => {
                    ways.set(key, Way::Asked { newer: 0 });
                    asked.push(key);
                }
                // Nobody knows of the message or file any more.
                _ => {}
            }
        }
        drop(ways);
        self.noted.add(&mut noted);
        self.asked.add(&mut asked);
    }

    /// All that a user has not acknowledged is sent again.
    fn start_over(self: &Arc<Self>, ways: &mut Ways, key: Key) {
        let mailbox = Arc::new(Mailbox::default());
        ways.set(key, Way::Carried(mailbox.clone()));
        self.start_carrier(key, mailbox, Load::default());
    }

    /// What has not been acknowledged for long is sent again.
    fn send_again(self: &Arc<Self>) {
        let (mut ways, now) = (lock(&self.ways), Instant::now());
        let silent = |way: &Way| matches!(way, Way::Direct(lane) if lane.is_silent(RETRY, now));
        let keys: Vec<Key> = ways.by_user.iter().filter(|(_, way)| silent(way)).map(|(key, _)| *key).collect();
        for key in keys {
            self.start_over(&mut ways, key);
        }
    }

    /// Notes what has been acknowledged so far, before the store is asked what is still to be delivered.
    pub(super) async fn note_now(&self) {
        let mut noted = self.noted.take();
        if !noted.is_empty()
            && let Err(error) = self.messages.all_delivered(noted.clone(), CR).await
        {
            warn!(%error, deliveries = noted.len(), "deliveries cannot be noted for now");
            self.noted.add(&mut noted);
        }
    }

    /// Notes what has been acknowledged, many at a time.
    async fn keep_noting(&self) {
        loop {
            self.noted.wait().await;
            sleep(GATHER).await;
            let noted = self.noted.take();
            while let Err(error) = self.messages.all_delivered(noted.clone(), CR).await {
                // Should the relay end before, they are delivered again, and sessions know them by their ids.
                warn!(%error, deliveries = noted.len(), "deliveries cannot be noted for now");
                sleep(STORE_RETRY).await;
            }
        }
    }

    /// Asks what waits for users who have come, for all who come while the store answers at a time.
    async fn keep_asking(self: &Arc<Self>) {
        loop {
            self.asked.wait().await;
            let asked = self.asked.take();
            let answer = self.messages.who_waits(asked.clone()).await;
            let (waiting, newest) = answer.unwrap_or_else(|error| {
                // Carriers try again by themselves.
                warn!(%error, "what waits for users who have come is not known for now");
                (asked.clone(), 0)
            });
            let waiting: HashSet<Key> = waiting.into_iter().collect();
            let mut ways = lock(&self.ways);
            for key in asked {
                let Some(Way::Asked { newer }) = ways.by_user.get(&key) else { continue };
                if waiting.contains(&key) || *newer > newest {
                    self.carry(&mut ways, key);
                } else if self.is_there(key.0, key.1) {
                    ways.set(key, Way::Direct(Lane::behind(newest)));
                } else {
                    // Should he have come back just now, he says so after this.
                    ways.remove(&key);
                }
            }
        }
    }
}

/// Sends a message to a user, if that can be done at once or is done by others; false when he needs a carrier.
fn serve(
    ways: &mut Ways,
    core: &mut Core,
    (key, by, name): (Key, u8, &str),
    stored: &Stored,
    message: &msg::Rtm,
    (at, now): (Now, Instant),
) -> bool {
    match ways.by_user.get_mut(&key) {
        None => !core.is_reachable(key.0, name),
        Some(Way::Carried(mailbox)) => {
            mailbox.put(Letter::Look);
            true
        }
        Some(Way::Asked { newer }) => {
            *newer = stored.id.max(*newer);
            true
        }
        Some(Way::Direct(lane)) if lane.has_seen(stored.id) => true,
        Some(Way::Direct(lane)) => {
            // A file needs a transfer, and who was not there has come since.
            let at_once = by & CR != 0 && stored.draft.blob.is_none() && lane.len() < WINDOW as usize;
            let posted = at_once && core.post(key.0, name, message, at);
            if posted {
                lane.sent(message.id, stored.id, now);
                ways.in_lanes += 1;
            }
            posted
        }
    }
}
