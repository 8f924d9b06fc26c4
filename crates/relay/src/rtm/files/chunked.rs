//! Files that come in chunks: larger ones than a single quest takes. `docs/wire.md`, section 6, is the reference.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use crvideo_proto::frame::{Frame, Kind};
use crvideo_proto::rtm::params::{Fields, Params};
use crvideo_proto::rtm::{self, code};
use tokio::sync::{Mutex as AsyncMutex, OwnedSemaphorePermit};
use tracing::{debug, error};

use super::request::{self, Request, Sender};
use super::tokens::Claim;
use super::upload::refusal_of;
use super::{Files, crowded};
use crate::guard::{Place, Share};
use crate::rtm::{Refusal, Target};
use crate::store::Spool;

/// The most bytes of one chunk that clients are told to send; with what stands beside them they fit a quest.
const MAX_CHUNK: i64 = 192 * 1024;
/// An upload is given up when nothing has come for it in this time.
const SILENCE: Duration = Duration::from_secs(60);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// Names an upload. Who knows it may go on with it.
type Id = [u8; 16];

/// All uploads in chunks.
#[derive(Default)]
pub(super) struct Uploads(Mutex<HashMap<Id, Arc<Slot>>>);

/// One upload.
struct Slot {
    heard: Mutex<Instant>,
    state: Arc<AsyncMutex<State>>,
}

enum State {
    Coming(Box<Coming>),
    /// Sent at this time.
    Sent(i64),
    /// Refused.
    Gone,
}

struct Coming {
    sender: Sender,
    target: Target,
    size: u64,
    received: u64,
    spool: Spool,
    claim: Claim,
    share: Share,
    /// The memory of what is not on the disk yet.
    memory: Share,
    /// Its place among all uploads under way, and among those of its sender's address.
    _place: (OwnedSemaphorePermit, Place),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unknown() -> Refusal {
    Refusal::new(code::BAD_FILE, "the upload is unknown, refused, or given up because nothing came for it; begin again")
}

impl Uploads {
    fn find(&self, params: &Params) -> Result<(Id, Arc<Slot>), Refusal> {
        let id = Id::try_from(params.bytes("id")?.as_ref()).map_err(|_| unknown())?;
        let slot = lock(&self.0).get(&id).cloned().ok_or_else(unknown)?;
        *lock(&slot.heard) = Instant::now();
        Ok((id, slot))
    }

    fn remove(&self, id: &Id) {
        lock(&self.0).remove(id);
    }

    /// Gives up those for which nothing has come since `SILENCE` before `now`.
    fn give_up(&self, now: Instant) {
        // An upload that is being served at the moment is held by whoever serves it.
        lock(&self.0).retain(|_, slot| {
            let silent = now.saturating_duration_since(*lock(&slot.heard));
            silent < SILENCE || Arc::strong_count(slot) > 1
        });
    }
}

/// Gives up silent uploads for as long as there is a file gate.
pub(super) async fn keep_looking(files: Weak<Files>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(files) = files.upgrade() else { return };
        files.chunked.give_up(Instant::now());
    }
}

impl Files {
    /// The largest file that is taken in chunks; 0 when none is.
    pub(crate) fn max_chunked(&self) -> u64 {
        self.max_chunked_size
    }

    /// Serves a quest about a file in chunks; `of_address` gives a place among those of its sender's address, if there
    /// is one. `None` when no answer is due.
    pub(crate) async fn chunk(
        self: &Arc<Self>,
        quest: &Frame,
        of_address: impl FnOnce() -> Option<Place>,
    ) -> Option<Frame> {
        let outcome = match Params::of(quest) {
            Err(error) => Err(error.into()),
            Ok(params) => match quest.method() {
                "crupbegin" => self.begin_chunks(&params, of_address).await,
                "crupdata" => self.take_chunk(&params).await,
                _ => self.end_chunks(params).await,
            },
        };
        let answer = match outcome {
            Ok(fields) => rtm::answer(quest, fields),
            Err(refusal) => {
                debug!(method = quest.method(), code = refusal.code, text = refusal.text, "an upload is refused");
                rtm::error(quest, refusal.code, &refusal.text)
            }
        };
        (quest.kind == Kind::Quest).then_some(answer)
    }

