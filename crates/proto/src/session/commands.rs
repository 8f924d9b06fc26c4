//! Commands, both ways: one byte sequence for each pair of epochs, as `docs/wire.md` section 4.1 says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::link::Line;
use super::types::*;
use super::{Ended, Mode, Path, Session};
use crate::code;
use crate::id::TaskId;
use crate::message::{CLASS_COMMANDS, Command, CommandAck, Envelope, Routed};
use crate::pack::PackError;

/// Commands are put on the connection while less than this waits there; the rest keeps its place in the queue.
const QUEUE_AHEAD: usize = 256 * 1024;
/// Commands that wait for one target; more are refused with 1106.
const MAX_WAITING: usize = 65_536;
/// A source may be this far ahead of the application.
const WINDOW: u64 = 1024 * 1024;
/// The same, while the session as a whole is short of room.
const SMALL_WINDOW: u64 = INITIAL_COMMAND_LIMIT;
/// What the largest command takes of the sequence.
const LARGEST_CHARGE: u64 = MAX_COMMAND as u64 + COMMAND_OVERHEAD;
/// What may wait of a source before a receipt is asked for.
const WITHOUT_RECEIPT: u64 = WINDOW / 4;
/// Only a receipt makes a limit grow later. While none is to come, there must be room for one command more.
const _: () = assert!(SMALL_WINDOW - WITHOUT_RECEIPT >= LARGEST_CHARGE);
/// Sources that are remembered after their epoch has ended.
const MAX_GONE: usize = 1_024;
/// Sources that are remembered beside another epoch of the same user.
const MAX_ASIDE: usize = 1_024;
/// Refused stretches of one source's sequence that are remembered.
const MAX_REFUSED: usize = 1_024;

/// A command on its way out.
#[derive(Debug)]
pub(super) struct Outgoing {
    task: TaskId,
    cookie: usize,
    data: Bytes,
    chosen: bool,
    deadline: Duration,
    /// Its place in the sequence, from the first time it is sent.
    position: Option<u64>,
    /// Bytes of it may have been handed to an earlier connection.
    handed: bool,
    /// Where it begins in the present connection's stream, the first time that it is queued there.
    start: Option<u64>,
}

impl Outgoing {
    fn charge(&self) -> u64 {
        self.data.len() as u64 + COMMAND_OVERHEAD
    }

    /// Whether the target may have seen it, if the present connection's queue goes no further than `written`.
    fn may_have_arrived(&self, written: u64) -> bool {
        self.handed || self.start.is_some_and(|start| start < written)
    }

    /// Whether the target may have seen it or may still see it: the queue goes on.
    fn may_arrive(&self) -> bool {
        self.handed || self.start.is_some()
    }
}

/// Sources of which another epoch of the same user has taken the place. It is the relay that says which of a user's
/// epochs is live, and one that has restarted may go back to an earlier one.
#[derive(Debug, Default)]
pub(super) struct Aside {
    source_by_epoch: BTreeMap<(u64, Arc<str>), Source>,
    /// The highest epoch of a source that has been forgotten: what an earlier one repeats may have been taken already.
    forgotten: u64,
}

impl Aside {
    fn put(&mut self, user: Arc<str>, source: Source) {
        self.source_by_epoch.insert((source.epoch, user), source);
        if self.source_by_epoch.len() > MAX_ASIDE
            && let Some(((epoch, _), _)) = self.source_by_epoch.pop_first()
        {
            self.forgot(epoch);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.source_by_epoch.len()
    }

    fn forgot(&mut self, epoch: u64) {
        self.forgotten = self.forgotten.max(epoch);
    }

    /// The source of an epoch that is live again or new; `None` where too little is known of it.
    fn take(&mut self, user: &Arc<str>, epoch: u64) -> Option<Source> {
        let known = self.source_by_epoch.remove(&(epoch, user.clone()));
        known.or_else(|| (epoch > self.forgotten).then(|| Source::new(user.clone(), epoch)))
    }
}

/// What one sender's commands have come to.
#[derive(Debug)]
pub(super) struct Source {
    name: Arc<str>,
    epoch: u64,
    /// Everything below has been decided.
    expected: u64,
    /// Bytes handed to the application, in all.
    delivered: u64,
    /// Bytes that it is known to have handled.
    handled: u64,
    /// A receipt has been asked for up to here.
    receipted: u64,
    /// What the sender has been told that it may send.
    limit: u64,
    /// Stretches of the sequence that were refused, ascending, as far as the sender may not know of them.
    refused: Vec<(u64, u64)>,
    ack_due: bool,
    /// The sender's epoch is said to have ended.
    gone: bool,
}

impl Source {
    fn new(name: Arc<str>, epoch: u64) -> Self {
        Self {
            name,
            epoch,
            expected: 0,
            delivered: 0,
            handled: 0,
            receipted: 0,
            limit: INITIAL_COMMAND_LIMIT,
            refused: Vec::new(),
            ack_due: false,
            gone: false,
        }
    }

