//! Slow targets: who must wait, and who is closed.

use super::*;

/// Sends until the sender hears that the target is busy; returns how many were sent.
fn fill(world: &mut World, alice: &Client, bob: &Client) -> u64 {
    for sent in 1..1_000 {
        world.routed(alice.link, bob, &confirm(sent));
        let news = world.news(alice.link);
        if !news.is_empty() {
            assert_eq!(news, [("bob".into(), bob.epoch, PeerState::Busy, 1)]);
            return sent;
        }
    }
    panic!("the queue is endless");
}

#[test]
fn a_slow_target_is_busy_until_its_queue_has_half_drained() {
    let mut world = World::new();
    let (alice, bob) = world.pair();
    world.stick(bob.link, true);
    let sent = fill(&mut world, &alice, &bob);
    world.routed(alice.link, &bob, &confirm(1_000));
    assert!(world.news(alice.link).is_empty(), "busy is said once");
    world.stick(bob.link, false);
    assert_eq!(world.news(alice.link), [("bob".into(), bob.epoch, PeerState::On, 1)]);
    assert_eq!(
        world.news(bob.link),
        [("alice".into(), alice.epoch, PeerState::On, 3)],
        "answers about commands and transfers were lost"
    );
    let got: Vec<_> = world.got_routed::<msg::Confirm>(bob.link).iter().map(|it| it.message.offset).collect();
    assert_eq!(got, (1..sent).collect::<Vec<_>>(), "what was sent before it was busy has arrived, in order");
    world.routed(alice.link, &bob, &confirm(7));
    assert_eq!(world.got_routed::<msg::Confirm>(bob.link).len(), 1);
}

#[test]
fn only_the_senders_to_a_slow_target_wait() {
    let mut world = World::new();
    let (alice, bob) = world.pair();
    let carol = world.login("carol");
    world.find(&alice, "carol");
    world.stick(bob.link, true);
    fill(&mut world, &alice, &bob);
    world.routed(alice.link, &carol, &confirm(1));
    assert_eq!(world.got_routed::<msg::Confirm>(carol.link).len(), 1);
    world.routed(bob.link, &alice, &confirm(2));
    assert_eq!(world.got_routed::<msg::Confirm>(alice.link).len(), 1, "a slow reader may still send");
}

#[test]
fn a_socket_that_takes_nothing_is_closed() {
    let mut world = World::new();
    let (alice, bob) = world.pair();
    world.stick(bob.link, true);
    world.routed(alice.link, &bob, &confirm(1));
    world.pass(Duration::from_millis(29_999));
    assert!(world.news(alice.link).is_empty());
    world.pass(Duration::from_millis(1));
    assert_eq!(world.news(alice.link), [("bob".into(), bob.epoch, PeerState::Away, 3)]);
    assert!(world.core.flush(bob.link, 0, world.now).is_gone());
}

#[test]
fn a_socket_that_takes_a_little_is_kept() {
    let mut world = World::new();
    let (alice, bob) = world.pair();
    world.stick(bob.link, true);
    for at in 0..20 {
        world.routed(alice.link, &bob, &confirm(at));
    }
    for _ in 0..6 {
        world.pass(secs(14));
        world.one_way(bob.link, &msg::Pong {});
        assert!(!world.core.flush(bob.link, 1, world.now).is_gone());
    }
    assert!(world.news(alice.link).is_empty());
}

#[test]
fn the_relays_own_messages_have_a_hard_limit() {
    let mut world = World::new();
    let bob = world.login("bob");
    world.ask::<_, msg::Empty>(bob.link, &msg::Watch { on: true }).unwrap();
    world.stick(bob.link, true);
    let mut logins = 0;
    while !world.closed(bob.link) {
        let carol = world.login("carol");
        world.ask::<_, msg::Empty>(carol.link, &msg::Logout {}).unwrap();
        logins += 1;
        assert!(logins < 1_000, "the queue is endless");
        world.pump();
        if world.core.flush(bob.link, 0, world.now).is_gone() {
            break;
        }
    }
    // A status is 12 bytes of header, 8 of method and 13 of payload; the limit is 4 × 2,000.
    assert_eq!(logins, 8_000 / (2 * 33) + 1);
}

#[test]
fn a_blocked_sender_that_ends_leaves_nothing_behind() {
    let mut world = World::new();
    let (alice, bob) = world.pair();
    world.stick(bob.link, true);
    fill(&mut world, &alice, &bob);
    world.ask::<_, msg::Empty>(alice.link, &msg::Logout {}).unwrap();
    world.stick(bob.link, false);
    assert!(world.core.sessions.values().all(|it| it.blocked_commands.is_empty() && it.peers.is_empty()));
}

impl Output {
    fn is_gone(&self) -> bool {
        matches!(self, Output::Gone)
    }
}
