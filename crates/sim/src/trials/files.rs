//! Applications that decide late, and disks that are slow at the end.

use std::time::Duration;

use crvideo_proto::session::Conn;

use crate::script::PROBE_PATIENCE;
use crate::world::{Happening, World};

/// An offer is accepted so long before it ends: less than its first bytes take.
const JUST_IN_TIME: Duration = Duration::from_millis(6);

impl World {
    /// An application accepts one offer just before it would be too late, and says nothing to another one.
    pub(super) fn decide_late(&mut self, sender: usize, target: usize) {
        if !self.can_send(1_000) || !self.bring_up_bulk(sender, target) {
            return;
        }
        // The first bytes come later than the offer would have ended.
        if let Some(link) = self.link_of(target, Conn::Bulk) {
            self.break_link(link);
        }
        self.pass(Duration::from_secs(2));
        self.hardship.undecided = true;
        self.wants(target, true);
        let patience = self.plan.config.offer_timeout;
        let late = patience + Duration::from_secs(12);
        let accepted = self.try_transfer(sender, target, 1_000, late, true);
        let heard = |world: &Self| !world.ledger.coming_in(target).is_empty();
        if !self.watch_for(Duration::from_secs(10), heard) {
            return;
        }
        let offered = self.now;
        let (source, _) = self.ledger.coming_in(target)[0].clone();
        self.run_until(offered + patience - JUST_IN_TIME);
        self.happen_now(Happening::Decide { party: target, source, task: accepted, accept: true });
        self.wait_for(PROBE_PATIENCE, |world| world.ledger.all_ended() && world.is_quiet());
        let ignored = self.try_transfer(sender, target, 1_000, late * 2, false);
        self.run_until(self.now + patience + Duration::from_secs(3));
        if self.ledger.end_of(ignored).is_none() {
            self.ledger.violated(format!("nobody has answered the offer of {ignored}, and it still waits"));
        }
    }

    /// All has arrived, and its sender leaves before it is complete on disk.
    pub(super) fn leave_behind(&mut self, sender: usize, target: usize) {
        self.wants(target, false);
        if !self.can_send(1_000) || !self.bring_up_bulk(sender, target) {
            return;
        }
        self.hardship.finishing = Duration::from_secs(2);
        let task = self.try_transfer(sender, target, 1_000, PROBE_PATIENCE, false);
        let complete = |world: &Self| world.parties[target].sinks.values().any(|sink| sink.complete);
        if !self.watch_for(Duration::from_secs(2), complete) {
            return;
        }
        self.logout(sender);
        self.pass(Duration::from_secs(4));
        if !self.ledger.has_arrived(task) {
            self.ledger.violated(format!("{task} was all there, and is given up because its sender has left"));
        }
    }
}
