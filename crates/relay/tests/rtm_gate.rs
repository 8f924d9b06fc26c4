//! The gate for RTM SDKs over real sockets, with packages that the tests put together themselves or that real SDKs
//! have sent.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code, reason = "each test program uses a part of it")]
mod rtm;

use std::io::Write;
use std::net::Shutdown;

use crvideo_proto::rtm::code;
use crvideo_relay::{BlockingRelay, Config};
use rtm::{Link, PATIENCE, SECRET, Value, by_key, dev, frame, golden, ints, map, now, now_ms, relay, text};

/// `mid` of the messages that are sent here.
const MID: i64 = 1 << 60;

fn message(from: i64, msg: impl Into<Value>, more: &[(&str, Value)]) -> Vec<(String, Value)> {
    let fixed: [(&str, Value); 5] =
        [("from", from.into()), ("mid", MID.into()), ("mtype", 51.into()), ("msg", msg.into()), ("attrs", "{}".into())];
    let given = |key: &str| more.iter().any(|(other, _)| *other == key);
    let fixed = fixed.into_iter().filter(|(key, _)| !given(key));
    fixed.chain(more.iter().cloned()).map(|(key, value)| (key.to_owned(), value)).collect()
}

#[test]
fn ping_is_answered_without_a_signature() {
    let relay = dev();
    let mut link = Link::open(&relay);
    let answer = link.ask_plain("*ping", &[]).unwrap();
    let ts = by_key(&answer, "ts").int();
    assert!((now_ms() - ts).abs() < 60_000, "{ts}");
}

#[test]
fn unknown_methods_are_refused_in_the_words_that_programs_look_for() {
    let relay = dev();
    let mut link = Link::open(&relay);
    for method in ["nosuch", "*status", "*infos", "*tune", "setuserinfo", "sendfilesx", "auth"] {
        let (code, text) = link.ask(method, &[]).unwrap_err();
        assert_eq!((code, text), (code::UNKNOWN_METHOD, format!("Unknow method:{method}")));
    }
    assert_eq!(link.ask("*key", &[]).unwrap_err().0, code::PROTOCOL);
}

#[test]
fn each_fault_of_a_signature_has_its_code_and_the_connection_lives() {
    let relay = dev();
    let mut link = Link::open(&relay);
    let good = |now: i64| link_params(now, "gettoken", relay.project(), relay.secret());
    let with = |key: &str, value: Option<Value>| -> Vec<(String, Value)> {
        let mut params = good(now());
        params.retain(|(other, _)| other != key);
        params.extend(value.map(|value| (key.to_owned(), value)));
        params
    };
    let mut code_of = |params: &[(String, Value)]| link.ask_owned("gettoken", params).unwrap_err();
    for key in ["pid", "salt", "ts", "sign"] {
        let (code, text) = code_of(&with(key, None));
        assert!(code == code::MISSING && text.contains(key), "{code} {text}");
        let (code, text) = code_of(&with(key, Some(Value::Bool(true))));
        assert!(code == code::WRONG_TYPE && text.contains(key), "{code} {text}");
    }
    assert_eq!(code_of(&with("pid", Some(77.into()))).0, code::BAD_SIGN);
    assert_eq!(code_of(&with("salt", Some(77.into()))).0, code::BAD_SIGN);
    assert_eq!(code_of(&with("ts", Some((now() + 1).into()))).0, code::BAD_SIGN);
    assert_eq!(code_of(&with("sign", Some("".into()))).0, code::BAD_SIGN);
    for off in [-700, 700, 62_135_596_800] {
        let (code, text) = code_of(&good(now() + off));
        assert!(code == code::BAD_TS && text.contains("600"), "{code} {text}");
    }
    for off in [-500, 500] {
        let mut params = good(now() + off);
        params.push(("uid".into(), 7.into()));
        link.ask_owned("gettoken", &params).unwrap();
    }
}

fn link_params(ts: i64, method: &str, project: i64, secret: &str) -> Vec<(String, Value)> {
    rtm::signature(method, project, secret, ts)
}

#[test]
fn the_same_signature_is_taken_again_and_lower_case_is_one() {
    let relay = dev();
    let mut link = Link::open(&relay);
    let mut params = link_params(now(), "gettoken", relay.project(), relay.secret());
    params.push(("uid".into(), 7.into()));
    for _ in 0..3 {
        link.ask_owned("gettoken", &params).unwrap();
    }
    for (key, value) in &mut params {
        if key == "sign" {
            *value = text(value).to_lowercase().as_str().into();
        }
    }
    link.ask_owned("gettoken", &params).unwrap();
    for (key, value) in &mut params {
        if key == "sign" {
            *value = Value::Bin(text(value).into_bytes());
        }
    }
    link.ask_owned("gettoken", &params).unwrap();
}

#[test]
fn an_answer_has_the_version_the_encoding_and_the_number_of_its_quest() {
    let relay = dev();
    let mut link = Link::open(&relay);
    for version in [0, 1] {
        let quest = frame(version, 0x80, 1, "*ping", Some(0xfedc_ba98), &map(&[]));
        link.write(&quest);
        let answer = link.next().unwrap();
        assert_eq!(
            (answer.version, answer.flags, answer.kind, answer.status, answer.seq),
            (version, 0x80, 2, 0, 0xfedc_ba98)
        );
    }
}

