//! An RTM client's state machine: what it writes, compared with what real SDKs write; when it gives up, when it tries
//! again, and what it never sends twice.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use crvideo_proto::frame::{Frame, FrameReader, Kind};
use crvideo_proto::pack::Reader;
use crvideo_proto::rtm::client::{
    Action, Answer, Call, Change, Client, Config, Event, File, GATE, Link, Listen, Message, Outcome, Output, Place,
    Receipt, Standing, Target, TargetKind,
};
use crvideo_proto::rtm::params::{Fields, Params};
use crvideo_proto::rtm::sign::{FileHasher, is_request_sign};
use crvideo_proto::rtm::{answer, code, error, quest};
use crvideo_proto::session::Now;
use proptest::prelude::*;

const PROJECT: i64 = 11_000_001;
const SECRET: &str = "mock-secret-0000";
const TIMEOUT: Duration = Duration::from_secs(30);
/// A code of the contract's for a connection that was closed.
const CLOSED: i32 = 206;

/// A client, and a shell and servers played by the test.
struct Shell {
    client: Client,
    now: Now,
    readers: BTreeMap<Link, FrameReader>,
    files: BTreeMap<u64, (Bytes, FileHasher)>,
    connects: Vec<(Link, Place)>,
    closes: Vec<Link>,
    ended: BTreeMap<u64, Outcome>,
    events: Vec<Event>,
    reads: Vec<(u64, u64, usize, u32)>,
    next_call: u64,
}

impl Shell {
    fn new(servers: usize) -> Self {
        let config = Config { project: PROJECT, secret: SECRET.to_owned(), servers };
        Self {
            client: Client::new(config, 7),
            now: Now { mono: Duration::ZERO, unix: 1_795_293_738 },
            readers: BTreeMap::new(),
            files: BTreeMap::new(),
            connects: Vec::new(),
            closes: Vec::new(),
            ended: BTreeMap::new(),
            events: Vec::new(),
            reads: Vec::new(),
            next_call: 1,
        }
    }

    fn outputs(&mut self) {
        while let Some(output) = self.client.poll_output() {
            match output {
                Output::Connect { link, to } => {
                    self.readers.insert(link, FrameReader::new(1 << 30));
                    self.connects.push((link, to));
                }
                Output::Close { link } => self.closes.push(link),
                Output::Read { call, offset, len, generation } => self.reads.push((call, offset, len, generation)),
                Output::Ended { call, outcome } => assert!(self.ended.insert(call, outcome).is_none(), "ended twice"),
                Output::Event(event) => self.events.push(event),
            }
        }
    }

    fn call(&mut self, action: Action) -> u64 {
        let id = self.next_call;
        self.next_call += 1;
        self.client.call(Call { id, action, timeout: TIMEOUT }, self.now);
        self.outputs();
        id
    }

    fn file(&mut self, target: Target, content: &[u8]) -> u64 {
        let id = self.next_call;
        self.files.insert(id, (Bytes::copy_from_slice(content), FileHasher::default()));
        let (name, size) = ("mock.txt".to_owned(), content.len() as u64);
        self.call(Action::File(File { from: 100, target, mtype: 50, mid: 123_456_789_012, name, custom: None, size }))
    }

    fn connected(&mut self, link: Link) {
        self.client.connected(link, self.now);
        self.outputs();
    }

    /// Gives the client one piece of a file that it has asked for; whether there was one.
    fn read_one(&mut self) -> bool {
        let Some((call, offset, len, generation)) = self.reads.pop() else { return false };
        let (content, hasher) = self.files.get_mut(&call).unwrap();
        let end = offset as usize + len;
        let data = content.slice(offset as usize..end);
        if offset == 0 {
            *hasher = FileHasher::default();
        }
        hasher.update(&data);
        let md5 = (end == content.len()).then(|| hasher.clone().finish());
        self.client.source_read(call, generation, data, md5.as_deref(), self.now);
        self.outputs();
        true
    }

    /// Takes everything that the client wants to write on a connection, reading files as it goes.
    fn take(&mut self, link: Link) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let more = self.client.out(link).map(|out| out.take()).unwrap_or_default();
            let idle = more.is_empty();
            bytes.extend(more);
            self.client.written(link, self.now);
            self.outputs();
            if !self.read_one() && idle {
                return bytes;
            }
        }
    }

    /// The frames that the client wants to write.
    fn frames(&mut self, link: Link) -> Vec<Frame> {
        let bytes = self.take(link);
        let reader = self.readers.get_mut(&link).unwrap();
        reader.feed(&bytes);
        std::iter::from_fn(|| reader.next_frame().unwrap()).collect()
    }

    /// The one frame that the client wants to write.
    fn frame(&mut self, link: Link) -> Frame {
        let mut frames = self.frames(link);
        assert_eq!(frames.len(), 1, "{frames:?}");
        frames.pop().unwrap()
    }

    fn feed(&mut self, link: Link, frame: &Frame) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        self.feed_bytes(link, &bytes);
    }

    fn feed_bytes(&mut self, link: Link, bytes: &[u8]) {
        if let Some(reader) = self.client.reader(link) {
            reader.feed(bytes);
            self.client.received(link, self.now);
            self.outputs();
        }
    }

    fn closed(&mut self, link: Link) {
        self.client.closed(link, CLOSED, self.now);
        self.outputs();
    }

    /// Lets time pass, as far as the client's next deadline.
    fn sleep(&mut self) -> Duration {
        let at = self.client.deadline().expect("something is due");
        assert!(at >= self.now.mono, "a deadline in the past would make the shell spin");
        let pause = at - self.now.mono;
        self.now.mono = at;
        self.client.timeout(self.now);
        self.outputs();
        pause
    }

    fn code(&self, call: u64) -> i32 {
        self.ended[&call].as_ref().map_or_else(|failure| failure.code, |_| 0)
    }

    /// A client that is connected to its gate.
    fn up() -> Self {
        let mut shell = Self::new(1);
        let call = shell.call(Action::Kickout { uid: 1 });
        shell.connected(GATE);
        let quest = shell.frame(GATE);
        shell.feed(GATE, &answer(&quest, Fields::new()));
        assert_eq!(shell.ended.remove(&call), Some(Ok(Answer::Done)));
        shell.connects.clear();
        shell
    }

    /// Gives a file its token; the connection that is opened for it, if one is.
    fn give_token(&mut self, endpoint: &str) -> Option<Link> {
        let quest = self.frame(GATE);
        assert_eq!(quest.method(), "filetoken");
        self.connects.clear();
        self.feed(
            GATE,
            &answer(&quest, Fields::new().text("token", "TOKEN0123456789ABCDEF").text("endpoint", endpoint)),
        );
        self.connects.pop().map(|(link, _)| link)
    }

    /// A file on its way on a connection of its own.
    fn uploading(&mut self, content: &[u8]) -> (u64, Link) {
        let call = self.file(Target::User(200), content);
        let link = self.give_token("files.example:13321").unwrap();
        self.connected(link);
        (call, link)
    }

    fn listening(&mut self) {
        let listen = Listen { all_users: true, rooms: vec![], ..Listen::default() };
        self.call(Action::Listen { change: Change::Set, listen });
        let quest = self.frame(GATE);
        self.feed(GATE, &answer(&quest, Fields::new()));
    }
}