    async fn begin_chunks(
        self: &Arc<Self>,
        params: &Params,
        of_address: impl FnOnce() -> Option<Place>,
    ) -> Result<Fields, Refusal> {
        self.check_enabled()?;
        let began = Instant::now();
        let sender = Sender::read(params)?;
        let size: u64 = params.int("size")?;
        self.check_project(sender.project, size)?;
        self.tokens.check(&sender.token, sender.project, sender.from, began)?;
        let most = self.max_chunked_size;
        if size > most {
            return Err(Refusal::new(code::TOO_LARGE, format!("the file has more than {most} bytes")));
        }
        let cmd = params.text("cmd")?;
        if !rtm::reader::FILE_METHODS.contains(&cmd.as_str()) {
            return Err(Refusal::new(code::BAD_PARAM, format!("the cmd {cmd:?} is no way to send a file")));
        }
        let target = request::target(&cmd, params, self.max_targets)?;
        let claim = self.tokens.try_claim(&sender.token, sender.project, sender.from, &target, began)?;
        self.blobs.check_room(sender.project, size).await.map_err(refusal_of)?;
        let place = (self.place()?, of_address().ok_or_else(crowded)?);
        let (spool, share) = (self.blobs.spool(), Share::of(&self.uploading));
        let memory = Share::of(&self.memory);
        let coming = Coming { sender, target, size, received: 0, spool, claim, share, memory, _place: place };
        let mut id = Id::default();
        getrandom::fill(&mut id).map_err(|error| {
            error!(%error, "no random numbers for an upload");
            Refusal::new(code::UNKNOWN, "the relay has no random numbers just now; try again later")
        })?;
        let state = Arc::new(AsyncMutex::new(State::Coming(Box::new(coming))));
        lock(&self.chunked.0).insert(id, Arc::new(Slot { heard: Mutex::new(began), state }));
        Ok(Fields::new().bytes("id", &id).int("max", MAX_CHUNK))
    }

    async fn take_chunk(&self, params: &Params) -> Result<Fields, Refusal> {
        let (id, slot) = self.chunked.find(params)?;
        let (at, bytes): (u64, Bytes) = (params.int("o")?, params.bytes("d")?);
        let mut state = slot.state.clone().lock_owned().await;
        // A chunk is taken whole although its connection ends meanwhile: the upload outlives it.
        let work = tokio::spawn(async move {
            let State::Coming(coming) = &mut *state else { return Err(unknown()) };
            let outcome = if at == coming.received { coming.take(&bytes).await } else { Ok(()) };
            let received = coming.received;
            if outcome.is_err() {
                *state = State::Gone;
            }
            outcome.map(|()| received)
        });
        let received = work.await.unwrap_or_else(|error| {
            error!(%error, "a chunk could not be stored");
            Err(Refusal::new(code::UNKNOWN, "the relay could not store the chunk; see its log"))
        });
        if received.is_err() {
            self.chunked.remove(&id);
        }
        Ok(Fields::new().int("o", i64::try_from(received?).unwrap_or(i64::MAX)))
    }

    async fn end_chunks(self: &Arc<Self>, params: Params) -> Result<Fields, Refusal> {
        let (id, slot) = self.chunked.find(&params)?;
        let mut state = slot.state.clone().lock_owned().await;
        match &*state {
            State::Gone => return Err(unknown()),
            State::Sent(mtime) => return Ok(Fields::new().int("mtime", *mtime)),
            State::Coming(coming) if coming.received < coming.size => {
                let text = format!("of the file's {} bytes only {} have come", coming.size, coming.received);
                return Err(Refusal::new(code::BAD_PARAM, text));
            }
            State::Coming(_) => {}
        }
        let files = self.clone();
        // The work goes on when nobody waits for the answer any more.
        let work = tokio::spawn(async move {
            let State::Coming(coming) = std::mem::replace(&mut *state, State::Gone) else { return Err(unknown()) };
            let outcome = coming.send(&files, &params).await;
            match &outcome {
                Ok(mtime) => *state = State::Sent(*mtime),
                Err(_) => files.chunked.remove(&id),
            }
            *lock(&slot.heard) = Instant::now();
            outcome
        });
        let mtime = work.await.unwrap_or_else(|error| {
            error!(%error, "a file could not be stored");
            Err(Refusal::new(code::UNKNOWN, "the relay could not store the file; see its log"))
        })?;
        Ok(Fields::new().int("mtime", mtime))
    }
}

impl Coming {
    /// Takes a chunk that begins where the last one ended.
    async fn take(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let len = bytes.len() as u64;
        if len > self.size - self.received {
            let text = format!("more bytes have come than the {} that were announced", self.size);
            return Err(Refusal::new(code::TOO_LARGE, text));
        }
        if !self.share.take(len) {
            let text = "the relay receives too many files at once; send it again later";
            return Err(Refusal::new(code::QUEUE_FULL, text));
        }
        let written = self.spool.write(bytes).await;
        self.memory.set(self.spool.memory());
        written.map_err(|error| refusal_of(error.into()))?;
        self.received += len;
        Ok(())
    }

    async fn send(self, files: &Files, params: &Params) -> Result<i64, Refusal> {
        let request = Request::read(self.target, params)?;
        files.send(self.spool, self.sender, request, self.claim).await
    }
}

#[cfg(test)]
impl Uploads {
    /// As if nothing had come for so long that all are given up.
    pub(super) fn fall_silent(&self) {
        self.give_up(Instant::now() + SILENCE);
    }
}
