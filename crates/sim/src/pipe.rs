//! One direction of a connection: bytes that take time, wait, stop, or get lost.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::Duration;

use bytes::Bytes;
use crvideo_proto::out::OutQueue;

use crate::meddler::{Meddler, Tape};
use crate::rng::Rng;

/// How a direction behaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    /// Bytes that fit between writer and reader.
    pub(crate) capacity: usize,
    pub(crate) latency: Duration,
    /// Bytes that the reader gets at once, at most.
    pub(crate) portion: usize,
    /// Time between two portions.
    pub(crate) pause: Duration,
}

impl Manner {
    /// Mostly all that may come at once, at times a part that splits frames anywhere.
    fn portion(&self, rng: &mut Rng) -> usize {
        if rng.percent(80) { self.portion } else { 1 + rng.below(self.portion) }
    }
}

#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) manner: Manner,
    parts: VecDeque<(Duration, Bytes)>,
    held: usize,
    /// Nothing comes out before this time.
    frozen_until: Duration,
    /// Nothing ever comes out again, and nobody is told.
    black_hole: bool,
    /// The writer has closed: the end follows the bytes. Since when the end may be seen.
    ended: Option<Duration>,
    /// When the reader will look next, if it is to look at all.
    pub(crate) look_at: Option<Duration>,
    /// Something on the way that repeats and changes frames.
    pub(crate) meddler: Option<Box<Meddler>>,
}

/// What a reader gets.
#[derive(Debug)]
pub(crate) enum Got {
    Nothing,
    Bytes(Bytes),
    End,
}

impl Pipe {
    pub(crate) fn new(manner: Manner) -> Self {
        Self {
            manner,
            parts: VecDeque::new(),
            held: 0,
            frozen_until: Duration::ZERO,
            black_hole: false,
            ended: None,
            look_at: None,
            meddler: None,
        }
    }

    /// Takes what there is room for out of a queue; returns how much.
    pub(crate) fn write(&mut self, out: &mut OutQueue, now: Duration) -> usize {
        let room = self.manner.capacity.saturating_sub(self.held).min(out.len());
        if room == 0 || self.ended.is_some() {
            return 0;
        }
        let mut slices = [IoSlice::new(&[]); 64];
        let count = out.slices(&mut slices);
        let mut taken = Vec::with_capacity(room);
        for slice in &slices[..count] {
            let rest = room - taken.len();
            taken.extend_from_slice(&slice[..slice.len().min(rest)]);
        }
        out.advance(taken.len());
        self.held += taken.len();
        let count = taken.len();
        self.parts.push_back((now + self.manner.latency, taken.into()));
        count
    }

    /// Lets what [`write`](Self::write) has just taken pass the box on the way, if there is one; returns how often that
    /// has meddled.
    pub(crate) fn meddle(&mut self, tape: &mut Tape, rng: &mut Rng) -> u64 {
        let Some(meddler) = &mut self.meddler else { return 0 };
        let Some((at, bytes)) = self.parts.pop_back() else { return 0 };
        let (passed, strokes) = meddler.pass(&bytes, tape, rng);
        self.held = self.held - bytes.len() + passed.len();
        if !passed.is_empty() {
            self.parts.push_back((at, passed.into()));
        }
        strokes
    }

    /// Something on the way says once more what has passed it before: whole frames, behind whole frames.
    pub(crate) fn repeat(&mut self, frames: Vec<u8>, now: Duration) {
        self.held += frames.len();
        self.parts.push_back((now, frames.into()));
    }

    /// What has come by now.
    pub(crate) fn read(&mut self, now: Duration, rng: &mut Rng) -> Got {
        if self.black_hole || self.frozen_until > now {
            return Got::Nothing;
        }
        match self.parts.front_mut() {
            Some((at, bytes)) if *at <= now => {
                let portion = bytes.split_to(bytes.len().min(self.manner.portion(rng)));
                if bytes.is_empty() {
                    self.parts.pop_front();
                }
                self.held -= portion.len();
                Got::Bytes(portion)
            }
            Some(_) => Got::Nothing,
            None if self.ended.is_some_and(|at| at <= now) => Got::End,
            None => Got::Nothing,
        }
    }

    /// When there may be something to read.
    pub(crate) fn ready_at(&self) -> Option<Duration> {
        if self.black_hole {
            return None;
        }
        let at = match self.parts.front() {
            Some((at, _)) => *at,
            None => self.ended?,
        };
        Some(at.max(self.frozen_until))
    }

    pub(crate) fn freeze(&mut self, until: Duration) {
        self.frozen_until = self.frozen_until.max(until);
    }

    pub(crate) fn thaw(&mut self) {
        self.frozen_until = Duration::ZERO;
    }

    pub(crate) fn swallow(&mut self) {
        self.black_hole = true;
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    pub(crate) fn swallows(&self) -> bool {
        self.black_hole
    }

    /// What was swallowed is lost for good, and the end can be seen.
    pub(crate) fn surface(&mut self) {
        self.black_hole = false;
    }

    /// The end comes behind the first `keep` bytes that are on their way; the rest is lost.
    pub(crate) fn end(&mut self, keep: usize, at: Duration) {
        if let Some(meddler) = self.meddler.take() {
            let rest = meddler.finish();
            self.parts.push_back((at, rest.into()));
        }
        let mut left = keep;
        self.parts.retain_mut(|(_, bytes)| {
            bytes.truncate(left);
            left -= bytes.len();
            !bytes.is_empty()
        });
        self.held = self.parts.iter().map(|(_, bytes)| bytes.len()).sum();
        self.ended = Some(self.ended.unwrap_or(at));
    }

    /// Bytes on their way.
    pub(crate) fn held(&self) -> usize {
        self.held
    }
}
