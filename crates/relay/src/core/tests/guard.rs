//! Limits, revoked tokens, races of logins, and the walls between projects.

use super::*;

/// A token with an id of its own.
fn with_id(world: &World, user: &str, id: &str) -> String {
    let now = world.now.unix_micros / 1_000_000;
    token::issue_with_id(PROJECT, user, now, now + HOUR, Some(id), SECRET)
}

fn guarded(change: impl FnOnce(&mut GuardSettings)) -> World {
    let mut settings = settings();
    change(&mut settings.guard);
    World::with(settings, Epochs::by_clock(START))
}

fn block(last: u8) -> Option<Block> {
    Some(Block::of([192, 0, 2, last].into()))
}

#[test]
fn a_revoked_token_ends_its_session_with_18_and_lets_nobody_in_any_more() {
    let mut world = World::new();
    let (stolen, other) = (with_id(&world, "alice", "one"), with_id(&world, "alice", "two"));
    let (link, answer) = world.try_login(PROJECT, "alice", stolen.clone(), [1; 16], 0);
    assert!(answer.is_ok());
    let bob = world.login("bob");
    assert!(world.core.revoke_id(PROJECT, "one", START_S + HOUR, world.now));
    world.pump();
    let byes: Vec<msg::Bye> = world.got(link);
    assert_eq!((byes.len(), byes[0].code), (1, 18));
    assert!(world.closed(link) && !world.closed(bob.link));
    assert_eq!(world.try_login(PROJECT, "alice", stolen, [1; 16], 0).1.unwrap_err(), 18);
    let (link, answer) = world.try_login(PROJECT, "alice", other, [1; 16], 0);
    assert!(answer.is_ok());
    // A newer token takes the place of the one that is revoked in time.
    let newer = with_id(&world, "alice", "three");
    world.ask::<_, msg::TokenAnswer>(link, &msg::UpdateToken { token: newer }).unwrap();
    assert!(world.core.revoke_id(PROJECT, "two", START_S + HOUR, world.now));
    world.pump();
    assert!(!world.closed(link));
}

#[test]
fn a_revocation_is_of_one_project_and_is_forgotten_once_the_token_has_expired() {
    let mut world = World::new();
    let token = with_id(&world, "alice", "one");
    assert!(world.core.revoke_id(STRICT, "one", START_S + HOUR, world.now));
    assert!(world.try_login(PROJECT, "alice", token, [1; 16], 0).1.is_ok());
    let other = with_id(&world, "alice", "two");
    assert!(world.core.remember_revoked_id(PROJECT, "two", START_S + 100));
    world.core.sweep_revocations(world.now);
    assert_eq!(world.try_login(PROJECT, "alice", other.clone(), [1; 16], 0).1.unwrap_err(), 18);
    world.pass(secs(300));
    world.core.sweep_revocations(world.now);
    assert!(world.try_login(PROJECT, "alice", other, [1; 16], 0).1.is_ok());
}

#[test]
fn a_user_whose_tokens_are_revoked_hears_18_once() {
    let mut world = World::new();
    let alice = world.login("alice");
    world.core.revoke(PROJECT, "alice", world.now);
    assert!(world.core.end_revoked(PROJECT, "alice", world.now));
    assert!(!world.core.end_revoked(PROJECT, "alice", world.now));
    world.pump();
    let byes: Vec<msg::Bye> = world.got(alice.link);
    assert_eq!((byes.len(), byes[0].code), (1, 18));
    assert_eq!(world.try_resume(&alice).1.unwrap_err(), 18);
}

/// What may happen to a session and its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blow {
    /// The client brings a second token, which lives longer.
    Update,
    /// The first token is revoked, or the second.
    Revoke(usize),
    /// The first token expires.
    Expire,
    /// All tokens of the user are revoked.
    RevokeUser,
    KickOut,
}

/// A session that lives by one of two tokens, as it should be.
struct Model {
    lives_by: Option<usize>,
    revoked: [bool; 2],
    bye: Option<i64>,
}

