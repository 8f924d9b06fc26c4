//! One user's session, as a state machine: the client's half of `docs/wire.md`.
//!
//! The shell (the library's io thread, or a simulation) feeds in calls, bytes, results of file work and the time,
//! then carries out every [`Output`], writes what [`Session::out`] holds, and comes back at [`Session::deadline`].
//!
//! * `link`: connections, login, resuming, heart-beats, tokens.
//! * `peers`: where the targets are.
//! * `commands`: commands, both ways.
//! * `sending`, `receiving`: transfers.
//! * `rtm`: messages that servers send in the RTM dialect.

mod commands;
mod link;
mod pace;
mod peers;
mod receiving;
mod rtm;
mod sending;
mod types;

pub use types::*;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use crate::code;
use crate::id::TaskId;
use crate::out::OutQueue;
use crate::token;
use commands::{Aside, Source};
use link::{Bulk, Line, Mode, Terms, Wire};
use peers::Path;
use receiving::Receiving;
use sending::Sending;

/// Outcomes of ended tasks are remembered for this many tasks, each way.
const REMEMBERED: usize = 4_096;
/// How much earlier than its expiry the application hears of a token's end (documented by CRVideo).
const EXPIRY_NOTICE: Duration = Duration::from_secs(30);

/// Outcomes by key, the oldest forgotten first.
#[derive(Debug)]
struct Outcomes<K, V> {
    outcome_by_key: HashMap<K, V>,
    order: VecDeque<K>,
}

impl<K: Hash + Eq + Clone, V: Copy> Outcomes<K, V> {
    fn new() -> Self {
        Self { outcome_by_key: HashMap::new(), order: VecDeque::new() }
    }

    fn get(&self, key: &K) -> Option<V> {
        self.outcome_by_key.get(key).copied()
    }

    fn insert(&mut self, key: K, outcome: V) {
        if self.outcome_by_key.insert(key.clone(), outcome).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.outcome_by_key.remove(&oldest);
        }
    }
}

/// How a task that came in ended, and in which epoch of its sender.
#[derive(Debug, Clone, Copy)]
struct Ended {
    err: i32,
    epoch: u64,
}

impl Ended {
    /// What a sender of this epoch is told. What has been delivered stays delivered; what has not been may be sent
    /// again by a newer incarnation, which does so knowing that the older one's attempt is dead.
    fn answer(self, epoch: u64) -> Option<i32> {
        (self.err == code::NOERR || epoch <= self.epoch).then_some(self.err)
    }
}

/// The state machine. Maps that it walks through are ordered, so that equal inputs have equal outputs.
#[derive(Debug)]
pub struct Session {
    config: Config,
    identity: Option<Box<Identity>>,
    mode: Mode,
    line: Line,
    bulk: Bulk,
    wire: Wire,
    bulk_wire: Wire,
    terms: Terms,
    epoch: u64,
    session_id: [u8; 16],
    path_by_target: BTreeMap<Arc<str>, Path>,
    /// Where the command sequence of a new path begins: behind those of all that were forgotten.
    floor: u64,
    source_by_user: BTreeMap<Arc<str>, Source>,
    sources_aside: Aside,
    /// Sources whose epoch is said to have ended, the first first.
    gone_sources: VecDeque<Arc<str>>,
    /// Sources that want an acknowledgement sent.
    acks: Vec<Arc<str>>,
    /// Commands wait for room on the connection.
    commands_wait: bool,
    /// Bytes of commands handed to the application, in all.
    delivered: u64,
    /// Bytes of commands that it has handled, in all.
    handled: u64,
    /// Bytes of buffers that are coming in or wait for the application.
    held_buffers: u64,
    sending_by_task: BTreeMap<TaskId, Sending>,
    /// All of them, in the order of their calls.
    ring: VecDeque<TaskId>,
    /// Those that may have a frame for the bulk connection; the first has the next turn.
    writers: VecDeque<TaskId>,
    /// Those that may have something to read from their sources.
    readers: VecDeque<TaskId>,
    /// Bytes read from sources, or being read, and not yet queued for sending.
    read_ahead: usize,
    receiving_by_id: BTreeMap<u64, Receiving>,
    receiving_id_by_key: HashMap<(Arc<str>, TaskId), u64>,
    next_receiving: u64,
    sent_outcomes: Outcomes<TaskId, i32>,
    received_outcomes: Outcomes<(Arc<str>, TaskId), Ended>,
    /// RTM messages that have come, and whether the application has handled them.
    rtm_seen: Outcomes<TaskId, bool>,
    /// RTM messages that the application has not handled yet.
    rtm_waiting: usize,
    wants_offers: bool,
    wants_receive_progress: bool,
    watching: bool,
    /// When the tasks' own deadlines must be looked at, at the latest.
    scan_at: Option<Duration>,
    pace: pace::Pace,
    outputs: VecDeque<Output>,
    random: u64,
}

