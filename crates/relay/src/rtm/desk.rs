//! What is done with what comes on a connection of the RTM dialect, whatever brings it: quests to the methods, files to
//! the file gate, answers to those who wait for them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crvideo_proto::frame::{Frame, Kind};
use crvideo_proto::rtm::reader::{Event, FILE_METHODS};
use crvideo_proto::rtm::{answer, code, error, read_answer};
use tokio::sync::OwnedSemaphorePermit;
use tracing::{debug, warn};

use super::Refusal;
use super::carrier::Flight;
use super::files::{CHUNK_METHODS, Upload};
use super::gate::Gate;
use super::hub::LinkId;
use super::methods;
use super::online::User;
use super::outbox::Outbox;
use super::receipts::Receipts;
use crate::guard::{Block, Place};

/// Where a connection has come in, which says what is served on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// Servers with a project's secret, and files.
    Servers,
    /// Files alone.
    Files,
    /// Users with a token, and files.
    Users,
}

/// A user who has logged in on a connection.
pub(super) struct Login {
    pub(super) user: User,
    pub(super) flight: Arc<Flight>,
}

/// What methods see of a connection.
pub(super) struct Client {
    pub(super) id: LinkId,
    pub(super) from: SocketAddr,
    /// The address of ours that it has connected to.
    pub(super) local: SocketAddr,
    pub(super) door: Door,
    pub(super) out: Arc<Outbox>,
    listens: AtomicBool,
    /// The user who has logged in.
    login: OnceLock<Login>,
    /// The first project whose secret it has known.
    project: OnceLock<i64>,
    /// What it hears of the messages that it watches.
    receipts: OnceLock<Arc<Receipts>>,
    /// Its place among those of whom nothing is known yet.
    stranger: Mutex<Option<OwnedSemaphorePermit>>,
    /// Its place among those of its address.
    place: Mutex<Place>,
}

impl Client {
    pub(super) fn new(
        id: LinkId,
        [from, local]: [SocketAddr; 2],
        door: Door,
        out: Outbox,
        stranger: OwnedSemaphorePermit,
        place: Place,
    ) -> Self {
        let (out, stranger, place) = (Arc::new(out), Mutex::new(Some(stranger)), Mutex::new(place));
        Self {
            id,
            from,
            local,
            door,
            out,
            listens: AtomicBool::new(false),
            login: OnceLock::new(),
            project: OnceLock::new(),
            receipts: OnceLock::new(),
            stranger,
            place,
        }
    }

    /// It has shown that it knows a secret, which may be that of a project.
    pub(super) fn trust(&self, project: Option<i64>) {
        if let Some(project) = project {
            let _ = self.project.set(project);
        }
        self.stranger.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.place.lock().unwrap_or_else(PoisonError::into_inner).trust();
    }

    /// The first project whose secret it has known.
    pub(super) fn project(&self) -> Option<i64> {
        self.project.get().copied()
    }

    /// Whether nobody knows yet who it is.
    pub(super) fn is_stranger(&self) -> bool {
        self.stranger.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Which address it counts for, if any.
    pub(super) fn block(&self) -> Option<Block> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).block()
    }

    /// Whether it gets pushes from now on. Who listens may be silent for ever.
    pub(super) fn set_listening(&self, listens: bool) {
        self.listens.store(listens, Ordering::Relaxed);
    }

    pub(super) fn listens(&self) -> bool {
        self.listens.load(Ordering::Relaxed)
    }

    /// A user has logged in. There is one login for each connection.
    pub(super) fn set_login(&self, login: Login) {
        let _ = self.login.set(login);
    }

    /// What it hears of the messages that it watches; begun when it asks for it first.
    pub(super) fn receipts(&self, start: impl FnOnce() -> Arc<Receipts>) -> &Receipts {
        self.receipts.get_or_init(start)
    }

    /// The user who has logged in.
    pub(super) fn user(&self) -> Option<User> {
        self.login.get().map(|login| login.user)
    }
}

/// Serves what comes on one connection.
pub(super) struct Desk {
    pub(super) gate: Arc<Gate>,
    pub(super) client: Client,
}

