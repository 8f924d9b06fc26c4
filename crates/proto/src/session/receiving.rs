//! Transfers on their way in: `docs/wire.md` section 4.2, the target's half. The target alone decides how a
//! transfer that has reached it ends.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use super::link::{Line, known_code};
use super::types::*;
use super::{Ended, Mode, Session};
use crate::code;
use crate::id::TaskId;
use crate::message::{Cancel, Confirm, Data, Done, End, Go, Offer, Routed};

/// The windows of all transfers together: less than what a relay lets wait for one session, or it would hold senders up
/// while a target pauses.
const WINDOWS: u64 = 3 * 1024 * 1024;
/// Smallest window of one transfer.
const SMALLEST_WINDOW: u64 = INITIAL_WINDOW;
/// Transfers that may come in at a time.
const MAX_RECEIVING: usize = 1_024;
/// A confirmation is sent when this much has been written since the last: each one is a message through the relay.
const CONFIRM_EVERY: u64 = 768 * 1024;
/// The same while nothing more has come: the sender may go ahead by less than it is granted, and wait for word.
const CONFIRM_WAITING: u64 = 128 * 1024;
/// Progress is told at most this often for each transfer.
const PROGRESS_EVERY: Duration = Duration::from_millis(50);
/// A transfer of which nothing comes is given up after this many of the session's own transfer time-outs.
const PATIENCE: u32 = 2;
/// Longest display name in bytes; a longer one is cut.
const MAX_NAME: usize = 255;

/// Where a transfer that comes in stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The application decides.
    Asking,
    /// Bytes are taken.
    Flowing,
    /// All is there and being completed.
    Finishing,
    /// Being removed. `answer`: the sender waits for the code.
    Aborting { err: i32, answer: bool },
}

/// A transfer on its way in.
#[derive(Debug)]
pub(super) struct Receiving {
    source: Arc<str>,
    epoch: u64,
    task: TaskId,
    kind: Kind,
    name: String,
    size: u64,
    phase: Phase,
    /// Bytes handed to the sink.
    received: u64,
    /// Bytes that the sender knows to be written.
    confirmed: u64,
    limit: u64,
    /// The application has heard of it, so it must hear of its end.
    heard: bool,
    deadline: Duration,
    told_at: Option<Duration>,
    /// A newer incarnation of the sender offers the same task, and is heard when this one has been removed from disk.
    next: Option<(u64, Offer)>,
}

impl Session {
    // ---- frames -------------------------------------------------------------------------------------------

    pub(super) fn offered(&mut self, offer: Routed<Offer>, now: Now) {
        let source: Arc<str> = offer.from.into();
        let (epoch, offer) = (offer.epoch, offer.message);
        let key = (source.clone(), offer.task);
        if let Some(err) = self.received_outcomes.get(&key).and_then(|ended| ended.answer(epoch)) {
            return self.tell_done(&source, epoch, offer.task, err);
        }
        if let Some(id) = self.receiving_id_by_key.get(&key).copied() {
            return self.offered_again(id, epoch, offer, now);
        }
        let kind = match offer.kind {
            1 => Kind::Buffer,
            2 => Kind::File,
            _ => return self.refuse_offer(key, epoch, code::PEER_REFUSE),
        };
        if let Some(err) = self.cannot_take(kind, offer.size) {
            log::warn!("refused a transfer of {} bytes from {source:?} ({err})", offer.size);
            return self.refuse_offer(key, epoch, err);
        }
        let id = self.next_receiving;
        self.next_receiving += 1;
        let mut name = offer.name;
        name.truncate(name.floor_char_boundary(MAX_NAME));
        let size = offer.size;
        let asking = self.wants_offers;
        let patience = if asking { self.config.offer_timeout } else { self.config.transfer_timeout * PATIENCE };
        let deadline = now.mono + patience;
        self.scan_by(deadline);
        if asking {
            let (source, name) = (source.clone(), name.clone());
            self.event(Event::Offer { source, task: offer.task, kind, name, size });
        }
        self.receiving_id_by_key.insert(key, id);
        self.receiving_by_id.insert(
            id,
            Receiving {
                source,
                epoch,
                task: offer.task,
                kind,
                name,
                size,
                phase: Phase::Asking,
                received: 0,
                confirmed: 0,
                limit: INITIAL_WINDOW,
                heard: asking,
                deadline,
                told_at: None,
                next: None,
            },
        );
        if !asking {
            self.take(id, offer.repeated, now);
        }
    }