// ---- what it writes, beside what real SDKs write ------------------------------------------------------------------

fn golden(name: &str) -> Frame {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let text = std::fs::read_to_string(dir.join(format!("{name}.hex"))).unwrap();
    let hex = text.lines().find_map(|line| line.strip_prefix("# raw hex: ")).unwrap();
    let bytes: Vec<u8> =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    let mut reader = FrameReader::new(1 << 20);
    reader.feed(&bytes);
    reader.next_frame().unwrap().unwrap()
}

/// Each parameter's type and bytes. Integers of all widths are one type, and their value is what counts.
fn parameters(frame: &Frame) -> BTreeMap<String, (&'static str, Vec<u8>)> {
    let mut reader = Reader::new(&frame.payload);
    let count = reader.map().unwrap();
    let one = |reader: &mut Reader<'_>| {
        let key = String::from_utf8(reader.key().unwrap().to_vec()).unwrap();
        let start = reader.position();
        reader.skip(1).unwrap();
        let bytes = frame.payload[start..reader.position()].to_vec();
        let value = Bytes::from(bytes.clone());
        let value = match bytes[0] {
            0x00..=0x7f | 0xcc..=0xd3 | 0xe0..=0xff => {
                ("int", Reader::new(&value).int::<i64>("").unwrap().to_string().into_bytes())
            }
            0xa0..=0xbf | 0xd9..=0xdb => ("str", Reader::new(&value).slice("").unwrap().to_vec()),
            0xc4..=0xc6 => ("bin", Reader::new(&value).slice("").unwrap().to_vec()),
            0x90..=0x9f => ("array", bytes),
            0xc2 | 0xc3 => ("bool", bytes),
            other => panic!("{key} begins with {other:#x}"),
        };
        (key, value)
    };
    (0..count).map(|_| one(&mut reader)).collect()
}

/// Compares a quest of ours with a real SDK's: same method, same parameters, same types, and same values but for those
/// that differ from call to call (`differing`). `not_ours` are parameters that the SDK sends and nobody needs.
fn same(ours: &Frame, name: &str, not_ours: &[&str], differing: &[&str]) {
    let theirs = golden(name);
    assert_eq!((ours.kind, ours.method(), ours.flags), (theirs.kind, theirs.method(), theirs.flags), "{name}");
    let (ours, mut theirs) = (parameters(ours), parameters(&theirs));
    theirs.retain(|key, _| !not_ours.contains(&key.as_str()));
    let types = |of: &BTreeMap<String, (&'static str, Vec<u8>)>| -> Vec<(String, &'static str)> {
        of.iter().map(|(key, (kind, _))| (key.clone(), *kind)).collect()
    };
    assert_eq!(types(&ours), types(&theirs), "{name}");
    for (key, value) in theirs {
        if !["sign", "salt", "ts"].contains(&key.as_str()) && !differing.contains(&key.as_str()) {
            assert_eq!(ours[&key], value, "{name}: {key}");
        }
    }
}

fn int(name: &str, key: &'static str) -> i64 {
    Params::of(&golden(name)).unwrap().int(key).unwrap()
}

#[test]
fn file_tokens_are_asked_for_as_real_sdks_do() {
    let mut shell = Shell::up();
    shell.call(Action::FileToken { from: 100, target: Target::User(200) });
    let quest = shell.frame(GATE);
    // Python names every kind of target at once; a server takes the one that `cmd` names.
    same(&quest, "01-filetoken-quest-python", &["rid", "gid"], &[]);
    same(&quest, "03-filetoken-quest-node", &[], &["from", "to"]);
    let params = Params::of(&quest).unwrap();
    let (salt, ts) = (params.int("salt").unwrap(), params.int("ts").unwrap());
    assert_eq!(ts, 1_795_293_738);
    let sign = params.text("sign").unwrap();
    assert!(is_request_sign(sign.as_bytes(), PROJECT, [SECRET], salt, "filetoken", ts));
}

#[test]
fn other_quests_are_written_as_real_sdks_do() {
    let mut shell = Shell::up();
    let all = Listen { all_users: true, all_groups: true, all_rooms: true, all_events: true, ..Listen::default() };
    shell.call(Action::Listen { change: Change::Set, listen: all });
    same(&shell.frame(GATE), "40-setlisten-quest-python", &[], &[]);
    shell.call(Action::GetToken { uid: int("43-gettoken-quest-python", "uid") });
    // The version of an SDK, which no server needs.
    same(&shell.frame(GATE), "43-gettoken-quest-python", &["version"], &[]);
    let params = Params::of(&golden("44-addgroupmembers-quest-python")).unwrap();
    let (gid, uids) = (params.int("gid").unwrap(), params.ints("uids", 100).unwrap());
    shell.call(Action::AddGroupMembers { gid, uids });
    same(&shell.frame(GATE), "44-addgroupmembers-quest-python", &[], &[]);
    let params = Params::of(&golden("41-sendmsg-quest-node")).unwrap();
    shell.call(Action::Message(Message {
        from: params.int("from").unwrap(),
        target: Target::User(params.int("to").unwrap()),
        mtype: params.int("mtype").unwrap(),
        mid: params.int("mid").unwrap(),
        body: params.bytes("msg").unwrap(),
        attrs: params.text("attrs").unwrap(),
    }));
    same(&shell.frame(GATE), "41-sendmsg-quest-node", &[], &[]);
}

