//! How fast a session sends the bytes of buffers and files, where its application has set a limit.

use std::time::Duration;

use super::sending::CHUNK;

/// A limit below this counts as this: less would not bring one piece to its target in time.
pub const MIN_SEND_RATE: u64 = 16 * 1024;
/// So much of the time that was not used may be made up for: timers are late now and then.
const CATCH_UP: Duration = Duration::from_millis(100);
/// Pieces in a second, so that the limit is kept in short times, too.
const PIECES_PER_S: u64 = 8;
/// Pieces are no smaller.
const MIN_PIECE: u64 = 4 * 1024;

/// When the next bytes may be sent.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Bytes in a second; 0 is no limit.
    per_s: u64,
    free_at: Duration,
    /// Something waits for that.
    waits: bool,
}

impl Pace {
    /// 0 is no limit.
    pub(super) fn new(per_s: u64) -> Self {
        Self { per_s: if per_s == 0 { 0 } else { per_s.max(MIN_SEND_RATE) }, ..Self::default() }
    }

    /// The largest piece.
    pub(super) fn piece(&self) -> u64 {
        match self.per_s {
            0 => CHUNK as u64,
            per_s => (per_s / PIECES_PER_S).clamp(MIN_PIECE, CHUNK as u64),
        }
    }

    /// Whether bytes may be sent now. If not, the session must look again at [`deadline`](Self::deadline).
    pub(super) fn is_open(&mut self, now: Duration) -> bool {
        let open = self.per_s == 0 || self.free_at <= now;
        self.waits |= !open;
        open
    }

    /// Bytes are being sent.
    pub(super) fn sent(&mut self, bytes: usize, now: Duration) {
        if self.per_s > 0 {
            let nanos = bytes as u128 * 1_000_000_000 / u128::from(self.per_s);
            let time = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
            self.free_at = self.free_at.max(now.saturating_sub(CATCH_UP)).saturating_add(time);
        }
    }

    /// Nothing waits any more, until somebody asks again.
    pub(super) fn look_again(&mut self) {
        self.waits = false;
    }

    /// When what waits may go on.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.waits.then_some(self.free_at)
    }
}