impl Session {
    /// A session that is not logged in. `seed` drives the jitter of reconnecting; `session_id` must be unguessable.
    pub fn new(config: Config, session_id: [u8; 16], seed: u64) -> Self {
        let pace = pace::Pace::new(config.max_send_bytes_per_s);
        Self {
            config,
            identity: None,
            mode: Mode::Idle,
            line: Line::Down,
            bulk: Bulk::Closed,
            wire: Wire::default(),
            bulk_wire: Wire::default(),
            terms: Terms::default(),
            epoch: 0,
            session_id,
            path_by_target: BTreeMap::new(),
            floor: 0,
            source_by_user: BTreeMap::new(),
            sources_aside: Aside::default(),
            gone_sources: VecDeque::new(),
            acks: Vec::new(),
            commands_wait: false,
            delivered: 0,
            handled: 0,
            held_buffers: 0,
            sending_by_task: BTreeMap::new(),
            ring: VecDeque::new(),
            writers: VecDeque::new(),
            readers: VecDeque::new(),
            read_ahead: 0,
            receiving_by_id: BTreeMap::new(),
            receiving_id_by_key: HashMap::new(),
            next_receiving: 1,
            sent_outcomes: Outcomes::new(),
            received_outcomes: Outcomes::new(),
            rtm_seen: Outcomes::new(),
            rtm_waiting: 0,
            wants_offers: false,
            wants_receive_progress: false,
            watching: false,
            scan_at: None,
            pace,
            outputs: VecDeque::new(),
            random: seed | 1,
        }
    }

    /// What the shell must do next. Call until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether [`poll_output`](Self::poll_output) would return something.
    pub fn has_output(&self) -> bool {
        !self.outputs.is_empty()
    }

    /// What waits to be written to a connection. After writing, call [`written`](Self::written).
    pub fn out(&mut self, conn: Conn) -> &mut OutQueue {
        &mut self.wire_of(conn).out
    }

    /// Changes whenever the session gives a connection up.
    pub fn generation(&mut self, conn: Conn) -> u32 {
        self.wire_of(conn).generation
    }

    /// The socket has taken bytes: there may be room for more.
    pub fn written(&mut self, conn: Conn, now: Now) {
        match conn {
            Conn::Command => self.pump_all_commands(),
            Conn::Bulk => self.pump_bulk(now),
        }
    }

    /// When [`timeout`](Self::timeout) must be called, as time since the shell's start.
    pub fn deadline(&self) -> Option<Duration> {
        [self.line_deadline(), self.bulk_deadline(), self.scan_at, self.pace.deadline()].into_iter().flatten().min()
    }

    /// A deadline has passed.
    pub fn timeout(&mut self, now: Now) {
        self.line_timeout(now);
        self.bulk_timeout(now);
        if self.scan_at.is_some_and(|at| at <= now.mono) {
            self.scan_at = None;
            self.scan_commands(now);
            self.scan_sendings(now);
            self.scan_receivings(now);
        }
        self.settle(now);
    }

    /// Whether the session is logged in (also while its link is lost and it tries to come back).
    pub fn is_logged_in(&self) -> bool {
        self.mode == Mode::Kept
    }

    /// Nothing is bound to this session any more: no task, no transfer, nothing on disk, no farewell under way.
    pub fn is_quiet(&self) -> bool {
        !matches!(self.mode, Mode::LoggingOut { .. } | Mode::Ending)
            && self.sending_by_task.is_empty()
            && self.receiving_by_id.is_empty()
            && self.path_by_target.values().all(Path::is_idle)
    }

    /// Bytes of content and of frames that this session holds: what waits for the application, what has been read
    /// ahead, what waits to be written. 0 when nothing is under way.
    pub fn held(&self) -> u64 {
        let queued = self.wire.out.len() + self.bulk_wire.out.len();
        self.inbound() + (self.read_ahead + queued) as u64
    }

    /// Bytes read from sources, or being read, and not yet queued for sending.
    pub fn read_ahead(&self) -> usize {
        self.read_ahead
    }

