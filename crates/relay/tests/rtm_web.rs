//! Users with RTM SDKs over WebSocket, frame by frame.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code, reason = "each test program uses a part of it")]
mod rtm;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crvideo_proto::rtm::code;
use crvideo_relay::BlockingRelay;
use rtm::{Link, PATIENCE, SECRET, Value, answer, by_key, dev, frame, golden, ints, map, mint, relay};

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
/// The frame is the last of its message.
const LAST: u8 = 0x80;

/// A WebSocket that puts its frames together by itself.
struct Web {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Web {
    fn connect(relay: &BlockingRelay) -> Self {
        let stream = TcpStream::connect(relay.http_address().unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    /// A connection that has become a WebSocket.
    fn open(relay: &BlockingRelay) -> Self {
        let mut web = Self::connect(relay);
        let head = web.request(&golden("60-ws-upgrade-request"));
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        web
    }

    /// A WebSocket on which a user has logged in.
    fn user(relay: &BlockingRelay, user: i64) -> Self {
        let mut web = Self::open(relay);
        web.send(LAST | BINARY, &auth(relay, user));
        let (op, answer) = web.next().unwrap();
        assert_eq!((op, &answer[16..]), (BINARY, b"\x81\xa2ok\xc3".as_slice()));
        web
    }

    /// Sends a request and returns the head of the response.
    fn request(&mut self, bytes: &[u8]) -> String {
        self.stream.write_all(bytes).unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            self.stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        String::from_utf8(head).unwrap()
    }

    fn send(&mut self, first: u8, payload: &[u8]) {
        let mut bytes = vec![first];
        match payload.len() {
            len @ 0..=125 => bytes.push(0x80 | len as u8),
            len @ 126..=65_535 => {
                bytes.push(0x80 | 126);
                bytes.extend((len as u16).to_be_bytes());
            }
            len => {
                bytes.push(0x80 | 127);
                bytes.extend((len as u64).to_be_bytes());
            }
        }
        let mask = [0x12, 0x34, 0x56, 0x78];
        bytes.extend(mask);
        bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.stream.write_all(&bytes).unwrap();
    }

    fn fill(&mut self, len: usize) -> bool {
        let mut bytes = [0; 16 * 1024];
        while self.buffer.len() < len {
            match self.stream.read(&mut bytes) {
                Ok(0) => return false,
                Ok(count) => self.buffer.extend(&bytes[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset) => return false,
                Err(error) => panic!("nothing came: {error}"),
            }
        }
        true
    }

    /// The next frame: its kind and what it carries; `None` when the connection has ended.
    fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        if !self.fill(2) {
            return None;
        }
        assert_eq!((self.buffer[0] & 0xf0, self.buffer[1] & 0x80), (0x80, 0), "one frame, unmasked");
        let (op, len) = (self.buffer[0] & 15, self.buffer[1]);
        let at = [2, 4, 10][usize::from(len.saturating_sub(125))];
        assert!(self.fill(at));
        let len = match len {
            126 => usize::from(u16::from_be_bytes(self.buffer[2..4].try_into().unwrap())),
            127 => u64::from_be_bytes(self.buffer[2..10].try_into().unwrap()) as usize,
            len => usize::from(len),
        };
        assert!(self.fill(at + len));
        let payload = self.buffer[at..at + len].to_vec();
        self.buffer.drain(..at + len);
        Some((op, payload))
    }

    /// The connection ends, with or without a last word.
    fn ends(&mut self) {
        while let Some((op, payload)) = self.next() {
            if op == CLOSE {
                // The relay may have gone already.
                let _ = self.stream.write_all(&[LAST | CLOSE, 0x80, 0, 0, 0, 0]);
            }
            assert!(op == CLOSE || payload.windows(4).any(|it| it == b"ping"), "{op} {payload:?}");
        }
    }
}

fn auth(relay: &BlockingRelay, user: i64) -> Vec<u8> {
    let token = mint(relay, &user.to_string());
    let params = [("pid", relay.project().into()), ("uid", user.into()), ("token", token.as_str().into())];
    frame(1, 0x80, 1, "auth", Some(1), &map(&params))
}

fn ping(seq: u32) -> Vec<u8> {
    frame(1, 0x80, 1, "*ping", Some(seq), &map(&[]))
}

fn seq_of(answer: &[u8]) -> u32 {
    u32::from_le_bytes(answer[12..16].try_into().unwrap())
}

#[test]
fn the_upgrade_and_the_login_of_a_real_sdk_are_answered_as_it_expects() {
    let relay = relay(|config| {
        config.projects[0].id = 11_000_001;
        config.projects[0].secrets = vec![SECRET.to_owned()];
    });
    let mut web = Web::connect(&relay);
    let head = web.request(&golden("60-ws-upgrade-request"));
    let expected = String::from_utf8(golden("61-ws-upgrade-answer")).unwrap();
    let lines = |text: &str| text.to_lowercase().lines().map(str::to_owned).collect::<Vec<_>>();
    let head = lines(&head);
    for line in lines(&expected) {
        assert!(head.contains(&line), "{line} is not in {head:?}");
    }
    // The token of the capture is none of ours, and the rest is as it was.
    web.stream.write_all(&golden("62-ws-auth-quest")).unwrap();
    let mut refused = golden("63-ws-auth-answer");
    *refused.last_mut().unwrap() = 0xc2;
    assert!(web.fill(refused.len()));
    assert_eq!(web.buffer, refused);
    web.buffer.clear();
    web.send(LAST | BINARY, &auth(&relay, 200));
    assert!(web.fill(23));
    assert_eq!(web.buffer, golden("63-ws-auth-answer"));
}

#[test]
fn protocols_that_are_asked_for_are_echoed_and_other_requests_are_refused() {
    let relay = dev();
    let request = |path: &str, more: &str| {
        let base = "Host: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\n";
        let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let text = format!("GET {path} HTTP/1.1\r\n{base}{key}{more}\r\n");
        Web::connect(&relay).request(text.as_bytes())
    };
    let head = request("/service/anything", "Sec-WebSocket-Protocol: one, two\r\n").to_lowercase();
    assert!(head.starts_with("http/1.1 101 ") && head.contains("sec-websocket-protocol: one, two\r\n"), "{head}");
    // The key and the answer to it are those of RFC 6455.
    assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
    assert!(request("/elsewhere", "").starts_with("HTTP/1.1 404 "));
    for bad in ["GET /service/sendmsg HTTP/1.1\r\nHost: x\r\n\r\n", "POST /service/x HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let head = Web::connect(&relay).request(bad.as_bytes());
        assert!(head.starts_with("HTTP/1.1 4"), "{head}");
    }
    let alone = rtm::relay(|config| config.rtm.users = None);
    let head = Web::connect(&alone).request(&golden("60-ws-upgrade-request"));
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
}

#[test]
fn messages_travel_between_the_web_and_the_gate() {
    let relay = dev();
    let (mut web, mut link) = (Web::user(&relay, 1), Link::open_at(relay.rtm_users_address().unwrap(), &relay));
    let token = mint(&relay, "2");
    let params = [("pid", relay.project().into()), ("uid", 2.into()), ("token", token.as_str().into())];
    link.ask_plain("auth", &params).unwrap();
    // Bodies around the lengths at which frames are written differently.
    for (mid, len) in [1, 20, 60, 80, 100, 20_000].into_iter().enumerate() {
        let mid = mid as i64 + 1;
        let body = "x".repeat(len);
        let message = |to: i64| {
            let rest = [("mid", mid.into()), ("mtype", 66.into()), ("msg", body.as_str().into())];
            [("to", to.into())].into_iter().chain(rest).collect::<Vec<(&str, Value)>>()
        };
        web.send(LAST | BINARY, &frame(1, 0x80, 1, "sendmsg", Some(7), &map(&message(2))));
        assert_eq!(seq_of(&web.next().unwrap().1), 7);
        let push = link.push_frame();
        assert_eq!(by_key(&push.value(), "msg"), body.as_str().into());
        link.write(&answer(0, push.seq, &map(&[])));
        link.ask_plain("sendmsg", &message(1)).unwrap();
        let (op, push) = web.next().unwrap();
        assert_eq!((op, &push[16..23]), (BINARY, b"pushmsg".as_slice()));
        assert!(push.windows(len).any(|part| part == body.as_bytes()));
        web.send(LAST | BINARY, &answer(0, seq_of(&push), &map(&[])));
    }
    let online = link.ask_plain("getonlineusers", &[("uids", ints(&[1, 2, 3]))]).unwrap();
    assert_eq!(by_key(&online, "uids"), ints(&[1, 2]));
    // A login elsewhere ends the earlier one, with the same word as on other connections.
    let _later = Web::user(&relay, 1);
    assert_eq!(web.next().unwrap(), (BINARY, golden("52-kickout-oneway")));
    web.ends();
}

#[test]
fn fragments_are_joined_and_pings_answered_between_them() {
    let relay = dev();
    let mut web = Web::open(&relay);
    let quest = ping(5);
    for cut in 1..quest.len() {
        web.send(BINARY, &quest[..cut]);
        web.send(LAST | PING, b"are you there");
        web.send(LAST, &quest[cut..]);
        let mut came = [web.next().unwrap(), web.next().unwrap()];
        came.sort_by_key(|(op, _)| *op);
        assert_eq!((came[0].0, seq_of(&came[0].1)), (BINARY, 5));
        assert_eq!(came[1], (PONG, b"are you there".to_vec()));
    }
    // A text message is a package, too, if it is text.
    web.send(TEXT, &frame(1, 0x40, 1, "*ping", Some(6), b"{}"));
    web.send(LAST, b"");
    let (op, answer) = web.next().unwrap();
    assert_eq!((op, answer[5], seq_of(&answer)), (BINARY, 0x40, 6));
    web.send(LAST | CLOSE, &1000u16.to_be_bytes());
    web.ends();
}

#[test]
fn what_is_not_one_package_masked_closes_the_connection_and_no_other() {
    let relay = dev();
    let mut other = Web::user(&relay, 1);
    let two = [ping(1), ping(2)].concat();
    let cut = &ping(1)[..17];
    for bad in [b"".as_slice(), b"FPNN", b"nonsense that is long enough", &two, cut] {
        let mut web = Web::open(&relay);
        web.send(LAST | BINARY, bad);
        web.ends();
    }
    let mut unmasked = Web::open(&relay);
    let quest = ping(1);
    unmasked.stream.write_all(&[LAST | BINARY, quest.len() as u8]).unwrap();
    unmasked.stream.write_all(&quest).unwrap();
    unmasked.ends();
    // A message may be as large as a payload without a file, and not much larger.
    // A message may be as large as a payload without a file, and not much larger.
    let mut large = Web::open(&relay);
    let params = map(&[("x", vec![0u8; 256 * 1024 - 32].into())]);
    large.send(LAST | BINARY, &frame(1, 0x80, 1, "auth", Some(3), &params));
    let refused = large.next().unwrap().1;
    assert_eq!((refused[7], seq_of(&refused)), (1, 3));
    let claimed = [[LAST | BINARY, 0x80 | 127].as_slice(), &(1u64 << 30).to_be_bytes(), &[0; 4]].concat();
    large.stream.write_all(&claimed).unwrap();
    large.ends();
    other.send(LAST | BINARY, &ping(9));
    assert_eq!(seq_of(&other.next().unwrap().1), 9);
}

#[test]
fn errors_are_answers_and_the_silent_are_closed() {
    let relay = relay(|config| {
        config.login_deadline = Duration::from_millis(200);
        config.rtm.idle_timeout = Duration::from_millis(400);
        config.rtm.ping = Duration::from_millis(50);
    });
    Web::open(&relay).ends();
    let mut web = Web::open(&relay);
    web.send(LAST | BINARY, &frame(1, 0x80, 1, "sendmsg", Some(4), &map(&[])));
    let refused = web.next().unwrap().1;
    let number = refused.windows(4).any(|part| part == (code::NOT_AUTHENTICATED as u32).to_be_bytes());
    assert!(refused[7] == 1 && number, "{refused:?}");
    let mut web = Web::user(&relay, 1);
    let (_, push) = web.next().unwrap();
    assert_eq!(&push[16..20], b"ping");
    web.ends();
}

#[test]
fn quests_and_pushes_in_crowds_wait_for_each_other_for_a_while_only() {
    let relay = dev();
    let (mut web, mut servers) = (Web::user(&relay, 1), Link::open(&relay));
    let mut writer = Web { stream: web.stream.try_clone().unwrap(), buffer: Vec::new() };
    let crowd = 3_000u32;
    let writing = std::thread::spawn(move || (100..100 + crowd).for_each(|seq| writer.send(LAST | BINARY, &ping(seq))));
    let body = "x".repeat(20_000);
    for mid in 1..=60 {
        let params = [("from", 5.into()), ("to", 1.into()), ("mid", mid.into()), ("mtype", 66.into())];
        servers.ask("sendmsg", &[&params[..], &[("msg", body.as_str().into())]].concat()).unwrap();
    }
    let (mut answers, mut pushes) = (0, 0);
    while answers < crowd || pushes < 60 {
        let (op, package) = web.next().unwrap();
        assert_eq!(op, BINARY);
        match package[6] {
            2 => {
                assert_eq!(seq_of(&package), 100 + answers, "answers come in order");
                answers += 1;
            }
            _ => pushes += u32::from(package[16..].starts_with(b"pushmsg")),
        }
    }
    writing.join().unwrap();
}

#[test]
fn who_takes_nothing_is_closed() {
    let relay = relay(|config| config.stall_timeout = Duration::from_millis(200));
    let (web, mut servers) = (Web::user(&relay, 1), Link::open(&relay));
    let online = |servers: &mut Link| {
        let answer = servers.ask("getonlineusers", &[("uids", ints(&[1]))]).unwrap();
        by_key(&answer, "uids") == ints(&[1])
    };
    let flood = web.stream.try_clone().unwrap();
    flood.set_write_timeout(Some(PATIENCE)).unwrap();
    let flooding = std::thread::spawn(move || {
        let mut quest = Web { stream: flood, buffer: Vec::new() };
        let bytes = ping(1);
        let frame = |quest: &mut Web| {
            let mut all = Vec::new();
            for _ in 0..1_000 {
                all.extend([LAST | BINARY, 0x80 | bytes.len() as u8, 0, 0, 0, 0]);
                all.extend(&bytes);
            }
            quest.stream.write_all(&all)
        };
        while frame(&mut quest).is_ok() {}
    });
    flooding.join().unwrap();
    let deadline = std::time::Instant::now() + PATIENCE;
    while online(&mut servers) {
        assert!(std::time::Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(web);
}

#[test]
fn the_relay_says_good_bye_when_it_stops() {
    let relay = dev();
    let mut web = Web::user(&relay, 1);
    let stopping = std::thread::spawn(move || relay.stop());
    assert_eq!(web.next().unwrap().0, CLOSE);
    web.send(LAST | CLOSE, &[]);
    web.ends();
    stopping.join().unwrap();
}

#[test]
fn regression_a_message_of_which_a_part_has_come_is_charged_until_it_is_whole() {
    const PART: usize = 100_000;
    let relay = dev();
    let mut web = Web::user(&relay, 2);
    let settles = |least: u64, most: u64| {
        let until = std::time::Instant::now() + PATIENCE;
        while !(least..=most).contains(&relay.memory_used()) {
            assert!(std::time::Instant::now() < until, "{} bytes are charged", relay.memory_used());
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    settles(0, 10_000);
    // A quest with more in it than anybody asks for, in two frames.
    let quest = frame(1, 0x80, 1, "*ping", Some(9), &map(&[("more", vec![7; 2 * PART].into())]));
    web.send(BINARY, &quest[..PART]);
    settles(PART as u64, 2 * PART as u64);
    web.send(LAST, &quest[PART..]);
    web.next().unwrap();
    settles(0, 10_000);
}
