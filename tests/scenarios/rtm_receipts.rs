//! What becomes of messages and files at each recipient, as the library tells it: with this project's relay, and with a
//! gate that cannot tell.

use crvideo::client;
use crvideo::client::Event as SessionEvent;
use crvideo::client::rtm::{
    self, Action, Answer, CallOptions, Content, Done, Event, Receipt, Standing, Target, TargetKind,
};
use crvideo_proto::code as contract;
use crvideo_relay::{BlockingRelay, Config};

use crate::proxy::Proxy;
use crate::rtm_gate::{Gate, MTIME};
use crate::rtm_world::Server;
use crate::world::{World, address, content};

/// A client that watches, at a gate with this address.
fn watching(relay: &BlockingRelay, at: client::ServerAddress) -> Server {
    let server = Server::at(vec![at], |config| {
        config.project = relay.project();
        config.secret = relay.secret().to_owned();
    });
    rtm::watch_recipients(server.client, true).unwrap();
    server
}

fn watcher(relay: &BlockingRelay) -> Server {
    watching(relay, address(relay.rtm_address().unwrap()))
}

fn say(server: &Server, target: Target) -> Done {
    let send = rtm::send_message(server.client, (7, target), 51, b"x", "", CallOptions::default(), None);
    send.unwrap().unwrap()
}

/// The id of something that was sent and is watched.
fn mid(done: &Done) -> i64 {
    assert!(matches!(done.outcome, Ok(Answer::Sent { watched: true, .. })), "{done:?}");
    done.mid
}

/// The next receipt.
fn receipt(server: &Server) -> Receipt {
    loop {
        if let Event::Receipt(receipt) = server.next(&server.events) {
            return receipt;
        }
    }
}

fn of_user(mid: i64, user: i64, state: Standing, code: i32) -> Receipt {
    Receipt { kind: TargetKind::User, from: 7, place: user, mid, user, state, code }
}

#[test]
fn messages_and_files_are_accepted_and_delivered_or_stored_and_delivered_later() {
    let world = World::new();
    let server = watcher(&world.relay);
    let bob = world.user("2");
    let path = world.file("large.bin", 20_000_000);
    let sends: [&dyn Fn() -> Done; 4] = [
        &|| say(&server, Target::Users(vec![2, 3])),
        &|| server.send(Target::Users(vec![2, 3]), &content(0)),
        &|| server.send(Target::Users(vec![2, 3]), &content(700_000)),
        &|| {
            let large = Content::Path(&path);
            server.send_by(Target::Users(vec![2, 3]), large, None, CallOptions::default()).unwrap().unwrap()
        },
    ];
    let mut mids = Vec::new();
    for send in sends {
        let mid = mid(&send());
        let told: Vec<Receipt> = (0..3).map(|_| receipt(&server)).collect();
        let first = [of_user(mid, 2, Standing::Accepted, 0), of_user(mid, 3, Standing::Stored, 0)];
        assert_eq!(told, [&first[..], &[of_user(mid, 2, Standing::Delivered, 0)]].concat());
        mids.push(mid);
    }
    let _carol = world.user("3");
    let mut told: Vec<Receipt> = mids.iter().map(|_| receipt(&server)).collect();
    // Files of different sizes arrive in any order.
    told.sort_by_key(|receipt| mids.iter().position(|mid| *mid == receipt.mid));
    let expected: Vec<Receipt> = mids.iter().map(|mid| of_user(*mid, 3, Standing::Delivered, 0)).collect();
    assert_eq!(told, expected);
    drop(bob);
    // Who is there in a group or room, or at all.
    assert_eq!(server.ask(Action::AddGroupMembers { gid: 5, uids: vec![3, 4] }), Answer::Done);
    assert_eq!(server.ask(Action::AddRoomMember { rid: 6, uid: 3 }), Answer::Done);
    for (target, kind, place) in [(Target::Room(6), TargetKind::Room, 6), (Target::Group(5), TargetKind::Group, 5)] {
        let mid = mid(&say(&server, target));
        let of = |user, state| Receipt { kind, from: 7, place, mid, user, state, code: 0 };
        assert_eq!(receipt(&server), of(3, Standing::Accepted));
        if kind == TargetKind::Group {
            assert_eq!(receipt(&server), of(4, Standing::Stored));
        }
        assert_eq!(receipt(&server), of(3, Standing::Delivered));
    }
}

#[test]
fn a_file_that_the_user_refuses_has_failed_with_his_refusal() {
    let world = World::new();
    let server = watcher(&world.relay);
    let bob = world.user("2");
    bob.ask_for_offers();
    let mid = mid(&server.send(Target::User(2), &content(300_000)));
    let (source, task) = bob.wait(|event| match event {
        SessionEvent::TransferOffer { source, task, .. } => Some((source, task)),
        _ => None,
    });
    client::refuse_transfer(bob.session, &source, task).unwrap();
    assert_eq!(receipt(&server), of_user(mid, 2, Standing::Accepted, 0));
    assert_eq!(receipt(&server), of_user(mid, 2, Standing::Failed, contract::PEER_REFUSE));
}

