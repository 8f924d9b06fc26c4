//! What becomes of messages at their recipients, as servers that watch them are told over real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code, reason = "each test program uses a part of it")]
mod rtm;

use std::net::SocketAddr;

use crvideo_proto::rtm::code;
use crvideo_proto::rtm::sign::{FileHasher, file_sign};
use crvideo_relay::{BlockingRelay, Project};
use rtm::{Link, Value, answer, by_key, dev, ints, login, map, mint, relay, text};

const WATCH: [u8; 16] = [7; 16];
/// The numbers of `docs/wire.md`, section 7.
const ACCEPTED: i64 = 1;
const STORED: i64 = 2;
const DELIVERED: i64 = 3;
const FAILED: i64 = 4;

/// A receipt but for its number: kind, from, place, mid, user, state, code.
type Receipt = [i64; 7];

/// A server that watches, and the last number that it has taken.
struct Watcher {
    link: Link,
    last: i64,
}

impl Watcher {
    fn new(relay: &BlockingRelay) -> Self {
        Self::on(Link::open(relay), WATCH)
    }

    fn on(mut link: Link, watch: [u8; 16]) -> Self {
        link.ask("crreceipts", &[("watch", watch.to_vec().into())]).unwrap();
        Self { link, last: 0 }
    }

    /// Sends with the watch.
    fn send(&mut self, method: &str, target: Option<(&str, Value)>, mid: i64) {
        let mut params = message(mid);
        params.extend(target);
        params.push(("watch", WATCH.to_vec().into()));
        self.link.ask(method, &params).unwrap();
    }

    /// The receipts of one push, and its sequence number.
    fn push(&mut self) -> (u32, Vec<[i64; 8]>) {
        let push = self.link.push_frame();
        assert_eq!(push.method, "crreceipt");
        let Value::Array(rows) = by_key(&push.value(), "rs") else { panic!("{push:?}") };
        let row = |row: Value| match row {
            Value::Array(values) => values.iter().map(Value::int).collect::<Vec<_>>().try_into().unwrap(),
            other => panic!("{other:?}"),
        };
        (push.seq, rows.into_iter().map(row).collect())
    }

    /// The next receipts, at least one, answered.
    fn next(&mut self) -> Vec<Receipt> {
        let (seq, rows) = self.push();
        self.link.write(&answer(0, seq, &map(&[])));
        let strip = |[number, rest @ ..]: [i64; 8]| {
            assert!(number > self.last, "{number} behind {}", self.last);
            self.last = number;
            rest
        };
        rows.into_iter().map(strip).collect()
    }

    /// Just these receipts are the next ones, in this order.
    fn expect(&mut self, expected: &[Receipt]) {
        let mut got = Vec::new();
        while got.len() < expected.len() {
            got.extend(self.next());
        }
        assert_eq!(got, expected);
    }

    /// That nothing more was noted so far: another message's receipt is the next one.
    fn expect_nothing_before(&mut self, mid: i64) {
        self.send("sendmsg", Some(("to", 999.into())), mid);
        self.expect(&[[1, 100, 999, mid, 999, STORED, 0]]);
    }
}

fn message(mid: i64) -> Vec<(&'static str, Value)> {
    let (from, mtype) = (("from", 100.into()), ("mtype", 66.into()));
    vec![from, ("mid", mid.into()), mtype, ("msg", "text".into()), ("attrs", "".into())]
}

/// A user who has logged in with RTM, and answers nothing by himself.
fn user(relay: &BlockingRelay, user: i64) -> Link {
    let mut link = Link::open_at(relay.rtm_users_address().unwrap(), relay);
    let token = mint(relay, &user.to_string());
    let params = [("pid", relay.project().into()), ("uid", user.into()), ("token", token.as_str().into())];
    let answer = link.ask_plain("auth", &params).unwrap();
    assert_eq!(by_key(&answer, "ok"), Value::Bool(true));
    link
}

/// Takes the next message, and answers its push.
fn take(link: &mut Link) -> i64 {
    loop {
        let push = link.push_frame();
        link.write(&answer(0, push.seq, &map(&[])));
        if push.method != "ping" {
            return by_key(&push.value(), "mid").int();
        }
    }
}

fn to(user: i64) -> Option<(&'static str, Value)> {
    Some(("to", user.into()))
}

