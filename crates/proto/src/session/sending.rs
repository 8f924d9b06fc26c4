//! Transfers on their way out: `docs/wire.md` section 4.2, the sender's half.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::link::{Bulk, Line, known_code};
use super::peers::PathState;
use super::types::*;
use super::{Mode, Session};
use crate::code;
use crate::id::TaskId;
use crate::message::{CLASS_BULK, Cancel, Confirm, Data, Done, End, Go, Offer, Routed};

/// A piece of a transfer on the wire.
pub const CHUNK: usize = 256 * 1024;
/// Pieces of one transfer that are read before there is room to send them.
const PIECES_AHEAD: usize = 2;
/// Bytes that all transfers together read ahead.
const READ_AHEAD: usize = 4 * 1024 * 1024;
/// The bulk connection is filled while less than this waits on it.
const QUEUE_AHEAD: usize = 512 * 1024;
/// Ended transfers of one target that it may still have to hear of.
const MAX_FAREWELLS: usize = 256;
/// Progress is told at most this often for each task.
const PROGRESS_EVERY: Duration = Duration::from_millis(50);

/// A wish to cancel.
#[derive(Debug)]
struct Wish {
    cookie: usize,
    /// `CancelRslt` has been given already.
    told: bool,
}

/// A transfer on its way out.
#[derive(Debug)]
pub(super) struct Sending {
    target: Arc<str>,
    kind: Kind,
    name: String,
    size: u64,
    cookie: usize,
    timeout: Duration,
    deadline: Duration,
    /// An offer has been queued on some connection: the target may know the task.
    offered: bool,
    /// An offer has been queued on the present connection.
    flowing: bool,
    /// Everything below is at the target.
    confirmed: u64,
    /// The target takes bytes up to here.
    limit: u64,
    /// The next byte to queue.
    next: u64,
    /// The next byte to read.
    read: u64,
    /// Pieces that have been read, in order.
    ready: VecDeque<Bytes>,
    /// A read of so many bytes is under way; the end of an empty source is read too.
    asked: Option<usize>,
    /// Changes when the transfer goes back, so that late pieces are recognised.
    generation: u32,
    hash: Option<[u8; 32]>,
    end_queued: bool,
    /// The last frame has been queued at some time: only the target knows how the task ends.
    may_be_complete: bool,
    /// That was over an earlier link, with which the target's word may have been lost.
    answer_lost: bool,
    wishes: Vec<Wish>,
    /// The source cannot be read any more, but the target may have it all: it is asked to give the task up, and says how
    /// that ends.
    failed: Option<i32>,
    told_at: Option<Duration>,
    /// It has a place among the session's writers.
    writes: bool,
    /// It has a place among the session's readers.
    reads: bool,
}

/// What came of a transfer's turn to put a frame on the bulk connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Moved,
    /// Its target is out of reach, or more would be too fast: it needs another turn, whatever happens.
    Blocked,
    /// There is nothing until something happens to it.
    Nothing,
}

impl Sending {
    fn read_bytes(&self) -> usize {
        self.asked.unwrap_or_default() + self.ready.iter().map(Bytes::len).sum::<usize>()
    }

    /// Goes (back) to `offset`; returns how many read bytes this gives up.
    fn go_to(&mut self, offset: u64) -> usize {
        let given_up = self.read_bytes();
        self.next = offset;
        self.read = offset;
        self.ready.clear();
        self.asked = None;
        self.generation = self.generation.wrapping_add(1);
        self.end_queued = false;
        given_up
    }

    fn can_read(&self) -> bool {
        let open = self.read < self.limit.min(self.size) || (self.size == self.read && self.hash.is_none());
        self.goes_on() && self.flowing && open && self.asked.is_none() && self.ready.len() < PIECES_AHEAD
    }

    /// Nothing has happened yet that makes more bytes useless.
    fn goes_on(&self) -> bool {
        self.cancel_code().is_none()
    }

    /// With which code the target has been asked to give it up.
    fn cancel_code(&self) -> Option<i32> {
        self.failed.or((!self.wishes.is_empty()).then_some(code::SEND_CANCELLED))
    }
}

