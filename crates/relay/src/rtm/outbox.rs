//! What waits to be written to one connection: answers, and pushes whose bytes are shared with other connections.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use crvideo_proto::frame::{FLAG_MSGPACK, Frame, HEADER_LEN, MAGIC, VERSION};
use tokio::sync::Notify;

use crate::guard::{Budget, Memory, Pressure, Share, hold};

/// Room for a push's header, sequence number, method and recipient.
const HEAD: usize = 48;

/// A frame, or a push whose head is this connection's own.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    head: [u8; HEAD],
    head_len: u8,
    rest: Bytes,
    /// Bytes of memory that it is charged for.
    cost: usize,
}

impl Piece {
    /// A whole frame.
    fn frame(frame: &Frame, budget: &Arc<Budget>) -> Self {
        let mut bytes = Vec::with_capacity(HEADER_LEN + 4 + frame.method.len() + frame.payload.len());
        frame.encode(&mut bytes);
        Self { head: [0; HEAD], head_len: 0, rest: hold(budget, bytes.into()), cost: 0 }
    }

    /// A quest whose payload is `start` and `rest`; `None` when method and start are longer than any of ours.
    fn quest(seq: u32, method: &str, start: &[u8], rest: Bytes) -> Option<Self> {
        let size = u32::try_from(start.len() + rest.len()).ok()?;
        let method_len = u8::try_from(method.len()).ok()?;
        let mut piece = Self { head: [0; HEAD], head_len: 0, rest, cost: 0 };
        piece.put(&MAGIC)?;
        piece.put(&[VERSION, FLAG_MSGPACK, 1, method_len])?;
        piece.put(&size.to_le_bytes())?;
        piece.put(&seq.to_le_bytes())?;
        piece.put(method.as_bytes())?;
        piece.put(start)?;
        Some(piece)
    }

    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let from = usize::from(self.head_len);
        self.head.get_mut(from..from + bytes.len())?.copy_from_slice(bytes);
        self.head_len = u8::try_from(from + bytes.len()).ok()?;
        Some(())
    }

    fn head(&self) -> &[u8] {
        self.head.get(..usize::from(self.head_len)).unwrap_or_default()
    }

    fn len(&self) -> usize {
        usize::from(self.head_len) + self.rest.len()
    }
}

/// Why a connection takes nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closed {
    /// What waits is still to be written.
    AfterFlush,
    /// More has come for it than it may keep waiting.
    Full,
}

#[derive(Debug)]
struct State {
    pieces: VecDeque<Piece>,
    /// The memory of `pieces`, without that of the bytes in them, which others may hold, too.
    share: Share,
    /// Bytes of memory that the pieces take.
    cost: usize,
    last_seq: u32,
    closed: Option<Closed>,
}

impl State {
    fn settle(&mut self) {
        self.share.set(self.pieces.capacity() * size_of::<Piece>());
    }
}

/// While too much waits for all connections together, this part of [`Outbox::limit`] may wait for one.
const PRESSED: usize = 16;

/// What waits to be written to one connection, shared by all who have something for it.
#[derive(Debug)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    /// More memory than this does not wait.
    limit: usize,
    memory: Arc<Memory>,
    /// Something was put in, or the end has come.
    filled: Notify,
    /// Something was written.
    drained: Notify,
}

/// What the connection's task does next.
pub(super) enum Next {
    /// Write these.
    Write(Batch),
    /// Everything is written, and nothing more will come.
    Done,
    /// The connection did not keep up.
    Overflow,
}

impl Outbox {
    pub(super) fn new(limit: usize, memory: &Arc<Memory>) -> Self {
        let share = Share::of(&memory.outboxes);
        let state = State { pieces: VecDeque::new(), share, cost: 0, last_seq: 0, closed: None };
        let (filled, drained) = (Notify::new(), Notify::new());
        Self { state: Mutex::new(state), limit, memory: memory.clone(), filled, drained }
    }

    /// Payload for [`quest`](Self::quest), charged once for all connections that it is queued for.
    pub(super) fn hold(&self, payload: Bytes) -> Bytes {
        hold(&self.memory.outboxes, payload)
    }

