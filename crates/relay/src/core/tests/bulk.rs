//! Tickets and bulk connections.

use super::*;

fn try_bulk(world: &mut World, ticket: [u8; 16]) -> (ConnectionId, Result<msg::BulkAnswer, i64>) {
    let id = world.hello();
    let answer = world.ask(id, &msg::Bulk { ticket, lost: None });
    (id, answer)
}

/// Alice with a bulk connection, Bob without one.
fn sender(world: &mut World) -> (Client, ConnectionId, Client) {
    let (mut alice, bob) = world.pair();
    let from = world.bulk(&mut alice);
    (alice, from, bob)
}

#[test]
fn a_ticket_works_once_and_is_followed_by_the_next() {
    let mut world = World::new();
    let alice = world.login("alice");
    let (first, answer) = try_bulk(&mut world, alice.ticket);
    let next = answer.unwrap().ticket;
    let (refused, answer) = try_bulk(&mut world, alice.ticket);
    assert_eq!(answer.unwrap_err(), 12);
    assert!(world.closed(refused) && !world.closed(first));
    let (second, answer) = try_bulk(&mut world, next);
    assert!(answer.is_ok());
    assert!(world.closed(first) && !world.closed(second), "a new bulk connection replaces the older one");
}

#[test]
fn a_lost_ticket_can_be_replaced() {
    let mut world = World::new();
    let alice = world.login("alice");
    let fresh: msg::BulkAnswer = world.ask(alice.link, &msg::NewTicket {}).unwrap();
    assert!(try_bulk(&mut world, alice.ticket).1.is_err());
    assert!(try_bulk(&mut world, fresh.ticket).1.is_ok());
}

#[test]
fn tickets_end_with_the_link_and_with_the_session() {
    let mut world = World::new();
    let mut alice = world.login("alice");
    let bulk = world.bulk(&mut alice);
    world.cut(alice.link);
    assert!(world.closed(bulk), "the bulk connection ends with the command connection");
    assert_eq!(try_bulk(&mut world, alice.ticket).1.unwrap_err(), 12);
    world.resume(&mut alice);
    let again = world.login("alice");
    assert_eq!(try_bulk(&mut world, alice.ticket).1.unwrap_err(), 12);
    assert!(try_bulk(&mut world, again.ticket).1.is_ok());
    assert_eq!(world.core.session_by_ticket.len(), 1);
}

#[test]
fn bulk_frames_wait_for_the_connection_that_they_wake() {
    let mut world = World::new();
    let (_, from, mut bob) = sender(&mut world);
    for offset in 0..3 {
        world.routed(from, &bob, &data(offset, 1_000));
    }
    assert_eq!(world.got::<msg::Wake>(bob.link).len(), 1);
    let to = world.bulk(&mut bob);
    world.routed(from, &bob, &data(3, 1_000));
    assert_eq!(offsets(world.got_routed(to)), [0, 1, 2, 3]);
    world.pass(secs(30));
    assert!(!world.closed(to));
}

#[test]
fn a_target_that_does_not_open_its_bulk_connection_is_busy() {
    let mut world = World::new();
    let (alice, from, mut bob) = sender(&mut world);
    world.routed(from, &bob, &data(0, 1_000));
    world.pass(secs(10));
    assert_eq!(world.news(alice.link), [("bob".into(), bob.epoch, PeerState::Busy, 2)]);
    world.routed(from, &bob, &data(1, 1_000));
    let to = world.bulk(&mut bob);
    assert_eq!(world.news(alice.link), [("bob".into(), bob.epoch, PeerState::On, 2)]);
    world.routed(from, &bob, &data(2, 1_000));
    assert_eq!(offsets(world.got_routed(to)), [2]);
}

#[test]
fn what_waits_for_a_bulk_connection_is_limited() {
    let mut world = World::new();
    let (alice, from, mut bob) = sender(&mut world);
    for offset in 0..20 {
        world.routed(from, &bob, &data(offset, 1_000));
    }
    assert_eq!(world.news(alice.link), [("bob".into(), bob.epoch, PeerState::Busy, 2)]);
    let to = world.bulk(&mut bob);
    assert_eq!(world.news(alice.link), [("bob".into(), bob.epoch, PeerState::On, 2)]);
    assert_eq!(offsets(world.got_routed(to)), (0..10).collect::<Vec<_>>());
}

#[test]
fn bulk_that_is_stuck_does_not_stop_commands() {
    let mut world = World::new();
    let (alice, from, mut bob) = sender(&mut world);
    let to = world.bulk(&mut bob);
    world.stick(to, true);
    for offset in 0..20 {
        world.routed(from, &bob, &data(offset, 1_000));
    }
    assert_eq!(world.news(alice.link), [("bob".into(), bob.epoch, PeerState::Busy, 2)]);
    world.routed(alice.link, &bob, &confirm(1));
    assert_eq!(world.got_routed::<msg::Confirm>(bob.link).len(), 1);
    world.stick(to, false);
    assert_eq!(world.news(alice.link), [("bob".into(), bob.epoch, PeerState::On, 2)]);
    assert!(world.news(bob.link).is_empty(), "answers to him travel with the commands and were not held up");
}

