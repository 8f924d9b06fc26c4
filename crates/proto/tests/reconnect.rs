//! Coming back after a lost link, and what must not happen on the way.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use bytes::Bytes;
use crvideo_proto::frame::{FrameReader, SESSION_LIMIT};
use crvideo_proto::id::TaskId;
use crvideo_proto::message::{Body, Command, CommandAck, FindAnswer, HelloAnswer, LoginAnswer, Offer, Peer};
use crvideo_proto::out::OutQueue;
use crvideo_proto::pack::Writer;
use crvideo_proto::session::{CommandCall, Config, Conn, Credential, Event, Identity, Now, Output, Session};

/// Bob's epoch.
const BOB: u64 = 50;
const CLIENTS: u64 = 5_000;

fn at(mono: Duration) -> Now {
    Now { mono, unix: 1_000_000_000 }
}

const NOW: Duration = Duration::from_secs(1);

/// Alice's session, with the relay's words put into its connections by hand.
fn logged_in(seed: u64) -> Session {
    let config = Config {
        command_timeout: Duration::from_secs(30),
        transfer_timeout: Duration::from_secs(60),
        offer_timeout: Duration::from_secs(30),
        buffer_limit: 1 << 30,
        inbound_limit: 1 << 30,
        max_send_bytes_per_s: 0,
        agent: "test",
    };
    let mut session = Session::new(config, [7; 16], seed);
    let credential = Credential::Token("token".to_owned());
    session.login(Identity { servers: 1, project: 1, user: "alice".to_owned(), credential }, 0, at(NOW));
    session.connected(Conn::Command, at(NOW));
    let first = first_quest(&mut session);
    let mut out = OutQueue::default();
    out.answer(first, &HelloAnswer { version: 1, features: 0, agent: "relay".to_owned(), salt: None });
    let ticket = [1; 16];
    out.answer(
        first.wrapping_add(1),
        &LoginAnswer { epoch: 9, resumed: false, ticket, expires_ms: 1 << 40, heartbeat_ms: 20_000, max_file: 0 },
    );
    hears(&mut session, Conn::Command, out);
    assert!(session.is_logged_in());
    written(&mut session);
    while session.poll_output().is_some() {}
    session
}

fn hears(session: &mut Session, conn: Conn, mut out: OutQueue) {
    session.reader(conn).feed(&out.take());
    session.received(conn, at(NOW));
}

/// The number of the first quest that a session has written on its command connection; those that follow go on from it.
fn first_quest(session: &mut Session) -> u32 {
    let mut reader = FrameReader::new(SESSION_LIMIT);
    reader.feed(&session.out(Conn::Command).take());
    reader.next_frame().unwrap().unwrap().seq
}

/// The methods of what a session has written on its command connection.
fn written(session: &mut Session) -> Vec<String> {
    let mut reader = FrameReader::new(SESSION_LIMIT);
    reader.feed(&session.out(Conn::Command).take());
    std::iter::from_fn(|| reader.next_frame().unwrap()).map(|frame| frame.method().to_owned()).collect()
}

fn peer(session: &mut Session, epoch: u64, state: u8, class: u8) {
    let mut out = OutQueue::default();
    out.one_way(&Peer { user: "bob".to_owned(), epoch, state, class });
    hears(session, Conn::Command, out);
}

/// Sends ten commands to Bob, whom the relay finds in this state.
fn with_commands(epoch: u64, state: u8) -> Session {
    let mut session = logged_in(1);
    for number in 0..10 {
        let task = TaskId::from_bytes([number; 16]);
        let data = Bytes::from_static(b"text");
        let call = CommandCall { target: "bob".into(), task, chosen: false, data, timeout: None, cookie: 0 };
        session.send_command(call, at(NOW));
    }
    let find = first_quest(&mut session);
    let mut out = OutQueue::default();
    out.answer(find, &FindAnswer { epoch, state });
    hears(&mut session, Conn::Command, out);
    session
}

#[test]
fn regression_what_is_unacknowledged_is_not_repeated_whole_whenever_the_relay_has_room() {
    let mut session = with_commands(BOB, 1);
    assert_eq!(written(&mut session).len(), 10);
    for _ in 0..5 {
        peer(&mut session, BOB, 3, 1);
        peer(&mut session, BOB, 1, 1);
        assert_eq!(written(&mut session), ["crcmd"]);
    }
    // An acknowledgement shows that they get through: the others follow, more with each.
    let (position, limit) = (260, 300_000);
    let mut out = OutQueue::default();
    let mut pairs = bytes::BytesMut::new();
    CommandAck { position, limit, refused: Vec::new() }.put_pairs(&mut Writer::new(&mut pairs));
    out.forward("crack", 5, "bob", BOB, pairs.freeze());
    hears(&mut session, Conn::Command, out);
    assert_eq!(written(&mut session), ["crcmd", "crcmd"]);
}

