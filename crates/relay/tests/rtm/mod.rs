//! A client of the RTM gates that puts its packages together by itself, byte by byte.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crvideo_proto::frame::{FrameReader, SESSION_LIMIT};
use crvideo_proto::message::{self as msg, Body, Message};
use crvideo_proto::out::OutQueue;
use crvideo_proto::rtm::sign::request_sign;
use crvideo_proto::token;
use crvideo_relay::{BlockingRelay, Config};

/// Nothing here takes longer, unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// The secret that real SDKs have signed the captured quests with.
pub const SECRET: &str = "mock-secret-0000";

/// A value of msgpack.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Nil,
    Bool(bool),
    Int(i64),
    Str(String),
    /// A str whose bytes are no UTF-8.
    RawStr(Vec<u8>),
    Bin(Vec<u8>),
    Array(Vec<Value>),
    Map(Vec<(String, Value)>),
}

impl Value {
    pub fn int(&self) -> i64 {
        match self {
            Value::Int(number) => *number,
            other => panic!("{other:?} is no integer"),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Value::Nil => out.push(0xc0),
            Value::Bool(value) => out.push(0xc2 + u8::from(*value)),
            Value::Int(value) => write_int(*value, out),
            Value::Str(text) => write_bytes(0xd9, text.as_bytes(), out),
            Value::RawStr(bytes) => write_bytes(0xd9, bytes, out),
            Value::Bin(bytes) => write_bytes(0xc4, bytes, out),
            Value::Array(values) => {
                out.push(0xdd);
                out.extend((values.len() as u32).to_be_bytes());
                values.iter().for_each(|value| value.write(out));
            }
            Value::Map(pairs) => {
                out.push(0xde);
                out.extend((pairs.len() as u16).to_be_bytes());
                for (key, value) in pairs {
                    Value::Str(key.clone()).write(out);
                    value.write(out);
                }
            }
        }
    }
}

/// Integers in as many widths as there are.
fn write_int(value: i64, out: &mut Vec<u8>) {
    match value {
        0..=127 => out.push(value as u8),
        128..=255 => out.extend([0xcc, value as u8]),
        256..=65_535 => {
            out.push(0xcd);
            out.extend((value as u16).to_be_bytes());
        }
        65_536..=4_294_967_295 => {
            out.push(0xce);
            out.extend((value as u32).to_be_bytes());
        }
        _ => {
            out.push(0xd3);
            out.extend(value.to_be_bytes());
        }
    }
}

/// `marker` is that of one length byte; the next two have two and four.
fn write_bytes(marker: u8, bytes: &[u8], out: &mut Vec<u8>) {
    match u8::try_from(bytes.len()) {
        Ok(len) => out.extend([marker, len]),
        Err(_) => {
            out.push(marker + 2);
            out.extend((bytes.len() as u32).to_be_bytes());
        }
    }
    out.extend(bytes);
}

fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    let (head, rest) = bytes.split_first_chunk::<N>().expect("more bytes");
    *bytes = rest;
    *head
}

fn len(bytes: &mut &[u8], width: u8) -> usize {
    match width {
        0 => usize::from(take::<1>(bytes)[0]),
        1 => usize::from(u16::from_be_bytes(take(bytes))),
        _ => u32::from_be_bytes(take(bytes)) as usize,
    }
}

