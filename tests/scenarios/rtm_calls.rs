//! Messages, users, groups, rooms and listening, with a gate that answers as a stock one does.

use crvideo::client::rtm::{
    self, Action, Answer, CallOptions, Change, Content, Event, Listen, PushKind, Target, UserEvent,
};
use crvideo_proto::code as contract;
use crvideo_proto::frame::Kind;
use crvideo_proto::rtm::code as rtm_code;
use crvideo_proto::rtm::params::{Fields, Params};

use crate::rtm_gate::{Fault, Gate, MTIME};
use crate::rtm_world::{Server, code, text};
use crate::world::eventually;

#[test]
fn messages_reach_users_groups_rooms_and_everybody() {
    let gate = Gate::start();
    let server = Server::new(&gate);
    let none = CallOptions::default();
    for (target, method) in [
        (Target::User(2), "sendmsg"),
        (Target::Users(vec![2, 3]), "sendmsgs"),
        (Target::Group(5), "sendgroupmsg"),
        (Target::Room(6), "sendroommsg"),
        (Target::All, "broadcastmsg"),
    ] {
        let send = |body: &[u8]| rtm::send_message(server.client, (7, target.clone()), 66, body, "a=1", none, None);
        let done = send("你好".as_bytes()).unwrap().unwrap();
        assert_eq!(done.outcome, Ok(Answer::Sent { mtime: MTIME, watched: false }));
        let seen = gate.seen().pop().unwrap();
        assert_eq!((seen.method.as_str(), seen.params.text("msg").unwrap().as_str()), (method, "你好"));
        assert_eq!((seen.params.int("mid"), seen.params.int("mtype")), (Ok(done.mid), Ok(66)));
        assert_eq!(seen.params.text("attrs").unwrap(), "a=1");
        send(b"\xff\0").unwrap();
        assert_eq!(gate.seen().pop().unwrap().params.bytes("msg").unwrap().as_ref(), b"\xff\0");
    }
    let send = |mtype, body: &[u8], attrs: &str| {
        rtm::send_message(server.client, (7, Target::User(2)), mtype, body, attrs, none, None).err()
    };
    assert_eq!(send(0, b"", ""), Some(rtm_code::BAD_MTYPE));
    assert_eq!(send(128, b"", ""), Some(rtm_code::BAD_MTYPE));
    assert_eq!(send(127, &[0; 20_481], ""), Some(rtm_code::MESSAGE_TOO_LARGE));
    assert_eq!(send(127, b"", &"a".repeat(2_049)), Some(rtm_code::TOO_LARGE));
    assert_eq!(send(127, &[b'a'; 20_480], &"a".repeat(2_048)), None);
}

#[test]
fn users_groups_and_rooms_are_managed() {
    let gate = Gate::start();
    let server = Server::new(&gate);
    let ask = |action| server.ask(action);
    assert_eq!(ask(Action::GetToken { uid: 9 }), Answer::Token("token of 9".to_owned()));
    assert_eq!(ask(Action::RemoveToken { uid: 9 }), Answer::Done);
    assert_eq!(ask(Action::Kickout { uid: 9 }), Answer::Done);
    assert_eq!(ask(Action::OnlineUsers { uids: vec![1, 2, 3, 4] }), Answer::Ids(vec![2, 4]));
    assert_eq!(ask(Action::AddGroupMembers { gid: 5, uids: vec![1, 2, 3] }), Answer::Done);
    assert_eq!(ask(Action::DelGroupMembers { gid: 5, uids: vec![2] }), Answer::Done);
    assert_eq!(ask(Action::GroupMembers { gid: 5 }), Answer::Ids(vec![1, 3]));
    assert_eq!(ask(Action::GroupCount { gid: 5 }), Answer::Number(2));
    assert_eq!(ask(Action::IsGroupMember { gid: 5, uid: 1 }), Answer::Number(1));
    assert_eq!(ask(Action::IsGroupMember { gid: 5, uid: 2 }), Answer::Number(0));
    assert_eq!(ask(Action::UserGroups { uid: 3 }), Answer::Ids(vec![5]));
    assert_eq!(ask(Action::DelGroup { gid: 5 }), Answer::Done);
    assert_eq!(ask(Action::UserGroups { uid: 3 }), Answer::Ids(vec![]));
    assert_eq!(ask(Action::AddRoomMember { rid: 6, uid: 1 }), Answer::Done);
    assert_eq!(ask(Action::AddRoomMember { rid: 6, uid: 2 }), Answer::Done);
    assert_eq!(ask(Action::RoomMembers { rid: 6 }), Answer::Ids(vec![1, 2]));
    assert_eq!(ask(Action::RoomCount { rid: 6 }), Answer::Number(2));
    assert_eq!(ask(Action::DelRoomMember { rid: 6, uid: 1 }), Answer::Done);
    assert_eq!(ask(Action::RoomCount { rid: 6 }), Answer::Number(1));
    let call = |action| rtm::call(server.client, action, CallOptions::default(), None).err();
    assert_eq!(call(Action::OnlineUsers { uids: vec![] }), Some(rtm_code::EMPTY));
    assert_eq!(call(Action::AddGroupMembers { gid: 1, uids: vec![0; 20_001] }), Some(rtm_code::TOO_MANY));
    assert_eq!(gate.connections(), 1);
}

