//! What an idle session costs at both ends, and that a thousand of them do not make more threads.

use super::figure::{Figure, Rows};
use super::ground::{Certificate, Ground, Mode, Relay, SETTLED, SOON, Watched, number};
use super::proc;
use crate::process::{Beside, Outcome};

pub const FIGURE: Figure = Figure {
    name: "sessions",
    description: "many idle sessions in one process: memory of each, threads, login rate",
    measure,
};

/// What an idle session may take, in KiB, at either end.
const SESSION_LIMIT: f64 = 16.0;

fn measure(ground: &Ground, rows: &mut Rows) -> Outcome<()> {
    for run in 1..=ground.options.runs {
        for mode in Mode::ALL {
            println!("bench: sessions, run {run} of {}, {}", ground.options.runs, mode.word());
            measure_once(ground, rows, mode)?;
        }
    }
    Ok(())
}

/// What logging in many users costs, and what they cost when they do nothing.
pub struct Crowd {
    /// Logins that have failed.
    pub failed: f64,
    /// Logins in a second, all at once.
    pub logins: f64,
    /// Bytes of memory for a session, in the library and in the relay.
    pub library: f64,
    pub relay: f64,
}

/// Logs in `count` users on one queue of one process.
pub fn crowd(ground: &Ground, count: u64, mode: Mode, certificate: Option<&Certificate>) -> Outcome<Crowd> {
    let relay = match certificate {
        Some(certificate) => ground.relay_with_tls(certificate)?,
        None => ground.relay()?,
    };
    crowd_at(ground, relay, count, mode, certificate)
}

/// The same at a relay of the caller's.
pub fn crowd_at(
    ground: &Ground,
    relay: Relay,
    count: u64,
    mode: Mode,
    certificate: Option<&Certificate>,
) -> Outcome<Crowd> {
    let mut program = Program::start(ground, relay, count, mode, certificate)?;
    let none = program.step("none ")?;
    program.process.tell("on")?;
    let online = program.step("online ")?;
    Ok(Crowd {
        failed: number(&online.line, "failed")?,
        logins: program.count / number(&online.line, "ns")? * 1e9,
        library: (online.library - none.library) / program.count,
        relay: (online.relay - none.relay) / program.count,
    })
}

fn measure_once(ground: &Ground, rows: &mut Rows, mode: Mode) -> Outcome<()> {
    let name = mode.word();
    let mut program = Program::start(ground, ground.relay()?, ground.options.sessions, mode, None)?;
    let none = program.step("none ")?;
    program.process.tell("on")?;
    let online = program.step("online ")?;
    rows.add(format!("{name}: logins failed"), "", number(&online.line, "failed")?).exactly(0.0);
    rows.add(format!("{name}: logins"), "1/s", program.count / number(&online.line, "ns")? * 1e9);
    program.compare(rows, &format!("{name}, idle"), &none, &online, Some(SESSION_LIMIT));
    let threads = proc::threads(program.process.id())?;
    let called = |part: &str| threads.iter().filter(|(_, thread)| thread.contains(part)).count() as f64;
    rows.add(format!("{name}: io threads"), "", called("crvideo-io")).exactly(1.0);
    let callback_threads = if mode == Mode::Thread { 1.0 } else { 0.0 };
    rows.add(format!("{name}: callback threads"), "", called("crvideo-ca")).exactly(callback_threads);
    rows.add(format!("{name}: all threads"), "", threads.len() as f64);
    let names: Vec<_> = threads.into_iter().map(|thread| thread.1).collect();
    rows.note(format!("{name}: the threads are {}", names.join(", ")));

    program.process.tell("on")?;
    let exchanged = program.step("exchanged ")?;
    rows.add(format!("{name}: commands failed"), "", number(&exchanged.line, "failed")?).exactly(0.0);
    program.compare(rows, &format!("{name}, after a command each way"), &none, &exchanged, None);
    program.process.tell("on")?;
    let trimmed = program.step("trimmed ")?;
    let each = (trimmed.library - none.library) / program.count / 1024.0;
    rows.add(format!("{name}, after malloc_trim: library"), "KiB each", each);
    Ok(())
}

struct Program {
    process: Beside,
    relay: Relay,
    count: f64,
}

/// How much memory there was after a step.
struct Step {
    line: String,
    library: f64,
    relay: f64,
    heap: f64,
}

impl Program {
    fn start(
        ground: &Ground,
        relay: Relay,
        count: u64,
        mode: Mode,
        certificate: Option<&Certificate>,
    ) -> Outcome<Self> {
        let mut command = ground.command("sessions", &relay);
        command.arg(count.to_string()).arg(mode.word()).args(certificate.map(|certificate| &certificate.path));
        let process = Beside::start_told("sessions", &mut command)?;
        Ok(Self { process, relay, count: count as f64 })
    }

    fn step(&self, beginning: &str) -> Outcome<Step> {
        let line = self.process.wait_for(SOON, |line| line.starts_with(beginning).then(|| line.to_owned()))?;
        std::thread::sleep(SETTLED);
        let (library, relay) = (proc::memory(self.process.id())?.rss, proc::memory(self.relay.pid())?.rss);
        let heap = number(&line, "heap")?;
        Ok(Step { line, library, relay, heap })
    }

    /// Adds what one session takes.
    fn compare(&self, rows: &mut Rows, when: &str, none: &Step, some: &Step, limit: Option<f64>) {
        let mut add = |what, some: f64, none: f64| {
            let row = rows.add(format!("{when}: {what}"), "KiB each", (some - none) / self.count / 1024.0);
            if let Some(limit) = limit {
                row.at_most(limit);
            }
        };
        add("library", some.library, none.library);
        add("library, heap only", some.heap, none.heap);
        add("relay", some.relay, none.relay);
    }
}
