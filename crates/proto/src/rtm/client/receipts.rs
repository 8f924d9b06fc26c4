//! What becomes of messages at their recipients, where the server can tell that: `docs/wire.md` section 7. A client asks
//! once on each connection, and sends nothing that is not RTM's own before the server has offered it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::types::*;
use super::{Client, Running, What};
use crate::frame::Frame;
use crate::rtm::code;
use crate::rtm::params::{Fields, ParamError, Params};
use crate::session::Now;

/// A server that does not answer the question for this long is one that cannot tell.
const ASK_PATIENCE: Duration = Duration::from_secs(5);
/// A server that knows the question and has failed to answer it is asked again after this time.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// Receipts of one quest.
const MAX_BATCH: usize = 2_000;
/// Stores whose numbers are remembered; a server has one for its whole life.
const MAX_STORES: usize = 8;

/// What a connection's server can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offer {
    /// It has not been asked.
    Unasked,
    /// It has been asked; sends wait for its answer until this time.
    Asked { until: Duration },
    /// It will tell what becomes of what carries the watch.
    Given,
    /// It cannot, and is perhaps asked again.
    Refused { again: Option<Duration> },
}

/// Sender and id of a message.
pub(super) type Name = (i64, i64);

/// What the client knows of receipts.
#[derive(Debug, Default)]
pub(super) struct Receipts {
    /// Names this client, once it wants receipts.
    watch: Option<Bytes>,
    /// Whether they are wanted now.
    wanted: bool,
    /// Something was sent of which receipts may come.
    expected: bool,
    /// The store of the present connection.
    store: Bytes,
    /// The last number that was taken.
    taken_by_store: BTreeMap<Bytes, i64>,
    /// Receipts of messages whose sending has not ended: the application learns of that first.
    held: BTreeMap<Name, Vec<Receipt>>,
}

impl Receipts {
    /// Whether a connection is needed although no call is.
    pub fn need_connection(&self) -> bool {
        self.wanted && self.expected
    }

    /// Nothing is wanted any more.
    pub fn stop(&mut self) {
        self.wanted = false;
    }

    /// The last number that was taken from the present store.
    fn last(&mut self) -> &mut i64 {
        if !self.taken_by_store.contains_key(&self.store) && self.taken_by_store.len() == MAX_STORES {
            self.taken_by_store.pop_first();
        }
        self.taken_by_store.entry(self.store.clone()).or_default()
    }
}

impl Running {
    /// Sender and id of what is sent, if anything is.
    pub(super) fn sends(&self) -> Option<Name> {
        match &self.action {
            Action::Message(message) => Some((message.from, message.mid)),
            Action::File(file) => Some((file.from, file.mid)),
            _ => None,
        }
    }
}

impl Client {
    /// From now on what is sent is watched, where the server can tell what becomes of it, or (`None`) is not. `watch`
    /// are 16 random bytes; those of the first call stay.
    pub fn want_receipts(&mut self, watch: Option<[u8; 16]>, now: Now) {
        self.receipts.wanted = watch.is_some();
        if let Some(watch) = watch {
            self.receipts.watch.get_or_insert_with(|| Bytes::copy_from_slice(&watch));
        }
        if self.gate.is_up() {
            self.ask_for_receipts(now);
        }
        self.drive(now);
    }

    /// Asks the server of a new connection, if receipts are wanted.
    pub(super) fn ask_for_receipts(&mut self, now: Now) {
        let Some(watch) = self.receipts.watch.clone().filter(|_| self.receipts.wanted) else { return };
        if !matches!(self.gate.offer, Offer::Unasked | Offer::Refused { again: Some(_) }) {
            return;
        }
        let salt = self.salts.next(now.unix.saturating_mul(1_000));
        let fields = self.config.signed("crreceipts", salt, now.unix).bytes("watch", &watch);
        self.gate.wire.ask("crreceipts", fields, What::Receipts);
        self.gate.offer = Offer::Asked { until: now.mono + ASK_PATIENCE };
    }

    /// The server has answered the question.
    pub(super) fn receipts_answered(&mut self, outcome: Result<Params, (i32, String)>, now: Now) {
        let store =
            match outcome.and_then(|params| params.bytes("store").map_err(|error| (error.code(), error.to_string()))) {
                Ok(store) => store,
                Err((code::UNKNOWN_METHOD, _)) => {
                    log::info!("the RTM server cannot tell what becomes of messages at their recipients");
                    self.gate.offer = Offer::Refused { again: None };
                    return;
                }
                Err((code, text)) => {
                    log::warn!(
                        "the RTM server does not tell what becomes of messages: {code} {text:?}; asking again later"
                    );
                    self.gate.offer = Offer::Refused { again: Some(now.mono + ASK_AGAIN) };
                    return;
                }
            };
        log::debug!("the RTM server tells what becomes of messages at their recipients");
        self.receipts.store = Bytes::copy_from_slice(&store);
        self.gate.offer = Offer::Given;
        self.gate.works();
    }

