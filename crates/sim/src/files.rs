//! Where transfers come from and where they go: memory that behaves like slow, unreliable files.

use std::time::Duration;

use bytes::Bytes;
use crvideo_proto::session::Kind;

/// Content on its way out.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) data: Bytes,
    hash: Option<[u8; 32]>,
    /// Reading fails from this offset on.
    pub(crate) fails_at: Option<usize>,
    /// Reading fails after so many reads: the file has changed meanwhile.
    pub(crate) reads_left: Option<u32>,
    /// When the reads asked for so far are done: they are done in order.
    pub(crate) busy_until: Duration,
}

impl Source {
    pub(crate) fn new(data: Bytes, fails_at: Option<usize>) -> Self {
        Self { data, hash: None, fails_at, reads_left: None, busy_until: Duration::ZERO }
    }

    /// A piece, and the hash with the piece that reaches the end; `None` where reading fails.
    pub(crate) fn read(&mut self, offset: u64, len: usize) -> Option<(Bytes, Option<[u8; 32]>)> {
        let start = offset as usize;
        let end = start + len;
        if self.fails_at.is_some_and(|at| end > at) || end > self.data.len() || self.reads_left == Some(0) {
            return None;
        }
        self.reads_left = self.reads_left.map(|left| left - 1);
        let hash = (end == self.data.len()).then(|| *self.hash.get_or_insert_with(|| hash(&self.data)));
        Some((self.data.slice(start..end), hash))
    }
}

/// What stands for BLAKE3 here: sessions pass hashes on without looking at them, and a real one takes a good part of a
/// run. No two contents that differ by a fault have the same (FNV-1a over words, four at a time).
fn hash(data: &[u8]) -> [u8; 32] {
    const PRIME: u64 = 0x100_0000_01b3;
    let step = |hash: u64, word: u64| (hash ^ word).wrapping_mul(PRIME).rotate_left(29);
    let mut lanes = [1, 2, 3, 4].map(|lane| 0xcbf2_9ce4_8422_2325 ^ (data.len() as u64).rotate_left(lane));
    let (blocks, rest) = data.as_chunks::<32>();
    for block in blocks {
        let (words, _) = block.as_chunks::<8>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane = step(*lane, u64::from_le_bytes(*word));
        }
    }
    for (at, byte) in rest.iter().enumerate() {
        lanes[at % 4] = step(lanes[at % 4], u64::from(*byte));
    }
    let mut bytes = [0; 32];
    for (part, lane) in bytes.chunks_exact_mut(8).zip(lanes) {
        part.copy_from_slice(&lane.to_le_bytes());
    }
    bytes
}

/// What a session wants done with a sink, in the order of its wishes.
#[derive(Debug)]
pub(crate) enum Job {
    Open,
    Write(Bytes),
    Finish([u8; 32]),
}

/// What came of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    /// Nothing to tell.
    Silent,
    Written(u64),
    Finished,
    Failed(i32),
    Aborted,
}

/// Content on its way in.
#[derive(Debug)]
pub(crate) struct Sink {
    pub(crate) kind: Kind,
    pub(crate) data: Vec<u8>,
    pub(crate) size: u64,
    /// Which job fails, and with what.
    pub(crate) fails: Option<(u32, i32)>,
    jobs: u32,
    stopped: bool,
    pub(crate) finished: bool,
    /// All is here, and waits to be made whole.
    pub(crate) complete: bool,
    pub(crate) aborting: bool,
    pub(crate) busy_until: Duration,
    /// Leaves the comparison of the hash out.
    pub(crate) trusting: bool,
    /// A bit changes on the disk.
    pub(crate) rots: bool,
}

impl Sink {
    pub(crate) fn new(kind: Kind, size: u64, fails: Option<(u32, i32)>) -> Self {
        Self {
            kind,
            data: Vec::new(),
            size,
            fails,
            jobs: 0,
            stopped: false,
            finished: false,
            complete: false,
            aborting: false,
            busy_until: Duration::ZERO,
            trusting: false,
            rots: false,
        }
    }

    /// Does one job. A sink that has failed or been stopped does no more of them.
    pub(crate) fn run(&mut self, job: Job) -> Done {
        if self.stopped {
            return Done::Silent;
        }
        self.jobs += 1;
        if let Some((at, err)) = self.fails
            && at == self.jobs
        {
            self.stopped = true;
            return Done::Failed(err);
        }
        match job {
            Job::Open => Done::Silent,
            Job::Write(data) => {
                if self.data.is_empty() {
                    self.data.reserve_exact(self.size as usize);
                }
                self.data.extend_from_slice(&data);
                Done::Written(self.data.len() as u64)
            }
            Job::Finish(hash) => {
                self.stopped = true;
                if self.rots
                    && let Some(last) = self.data.last_mut()
                {
                    *last ^= 1;
                }
                if !self.trusting && self::hash(&self.data) != hash {
                    return Done::Failed(crvideo_proto::code::ERR_DATA);
                }
                self.finished = true;
                Done::Finished
            }
        }
    }

    /// No job that has not begun does anything any more.
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
        self.aborting = true;
        self.data = Vec::new();
    }
}
