//! How fast one connection is read. Who sends faster than he may is not refused: his bytes wait in the kernel, which
//! slows him down, and nobody else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Block, GuardSettings, Rate};

/// A rate may be used up at once for so many seconds.
const BURST_S: u64 = 2;
/// No connection is left unread for longer than this in one go, so that heart-beats still come through.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Blocks of addresses whose rate is remembered; beyond it those go that have nothing to pay.
const MAX_BLOCKS: usize = 65_536;

/// A rate that connections share.
type Shared = Arc<Mutex<Rate>>;

/// The rates of everybody.
#[derive(Debug)]
pub(crate) struct Paces {
    started: Instant,
    frames_per_s: u64,
    bytes_per_s: u64,
    address_bytes_per_s: u64,
    project_bytes_per_s: u64,
    by_block: Mutex<HashMap<Block, Shared>>,
    by_project: Mutex<HashMap<i64, Shared>>,
}

impl Paces {
    pub(crate) fn new(settings: &GuardSettings) -> Arc<Self> {
        Arc::new(Self {
            started: Instant::now(),
            frames_per_s: settings.connection_frames_per_s,
            bytes_per_s: settings.connection_bytes_per_s,
            address_bytes_per_s: settings.address_bytes_per_s,
            project_bytes_per_s: settings.project_bytes_per_s,
            by_block: Mutex::default(),
            by_project: Mutex::default(),
        })
    }

    fn of_block(&self, block: Block) -> Shared {
        let mut all = self.by_block.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_BLOCKS {
            all.retain(|_, rate| Arc::strong_count(rate) > 1);
        }
        all.entry(block).or_insert_with(|| shared(self.address_bytes_per_s)).clone()
    }

    fn of_project(&self, project: i64) -> Shared {
        let mut all = self.by_project.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(project).or_insert_with(|| shared(self.project_bytes_per_s)).clone()
    }
}

fn rate(per_s: u64) -> Rate {
    Rate::new(per_s, per_s.saturating_mul(BURST_S))
}

fn shared(per_s: u64) -> Shared {
    Arc::new(Mutex::new(rate(per_s)))
}

/// How fast one connection may be read.
#[derive(Debug)]
pub(crate) struct Pace {
    paces: Arc<Paces>,
    frames: Option<Box<Rate>>,
    bytes: Option<Box<Rate>>,
    of_block: Option<Shared>,
    of_project: Option<Shared>,
}

impl Pace {
    /// Of a connection of somebody who has not logged in yet.
    pub(crate) fn new(paces: &Arc<Paces>, block: Option<Block>) -> Self {
        let of_block = block.filter(|_| paces.address_bytes_per_s > 0).map(|block| paces.of_block(block));
        Self { paces: paces.clone(), frames: None, bytes: None, of_block, of_project: None }
    }

    /// The connection has become one of a project's.
    pub(crate) fn joins(&mut self, project: i64) {
        let own = |per_s: u64| (per_s > 0).then(|| Box::new(rate(per_s)));
        (self.frames, self.bytes) = (own(self.paces.frames_per_s), own(self.paces.bytes_per_s));
        self.of_project = (self.paces.project_bytes_per_s > 0).then(|| self.paces.of_project(project));
    }

    /// So much has been read: how long to wait before more is read.
    pub(crate) fn charge(&mut self, frames: usize, bytes: usize) -> Duration {
        let now = self.paces.started.elapsed();
        let shared = [&self.of_block, &self.of_project].into_iter().flatten().map(|rate| {
            let mut rate = rate.lock().unwrap_or_else(PoisonError::into_inner);
            rate.charge(bytes as u64, now)
        });
        let shared = shared.max().unwrap_or_default();
        let own = [(&mut self.frames, frames), (&mut self.bytes, bytes)];
        let own = own.into_iter().filter_map(|(rate, much)| Some(rate.as_mut()?.charge(much as u64, now))).max();
        shared.max(own.unwrap_or_default()).min(LONGEST_PAUSE)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_over_a_rate_waits_and_nobody_else() {
        let settings =
            GuardSettings { connection_frames_per_s: 10, project_bytes_per_s: 1_000, ..GuardSettings::default() };
        let paces = Paces::new(&settings);
        let mut one = Pace::new(&paces, None);
        assert_eq!(one.charge(1_000, 1_000_000), Duration::ZERO, "who has not logged in has other limits");
        let (mut two, mut other) = (Pace::new(&paces, None), Pace::new(&paces, None));
        one.joins(1);
        two.joins(1);
        other.joins(2);
        assert_eq!(one.charge(20, 10), Duration::ZERO);
        assert!(one.charge(5, 10) > Duration::from_millis(300), "its own frames");
        assert_eq!(two.charge(1, 1_900), Duration::ZERO);
        assert!(two.charge(1, 500) > Duration::from_millis(100), "the project's bytes");
        assert_eq!(other.charge(1, 2_000), Duration::ZERO);
        assert_eq!(other.charge(1, 1_000_000), LONGEST_PAUSE);
    }
}
