//! Ids of messages, and salts of signatures: numbers that one generator never gives twice.

/// Where the milliseconds stand in an id: from bit 22 on they last until the year 2039, and then begin again.
const MS_SHIFT: u32 = 22;
/// Where the generator's own number stands, above a counter.
const NODE_SHIFT: u32 = 8;
/// The bits of that number.
const NODE_BITS: u64 = (1 << (MS_SHIFT - NODE_SHIFT)) - 1;
/// The bits of the counter.
const COUNT_BITS: i64 = (1 << NODE_SHIFT) - 1;

/// Gives ids that grow: time, then a number that tells generators apart, then a counter. When the counter is used up
/// within a millisecond, or the clock goes back, the time runs ahead.
#[derive(Debug)]
pub struct Mids {
    node: i64,
    last: i64,
}

impl Mids {
    /// A generator; `random` tells it from those of other processes.
    pub fn new(random: u64) -> Self {
        Self { node: ((random & NODE_BITS) << NODE_SHIFT) as i64, last: 0 }
    }

    /// The next id, from milliseconds since 1970.
    pub fn next(&mut self, unix_ms: u64) -> i64 {
        let begin = |ms: u64| ((ms << MS_SHIFT) as i64 & i64::MAX) | self.node;
        let fresh = begin(unix_ms);
        self.last = if fresh > self.last {
            fresh
        } else if self.last & COUNT_BITS == COUNT_BITS {
            begin((self.last as u64 >> MS_SHIFT) + 1)
        } else {
            self.last + 1
        };
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_never_repeat_within_a_millisecond_nor_when_the_clock_goes_back() {
        let mut mids = Mids::new(u64::MAX);
        let mut last = 0;
        for ms in (0..100_000).map(|_| 1_795_293_745_027).chain([1, 1_795_293_745_000, 1_795_293_745_500]) {
            let mid = mids.next(ms);
            assert!(mid > last, "{mid} after {last}");
            last = mid;
        }
        assert_eq!(Mids::new(7).next(1_795_293_745_027) >> MS_SHIFT, 1_795_293_745_027);
    }

    #[test]
    fn generators_of_one_millisecond_are_told_apart() {
        assert_ne!(Mids::new(1).next(5), Mids::new(2).next(5));
    }
}
