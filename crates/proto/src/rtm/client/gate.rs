//! The connection to the server gate.

use std::time::Duration;

use super::listen::Wanted;
use super::receipts::Offer;
use super::types::*;
use super::{Client, Step, What, Wire};
use crate::rtm::code;
use crate::rtm::params::Fields;
use crate::session::{CONNECT_DEADLINE, Now};

/// First pause before reconnecting to listen; doubled each time.
const BACKOFF_FIRST_MS: u64 = 200;
/// Longest pause before reconnecting.
const BACKOFF_LAST_MS: u64 = 8_000;
/// A connection that listens asks for a sign of life when nothing has come for so long.
const PING_EVERY: Duration = Duration::from_secs(20);
/// One from which nothing has come for so long is given up: three signs of life are missing.
const SILENCE: Duration = Duration::from_secs(70);
/// One that is neither used nor listens is closed after this long, before the server does it (60 s in the stock
/// server), perhaps just when a quest is on its way.
const IDLE: Duration = Duration::from_secs(50);

/// Where the connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Down,
    /// `left` addresses are still to be tried after this one.
    Connecting {
        server: usize,
        left: usize,
        until: Duration,
    },
    Up {
        server: usize,
        heard_at: Duration,
        ping_at: Duration,
        /// When it will be closed, unless something needs it.
        idle_at: Option<Duration>,
    },
    /// Something is listened to, and the next attempt is due at `until`.
    Waiting {
        until: Duration,
    },
}

#[derive(Debug)]
pub(super) struct Gate {
    state: State,
    pub wire: Wire,
    /// Counts connections.
    pub generation: u32,
    /// Addresses that have failed one after the other.
    failures: u32,
    /// Where the next attempt begins: at the address that worked last.
    next_server: usize,
    /// The application has been told that the connection which listens is lost.
    told_off: bool,
    /// What its server can tell of messages.
    pub offer: Offer,
}

impl Gate {
    pub fn new() -> Self {
        Self {
            state: State::Down,
            wire: Wire::new(),
            generation: 0,
            failures: 0,
            next_server: 0,
            told_off: false,
            offer: Offer::Unasked,
        }
    }

    /// Whether there is a connection, or one is being made.
    pub fn is_in_use(&self) -> bool {
        matches!(self.state, State::Connecting { .. } | State::Up { .. })
    }

    /// Whether there is a connection.
    pub fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }

    /// The connection does what it is needed for.
    pub fn works(&mut self) {
        self.failures = 0;
    }

    /// What an earlier connection had queued and asked; the next one begins anew.
    fn take_wire(&mut self) -> Wire {
        self.generation = self.generation.wrapping_add(1);
        self.offer = Offer::Unasked;
        std::mem::replace(&mut self.wire, Wire::new())
    }

    /// Something has come.
    pub fn heard(&mut self, now: Now) {
        if let State::Up { heard_at, ping_at, .. } = &mut self.state {
            *heard_at = now.mono;
            *ping_at = now.mono + PING_EVERY;
        }
        self.used(now);
    }

    /// Something has come or gone.
    pub fn used(&mut self, now: Now) {
        if let State::Up { idle_at: Some(idle_at), .. } = &mut self.state {
            *idle_at = now.mono + IDLE;
        }
    }

    /// Counts down while nothing needs the connection.
    pub fn rest(&mut self, silent: bool, now: Now) {
        let idle = silent && self.wire.asked_by_seq.is_empty();
        if let State::Up { idle_at, .. } = &mut self.state {
            *idle_at = if idle { idle_at.or(Some(now.mono + IDLE)) } else { None };
        }
    }
}

impl Client {
    pub(super) fn gate_deadline(&self) -> Option<Duration> {
        match self.gate.state {
            State::Down => None,
            State::Connecting { until, .. } | State::Waiting { until } => Some(until),
            State::Up { idle_at: Some(at), .. } => Some(at),
            State::Up { ping_at, .. } if self.needs_connection() => Some(ping_at),
            State::Up { .. } => None,
        }
    }

    pub(super) fn gate_timeout(&mut self, now: Now) {
        if self.gate_deadline().is_none_or(|at| at > now.mono) {
            return;
        }
        match self.gate.state {
            State::Down => {}
            State::Waiting { .. } => self.connect_gate(now),
            State::Connecting { .. } => self.break_gate("it took too long to connect", now),
            State::Up { idle_at: Some(_), .. } => {
                log::debug!("closing the connection to the RTM gate: nothing needs it");
                self.drop_gate();
            }
            State::Up { heard_at, .. } if heard_at + SILENCE <= now.mono => {
                self.break_gate("nothing came from the gate for a long time", now);
            }
            State::Up { server, heard_at, .. } => {
                self.gate.wire.ask("*ping", Fields::new(), What::Ping);
                self.gate.state = State::Up { server, heard_at, ping_at: now.mono + PING_EVERY, idle_at: None };
            }
        }
    }

    /// Sends what waits, or makes the connection that it waits for.
    pub(super) fn drive_gate(&mut self, now: Now) {
        if self.waiting.is_empty() {
            return;
        }
        match self.gate.state {
            State::Up { .. } => {
                // Whether sends are watched must be known first, and calls keep their order.
                while !matches!(self.gate.offer, Offer::Asked { .. })
                    && let Some(id) = self.waiting.pop_front()
                {
                    self.send(id, now);
                }
            }
            State::Down | State::Waiting { .. } => self.connect_gate(now),
            State::Connecting { .. } => {}
        }
    }

