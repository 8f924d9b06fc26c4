//! What sessions hear of each other: `crfind` and `crpeer` of `docs/wire.md`, section 3.

use std::time::Duration;

use bytes::Bytes;
use crvideo_proto::id::TaskId;
use crvideo_proto::message::{self as msg, CLASS_BULK, CLASS_COMMANDS, PeerState};

use super::desk::{Client, Desk, GRACE, Heard, RESUME_WINDOW, Verdict, must};

const BOTH: u8 = CLASS_COMMANDS | CLASS_BULK;

pub(super) fn run() -> Verdict {
    absence()?;
    ends()?;
    farewells()?;
    restart()?;
    stale()
}

pub(super) fn command() -> msg::Command {
    let (task, data) = (TaskId::from_bytes([7; 16]), Bytes::from_static(b"a command"));
    msg::Command { position: 0, base: 0, settled: 0, task, chosen: false, data }
}

fn about(client: &Client, state: PeerState) -> Heard {
    (client.user.to_owned(), client.epoch, state, BOTH)
}

/// Exactly this must a client have heard of others.
fn must_hear(desk: &mut Desk, client: &Client, expected: &[Heard], why: &str) -> Verdict {
    let heard = desk.news(client);
    must(heard == expected, || format!("{why}: {} hears {heard:?}, and should {expected:?}", client.user))
}

/// Two clients, of whom one has found the other.
fn pair(desk: &mut Desk) -> Result<(Client, Client), String> {
    let (alice, bob) = (desk.login("alice", 1)?, desk.login("bob", 2)?);
    let found = desk.find(&alice, "bob")?;
    must(found == (bob.epoch, PeerState::On), || format!("who is there is found as {found:?}"))?;
    Ok((alice, bob))
}

/// Links that are lost and come back.
fn absence() -> Verdict {
    let mut desk = Desk::new(0, 0);
    let (mut alice, mut bob) = pair(&mut desk)?;
    let carol = desk.login("carol", 3)?;
    desk.cut(bob.link);
    must_hear(&mut desk, &alice, &[about(&bob, PeerState::Away)], "a link is lost")?;
    let found = desk.find(&carol, "bob")?;
    must(found == (bob.epoch, PeerState::Away), || format!("who is away is found as {found:?}"))?;
    // Nothing waits for one who is away: his senders send it again.
    let offer =
        msg::Offer { task: TaskId::from_bytes([1; 16]), kind: 1, name: String::new(), size: 9, repeated: false };
    let bulk = desk.open_bulk(&mut alice, false)?;
    desk.send(bulk, &bob, &offer);
    must(desk.keeps("queues without a connection") == 0, || "something waits for one who is away".to_owned())?;
    desk.cut(alice.link);
    must(desk.is_closed(bulk), || "a session without a link keeps its bulk connection".to_owned())?;
    desk.resume(&mut bob)?;
    must_hear(&mut desk, &bob, &[about(&alice, PeerState::Away)], "it was away itself")?;
    desk.resume(&mut alice)?;
    must_hear(&mut desk, &alice, &[about(&bob, PeerState::On)], "it was away itself")?;
    must_hear(&mut desk, &bob, &[about(&alice, PeerState::On)], "a link is back")?;
    // It comes back before the relay has noticed that its link is lost: it has not been away.
    desk.resume(&mut bob)?;
    must_hear(&mut desk, &alice, &[about(&bob, PeerState::On)], "a link is replaced")?;
    desk.news(&bob);
    // Both lose their links, and only one is back.
    desk.cut(alice.link);
    desk.cut(bob.link);
    desk.resume(&mut alice)?;
    must_hear(&mut desk, &alice, &[about(&bob, PeerState::Away)], "the other one is still away")
}

/// Epochs that end while somebody is away.
fn ends() -> Verdict {
    let mut desk = Desk::new(0, 0);
    let (mut alice, mut bob) = pair(&mut desk)?;
    desk.cut(alice.link);
    desk.cut(bob.link);
    desk.resume(&mut bob)?;
    desk.pass(Duration::from_secs(1));
    let carol = desk.login("carol", 3)?;
    desk.find(&carol, "alice")?;
    desk.news(&bob);
    desk.logout(&bob)?;
    desk.must_have_forgotten()?;
    // It was joined with one who was away and has never heard of it.
    desk.logout(&carol)?;
    desk.must_have_forgotten()?;
    desk.resume(&mut alice)?;
    must_hear(&mut desk, &alice, &[about(&bob, PeerState::Gone)], "the other one ended meanwhile")
}

