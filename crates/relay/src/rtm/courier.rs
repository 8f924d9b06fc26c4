//! Brings what servers have sent to the sessions of users who speak our own dialect: `docs/wire.md` section 4.3.
//!
//! What is to be delivered stands in the store until it has been. One task for each user with something to deliver, a
//! carrier, repeats it until the session has confirmed it, and ends when the user has gone or nothing is left. For those
//! who are there and for whom nothing waits `fan_out` has a shorter way.
//!
//! A file is offered first. Until the session says where to start, an offer costs a place in a table and nothing that
//! others wait for: a person may have to decide. Only bytes that flow take turns.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crvideo_proto::code;
use crvideo_proto::id::TaskId;
use crvideo_proto::message as msg;
use crvideo_proto::rtm::attrs::Attrs;
use tokio::sync::{Notify, Semaphore, SemaphorePermit, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use super::fan_out::{self, Heap, Note, Way, Ways};
use super::lane::Lane;
use super::online::{Online, User};
use crate::core::News;
use crate::seldom::Seldom;
use crate::shared::Shared;
use crate::store::{Blob, BlobId, Blobs, CR, Content, Messages, StoreError, Stored};

/// Messages on their way to one session.
pub(super) const WINDOW: u32 = 64;
/// Files that are offered to one session or on their way to it.
const TRANSFERS: usize = 4;
/// Transfers to all sessions that have their turn: with [`AHEAD`] this bounds the memory of a file that is sent to
/// thousands, and the files that are open for it.
const TURNS: usize = 64;
/// A transfer whose target lets it wait for this long gives its turn to another one.
const TURN_IDLE: Duration = Duration::from_secs(1);
/// How far a transfer goes ahead of what its target has confirmed.
const AHEAD: u64 = 512 * 1024;
/// Carriers that read from the store at once; the others wait, and take little memory meanwhile.
const READERS: usize = 64;
/// A piece of a transfer.
const CHUNK: usize = 128 * 1024;
/// While a session's queue is full, it is tried again after this time.
const FULL_PAUSE: Duration = Duration::from_millis(100);
/// A session that does not answer for this long gets no more of a transfer until it is tried again.
const SILENCE: Duration = Duration::from_secs(15);
/// What could not be delivered although the user is there is tried again after this time.
pub(super) const RETRY: Duration = Duration::from_secs(30);
/// What has gone is heard out for so long at most.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Answers that wait for one task.
const MAX_LETTERS: usize = 1_024;

/// One user of one project.
pub(super) type Key = (i64, i64);

/// The courier. Its tasks live in the tokio runtime that it was started in.
pub(crate) struct Courier {
    pub(super) shared: Arc<Shared>,
    pub(super) messages: Messages,
    blobs: Arc<dyn Blobs>,
    online: Arc<Online>,
    /// How messages reach each user. Its lock may be held while the core is locked, and not the other way round.
    pub(super) ways: Mutex<Ways>,
    pub(super) notes: mpsc::UnboundedSender<Note>,
    /// Deliveries that are to be noted: project, user and message.
    pub(super) noted: Heap<(i64, i64, i64)>,
    /// Users who have come, and for whom something may wait.
    pub(super) asked: Heap<Key>,
    /// Who reads from the store.
    readers: Semaphore,
    /// Which transfers have their turn.
    turns: Semaphore,
    /// Stored files cannot be read.
    faults: Seldom,
}

/// What a carrier is told. There may be thousands of carriers, so this takes next to no memory while it is empty.
#[derive(Default)]
pub(super) struct Mailbox {
    letters: Mutex<Vec<Letter>>,
    notify: Notify,
}

/// One letter.
pub(super) enum Letter {
    /// There may be something new to deliver.
    Look,
    /// What was passed over may be for this dialect now.
    LookAgain,
    /// The session has said something.
    News(News),
}

impl Mailbox {
    /// Puts a letter in. A carrier that has too many asks again by itself.
    pub(super) fn put(&self, letter: Letter) {
        let mut letters = lock(&self.letters);
        if letters.len() < MAX_LETTERS {
            letters.push(letter);
        }
        drop(letters);
        self.notify.notify_one();
    }

    /// The letters that are here, at least one.
    async fn take(&self) -> Vec<Letter> {
        loop {
            let letters = std::mem::take(&mut *lock(&self.letters));
            if !letters.is_empty() {
                return letters;
            }
            self.notify.notified().await;
        }
    }

    fn is_empty(&self) -> bool {
        lock(&self.letters).is_empty()
    }
}

/// How a transfer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It has arrived.
    Delivered,
    /// It will not be tried again, for this reason.
    Failed(i32),
    /// The session has gone, or does not answer.
    Later,
    /// The session says that it has failed, for a reason that may pass.
    Anew,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while one of these locks is held leaves plain data behind that is still true.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Courier {
    /// Starts the courier; it ends with the relay.
    pub(super) fn start(
        shared: Arc<Shared>,
        messages: Messages,
        blobs: Arc<dyn Blobs>,
        online: Arc<Online>,
    ) -> Arc<Self> {
        let mail = shared.start_courier();
        let (notes, noted) = mpsc::unbounded_channel();
        let (readers, turns) = (Semaphore::new(READERS), Semaphore::new(TURNS));
        let courier = Arc::new(Self {
            shared,
            messages,
            blobs,
            online,
            ways: Mutex::default(),
            notes,
            noted: Heap::default(),
            asked: Heap::default(),
            readers,
            turns,
            faults: Seldom::default(),
        });
        tokio::spawn(courier.clone().run(mail, noted));
        courier
    }

    /// Something that was passed over may be for this user by this dialect now: his connection of another one has ended.
    pub(crate) fn look_again(self: &Arc<Self>, project: i64, user: i64) {
        if !self.is_there(project, user) {
            return;
        }
        let key = (project, user);
        let mut ways = lock(&self.ways);
        match ways.by_user.get_mut(&key) {
            Some(Way::Carried(mailbox)) => mailbox.put(Letter::LookAgain),
            // Whatever the answer is, it may be out of date.
            Some(Way::Asked { newer }) => *newer = i64::MAX,
            Some(Way::Direct(_)) | None => {
                let mailbox = Arc::new(Mailbox::default());
                mailbox.put(Letter::LookAgain);
                let lane = ways.set(key, Way::Carried(mailbox.clone()));
                self.start_carrier(key, mailbox, lane.map_or_else(Load::default, Load::of));
            }
        }
    }

    /// A task delivers to a user from now on; its mailbox is the user's way.
    pub(super) fn start_carrier(self: &Arc<Self>, (project, user): Key, letters: Arc<Mailbox>, load: Load) {
        let carrier = Carrier { courier: self.clone(), project, user, name: user.to_string(), letters };
        tokio::spawn(carrier.run(load));
    }

    /// What becomes of a file that cannot be read: one that is damaged stays so, others are tried again later. What
    /// stops one delivery stops those to thousands of others, too.
    fn unreadable(&self, user: &str, error: &io::Error) -> Outcome {
        if self.faults.now() {
            warn!(user, %error, "stored files cannot be read and are not delivered now, to this user and perhaps others");
        } else {
            debug!(user, %error, "a stored file cannot be read");
        }
        if error.kind() == io::ErrorKind::InvalidData { Outcome::Failed(code::FILE_NOT_EXIST) } else { Outcome::Later }
    }

    /// Whether a user has a session that can be reached.
    pub(crate) fn is_there(&self, project: i64, user: i64) -> bool {
        self.shared.with(None, |core, _| core.is_reachable(project, &user.to_string()))
    }
}

/// The task that delivers to one user.
struct Carrier {
    courier: Arc<Courier>,
    project: i64,
    user: i64,
    /// The user's id.
    name: String,
    letters: Arc<Mailbox>,
}

/// What a carrier has under way.
#[derive(Default)]
pub(super) struct Load {
    /// Messages that the session has been sent: their number in the store, by their id to the user.
    sent: HashMap<TaskId, i64>,
    /// Files whose messages have been sent and that are to be offered.
    files: VecDeque<Parcel>,
    /// Files that have been offered and of which the session has not said anything yet.
    offered: HashMap<TaskId, Offered>,
    /// Files that are on their way.
    transfer_by_task: HashMap<TaskId, mpsc::Sender<News>>,
    transfers: JoinSet<(TaskId, Outcome)>,
    /// Files that have failed and are to be sent anew.
    anew: HashSet<TaskId>,
    /// Everything up to this message has been looked at.
    seen: i64,
    /// The newest message of the store, whoever it was for, when everything up to it had been looked at.
    newest: i64,
    /// Nothing is known to wait behind that: the store is not asked again before there is news.
    looked: bool,
    /// Something is to be tried again.
    again: bool,
    /// The session's queue was full.
    full: bool,
}

impl Load {
    /// What is on its way in a lane.
    pub(super) fn of(lane: Lane) -> Self {
        let (sent, seen) = lane.into_parts();
        Self { sent: sent.into_iter().collect(), seen, ..Self::default() }
    }

    /// Whether everything has been delivered.
    fn is_done(&self) -> bool {
        self.looked && self.sent.is_empty() && self.transfers.is_empty() && !self.again && !self.full
    }

    /// Whether a file has not been delivered.
    fn has_file(&self, task: TaskId) -> bool {
        self.transfer_by_task.contains_key(&task)
            || self.offered.contains_key(&task)
            || self.files.iter().any(|file| file.task == task)
    }

    /// Offers that nobody has answered are made again.
    fn offer_again(&mut self) {
        self.files.extend(self.offered.drain().map(|(_, offered)| offered.parcel));
    }
}

/// A file that is to be delivered.
struct Parcel {
    task: TaskId,
    blob: String,
    from: i64,
    /// The epoch that it is sent in.
    epoch: u64,
    name: String,
}

/// A file that has been offered.
struct Offered {
    parcel: Parcel,
    blob: Blob,
    hash: [u8; 32],
}

impl Carrier {
    async fn run(self, mut load: Load) {
        self.courier.note_now().await;
        loop {
            if let Err(error) = self.send_more(&mut load).await {
                warn!(user = self.user, %error, "messages cannot be delivered for now");
                load.again = true;
            }
            self.offer_more(&mut load).await;
            if load.is_done() && self.retire(&load) {
                return;
            }
            if !self.courier.is_there(self.project, self.user) {
                self.hear_out(&mut load).await;
                lock(&self.courier.ways).by_user.remove(&(self.project, self.user));
                // Somebody may have come back just before the carrier was taken off the list.
                return self.courier.look_again(self.project, self.user);
            }
            tokio::select! {
                letters = self.letters.take() => {
                    for letter in letters {
                        self.take(letter, &mut load).await;
                    }
                }
                Some(done) = load.transfers.join_next() => {
                    if let Ok((task, outcome)) = done {
                        self.transferred(task, outcome, &mut load).await;
                    }
                }
                () = sleep(FULL_PAUSE), if load.full => load.full = false,
                () = sleep(RETRY), if !load.full => {
                    load.again = false;
                    self.start_over(&mut load);
                }
            }
        }
    }

    /// The session has gone, and may have said before that something has arrived.
    async fn hear_out(&self, load: &mut Load) {
        let _ = timeout(LAST_WORDS, self.courier.is_heard()).await;
        let letters = std::mem::take(&mut *lock(&self.letters.letters));
        for letter in letters {
            self.take(letter, load).await;
        }
        // A transfer that hears the last of its letters ends.
        load.transfer_by_task.clear();
        let patience = sleep(LAST_WORDS);
        tokio::pin!(patience);
        loop {
            tokio::select! {
                ended = load.transfers.join_next() => match ended {
                    Some(Ok((task, outcome))) => self.transferred(task, outcome, load).await,
                    Some(Err(_)) => {}
                    None => return,
                },
                () = &mut patience => return load.transfers.shutdown().await,
            }
        }
    }

    /// Leaves the user to a lane, or takes the carrier off the list if he is not there, unless somebody has written to it
    /// meanwhile.
    fn retire(&self, load: &Load) -> bool {
        let mut ways = lock(&self.courier.ways);
        if !self.letters.is_empty() {
            return false;
        }
        let key = (self.project, self.user);
        if self.courier.is_there(self.project, self.user) {
            ways.set(key, Way::Direct(Lane::behind(load.newest)));
        } else {
            ways.by_user.remove(&key);
        }
        true
    }

    /// What is unanswered is sent again, but for files that are on their way or wait for that.
    fn start_over(&self, load: &mut Load) {
        (load.seen, load.looked) = (0, false);
        load.offer_again();
        let mut sent = std::mem::take(&mut load.sent);
        sent.retain(|task, _| load.has_file(*task));
        load.sent = sent;
    }

    async fn take(&self, letter: Letter, load: &mut Load) {
        match letter {
            Letter::Look => load.looked = false,
            Letter::LookAgain => (load.seen, load.looked) = (0, false),
            Letter::News(News::Here) => {
                for transfer in load.transfer_by_task.values() {
                    let _ = transfer.try_send(News::Here);
                }
                self.start_over(load);
            }
            Letter::News(News::Got(task)) => {
                // A file is there when its transfer has ended, not when the message has been handled.
                if !load.has_file(task)
                    && let Some(message) = load.sent.remove(&task)
                {
                    self.settled(message, None, load).await;
                }
            }
            Letter::News(news) => {
                let task = match &news {
                    News::Go(go) => go.task,
                    News::Confirm(confirm) => confirm.task,
                    News::Done(done) => done.task,
                    News::Here | News::Got(_) => return,
                };
                if let Some(transfer) = load.transfer_by_task.get(&task) {
                    // A transfer that has too many letters offers again after a silence.
                    let _ = transfer.try_send(news);
                } else {
                    self.offer_answered(task, news, load).await;
                }
            }
        }
    }

    /// The session has said something about a file that is not on its way yet.
    async fn offer_answered(&self, task: TaskId, news: News, load: &mut Load) {
        match news {
            News::Go(go) => {
                if let Some(offered) = load.offered.remove(&task) {
                    self.start_transfer(offered, go, load);
                }
            }
            News::Done(done) => {
                load.offered.remove(&task);
                load.files.retain(|file| file.task != task);
                self.transferred(task, ended(&self.name, task, done.code), load).await;
            }
            News::Confirm(_) | News::Here | News::Got(_) => {}
        }
    }

    /// Sends what waits, as long as there is room.
    async fn send_more(&self, load: &mut Load) -> Result<(), StoreError> {
        let room = WINDOW.saturating_sub(u32::try_from(load.sent.len()).unwrap_or(WINDOW));
        if load.looked || room == 0 {
            return Ok(());
        }
        // Nobody closes this semaphore.
        let Ok(_turn) = self.courier.readers.acquire().await else { return Ok(()) };
        load.looked = true;
        let here = self.courier.online.dialects(User { project: self.project, id: self.user }) | CR;
        let waiting = self.courier.messages.waiting(self.project, self.user, CR, here, load.seen, room).await?;
        // Where as many came as were asked for, there may be more.
        let more = waiting.messages.len() >= room as usize;
        load.newest = waiting.newest;
        for message in waiting.messages {
            let task = message.task(self.user);
            if let Entry::Vacant(place) = load.sent.entry(task) {
                if !self.post(&message, task) {
                    (load.full, load.looked) = (true, false);
                    return Ok(());
                }
                place.insert(message.id);
                let anew = load.anew.remove(&task);
                load.files.extend(self.parcel(&message, task, anew));
            }
            load.seen = message.id;
        }
        load.looked = !more;
        Ok(())
    }

    /// Sends one message; false when the session has gone or its queue is full.
    fn post(&self, message: &Stored, task: TaskId) -> bool {
        let message = msg::Rtm { id: task, ..fan_out::message(message) };
        self.courier.shared.with(None, |core, now| core.post(self.project, &self.name, &message, now))
    }

    /// A message has been delivered, or has `failed` for good.
    async fn settled(&self, message: i64, failed: Option<i32>, load: &mut Load) {
        let messages = &self.courier.messages;
        let noted = match failed {
            None => messages.delivered(self.project, self.user, vec![message], CR).await,
            Some(why) => messages.failed(self.project, self.user, message, CR, why).await,
        };
        if let Err(error) = noted {
            // It is delivered again later, and the session knows it by its id.
            warn!(user = self.user, %error, "a delivery cannot be noted");
            load.again = true;
        }
    }

    // ---- files --------------------------------------------------------------------------------------------

    /// Offers what waits, as long as there is room.
    async fn offer_more(&self, load: &mut Load) {
        while load.offered.len() + load.transfer_by_task.len() < TRANSFERS
            && !load.full
            && let Some(parcel) = load.files.pop_front()
        {
            let task = parcel.task;
            match self.find(&parcel.blob).await {
                Ok((blob, hash)) => {
                    if !self.offer(&parcel, blob.size) {
                        load.full = true;
                        return load.files.push_front(parcel);
                    }
                    load.offered.insert(task, Offered { parcel, blob, hash });
                }
                Err(outcome) => self.transferred(task, outcome, load).await,
            }
        }
    }

    /// The stored file and its hash.
    async fn find(&self, blob: &str) -> Result<(Blob, [u8; 32]), Outcome> {
        let lost = || {
            warn!(user = self.name, "a file that was still to be delivered is not stored any more");
            Outcome::Failed(code::FILE_NOT_EXIST)
        };
        let id = BlobId::parse(blob).ok_or_else(lost)?;
        // Nobody closes this semaphore.
        let Ok(_turn) = self.courier.readers.acquire().await else { return Err(Outcome::Later) };
        let found = self.courier.blobs.find(id).await;
        let found = found.map_err(|error| self.courier.unreadable(&self.name, &io::Error::other(error.to_string())))?;
        let blob = found.ok_or_else(lost)?;
        let hash = blake3::Hash::from_hex(&blob.hash).map_err(|_| lost())?;
        Ok((blob, *hash.as_bytes()))
    }

    /// Offers a file; false when the session has gone or its queue is full.
    fn offer(&self, parcel: &Parcel, size: u64) -> bool {
        offer(&self.courier, self.project, &self.name, parcel, size)
    }

    /// The session waits for the bytes of a file.
    fn start_transfer(&self, offered: Offered, go: msg::Go, load: &mut Load) {
        let Offered { parcel, blob, hash } = offered;
        let task = parcel.task;
        let (sender, letters) = mpsc::channel(MAX_LETTERS);
        load.transfer_by_task.insert(task, sender);
        let (courier, to, from) = (self.courier.clone(), self.name.clone(), parcel.from.to_string());
        let transfer =
            Transfer { courier, project: self.project, to, from, parcel, blob, hash, letters, full_since: None };
        load.transfers.spawn(async move { (task, transfer.run(&go).await) });
    }

    async fn transferred(&self, task: TaskId, outcome: Outcome, load: &mut Load) {
        load.transfer_by_task.remove(&task);
        let Some(message) = load.sent.remove(&task) else { return };
        match outcome {
            Outcome::Delivered => self.settled(message, None, load).await,
            Outcome::Failed(why) => self.settled(message, Some(why), load).await,
            Outcome::Later => load.again = true,
            Outcome::Anew => {
                load.again = true;
                load.anew.insert(task);
            }
        }
    }

    /// The file that a message brings, if it brings one. One that is sent anew comes from a later incarnation of its
    /// sender, because the session gives the same answer for ever to the one of before.
    fn parcel(&self, message: &Stored, task: TaskId, anew: bool) -> Option<Parcel> {
        let draft = &message.draft;
        let blob = draft.blob.clone()?;
        let name = Attrs::parse(&draft.attrs).map(|attrs| attrs.filename()).filter(|name| !name.is_empty());
        let epoch = self
            .courier
            .shared
            .with(None, |core, now| if anew { core.renew_courier_epoch(now) } else { core.courier_epoch() });
        Some(Parcel { task, blob, from: draft.from, epoch, name: name.unwrap_or_else(|| "file".to_owned()) })
    }
}

/// Offers a file on the command connection, so that who refuses it needs no other one; false when the session has gone
/// or its queue is full. The session answers whether it has been offered before or not, and nothing is sent until then.
fn offer(courier: &Courier, project: i64, to: &str, parcel: &Parcel, size: u64) -> bool {
    let message = msg::Offer { task: parcel.task, kind: 2, name: parcel.name.clone(), size, repeated: true };
    let from = parcel.from.to_string();
    courier.shared.with(None, |core, now| core.post_offer(project, to, (&from, parcel.epoch), &message, now))
}

/// What the end of a transfer means, by the session's code.
fn ended(user: &str, task: TaskId, code: i64) -> Outcome {
    match i32::try_from(code) {
        Ok(code::NOERR) => {
            debug!(user, %task, "a file is delivered");
            Outcome::Delivered
        }
        Ok(code::PEER_REFUSE) => {
            debug!(user, %task, "the user refused a file");
            Outcome::Failed(code::PEER_REFUSE)
        }
        _ => {
            warn!(user, %task, code, "a file could not be delivered; trying again later");
            Outcome::Anew
        }
    }
}

/// One file on its way to one user.
struct Transfer {
    courier: Arc<Courier>,
    project: i64,
    to: String,
    from: String,
    parcel: Parcel,
    blob: Blob,
    hash: [u8; 32],
    letters: mpsc::Receiver<News>,
    /// Since when the session's queue has taken nothing.
    full_since: Option<Instant>,
}

/// How far a transfer has come.
#[derive(Debug, Clone, Copy)]
struct Progress {
    next: u64,
    limit: u64,
    confirmed: u64,
    ended: bool,
}

impl Progress {
    /// From where the target says. It can ask for no more than there is.
    fn from(go: &msg::Go, size: u64) -> Self {
        let next = go.offset.min(size);
        Self { next, limit: go.limit, confirmed: next, ended: false }
    }

    /// How many bytes may be sent now.
    fn room(&self, size: u64) -> u64 {
        self.limit.min(self.confirmed.saturating_add(AHEAD)).min(size).saturating_sub(self.next)
    }

    /// Whether there is something to send: bytes, or word that they were all.
    fn wants_turn(&self, size: u64) -> bool {
        self.room(size) > 0 || (self.next == size && self.limit > 0 && !self.ended)
    }
}

/// While a transfer has it, the file is open, and its bytes are on their way.
struct Turn<'a> {
    content: Option<Content>,
    _permit: SemaphorePermit<'a>,
}

