//! Bytes at the RTM gates, as they come from servers, from those who send files, and from users: signed quests with any
//! parameters, files in one quest and in chunks, and no quests at all. Every answer is a frame, and each quest has one
//! answer at most.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use crvideo_proto::frame::{FLAG_JSON, FLAG_MSGPACK, FrameReader, Kind, frame_len};
use crvideo_proto::pack::validate;
use crvideo_proto::rtm::params::{Fields, from_json, to_json};
use crvideo_proto::rtm::quest;
use crvideo_proto::rtm::sign::request_sign;
use crvideo_relay::fuzzing::{PROJECT, RtmGate, SECRET};

use crate::input::Input;
use crate::pair::frame;

/// Steps of one input.
const MOST_STEPS: usize = 60;
/// Connections of one input.
const MOST_VISITORS: usize = 4;
/// Answers and pushes are no larger.
const LARGEST: usize = 4 * 1024 * 1024;

const METHODS: [&str; 44] = [
    "addlisten",
    "removelisten",
    "setlisten",
    "sendmsg",
    "sendmsgs",
    "sendgroupmsg",
    "sendroommsg",
    "broadcastmsg",
    "gettoken",
    "removetoken",
    "kickout",
    "getonlineusers",
    "addgroupmembers",
    "delgroupmembers",
    "delgroup",
    "getgroupmembers",
    "getgroupcount",
    "isgroupmember",
    "getusergroups",
    "addroommember",
    "addroommembers",
    "delroommember",
    "delroommembers",
    "getroommembers",
    "getroomcount",
    "filetoken",
    "getp2pmsg",
    "getgroupmsg",
    "getroommsg",
    "getbroadcastmsg",
    "getmsg",
    "delmsg",
    "*ping",
    "*key",
    "auth",
    "bye",
    "ping",
    "nobody",
    "sendfile",
    "sendgroupfile",
    "crupbegin",
    "crupdata",
    "crupend",
    "getunread",
];

struct Visit {
    gate: RtmGate,
    visitors: Vec<usize>,
    /// How many quests were sent with a sequence number, for each connection.
    quests: BTreeMap<(usize, u32), usize>,
    last_seq: u32,
}

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let gate = RtmGate::new().unwrap_or_else(|error| panic!("there is no gate: {error}"));
    let mut visit = Visit { gate, visitors: Vec::new(), quests: BTreeMap::new(), last_seq: 0 };
    visit.come(&mut input);
    for _ in 0..MOST_STEPS {
        if input.is_empty() {
            break;
        }
        visit.step(&mut input);
    }
    while let Some(visitor) = visit.visitors.pop() {
        visit.end(visitor);
    }
}

