//! A session that sends commands, while the relay says what is new, late or repeated (`docs/wire.md`, sections 3, 4.1).

use std::time::Duration;

use crvideo_proto::code;
use crvideo_proto::message::{self as msg, CLASS_COMMANDS, PeerState};
use crvideo_proto::session::{COMMAND_OVERHEAD, INITIAL_COMMAND_LIMIT};

use super::bench::{Bench, EPOCH};
use super::desk::{Verdict, must};

/// Bob's incarnations.
const BEFORE: u64 = 1_900;
const BOB: u64 = 2_000;
const AFTER: u64 = 2_100;
/// A target that takes all that comes.
const PLENTY: u64 = 1 << 30;

pub(super) fn run() -> Verdict {
    stale_news()?;
    earlier_incarnation()?;
    patience()?;
    certainty()?;
    for new_epoch in [false, true] {
        new_sequence(new_epoch)?;
    }
    give_up()?;
    give_all_up()
}

fn bench() -> Result<Bench, String> {
    let mut bench = Bench::new(1 << 30)?;
    bench.send("bob", 10, 60);
    bench.look();
    bench.found("bob", BOB, PeerState::On)?;
    let to = bench.commands_to();
    must(to == [BOB], || format!("a command has gone to {to:?}"))?;
    Ok(bench)
}

fn must_go_to(bench: &mut Bench, expected: &[u64], why: &str) -> Verdict {
    bench.look();
    let to = bench.commands_to();
    must(to == expected, || format!("{why}: commands go to {to:?}, and should to {expected:?}"))
}

fn must_end(bench: &mut Bench, expected: &[i32], why: &str) -> Verdict {
    let results = bench.results();
    must(results == expected, || format!("I2: {why}: commands end with {results:?}, and should with {expected:?}"))
}

/// What the relay once said of an earlier incarnation comes again, and means nothing.
fn stale_news() -> Verdict {
    let mut bench = bench()?;
    for state in [PeerState::On, PeerState::Away, PeerState::Busy, PeerState::Gone, PeerState::Left] {
        bench.news("bob", BEFORE, state);
        must_end(&mut bench, &[], "stale news")?;
        bench.commands_to();
        bench.send("bob", 10, 60);
        must_go_to(&mut bench, &[BOB], "after stale news")?;
    }
    bench.news_of("bob", BOB, PeerState::Busy, CLASS_COMMANDS);
    bench.send("bob", 10, 60);
    must_go_to(&mut bench, &[], "the target is busy")?;
    bench.news("bob", AFTER, PeerState::On);
    must_end(&mut bench, &[code::SEND_OUTCOME_UNKNOWN; 6], "a later incarnation is there")?;
    must_go_to(&mut bench, &[AFTER], "a later incarnation is there")
}

/// A relay that has restarted lets an earlier incarnation come back.
fn earlier_incarnation() -> Verdict {
    let mut bench = bench()?;
    bench.news("bob", BOB, PeerState::Away);
    bench.send("bob", 10, 60);
    must_go_to(&mut bench, &[], "the target is away")?;
    bench.news("bob", BEFORE, PeerState::On);
    bench.look();
    bench.found("bob", BEFORE, PeerState::On)?;
    must_end(&mut bench, &[code::SEND_OUTCOME_UNKNOWN], "an earlier incarnation has come back")?;
    must_go_to(&mut bench, &[BEFORE], "an earlier incarnation has come back")
}

/// What has never been sent to a target that stays away fails in 10 s.
fn patience() -> Verdict {
    let mut bench = bench()?;
    bench.news_of("bob", BOB, PeerState::Busy, CLASS_COMMANDS);
    bench.send("bob", 10, 5);
    bench.send("bob", 10, 60);
    bench.news("bob", BOB, PeerState::Away);
    bench.pass(Duration::from_secs(6));
    must_end(&mut bench, &[code::SOCKETTIMEOUT], "its own time is over")?;
    bench.pass(Duration::from_secs(5));
    must_end(&mut bench, &[code::SENDDATA_TARGETINVALID], "the target stays away")?;
    // The same without another deadline on the way.
    let mut bench = self::bench()?;
    bench.news_of("bob", BOB, PeerState::Busy, CLASS_COMMANDS);
    bench.send("bob", 10, 60);
    bench.news("bob", BOB, PeerState::Away);
    bench.pass(Duration::from_secs(11));
    must_end(&mut bench, &[code::SENDDATA_TARGETINVALID], "the target stays away")
}