#[test]
fn files_are_sent_as_real_sdks_send_them() {
    for (name, list) in [
        ("10-sendfile-quest-python-bin8", false),
        ("20-sendfiles-quest-python", true),
        ("21-sendgroupfile-quest-python", false),
        ("22-sendroomfile-quest-python", false),
        ("23-broadcastfile-quest-python", false),
    ] {
        let params = Params::of(&golden(name)).unwrap();
        let id = |key| params.opt_int::<i64>(key).unwrap();
        let target = match (id("to"), id("gid"), id("rid")) {
            _ if list => Target::Users(params.ints("tos", 100).unwrap()),
            (Some(to), ..) => Target::User(to),
            (_, Some(gid), _) => Target::Group(gid),
            (.., Some(rid)) => Target::Room(rid),
            _ => Target::All,
        };
        let mut shell = Shell::up();
        let call = shell.next_call;
        let content = params.bytes("file").unwrap();
        shell.files.insert(call, (content.clone(), FileHasher::default()));
        shell.call(Action::File(File {
            from: params.int("from").unwrap(),
            target,
            mtype: params.int("mtype").unwrap(),
            mid: params.int("mid").unwrap(),
            name: "mock.txt".to_owned(),
            custom: None,
            size: content.len() as u64,
        }));
        let link = shell.give_token("127.0.0.1:1").unwrap();
        shell.connected(link);
        let quest = shell.frame(link);
        same(&quest, name, &[], &["attrs", "token"]);
        // The signature for the published token, in the nested form of most SDKs.
        let attrs: serde_json::Value =
            serde_json::from_str(&Params::of(&quest).unwrap().text("attrs").unwrap()).unwrap();
        let theirs: serde_json::Value = serde_json::from_str(&params.text("attrs").unwrap()).unwrap();
        assert_eq!(params.text("token").unwrap(), "TOKEN0123456789ABCDEF");
        assert_eq!(attrs["rtm"]["sign"], theirs["rtm"]["sign"], "{name}");
        assert_eq!((&attrs["rtm"]["ext"], &attrs["rtm"]["filename"]), (&"txt".into(), &"mock.txt".into()));
    }
}

#[test]
fn a_pushed_file_of_a_real_gate_is_read_with_its_parts() {
    let mut shell = Shell::up();
    shell.listening();
    shell.feed(GATE, &golden("30-pushmsg-file-quest"));
    let reply = shell.frame(GATE);
    assert_eq!((reply.kind, reply.status, reply.payload.as_ref()), (Kind::Answer, 0, &[0x80][..]));
    let Some(Event::Push(push)) = shell.events.pop() else { panic!("a push") };
    let params = Params::of(&golden("30-pushmsg-file-quest")).unwrap();
    assert_eq!((push.from, push.target), (params.int("from").unwrap(), params.int("to").unwrap()));
    assert_eq!((push.mid, push.mtype), (params.int("mid").unwrap(), 50));
    let root: serde_json::Value = serde_json::from_str(&params.text("msg").unwrap()).unwrap();
    let file = push.file.unwrap();
    assert_eq!((Some(file.url.as_str()), Some(file.size)), (root["url"].as_str(), root["size"].as_u64()));
    for name in ["33-pushgroupmsg-quest", "34-pushroommsg-quest", "36-ping-quest"] {
        shell.feed(GATE, &golden(name));
        assert_eq!(shell.frame(GATE).status, 0, "{name}");
    }
    assert_eq!(shell.events.len(), 2);
}

#[test]
fn a_files_frame_is_the_one_that_would_be_built_at_once() {
    for size in [0, 1, 255, 256, 70_000, 262_144, 600_000] {
        let content: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        let mut shell = Shell::up();
        let (_, link) = shell.uploading(&content);
        let frame = shell.frame(link);
        let params = Params::of(&frame).unwrap();
        let fields = Fields::new().int("pid", PROJECT).text("token", "TOKEN0123456789ABCDEF").int("mtype", 50);
        let fields = fields.int("from", 100).int("to", 200).int("mid", 123_456_789_012).bytes("file", &content);
        let whole = quest(frame.seq, "sendfile", fields.text("attrs", &params.text("attrs").unwrap()));
        assert!(frame == whole, "{size} bytes");
    }
}

// ---- the gate -----------------------------------------------------------------------------------------------------

#[test]
fn calls_made_before_the_connection_is_there_go_out_when_it_is_in_their_order() {
    let mut shell = Shell::new(1);
    let calls: Vec<u64> = (0..3).map(|uid| shell.call(Action::Kickout { uid })).collect();
    assert_eq!(shell.connects, [(GATE, Place::Gate(0))], "one connection for all");
    shell.connected(GATE);
    let quests = shell.frames(GATE);
    let uids: Vec<i64> = quests.iter().map(|quest| Params::of(quest).unwrap().int("uid").unwrap()).collect();
    assert_eq!(uids, [0, 1, 2]);
    for quest in quests.iter().rev() {
        shell.feed(GATE, &answer(quest, Fields::new()));
    }
    assert!(calls.iter().all(|call| shell.code(*call) == 0));
}

#[test]
fn every_address_is_tried_once_before_calls_fail_and_the_one_that_worked_is_tried_first() {
    let mut shell = Shell::new(3);
    let call = shell.call(Action::Kickout { uid: 1 });
    for server in 0..3 {
        assert_eq!(shell.connects.pop(), Some((GATE, Place::Gate(server))));
        shell.client.connect_failed(GATE, 203, shell.now);
        shell.outputs();
    }
    assert_eq!(shell.code(call), code::CONNECTION);
    assert!(shell.connects.is_empty() && shell.client.deadline().is_none());

    shell.call(Action::Kickout { uid: 1 });
    shell.client.connect_failed(GATE, 203, shell.now);
    shell.outputs();
    shell.connected(GATE);
    shell.frames(GATE);
    shell.connects.clear();
    shell.closed(GATE);
    shell.call(Action::Kickout { uid: 1 });
    assert_eq!(shell.connects, [(GATE, Place::Gate(1))]);
}

#[test]
fn the_deadline_says_whether_the_server_can_have_seen_the_call() {
    let mut shell = Shell::new(10);
    let unseen = shell.call(Action::Kickout { uid: 1 });
    while shell.ended.is_empty() {
        shell.sleep();
    }
    assert_eq!((shell.code(unseen), shell.now.mono), (code::CONNECTION, TIMEOUT));

    let mut shell = Shell::up();
    let asked = shell.call(Action::Kickout { uid: 1 });
    let quest = shell.frame(GATE);
    shell.sleep();
    assert_eq!((shell.code(asked), shell.now.mono), (code::TIMEOUT, TIMEOUT));
    // What comes later is nobody's, and harms nobody.
    shell.feed(GATE, &answer(&quest, Fields::new()));
    let call = shell.call(Action::Kickout { uid: 2 });
    let quest = shell.frame(GATE);
    shell.feed(GATE, &answer(&quest, Fields::new()));
    assert_eq!(shell.code(call), 0);
}

