//! A box on the way that knows frames and repeats, exchanges and changes them, as F17 and F18 of the list of faults say.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use crvideo_proto::frame::{HEADER_LEN, frame_len};

use crate::rng::Rng;

/// Frames that a tape holds: the first that passed, and the last.
const TAPE: usize = 64;
/// So many of them are the first.
const FIRST: usize = 24;

/// So many earlier frames are repeated at once at most.
const REPEATED_AT_ONCE: usize = 4;

/// Whether a frame is a message from one user to another.
fn is_routed(frame: &Bytes) -> bool {
    is_any_of(frame, &ROUTED)
}

/// Whether a frame is a message of one of these kinds.
pub(crate) fn is_any_of(frame: &Bytes, names: &[&[u8]]) -> bool {
    let method = frame.get(HEADER_LEN..).unwrap_or_default();
    names.iter().any(|name| method.starts_with(name))
}

/// The messages between users (`docs/wire.md`, section 4).
const ROUTED: [&[u8]; 9] =
    [b"crcmd", b"crack", b"croffer", b"crdata", b"crend", b"crgo", b"crconf", b"crcancel", b"crdone"];

/// What has passed on all connections of one kind that a session had, in one direction.
pub(crate) type Tape = VecDeque<Bytes>;

/// The box, for one direction of one connection.
#[derive(Debug)]
pub(crate) struct Meddler {
    /// Out of a hundred frames, so many are meddled with.
    often: u64,
    /// The frames have seals, so that a bit that changes must be noticed.
    pub(crate) sealed: bool,
    /// Frames may overtake each other. On a command connection without seals nobody would notice, and a farewell that
    /// overtakes an answer makes that answer untrue; encryption keeps such boxes out there.
    pub(crate) exchanges: bool,
    /// All that is on the tape comes again at once, when so many of the first messages between users have passed.
    replays_after: Option<u32>,
    /// Frames that have passed.
    passed: u64,
    /// The beginning of a frame.
    part: BytesMut,
    /// A frame that the next one overtakes.
    overtaken: Option<Bytes>,
}

impl Meddler {
    pub(crate) fn new(often: u64, exchanges: bool, replays_after: Option<u32>) -> Self {
        Self { often, sealed: false, exchanges, replays_after, passed: 0, part: BytesMut::new(), overtaken: None }
    }

    /// What comes out when `bytes` go in, and how often it was meddled with.
    pub(crate) fn pass(&mut self, bytes: &[u8], tape: &mut Tape, rng: &mut Rng) -> (Vec<u8>, u64) {
        self.part.extend_from_slice(bytes);
        let (mut out, mut strokes) = (Vec::new(), 0);
        while let Ok(Some(len)) = frame_len(&self.part)
            && self.part.len() as u64 >= len
        {
            let frame = self.part.split_to(len as usize).freeze();
            strokes += u64::from(self.frame(&frame, tape, rng, &mut out));
            tape.push_back(frame);
            if tape.len() > TAPE {
                // Heart-beats make room first.
                let dull = tape.range(FIRST..).position(|frame| !is_routed(frame)).unwrap_or(0);
                tape.remove(FIRST + dull);
            }
        }
        (out, strokes)
    }

    /// One frame; whether it was meddled with.
    fn frame(&mut self, frame: &Bytes, tape: &Tape, rng: &mut Rng, out: &mut Vec<u8>) -> bool {
        self.passed += 1;
        if let Some(left) = self.replays_after.filter(|_| is_routed(frame)) {
            self.replays_after = left.checked_sub(1);
            // A seal would end the connection at the first of them.
            if left == 0 && !self.sealed {
                tape.iter().filter(|frame| is_routed(frame)).for_each(|frame| out.extend_from_slice(frame));
            }
        }
        let meddles = rng.percent(self.often);
        let how = rng.below(4);
        match how {
            _ if !meddles => out.extend_from_slice(frame),
            0 => {
                out.extend_from_slice(frame);
                out.extend_from_slice(frame);
            }
            1 if !tape.is_empty() => {
                // What is between users harms more than heart-beats do.
                let routed: Vec<&Bytes> = tape.iter().filter(|frame| is_routed(frame)).collect();
                for _ in 0..1 + rng.below(REPEATED_AT_ONCE) {
                    let one = if routed.is_empty() { &tape[rng.below(tape.len())] } else { rng.pick(&routed) };
                    out.extend_from_slice(one);
                }
                out.extend_from_slice(frame);
            }
            // The hello itself has no seal.
            2 if self.sealed && self.passed > 1 => {
                let mut changed = frame.to_vec();
                let at = rng.below(changed.len());
                changed[at] ^= 1 << rng.below(8);
                out.extend_from_slice(&changed);
            }
            _ if self.exchanges && self.overtaken.is_none() => {
                self.overtaken = Some(frame.clone());
                return true;
            }
            _ => out.extend_from_slice(frame),
        }
        out.extend_from_slice(&self.overtaken.take().unwrap_or_default());
        meddles
    }

    /// What is still inside.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        let mut rest = self.overtaken.take().unwrap_or_default().to_vec();
        rest.extend_from_slice(&self.part);
        rest
    }
}
