//! Messages of servers to sessions that are there: what is under way to each, and what happens when they do not take it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code, reason = "each test program uses a part of it")]
mod rtm;

use crvideo_relay::BlockingRelay;
use rtm::{Link, Session, Value, dev, ints, login, mint, relay};

/// Messages that are under way to a session at once: `docs/wire.md`, section 4.3.
const UNDER_WAY: usize = 64;

fn session(relay: &BlockingRelay, user: i64) -> Session {
    let user = user.to_string();
    login(relay, &user, &mint(relay, &user)).unwrap()
}

fn message(from: i64, mid: i64, text: &str) -> Vec<(&'static str, Value)> {
    let body = [("mtype", 66.into()), ("msg", text.into()), ("attrs", "".into())];
    [("from", from.into()), ("mid", mid.into())].into_iter().chain(body).collect()
}

fn send(server: &mut Link, to: i64, from: i64, mid: i64, text: &str) {
    let mut params = message(from, mid, text);
    params.push(("to", to.into()));
    server.ask("sendmsg", &params).unwrap();
}

fn mids(messages: &[(i64, crvideo_proto::id::TaskId)]) -> Vec<i64> {
    messages.iter().map(|(mid, _)| *mid).collect()
}

/// Takes messages and handles them until one has come.
fn handle_until(session: &mut Session, last: i64) -> Vec<i64> {
    let mut mids = Vec::new();
    while mids.last() != Some(&last) {
        let (mid, id) = session.rtm_message();
        session.handle(id);
        mids.push(mid);
    }
    mids
}

#[test]
fn no_more_are_under_way_than_may_be_and_the_rest_follows_what_is_acknowledged_in_order() {
    let relay = dev();
    let (mut server, mut bob) = (Link::open(&relay), session(&relay, 8));
    bob.rtm_messages_so_far();
    for mid in 1..=200 {
        send(&mut server, 8, 7, mid, "x");
    }
    let first = bob.rtm_messages_so_far();
    assert_eq!(mids(&first), (1..=UNDER_WAY as i64).collect::<Vec<_>>());
    first.iter().for_each(|(_, id)| bob.handle(*id));
    assert_eq!(handle_until(&mut bob, 200), (UNDER_WAY as i64 + 1..=200).collect::<Vec<_>>());
    // And so it goes on.
    send(&mut server, 8, 7, 201, "x");
    assert_eq!(handle_until(&mut bob, 201), [201]);
}

#[test]
fn after_the_next_login_comes_what_was_not_acknowledged_and_nothing_else() {
    let relay = dev();
    let (mut server, mut bob) = (Link::open(&relay), session(&relay, 8));
    for round in 0..5 {
        let (first, last) = (10 * round + 1, 10 * round + 6);
        (first..=last).for_each(|mid| send(&mut server, 8, 7, mid, "x"));
        let mut came = Vec::new();
        while came.len() < 6 {
            came.push(bob.rtm_message());
        }
        assert_eq!(mids(&came), (first..=last).collect::<Vec<_>>());
        came.iter().filter(|(mid, _)| mid % 2 == 0).for_each(|(_, id)| bob.handle(*id));
        // The relay has heard of all before it answers.
        assert!(bob.rtm_messages_so_far().is_empty());
        bob = session(&relay, 8);
        assert_eq!(handle_until(&mut bob, last - 1), [first, first + 2, first + 4]);
    }
}

#[test]
fn messages_to_many_reach_all_who_are_there_and_those_who_come_later() {
    const CROWD: i64 = 500;
    let relay = dev();
    let mut server = Link::open(&relay);
    let mut sessions: Vec<_> = (1..=CROWD).map(|user| session(&relay, user)).collect();
    let members = (1..=CROWD + 1).collect::<Vec<_>>();
    for part in members.chunks(100) {
        server.ask("addgroupmembers", &[("gid", 70.into()), ("uids", ints(part))]).unwrap();
    }
    for mid in 1..=5 {
        let params: Vec<_> = message(9_999, mid, "x").into_iter().chain([("gid", 70.into())]).collect();
        server.ask("sendgroupmsg", &params).unwrap();
    }
    for session in &mut sessions {
        assert_eq!(handle_until(session, 5), [1, 2, 3, 4, 5]);
    }
    assert_eq!(handle_until(&mut session(&relay, CROWD + 1), 5), [1, 2, 3, 4, 5]);
    // Who has acknowledged all of it hears nothing of it again.
    assert!(sessions.iter_mut().all(|session| session.rtm_messages_so_far().is_empty()));
    let mut again = session(&relay, 1);
    send(&mut server, 1, 7, 6, "x");
    assert_eq!(handle_until(&mut again, 6), [6]);
}

#[test]
fn a_session_that_takes_nothing_for_a_while_gets_everything_in_order_and_delays_nobody() {
    let relay = relay(|config| config.command_queue = 64 * 1024);
    let mut server = Link::open(&relay);
    let (mut bob, mut carol) = (session(&relay, 8), session(&relay, 9));
    let large = "x".repeat(20_000);
    // More than may be under way, and than the relay's queue and small buffers of sockets hold together.
    for mid in 1..=150 {
        send(&mut server, 8, 7, mid, &large);
        send(&mut server, 9, 7, mid, "x");
        assert_eq!(handle_until(&mut carol, mid), [mid]);
    }
    assert_eq!(handle_until(&mut bob, 150), (1..=150).collect::<Vec<_>>());
}

#[test]
fn messages_of_several_senders_at_once_keep_the_order_of_each() {
    const EACH: i64 = 100;
    let relay = dev();
    let mut bob = session(&relay, 8);
    std::thread::scope(|scope| {
        for sender in 1..=4 {
            let relay = &relay;
            scope.spawn(move || {
                let mut server = Link::open(relay);
                (1..=EACH).for_each(|number| send(&mut server, 8, sender, sender * 1_000 + number, "x"));
            });
        }
        let mut last = [0; 5];
        for _ in 0..4 * EACH {
            let (mid, id) = bob.rtm_message();
            bob.handle(id);
            let (sender, number) = (mid / 1_000, mid % 1_000);
            assert_eq!(number, last[sender as usize] + 1, "of sender {sender}");
            last[sender as usize] = number;
        }
    });
}
