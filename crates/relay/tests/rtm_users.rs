//! Users with RTM SDKs over real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code, reason = "each test program uses a part of it")]
mod rtm;

use crvideo_proto::rtm::code;
use crvideo_proto::token;
use crvideo_relay::{BlockingRelay, Config};
use rtm::{
    Link, SECRET, Session, Value, answer, by_key, dev, frame, golden, ints, login, map, mint, now_ms, relay, text,
};

/// The project of the captured packages.
const PROJECT: i64 = 11_000_001;

/// A connection to the gate for users.
fn open(relay: &BlockingRelay) -> Link {
    Link::open_at(relay.rtm_users_address().unwrap(), relay)
}

fn credentials(relay: &BlockingRelay, user: i64) -> [(&'static str, Value); 3] {
    let token = mint(relay, &user.to_string());
    [("pid", relay.project().into()), ("uid", user.into()), ("token", token.as_str().into())]
}

/// A connection on which a user has logged in.
fn user(relay: &BlockingRelay, user: i64) -> Link {
    let mut link = open(relay);
    let answer = link.ask_plain("auth", &credentials(relay, user)).unwrap();
    assert_eq!(by_key(&answer, "ok"), Value::Bool(true));
    link
}

fn message<'a>(target: &'a str, id: i64, mid: i64, body: &'a str) -> Vec<(&'a str, Value)> {
    let target = (target, id.into());
    let rest = [("mid", mid.into()), ("mtype", 66.into()), ("msg", body.into()), ("attrs", "attributes".into())];
    std::iter::once(target).chain(rest).collect()
}

fn refused(answer: Result<Value, (i32, String)>) -> i32 {
    let (code, text) = answer.unwrap_err();
    assert!(!text.is_empty());
    code
}

/// The next push but pings, answered.
fn take(link: &mut Link) -> (String, Value) {
    loop {
        let push = link.push_frame();
        link.write(&answer(0, push.seq, &map(&[])));
        if push.method != "ping" {
            return (push.method.clone(), push.value());
        }
    }
}

/// The numbers of the next pushes, answered.
fn take_mids(link: &mut Link, count: usize) -> Vec<i64> {
    (0..count).map(|_| by_key(&take(link).1, "mid").int()).collect()
}

