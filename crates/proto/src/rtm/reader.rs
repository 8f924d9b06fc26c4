//! Frames of one RTM connection out of its byte stream, and the bytes of files as they arrive.
//!
//! A file travels as one value inside a quest's payload, with the other parameters around it in any order. The reader
//! hands its bytes on piece by piece and keeps the others, so a connection's memory does not grow with the file.

use bytes::{Buf, Bytes, BytesMut};
use rmp::Marker;

use super::params::{MAX_JSON, MAX_PARAMS, ParamError, Params};
use crate::frame::{FLAG_MSGPACK, Frame, FrameError, Head, Kind, frame_of};
use crate::pack::{MAX_DEPTH, PackError, Writer};

/// The methods whose payload carries a file.
pub const FILE_METHODS: [&str; 5] = ["sendfile", "sendfiles", "sendgroupfile", "sendroomfile", "broadcastfile"];
/// The payload of a frame without a file has at most this many bytes. They are held before anybody is known by a
/// signature, so it is little more than the largest quest takes: a message of 20,480 bytes to 10,000 users.
pub const MAX_PLAIN: usize = 256 * 1024;
/// The parameters beside a file have at most this many bytes together, for the same reason.
pub const MAX_OTHERS: usize = 256 * 1024;
/// The name of a parameter beside a file has at most this many bytes.
pub const MAX_KEY: usize = 255;
/// A payload that is too large is passed over and refused; one of more than this many times the limit, and more than
/// [`PASSED_OVER`], ends the connection.
const ABSURD: u64 = 4;
/// So many bytes are passed over, however small the limit is.
const PASSED_OVER: u64 = 256 * 1024 * 1024;

/// Below this, reading into a shared buffer and copying is cheaper than reading in place.
const LARGE: usize = 16 * 1024;
/// Room that is made for bytes to come, at most.
const ROOM: usize = 64 * 1024;

/// What came.
#[derive(Debug, Clone)]
pub enum Event {
    /// A whole frame: msgpack or JSON, with at most [`MAX_PLAIN`] bytes of payload (JSON: [`MAX_JSON`]).
    Frame(Frame),
    /// A frame whose payload was larger than `most` bytes, and has been passed over.
    TooLarge {
        /// The frame without its payload, to answer it.
        quest: Frame,
        /// What was allowed.
        most: usize,
    },
    /// A quest with a file begins.
    Begin {
        /// The frame without its payload, to answer it.
        quest: Frame,
        /// Bytes of the whole payload, as the header claims.
        size: u32,
    },
    /// The file's bytes begin.
    File {
        /// Their number, as claimed; not above the limit.
        len: usize,
        /// The parameters that stood before the file.
        before: Params,
    },
    /// Bytes of the file, in their order.
    Piece(Bytes),
    /// The quest has been read to its end: all parameters but `file`, or what is wrong with them. The connection can
    /// go on in either case.
    End(Result<Params, ParamError>),
}

/// Reads one connection.
#[derive(Debug)]
pub struct Reader {
    buffer: BytesMut,
    max_file: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    /// At a frame's head, or before a small frame is here whole.
    Frame,
    /// Inside the payload of a quest with a file.
    Body(Box<Body>),
    /// Inside a payload that is too large; so many bytes are still to come.
    Skip { quest: Frame, most: usize, left: usize },
}

impl Reader {
    /// A reader that takes files of at most `max_file` bytes.
    pub fn new(max_file: usize) -> Self {
        Self { buffer: BytesMut::new(), max_file, state: State::Frame }
    }

    /// The largest payload of a quest with a file.
    fn max_payload(&self) -> usize {
        self.max_file.saturating_add(MAX_OTHERS)
    }

    /// Bytes held that no event has taken yet.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Bytes of heap that are held for what is not complete yet.
    pub fn memory(&self) -> usize {
        self.buffer.capacity()
    }

    /// Takes bytes by copying them.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Takes out what is held and has not been read as events, for a stream that becomes another one between frames.
    pub fn take_rest(&mut self) -> BytesMut {
        std::mem::take(&mut self.buffer)
    }

