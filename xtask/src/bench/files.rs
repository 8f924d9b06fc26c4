//! How fast files are, beside the least that they can cost and beside what other programs reach on the same work.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use super::figure::{Figure, Rows};
use super::files_others::{self as others, Cost};
use super::ground::{Certificate, Files, GIB, Ground, MIB, Mode, Noise, Peer, Relay, SENT, SETTLED, Watched};
use super::proc;
use crate::process::{Failure, Outcome, Scratch, run};

pub const FIGURE: Figure = Figure {
    name: "files",
    description: "files through the relay beside a copying floor, nginx and scp: rate, processor time, memory",
    measure,
};

const SIZE: u64 = 1 << 30;
const MANY: usize = 50;
const MANY_SIZE: u64 = 20 << 20;
const SMALL: usize = 1_000;
const SMALL_SIZE: u64 = 10 << 10;
/// On a disk, which is slower.
const DURABLE_SIZE: u64 = 256 << 20;
/// Names of the rows that others are compared with.
const FLOOR: &str = "copying floor";
const OURS: &str = "1 GiB";

fn measure(ground: &Ground, rows: &mut Rows) -> Outcome<()> {
    // In memory, or the disk would be measured.
    let memory = Scratch::create(PathBuf::from(format!("/dev/shm/crvideo-bench-{}", std::process::id())))?;
    let large = ground.noise("files-large.bin", SIZE)?;
    let middle = ground.noise("files-middle.bin", MANY_SIZE)?;
    let small = ground.noise("files-small.bin", SMALL_SIZE)?;
    let on_disk = ground.noise("files-disk.bin", DURABLE_SIZE)?;
    let certificate = ground.certificate()?;
    for run in 1..=ground.options.runs {
        println!("bench: files, run {run} of {}", ground.options.runs);
        add(rows, FLOOR, None, &others::floor(ground, &large, memory.path())?);
        single(ground, rows, &memory, &large)?;
        match others::nginx(&large, memory.path())? {
            Some(cost) => add(rows, "nginx, PUT and then GET", None, &cost),
            None => rows.note("nginx or curl is not installed".to_owned()),
        }
        match others::scp(&large, memory.path())? {
            Some(cost) => add(rows, "scp, one hop", None, &cost),
            None => rows.note("sshd or scp is not installed".to_owned()),
        }
        batch(ground, rows, &memory, ("50 files of 20 MiB at once", MANY), &middle)?;
        batch(ground, rows, &memory, ("1,000 files of 10 KiB at once", SMALL), &small)?;
        encrypted(ground, rows, &memory, &large, &certificate)?;
        durable(ground, rows, &on_disk)?;
    }
    Ok(())
}

fn add(rows: &mut Rows, what: &str, base: Option<&str>, cost: &Cost) {
    let rate = rows.add(format!("{what}: rate"), "GB/s", cost.bytes / 1e9 / cost.seconds);
    if let Some(base) = base {
        rate.against(format!("{base}: rate"));
    }
    let each = rows.add(format!("{what}: processor"), "s/GiB", cost.cpu / (cost.bytes / GIB));
    if let Some(base) = base {
        each.against(format!("{base}: processor"));
    }
}

/// A relay and two users, who have come to rest.
struct Trio {
    alice: Peer,
    bob: Peer,
    relay: Relay,
    idle: f64,
    cpu: f64,
}

impl Trio {
    fn start(ground: &Ground, relay: Relay, inbox: PathBuf, arguments: &[String]) -> Outcome<Self> {
        let bob = ground.peer_with(&relay, "bob", inbox, Mode::Thread, Files::Kept, arguments)?;
        let own = ground.path("inbox-alice");
        let alice = ground.peer_with(&relay, "alice", own, Mode::Thread, Files::Kept, arguments)?;
        std::thread::sleep(SETTLED);
        let idle = relay.settle()?.rss;
        let mut trio = Self { alice, bob, relay, idle, cpu: 0.0 };
        trio.cpu = trio.cpu_now()?;
        Ok(trio)
    }