#[test]
fn a_quest_that_was_sent_is_never_sent_again_and_one_that_was_not_is() {
    let mut shell = Shell::up();
    let sent = shell.call(Action::Kickout { uid: 1 });
    shell.frame(GATE);
    let cut = shell.call(Action::Kickout { uid: 2 });
    let all_but_one = shell.client.out(GATE).unwrap().len() - 1;
    shell.client.out(GATE).unwrap().advance(all_but_one);
    let unsent = shell.call(Action::Kickout { uid: 3 });
    shell.closed(GATE);
    assert_eq!(shell.code(sent), code::CONNECTION_CLOSED);
    shell.connected(GATE);
    let quests = shell.frames(GATE);
    let uids: Vec<i64> = quests.iter().map(|quest| Params::of(quest).unwrap().int("uid").unwrap()).collect();
    assert_eq!(uids, [2, 3], "a server cannot have acted on a frame that it has not got whole");
    quests.iter().for_each(|quest| shell.feed(GATE, &answer(quest, Fields::new())));
    assert_eq!((shell.code(cut), shell.code(unsent)), (0, 0));
}

#[test]
fn connections_that_end_before_anything_is_sent_do_not_make_a_call_go_round_for_ever() {
    let mut shell = Shell::up();
    let call = shell.call(Action::Kickout { uid: 1 });
    let mut rounds = 0;
    while shell.ended.is_empty() {
        shell.closed(GATE);
        shell.connected(GATE);
        rounds += 1;
        assert!(rounds < 10);
    }
    assert_eq!((shell.code(call), rounds), (code::CONNECTION, 3));
}

#[test]
fn an_idle_connection_is_closed_before_the_server_does_it_and_sends_no_signs_of_life() {
    let mut shell = Shell::up();
    assert_eq!(shell.sleep(), Duration::from_secs(50));
    assert_eq!((shell.closes.as_slice(), shell.client.deadline()), (&[GATE][..], None));
    assert!(shell.events.is_empty() && shell.connects.is_empty());
}

#[test]
fn a_connection_that_listens_shows_signs_of_life_and_is_given_up_when_none_come() {
    let mut shell = Shell::up();
    shell.listening();
    for _ in 0..5 {
        assert_eq!(shell.sleep(), Duration::from_secs(20));
        let ping = shell.frame(GATE);
        assert_eq!((ping.kind, ping.method(), ping.payload.as_ref()), (Kind::Quest, "*ping", &[0x80][..]));
        shell.feed(GATE, &answer(&ping, Fields::new().int("ts", 1)));
    }
    while shell.events.is_empty() {
        shell.sleep();
        shell.take(GATE);
    }
    assert_eq!(shell.closes, [GATE]);
    assert!(matches!(&shell.events[..], [Event::Line(failure)] if failure.code == code::CONNECTION_CLOSED));
}

#[test]
fn a_connection_that_listens_is_made_again_with_pauses_that_grow_up_to_a_limit() {
    let mut shell = Shell::up();
    shell.listening();
    shell.closed(GATE);
    let mut pauses = Vec::new();
    for _ in 0..12 {
        pauses.push(shell.sleep().as_millis());
        assert_eq!(shell.connects.pop(), Some((GATE, Place::Gate(0))));
        shell.client.connect_failed(GATE, 203, shell.now);
        shell.outputs();
    }
    assert!(pauses[0] >= 100 && pauses[0] < 300 && pauses.iter().all(|pause| *pause < 12_000), "{pauses:?}");
    assert!(pauses[11] >= 4_000, "{pauses:?}");
    // A call does not wait for the pause.
    let call = shell.call(Action::Kickout { uid: 1 });
    assert_eq!(shell.connects.pop(), Some((GATE, Place::Gate(0))));
    shell.connected(GATE);
    let quests = shell.frames(GATE);
    let methods: Vec<&str> = quests.iter().map(Frame::method).collect();
    assert_eq!(methods, ["setlisten", "kickout"], "listening first, so that little is missed");
    quests.iter().for_each(|quest| shell.feed(GATE, &answer(quest, Fields::new())));
    assert_eq!(shell.code(call), 0);
    assert!(matches!(&shell.events[1..], [Event::Line(failure)] if failure.code == 0));
}

#[test]
fn a_server_that_does_not_let_us_listen_again_is_asked_again_later() {
    let mut shell = Shell::up();
    shell.listening();
    shell.closed(GATE);
    shell.sleep();
    shell.connected(GATE);
    let quest = shell.frame(GATE);
    shell.feed(GATE, &error(&quest, code::CALL_RATE, "later"));
    assert_eq!(shell.closes, [GATE]);
    shell.sleep();
    shell.connected(GATE);
    assert_eq!(shell.frame(GATE).method(), "setlisten");
}

#[test]
fn more_than_a_client_may_listen_to_is_refused() {
    let mut shell = Shell::up();
    for round in 0..6 {
        let users = (round * 20_000..(round + 1) * 20_000).collect();
        let call = shell.call(Action::Listen { change: Change::Add, listen: Listen { users, ..Listen::default() } });
        if round == 5 {
            assert_eq!(shell.code(call), code::TOO_MANY);
        } else {
            let quest = shell.frame(GATE);
            shell.feed(GATE, &answer(&quest, Fields::new()));
        }
    }
}

#[test]
fn the_end_of_a_client_ends_every_call_and_every_connection() {
    let mut shell = Shell::up();
    let calls = [shell.file(Target::All, b"x"), shell.call(Action::Kickout { uid: 1 })];
    let (file, link) = {
        let quest = shell.frames(GATE).remove(0);
        shell.feed(GATE, &answer(&quest, Fields::new().text("token", "t").text("endpoint", "h:1")));
        (calls[0], shell.connects.pop().unwrap().0)
    };
    shell.client.end(code::CANCELLED, "over");
    shell.outputs();
    assert_eq!((shell.code(file), shell.code(calls[1])), (code::CANCELLED, code::CANCELLED));
    assert_eq!(shell.closes, [GATE, link]);
    assert_eq!(shell.client.deadline(), None);
}

// ---- file gates ---------------------------------------------------------------------------------------------------

