//! A hostile relay: any bytes into a session, good and bad answers to its quests, and every message that a relay or
//! another session can send, in any order. The application meanwhile sends, cancels, accepts and logs in and out.

use std::collections::VecDeque;
use std::time::Duration;

use crvideo_proto::frame::{FrameReader, Kind};
use crvideo_proto::id::TaskId;
use crvideo_proto::message::{self as msg, Body, Message};
use crvideo_proto::out::OutQueue;
use crvideo_proto::session::Conn;

use crate::client::{CONNS, Party, Stage, content, index};
use crate::input::Input;
use crate::pair::frame;

const METHODS: [&str; 24] = [
    "crping", "crbye", "crpeer", "crwake", "crstatus", "crcmd", "crack", "croffer", "crdata", "crend", "crgo",
    "crconf", "crcancel", "crdone", "crrtm", "crhello", "crlogin", "crbulk", "crtoken", "crclose", "crfind", "crusers",
    "crwatch", "nobody",
];
/// Steps of one input.
const MOST_STEPS: usize = 300;
/// A session takes what a relay may write at most.
const LARGEST: usize = 2 * 1024 * 1024;

/// A relay that does as it likes.
struct Relay {
    party: Party,
    /// Which connections are there.
    open: [bool; 2],
    /// What the session has asked on each.
    asked: [VecDeque<(u32, String)>; 2],
    readers: [FrameReader; 2],
    /// Ids of tasks that the session has named.
    tasks: Vec<TaskId>,
}

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut relay = Relay::new();
    // The simplest inputs are what a relay says to one who is on his way in, or is in.
    relay.party.log_in();
    relay.open(Conn::Command);
    if input.bool() {
        relay.let_in();
    }
    for _ in 0..MOST_STEPS {
        if input.is_empty() {
            break;
        }
        relay.step(&mut input);
        relay.listen();
    }
    relay.finish();
}

impl Relay {
    fn new() -> Self {
        Self {
            party: Party::new("alice", 1),
            open: [false; 2],
            asked: Default::default(),
            readers: [FrameReader::new(LARGEST), FrameReader::new(LARGEST)],
            tasks: vec![TaskId::from_bytes([9; 16])],
        }
    }

    fn open(&mut self, conn: Conn) {
        if self.party.connected(conn) {
            self.open[index(conn)] = true;
            self.asked[index(conn)].clear();
            self.readers[index(conn)] = FrameReader::new(LARGEST);
        }
        self.listen();
    }

    /// The first login, as a good relay answers it.
    fn let_in(&mut self) {
        for _ in 0..2 {
            self.answer(Conn::Command, &mut Input::new(&[]));
            self.listen();
        }
        assert_eq!(self.party.stage, Stage::In, "a good login is not taken");
    }

    /// Hears what the session says: frames, and nothing else.
    fn listen(&mut self) {
        for conn in CONNS {
            let at = index(conn);
            let said = self.party.say(conn, 64 * 1024);
            if std::mem::take(&mut self.party.gives_up[at]) {
                self.open[at] = false;
            }
            if !self.open[at] {
                continue;
            }
            self.readers[at].feed(&said);
            loop {
                match self.readers[at].next_frame() {
                    Ok(Some(frame)) if frame.kind == Kind::Quest => {
                        self.asked[at].push_back((frame.seq, frame.method().to_owned()));
                    }
                    Ok(Some(frame)) => self.note(&frame),
                    Ok(None) => break,
                    Err(error) => panic!("the session wrote what {error}"),
                }
            }
            assert_eq!(self.readers[at].buffered(), 0, "the session wrote a part of a frame");
        }
    }

