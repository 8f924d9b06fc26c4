//! FPNN framing: bytes in, frames out. The layout stands in `docs/wire.md`, section 1.

use std::collections::{TryReserveError, VecDeque};

use bytes::{Buf, Bytes, BytesMut};

use crate::seal::{SEAL_LEN, Seal};
use crate::shelf::{Common, Shelf};

/// Bytes before the sequence number.
pub const HEADER_LEN: usize = 12;
/// The four bytes that open every frame.
pub const MAGIC: [u8; 4] = *b"FPNN";
/// The frame version that we write.
pub const VERSION: u8 = 1;
/// Flag: the payload is msgpack.
pub const FLAG_MSGPACK: u8 = 0x80;
/// Flag: the payload is JSON.
pub const FLAG_JSON: u8 = 0x40;
/// Payload limit of a connection on which nobody has logged in yet.
pub const PRE_LOGIN_LIMIT: usize = 4 * 1024;
/// Payload limit of a logged-in connection: one chunk of 1 MiB and its address.
pub const SESSION_LIMIT: usize = 1024 * 1024 + 4 * 1024;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Expects no answer.
    OneWay,
    /// Expects exactly one answer with the same sequence number.
    Quest,
    /// Answers a quest.
    Answer,
}

/// One whole frame. Its parts share the memory that the bytes were read into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What the frame is.
    pub kind: Kind,
    /// The version byte as it came (real SDKs send 0 or 1).
    pub version: u8,
    /// The flags byte as it came.
    pub flags: u8,
    /// An answer's status; 0 in quests and one-ways.
    pub status: u8,
    /// Sequence number; 0 in one-ways.
    pub seq: u32,
    /// Method name, UTF-8; empty in answers.
    pub method: Bytes,
    /// The payload, not decoded.
    pub payload: Bytes,
}

impl Frame {
    /// The method's name.
    pub fn method(&self) -> &str {
        core::str::from_utf8(&self.method).unwrap_or_default()
    }

    /// Writes the frame as it stands in its version, flags and sequence number.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (mtype, ss) = match self.kind {
            Kind::OneWay => (0, self.method.len() as u8),
            Kind::Quest => (1, self.method.len() as u8),
            Kind::Answer => (2, self.status),
        };
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[self.version, self.flags, mtype, ss]);
        out.extend_from_slice(&(self.payload.len() as u32).to_le_bytes());
        if self.kind != Kind::OneWay {
            out.extend_from_slice(&self.seq.to_le_bytes());
        }
        out.extend_from_slice(&self.method);
        out.extend_from_slice(&self.payload);
    }
}

/// Why bytes are not a frame. Each of them ends the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// The first four bytes are not `FPNN`.
    Magic,
    /// Not exactly one of msgpack and JSON, or a flag that this connection does not take.
    Flags(u8),
    /// The message type is above 2.
    Type(u8),
    /// A quest without a method name, or a name that is not UTF-8.
    Method,
    /// A payload of no bytes at all.
    EmptyPayload,
    /// A payload larger than this connection allows.
    TooLarge(u32),
    /// It is not what was sent, or not where it was sent: its seal does not fit.
    Seal,
}

impl core::fmt::Display for FrameError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            FrameError::Magic => f.write_str("does not begin with FPNN"),
            FrameError::Flags(flags) => write!(f, "has flags {flags:#04x}"),
            FrameError::Type(mtype) => write!(f, "has message type {mtype}"),
            FrameError::Method => f.write_str("has no valid method name"),
            FrameError::EmptyPayload => f.write_str("has an empty payload"),
            FrameError::TooLarge(size) => write!(f, "claims {size} payload bytes"),
            FrameError::Seal => {
                f.write_str("has a seal that does not fit: it was changed, repeated or lost on the way")
            }
        }
    }
}

/// Splits a byte stream into frames. Holds no memory while no frame is under way.
#[derive(Debug)]
pub struct FrameReader {
    buffer: BytesMut,
    limit: usize,
    json: bool,
    /// Large frames get memory of their own.
    apart: bool,
    /// A frame that was handed out lies in the same memory as what is still here.
    shared: bool,
    /// Where the buffers of large frames come from, on a connection that brings many of them.
    bulk: Option<Box<Bulk>>,
    /// Every frame ends with a seal.
    seal: Option<Seal>,
}