#[test]
fn a_connection_to_a_file_gate_is_kept_for_the_next_file_and_closed_when_none_comes() {
    let mut shell = Shell::up();
    let (first, link) = shell.uploading(b"one");
    let quest = shell.frame(link);
    shell.feed(link, &answer(&quest, Fields::new().int("mtime", 5)));
    assert_eq!(shell.ended[&first], Ok(Answer::Sent { mtime: 5, watched: false }));
    let second = shell.file(Target::User(200), b"two");
    assert_eq!(shell.give_token("files.example:13321"), None, "the same connection serves");
    let quest = shell.frame(link);
    shell.feed(link, &error(&quest, code::BAD_FILE, "no"));
    assert_eq!(shell.code(second), code::BAD_FILE);
    assert_eq!(shell.sleep(), Duration::from_secs(30));
    assert_eq!(shell.closes, [link]);
}

#[test]
fn files_share_a_few_connections_a_gate_and_wait_for_their_turn() {
    let mut shell = Shell::up();
    let mut links = Vec::new();
    for _ in 0..6 {
        shell.file(Target::User(200), b"x");
        links.extend(shell.give_token("files.example:13321"));
    }
    assert_eq!(links.len(), 4);
    links.iter().for_each(|link| shell.connected(*link));
    for round in 0..2 {
        let quests = links.iter().map(|link| (*link, shell.frames(*link))).collect::<Vec<_>>();
        for (link, quests) in quests {
            quests.iter().for_each(|quest| shell.feed(link, &answer(quest, Fields::new().int("mtime", 1))));
        }
        assert_eq!(shell.ended.len(), [4, 6][round]);
    }
    // Idle ones make room for other gates, and no more than so many are open.
    for gate in 0..40 {
        shell.file(Target::User(200), b"x");
        shell.give_token(&format!("other{gate}.example:1"));
    }
    let open = (GATE + 1..100).filter(|link| shell.client.out(*link).is_some()).count();
    assert_eq!(open, 16);
}

#[test]
fn a_file_is_read_only_as_fast_as_it_is_sent() {
    let mut shell = Shell::up();
    let (_, link) = shell.uploading(&vec![7; 50_000_000]);
    while shell.read_one() {}
    let waiting = shell.client.out(link).unwrap().len();
    assert!(waiting < 1_000_000, "{waiting} bytes wait in memory");
}

#[test]
fn a_kept_connection_that_turns_out_dead_costs_the_next_file_nothing() {
    let mut shell = Shell::up();
    let (_, link) = shell.uploading(b"one");
    let quest = shell.frame(link);
    shell.feed(link, &answer(&quest, Fields::new().int("mtime", 5)));
    let content = vec![1; 3_000_000];
    let call = shell.file(Target::User(200), &content);
    assert_eq!(shell.give_token("files.example:13321"), None);
    while shell.read_one() {}
    shell.client.out(link).unwrap().advance(1_000);
    shell.closed(link);
    let (again, _) = shell.connects.pop().unwrap();
    shell.connected(again);
    let quest = shell.frame(again);
    assert!(Params::of(&quest).unwrap().bytes("file").unwrap() == content);
    shell.feed(again, &answer(&quest, Fields::new().int("mtime", 6)));
    assert_eq!(shell.ended[&call], Ok(Answer::Sent { mtime: 6, watched: false }));
}

#[test]
fn a_file_that_was_sent_is_never_sent_again() {
    for whole in [false, true] {
        let mut shell = Shell::up();
        let (call, link) = shell.uploading(&vec![1; 3_000_000]);
        if whole {
            shell.frame(link);
        } else {
            while shell.read_one() {}
            shell.client.out(link).unwrap().advance(1_000);
        }
        shell.closed(link);
        assert_eq!(shell.code(call), code::CONNECTION_CLOSED);
        let text = shell.ended[&call].as_ref().unwrap_err().text.clone();
        assert_eq!(text.contains("cannot have taken"), !whole, "{text}");
        assert!(shell.connects.is_empty());
    }
}

#[test]
fn an_answer_before_the_files_end_counts_and_its_connection_is_not_used_again() {
    let mut shell = Shell::up();
    let (call, link) = shell.uploading(&vec![1; 3_000_000]);
    while shell.read_one() {}
    shell.client.out(link).unwrap().advance(1_000);
    let mut refusal = error(&quest(1, "sendfile", Fields::new()), code::TOO_LARGE, "too large");
    refusal.seq = 1;
    shell.feed(link, &refusal);
    assert_eq!(shell.code(call), code::TOO_LARGE);
    assert_eq!(shell.closes, [link]);
}

#[test]
fn a_file_that_cannot_be_read_ends_its_call_and_its_connection() {
    let mut shell = Shell::up();
    let (call, link) = shell.uploading(&vec![1; 3_000_000]);
    let (_, _, _, generation) = shell.reads.pop().unwrap();
    shell.client.source_failed(call, generation, 1103, shell.now);
    shell.outputs();
    assert_eq!((shell.code(call), shell.closes.as_slice()), (1103, &[link][..]));
}

#[test]
fn one_deadline_covers_token_connection_and_file() {
    let mut shell = Shell::up();
    let call = shell.file(Target::User(200), &vec![1; 3_000_000]);
    shell.now.mono += Duration::from_secs(25);
    let link = shell.give_token("files.example:13321").unwrap();
    shell.connected(link);
    while shell.read_one() {}
    while shell.ended.is_empty() {
        shell.sleep();
    }
    assert_eq!((shell.code(call), shell.now.mono), (code::TIMEOUT, TIMEOUT));
    assert!(shell.closes.contains(&link));
}

// ---- large files in chunks ----------------------------------------------------------------------------------------

/// A server that takes large files in chunks, and loses connections.
struct Chunked {
    shell: Shell,
    content: Vec<u8>,
    call: u64,
    link: Link,
    /// What the server has.
    taken: Vec<u8>,
    ended: Option<Frame>,
}

impl Chunked {
    fn begin(size: usize) -> Self {
        let content: Vec<u8> = (0..size).map(|at| (at * 7 % 253) as u8).collect();
        let mut shell = Shell::up();
        let call = shell.file(Target::Users(vec![1, 2]), &content);
        let quest = shell.frame(GATE);
        shell.connects.clear();
        let fields = Fields::new().text("token", "TOKEN0123456789ABCDEF").text("endpoint", "files.example:1");
        shell.feed(GATE, &answer(&quest, fields.int("chunked", 1 << 40)));
        let link = shell.connects.pop().unwrap().0;
        shell.connected(link);
        Self { shell, content, call, link, taken: Vec::new(), ended: None }
    }

