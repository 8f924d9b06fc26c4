//! What sessions tell their applications, and what those do about it; between the two, the planted defects.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crvideo_proto::code;
use crvideo_proto::id::TaskId;
use crvideo_proto::session::{Event, Receipt};

use super::{Happening, World};
use crate::defect::Defect;
use crate::files::Sink;
use crate::party::{Letter, Manners};
use crate::plan::USERS;

/// A sender may be this far ahead of its target's application, and one command more.
const COMMAND_WINDOW: u64 = (1_024 + 64) * 1_024 + 256;

impl World {
    /// Whether the planted defect strikes now.
    pub(super) fn strikes(&mut self) -> bool {
        let strikes = self.rng.percent(20);
        self.struck += u64::from(strikes);
        strikes
    }

    /// A session tells its application something; a planted defect may see to it that it hears something else.
    pub(super) fn told(&mut self, party: usize, mut event: Event) {
        if let Event::LineOff { err } = event {
            self.must_come_back(party, err);
        }
        let here = match (self.defect, &event) {
            (Some(Defect::DeliverTwice | Defect::SwallowCommand | Defect::SwapCommands), Event::Command { .. })
            | (Some(Defect::SwallowResult | Defect::RepeatResult | Defect::DelayResult), Event::CommandRslt { .. })
            | (Some(Defect::SwallowResult | Defect::RepeatResult), Event::TransferRslt { .. })
            | (Some(Defect::SwallowCancelResult), Event::CancelRslt { .. })
            | (Some(Defect::SwallowTransferEnded), Event::TransferEnded { .. }) => true,
            (Some(Defect::FlipCommandByte), Event::Command { data, .. }) => !data.is_empty(),
            (Some(Defect::ClaimSuccess), Event::CommandRslt { err, .. }) => *err != code::NOERR,
            (Some(Defect::ClaimFailure), Event::CommandRslt { err, .. }) => *err == code::SEND_OUTCOME_UNKNOWN,
            (Some(Defect::ProgressBack), Event::Progress { sent, total, .. }) => *sent > 0 && sent < total,
            (Some(Defect::SwallowFirstProgress), Event::Progress { sent, total, .. }) => *sent == 0 && *total > 0,
            (Some(Defect::ForgetUser), Event::UsersRslt { users, .. }) => !users.is_empty(),
            (Some(Defect::ClaimLogin), Event::LoginRslt { err, .. }) => *err != code::NOERR,
            _ => false,
        };
        let held_back = self.held_back.take_if(|(of, _)| *of == party);
        let gone = match (self.defect, &event) {
            (Some(Defect::SwallowProgress), Event::Progress { sent, total, .. }) => *sent > 0 && sent < total,
            (Some(Defect::SwallowStatus), Event::UserStatus { .. }) | (Some(Defect::SwallowLineOn), Event::LineOn) => {
                self.strikes()
            }
            _ => false,
        };
        if gone {
            return;
        }
        if here && self.strikes() {
            match self.defect {
                Some(Defect::DeliverTwice | Defect::RepeatResult) => self.record(party, &event, None),
                Some(Defect::ProgressBack) => {
                    self.record(party, &event, None);
                    if let Event::Progress { sent, .. } = &mut event {
                        *sent -= 1;
                    }
                }
                Some(Defect::SwapCommands) => {
                    self.held_back = Some((party, event));
                    return;
                }
                Some(Defect::DelayResult) => {
                    let much = self.plan.config.command_timeout + Duration::from_secs(5);
                    return self.later(much, Happening::Tell(party, event));
                }
                _ => match &mut event {
                    Event::Command { data, .. } if self.defect == Some(Defect::FlipCommandByte) => {
                        let mut bytes = data.to_vec();
                        bytes[0] ^= 1;
                        *data = bytes.into();
                    }
                    Event::CommandRslt { err, .. } if self.defect == Some(Defect::ClaimSuccess) => *err = code::NOERR,
                    Event::LoginRslt { err, .. } => *err = code::NOERR,
                    Event::UsersRslt { users, .. } => users.truncate(users.len() - 1),
                    Event::CommandRslt { err, .. } if self.defect == Some(Defect::ClaimFailure) => {
                        *err = code::CONNECTIONLOST;
                    }
                    _ => {
                        self.parties[party].note(&event);
                        return;
                    }
                },
            }
        }
        match event {
            Event::TokenWillExpire => self.later(Duration::from_millis(100), Happening::Renew(party)),
            Event::LineOff { err: code::TOKEN_TIMEOUT } => self.token_was_refused(party),
            _ => {}
        }
        let finished = self.parties[party].note(&event);
        let content = finished.map(|sink| self.content_of(party, &event, sink));
        self.record(party, &event, content);
        if let Some((_, late)) = held_back {
            self.parties[party].note(&late);
            self.record(party, &late, None);
        }
        if !self.parties[party].letters.is_empty() {
            self.check_bound(party);
            self.application_turn(party);
        }
    }

    /// A session that has lost its link comes back, unless it was told to go.
    fn must_come_back(&mut self, party: usize, err: i32) {
        let it = &self.parties[party];
        let over = !it.session.is_logged_in() && it.is_in();
        if over && ![code::KICKOUT_BY_RELOGIN, code::TOKEN_TIMEOUT].contains(&err) {
            self.ledger.violated(format!("the session of party {party} is over with {err}, and should come back"));
        }
    }

