//! Hello, login, resuming, tokens, silence.

use super::*;

fn refused(world: &mut World, project: i64, user: &str, token: String) -> i64 {
    let (id, answer) = world.try_login(project, user, token, [1; 16], 0);
    assert!(world.closed(id), "a refused login closes the connection");
    answer.unwrap_err()
}

#[test]
fn a_login_gets_a_new_epoch_and_its_times() {
    let mut world = World::new();
    let token = world.mint(PROJECT, "alice", 100);
    let (_, answer) = world.try_login(PROJECT, "alice", token, [1; 16], 0);
    let answer = answer.unwrap();
    assert!(answer.epoch > START && !answer.resumed);
    assert_eq!((answer.expires_ms, answer.heartbeat_ms, answer.max_file), (100_000, 20_000, 0));
    let strict = world.login_to(STRICT, "alice");
    assert!(strict.epoch > answer.epoch);
    assert_eq!(world.core.sessions.len(), 2);
}

#[test]
fn bad_logins_are_refused_with_their_codes() {
    let mut world = World::new();
    let good = world.mint(PROJECT, "alice", HOUR);
    assert_eq!(refused(&mut world, 3, "alice", good.clone()), 20);
    assert_eq!(refused(&mut world, STRICT, "alice", good.clone()), 19);
    assert_eq!(refused(&mut world, PROJECT, "bob", good.clone()), 19);
    assert_eq!(refused(&mut world, PROJECT, "", good.clone()), 5);
    assert_eq!(refused(&mut world, PROJECT, &"x".repeat(129), good), 5);
    assert_eq!(refused(&mut world, PROJECT, "alice", "nonsense".into()), 22);
    let forged = token::mint(PROJECT, "alice", START_S + HOUR, "wrong");
    assert_eq!(refused(&mut world, PROJECT, "alice", forged), 21);
    let old = token::mint(PROJECT, "alice", START_S - 60, SECRET);
    assert_eq!(refused(&mut world, PROJECT, "alice", old), 18);
    assert!(world.core.sessions.is_empty());
    assert_eq!(world.core.before_login, 0);
}

#[test]
fn both_secrets_of_a_project_are_good() {
    let mut world = World::new();
    for secret in ["older", SECRET] {
        let token = token::mint(PROJECT, "alice", START_S + HOUR, secret);
        assert!(world.try_login(PROJECT, "alice", token, [1; 16], 0).1.is_ok());
    }
}

#[test]
fn no_common_version_is_said_before_closing() {
    let mut world = World::new();
    let id = world.open();
    let hello = msg::Hello { lowest: 2, highest: 9, features: 0, agent: "future".into() };
    assert_eq!(world.ask::<_, msg::HelloAnswer>(id, &hello).unwrap_err(), 4);
    assert!(world.closed(id));
}

#[test]
fn whatever_comes_in_the_wrong_order_closes() {
    let mut world = World::new();
    let early = world.open();
    world.one_way(early, &msg::Pong {});
    let unknown = world.hello();
    let mut out = OutQueue::default();
    out.quest(1, &msg::Find { user: "bob".into() });
    world.feed(unknown, &mut out);
    let twice = world.hello();
    out.quest(1, &msg::Hello { lowest: 1, highest: 1, features: 0, agent: String::new() });
    world.feed(twice, &mut out);
    for id in [early, unknown, twice] {
        assert!(world.closed(id));
    }
    assert_eq!((world.core.connections(), world.core.before_login), (0, 0));
}

#[test]
fn who_does_not_log_in_is_closed_after_ten_seconds() {
    let mut world = World::new();
    let (silent, slow) = (world.open(), world.hello());
    let alice = world.login("alice");
    world.pass(Duration::from_millis(9_999));
    assert!(!world.closed(silent) && !world.closed(slow));
    world.pass(Duration::from_millis(1));
    assert!(world.closed(silent) && world.closed(slow));
    assert!(!world.closed(alice.link));
}

#[test]
fn connections_are_limited_before_login_and_in_all() {
    let mut world = World::new();
    let first = world.open();
    for _ in 1..10 {
        world.open();
    }
    assert_eq!(world.core.opened(world.now), Err(Refused::TooManyStrangers));
    world.cut(first);
    let alice = world.login("alice");
    let last = world.open();
    assert_eq!(world.core.opened(world.now), Err(Refused::TooManyStrangers));
    world.cut(last);
    world.core.settings.max_connections = 10;
    assert_eq!(world.core.opened(world.now), Err(Refused::Full));
    assert!(!world.closed(alice.link));
}