#[test]
fn a_recipient_who_is_there_has_it_accepted_then_delivered_and_another_one_stored_until_he_comes() {
    let relay = dev();
    let (mut watcher, mut seven) = (Watcher::new(&relay), user(&relay, 7));
    watcher.send("sendmsg", to(7), 1);
    watcher.expect(&[[1, 100, 7, 1, 7, ACCEPTED, 0]]);
    assert_eq!(take(&mut seven), 1);
    watcher.expect(&[[1, 100, 7, 1, 7, DELIVERED, 0]]);
    watcher.send("sendmsg", to(8), 2);
    watcher.expect(&[[1, 100, 8, 2, 8, STORED, 0]]);
    assert_eq!(take(&mut user(&relay, 8)), 2);
    watcher.expect(&[[1, 100, 8, 2, 8, DELIVERED, 0]]);
    watcher.expect_nothing_before(3);
}

#[test]
fn what_is_sent_to_many_is_told_of_each_of_them() {
    let relay = dev();
    let mut watcher = Watcher::new(&relay);
    watcher.link.ask("addgroupmembers", &[("gid", 70.into()), ("uids", ints(&[7, 9, 100]))]).unwrap();
    watcher.link.ask("addroommembers", &[("rid", 80.into()), ("uids", ints(&[7, 8]))]).unwrap();
    let mut seven = user(&relay, 7);
    watcher.send("sendmsgs", Some(("tos", ints(&[7, 8, 7]))), 1);
    watcher.expect(&[[1, 100, 7, 1, 7, ACCEPTED, 0], [1, 100, 8, 1, 8, STORED, 0]]);
    // Whoever sends to many does not get it himself; rooms and everybody are for those who are there.
    watcher.send("sendgroupmsg", Some(("gid", 70.into())), 2);
    watcher.expect(&[[2, 100, 70, 2, 7, ACCEPTED, 0], [2, 100, 70, 2, 9, STORED, 0]]);
    watcher.send("sendroommsg", Some(("rid", 80.into())), 3);
    watcher.expect(&[[3, 100, 80, 3, 7, ACCEPTED, 0]]);
    watcher.send("broadcastmsg", None, 4);
    watcher.expect(&[[4, 100, 0, 4, 7, ACCEPTED, 0]]);
    for (mid, kind, place) in [(1, 1, 7), (2, 2, 70), (3, 3, 80), (4, 4, 0)] {
        assert_eq!(take(&mut seven), mid);
        watcher.expect(&[[kind, 100, place, mid, 7, DELIVERED, 0]]);
    }
}

#[test]
fn who_leaves_before_he_has_answered_has_it_stored() {
    let relay = dev();
    let (mut watcher, mut seven) = (Watcher::new(&relay), user(&relay, 7));
    watcher.send("sendmsg", to(7), 1);
    watcher.expect(&[[1, 100, 7, 1, 7, ACCEPTED, 0]]);
    assert_eq!(seven.push().0, "pushmsg");
    drop(seven);
    watcher.expect(&[[1, 100, 7, 1, 7, STORED, 0]]);
    let mut seven = user(&relay, 7);
    assert_eq!(take(&mut seven), 1);
    watcher.expect(&[[1, 100, 7, 1, 7, DELIVERED, 0]]);
    drop(seven);
    watcher.expect_nothing_before(2);
}

#[test]
fn the_first_of_two_dialects_counts() {
    let relay = dev();
    let (mut watcher, mut by_rtm) = (Watcher::new(&relay), user(&relay, 7));
    let mut by_cr = login(&relay, "7", &mint(&relay, "7")).unwrap();
    watcher.send("sendmsg", to(7), 1);
    watcher.expect(&[[1, 100, 7, 1, 7, ACCEPTED, 0]]);
    let (mid, id) = by_cr.rtm_message();
    assert_eq!(mid, 1);
    by_cr.handle(id);
    watcher.expect(&[[1, 100, 7, 1, 7, DELIVERED, 0]]);
    assert_eq!(take(&mut by_rtm), 1);
    watcher.expect_nothing_before(2);
    // The other way round, and what he leaves unanswered in the other dialect is not stored afterwards.
    watcher.send("sendmsg", to(7), 3);
    watcher.expect(&[[1, 100, 7, 3, 7, ACCEPTED, 0]]);
    assert_eq!(take(&mut by_rtm), 3);
    watcher.expect(&[[1, 100, 7, 3, 7, DELIVERED, 0]]);
    assert_eq!(by_cr.rtm_message().0, 3);
    drop((by_cr, by_rtm));
    watcher.expect_nothing_before(4);
}