#[test]
fn a_chunk_of_the_largest_size_fits_behind_a_small_queue() {
    let mut world = World::new();
    let (_, from, mut bob) = sender(&mut world);
    let to = world.bulk(&mut bob);
    world.stick(to, true);
    world.routed(from, &bob, &data(0, 9_000));
    world.routed(from, &bob, &data(1, 1024 * 1024));
    world.stick(to, false);
    assert_eq!(offsets(world.got_routed(to)), [0, 1]);
}

#[test]
fn a_broken_bulk_connection_is_asked_for_again_and_its_peers_repeat() {
    let mut world = World::new();
    let (alice, from, mut bob) = sender(&mut world);
    let to = world.bulk(&mut bob);
    world.stick(to, true);
    world.routed(from, &bob, &data(0, 1_000));
    world.cut(to);
    assert_eq!(world.got::<msg::Wake>(bob.link).len(), 1);
    assert!(world.news(alice.link).is_empty());
    world.bulk(&mut bob);
    assert_eq!(world.news(alice.link), [("bob".into(), bob.epoch, PeerState::On, 2)]);
}

#[test]
fn a_closed_bulk_connection_delivers_what_was_queued() {
    let mut world = World::new();
    let (alice, from, mut bob) = sender(&mut world);
    let to = world.bulk(&mut bob);
    world.stick(to, true);
    world.routed(from, &bob, &data(0, 1_000));
    let mut out = OutQueue::default();
    out.quest(77, &msg::CloseBulk {});
    world.feed(to, &mut out);
    world.routed(from, &bob, &data(1, 1_000));
    assert_eq!(world.got::<msg::Wake>(bob.link).len(), 1, "what comes after the close waits for the next one");
    world.stick(to, false);
    assert_eq!(offsets(world.got_routed(to)), [0]);
    assert_eq!(world.inboxes[&to].frames[0].seq, 77);
    assert!(world.closed(to));
    let next = world.bulk(&mut bob);
    assert_eq!(offsets(world.got_routed(next)), [1]);
    assert!(world.news(alice.link).is_empty(), "nothing was lost");
}

#[test]
fn what_a_closed_bulk_connection_did_not_take_is_sent_again() {
    let mut world = World::new();
    let (alice, from, mut bob) = sender(&mut world);
    let to = world.bulk(&mut bob);
    world.stick(to, true);
    world.routed(from, &bob, &data(0, 1_000));
    let mut out = OutQueue::default();
    out.quest(77, &msg::CloseBulk {});
    world.feed(to, &mut out);
    world.cut(to);
    assert_eq!(world.got::<msg::Wake>(bob.link).len(), 1);
    world.bulk(&mut bob);
    assert_eq!(world.news(alice.link), [("bob".into(), bob.epoch, PeerState::On, 2)]);
}

#[test]
fn what_a_client_says_to_be_lost_is_sent_again() {
    let mut world = World::new();
    let (alice, from, mut bob) = sender(&mut world);
    let to = world.bulk(&mut bob);
    // The network has taken the piece and loses it; all that comes through are the client's last words.
    world.routed(from, &bob, &data(0, 1_000));
    let mut out = OutQueue::default();
    out.quest(77, &msg::CloseBulk {});
    world.feed(to, &mut out);
    assert!(world.closed(to));
    assert!(world.news(alice.link).is_empty());
    let id = world.hello();
    let _: msg::BulkAnswer = world.ask(id, &msg::Bulk { ticket: bob.ticket, lost: Some(true) }).unwrap();
    assert_eq!(world.news(alice.link), [("bob".into(), bob.epoch, PeerState::On, 2)]);
}

#[test]
fn senders_that_wait_for_a_connection_that_is_closed_may_go_on_with_the_next() {
    let mut world = World::new();
    let (alice, from, mut bob) = sender(&mut world);
    let to = world.bulk(&mut bob);
    world.stick(to, true);
    for offset in 0..20 {
        world.routed(from, &bob, &data(offset, 1_000));
    }
    world.news(alice.link);
    let mut out = OutQueue::default();
    out.quest(77, &msg::CloseBulk {});
    world.feed(to, &mut out);
    assert_eq!(world.news(alice.link), [("bob".into(), bob.epoch, PeerState::On, 2)]);
    world.routed(from, &bob, &data(20, 1_000));
    let next = world.bulk(&mut bob);
    assert_eq!(offsets(world.got_routed(next)), [20]);
}

#[test]
fn a_client_is_asked_again_as_long_as_somebody_waits_for_its_bulk_connection() {
    let mut world = World::new();
    let (_, from, bob) = sender(&mut world);
    world.routed(from, &bob, &data(0, 1_000));
    world.pass(secs(35));
    assert_eq!(world.got::<msg::Wake>(bob.link).len(), 4);
}

#[test]
fn one_who_is_away_is_not_said_to_be_on() {
    let mut world = World::new();
    let (alice, from, mut bob) = sender(&mut world);
    world.routed(from, &bob, &data(0, 1_000));
    world.pass(secs(10));
    world.cut(alice.link);
    world.bulk(&mut bob);
    assert_eq!(world.news(bob.link), [("alice".into(), alice.epoch, PeerState::Away, 3)]);
}