    /// The buffer to read into without a copy, with some room for what is missing. `None` when a small read and
    /// [`feed`](Self::feed) serve better. It is meant to be asked for after all events were taken.
    pub fn large_rest(&mut self) -> Option<&mut BytesMut> {
        let missing = match &self.state {
            State::Frame => {
                let head = Head::read(&self.buffer, true).ok()??;
                (head.payload_at() + head.size as usize).saturating_sub(self.buffer.len())
            }
            State::Body(body) => body.file_left().saturating_sub(self.buffer.len()),
            State::Skip { .. } => 0,
        };
        if missing < LARGE {
            return None;
        }
        // Room that is left serves first, so that one allocation holds many pieces.
        if self.buffer.capacity() - self.buffer.len() < LARGE {
            self.buffer.reserve(missing.min(ROOM));
        }
        Some(&mut self.buffer)
    }

    /// The next event, if it is here. An error ends the connection.
    pub fn next_event(&mut self) -> Result<Option<Event>, FrameError> {
        let event = match &mut self.state {
            State::Frame => self.next_frame()?,
            State::Body(body) => {
                let event = body.next(&mut self.buffer);
                if let Some(Event::End(_)) = event {
                    self.state = State::Frame;
                }
                event
            }
            State::Skip { quest, most, left } => {
                *left -= discard(&mut self.buffer, *left);
                (*left == 0).then(|| Event::TooLarge { quest: quest.clone(), most: *most }).inspect(|_| {
                    self.state = State::Frame;
                })
            }
        };
        if self.buffer.is_empty() && matches!(self.state, State::Frame) {
            // An idle connection holds no buffer.
            self.buffer = BytesMut::new();
        }
        Ok(event)
    }

    fn next_frame(&mut self) -> Result<Option<Event>, FrameError> {
        if self.buffer.is_empty() {
            return Ok(None);
        }
        let Some(head) = Head::read(&self.buffer, true)? else { return Ok(None) };
        let (at, size) = (head.payload_at(), head.size as usize);
        if u64::from(head.size) > PASSED_OVER.max(ABSURD.saturating_mul(self.max_payload() as u64)) {
            return Err(FrameError::TooLarge(head.size));
        }
        if self.buffer.len() < at {
            return Ok(None);
        }
        let most = if head.flags == FLAG_MSGPACK { MAX_PLAIN } else { MAX_JSON };
        if self.has_file(&head) {
            let quest = frame_of(self.buffer.split_to(at).freeze())?;
            self.state = State::Body(Box::new(Body::new(size, self.max_file, size > self.max_payload())));
            return Ok(Some(Event::Begin { quest, size: head.size }));
        }
        if size > most {
            if head.kind == Kind::Answer {
                return Err(FrameError::TooLarge(head.size));
            }
            let quest = frame_of(self.buffer.split_to(at).freeze())?;
            self.state = State::Skip { quest, most, left: size };
            return self.next_event();
        }
        if self.buffer.len() < at + size {
            return Ok(None);
        }
        let whole = self.buffer.split_to(at + size).freeze();
        Ok(Some(Event::Frame(frame_of(whole)?)))
    }

    fn has_file(&self, head: &Head) -> bool {
        let at = head.payload_at();
        let method = self.buffer.get(at - usize::from(head.method)..at);
        head.flags == FLAG_MSGPACK
            && head.kind != Kind::Answer
            && FILE_METHODS.iter().any(|name| Some(name.as_bytes()) == method)
    }
}

/// Drops at most `most` bytes from the front; returns how many.
fn discard(buffer: &mut BytesMut, most: usize) -> usize {
    let count = most.min(buffer.len());
    drop(buffer.split_to(count));
    count
}

/// What has been seen of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    No,
    Nil,
    WrongType,
    Bytes,
}

/// Where the reading of a payload stands.
#[derive(Debug)]
enum Step {
    Root,
    Key,
    FileHead,
    /// Inside the file; so many bytes are still to come.
    File(usize),
    /// Inside another value, which is kept or passed over.
    Value {
        keep: bool,
    },
    /// The payload's rest is passed over.
    Failed(ParamError),
}