/// Whoever has left has taken what was handed to an earlier link, or not: its answer may be lost with that.
fn certainty() -> Verdict {
    let mut bench = bench()?;
    bench.relink(EPOCH)?;
    bench.found("bob", BOB, PeerState::On)?;
    bench.news("bob", BOB, PeerState::Left);
    must_end(&mut bench, &[code::SEND_OUTCOME_UNKNOWN], "it was handed to an earlier link")?;
    // What the earlier link did not take goes out over the present one, and may arrive there.
    let mut bench = bench_with_stuck_link()?;
    bench.found("bob", BOB, PeerState::On)?;
    bench.commands_to();
    bench.results();
    bench.news("bob", BOB, PeerState::Gone);
    let results = bench.results();
    let wrong = results.iter().any(|err| *err != code::SEND_OUTCOME_UNKNOWN);
    must(!wrong && !results.is_empty(), || format!("I2: commands that were sent end with {results:?}"))
}

/// A session whose link broke when something was queued there behind much that had gone out, and is back.
fn bench_with_stuck_link() -> Result<Bench, String> {
    let mut bench = bench()?;
    bench.from("bob", BOB, &msg::CommandAck { position: 266, limit: PLENTY, refused: Vec::new() });
    bench.send("bob", 50_000, 60);
    bench.look();
    bench.from("bob", BOB, &msg::CommandAck { position: 266 + 50_256, limit: PLENTY, refused: Vec::new() });
    bench.send("bob", 100, 60);
    bench.session.closed(crvideo_proto::session::Conn::Command, code::SOCKETEXCEPTION, bench.now);
    bench.hear();
    bench.pass(Duration::from_secs(2));
    bench.link(EPOCH, true)?;
    Ok(bench)
}

/// A new pair of epochs begins with the credit that every target gives, whatever the one before gave.
fn new_sequence(new_epoch: bool) -> Verdict {
    let mut bench = bench()?;
    bench.from("bob", BOB, &msg::CommandAck { position: 266, limit: PLENTY, refused: Vec::new() });
    if new_epoch {
        bench.relink(EPOCH + 1)?;
    } else {
        bench.news("bob", AFTER, PeerState::On);
    }
    bench.results();
    for _ in 0..20 {
        bench.send("bob", 60_000, 60);
    }
    bench.look();
    if new_epoch {
        bench.found("bob", BOB, PeerState::On)?;
    }
    let sent: u64 = bench.sent::<msg::Command>().iter().map(|(_, it)| it.data.len() as u64 + COMMAND_OVERHEAD).sum();
    must(sent <= INITIAL_COMMAND_LIMIT, || format!("I8: {sent} bytes were sent to a target that has granted nothing"))
}

/// What is given up makes room, and the target hears where its sender goes on.
fn give_up() -> Verdict {
    let mut bench = bench()?;
    for _ in 0..5 {
        bench.send("bob", 60_000, 5);
    }
    bench.send("bob", 60_000, 60);
    bench.look();
    bench.commands_to();
    bench.pass(Duration::from_secs(6));
    let commands = bench.sent::<msg::Command>();
    must(commands.is_empty(), || "a target that answers is asked again".to_owned())?;
    bench.from("bob", BOB, &msg::CommandAck { position: 266, limit: PLENTY, refused: Vec::new() });
    let commands = bench.sent::<msg::Command>();
    let [(_, command)] = &commands[..] else { return Err(format!("{} commands go on", commands.len())) };
    must(command.settled == command.position, || {
        format!("the first command stands at {} and says that {} is settled", command.position, command.settled)
    })
}

/// All that was sent is given up: the target is asked what it takes now, or what waits would wait for ever.
fn give_all_up() -> Verdict {
    let mut bench = bench()?;
    bench.from("bob", BOB, &msg::CommandAck { position: 266, limit: INITIAL_COMMAND_LIMIT, refused: Vec::new() });
    for _ in 0..5 {
        bench.send("bob", 60_000, 5);
    }
    bench.send("bob", 60_000, 60);
    bench.look();
    bench.commands_to();
    bench.pass(Duration::from_secs(6));
    let probes = bench.sent::<msg::Command>();
    let one = matches!(&probes[..], [(BOB, probe)] if probe.data.is_empty());
    must(one, || format!("a target of which no answer is awaited is asked {} times for its limit", probes.len()))
}