impl Transfer {
    async fn run(mut self, go: &msg::Go) -> Outcome {
        let courier = self.courier.clone();
        let mut way = Progress::from(go, self.blob.size);
        let mut turn = None;
        loop {
            let heard = match &mut turn {
                _ if !way.wants_turn(self.blob.size) => self.listen(&mut turn).await,
                Some(_) => self.go_on(&mut turn, &mut way).await,
                None => self.wait_for_turn(&courier, &mut turn).await,
            };
            let ended = match heard {
                Ok(Some(news)) => self.hear(news, &mut way),
                Ok(None) => None,
                Err(outcome) => Some(outcome),
            };
            if let Some(outcome) = ended {
                return outcome;
            }
        }
    }

    /// There is nothing to send: waits for what the session says, first with the turn, then without it.
    async fn listen(&mut self, turn: &mut Option<Turn<'_>>) -> Result<Option<News>, Outcome> {
        let patience = if turn.is_some() { TURN_IDLE } else { SILENCE };
        match timeout(patience, self.letters.recv()).await {
            Ok(None) => Err(Outcome::Later),
            Ok(news) => Ok(news),
            Err(_) if turn.take().is_some() => Ok(None),
            Err(_) => Err(Outcome::Later),
        }
    }

    /// Sends the next piece, or gives the turn up when the session's queue is full.
    async fn go_on(&mut self, turn: &mut Option<Turn<'_>>, way: &mut Progress) -> Result<Option<News>, Outcome> {
        let Some(open) = turn else { return Ok(None) };
        if self.send(open, way).await? {
            self.full_since = None;
        } else if self.full_since.get_or_insert_with(Instant::now).elapsed() >= SILENCE {
            return Err(Outcome::Later);
        } else {
            // A queue that is full may stay so for long, and others can send meanwhile.
            *turn = None;
            sleep(FULL_PAUSE).await;
        }
        Ok(self.letters.try_recv().ok())
    }