    fn cannot_take(&self, kind: Kind, size: u64) -> Option<i32> {
        if self.receiving_by_id.len() >= MAX_RECEIVING {
            return Some(code::SEND_QUEUE_FULL);
        }
        match kind {
            Kind::Buffer if size > self.config.buffer_limit => Some(code::PEER_REFUSE),
            Kind::Buffer if self.inbound().saturating_add(size) > self.config.inbound_limit => {
                Some(code::SEND_QUEUE_FULL)
            }
            _ => None,
        }
    }

    fn refuse_offer(&mut self, key: (Arc<str>, TaskId), epoch: u64, err: i32) {
        self.tell_done(&key.0, epoch, key.1, err);
        self.note_end(key, Ended { err, epoch });
    }

    /// Remembers how a task ended, unless a later incarnation of its sender has used the id since.
    fn note_end(&mut self, key: (Arc<str>, TaskId), ended: Ended) {
        if self.received_outcomes.get(&key).is_none_or(|known| known.epoch <= ended.epoch) {
            self.received_outcomes.insert(key, ended);
        }
    }

    /// Begins to take a transfer. `go`: the sender waits to be told where to start.
    fn take(&mut self, id: u64, go: bool, now: Now) {
        let window = self.window();
        let patience = self.config.transfer_timeout * PATIENCE;
        let Some(receiving) = self.receiving_by_id.get_mut(&id) else { return };
        receiving.phase = Phase::Flowing;
        receiving.deadline = now.mono + patience;
        receiving.limit = receiving.limit.max(window);
        let (kind, size, limit, task) = (receiving.kind, receiving.size, receiving.limit, receiving.task);
        let (source, epoch) = (receiving.source.clone(), receiving.epoch);
        if kind == Kind::Buffer {
            self.held_buffers += size;
        }
        self.outputs.push_back(Output::OpenSink { id, kind, size });
        if !matches!(self.line, Line::Up { .. }) {
            // The sender offers again when this link is back.
            return;
        }
        if go {
            self.wire.out.routed(&source, epoch, &Go { task, offset: 0, limit });
        } else if size > INITIAL_WINDOW {
            self.wire.out.routed(&source, epoch, &Confirm { task, offset: 0, limit });
        }
    }

    fn offered_again(&mut self, id: u64, epoch: u64, offer: Offer, now: Now) {
        let Some(receiving) = self.receiving_by_id.get_mut(&id) else { return };
        let latest = receiving.next.as_ref().map_or(receiving.epoch, |(next, _)| *next);
        match epoch.cmp(&latest) {
            // It has been on its way for so long that its sender is not the same any more.
            Ordering::Less => {}
            Ordering::Equal if receiving.phase == Phase::Flowing => {
                let (task, offset, limit) = (receiving.task, receiving.received, receiving.limit);
                let source = receiving.source.clone();
                self.wire.out.routed(&source, epoch, &Go { task, offset, limit });
            }
            Ordering::Equal => {}
            // A newer incarnation of the sender uses the same id again: the old one's transfer is dead.
            Ordering::Greater if receiving.phase == Phase::Asking => {
                let from = receiving.source.to_string();
                self.dead(id, code::CONNECTIONLOST, false);
                self.offered(Routed { from, epoch, message: offer }, now);
            }
            Ordering::Greater => {
                receiving.next = Some((epoch, offer));
                let answer = matches!(receiving.phase, Phase::Aborting { answer: true, .. });
                self.abort(id, code::CONNECTIONLOST, answer);
            }
        }
    }

