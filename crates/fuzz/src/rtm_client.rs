//! A hostile RTM server against the client's state machine: any bytes, good and bad answers to its quests, pushes of
//! any content, connections that fail and break. Every call has one end, and afterwards nothing is left.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use crvideo_proto::code;
use crvideo_proto::frame::{FLAG_JSON, Frame, FrameReader, Kind};
use crvideo_proto::rtm::client::{
    Action, Call, Change, Client, Config, Event, File, GATE, Link, Listen, Message, Output, PUSH_LIMIT, PUSH_OVERHEAD,
    Target,
};
use crvideo_proto::rtm::params::{Fields, Params};
use crvideo_proto::rtm::sign::FileHasher;
use crvideo_proto::rtm::{answer, error, quest};
use crvideo_proto::session::Now;

use crate::client::{PROJECT, SECRET, START};
use crate::input::Input;
use crate::pair::frame;

/// Steps of one input.
const MOST_STEPS: usize = 300;
/// Calls under way at a time; the library has such a limit, too.
const MOST_CALLS: usize = 24;
/// A client's frames are no larger: a file of these inputs, and what stands around it.
const LARGEST: usize = 2 * 1024 * 1024;
/// Quests of which an answer is still possible.
const MOST_ASKED: usize = 64;

const METHODS: [&str; 9] =
    ["pushmsg", "pushgroupmsg", "pushroommsg", "pushevent", "ping", "kickout", "*ping", "pushfile", "nobody"];

#[derive(Default)]
struct Wire {
    open: bool,
    reader: Option<FrameReader>,
    asked: VecDeque<Frame>,
}

struct Server {
    client: Client,
    now: Duration,
    wires: BTreeMap<Link, Wire>,
    wanted: BTreeSet<Link>,
    files: BTreeMap<u64, (Bytes, FileHasher)>,
    reads: VecDeque<(u64, u64, usize, u32)>,
    running: BTreeSet<u64>,
    last_call: u64,
    /// Bytes of pushes that wait for the application, and that it has handled.
    waiting: VecDeque<u64>,
    handled: u64,
}

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let config = Config { project: PROJECT, secret: SECRET.to_owned(), servers: 2 };
    let mut server = Server {
        client: Client::new(config, 7),
        now: Duration::ZERO,
        wires: BTreeMap::new(),
        wanted: BTreeSet::new(),
        files: BTreeMap::new(),
        reads: VecDeque::new(),
        running: BTreeSet::new(),
        last_call: 0,
        waiting: VecDeque::new(),
        handled: 0,
    };
    for _ in 0..MOST_STEPS {
        if input.is_empty() {
            break;
        }
        server.step(&mut input);
        server.listen();
    }
    server.finish();
}

impl Server {
    fn time(&self) -> Now {
        Now { mono: self.now, unix: START + self.now.as_secs() }
    }

    fn outputs(&mut self) {
        while let Some(output) = self.client.poll_output() {
            match output {
                Output::Connect { link, .. } => {
                    assert!(self.wanted.insert(link), "a connection is asked for twice");
                }
                Output::Close { link } => {
                    self.wanted.remove(&link);
                    self.wires.remove(&link);
                }
                Output::Read { call, offset, len, generation } => self.reads.push_back((call, offset, len, generation)),
                Output::Ended { call, outcome } => {
                    assert!(self.running.remove(&call), "the end of a call is told twice: {outcome:?}");
                    self.files.remove(&call);
                }
                Output::Event(event) => self.told(&event),
            }
        }
        let waiting: u64 = self.waiting.iter().sum();
        // The one that reaches the limit may go beyond it by its own size.
        assert!(waiting <= PUSH_LIMIT + LARGEST as u64, "{waiting} bytes of pushes wait for the application");
    }

    fn told(&mut self, event: &Event) {
        match event {
            Event::Push(push) => {
                let file = push.file.as_ref().map_or(0, |file| file.url.len() + file.thumbnail.len());
                let size = push.body.len() + push.attrs.len() + file;
                self.waiting.push_back(size as u64 + PUSH_OVERHEAD);
            }
            Event::User(event) => {
                let size = event.event.len() + event.endpoint.len() + event.data.len();
                self.waiting.push_back(size as u64 + PUSH_OVERHEAD);
            }
            Event::Receipt(_) => self.waiting.push_back(PUSH_OVERHEAD),
            Event::Line(_) => {}
        }
    }