    fn pids(&self) -> [(&'static str, u32); 3] {
        [("sender", self.alice.pid()), ("relay", self.relay.pid()), ("receiver", self.bob.pid())]
    }

    fn cpu_now(&self) -> Outcome<f64> {
        self.pids().into_iter().map(|(_, pid)| proc::cpu_seconds(pid)).sum()
    }

    fn growth(&self) -> Outcome<f64> {
        Ok((self.relay.memory()?.peak - self.idle) / MIB)
    }

    /// Sends one file and sees to it that it arrives as it was.
    fn send(&mut self, file: &Noise, bytes: u64) -> Outcome<Cost> {
        self.alice.send(&self.bob, file)?;
        let result = self.alice.sent(SENT)?;
        let cpu = self.cpu_now()? - self.cpu;
        if result.code != 0 {
            return Err(Failure::new(format!("the file was not sent: error {}", result.code)));
        }
        if !self.bob.received_like(file)? {
            return Err(Failure::new("the received file is not like its source"));
        }
        Ok(Cost { bytes: bytes as f64, seconds: result.seconds, cpu })
    }
}

fn single(ground: &Ground, rows: &mut Rows, memory: &Scratch, file: &Noise) -> Outcome<()> {
    let mut trio = Trio::start(ground, ground.relay()?, memory.path().join("inbox"), &[])?;
    let before = trio.pids().map(|(what, pid)| (what, pid, proc::cpu_seconds(pid)));
    let cost = trio.send(file, SIZE)?;
    add(rows, OURS, Some(FLOOR), &cost);
    for (what, pid, seconds) in before {
        let spent = proc::cpu_seconds(pid)? - seconds?;
        rows.add(format!("{OURS}: processor, {what}"), "s/GiB", spent / (SIZE as f64 / GIB));
    }
    rows.add(format!("{OURS}: relay's growth"), "MiB", trio.growth()?).at_most(super::memory::GROWTH_LIMIT);
    Ok(())
}

fn batch(
    ground: &Ground,
    rows: &mut Rows,
    memory: &Scratch,
    (what, count): (&str, usize),
    file: &Noise,
) -> Outcome<()> {
    let mut trio = Trio::start(ground, ground.relay()?, memory.path().join("inbox"), &[])?;
    let (first, last) = trio.alice.batch(&trio.bob, count, file)?;
    let cpu = trio.cpu_now()? - trio.cpu;
    for _ in 0..count {
        if !trio.bob.received_like(file)? {
            return Err(Failure::new("a received file is not like its source"));
        }
    }
    let bytes = count as f64 * std::fs::metadata(file.path()).map_or(0.0, |file| file.len() as f64);
    if count == MANY {
        add(rows, what, Some(OURS), &Cost { bytes, seconds: last, cpu });
        rows.add(format!("{what}: the slowest by the fastest"), "", last / first);
    } else {
        rows.add(format!("{what}: rate"), "1/s", count as f64 / last);
        rows.add(format!("{what}: processor"), "µs each", cpu * 1e6 / count as f64);
    }
    rows.add(format!("{what}: relay's growth"), "MiB", trio.growth()?);
    Ok(())
}

fn encrypted(
    ground: &Ground,
    rows: &mut Rows,
    memory: &Scratch,
    file: &Noise,
    certificate: &Certificate,
) -> Outcome<()> {
    let relay = ground.relay_with_tls(certificate)?;
    let trusts = [format!("ca={}", certificate.path.display())];
    let mut trio = Trio::start(ground, relay, memory.path().join("inbox"), &trusts)?;
    let cost = trio.send(file, SIZE)?;
    add(rows, "1 GiB, encrypted", Some(OURS), &cost);
    Ok(())
}

/// On the disk, synced before the sender hears of success.
fn durable(ground: &Ground, rows: &mut Rows, file: &Noise) -> Outcome<()> {
    let copy = ground.path("dd.bin");
    let began = Instant::now();
    let mut dd = Command::new("dd");
    dd.arg(format!("if={}", file.path().display())).arg(format!("of={}", copy.display()));
    run(dd.args(["bs=1M", "conv=fsync", "status=none"]))?;
    let seconds = began.elapsed().as_secs_f64();
    let _ = std::fs::remove_file(&copy);
    rows.add("dd conv=fsync, 256 MiB on the disk: rate", "GB/s", DURABLE_SIZE as f64 / 1e9 / seconds);
    let inbox = ground.path("inbox-durable");
    let mut trio = Trio::start(ground, ground.relay()?, inbox, &["durable".to_owned()])?;
    let cost = trio.send(file, DURABLE_SIZE)?;
    let row = rows.add("durable, 256 MiB on the disk: rate", "GB/s", cost.bytes / 1e9 / cost.seconds);
    row.against("dd conv=fsync, 256 MiB on the disk: rate");
    Ok(())
}