    pub(super) fn data_arrived(&mut self, data: Routed<Data>, now: Now) {
        let Some((id, receiving)) = self.receiving(&data.from, data.epoch, data.message.task) else { return };
        let (offset, data) = (data.message.offset, data.message.data);
        let Some(end) = offset.checked_add(data.len() as u64) else { return };
        let fits = end <= receiving.size.min(receiving.limit);
        // A sender that was told twice where to go on may cut the same bytes into other pieces.
        let known = receiving.received;
        if receiving.phase != Phase::Flowing || !(offset..end).contains(&known) || !fits {
            return;
        }
        let fresh = data.slice((known - offset) as usize..);
        receiving.received = end;
        let patience = self.config.transfer_timeout * PATIENCE;
        if let Some(receiving) = self.receiving_by_id.get_mut(&id) {
            receiving.deadline = now.mono + patience;
        }
        self.outputs.push_back(Output::Write { id, data: fresh });
    }

    pub(super) fn end_arrived(&mut self, end: Routed<End>) {
        let Some((id, receiving)) = self.receiving(&end.from, end.epoch, end.message.task) else { return };
        if receiving.phase == Phase::Flowing && receiving.received == receiving.size {
            receiving.phase = Phase::Finishing;
            self.outputs.push_back(Output::FinishSink { id, hash: end.message.hash });
        }
    }

    pub(super) fn cancel_arrived(&mut self, cancel: Routed<Cancel>) {
        let source: Arc<str> = cancel.from.into();
        let (epoch, task) = (cancel.epoch, cancel.message.task);
        let err = known_code(cancel.message.code);
        let err = if err == code::NOERR { code::SEND_CANCELLED } else { err };
        let key = (source, task);
        let id = self.receiving_id_by_key.get(&key).copied();
        let receiving = id.and_then(|id| self.receiving_by_id.get(&id));
        let of = receiving.map_or(Ordering::Greater, |receiving| epoch.cmp(&receiving.epoch));
        match (id, of) {
            (Some(id), Ordering::Equal) => self.abort(id, err, true),
            // It is about what an earlier incarnation has sent.
            (Some(_), Ordering::Less) => {}
            _ => {
                // Not begun, or never heard of: whatever of it waits here or is still on its way comes too late.
                let err = self.received_outcomes.get(&key).and_then(|ended| ended.answer(epoch)).unwrap_or(err);
                self.refuse_offer(key, epoch, err);
            }
        }
    }

    fn receiving(&mut self, from: &str, epoch: u64, task: TaskId) -> Option<(u64, &mut Receiving)> {
        let id = *self.receiving_id_by_key.get(&(Arc::from(from), task))?;
        let receiving = self.receiving_by_id.get_mut(&id).filter(|receiving| receiving.epoch == epoch)?;
        Some((id, receiving))
    }

    fn tell_done(&mut self, source: &Arc<str>, epoch: u64, task: TaskId, err: i32) {
        if self.mode == Mode::Kept && matches!(self.line, Line::Up { .. }) {
            self.wire.out.routed(source, epoch, &Done { task, code: err.into() });
        }
    }

    /// Whether a transfer may bring bytes. While the application decides, whatever comes is dropped.
    pub(super) fn awaits_bytes(&self) -> bool {
        self.receiving_by_id.values().any(|receiving| receiving.phase == Phase::Flowing)
    }

    fn window(&self) -> u64 {
        (WINDOWS / self.receiving_by_id.len().max(1) as u64).max(SMALLEST_WINDOW)
    }

    // ---- calls of the application -------------------------------------------------------------------------

    /// The application accepts an offer.
    pub fn accept(&mut self, source: &Arc<str>, task: TaskId, now: Now) -> bool {
        let id = self.offer_id(source, task);
        let buffer = id.and_then(|id| self.receiving_by_id.get(&id)).filter(|it| it.kind == Kind::Buffer);
        let size = buffer.map_or(0, |buffer| buffer.size);
        // There was room when the offer came; others may have been accepted since.
        let full = size > 0 && self.inbound().saturating_add(size) > self.config.inbound_limit;
        match id {
            Some(id) if full => self.abort(id, code::SEND_QUEUE_FULL, true),
            Some(id) => self.take(id, true, now),
            None => {}
        }
        self.settle(now);
        id.is_some()
    }

