//! Brings messages to one user who speaks RTM: what waits in the store is pushed, and when his SDK has answered a push,
//! it waits no longer. What is not answered is pushed again at the user's next login.

use std::collections::HashMap;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, warn};

use super::online::{Online, User};
use super::outbox::Outbox;
use super::push::stored_push;
use crate::store::{Messages, RTM, StoreError};

/// Pushes that wait for their answers.
const WINDOW: usize = 64;
/// A push that has not been answered for this long makes room for another one: some SDKs never answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(20);
/// After the store has failed.
const RETRY: Duration = Duration::from_secs(5);

#[derive(Default)]
struct State {
    /// The login has been answered, so pushes may follow.
    open: bool,
    closed: bool,
    /// There may be something new.
    look: bool,
    /// What was passed over may be for this dialect now.
    again: bool,
    /// Messages on their way, by the push's number.
    sent: HashMap<u32, (i64, Instant)>,
    answered: Vec<i64>,
}

/// What is on its way to one user.
#[derive(Default)]
pub(super) struct Flight {
    state: Mutex<State>,
    woken: Notify,
}

impl Flight {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.woken.notify_one();
    }

    /// The login has been answered.
    pub(super) fn open(&self) {
        self.change(|state| (state.open, state.look) = (true, true));
    }

    pub(super) fn is_open(&self) -> bool {
        self.lock().open
    }

    /// The connection has ended.
    pub(super) fn close(&self) {
        self.change(|state| state.closed = true);
    }

    /// There may be something new to deliver.
    pub(super) fn look(&self) {
        self.change(|state| state.look = true);
    }

    /// The user's session of another dialect has ended, and what waited for it is for this one.
    pub(super) fn look_again(&self) {
        self.change(|state| (state.look, state.again) = (true, true));
    }

    /// The SDK has answered a push. Answers to others are none of ours.
    pub(super) fn answered(&self, seq: u32) {
        self.change(|state| {
            let message = state.sent.remove(&seq);
            state.answered.extend(message.map(|(message, _)| message));
        });
    }

    fn sent(&self, seq: u32, message: i64) {
        self.lock().sent.insert(seq, (message, Instant::now()));
    }

    fn is_on_its_way(&self, message: i64) -> bool {
        let state = self.lock();
        state.answered.contains(&message) || state.sent.values().any(|(other, _)| *other == message)
    }

    /// Pushes that may follow now, and when there will be room for more.
    fn room(&self, now: Instant) -> (usize, Option<Instant>) {
        let mut state = self.lock();
        state.sent.retain(|_, (_, at)| *at + ANSWER_PATIENCE > now);
        let oldest = state.sent.values().map(|(_, at)| *at + ANSWER_PATIENCE).min();
        (WINDOW.saturating_sub(state.sent.len()), oldest)
    }
}

/// The task that delivers to one user.
pub(super) struct Carrier {
    pub(super) flight: Arc<Flight>,
    pub(super) out: Arc<Outbox>,
    pub(super) messages: Messages,
    pub(super) online: Arc<Online>,
    pub(super) user: User,
}

impl Carrier {
    /// Delivers until the connection ends.
    pub(super) async fn run(self) {
        // Everything up to this message has been looked at; there may be more behind it.
        let (mut seen, mut more) = (0, false);
        loop {
            let (open, closed, answered) = {
                let mut state = self.flight.lock();
                more |= std::mem::take(&mut state.look);
                if std::mem::take(&mut state.again) {
                    seen = 0;
                }
                (state.open, state.closed, std::mem::take(&mut state.answered))
            };
            self.settle(answered).await;
            if closed {
                return;
            }
            let (room, wait) = self.flight.room(Instant::now());
            if open && more && room > 0 {
                self.out.room().await;
                match self.push_more(&mut seen, room).await {
                    Ok(pushed) => more = pushed,
                    Err(error) => {
                        warn!(user = self.user.id, %error, "messages cannot be delivered for now");
                        sleep(RETRY).await;
                    }
                }
                continue;
            }
            let room_again = async {
                match wait.filter(|_| more && open) {
                    Some(at) => sleep_until(at).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = self.flight.woken.notified() => {}
                () = room_again => debug!(user = self.user.id, "pushes are not answered"),
            }
        }
    }

    /// Messages have reached the user.
    async fn settle(&self, answered: Vec<i64>) {
        let User { project, id } = self.user;
        if answered.is_empty() {
            return;
        }
        if let Err(error) = self.messages.delivered(project, id, answered, RTM).await {
            // They are delivered again at the next login, and SDKs know them by their numbers.
            warn!(user = id, %error, "deliveries cannot be noted");
        }
    }

    /// Pushes what waits behind `seen`; whether there may be more.
    async fn push_more(&self, seen: &mut i64, room: usize) -> Result<bool, StoreError> {
        let User { project, id } = self.user;
        let here = self.online.dialects(self.user) | RTM;
        let most = u32::try_from(room).unwrap_or_default();
        let waiting = self.messages.waiting(project, id, RTM, here, *seen, most).await?;
        let more = waiting.messages.len() == room;
        for message in waiting.messages {
            *seen = message.id;
            if !self.flight.is_on_its_way(message.id) {
                let (method, payload) = stored_push(&message.draft, id);
                let payload = self.out.hold(payload);
                // A connection that takes nothing any more is about to end.
                let _ = self.out.numbered(method, &[], &payload, |seq| self.flight.sent(seq, message.id));
            }
        }
        Ok(more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pushes_make_room_when_they_are_answered_or_have_waited_for_long() {
        let flight = Flight::default();
        for seq in 0..64 {
            flight.sent(seq, i64::from(seq) + 1_000);
        }
        let now = Instant::now();
        let (room, wait) = flight.room(now);
        assert!(room == 0 && wait.is_some_and(|at| at <= now + ANSWER_PATIENCE));
        flight.answered(5);
        flight.answered(5);
        flight.answered(9_999);
        assert_eq!((flight.room(now).0, flight.lock().answered.clone()), (1, vec![1_005]));
        assert!(flight.is_on_its_way(1_005) && flight.is_on_its_way(1_006) && !flight.is_on_its_way(7));
        assert_eq!(flight.room(now + ANSWER_PATIENCE), (64, None));
        // An answer that comes too late does no harm: the message is pushed again at the next login.
        flight.answered(6);
        assert_eq!(flight.lock().answered.len(), 1);
    }
}
