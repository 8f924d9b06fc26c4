//! The relay as a process that can be killed, stopped and started again at the same address.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::relay_process::{RelayProcess, program};
use crate::rng::{Rng, fresh_seed};

/// The project of every scenario.
pub const PROJECT: i64 = 1;
/// Its secret.
pub const SECRET: &str = "a secret of the chaos tests";
/// How long a relay may take to start on a busy machine.
const START: Duration = Duration::from_secs(60);

/// How a relay is set up.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Its configuration, log and what else belongs to it.
    pub dir: PathBuf,
    /// Seconds between heart-beats.
    pub heartbeat: f64,
    /// Seconds for which an epoch outlives its connection.
    pub resume_window: f64,
    /// Whether it keeps anything.
    pub data: Option<PathBuf>,
    /// Environment.
    pub env: Vec<(String, String)>,
    /// More lines for sections of the configuration: section and line.
    pub more: Vec<(String, String)>,
    /// Ports for clients, RTM servers and HTTP.
    pub ports: [u16; 3],
    /// What is put before the program, such as `nice`.
    pub before: Vec<String>,
}

impl Setup {
    /// One in this directory, with short times.
    pub fn in_dir(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            heartbeat: 1.0,
            resume_window: 20.0,
            data: None,
            env: Vec::new(),
            more: Vec::new(),
            ports: [free_port(), free_port(), free_port()],
            before: Vec::new(),
        }
    }

    fn config(&self) -> String {
        let [clients, rtm, http] = self.ports;
        let mut text = format!("listen = [\"127.0.0.1:{clients}\"]\nhttp = \"127.0.0.1:{http}\"\n");
        if let Some(data) = &self.data {
            let _ = writeln!(text, "data = {:?}", data.display().to_string());
        }
        let more = |section: &str| -> String {
            self.more.iter().filter(|it| it.0 == section).map(|it| format!("{}\n", it.1)).collect()
        };
        let (heartbeat, window) = (self.heartbeat, self.resume_window);
        let _ = writeln!(text, "[limits]\nheartbeat = {heartbeat}\nresume_window = {window}\n{}", more("limits"));
        let _ = writeln!(text, "[rtm]\nlisten = \"127.0.0.1:{rtm}\"\n{}[files]\n{}", more("rtm"), more("files"));
        let _ = writeln!(text, "[[project]]\nid = {PROJECT}\nsecrets = [\"{SECRET}\"]");
        text
    }

    /// Starts it. Fails with what it has said when it does not become ready.
    pub fn start(&self) -> Result<Relay, String> {
        let until = Instant::now() + START;
        loop {
            match self.try_start() {
                // The port may still belong to a connection of an earlier run.
                Err(error) if error.contains("is in use") && Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                done => return done,
            }
        }
    }

    fn try_start(&self) -> Result<Relay, String> {
        let config = self.dir.join("relay.toml");
        let log = self.log();
        std::fs::write(&config, self.config()).map_err(|error| error.to_string())?;
        let before = std::fs::metadata(&log).map_or(0, |it| it.len());
        let file = OpenOptions::new().create(true).append(true).open(&log).map_err(|error| error.to_string())?;
        let mut command = match self.before.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program());
                command
            }
            None => Command::new(program()),
        };
        command.arg("--config").arg(&config).args(["--log", "warn"]).envs(self.env.iter().cloned());
        command.stderr(file);
        let (process, _) = RelayProcess::start(command).map_err(|error| {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            format!("{error}: {}", said.get(before as usize..).unwrap_or(&said))
        })?;
        let [clients, rtm, http] = self.ports.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        Ok(Relay { process, clients, rtm, http, log })
    }

    fn log(&self) -> PathBuf {
        self.dir.join("relay.log")
    }

    /// What all its runs have logged.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Panics that it has logged: there must be none.
    pub fn panics(&self) -> Vec<String> {
        let said = self.said();
        said.lines().filter(|line| line.contains("panicked")).map(|line| format!("I10: the relay: {line}")).collect()
    }
}

/// A relay that runs, and is killed when it is dropped.
pub struct Relay {
    process: RelayProcess,
    /// Where clients connect.
    pub clients: SocketAddr,
    /// Where RTM servers connect.
    pub rtm: SocketAddr,
    /// Where HTTP is served.
    pub http: SocketAddr,
    log: PathBuf,
}

impl Relay {
    /// Its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        send_signal(self.process.id(), signal);
    }

    /// Kills it with SIGKILL.
    pub fn kill(self) {
        drop(self.process);
    }

    /// Asks it to stop with SIGTERM, and waits until it has; an error when it ends otherwise than with 0.
    pub fn stop(mut self) -> Result<(), String> {
        self.signal(Signal::TERM);
        let status = self.process.wait().map_err(|error| error.to_string())?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("the relay ended with {status}; see {}", self.log.display()))
        }
    }
}

/// Sends a process of ours a signal.
pub fn send_signal(process: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(process).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// A free port below those that the system gives to outgoing connections: a connection to a relay that is down would
/// otherwise now and then find itself at the other end, or have taken the relay's place.
pub fn free_port() -> u16 {
    let mut rng = Rng::new(fresh_seed());
    loop {
        let port = rng.between(15_000, 31_000) as u16;
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(at).is_ok() && TcpStream::connect(at).is_err() {
            return port;
        }
    }
}

/// Reads a file that may not be there.
pub fn text_of(path: &Path) -> String {
    let mut text = String::new();
    let _ = File::open(path).and_then(|mut file| std::io::Read::read_to_string(&mut file, &mut text));
    text
}