/// The payload of a quest with a file.
#[derive(Debug)]
struct Body {
    /// Bytes of the payload that are still to come or still in the buffer.
    left: usize,
    max_file: usize,
    step: Step,
    /// Pairs of the map that are still to come.
    pairs: usize,
    /// The other parameters, as msgpack without the map's head, and their number.
    others: BytesMut,
    kept: usize,
    seen: Seen,
    walk: Walk,
}

/// Whether reading a payload can go on.
enum Go {
    On,
    /// More bytes are needed.
    Wait,
    Event(Event),
}

impl Body {
    fn new(size: usize, max_file: usize, too_large: bool) -> Self {
        let step = if too_large { Step::Failed(ParamError::TooLarge("the file", max_file)) } else { Step::Root };
        let (others, seen, walk) = (BytesMut::new(), Seen::No, Walk::default());
        Self { left: size, max_file, step, pairs: 0, others, kept: 0, seen, walk }
    }

    /// Bytes of the file that are still to come.
    fn file_left(&self) -> usize {
        if let Step::File(left) = self.step { left } else { 0 }
    }

    fn next(&mut self, buffer: &mut BytesMut) -> Option<Event> {
        loop {
            if let Step::Failed(error) = &self.step {
                self.left -= discard(buffer, self.left);
                return (self.left == 0).then(|| Event::End(Err(error.clone())));
            }
            match self.advance(buffer) {
                Ok(Go::On) => {}
                Ok(Go::Event(event)) => return Some(event),
                // All of the payload is here and still there is too little.
                Ok(Go::Wait) if buffer.len() >= self.left => self.step = Step::Failed(PackError::Truncated.into()),
                Ok(Go::Wait) => return None,
                Err(error) => self.step = Step::Failed(error),
            }
        }
    }

    fn advance(&mut self, buffer: &mut BytesMut) -> Result<Go, ParamError> {
        match self.step {
            Step::Root => self.root(buffer),
            Step::Key if self.pairs == 0 => self.finish().map(|params| Go::Event(Event::End(Ok(params)))),
            Step::Key => self.key(buffer),
            Step::FileHead => self.file_head(buffer),
            Step::File(0) => {
                self.step = Step::Key;
                Ok(Go::On)
            }
            Step::File(left) => {
                let count = left.min(buffer.len());
                if count == 0 {
                    return Ok(Go::Wait);
                }
                self.left -= count;
                self.step = Step::File(left - count);
                Ok(Go::Event(Event::Piece(buffer.split_to(count).freeze())))
            }
            Step::Value { keep } => self.value(buffer, keep),
            Step::Failed(_) => Ok(Go::Wait),
        }
    }

