//! Maps whose keys are numbers that the library itself has counted out.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map by numbers that nobody outside chooses, so that they need no keyed hash: one multiplication is a tenth of it.
pub type ByNumber<K, V> = HashMap<K, V, BuildHasherDefault<NumberHasher>>;

/// 2^64 divided by the golden ratio: spreads numbers that follow each other over all bits (Fibonacci hashing).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Hashes one number.
#[derive(Debug, Default)]
pub struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(32) ^ number).wrapping_mul(SPREAD);
        // The map takes its places from the lowest bits and its tags from the highest ones.
        self.0 ^= self.0 >> 32;
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::{BuildHasher, Hash};

    use super::*;

    fn hash_of(value: impl Hash) -> u64 {
        BuildHasherDefault::<NumberHasher>::default().hash_one(value)
    }

    #[test]
    fn handles_and_counters_that_follow_each_other_have_different_places_and_tags() {
        for first in [0_u64, 1 << 56, 2 << 56 | 1_000_000] {
            let hashes: Vec<u64> = (first..first + 4_096).map(hash_of).collect();
            let places: HashSet<u64> = hashes.iter().map(|hash| hash & 4_095).collect();
            let tags: HashSet<u64> = hashes.iter().map(|hash| hash >> 57).collect();
            // Random numbers would have 4,096 × (1 − 1/e) = 2,589 places, and all 128 tags.
            assert!(places.len() > 2_000, "{} places from {first}", places.len());
            assert_eq!(tags.len(), 128, "from {first}");
        }
    }

    #[test]
    fn each_number_is_found_again() {
        let mut map = ByNumber::default();
        for number in 0..10_000_usize {
            map.insert(mio::Token(number), number);
        }
        assert!((0..10_000).all(|number| map.get(&mio::Token(number)) == Some(&number)));
        assert_eq!(map.get(&mio::Token(10_000)), None);
    }
}