    /// The application refuses an offer.
    pub fn refuse(&mut self, source: &Arc<str>, task: TaskId, now: Now) -> bool {
        let id = self.offer_id(source, task);
        if let Some(id) = id {
            self.abort(id, code::PEER_REFUSE, true);
        }
        self.settle(now);
        id.is_some()
    }

    fn offer_id(&self, source: &Arc<str>, task: TaskId) -> Option<u64> {
        let id = *self.receiving_id_by_key.get(&(source.clone(), task))?;
        self.receiving_by_id.get(&id).filter(|receiving| receiving.phase == Phase::Asking).map(|_| id)
    }

    /// Names a transfer for the shell, for instance to bind a path to it before it is accepted.
    pub fn receiving_id(&self, source: &Arc<str>, task: TaskId) -> Option<u64> {
        self.receiving_id_by_key.get(&(source.clone(), task)).copied()
    }

    /// The application cancels a transfer that comes in.
    pub fn cancel_receive(&mut self, source: &Arc<str>, task: TaskId, now: Now) -> bool {
        let id = self.receiving_id_by_key.get(&(source.clone(), task)).copied();
        if let Some(id) = id {
            self.abort(id, code::PEER_REFUSE, true);
        }
        self.settle(now);
        id.is_some()
    }

    // ---- results of the shell's file work -----------------------------------------------------------------

    /// A sink has written everything up to `written`.
    pub fn sink_written(&mut self, id: u64, written: u64, now: Now) {
        let window = self.window();
        let wants = self.wants_receive_progress;
        let Some(receiving) = self.receiving_by_id.get_mut(&id) else { return };
        if !matches!(receiving.phase, Phase::Flowing | Phase::Finishing) {
            return;
        }
        // The sender must hear before it has used up what it was granted, however the windows have changed since.
        let nearly_used_up = receiving.limit.saturating_sub(written) <= window / 2;
        let enough = if written == receiving.received { CONFIRM_WAITING } else { CONFIRM_EVERY };
        let confirm = nearly_used_up || written - receiving.confirmed >= enough || written == receiving.size;
        if confirm {
            receiving.limit = receiving.limit.max(written + window);
        }
        let (size, limit, task, epoch) = (receiving.size, receiving.limit, receiving.task, receiving.epoch);
        let source = receiving.source.clone();
        if confirm {
            receiving.confirmed = written;
        }
        let tell = wants && receiving.told_at.is_none_or(|at| now.mono >= at + PROGRESS_EVERY || written == size);
        if tell {
            receiving.heard = true;
            receiving.told_at = Some(now.mono);
        }
        if confirm && matches!(self.line, Line::Up { .. }) {
            self.wire.out.routed(&source, epoch, &Confirm { task, offset: written, limit });
        }
        if tell {
            self.event(Event::ReceiveProgress { source, task, received: written, total: size });
        }
        self.settle(now);
    }

    /// A sink is complete and its hash fits.
    pub fn sink_finished(&mut self, id: u64, now: Now) {
        let finishing = self.receiving_by_id.get(&id).is_some_and(|receiving| receiving.phase == Phase::Finishing);
        if finishing && let Some(receiving) = self.forget(id) {
            let Receiving { source, epoch, task, kind, name, size, .. } = receiving;
            self.received_outcomes.insert((source.clone(), task), Ended { err: code::NOERR, epoch });
            self.tell_done(&source, epoch, task, code::NOERR);
            self.event(match kind {
                Kind::Buffer => Event::Buffer { source, task, receipt: Receipt::Buffer { size }, id },
                Kind::File => Event::File { source, task, name, id },
            });
        }
        self.settle(now);
    }

    /// A sink cannot be made, written or completed.
    pub fn sink_failed(&mut self, id: u64, err: i32, now: Now) {
        self.abort(id, err, true);
        self.settle(now);
    }

    /// What a sink had taken is removed.
    pub fn sink_aborted(&mut self, id: u64, now: Now) {
        if let Some(Phase::Aborting { err, answer }) = self.receiving_by_id.get(&id).map(|receiving| receiving.phase) {
            let next = self.dead(id, err, answer);
            if let Some(next) = next {
                self.offered(next, now);
            }
        }
        self.settle(now);
    }