impl Session {
    /// Sends a buffer or a file; one `TransferRslt` follows.
    pub fn send_transfer(&mut self, call: TransferCall, now: Now) {
        let TransferCall { target, task, kind, name, size, timeout, cookie } = call;
        log::debug!("transfer {task} of {size} bytes to {target:?}");
        let refusal = if self.mode != Mode::Kept {
            Some(code::NOT_LOGIN)
        } else if kind == Kind::File && self.terms.max_file != 0 && size > self.terms.max_file {
            Some(code::FILE_SIZE_UNSUPPORT)
        } else {
            self.sent_outcomes.get(&task)
        };
        if let Some(err) = refusal {
            self.outputs.push_back(Output::CloseSource { task });
            if err == code::NOERR {
                self.event(Event::Progress { task, sent: 0, total: size, cookie });
                self.event(Event::Progress { task, sent: size, total: size, cookie });
            }
            return self.event(Event::TransferRslt { task, kind, err, cookie });
        }
        let timeout = timeout.unwrap_or(self.config.transfer_timeout);
        let deadline = now.mono + timeout;
        self.scan_by(deadline);
        self.path(&target).transfers.push(task);
        self.sending_by_task.insert(
            task,
            Sending {
                target,
                kind,
                name,
                size,
                cookie,
                timeout,
                deadline,
                offered: false,
                flowing: false,
                confirmed: 0,
                limit: INITIAL_WINDOW,
                next: 0,
                read: 0,
                ready: VecDeque::new(),
                asked: None,
                generation: 0,
                hash: None,
                end_queued: false,
                may_be_complete: false,
                answer_lost: false,
                wishes: Vec::new(),
                failed: None,
                told_at: None,
                writes: false,
                reads: false,
            },
        );
        self.ring.push_back(task);
        self.give_turns(task);
        self.settle(now);
    }

    /// Cancels a transfer; one `CancelRslt` follows.
    pub fn cancel_send(&mut self, task: TaskId, cookie: usize) {
        let Some(sending) = self.sending_by_task.get_mut(&task) else {
            let err = if self.mode == Mode::Kept { code::TRANSID_INVALID } else { code::NOT_LOGIN };
            return self.event(Event::CancelRslt { task, err, cookie });
        };
        if !sending.offered {
            self.event(Event::CancelRslt { task, err: code::NOERR, cookie });
            return self.sending_ended(task, code::SEND_CANCELLED);
        }
        let target = sending.target.clone();
        let reachable = matches!(self.line, Line::Up { .. })
            && self.path_by_target.get(&target).is_some_and(|path| path.state == PathState::On);
        let Some(sending) = self.sending_by_task.get_mut(&task) else { return };
        sending.wishes.push(Wish { cookie, told: !reachable });
        if reachable {
            self.tell_cancel(task, code::SEND_CANCELLED);
        } else {
            self.event(Event::CancelRslt { task, err: code::CONNECTIONLOST, cookie });
        }
    }

    fn tell_cancel(&mut self, task: TaskId, err: i32) {
        let Some(sending) = self.sending_by_task.get(&task) else { return };
        if let (Line::Up { .. }, Some(path)) = (self.line, self.path_by_target.get(&sending.target)) {
            self.wire.out.routed(&sending.target, path.epoch, &Cancel { task, code: err.into() });
        }
    }

    /// Tells the target that a transfer has ended here, until it confirms that.
    fn say_farewell(&mut self, task: TaskId, err: i32) {
        let Some(sending) = self.sending_by_task.get(&task).filter(|sending| sending.offered) else { return };
        if let Some(path) = self.path_by_target.get_mut(&sending.target) {
            if path.farewells.len() >= MAX_FAREWELLS {
                path.farewells.remove(0);
            }
            path.farewells.push((task, err));
        }
        self.tell_cancel(task, err);
    }

    /// A target is within reach again: repeat the wishes to cancel, and the farewells.
    pub(super) fn cancels_to(&mut self, target: &Arc<str>) {
        let Some(path) = self.path_by_target.get(target) else { return };
        for (task, err) in &path.farewells {
            self.wire.out.routed(target, path.epoch, &Cancel { task: *task, code: i64::from(*err) });
        }
        for task in path.transfers.clone() {
            if let Some(err) = self.sending_by_task.get(&task).and_then(Sending::cancel_code) {
                self.tell_cancel(task, err);
            }
        }
    }

    /// The command connection is about to be forgotten, and answers may be lost with it.
    pub(super) fn mark_lost_answers(&mut self) {
        for sending in self.sending_by_task.values_mut() {
            sending.answer_lost |= sending.may_be_complete;
        }
    }

    /// Our own link is lost: cancels that wait for an answer hear so at once.
    pub(super) fn cancels_without_link(&mut self) {
        for task in self.ring.clone() {
            self.tell_wishes(task, code::CONNECTIONLOST);
        }
    }