    /// What the sender may send now, when `window` bytes may wait for the application.
    fn fresh_limit(&self, window: u64) -> u64 {
        let fresh = self.expected.saturating_add(window).saturating_sub(self.delivered - self.handled);
        self.limit.max(fresh)
    }

    /// Counts a command that is handed to the application; what is asked of it in return. `tight`: the session as a whole
    /// is short of room.
    fn deliver(&mut self, charge: u64, tight: bool) -> Option<Receipt> {
        self.delivered += charge;
        if !tight && self.delivered - self.receipted < WITHOUT_RECEIPT {
            return None;
        }
        self.receipted = self.delivered;
        Some(Receipt::Commands { source: self.name.clone(), epoch: self.epoch, delivered: self.delivered })
    }

    /// Refuses a command: the application has not handled what came before.
    fn refuse_command(&mut self, at: u64, end: u64) {
        if self.refuse(at, end) {
            self.expected = end;
            log::warn!("refused a command of {:?}: the application has not handled what came before", self.name);
        } else {
            // Without a place to remember the refusal, silence is the only answer that stays true.
            self.ack_due = false;
        }
    }

    /// Remembers a refusal; false when there is no room to remember it.
    fn refuse(&mut self, from: u64, to: u64) -> bool {
        let full = self.refused.len() >= MAX_REFUSED;
        match self.refused.last_mut() {
            Some((_, end)) if *end == from => *end = to,
            _ if full => return false,
            _ => self.refused.push((from, to)),
        }
        true
    }
}

impl Session {
    // ---- sending ------------------------------------------------------------------------------------------

    /// Sends a command; one `CommandRslt` follows.
    pub fn send_command(&mut self, call: CommandCall, now: Now) {
        let CommandCall { target, task, chosen, data, timeout, cookie } = call;
        let size = data.len();
        log::debug!("command {task} of {size} bytes to {target:?}");
        let outcome = match self.sent_outcomes.get(&task).filter(|_| chosen) {
            _ if self.mode != Mode::Kept => Some(code::NOT_LOGIN),
            outcome => outcome,
        };
        if let Some(err) = outcome {
            return self.event(Event::CommandRslt { task, err, cookie, size, chosen });
        }
        let deadline = now.mono + timeout.unwrap_or(self.config.command_timeout);
        self.scan_by(deadline);
        let path = self.path(&target);
        if path.commands.len() >= MAX_WAITING {
            return self.event(Event::CommandRslt { task, err: code::SEND_QUEUE_FULL, cookie, size, chosen });
        }
        path.commands.push_back(Outgoing {
            task,
            cookie,
            data,
            chosen,
            deadline,
            position: None,
            handed: false,
            start: None,
        });
        self.pump_commands(&target);
    }

    /// Queues what the target, the relay and the connection have room for.
    pub(super) fn pump_commands(&mut self, target: &Arc<str>) {
        let Some(path) = self.path_by_target.get_mut(target) else { return };
        if !path.open_for(CLASS_COMMANDS) {
            return;
        }
        let settled = path.commands.front().and_then(|front| front.position).unwrap_or(path.next_position);
        let mut end_of_previous = match path.sent.checked_sub(1).and_then(|at| path.commands.get(at)) {
            Some(previous) => previous.position.map_or(0, |position| position + previous.charge()),
            None => 0,
        };
        while path.sent < path.allowance
            && let Some(command) = path.commands.get_mut(path.sent)
        {
            let charge = command.charge();
            let position = command.position.unwrap_or(path.next_position);
            if position + charge > path.limit {
                if path.sent == 0 && path.next_position > 0 && !path.probed {
                    path.probed = true;
                    self.probe(target);
                }
                break;
            }
            if self.wire.out.len() >= QUEUE_AHEAD {
                self.commands_wait = true;
                break;
            }
            if command.position.is_none() {
                command.position = Some(position);
                path.next_position = position + charge;
            }
            command.start.get_or_insert(self.wire.out.position());
            let message = Command {
                position,
                base: end_of_previous,
                settled,
                task: command.task,
                chosen: command.chosen,
                data: std::mem::take(&mut command.data),
            };
            self.wire.out.routed(target, path.epoch, &message);
            command.data = message.data;
            end_of_previous = position + charge;
            path.sent += 1;
        }
    }