    // ---- ends ---------------------------------------------------------------------------------------------

    fn forget(&mut self, id: u64) -> Option<Receiving> {
        let receiving = self.receiving_by_id.remove(&id)?;
        self.receiving_id_by_key.remove(&(receiving.source.clone(), receiving.task));
        Some(receiving)
    }

    /// Ends a transfer badly: at once where nothing is on disk, else when the shell has removed it.
    fn abort(&mut self, id: u64, err: i32, answer: bool) {
        let Some(receiving) = self.receiving_by_id.get_mut(&id) else { return };
        match receiving.phase {
            Phase::Asking => {
                self.dead(id, err, answer);
            }
            // The first reason stands; a sender that asks again gets it when all is removed.
            Phase::Aborting { err, .. } => receiving.phase = Phase::Aborting { err, answer },
            Phase::Flowing | Phase::Finishing => {
                receiving.phase = Phase::Aborting { err, answer };
                self.outputs.push_back(Output::AbortSink { id });
            }
        }
    }

    /// A transfer has ended badly, and nothing is left of it; returns the offer that had to wait for that.
    fn dead(&mut self, id: u64, err: i32, answer: bool) -> Option<Routed<Offer>> {
        let receiving = self.forget(id)?;
        let Receiving { source, epoch, task, kind, size, phase, heard, next, .. } = receiving;
        if kind == Kind::Buffer && phase != Phase::Asking {
            self.held_buffers = self.held_buffers.saturating_sub(size);
        }
        if answer {
            self.note_end((source.clone(), task), Ended { err, epoch });
            self.tell_done(&source, epoch, task, err);
        }
        if heard {
            self.event(Event::TransferEnded { source: source.clone(), task, err });
        }
        next.map(|(epoch, offer)| {
            // What came behind it has been dropped, so its sender must be told where to begin.
            let message = Offer { repeated: true, ..offer };
            Routed { from: source.to_string(), epoch, message }
        })
    }

    /// A sender's epoch has ended: what it had not completed will never be.
    pub(super) fn receivings_of_gone(&mut self, user: &Arc<str>, epoch: u64) {
        // What has arrived completely is not given up because its sender has gone.
        let of_user = |receiving: &Receiving| {
            let meant = [receiving.epoch, 0].contains(&epoch);
            receiving.source == *user && meant && receiving.phase != Phase::Finishing
        };
        for id in self.receiving_ids(of_user) {
            // Should the sender come back after all, it must hear that the transfer has ended.
            self.abort(id, code::CONNECTIONLOST, true);
        }
    }

    /// Our own epoch ends with `reason`.
    pub(super) fn abort_receivings(&mut self, reason: i32) {
        // What waits here was for the epoch that ends.
        self.receiving_by_id.values_mut().for_each(|receiving| receiving.next = None);
        for id in self.receiving_ids(|_| true) {
            self.abort(id, reason, false);
        }
    }

    fn receiving_ids(&self, which: impl Fn(&Receiving) -> bool) -> Vec<u64> {
        self.receiving_by_id.iter().filter(|(_, receiving)| which(receiving)).map(|(id, _)| *id).collect()
    }

    /// Gives up what has been silent for too long, and offers that nobody answered.
    pub(super) fn scan_receivings(&mut self, now: Now) {
        let asking = |receiving: &Receiving| receiving.phase == Phase::Asking;
        for id in self.receiving_ids(|receiving| receiving.deadline <= now.mono && asking(receiving)) {
            self.abort(id, code::PEER_REFUSE, true);
        }
        let flowing = |receiving: &Receiving| receiving.phase == Phase::Flowing;
        for id in self.receiving_ids(|receiving| receiving.deadline <= now.mono && flowing(receiving)) {
            self.abort(id, code::SOCKETTIMEOUT, true);
        }
        let live = self.receiving_by_id.values().filter(|receiving| asking(receiving) || flowing(receiving));
        if let Some(at) = live.map(|receiving| receiving.deadline).min() {
            self.scan_by(at);
        }
    }
}
