//! RTM clients with this project's relay: files and messages go through its gates, and what they reach hears of them.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;

use crvideo::client::rtm::{self, Action, Answer, CallOptions, Change, Content, Listen, PushKind, Target};
use crvideo_proto::rtm::code as rtm_code;

use crate::proxy::Proxy;
use crate::rtm_world::{Server, code};
use crate::world::{World, address, content, eventually};

/// A client of the relay's gate.
fn server(world: &World) -> Server {
    let servers = vec![address(world.relay.rtm_address().unwrap())];
    Server::at(servers, |config| {
        config.project = world.relay.project();
        config.secret = world.relay.secret().to_owned();
    })
}

fn listening(world: &World) -> Server {
    let server = server(world);
    let listen = Listen { all_users: true, all_groups: true, all_rooms: true, all_events: true, ..Listen::default() };
    assert_eq!(server.ask(Action::Listen { change: Change::Set, listen }), Answer::Done);
    server
}

/// What a URL leads to.
fn fetch(url: &str) -> Vec<u8> {
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    answer.split_off(end + 4)
}

#[test]
fn files_to_users_groups_and_rooms_reach_those_who_listen_and_can_be_fetched() {
    let world = World::new();
    let (sender, listener) = (server(&world), listening(&world));
    assert_eq!(sender.ask(Action::AddGroupMembers { gid: 5, uids: vec![1, 2] }), Answer::Done);
    assert_eq!(sender.ask(Action::AddRoomMember { rid: 6, uid: 1 }), Answer::Done);
    let bytes = content(700_000);
    let path = world.file("original.bin", bytes.len());
    for (target, kind, reached) in [
        (Target::User(2), PushKind::User, vec![2]),
        (Target::Users(vec![2, 3, -4]), PushKind::User, vec![2, 3, -4]),
        (Target::Group(5), PushKind::Group, vec![5]),
        (Target::Room(6), PushKind::Room, vec![6]),
    ] {
        for from in [Content::Memory(&bytes), Content::Path(&path)] {
            let done = sender.send_by(target.clone(), from, None, CallOptions::default()).unwrap().unwrap();
            let Ok(Answer::Sent { mtime, .. }) = done.outcome else { panic!("{:?}", done.outcome) };
            let mut heard = BTreeSet::new();
            for _ in &reached {
                let push = listener.push();
                assert_eq!((push.kind, push.from, push.mid, push.mtype), (kind, 7, done.mid, 50));
                assert_eq!(push.mtime, mtime);
                let file = push.file.unwrap();
                assert_eq!(file.size, bytes.len() as u64);
                assert!(fetch(&file.url) == bytes);
                let attrs = file.attrs.unwrap();
                assert_eq!((attrs.filename().as_str(), attrs.custom_text().as_str()), ("报告.txt", "{\"k\":1}"));
                heard.insert(push.target);
            }
            assert_eq!(heard, reached.iter().copied().collect());
        }
    }
    assert_eq!(code(&sender.send(Target::All, &bytes)), 0);
    for size in [0, 1, 262_144, 262_145, 20_000_000] {
        assert_eq!(code(&sender.send(Target::User(2), &content(size))), 0, "{size}");
        assert!(fetch(&listener.push().file.unwrap().url) == content(size), "{size}");
    }
}

#[test]
fn a_large_file_survives_the_loss_of_its_connection_and_is_sent_once() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = Proxy::new(free);
    let endpoint = format!("127.0.0.1:{}", proxy.address().port);
    let world = World::with(|config| {
        config.rtm.files = Some(free);
        config.rtm.file_endpoint = Some(endpoint);
    });
    let (sender, listener) = (server(&world), listening(&world));
    let bytes = content(60_000_000);
    let path = world.file("large.bin", bytes.len());
    let (callback, ended) = Server::callback();
    sender.send_by(Target::User(2), Content::Path(&path), Some(callback), CallOptions::default()).unwrap();
    for cut in 1..=4 {
        eventually(&format!("the file goes on after cut {}", cut - 1), || proxy.forwarded() >= cut * 10_000_000);
        proxy.cut();
    }
    let done = sender.next(&ended);
    assert_eq!(code(&done), 0, "{:?}", done.outcome);
    let push = listener.push();
    assert_eq!(push.mid, done.mid);
    assert!(fetch(&push.file.unwrap().url) == bytes);
    assert!(proxy.forwarded() < 100_000_000, "it goes on where it was, and does not begin again");
}

