//! Targets and senders that are away, each for just so long.

use std::time::Duration;

use crvideo_proto::code;
use crvideo_proto::session::Conn;

use crate::script::PROBE_PATIENCE;
use crate::world::{Way, World};

/// Beyond the time in which a dead link is noticed, others hear of it within this.
const TOLD_WITHIN: Duration = Duration::from_secs(4);
/// What waits for somebody who is away is given up after 10 s, unless it may have arrived.
const AWAY_FOR_LONG: Duration = Duration::from_secs(13);

impl World {
    fn silence_is_noticed(&self) -> Duration {
        self.plan.settings.heartbeat * 2 + TOLD_WITHIN
    }

    /// The target has it all and says so, and the sender's link breaks; when that is back, the target leaves before it
    /// is asked again. What has become of the transfer is unknown.
    pub(super) fn lose_an_answer(&mut self, sender: usize, target: usize) {
        self.wants(target, false);
        if !self.can_send(1_000) || !self.bring_up_bulk(sender, target) {
            return;
        }
        let Some(link) = self.link_of(sender, Conn::Command) else { return };
        if let Some(line) = self.links.get_mut(&link) {
            line.down.freeze(self.now + Duration::from_secs(60));
        }
        let task = self.try_transfer(sender, target, 1_000, Duration::from_secs(60), false);
        if !self.watch_for(Duration::from_secs(5), |world| world.ledger.has_arrived(task)) {
            return;
        }
        self.pass(Duration::from_millis(5));
        self.break_link(link);
        self.watch_for(PROBE_PATIENCE, |world| world.ledger.is_line_off(sender));
        self.watch_for(PROBE_PATIENCE, |world| !world.ledger.is_line_off(sender));
        // Time enough to find the target, and not to send anything.
        let until = self.now + Duration::from_millis(15);
        while self.now < until {
            for line in self.links.values_mut().filter(|line| line.party == sender && line.conn == Conn::Bulk) {
                line.up.freeze(self.now + Duration::from_secs(3));
            }
            self.pass(Duration::from_micros(500));
        }
        self.logout(target);
        self.wait_for(PROBE_PATIENCE, |world| world.ledger.end_of(task).is_some());
    }

    /// The target has it all, and cannot say so for longer than senders wait for targets that they have sent nothing.
    pub(super) fn be_mute(&mut self, sender: usize, target: usize) {
        self.wants(target, false);
        if !self.can_send(1_000) || !self.bring_up_bulk(sender, target) {
            return;
        }
        let until = self.now + self.silence_is_noticed() + AWAY_FOR_LONG;
        self.silence(target, &[Way::Up], until);
        let patience = self.plan.settings.heartbeat * 2 + Duration::from_secs(60);
        let task = self.try_transfer(sender, target, 1_000, patience, false);
        self.wait_for(patience, |world| world.ledger.end_of(task).is_some());
    }

    /// The target falls silent in the middle, and its sender cancels: that the cancel cannot be heard is known as soon
    /// as the silence is noticed.
    pub(super) fn cancel_in_vain(&mut self, sender: usize, target: usize) {
        self.wants(target, false);
        if !self.can_send(700_000) || !self.bring_up_bulk(sender, target) {
            return;
        }
        self.hardship.writing = Duration::from_secs(2);
        let noticed = self.silence_is_noticed();
        let away = if self.rng.percent(50) { self.plan.settings.resume_window } else { Duration::ZERO };
        let task = self.try_transfer(sender, target, 700_000, noticed + Duration::from_secs(100), false);
        if !self.watch_for(Duration::from_secs(2), |world| !world.parties[target].sinks.is_empty()) {
            return;
        }
        self.silence(target, &[Way::Up, Way::Down], self.now + noticed + away + Duration::from_secs(3));
        let cookie = self.number() as usize;
        self.ledger.cancel_called(sender, task, cookie, self.now);
        self.parties[sender].session.cancel_send(task, cookie);
        self.touch(sender);
        self.pass(noticed);
        if !self.ledger.cancels_are_answered(task) {
            self.ledger.violated(format!("I7: the target of {task} is away, and its cancel is not answered"));
        }
        self.wait_for(noticed + away + PROBE_PATIENCE, |world| world.ledger.end_of(task).is_some());
    }

    /// The relay starts again, and says of a sender that it is gone, because it takes long to come back. To its target,
    /// what it had begun is over then, and when it comes back after all it hears so.
    pub(super) fn be_missed(&mut self, sender: usize, target: usize) {
        self.wants(target, false);
        if !self.can_send(700_000) || !self.bring_up_bulk(sender, target) {
            return;
        }
        // Whoever else is there may hear all kinds of things.
        self.ledger.restarts = true;
        let grace = self.plan.settings.startup_grace;
        self.hardship.writing = grace + Duration::from_secs(6);
        let task = self.try_transfer(sender, target, 700_000, Duration::from_secs(100), false);
        if !self.watch_for(Duration::from_secs(2), |world| !world.parties[target].sinks.is_empty()) {
            return;
        }
        self.pass(Duration::from_millis(20));
        self.kill_hub();
        self.hardship.unreachable = Some((sender, self.now + grace + Duration::from_secs(15)));
        self.start_hub();
        self.wait_for(Duration::from_secs(100), |world| world.ledger.end_of(task).is_some());
        if self.ledger.end_of(task) == Some(code::NOERR) && self.ledger.restarts {
            self.ledger.saw("transfers that outlive a relay");
        }
        self.wait_for(PROBE_PATIENCE, |world| !world.ledger.is_line_off(sender) && !world.ledger.is_line_off(target));
    }
}
