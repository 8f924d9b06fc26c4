//! What waits to be written to one connection.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

use crate::frame::{FLAG_MSGPACK, Frame, HEADER_LEN, MAGIC, VERSION};
use crate::message::{Body, ErrorAnswer, Message, Routed};
use crate::pack::{Writer, packed_key};
use crate::seal::{SEAL_LEN, Seal};

/// Bytes of small frames that are collected in one piece.
const OPEN_LIMIT: usize = 16 * 1024;

/// Room that is kept for one more small frame, or the buffer would grow to twice its size for it.
const LAST_FRAME: usize = 1024;
/// The first buffer for small frames has room for so many bytes.
const FIRST_ROOM: usize = 256;
/// What the heap holds for one string of bytes beside the bytes: how often it is shared, and the address in front of a
/// large byte string that was cut off.
const PIECE_OVERHEAD: usize = 64;

/// Bytes on their way out, in order. Small frames share a buffer, large byte strings are never copied.
#[derive(Debug, Default)]
pub struct OutQueue {
    ready: VecDeque<Piece>,
    open: BytesMut,
    len: usize,
    written: u64,
    /// Memory of the pieces that are ready.
    held: usize,
    /// The epoch of the session that the connection belongs to, for the address of routed messages.
    stamp: Option<u64>,
    /// Every frame ends with a seal.
    seal: Option<Seal>,
}

/// A string of bytes, and the memory that goes with it.
#[derive(Debug)]
struct Piece {
    bytes: Bytes,
    memory: usize,
}

impl OutQueue {
    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of heap that the queue holds, those that its owner alone would free: room that is not used counts, too.
    /// Large byte strings count as theirs alone, so they must not be small parts of larger ones.
    pub fn memory(&self) -> usize {
        self.held + self.open.capacity() + self.ready.capacity() * size_of::<Piece>()
    }

    fn push(&mut self, bytes: Bytes, memory: usize) {
        let memory = memory + PIECE_OVERHEAD;
        self.held += memory;
        self.ready.push_back(Piece { bytes, memory });
    }

    /// The small frames are a piece; the next ones begin another.
    fn close(&mut self) {
        let open = std::mem::take(&mut self.open);
        let memory = open.capacity();
        self.push(open.freeze(), memory);
    }

    /// Bytes that have been handed to the socket so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// The stream position of the next byte that will be queued.
    pub fn position(&self) -> u64 {
        self.written + self.len as u64
    }

    /// From now on the address of routed messages carries the epoch of the session that the connection belongs to.
    pub fn stamp(&mut self, epoch: u64) {
        self.stamp = Some(epoch);
    }

    /// From now on every frame ends with a seal.
    pub fn seal(&mut self, seal: Seal) {
        self.seal = Some(seal);
    }

    /// Takes out what waits; what is queued later is stamped and sealed as before.
    pub fn take_queued(&mut self) -> OutQueue {
        let rest = OutQueue { stamp: self.stamp, seal: self.seal, ..OutQueue::default() };
        std::mem::replace(self, rest)
    }

    /// Queues a one-way message.
    pub fn one_way<M: Message>(&mut self, message: &M) {
        self.frame(0, M::METHOD.len() as u8, None, M::METHOD, |writer| message.write(writer));
    }

    /// Queues a quest.
    pub fn quest<M: Message>(&mut self, seq: u32, message: &M) {
        self.frame(1, M::METHOD.len() as u8, Some(seq), M::METHOD, |writer| message.write(writer));
    }

    /// Queues a good answer.
    pub fn answer<B: Body>(&mut self, seq: u32, body: &B) {
        self.frame(2, 0, Some(seq), "", |writer| body.write(writer));
    }

    /// Queues an error answer.
    pub fn error(&mut self, seq: u32, code: i32, text: &str) {
        let body = ErrorAnswer { code: code.into(), text: text.to_owned() };
        self.frame(2, 1, Some(seq), "", |writer| body.write(writer));
    }