impl Model {
    fn end(&mut self, code: i64) {
        if self.lives_by.take().is_some() {
            self.bye = Some(code);
        }
    }
}

const IDS: [&str; 2] = ["one", "two"];

fn strike(world: &mut World, model: &mut Model, link: ConnectionId, tokens: &[String; 2], blow: Blow) {
    match blow {
        Blow::Update => {
            let update = msg::UpdateToken { token: tokens[1].clone() };
            if model.lives_by.is_none() {
                return world.one_way(link, &update);
            }
            let answer = world.ask::<_, msg::TokenAnswer>(link, &update).map(drop);
            assert_eq!(answer, if model.revoked[1] { Err(18) } else { Ok(()) });
            if !model.revoked[1] {
                model.lives_by = Some(1);
            }
        }
        Blow::Revoke(which) => {
            assert!(world.core.revoke_id(PROJECT, IDS[which], START_S + 9 * HOUR, world.now));
            model.revoked[which] = true;
            if model.lives_by == Some(which) {
                model.end(18);
            }
        }
        Blow::Expire => {
            world.pass(secs(HOUR + 61));
            if model.lives_by == Some(0) {
                model.end(18);
            }
        }
        Blow::RevokeUser => {
            world.core.revoke(PROJECT, "alice", world.now);
            assert_eq!(world.core.end_revoked(PROJECT, "alice", world.now), model.lives_by.is_some());
            model.end(18);
        }
        Blow::KickOut => {
            assert_eq!(world.core.kick_out(PROJECT, "alice", world.now), model.lives_by.is_some());
            model.end(10);
        }
    }
    world.pump();
    assert_eq!(world.core.serves(link), model.lives_by.is_some());
}

/// All orders of these.
fn orders(blows: &[Blow]) -> Vec<Vec<Blow>> {
    let Some((first, rest)) = blows.split_first() else { return vec![Vec::new()] };
    let mut all = Vec::new();
    for order in orders(rest) {
        for at in 0..=order.len() {
            let mut order = order.clone();
            order.insert(at, *first);
            all.push(order);
        }
    }
    all
}

#[test]
fn in_whatever_order_tokens_change_expire_and_are_revoked_a_session_ends_once_for_the_first_reason() {
    let blows = [Blow::Update, Blow::Revoke(0), Blow::Revoke(1), Blow::Expire, Blow::RevokeUser, Blow::KickOut];
    let all = orders(&blows);
    assert_eq!(all.len(), 720);
    for order in all {
        let mut world = World::new();
        let tokens = [(HOUR, IDS[0]), (3 * HOUR, IDS[1])]
            .map(|(life, id)| token::issue_with_id(PROJECT, "alice", START_S, START_S + life, Some(id), SECRET));
        let (link, answer) = world.try_login(PROJECT, "alice", tokens[0].clone(), [1; 16], 0);
        answer.unwrap();
        let mut model = Model { lives_by: Some(0), revoked: [false; 2], bye: None };
        for blow in &order {
            strike(&mut world, &mut model, link, &tokens, *blow);
        }
        let byes: Vec<i64> = world.got::<msg::Bye>(link).iter().map(|bye| bye.code).collect();
        assert_eq!(byes, [model.bye.unwrap()], "{order:?}");
        assert!(world.closed(link) && world.core.sessions() == 0, "{order:?}");
        for token in tokens {
            assert_eq!(world.try_login(PROJECT, "alice", token, [2; 16], 0).1.unwrap_err(), 18, "{order:?}");
        }
    }
}