    /// The target's link is lost.
    pub(super) fn cancels_to_absent(&mut self, target: &Arc<str>) {
        let tasks = self.path_by_target.get(target).map(|path| path.transfers.clone()).unwrap_or_default();
        for task in tasks {
            self.tell_wishes(task, code::CONNECTIONLOST);
        }
    }

    fn tell_wishes(&mut self, task: TaskId, err: i32) {
        let Some(sending) = self.sending_by_task.get_mut(&task) else { return };
        let untold: Vec<usize> = sending.wishes.iter().filter(|wish| !wish.told).map(|wish| wish.cookie).collect();
        sending.wishes.iter_mut().for_each(|wish| wish.told = true);
        for cookie in untold {
            self.event(Event::CancelRslt { task, err, cookie });
        }
    }

    // ---- results of the shell's file work -----------------------------------------------------------------

    /// A piece of a source. `hash` comes with the piece that reaches the end.
    pub fn source_read(&mut self, task: TaskId, generation: u32, data: Bytes, hash: Option<[u8; 32]>, now: Now) {
        let Some(sending) = self.sending_by_task.get_mut(&task) else { return };
        sending.hash = hash.or(sending.hash);
        if sending.generation == generation {
            // What was asked for and what came may differ only by a bug; count what was asked for.
            let asked = sending.asked.take().unwrap_or_default();
            self.read_ahead = self.read_ahead.saturating_sub(asked) + data.len();
            sending.read += data.len() as u64;
            if !data.is_empty() {
                sending.ready.push_back(data);
            }
        }
        self.give_turns(task);
        self.settle(now);
    }

    /// A source cannot be read, or has changed. What was sent before a break or a `crgo` may still be on its way, and make
    /// the target's content complete: then only the target knows how the task ends.
    pub fn source_failed(&mut self, task: TaskId, err: i32, now: Now) {
        match self.sending_by_task.get_mut(&task) {
            Some(sending) if sending.may_be_complete => {
                sending.failed = sending.failed.or(Some(err));
                self.tell_cancel(task, err);
            }
            Some(_) => {
                self.say_farewell(task, err);
                self.sending_ended(task, err);
            }
            None => {}
        }
        self.settle(now);
    }

    // ---- the bulk connection ------------------------------------------------------------------------------

    /// Whether a transfer waits for a bulk connection.
    pub(super) fn wants_to_send(&self) -> bool {
        self.ring.iter().any(|task| {
            self.sending_by_task
                .get(task)
                .and_then(|sending| self.path_by_target.get(&sending.target))
                .is_some_and(|path| path.state == PathState::On)
        })
    }

    /// What was queued on a bulk connection may be lost: offers must be repeated on the next one.
    pub(super) fn rewind_sendings(&mut self) {
        for at in 0..self.ring.len() {
            self.rewind(self.ring[at]);
        }
    }

    pub(super) fn rewind_transfers_to(&mut self, target: &Arc<str>) {
        let tasks = self.path_by_target.get(target).map(|path| path.transfers.clone()).unwrap_or_default();
        for task in tasks {
            self.rewind(task);
        }
    }

    fn rewind(&mut self, task: TaskId) {
        if let Some(sending) = self.sending_by_task.get_mut(&task) {
            sending.flowing = false;
            self.read_ahead = self.read_ahead.saturating_sub(sending.go_to(sending.confirmed));
        }
        self.give_turns(task);
    }

    /// Something has happened to a transfer: it may have something to write, or to read. Of thousands of transfers few
    /// can go on at any time, and only those have their turns.
    fn give_turns(&mut self, task: TaskId) {
        let Some(sending) = self.sending_by_task.get_mut(&task) else { return };
        if !std::mem::replace(&mut sending.writes, true) {
            self.writers.push_back(task);
        }
        self.let_read(task);
    }

    fn let_read(&mut self, task: TaskId) {
        let Some(sending) = self.sending_by_task.get_mut(&task) else { return };
        if !std::mem::replace(&mut sending.reads, true) {
            self.readers.push_back(task);
        }
    }

    /// Puts offers and pieces on the bulk connection, each transfer in turn.
    pub(super) fn pump_bulk(&mut self, now: Now) {
        self.pace.look_again();
        if !matches!(self.bulk, Bulk::Up { .. }) || !matches!(self.line, Line::Up { .. }) {
            return;
        }
        let mut blocked = 0;
        while blocked < self.writers.len() && self.bulk_wire.out.len() < QUEUE_AHEAD {
            let Some(task) = self.writers.pop_front() else { break };
            match self.push_piece(task, now) {
                Turn::Moved => {
                    self.writers.push_back(task);
                    self.let_read(task);
                    blocked = 0;
                }
                Turn::Blocked => {
                    self.writers.push_back(task);
                    blocked += 1;
                }
                Turn::Nothing => {
                    if let Some(sending) = self.sending_by_task.get_mut(&task) {
                        sending.writes = false;
                    }
                }
            }
        }
        while self.read_ahead < READ_AHEAD
            && let Some(task) = self.readers.pop_front()
        {
            self.ask_for_piece(task);
        }
    }