    /// Queues a whole frame.
    pub fn whole(&mut self, frame: &Frame) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        self.open.extend_from_slice(&bytes);
        self.len += bytes.len();
    }

    /// Queues bytes of a frame that the caller puts together in pieces; they are not copied.
    pub fn piece(&mut self, bytes: Bytes) {
        if !self.open.is_empty() {
            self.close();
        }
        self.len += bytes.len();
        let memory = bytes.len();
        self.push(bytes, memory);
    }

    /// Queues a message to another session, through the relay.
    pub fn routed<M: Message>(&mut self, to: &str, epoch: u64, message: &M) {
        let own = self.stamp;
        self.frame(0, M::METHOD.len() as u8, None, M::METHOD, |writer| {
            Routed::write(writer, to, epoch, own, message);
        });
    }

    /// Queues a routed message for its target: a new address, and the rest as it came.
    pub fn forward(&mut self, method: &str, pairs: usize, from: &str, epoch: u64, rest: Bytes) {
        if rest.len() < crate::pack::TAIL_FROM {
            self.forward_with_tail(method, pairs, from, epoch, rest, None);
        } else {
            self.forward_with_tail(method, pairs, from, epoch, Bytes::new(), Some(rest));
        }
    }

    /// The same for a message that was just written: `head` is copied, `tail` is not.
    pub fn forward_with_tail(
        &mut self,
        method: &str,
        pairs: usize,
        from: &str,
        epoch: u64,
        head: Bytes,
        tail: Option<Bytes>,
    ) {
        let own = self.stamp;
        self.frame(0, method.len() as u8, None, method, |writer| {
            writer.map(pairs + usize::from(own.is_some()));
            writer.key(const { &packed_key::<3>("fr") });
            writer.str(from);
            writer.key(const { &packed_key::<3>("fe") });
            writer.uint(epoch);
            if let Some(own) = own {
                writer.key(const { &packed_key::<3>("te") });
                writer.uint(own);
            }
            writer.buffer.extend_from_slice(&head);
            writer.tail = tail;
        });
    }

    fn frame(&mut self, mtype: u8, ss: u8, seq: Option<u32>, method: &str, payload: impl FnOnce(&mut Writer<'_>)) {
        let (start, body) = self.begin(mtype, ss, seq, method);
        let mut writer = Writer::new(&mut self.open);
        payload(&mut writer);
        let tail = writer.tail.take();
        self.end(start, body, tail, method);
    }

    /// Writes what stands in front of a payload; where the frame and its payload begin.
    fn begin(&mut self, mtype: u8, ss: u8, seq: Option<u32>, method: &str) -> (usize, usize) {
        // Small frames lie together, but no more of them than fit into a small piece of memory.
        if self.open.len() >= OPEN_LIMIT - LAST_FRAME {
            self.close();
        }
        if self.open.capacity() == 0 {
            self.open.reserve(FIRST_ROOM);
        }
        let start = self.open.len();
        let [m0, m1, m2, m3] = MAGIC;
        self.open.extend_from_slice(&[m0, m1, m2, m3, VERSION, FLAG_MSGPACK, mtype, ss, 0, 0, 0, 0]);
        if let Some(seq) = seq {
            self.open.extend_from_slice(&seq.to_le_bytes());
        }
        self.open.extend_from_slice(method.as_bytes());
        (start, self.open.len())
    }

    /// The payload is written but for its `tail`: adds that and the seal, and says how long all is.
    fn end(&mut self, start: usize, body: usize, tail: Option<Bytes>, method: &str) {
        let tail_len = tail.as_ref().map_or(0, Bytes::len);
        let seal_len = if self.seal.is_some() { SEAL_LEN } else { 0 };
        let size = (self.open.len() - body + tail_len + seal_len) as u32;
        self.open[start + HEADER_LEN - 4..start + HEADER_LEN].copy_from_slice(&size.to_le_bytes());
        self.len += self.open.len() - start + tail_len + seal_len;
        log::trace!("writes {method:?} of {size} bytes");
        if let Some(seal) = &mut self.seal {
            seal.add(&self.open[start..]);
            seal.add(tail.as_deref().unwrap_or_default());
        }
        if let Some(tail) = tail {
            self.close();
            self.push(tail, tail_len);
        }
        if let Some(seal) = self.seal {
            if self.open.capacity() == 0 {
                self.open.reserve(FIRST_ROOM);
            }
            self.open.extend_from_slice(&seal.bytes());
        }
    }

    /// Fills `slices` with what comes next, and returns how many were filled.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let open = (!self.open.is_empty()).then_some(&self.open[..]);
        let parts = self.ready.iter().map(|piece| &piece.bytes[..]).chain(open);
        let mut count = 0;
        for (slot, part) in slices.iter_mut().zip(parts) {
            *slot = IoSlice::new(part);
            count += 1;
        }
        count
    }

    /// Removes `count` bytes that the socket has taken.
    pub fn advance(&mut self, mut count: usize) {
        debug_assert!(count <= self.len);
        self.len -= count;
        self.written += count as u64;
        while count > 0 {
            let Some(front) = self.ready.front_mut() else {
                self.open.advance(count);
                break;
            };
            if front.bytes.len() > count {
                front.bytes.advance(count);
                break;
            }
            count -= front.bytes.len();
            self.held -= front.memory;
            self.ready.pop_front();
        }
        if self.len == 0 {
            // An idle connection holds no memory.
            self.ready = VecDeque::new();
            self.open = BytesMut::new();
        }
    }

    /// Takes everything out, as one string of bytes (tests, and transports that are not sockets).
    pub fn take(&mut self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.len);
        for part in &self.ready {
            all.extend_from_slice(&part.bytes);
        }
        all.extend_from_slice(&self.open);
        self.advance(all.len());
        all
    }

    /// Forgets everything that has not been written.
    pub fn clear(&mut self) {
        self.ready = VecDeque::new();
        self.open = BytesMut::new();
        (self.len, self.held) = (0, 0);
    }
}