fn read(bytes: &mut &[u8]) -> Value {
    let marker = take::<1>(bytes)[0];
    let many = |bytes: &mut &[u8], len: usize| Value::Array((0..len).map(|_| read(bytes)).collect());
    let pairs = |bytes: &mut &[u8], len: usize| {
        let pair = |bytes: &mut &[u8]| match read(bytes) {
            Value::Str(key) => (key, read(bytes)),
            other => panic!("{other:?} is no key"),
        };
        Value::Map((0..len).map(|_| pair(bytes)).collect())
    };
    let chunk = |bytes: &mut &[u8], len: usize| {
        let (head, rest) = bytes.split_at(len);
        *bytes = rest;
        head.to_vec()
    };
    // Whatever the relay calls text must be text.
    let text = |bytes: Vec<u8>| Value::Str(String::from_utf8(bytes).unwrap());
    match marker {
        0..=0x7f => Value::Int(marker.into()),
        0x80..=0x8f => pairs(bytes, usize::from(marker & 15)),
        0x90..=0x9f => many(bytes, usize::from(marker & 15)),
        0xa0..=0xbf => text(chunk(bytes, usize::from(marker & 31))),
        0xc0 => Value::Nil,
        0xc2 | 0xc3 => Value::Bool(marker == 0xc3),
        0xc4..=0xc6 => {
            let len = len(bytes, marker - 0xc4);
            Value::Bin(chunk(bytes, len))
        }
        0xcc => Value::Int(take::<1>(bytes)[0].into()),
        0xcd => Value::Int(u16::from_be_bytes(take(bytes)).into()),
        0xce => Value::Int(u32::from_be_bytes(take(bytes)).into()),
        0xcf => Value::Int(u64::from_be_bytes(take(bytes)).try_into().unwrap()),
        0xd0 => Value::Int(i8::from_be_bytes(take(bytes)).into()),
        0xd1 => Value::Int(i16::from_be_bytes(take(bytes)).into()),
        0xd2 => Value::Int(i32::from_be_bytes(take(bytes)).into()),
        0xd3 => Value::Int(i64::from_be_bytes(take(bytes))),
        0xd9..=0xdb => {
            let len = len(bytes, marker - 0xd9);
            text(chunk(bytes, len))
        }
        0xdc | 0xdd => {
            let len = len(bytes, marker - 0xdc + 1);
            many(bytes, len)
        }
        0xde | 0xdf => {
            let len = len(bytes, marker - 0xde + 1);
            pairs(bytes, len)
        }
        0xe0.. => Value::Int((marker as i8).into()),
        other => panic!("the relay has written the marker {other:#x}"),
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Value::Int(value)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Str(text.to_owned())
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Value::Bin(bytes)
    }
}

/// A list of integers.
pub fn ints(values: &[i64]) -> Value {
    Value::Array(values.iter().map(|value| Value::Int(*value)).collect())
}

/// The text of a value.
pub fn text(value: &Value) -> String {
    match value {
        Value::Str(text) => text.clone(),
        other => panic!("{other:?} is no text"),
    }
}

/// The value of a key of a map.
pub fn by_key(map: &Value, key: &str) -> Value {
    let Value::Map(pairs) = map else { panic!("{map:?} is no map") };
    let pair = pairs.iter().find(|(other, _)| other == key);
    pair.unwrap_or_else(|| panic!("{key} is missing in {map:?}")).1.clone()
}

/// The bytes of a map.
pub fn map(pairs: &[(&str, Value)]) -> Vec<u8> {
    map_owned(&owned(pairs))
}

pub fn map_owned(pairs: &[(String, Value)]) -> Vec<u8> {
    let mut out = Vec::new();
    Value::Map(pairs.to_vec()).write(&mut out);
    out
}

fn owned(pairs: &[(&str, Value)]) -> Vec<(String, Value)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
}

/// A whole package; `seq` is missing in one-way quests.
pub fn frame(version: u8, flags: u8, kind: u8, method: &str, seq: Option<u32>, payload: &[u8]) -> Vec<u8> {
    let mut bytes = b"FPNN".to_vec();
    bytes.extend([version, flags, kind, method.len() as u8]);
    bytes.extend((payload.len() as u32).to_le_bytes());
    bytes.extend(seq.map(u32::to_le_bytes).into_iter().flatten());
    bytes.extend(method.bytes());
    bytes.extend(payload);
    bytes
}

/// An answer to one of the relay's pushes.
pub fn answer(status: u8, seq: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = frame(1, 0x80, 2, "", Some(seq), payload);
    bytes[7] = status;
    bytes
}