    /// Asks a target of which no answer is awaited for its limit. News of it can be lost with a connection, and what
    /// was lost and then given up has used up credit of which the target knows nothing. An empty command at a place
    /// that is decided already is only acknowledged, with a limit that counts from where the sender goes on.
    fn probe(&mut self, target: &Arc<str>) {
        let Some(path) = self.path_by_target.get(target) else { return };
        let settled = path.commands.front().and_then(|front| front.position).unwrap_or(path.next_position);
        let decided = settled.saturating_sub(1);
        let (task, data) = (TaskId::from_bytes([0; 16]), Bytes::new());
        let message = Command { position: decided, base: decided, settled, task, chosen: false, data };
        self.wire.out.routed(target, path.epoch, &message);
    }

    /// The command connection has room again.
    pub(super) fn pump_all_commands(&mut self) {
        if !self.commands_wait || self.wire.out.len() >= QUEUE_AHEAD / 2 {
            return;
        }
        self.commands_wait = false;
        let waiting: Vec<Arc<str>> = self
            .path_by_target
            .iter()
            .filter(|(_, path)| path.sent < path.commands.len() && path.open_for(CLASS_COMMANDS))
            .map(|(target, _)| target.clone())
            .collect();
        for target in &waiting {
            self.pump_commands(target);
        }
    }

    /// The command connection is about to be forgotten: note what it took.
    pub(super) fn mark_handed_commands(&mut self) {
        let written = self.wire.out.written();
        for path in self.path_by_target.values_mut() {
            path.sent = 0;
            for command in &mut path.commands {
                command.handed = command.may_have_arrived(written);
                command.start = None;
            }
        }
    }

    fn acknowledged(&mut self, ack: Routed<CommandAck>) {
        let Some((target, _)) = self.path_by_target.get_key_value(ack.from.as_str()) else { return };
        let target = target.clone();
        let Some(path) = self.path_by_target.get_mut(&target) else { return };
        if path.epoch != ack.epoch {
            return;
        }
        // A target cannot acknowledge, or ask for, what was never sent to it.
        let position = ack.message.position.min(path.next_position);
        path.limit = path.limit.max(ack.message.limit);
        path.allowance = path.allowance.saturating_mul(2);
        let mut ended = Vec::new();
        while let Some(front) = path.commands.front() {
            let Some(at) = front.position.filter(|at| *at < position) else { break };
            let refused = ack.message.refused.iter().any(|(from, to)| (*from..*to).contains(&at));
            let err = if refused { code::SEND_QUEUE_FULL } else { code::NOERR };
            path.sent = path.sent.saturating_sub(1);
            ended.extend(path.commands.pop_front().map(|command| (command, err)));
        }
        for (command, err) in ended {
            self.command_ended(command, err);
        }
        self.pump_commands(&target);
    }

    fn command_ended(&mut self, command: Outgoing, err: i32) {
        let Outgoing { task, cookie, chosen, data, .. } = command;
        if chosen {
            self.sent_outcomes.insert(task, err);
        }
        self.event(Event::CommandRslt { task, err, cookie, size: data.len(), chosen });
    }

    /// The target's incarnation has ended. `certain`: over the present link, it took nothing that it has not
    /// acknowledged. The answer to what was handed to an earlier link may have been lost with that.
    pub(super) fn commands_lost(&mut self, target: &Arc<str>, err: i32, certain: bool) {
        let written = self.wire.out.written();
        let Some(path) = self.path_by_target.get_mut(target) else { return };
        let mut ended = Vec::new();
        // What has no position was never sent to that incarnation.
        while path.commands.front().is_some_and(|command| command.position.is_some()) {
            ended.extend(path.commands.pop_front());
        }
        for command in ended {
            let certain = (certain && !command.handed) || !command.may_have_arrived(written);
            self.command_ended(command, Self::ended_code(certain, err));
        }
    }

