//! A user in a process of its own, to be killed and stopped: the program `crvideo-chaos peer …` and what starts it.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;

use crate::journal::{Journal, Kind, read};
use crate::ledger::Process;
use crate::party::{Habits, Party, StallWatch, own_id, until};
use crate::relay::send_signal;
use crate::rng::Rng;

/// What a sending peer does; its content follows from its seed.
#[derive(Debug, Clone)]
pub struct Work {
    /// To whom.
    pub target: String,
    /// Draws kinds and content.
    pub seed: u64,
    /// Largest buffer and file.
    pub largest: u64,
    /// Tasks in all.
    pub tasks: u64,
}

/// A peer's process.
pub struct Peer {
    child: Child,
    journal: PathBuf,
    stopped: Duration,
}

impl Peer {
    /// Starts this program again as a user who receives, and sends if there is work; returns when it is logged in.
    pub fn start(
        program: &Path,
        dir: &Path,
        user: &str,
        at: SocketAddr,
        work: Option<&Work>,
        env: &[(&str, &str)],
    ) -> Self {
        let journal = dir.join(format!("journal-{:x}", crate::rng::fresh_seed()));
        let mut command = Command::new(program);
        command.arg("peer").arg(at.to_string()).args([user, &journal.display().to_string()]).arg(dir.join("files"));
        if let Some(Work { target, seed, largest, tasks }) = work {
            command.args([target, &seed.to_string(), &largest.to_string(), &tasks.to_string()]);
        }
        command.envs(env.iter().copied()).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "the peer {user} does not start");
        Self { child, journal, stopped: Duration::ZERO }
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Stops it for a while.
    pub fn stop_for(&mut self, time: Duration) {
        send_signal(self.child.id(), Signal::STOP);
        std::thread::sleep(time);
        send_signal(self.child.id(), Signal::CONT);
        self.stopped += time;
    }

    /// Kills it; what it has noted.
    pub fn kill(mut self) -> Process {
        let ended = self.has_ended();
        let _ = (self.child.kill(), self.child.wait());
        self.notes(!ended)
    }

    /// Waits until it has done its work and ended; `None` when it takes longer.
    pub fn end(mut self, patience: Duration) -> Option<Process> {
        until(patience, || self.has_ended()).then(|| self.notes(false))
    }

    fn notes(&self, killed: bool) -> Process {
        Process { entries: read(&self.journal).unwrap_or_default(), killed, stopped: self.stopped }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = (self.child.kill(), self.child.wait());
    }
}

/// The program's part. Sends its work and ends when all of it has ended; receives for ever without work.
pub fn run(words: &[String]) -> Result<(), String> {
    let [at, user, journal, dir, work @ ..] = words else { return Err("peer takes at least four words".to_owned()) };
    let at: SocketAddr = at.parse().map_err(|error| format!("{at:?} is no address: {error}"))?;
    let journal = Arc::new(Journal::in_file(Path::new(journal)).map_err(|error| format!("{journal:?}: {error}"))?);
    let habits = Habits { keep_files: true, ..Habits::in_dir(Path::new(dir)) };
    let watch = StallWatch::start(&journal);
    let party = Party::logged_in(user, &habits, &journal, at);
    println!("ready");
    let [target, seed, largest, tasks] = work else {
        loop {
            std::thread::park();
        }
    };
    let number = |text: &String| text.parse::<u64>().map_err(|error| format!("{text:?}: {error}"));
    let (mut rng, largest, tasks) = (Rng::new(number(seed)?), number(largest)?, number(tasks)?);
    let sent = (0..tasks).filter(|_| send_one(&party, target, largest, &mut rng)).count();
    party.settle(Duration::from_secs(120));
    party.destroy();
    drop(watch);
    if sent == 0 { Err("nothing could be sent".to_owned()) } else { Ok(()) }
}

/// Sends something of a drawn kind and size, a large transfer first of all.
pub fn send_one(party: &Party, target: &str, largest: u64, rng: &mut Rng) -> bool {
    let kind = rng.pick(&[Kind::Command, Kind::Buffer, Kind::File]);
    let first = party.sent() == 0;
    let (kind, size) = match kind {
        Kind::Command if !first => (kind, rng.magnitude(1, 4_000)),
        Kind::Command => (Kind::File, largest),
        _ if first => (kind, largest),
        _ => (kind, rng.magnitude(1, largest)),
    };
    let content = rng.bytes(size as usize);
    let id = own_id(rng);
    party.send(kind, target, &content, Some(id)).is_some()
}

/// Tasks that a receiver has confirmed, as a proxy before it has seen.
#[derive(Default)]
pub struct Witness {
    done: BTreeSet<crvideo_proto::id::TaskId>,
    /// Commands that were on their way to it: sender, its epoch, the end of the command's stretch, and the task.
    commands: Vec<(String, u64, u64, crvideo_proto::id::TaskId)>,
}

impl Witness {
    /// Takes what goes through.
    pub fn see(&mut self, way: crate::proxy::Way, frame: &crvideo_proto::frame::Frame) {
        use crate::proxy::Way;
        use crvideo_proto::message::{Address, Command, CommandAck, Done, Message};
        let payload = crate::frames::without_seal(frame);
        match (way, frame.method()) {
            (Way::Down, Command::METHOD) => {
                if let Ok(it) = crvideo_proto::message::Routed::<Command>::read(&payload) {
                    let end = it.message.position + 256 + it.message.data.len() as u64;
                    self.commands.push((it.from, it.epoch, end, it.message.task));
                }
            }
            (Way::Up, CommandAck::METHOD) => {
                let address = Address::to(&payload).map(|it| (it.user.to_owned(), it.epoch));
                let (Ok((to, epoch)), Ok(ack)) = (address, crvideo_proto::message::Body::read(&payload)) else {
                    return;
                };
                let ack: CommandAck = ack;
                let refused = |end: u64| ack.refused.iter().any(|(from, to)| *from < end && end <= *to);
                let confirmed = self
                    .commands
                    .iter()
                    .filter(|it| it.0 == to && it.1 == epoch && it.2 <= ack.position && !refused(it.2));
                self.done.extend(confirmed.map(|it| it.3));
            }
            (Way::Up, Done::METHOD) => {
                if let Ok(Done { task, code: 0 }) = crvideo_proto::message::Body::read(&payload) {
                    self.done.insert(task);
                }
            }
            _ => {}
        }
    }

    /// What was confirmed.
    pub fn confirmed(&self) -> &BTreeSet<crvideo_proto::id::TaskId> {
        &self.done
    }
}