    /// The part of the payload that is here.
    fn here<'a>(&self, buffer: &'a BytesMut) -> &'a [u8] {
        buffer.get(..self.left.min(buffer.len())).unwrap_or_default()
    }

    /// Consumes bytes that are here, and keeps them among the other parameters or not.
    fn take(&mut self, buffer: &mut BytesMut, count: usize, keep: bool) -> Result<(), ParamError> {
        if keep {
            if self.others.len() + count > MAX_OTHERS {
                return Err(ParamError::TooLarge("what stands beside the file", MAX_OTHERS));
            }
            self.others.extend_from_slice(buffer.get(..count).unwrap_or_default());
        }
        buffer.advance(count);
        self.left -= count;
        Ok(())
    }

    fn root(&mut self, buffer: &mut BytesMut) -> Result<Go, ParamError> {
        let Some(token) = Token::read(self.here(buffer))? else { return Ok(Go::Wait) };
        let What::Map(pairs) = token.what else { return Err(PackError::NotAMap.into()) };
        self.take(buffer, token.len, false)?;
        if pairs > self.left {
            return Err(PackError::Truncated.into());
        }
        if pairs > MAX_PARAMS {
            return Err(ParamError::TooManyParams);
        }
        self.pairs = pairs;
        self.step = Step::Key;
        Ok(Go::On)
    }

    fn key(&mut self, buffer: &mut BytesMut) -> Result<Go, ParamError> {
        let here = self.here(buffer);
        let Some(token) = Token::read(here)? else { return Ok(Go::Wait) };
        let What::Text(len) = token.what else { return Err(PackError::Key.into()) };
        if len > self.left - token.len {
            return Err(PackError::Truncated.into());
        }
        if len > MAX_KEY {
            return Err(ParamError::TooLarge("the name of a parameter", MAX_KEY));
        }
        let Some(key) = here.get(token.len..token.len + len) else { return Ok(Go::Wait) };
        let is_file = key == b"file";
        if is_file && self.seen != Seen::No {
            return Err(PackError::Twice("file").into());
        }
        self.take(buffer, token.len + len, !is_file)?;
        self.pairs -= 1;
        self.kept += usize::from(!is_file);
        self.walk = Walk::default();
        self.step = if is_file { Step::FileHead } else { Step::Value { keep: true } };
        Ok(Go::On)
    }

    fn file_head(&mut self, buffer: &mut BytesMut) -> Result<Go, ParamError> {
        let Some(token) = Token::read(self.here(buffer))? else { return Ok(Go::Wait) };
        let len = match token.what {
            What::Text(len) | What::Bin(len) => len,
            other => {
                self.seen = if other == What::Nil { Seen::Nil } else { Seen::WrongType };
                self.step = Step::Value { keep: false };
                return Ok(Go::On);
            }
        };
        self.take(buffer, token.len, false)?;
        if len > self.left {
            return Err(PackError::Truncated.into());
        }
        if len > self.max_file {
            return Err(ParamError::TooLarge("the file", self.max_file));
        }
        self.seen = Seen::Bytes;
        self.step = Step::File(len);
        Ok(Go::Event(Event::File { len, before: self.params()? }))
    }

    /// Goes on with a value that is not the file's bytes.
    fn value(&mut self, buffer: &mut BytesMut, keep: bool) -> Result<Go, ParamError> {
        let mut at_end = false;
        while !at_end {
            let count = if self.walk.raw > 0 {
                let count = self.walk.raw.min(self.here(buffer).len());
                if count == 0 {
                    return Ok(Go::Wait);
                }
                at_end = self.walk.pass(count);
                count
            } else {
                let Some(token) = Token::read(self.here(buffer))? else { return Ok(Go::Wait) };
                at_end = self.walk.enter(token.what, self.left - token.len)?;
                token.len
            };
            self.take(buffer, count, keep)?;
        }
        self.step = Step::Key;
        Ok(Go::On)
    }

    fn finish(&mut self) -> Result<Params, ParamError> {
        if self.left > 0 {
            return Err(PackError::Trailing.into());
        }
        match self.seen {
            Seen::Bytes => self.params(),
            Seen::WrongType => Err(ParamError::Type("file")),
            Seen::No | Seen::Nil => Err(ParamError::Missing("file")),
        }
    }

    /// The other parameters, as far as they have come.
    fn params(&self) -> Result<Params, ParamError> {
        let mut payload = BytesMut::with_capacity(self.others.len() + 3);
        Writer::new(&mut payload).map(self.kept);
        payload.extend_from_slice(&self.others);
        Params::read(payload.freeze())
    }
}

/// What stands at the head of a msgpack value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// A string of so many bytes.
    Text(usize),
    /// Bytes.
    Bin(usize),
    /// A map of so many pairs.
    Map(usize),
    /// An array of so many values.
    Array(usize),
    /// Nil.
    Nil,
    /// Anything else, with so many bytes behind its head.
    Plain(usize),
}

/// The head of a msgpack value.
#[derive(Debug, Clone, Copy)]
struct Token {
    /// Its own bytes.
    len: usize,
    what: What,
}

