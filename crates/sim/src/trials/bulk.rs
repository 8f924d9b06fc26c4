//! Bulk connections that come and go at the wrong moment.

use std::time::Duration;

use crvideo_proto::code;
use crvideo_proto::session::Conn;

use crate::plan::BULK_IDLE;
use crate::script::{MOST_QUEUED, MOST_READ_AHEAD, PROBE_PATIENCE};
use crate::world::{Way, World};

/// A relay asks again for a connection that does not come, but not so soon.
const AT_ONCE: Duration = Duration::from_secs(8);
/// Bytes that fit into a connection that is stuck.
const NARROW: usize = 100_000;
const STUCK_COMMANDS: usize = 5;
const STUCK_COMMAND: usize = 40_000;
const HOARD: usize = 40;
const HOARDED: usize = 300_000;

impl World {
    /// Brings a party into the moment in which it closes its bulk connection, because nothing needs it, and the relay
    /// has not heard so.
    fn close_bulk_slowly(&mut self, sender: usize, target: usize) -> Option<u64> {
        self.wants(target, false);
        if !self.can_send(20_000) || !self.bring_up_bulk(sender, target) {
            return None;
        }
        let link = self.link_of(target, Conn::Bulk)?;
        self.pass(BULK_IDLE - Duration::from_secs(1));
        for way in [Way::Up, Way::Down] {
            self.links.get_mut(&link)?.pipe(way).freeze(self.now + Duration::from_secs(5));
        }
        let closes = |world: &Self| world.links.get(&link).is_some_and(|line| line.up.held() > 0);
        self.watch_for(Duration::from_secs(2), closes).then_some(link)
    }

    /// The connection breaks while it is being closed, and with it goes what the relay takes for delivered.
    pub(super) fn tear_bulk(&mut self, sender: usize, target: usize) {
        let Some(link) = self.close_bulk_slowly(sender, target) else { return };
        self.try_transfer(sender, target, 20_000, AT_ONCE, true);
        let written = |world: &Self| world.links.get(&link).is_some_and(|line| line.down.held() > 10_000);
        if !self.watch_for(Duration::from_secs(2), written) {
            return;
        }
        self.thaw(link, Way::Up);
        self.pass(Duration::from_millis(3));
        self.break_link(link);
        self.wait_for(PROBE_PATIENCE, |world| world.ledger.all_ended());
    }

    /// The relay needs the connection again before it is closed.
    pub(super) fn want_bulk_again(&mut self, sender: usize, target: usize) {
        let Some(link) = self.close_bulk_slowly(sender, target) else { return };
        self.thaw(link, Way::Up);
        self.pass(Duration::from_millis(3));
        self.try_transfer(sender, target, 20_000, AT_ONCE, true);
        self.pass(Duration::from_millis(200));
        self.thaw(link, Way::Down);
        self.wait_for(PROBE_PATIENCE, |world| world.ledger.all_ended());
    }

    fn thaw(&mut self, link: u64, way: Way) {
        let Some(line) = self.links.get_mut(&link) else { return };
        line.pipe(way).thaw();
        self.look_later(link, way);
    }

    /// Bulk connections break as soon as they are made, before or after they have taken their ticket.
    pub(super) fn have_fragile_bulk(&mut self, sender: usize, target: usize) {
        self.wants(target, false);
        if !self.can_send(20_000) || !self.bring_up_bulk(sender, target) {
            return;
        }
        let whose = self.rng.pick(&[sender, target]);
        self.hardship.fragile = Some((whose, 1 + self.rng.below(2) as u32));
        if let Some(link) = self.link_of(whose, Conn::Bulk) {
            self.break_link(link);
        }
        self.try_transfer(sender, target, 20_000, AT_ONCE, true);
        self.wait_for(PROBE_PATIENCE, |world| world.ledger.all_ended());
    }

    /// A session ends while its connection takes nothing: what has never been written has certainly not arrived.
    pub(super) fn write_nothing(&mut self, sender: usize, target: usize) {
        let user = self.parties[target].user;
        self.send_command(sender, user, 10, false, true);
        self.wait_for(PROBE_PATIENCE, |world| world.ledger.all_ended() && world.is_quiet());
        let Some(link) = self.link_of(sender, Conn::Command) else { return };
        if let Some(line) = self.links.get_mut(&link) {
            line.up.manner.capacity = line.up.held() + NARROW;
            line.up.freeze(self.now + Duration::from_secs(10));
        }
        for _ in 0..STUCK_COMMANDS {
            self.send_command(sender, user, STUCK_COMMAND, false, false);
        }
        self.pass(Duration::from_millis(20));
        let tasks = self.ledger.running(sender);
        let unwritten = tasks.iter().skip(NARROW / STUCK_COMMAND + 1).copied().collect::<Vec<_>>();
        let (project, user) = (self.parties[sender].project, self.parties[sender].user);
        self.end_by_operator(project, user, code::KICKOUT_BY_RELOGIN);
        self.pass(Duration::from_secs(1));
        for task in unwritten {
            let end = self.ledger.end_of(task);
            if end != Some(code::KICKOUT_BY_RELOGIN) {
                self.ledger.violated(format!("{task} was never written, and its end is {end:?}"));
            }
        }
    }

    /// Many transfers at once, and a connection that takes nothing: their sources are not read for nothing.
    pub(super) fn hoard(&mut self, sender: usize, target: usize) {
        if self.rng.percent(50) || !self.can_send(HOARDED as u64) || !self.bring_up_bulk(sender, target) {
            return;
        }
        let Some(link) = self.link_of(sender, Conn::Bulk) else { return };
        if let Some(line) = self.links.get_mut(&link) {
            line.up.manner.capacity = line.up.held() + NARROW;
            line.up.freeze(self.now + Duration::from_secs(2));
        }
        let before = self.parties[sender].asked;
        let tasks: Vec<_> =
            (0..HOARD).map(|_| self.try_transfer(sender, target, HOARDED, PROBE_PATIENCE, false)).collect();
        self.pass(Duration::from_secs(1));
        let asked = self.parties[sender].asked - before;
        if asked > (MOST_READ_AHEAD + MOST_QUEUED[1] + NARROW) as u64 {
            self.ledger.violated(format!("I8: party {sender} has read {asked} bytes that it cannot send"));
        }
        for task in tasks {
            let cookie = self.number() as usize;
            self.ledger.cancel_called(sender, task, cookie, self.now);
            self.parties[sender].session.cancel_send(task, cookie);
        }
        self.touch(sender);
    }
}
