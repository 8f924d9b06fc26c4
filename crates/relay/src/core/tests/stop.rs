//! The relay's own end.

use super::*;

#[test]
fn everybody_hears_good_bye_and_nobody_comes_in_any_more() {
    let mut world = World::new();
    let (mut alice, bob) = world.pair();
    let (bulk, stranger) = (world.bulk(&mut alice), world.open());
    world.core.stop(world.now);
    world.pump();
    for link in [alice.link, bob.link] {
        assert_eq!(world.got::<msg::Bye>(link)[0].code, 8);
        assert!(world.news(link).is_empty(), "the sessions go on with the next run");
    }
    for id in [alice.link, bob.link, bulk, stranger] {
        assert!(world.closed(id));
    }
    assert_eq!(world.core.opened(world.now), Err(Refused::Stopping));
}

#[test]
fn what_does_not_flush_is_given_up() {
    let mut world = World::new();
    let alice = world.login("alice");
    world.stick(alice.link, true);
    world.core.stop(world.now);
    world.pump();
    assert!(!world.closed(alice.link));
    world.core.abandon();
    assert_eq!(world.core.connections(), 0);
    world.core.tick(Now { at: secs(1_000), ..world.now });
}
