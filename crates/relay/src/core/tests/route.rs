//! Routed messages: the fence, the address, and what is not passed on.

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