    fn send(&mut self, id: u64, now: Now) {
        let salt = self.salts.next(now.unix.saturating_mul(1_000));
        let Some(running) = self.running_by_call.get_mut(&id) else { return };
        let method = running.action.method();
        let fields = running.action.fields(self.config.signed(method, salt, now.unix));
        running.step = Step::Asked;
        let fields = self.watch(id, fields);
        self.gate.wire.ask(method, fields, What::Call(id));
    }

    fn connect_gate(&mut self, now: Now) {
        let servers = self.config.servers.max(1);
        self.try_server(self.gate.next_server % servers, servers - 1, now);
    }

    fn try_server(&mut self, server: usize, left: usize, now: Now) {
        self.gate.take_wire();
        self.gate.state = State::Connecting { server, left, until: now.mono + CONNECT_DEADLINE };
        self.outputs.push_back(Output::Connect { link: GATE, to: Place::Gate(server) });
    }

    pub(super) fn gate_connected(&mut self, now: Now) {
        let State::Connecting { server, .. } = self.gate.state else { return };
        log::info!("connected to the RTM gate");
        self.gate.next_server = server;
        self.gate.state =
            State::Up { server, heard_at: now.mono, ping_at: now.mono + PING_EVERY, idle_at: Some(now.mono + IDLE) };
        let quests = self.wanted.quests();
        let count = quests.len();
        for (at, (method, fields)) in quests.into_iter().enumerate() {
            let salt = self.salts.next(now.unix.saturating_mul(1_000));
            let fields = fields(self.config.signed(method, salt, now.unix));
            self.gate.wire.ask(method, fields, What::Listen { last: at + 1 == count });
        }
        self.ask_for_receipts(now);
    }

    /// The server has answered a quest by which listening was said again.
    pub(super) fn listens_again(&mut self, last: bool, outcome: Result<(), (i32, String)>, now: Now) {
        match outcome {
            Err((code, text)) => {
                log::warn!("the RTM gate does not let us listen again: {code} {text:?}");
                self.break_gate("it does not let us listen again", now);
            }
            Ok(()) if last => {
                self.gate.failures = 0;
                if std::mem::take(&mut self.gate.told_off) {
                    log::info!("listening at the RTM gate again");
                    self.outputs.push_back(Output::Event(Event::Line(Failure::new(0, ""))));
                }
            }
            Ok(()) => {}
        }
    }

    /// Ends the connection from our side, because of a fault.
    fn break_gate(&mut self, reason: &str, now: Now) {
        self.outputs.push_back(Output::Close { link: GATE });
        self.gate_lost(reason, now);
    }

    /// Closes the connection, because nothing needs it.
    pub(super) fn drop_gate(&mut self) {
        if self.gate.is_in_use() {
            self.outputs.push_back(Output::Close { link: GATE });
        }
        self.gate.state = State::Down;
        self.gate.take_wire();
    }

    pub(super) fn gate_lost(&mut self, reason: &str, now: Now) {
        match self.gate.state {
            State::Down | State::Waiting { .. } => return,
            State::Connecting { server, left, .. } if left > 0 => {
                log::info!("the RTM gate's address {} cannot be used: {reason}", server + 1);
                return self.try_server((server + 1) % self.config.servers.max(1), left - 1, now);
            }
            State::Connecting { .. } => {
                self.gate.failures = self.gate.failures.saturating_add(1);
                for id in std::mem::take(&mut self.waiting) {
                    self.failed(id, code::CONNECTION, format!("no connection to the gate: {reason}"));
                }
            }
            State::Up { .. } => {}
        }
        let was_up = matches!(self.gate.state, State::Up { .. });
        self.gate.state = State::Down;
        let wire = self.gate.take_wire();
        let written = wire.out.written();
        for asked in wire.asked_by_seq.into_values() {
            if let What::Call(id) = asked.what {
                self.connection_took(id, asked.end <= written, reason);
            }
        }
        self.line_is_off(was_up, reason, now);
    }

    /// Goes on listening, if something is listened to, and waiting for receipts.
    fn line_is_off(&mut self, was_up: bool, reason: &str, now: Now) {
        if !self.needs_connection() {
            return;
        }
        // Receipts that come meanwhile are kept, so only those who listen miss something.
        if was_up && !self.wanted.is_empty() && !std::mem::replace(&mut self.gate.told_off, true) {
            log::warn!("the connection that listens at the RTM gate is lost ({reason}); connecting again");
            let failure = Failure::new(code::CONNECTION_CLOSED, format!("the connection is lost: {reason}"));
            self.outputs.push_back(Output::Event(Event::Line(failure)));
        } else if was_up {
            self.gate.failures = self.gate.failures.saturating_add(1);
        }
        let pause = self.backoff();
        self.gate.state = State::Waiting { until: now.mono + pause };
    }

    /// Half of the pause is certain, half is chance, so that a thousand clients do not come back at once.
    fn backoff(&mut self) -> Duration {
        let full = BACKOFF_FIRST_MS.saturating_mul(1 << self.gate.failures.min(16)).min(BACKOFF_LAST_MS);
        Duration::from_millis(full / 2 + self.random_below(full))
    }
}

impl Client {
    /// Whether a connection is needed although no call is.
    pub(super) fn needs_connection(&self) -> bool {
        let cannot_tell = self.gate.offer == Offer::Refused { again: None };
        !self.wanted.is_empty() || (self.receipts.need_connection() && !cannot_tell)
    }
}

impl Wanted {
    /// Whether nothing is listened to.
    pub(super) fn is_empty(&self) -> bool {
        *self == Wanted::default()
    }
}
