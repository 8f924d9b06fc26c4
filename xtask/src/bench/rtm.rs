//! What files that servers send by RTM cost the relay: uploads at once, one file to thousands, a restart with much stored.

use std::path::Path;
use std::time::Instant;

use super::figure::{Figure, Rows};
use super::ground::{Ground, MIB, Relay, SENT, SOON, Watched, number};
use crate::process::{Beside, Outcome, Scratch};

pub const FIGURE: Figure = Figure {
    name: "rtm",
    description: "files of RTM servers: uploads at once, one file to thousands of users, a restart with much stored",
    measure,
};

/// What the relay may need above its idle state, in MiB.
const GROWTH_LIMIT: f64 = 64.0;
const UPLOADS: u64 = 50;
const UPLOAD_SIZE: u64 = 20 << 20;
/// Real SDKs wait 5 s for an answer.
const LARGE_SIZE: u64 = 64 << 20;
const FAN_SIZE: u64 = 1 << 20;
/// Files that are stored before the restart.
const STORED: u64 = 2_000;

fn measure(ground: &Ground, rows: &mut Rows) -> Outcome<()> {
    for run in 1..=ground.options.runs {
        println!("bench: rtm, run {run} of {}", ground.options.runs);
        // What one run has stored must not be delivered in the next.
        let data = Scratch::create(ground.path("rtm-data"))?;
        uploads(ground, rows, &data.path().join("uploads"))?;
        fan_out(ground, rows, &data.path().join("fan"))?;
        restart(ground, rows, &data.path().join("restart"))?;
    }
    Ok(())
}

/// The program `bench/rtm.c`, which has its relay's gate.
fn server(ground: &Ground, relay: &Relay) -> Outcome<Beside> {
    let mut command = ground.command("rtm", relay);
    let server = Beside::start_told("rtm", command.arg(relay.rtm()))?;
    server.wait_for(SOON, |line| (line == "ready").then_some(()))?;
    Ok(server)
}

/// Tells the program something and returns its answer, which begins with the same word.
fn ask(server: &mut Beside, what: &str) -> Outcome<String> {
    server.tell(what)?;
    let word = format!("{} ", what.split(' ').next().unwrap_or_default());
    server.wait_for(SENT, |line| line.starts_with(&word).then(|| line.to_owned()))
}

fn uploads(ground: &Ground, rows: &mut Rows, data: &Path) -> Outcome<()> {
    let relay = ground.relay_with_data(data)?;
    let mut server = server(ground, &relay)?;
    let idle = relay.settle()?;
    let line = ask(&mut server, &format!("uploads {UPLOADS} {UPLOAD_SIZE}"))?;
    let peak = relay.memory()?.peak;
    let what = format!("{UPLOADS} uploads of {} MiB at once", UPLOAD_SIZE >> 20);
    rows.add(format!("{what}: failed"), "", number(&line, "failed")?).exactly(0.0);
    rows.add(format!("{what}: relay's growth"), "MiB", (peak - idle.rss) / MIB).at_most(GROWTH_LIMIT);
    let seconds = number(&line, "ns")? / 1e9;
    rows.add(format!("{what}: rate"), "MiB/s", (UPLOADS * UPLOAD_SIZE) as f64 / MIB / seconds);

    let line = ask(&mut server, &format!("file {LARGE_SIZE}"))?;
    let what = format!("a file of {} MiB", LARGE_SIZE >> 20);
    rows.add(format!("{what}: failed"), "", number(&line, "failed")?).exactly(0.0);
    rows.add(format!("{what}: from the call to the answer"), "s", number(&line, "ns")? / 1e9);
    Ok(())
}

fn fan_out(ground: &Ground, rows: &mut Rows, data: &Path) -> Outcome<()> {
    let relay = ground.relay_with_data(data)?;
    let mut server = server(ground, &relay)?;
    let users = ground.options.users;
    let line = ask(&mut server, &format!("users {users}"))?;
    rows.add(format!("{users} logins: failed"), "", number(&line, "failed")?).exactly(0.0);
    for (words, how) in [
        ("many", "a file of 1 MiB by name"),
        ("all", "a file of 1 MiB to everybody"),
        ("many watched", "a watched file of 1 MiB by name"),
        ("all watched", "a watched file of 1 MiB to everybody"),
    ] {
        let before = stored(data);
        let idle = relay.settle()?;
        let line = ask(&mut server, &format!("fan {FAN_SIZE} {words}"))?;
        let peak = relay.memory()?.peak;
        let what = format!("{how} ({users} users)");
        rows.add(format!("{what}: failed"), "", number(&line, "failed")?).exactly(0.0);
        rows.add(format!("{what}: heard of it"), "", number(&line, "heard")?).exactly(users as f64);
        rows.add(format!("{what}: from the call to the answer"), "s", number(&line, "answer_ns")? / 1e9);
        rows.add(format!("{what}: from the answer to the last push"), "s", number(&line, "late_ns")? / 1e9);
        if words.ends_with("watched") {
            rows.add(format!("{what}: results ended"), "", number(&line, "ended")?).exactly(users as f64);
            rows.add(format!("{what}: from the answer to the last result"), "s", number(&line, "end_ns")? / 1e9);
        }
        rows.add(format!("{what}: relay's growth"), "MiB", (peak - idle.rss) / MIB).at_most(GROWTH_LIMIT);
        rows.add(format!("{what}: files stored"), "", stored(data) - before).exactly(1.0);
    }
    Ok(())
}

/// Files below the relay's blob directory.
fn stored(data: &Path) -> f64 {
    fn count(dir: &Path) -> usize {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
    }
    count(&data.join("files")) as f64
}

fn restart(ground: &Ground, rows: &mut Rows, data: &Path) -> Outcome<()> {
    let relay = ground.relay_with_data(data)?;
    let mut server = server(ground, &relay)?;
    // Each call stores a message for each of the users, who are not there, and one file for all of them.
    let line = ask(&mut server, &format!("store {STORED} {}", STORED_MESSAGES / STORED))?;
    rows.add("storing for the restart: failed", "", number(&line, "failed")?).exactly(0.0);
    drop(server);
    drop(relay);
    let begun = Instant::now();
    let relay = ground.relay_with_data(data)?;
    let what = format!("a restart with {STORED_MESSAGES} messages and {STORED} files stored");
    rows.add(format!("{what}: until the relay accepts"), "s", begun.elapsed().as_secs_f64());
    rows.add(format!("{what}: relay's memory"), "MiB", relay.memory()?.rss / MIB);
    Ok(())
}

/// Messages that are stored before the restart.
const STORED_MESSAGES: u64 = 100_000;
