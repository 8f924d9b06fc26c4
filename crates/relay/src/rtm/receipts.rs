//! Tells a server what becomes of the messages that it watches: `docs/wire.md` section 7.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use crvideo_proto::rtm::params::Fields;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{debug, warn};

use super::outbox::Outbox;
use crate::store::{Messages, Receipt, Watch};

/// Receipts of one push.
const BATCH: u32 = 512;
/// After something has happened, what happens in this time goes by the same push.
const GATHER: Duration = Duration::from_millis(100);
/// A push that has not been answered for this long is repeated.
const ANSWER_PATIENCE: Duration = Duration::from_secs(20);
/// After the store has failed, or the server cannot take receipts just now.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Default)]
struct State {
    /// The server knows that receipts come.
    open: bool,
    closed: bool,
    /// The push that has not been answered.
    asked: Option<u32>,
    /// Its answer: whether the server has taken it.
    answer: Option<bool>,
}

/// What is on its way on one connection.
pub(super) struct Receipts {
    pub(super) watch: Watch,
    state: Mutex<State>,
    /// Rung by the store for new receipts, and whenever the state changes.
    bell: Arc<Notify>,
}

/// How a push has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Taken,
    Refused,
    /// No answer has come.
    Silence,
    /// The connection has ended.
    Gone,
}

impl Receipts {
    /// Begins to tell a server, once the connection is open for it. It ends with the connection, or when another one
    /// asks for the same.
    pub(super) fn start(project: i64, watch: Watch, messages: Messages, out: Arc<Outbox>) -> Arc<Self> {
        let receipts = Arc::new(Self { watch, state: Mutex::default(), bell: Arc::default() });
        messages.bells().hang(project, watch, receipts.bell.clone());
        let teller = Teller { receipts: receipts.clone(), project, messages, out };
        tokio::spawn(teller.run());
        receipts
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.bell.notify_one();
    }

    /// The server has been told that receipts come.
    pub(super) fn open(&self) {
        self.change(|state| state.open = true);
    }

    /// The connection has ended.
    pub(super) fn close(&self) {
        self.change(|state| state.closed = true);
    }

    /// A push was answered, well or with an error. Answers to others are none of ours.
    pub(super) fn answered(&self, seq: u32, well: bool) {
        self.change(|state| {
            if state.asked == Some(seq) {
                (state.asked, state.answer) = (None, Some(well));
            }
        });
    }
}

/// The task of one connection.
struct Teller {
    receipts: Arc<Receipts>,
    project: i64,
    messages: Messages,
    out: Arc<Outbox>,
}

impl Teller {
    async fn run(self) {
        let watch = self.receipts.watch;
        while !self.receipts.lock().open && self.is_wanted() {
            self.receipts.bell.notified().await;
        }
        // The last receipt that was taken: the store forgets it with the next look.
        let mut taken = 0;
        while self.is_wanted() {
            let next = match self.messages.receipts(self.project, watch, taken, BATCH).await {
                Ok(next) => next,
                Err(error) => {
                    warn!(%error, "what has become of messages cannot be told for now");
                    sleep(RETRY).await;
                    continue;
                }
            };
            let Some(last) = next.last().map(|last| last.number) else {
                self.receipts.bell.notified().await;
                sleep(GATHER).await;
                continue;
            };
            match self.tell(&next).await {
                Told::Taken => taken = last,
                Told::Refused => sleep(RETRY).await,
                Told::Silence => debug!("receipts are not answered, and go again"),
                Told::Gone => break,
            }
            if next.len() < BATCH as usize {
                sleep(GATHER).await;
            }
        }
        if taken > 0
            && let Err(error) = self.messages.receipts(self.project, watch, taken, 0).await
        {
            // They are told again, and the server knows their numbers.
            warn!(%error, "receipts that were taken cannot be forgotten");
        }
        self.messages.bells().take_down(self.project, watch, &self.receipts.bell);
    }

    /// Whether the connection is there, and no other one has asked for the same.
    fn is_wanted(&self) -> bool {
        !self.receipts.lock().closed
            && self.messages.bells().hangs(self.project, self.receipts.watch, &self.receipts.bell)
    }

    async fn tell(&self, next: &[Receipt]) -> Told {
        self.out.room().await;
        let note = |seq| {
            let mut state = self.receipts.lock();
            (state.asked, state.answer) = (Some(seq), None);
        };
        if self.out.numbered("crreceipt", &[], &self.out.hold(payload(next)), note).is_none() {
            return Told::Gone;
        }
        let until = Instant::now() + ANSWER_PATIENCE;
        loop {
            {
                let mut state = self.receipts.lock();
                match state.answer.take() {
                    Some(true) => return Told::Taken,
                    Some(false) => return Told::Refused,
                    None if state.closed => return Told::Gone,
                    None => {}
                }
            }
            if timeout_at(until, self.receipts.bell.notified()).await.is_err() {
                return Told::Silence;
            }
        }
    }
}

fn payload(receipts: &[Receipt]) -> Bytes {
    let fields = Fields::new().write("rs", |writer| {
        writer.array(receipts.len());
        for receipt in receipts {
            let Receipt { number, kind, from, place, mid, user, standing, code } = *receipt;
            let row = [number, kind, from, place, mid, user, standing, code];
            writer.array(row.len());
            row.into_iter().for_each(|value| writer.int(value));
        }
    });
    fields.finish()
}