#[test]
fn of_many_logins_of_one_user_one_survives_and_each_other_hears_10_once() {
    let mut world = World::new();
    world.core.settings.max_before_login = 1_000;
    world.core.settings.max_connections = 1_000;
    let greeted: Vec<_> = (0..200).map(|_| world.hello()).collect();
    // All logins are on their way before the first is answered.
    let token = world.mint(PROJECT, "alice", HOUR);
    for (at, link) in greeted.iter().enumerate() {
        let session = (at as u128).to_be_bytes();
        let login = msg::Login { project: PROJECT, user: "alice".into(), token: token.clone(), session, epoch: 0 };
        let mut out = OutQueue::default();
        out.quest(1, &login);
        let mut reader = FrameReader::new(SESSION_LIMIT);
        reader.feed(&out.take());
        world.core.frame(*link, &reader.next_frame().unwrap().unwrap(), world.now);
        assert_eq!(world.core.sessions(), 1);
    }
    world.pump();
    let (winner, losers) = greeted.split_last().unwrap();
    assert!(!world.closed(*winner) && world.got::<msg::Bye>(*winner).is_empty());
    for loser in losers {
        let byes: Vec<msg::Bye> = world.got(*loser);
        assert_eq!((byes.len(), byes[0].code), (1, 10));
        assert!(world.closed(*loser));
    }
}

#[test]
fn a_transfer_too_many_is_refused_and_one_that_ends_makes_room() {
    let mut world = guarded(|guard| guard.session_transfers = 2);
    let (mut alice, mut bob) = world.pair();
    let (from, to) = (world.bulk(&mut alice), world.bulk(&mut bob));
    let offer = |number, repeated| msg::Offer { task: task(number), kind: 2, name: "x".into(), size: 1, repeated };
    for number in 1..=3 {
        world.routed(from, &bob, &offer(number, false));
    }
    assert_eq!(world.got_routed::<msg::Offer>(to).len(), 2);
    let refused = world.got_routed::<msg::Done>(alice.link);
    assert_eq!((refused.len(), refused[0].message.task, refused[0].message.code), (1, task(3), 1106));
    // One that goes on may have arrived already, so it is never refused here.
    world.routed(from, &bob, &offer(4, true));
    assert_eq!(world.got_routed::<msg::Offer>(to).len(), 1);
    world.routed(bob.link, &alice, &msg::Done { task: task(1), code: 0 });
    world.routed(from, &bob, &offer(5, false));
    assert_eq!(world.got_routed::<msg::Offer>(to).len(), 1);
    world.routed(alice.link, &bob, &msg::Cancel { task: task(2), code: 1105 });
    world.routed(from, &bob, &offer(6, false));
    assert_eq!(world.got_routed::<msg::Offer>(to).len(), 1);
    // Whoever they were for has gone, and they with him.
    world.ask::<_, msg::Empty>(bob.link, &msg::Logout {}).unwrap();
    assert_eq!(world.core.list_sessions(PROJECT, None).0[0].transfers, 0);
}

#[test]
fn regression_an_offer_that_its_cancel_has_overtaken_counts_no_longer_than_its_connection() {
    let mut world = guarded(|guard| guard.session_transfers = 2);
    let (mut alice, mut bob) = world.pair();
    let (from, _) = (world.bulk(&mut alice), world.bulk(&mut bob));
    let count = |world: &World| world.core.list_sessions(PROJECT, None).0[0].transfers;
    let offer = msg::Offer { task: task(1), kind: 2, name: "x".into(), size: 1, repeated: false };
    // The cancel travels on the command connection, and so may be the first to come.
    world.routed(alice.link, &bob, &msg::Cancel { task: task(1), code: 1105 });
    world.routed(from, &bob, &offer);
    assert_eq!(count(&world), 1);
    world.ask::<_, msg::Empty>(from, &msg::CloseBulk {}).unwrap();
    assert_eq!(count(&world), 0);
    let from = world.bulk(&mut alice);
    world.routed(from, &bob, &offer);
    assert_eq!(count(&world), 1);
    world.cut(from);
    assert_eq!(count(&world), 0);
}

#[test]
fn regression_a_transfer_that_ends_while_its_sender_is_away_counts_no_longer() {
    let mut world = guarded(|guard| guard.session_transfers = 2);
    let (mut alice, mut bob) = world.pair();
    let (from, _) = (world.bulk(&mut alice), world.bulk(&mut bob));
    world.routed(from, &bob, &msg::Offer { task: task(1), kind: 2, name: "x".into(), size: 1, repeated: false });
    world.cut(alice.link);
    world.routed(bob.link, &alice, &msg::Done { task: task(1), code: 0 });
    assert_eq!(world.core.list_sessions(PROJECT, None).0[0].transfers, 0);
}

