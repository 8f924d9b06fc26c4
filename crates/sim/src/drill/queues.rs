//! Queues, bulk connections and transfers under way: who must wait, and who is told to go on (`docs/wire.md`, sections
//! 2.3 and 3).

use std::time::Duration;

use bytes::Bytes;
use crvideo_proto::code;
use crvideo_proto::id::TaskId;
use crvideo_proto::message::{self as msg, CLASS_BULK, CLASS_COMMANDS, PeerState};
use crvideo_relay::core::{FLUSH_DEADLINE, News, WAKE_DEADLINE};

use super::desk::{Client, Desk, QUEUE, Verdict, must};
use super::peers::command;

pub(super) fn run() -> Verdict {
    commands()?;
    waking()?;
    waiting_ends_with_the_link()?;
    bulk()?;
    slow()?;
    closing()?;
    stopping()?;
    transfers()?;
    ends()?;
    mail()
}

fn pair(desk: &mut Desk) -> Result<(Client, Client), String> {
    let (alice, bob) = (desk.login("alice", 1)?, desk.login("bob", 2)?);
    desk.find(&alice, "bob")?;
    Ok((alice, bob))
}

fn task(number: u8) -> TaskId {
    TaskId::from_bytes([number; 16])
}

fn offer(number: u8) -> msg::Offer {
    msg::Offer { task: task(number), kind: 1, name: String::new(), size: 9, repeated: false }
}

fn large() -> msg::Command {
    msg::Command { data: Bytes::from(vec![1; QUEUE]), ..command() }
}

fn piece() -> msg::Data {
    msg::Data { task: task(1), offset: 0, data: Bytes::from(vec![1; QUEUE]) }
}

/// The states that a client has heard of, of one class.
fn states(desk: &mut Desk, of: &Client, class: u8) -> Vec<PeerState> {
    desk.news(of).into_iter().filter(|(.., it)| it & class != 0).map(|(_, _, state, _)| state).collect()
}

/// A queue for commands that is full, and a link that is replaced.
fn commands() -> Verdict {
    let mut desk = Desk::new(0, 0);
    let (alice, mut bob) = pair(&mut desk)?;
    desk.stick(bob.link, true);
    for _ in 0..3 {
        desk.send(alice.link, &bob, &large());
    }
    let heard = states(&mut desk, &alice, CLASS_COMMANDS);
    must(heard == [PeerState::Busy], || format!("the sender to a full queue hears {heard:?}"))?;
    desk.stick(bob.link, false);
    let arrived = desk.got_routed::<msg::Command>(bob.link).len();
    must(arrived > 0 && arrived < 3, || format!("a full queue took {arrived} commands of 3"))?;
    let heard = states(&mut desk, &alice, CLASS_COMMANDS);
    must(heard == [PeerState::On], || format!("the sender to a queue that has drained hears {heard:?}"))?;
    // Who must wait waits until he is told to go on, or what he sends leaves a gap.
    desk.stick(bob.link, true);
    let medium = msg::Command { data: Bytes::from(vec![1; QUEUE / 3]), ..command() };
    for _ in 0..4 {
        desk.send(alice.link, &bob, &medium);
    }
    desk.core.flush(bob.link, QUEUE / 3, desk.now);
    desk.send(alice.link, &bob, &command());
    let heard = states(&mut desk, &alice, CLASS_COMMANDS);
    must(heard == [PeerState::Busy], || format!("the sender to a queue that drains slowly hears {heard:?}"))?;
    desk.stick(bob.link, false);
    let arrived = desk.got_routed::<msg::Command>(bob.link).len();
    must(arrived == 3, || format!("{arrived} commands arrived, and there was room for 3"))?;
    desk.news(&alice);
    // What was blocked by the old link is not by the new one.
    desk.stick(bob.link, true);
    for _ in 0..3 {
        desk.send(alice.link, &bob, &large());
    }
    desk.cut(bob.link);
    desk.resume(&mut bob)?;
    desk.send(alice.link, &bob, &command());
    let arrived = desk.got_routed::<msg::Command>(bob.link).len();
    must(arrived == 1, || format!("a command over a new link arrived {arrived} times"))
}