    /// What comes in and waits for the application has a limit.
    pub(super) fn check_bound(&mut self, party: usize) {
        // A new incarnation, of a sender or its target, has a window of its own.
        if self.plan.calm && !self.plan.restless && self.plan.weights.flood > 0 {
            for user in &USERS[..self.plan.users] {
                let of_one = self.parties[party].held_of(user);
                if of_one > COMMAND_WINDOW {
                    self.ledger.violated(format!("I8: {of_one} bytes of commands of {user} wait at party {party}"));
                }
            }
        }
        let (held, limit) = (self.parties[party].held(), self.plan.config.inbound_limit);
        if held > limit {
            self.ledger.violated(format!("I8: party {party} holds {held} bytes for its application, and may {limit}"));
        }
    }

    pub(super) fn record(&mut self, party: usize, event: &Event, content: Option<Bytes>) {
        let now = self.now;
        self.trace.note(12, party as u64, weight(event), || format!("party {party} hears {}", brief(event)));
        let it = &self.parties[party];
        self.ledger.heard(party, (it.project.id, it.user), event, content, now);
    }

    fn content_of(&mut self, party: usize, event: &Event, mut sink: Sink) -> Bytes {
        if let Event::Buffer { id, .. } | Event::File { id, .. } = event {
            self.ledger.sink_closed(party, *id);
        }
        if !sink.finished || sink.aborting {
            self.ledger.violated(format!("party {party} hears of a transfer whose sink is not complete"));
        }
        if self.defect == Some(Defect::CutContent) && sink.size > 0 && self.strikes() {
            sink.data.pop();
        }
        sink.data.into()
    }

    fn application_turn(&mut self, party: usize) {
        let rng = &mut self.rng;
        let it = &mut self.parties[party];
        if std::mem::replace(&mut it.reading, true) {
            return;
        }
        let pause = if self.healed { Duration::ZERO } else { rng.millis(0, self.plan.slowness) };
        let at = it.asleep_until.max(self.now + pause);
        self.at(at, Happening::Read(party));
    }

    pub(super) fn application_reads(&mut self, party: usize) {
        let now = self.now_of_session();
        self.parties[party].reading = false;
        if self.parties[party].asleep_until > self.now {
            return self.application_turn(party);
        }
        let at_once = if self.healed { usize::MAX } else { 1 + self.rng.below(4) };
        for _ in 0..at_once {
            let Some(letter) = self.parties[party].letters.pop_front() else { break };
            match letter {
                Letter::Handle { charge, receipt, .. } => {
                    let lost = self.defect == Some(Defect::LoseReceipt) && charge > 0 && self.strikes();
                    let it = &mut self.parties[party];
                    it.handled += if lost { 0 } else { charge };
                    if let Some(receipt) = receipt {
                        if let Receipt::Rtm { id } = &receipt {
                            self.ledger.rtm_handled(*id);
                        }
                        it.session.handled_in_all(it.handled);
                        it.session.receipt(receipt, now);
                        self.touch(party);
                    }
                }
                Letter::Offer { source, task } => self.decide(party, source, task),
            }
        }
        if !self.parties[party].letters.is_empty() {
            self.application_turn(party);
        }
    }

    fn decide(&mut self, party: usize, source: Arc<str>, task: TaskId) {
        if self.hardship.undecided {
            return;
        }
        let manners = match self.parties[party].manners {
            _ if self.healed => Manners::Accepts,
            Manners::AnyOfThese => self.rng.pick(&[Manners::Accepts, Manners::Refuses, Manners::Ignores]),
            manners => manners,
        };
        if manners == Manners::Ignores {
            return;
        }
        let after = if self.healed || self.rng.percent(50) { Duration::ZERO } else { self.rng.millis(0, 8_000) };
        self.later(after, Happening::Decide { party, source, task, accept: manners == Manners::Accepts });
    }
}

/// What of an event goes into the hash of a run.
fn weight(event: &Event) -> u64 {
    let id = |task: &TaskId| u64::from_le_bytes(task.as_bytes()[..8].try_into().unwrap_or_default());
    match event {
        Event::CommandRslt { task, err, .. } | Event::TransferRslt { task, err, .. } => id(task) ^ *err as u64,
        Event::Progress { task, sent, .. } => id(task) ^ sent << 1,
        Event::Command { task, .. } | Event::Buffer { task, .. } | Event::File { task, .. } => id(task) ^ 1 << 40,
        _ => 1,
    }
}

/// An event without its content.
fn brief(event: &Event) -> String {
    match event {
        Event::Command { source, task, data, .. } => format!("Command {task} of {} bytes from {source}", data.len()),
        Event::CommandRslt { task, err, .. } => format!("CommandRslt {task}: {err}"),
        Event::TransferRslt { task, err, .. } => format!("TransferRslt {task}: {err}"),
        Event::Buffer { source, task, .. } | Event::File { source, task, .. } => {
            format!("content of {task} from {source}")
        }
        other => format!("{other:?}"),
    }
}