    /// What may wait now: while too much waits for all together, less.
    fn limit(&self) -> usize {
        if self.memory.pressure() == Pressure::None { self.limit } else { self.limit / PRESSED }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a frame.
    pub(super) fn frame(&self, frame: &Frame) {
        let _ = self.put(|_| Some(Piece::frame(frame, &self.memory.outboxes)));
    }

    /// Queues a quest of ours under the connection's next sequence number. `start` is the payload's beginning, `rest`
    /// what it has in common with other connections' pushes.
    pub(super) fn quest(&self, method: &str, start: &[u8], rest: &Bytes) {
        let _ = self.numbered(method, start, rest, |_| ());
    }

    /// Queues a quest of ours and says its sequence number, before anybody can have answered it. `None` when nothing is
    /// taken any more.
    pub(super) fn numbered(&self, method: &str, start: &[u8], rest: &Bytes, say: impl FnOnce(u32)) -> Option<()> {
        self.put(|seq| {
            let piece = Piece::quest(seq, method, start, rest.clone())?;
            say(seq);
            Some(piece)
        })
    }

    fn put(&self, make: impl FnOnce(u32) -> Option<Piece>) -> Option<()> {
        let mut state = self.lock();
        if state.closed.is_some() {
            return None;
        }
        if state.cost > self.limit() {
            // Its task says so in the log and closes the connection; nobody waits for it.
            state.closed = Some(Closed::Full);
            state.pieces = VecDeque::new();
            state.settle();
        } else {
            state.last_seq = state.last_seq.wrapping_add(1);
            let mut piece = make(state.last_seq)?;
            piece.cost = cost(state.pieces.back(), &piece);
            state.cost += piece.cost;
            state.pieces.push_back(piece);
            state.settle();
        }
        let closed = state.closed.is_some();
        drop(state);
        self.filled.notify_one();
        if closed {
            self.drained.notify_waiters();
            return None;
        }
        Some(())
    }

    /// Nothing more will be queued; what waits is still written.
    pub(super) fn finish(&self) {
        self.lock().closed.get_or_insert(Closed::AfterFlush);
        self.filled.notify_one();
        self.drained.notify_waiters();
    }

    /// Whether nothing more will be queued.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed.is_some()
    }

    /// Waits until the connection has taken enough to be given more answers.
    pub(super) async fn room(&self) {
        loop {
            let drained = self.drained.notified();
            {
                let state = self.lock();
                if state.cost <= self.limit / 2 || state.closed.is_some() {
                    return;
                }
            }
            drained.await;
        }
    }

    /// Waits for something to write.
    pub(super) async fn next(&self) -> Next {
        loop {
            let filled = self.filled.notified();
            {
                let mut state = self.lock();
                match state.closed {
                    Some(Closed::Full) => return Next::Overflow,
                    _ if !state.pieces.is_empty() => {
                        return Next::Write(Batch::take(&mut state, &self.memory.outboxes));
                    }
                    Some(Closed::AfterFlush) => return Next::Done,
                    None => {}
                }
            }
            filled.await;
        }
    }

    /// A batch has been written.
    pub(super) fn written(&self, batch: &Batch) {
        let mut state = self.lock();
        state.cost = state.cost.saturating_sub(batch.cost);
        drop(state);
        // The connection's own task and the one that delivers to its user may both wait.
        self.drained.notify_waiters();
    }
}

/// Bytes of memory for a piece behind another one: what both share counts once.
fn cost(before: Option<&Piece>, piece: &Piece) -> usize {
    let shared = before.is_some_and(|before| before.rest.as_ptr() == piece.rest.as_ptr() && !piece.rest.is_empty());
    size_of::<Piece>() + if shared { 0 } else { piece.rest.len() }
}

/// Pieces that are written together.
const BATCH: usize = 32;

/// Pieces on their way into the socket. They count as waiting until they are written.
pub(super) struct Batch {
    pieces: VecDeque<Piece>,
    /// Bytes of the first piece that are written.
    written: usize,
    cost: usize,
    /// The memory of `pieces`, held until they are written.
    _share: Share,
    budget: Arc<Budget>,
}