impl Token {
    /// The head at the front of `bytes`, if it is here whole.
    fn read(bytes: &[u8]) -> Result<Option<Self>, PackError> {
        let Some((first, rest)) = bytes.split_first() else { return Ok(None) };
        // A length of so many bytes, big-endian, behind the first byte.
        let length = |size: usize| -> Option<usize> {
            rest.get(..size).map(|bytes| bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
        };
        let marker = Marker::from_u8(*first);
        let size = match marker {
            Marker::Str8 | Marker::Bin8 | Marker::Ext8 => 1,
            Marker::Str16 | Marker::Bin16 | Marker::Ext16 | Marker::Array16 | Marker::Map16 => 2,
            Marker::Str32 | Marker::Bin32 | Marker::Ext32 | Marker::Array32 | Marker::Map32 => 4,
            _ => 0,
        };
        let Some(len) = length(size) else { return Ok(None) };
        let what = match marker {
            Marker::FixStr(len) => What::Text(len.into()),
            Marker::Str8 | Marker::Str16 | Marker::Str32 => What::Text(len),
            Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => What::Bin(len),
            Marker::FixMap(len) => What::Map(len.into()),
            Marker::Map16 | Marker::Map32 => What::Map(len),
            Marker::FixArray(len) => What::Array(len.into()),
            Marker::Array16 | Marker::Array32 => What::Array(len),
            Marker::Null => What::Nil,
            Marker::FixPos(_) | Marker::FixNeg(_) | Marker::True | Marker::False => What::Plain(0),
            Marker::U8 | Marker::I8 => What::Plain(1),
            Marker::U16 | Marker::I16 | Marker::FixExt1 => What::Plain(2),
            Marker::FixExt2 => What::Plain(3),
            Marker::U32 | Marker::I32 | Marker::F32 => What::Plain(4),
            Marker::FixExt4 => What::Plain(5),
            Marker::U64 | Marker::I64 | Marker::F64 => What::Plain(8),
            Marker::FixExt8 => What::Plain(9),
            Marker::FixExt16 => What::Plain(17),
            // An extension has a type byte before its data.
            Marker::Ext8 | Marker::Ext16 | Marker::Ext32 => What::Plain(len.saturating_add(1)),
            Marker::Reserved => return Err(PackError::Reserved),
        };
        Ok(Some(Self { len: 1 + size, what }))
    }
}

/// The way through one value of the root map, however deep it is.
#[derive(Debug, Default)]
struct Walk {
    /// How many values are still to come in each open container.
    open: [usize; MAX_DEPTH - 1],
    level: usize,
    /// Bytes of a plain value that are still to come.
    raw: usize,
}

impl Walk {
    /// Takes a head, with `left` bytes of the payload behind it; returns whether the whole value ends with it.
    fn enter(&mut self, what: What, left: usize) -> Result<bool, PackError> {
        let values = match what {
            What::Array(len) => len,
            What::Map(len) => len.saturating_mul(2),
            What::Text(len) | What::Bin(len) | What::Plain(len) if len > left => return Err(PackError::Truncated),
            What::Text(0) | What::Bin(0) | What::Plain(0) | What::Nil => return Ok(self.close()),
            What::Text(len) | What::Bin(len) | What::Plain(len) => {
                self.raw = len;
                return Ok(false);
            }
        };
        let slot = self.open.get_mut(self.level).ok_or(PackError::Depth)?;
        if values > left {
            return Err(PackError::Truncated);
        }
        if values == 0 {
            return Ok(self.close());
        }
        *slot = values;
        self.level += 1;
        Ok(false)
    }

    /// Passes over bytes of a plain value; returns whether the whole value ends with them.
    fn pass(&mut self, count: usize) -> bool {
        self.raw -= count;
        self.raw == 0 && self.close()
    }