    /// Serves what the client has written, up to `most` quests; how many there were.
    fn serve(&mut self, most: usize) -> usize {
        let frames = self.shell.frames(self.link);
        let count = frames.len().min(most);
        for frame in &frames[..count] {
            let params = Params::of(frame).unwrap();
            let fields = match frame.method() {
                "crupbegin" => {
                    assert_eq!(
                        (params.int("size"), params.text("cmd")),
                        (Ok(self.content.len()), Ok("sendfiles".into()))
                    );
                    assert_eq!(params.ints("tos", 9).unwrap(), [1, 2]);
                    Fields::new().bytes("id", &[9; 16]).int("max", 1 << 20)
                }
                "crupdata" => {
                    assert_eq!(params.bytes("id").unwrap().as_ref(), [9; 16]);
                    if params.int("o") == Ok(self.taken.len()) {
                        self.taken.extend(params.bytes("d").unwrap());
                    }
                    Fields::new().int("o", self.taken.len() as i64)
                }
                "crupend" => {
                    assert!(self.taken == self.content, "the last word comes when all is there");
                    self.ended = Some(frame.clone());
                    Fields::new().int("mtime", 5)
                }
                method => panic!("{method}"),
            };
            self.shell.feed(self.link, &answer(frame, fields));
        }
        count
    }

    /// The connection is lost; the next one is there when the client has waited.
    fn reconnect(&mut self) {
        let link = self.link;
        self.shell.closed(link);
        self.shell.connects.clear();
        while self.shell.connects.is_empty() {
            self.shell.sleep();
        }
        self.link = self.shell.connects.pop().unwrap().0;
        let link = self.link;
        self.shell.connected(link);
    }
}

#[test]
fn a_large_file_goes_in_chunks_where_the_server_offers_that() {
    let mut large = Chunked::begin(9_000_000);
    while large.serve(usize::MAX) > 0 {}
    assert_eq!(large.shell.ended[&large.call], Ok(Answer::Sent { mtime: 5, watched: false }));
    let end = Params::of(&large.ended.unwrap()).unwrap();
    assert_eq!((end.int("mid"), end.int("mtype")), (Ok(123_456_789_012_i64), Ok(50_i64)));
    let mut hasher = FileHasher::default();
    hasher.update(&large.content);
    let sign = crvideo_proto::rtm::sign::file_sign(&hasher.finish(), "TOKEN0123456789ABCDEF");
    assert!(end.text("attrs").unwrap().contains(&sign));
    // The connection serves the next file.
    large.shell.file(Target::User(200), b"small");
    assert_eq!(large.shell.give_token("files.example:1"), None);
}

#[test]
fn a_small_file_or_one_for_a_server_without_chunks_goes_in_one_quest() {
    let mut shell = Shell::up();
    let (_, link) = shell.uploading(&vec![1; 9_000_000]);
    assert_eq!(shell.frame(link).method(), "sendfile");
    let mut small = Chunked::begin(8_000_000);
    assert_eq!(small.shell.frame(small.link).method(), "sendfiles");
}

#[test]
fn an_upload_in_chunks_goes_on_after_every_loss_of_its_connection() {
    for breaks in [vec![1], vec![2], vec![40], vec![1, 3, 5, 7, 30], vec![1000]] {
        let mut large = Chunked::begin(9_000_000);
        assert_eq!(large.serve(1), 1, "the beginning");
        for quests in breaks {
            large.serve(quests);
            large.reconnect();
        }
        while large.serve(usize::MAX) > 0 {}
        assert_eq!(large.shell.ended[&large.call], Ok(Answer::Sent { mtime: 5, watched: false }));
    }
}

#[test]
fn a_last_word_whose_answer_was_lost_is_said_again() {
    let mut large = Chunked::begin(9_000_000);
    while large.ended.is_none() {
        // Every answer but the last one arrives.
        let frames = large.shell.frames(large.link);
        if frames.iter().any(|frame| frame.method() == "crupend") {
            break;
        }
        for frame in frames {
            let params = Params::of(&frame).unwrap();
            let fields = if frame.method() == "crupbegin" {
                Fields::new().bytes("id", &[9; 16]).int("max", 1 << 20)
            } else {
                large.taken.extend(params.bytes("d").unwrap());
                Fields::new().int("o", large.taken.len() as i64)
            };
            large.shell.feed(large.link, &answer(&frame, fields));
        }
    }
    large.reconnect();
    assert_eq!(large.serve(usize::MAX), 1);
    assert_eq!(large.ended.as_ref().map(Frame::method), Some("crupend"));
    assert_eq!(large.shell.ended[&large.call], Ok(Answer::Sent { mtime: 5, watched: false }));
}

#[test]
fn a_server_that_takes_nothing_or_more_than_there_is_ends_an_upload() {
    for claimed in [0, 5, 1 << 50, -1] {
        let mut large = Chunked::begin(9_000_000);
        large.serve(1);
        let mut rounds = 0;
        while large.shell.ended.is_empty() {
            for frame in large.shell.frames(large.link) {
                large.shell.feed(large.link, &answer(&frame, Fields::new().int("o", claimed)));
            }
            rounds += 1;
            assert!(rounds < 100, "it goes round for ever");
        }
        assert_eq!(large.shell.code(large.call), code::DECODE, "{claimed}");
    }
    let mut refused = Chunked::begin(9_000_000);
    let quest = refused.shell.frame(refused.link);
    refused.shell.feed(refused.link, &error(&quest, code::QUEUE_FULL, "too many"));
    assert_eq!(refused.shell.code(refused.call), code::QUEUE_FULL);
}

#[test]
fn an_upload_in_chunks_ends_by_its_deadline_though_its_server_is_gone() {
    let mut large = Chunked::begin(9_000_000);
    large.serve(1);
    large.serve(3);
    let mut link = large.link;
    while large.shell.ended.is_empty() {
        large.shell.client.closed(link, CLOSED, large.shell.now);
        large.shell.outputs();
        while large.shell.connects.is_empty() && large.shell.ended.is_empty() {
            large.shell.sleep();
        }
        if let Some((next, _)) = large.shell.connects.pop() {
            link = next;
        }
    }
    assert_eq!((large.shell.code(large.call), large.shell.now.mono), (code::TIMEOUT, TIMEOUT));
}