    /// When the server is asked again, or not waited for any more.
    pub(super) fn receipts_deadline(&self) -> Option<Duration> {
        match self.gate.offer {
            Offer::Asked { until } => Some(until),
            Offer::Refused { again } => again,
            Offer::Unasked | Offer::Given => None,
        }
    }

    pub(super) fn receipts_timeout(&mut self, now: Now) {
        if self.receipts_deadline().is_none_or(|at| at > now.mono) {
            return;
        }
        if matches!(self.gate.offer, Offer::Asked { .. }) {
            log::warn!("the RTM server does not say whether it tells what becomes of messages; going on without");
            self.gate.offer = Offer::Refused { again: None };
        } else if self.receipts.wanted {
            self.ask_for_receipts(now);
        } else {
            self.gate.offer = Offer::Unasked;
        }
    }

    /// Marks what is about to be asked for as watched, where that is wanted and offered.
    pub(super) fn watch(&mut self, id: u64, fields: Fields) -> Fields {
        let Some(running) = self.running_by_call.get_mut(&id) else { return fields };
        let offered = self.gate.offer == Offer::Given && self.receipts.wanted;
        let (Some(name), Some(watch), true) = (running.sends(), &self.receipts.watch, offered) else {
            running.watched = false;
            return fields;
        };
        running.watched = true;
        self.receipts.expected = true;
        self.receipts.held.entry(name).or_default();
        fields.bytes("watch", watch)
    }

    /// A call is over: what has been held back of its message follows.
    pub(super) fn release_receipts(&mut self, sent: Option<Name>) {
        let held = sent.and_then(|name| self.receipts.held.remove(&name));
        let held = held.into_iter().flatten().map(|receipt| Output::Event(Event::Receipt(receipt)));
        self.outputs.extend(held);
    }

    /// The server tells what has become of messages.
    pub(super) fn receipts_came(&mut self, frame: &Frame) -> Result<(), (i32, String)> {
        if self.gate.offer != Offer::Given {
            return Err((code::FORBIDDEN, "nobody has asked for receipts on this connection".to_owned()));
        }
        let rows = Params::of(frame).and_then(|params| params.rows::<8>("rs", MAX_BATCH));
        let rows = rows.map_err(|error: ParamError| (error.code(), error.to_string()))?;
        let last = *self.receipts.last();
        // What has been taken comes again when its answer was lost.
        let new = rows.iter().filter(|[number, ..]| *number > last);
        let receipts: Vec<Receipt> = new.filter_map(|row| Receipt::read(*row)).collect();
        self.take_room(receipts.len() as u64 * PUSH_OVERHEAD)?;
        if let Some([number, ..]) = rows.last() {
            *self.receipts.last() = last.max(*number);
        }
        for receipt in receipts {
            match self.receipts.held.get_mut(&(receipt.from, receipt.mid)) {
                Some(held) => held.push(receipt),
                None => self.outputs.push_back(Output::Event(Event::Receipt(receipt))),
            }
        }
        Ok(())
    }
}

fn unknown(what: &str, number: i64) -> Option<Receipt> {
    log::debug!("a receipt of the unknown {what} {number} is passed over");
    None
}

impl Receipt {
    fn read([_, kind, from, place, mid, user, state, code]: [i64; 8]) -> Option<Self> {
        let kind = match kind {
            1 => TargetKind::User,
            2 => TargetKind::Group,
            3 => TargetKind::Room,
            4 => TargetKind::All,
            _ => return unknown("kind", kind),
        };
        let state = match state {
            1 => Standing::Accepted,
            2 => Standing::Stored,
            3 => Standing::Delivered,
            4 => Standing::Failed,
            _ => return unknown("state", state),
        };
        // A failure with the number 0 must not look like success.
        let code = match i32::try_from(code) {
            Ok(0) if state == Standing::Failed => code::UNKNOWN,
            Ok(code) => code,
            Err(_) => code::UNKNOWN,
        };
        Some(Self { kind, from, place, mid, user, state, code })
    }
}