#[test]
fn regression_that_the_target_left_says_nothing_about_what_it_took_over_an_earlier_link() {
    let mut session = with_commands(BOB, 1);
    assert_eq!(written(&mut session).len(), 10);
    session.closed(Conn::Command, 204, at(NOW));
    session.timeout(at(session.deadline().unwrap()));
    session.connected(Conn::Command, at(NOW));
    let first = first_quest(&mut session);
    let mut out = OutQueue::default();
    out.answer(first, &HelloAnswer { version: 1, features: 0, agent: "relay".to_owned(), salt: None });
    let ticket = [2; 16];
    let heartbeat_ms = 20_000;
    out.answer(
        first.wrapping_add(1),
        &LoginAnswer { epoch: 9, resumed: true, ticket, expires_ms: 1 << 40, heartbeat_ms, max_file: 0 },
    );
    out.answer(first.wrapping_add(2), &FindAnswer { epoch: BOB, state: 1 });
    hears(&mut session, Conn::Command, out);
    while session.poll_output().is_some() {}
    peer(&mut session, BOB, 4, 3);
    let result = |output| match output {
        Output::Event(Event::CommandRslt { err, .. }) => Some(err),
        _ => None,
    };
    let results: Vec<i32> = std::iter::from_fn(|| session.poll_output()).filter_map(result).collect();
    assert_eq!(results, [1107; 10]);
}

#[test]
fn regression_an_earlier_incarnation_that_a_restarted_relay_let_come_back_is_looked_up() {
    let mut session = with_commands(BOB, 2);
    assert_eq!(written(&mut session), [""; 0]);
    peer(&mut session, BOB - 1, 1, 3);
    assert_eq!(written(&mut session), ["crfind"]);
}

#[test]
fn regression_nothing_is_answered_on_a_link_that_is_lost() {
    let mut session = logged_in(1);
    session.closed(Conn::Command, 204, at(NOW));
    // What the bulk connection had brought before is read after that.
    let mut out = OutQueue::default();
    let offer = Offer { task: TaskId::from_bytes([1; 16]), kind: 1, name: String::new(), size: 1, repeated: true };
    let mut pairs = bytes::BytesMut::new();
    offer.put_pairs(&mut Writer::new(&mut pairs));
    out.forward("croffer", 7, "bob", BOB, pairs.freeze());
    hears(&mut session, Conn::Bulk, out);
    let opens_a_sink = std::iter::from_fn(|| session.poll_output()).any(|it| matches!(it, Output::OpenSink { .. }));
    assert!(!opens_a_sink);
    assert!(session.out(Conn::Command).is_empty());
}

/// When each of the clients comes back to a relay that is away for `down`.
fn comings(down: Duration) -> Vec<Duration> {
    let coming = |seed: u64| {
        let mut session = logged_in(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut now = NOW;
        session.closed(Conn::Command, 204, at(now));
        loop {
            let connects = |output| matches!(output, Output::Connect { .. });
            if std::iter::from_fn(|| session.poll_output()).any(connects) {
                if now >= NOW + down {
                    return now - NOW;
                }
                session.connect_failed(Conn::Command, 203, at(now));
            }
            let next = session.deadline().unwrap();
            let pause = next - now;
            assert!((Duration::from_millis(200)..=Duration::from_secs(30)).contains(&pause), "{pause:?}");
            now = next;
            session.timeout(at(now));
        }
    };
    (1..=CLIENTS).map(coming).collect()
}

#[test]
fn five_thousand_clients_come_back_within_a_minute_and_never_all_at_once() {
    // The most of them in any tenth of a second, where all at once would be 5,000.
    for (down_ms, most) in [(100, 1_250), (20_000, 250), (90_000, 100)] {
        let down = Duration::from_millis(down_ms);
        let comings = comings(down);
        assert!(comings.iter().all(|at| *at <= down + Duration::from_secs(60)));
        let mut in_tenth = std::collections::BTreeMap::new();
        comings.iter().for_each(|at| *in_tenth.entry(at.as_millis() / 100).or_insert(0) += 1);
        let worst = in_tenth.values().copied().max().unwrap_or(0);
        assert!(worst <= most, "{worst} clients in a tenth of a second after {down:?}");
    }
}

#[test]
fn regression_what_others_send_is_not_heard_before_the_login_on_a_new_connection() {
    let mut session = logged_in(1);
    session.closed(Conn::Command, 204, at(NOW));
    session.timeout(at(session.deadline().unwrap()));
    session.connected(Conn::Command, at(NOW));
    while session.poll_output().is_some() {}
    let command = |session: &mut Session, number: u8| {
        let (task, data) = (TaskId::from_bytes([number; 16]), Bytes::from_static(b"text"));
        let message = Command { position: 0, base: 0, settled: 0, task, chosen: false, data };
        let mut pairs = bytes::BytesMut::new();
        message.put_pairs(&mut Writer::new(&mut pairs));
        let mut out = OutQueue::default();
        out.forward("crcmd", 8, "bob", BOB, pairs.freeze());
        hears(session, Conn::Command, out);
        let came = |output| matches!(output, Output::Event(Event::Command { .. }));
        std::iter::from_fn(|| session.poll_output()).filter_map(|output| came(output).then_some(())).count()
    };
    // A box on the way repeats what an earlier session of this user was sent.
    assert_eq!(command(&mut session, 1), 0);
    let first = first_quest(&mut session);
    let mut out = OutQueue::default();
    out.answer(first, &HelloAnswer { version: 1, features: 0, agent: "relay".to_owned(), salt: None });
    hears(&mut session, Conn::Command, out);
    assert_eq!(command(&mut session, 2), 0);
    let mut out = OutQueue::default();
    let (ticket, heartbeat_ms) = ([2; 16], 20_000);
    out.answer(
        first.wrapping_add(1),
        &LoginAnswer { epoch: 9, resumed: true, ticket, expires_ms: 1 << 40, heartbeat_ms, max_file: 0 },
    );
    hears(&mut session, Conn::Command, out);
    assert_eq!(command(&mut session, 3), 1);
}