/// Only over whole links is it certain that who left has taken nothing.
fn farewells() -> Verdict {
    for broken in [None, Some(false), Some(true)] {
        let mut desk = Desk::new(0, 0);
        let (mut alice, mut bob) = pair(&mut desk)?;
        if let Some(target) = broken {
            let it = if target { &mut bob } else { &mut alice };
            desk.cut(it.link);
            desk.resume(it)?;
        }
        desk.news(&alice);
        desk.logout(&bob)?;
        let state = if broken.is_none() { PeerState::Left } else { PeerState::Gone };
        must_hear(&mut desk, &alice, &[about(&bob, state)], "the other one logs out")?;
    }
    Ok(())
}

/// The relay starts again, and sessions come back one by one.
fn restart() -> Verdict {
    let mut desk = Desk::new(0, 0);
    let (alice, bob) = pair(&mut desk)?;
    // Both are back, and need not say again that they are joined: a message does.
    let mut desk = Desk::new(1_000_000, 0);
    let (mut one, mut other) = (alice.clone(), bob.clone());
    desk.resume(&mut one)?;
    desk.resume(&mut other)?;
    desk.send(one.link, &other, &command());
    let arrived = desk.got_routed::<msg::Command>(other.link).len();
    must(arrived == 1, || format!("I2: a command arrived {arrived} times after a restart"))?;
    desk.cut(other.link);
    must_hear(&mut desk, &one, &[about(&other, PeerState::Away)], "it has sent to one who is away now")?;
    desk.resume(&mut other)?;
    desk.news(&one);
    desk.logout(&other)?;
    must_hear(&mut desk, &one, &[about(&other, PeerState::Gone)], "nobody knows what was before the restart")?;
    // Both are back, and their links have been whole since, but not before.
    let mut desk = Desk::new(1_000_000, 0);
    let (mut one, mut other) = (alice.clone(), bob.clone());
    desk.resume(&mut one)?;
    desk.resume(&mut other)?;
    desk.find(&one, "bob")?;
    desk.logout(&other)?;
    must_hear(&mut desk, &one, &[about(&other, PeerState::Gone)], "nobody knows what was before the restart")?;
    // The other one is not back yet, and comes as another incarnation.
    let mut desk = Desk::new(1_000_000, 0);
    let mut one = alice.clone();
    desk.resume(&mut one)?;
    let found = desk.find(&one, "bob")?;
    must(found == (0, PeerState::Away), || format!("who may still come back is found as {found:?}"))?;
    desk.send(one.link, &bob, &command());
    must_hear(&mut desk, &one, &[about(&bob, PeerState::Away)], "the other one may still come back")?;
    let anew = desk.login("bob", 4)?;
    let expected = [about(&bob, PeerState::Gone), about(&anew, PeerState::On)];
    must_hear(&mut desk, &one, &expected, "the other one has come as a new incarnation")?;
    let questions = desk.keeps("questions counted");
    must(questions == 0, || format!("I8: {questions} questions are counted that have been answered"))?;
    // He does not come back at all.
    let mut desk = Desk::new(1_000_000, 0);
    let mut one = alice;
    desk.resume(&mut one)?;
    desk.send(one.link, &bob, &command());
    desk.news(&one);
    desk.pass(GRACE + Duration::from_secs(1));
    must_hear(&mut desk, &one, &[about(&bob, PeerState::Gone)], "the other one has not come back")
}

/// Messages for an incarnation that is over.
fn stale() -> Verdict {
    let mut desk = Desk::new(0, 0);
    let (alice, bob) = pair(&mut desk)?;
    let anew = desk.login("bob", 3)?;
    desk.news(&alice);
    desk.send(alice.link, &bob, &command());
    must_hear(&mut desk, &alice, &[about(&bob, PeerState::Gone)], "it has sent to an epoch that is over")?;
    let arrived = desk.got_routed::<msg::Command>(anew.link).len();
    must(arrived == 0, || "I2: a command has come to another incarnation".to_owned())?;
    desk.cut(anew.link);
    desk.pass(RESUME_WINDOW * 2);
    desk.must_have_forgotten()
}
