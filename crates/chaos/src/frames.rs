//! Faults that act on whole frames, which needs a look inside: each frame is well-formed, but comes twice, late, or
//! from another time.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use crvideo_proto::frame::{Frame, FrameReader};
use crvideo_proto::pack::validate;
use crvideo_proto::seal::SEAL_LEN;

use crate::proxy::{Shared, Way, lock};
use crate::rng::Rng;

/// What happens to a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameFault {
    /// It comes twice.
    Duplicate,
    /// It comes behind the next one.
    Swap,
    /// An earlier frame of this connection comes once more behind it.
    Replay,
    /// A frame that an earlier connection carried this way comes behind it.
    ReplayOld,
    /// One bit of the content that it carries is another one; waits for a frame that carries some.
    FlipContent,
}

/// Frames of one connection that may be replayed.
const REMEMBERED: usize = 64;
/// Frames of all connections that later ones may replay.
const REMEMBERED_OLD: usize = 512;
/// The largest frame that either end may send.
const LIMIT: usize = 4 * 1024 * 1024;

/// One direction of one connection, as frames.
pub(crate) struct Frames {
    way: Way,
    number: u64,
    reader: FrameReader,
    faults: VecDeque<(u64, FrameFault)>,
    seen: u64,
    recent: VecDeque<Frame>,
    held: Option<Frame>,
    rng: Rng,
    /// The bytes are no frames (any more), so they are passed on as they are.
    given_up: bool,
}

impl Frames {
    pub(crate) fn new(way: Way, number: u64, faults: Vec<(u64, FrameFault)>) -> Self {
        let rng = Rng::of_part(number, way as u64 + 1);
        let reader = FrameReader::new(LIMIT);
        let (recent, faults) = (VecDeque::new(), faults.into());
        Self { way, number, reader, faults, seen: 0, recent, held: None, rng, given_up: false }
    }

    /// What goes on for what has come.
    pub(crate) fn pass(&mut self, bytes: &[u8], shared: &Shared) -> Bytes {
        if self.given_up {
            return Bytes::copy_from_slice(bytes);
        }
        self.reader.feed(bytes);
        let mut out = Vec::with_capacity(bytes.len());
        loop {
            match self.reader.next_frame() {
                Ok(Some(frame)) => self.frame(frame, &mut out, shared),
                Ok(None) => return out.into(),
                Err(_) => {
                    // What had been fed is lost with the reader: the connection is broken anyway.
                    self.given_up = true;
                    return out.into();
                }
            }
        }
    }

    fn frame(&mut self, mut frame: Frame, out: &mut Vec<u8>, shared: &Shared) {
        if let Some(tap) = lock(&shared.tap).clone() {
            tap(self.way, &frame);
        }
        let due = self.faults.front().filter(|(at, _)| *at <= self.seen).map(|(_, fault)| *fault);
        self.seen += 1;
        if due == Some(FrameFault::Swap) && self.held.is_none() {
            self.faults.pop_front();
            shared.fire("frame Swap");
            self.held = Some(frame.clone());
            return self.remember(frame, shared);
        }
        let flipped = due == Some(FrameFault::FlipContent) && self.flip(&mut frame);
        frame.encode(out);
        if let Some(held) = self.held.take() {
            held.encode(out);
        }
        let fired = match due {
            None | Some(FrameFault::Swap) => false,
            Some(FrameFault::FlipContent) => flipped,
            Some(FrameFault::Duplicate) => {
                frame.encode(out);
                true
            }
            Some(FrameFault::Replay) => {
                let count = self.recent.len() as u64;
                let earlier = self.recent.get(self.rng.below(count) as usize);
                earlier.is_some_and(|earlier| {
                    earlier.encode(out);
                    true
                })
            }
            Some(FrameFault::ReplayOld) => self.replay_old(out, shared),
        };
        if fired {
            self.faults.pop_front();
            shared.fire(format!("frame {:?}", due.unwrap_or(FrameFault::Duplicate)));
        }
        self.remember(frame, shared);
    }

    fn replay_old(&mut self, out: &mut Vec<u8>, shared: &Shared) -> bool {
        let old = lock(&shared.old_frames);
        let fit: Vec<_> = old.iter().filter(|(from, way, _)| *from != self.number && *way == self.way).collect();
        let Some((_, _, frame)) = fit.get(self.rng.below(fit.len() as u64) as usize) else { return false };
        frame.encode(out);
        true
    }

    fn remember(&mut self, frame: Frame, shared: &Shared) {
        let mut old = lock(&shared.old_frames);
        old.push_back((self.number, self.way, frame.clone()));
        if old.len() > REMEMBERED_OLD {
            old.pop_front();
        }
        self.recent.push_back(frame);
        if self.recent.len() > REMEMBERED {
            self.recent.pop_front();
        }
    }

    /// Flips a bit of a transfer's or command's content, which stands last in its frame.
    fn flip(&mut self, frame: &mut Frame) -> bool {
        let carried = content_len(frame);
        if carried == 0 {
            return false;
        }
        let mut payload = BytesMut::from(&frame.payload[..]);
        let at = payload.len() - 1 - self.rng.below(carried as u64) as usize;
        payload[at] ^= 1 << self.rng.below(8);
        frame.payload = payload.freeze();
        true
    }
}

/// The payload of a frame without the seal that stands behind it on a connection that was made with seals.
pub(crate) fn without_seal(frame: &Frame) -> Bytes {
    let mut payload = frame.payload.clone();
    if validate(&payload).is_err() {
        payload.truncate(payload.len().saturating_sub(SEAL_LEN));
    }
    payload
}

/// Bytes of content at the end of a frame that carries some. Where frames have seals, content does not stand last.
fn content_len(frame: &Frame) -> usize {
    use crvideo_proto::message::{Command, Data, Message, Routed};
    match frame.method() {
        Data::METHOD => Routed::<Data>::read(&frame.payload).map_or(0, |it| it.message.data.len()),
        Command::METHOD => Routed::<Command>::read(&frame.payload).map_or(0, |it| it.message.data.len()),
        _ => 0,
    }
}