#[test]
fn when_too_much_waits_in_all_each_queue_is_cut_short_and_goes_on_when_it_is_emptied() {
    let mut world = guarded(|guard| guard.max_queued = 20_000);
    world.core.settings.command_queue = 32_000;
    let (alice, bob) = world.pair();
    let (carol, dave) = (world.login("carol"), world.login("dave"));
    world.find(&alice, "carol");
    world.find(&alice, "dave");
    for stuck in [&bob, &carol] {
        world.stick(stuck.link, true);
        for at in 0..400 {
            world.routed(alice.link, stuck, &confirm(at));
        }
        assert_eq!(world.news(alice.link), [(stuck.user.into(), stuck.epoch, PeerState::Busy, 1)]);
    }
    let used = world.core.memory_used();
    assert!((20_000..32_000).contains(&used), "{used} bytes are in use");
    // Others get what is for them.
    world.routed(alice.link, &dave, &confirm(1));
    assert_eq!(world.got_routed::<msg::Confirm>(dave.link).len(), 1);
    for stuck in [&bob, &carol] {
        world.stick(stuck.link, false);
        assert_eq!(world.news(alice.link).first().map(|it| it.2), Some(PeerState::On));
    }
    assert_eq!(world.core.memory_used(), 0);
}

#[test]
fn a_project_has_so_many_sessions_and_who_is_there_may_come_back() {
    let mut world = guarded(|guard| guard.project_sessions = 2);
    let (alice, _bob) = world.pair();
    let third = world.mint(PROJECT, "carol", HOUR);
    assert_eq!(world.try_login(PROJECT, "carol", third.clone(), [3; 16], 0).1.unwrap_err(), 1106);
    world.login_to(STRICT, "carol");
    assert!(world.try_resume(&alice).1.unwrap().resumed);
    let again = world.login("alice");
    world.ask::<_, msg::Empty>(again.link, &msg::Logout {}).unwrap();
    assert!(world.try_login(PROJECT, "carol", third, [3; 16], 0).1.is_ok());
}

#[test]
fn who_guesses_is_not_looked_at_any_more_for_a_while() {
    let mut world = World::new();
    let good = world.mint(PROJECT, "alice", HOUR);
    let forged = token::mint(PROJECT, "alice", START_S + HOUR, "wrong");
    let check = |world: &mut World, token: &str, from| world.core.check_token(PROJECT, "alice", token, from, world.now);
    for _ in 0..6 {
        assert_eq!(check(&mut world, &forged, block(1)), Err(21));
    }
    assert_eq!(check(&mut world, &good, block(1)), Err(1106));
    assert_eq!(check(&mut world, &good, block(2)), Ok(None), "elsewhere he is let in");
    world.pass(secs(1));
    assert_eq!(check(&mut world, &good, block(1)), Ok(None));
    // A token that was good once is nobody's guess.
    let old = token::mint(PROJECT, "alice", START_S - 1_000, SECRET);
    for _ in 0..100 {
        assert_eq!(check(&mut world, &old, block(3)), Err(18));
    }
    assert_eq!(check(&mut world, &good, block(3)), Ok(None));
}

#[test]
fn the_operator_sees_who_is_there_page_by_page() {
    let mut world = World::new();
    let (alice, bob) = world.pair();
    world.cut(bob.link);
    let (sessions, more) = world.core.list_sessions(PROJECT, None);
    let seen: Vec<_> = sessions.iter().map(|it| (it.user.as_str(), it.epoch, it.connection)).collect();
    assert_eq!(seen, [("alice", alice.epoch, Some(alice.link)), ("bob", bob.epoch, None)]);
    assert_eq!((sessions[0].since, sessions[0].project, more), (START_S, PROJECT, false));
    assert_eq!(world.core.list_sessions(PROJECT, Some("alice")).0.len(), 1);
    assert!(world.core.list_sessions(STRICT, None).0.is_empty() && world.core.list_sessions(9, None).0.is_empty());
    let counters = world.core.counters();
    assert_eq!((counters.logins, counters.logins_refused, counters.kicked_out), (2, 0, 0));
}

