//! Medians and percentiles.

use std::path::Path;

use crate::process::{Outcome, cannot};

/// The one in the middle, or between the two that are; 0 of nothing.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        len if len % 2 == 1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}

/// Times in nanoseconds.
pub struct Times(Vec<u64>);

impl Times {
    /// Takes them in any order.
    pub fn new(mut times: Vec<u64>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    /// Reads what `peer` has written: 64-bit numbers of this machine.
    pub fn read(path: &Path) -> Outcome<Self> {
        let bytes = std::fs::read(path).map_err(cannot("read", path))?;
        let (numbers, _) = bytes.as_chunks::<8>();
        Ok(Self::new(numbers.iter().map(|bytes| u64::from_ne_bytes(*bytes)).collect()))
    }

    /// The smallest time, in microseconds, that `percent` of all do not exceed; 0 of nothing.
    pub fn percentile_us(&self, percent: f64) -> f64 {
        let rank = (self.0.len() as f64 * percent / 100.0).ceil().max(1.0) as usize;
        self.0.get(rank.min(self.0.len()).wrapping_sub(1)).map_or(0.0, |ns| *ns as f64 / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[]), 0.0);
    }

    #[test]
    fn percentiles_are_times_that_occurred() {
        let times = Times::new((1..=200).rev().map(|us| us * 1_000).collect());
        assert_eq!(times.percentile_us(50.0), 100.0);
        assert_eq!(times.percentile_us(99.0), 198.0);
        assert_eq!(times.percentile_us(100.0), 200.0);
        assert_eq!(times.percentile_us(0.0), 1.0);
        assert_eq!(Times::new(vec![7_000]).percentile_us(99.0), 7.0);
        assert_eq!(Times::new(Vec::new()).percentile_us(50.0), 0.0);
    }

    #[test]
    fn times_are_read_as_the_c_program_writes_them() {
        let path = std::env::temp_dir().join(format!("xtask-times-{}", std::process::id()));
        std::fs::write(&path, [2_000_u64.to_ne_bytes(), 1_000_u64.to_ne_bytes()].concat()).unwrap();
        let times = Times::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!((times.percentile_us(50.0), times.percentile_us(100.0)), (1.0, 2.0));
    }
}