/// Whatever ends a task, a panic too, its listening and its login end.
impl Drop for Desk {
    fn drop(&mut self) {
        self.gate.hub.forget(self.client.id);
        if let Some(user) = self.client.user() {
            self.gate.hub.log_out(user, self.client.id);
        }
        if let Some(receipts) = self.client.receipts.get() {
            receipts.close();
        }
        self.client.out.finish();
    }
}

impl Desk {
    /// Takes what has come. `upload` is the quest with a file that is being read.
    pub(super) async fn take(&self, event: Event, upload: &mut Option<Upload>) {
        match event {
            Event::Frame(frame) if frame.kind == Kind::Answer => self.note(&frame),
            Event::Frame(frame) => self.serve(&frame).await,
            Event::TooLarge { quest, most } => self.refuse_size(&quest, most),
            Event::Begin { quest, .. } => {
                let place = self.gate.upload_place(self.client.from);
                *upload = Some(self.gate.files.begin(quest, place));
            }
            Event::File { len, before } => {
                if let Some(upload) = upload {
                    upload.file(len, &before).await;
                }
            }
            Event::Piece(bytes) => {
                if let Some(upload) = upload {
                    upload.piece(bytes).await;
                }
            }
            Event::End(end) => {
                if let Some(upload) = upload.take() {
                    self.client.out.room().await;
                    self.answer_file(upload.end(end).await);
                }
            }
        }
    }

    /// Serves a quest. Answers wait until the client has taken those of before.
    async fn serve(&self, quest: &Frame) {
        self.client.out.room().await;
        if FILE_METHODS.contains(&quest.method()) {
            let place = self.gate.upload_place(self.client.from);
            return self.answer_file(self.gate.files.whole(quest, place).await);
        }
        if CHUNK_METHODS.contains(&quest.method()) {
            let place = || self.gate.upload_place(self.client.from);
            return self.answer_file(self.gate.files.chunk(quest, place).await);
        }
        match methods::serve(&self.gate, &self.client, quest).await {
            Ok(fields) if quest.kind == Kind::Quest => self.client.out.frame(&answer(quest, fields)),
            Ok(_) => {}
            Err(refusal) => self.refuse(quest, &refusal),
        }
        self.after(quest.method());
    }

    /// What follows the answer to a quest.
    fn after(&self, method: &str) {
        if let Some(receipts) = self.client.receipts.get()
            && method == "crreceipts"
        {
            receipts.open();
        }
        let Some(login) = self.client.login.get() else { return };
        match method {
            "auth" => login.flight.open(),
            "bye" => {
                self.gate.hub.log_out(login.user, self.client.id);
                self.client.out.finish();
            }
            _ => {}
        }
    }

    /// A file was sent, or refused.
    fn answer_file(&self, answer: Option<Frame>) {
        if let Some(answer) = answer {
            if answer.status == 0 {
                // Its token came from a quest that was signed.
                self.client.trust(None);
            }
            self.client.out.frame(&answer);
        }
    }

    fn refuse_size(&self, quest: &Frame, most: usize) {
        if quest.kind != Kind::Answer {
            let text = format!("the payload of {:?} is larger than the {most} bytes that are allowed", quest.method());
            self.refuse(quest, &Refusal::new(code::TOO_LARGE, text));
        }
    }

    /// The answer to a push. A user has got the message, whatever the status: some SDKs answer well with an error's
    /// status and the other way round.
    fn note(&self, frame: &Frame) {
        if let Some(login) = self.client.login.get() {
            login.flight.answered(frame.seq);
        }
        let outcome = read_answer(frame);
        if let Some(receipts) = self.client.receipts.get() {
            receipts.answered(frame.seq, outcome.is_ok());
        }
        if let Err((code, text)) = outcome {
            debug!(link = self.client.id, seq = frame.seq, code, text, "a push was answered with an error");
        }
    }

    fn refuse(&self, quest: &Frame, refusal: &Refusal) {
        let (code, text, from) = (refusal.code, &refusal.text, self.client.from);
        debug!(link = self.client.id, %from, method = ?quest.method(), code, text, "refused");
        if (code == code::BAD_SIGN || code == code::BAD_TS) && self.gate.bad_signs.now() {
            warn!(%from, text, "quests are refused for their signatures; check the server's project, secret and clock");
        }
        if quest.kind == Kind::Quest {
            self.client.out.frame(&error(quest, code, text));
        }
    }
}