#[test]
fn quests_in_json_are_answered_in_json() {
    let relay = dev();
    let mut link = Link::open(&relay);
    let (project, ts) = (relay.project(), now());
    let sign = crvideo_proto::rtm::sign::request_sign(project, relay.secret(), 5, "addgroupmembers", ts);
    let json = format!(r#"{{"pid":{project},"salt":5,"ts":{ts},"sign":"{sign}","gid":9,"uids":[1,2]}}"#);
    link.write(&frame(1, 0x40, 1, "addgroupmembers", Some(3), json.as_bytes()));
    let answer = link.next().unwrap();
    assert_eq!((answer.flags, answer.status, answer.payload.as_slice()), (0x40, 0, b"{}".as_slice()));
    link.write(&frame(1, 0x40, 1, "nosuch", Some(4), b"{}"));
    let answer = link.next().unwrap();
    let payload = String::from_utf8(answer.payload).unwrap();
    assert!(
        answer.status == 1 && payload.contains(r#""code":20004"#) && payload.contains("Unknow method:nosuch"),
        "{payload}"
    );
    for (bad, code) in [("[]", code::NOT_A_MAP), ("{", code::JSON), ("nonsense", code::JSON)] {
        link.write(&frame(1, 0x40, 1, "gettoken", Some(5), bad.as_bytes()));
        let payload = String::from_utf8(link.next().unwrap().payload).unwrap();
        assert!(payload.contains(&format!(r#""code":{code}"#)), "{bad} gives {payload}");
    }
    assert_eq!(by_key(&link.ask("getgroupcount", &[("gid", 9.into())]).unwrap(), "cn").int(), 2);
}

#[test]
fn a_payload_that_cannot_be_read_is_refused_and_the_connection_lives() {
    let relay = dev();
    let mut link = Link::open(&relay);
    let cases: [(&[u8], i32); 6] = [
        (b"\x90", code::NOT_A_MAP),
        (b"\x81\x01\x01", code::KEY_NOT_TEXT),
        (b"\x81\xa1a", code::DECODE),
        (b"\x80\x00", code::DECODE),
        (b"\x81\xa1a\xc1", code::DECODE),
        (b"\x82\xa1a\x01\xa1a\x01", code::BAD_PARAM),
    ];
    for (payload, code) in cases {
        link.write(&frame(1, 0x80, 1, "gettoken", Some(9), payload));
        let answer = link.next().unwrap();
        let answer = by_key(&answer.value(), "code").int();
        assert_eq!(answer, i64::from(code), "{payload:?}");
    }
    let (code, text) = link.ask("gettoken", &[("uid", vec![0u8; 2 * 1024 * 1024].into())]).unwrap_err();
    assert!(code == code::TOO_LARGE && text.contains("gettoken"), "{code} {text}");
    link.ask_plain("*ping", &[]).unwrap();
}

#[test]
fn only_a_broken_frame_closes_the_connection_and_answers_of_before_arrive() {
    let relay = dev();
    let good = frame(1, 0x80, 1, "*ping", Some(1), &map(&[]));
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let mut huge = good.clone();
    huge[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    let broken = [with(0, b'f'), with(5, 0), with(5, 0xc0), with(5, 0xa0), with(6, 3), with(7, 0), with(8, 0), huge];
    let http =
        [b"GET / HTTP/1.1\r\n\r\n".to_vec(), b"POST /service/x HTTP/1.1\r\n\r\n".to_vec(), b"\x16\x03\x01".to_vec()];
    for bytes in broken.into_iter().chain(http) {
        let mut link = Link::open(&relay);
        link.write(&good);
        link.write(&bytes);
        assert_eq!(link.next().unwrap().seq, 1, "{bytes:?}");
        assert!(link.next().is_none(), "{bytes:?} did not close the connection");
    }
}

#[test]
fn one_way_quests_are_done_and_never_answered() {
    let relay = dev();
    let mut link = Link::open(&relay);
    let mut params = link_params(now(), "addgroupmembers", relay.project(), relay.secret());
    params.extend([("gid".to_owned(), 4.into()), ("uids".to_owned(), ints(&[1]))]);
    link.write(&frame(1, 0x80, 0, "addgroupmembers", None, &rtm::map_owned(&params)));
    link.write(&frame(1, 0x80, 0, "nosuch", None, &map(&[])));
    assert_eq!(by_key(&link.ask("getgroupcount", &[("gid", 4.into())]).unwrap(), "cn").int(), 1);
}

#[test]
fn quests_may_be_cut_anywhere_and_follow_each_other_without_waiting() {
    let relay = dev();
    let quest = frame(1, 0x80, 1, "*ping", Some(7), &map(&[]));
    let mut link = Link::open(&relay);
    for cut in 1..quest.len() {
        link.write(&quest[..cut]);
        link.write(&quest[cut..]);
        assert_eq!(link.next().unwrap().seq, 7, "cut at {cut}");
    }
    let quests = 2_000u32;
    let crowd: Vec<u8> = (0..quests).flat_map(|seq| frame(1, 0x80, 1, "*ping", Some(seq), &map(&[]))).collect();
    let mut writer = link.stream().try_clone().unwrap();
    let writing = std::thread::spawn(move || {
        writer.write_all(&crowd).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut seen: Vec<u32> = Vec::new();
    while let Some(answer) = link.next() {
        seen.push(answer.seq);
    }
    writing.join().unwrap();
    assert_eq!(seen, (0..quests).collect::<Vec<_>>());
}

#[test]
fn messages_reach_those_who_listen_to_their_targets_and_nobody_else() {
    let relay = dev();
    let (mut sender, mut by_flag, mut by_list, mut deaf) =
        (Link::open(&relay), Link::open(&relay), Link::open(&relay), Link::open(&relay));
    by_flag.ask("setlisten", &flags(true)).unwrap();
    by_list.ask("addlisten", &[("uids", ints(&[200])), ("gids", ints(&[300])), ("rids", ints(&[400]))]).unwrap();
    deaf.ask("addlisten", &[("uids", ints(&[1]))]).unwrap();
    sender.ask("addgroupmembers", &[("gid", 300.into()), ("uids", ints(&[5]))]).unwrap();
    let cases = [
        ("sendmsg", "to", 200, "pushmsg", "to"),
        ("sendgroupmsg", "gid", 300, "pushgroupmsg", "gid"),
        ("sendroommsg", "rid", 400, "pushroommsg", "rid"),
    ];
    for (method, key, id, push, push_key) in cases {
        let sent = sender.ask_owned_signed(method, &message(100, "hällo", &[(key, id.into())])).unwrap();
        let mtime = by_key(&sent, "mtime").int();
        assert!((now_ms() - mtime).abs() < 60_000);
        for link in [&mut by_flag, &mut by_list] {
            let (method, got) = link.push();
            assert_eq!(method, push);
            let int = |key| by_key(&got, key).int();
            assert_eq!((int("from"), int("to"), int(push_key), int("mid")), (100, id, id, MID));
            assert_eq!((int("mtype"), int("mtime")), (51, mtime));
            assert_eq!((by_key(&got, "msg"), by_key(&got, "attrs")), ("hällo".into(), "{}".into()));
        }
    }
    // What went to others came before this, if it came at all.
    sender.ask_owned_signed("sendmsg", &message(100, "for you", &[("to", 1.into())])).unwrap();
    assert_eq!(by_key(&deaf.push().1, "msg"), "for you".into());
}

fn flags(on: bool) -> [(&'static str, Value); 4] {
    ["p2p", "group", "room", "ev"].map(|key| (key, Value::Bool(on)))
}

#[test]
fn listening_is_added_to_taken_from_and_replaced() {
    let relay = dev();
    let (mut sender, mut listener) = (Link::open(&relay), Link::open(&relay));
    let mut heard = |listener: &mut Link| -> Vec<i64> {
        for to in [1, 2, 3, 4] {
            sender.ask_owned_signed("sendmsg", &message(9, "x", &[("to", to.into())])).unwrap();
        }
        listener.pushes_so_far().iter().map(|(_, push)| by_key(push, "to").int()).collect()
    };
    assert!(heard(&mut listener).is_empty());
    // One SDK sends all four lists, also empty ones.
    let none = [("gids", ints(&[])), ("rids", ints(&[])), ("events", Value::Array(vec![]))];
    listener.ask("addlisten", &[&none[..], &[("uids", ints(&[1, 2]))]].concat()).unwrap();
    assert_eq!(heard(&mut listener), [1, 2]);
    listener.ask("addlisten", &[("uids", ints(&[3]))]).unwrap();
    listener.ask("removelisten", &[("uids", ints(&[1, 9]))]).unwrap();
    assert_eq!(heard(&mut listener), [2, 3]);
    listener.ask("setlisten", &[("uids", ints(&[4]))]).unwrap();
    assert_eq!(heard(&mut listener), [4]);
    listener.ask("setlisten", &flags(true)).unwrap();
    listener.ask("removelisten", &[("uids", ints(&[1]))]).unwrap();
    assert_eq!(heard(&mut listener), [1, 2, 3, 4]);
    listener.ask("setlisten", &[&flags(false)[..], &[("uids", ints(&[2]))]].concat()).unwrap();
    assert_eq!(heard(&mut listener), [2]);
    listener.ask("setlisten", &[]).unwrap();
    assert!(heard(&mut listener).is_empty());
}

#[test]
fn listening_has_limits_and_types() {
    let relay = dev();
    let mut link = Link::open(&relay);
    let many: Vec<i64> = (0..10_001).collect();
    let mut code_of = |method: &str, params: &[(&str, Value)]| link.ask(method, params).unwrap_err().0;
    for key in ["uids", "gids", "rids"] {
        assert_eq!(code_of("setlisten", &[(key, ints(&many))]), code::TOO_MANY);
        assert_eq!(code_of("setlisten", &[(key, 7.into())]), code::WRONG_TYPE);
    }
    assert_eq!(code_of("setlisten", &[("p2p", 1.into())]), code::WRONG_TYPE);
    assert_eq!(
        code_of("addlisten", &[("events", Value::Array(vec!["x".repeat(65).as_str().into()]))]),
        code::BAD_PARAM
    );
    link.ask("addlisten", &[("uids", ints(&many[..10_000]))]).unwrap();
    assert_eq!(link.ask("addlisten", &[("uids", ints(&[-1]))]).unwrap_err().0, code::TOO_MANY);
    link.ask("addlisten", &[("uids", ints(&[5]))]).unwrap();
}

#[test]
fn each_of_many_recipients_gets_a_push_of_his_own() {
    let relay = dev();
    let (mut sender, mut listener) = (Link::open(&relay), Link::open(&relay));
    listener.ask("setlisten", &flags(true)).unwrap();
    let tos: Vec<i64> = (0..10_000).chain([5, 6]).collect();
    let (code, text) = sender.ask_owned_signed("sendmsgs", &message(1, "x", &[("tos", ints(&tos))])).unwrap_err();
    assert!(code == code::TOO_MANY && text.contains("10000"), "{code} {text}");
    let mut tos: Vec<i64> = tos[..9_999].to_vec();
    tos.push(3);
    sender.ask_owned_signed("sendmsgs", &message(1, "y".repeat(1_000).as_str(), &[("tos", ints(&tos))])).unwrap();
    for to in 0..9_999 {
        assert_eq!(by_key(&listener.push().1, "to").int(), to);
    }
    assert!(listener.pushes_so_far().is_empty(), "whoever is named twice gets one");
}

#[test]
fn a_broadcast_is_taken_and_servers_hear_nothing_of_it() {
    let relay = dev();
    let (mut sender, mut listener) = (Link::open(&relay), Link::open(&relay));
    listener.ask("setlisten", &flags(true)).unwrap();
    let answer = sender.ask_owned_signed("broadcastmsg", &message(1, "x", &[])).unwrap();
    assert!(by_key(&answer, "mtime").int() > 0);
    assert!(listener.pushes_so_far().is_empty());
}

#[test]
fn every_fault_of_a_message_has_its_code() {
    let relay = dev();
    let mut link = Link::open(&relay);
    let mut code_of = |method: &str, more: &[(&str, Value)]| {
        let (code, text) = link.ask_owned_signed(method, &message(1, "x", more)).unwrap_err();
        assert!(!text.is_empty());
        code
    };
    let to = ("to", Value::from(2));
    for (mtype, code) in [
        (Value::from(0), code::BAD_MTYPE),
        (128.into(), code::BAD_MTYPE),
        ((-1).into(), code::BAD_MTYPE),
        (i64::MAX.into(), code::BAD_MTYPE),
        (Value::Bool(false), code::WRONG_TYPE),
        ("many".into(), code::WRONG_TYPE),
        (Value::Nil, code::MISSING),
    ] {
        assert_eq!(code_of("sendmsg", &[to.clone(), ("mtype", mtype.clone())]), code, "{mtype:?}");
    }
    assert_eq!(code_of("sendmsg", &[]), code::MISSING);
    assert_eq!(code_of("sendmsg", &[("to", "x".into())]), code::WRONG_TYPE);
    assert_eq!(code_of("sendmsgs", &[("tos", ints(&[]))]), code::EMPTY);
    assert_eq!(code_of("sendmsgs", &[("tos", 2.into())]), code::WRONG_TYPE);
    assert_eq!(code_of("sendgroupmsg", &[("gid", 77.into())]), code::GROUP_EMPTY);
    for key in ["from", "mid", "msg"] {
        assert_eq!(code_of("sendmsg", &[to.clone(), (key, Value::Nil)]), code::MISSING, "{key}");
        assert_eq!(code_of("sendmsg", &[to.clone(), (key, Value::Bool(true))]), code::WRONG_TYPE, "{key}");
    }
    assert_eq!(code_of("sendmsg", &[to.clone(), ("msg", "x".repeat(20_481).as_str().into())]), code::MESSAGE_TOO_LARGE);
    assert_eq!(code_of("sendmsg", &[to.clone(), ("attrs", "x".repeat(2_049).as_str().into())]), code::TOO_LARGE);
    let largest = [to, ("msg", "x".repeat(20_480).as_str().into()), ("attrs", "x".repeat(2_048).as_str().into())];
    link.ask_owned_signed("sendmsg", &message(1, "x", &largest)).unwrap();
    let old = message(1, "x", &[("to", 2.into()), ("mtype", "51".into()), ("attrs", Value::Nil)]);
    link.ask_owned_signed("sendmsg", &old).unwrap();
}

#[test]
fn bodies_that_are_no_text_arrive_as_bytes_and_text_as_text_however_it_was_sent() {
    let relay = dev();
    let mut link = Link::open(&relay);
    link.ask("setlisten", &flags(true)).unwrap();
    let raw = vec![0xff, 0, 0xfe];
    for (sent, got) in [
        (Value::Bin(raw.clone()), Value::Bin(raw.clone())),
        (Value::RawStr(raw.clone()), Value::Bin(raw)),
        (Value::Bin("text".into()), "text".into()),
        ("".into(), "".into()),
    ] {
        link.ask_owned_signed("sendmsg", &message(1, sent, &[("to", 2.into()), ("attrs", Value::Bin("a".into()))]))
            .unwrap();
        let (_, push) = link.push();
        assert_eq!((by_key(&push, "msg"), by_key(&push, "attrs")), (got, "a".into()));
    }
}

#[test]
fn groups_have_members_that_come_and_go() {
    let relay = dev();
    let mut link = Link::open(&relay);
    let gid = |id: i64| ("gid", Value::from(id));
    let uids = |ids: &[i64]| ("uids", ints(ids));
    link.ask("addgroupmembers", &[gid(-7), uids(&[3, i64::MIN, 3, i64::MAX])]).unwrap();
    link.ask("addgroupmembers", &[gid(8), uids(&[3])]).unwrap();
    let members = link.ask("getgroupmembers", &[gid(-7)]).unwrap();
    assert_eq!(by_key(&members, "uids"), ints(&[i64::MIN, 3, i64::MAX]));
    assert_eq!(by_key(&link.ask("getgroupcount", &[gid(-7)]).unwrap(), "cn").int(), 3);
    assert_eq!(by_key(&link.ask("getusergroups", &[("uid", 3.into())]).unwrap(), "gids"), ints(&[-7, 8]));
    let is_member = |link: &mut Link, user: i64| {
        by_key(&link.ask("isgroupmember", &[gid(-7), ("uid", user.into())]).unwrap(), "ok")
    };
    assert_eq!((is_member(&mut link, 3), is_member(&mut link, 4)), (Value::Bool(true), Value::Bool(false)));
    link.ask("delgroupmembers", &[gid(-7), uids(&[3, 99])]).unwrap();
    assert_eq!(is_member(&mut link, 3), Value::Bool(false));
    link.ask("delgroup", &[gid(-7)]).unwrap();
    assert_eq!(by_key(&link.ask("getgroupmembers", &[gid(-7)]).unwrap(), "uids"), ints(&[]));
    assert_eq!(by_key(&link.ask("getgroupcount", &[gid(8)]).unwrap(), "cn").int(), 1);
    let hundred_and_one: Vec<i64> = (0..101).collect();
    for method in ["addgroupmembers", "delgroupmembers"] {
        assert_eq!(link.ask(method, &[gid(1), uids(&hundred_and_one)]).unwrap_err().0, code::TOO_MANY);
        assert_eq!(link.ask(method, &[gid(1), uids(&[])]).unwrap_err().0, code::EMPTY);
        assert_eq!(link.ask(method, &[uids(&[1])]).unwrap_err().0, code::MISSING);
    }
}

#[test]
fn a_full_group_takes_nobody() {
    let mut config = Config::dev().unwrap();
    config.rtm.max_group_members = 2;
    let relay = BlockingRelay::start(config).unwrap();
    let mut link = Link::open(&relay);
    let (code, text) = link.ask("addgroupmembers", &[("gid", 1.into()), ("uids", ints(&[1, 2, 3]))]).unwrap_err();
    assert!(code == code::GROUP_FULL && text.contains('2'), "{code} {text}");
    assert_eq!(by_key(&link.ask("getgroupcount", &[("gid", 1.into())]).unwrap(), "cn").int(), 0);
}

#[test]
fn rooms_have_members_that_come_and_go() {
    let relay = dev();
    let mut link = Link::open(&relay);
    let rid = ("rid", Value::from(7));
    link.ask("addroommember", &[rid.clone(), ("uid", 5.into())]).unwrap();
    link.ask("addroommembers", &[rid.clone(), ("uids", ints(&[4, 6, 4]))]).unwrap();
    assert_eq!(by_key(&link.ask("getroommembers", std::slice::from_ref(&rid)).unwrap(), "uids"), ints(&[4, 5, 6]));
    link.ask("delroommember", &[rid.clone(), ("uid", 5.into())]).unwrap();
    link.ask("delroommembers", &[rid.clone(), ("uids", ints(&[6, 99]))]).unwrap();
    assert_eq!(by_key(&link.ask("getroommembers", std::slice::from_ref(&rid)).unwrap(), "uids"), ints(&[4]));
    let counts = by_key(&link.ask("getroomcount", &[("rids", ints(&[7, -8, 7]))]).unwrap(), "cn");
    assert_eq!(counts, Value::Map(vec![("-8".into(), 0.into()), ("7".into(), 1.into())]));
    assert_eq!(link.ask("addroommember", &[rid]).unwrap_err().0, code::MISSING);
    assert_eq!(
        link.ask("getroomcount", &[("rids", ints(&(0..201).collect::<Vec<_>>()))]).unwrap_err().0,
        code::TOO_MANY
    );
}

#[test]
fn groups_and_revoked_tokens_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let start = || relay(|config| config.data = Some(directory.path().to_owned()));
    let first = start();
    let mut link = Link::open(&first);
    link.ask("addgroupmembers", &[("gid", 1.into()), ("uids", ints(&[1, 2]))]).unwrap();
    let void = text(&by_key(&link.ask("gettoken", &[("uid", 42.into())]).unwrap(), "token"));
    link.ask("removetoken", &[("uid", 42.into())]).unwrap();
    first.stop();
    let second = start();
    let mut link = Link::open(&second);
    assert_eq!(by_key(&link.ask("getgroupmembers", &[("gid", 1.into())]).unwrap(), "uids"), ints(&[1, 2]));
    assert!(rtm::login(&second, "42", &void).is_err());
    let good = text(&by_key(&link.ask("gettoken", &[("uid", 42.into())]).unwrap(), "token"));
    assert!(rtm::login(&second, "42", &good).is_ok());
}

#[test]
fn tokens_of_the_gate_let_users_log_in_until_they_are_removed() {
    let relay = dev();
    let mut link = Link::open(&relay);
    let token = |link: &mut Link| text(&by_key(&link.ask("gettoken", &[("uid", 42.into())]).unwrap(), "token"));
    let first = token(&mut link);
    assert!(rtm::login(&relay, "42", &first).is_ok());
    assert!(rtm::login(&relay, "43", &first).is_err());
    for _ in 0..3 {
        link.ask("removetoken", &[("uid", 42.into())]).unwrap();
        assert!(rtm::login(&relay, "42", &first).is_err());
        let next = token(&mut link);
        assert!(rtm::login(&relay, "42", &next).is_ok());
    }
    assert_eq!(link.ask("gettoken", &[]).unwrap_err().0, code::MISSING);
    assert_eq!(link.ask("gettoken", &[("uid", "x".into())]).unwrap_err().0, code::WRONG_TYPE);
    assert_eq!(link.ask("removetoken", &[]).unwrap_err().0, code::MISSING);
}

#[test]
fn servers_see_who_is_online_hear_who_comes_and_goes_and_kick_out() {
    let relay = dev();
    let (mut link, mut listener, mut by_name) = (Link::open(&relay), Link::open(&relay), Link::open(&relay));
    listener.ask("setlisten", &flags(true)).unwrap();
    by_name.ask("addlisten", &[("events", Value::Array(vec!["logout".into()]))]).unwrap();
    let token = text(&by_key(&link.ask("gettoken", &[("uid", 42.into())]).unwrap(), "token"));
    let mut session = rtm::login(&relay, "42", &token).unwrap();
    let names = rtm::login(&relay, "alice", &rtm::mint(&relay, "alice")).unwrap();
    let online = |link: &mut Link| by_key(&link.ask("getonlineusers", &[("uids", ints(&[41, 42]))]).unwrap(), "uids");
    assert_eq!(online(&mut link), ints(&[42]));
    let (method, event) = listener.push();
    assert_eq!((method.as_str(), by_key(&event, "event")), ("pushevent", "login".into()));
    assert_eq!((by_key(&event, "uid").int(), by_key(&event, "pid").int()), (42, relay.project()));
    assert!((now() - by_key(&event, "time").int()).abs() < 60);
    assert_eq!(by_key(&event, "endpoint"), session.local().as_str().into());
    link.ask("kickout", &[("uid", 42.into())]).unwrap();
    assert_eq!(session.bye(), Some(10));
    for listener in [&mut listener, &mut by_name] {
        let (_, event) = listener.push();
        assert_eq!((by_key(&event, "event"), by_key(&event, "uid").int()), ("logout".into(), 42));
        assert!(text(&by_key(&event, "endpoint")).starts_with("127.0.0.1:"));
    }
    assert_eq!(online(&mut link), ints(&[]));
    drop(names);
    link.ask("kickout", &[("uid", 42.into())]).unwrap();
    let many: Vec<i64> = (0..201).collect();
    assert_eq!(link.ask("getonlineusers", &[("uids", ints(&many))]).unwrap_err().0, code::TOO_MANY);
    assert_eq!(link.ask("kickout", &[]).unwrap_err().0, code::MISSING);
}

#[test]
fn projects_never_see_each_other() {
    let relay = relay(|config| {
        config.projects.push(crvideo_relay::Project { id: 2, secrets: vec!["other".into()], max_file_size: 0 });
    });
    let (mut ours, mut theirs) = (Link::open(&relay), Link::open(&relay));
    theirs.sign_as(2, "other");
    theirs.ask("setlisten", &flags(true)).unwrap();
    ours.ask("addgroupmembers", &[("gid", 1.into()), ("uids", ints(&[1]))]).unwrap();
    ours.ask("addroommember", &[("rid", 1.into()), ("uid", 1.into())]).unwrap();
    for (method, key) in [("sendmsg", "to"), ("sendgroupmsg", "gid"), ("sendroommsg", "rid")] {
        ours.ask_owned_signed(method, &message(1, "secret", &[(key, 1.into())])).unwrap();
    }
    let _session = rtm::login(&relay, "42", &rtm::mint(&relay, "42")).unwrap();
    assert_eq!(by_key(&ours.ask("getonlineusers", &[("uids", ints(&[42]))]).unwrap(), "uids"), ints(&[42]));
    assert_eq!(by_key(&theirs.ask("getonlineusers", &[("uids", ints(&[42]))]).unwrap(), "uids"), ints(&[]));
    theirs.ask("kickout", &[("uid", 42.into())]).unwrap();
    theirs.ask("removetoken", &[("uid", 42.into())]).unwrap();
    theirs.ask("delgroup", &[("gid", 1.into())]).unwrap();
    theirs.ask("delroommember", &[("rid", 1.into()), ("uid", 1.into())]).unwrap();
    assert_eq!(by_key(&ours.ask("getonlineusers", &[("uids", ints(&[42]))]).unwrap(), "uids"), ints(&[42]));
    assert_eq!(by_key(&ours.ask("getgroupcount", &[("gid", 1.into())]).unwrap(), "cn").int(), 1);
    assert_eq!(by_key(&ours.ask("getroommembers", &[("rid", 1.into())]).unwrap(), "uids"), ints(&[1]));
    assert!(rtm::login(&relay, "42", &rtm::mint(&relay, "42")).is_ok());
    assert!(theirs.pushes_so_far().is_empty());
}

#[test]
fn who_listens_is_pinged_and_nobody_else_is_and_bad_answers_do_no_harm() {
    let relay = relay(|config| config.rtm.ping = std::time::Duration::from_millis(20));
    let (mut listener, mut other) = (Link::open(&relay), Link::open(&relay));
    other.ask_plain("*ping", &[]).unwrap();
    listener.ask("setlisten", &flags(true)).unwrap();
    for bad in [map(&[("code", 20_001.into()), ("ex", "no".into())]), map(&[("ex", 5.into())]), vec![0x90], vec![0xc1]]
    {
        let ping = listener.push_frame();
        assert_eq!((ping.method.as_str(), ping.payload.as_slice()), ("ping", b"\x80".as_slice()));
        for status in [0, 1] {
            listener.write(&rtm::answer(status, ping.seq, &bad));
        }
    }
    listener.ask("setlisten", &[]).unwrap();
    assert!(other.pushes_so_far().is_empty());
}

#[test]
fn who_does_not_take_his_pushes_is_cut_off_and_delays_nobody() {
    let relay = relay(|config| config.rtm.push_queue = 2 * 1024 * 1024);
    let (mut sender, mut slow, mut quick) = (Link::open(&relay), Link::open(&relay), Link::open(&relay));
    for link in [&mut slow, &mut quick] {
        link.ask("setlisten", &flags(true)).unwrap();
    }
    let body = "x".repeat(20_000);
    // More than the queue and what the kernel takes for a socket that nobody reads.
    for _ in 0..2_000 {
        sender.ask_owned_signed("sendmsg", &message(1, body.as_str(), &[("to", 2.into())])).unwrap();
        assert_eq!(quick.push().0, "pushmsg");
    }
    // What the kernel had taken is still there to be read; then comes the end.
    let mut got = 0;
    while slow.next().is_some() {
        got += 1;
    }
    assert!(got < 2_000, "nothing was cut off");
    sender.ask_plain("*ping", &[]).unwrap();
}

#[test]
fn strangers_must_say_something_in_time() {
    let relay = relay(|config| config.login_deadline = std::time::Duration::from_millis(100));
    let (mut silent, mut slow, mut known) = (Link::open(&relay), Link::open(&relay), Link::open(&relay));
    known.ask("setlisten", &[]).unwrap();
    slow.write(b"FPNN\x01\x80");
    assert!(silent.next().is_none() && slow.next().is_none());
    known.ask("setlisten", &[]).unwrap();
}

#[test]
fn silent_connections_are_closed_unless_they_listen() {
    let relay = relay(|config| config.rtm.idle_timeout = std::time::Duration::from_millis(100));
    let (mut silent, mut listener) = (Link::open(&relay), Link::open(&relay));
    listener.ask("setlisten", &flags(true)).unwrap();
    silent.ask_plain("*ping", &[]).unwrap();
    assert!(silent.next().is_none());
    listener.ask("setlisten", &flags(true)).unwrap();
}

#[test]
fn beyond_the_limits_connections_are_refused_and_places_come_back() {
    let relay = relay(|config| {
        config.rtm.max_connections = 2;
        config.rtm.max_strangers = 1;
    });
    let mut first = Link::open(&relay);
    first.ask_plain("*ping", &[]).unwrap();
    // The first one has signed nothing yet.
    assert!(Link::open(&relay).next().is_none());
    first.ask("setlisten", &[]).unwrap();
    let mut second = Link::open(&relay);
    second.ask("setlisten", &[]).unwrap();
    assert!(Link::open(&relay).next().is_none());
    drop(second);
    // The relay hears of the end in its own time.
    let until = std::time::Instant::now() + PATIENCE;
    while Link::open(&relay).try_ask_plain("*ping").is_none() {
        assert!(std::time::Instant::now() < until, "the place did not come back");
    }
}

#[test]
fn quests_under_way_are_answered_when_the_relay_stops() {
    let relay = dev();
    let mut link = Link::open(&relay);
    link.ask("setlisten", &[]).unwrap();
    for seq in 0..50i64 {
        link.send_signed("addgroupmembers", &[("gid", 1.into()), ("uids", ints(&[seq]))]);
    }
    assert_eq!(link.next().unwrap().status, 0);
    relay.stop();
    let mut answered = 1;
    while let Some(answer) = link.next() {
        assert_eq!(answer.status, 0);
        answered += 1;
    }
    assert_eq!(answered, 50);
}

#[test]
fn where_files_are_sent_to_servers_are_not_served() {
    let relay = relay(|config| config.rtm.files = Some("127.0.0.1:0".parse().unwrap()));
    let mut link = Link::open_at(relay.rtm_files_address().unwrap(), &relay);
    assert_eq!(link.ask("gettoken", &[("uid", 1.into())]).unwrap_err().0, code::UNKNOWN_METHOD);
    link.ask_plain("*ping", &[]).unwrap();
}

#[test]
fn leave_to_send_a_file_is_given_for_the_target_that_the_command_names() {
    let relay = dev();
    let mut link = Link::open(&relay);
    let all = |without: &str| -> Vec<(&str, Value)> {
        let all = [("to", 7.into()), ("rid", 7.into()), ("gid", 7.into()), ("tos", ints(&[7]))];
        all.into_iter().filter(|(key, _)| *key != without).collect()
    };
    let cases = [
        ("sendfile", "to"),
        ("sendfiles", "tos"),
        ("sendgroupfile", "gid"),
        ("GroupFile", "gid"),
        ("sendroomfile", "rid"),
        ("broadcastfile", ""),
        ("BroadcastFile", ""),
    ];
    for (cmd, key) in cases {
        let params = |without: &str| [all(without), vec![("from", 100.into()), ("cmd", cmd.into())]].concat();
        let answer = link.ask("filetoken", &params("")).unwrap();
        assert_eq!(text(&by_key(&answer, "token")).len(), 32, "{cmd}");
        if !key.is_empty() {
            let (code, text) = link.ask("filetoken", &params(key)).unwrap_err();
            assert!(code == code::MISSING && text.contains(key), "{cmd}: {code} {text}");
        }
    }
    let mut code_of = |more: &[(&str, Value)]| link.ask("filetoken", more).unwrap_err();
    assert_eq!(code_of(&[("cmd", "sendfile".into()), ("to", 7.into())]).0, code::MISSING);
    assert_eq!(code_of(&[("from", 1.into()), ("to", 7.into())]).0, code::MISSING);
    let (code, text) = code_of(&[("from", 1.into()), ("to", 7.into()), ("cmd", "sendpicture".into())]);
    assert!(code == code::BAD_PARAM && text.contains("sendpicture"), "{code} {text}");
    let many = ints(&(0..10_001).collect::<Vec<_>>());
    for (tos, code) in [(ints(&[]), code::EMPTY), (many, code::TOO_MANY)] {
        assert_eq!(code_of(&[("from", 1.into()), ("cmd", "sendfiles".into()), ("tos", tos)]).0, code);
    }
}

#[test]
fn where_files_go_is_what_is_configured_or_what_the_client_has_reached() {
    let endpoint = |change: &dyn Fn(&mut Config)| {
        let relay = relay(change);
        let mut link = Link::open(&relay);
        let params = [("from", 1.into()), ("cmd", "sendfile".into()), ("to", 2.into())];
        let answer = link.ask("filetoken", &params).map(|answer| text(&by_key(&answer, "endpoint")));
        (answer, relay.rtm_address().unwrap(), relay.rtm_files_address())
    };
    let (answer, gate, _) = endpoint(&|_| ());
    assert_eq!(answer.unwrap(), gate.to_string());
    let (answer, _, files) = endpoint(&|config| config.rtm.files = Some("127.0.0.2:0".parse().unwrap()));
    assert_eq!(answer.unwrap(), files.unwrap().to_string());
    let (answer, _, files) = endpoint(&|config| {
        config.allow_plain = true;
        config.rtm.files = Some("0.0.0.0:0".parse().unwrap());
    });
    assert_eq!(answer.unwrap(), format!("127.0.0.1:{}", files.unwrap().port()));
    let (answer, ..) = endpoint(&|config| config.rtm.file_endpoint = Some("files.example.com:9".to_owned()));
    assert_eq!(answer.unwrap(), "files.example.com:9");
    let (answer, ..) = endpoint(&|config| config.rtm.listen = Some("[::1]:0".parse().unwrap()));
    let (code, text) = answer.unwrap_err();
    assert!(code == code::NOT_ENABLED && text.contains("file_endpoint"), "{code} {text}");
}

#[test]
fn no_bytes_whatever_harm_anybody_else() {
    let relay = dev();
    let mut witness = Link::open(&relay);
    witness.ask("setlisten", &flags(true)).unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let names = ["sendmsg", "setlisten", "filetoken", "sendfile", "addgroupmembers", "*ping", "*key"];
    for _ in 0..300 {
        let mut link = Link::open(&relay);
        let method = names[random() as usize % names.len()];
        let mut payload = rtm::map_owned(&link_params(now(), method, relay.project(), relay.secret()));
        for _ in 0..random() % 4 {
            let at = random() as usize % payload.len();
            payload[at] = random() as u8;
        }
        let mut bytes = frame(1, 0x80, (random() % 3) as u8, method, Some(1), &payload);
        for _ in 0..random() % 3 {
            let at = random() as usize % bytes.len();
            bytes[at] = random() as u8;
        }
        link.write(&bytes);
        // The relay may be the first to close.
        let _ = link.stream().shutdown(Shutdown::Write);
        while link.next().is_some() {}
        witness.ask_plain("*ping", &[]).unwrap();
    }
}

#[test]
fn quests_of_real_sdks_are_answered_as_the_sdks_expect() {
    let relay = relay(|config| {
        config.projects =
            vec![crvideo_relay::Project { id: 11_000_001, secrets: vec![SECRET.into()], max_file_size: 0 }];
        // The quests are as old as their capture.
        config.rtm.clock_window = std::time::Duration::from_secs(9 * 365 * 24 * 3600);
    });
    let mut listener = Link::open(&relay);
    let ask = |link: &mut Link, name: &str| {
        let quest = golden(name);
        link.write(&quest);
        let answer = link.next().unwrap();
        assert_eq!((answer.version, answer.flags, answer.kind, answer.status), (quest[4], 0x80, 2, 0), "{name}");
        assert_eq!(answer.seq.to_le_bytes(), quest[12..16], "{name}");
        answer.value()
    };
    let mut link = Link::open(&relay);
    assert_eq!(ask(&mut listener, "40-setlisten-quest-python"), Value::Map(vec![]));
    let sent = ask(&mut link, "41-sendmsg-quest-node");
    let mtime = by_key(&sent, "mtime");
    assert!(mtime.int() > 1_700_000_000_000);
    let (method, push) = listener.push();
    assert_eq!((method.as_str(), by_key(&push, "mtime"), by_key(&push, "msg")), ("pushmsg", mtime, "hi".into()));
    let token = text(&by_key(&ask(&mut link, "43-gettoken-quest-python"), "token"));
    assert_eq!(token.split('.').count(), 3);
    assert_eq!(ask(&mut link, "44-addgroupmembers-quest-python"), Value::Map(vec![]));
    for name in ["01-filetoken-quest-python", "03-filetoken-quest-node", "04-filetoken-quest-cpp-group"] {
        let answer = ask(&mut link, name);
        assert!(!text(&by_key(&answer, "token")).is_empty(), "{name}");
        let endpoint = text(&by_key(&answer, "endpoint"));
        assert_eq!(endpoint, relay.rtm_address().unwrap().to_string(), "{name}");
    }
}

/// PHP programs that go by the comments of their SDK pass 1 and 0 for `desc`, which go out as integers.
#[test]
fn regression_the_order_of_history_may_come_as_1_and_0() {
    let relay = dev();
    let mut link = Link::open(&relay);
    for mid in [11, 12] {
        let more = [("mid", mid.into()), ("to", 2.into())];
        link.ask_owned_signed("sendmsg", &message(1, "text", &more)).unwrap();
    }
    let mut ask = |desc: Value| -> Result<i64, (i32, String)> {
        let params = [("uid", 2.into()), ("ouid", 1.into()), ("num", 1.into()), ("desc", desc)];
        let answer = link.ask("getp2pmsg", &params)?;
        let Value::Array(rows) = by_key(&answer, "msgs") else { panic!("{answer:?}") };
        let [Value::Array(row)] = rows.as_slice() else { panic!("{rows:?}") };
        Ok(row[3].int())
    };
    assert_eq!(ask(1.into()), Ok(12));
    assert_eq!(ask(0.into()), Ok(11));
    for wrong in [Value::Int(2), Value::Int(-1), "1".into()] {
        let (code, text) = ask(wrong).unwrap_err();
        assert!(code == code::WRONG_TYPE && text.contains("desc"), "{code} {text}");
    }
}

#[test]
fn what_was_sent_can_be_read_again_in_parts_and_forgotten() {
    let relay = dev();
    let mut link = Link::open(&relay);
    let send = |link: &mut Link, method: &str, from: i64, mid: i64, target: (&str, i64)| {
        let more = [("mid", mid.into()), (target.0, target.1.into())];
        link.ask_owned_signed(method, &message(from, format!("text {mid}").as_str(), &more)).unwrap();
    };
    for (from, to, mid) in [(1, 2, 11), (2, 1, 12), (1, 3, 13), (1, 2, 14)] {
        send(&mut link, "sendmsg", from, mid, ("to", to));
    }
    link.ask("addgroupmembers", &[("gid", 5.into()), ("uids", ints(&[1, 2]))]).unwrap();
    send(&mut link, "sendgroupmsg", 1, 15, ("gid", 5));
    send(&mut link, "broadcastmsg", 1, 16, ("nothing", 0));

    let rows = |answer: &Value| -> Vec<Vec<Value>> {
        let Value::Array(rows) = by_key(answer, "msgs") else { panic!("{answer:?}") };
        let row = |row: &Value| match row {
            Value::Array(row) if row.len() == 8 => row.clone(),
            other => panic!("{other:?} is no row"),
        };
        rows.iter().map(row).collect()
    };
    let two = [("uid", 2.into()), ("ouid", 1.into()), ("num", 2.into()), ("desc", Value::Bool(true))];
    let answer = link.ask("getp2pmsg", &two).unwrap();
    let newest = rows(&answer);
    assert_eq!(newest.iter().map(|row| (row[1].int(), row[3].int())).collect::<Vec<_>>(), [(2, 14), (1, 12)]);
    assert_eq!(newest[0][5], Value::Str("text 14".to_owned()));
    assert_eq!(by_key(&answer, "num").int(), 2);
    let rest = [&two[..], &[("lastid", by_key(&answer, "lastid"))]].concat();
    let answer = link.ask("getp2pmsg", &rest).unwrap();
    assert_eq!(rows(&answer).iter().map(|row| row[3].int()).collect::<Vec<_>>(), [11]);
    let all = [("uid", 2.into()), ("num", 20.into())];
    for (method, place, mid) in [("getgroupmsg", ("gid", 5), 15), ("getbroadcastmsg", ("nothing", 0), 16)] {
        let answer = link.ask(method, &[&all[..], &[(place.0, place.1.into())]].concat()).unwrap();
        assert_eq!(rows(&answer).iter().map(|row| (row[1].int(), row[3].int())).collect::<Vec<_>>(), [(1, mid)]);
    }
    let answer = link.ask("getroommsg", &[&all[..], &[("rid", 5.into())]].concat()).unwrap();
    assert!(rows(&answer).is_empty());
    for num in [0, 21] {
        let bad = [("uid", 2.into()), ("num", num.into())];
        assert_eq!(link.ask("getbroadcastmsg", &bad).unwrap_err().0, code::TOO_MANY);
    }

    let named = [("mid", 13.into()), ("from", 1.into()), ("xid", 3.into()), ("type", 1.into())];
    let answer = link.ask("getmsg", &named).unwrap();
    assert_eq!((by_key(&answer, "msg"), by_key(&answer, "mtype").int()), (Value::Str("text 13".to_owned()), 51));
    link.ask("delmsg", &named).unwrap();
    assert_eq!(link.ask("getmsg", &named).unwrap_err().0, code::MESSAGE_NOT_FOUND);
    assert_eq!(link.ask("delmsg", &named).unwrap_err().0, code::MESSAGE_NOT_FOUND);
    let nowhere = [("mid", 13.into()), ("from", 1.into()), ("xid", 3.into()), ("type", 9.into())];
    assert_eq!(link.ask("getmsg", &nowhere).unwrap_err().0, code::BAD_PARAM);
}

#[test]
fn who_signs_wrongly_too_often_is_not_looked_at_and_others_are() {
    let relay = relay(|config| {
        (config.guard.count_loopback, config.guard.user_failures) = (true, 5);
        let mut other = config.projects[0].clone();
        (other.id, other.secrets) = (77, vec!["another secret".to_owned()]);
        config.projects.push(other);
    });
    let mut known = Link::open(&relay);
    known.ask("gettoken", &[("uid", 7.into())]).unwrap();
    let mut guessing = Link::open(&relay);
    guessing.sign_as(relay.project(), "a guess");
    for _ in 0..5 {
        assert_eq!(guessing.ask("gettoken", &[("uid", 7.into())]).unwrap_err().0, code::BAD_SIGN);
    }
    // Now even a good signature is not looked at, unless its connection has shown one before.
    guessing.sign_as(relay.project(), "a secret");
    let (code, text) = guessing.ask("gettoken", &[("uid", 7.into())]).unwrap_err();
    assert!(code == code::QUEUE_FULL && text.contains("wrong signatures"), "{code} {text}");
    known.ask("gettoken", &[("uid", 7.into())]).unwrap();
    guessing.sign_as(77, "another secret");
    guessing.ask("gettoken", &[("uid", 7.into())]).unwrap();
    // The relay looks again after a while.
    let mut later = Link::open(&relay);
    let deadline = std::time::Instant::now() + PATIENCE;
    while later.ask("gettoken", &[("uid", 7.into())]).is_err() {
        assert!(std::time::Instant::now() < deadline);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn a_connection_that_signs_nothing_ends_after_its_time_whatever_it_says() {
    let relay = relay(|config| config.rtm.stranger_time = std::time::Duration::from_millis(300));
    let (mut stranger, mut known) = (Link::open(&relay), Link::open(&relay));
    known.ask("gettoken", &[("uid", 7.into())]).unwrap();
    let quest = frame(1, 0x80, 1, "*ping", Some(1), &map(&[]));
    let mut answers = 0;
    while std::io::Write::write_all(&mut stranger.stream(), &quest).is_ok() && stranger.next().is_some() {
        answers += 1;
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(answers > 0);
    known.ask("gettoken", &[("uid", 7.into())]).unwrap();
}

#[test]
fn a_connection_that_sends_faster_than_it_may_is_read_more_slowly() {
    let relay = relay(|config| config.guard.connection_frames_per_s = 5);
    let mut link = Link::open(&relay);
    link.ask("gettoken", &[("uid", 7.into())]).unwrap();
    let began = std::time::Instant::now();
    // Ten come at once, and each of the others takes a fifth of a second.
    for _ in 0..15 {
        link.ask("gettoken", &[("uid", 7.into())]).unwrap();
    }
    assert!(began.elapsed() >= std::time::Duration::from_millis(700), "{:?}", began.elapsed());
}
