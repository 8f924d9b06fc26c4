//! One message to thousands: an RTM server's to users of our library, and one that NATS publishes.

use std::time::{Duration, Instant};

use super::beside::{Bar, Cpu, add_ratio};
use super::figure::Rows;
use super::ground::{Ground, SOON, Watched, number};
use super::proc;
use super::systems::{NatsMode, System, Systems};
use crate::process::{Beside, Failure, Outcome};

/// What is sent, how often, to how many.
pub struct Fan {
    pub users: u64,
    pub messages: u32,
    pub bytes: u64,
}

/// Starting thousands of connections of nats.c, with a thread each, takes long.
const MANY: Duration = Duration::from_secs(300);

/// What one message costs for each recipient.
struct Cost {
    /// Processor time in microseconds: of all three processes, and of the one between.
    all: f64,
    server: f64,
    /// From the call until the last has heard, in milliseconds; the median.
    last: f64,
}

/// Adds what each system takes.
pub fn measure(ground: &Ground, rows: &mut Rows, systems: &Systems, fan: &Fan) -> Outcome<()> {
    let what = format!("one message to {}", grouped(fan.users));
    let nats = match systems.missing(System::Nats(NatsMode::Asap)) {
        None => Some(nats(systems, fan)?),
        Some(_) => None,
    };
    match &nats {
        Some(cost) => add(rows, &what, "NATS", cost),
        None => leave_out(rows, &what, "NATS"),
    }
    let relay = ground.relay()?;
    let mut users = ground.command("fan", &relay);
    let users = Beside::start("users", users.arg("users").arg(fan.users.to_string()))?;
    ready(&users, MANY)?;
    let mut server = ground.command("fan", &relay);
    let mut server = Beside::start_told("an RTM server", server.arg("server").arg(relay.rtm()))?;
    ready(&server, SOON)?;
    server.tell(&format!("group {}", fan.users))?;
    if number(&line(&server, "group ")?, "failed")? > 0.0 {
        return Err(Failure::new("the group was not made"));
    }
    for (whom, name) in [("all", "ours (everybody)"), ("group", "ours (a group)")] {
        let command = format!("send {} {whom}", fan.bytes);
        let cost = send(fan, [server.id(), users.id()], relay.pid(), || {
            server.tell(&command)?;
            let sent = line(&server, "sent ")?;
            if number(&sent, "failed")? > 0.0 {
                return Err(Failure::new("a message was not sent"));
            }
            heard(&users, &sent)
        })?;
        add(rows, &what, name, &cost);
        let (ours, theirs) = (Some(cost.all), nats.as_ref().map(|cost| cost.all));
        add_ratio(rows, format!("{what}: processor, {name} to NATS"), ours, theirs, Bar::AtMost(1.0));
    }
    Ok(())
}

fn nats(systems: &Systems, fan: &Fan) -> Outcome<Cost> {
    let (server, url) = systems.nats_server()?;
    let users = Beside::start("subscribers", &mut systems.nats_client(&["subscribe", &url, &fan.users.to_string()])?)?;
    ready(&users, MANY)?;
    let mut publisher = Beside::start_told("the publisher", &mut systems.nats_client(&["publish", &url])?)?;
    ready(&publisher, SOON)?;
    let command = format!("publish {}", fan.bytes);
    let ids = [publisher.id(), users.id()];
    send(fan, ids, server.pid(), || {
        publisher.tell(&command)?;
        heard(&users, &line(&publisher, "published ")?)
    })
}

/// Lets `once` send a message until all have heard of it, first to get warm and then to be counted.
fn send(fan: &Fan, others: [u32; 2], server: u32, mut once: impl FnMut() -> Outcome<f64>) -> Outcome<Cost> {
    once()?;
    settle(&[others[0], others[1], server])?;
    let (all, alone) = (Cpu::of(&[others[0], others[1], server])?, Cpu::of(&[server])?);
    let times = (0..fan.messages).map(|_| once()).collect::<Outcome<Vec<_>>>()?;
    // What answers follow belongs to the messages.
    settle(&[others[0], others[1], server])?;
    let recipients = f64::from(fan.messages) * fan.users as f64;
    Ok(Cost {
        all: all.seconds()? * 1e6 / recipients,
        server: alone.seconds()? * 1e6 / recipients,
        last: super::stats::median(&times),
    })
}

/// Waits until programs have nothing more to do than to keep thousands of connections alive.
fn settle(pids: &[u32]) -> Outcome<()> {
    const QUIET: Duration = Duration::from_millis(300);
    /// Seconds of processor time: one tick of the clock that counts it, and not two.
    const KEPT_ALIVE: f64 = 0.015;
    let now = || pids.iter().map(|pid| proc::cpu_seconds(*pid)).sum::<Outcome<f64>>();
    let deadline = Instant::now() + SOON;
    let mut before = now()?;
    while Instant::now() < deadline {
        std::thread::sleep(QUIET);
        let after = now()?;
        if after - before < KEPT_ALIVE {
            return Ok(());
        }
        before = after;
    }
    Err(Failure::new("programs that have nothing to do work all the same"))
}

fn ready(process: &Beside, timeout: Duration) -> Outcome<()> {
    process.wait_for(timeout, |line| (line == "ready").then_some(()))
}

fn line(process: &Beside, beginning: &str) -> Outcome<String> {
    process.wait_for(SOON, |line| line.starts_with(beginning).then(|| line.to_owned()))
}

/// Waits until all users have heard; milliseconds since the call that `sent` tells of.
fn heard(users: &Beside, sent: &str) -> Outcome<f64> {
    let last = line(users, "heard ")?;
    Ok((number(&last, "ns")? - number(sent, "ns")?) / 1e6)
}

fn add(rows: &mut Rows, what: &str, name: &str, cost: &Cost) {
    let processor = format!("{what}: processor");
    rows.add(format!("{processor}, {name}"), "µs each", cost.all).shown_in(processor, name);
    rows.add(format!("{what}: processor of the server alone, {name}"), "µs each", cost.server);
    rows.add(format!("{what}: until the last has it, {name}"), "ms", cost.last);
}

fn leave_out(rows: &mut Rows, what: &str, name: &str) {
    rows.leave_out(format!("{what}: processor, {name}"), "µs each", "not on this machine");
}

/// A number as the table writes it.
fn grouped(number: u64) -> String {
    super::figure::shown(number as f64)
}