    /// A value is done, and with it every container that it completes; returns whether nothing is open any more.
    fn close(&mut self) -> bool {
        while let Some(slot) = self.level.checked_sub(1).and_then(|top| self.open.get_mut(top)) {
            *slot -= 1;
            if *slot > 0 {
                return false;
            }
            self.level -= 1;
        }
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::frame::FLAG_JSON;
    use crate::rtm::params::Fields;

    const MAX_FILE: usize = 100_000;

    fn frame(kind: Kind, flags: u8, method: &'static str, payload: impl Into<Bytes>) -> Vec<u8> {
        let (method, payload) = (Bytes::from_static(method.as_bytes()), payload.into());
        let mut bytes = Vec::new();
        Frame { kind, version: 0, flags, status: 0, seq: 7, method, payload }.encode(&mut bytes);
        bytes
    }

    fn quest(payload: impl Into<Bytes>) -> Vec<u8> {
        frame(Kind::Quest, FLAG_MSGPACK, "sendfile", payload)
    }

    fn read(bytes: &[u8]) -> Result<Vec<Event>, FrameError> {
        let mut reader = Reader::new(MAX_FILE);
        reader.feed(bytes);
        let mut events = Vec::new();
        while let Some(event) = reader.next_event()? {
            events.push(event);
        }
        Ok(events)
    }

    /// What a quest with a file ends with; a small frame behind it shows that the connection goes on.
    fn end(payload: impl Into<Bytes>) -> Result<Params, ParamError> {
        let next = frame(Kind::Quest, FLAG_MSGPACK, "ping", b"\x80".as_slice());
        let mut events = read(&[quest(payload), next].concat()).unwrap();
        assert!(matches!(events.pop(), Some(Event::Frame(frame)) if frame.method() == "ping"));
        let Some(Event::End(end)) = events.pop() else { panic!("{events:?}") };
        end
    }

    #[test]
    fn a_file_comes_between_its_neighbours() {
        let fields = Fields::new().text("token", "t").bytes("file", b"content").int("to", 5);
        let events = read(&quest(fields.finish())).unwrap();
        let [Event::Begin { quest, .. }, Event::File { len, before }, Event::Piece(piece), Event::End(Ok(all))] =
            events.as_slice()
        else {
            panic!("{events:?}")
        };
        assert_eq!((quest.seq, quest.version, quest.method(), quest.payload.len()), (7, 0, "sendfile", 0));
        assert_eq!((*len, piece.as_ref()), (7, b"content".as_slice()));
        assert_eq!((before.text("token").unwrap().as_str(), before.has("to")), ("t", false));
        assert_eq!((all.int::<i64>("to").unwrap(), all.has("file")), (5, false));
    }

    #[test]
    fn a_file_may_be_text_empty_missing_or_of_a_wrong_type() {
        assert!(end(b"\x81\xa4file\xa3abc".as_slice()).is_ok());
        assert!(end(b"\x81\xa4file\xa0".as_slice()).is_ok());
        assert!(end(b"\x81\xa4file\xc4\x00".as_slice()).is_ok());
        assert_eq!(end(b"\x80".as_slice()).err(), Some(ParamError::Missing("file")));
        assert_eq!(end(b"\x81\xa4file\xc0".as_slice()).err(), Some(ParamError::Missing("file")));
        for wrong in [b"\x81\xa4file\xc2".as_slice(), b"\x81\xa4file\x05", b"\x82\xa4file\x91\x81\xa1a\x01\xa1b\x01"] {
            assert_eq!(end(wrong).err(), Some(ParamError::Type("file")), "{wrong:x?}");
        }
    }

    #[test]
    fn a_payload_that_is_no_map_of_parameters_is_named_and_passed_over() {
        let cases: [(&[u8], PackError); 8] = [
            (b"\x90", PackError::NotAMap),
            (b"\x82\xa4file\xa1x", PackError::Truncated),
            (b"\x81\xa4file\xa2x", PackError::Truncated),
            (b"\x81\xa1a\x92\x01", PackError::Truncated),
            (b"\x81\xa4file\xa1x\x00", PackError::Trailing),
            (b"\x81\x01\x01", PackError::Key),
            (b"\x81\xa1a\xc1", PackError::Reserved),
            (b"\x82\xa4file\xa1x\xa4file\xa1x", PackError::Twice("file")),
        ];
        for (payload, error) in cases {
            assert_eq!(end(payload).err(), Some(ParamError::Payload(error)), "{payload:x?}");
        }
        let twice = end(b"\x83\xa1a\x01\xa1a\x02\xa4file\xa1x".as_slice());
        assert_eq!(twice.err(), Some(ParamError::Payload(PackError::Twice("a parameter"))));
        let deep = [b"\x81\xa1a".as_slice(), &[0x91; 1000]].concat();
        assert_eq!(end(deep).err(), Some(ParamError::Payload(PackError::Depth)));
        let long = [b"\x81\xda\x01\x00".as_slice(), &[b'k'; 256], &[1]].concat();
        assert_eq!(end(long).err(), Some(ParamError::TooLarge("the name of a parameter", MAX_KEY)));
    }

    #[test]
    fn depth_is_limited_where_it_is_limited_elsewhere() {
        for depth in [MAX_DEPTH - 1, MAX_DEPTH] {
            let nested = [vec![0x91; depth], vec![0x01]].concat();
            let whole = Params::read([b"\x81\xa1a".to_vec(), nested.clone()].concat().into());
            let streamed = end([b"\x82\xa1a".to_vec(), nested, b"\xa4file\xa0".to_vec()].concat());
            assert_eq!(whole.is_ok(), streamed.is_ok(), "{depth}");
            assert_eq!(whole.is_ok(), depth < MAX_DEPTH);
        }
    }

    #[test]
    fn what_is_too_large_is_passed_over_and_only_the_absurd_ends_the_connection() {
        let file = |len: usize| Fields::new().bytes("file", &vec![1; len]).finish();
        assert!(end(file(MAX_FILE)).is_ok());
        assert_eq!(end(file(MAX_FILE + 1)).err(), Some(ParamError::TooLarge("the file", MAX_FILE)));
        assert_eq!(end(file(MAX_FILE + MAX_OTHERS)).err(), Some(ParamError::TooLarge("the file", MAX_FILE)));
        let others = Fields::new().bytes("x", &vec![1; MAX_OTHERS]).text("file", "").finish();
        assert_eq!(end(others).err(), Some(ParamError::TooLarge("what stands beside the file", MAX_OTHERS)));

        let plain = Fields::new().bytes("msg", &vec![1; MAX_PLAIN]).finish();
        let events = read(&frame(Kind::Quest, FLAG_MSGPACK, "sendmsg", plain.clone())).unwrap();
        assert!(matches!(events.as_slice(), [Event::TooLarge { quest, most: MAX_PLAIN }] if quest.seq == 7));
        let json = vec![b' '; MAX_JSON + 1];
        let events = read(&frame(Kind::Quest, FLAG_JSON, "sendfile", json)).unwrap();
        assert!(matches!(events.as_slice(), [Event::TooLarge { most: MAX_JSON, .. }]));
        assert!(matches!(read(&frame(Kind::Answer, FLAG_MSGPACK, "", plain)), Err(FrameError::TooLarge(_))));
        let mut absurd = quest(b"\x80".as_slice());
        absurd[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(read(&absurd[..12]).err(), Some(FrameError::TooLarge(u32::MAX)));
    }

    #[test]
    fn an_answer_that_looks_like_a_file_is_a_frame() {
        let mut bytes = frame(Kind::Answer, FLAG_MSGPACK, "", b"\x80".as_slice());
        bytes[7] = 8;
        assert!(matches!(read(&bytes).unwrap().as_slice(), [Event::Frame(frame)] if frame.status == 8));
    }

    #[test]
    fn a_large_file_is_read_in_place_and_an_idle_reader_holds_nothing() {
        let bytes = quest(Fields::new().bytes("file", &vec![9; MAX_FILE]).finish());
        let (mut reader, mut given, mut got, mut direct) = (Reader::new(MAX_FILE), 0, 0, 0);
        while given < bytes.len() {
            let rest = &bytes[given..];
            given += match reader.large_rest() {
                Some(buffer) => {
                    let count = rest.len().min(buffer.capacity() - buffer.len());
                    buffer.extend_from_slice(&rest[..count]);
                    direct += count;
                    count
                }
                None => {
                    let count = rest.len().min(100);
                    reader.feed(&rest[..count]);
                    count
                }
            };
            while let Some(event) = reader.next_event().unwrap() {
                if let Event::Piece(piece) = event {
                    got += piece.len();
                }
            }
            assert!(reader.buffer.capacity() <= 2 * ROOM);
        }
        assert_eq!(got, MAX_FILE);
        assert!(direct > MAX_FILE / 2, "{direct}");
        assert_eq!(reader.buffer.capacity(), 0);
    }
}
