//! What servers send by RTM functions reaches users of libcrvideo: messages as events, files as real files.

use crvideo::client::rtm::{self, Action, Answer, CallOptions, Target};
use crvideo::client::{self, Event, SessionConfig};
use crvideo_proto::code;
use crvideo_proto::id::TaskId;
use crvideo_proto::message::Rtm;
use crvideo_relay::{BlockingRelay, Config};

use crate::proxy::Proxy;
use crate::rtm_world::Server;
use crate::world::{User, World, address, content};

fn server(relay: &BlockingRelay) -> Server {
    let gate = address(relay.rtm_address().expect("a relay for development speaks RTM"));
    Server::at(vec![gate], |config| {
        config.project = relay.project();
        config.secret = relay.secret().to_owned();
    })
}

/// The next RTM message.
fn message(user: &User) -> Box<Rtm> {
    user.wait(|event| match event {
        Event::NotifyRtmMessage { message } => Some(message),
        _ => None,
    })
}

/// The next RTM message that brings a file, and the file: source, task, content and name.
fn message_and_file(user: &User) -> (Box<Rtm>, (String, TaskId, Vec<u8>, String)) {
    let (mut message, mut file) = (None, None);
    while message.is_none() || file.is_none() {
        match user.next() {
            Event::NotifyRtmMessage { message: it } => message = Some(it),
            Event::NotifyFileData { source, task, path, name } => {
                file = Some((source.to_string(), task, std::fs::read(path).unwrap(), name));
            }
            _ => {}
        }
    }
    (message.unwrap(), file.unwrap())
}

fn say(server: &Server, target: Target, text: &str) {
    let send = rtm::send_message(server.client, (7, target), 51, text.as_bytes(), "a", CallOptions::default(), None);
    assert!(matches!(send.unwrap().unwrap().outcome, Ok(Answer::Sent { .. })));
}

/// Everything that the user has heard so far has been handled: a later event comes after that.
fn settle(user: &User, name: &str) {
    user.send_cmd(name, b"");
    user.command();
}