#[test]
fn a_second_login_kicks_the_first_out() {
    let mut world = World::new();
    let (alice, bob) = world.pair();
    world.ask::<_, msg::Empty>(bob.link, &msg::Watch { on: true }).unwrap();
    let again = world.login("alice");
    assert!(again.epoch > alice.epoch);
    assert_eq!(world.got::<msg::Bye>(alice.link)[0].code, 10);
    assert!(world.closed(alice.link));
    assert_eq!(world.news(bob.link), [("alice".into(), alice.epoch, PeerState::Gone, 3)]);
    assert!(world.got::<msg::Status>(bob.link).is_empty(), "alice was online all the time");
    assert_eq!(world.try_resume(&alice).1.unwrap_err(), 10);
}

#[test]
fn a_broken_session_resumes_within_the_window() {
    let mut world = World::new();
    let (mut alice, bob) = world.pair();
    world.cut(alice.link);
    assert_eq!(world.news(bob.link), [("alice".into(), alice.epoch, PeerState::Away, 3)]);
    world.pass(Duration::from_millis(59_999));
    world.resume(&mut alice);
    assert_eq!(world.news(bob.link), [("alice".into(), alice.epoch, PeerState::On, 3)]);
    world.pass(secs(120));
    assert!(world.news(bob.link).is_empty());
}

#[test]
fn after_the_window_a_login_gets_a_new_epoch() {
    let mut world = World::new();
    let (alice, bob) = world.pair();
    world.cut(alice.link);
    world.pass(secs(60));
    let states: Vec<_> = world.news(bob.link).into_iter().map(|it| it.2).collect();
    assert_eq!(states, [PeerState::Away, PeerState::Gone]);
    let answer = world.try_resume(&alice).1.unwrap();
    assert!(!answer.resumed && answer.epoch > alice.epoch);
}

#[test]
fn another_name_of_the_session_does_not_resume_it() {
    let mut world = World::new();
    let mut alice = world.login("alice");
    alice.name = [9; 16];
    assert_eq!(world.try_resume(&alice).1.unwrap_err(), 10);
}

#[test]
fn an_epoch_that_a_later_login_ended_stays_superseded_when_that_has_ended_too() {
    let mut world = World::new();
    let alice = world.login("alice");
    let again = world.login("alice");
    world.ask::<_, msg::Empty>(again.link, &msg::Logout {}).unwrap();
    assert_eq!(world.try_resume(&alice).1.unwrap_err(), 10);
    assert!(!world.try_resume(&again).1.unwrap().resumed, "a session that logged out does not come back");
}

#[test]
fn resuming_replaces_a_connection_that_still_seems_open() {
    let mut world = World::new();
    let (mut alice, bob) = world.pair();
    let old = alice.link;
    world.resume(&mut alice);
    assert!(world.closed(old));
    assert_eq!(world.news(bob.link), [("alice".into(), alice.epoch, PeerState::On, 3)]);
    world.routed(bob.link, &alice, &confirm(1));
    assert_eq!(world.got_routed::<msg::Confirm>(alice.link).len(), 1);
}

#[test]
fn a_restarted_relay_adopts_epochs_of_the_run_before() {
    let mut world = World::new();
    let mut alice = world.login("alice");
    let mut world = World::with(settings(), Epochs::by_clock(START + 5_000_000));
    world.resume(&mut alice);
    let again = world.login("alice");
    assert!(again.epoch > alice.epoch);
    assert_eq!(world.try_resume(&alice).1.unwrap_err(), 10);
}

#[test]
fn after_a_restart_the_later_of_two_logins_wins_whoever_comes_first() {
    let mut before = World::new();
    let mut earlier = before.login("alice");
    let mut later = before.login("alice");
    let mut world = World::with(settings(), Epochs::by_clock(START + 5_000_000));
    world.resume(&mut earlier);
    world.resume(&mut later);
    assert_eq!(world.got::<msg::Bye>(earlier.link)[0].code, 10);
    assert_eq!(world.try_resume(&earlier).1.unwrap_err(), 10);
    let newest = world.login("alice");
    assert_eq!(world.try_resume(&later).1.unwrap_err(), 10, "a login of this run is later than all before");
    assert!(!world.closed(newest.link));
}

#[test]
fn an_epoch_that_no_relay_can_have_given_is_not_adopted() {
    let mut world = World::new();
    let mut alice = world.login("alice");
    world.ask::<_, msg::Empty>(alice.link, &msg::Logout {}).unwrap();
    alice.epoch = u64::MAX;
    let answer = world.try_resume(&alice).1.unwrap();
    assert!(!answer.resumed && answer.epoch < START * 2);
}

#[test]
fn epochs_grow_when_the_clock_has_gone_back() {
    let mut epochs = Epochs::after(START, START - 1_000, START + 10);
    assert_eq!(epochs.next(START - 1_000), START + 1);
    assert_eq!(epochs.next(START - 900), START + 2);
    // A clock that jumps ahead does not carry them beyond what is reserved on disk.
    assert_eq!(epochs.next(START * 2), START + 10);
}