/// What a reader of many large frames keeps.
#[derive(Debug)]
struct Bulk {
    shelf: Shelf,
    /// The frame before was a large one of so many bytes, and probably the next one is, too. Whoever has sent so much in
    /// one frame may have as much room for the next at once.
    before: usize,
    /// It is kept as long as the reader; else as long as large frames follow each other. Nobody knows when the last one of
    /// these has come, so all such readers of the process keep little together.
    lasting: bool,
    /// Large frames that came whole before what is still here.
    done: VecDeque<Bytes>,
}

impl Bulk {
    fn new(lasting: bool) -> Box<Self> {
        let shelf = if lasting { Shelf::new(SPARE) } else { Shelf::sharing(SPARE_OF_ONE, &SPARE_OF_ALL) };
        Box::new(Self { shelf, before: 0, lasting, done: VecDeque::new() })
    }
}

/// Bytes of buffers that wait in a reader of many large frames.
const SPARE: usize = 2 * 1024 * 1024;
/// The same where large frames come now and then, such as large commands.
const SPARE_OF_ONE: usize = 512 * 1024;
/// And of all such readers together.
static SPARE_OF_ALL: Common = Common::new(2 * 1024 * 1024);
/// A frame from this size on is large enough for a buffer of its own.
const LARGE_FROM: usize = 64 * 1024;
/// Bytes that are read of a frame that is probably large: its head. What is read with it is copied.
const HEAD_READ: usize = 512;

/// Frames of this size and above are kept apart from others where that is asked for.
const APART_FROM: usize = crate::pack::TAIL_FROM;

/// Smallest step by which a reader's buffer grows.
const GROWTH: usize = 16 * 1024;

/// Memory of this size and above is asked for, not demanded.
const ASKED_FROM: usize = 64 * 1024;
/// Room that is made at least, so that it takes no more than 64 KiB with what is moved into it.
const LEAST_ROOM: usize = 4 * GROWTH - 256;