/// Random numbers that repeat (xorshift64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }
}

/// Requests with task ids, users, epochs and ids of other projects; `CRVIDEO_PROBES` of them, or these.
const PROBES: usize = 4_000;
const PROJECTS: i64 = 100;

#[test]
fn nothing_that_is_asked_in_one_project_has_an_effect_in_another() {
    let probes = std::env::var("CRVIDEO_PROBES").ok().and_then(|text| text.parse().ok()).unwrap_or(PROBES);
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let random = {
        let mut drawn = 0u128;
        move || {
            drawn += 1;
            Some(drawn.to_be_bytes())
        }
    };
    let tenants = (1..=PROJECTS).map(|id| Tenant { id, secrets: vec![SECRET.into()], max_file: 0 }).collect();
    let limits = Settings { max_connections: 10_000, max_before_login: 10_000, ..settings() };
    let core = Core::new(limits, tenants, Epochs::by_clock(START), Box::new(random));
    let now = Now { at: Duration::ZERO, unix_micros: START };
    let mut world = World { core, now, inboxes: BTreeMap::new(), seq: 0 };
    let names = ["alice", "bob", "carol"];
    let mut clients = Vec::new();
    for project in 1..=PROJECTS {
        for user in names {
            // Those of the first project alone ask; the others only hear.
            clients.push(world.login_to(project, user));
        }
    }
    let (asking, others) = clients.split_at(names.len());
    for other in others {
        world.ask::<_, msg::Empty>(other.link, &msg::Watch { on: true }).unwrap();
        world.got::<msg::Status>(other.link);
    }
    // A client that has the tokens and the links of the first project tries everything on all others.
    let mut found = 0usize;
    for _ in 0..probes {
        let (who, whom) = (&asking[dice.below(asking.len())], &others[dice.below(others.len())]);
        let target = Client { project: whom.project, ..whom.clone() };
        let number = dice.below(256) as u8;
        match dice.below(9) {
            0 => world.routed(who.link, &target, &confirm(number.into())),
            1 => world.routed(who.link, &target, &msg::Done { task: task(number), code: 0 }),
            2 => world.routed(who.link, &target, &msg::Cancel { task: task(number), code: 1105 }),
            3 => world.routed(who.link, &target, &msg::Go { task: task(number), offset: 0, limit: 9 }),
            4 => {
                let answer: msg::FindAnswer = world.ask(who.link, &msg::Find { user: whom.user.into() }).unwrap();
                found += usize::from(answer.epoch == whom.epoch);
            }
            5 => world.one_way(who.link, &msg::Got { id: task(number) }),
            6 => {
                let users: msg::UsersAnswer = world.ask(who.link, &msg::Users { user: None, after: None }).unwrap();
                assert_eq!(users.users.len(), names.len());
            }
            7 => {
                let token = token::mint(1, whom.user, START_S + HOUR, SECRET);
                let refused = world.ask::<_, msg::TokenAnswer>(who.link, &msg::UpdateToken { token });
                assert_eq!(refused.is_ok(), who.user == whom.user);
            }
            _ => {
                let token = token::mint(1, whom.user, START_S + HOUR, SECRET);
                let (id, answer) = world.try_login(whom.project, whom.user, token, whom.name, whom.epoch);
                assert!(matches!(answer.unwrap_err(), 19 | 1106));
                world.inboxes.remove(&id);
            }
        }
    }
    assert_eq!(found, 0);
    for other in others {
        let inbox = &world.inboxes[&other.link];
        assert!(!inbox.closed && inbox.frames.is_empty(), "{} of {} has heard something", other.user, other.project);
    }
    assert_eq!(world.core.sessions(), clients.len());
}