#[test]
fn messages_users_groups_and_rooms_work_with_the_relay() {
    let world = World::new();
    let (sender, listener) = (server(&world), listening(&world));
    let none = CallOptions::default();
    for body in ["你好".as_bytes(), b"\xff\0", b""] {
        let sent = rtm::send_message(sender.client, (7, Target::User(2)), 66, body, "a", none, None);
        let mid = sent.unwrap().unwrap().mid;
        let push = listener.push();
        assert_eq!((push.mid, push.body.as_ref(), push.attrs.as_str()), (mid, body, "a"));
    }
    let ask = |action| sender.ask(action);
    assert_eq!(ask(Action::AddGroupMembers { gid: 5, uids: vec![1, 2, 3] }), Answer::Done);
    assert_eq!(ask(Action::DelGroupMembers { gid: 5, uids: vec![2] }), Answer::Done);
    assert_eq!(ask(Action::GroupMembers { gid: 5 }), Answer::Ids(vec![1, 3]));
    assert_eq!(ask(Action::GroupCount { gid: 5 }), Answer::Number(2));
    assert_eq!(ask(Action::IsGroupMember { gid: 5, uid: 1 }), Answer::Number(1));
    assert_eq!(ask(Action::UserGroups { uid: 3 }), Answer::Ids(vec![5]));
    assert_eq!(ask(Action::AddRoomMember { rid: 6, uid: 1 }), Answer::Done);
    assert_eq!(ask(Action::RoomMembers { rid: 6 }), Answer::Ids(vec![1]));
    assert_eq!(ask(Action::RoomCount { rid: 6 }), Answer::Number(1));
    assert_eq!(ask(Action::DelRoomMember { rid: 6, uid: 1 }), Answer::Done);
    assert_eq!(ask(Action::DelGroup { gid: 5 }), Answer::Done);
    let Answer::Token(token) = ask(Action::GetToken { uid: 42 }) else { panic!("a token") };
    // An RTM user is the user of that number; its token is good for a login.
    let user = world.stranger(|_| {});
    let mut info = world.info("42", world.address());
    info.credential = crvideo::client::Credential::Token(token);
    assert_eq!(user.login(info), 0);
    assert_eq!(ask(Action::OnlineUsers { uids: vec![41, 42] }), Answer::Ids(vec![42]));
    assert_eq!(ask(Action::RemoveToken { uid: 42 }), Answer::Done);
    assert_eq!(ask(Action::Kickout { uid: 42 }), Answer::Done);
    assert_eq!(user.line_off(), 10);
}

#[test]
fn the_relays_refusals_come_through_with_their_texts() {
    let world = World::new();
    let sender = server(&world);
    assert_eq!(code(&sender.send(Target::Group(77), b"x")), rtm_code::GROUP_EMPTY);
    assert_eq!(code(&sender.send(Target::Users(vec![1; 10_001]), b"x")), rtm_code::TOO_MANY);
    let wrong = Server::at(vec![address(world.relay.rtm_address().unwrap())], |config| {
        config.project = world.relay.project();
    });
    let done = wrong.call(Action::GetToken { uid: 1 });
    assert_eq!(code(&done), rtm_code::BAD_SIGN);
    assert!(!done.outcome.unwrap_err().text.is_empty());
    assert_eq!(code(&sender.send(Target::User(1), b"x")), 0, "the connection lives");
}

#[test]
fn listening_survives_a_restart_of_the_relay() {
    let mut world = World::new();
    let listener = listening(&world);
    let at = world.relay.rtm_address().unwrap();
    let (project, secret) = (world.relay.project(), world.relay.secret().to_owned());
    let mut config = crvideo_relay::Config::dev().unwrap();
    config.listen = vec![world.relay.address()];
    config.rtm.listen = Some(at);
    if let Some(first) = config.projects.first_mut() {
        first.id = project;
        first.secrets = vec![secret];
    }
    let other = crvideo_relay::BlockingRelay::start_dev().unwrap();
    std::mem::replace(&mut world.relay, other).stop();
    assert_eq!(listener.line(), rtm_code::CONNECTION_CLOSED);
    world.relay = crvideo_relay::BlockingRelay::start(config).unwrap();
    assert_eq!(listener.line(), 0);
    let sender = server(&world);
    assert_eq!(code(&sender.send(Target::User(2), b"x")), 0);
    assert_eq!(listener.push().target, 2);
}
