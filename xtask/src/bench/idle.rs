//! That an idle session wakes nobody but for the relay's heart-beat.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use super::figure::{Figure, Rows};
use super::ground::{Files, Ground, Mode, SETTLED, SOON, Watched};
use super::{proc, strace};
use crate::process::{Beside, Outcome, cannot};

pub const FIGURE: Figure =
    Figure { name: "idle", description: "how often the threads of an idle session wake up, under strace", measure };

/// Seconds between two heart-beats of the relay, its default.
const BEAT: u64 = 20;
/// Sleeping, waking others and moving bytes: all that an idle program could have a reason for.
const CALLS: &str = "trace=epoll_wait,epoll_pwait,epoll_pwait2,poll,ppoll,select,clock_nanosleep,futex,\
                     read,readv,write,writev,recvfrom,recvmsg,sendto,sendmsg";
/// What is shown of a line: the call and its first arguments.
const LINE_SHOWN: usize = 110;

fn measure(ground: &Ground, rows: &mut Rows) -> Outcome<()> {
    let seconds = ground.options.idle_seconds;
    let relay = ground.relay()?;
    let bob = ground.peer(&relay, "bob", Mode::Pump, Files::Discarded)?;
    let alice = ground.peer(&relay, "alice", Mode::Thread, Files::Discarded)?;
    sleep(SETTLED);
    println!("bench: idle, {seconds} s under strace");
    let traces = [
        Trace::start(ground, "thread", alice.pid())?,
        Trace::start(ground, "pump", bob.pid())?,
        Trace::start(ground, "relay", relay.pid())?,
    ];
    sleep(Duration::from_secs(seconds));
    for trace in traces {
        let (name, pid) = (trace.name, trace.pid);
        let names = proc::threads(pid)?;
        let mut threads = strace::parse(&trace.stop()?);
        for (tid, thread_name) in names {
            let seen = threads.remove(&tid).unwrap_or_default();
            let what = format!("{name}, {thread_name}{}", if tid == pid { " (main)" } else { "" });
            let wakes = rows.add(format!("{what}: wake-ups"), "", seen.wakes as f64);
            if name == "relay" {
                continue;
            }
            if thread_name == "crvideo-io" {
                wakes.exactly(seen.reads as f64);
                let beats = seconds / BEAT;
                rows.add(format!("{what}: heart-beats"), "", seen.reads as f64)
                    .between(beats as f64, (beats + 1) as f64);
            } else {
                wakes.exactly(0.0);
            }
            let shortened = |line: &String| line.chars().take(LINE_SHOWN).collect::<String>();
            rows.notes.extend(seen.lines.iter().map(|line| format!("{what}: {}", shortened(line))));
        }
        // A thread that came and went meanwhile is one that an idle session does not need.
        if name != "relay" {
            rows.add(format!("{name}: threads that came and went"), "", threads.len() as f64).exactly(0.0);
        }
    }
    Ok(())
}

/// strace, attached to a process.
struct Trace {
    name: &'static str,
    pid: u32,
    strace: Beside,
    path: PathBuf,
}

impl Trace {
    fn start(ground: &Ground, name: &'static str, pid: u32) -> Outcome<Self> {
        let path = ground.path(&format!("{name}.strace"));
        let mut command = Command::new("strace");
        command.args(["-f", "-tt", "-e", CALLS, "-p", &pid.to_string(), "-o"]).arg(&path).stderr(Stdio::null());
        let strace = Beside::start("strace", &mut command)?;
        sleep(SETTLED);
        Ok(Self { name, pid, strace, path })
    }

    fn stop(self) -> Outcome<String> {
        self.strace.stop(SOON)?;
        std::fs::read_to_string(&self.path).map_err(cannot("read", &self.path))
    }
}
