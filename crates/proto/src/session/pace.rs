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

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that are sent within `time`, looking again whenever that is due.
    fn sent_in(pace: &mut Pace, time: Duration) -> u64 {
        let (mut now, mut sent) = (Duration::from_secs(100), 0);
        let end = now + time;
        while now < end {
            pace.look_again();
            while pace.is_open(now) {
                pace.sent(pace.piece() as usize, now);
                sent += pace.piece();
            }
            now = pace.deadline().unwrap_or(end);
        }
        sent
    }

    #[test]
    fn a_limit_is_kept_and_used() {
        for per_s in [20_000, 1_000_000, 500_000_000] {
            let mut pace = Pace::new(per_s);
            let sent = sent_in(&mut pace, Duration::from_secs(10));
            assert!((per_s * 10..=per_s * 10 + per_s / 5 + pace.piece()).contains(&sent), "{sent} at {per_s}");
        }
    }

    #[test]
    fn without_a_limit_nothing_waits_and_a_tiny_one_is_raised() {
        let mut pace = Pace::new(0);
        for _ in 0..1_000 {
            assert!(pace.is_open(Duration::ZERO));
            pace.sent(CHUNK, Duration::ZERO);
        }
        assert_eq!(pace.deadline(), None);
        let sent = sent_in(&mut Pace::new(1), Duration::from_secs(10));
        assert!(sent >= MIN_SEND_RATE * 10);
    }
}
