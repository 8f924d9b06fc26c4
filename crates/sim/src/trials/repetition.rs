//! What was once true comes again (threat C1 in the list of threats): a box on the way, or the relay, says to a client
//! on its present connection what it has said to the same session before.

use std::time::Duration;

use crvideo_proto::id::TaskId;
use crvideo_proto::session::Conn;

use crate::meddler::is_any_of;
use crate::party::Stage;
use crate::script::PROBE_PATIENCE;
use crate::world::{Way, World, index};

const FROM_SENDERS: [&[u8]; 4] = [b"croffer", b"crdata", b"crend", b"crcancel"];
const FROM_TARGETS: [&[u8]; 2] = [b"crgo", b"crconf"];
/// What is repeated is read again and again, so most of it is small.
const SIZES: [usize; 4] = [20_000, 20_000, 20_000, 300_000];
/// With four more that wait for a decision, a window ends where no piece does.
const WAITING: usize = 4;
const UNEVEN: usize = 1_200_000;
/// A sender whose target does not go on gives up, whatever it hears again.
const STUCK: Duration = Duration::from_secs(3);

impl World {
    /// New connections through boxes that keep what passes.
    fn tape(&mut self, parties: [usize; 2]) -> bool {
        self.hardship.taped = true;
        for party in parties {
            self.break_links_of(party);
        }
        self.wait_for(PROBE_PATIENCE, |world| parties.iter().all(|at| world.ledger.is_line_off(*at)));
        let back = self.wait_for(PROBE_PATIENCE, |world| parties.iter().all(|at| !world.ledger.is_line_off(*at)));
        self.tapes.clear();
        back
    }

    /// Some of what a session has heard on its connections of one kind comes again.
    fn repeat_to(&mut self, party: usize, conn: Conn, names: &[&[u8]]) {
        let Some(link) = self.link_of(party, conn) else { return };
        let heard = self.tapes.get(&(party, index(conn), Way::Down)).into_iter().flatten();
        let frames: Vec<_> = heard.filter(|frame| is_any_of(frame, names)).cloned().collect();
        if frames.is_empty() {
            return;
        }
        let many = 1 + self.rng.below(4);
        let again: Vec<u8> = (0..many).flat_map(|_| frames[self.rng.below(frames.len())].to_vec()).collect();
        let Some(line) = self.links.get_mut(&link).filter(|line| line.meddled) else { return };
        if !line.down.has_ended() {
            line.down.repeat(again, self.now);
            self.look_later(link, Way::Down);
        }
    }

    /// Incarnations of a user use one id for a transfer, each with a content of its own, and while the last one is under
    /// way the frames of the earlier ones come again.
    pub(super) fn hear_ghosts(&mut self, sender: usize, target: usize) {
        let size = self.rng.pick(&SIZES);
        if !self.can_send(size as u64) || self.parties.len() > 10 || !self.tape([sender, target]) {
            return;
        }
        let offers = self.rng.percent(30);
        self.wants(target, offers);
        self.hardship.removal = self.rng.pick(&[0, 300, 1_000].map(Duration::from_millis));
        let task = TaskId::random(self.rng.bytes());
        let leaves = self.rng.percent(20);
        let incarnations = 2 + self.rng.below(2);
        let (mut sender, user) = (sender, self.parties[sender].user);
        for incarnation in 0..incarnations {
            let last = incarnation + 1 == incarnations;
            self.again = incarnation > 0;
            self.try_task(task, sender, target, size, PROBE_PATIENCE, last && !leaves);
            self.again = false;
            if last {
                break;
            }
            self.hardship.writing = Duration::from_millis(200);
            self.watch_for(Duration::from_secs(1), |world| !world.parties[target].sinks.is_empty());
            let a_moment = self.rng.millis(0, 6);
            self.pass(a_moment);
            self.destroy(sender);
            sender = self.parties.len() - 1;
            self.login(sender);
            self.watch_for(PROBE_PATIENCE, |world| world.parties[sender].stage == Stage::In);
            self.hardship.writing = Duration::ZERO;
        }
        self.trace.note(38, sender as u64, 0, || format!("the ghosts of {user}"));
        for turn in 0..36 {
            self.repeat_to(target, Conn::Bulk, &FROM_SENDERS);
            self.repeat_to(target, Conn::Command, &FROM_SENDERS);
            self.pass(Duration::from_millis(if turn < 24 { 2 } else { 40 }));
            if leaves && turn == 30 {
                self.logout(target);
            }
        }
        self.wait_for(PROBE_PATIENCE, |world| world.ledger.all_ended());
    }

    /// A target's words come again to a sender: where to go on, and what it has.
    pub(super) fn hear_echoes(&mut self, sender: usize, target: usize) {
        let room = self.plan.config.inbound_limit > 2 * UNEVEN as u64;
        if !self.can_send(UNEVEN as u64) || !room || !self.tape([sender, target]) {
            return;
        }
        self.hardship.undecided = true;
        self.wants(target, true);
        for _ in 0..WAITING {
            self.try_transfer(sender, target, 10, PROBE_PATIENCE, false);
        }
        let many = |world: &Self| world.ledger.coming_in(target).len() == WAITING;
        let all = self.watch_for(Duration::from_secs(5), many);
        self.wants(target, false);
        if !all {
            return;
        }
        let stuck = self.rng.percent(40);
        let patience = if stuck { STUCK } else { PROBE_PATIENCE };
        self.hardship.writing = Duration::from_millis(4);
        let task = self.try_transfer(sender, target, UNEVEN, patience, !stuck);
        if stuck {
            self.watch_for(Duration::from_secs(1), |world| {
                let tape = world.tapes.get(&(sender, 0, Way::Down));
                tape.is_some_and(|tape| tape.iter().any(|frame| is_any_of(frame, &[b"crconf"])))
            });
            if let Some(link) = self.link_of(sender, Conn::Bulk)
                && let Some(line) = self.links.get_mut(&link)
            {
                line.up.freeze(self.now + STUCK * 6);
            }
        }
        for _ in 0..if stuck { 30 } else { 60 } {
            self.repeat_to(sender, Conn::Command, &FROM_TARGETS);
            self.pass(Duration::from_millis(if stuck { 500 } else { 1 }));
        }
        self.wait_for(PROBE_PATIENCE, |world| world.ledger.end_of(task).is_some());
    }
}
