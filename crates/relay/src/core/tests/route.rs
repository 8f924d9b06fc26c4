//! Routed messages: the fence, the address, and what is not passed on.

use crvideo_proto::message::Address;

use super::*;

fn raw(world: &mut World, id: ConnectionId, kind: Kind, method: &'static str, payload: &[u8]) {
    let payload = Bytes::copy_from_slice(payload);
    let frame = Frame { kind, version: 1, flags: 0x80, status: 0, seq: 1, method: method.into(), payload };
    world.core.frame(id, &frame, world.now);
    world.pump();
}

#[test]
fn a_message_arrives_with_its_sender_in_place_of_its_target() {
    let mut world = World::new();
    let (alice, bob) = world.pair();
    world.routed(alice.link, &bob, &confirm(5));
    world.routed(bob.link, &alice, &msg::Done { task: task(2), code: -3 });
    let got = world.got_routed::<msg::Confirm>(bob.link);
    assert_eq!(got, [Routed { from: "alice".into(), epoch: alice.epoch, message: confirm(5) }]);
    assert_eq!(world.got_routed::<msg::Done>(alice.link)[0].message.code, -3);
}

#[test]
fn one_may_write_to_oneself() {
    let mut world = World::new();
    let alice = world.login("alice");
    world.find(&alice, "alice");
    world.routed(alice.link, &alice, &confirm(5));
    assert_eq!(world.got_routed::<msg::Confirm>(alice.link)[0].from, "alice");
    world.ask::<_, msg::Empty>(alice.link, &msg::Logout {}).unwrap();
    assert!(world.core.sessions.is_empty());
}

#[test]
fn the_fence_keeps_messages_from_another_incarnation() {
    let mut world = World::new();
    let (alice, bob) = world.pair();
    let again = world.login("bob");
    world.news(alice.link);
    world.routed(alice.link, &bob, &confirm(1));
    assert!(world.got_routed::<msg::Confirm>(again.link).is_empty());
    assert_eq!(world.news(alice.link), [("bob".into(), bob.epoch, PeerState::Gone, 3)]);
}

#[test]
fn a_message_to_the_live_epoch_joins_those_who_were_joined_before_a_restart() {
    let mut before = World::new();
    let (mut alice, mut bob) = before.pair();
    let mut world = World::with(settings(), Epochs::by_clock(START + 1_000_000));
    world.resume(&mut alice);
    world.resume(&mut bob);
    world.routed(alice.link, &bob, &confirm(1));
    assert_eq!(world.got_routed::<msg::Confirm>(bob.link).len(), 1);
    assert!(world.news(alice.link).is_empty(), "an epoch that lives is never said to be gone");
    world.cut(alice.link);
    assert_eq!(world.news(bob.link), [("alice".into(), alice.epoch, PeerState::Away, 3)]);
}

#[test]
fn messages_to_one_who_is_away_are_dropped_in_silence() {
    let mut world = World::new();
    let (alice, mut bob) = world.pair();
    world.cut(bob.link);
    world.news(alice.link);
    world.routed(alice.link, &bob, &confirm(1));
    assert!(world.news(alice.link).is_empty());
    world.resume(&mut bob);
    assert!(world.got_routed::<msg::Confirm>(bob.link).is_empty());
}

#[test]
fn a_routed_message_on_the_wrong_connection_closes_it() {
    let mut world = World::new();
    let (mut alice, bob) = world.pair();
    let bulk = world.bulk(&mut alice);
    world.routed(bulk, &bob, &confirm(1));
    assert!(world.closed(bulk));
    world.routed(alice.link, &bob, &data(0, 5));
    assert!(world.closed(alice.link));
}

#[test]
fn a_message_cannot_carry_a_second_address() {
    // {"to": "bob", "te": 1, KEY: "eve"}
    let forged = |key: &[u8; 2]| [b"\x83\xa2to\xa3bob\xa2te\x01\xa2".as_slice(), key, b"\xa3eve"].concat();
    for key in [b"fr", b"fe", b"to", b"te"] {
        let mut world = World::new();
        let (alice, _) = world.pair();
        raw(&mut world, alice.link, Kind::OneWay, "crconf", &forged(key));
        assert!(world.closed(alice.link), "{key:?}");
    }
    let mut world = World::new();
    let (alice, _) = world.pair();
    raw(&mut world, alice.link, Kind::OneWay, "crconf", &forged(b"xy"));
    assert!(!world.closed(alice.link), "an unknown key is a newer client's");
}

