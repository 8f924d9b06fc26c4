//! What servers ask of the core.

use super::*;

fn reissued(world: &mut World, user: &str) -> String {
    let issued = world.core.issue_time(PROJECT, user, world.now);
    token::issue(PROJECT, user, issued, START_S + HOUR, SECRET)
}

#[test]
fn revoked_tokens_are_void_and_later_ones_are_not_even_within_the_same_second() {
    let mut world = World::new();
    let silent = world.mint(PROJECT, "7", HOUR);
    let others = world.mint(PROJECT, "8", HOUR);
    for round in 0..3 {
        let good = reissued(&mut world, "7");
        assert!(world.try_login(PROJECT, "7", good.clone(), [round; 16], 0).1.is_ok());
        let until = world.core.revoke(PROJECT, "7", world.now);
        assert_eq!(until, START_S + u64::from(round));
        for void in [&good, &silent] {
            let refused = world.try_login(PROJECT, "7", void.clone(), [round; 16], 0).1.unwrap_err();
            assert_eq!(refused, i64::from(code::TOKEN_TIMEOUT));
        }
    }
    // Nothing has been made in between, so nothing more need be void.
    assert_eq!(world.core.revoke(PROJECT, "7", world.now), START_S + 2);
    assert!(world.try_login(PROJECT, "8", others, [9; 16], 0).1.is_ok());
    assert_eq!(world.core.revocations(PROJECT), 1);
}

#[test]
fn a_revocation_of_before_a_restart_holds() {
    let mut world = World::new();
    world.core.remember_revocation(PROJECT, "7", START_S + 5);
    let void = token::issue(PROJECT, "7", START_S + 5, START_S + HOUR, SECRET);
    assert!(world.try_login(PROJECT, "7", void, [1; 16], 0).1.is_err());
    let good = reissued(&mut world, "7");
    assert!(world.try_login(PROJECT, "7", good, [1; 16], 0).1.is_ok());
}

#[test]
fn who_is_kicked_out_hears_why_and_is_gone() {
    let mut world = World::new();
    let user = world.login("7");
    assert!(world.core.is_online(PROJECT, "7") && !world.core.is_online(STRICT, "7"));
    assert!(!world.core.kick_out(STRICT, "7", world.now));
    assert!(world.core.kick_out(PROJECT, "7", world.now));
    assert!(!world.core.kick_out(PROJECT, "7", world.now) && !world.core.is_online(PROJECT, "7"));
    world.pump();
    let byes: Vec<msg::Bye> = world.got(user.link);
    assert_eq!(byes[0].code, i64::from(code::KICKOUT_BY_RELOGIN));
}

#[test]
fn regression_who_is_kicked_out_while_his_link_is_lost_does_not_come_back_by_himself() {
    // The link is lost before, or while the word of the kick-out is on its way.
    for lost_first in [true, false] {
        let mut world = World::new();
        let user = world.login("7");
        if lost_first {
            world.cut(user.link);
        }
        assert!(world.core.kick_out(PROJECT, "7", world.now));
        let refused = world.try_resume(&user).1.unwrap_err();
        assert_eq!(refused, i64::from(code::KICKOUT_BY_RELOGIN), "{lost_first}");
        assert!(!world.core.is_online(PROJECT, "7"));
        // A login of his own is another matter, and so is what follows it.
        let mut again = world.login("7");
        world.cut(again.link);
        world.resume(&mut again);
    }
}

#[test]
fn comings_and_goings_are_reported_in_order_once_somebody_wants_to_know() {
    let mut world = World::new();
    world.login("6");
    assert!(world.core.take_presence().is_empty());
    world.core.report_presence();
    let user = world.login("7");
    world.core.kick_out(PROJECT, "7", world.now);
    let seen = world.core.take_presence();
    assert_eq!(seen.iter().map(|it| (&*it.user, it.online)).collect::<Vec<_>>(), [("7", true), ("7", false)]);
    assert_eq!((seen[0].project, seen[0].connection, seen[1].connection), (PROJECT, Some(user.link), None));
    assert!(world.core.take_presence().is_empty());
}