#[test]
fn a_file_that_a_server_sends_arrives_as_a_real_file_with_all_that_was_said_of_it() {
    let world = World::new();
    let server = server(&world.relay);
    let bob = world.user("2");
    for size in [0, 1, 300_000, 5_000_000] {
        let bytes = content(size);
        let done = server.send(Target::User(2), &bytes);
        let Ok(Answer::Sent { mtime, .. }) = done.outcome else { panic!("{done:?}") };
        let (said, (source, task, got, name)) = message_and_file(&bob);
        assert!(got == bytes, "{size} bytes arrive as they were sent");
        assert_eq!((source.as_str(), name.as_str(), task), ("7", "报告.txt", said.id));
        assert_eq!((said.from, said.kind, said.place, said.mtype), (7, 1, 0, 50));
        assert_eq!((said.mid, said.mtime), (done.mid, mtime));
        assert!(said.attrs.contains(r#""custom":{"k":1}"#) && !said.attrs.contains("sign"), "{}", said.attrs);
        assert!(String::from_utf8_lossy(&said.data).contains(&format!("\"size\":{size}")));
    }
}

#[test]
fn files_reach_many_users_groups_rooms_and_everybody_but_their_sender() {
    let world = World::new();
    let server = server(&world.relay);
    let users = [world.user("2"), world.user("3")];
    let sender = world.user("7");
    let name = world.user("not a number");
    assert_eq!(server.ask(Action::AddGroupMembers { gid: 5, uids: vec![2, 3, 7] }), Answer::Done);
    for uid in [2, 3] {
        assert_eq!(server.ask(Action::AddRoomMember { rid: 6, uid }), Answer::Done);
    }
    let targets =
        [(Target::Users(vec![2, 3]), 1, 0), (Target::Group(5), 2, 5), (Target::Room(6), 3, 6), (Target::All, 4, 0)];
    for (target, kind, place) in targets {
        let bytes = content(400_000);
        assert!(server.send(target, &bytes).outcome.is_ok());
        for user in &users {
            let (said, (_, task, got, _)) = message_and_file(user);
            assert!(got == bytes);
            assert_eq!((said.kind, said.place, said.id), (kind, place, task));
        }
    }
    // What is sent to the others by name comes after all that.
    say(&server, Target::User(7), "only this");
    assert_eq!(message(&sender).data.as_ref(), b"only this");
    let of_rtm = |event| matches!(event, Event::NotifyRtmMessage { .. } | Event::NotifyFileData { .. });
    assert!(!name.events.try_iter().any(of_rtm));
}

#[test]
fn who_is_not_there_gets_everything_at_the_next_login_in_order_and_once() {
    let world = World::new();
    let server = server(&world.relay);
    for number in 0..100 {
        say(&server, Target::User(2), &number.to_string());
    }
    let bytes = content(1_000_000);
    assert!(server.send(Target::User(2), &bytes).outcome.is_ok());
    let bob = world.user("2");
    for number in 0..100 {
        assert_eq!(message(&bob).data, number.to_string().as_bytes());
    }
    let (_, (_, _, got, _)) = message_and_file(&bob);
    assert!(got == bytes);
    say(&server, Target::User(2), "last");
    assert_eq!(message(&bob).data.as_ref(), b"last");
    settle(&bob, "2");
    assert_eq!(bob.logout(), code::NOERR);
    let again = world.user("2");
    say(&server, Target::User(2), "the only one");
    assert_eq!(message(&again).data.as_ref(), b"the only one");
}

#[test]
fn a_file_from_a_server_goes_on_when_the_link_comes_back() {
    let world = World::new();
    let server = server(&world.relay);
    let proxy = Proxy::new(world.relay.address());
    let bob = world.user_via("2", proxy.address(), |_| {});
    bob.ask_for_progress();
    let bytes = content(20_000_000);
    assert!(server.send(Target::User(2), &bytes).outcome.is_ok());
    for _ in 0..3 {
        bob.wait(|event| matches!(event, Event::ReceiveProgress { .. }).then_some(()));
        proxy.cut();
    }
    let (_, _, path, _) = bob.file();
    assert!(std::fs::read(path).unwrap() == bytes);
    // It is delivered, and so is not sent again.
    say(&server, Target::User(2), "next");
    loop {
        match bob.next() {
            Event::NotifyFileData { .. } => panic!("the file came twice"),
            Event::NotifyRtmMessage { message } if message.data.as_ref() == b"next" => break,
            _ => {}
        }
    }
}

#[test]
fn a_file_from_a_server_may_be_refused_like_any_other() {
    let world = World::new();
    let server = server(&world.relay);
    let bob = world.user("2");
    bob.ask_for_offers();
    assert!(server.send(Target::User(2), &content(300_000)).outcome.is_ok());
    let (source, task) = bob.wait(|event| match event {
        Event::TransferOffer { source, task, .. } => Some((source, task)),
        _ => None,
    });
    client::refuse_transfer(bob.session, &source, task).unwrap();
    bob.wait(|event| matches!(event, Event::NotifyCancelSend { .. }).then_some(()));
    // It has been decided, so the next login brings nothing of it.
    say(&server, Target::User(2), "next");
    while message(&bob).data.as_ref() != b"next" {}
    settle(&bob, "2");
    assert_eq!(bob.logout(), code::NOERR);
    let again = world.user("2");
    say(&server, Target::User(2), "last");
    assert_eq!(message(&again).data.as_ref(), b"last");
}

#[test]
fn what_a_server_has_sent_outlives_a_restart_of_the_relay() {
    let data = tempfile::tempdir().unwrap();
    let downloads = tempfile::tempdir().unwrap();
    let mut config = Config::dev().unwrap();
    config.data = Some(data.path().to_owned());
    let bytes = content(700_000);
    let relay = BlockingRelay::start(config.clone()).unwrap();
    let first = server(&relay);
    say(&first, Target::User(2), "before");
    assert!(first.send(Target::User(2), &bytes).outcome.is_ok());
    drop(first);
    relay.kill();
    let relay = BlockingRelay::start(config).unwrap();
    let bob = User::new(SessionConfig { download_dir: Some(downloads.path().to_owned()), ..SessionConfig::default() });
    let credential = client::Credential::Secret(relay.secret().to_owned());
    let servers = vec![address(relay.address())];
    let info = client::LoginInfo {
        servers,
        project: relay.project(),
        user: "2".to_owned(),
        credential,
        tls: Default::default(),
    };
    assert_eq!(bob.login(info), code::NOERR);
    assert_eq!(message(&bob).data.as_ref(), b"before");
    let (_, (_, _, got, _)) = message_and_file(&bob);
    assert!(got == bytes);
}
