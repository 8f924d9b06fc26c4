//! Where the targets are, and who is online.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::commands::Outgoing;
use super::link::{Line, Pending, known_code};
use super::types::*;
use super::{Mode, Session};
use crate::code;
use crate::frame::Frame;
use crate::id::TaskId;
use crate::message::{
    Body, CLASS_BULK, CLASS_COMMANDS, Find, FindAnswer, Peer, PeerState, Status, Users, UsersAnswer, Watch, read_answer,
};
use crate::pack::PackError;

/// A list of who is online has at most about this many names.
const MAX_ONLINE: usize = 1 << 20;

/// A target whose link is lost may be gone for good: what has not been sent at all fails after this long.
const AWAY_PATIENCE: Duration = Duration::from_secs(10);

/// What is known of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PathState {
    /// Must be looked up before anything is sent.
    Unknown,
    /// Being looked up.
    Finding,
    /// Reachable, but for the classes in `Path::busy`.
    On,
    /// Its link is lost.
    Away { since: Duration },
}

/// The way to one target.
#[derive(Debug)]
pub(super) struct Path {
    pub state: PathState,
    /// The target's incarnation that open tasks are bound to; 0 while none is.
    pub epoch: u64,
    /// Classes of traffic that the relay refuses for now.
    pub busy: u8,
    pub commands: VecDeque<Outgoing>,
    /// How many of `commands`, from the front, have been queued on this connection since the target was last said to be
    /// on; nothing is queued while it is not.
    pub sent: usize,
    /// At most this many of them, until acknowledgements show that they get through. What is repeated because the
    /// relay had no room may well have arrived: to repeat all of it each time would fill that room again, for ever.
    pub allowance: usize,
    /// Position of the next command that is sent for the first time.
    pub next_position: u64,
    /// The target takes commands up to here.
    pub limit: u64,
    /// The target has been asked for its limit since there was news of it.
    pub probed: bool,
    /// Transfers to this target.
    pub transfers: Vec<TaskId>,
    /// Transfers that have ended here and of which the target has not yet confirmed the end.
    pub farewells: Vec<(TaskId, i32)>,
}

impl Path {
    fn new(floor: u64) -> Self {
        Self {
            state: PathState::Unknown,
            epoch: 0,
            busy: 0,
            commands: VecDeque::new(),
            sent: 0,
            allowance: usize::MAX,
            next_position: floor,
            limit: floor + INITIAL_COMMAND_LIMIT,
            probed: false,
            transfers: Vec::new(),
            farewells: Vec::new(),
        }
    }

    pub fn is_idle(&self) -> bool {
        self.commands.is_empty() && self.transfers.is_empty()
    }

    /// Commands wait although the target is within reach.
    pub fn holds_back(&self) -> bool {
        self.sent < self.commands.len() && self.open_for(CLASS_COMMANDS)
    }

    pub fn open_for(&self, class: u8) -> bool {
        self.state == PathState::On && self.busy & class == 0
    }

    /// Tasks are bound to another incarnation, or (0) to none. Positions go on, because a relay that has restarted may
    /// let an incarnation come back that was said to be gone, and it knows what it took before. What is true of one time
    /// that the target is on begins with that time.
    pub fn bind(&mut self, epoch: u64) {
        self.epoch = epoch;
        self.limit = self.next_position + INITIAL_COMMAND_LIMIT;
        self.farewells.clear();
    }
}

impl Session {
    /// The path to a target, looked up if it is new.
    pub(super) fn path(&mut self, target: &Arc<str>) -> &mut Path {
        let up = matches!(self.line, Line::Up { .. });
        if let Some(PathState::Away { since }) = self.path_by_target.get(target).map(|path| path.state) {
            self.scan_by(since + AWAY_PATIENCE);
        }
        let floor = self.floor;
        let path = self.path_by_target.entry(target.clone()).or_insert_with(|| Path::new(floor));
        if path.state == PathState::Unknown && up {
            path.state = PathState::Finding;
            self.wire.quest(&Find { user: target.to_string() }, Pending::Find(target.clone()));
        }
        path
    }

    /// Our link is lost: every target must be looked up again.
    pub(super) fn peers_unknown(&mut self, _now: Now) {
        for path in self.path_by_target.values_mut() {
            path.state = PathState::Unknown;
            path.sent = 0;
        }
    }

    /// Our link is back: look up the targets of open tasks.
    pub(super) fn find_again(&mut self, _now: Now) {
        // Idle paths stay: as long as both epochs last, their command sequence goes on where it was.
        let unused: Vec<Arc<str>> = self
            .path_by_target
            .iter()
            .filter(|(_, path)| path.epoch == 0 && path.is_idle())
            .map(|(target, _)| target.clone())
            .collect();
        for target in &unused {
            self.forget_path(target);
        }
        let needs = |path: &Path| !path.is_idle() || !path.farewells.is_empty();
        let open: Vec<Arc<str>> =
            self.path_by_target.iter().filter(|(_, path)| needs(path)).map(|(target, _)| target.clone()).collect();
        for target in &open {
            self.path(target);
        }
    }