    /// Fails the commands that have not been sent at all.
    pub(super) fn fail_unsent_commands(&mut self, target: &Arc<str>, err: i32) {
        let Some(path) = self.path_by_target.get_mut(target) else { return };
        let first = path.commands.iter().position(|command| command.position.is_none());
        let Some(first) = first else { return };
        let ended: Vec<Outgoing> = path.commands.drain(first..).collect();
        for command in ended {
            self.command_ended(command, err);
        }
    }

    /// The session ends with `reason`. What is still queued may go out before the farewell.
    pub(super) fn end_commands(&mut self, reason: i32) {
        let paths: Vec<_> = self.path_by_target.values_mut().map(|path| std::mem::take(&mut path.commands)).collect();
        for command in paths.into_iter().flatten() {
            let certain = !command.may_arrive();
            self.command_ended(command, Self::ended_code(certain, reason));
        }
    }

    /// Ends the commands whose deadline has passed.
    pub(super) fn scan_commands(&mut self, now: Now) {
        self.scan_paths(now);
        let late = self.late_code();
        let mut ended = Vec::new();
        let mut next: Option<Duration> = None;
        for path in self.path_by_target.values_mut() {
            let mut at = 0;
            while let Some(command) = path.commands.get(at) {
                if command.deadline > now.mono {
                    next = Some(next.map_or(command.deadline, |old| old.min(command.deadline)));
                    at += 1;
                    continue;
                }
                let err = Self::ended_code(!command.may_arrive(), late);
                ended.extend(path.commands.remove(at).map(|command| (command, err)));
                path.sent -= usize::from(at < path.sent);
            }
        }
        for (command, err) in ended {
            self.command_ended(command, err);
        }
        if let Some(at) = next {
            self.scan_by(at);
        }
        // Those behind may have waited for the ones that are given up.
        let waiting = |(target, path): (&Arc<str>, &Path)| path.holds_back().then(|| target.clone());
        let waiting: Vec<Arc<str>> = self.path_by_target.iter().filter_map(waiting).collect();
        for target in &waiting {
            self.pump_commands(target);
        }
    }

    // ---- receiving ----------------------------------------------------------------------------------------

    /// A message from another user.
    pub(super) fn routed(&mut self, method: &[u8], envelope: Envelope<'_>, now: Now) -> Result<(), PackError> {
        match method {
            b"crcmd" => {
                let (from, epoch) = (envelope.address.user, envelope.address.epoch);
                self.command_arrived(from, epoch, envelope.message()?);
            }
            b"crack" => self.acknowledged(envelope.routed()?),
            b"croffer" => self.offered(envelope.routed()?, now),
            b"crdata" => self.data_arrived(envelope.routed()?, now),
            b"crend" => self.end_arrived(envelope.routed()?),
            b"crcancel" => self.cancel_arrived(envelope.routed()?),
            b"crgo" => self.told_to_go(envelope.routed()?, now),
            b"crconf" => self.confirmed(envelope.routed()?, now),
            b"crdone" => self.done_arrived(envelope.routed()?),
            _ => log::debug!("ignored the unknown message {:?}", String::from_utf8_lossy(method)),
        }
        Ok(())
    }

    fn command_arrived(&mut self, from: &str, epoch: u64, message: Command) {
        if message.data.len() > MAX_COMMAND {
            log::debug!("dropped a command of {} bytes", message.data.len());
            return;
        }
        let room = self.config.inbound_limit.saturating_sub(self.inbound());
        let source = match self.source_by_user.get_mut(from) {
            Some(source) => source,
            None => {
                let name: Arc<str> = from.into();
                self.source_by_user.entry(name.clone()).or_insert(Source::new(name, epoch))
            }
        };
        if source.epoch != epoch {
            let Some(other) = self.sources_aside.take(&source.name, epoch) else {
                log::debug!("dropped a command from an epoch of {from:?} that is forgotten");
                return;
            };
            self.sources_aside.put(source.name.clone(), std::mem::replace(source, other));
        }
        let Some(end) = message.position.checked_add(message.data.len() as u64 + COMMAND_OVERHEAD) else { return };
        source.gone = false;
        source.ack_due = true;
        // Commands of one source often follow each other.
        if !self.acks.last().is_some_and(|last| Arc::ptr_eq(last, &source.name)) {
            self.acks.push(source.name.clone());
        }
        source.refused.retain(|(_, to)| *to > message.settled);
        // What the sender has given up will never come. Credit counts from where it goes on, or a sender whose credit
        // was lost with what it has given up would never get any again.
        source.expected = source.expected.max(message.settled.min(end));
        if !(message.base..=message.position).contains(&source.expected) {
            return;
        }
        let key = message.chosen.then(|| (source.name.clone(), message.task));
        let earlier = key.as_ref().and_then(|key| self.received_outcomes.get(key));
        let repeated = earlier.is_some_and(|ended| ended.err == code::NOERR);
        let charge = end - message.position;
        if charge > room && !repeated {
            return source.refuse_command(message.position, end);
        }
        source.expected = end;
        if repeated {
            return;
        }
        if let Some(key) = key {
            self.received_outcomes.insert(key, Ended { err: code::NOERR, epoch });
        }
        let receipt = source.deliver(charge, room < self.config.inbound_limit / 2);
        self.delivered += charge;
        let source = source.name.clone();
        self.event(Event::Command { source, task: message.task, data: message.data, receipt });
    }