/// Whoever has no bulk connection is asked for one, and asked again.
fn waking() -> Verdict {
    let mut desk = Desk::new(0, 0);
    let (mut alice, mut bob) = pair(&mut desk)?;
    let up = desk.open_bulk(&mut alice, false)?;
    desk.send(up, &bob, &offer(1));
    desk.send(up, &bob, &offer(2));
    let woken = desk.got::<msg::Wake>(bob.link).len();
    must(woken == 1, || format!("two offers woke their target {woken} times"))?;
    desk.pass(WAKE_DEADLINE + Duration::from_secs(1));
    let woken = desk.got::<msg::Wake>(bob.link).len();
    must(woken == 1, || format!("a target that does not come was woken {woken} times more"))?;
    // The link is replaced, and what had waited with it.
    desk.cut(bob.link);
    desk.resume(&mut bob)?;
    desk.news(&alice);
    desk.send(up, &bob, &offer(1));
    let woken = desk.got::<msg::Wake>(bob.link).len();
    must(woken == 1, || format!("an offer woke a target that is back {woken} times"))?;
    desk.pass(WAKE_DEADLINE + Duration::from_secs(1));
    let woken = desk.got::<msg::Wake>(bob.link).len();
    must(woken == 1, || format!("a target that does not come was woken {woken} times more"))?;
    let heard = states(&mut desk, &alice, CLASS_BULK);
    must(heard == [PeerState::Busy], || {
        format!("the sender to who does not open its bulk connection hears {heard:?}")
    })?;
    let down = desk.open_bulk(&mut bob, false)?;
    let heard = states(&mut desk, &alice, CLASS_BULK);
    must(heard == [PeerState::On], || format!("the sender to who has opened its bulk connection hears {heard:?}"))?;
    desk.send(up, &bob, &offer(1));
    let arrived = desk.got_routed::<msg::Offer>(down).len();
    must(arrived == 1, || format!("an offer arrived {arrived} times"))
}

/// What waits for a bulk connection is for the present link: over the next one its sender repeats it.
fn waiting_ends_with_the_link() -> Verdict {
    let mut desk = Desk::new(0, 0);
    let (mut alice, bob) = pair(&mut desk)?;
    let up = desk.open_bulk(&mut alice, false)?;
    desk.send(up, &bob, &offer(1));
    let kept = desk.keeps("queues without a connection");
    must(kept == 1, || format!("an offer to who has no bulk connection is kept in {kept} queues"))?;
    desk.cut(bob.link);
    let kept = desk.keeps("queues without a connection");
    must(kept == 0, || "I8: what waited for a bulk connection is kept for a link that is lost".to_owned())
}

/// Bulk connections that break, and are replaced.
fn bulk() -> Verdict {
    let mut desk = Desk::new(0, 0);
    let (mut alice, mut bob) = pair(&mut desk)?;
    let up = desk.open_bulk(&mut alice, false)?;
    let down = desk.open_bulk(&mut bob, false)?;
    desk.cut(down);
    desk.got::<msg::Wake>(bob.link);
    desk.send(up, &bob, &offer(1));
    must(desk.keeps("queues without a connection") == 1, || {
        "what comes for a broken bulk connection is lost".to_owned()
    })?;
    // So much waits there that the sender is blocked, too; he need not be told twice to send again.
    for _ in 0..2 {
        desk.send(up, &bob, &piece());
    }
    desk.news(&alice);
    let older = desk.open_bulk(&mut bob, false)?;
    let heard = states(&mut desk, &alice, CLASS_BULK);
    must(heard == [PeerState::On], || format!("after a bulk connection broke, its sender hears {heard:?}"))?;
    // The client has noticed what the relay has not.
    let down = desk.open_bulk(&mut bob, true)?;
    must(desk.is_closed(older), || "a session has two bulk connections".to_owned())?;
    let woken = desk.got::<msg::Wake>(bob.link).len();
    must(woken == 0, || "a session is asked for the bulk connection that it has just opened".to_owned())?;
    let heard = states(&mut desk, &alice, CLASS_BULK);
    must(heard == [PeerState::On], || format!("after a bulk connection is replaced, its sender hears {heard:?}"))?;
    // It was closed in order, but its client says that something was lost.
    let _: msg::Empty = desk.ask(down, &msg::CloseBulk {})?;
    desk.open_bulk(&mut bob, true)?;
    let heard = states(&mut desk, &alice, CLASS_BULK);
    must(heard == [PeerState::On], || {
        format!("the client says that something was lost, and the sender hears {heard:?}")
    })?;
    // A new link makes all peers send again, and with that makes up for what was lost before.
    let down = desk.open_bulk(&mut bob, false)?;
    desk.cut(down);
    desk.cut(bob.link);
    desk.resume(&mut bob)?;
    desk.news(&alice);
    desk.open_bulk(&mut bob, false)?;
    let heard = states(&mut desk, &alice, CLASS_BULK);
    must(heard.is_empty(), || format!("nothing was lost since the link is back, and the sender hears {heard:?}"))
}