    pub(super) fn found(&mut self, target: &Arc<str>, frame: &Frame, now: Now) -> Result<(), PackError> {
        match read_answer::<FindAnswer>(frame)? {
            Ok(answer) => self.peer_is(target, answer.epoch, PeerState::from_wire(answer.state), now),
            Err(error) => {
                self.target_lost(target, known_code(error.code), false);
                if let Some(path) = self.path_by_target.get_mut(target) {
                    path.state = PathState::Unknown;
                }
            }
        }
        Ok(())
    }

    pub(super) fn peer_news(&mut self, payload: &Bytes, now: Now) -> Result<(), PackError> {
        let news = Peer::read(payload)?;
        let user: Arc<str> = news.user.into();
        let state = PeerState::from_wire(news.state);
        log::trace!("{:?} hears that {user:?} is {state:?} in epoch {}", self.user(), news.epoch);
        if matches!(state, PeerState::Gone | PeerState::Left) {
            self.source_gone(&user, news.epoch);
        }
        let Some(path) = self.path_by_target.get_mut(&user) else { return Ok(()) };
        // Epochs grow, so a later one that is on has replaced the one that tasks are bound to.
        let meant = match state {
            PeerState::On => news.epoch >= path.epoch,
            PeerState::Gone => path.epoch == 0 || [path.epoch, 0].contains(&news.epoch),
            _ => path.epoch == 0 || news.epoch == path.epoch,
        };
        // After its restart the relay may have let an earlier incarnation come back than the one that was awaited.
        let earlier = state == PeerState::On && !meant && matches!(path.state, PathState::Away { .. });
        if earlier {
            path.state = PathState::Unknown;
            self.path(&user);
            return Ok(());
        }
        if path.state == PathState::Finding || !meant {
            return Ok(());
        }
        let by_class = match state {
            PeerState::On => path.state == PathState::On && news.epoch == path.epoch,
            PeerState::Busy => true,
            _ => false,
        };
        if !by_class {
            self.peer_is(&user, news.epoch, state, now);
        } else if state == PeerState::Busy {
            path.busy |= news.class;
        } else {
            path.busy &= !news.class;
            if news.class & CLASS_COMMANDS != 0 {
                path.allowance = 1;
            }
            self.send_again(&user, news.class, now);
        }
        Ok(())
    }

    /// What the relay says about a target's whereabouts.
    fn peer_is(&mut self, target: &Arc<str>, epoch: u64, state: PeerState, now: Now) {
        if matches!(state, PeerState::On | PeerState::Busy | PeerState::Away) && epoch != 0 {
            self.bind(target, epoch);
        }
        let Some(path) = self.path_by_target.get_mut(target) else { return };
        match state {
            PeerState::On | PeerState::Busy => {
                path.state = PathState::On;
                path.busy = 0;
                path.allowance = usize::MAX;
                self.send_again(target, CLASS_COMMANDS | CLASS_BULK, now);
            }
            PeerState::Away => {
                path.state = PathState::Away { since: now.mono };
                self.rewind_transfers_to(target);
                self.cancels_to_absent(target);
                self.scan_by(now.mono + AWAY_PATIENCE);
            }
            PeerState::Gone | PeerState::Left => self.peer_gone(target, state, now),
        }
    }

    /// Open tasks are for this incarnation of a target. What was sent to another one is settled first.
    fn bind(&mut self, target: &Arc<str>, epoch: u64) {
        let bound = self.path_by_target.get(target).map_or(0, |path| path.epoch);
        if bound != 0 && bound != epoch {
            self.target_lost(target, code::SENDDATA_TARGETINVALID, false);
        }
        if let Some(path) = self.path_by_target.get_mut(target).filter(|path| path.epoch != epoch) {
            path.bind(epoch);
        }
    }

    fn peer_gone(&mut self, target: &Arc<str>, state: PeerState, now: Now) {
        let Some(path) = self.path_by_target.get_mut(target) else { return };
        let looked_up = path.state == PathState::Finding || path.epoch == 0;
        self.target_lost(target, code::SENDDATA_TARGETINVALID, state == PeerState::Left);
        if looked_up {
            // The relay has just said that nobody of this name is logged in.
            self.fail_unsent(target, code::SENDDATA_TARGETINVALID, now);
        }
        let Some(path) = self.path_by_target.get_mut(target) else { return };
        path.bind(0);
        path.state = PathState::Unknown;
        if path.is_idle() {
            self.forget_path(target);
        } else {
            // Tasks of which no byte was sent may go to a newer incarnation.
            self.path(target);
        }
    }