    /// Bytes of commands and buffers that wait for the application.
    pub(super) fn inbound(&self) -> u64 {
        self.held_buffers + (self.delivered - self.handled)
    }

    fn command_window(&self) -> u64 {
        if self.inbound() > self.config.inbound_limit / 2 { SMALL_WINDOW } else { WINDOW }
    }

    /// The application has handled a source's commands up to `delivered` bytes in all.
    pub(super) fn commands_handled(&mut self, name: &Arc<str>, epoch: u64, delivered: u64) {
        let window = self.command_window();
        let Some(source) = self.source_by_user.get_mut(name).filter(|source| source.epoch == epoch) else {
            if let Some(aside) = self.sources_aside.source_by_epoch.get_mut(&(epoch, name.clone())) {
                aside.handled = aside.handled.max(delivered.min(aside.delivered));
            }
            return;
        };
        // A receipt can be of an earlier epoch of ours, and so of more than has come in this one.
        source.handled = source.handled.max(delivered.min(source.delivered));
        if source.gone {
            return;
        }
        // Tell a sender that is out of credit, or nearly so; others hear it with their next acknowledgement.
        let fresh = source.fresh_limit(window);
        let blocked = source.limit.saturating_sub(source.expected) < LARGEST_CHARGE;
        if (fresh >= source.limit + WINDOW / 4 || (blocked && fresh > source.limit)) && !source.ack_due {
            source.ack_due = true;
            self.acks.push(name.clone());
        }
    }

    /// Sends the acknowledgements that this input made due.
    pub(super) fn flush_acks(&mut self) {
        if self.mode != Mode::Kept {
            self.acks.clear();
            return;
        }
        if !matches!(self.line, Line::Up { .. }) {
            return;
        }
        let window = self.command_window();
        for name in std::mem::take(&mut self.acks) {
            let Some(source) = self.source_by_user.get_mut(&name).filter(|source| source.ack_due) else { continue };
            source.ack_due = false;
            source.limit = source.fresh_limit(window);
            let ack = CommandAck { position: source.expected, limit: source.limit, refused: source.refused.clone() };
            self.wire.out.routed(&name, source.epoch, &ack);
        }
    }

    /// Our own epoch has ended: what comes is for another incarnation.
    pub(super) fn forget_sources(&mut self) {
        self.source_by_user.clear();
        self.sources_aside = Aside::default();
        self.gone_sources.clear();
        self.acks.clear();
    }

    /// A sender's epoch has ended; 0 stands for whichever it had. It is remembered for a while, because a relay that
    /// has restarted may let it come back, and what it repeats then must not be taken twice.
    pub(super) fn source_gone(&mut self, user: &Arc<str>, epoch: u64) {
        let meant = |source: &&mut Source| [source.epoch, 0].contains(&epoch) && !source.gone;
        if let Some(source) = self.source_by_user.get_mut(user).filter(meant) {
            source.gone = true;
            self.gone_sources.push_back(user.clone());
        }
        if self.gone_sources.len() > MAX_GONE
            && let Some(oldest) = self.gone_sources.pop_front()
            && self.source_by_user.get(&oldest).is_some_and(|source| source.gone)
            && let Some(source) = self.source_by_user.remove(&oldest)
        {
            self.sources_aside.forgot(source.epoch);
        }
        self.receivings_of_gone(user, epoch);
    }
}