/// The bytes of a captured package.
pub fn golden(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../proto/tests/golden/{name}.hex"));
    let text = std::fs::read_to_string(path).unwrap();
    let hex = text.lines().find_map(|line| line.strip_prefix("# raw hex: ")).unwrap().trim();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// Seconds since 1970.
pub fn now() -> i64 {
    now_ms() / 1_000
}

pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

/// A relay for development.
pub fn dev() -> BlockingRelay {
    relay(|_| ())
}

/// A relay for development with something changed.
pub fn relay(change: impl FnOnce(&mut Config)) -> BlockingRelay {
    let mut config = Config::dev().unwrap();
    config.projects[0].secrets = vec!["a secret".to_owned()];
    change(&mut config);
    BlockingRelay::start(config).unwrap()
}

/// The parameters that sign a quest.
pub fn signature(method: &str, project: i64, secret: &str, ts: i64) -> Vec<(String, Value)> {
    let salt = now_ms();
    let sign = request_sign(project, secret, salt, method, ts);
    owned(&[("pid", project.into()), ("salt", salt.into()), ("ts", ts.into()), ("sign", sign.as_str().into())])
}

/// A package that has come.
#[derive(Debug)]
pub struct Package {
    pub version: u8,
    pub flags: u8,
    pub kind: u8,
    pub status: u8,
    pub seq: u32,
    pub method: String,
    pub payload: Vec<u8>,
}

impl Package {
    pub fn value(&self) -> Value {
        let mut bytes = self.payload.as_slice();
        let value = read(&mut bytes);
        assert!(bytes.is_empty(), "{self:?} goes on behind its map");
        value
    }
}

/// A connection to a gate.
pub struct Link {
    stream: TcpStream,
    buffer: Vec<u8>,
    project: i64,
    secret: String,
    seq: u32,
    /// Pushes that came while an answer was waited for.
    pushes: std::collections::VecDeque<Package>,
}

impl Link {
    pub fn open(relay: &BlockingRelay) -> Self {
        Self::open_at(relay.rtm_address().unwrap(), relay)
    }

    pub fn open_at(address: SocketAddr, relay: &BlockingRelay) -> Self {
        Self::open_to(address, relay.project(), relay.secret())
    }

    /// To a relay that is a process of its own.
    pub fn open_to(address: SocketAddr, project: i64, secret: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let secret = secret.to_owned();
        Self { stream, buffer: Vec::new(), project, secret, seq: 0, pushes: Default::default() }
    }

    pub fn sign_as(&mut self, project: i64, secret: &str) {
        (self.project, self.secret) = (project, secret.to_owned());
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    fn fill(&mut self, len: usize) -> bool {
        let mut bytes = [0; 16 * 1024];
        while self.buffer.len() < len {
            match self.stream.read(&mut bytes) {
                Ok(0) => return false,
                Ok(count) => self.buffer.extend(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return false,
                Err(error) => panic!("nothing came: {error}"),
            }
        }
        true
    }

    /// The next package; `None` when the relay has closed the connection.
    pub fn next(&mut self) -> Option<Package> {
        if let Some(push) = self.pushes.pop_front() {
            return Some(push);
        }
        self.next_from_socket()
    }

    fn next_from_socket(&mut self) -> Option<Package> {
        if !self.fill(12) {
            assert!(self.buffer.is_empty(), "a package was cut off");
            return None;
        }
        let head: [u8; 12] = self.buffer[..12].try_into().unwrap();
        assert_eq!(&head[..4], b"FPNN");
        let (kind, ss) = (head[6], head[7]);
        let at = if kind == 0 { 12 } else { 16 };
        let method_len = if kind == 2 { 0 } else { usize::from(ss) };
        let total = at + method_len + u32::from_le_bytes(head[8..].try_into().unwrap()) as usize;
        if !self.fill(total) {
            return None;
        }
        let bytes: Vec<u8> = self.buffer.drain(..total).collect();
        let seq = if kind == 0 { 0 } else { u32::from_le_bytes(bytes[12..16].try_into().unwrap()) };
        let method = String::from_utf8(bytes[at..at + method_len].to_vec()).unwrap();
        let status = if kind == 2 { ss } else { 0 };
        Some(Package {
            version: head[4],
            flags: head[5],
            kind,
            status,
            seq,
            method,
            payload: bytes[at + method_len..].to_vec(),
        })
    }

    /// Reads just these bytes.
    pub fn expect_bytes(&mut self, expected: &[u8]) {
        assert!(self.fill(expected.len()), "the relay has closed the connection");
        let bytes: Vec<u8> = self.buffer.drain(..expected.len()).collect();
        assert_eq!(bytes, expected);
    }

    /// Reads so many bytes, whatever they are.
    pub fn expect_len(&mut self, len: usize) {
        assert!(self.fill(len), "the relay has closed the connection");
        self.buffer.drain(..len);
    }

    fn send(&mut self, method: &str, params: &[(String, Value)]) {
        self.seq += 1;
        let bytes = frame(1, 0x80, 1, method, Some(self.seq), &map_owned(params));
        self.write(&bytes);
    }

    /// Sends a signed quest and does not wait for its answer.
    pub fn send_signed(&mut self, method: &str, params: &[(&str, Value)]) {
        let params = self.signed(method, &owned(params));
        self.send(method, &params);
    }

    fn signed(&self, method: &str, params: &[(String, Value)]) -> Vec<(String, Value)> {
        let mut all = signature(method, self.project, &self.secret, now());
        all.extend(params.iter().cloned());
        all
    }

    fn answer(&mut self) -> Option<Result<Value, (i32, String)>> {
        loop {
            let package = self.next_from_socket()?;
            if package.kind != 2 {
                self.pushes.push_back(package);
                continue;
            }
            assert_eq!(package.seq, self.seq);
            let value = package.value();
            return Some(match package.status {
                0 => Ok(value),
                _ => Err((by_key(&value, "code").int().try_into().unwrap(), text(&by_key(&value, "ex")))),
            });
        }
    }

    /// Sends just these parameters and returns the answer.
    pub fn ask_owned(&mut self, method: &str, params: &[(String, Value)]) -> Result<Value, (i32, String)> {
        self.send(method, params);
        self.answer().expect("an answer")
    }

    pub fn ask_owned_signed(&mut self, method: &str, params: &[(String, Value)]) -> Result<Value, (i32, String)> {
        let params = self.signed(method, params);
        self.ask_owned(method, &params)
    }

    /// Sends a signed quest and returns the answer.
    pub fn ask(&mut self, method: &str, params: &[(&str, Value)]) -> Result<Value, (i32, String)> {
        self.ask_owned_signed(method, &owned(params))
    }

    /// Sends a quest without a signature.
    pub fn ask_plain(&mut self, method: &str, params: &[(&str, Value)]) -> Result<Value, (i32, String)> {
        self.ask_owned(method, &owned(params))
    }

    /// Like [`ask_plain`](Self::ask_plain); `None` when the relay has closed the connection.
    pub fn try_ask_plain(&mut self, method: &str) -> Option<Result<Value, (i32, String)>> {
        self.seq += 1;
        self.stream.write_all(&frame(1, 0x80, 1, method, Some(self.seq), &map(&[]))).ok()?;
        self.answer()
    }

    /// The next push, pings too.
    pub fn push_frame(&mut self) -> Package {
        let package = self.next().expect("a push");
        assert_eq!((package.version, package.flags, package.kind), (1, 0x80, 1), "{package:?}");
        package
    }

    /// The next push that is no ping: its method and what it says.
    pub fn push(&mut self) -> (String, Value) {
        loop {
            let package = self.push_frame();
            if package.method != "ping" {
                return (package.method.clone(), package.value());
            }
        }
    }

    /// The pushes that came before now.
    pub fn pushes_so_far(&mut self) -> Vec<(String, Value)> {
        // The relay queues pushes before it answers their sender, so they stand before this answer.
        self.ask_plain("*ping", &[]).unwrap();
        let pushes = self.pushes.drain(..).filter(|package| package.method != "ping");
        pushes.map(|package| (package.method.clone(), package.value())).collect()
    }
}

/// A session of the relay's own dialect.
pub struct Session {
    stream: TcpStream,
    reader: FrameReader,
}

/// A token that a backend makes by itself.
pub fn mint(relay: &BlockingRelay, user: &str) -> String {
    token::mint(relay.project(), user, 4_000_000_000, relay.secret())
}

/// Logs in with the relay's own dialect.
pub fn login(relay: &BlockingRelay, user: &str, token: &str) -> Result<Session, i64> {
    let stream = TcpStream::connect(relay.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut session = Session { stream, reader: FrameReader::new(SESSION_LIMIT) };
    let hello = msg::Hello { lowest: 1, highest: 1, features: 0, agent: "test".into() };
    session.ask::<_, msg::HelloAnswer>(1, &hello)?;
    let (user, token) = (user.to_owned(), token.to_owned());
    let login = msg::Login { project: relay.project(), user, token, session: [7; 16], epoch: 0 };
    session.ask::<_, msg::LoginAnswer>(2, &login)?;
    Ok(session)
}

impl Session {
    fn ask<M: Message, A: Body>(&mut self, seq: u32, message: &M) -> Result<A, i64> {
        let mut out = OutQueue::default();
        out.quest(seq, message);
        self.stream.write_all(&out.take()).unwrap();
        let frame = self.next().expect("an answer");
        msg::read_answer(&frame).unwrap().map_err(|error| error.code)
    }

    fn next(&mut self) -> Option<crvideo_proto::frame::Frame> {
        let mut bytes = [0; 4 * 1024];
        loop {
            if let Some(frame) = self.reader.next_frame().unwrap() {
                return Some(frame);
            }
            match self.stream.read(&mut bytes) {
                Ok(0) => return None,
                Ok(count) => self.reader.feed(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("nothing came: {error}"),
            }
        }
    }

    /// Our own address.
    pub fn local(&self) -> String {
        self.stream.local_addr().unwrap().to_string()
    }

    /// The next message of the RTM dialect: its number and its id.
    pub fn rtm_message(&mut self) -> (i64, crvideo_proto::id::TaskId) {
        loop {
            let frame = self.next().expect("a message");
            if frame.method() == msg::Rtm::METHOD {
                let message = msg::Rtm::read(&frame.payload).unwrap();
                return (message.mid, message.id);
            }
        }
    }

    /// The numbers and ids of the messages that come before the answer to a question that is asked now.
    pub fn rtm_messages_so_far(&mut self) -> Vec<(i64, crvideo_proto::id::TaskId)> {
        let mut out = OutQueue::default();
        out.quest(3, &msg::NewTicket {});
        self.stream.write_all(&out.take()).unwrap();
        let mut messages = Vec::new();
        loop {
            let frame = self.next().expect("an answer");
            if frame.kind == crvideo_proto::frame::Kind::Answer {
                return messages;
            }
            if frame.method() == msg::Rtm::METHOD {
                let message = msg::Rtm::read(&frame.payload).unwrap();
                messages.push((message.mid, message.id));
            }
        }
    }

    /// Says that the application has handled a message.
    pub fn handle(&mut self, id: crvideo_proto::id::TaskId) {
        let mut out = OutQueue::default();
        out.one_way(&msg::Got { id });
        self.stream.write_all(&out.take()).unwrap();
    }

    /// The code of the good-bye that ends the session.
    pub fn bye(&mut self) -> Option<i64> {
        loop {
            let frame = self.next()?;
            if frame.method() == msg::Bye::METHOD {
                return Some(msg::Bye::read(&frame.payload).unwrap().code);
            }
        }
    }
}