impl Batch {
    fn take(state: &mut State, budget: &Arc<Budget>) -> Self {
        let count = state.pieces.len().min(BATCH);
        let pieces: VecDeque<Piece> = state.pieces.drain(..count).collect();
        if state.pieces.is_empty() {
            state.pieces.shrink_to(BATCH);
        }
        state.settle();
        let cost = pieces.iter().map(|piece| piece.cost).sum();
        let mut share = Share::of(budget);
        share.set(pieces.capacity() * size_of::<Piece>());
        Self { pieces, written: 0, cost, _share: share, budget: budget.clone() }
    }

    /// Takes the next piece out whole, for those who do not write slices.
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        let piece = self.pieces.pop_front()?;
        if piece.head().is_empty() {
            return Some(piece.rest);
        }
        Some(hold(&self.budget, [piece.head(), &piece.rest[..]].concat().into()))
    }

    /// Replaces each piece by what `seal` makes of it.
    pub(super) fn seal(&mut self, mut seal: impl FnMut(&[u8]) -> Bytes) {
        for piece in &mut self.pieces {
            let whole = [piece.head(), &piece.rest[..]].concat();
            (piece.rest, piece.head_len) = (hold(&self.budget, seal(&whole)), 0);
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The bytes to write next.
    pub(super) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; 2 * BATCH]) -> usize {
        let mut count = 0;
        let mut skip = self.written;
        for part in self.pieces.iter().flat_map(|piece| [piece.head(), &piece.rest[..]]) {
            let left = part.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(part.len());
            if let (false, Some(slice)) = (left.is_empty(), slices.get_mut(count)) {
                *slice = IoSlice::new(left);
                count += 1;
            }
        }
        count
    }

    /// Forgets `count` bytes that were written.
    pub(super) fn advance(&mut self, count: usize) {
        self.written += count;
        while let Some(len) = self.pieces.front().map(Piece::len)
            && self.written >= len
        {
            self.written -= len;
            self.pieces.pop_front();
        }
    }
}

/// An array for [`Batch::slices`].
pub(super) fn no_slices<'a>() -> [IoSlice<'a>; 2 * BATCH] {
    [IoSlice::new(&[]); 2 * BATCH]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crvideo_proto::frame::FrameReader;

    use super::*;

    /// Takes everything that waits, in writes of at most `step` bytes.
    async fn drain(out: &Outbox, step: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        out.finish();
        while let Next::Write(mut batch) = out.next().await {
            while !batch.is_done() {
                let mut slices = no_slices();
                let count = batch.slices(&mut slices);
                let all: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect();
                let taken = all.len().min(step);
                bytes.extend_from_slice(&all[..taken]);
                batch.advance(taken);
            }
            out.written(&batch);
        }
        bytes
    }

    #[tokio::test]
    async fn what_waits_is_written_in_order_however_little_the_socket_takes() {
        for step in [1, 7, 1_000_000] {
            let out = Outbox::new(1_000_000, &Memory::new(0));
            let rest = Bytes::from_static(b"\xa1a\x01");
            for at in 0..100u8 {
                out.quest("pushmsg", &[0x82, 0xa2, b't', b'o', at], &rest);
            }
            let mut reader = FrameReader::new(100);
            reader.feed(&drain(&out, step).await);
            for at in 0..100u8 {
                let frame = reader.next_frame().unwrap().unwrap();
                assert_eq!((frame.seq, frame.method()), (u32::from(at) + 1, "pushmsg"));
                assert_eq!(frame.payload[..], [0x82, 0xa2, b't', b'o', at, 0xa1, b'a', 1]);
            }
            assert_eq!((reader.buffered(), out.lock().cost), (0, 0));
        }
    }

    #[tokio::test]
    async fn bytes_that_many_pushes_share_are_charged_once_and_too_many_pushes_end_it() {
        let out = Outbox::new(200_000, &Memory::new(0));
        let rest = Bytes::from(vec![0xc0; 100_000]);
        for _ in 0..500 {
            out.quest("pushmsg", &[0x80], &rest);
        }
        assert!(matches!(out.next().await, Next::Write(_)));
        // Apart, they are charged each.
        for _ in 0..3 {
            out.quest("pushmsg", &[0x80], &Bytes::from(vec![0xc0; 100_000]));
        }
        assert!(matches!(out.next().await, Next::Overflow));
        out.quest("pushmsg", &[0x80], &rest);
        assert!(out.lock().pieces.is_empty());
    }
}
