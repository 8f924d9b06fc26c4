//! Who is there.

use super::*;
use crate::core::session::Joined;

fn users(world: &mut World, who: &Client, user: Option<&str>, after: Option<&str>) -> (Vec<String>, bool) {
    let quest = msg::Users { user: user.map(str::to_owned), after: after.map(str::to_owned) };
    let answer: msg::UsersAnswer = world.ask(who.link, &quest).unwrap();
    (answer.users, answer.more)
}

fn statuses(world: &mut World, who: &Client) -> Vec<(String, u8)> {
    world.got::<msg::Status>(who.link).into_iter().map(|it| (it.user, it.state)).collect()
}

#[test]
fn finding_tells_epoch_and_state() {
    let mut world = World::new();
    let (alice, bob) = world.pair();
    assert_eq!(world.find(&alice, "nobody"), (0, 0));
    assert_eq!(world.find(&alice, "alice"), (alice.epoch, 1));
    world.cut(bob.link);
    assert_eq!(world.find(&alice, "bob"), (bob.epoch, 2));
    let bad = world.ask::<_, msg::FindAnswer>(alice.link, &msg::Find { user: "x".repeat(200) });
    assert_eq!(bad.unwrap_err(), 5);
}

#[test]
fn other_projects_are_another_world() {
    let mut world = World::new();
    let alice = world.login("alice");
    let bob = world.login_to(STRICT, "bob");
    assert_eq!(world.find(&alice, "bob"), (0, 0));
    assert_eq!(users(&mut world, &alice, None, None), (vec!["alice".into()], false));
    world.routed(alice.link, &bob, &confirm(1));
    assert!(world.got_routed::<msg::Confirm>(bob.link).is_empty());
}

#[test]
fn news_that_came_while_away_is_told_on_resuming() {
    let mut world = World::new();
    let (mut alice, mut bob) = world.pair();
    let carol = world.login("carol");
    world.find(&alice, "carol");
    world.cut(alice.link);
    world.cut(bob.link);
    world.ask::<_, msg::Empty>(carol.link, &msg::Logout {}).unwrap();
    // Dave was joined when Alice did not look: his end means nothing to her.
    let dave = world.login("dave");
    world.pass(secs(1));
    world.find(&dave, "alice");
    world.ask::<_, msg::Empty>(dave.link, &msg::Logout {}).unwrap();
    world.resume(&mut alice);
    let mut news = world.news(alice.link);
    news.sort_by(|one, other| one.0.cmp(&other.0));
    let away = ("bob".into(), bob.epoch, PeerState::Away, 3);
    assert_eq!(news, [away, ("carol".into(), carol.epoch, PeerState::Gone, 3)]);
    world.resume(&mut bob);
    assert_eq!(world.news(alice.link), [("bob".into(), bob.epoch, PeerState::On, 3)]);
}

#[test]
fn correspondents_are_limited() {
    let mut world = World::new();
    let (alice, _) = world.pair();
    let id = world.core.connections[&alice.link].role;
    let Role::Command(id) = id else { panic!("{id:?}") };
    let session = world.core.sessions.get_mut(&id).unwrap();
    session
        .peers
        .extend((1_000_000..).take(MAX_CORRESPONDENTS - 1).map(|id| (id, Joined { at: Duration::ZERO, number: 0 })));
    world.login("carol");
    let full = world.ask::<_, msg::FindAnswer>(alice.link, &msg::Find { user: "carol".into() });
    assert_eq!(full.unwrap_err(), 1106);
    assert_eq!(world.find(&alice, "bob").1, 1);
}

#[test]
fn users_come_in_pages() {
    let mut world = World::new();
    let alice = world.login("alice");
    let project = world.core.projects.get_mut(&PROJECT).unwrap();
    project.online.extend((0..1_500).map(|at| Arc::from(format!("u{at:04}"))));
    let (first, more) = users(&mut world, &alice, None, None);
    assert_eq!((first.len(), first[0].as_str(), more), (1_000, "alice", true));
    let (rest, more) = users(&mut world, &alice, None, first.last().map(String::as_str));
    assert_eq!((rest.len(), rest[0].as_str(), more), (501, "u0999", false));
    assert_eq!(users(&mut world, &alice, Some("u0007"), None), (vec!["u0007".into()], false));
    assert_eq!(users(&mut world, &alice, Some("nobody"), None), (vec![], false));
}