    /// Waits for its turn, or for what the session says before that.
    async fn wait_for_turn<'a>(
        &mut self,
        courier: &'a Courier,
        turn: &mut Option<Turn<'a>>,
    ) -> Result<Option<News>, Outcome> {
        tokio::select! {
            begun = begin(courier, &self.blob, &self.to) => {
                *turn = Some(begun?);
                Ok(None)
            }
            news = self.letters.recv() => news.ok_or(Outcome::Later).map(Some),
        }
    }

    /// What the session has said; how the transfer has ended, if that ends it.
    fn hear(&self, news: News, way: &mut Progress) -> Option<Outcome> {
        let size = self.blob.size;
        match news {
            News::Got(_) => {}
            // What was on its way is lost. The answer says where to go on.
            News::Here => {
                way.limit = 0;
                if !offer(&self.courier, self.project, &self.to, &self.parcel, size) {
                    return Some(Outcome::Later);
                }
            }
            News::Go(go) => *way = Progress::from(&go, size),
            News::Confirm(confirm) => {
                way.confirmed = way.confirmed.max(confirm.offset.min(size));
                way.limit = way.limit.max(confirm.limit);
            }
            News::Done(done) => return Some(ended(&self.to, self.parcel.task, done.code)),
        }
        None
    }

    /// Sends one piece, or the end; false when the session has gone or takes nothing now.
    async fn send(&self, turn: &mut Turn<'_>, way: &mut Progress) -> Result<bool, Outcome> {
        let task = self.parcel.task;
        let room = way.room(self.blob.size);
        if room == 0 {
            way.ended = self.post(&msg::End { task, hash: self.hash });
            return Ok(way.ended);
        }
        let len = usize::try_from(room).unwrap_or(CHUNK).min(CHUNK);
        let whole = turn.content.take().ok_or(Outcome::Later)?;
        let read = whole.read(way.next, len).await;
        let (whole, data) = read.map_err(|error| self.courier.unreadable(&self.to, &error))?;
        turn.content = Some(whole);
        let (offset, sent) = (way.next, data.len() as u64);
        let posted = self.post(&msg::Data { task, offset, data });
        if posted {
            way.next += sent;
        }
        Ok(posted)
    }

    /// Sends something on the bulk connection; false when the session has gone or takes nothing now.
    fn post<M: msg::Message>(&self, message: &M) -> bool {
        let shared = &self.courier.shared;
        shared.with(None, |core, now| {
            core.post_bulk(self.project, &self.to, (&self.from, self.parcel.epoch), message, now)
        })
    }
}

/// Waits for a turn and opens the file.
async fn begin<'a>(courier: &'a Courier, blob: &Blob, user: &str) -> Result<Turn<'a>, Outcome> {
    // Nobody closes this semaphore.
    let permit = courier.turns.acquire().await.map_err(|_| Outcome::Later)?;
    let content = courier.blobs.open(blob.clone()).await.map_err(|error| courier.unreadable(user, &error))?;
    Ok(Turn { content: Some(content), _permit: permit })
}