#[test]
fn a_wrong_secret_is_the_servers_to_refuse() {
    let gate = Gate::start();
    let server = Server::with(&gate, |config| config.secret = "another".to_owned());
    let done = server.call(Action::GetToken { uid: 1 });
    assert_eq!((code(&done), text(&done).as_str()), (rtm_code::BAD_SIGN, "the signature is wrong"));
}

#[test]
fn a_call_that_waits_is_refused_inside_a_callback() {
    let gate = Gate::start();
    let server = Server::new(&gate);
    let (sender, ended) = crossbeam_channel::unbounded();
    let client = server.client;
    let callback: rtm::Callback = Box::new(move |_| {
        let inner = rtm::call(client, Action::GetToken { uid: 1 }, CallOptions::default(), None);
        sender.send(inner.err()).unwrap();
    });
    rtm::call(client, Action::GetToken { uid: 1 }, CallOptions::default(), Some(callback)).unwrap();
    assert_eq!(server.next(&ended), Some(contract::LOGINSTATE_ERROR));
}

#[test]
fn answers_may_come_in_any_order() {
    let gate = Gate::start();
    let server = Server::new(&gate);
    gate.fault("gettoken", Fault::Silent);
    let (callback, late) = Server::callback();
    rtm::call(server.client, Action::GetToken { uid: 1 }, CallOptions::default(), Some(callback)).unwrap();
    gate.wait_for("gettoken", 1);
    assert_eq!(server.ask(Action::GetToken { uid: 2 }), Answer::Token("token of 2".to_owned()));
    assert!(late.try_recv().is_err());
    gate.drop_connections();
    assert_eq!(code(&server.next(&late)), rtm_code::CONNECTION_CLOSED);
}

fn everything() -> Listen {
    Listen { all_users: true, all_groups: true, all_rooms: true, all_events: true, ..Listen::default() }
}

fn listen(server: &Server, change: Change, listen: Listen) {
    assert_eq!(server.ask(Action::Listen { change, listen }), Answer::Done);
}

fn message(key: &str, target: i64, mid: i64) -> Fields {
    let fields = Fields::new().int("from", 7).int(key, target).int("mid", mid).int("mtype", 66);
    fields.text("msg", "hello").text("attrs", "").int("mtime", MTIME)
}

#[test]
fn pushes_of_every_kind_are_answered_and_heard() {
    let gate = Gate::start();
    for server in [Server::new(&gate), Server::pumping(&gate)] {
        listen(&server, Change::Set, everything());
        gate.wait_for_listeners(1);
        let good = |frame: crvideo_proto::frame::Frame| {
            assert_eq!((frame.kind, frame.status, frame.payload.as_ref()), (Kind::Answer, 0, &[0x80][..]));
        };
        for (method, key, kind) in [
            ("pushmsg", "to", PushKind::User),
            ("pushgroupmsg", "gid", PushKind::Group),
            ("pushroommsg", "rid", PushKind::Room),
        ] {
            good(gate.push(method, message(key, 2, 99)));
            let push = server.push();
            assert_eq!((push.kind, push.from, push.target, push.mid, push.mtype), (kind, 7, 2, 99, 66));
            assert_eq!((push.body.as_ref(), push.attrs.as_str(), push.mtime), (&b"hello"[..], "", MTIME));
            assert_eq!(push.file, None);
        }
        good(gate.push("ping", Fields::new()));
        let fields = Fields::new().int("pid", 1).text("event", "login").int("uid", 9).int("time", 1_795_293_738);
        good(gate.push("pushevent", fields.text("endpoint", "1.2.3.4:5")));
        let event = server.next(&server.events);
        let endpoint = "1.2.3.4:5".to_owned();
        let login = UserEvent { event: "login".to_owned(), uid: 9, time: 1_795_293_738, endpoint, data: String::new() };
        assert_eq!(event, Event::User(login));
        let refused = gate.push("pushmsg", Fields::new().int("from", 7));
        assert_eq!((refused.status, Params::of(&refused).unwrap().int("code")), (1, Ok(rtm_code::MISSING)));
        let unknown = gate.push("pushnews", Fields::new());
        assert_eq!(Params::of(&unknown).unwrap().int("code"), Ok(rtm_code::UNKNOWN_METHOD));
        drop(server);
        gate.wait_for_listeners(0);
    }
}