#[test]
fn what_is_pushed_out_or_deleted_has_failed_once() {
    let relay = relay(|config| config.rtm.max_undelivered = 2);
    let mut watcher = Watcher::new(&relay);
    let crowded: i64 = code::QUEUE_FULL.into();
    let deleted: i64 = code::MESSAGE_NOT_FOUND.into();
    for mid in [1, 2] {
        watcher.send("sendmsg", to(7), mid);
        watcher.expect(&[[1, 100, 7, mid, 7, STORED, 0]]);
    }
    watcher.send("sendmsg", to(7), 3);
    watcher.expect(&[[1, 100, 7, 3, 7, STORED, 0], [1, 100, 7, 1, 7, FAILED, crowded]]);
    let named = |mid: i64| [("mid", mid.into()), ("from", 100.into()), ("xid", 7.into()), ("type", 1.into())].to_vec();
    watcher.link.ask("delmsg", &named(2)).unwrap();
    watcher.expect(&[[1, 100, 7, 2, 7, FAILED, deleted]]);
    // What has ended already does not end again.
    watcher.link.ask("delmsg", &named(1)).unwrap();
    let mut seven = user(&relay, 7);
    assert_eq!(take(&mut seven), 3);
    watcher.expect(&[[1, 100, 7, 3, 7, DELIVERED, 0]]);
    watcher.link.ask("delmsg", &named(3)).unwrap();
    watcher.expect_nothing_before(4);
}

#[test]
fn receipts_that_were_not_answered_come_again_on_the_next_connection_of_the_same_watch_alone() {
    let relay = relay(|config| {
        config.projects.push(Project { id: 2, secrets: vec!["other".into()], max_file_size: 0 });
    });
    let mut watcher = Watcher::new(&relay);
    watcher.send("sendmsg", to(7), 1);
    let (_, first) = watcher.push();
    drop(watcher);
    // Another project's watch of the same name, and another watch of the same project, hear nothing of it.
    let mut stranger = Link::open(&relay);
    stranger.sign_as(2, "other");
    let mut stranger = Watcher::on(stranger, WATCH);
    stranger.expect_nothing_before(2);
    let mut other = Watcher::on(Link::open(&relay), [8; 16]);
    let mut params = message(3);
    params.extend([("to", 9.into()), ("watch", vec![8; 16].into())]);
    other.link.ask("sendmsg", &params).unwrap();
    other.expect(&[[1, 100, 9, 3, 9, STORED, 0]]);
    let mut again = Watcher::new(&relay);
    let (seq, second) = again.push();
    assert_eq!(first, second);
    // An error is no answer that takes them.
    again.link.write(&answer(1, seq, &map(&[("code", i64::from(code::QUEUE_FULL).into()), ("ex", "full".into())])));
    assert_eq!(again.push().1, first);
    again.last = first[0][0] - 1;
    drop(again);
    let mut last = Watcher::new(&relay);
    last.expect(&[[1, 100, 7, 1, 7, STORED, 0]]);
    last.expect_nothing_before(4);
}

#[test]
fn a_later_connection_of_the_same_watch_takes_over() {
    let relay = dev();
    let (mut first, mut second) = (Watcher::new(&relay), Watcher::new(&relay));
    second.send("sendmsg", to(7), 1);
    second.expect(&[[1, 100, 7, 1, 7, STORED, 0]]);
    assert!(first.link.pushes_so_far().is_empty());
    // Asking again on the same connection changes nothing, and one connection has one watch.
    second.link.ask("crreceipts", &[("watch", WATCH.to_vec().into())]).unwrap();
    second.expect_nothing_before(2);
    let (refused, _) = second.link.ask("crreceipts", &[("watch", vec![8; 16].into())]).unwrap_err();
    assert_eq!(refused, code::BAD_PARAM);
}

#[test]
fn receipts_outlive_the_relay() {
    let directory = tempfile::tempdir().unwrap();
    let start = || relay(|config| config.data = Some(directory.path().to_owned()));
    let first = start();
    let store = |link: &mut Link| link.ask("crreceipts", &[("watch", vec![9; 16].into())]).unwrap();
    let name = store(&mut Link::open(&first));
    let mut seven = user(&first, 7);
    let mut params = message(1);
    params.extend([("tos", ints(&[7, 8])), ("watch", WATCH.to_vec().into())]);
    Link::open(&first).ask("sendmsgs", &params).unwrap();
    assert_eq!(seven.push().0, "pushmsg");
    // It gets no chance to note that he has gone.
    first.kill();
    drop(seven);
    let second = start();
    assert_eq!(store(&mut Link::open(&second)), name);
    let mut watcher = Watcher::new(&second);
    let expected = [[1, 100, 7, 1, 7, ACCEPTED, 0], [1, 100, 8, 1, 8, STORED, 0], [1, 100, 7, 1, 7, STORED, 0]];
    watcher.expect(&expected);
    assert_eq!(take(&mut user(&second, 7)), 1);
    watcher.expect(&[[1, 100, 7, 1, 7, DELIVERED, 0]]);
    assert_ne!(store(&mut Link::open(&dev())), name);
}