#[test]
fn nonsense_closes_the_connection() {
    let cases: &[(Kind, &'static str, &[u8])] = &[
        (Kind::OneWay, "crconf", b"\x80"),
        (Kind::OneWay, "crconf", b"\x82\xa2to\xa3bob\xa2te"),
        (Kind::OneWay, "crconf", b"\x82\xa2to\xa3bob\xa2te\x01\x00"),
        (Kind::OneWay, "crconf", b"\x83\xa2to\xa3bob\xa2te\x01\x01\x01"),
        (Kind::OneWay, "unknown", b"\x91\x01"),
        (Kind::OneWay, "crpong", b"\xc1"),
        (Kind::Quest, "crfind", b"\x80"),
        (Kind::Quest, "crfind", b"\x82\xa1u\xa1a\xa1u\xa1a"),
        (Kind::Quest, "unknown", b"\x81"),
        (Kind::Answer, "", b"\x80"),
    ];
    for (kind, method, payload) in cases {
        let mut world = World::new();
        let (alice, bob) = world.pair();
        raw(&mut world, alice.link, *kind, method, payload);
        assert!(world.closed(alice.link), "{method} {payload:x?}");
        assert!(!world.closed(bob.link));
    }
}

#[test]
fn unknown_one_ways_are_ignored_and_unknown_quests_answered() {
    let mut world = World::new();
    let alice = world.login("alice");
    raw(&mut world, alice.link, Kind::OneWay, "crnew", b"\x80");
    raw(&mut world, alice.link, Kind::Quest, "crnew", b"\x80");
    let answer = world.inboxes.get_mut(&alice.link).unwrap().frames.pop_front().unwrap();
    let error = read_answer::<msg::Empty>(&answer).unwrap().unwrap_err();
    assert_eq!((error.code, error.text.as_str()), (20_004, "Unknow method: crnew"));
}

#[test]
fn too_large_a_file_is_refused_in_the_targets_place() {
    let mut world = World::new();
    let (mut alice, mut bob) = (world.login_to(STRICT, "alice"), world.login_to(STRICT, "bob"));
    world.find(&alice, "bob");
    let (from, to) = (world.bulk(&mut alice), world.bulk(&mut bob));
    let offer = |kind, size| msg::Offer { task: task(3), kind, name: "x".into(), size, repeated: false };
    world.routed(from, &bob, &offer(2, MAX_FILE + 1));
    assert!(world.got_routed::<msg::Offer>(to).is_empty());
    let done = world.got_routed::<msg::Done>(alice.link);
    let message = msg::Done { task: task(3), code: 1405 };
    assert_eq!(done, [Routed { from: "bob".into(), epoch: bob.epoch, message }]);
    world.routed(from, &bob, &offer(2, MAX_FILE));
    world.routed(from, &bob, &offer(1, MAX_FILE + 1));
    assert_eq!(world.got_routed::<msg::Offer>(to).len(), 2);
}

/// A client that has said hello with these features and logged in.
fn with_features(world: &mut World, user: &'static str, features: u64) -> Client {
    let link = world.open();
    let hello = msg::Hello { lowest: 1, highest: 1, features, agent: "test".into() };
    let answer: msg::HelloAnswer = world.ask(link, &hello).unwrap();
    assert_eq!((answer.features, answer.salt), (features, None));
    let (name, token) = ([user.len() as u8; 16], world.mint(PROJECT, user, HOUR));
    let login = msg::Login { project: PROJECT, user: user.into(), token, session: name, epoch: 0 };
    let answer: msg::LoginAnswer = world.ask(link, &login).unwrap();
    Client { user, project: PROJECT, name, link, epoch: answer.epoch, ticket: answer.ticket }
}

fn routed_from(world: &mut World, from: ConnectionId, own: Option<u64>, to: &Client) {
    let mut out = OutQueue::default();
    if let Some(own) = own {
        out.stamp(own);
    }
    out.routed(to.user, to.epoch, &confirm(1));
    world.feed(from, &mut out);
}

#[test]
fn messages_say_for_which_epoch_of_their_target_they_are() {
    let mut world = World::new();
    let (alice, mut bob) = world.pair();
    world.routed(alice.link, &bob, &confirm(5));
    let frame = &world.take(bob.link, msg::Confirm::METHOD)[0];
    assert_eq!(Address::from(&frame.payload).unwrap().own, Some(bob.epoch));
    // Also those that have waited for a bulk connection, those that found one, and what the relay says itself.
    let from = world.bulk(&mut alice.clone());
    world.routed(from, &bob, &data(0, 10));
    let bulk = world.bulk(&mut bob);
    world.routed(from, &bob, &data(1, 10));
    let frames = world.take(bulk, msg::Data::METHOD);
    let own: Vec<_> = frames.iter().map(|frame| Address::from(&frame.payload).unwrap().own).collect();
    assert_eq!(own, [Some(bob.epoch); 2]);
}

#[test]
fn a_message_of_an_earlier_session_of_its_sender_is_dropped() {
    let mut world = World::new();
    let (alice, bob) = (with_features(&mut world, "alice", 1), world.login("bob"));
    routed_from(&mut world, alice.link, Some(alice.epoch - 1), &bob);
    assert!(world.got_routed::<msg::Confirm>(bob.link).is_empty());
    assert!(!world.closed(alice.link));
    routed_from(&mut world, alice.link, Some(alice.epoch), &bob);
    let got = world.got_routed::<msg::Confirm>(bob.link);
    assert_eq!(got, [Routed { from: "alice".into(), epoch: alice.epoch, message: confirm(1) }]);
}

#[test]
fn a_sender_says_its_epoch_if_that_was_agreed_upon_and_only_then() {
    for (features, own) in [(1, None), (0, Some(1))] {
        let mut world = World::new();
        let (alice, bob) = (with_features(&mut world, "alice", features), world.login("bob"));
        routed_from(&mut world, alice.link, own, &bob);
        assert!(world.closed(alice.link), "{features}");
        assert!(world.got_routed::<msg::Confirm>(bob.link).is_empty());
    }
}

#[test]
fn a_seal_is_granted_where_nothing_else_protects_and_begins_at_another_number_each_time() {
    let mut world = World::new();
    let mut salts = Vec::new();
    for encrypted in [false, false, true] {
        let id = world.open();
        if encrypted {
            world.core.is_encrypted(id);
        }
        let hello = msg::Hello { lowest: 1, highest: 1, features: 3, agent: "test".into() };
        let answer: msg::HelloAnswer = world.ask(id, &hello).unwrap();
        assert_eq!((answer.features, answer.salt.is_some()), (if encrypted { 1 } else { 3 }, !encrypted));
        assert_eq!(world.core.take_seal(id), answer.salt.map(Seal::up));
        assert_eq!(world.core.take_seal(id), None);
        salts.extend(answer.salt);
    }
    assert_ne!(salts[0], salts[1]);
}