proptest! {
    #[test]
    fn no_bytes_of_a_server_make_a_client_panic_or_lose_a_call(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 1..20),
        framed in any::<bool>(),
    ) {
        let mut shell = Shell::up();
        shell.listening();
        let calls = [shell.call(Action::GetToken { uid: 1 }), shell.file(Target::All, b"x")];
        shell.frames(GATE);
        for piece in &pieces {
            let mut bytes = Vec::new();
            if framed {
                // A sound header, so that the payload is looked at.
                bytes.extend_from_slice(b"FPNN\x01\x80");
                bytes.extend_from_slice(&[piece[0] % 3, piece[0] % 9]);
                bytes.extend_from_slice(&(piece.len() as u32).to_le_bytes());
            }
            bytes.extend_from_slice(piece);
            shell.feed_bytes(GATE, &bytes);
        }
        shell.client.end(code::CANCELLED, "over");
        shell.outputs();
        prop_assert!(calls.iter().all(|call| shell.ended.contains_key(call)));
    }
}

// ---- what becomes of messages at their recipients -------------------------------------------------------------------

const WATCH: [u8; 16] = [9; 16];
const STORE: [u8; 16] = [4; 16];

fn watched_message(mid: i64) -> Action {
    let (attrs, body) = (String::new(), Bytes::from_static(b"x"));
    Action::Message(Message { from: 100, target: Target::User(200), mtype: 66, mid, body, attrs })
}

/// A push of receipts: rows of number, message id, and state.
fn receipts(rows: &[(i64, i64, i64)]) -> Frame {
    let write = |writer: &mut crvideo_proto::pack::Writer<'_>| {
        writer.array(rows.len());
        for (number, mid, state) in rows {
            let code = if *state == 4 { 606 } else { 0 };
            writer.array(8);
            [*number, 1, 100, 200, *mid, 200, *state, code].into_iter().for_each(|value| writer.int(value));
        }
    };
    quest(77, "crreceipt", Fields::new().write("rs", write))
}

fn receipt(mid: i64, state: Standing, code: i32) -> Event {
    Event::Receipt(Receipt { kind: TargetKind::User, from: 100, place: 200, mid, user: 200, state, code })
}

impl Shell {
    /// A client that wants receipts, with a call that waits for its connection.
    fn watching() -> Self {
        let mut shell = Self::new(1);
        shell.client.want_receipts(Some(WATCH), shell.now);
        shell
    }

    /// Answers the question, which must be there, with the server's offer.
    fn offer(&mut self, store: [u8; 16]) {
        let quest = self.frame(GATE);
        assert_eq!(quest.method(), "crreceipts");
        let params = Params::of(&quest).unwrap();
        assert_eq!(params.bytes("watch").unwrap().as_ref(), WATCH);
        let (salt, ts) = (params.int("salt").unwrap(), params.int("ts").unwrap());
        let sign = params.text("sign").unwrap();
        assert!(is_request_sign(sign.as_bytes(), PROJECT, [SECRET], salt, "crreceipts", ts));
        self.feed(GATE, &answer(&quest, Fields::new().bytes("store", &store)));
    }

    /// Sends a message that is watched, and answers it.
    fn send_watched(&mut self, mid: i64) {
        let call = self.call(watched_message(mid));
        let quest = self.frame(GATE);
        assert_eq!(Params::of(&quest).unwrap().bytes("watch").unwrap().as_ref(), WATCH);
        self.feed(GATE, &answer(&quest, Fields::new().int("mtime", 5)));
        assert_eq!(self.ended[&call], Ok(Answer::Sent { mtime: 5, watched: true }));
    }

    /// Gives the client receipts; the number in its answer, 0 when that is good.
    fn tell(&mut self, rows: &[(i64, i64, i64)]) -> i32 {
        self.feed(GATE, &receipts(rows));
        let reply = self.frame(GATE);
        assert_eq!((reply.kind, reply.seq), (Kind::Answer, 77));
        if reply.status == 0 { 0 } else { Params::of(&reply).unwrap().int("code").unwrap() }
    }

    /// A watching client with an offer and one message sent.
    fn watched() -> Self {
        let mut shell = Self::watching();
        shell.call(watched_message(1));
        shell.connected(GATE);
        shell.offer(STORE);
        let quest = shell.frame(GATE);
        shell.feed(GATE, &answer(&quest, Fields::new()));
        shell.connects.clear();
        shell
    }
}

#[test]
fn nothing_but_rtm_goes_out_unless_receipts_are_wanted_and_offered() {
    let mut shell = Shell::up();
    shell.call(watched_message(1));
    assert!(!Params::of(&shell.frame(GATE)).unwrap().has("watch"));
    assert_eq!(shell.tell(&[(1, 1, 1)]), code::FORBIDDEN);
    // From now on they are wanted: the question goes first, and calls wait for its answer in their order.
    shell.client.want_receipts(Some(WATCH), shell.now);
    let sent = shell.call(watched_message(2));
    let other = shell.call(Action::Kickout { uid: 1 });
    shell.call(Action::FileToken { from: 100, target: Target::User(200) });
    shell.file(Target::All, b"content");
    shell.offer(STORE);
    let frames = shell.frames(GATE);
    let watched = |frame: &Frame| (frame.method().to_owned(), Params::of(frame).unwrap().has("watch"));
    let seen: Vec<_> = frames.iter().map(watched).collect();
    let expected = [("sendmsg", true), ("kickout", false), ("filetoken", false), ("filetoken", true)];
    assert_eq!(seen, expected.map(|(method, watched)| (method.to_owned(), watched)));
    shell.feed(GATE, &answer(&frames[0], Fields::new().int("mtime", 5)));
    shell.feed(GATE, &answer(&frames[1], Fields::new()));
    assert_eq!(shell.ended[&sent], Ok(Answer::Sent { mtime: 5, watched: true }));
    assert_eq!(shell.ended[&other], Ok(Answer::Done));
    // When they are not wanted any more, the next send is plain RTM again.
    shell.client.want_receipts(None, shell.now);
    shell.call(watched_message(3));
    assert!(!Params::of(&shell.frame(GATE)).unwrap().has("watch"));
}