#[test]
fn regression_users_refuse_a_file_although_the_relay_has_no_connection_to_spare() {
    const USERS: i64 = 8;
    let world = World::with(|config| config.max_connections = USERS as usize);
    let server = watcher(&world.relay);
    let users: Vec<_> = (1..=USERS).map(|user| world.user(&user.to_string())).collect();
    users.iter().for_each(|user| user.ask_for_offers());
    let mid = mid(&server.send(Target::Users((1..=USERS).collect()), &content(300_000)));
    let offers: Vec<_> = users
        .iter()
        .map(|user| {
            user.wait(|event| match event {
                SessionEvent::TransferOffer { source, task, .. } => Some((source, task)),
                _ => None,
            })
        })
        .collect();
    for (user, (source, task)) in users.iter().zip(offers) {
        client::refuse_transfer(user.session, &source, task).unwrap();
    }
    let mut refused: Vec<i64> = (0..2 * USERS)
        .map(|_| receipt(&server))
        .filter(|receipt| receipt.state == Standing::Failed)
        .map(|receipt| {
            assert_eq!((receipt.mid, receipt.code), (mid, contract::PEER_REFUSE));
            receipt.user
        })
        .collect();
    refused.sort_unstable();
    assert_eq!(refused, (1..=USERS).collect::<Vec<_>>());
}

#[test]
fn receipts_come_over_a_link_that_is_cut_again_and_again_each_once() {
    let world = World::new();
    let proxy = Proxy::new(world.relay.rtm_address().unwrap());
    let server = watching(&world.relay, proxy.address());
    let _bob = world.user("2");
    let mut sent = Vec::new();
    for round in 0..60 {
        // A call may fail with its connection; it has been taken all the same, or not.
        let done = say(&server, Target::User(2));
        if done.outcome.is_ok() {
            sent.push(mid(&done));
        }
        if round % 6 == 5 {
            proxy.cut();
        }
    }
    assert!(sent.len() >= 30, "{}", sent.len());
    let mut told: Vec<Receipt> = Vec::new();
    let is_delivered = |told: &[Receipt], mid| told.contains(&of_user(mid, 2, Standing::Delivered, 0));
    while !sent.iter().all(|mid| is_delivered(&told, *mid)) {
        told.push(receipt(&server));
    }
    for (at, receipt) in told.iter().enumerate() {
        assert!(!told[..at].contains(receipt), "{receipt:?} came twice");
        let accepted = Receipt { state: Standing::Accepted, ..*receipt };
        assert!(receipt.state != Standing::Delivered || told[..at].contains(&accepted), "{receipt:?} came first");
    }
}

#[test]
fn receipts_come_after_a_restart_of_the_relay() {
    let data = tempfile::tempdir().unwrap();
    let mut config = Config::dev().unwrap();
    config.data = Some(data.path().to_owned());
    let mut world = World::with(|given| {
        given.data = config.data.clone();
        config = given.clone();
    });
    let server = watcher(&world.relay);
    let mid = mid(&say(&server, Target::User(2)));
    assert_eq!(receipt(&server), of_user(mid, 2, Standing::Stored, 0));
    config.listen = vec![world.relay.address()];
    config.rtm.listen = world.relay.rtm_address();
    let other = BlockingRelay::start_dev().unwrap();
    std::mem::replace(&mut world.relay, other).kill();
    world.relay = BlockingRelay::start(config).unwrap();
    let _bob = world.user("2");
    // Nobody calls: the client has made its connection again to hear this.
    assert_eq!(receipt(&server), of_user(mid, 2, Standing::Delivered, 0));
}

#[test]
fn a_gate_that_cannot_tell_is_asked_once_and_gets_nothing_else_that_is_not_its_own() {
    let gate = Gate::start();
    let server = Server::new(&gate);
    rtm::watch_recipients(server.client, true).unwrap();
    for _ in 0..3 {
        assert_eq!(say(&server, Target::User(2)).outcome, Ok(Answer::Sent { mtime: MTIME, watched: false }));
        let sent = server.send(Target::Users(vec![2, 3]), b"content");
        assert_eq!(sent.outcome, Ok(Answer::Sent { mtime: MTIME, watched: false }));
    }
    assert_eq!(gate.seen_of("crreceipts").len(), 1);
    assert!(gate.seen().iter().all(|seen| seen.method == "crreceipts" || !seen.params.has("watch")));
    assert!(server.events.is_empty());
    // A client that does not watch does not even ask.
    let plain = Server::new(&gate);
    assert!(say(&plain, Target::User(2)).outcome.is_ok());
    assert_eq!(gate.seen_of("crreceipts").len(), 1);
}