#[test]
fn silence_of_two_heartbeats_ends_a_link() {
    let mut world = World::new();
    let alice = world.login("alice");
    let bob = world.login("bob");
    world.find(&bob, "alice");
    // Bob answers pings, Alice does not: `pass` answers for those whose frames it sees.
    world.pass(secs(5));
    world.inboxes.remove(&alice.link);
    world.pass(secs(24));
    assert!(world.news(bob.link).is_empty());
    world.pass(secs(11));
    assert_eq!(world.news(bob.link), [("alice".into(), alice.epoch, PeerState::Away, 3)]);
    assert!(!world.closed(bob.link));
}

#[test]
fn a_session_ends_with_its_token_and_the_tolerance() {
    let mut world = World::new();
    let token = world.mint(PROJECT, "alice", 100);
    let (link, _) = world.try_login(PROJECT, "alice", token, [1; 16], 0);
    world.pass(Duration::from_millis(159_999));
    assert!(world.got::<msg::Bye>(link).is_empty());
    world.pass(Duration::from_millis(1));
    assert_eq!(world.got::<msg::Bye>(link)[0].code, 18);
    assert!(world.closed(link));
}

#[test]
fn a_new_token_prolongs_a_session_and_a_bad_one_harms_nothing() {
    let mut world = World::new();
    let token = world.mint(PROJECT, "alice", 100);
    let (link, _) = world.try_login(PROJECT, "alice", token, [1; 16], 0);
    let others = world.mint(PROJECT, "bob", HOUR);
    let refused = world.ask::<_, msg::TokenAnswer>(link, &msg::UpdateToken { token: others });
    assert_eq!(refused.unwrap_err(), 19);
    let better = world.mint(PROJECT, "alice", 1_000);
    let answer: msg::TokenAnswer = world.ask(link, &msg::UpdateToken { token: better }).unwrap();
    assert_eq!(answer.expires_ms, 1_000_000);
    world.pass(secs(1_059));
    assert!(!world.closed(link));
    world.pass(secs(1));
    assert!(world.closed(link));
}

#[test]
fn a_token_in_its_tolerance_logs_in_with_no_time_left() {
    let mut world = World::new();
    let token = token::mint(PROJECT, "alice", START_S - 30, SECRET);
    let (link, answer) = world.try_login(PROJECT, "alice", token, [1; 16], 0);
    assert_eq!(answer.unwrap().expires_ms, 0);
    world.pass(secs(30));
    assert!(world.closed(link));
}

#[test]
fn a_token_for_ever_does_not_overflow() {
    let mut world = World::new();
    let token = token::mint(PROJECT, "alice", u64::MAX, SECRET);
    assert!(world.try_login(PROJECT, "alice", token, [1; 16], 0).1.is_ok());
}

#[test]
fn logging_out_tells_the_peers_that_nothing_was_taken() {
    let mut world = World::new();
    let (alice, bob) = world.pair();
    world.ask::<_, msg::Empty>(alice.link, &msg::Logout {}).unwrap();
    assert!(world.closed(alice.link));
    assert_eq!(world.news(bob.link), [("alice".into(), alice.epoch, PeerState::Left, 3)]);
}

#[test]
fn logging_out_is_no_certainty_for_a_peer_that_may_have_missed_an_answer() {
    // The peer's link was lost, the other's link was lost, the peer's queue was full, the peer is away.
    for how in 0..4 {
        let mut world = World::new();
        let (mut alice, mut bob) = world.pair();
        match how {
            0 => {
                world.cut(bob.link);
                world.resume(&mut bob);
            }
            1 => {
                world.cut(alice.link);
                world.resume(&mut alice);
            }
            2 => {
                world.stick(bob.link, true);
                (0..100).for_each(|at| world.routed(alice.link, &bob, &confirm(at)));
                world.stick(bob.link, false);
            }
            _ => world.cut(bob.link),
        }
        if how != 3 {
            world.find(&bob, "alice");
        }
        world.news(bob.link);
        world.ask::<_, msg::Empty>(alice.link, &msg::Logout {}).unwrap();
        if how == 3 {
            world.resume(&mut bob);
        }
        let news = world.news(bob.link);
        assert_eq!(news, [("alice".into(), alice.epoch, PeerState::Gone, 3)], "{how}");
    }
}

#[test]
fn ended_epochs_are_remembered_up_to_a_limit() {
    let mut ended = Ended::default();
    let name = |at: usize| -> Arc<str> { at.to_string().into() };
    for at in 0..=epochs::MAX_ENDED {
        ended.note(PROJECT, &name(at), 1_000 + at as u64, Why::Ended);
    }
    assert_eq!(ended.last(PROJECT, &name(1)), Last::Ended(1_001, Why::Ended));
    assert_eq!(ended.last(PROJECT, &name(0)), Last::NotAbove(1_000));
}