    /// Forgets a path. A later one to the same target begins where no earlier one has been.
    fn forget_path(&mut self, target: &Arc<str>) {
        if let Some(path) = self.path_by_target.remove(target) {
            self.floor = self.floor.max(path.next_position);
        }
    }

    /// The incarnation that tasks are bound to has ended: all that was sent to it is over.
    fn target_lost(&mut self, target: &Arc<str>, err: i32, certain: bool) {
        self.commands_lost(target, err, certain);
        self.sendings_lost(target, err, certain);
    }

    fn fail_unsent(&mut self, target: &Arc<str>, err: i32, now: Now) {
        self.fail_unsent_commands(target, err);
        self.fail_unsent_sendings(target, err, now);
    }

    fn send_again(&mut self, target: &Arc<str>, class: u8, now: Now) {
        if class & CLASS_COMMANDS != 0 {
            if let Some(path) = self.path_by_target.get_mut(target) {
                path.sent = 0;
                path.probed = false;
            }
            self.pump_commands(target);
            self.cancels_to(target);
        }
        if class & CLASS_BULK != 0 {
            self.rewind_transfers_to(target);
            self.pump_bulk(now);
        }
    }

    /// Fails what waits for targets that have been away too long; part of the scan.
    pub(super) fn scan_paths(&mut self, now: Now) {
        let mut gone = Vec::new();
        let mut next = None;
        for (target, path) in &self.path_by_target {
            let PathState::Away { since } = path.state else { continue };
            if path.is_idle() {
                continue;
            }
            let until = since + AWAY_PATIENCE;
            if until <= now.mono {
                gone.push(target.clone());
            } else {
                next = Some(next.map_or(until, |old: Duration| old.min(until)));
            }
        }
        for target in &gone {
            self.fail_unsent(target, code::SENDDATA_TARGETINVALID, now);
        }
        if let Some(at) = next {
            self.scan_by(at);
        }
    }

    /// How a task that has not been sent at all fails by its deadline.
    pub(super) fn late_code(&self) -> i32 {
        if matches!(self.line, Line::Up { .. }) { code::SOCKETTIMEOUT } else { code::CONNECTIONLOST }
    }

    // ---- presence -----------------------------------------------------------------------------------------

    /// Asks whether a user is online, or who is; one `UsersRslt` follows.
    pub fn query_users(&mut self, user: Option<String>, cookie: usize) {
        if !matches!(self.line, Line::Up { .. }) {
            let err = if self.mode == Mode::Kept { code::CONNECTIONLOST } else { code::NOT_LOGIN };
            return self.event(Event::UsersRslt { err, users: Vec::new(), cookie });
        }
        let quest = Users { user: user.clone(), after: None };
        self.wire.quest(&quest, Pending::Users { cookie, user, found: Vec::new() });
    }

    pub(super) fn users_page(
        &mut self,
        cookie: usize,
        user: Option<String>,
        mut found: Vec<String>,
        page: UsersAnswer,
    ) {
        let known = found.last().cloned();
        found.extend(page.users);
        // Pages ascend. A relay whose pages do not, or never end, would otherwise be asked for ever.
        if page.more && (found.last() <= known.as_ref() || found.len() > MAX_ONLINE) {
            log::warn!("the relay's list of users does not go on or does not end; giving it up");
            return self.event(Event::UsersRslt { err: code::RSPDAT_ERR, users: Vec::new(), cookie });
        }
        if page.more
            && let Some(last) = found.last()
        {
            let quest = Users { user: user.clone(), after: Some(last.clone()) };
            return self.wire.quest(&quest, Pending::Users { cookie, user, found });
        }
        self.event(Event::UsersRslt { err: code::NOERR, users: found, cookie });
    }

    /// Switches the status push; one `WatchRslt` follows. It survives a lost link.
    pub fn watch_users(&mut self, on: bool, cookie: usize) {
        if !matches!(self.line, Line::Up { .. }) {
            let err = if self.mode == Mode::Kept { code::CONNECTIONLOST } else { code::NOT_LOGIN };
            return self.event(Event::WatchRslt { err, cookie });
        }
        self.wire.quest(&Watch { on }, Pending::Watch { cookie: Some(cookie), on });
    }

    pub(super) fn status_news(&mut self, payload: &Bytes) -> Result<(), PackError> {
        let news = Status::read(payload)?;
        self.event(Event::UserStatus { user: news.user, online: news.state == 1 });
        Ok(())
    }

    /// Questions that the lost link leaves without an answer.
    pub(super) fn fail_queries(&mut self, open: BTreeMap<u32, Pending>, err: i32) {
        for pending in open.into_values() {
            match pending {
                Pending::Users { cookie, .. } => self.event(Event::UsersRslt { err, users: Vec::new(), cookie }),
                Pending::Watch { cookie: Some(cookie), .. } => self.event(Event::WatchRslt { err, cookie }),
                _ => {}
            }
        }
    }
}