    /// Hears what the client says: frames, and nothing else.
    fn listen(&mut self) {
        for link in self.wires.keys().copied().collect::<Vec<_>>() {
            let said = self.client.out(link).map(|out| out.take()).unwrap_or_default();
            self.client.written(link, self.time());
            self.outputs();
            let Some(wire) = self.wires.get_mut(&link).filter(|wire| wire.open) else { continue };
            let reader = wire.reader.get_or_insert_with(|| FrameReader::new(LARGEST));
            reader.feed(&said);
            loop {
                match reader.next_frame() {
                    Ok(Some(frame)) => {
                        assert!(Params::of(&frame).is_ok(), "the client's {:?} has no parameters", frame.method());
                        if frame.kind == Kind::Quest && wire.asked.len() < MOST_ASKED {
                            wire.asked.push_back(frame);
                        }
                    }
                    Ok(None) => break,
                    Err(error) => panic!("the client wrote what {error}"),
                }
            }
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.below(10) {
            0 => self.call(input),
            1 => {
                let link = some(self.wanted.iter(), input);
                if self.wanted.remove(&link) {
                    self.wires.insert(link, Wire { open: true, ..Wire::default() });
                    self.client.connected(link, self.time());
                }
            }
            2 => {
                let link = some(self.wanted.iter(), input);
                if self.wanted.remove(&link) {
                    self.client.connect_failed(link, code::FORCEDCLOSECONNECTION, self.time());
                }
            }
            3 => {
                let link = some(self.wires.keys(), input);
                if self.wires.remove(&link).is_some() {
                    self.client.closed(link, code::FORCEDCLOSECONNECTION, self.time());
                }
            }
            4 => {
                let link = some(self.wires.keys(), input);
                self.tell(link, input.bytes());
            }
            5 => self.answer(input),
            6 => {
                let (link, kind) = (some(self.wires.keys(), input), input.pick(&[Kind::Quest, Kind::OneWay]));
                let (seq, method) = (input.u32(), input.pick(&METHODS));
                let mut bytes = frame(kind, 0, seq, method, input.bytes());
                if input.u8() == 1 {
                    bytes[5] = FLAG_JSON;
                }
                self.tell(link, &bytes);
            }
            7 => self.push(input),
            8 => self.pass(Duration::from_millis(u64::from(input.u16()))),
            _ => self.act(input),
        }
        self.outputs();
    }

    fn tell(&mut self, link: Link, bytes: &[u8]) {
        if !self.wires.contains_key(&link) {
            return;
        }
        if let Some(reader) = self.client.reader(link) {
            reader.feed(bytes);
            self.client.received(link, self.time());
        }
        self.outputs();
    }

    fn call(&mut self, input: &mut Input<'_>) {
        if self.running.len() >= MOST_CALLS {
            return;
        }
        self.last_call += 1;
        let id = self.last_call;
        let action = self.action(id, input);
        let timeout = Duration::from_millis(u64::from(input.u16()));
        self.running.insert(id);
        self.client.call(Call { id, action, timeout }, self.time());
    }

    fn action(&mut self, id: u64, input: &mut Input<'_>) -> Action {
        let number = i64::from(input.u8());
        let ids = vec![number, 1 + number];
        let target = match input.below(5) {
            0 => Target::User(number),
            1 => Target::Users(ids.clone()),
            2 => Target::Group(number),
            3 => Target::Room(number),
            _ => Target::All,
        };
        match input.below(12) {
            0 | 1 => {
                let size = usize::from(input.u16()) * 16;
                self.files.insert(id, (vec![3; size].into(), FileHasher::default()));
                let name = String::from_utf8_lossy(input.short()).into_owned();
                let custom = input.bool().then(|| String::from_utf8_lossy(input.short()).into_owned());
                Action::File(File { from: 1, target, mtype: 50, mid: 12, name, custom, size: size as u64 })
            }
            2 => {
                let body = Bytes::copy_from_slice(input.short());
                Action::Message(Message { from: 1, target, mtype: 51, mid: 13, body, attrs: String::new() })
            }
            3 => Action::FileToken { from: 1, target },
            4 => {
                let listen = Listen {
                    all_users: input.bool(),
                    all_events: input.bool(),
                    users: ids,
                    events: vec!["login".to_owned()],
                    ..Listen::default()
                };
                Action::Listen { change: input.pick(&[Change::Set, Change::Add, Change::Remove]), listen }
            }
            5 => Action::GetToken { uid: number },
            6 => Action::OnlineUsers { uids: ids },
            7 => Action::GroupMembers { gid: number },
            8 => Action::GroupCount { gid: number },
            9 => Action::IsGroupMember { gid: number, uid: number },
            10 => Action::RoomCount { rid: number },
            _ => Action::Kickout { uid: number },
        }
    }

    /// The oldest quest gets an answer.
    fn answer(&mut self, input: &mut Input<'_>) {
        let link = some(self.wires.keys(), input);
        let Some(quest) = self.wires.get_mut(&link).and_then(|wire| wire.asked.pop_front()) else { return };
        let fields = match input.below(7) {
            0 => Fields::new().text("token", "a token").text("endpoint", "127.0.0.1:13325"),
            1 => Fields::new().int("mtime", input.u64() as i64),
            2 => {
                let (token, endpoint) =
                    (String::from_utf8_lossy(input.short()), String::from_utf8_lossy(input.short()));
                Fields::new().text("token", &token).text("endpoint", &endpoint)
            }
            3 => Fields::new().ints("uids", &[1, 2, input.u64() as i64]).int("count", input.u64() as i64),
            // Files in chunks.
            4 => Fields::new().text("id", "0123456789abcdef0123456789abcdef").int("next", i64::from(input.u32())),
            5 => {
                let text = String::from_utf8_lossy(input.short()).into_owned();
                let refusal = error(&quest, input.u32() as i32, &text);
                let mut bytes = Vec::new();
                refusal.encode(&mut bytes);
                return self.tell(link, &bytes);
            }
            _ => {
                let bytes = frame(Kind::Answer, input.u8(), quest.seq, "", input.bytes());
                return self.tell(link, &bytes);
            }
        };
        let mut bytes = Vec::new();
        answer(&quest, fields).encode(&mut bytes);
        self.tell(link, &bytes);
    }

    /// A push of the right form.
    fn push(&mut self, input: &mut Input<'_>) {
        let number = i64::from(input.u8());
        let fields = Fields::new()
            .int("from", number)
            .int("to", number)
            .int("gid", number)
            .int("rid", number)
            .int("mtype", i64::from(input.u8() as i8))
            .int("mid", input.u64() as i64)
            .int("mtime", input.u64() as i64)
            .message("msg", input.bytes())
            .text("attrs", &String::from_utf8_lossy(input.short()));
        let method = input.pick(&["pushmsg", "pushgroupmsg", "pushroommsg"]);
        let mut bytes = Vec::new();
        quest(input.u32(), method, fields).encode(&mut bytes);
        self.tell(GATE, &bytes);
    }

    fn act(&mut self, input: &mut Input<'_>) {
        match input.below(3) {
            0 => {
                for _ in 0..input.below(16) {
                    self.handled += self.waiting.pop_front().unwrap_or_default();
                }
                self.client.handled_in_all(self.handled);
            }
            1 => self.read(input.below(8), true),
            _ => self.read(input.below(16), false),
        }
    }

    fn read(&mut self, count: usize, mut fails: bool) {
        for _ in 0..count {
            let Some((call, offset, len, generation)) = self.reads.pop_front() else { break };
            let now = self.time();
            let Some((content, hasher)) = self.files.get_mut(&call) else { continue };
            let (start, end) = (offset as usize, offset as usize + len);
            assert!(end <= content.len(), "a read of {len} bytes at {offset} of {}", content.len());
            if std::mem::take(&mut fails) {
                self.client.source_failed(call, generation, code::FILE_READ_ERR, now);
            } else {
                if offset == 0 {
                    *hasher = FileHasher::default();
                }
                let data = content.slice(start..end);
                hasher.update(&data);
                let md5 = (end == content.len()).then(|| hasher.clone().finish());
                self.client.source_read(call, generation, data, md5.as_deref(), now);
            }
            self.outputs();
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.client.deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.client.timeout(self.time());
            self.outputs();
            if !self.wanted.is_empty() {
                break;
            }
        }
        self.now = end;
    }

    fn finish(&mut self) {
        self.client.end(crvideo_proto::rtm::code::CANCELLED, "the end");
        self.outputs();
        assert!(self.running.is_empty(), "calls without an end: {:?}", self.running);
        assert!(self.wires.is_empty() && self.wanted.is_empty(), "connections are left");
        assert_eq!(self.client.deadline(), None, "a client that has ended wants to be called");
    }
}

/// One of some connections; [`GATE`] where there is none.
fn some<'a>(links: impl Iterator<Item = &'a Link> + Clone, input: &mut Input<'_>) -> Link {
    let at = input.below(links.clone().count());
    links.copied().nth(at).unwrap_or(GATE)
}