    fn note(&mut self, frame: &crvideo_proto::frame::Frame) {
        let task = match frame.method() {
            msg::Command::METHOD => msg::Command::read(&frame.payload).map(|it| it.task),
            msg::Offer::METHOD => msg::Offer::read(&frame.payload).map(|it| it.task),
            _ => return,
        };
        if let (Ok(task), true) = (task, self.tasks.len() < 64) {
            self.tasks.push(task);
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let conn = if input.bool() { Conn::Bulk } else { Conn::Command };
        match input.below(10) {
            0 => self.open(conn),
            1 => self.party.connect_failed(conn),
            2 => self.close(conn),
            3 => self.tell(conn, input.bytes()),
            4 => self.answer(conn, input),
            5 => {
                let (seq, _) = self.asked[index(conn)].pop_front().unwrap_or((input.u32(), String::new()));
                let bytes = frame(Kind::Answer, input.u8(), seq, "", input.bytes());
                self.tell(conn, &bytes);
            }
            6 => {
                let (kind, seq) = (input.pick(&[Kind::Quest, Kind::OneWay]), input.u32());
                let bytes = frame(kind, 0, seq, input.pick(&METHODS), input.bytes());
                self.tell(conn, &bytes);
            }
            7 => self.say_well(conn, input),
            8 => self.party.pass(Duration::from_millis(u64::from(input.u16()) * 2)),
            _ => self.act(input),
        }
    }

    fn act(&mut self, input: &mut Input<'_>) {
        match input.below(4) {
            0 => self.party.replace_token(String::from_utf8_lossy(input.short()).into_owned()),
            1 => {
                let task = self.some_task(input);
                self.party.cancel_receiving("bob", task);
            }
            _ => self.party.act(input, &["bob", "carol", "alice"]),
        }
    }

    fn close(&mut self, conn: Conn) {
        if std::mem::take(&mut self.open[index(conn)]) {
            self.party.closed(conn);
        }
    }

    fn tell(&mut self, conn: Conn, bytes: &[u8]) {
        if self.open[index(conn)] {
            self.party.hear(conn, bytes);
        }
    }

    /// The oldest quest gets an answer of the right form.
    fn answer(&mut self, conn: Conn, input: &mut Input<'_>) {
        let Some((seq, method)) = self.asked[index(conn)].pop_front() else { return };
        let mut out = OutQueue::default();
        match method.as_str() {
            "crhello" => out.answer(
                seq,
                &msg::HelloAnswer {
                    version: 1 + u32::from(input.u8()),
                    // Without seals and epochs, which nothing that follows would have.
                    features: input.u64() & !(msg::FEATURE_SEAL | msg::FEATURE_BOTH_EPOCHS),
                    agent: "fuzz".to_owned(),
                    salt: None,
                },
            ),
            "crlogin" => out.answer(
                seq,
                &msg::LoginAnswer {
                    epoch: input.u64().max(1),
                    resumed: input.bool(),
                    ticket: [1; 16],
                    expires_ms: u64::MAX - input.u64(),
                    heartbeat_ms: 20_000 - u32::from(input.u16()),
                    max_file: input.u64(),
                },
            ),
            "crbulk" | "crticket" => out.answer(seq, &msg::BulkAnswer { ticket: [2; 16] }),
            "crtoken" => out.answer(seq, &msg::TokenAnswer { expires_ms: input.u64() }),
            "crfind" => out
                .answer(seq, &msg::FindAnswer { epoch: 5 + u64::from(input.u8()), state: input.u8().wrapping_add(1) }),
            "crusers" => {
                let users = vec![String::from_utf8_lossy(input.short()).into_owned()];
                out.answer(seq, &msg::UsersAnswer { users, more: input.bool() });
            }
            _ => out.answer(seq, &msg::Empty {}),
        }
        self.tell(conn, &out.take());
    }

    fn some_task(&self, input: &mut Input<'_>) -> TaskId {
        match input.below(self.tasks.len() + 1) {
            at if at < self.tasks.len() => self.tasks[at],
            _ => TaskId::from_bytes([input.u8(); 16]),
        }
    }

    /// A number that may make sense, or any.
    fn number(input: &mut Input<'_>) -> u64 {
        match input.below(3) {
            0 => u64::from(input.u8()),
            1 => u64::from(input.u32()),
            _ => input.u64(),
        }
    }

    /// A message of the right form.
    fn say_well(&mut self, conn: Conn, input: &mut Input<'_>) {
        let (user, epoch) = (input.pick(&["bob", "carol", "alice"]), 5 + u64::from(input.u8() & 3));
        let task = self.some_task(input);
        let number = Self::number;
        match input.below(14) {
            0 => {
                let (position, base, settled) = (number(input), number(input), number(input));
                let chosen = input.bool();
                let data = content(task, usize::from(input.u16()));
                let message = msg::Command { position, base, settled, task, chosen, data };
                self.routed(conn, user, epoch, &message);
            }
            1 => {
                let refused = (0..input.below(4)).map(|_| (number(input), number(input))).collect();
                let message = msg::CommandAck { position: number(input), limit: number(input), refused };
                self.routed(conn, user, epoch, &message);
            }
            2 => {
                let name = String::from_utf8_lossy(input.short()).into_owned();
                let message =
                    msg::Offer { task, kind: input.u8() & 3, name, size: number(input), repeated: input.bool() };
                self.routed(conn, user, epoch, &message);
            }
            3 => {
                let data = content(task, usize::from(input.u16()) * 4);
                self.routed(conn, user, epoch, &msg::Data { task, offset: number(input), data });
            }
            4 => {
                let size = usize::from(input.u16()) * 4;
                let hash = if input.bool() { *blake3::hash(&content(task, size)).as_bytes() } else { [0; 32] };
                self.routed(conn, user, epoch, &msg::End { task, hash });
            }
            5 => self.routed(conn, user, epoch, &msg::Go { task, offset: number(input), limit: number(input) }),
            6 => self.routed(conn, user, epoch, &msg::Confirm { task, offset: number(input), limit: number(input) }),
            7 => self.routed(conn, user, epoch, &msg::Cancel { task, code: number(input) as i64 }),
            8 => self.routed(conn, user, epoch, &msg::Done { task, code: number(input) as i64 }),
            9 => {
                let (state, class) = (input.u8() & 7, input.u8() & 3);
                self.one_way(conn, &msg::Peer { user: user.to_owned(), epoch, state, class });
            }
            10 => self.one_way(conn, &msg::Wake {}),
            11 => self.one_way(conn, &msg::Status { user: user.to_owned(), state: input.u8() }),
            12 => self.one_way(conn, &msg::Bye { code: number(input) as i64, text: "bye".to_owned() }),
            _ => {
                let message = msg::Rtm {
                    id: task,
                    from: number(input) as i64,
                    kind: input.u8(),
                    place: number(input) as i64,
                    mid: number(input) as i64,
                    mtype: input.u8(),
                    mtime: number(input) as i64,
                    attrs: String::from_utf8_lossy(input.short()).into_owned(),
                    data: content(task, usize::from(input.u8())),
                };
                self.one_way(conn, &message);
            }
        }
    }

    fn one_way(&mut self, conn: Conn, message: &impl Message) {
        let mut out = OutQueue::default();
        out.one_way(message);
        self.tell(conn, &out.take());
    }

    /// As the relay forwards it: with the sender's name and epoch.
    fn routed<M: Message>(&mut self, conn: Conn, user: &str, epoch: u64, message: &M) {
        let mut buffer = bytes::BytesMut::new();
        let mut writer = crvideo_proto::pack::Writer::new(&mut buffer);
        message.put_pairs(&mut writer);
        let tail = writer.take_tail();
        buffer.extend_from_slice(&tail.unwrap_or_default());
        let mut out = OutQueue::default();
        out.forward(M::METHOD, message.pairs() + 2, user, epoch, buffer.freeze());
        self.tell(conn, &out.take());
    }

    fn finish(&mut self) {
        for conn in CONNS {
            self.close(conn);
        }
        self.party.finish();
    }
}