#[test]
fn watchers_hear_who_comes_and_goes() {
    let mut world = World::new();
    let alice = world.login("alice");
    world.ask::<_, msg::Empty>(alice.link, &msg::Watch { on: true }).unwrap();
    let mut bob = world.login("bob");
    assert_eq!(statuses(&mut world, &alice), [("bob".into(), 1)]);
    world.cut(bob.link);
    world.pass(Duration::from_millis(9_999));
    assert!(statuses(&mut world, &alice).is_empty(), "a short break is not seen");
    world.pass(Duration::from_millis(1));
    assert_eq!(statuses(&mut world, &alice), [("bob".into(), 0)]);
    assert_eq!(users(&mut world, &alice, Some("bob"), None).0.len(), 0);
    world.resume(&mut bob);
    assert_eq!(statuses(&mut world, &alice), [("bob".into(), 1)]);
    world.ask::<_, msg::Empty>(bob.link, &msg::Logout {}).unwrap();
    assert_eq!(statuses(&mut world, &alice), [("bob".into(), 0)]);
    world.ask::<_, msg::Empty>(alice.link, &msg::Watch { on: false }).unwrap();
    world.login("bob");
    assert!(statuses(&mut world, &alice).is_empty());
}

fn restarted() -> World {
    World::with(Settings { startup_grace: secs(10), ..settings() }, Epochs::by_clock(START + 1_000_000))
}

#[test]
fn after_a_restart_users_who_are_not_back_yet_count_as_away() {
    let mut before = World::new();
    let (mut alice, mut bob) = before.pair();
    let mut world = restarted();
    world.resume(&mut alice);
    assert_eq!(world.find(&alice, "bob"), (0, 2));
    world.resume(&mut bob);
    assert_eq!(world.news(alice.link), [("bob".into(), bob.epoch, PeerState::On, 3)]);
    world.pass(secs(10));
    world.routed(alice.link, &bob, &confirm(4));
    assert_eq!(world.got_routed::<msg::Confirm>(bob.link).len(), 1, "being asked for has joined them");
}

#[test]
fn after_a_restart_messages_to_users_who_are_not_back_yet_wait_for_them() {
    let mut before = World::new();
    let (mut alice, mut bob) = before.pair();
    let mut world = restarted();
    world.resume(&mut alice);
    world.routed(alice.link, &bob, &confirm(1));
    assert_eq!(world.news(alice.link), [("bob".into(), bob.epoch, PeerState::Away, 3)]);
    world.resume(&mut bob);
    assert_eq!(world.news(alice.link), [("bob".into(), bob.epoch, PeerState::On, 3)]);
    // Bob has not asked for Alice, but both were joined before.
    world.routed(bob.link, &alice, &confirm(2));
    assert_eq!(world.got_routed::<msg::Confirm>(alice.link).len(), 1);
}

#[test]
fn after_a_restart_the_epoch_that_was_meant_ends_when_the_user_comes_with_another() {
    let mut before = World::new();
    let (mut alice, bob) = before.pair();
    let mut world = restarted();
    world.resume(&mut alice);
    world.routed(alice.link, &bob, &confirm(1));
    let again = world.login("bob");
    let states: Vec<_> = world.news(alice.link).into_iter().map(|it| (it.1, it.2)).collect();
    assert_eq!(states, [(bob.epoch, PeerState::Away), (bob.epoch, PeerState::Gone), (again.epoch, PeerState::On)]);
}

#[test]
fn after_a_restart_nobody_is_waited_for_in_vain() {
    let mut before = World::new();
    let (mut alice, _bob) = before.pair();
    let mut world = restarted();
    let carol = world.login("carol");
    assert_eq!(world.find(&carol, "bob"), (0, 0), "a new session waits for nobody");
    world.resume(&mut alice);
    assert_eq!(world.find(&alice, "bob"), (0, 2));
    world.pass(secs(10));
    assert_eq!(world.news(alice.link), [("bob".into(), 0, PeerState::Gone, 3)]);
    assert_eq!(world.find(&alice, "bob"), (0, 0));
    assert_eq!(world.core.asked, 0);
}

#[test]
fn regression_after_a_restart_a_logout_is_no_certainty_for_a_peer_of_the_earlier_run() {
    let mut before = World::new();
    let (alice, bob) = before.pair();
    for (both, told) in [(true, PeerState::Gone), (false, PeerState::Left)] {
        let mut world = restarted();
        // What the two of them had sent each other before may have been taken, and the answer lost with the relay.
        let mut alice = alice.clone();
        world.resume(&mut alice);
        let bob = if both {
            let mut bob = bob.clone();
            world.resume(&mut bob);
            bob
        } else {
            world.login("bob")
        };
        world.find(&bob, "alice");
        world.news(bob.link);
        world.ask::<_, msg::Empty>(alice.link, &msg::Logout {}).unwrap();
        assert_eq!(world.news(bob.link), [("alice".into(), alice.epoch, told, 3)]);
    }
}