    /// How many entries each of the tables has that are empty when nothing is under way, and, of a session that is not
    /// logged in, the others too but for remembered outcomes. For checks against leaks.
    pub fn tables(&self) -> Vec<(&'static str, usize)> {
        let paths = self.path_by_target.values();
        let mut tables = vec![
            ("acknowledgements due", self.acks.len()),
            ("transfers out", self.sending_by_task.len()),
            ("places in the ring", self.ring.len() + self.writers.len() + self.readers.len()),
            ("bytes read ahead", self.read_ahead),
            ("transfers in", self.receiving_by_id.len()),
            ("keys of transfers in", self.receiving_id_by_key.len()),
            ("RTM messages that wait", self.rtm_waiting),
            ("open quests", self.wire.pending_by_seq.len() + self.bulk_wire.pending_by_seq.len()),
            ("bytes of unfinished frames", self.wire.reader.buffered() + self.bulk_wire.reader.buffered()),
            ("commands out", paths.clone().map(|path| path.commands.len()).sum()),
            ("transfers of paths", paths.clone().map(|path| path.transfers.len()).sum()),
            ("farewells", paths.map(|path| path.farewells.len()).sum()),
        ];
        if self.mode == Mode::Idle {
            tables.extend([
                ("paths", self.path_by_target.len()),
                ("sources", self.source_by_user.len()),
                ("sources aside", self.sources_aside.len()),
                ("sources that are gone", self.gone_sources.len()),
                ("tickets", usize::from(self.terms.ticket.is_some())),
                ("deadlines", usize::from(self.deadline().is_some())),
            ]);
        }
        tables
    }

    /// What the application wants to hear of transfers that come in.
    pub fn set_wants(&mut self, offers: bool, receive_progress: bool) {
        self.wants_offers = offers;
        self.wants_receive_progress = receive_progress;
    }

    /// How many bytes of commands the application has handled since the session was made, each command counted as
    /// its length and [`COMMAND_OVERHEAD`]. Cheap; called before [`received`](Self::received).
    pub fn handled_in_all(&mut self, bytes: u64) {
        self.handled = self.handled.max(bytes.min(self.delivered));
    }

    /// The application has handled an event that came with a receipt.
    pub fn receipt(&mut self, receipt: Receipt, now: Now) {
        match receipt {
            Receipt::Commands { source, epoch, delivered } => self.commands_handled(&source, epoch, delivered),
            Receipt::Buffer { size } => self.held_buffers = self.held_buffers.saturating_sub(size),
            Receipt::Rtm { id } => self.rtm_handled(id),
        }
        self.settle(now);
    }

    /// Ends everything because of a fault of the shell's: what may have arrived with 1107, all else with `err`.
    pub fn fail(&mut self, err: i32) {
        self.session_over(err);
    }

    fn event(&mut self, event: Event) {
        event.log();
        self.outputs.push_back(Output::Event(event));
    }

    fn scan_by(&mut self, at: Duration) {
        if self.scan_at.is_none_or(|old| at < old) {
            self.scan_at = Some(at);
        }
    }

    /// What follows every input: acknowledgements that are due, and chunks for which there is room.
    fn settle(&mut self, now: Now) {
        self.flush_acks();
        self.drive_bulk(now);
        self.pump_bulk(now);
    }

    /// A number from 0 up to `below`, for jitter only (xorshift64).
    fn random_below(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below.max(1)
    }

    /// The code of a task that ends because the session does: `certain` when the target cannot have seen it.
    fn ended_code(certain: bool, reason: i32) -> i32 {
        if certain { reason } else { code::SEND_OUTCOME_UNKNOWN }
    }

    /// Ends every task and transfer because the session ends with `reason`.
    fn end_everything(&mut self, reason: i32) {
        self.end_commands(reason);
        self.end_sendings(reason);
        self.abort_receivings(reason);
        self.path_by_target.clear();
        self.forget_sources();
        self.scan_at = None;
    }

    /// The relay has given us a new epoch: targets have dropped what the old one had under way.
    pub(super) fn epoch_lost(&mut self) {
        let targets: Vec<Arc<str>> = self.path_by_target.keys().cloned().collect();
        for target in &targets {
            self.commands_lost(target, code::CONNECTIONLOST, false);
            self.sendings_lost(target, code::CONNECTIONLOST, false);
            if let Some(path) = self.path_by_target.get_mut(target) {
                path.bind(0);
            }
        }
        self.abort_receivings(code::CONNECTIONLOST);
        // Senders begin again with an incarnation that has received nothing.
        self.forget_sources();
    }

    /// A token for the next login or renewal.
    fn token(&self, now: Now) -> String {
        match self.identity.as_deref() {
            None => String::new(),
            Some(identity) => match &identity.credential {
                Credential::Token(token) => token.clone(),
                Credential::Secret(secret) => {
                    token::issue(identity.project, &identity.user, now.unix, now.unix + MINTED_LIFE_S, secret)
                }
            },
        }
    }
}