#[test]
fn a_file_that_is_sent_is_heard_with_its_parts() {
    let gate = Gate::start();
    let server = Server::new(&gate);
    listen(&server, Change::Set, everything());
    let done = server.send_by(Target::Users(vec![2, 3]), Content::Memory(b"content"), None, CallOptions::default());
    let mid = done.unwrap().unwrap().mid;
    for to in [2, 3] {
        let push = server.push();
        assert_eq!((push.kind, push.from, push.target, push.mid, push.mtype), (PushKind::User, 7, to, mid, 50));
        let file = push.file.unwrap();
        assert_eq!((file.url, file.size, file.thumbnail.as_str()), (format!("http://files.invalid/{mid}"), 7, ""));
        let attrs = file.attrs.unwrap();
        assert_eq!((attrs.filename().as_str(), attrs.custom_text().as_str()), ("报告.txt", "{\"k\":1}"));
    }
}

#[test]
fn listening_is_said_again_on_every_new_connection() {
    let gate = Gate::start();
    let server = Server::new(&gate);
    let rooms = |rooms: Vec<i64>| Listen { rooms, ..Listen::default() };
    listen(&server, Change::Set, Listen { all_users: true, ..Listen::default() });
    listen(&server, Change::Add, rooms(vec![1, 2, 3]));
    listen(&server, Change::Remove, rooms(vec![2]));
    gate.drop_connections();
    assert_eq!(server.line(), rtm_code::CONNECTION_CLOSED);
    assert_eq!(server.line(), 0);
    let set = gate.wait_for("setlisten", 2).params;
    assert_eq!((set.opt_bool("p2p"), set.opt_bool("group")), (Ok(Some(true)), Ok(Some(false))));
    assert_eq!(gate.wait_for("addlisten", 2).params.ints("rids", 10).unwrap(), [1, 3]);
    gate.push("pushmsg", message("to", 2, 1));
    assert_eq!(server.push().mid, 1);

    // A gate that is away for a while is found again, and calls go on meanwhile as they can.
    gate.be_unwilling(true);
    gate.drop_connections();
    assert_eq!(server.line(), rtm_code::CONNECTION_CLOSED);
    let before = gate.connections();
    eventually("the client tries to connect again", || gate.connections() >= before + 2);
    gate.be_unwilling(false);
    assert_eq!(server.line(), 0);

    // Who listens to nothing any more is left alone.
    listen(&server, Change::Set, Listen::default());
    let seen = gate.wait_for("setlisten", gate.seen_of("setlisten").len()).params;
    assert_eq!(seen.opt_bool("p2p"), Ok(Some(false)));
    gate.drop_connections();
    gate.wait_for_listeners(0);
    let before = gate.connections();
    assert_eq!(server.ask(Action::GetToken { uid: 1 }), Answer::Token("token of 1".to_owned()));
    assert_eq!(gate.connections(), before + 1);
    assert!(server.events.try_recv().is_err());
}

#[test]
fn what_is_listened_to_goes_as_flags_or_as_lists() {
    let gate = Gate::start();
    let server = Server::new(&gate);
    let call = |change, listen| {
        rtm::call(server.client, Action::Listen { change, listen }, CallOptions::default(), None).map(drop)
    };
    let users = || Listen { users: vec![1], ..Listen::default() };
    assert_eq!(call(Change::Set, Listen { all_users: true, ..users() }), Err(contract::PARAM_ERR));
    assert_eq!(call(Change::Add, everything()), Err(contract::PARAM_ERR));
    assert_eq!(call(Change::Remove, Listen::default()), Err(contract::PARAM_ERR));
    assert_eq!(call(Change::Set, Listen { groups: vec![1; 20_001], ..Listen::default() }), Err(rtm_code::TOO_MANY));
    assert_eq!(gate.connections(), 0);
    listen(&server, Change::Set, Listen { events: vec!["login".to_owned()], ..users() });
    let seen = gate.wait_for("setlisten", 1).params;
    assert_eq!((seen.ints("uids", 9).unwrap(), seen.ints("gids", 9).unwrap()), (vec![1], vec![]));
    assert_eq!(seen.opt_texts("events", 9).unwrap().unwrap(), ["login"]);
    assert!(!seen.has("p2p"));
}

#[test]
fn pushes_beyond_what_may_wait_are_refused_with_an_error_and_those_before_are_all_heard() {
    let gate = Gate::start();
    let server = Server::pumping(&gate);
    listen(&server, Change::Set, everything());
    // 17 MiB, while nobody handles anything.
    let large = "x".repeat(1024 * 1024);
    for mid in 0..17 {
        let fields = Fields::new().int("from", 7).int("to", 2).int("mid", mid).int("mtype", 66);
        gate.push_without_waiting("pushmsg", fields.text("msg", &large).text("attrs", ""));
    }
    let answers: Vec<_> = (0..17).map(|_| gate.next_push_answer()).collect();
    let refused = answers.iter().filter(|answer| answer.status == 1).count();
    assert_eq!(refused, 2, "15 of them and their overhead fit into 16 MiB");
    for mid in 0..15 {
        assert_eq!(server.push().mid, mid);
    }
    gate.push("pushmsg", message("to", 2, 100));
    assert_eq!(server.push().mid, 100);
}