impl Visit {
    fn come(&mut self, input: &mut Input<'_>) {
        if self.visitors.len() < MOST_VISITORS {
            self.visitors.extend(self.gate.come(input.below(3)));
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let at = input.below(self.visitors.len());
        let Some(visitor) = self.visitors.get(at).copied() else { return self.come(input) };
        match input.below(5) {
            0 => self.come(input),
            1 => {
                // Any bytes may be quests, too, with any numbers.
                let bytes = input.bytes();
                self.count_quests(visitor, bytes);
                self.hear(visitor, bytes);
            }
            2 => {
                let (kind, status) = (input.pick(&[Kind::Quest, Kind::OneWay, Kind::Answer]), input.u8());
                let seq = self.seq(visitor, kind);
                let json = input.bool();
                let mut bytes = frame(kind, status, seq, input.pick(&METHODS), input.bytes());
                if json {
                    bytes[5] = FLAG_JSON;
                }
                self.hear(visitor, &bytes);
            }
            3 => self.signed(visitor, input),
            _ => {
                self.visitors.retain(|other| *other != visitor);
                self.end(visitor);
            }
        }
    }

    fn seq(&mut self, visitor: usize, kind: Kind) -> u32 {
        self.last_seq += 1;
        // Numbers that no arbitrary bytes are likely to have.
        let seq = 0x5eed_0000 | self.last_seq;
        if kind == Kind::Quest {
            *self.quests.entry((visitor, seq)).or_default() += 1;
        }
        seq
    }

    /// Quests among arbitrary bytes. They are counted as they might be read: wherever a frame could begin.
    fn count_quests(&mut self, visitor: usize, bytes: &[u8]) {
        for at in 0..bytes.len().saturating_sub(16) {
            let rest = &bytes[at..];
            if frame_len(rest).is_ok_and(|len| len.is_some()) && rest[6] == 1 {
                let seq = u32::from_le_bytes([rest[12], rest[13], rest[14], rest[15]]);
                *self.quests.entry((visitor, seq)).or_default() += 1;
            }
        }
    }

    fn hear(&mut self, visitor: usize, bytes: &[u8]) {
        if !self.gate.hear(visitor, bytes) {
            self.visitors.retain(|other| *other != visitor);
            self.end(visitor);
        }
    }

    /// A quest that the project's secret has signed, with parameters of any value.
    fn signed(&mut self, visitor: usize, input: &mut Input<'_>) {
        let method = input.pick(&METHODS);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs() as i64);
        let sign = request_sign(PROJECT, SECRET, 1, method, now);
        let mut fields = Fields::new().int("pid", PROJECT).text("sign", &sign).int("salt", 1).int("ts", now);
        for key in KEYS.iter().copied() {
            fields = match input.u8() {
                0 | 1 => fields.int(key, i64::from(input.u8() as i8)),
                2 => fields.int(key, input.u64() as i64),
                3 => fields.text(key, &String::from_utf8_lossy(input.short())),
                4 => fields.bytes(key, input.short()),
                5 => fields.ints(key, &[1, 2, i64::from(input.u8())]),
                6 => fields.texts(key, &[String::from_utf8_lossy(input.short()).into_owned()]),
                7 => fields.bool(key, input.bool()),
                _ => fields,
            };
        }
        let mut whole = quest(self.seq(visitor, Kind::Quest), method, fields);
        if input.bool() {
            let text = to_json(&whole.payload);
            // What cannot be said in JSON stays as it is.
            if from_json(&text).is_ok() {
                (whole.flags, whole.payload) = (FLAG_JSON, text);
            }
        }
        let mut bytes = Vec::new();
        whole.encode(&mut bytes);
        self.hear(visitor, &bytes);
    }

    fn end(&mut self, visitor: usize) {
        let Some(said) = self.gate.end(visitor) else { return };
        let mut reader = FrameReader::new(LARGEST).allow_json();
        reader.feed(&said);
        loop {
            match reader.next_frame() {
                Ok(Some(frame)) => {
                    match frame.flags {
                        FLAG_MSGPACK => assert_eq!(validate(&frame.payload), Ok(()), "in {:?}", frame.method()),
                        _ => assert!(from_json(&frame.payload).is_ok(), "an answer is no JSON: {:?}", frame.payload),
                    }
                    if frame.kind == Kind::Answer {
                        let left = self.quests.get_mut(&(visitor, frame.seq)).filter(|left| **left > 0);
                        let Some(left) = left else { panic!("an answer to {} that nobody asked for", frame.seq) };
                        *left -= 1;
                    }
                }
                Ok(None) => break,
                Err(error) => panic!("the gate wrote what {error}"),
            }
        }
        assert_eq!(reader.buffered(), 0, "the gate wrote a part of a frame");
    }
}

/// Parameters of all methods.
const KEYS: [&str; 26] = [
    "from", "to", "tos", "uid", "uids", "gid", "rid", "rids", "mid", "mtype", "msg", "attrs", "cmd", "uids", "desc",
    "num", "begin", "end", "lastid", "mtypes", "token", "p2p", "group", "room", "ev", "type",
];