impl FrameReader {
    /// A reader that refuses payloads above `limit` bytes and takes msgpack alone.
    pub fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), limit, json: false, apart: false, shared: false, bulk: None, seal: None }
    }

    /// Gives large frames memory of their own, so that who keeps one keeps no more than that. Without it, a frame keeps
    /// all in memory that was read together with it.
    pub fn keep_apart(mut self) -> Self {
        self.apart = true;
        self
    }

    /// Many large frames are to come: their buffers are used again, and kept as long as the reader.
    pub fn expect_bulk(&mut self) {
        if !self.bulk.as_ref().is_some_and(|bulk| bulk.lasting) {
            self.bulk = Some(Bulk::new(true));
        }
    }

    /// How many of `most` bytes should be read at once where [`large_rest`](Self::large_rest) has no room to offer.
    pub fn next_read(&self, most: usize) -> usize {
        match &self.bulk {
            Some(bulk) if bulk.before > 0 && self.buffer.is_empty() => HEAD_READ.min(most),
            _ => most,
        }
    }

    /// Also takes JSON payloads (listeners for third-party SDKs).
    pub fn allow_json(mut self) -> Self {
        self.json = true;
        self
    }

    /// Changes the limit, from the next frame on.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Expects a seal at the end of each frame, from the next one on.
    pub fn expect_seals(&mut self, seal: Seal) {
        self.seal = Some(seal);
    }

    /// Bytes held for a frame that is not complete yet.
    pub fn buffered(&self) -> usize {
        self.buffer.len() + self.done()
    }

    fn done(&self) -> usize {
        self.bulk.as_ref().map_or(0, |bulk| bulk.done.iter().map(Bytes::len).sum())
    }

    /// Bytes of heap that are held for a frame that is not complete yet, and for those to come.
    pub fn memory(&self) -> usize {
        self.buffer.capacity() + self.done() + self.bulk.as_ref().map_or(0, |bulk| bulk.shelf.memory())
    }

    /// Takes bytes by copying them.
    pub fn feed(&mut self, bytes: &[u8]) {
        let bytes = self.feed_large(bytes);
        self.buffer.extend_from_slice(bytes);
    }

    /// Takes by copying all that `from` gives without waiting, such as the plain text of an encrypted connection. Returns how
    /// many bytes that was.
    pub fn feed_from(&mut self, from: &mut impl std::io::BufRead) -> usize {
        let mut total = 0;
        while let Ok(piece) = from.fill_buf()
            && !piece.is_empty()
        {
            let len = piece.len();
            self.feed(piece);
            from.consume(len);
            total += len;
        }
        total
    }

    /// Takes those bytes that belong to large frames in buffers of their own; the others are given back.
    fn feed_large<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [u8] {
        while self.bulk.is_some() && !bytes.is_empty() {
            if let Some(buffer) = self.large_rest() {
                let room = buffer.capacity() - buffer.len();
                let (now, later) = bytes.split_at(room.min(bytes.len()));
                buffer.extend_from_slice(now);
                bytes = later;
                continue;
            }
            let whole = self.buffer.len() >= LARGE_FROM && self.buffer.capacity() == self.buffer.len() && !self.shared;
            if !whole || self.frame_len() != Ok(Some(self.buffer.len())) {
                break;
            }
            let buffer = core::mem::take(&mut self.buffer);
            if let Some(bulk) = &mut self.bulk {
                bulk.done.push_back(bulk.shelf.lend(buffer));
            }
        }
        bytes
    }

    /// [`feed`](Self::feed) that fails where there is no memory, and then takes nothing.
    pub fn try_feed(&mut self, bytes: &[u8]) -> Result<(), TryReserveError> {
        let bytes = self.feed_large(bytes);
        if self.buffer.capacity() - self.buffer.len() < bytes.len() {
            self.make_room(bytes.len())?;
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// The buffer to read the rest of a large frame into without a copy: it has room for
    /// some of what is missing, more only as more has arrived. `None` when a small read
    /// and [`feed`](Self::feed) serve better.
    pub fn large_rest(&mut self) -> Option<&mut BytesMut> {
        let total = self.frame_len().ok()??;
        let missing = total.saturating_sub(self.buffer.len());
        if self.buffer.capacity() == total && missing > 0 && self.bulk.is_some() {
            return Some(&mut self.buffer);
        }
        if missing < GROWTH {
            return None;
        }
        if let Some(bulk) = &self.bulk
            && total <= bulk.before + HEAD_READ
        {
            let mut whole = bulk.shelf.take(total).ok()?;
            whole.extend_from_slice(&self.buffer);
            self.buffer = whole;
            self.shared = false;
            return Some(&mut self.buffer);
        }
        // Room that is left serves first: to top it up after every read would double the memory at the second byte.
        if self.buffer.capacity() - self.buffer.len() < GROWTH {
            let room = missing.min(self.buffer.len().max(LEAST_ROOM));
            // Without memory for that, reading goes on in small steps, and the first that fails ends the connection.
            self.make_room(room).ok()?;
        }
        Some(&mut self.buffer)
    }

    /// Room for `more` bytes. A library must not abort its host for what a peer sends, so that large rooms are asked
    /// for; `BytesMut` itself can only demand.
    fn make_room(&mut self, more: usize) -> Result<(), TryReserveError> {
        let needed = self.buffer.len().saturating_add(more);
        if self.buffer.try_reclaim(more) {
            return Ok(());
        }
        if needed < ASKED_FROM / 2 {
            self.buffer.reserve(more);
            return Ok(());
        }
        let mut larger = Vec::new();
        larger.try_reserve_exact(needed.max(LEAST_ROOM))?;
        larger.extend_from_slice(&self.buffer);
        // A vector of which nobody else knows becomes a buffer without being copied.
        self.buffer = Bytes::from(larger).try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        self.shared = false;
        Ok(())
    }

    /// The head of the frame at the front, once it is here and good.
    fn head(&self) -> Result<Option<Head>, FrameError> {
        match Head::read(&self.buffer, self.json)? {
            Some(head) if u64::from(head.size) > self.limit as u64 => Err(FrameError::TooLarge(head.size)),
            head => Ok(head),
        }
    }

    /// The whole length of the frame at the front, once its head is here and good.
    fn frame_len(&self) -> Result<Option<usize>, FrameError> {
        Ok(self.head()?.map(|head| head.frame_len()))
    }

    /// The next whole frame, if it is here.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(bulk) = &mut self.bulk
            && let Some(bytes) = bulk.done.pop_front()
        {
            bulk.before = bytes.len();
            let head = Head::read(&bytes, self.json)?;
            return head.map(|head| self.unseal(bytes, head)).transpose();
        }
        if self.buffer.is_empty() {
            return Ok(None);
        }
        let Some(head) = self.head()? else {
            return Ok(None);
        };
        let total = head.frame_len();
        if self.buffer.len() < total {
            return Ok(None);
        }
        let last = self.buffer.len() == total;
        let fits = last && !self.shared && self.buffer.capacity() - total <= total / 32;
        if total >= LARGE_FROM {
            self.bulk.get_or_insert_with(|| Bulk::new(false));
        } else if self.bulk.as_ref().is_some_and(|bulk| !bulk.lasting) {
            self.bulk = None;
        }
        if let Some(bulk) = &mut self.bulk {
            bulk.before = if total >= LARGE_FROM { total } else { 0 };
            if fits {
                let bytes = bulk.shelf.lend(core::mem::take(&mut self.buffer));
                return self.unseal(bytes, head).map(Some);
            }
        }
        let bytes = if self.apart && total >= APART_FROM && !fits {
            let bytes = Bytes::copy_from_slice(&self.buffer[..total]);
            self.buffer.advance(total);
            bytes
        } else if last {
            core::mem::take(&mut self.buffer).freeze()
        } else {
            self.shared = true;
            self.buffer.split_to(total).freeze()
        };
        if last {
            self.buffer = BytesMut::new();
            self.shared = false;
        }
        self.unseal(bytes, head).map(Some)
    }

    /// A whole frame, without its seal.
    fn unseal(&mut self, mut bytes: Bytes, head: Head) -> Result<Frame, FrameError> {
        if let Some(seal) = &mut self.seal {
            // A payload holds one byte at least beside the seal.
            let end = bytes.len().checked_sub(SEAL_LEN).filter(|end| *end > head.payload_at());
            let (sealed, stamp) = bytes.split_at_checked(end.ok_or(FrameError::Seal)?).ok_or(FrameError::Seal)?;
            seal.add(sealed);
            if stamp.first_chunk() != Some(&seal.bytes()) {
                return Err(FrameError::Seal);
            }
            bytes.truncate(bytes.len() - SEAL_LEN);
        }
        frame_of(bytes)
    }
}