    /// Queues one frame of a transfer, if it has one to queue.
    fn push_piece(&mut self, task: TaskId, now: Now) -> Turn {
        let Some(sending) = self.sending_by_task.get_mut(&task) else { return Turn::Nothing };
        if !sending.goes_on() {
            return Turn::Nothing;
        }
        let Some(path) = self.path_by_target.get(&sending.target).filter(|path| path.open_for(CLASS_BULK)) else {
            return Turn::Blocked;
        };
        let (target, epoch) = (sending.target.clone(), path.epoch);
        let out = &mut self.bulk_wire.out;
        if !sending.flowing {
            let repeated = sending.offered;
            let kind = if sending.kind == Kind::Buffer { 1 } else { 2 };
            let name = sending.name.clone();
            out.routed(&target, epoch, &Offer { task, kind, name, size: sending.size, repeated });
            sending.flowing = true;
            sending.offered = true;
            if !repeated {
                let (total, cookie) = (sending.size, sending.cookie);
                sending.told_at = Some(now.mono);
                self.event(Event::Progress { task, sent: 0, total, cookie });
            } else {
                // The target says where to go on, by `crgo` or `crdone`.
                sending.limit = sending.confirmed;
            }
            return Turn::Moved;
        }
        // No more is ever read than the target takes.
        if !sending.ready.is_empty() {
            if !self.pace.is_open(now.mono) {
                return Turn::Blocked;
            }
            let data = sending.ready.pop_front().unwrap_or_default();
            let offset = sending.next;
            sending.next += data.len() as u64;
            self.read_ahead = self.read_ahead.saturating_sub(data.len());
            self.pace.sent(data.len(), now.mono);
            out.routed(&target, epoch, &Data { task, offset, data });
            return Turn::Moved;
        }
        if let Some(hash) = sending.hash
            && sending.next == sending.size
            && !sending.end_queued
        {
            sending.end_queued = true;
            sending.may_be_complete = true;
            out.routed(&target, epoch, &End { task, hash });
            return Turn::Moved;
        }
        Turn::Nothing
    }

    fn ask_for_piece(&mut self, task: TaskId) {
        let Some(sending) = self.sending_by_task.get_mut(&task) else { return };
        sending.reads = false;
        if !sending.can_read() {
            return;
        }
        let room = sending.limit.min(sending.size) - sending.read;
        let len = room.min(self.pace.piece()) as usize;
        sending.asked = Some(len);
        self.read_ahead += len;
        let (offset, generation) = (sending.read, sending.generation);
        self.outputs.push_back(Output::Read { task, offset, len, generation });
    }

    // ---- the target's answers -----------------------------------------------------------------------------

    /// The transfer that an answer is about, if it comes from its target. It can only come from the right incarnation of
    /// that: a transfer that has been offered ends with the one it was offered to, and its id is not used again.
    fn answered(&mut self, from: &str, task: TaskId) -> Option<&mut Sending> {
        self.sending_by_task.get_mut(&task).filter(|sending| &*sending.target == from)
    }

    pub(super) fn told_to_go(&mut self, go: Routed<Go>, now: Now) {
        let Some(sending) = self.answered(&go.from, go.message.task) else { return };
        if go.message.offset > sending.size || !sending.flowing {
            return;
        }
        let given_up = sending.go_to(go.message.offset);
        sending.limit = go.message.limit;
        self.read_ahead = self.read_ahead.saturating_sub(given_up);
        self.give_turns(go.message.task);
        let offset = go.message.offset;
        self.progress(go.message.task, offset, now);
    }

    pub(super) fn confirmed(&mut self, confirm: Routed<Confirm>, now: Now) {
        let Some(sending) = self.answered(&confirm.from, confirm.message.task) else { return };
        if confirm.message.offset > sending.size {
            return;
        }
        if sending.flowing {
            sending.limit = sending.limit.max(confirm.message.limit);
        }
        self.give_turns(confirm.message.task);
        self.progress(confirm.message.task, confirm.message.offset, now);
    }