/// A client that takes its bulk connection's bytes one by one is alive, although its answers wait behind them.
fn slow() -> Verdict {
    let mut desk = Desk::new(0, 0);
    let (mut alice, mut bob) = pair(&mut desk)?;
    let up = desk.open_bulk(&mut alice, false)?;
    let down = desk.open_bulk(&mut bob, false)?;
    desk.stick(down, true);
    desk.send(up, &bob, &piece());
    for _ in 0..20 {
        desk.pass(Duration::from_secs(5));
        desk.core.flush(down, 1, desk.now);
    }
    must(!desk.is_closed(down), || "a client was given up that takes bytes all the time".to_owned())
}

/// A relay that stops passes nothing on any more behind its farewell.
fn stopping() -> Verdict {
    let mut desk = Desk::new(0, 0);
    let (alice, bob) = pair(&mut desk)?;
    for client in [&alice, &bob] {
        desk.stick(client.link, true);
        // The farewell waits behind it.
        desk.core.post(1, client.user, &msg::Got { id: task(1) }, desk.now);
        desk.pump();
    }
    desk.core.stop(desk.now);
    desk.send(alice.link, &bob, &command());
    desk.stick(bob.link, false);
    let byes = desk.got::<msg::Bye>(bob.link).len();
    let arrived = desk.got_routed::<msg::Command>(bob.link).len();
    must(byes == 1 && arrived == 0, || {
        format!("a relay that stops says {byes} farewells, and passes {arrived} commands")
    })
}

/// A bulk connection that is closed in order while something waits there.
fn closing() -> Verdict {
    let mut desk = Desk::new(0, 0);
    let (mut alice, mut bob) = pair(&mut desk)?;
    let up = desk.open_bulk(&mut alice, false)?;
    let down = desk.open_bulk(&mut bob, false)?;
    desk.stick(down, true);
    for _ in 0..3 {
        desk.send(up, &bob, &piece());
    }
    let heard = states(&mut desk, &alice, CLASS_BULK);
    must(heard == [PeerState::Busy], || format!("the sender to a full bulk queue hears {heard:?}"))?;
    let closes: Result<msg::Empty, String> = desk.ask(down, &msg::CloseBulk {});
    must(closes.is_err(), || "an answer has come to who takes nothing".to_owned())?;
    let heard = states(&mut desk, &alice, CLASS_BULK);
    must(heard == [PeerState::On], || format!("the sender to a bulk connection that is closed hears {heard:?}"))?;
    // What is still said there is not heard.
    desk.send(down, &alice, &offer(5));
    must(desk.keeps("transfers") == 0, || "a message on a connection that is closed was heard".to_owned())?;
    // It is not taken, and so it is lost.
    desk.pass(FLUSH_DEADLINE + Duration::from_secs(1));
    must(desk.is_closed(down), || "a connection stays whose client takes nothing".to_owned())?;
    let woken = desk.got::<msg::Wake>(bob.link).len();
    must(woken > 0, || "frames were lost with a bulk connection, and nobody asks for the next one".to_owned())?;
    desk.open_bulk(&mut bob, false)?;
    let heard = states(&mut desk, &alice, CLASS_BULK);
    must(heard == [PeerState::On], || {
        format!("frames were lost with a bulk connection, and the sender hears {heard:?}")
    })
}

