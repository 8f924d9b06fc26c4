//! Two sessions and a relay's core that exchange commands without sockets, threads or a clock: what a command costs
//! apart from the system calls.

use std::time::Duration;

use bytes::Bytes;
use crvideo_proto::frame::{FrameReader, PRE_LOGIN_LIMIT, SESSION_LIMIT};
use crvideo_proto::id::TaskId;
use crvideo_proto::session::{
    COMMAND_OVERHEAD, CommandCall, Config, Conn, Credential, Event, Identity, Now, Output, Session,
};
use crvideo_relay::GuardSettings;
use crvideo_relay::core::{self, ConnectionId, Core, Epochs, Settings, Tenant};

const PROJECT: i64 = 7;
const SECRET: &str = "a secret of measurements";
/// When everything happens, in seconds since 1970.
const START: u64 = 1_795_000_000;
/// Nobody waits here, so no deadline is ever reached.
const NEVER: Duration = Duration::from_secs(3_600);
const INBOUND_LIMIT: u64 = 8 << 20;

/// What has come of something that was to go its way.
#[derive(Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The relay's core has refused a connection or given one up.
    Relay,
    /// A session did not log in.
    Login,
    /// Bytes were no frames.
    Frames,
}

/// Alice, Bob and the relay between them.
pub struct Exchange {
    core: Core,
    alice: Party,
    bob: Party,
    sent: u64,
}

struct Party {
    session: Session,
    connection: ConnectionId,
    /// The relay's, for what the session has written.
    reader: FrameReader,
    handled: u64,
    logged_in: bool,
    /// Results of commands that were good, and others.
    arrived: usize,
    failed: usize,
}

fn now() -> Now {
    Now { mono: Duration::ZERO, unix: START }
}

fn relay_now() -> core::Now {
    core::Now { at: Duration::ZERO, unix_micros: START * 1_000_000 }
}

impl Exchange {
    /// Both have logged in, and the first command has been there and back.
    pub fn new() -> Result<Self, Trouble> {
        let mut core = relay();
        let alice = Party::new("alice", 1, &mut core)?;
        let bob = Party::new("bob", 2, &mut core)?;
        let mut exchange = Self { core, alice, bob, sent: 0 };
        exchange.turn()?;
        if !exchange.alice.logged_in || !exchange.bob.logged_in {
            return Err(Trouble::Login);
        }
        exchange.commands(1, 100)?;
        Ok(exchange)
    }

    /// Alice sends Bob commands, all before the first of them travels, and hears of each; how many have arrived.
    pub fn commands(&mut self, count: usize, bytes: usize) -> Result<usize, Trouble> {
        let before = self.alice.arrived;
        for _ in 0..count {
            self.sent += 1;
            let mut task = [0; 16];
            task[8..].copy_from_slice(&self.sent.to_be_bytes());
            let call = CommandCall {
                target: "bob".into(),
                task: TaskId::from_bytes(task),
                chosen: false,
                data: Bytes::from(vec![b'x'; bytes]),
                timeout: None,
                cookie: 0,
            };
            self.alice.session.send_command(call, now());
        }
        self.turn()?;
        Ok(self.alice.arrived - before)
    }

    /// Carries bytes until nobody says anything more.
    fn turn(&mut self) -> Result<(), Trouble> {
        loop {
            let mut moved = false;
            for party in [&mut self.alice, &mut self.bob] {
                party.outputs();
                moved |= party.speak(&mut self.core)?;
                moved |= party.listen(&mut self.core)?;
            }
            if !moved {
                return Ok(());
            }
        }
    }
}

fn relay() -> Core {
    let settings = Settings {
        max_connections: 8,
        max_before_login: 8,
        login_deadline: NEVER,
        heartbeat: NEVER,
        resume_window: NEVER,
        startup_grace: Duration::ZERO,
        stall_timeout: NEVER,
        command_queue: 8 << 20,
        bulk_queue: 8 << 20,
        guard: GuardSettings::default(),
    };
    let tenant = Tenant { id: PROJECT, secrets: vec![SECRET.to_owned()], max_file: 0 };
    let mut drawn = 0_u64;
    let random = Box::new(move || {
        drawn += 1;
        let mut bytes = [0xa5; 16];
        bytes[..8].copy_from_slice(&drawn.to_le_bytes());
        Some(bytes)
    });
    Core::new(settings, vec![tenant], Epochs::by_clock(START * 1_000_000), random)
}

impl Party {
    fn new(user: &str, number: u8, core: &mut Core) -> Result<Self, Trouble> {
        let config = Config {
            command_timeout: NEVER,
            transfer_timeout: NEVER,
            offer_timeout: NEVER,
            buffer_limit: INBOUND_LIMIT,
            inbound_limit: INBOUND_LIMIT,
            max_send_bytes_per_s: 0,
            agent: "micro",
        };
        let mut session = Session::new(config, [number; 16], u64::from(number));
        let credential = Credential::Secret(SECRET.to_owned());
        session.login(Identity { servers: 1, project: PROJECT, user: user.to_owned(), credential }, 0, now());
        let connection = core.opened(relay_now()).map_err(|_| Trouble::Relay)?;
        let reader = FrameReader::new(PRE_LOGIN_LIMIT);
        Ok(Self { session, connection, reader, handled: 0, logged_in: false, arrived: 0, failed: 0 })
    }

    /// Does what the session wants, as the library's io thread and its callbacks do.
    fn outputs(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Connect { conn, .. } => self.session.connected(conn, now()),
                Output::Event(event) => self.event(event),
                _ => {}
            }
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::LoginRslt { err, .. } => self.logged_in = err == 0,
            Event::CommandRslt { err: 0, .. } => self.arrived += 1,
            Event::CommandRslt { .. } => self.failed += 1,
            Event::Command { data, receipt, .. } => {
                self.handled += COMMAND_OVERHEAD + data.len() as u64;
                self.session.handled_in_all(self.handled);
                if let Some(receipt) = receipt {
                    self.session.receipt(receipt, now());
                }
            }
            _ => {}
        }
    }

    /// The relay hears what the session has written; whether that was anything.
    fn speak(&mut self, core: &mut Core) -> Result<bool, Trouble> {
        let said = self.session.out(Conn::Command).take();
        if said.is_empty() {
            return Ok(false);
        }
        self.session.written(Conn::Command, now());
        self.reader.feed(&said);
        core.heard(self.connection, relay_now());
        while let Some(frame) = self.reader.next_frame().map_err(|_| Trouble::Frames)? {
            core.frame(self.connection, &frame, relay_now());
            if let Some(seal) = core.take_seal(self.connection) {
                self.reader.expect_seals(seal);
            }
            if core.logged_in(self.connection) {
                self.reader.set_limit(SESSION_LIMIT);
            }
        }
        Ok(true)
    }

    /// The session hears what the relay has for it; whether that was anything.
    fn listen(&mut self, core: &mut Core) -> Result<bool, Trouble> {
        let (mut written, mut moved) = (0, false);
        loop {
            match core.flush(self.connection, written, relay_now()) {
                core::Output::Write(mut out) => {
                    written = out.len();
                    self.session.reader(Conn::Command).feed(&out.take());
                    self.session.received(Conn::Command, now());
                    moved = true;
                }
                core::Output::Wait => return Ok(moved),
                core::Output::Close | core::Output::Gone => return Err(Trouble::Relay),
            }
        }
    }
}