/// Bytes of the whole frame at the front of `bytes`, JSON frames too; `None` while that cannot be known yet.
pub fn frame_len(bytes: &[u8]) -> Result<Option<u64>, FrameError> {
    let head = Head::read(bytes, true)?;
    Ok(head.map(|head| head.payload_at() as u64 + u64::from(head.size)))
}

/// The fixed part of a frame, checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    /// What the frame is.
    pub(crate) kind: Kind,
    /// The flags byte.
    pub(crate) flags: u8,
    /// Bytes of the payload; at least one.
    pub(crate) size: u32,
    /// Bytes of the method's name.
    pub(crate) method: u8,
}

impl Head {
    /// The head at the front of `bytes`, once it is here whole. A stranger is recognised by his first byte.
    pub(crate) fn read(bytes: &[u8], json: bool) -> Result<Option<Self>, FrameError> {
        let seen = bytes.len().min(MAGIC.len());
        if bytes[..seen] != MAGIC[..seen] {
            return Err(FrameError::Magic);
        }
        let Some(head) = bytes.first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let [_, _, _, _, _, flags, mtype, ss, s0, s1, s2, s3] = *head;
        if flags != FLAG_MSGPACK && !(json && flags == FLAG_JSON) {
            return Err(FrameError::Flags(flags));
        }
        let (kind, method) = match mtype {
            0 => (Kind::OneWay, ss),
            1 => (Kind::Quest, ss),
            2 => (Kind::Answer, 0),
            _ => return Err(FrameError::Type(mtype)),
        };
        if kind != Kind::Answer && method == 0 {
            return Err(FrameError::Method);
        }
        let size = u32::from_le_bytes([s0, s1, s2, s3]);
        if size == 0 {
            return Err(FrameError::EmptyPayload);
        }
        Ok(Some(Self { kind, flags, size, method }))
    }

    /// Where the payload begins.
    pub(crate) fn payload_at(&self) -> usize {
        let seq = if self.kind == Kind::OneWay { 0 } else { 4 };
        HEADER_LEN + seq + usize::from(self.method)
    }

    /// Bytes of the whole frame.
    fn frame_len(&self) -> usize {
        self.payload_at() + self.size as usize
    }
}

/// The frame that `bytes` are: a head that [`Head::read`] found good, its method, and all or nothing of its payload.
pub(crate) fn frame_of(mut bytes: Bytes) -> Result<Frame, FrameError> {
    let (version, flags, mtype, ss) = (bytes[4], bytes[5], bytes[6], bytes[7]);
    bytes.advance(HEADER_LEN);
    let kind = match mtype {
        0 => Kind::OneWay,
        1 => Kind::Quest,
        _ => Kind::Answer,
    };
    let seq = if kind == Kind::OneWay { 0 } else { bytes.get_u32_le() };
    let method = if kind == Kind::Answer { Bytes::new() } else { bytes.split_to(usize::from(ss)) };
    if !method.is_ascii() && core::str::from_utf8(&method).is_err() {
        return Err(FrameError::Method);
    }
    let status = if kind == Kind::Answer { ss } else { 0 };
    Ok(Frame { kind, version, flags, status, seq, method, payload: bytes })
}