#[test]
fn only_servers_that_ask_and_sends_that_are_watched_have_receipts() {
    let relay = dev();
    let mut watcher = Watcher::new(&relay);
    let mut params = message(1);
    params.extend(to(7));
    watcher.link.ask("sendmsg", &params).unwrap();
    watcher.expect_nothing_before(2);
    let bad: [Value; 4] = [Value::Bin(vec![7; 15]), Value::Bin(vec![7; 17]), 7.into(), ints(&[7])];
    for bad in bad {
        for method in ["sendmsg", "crreceipts"] {
            let mut params = params.clone();
            params.push(("watch", bad.clone()));
            let (refused, text) = Link::open(&relay).ask(method, &params).unwrap_err();
            assert_eq!(refused, code::WRONG_TYPE);
            assert!(text.contains("watch"), "{text}");
        }
    }
    assert_eq!(Link::open(&relay).ask("crreceipts", &[]).unwrap_err().0, code::MISSING);
    let unsigned = Link::open(&relay).ask_plain("crreceipts", &[("watch", WATCH.to_vec().into())]);
    assert!(unsigned.is_err());
    // A user's own send is no server's.
    let mut seven = user(&relay, 7);
    let watch = ("watch", WATCH.to_vec().into());
    assert_eq!(seven.ask_plain("crreceipts", std::slice::from_ref(&watch)).unwrap_err().0, code::UNKNOWN_METHOD);
    let mut params = message(3);
    params.extend([("to", 8.into()), watch]);
    seven.ask_plain("sendmsg", &params).unwrap();
    watcher.expect_nothing_before(4);
}

#[test]
fn ten_thousand_recipients_are_told_in_a_few_pushes() {
    let relay = dev();
    let mut watcher = Watcher::new(&relay);
    let users: Vec<i64> = (1..=10_000).collect();
    watcher.send("sendmsgs", Some(("tos", ints(&users))), 1);
    let (mut pushes, mut told) = (0, Vec::new());
    while told.len() < users.len() {
        pushes += 1;
        told.extend(watcher.next());
    }
    let expected: Vec<Receipt> = users.iter().map(|user| [1, 100, *user, 1, *user, STORED, 0]).collect();
    assert!(told == expected && pushes <= 100, "{pushes} pushes");
}

#[test]
fn a_file_is_watched_when_its_token_is() {
    let relay = dev();
    let (mut watcher, mut seven) = (Watcher::new(&relay), user(&relay, 7));
    let named = [("from", 100.into()), ("cmd", "sendfiles".into()), ("tos", ints(&[7, 8]))];
    for (mid, watched) in [(1, false), (2, true)] {
        let mut params = named.to_vec();
        params.extend(watched.then(|| ("watch", WATCH.to_vec().into())));
        let leave = watcher.link.ask("filetoken", &params).unwrap();
        let token = text(&by_key(&leave, "token"));
        let gate: SocketAddr = text(&by_key(&leave, "endpoint")).parse().unwrap();
        let mut hasher = FileHasher::default();
        hasher.update(b"content");
        let attrs = format!(r#"{{"rtm":{{"sign":"{}"}}}}"#, file_sign(&hasher.finish(), &token));
        let file: Vec<(&str, Value)> = vec![
            ("pid", relay.project().into()),
            ("token", token.as_str().into()),
            ("mtype", 50.into()),
            ("from", 100.into()),
            ("tos", ints(&[7, 8])),
            ("mid", mid.into()),
            ("file", b"content".to_vec().into()),
            ("attrs", attrs.as_str().into()),
        ];
        Link::open_at(gate, &relay).ask_plain("sendfiles", &file).unwrap();
        assert_eq!(take(&mut seven), mid);
    }
    let expected = [[1, 100, 7, 2, 7, ACCEPTED, 0], [1, 100, 8, 2, 8, STORED, 0], [1, 100, 7, 2, 7, DELIVERED, 0]];
    watcher.expect(&expected);
}