/// How many transfers a session may have under way.
fn transfers() -> Verdict {
    let mut desk = Desk::new(0, 1);
    let (mut alice, mut bob) = pair(&mut desk)?;
    let carol = desk.login("carol", 3)?;
    desk.find(&carol, "alice")?;
    let up = desk.open_bulk(&mut alice, false)?;
    let down = desk.open_bulk(&mut bob, false)?;
    let mut number = 0;
    let mut next = |desk: &mut Desk, fits: bool, why: &str| {
        number += 1;
        desk.send(up, &bob, &offer(number));
        let arrived = desk.got_routed::<msg::Offer>(down).len();
        let refused: Vec<i64> = desk.got_routed::<msg::Done>(alice.link).iter().map(|done| done.message.code).collect();
        let expected: &[i64] = if fits { &[] } else { &[code::SEND_QUEUE_FULL as i64] };
        must(arrived == usize::from(fits) && refused == expected, || {
            format!("{why}: an offer arrived {arrived} times, and was answered with {refused:?}")
        })
    };
    next(&mut desk, true, "nothing is under way")?;
    next(&mut desk, false, "one transfer is under way, and one may be")?;
    desk.send(carol.link, &alice, &msg::Done { task: task(1), code: 0 });
    desk.got_routed::<msg::Done>(alice.link);
    next(&mut desk, false, "somebody who has nothing to do with the transfer says that it is over")?;
    desk.send(alice.link, &bob, &msg::Cancel { task: task(1), code: code::SEND_CANCELLED.into() });
    next(&mut desk, true, "the transfer that was under way is cancelled")?;
    desk.send(bob.link, &alice, &msg::Done { task: task(4), code: 0 });
    desk.got_routed::<msg::Done>(alice.link);
    next(&mut desk, true, "the transfer that was under way is complete")
}

/// Nothing is kept of a session that has ended.
fn ends() -> Verdict {
    let mut desk = Desk::new(0, 0);
    let (mut alice, bob) = pair(&mut desk)?;
    let up = desk.open_bulk(&mut alice, false)?;
    desk.send(up, &bob, &offer(1));
    desk.stick(bob.link, true);
    for _ in 0..3 {
        desk.send(alice.link, &bob, &large());
    }
    desk.logout(&alice)?;
    must(desk.is_closed(up), || "the bulk connection of a session stays that has ended".to_owned())?;
    desk.must_have_forgotten()?;
    let mut alice = desk.login("alice", 3)?;
    desk.find(&alice, "bob")?;
    let up = desk.open_bulk(&mut alice, false)?;
    desk.stick(bob.link, false);
    desk.send(up, &bob, &offer(2));
    desk.pass(WAKE_DEADLINE + Duration::from_secs(1));
    desk.logout(&alice)?;
    desk.must_have_forgotten()
}

/// Who has messages of servers waiting hears of each chance to take them.
fn mail() -> Verdict {
    let mut desk = Desk::new(0, 0);
    desk.core.start_courier(desk.now);
    let mut bob = desk.login("bob", 2)?;
    let here = |desk: &mut Desk| desk.core.take_mail().iter().filter(|mail| mail.news == News::Here).count();
    must(here(&mut desk) == 1, || "the courier does not hear of a login".to_owned())?;
    let message = msg::Got { id: task(1) };
    desk.core.post(1, "bob", &message, desk.now);
    let woken = desk.core.take_woken();
    must(woken.contains(&bob.link), || "a message of a server waits, and nobody writes it".to_owned())?;
    let down = desk.open_bulk(&mut bob, false)?;
    desk.cut(down);
    desk.core.take_mail();
    desk.open_bulk(&mut bob, false)?;
    must(here(&mut desk) == 1, || "the courier does not hear that frames were lost".to_owned())
}