    fn progress(&mut self, task: TaskId, confirmed: u64, now: Now) {
        let Some(sending) = self.sending_by_task.get_mut(&task) else { return };
        // A word from the target is a sign of life, but only bytes are progress.
        if confirmed <= sending.confirmed {
            return;
        }
        sending.confirmed = confirmed;
        sending.deadline = now.mono + sending.timeout;
        let due = sending.told_at.is_none_or(|at| now.mono >= at + PROGRESS_EVERY);
        if due && confirmed < sending.size {
            sending.told_at = Some(now.mono);
            let (sent, total, cookie) = (confirmed, sending.size, sending.cookie);
            self.event(Event::Progress { task, sent, total, cookie });
        }
    }

    pub(super) fn done_arrived(&mut self, done: Routed<Done>) {
        if let Some(path) = self.path_by_target.get_mut(&*done.from) {
            path.farewells.retain(|(task, _)| *task != done.message.task);
        }
        let Some(sending) = self.answered(&done.from, done.message.task) else { return };
        if !sending.offered {
            return;
        }
        self.sending_ended(done.message.task, known_code(done.message.code));
    }

    // ---- ends ---------------------------------------------------------------------------------------------

    fn sending_ended(&mut self, task: TaskId, err: i32) {
        let cancelled = err == code::SEND_CANCELLED;
        self.tell_wishes(task, if cancelled { code::NOERR } else { code::TRANSID_INVALID });
        let Some(sending) = self.sending_by_task.remove(&task) else { return };
        self.read_ahead = self.read_ahead.saturating_sub(sending.read_bytes());
        for (there, list) in
            [(true, &mut self.ring), (sending.writes, &mut self.writers), (sending.reads, &mut self.readers)]
        {
            if there && let Some(at) = list.iter().position(|other| *other == task) {
                list.remove(at);
            }
        }
        if let Some(path) = self.path_by_target.get_mut(&sending.target) {
            path.transfers.retain(|other| *other != task);
        }
        self.sent_outcomes.insert(task, err);
        self.outputs.push_back(Output::CloseSource { task });
        let (size, kind, cookie) = (sending.size, sending.kind, sending.cookie);
        if err == code::NOERR && (size > 0 || sending.told_at.is_none()) {
            self.event(Event::Progress { task, sent: size, total: size, cookie });
        }
        self.event(Event::TransferRslt { task, kind, err, cookie });
    }

    /// How a transfer fails: `unknown` where the target may have completed it.
    fn fail_sending(&mut self, task: TaskId, err: i32, certain: bool) {
        let Some(sending) = self.sending_by_task.get(&task) else { return };
        let certain = (certain && !sending.answer_lost) || !sending.may_be_complete;
        let err = sending.cancel_code().filter(|_| certain).unwrap_or(err);
        self.sending_ended(task, Self::ended_code(certain, err));
    }

    /// The target's incarnation has ended; transfers that it never heard of stay.
    pub(super) fn sendings_lost(&mut self, target: &Arc<str>, err: i32, certain: bool) {
        for task in self.transfers_to(target, |sending| sending.offered) {
            self.fail_sending(task, err, certain);
        }
    }

    pub(super) fn fail_unsent_sendings(&mut self, target: &Arc<str>, err: i32, _now: Now) {
        for task in self.transfers_to(target, |sending| !sending.offered) {
            self.fail_sending(task, err, true);
        }
    }

    fn transfers_to(&self, target: &Arc<str>, which: impl Fn(&Sending) -> bool) -> Vec<TaskId> {
        let Some(path) = self.path_by_target.get(target) else { return Vec::new() };
        let is = |task: &&TaskId| self.sending_by_task.get(task).is_some_and(&which);
        path.transfers.iter().filter(is).copied().collect()
    }

    /// The session ends with `reason`.
    pub(super) fn end_sendings(&mut self, reason: i32) {
        for task in self.ring.clone() {
            self.fail_sending(task, reason, false);
        }
    }

    /// Ends the transfers whose deadline has passed.
    pub(super) fn scan_sendings(&mut self, now: Now) {
        let late: Vec<TaskId> = self
            .sending_by_task
            .iter()
            .filter(|(_, sending)| sending.deadline <= now.mono)
            .map(|(task, _)| *task)
            .collect();
        let err = self.late_code();
        for task in late {
            self.say_farewell(task, err);
            self.fail_sending(task, err, false);
        }
        if let Some(at) = self.sending_by_task.values().map(|sending| sending.deadline).min() {
            self.scan_by(at);
        }
    }
}