/// Waits until just these of the users are online.
fn wait_until_online(link: &mut Link, users: &[i64], online: &[i64]) {
    let deadline = std::time::Instant::now() + rtm::PATIENCE;
    loop {
        let answer = link.ask("getonlineusers", &[("uids", ints(users))]).unwrap();
        if by_key(&answer, "uids") == ints(online) {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{answer:?}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

fn golden_relay() -> BlockingRelay {
    relay(|config| {
        config.projects[0].id = PROJECT;
        config.projects[0].secrets = vec![SECRET.to_owned()];
    })
}

/// A captured `auth` quest with a token that is good here, in place of that of the capture.
fn with_token(package: &[u8], token: &str) -> Vec<u8> {
    let at = package.windows(10).position(|bytes| bytes == b"\xa9USERTOKEN").unwrap();
    let mut bytes = package[..at].to_vec();
    bytes.extend([0xd9, u8::try_from(token.len()).unwrap()]);
    bytes.extend(token.bytes());
    bytes.extend(&package[at + 10..]);
    let head = 16 + usize::from(bytes[7]);
    let size = u32::try_from(bytes.len() - head).unwrap();
    bytes[8..12].copy_from_slice(&size.to_le_bytes());
    bytes
}

fn short_token(user: &str) -> String {
    token::mint(PROJECT, user, 4_000_000_000, SECRET)
}

#[test]
fn quests_of_a_real_sdk_are_answered_as_it_expects() {
    let relay = golden_relay();
    let (mut other, mut link) = (user(&relay, 201), open(&relay));
    let auth = with_token(&golden("50-auth-quest-csharp"), &short_token("200"));
    link.write(&auth);
    link.expect_bytes(&golden("51-auth-answer"));
    link.write(&golden("53-sendmsg-quest-enduser-csharp"));
    let sent = link.next().unwrap();
    assert_eq!((sent.kind, sent.status, sent.seq), (2, 0, 807_612));
    let mtime = by_key(&sent.value(), "mtime").int();
    assert!((now_ms() - mtime).abs() < 60_000);
    let (method, got) = take(&mut other);
    assert_eq!(method, "pushmsg");
    let int = |key| by_key(&got, key).int();
    assert_eq!((int("from"), int("to"), int("mid"), int("mtype")), (200, 201, 117_656_374_977_232_897, 66));
    assert_eq!((int("mtime"), by_key(&got, "msg"), by_key(&got, "attrs")), (mtime, "hi".into(), "".into()));
    // A later login of the same user ends the earlier one, in the words of the capture.
    let _later = user(&relay, 200);
    link.expect_bytes(&golden("52-kickout-oneway"));
    assert!(link.next().is_none());
}

#[test]
fn before_auth_nothing_is_served_but_ping_and_what_is_not_there_is_unknown() {
    let relay = dev();
    let mut link = open(&relay);
    assert!(by_key(&link.ask_plain("*ping", &[]).unwrap(), "ts").int() > 0);
    for method in ["sendmsg", "bye", "nosuch", "gettoken"] {
        assert_eq!(refused(link.ask_plain(method, &[])), code::NOT_AUTHENTICATED, "{method}");
    }
    assert_eq!(refused(link.ask_plain("*key", &[])), code::PROTOCOL);
    link.ask_plain("auth", &credentials(&relay, 7)).unwrap();
    for method in ["nosuch", "gettoken", "kickout", "delgroup", "sendmsgs", "broadcastmsg", "setlisten", "getunread"] {
        let (code, text) = link.ask_plain(method, &[]).unwrap_err();
        assert_eq!((code, text), (code::UNKNOWN_METHOD, format!("Unknow method:{method}")));
    }
    assert_eq!(refused(link.ask_plain("auth", &credentials(&relay, 7))), code::ALREADY_AUTHENTICATED);
    assert!(link.ask_plain("bye", &[]).is_ok());
    assert!(link.next().is_none());
    // Servers are not served here, and users are not served there.
    let mut servers = Link::open(&relay);
    assert_eq!(refused(servers.ask_plain("auth", &credentials(&relay, 7))), code::UNKNOWN_METHOD);
}

#[test]
fn a_token_must_be_good_and_the_users_own() {
    let relay = dev();
    let (project, secret) = (relay.project(), relay.secret().to_owned());
    let mut servers = Link::open(&relay);
    let auth = |project: i64, user: Value, token: &str| {
        open(&relay).ask_plain("auth", &[("pid", project.into()), ("uid", user), ("token", token.into())])
    };
    let good = mint(&relay, "7");
    let ok = |answer: Result<Value, (i32, String)>| by_key(&answer.unwrap(), "ok");
    assert_eq!(ok(auth(project, 7.into(), &good)), Value::Bool(true));
    let expired = token::mint(project, "7", 1_000, &secret);
    let forged = token::mint(project, "7", 4_000_000_000, "another secret");
    for bad in [mint(&relay, "8"), mint(&relay, "07"), expired, forged, "nonsense".to_owned(), String::new()] {
        assert_eq!(ok(auth(project, 7.into(), &bad)), Value::Bool(false), "{bad}");
    }
    assert_eq!(refused(auth(project + 1, 7.into(), &good)), code::BAD_ID);
    let elsewhere = token::mint(project + 1, "7", 4_000_000_000, &secret);
    assert_eq!(refused(auth(project, 7.into(), &elsewhere)), code::BAD_ID);
    assert_eq!(refused(auth(project, "seven".into(), &good)), code::WRONG_TYPE);
    assert_eq!(refused(open(&relay).ask_plain("auth", &[("pid", project.into())])), code::MISSING);
    // What `gettoken` gives is good until `removetoken`.
    let given = text(&by_key(&servers.ask("gettoken", &[("uid", 7.into())]).unwrap(), "token"));
    assert_eq!(ok(auth(project, 7.into(), &given)), Value::Bool(true));
    servers.ask("removetoken", &[("uid", 7.into())]).unwrap();
    assert_eq!(ok(auth(project, 7.into(), &given)), Value::Bool(false));
    // A refused user may try again on the same connection.
    let mut link = open(&relay);
    let bad = [("pid", project.into()), ("uid", 8.into()), ("token", "bad".into())];
    assert_eq!(ok(link.ask_plain("auth", &bad)), Value::Bool(false));
    assert_eq!(ok(link.ask_plain("auth", &credentials(&relay, 8))), Value::Bool(true));
}

#[test]
fn users_servers_groups_and_rooms_reach_users() {
    let relay = dev();
    let (mut servers, mut alice, mut bob) = (Link::open(&relay), user(&relay, 1), user(&relay, 2));
    servers.ask("addgroupmembers", &[("gid", 30.into()), ("uids", ints(&[1, 2]))]).unwrap();
    servers.ask("addroommember", &[("rid", 40.into()), ("uid", 1.into())]).unwrap();
    bob.ask_plain("enterroom", &[("rid", 40.into())]).unwrap();
    for (method, key, id, push, to) in [
        ("sendmsg", "to", 2, "pushmsg", 2),
        ("sendgroupmsg", "gid", 30, "pushgroupmsg", 30),
        ("sendroommsg", "rid", 40, "pushroommsg", 40),
    ] {
        let sent = alice.ask_plain(method, &message(key, id, 9, "hällo")).unwrap();
        let (got_method, got) = take(&mut bob);
        let int = |key| by_key(&got, key).int();
        assert_eq!((got_method.as_str(), int("from"), int("to"), int(key), int("mid")), (push, 1, to, id, 9));
        assert_eq!((int("mtype"), int("mtime")), (66, by_key(&sent, "mtime").int()));
        assert_eq!((by_key(&got, "msg"), by_key(&got, "attrs")), ("hällo".into(), "attributes".into()));
    }
    let mut broadcast = message("from", 99, 10, "all");
    servers.ask("broadcastmsg", &broadcast).unwrap();
    for link in [&mut alice, &mut bob] {
        let (method, got) = take(link);
        assert_eq!((method.as_str(), by_key(&got, "msg")), ("pushbroadcastmsg", "all".into()));
    }
    broadcast.push(("tos", ints(&[1, 2, 2, 77])));
    servers.ask("sendmsgs", &broadcast).unwrap();
    for link in [&mut alice, &mut bob] {
        assert_eq!(take(link).0, "pushmsg");
    }
    // Servers that listen hear what users send.
    servers.ask("addlisten", &[("uids", ints(&[1]))]).unwrap();
    bob.ask_plain("sendmsg", &message("to", 1, 11, "heard")).unwrap();
    assert_eq!(by_key(&servers.push().1, "from").int(), 2);
}

#[test]
fn who_is_no_member_may_not_send_read_or_change() {
    let relay = dev();
    let (mut servers, mut link) = (Link::open(&relay), user(&relay, 1));
    servers.ask("addgroupmembers", &[("gid", 30.into()), ("uids", ints(&[2]))]).unwrap();
    let history = |key, id: i64| vec![(key, id.into()), ("num", 5.into()), ("desc", Value::Bool(true))];
    let uids = |id: i64| vec![("gid", id.into()), ("uids", ints(&[1]))];
    let token = |cmd: &str, key, id: i64| vec![("cmd", cmd.into()), (key, id.into())];
    let get =
        |kind: i64, xid: i64| vec![("mid", 1.into()), ("from", 2.into()), ("xid", xid.into()), ("type", kind.into())];
    let cases = [
        ("sendgroupmsg", message("gid", 30, 1, "x"), code::NOT_IN_GROUP),
        ("getgroupmsg", history("gid", 30), code::NOT_IN_GROUP),
        ("getgroupmembers", uids(30), code::NOT_IN_GROUP),
        ("addgroupmembers", uids(30), code::NOT_IN_GROUP),
        ("delgroupmembers", uids(30), code::NOT_IN_GROUP),
        ("filetoken", token("sendgroupfile", "gid", 30), code::NOT_IN_GROUP),
        ("getmsg", get(2, 30), code::NOT_IN_GROUP),
        ("sendroommsg", message("rid", 40, 1, "x"), code::NOT_IN_ROOM),
        ("getroommsg", history("rid", 40), code::NOT_IN_ROOM),
        ("filetoken", token("sendroomfile", "rid", 40), code::NOT_IN_ROOM),
        ("getmsg", get(3, 40), code::NOT_IN_ROOM),
        ("getmsg", get(1, 3), code::MESSAGE_NOT_FOUND),
        ("delmsg", get(1, 1), code::NO_PERMISSION),
        ("filetoken", token("broadcastfile", "to", 0), code::NO_PERMISSION),
        ("filetoken", vec![("cmd", "sendfiles".into()), ("tos", ints(&[2]))], code::NO_PERMISSION),
    ];
    for (method, params, expected) in cases {
        assert_eq!(refused(link.ask_plain(method, &params)), expected, "{method}");
    }
    let mut long = message("to", 2, 1, "x");
    long[3].1 = "x".repeat(20_481).as_str().into();
    assert_eq!(refused(link.ask_plain("sendmsg", &long)), code::MESSAGE_TOO_LARGE);
    long[2].1 = 128.into();
    assert_eq!(refused(link.ask_plain("sendmsg", &long)), code::BAD_MTYPE);
}

#[test]
fn rooms_that_a_user_has_entered_are_left_with_his_connection_and_others_are_not() {
    let relay = dev();
    let (mut servers, mut link) = (Link::open(&relay), user(&relay, 1));
    servers.ask("addroommember", &[("rid", 40.into()), ("uid", 1.into())]).unwrap();
    for room in [40, 41, 42] {
        link.ask_plain("enterroom", &[("rid", room.into())]).unwrap();
    }
    assert_eq!(by_key(&link.ask_plain("getuserrooms", &[]).unwrap(), "rooms"), ints(&[40, 41, 42]));
    link.ask_plain("leaveroom", &[("rid", 42.into())]).unwrap();
    assert_eq!(by_key(&link.ask_plain("getroommembers", &[("rid", 41.into())]).unwrap(), "uids"), ints(&[1]));
    let counts = link.ask_plain("getroomcount", &[("rids", ints(&[40, 42]))]).unwrap();
    assert_eq!(by_key(&by_key(&counts, "cn"), "40").int(), 1);
    // A server takes him out of a room, and he is told.
    link.ask_plain("enterroom", &[("rid", 43.into())]).unwrap();
    servers.ask("delroommember", &[("rid", 43.into()), ("uid", 1.into())]).unwrap();
    servers.ask("delroommember", &[("rid", 44.into()), ("uid", 1.into())]).unwrap();
    let told = link.next().unwrap();
    assert_eq!((told.kind, told.method.as_str(), by_key(&told.value(), "rid").int()), (0, "kickoutroom", 43));
    link.ask_plain("bye", &[]).unwrap();
    let mut again = user(&relay, 1);
    assert_eq!(by_key(&again.ask_plain("getuserrooms", &[]).unwrap(), "rooms"), ints(&[40]));
}

#[test]
fn members_see_and_change_their_groups() {
    let relay = dev();
    let (mut servers, mut link) = (Link::open(&relay), user(&relay, 1));
    servers.ask("addgroupmembers", &[("gid", 30.into()), ("uids", ints(&[1]))]).unwrap();
    link.ask_plain("addgroupmembers", &[("gid", 30.into()), ("uids", ints(&[2, 3]))]).unwrap();
    link.ask_plain("delgroupmembers", &[("gid", 30.into()), ("uids", ints(&[3]))]).unwrap();
    let params = [("gid", 30.into()), ("online", Value::Bool(true))];
    let members = link.ask_plain("getgroupmembers", &params).unwrap();
    assert_eq!((by_key(&members, "uids"), by_key(&members, "onlines")), (ints(&[1, 2]), ints(&[1])));
    let count = link.ask_plain("getgroupcount", &params).unwrap();
    assert_eq!((by_key(&count, "cn").int(), by_key(&count, "online").int()), (2, 1));
    assert_eq!(by_key(&link.ask_plain("getusergroups", &[]).unwrap(), "gids"), ints(&[30]));
}

#[test]
fn users_read_their_own_history_and_delete_their_own_messages() {
    let relay = dev();
    let (mut alice, mut bob) = (user(&relay, 1), user(&relay, 2));
    alice.ask_plain("sendmsg", &message("to", 2, 5, "from alice")).unwrap();
    bob.ask_plain("sendmsg", &message("to", 1, 6, "from bob")).unwrap();
    let params = [("ouid", 2.into()), ("num", 9.into()), ("desc", Value::Bool(false))];
    let Value::Array(rows) = by_key(&alice.ask_plain("getp2pmsg", &params).unwrap(), "msgs") else { panic!() };
    let direction = |row: &Value| match row {
        Value::Array(parts) => (parts[1].int(), parts[3].int()),
        other => panic!("{other:?}"),
    };
    assert_eq!(rows.iter().map(direction).collect::<Vec<_>>(), [(1, 5), (2, 6)]);
    let params = [("mid", 6.into()), ("from", 2.into()), ("xid", 1.into()), ("type", 1.into())];
    assert_eq!(by_key(&alice.ask_plain("getmsg", &params).unwrap(), "msg"), "from bob".into());
    assert_eq!(refused(alice.ask_plain("delmsg", &params)), code::NO_PERMISSION);
    bob.ask_plain("delmsg", &params).unwrap();
    assert_eq!(refused(alice.ask_plain("getmsg", &params)), code::MESSAGE_NOT_FOUND);
}

#[test]
fn what_came_while_a_user_was_away_is_pushed_after_his_login_until_it_is_answered() {
    let relay = dev();
    let mut servers = Link::open(&relay);
    for mid in 1..=100 {
        let mut params = message("to", 7, mid, "x");
        params.push(("from", 1.into()));
        servers.ask("sendmsg", &params).unwrap();
    }
    let mut link = open(&relay);
    link.write(&frame(1, 0x80, 1, "auth", Some(77), &map(&credentials(&relay, 7))));
    // The answer comes before any push.
    assert_eq!(link.next().unwrap().kind, 2);
    // Without answers no more than a window comes, and answered ones do not come again.
    let first: Vec<_> = (0..64).map(|_| link.push_frame()).collect();
    assert_eq!(by_key(&first[63].value(), "mid").int(), 64);
    assert!(link.pushes_so_far().is_empty());
    for push in &first[..10] {
        // Whatever the status says, the user has got it.
        link.write(&answer(u8::from(push.seq % 2 == 0), push.seq, &map(&[("code", 20_001.into()), ("ex", "".into())])));
    }
    let more: Vec<i64> = (0..10).map(|_| by_key(&link.push_frame().value(), "mid").int()).collect();
    assert_eq!(more, (65..=74).collect::<Vec<_>>());
    drop(link);
    let mut link = user(&relay, 7);
    // An answer may have been too late for the next login.
    let first = take_mids(&mut link, 1)[0];
    assert!(first <= 11);
    let rest = usize::try_from(100 - first).unwrap();
    assert_eq!(take_mids(&mut link, rest), (first + 1..=100).collect::<Vec<_>>());
    wait_until_nothing_is_pending(&relay, 7);
}

/// Logs a user in again and again until nothing comes any more.
fn wait_until_nothing_is_pending(relay: &BlockingRelay, id: i64) {
    let deadline = std::time::Instant::now() + rtm::PATIENCE;
    let mut marker = 1_000_000;
    loop {
        marker += 1;
        let mut link = user(relay, id);
        link.ask_plain("sendmsg", &message("to", id, marker, "marker")).unwrap();
        let first = by_key(&take(&mut link).1, "mid").int();
        if first == marker {
            return;
        }
        while by_key(&take(&mut link).1, "mid").int() != marker {}
        assert!(std::time::Instant::now() < deadline, "{first} is still pending");
    }
}

#[test]
fn users_count_as_online_in_either_dialect_and_events_tell_of_the_first_and_the_last() {
    let relay = dev();
    let mut servers = Link::open(&relay);
    servers.ask("setlisten", &[("ev", Value::Bool(true))]).unwrap();
    let event = |servers: &mut Link| {
        let (method, got) = servers.push();
        assert_eq!((method.as_str(), by_key(&got, "uid").int()), ("pushevent", 7));
        (text(&by_key(&got, "event")), text(&by_key(&got, "endpoint")))
    };
    let link = user(&relay, 7);
    let from = link.stream().local_addr().unwrap().to_string();
    assert_eq!(event(&mut servers), ("login".to_owned(), from));
    wait_until_online(&mut servers, &[6, 7], &[7]);
    let mut session = login(&relay, "7", &mint(&relay, "7")).unwrap();
    drop(link);
    let mut six = user(&relay, 6);
    let asked = six.ask_plain("getonlineusers", &[("uids", ints(&[5, 6, 7]))]).unwrap();
    assert_eq!(by_key(&asked, "uids"), ints(&[6, 7]));
    // The event of user 6 stands between.
    let mut link = user(&relay, 7);
    servers.pushes_so_far();
    servers.ask("kickout", &[("uid", 7.into())]).unwrap();
    assert_eq!(event(&mut servers).0, "logout");
    assert!(session.bye().is_some());
    let told = link.next().unwrap();
    assert_eq!((told.kind, told.method.as_str()), (0, "kickout"));
    assert!(link.next().is_none());
    wait_until_online(&mut servers, &[7], &[]);
}

/// The next message to a session behind `mid`; an earlier one may come again until it is handled.
fn behind(session: &mut Session, mid: i64) -> i64 {
    loop {
        let (next, id) = session.rtm_message();
        if next > mid {
            // Only odd ones are handled.
            if next % 2 == 1 {
                session.handle(id);
            }
            return next;
        }
    }
}

#[test]
fn both_dialects_get_what_is_sent_while_both_are_there() {
    let relay = dev();
    let (mut servers, mut link) = (Link::open(&relay), user(&relay, 7));
    let mut session = login(&relay, "7", &mint(&relay, "7")).unwrap();
    let send = |servers: &mut Link, mid| {
        let mut params = message("to", 7, mid, "x");
        params.push(("from", 1.into()));
        servers.ask("sendmsg", &params).unwrap();
    };
    send(&mut servers, 1);
    assert_eq!((take_mids(&mut link, 1), behind(&mut session, 0)), (vec![1], 1));
    // What waits for a session that ends comes by the connection that is still there.
    send(&mut servers, 2);
    assert_eq!((take_mids(&mut link, 1), behind(&mut session, 1)), (vec![2], 2));
    link.ask_plain("bye", &[]).unwrap();
    send(&mut servers, 4);
    assert_eq!(behind(&mut session, 2), 4);
    drop(link);
    let mut link = user(&relay, 7);
    assert!(link.pushes_so_far().is_empty(), "the session may still handle it");
    servers.ask("kickout", &[("uid", 7.into())]).unwrap();
    while link.next().expect("a last word").method != "kickout" {}
    // The second message has come by RTM, so only the fourth waits for the first that comes.
    let mut link = user(&relay, 7);
    send(&mut servers, 5);
    assert_eq!(take_mids(&mut link, 2), [4, 5]);
}

#[test]
fn what_a_connection_has_not_answered_comes_to_the_session_that_is_still_there() {
    let relay = dev();
    let (mut servers, mut link) = (Link::open(&relay), user(&relay, 7));
    let mut params = message("to", 7, 1, "x");
    params.push(("from", 1.into()));
    servers.ask("sendmsg", &params).unwrap();
    assert_eq!(by_key(&link.push_frame().value(), "mid").int(), 1);
    let mut session = login(&relay, "7", &mint(&relay, "7")).unwrap();
    params[1].1 = 2.into();
    servers.ask("sendmsg", &params).unwrap();
    assert_eq!(behind(&mut session, 1), 2, "the first may still be answered");
    drop(link);
    // The session has not answered the second, which may therefore come once more.
    while behind(&mut session, 0) != 1 {}
}

#[test]
fn what_waits_survives_a_restart_and_comes_by_the_dialect_that_comes() {
    let data = tempfile::tempdir().unwrap();
    let start = || {
        let mut config = Config::dev().unwrap();
        config.projects[0].secrets = vec!["a secret".to_owned()];
        config.data = Some(data.path().to_owned());
        BlockingRelay::start(config).unwrap()
    };
    let first = start();
    let (mut alice, mut bob) = (user(&first, 1), user(&first, 2));
    for mid in 1..=3 {
        alice.ask_plain("sendmsg", &message("to", 2, mid, "x")).unwrap();
        alice.ask_plain("sendmsg", &message("to", 3, mid, "x")).unwrap();
    }
    // Bob's SDK gets the messages and answers none.
    for _ in 0..3 {
        bob.push_frame();
    }
    first.kill();
    let second = start();
    assert_eq!(take_mids(&mut user(&second, 2), 3), [1, 2, 3]);
    let mut session = login(&second, "3", &mint(&second, "3")).unwrap();
    assert_eq!([behind(&mut session, 0), behind(&mut session, 1), behind(&mut session, 2)], [1, 2, 3]);
    // What the session has not handled comes by RTM once the session has ended.
    Link::open(&second).ask("kickout", &[("uid", 3.into())]).unwrap();
    let mut link = user(&second, 3);
    while by_key(&take(&mut link).1, "mid").int() != 2 {}
}

#[test]
fn ten_thousand_recipients_of_one_message_of_whom_hundreds_are_connected() {
    let relay = dev();
    let mut servers = Link::open(&relay);
    let mut links: Vec<Link> = (0..300).map(|id| user(&relay, id * 30)).collect();
    let mut params = message("from", 1, 5, "to all of you");
    params.push(("tos", ints(&(0..10_000).collect::<Vec<_>>())));
    servers.ask("sendmsgs", &params).unwrap();
    for (id, link) in links.iter_mut().enumerate() {
        assert_eq!(by_key(&take(link).1, "to").int(), id as i64 * 30);
    }
    // Who was not there gets it later.
    assert_eq!(take_mids(&mut user(&relay, 9_999), 1), [5]);
}

#[test]
fn users_are_pinged_and_the_silent_are_closed() {
    let relay = relay(|config| {
        config.rtm.ping = std::time::Duration::from_millis(50);
        config.rtm.idle_timeout = std::time::Duration::from_millis(500);
    });
    let mut link = user(&relay, 7);
    for _ in 0..3 {
        let ping = link.push_frame();
        assert_eq!((ping.method.as_str(), ping.payload.as_slice()), ("ping", b"\x80".as_slice()));
        link.write(&answer(0, ping.seq, &map(&[])));
    }
    while link.next().is_some() {}
    wait_until_online(&mut Link::open(&relay), &[7], &[]);
}

#[test]
fn who_takes_nothing_delays_nobody_and_loses_nothing() {
    let relay = relay(|config| config.stall_timeout = std::time::Duration::from_millis(300));
    let (mut servers, dead) = (Link::open(&relay), user(&relay, 7));
    let mut alive = user(&relay, 8);
    let body = "x".repeat(20_000);
    // More than may be on its way to one user.
    for mid in 1..=200 {
        let mut params = message("from", 1, mid, &body);
        params.push(("tos", ints(&[7, 8])));
        servers.ask("sendmsgs", &params).unwrap();
        assert_eq!(take_mids(&mut alive, 1), [mid]);
    }
    drop(dead);
    assert_eq!(take_mids(&mut user(&relay, 7), 200), (1..=200).collect::<Vec<_>>());
}

#[test]
fn users_send_files_with_a_token_of_their_own() {
    let relay = dev();
    let (mut alice, mut bob) = (user(&relay, 1), user(&relay, 2));
    let leave = alice.ask_plain("filetoken", &[("cmd", "sendfile".into()), ("to", 2.into())]).unwrap();
    let (token, endpoint) = (text(&by_key(&leave, "token")), text(&by_key(&leave, "endpoint")));
    assert_eq!(endpoint, relay.rtm_address().unwrap().to_string());
    let quest = |from: i64| {
        [
            ("pid", relay.project().into()),
            ("token", token.as_str().into()),
            ("mtype", 50.into()),
            ("from", from.into()),
            ("to", 2.into()),
            ("mid", 8.into()),
            ("file", b"content".to_vec().into()),
            ("attrs", r#"{"rtm":{"ext":"txt"}}"#.into()),
        ]
    };
    // The gate for users takes files, too.
    let mut files = open(&relay);
    assert_eq!(refused(files.ask_plain("sendfile", &quest(3))), code::BAD_FILE);
    files.ask_plain("sendfile", &quest(1)).unwrap();
    let (method, got) = take(&mut bob);
    assert_eq!((method.as_str(), by_key(&got, "mtype").int()), ("pushmsg", 50));
    assert!(text(&by_key(&got, "msg")).contains("http://"));
}

#[test]
fn a_relay_for_users_alone_takes_their_files_where_they_connect() {
    let relay = relay(|config| config.rtm.listen = None);
    assert_eq!(relay.rtm_address(), None);
    let leave = user(&relay, 1).ask_plain("filetoken", &[("cmd", "sendfile".into()), ("to", 2.into())]).unwrap();
    assert_eq!(text(&by_key(&leave, "endpoint")), relay.rtm_users_address().unwrap().to_string());
}

#[cfg(unix)]
#[test]
fn the_operator_sees_ends_and_locks_out_users_with_rtm_sdks() {
    use clap::Parser;
    use crvideo_relay::admin::commands::AdminArgs;

    let data = tempfile::tempdir().unwrap();
    let relay = relay(|config| config.data = Some(data.path().to_owned()));
    let ask = |words: &[&str]| {
        let fixed = ["admin", "--data", data.path().to_str().unwrap(), words[0], "--project", "1"];
        AdminArgs::try_parse_from(fixed.iter().chain(&words[1..])).unwrap().run().unwrap()
    };
    assert_eq!(relay.project(), 1);
    let with_id = |id: &str| {
        let now = now_ms() as u64 / 1_000;
        token::issue_with_id(1, "9", now, now + 3_600, Some(id), relay.secret())
    };
    let log_in = |token: &str| {
        let mut link = open(&relay);
        let answer = link.ask_plain("auth", &[("pid", 1.into()), ("uid", 9.into()), ("token", token.into())]).unwrap();
        (link, by_key(&answer, "ok"))
    };
    let ended = |mut link: Link| {
        loop {
            match link.next() {
                Some(package) if package.method == "kickout" => return assert!(link.next().is_none()),
                Some(_) => {}
                None => panic!("closed without a word"),
            }
        }
    };
    let (seven, eight) = (user(&relay, 7), user(&relay, 8));
    let listed = ask(&["users"]);
    let rows: Vec<Vec<&str>> = listed.lines().skip(1).map(|line| line.split('\t').collect()).collect();
    let seen: Vec<_> = rows.iter().map(|row| (row[1], row[2])).collect();
    assert_eq!(seen, [("7", "rtm"), ("8", "rtm")]);
    let port = seven.stream().local_addr().unwrap();
    assert_eq!(rows[0][3], port.to_string());
    assert_eq!(ask(&["kick", "--user", "7"]), "kicked out");
    ended(seven);
    assert_eq!(ask(&["kick", "--user", "7"]), "not there");
    assert!(ask(&["revoke", "--user", "8"]).contains("a session has ended"));
    ended(eight);
    let (one, two) = (with_id("one"), with_id("two"));
    let (link, ok) = log_in(&one);
    assert_eq!(ok, Value::Bool(true));
    assert!(ask(&["revoke", "--token-id", "two"]).contains("no session"));
    assert!(ask(&["revoke", "--token-id", "one", "--expires", "2h"]).contains("a session has ended"));
    ended(link);
    assert_eq!((log_in(&one).1, log_in(&two).1), (Value::Bool(false), Value::Bool(false)));
    assert_eq!(log_in(&with_id("three")).1, Value::Bool(true));
    relay.stop();
}
