//! How long a command takes, with and without a file that travels, and how many fit into a second.

use std::time::Duration;

use super::figure::{Figure, Rows};
use super::ground::{Commands, Files, Ground, Mode, Peer, Relay, SETTLED, Watched};
use super::proc;
use crate::process::{Failure, Outcome};

pub const FIGURE: Figure = Figure {
    name: "latency",
    description: "commands of 100 bytes there and back, alone, encrypted, and beside a file; commands per second",
    measure,
};

/// The file that travels, again and again.
const SIZE: u64 = 1 << 30;

fn measure(ground: &Ground, rows: &mut Rows) -> Outcome<()> {
    let file = ground.noise("latency.bin", SIZE)?;
    let certificate = ground.certificate()?;
    let trusts = [format!("ca={}", certificate.path.display())];
    for run in 1..=ground.options.runs {
        for mode in Mode::ALL {
            let name = mode.word();
            println!("bench: latency, run {run} of {}, {name}", ground.options.runs);
            let relay = ground.relay()?;
            let peer = |user| ground.peer(&relay, user, mode, Files::Discarded);
            let (mut alice, bob) = (peer("alice")?, peer("bob")?);
            let (mut carol, dave) = (peer("carol")?, peer("dave")?);
            alone(ground, rows, name, None, (&relay, &mut alice, &bob))?;

            // In the same round, so that the two can be compared.
            let encrypted_relay = ground.relay_with_tls(&certificate)?;
            let peer = |user| {
                let inbox = ground.path(&format!("inbox-{user}"));
                ground.peer_with(&encrypted_relay, user, inbox, mode, Files::Discarded, &trusts)
            };
            let (mut erin, frank) = (peer("erin")?, peer("frank")?);
            let with_tls = format!("{name}, encrypted");
            alone(ground, rows, &with_tls, Some(name), (&encrypted_relay, &mut erin, &frank))?;
            drop((erin, frank, encrypted_relay));

            alice.flood(&bob, &file)?;
            std::thread::sleep(SETTLED);
            let (commands, _) = exchange(ground, &relay, &mut alice, &bob, 1)?;
            add_times(rows, &format!("{name}, a file in the same sessions"), Some(&format!("{name}, idle")), &commands);
            add_rate(rows, &format!("{name}, that file"), alice.dry()?);

            carol.flood(&dave, &file)?;
            std::thread::sleep(SETTLED);
            let (commands, _) = exchange(ground, &relay, &mut alice, &bob, 1)?;
            add_times(rows, &format!("{name}, a file between others"), Some(&format!("{name}, idle")), &commands);
            add_rate(rows, &format!("{name}, that file of others"), carol.dry()?);
        }
    }
    Ok(())
}

/// Exchanges commands; also returns the processor time that all three programs took for one, in microseconds.
fn exchange(ground: &Ground, relay: &Relay, from: &mut Peer, to: &Peer, in_flight: usize) -> Outcome<(Commands, f64)> {
    let pids = [from.pid(), relay.pid(), to.pid()];
    let cpu = || pids.into_iter().map(proc::cpu_seconds).sum::<Outcome<f64>>();
    let before = cpu()?;
    let commands = from.commands(ground, to, in_flight, Duration::from_secs(ground.options.seconds))?;
    if commands.failed > 0.0 || commands.done == 0.0 {
        return Err(Failure::new(format!("{} commands arrived, {} failed", commands.done, commands.failed)));
    }
    let each = (cpu()? - before) * 1e6 / commands.done;
    Ok((commands, each))
}

/// Commands and nothing beside them, one and many in flight; `base` is what the same is called without encryption.
fn alone(
    ground: &Ground,
    rows: &mut Rows,
    name: &str,
    base: Option<&str>,
    (relay, from, to): (&Relay, &mut Peer, &Peer),
) -> Outcome<()> {
    from.commands(ground, to, 1, SETTLED)?;
    let (commands, cpu) = exchange(ground, relay, from, to, 1)?;
    add_times(rows, &format!("{name}, idle"), base.map(|base| format!("{base}, idle")).as_deref(), &commands);
    let mut add = |what: &str, unit, value| {
        let row = rows.add(format!("{name}, {what}"), unit, value);
        if let Some(base) = base {
            row.against(format!("{base}, {what}"));
        }
    };
    add("1 in flight: processor", "µs each", cpu);
    for in_flight in [64, 256] {
        let (commands, cpu) = exchange(ground, relay, from, to, in_flight)?;
        add(&format!("{in_flight} in flight: rate"), "1/s", commands.done / commands.seconds);
        add(&format!("{in_flight} in flight: processor"), "µs each", cpu);
    }
    Ok(())
}

/// `base` is what the same is called in the row that it is compared with, up to the colon.
fn add_times(rows: &mut Rows, when: &str, base: Option<&str>, commands: &Commands) {
    for (what, percent) in [("median", 50.0), ("p99", 99.0)] {
        let row = rows.add(format!("{when}: {what}"), "µs", commands.times.percentile_us(percent));
        if let Some(base) = base {
            row.against(format!("{base}: {what}"));
        }
    }
}

fn add_rate(rows: &mut Rows, what: &str, (files, seconds): (f64, f64)) {
    rows.add(format!("{what}: rate"), "GB/s", files * SIZE as f64 / 1e9 / seconds);
}