#[test]
fn a_server_that_does_not_know_receipts_is_asked_once_on_each_connection_and_gets_plain_rtm() {
    let mut shell = Shell::watching();
    let call = shell.call(watched_message(1));
    shell.connected(GATE);
    let question = shell.frame(GATE);
    assert_eq!(question.method(), "crreceipts");
    shell.feed(GATE, &error(&question, code::UNKNOWN_METHOD, "Unknow method:crreceipts"));
    let sent = shell.frame(GATE);
    assert!(sent.method() == "sendmsg" && !Params::of(&sent).unwrap().has("watch"));
    shell.feed(GATE, &answer(&sent, Fields::new().int("mtime", 5)));
    assert_eq!(shell.ended[&call], Ok(Answer::Sent { mtime: 5, watched: false }));
    shell.client.want_receipts(Some(WATCH), shell.now);
    assert!(shell.frames(GATE).is_empty());
    // Nothing is awaited, so the connection is not kept.
    shell.sleep();
    assert_eq!(shell.closes, [GATE]);
    assert_eq!(shell.client.deadline(), None);
    shell.call(watched_message(2));
    shell.connected(GATE);
    assert_eq!(shell.frame(GATE).method(), "crreceipts");
}

#[test]
fn a_server_that_says_nothing_holds_sends_up_for_five_seconds_and_one_that_fails_is_asked_again() {
    let mut shell = Shell::watching();
    shell.call(watched_message(1));
    shell.connected(GATE);
    assert_eq!(shell.frame(GATE).method(), "crreceipts");
    assert_eq!(shell.sleep(), Duration::from_secs(5));
    assert_eq!(shell.frame(GATE).method(), "sendmsg");

    let mut shell = Shell::watching();
    shell.call(watched_message(1));
    shell.connected(GATE);
    let question = shell.frame(GATE);
    shell.feed(GATE, &error(&question, code::UNKNOWN, "the store fails"));
    let sent = shell.frame(GATE);
    assert!(!Params::of(&sent).unwrap().has("watch"));
    shell.feed(GATE, &answer(&sent, Fields::new()));
    assert_eq!(shell.sleep(), Duration::from_secs(30));
    shell.offer(STORE);
    shell.send_watched(2);
}

#[test]
fn receipts_reach_the_application_once_however_often_they_come() {
    let mut shell = Shell::watched();
    assert_eq!(shell.tell(&[(3, 1, 1), (5, 1, 2)]), 0);
    assert_eq!(shell.events, [receipt(1, Standing::Accepted, 0), receipt(1, Standing::Stored, 0)]);
    shell.events.clear();
    // The answer was lost with the connection, which is made again although no call needs it.
    shell.closed(GATE);
    shell.sleep();
    assert_eq!(shell.connects.len(), 1);
    shell.connected(GATE);
    shell.offer(STORE);
    assert_eq!(shell.tell(&[(3, 1, 1), (5, 1, 2), (9, 1, 4), (10, 1, 77)]), 0);
    assert_eq!(shell.events, [receipt(1, Standing::Failed, 606)], "an unknown state is passed over");
    shell.events.clear();
    // A server with another store counts from the beginning, and the numbers of the first are not forgotten.
    shell.closed(GATE);
    shell.sleep();
    shell.connected(GATE);
    shell.offer([5; 16]);
    shell.send_watched(2);
    assert_eq!(shell.tell(&[(1, 2, 1)]), 0);
    shell.closed(GATE);
    shell.sleep();
    shell.connected(GATE);
    shell.offer(STORE);
    assert_eq!(shell.tell(&[(10, 1, 77), (11, 2, 3)]), 0);
    assert_eq!(shell.events, [receipt(2, Standing::Accepted, 0), receipt(2, Standing::Delivered, 0)]);
}

#[test]
fn receipts_wait_for_the_end_of_the_call_that_sends() {
    let mut shell = Shell::watched();
    let call = shell.call(watched_message(2));
    let quest = shell.frame(GATE);
    assert_eq!(shell.tell(&[(1, 2, 1), (2, 1, 1)]), 0);
    assert_eq!(shell.events, [receipt(1, Standing::Accepted, 0)]);
    let mut bytes = Vec::new();
    answer(&quest, Fields::new()).encode(&mut bytes);
    shell.client.reader(GATE).unwrap().feed(&bytes);
    shell.client.received(GATE, shell.now);
    let first = shell.client.poll_output();
    assert!(matches!(first, Some(Output::Ended { call: ended, .. }) if ended == call), "{first:?}");
    shell.outputs();
    assert_eq!(shell.events[1..], [receipt(2, Standing::Accepted, 0)]);
    assert_eq!(shell.tell(&[(3, 2, 3)]), 0);
    assert_eq!(shell.events[2..], [receipt(2, Standing::Delivered, 0)]);
}

#[test]
fn receipts_that_the_application_does_not_handle_are_refused_and_taken_later() {
    let mut shell = Shell::watched();
    let batch = |from: i64| (from..from + 1_000).map(|number| (number, 1, 1)).collect::<Vec<_>>();
    let mut taken = 0;
    while shell.tell(&batch(taken * 1_000 + 1)) == 0 {
        taken += 1;
    }
    // 16 MiB, of which each takes 512 bytes.
    assert_eq!((taken, shell.events.len()), (32, 32_000));
    shell.client.handled_in_all(32_000 * 512);
    assert_eq!(shell.tell(&batch(32_001)), 0);
    assert_eq!(shell.events.len(), 33_000);
}

#[test]
fn a_connection_on_which_receipts_are_awaited_is_kept_alive() {
    let mut shell = Shell::watched();
    for _ in 0..10 {
        shell.sleep();
        let ping = shell.frame(GATE);
        assert_eq!(ping.method(), "*ping");
        shell.feed(GATE, &answer(&ping, Fields::new()));
    }
    assert!(shell.closes.is_empty());
    shell.client.want_receipts(None, shell.now);
    shell.sleep();
    assert_eq!(shell.closes, [GATE]);
}

#[test]
fn receipts_that_make_no_sense_are_refused() {
    let mut shell = Shell::watched();
    let short = |writer: &mut crvideo_proto::pack::Writer<'_>| {
        writer.array(1);
        writer.array(2);
        writer.int(1);
        writer.int(1);
    };
    let bad = [(Fields::new(), code::MISSING), (Fields::new().int("rs", 1), code::WRONG_TYPE)];
    for (fields, expected) in bad.into_iter().chain([(Fields::new().write("rs", short), code::WRONG_TYPE)]) {
        shell.feed(GATE, &quest(5, "crreceipt", fields));
        let reply = shell.frame(GATE);
        assert_eq!(Params::of(&reply).unwrap().int::<i32>("code").unwrap(), expected);
    }
    assert!(shell.events.is_empty());
}
