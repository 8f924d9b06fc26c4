//! Places for connections and uploads, counted for each block of addresses.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Block;

/// What one block of addresses has.
#[derive(Debug, Default)]
struct Taken {
    places: usize,
    /// Those of them of whom nothing is known yet.
    strangers: usize,
}

#[derive(Debug)]
struct Inner {
    taken_by_block: Mutex<HashMap<Block, Taken>>,
    max_places: usize,
    max_strangers: usize,
    counts_loopback: bool,
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, HashMap<Block, Taken>> {
        self.taken_by_block.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Places, so many for each block of addresses and no more. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Crowd(Arc<Inner>);

impl Crowd {
    /// `max_places` for each block, of which `max_strangers` for those of whom nothing is known yet; 0 is no limit.
    pub(crate) fn new(max_places: usize, max_strangers: usize, counts_loopback: bool) -> Self {
        let most = |limit| if limit == 0 { usize::MAX } else { limit };
        let (max_places, max_strangers) = (most(max_places), most(max_strangers));
        Self(Arc::new(Inner { taken_by_block: Mutex::default(), max_places, max_strangers, counts_loopback }))
    }

    /// A place for somebody of whom nothing is known yet; `None` when the address has too many already.
    pub(crate) fn enter(&self, address: IpAddr) -> Option<Place> {
        let block = self.block(address);
        if let Some(block) = block {
            let mut all = self.0.lock();
            let taken = all.entry(block).or_default();
            if taken.places >= self.0.max_places || taken.strangers >= self.0.max_strangers {
                return None;
            }
            taken.places += 1;
            taken.strangers += 1;
        }
        Some(Place { crowd: self.0.clone(), block, stranger: true })
    }

    /// The block that an address is counted for; `None` for addresses that are not counted.
    pub(crate) fn block(&self, address: IpAddr) -> Option<Block> {
        Some(Block::of(address)).filter(|block| self.0.counts_loopback || !block.is_loopback())
    }

    /// Blocks of addresses that have places.
    #[cfg(test)]
    pub(crate) fn blocks(&self) -> usize {
        self.0.lock().len()
    }
}

/// One place; free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    crowd: Arc<Inner>,
    block: Option<Block>,
    stranger: bool,
}

impl Place {
    /// Its holder is no stranger any more.
    pub(crate) fn trust(&mut self) {
        if std::mem::take(&mut self.stranger)
            && let Some(block) = self.block
            && let Some(taken) = self.crowd.lock().get_mut(&block)
        {
            taken.strangers -= 1;
        }
    }

    /// The block that its holder counts for, if any.
    pub(crate) fn block(&self) -> Option<Block> {
        self.block
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(block) = self.block else { return };
        let mut all = self.crowd.lock();
        let Some(taken) = all.get_mut(&block) else { return };
        taken.places -= 1;
        taken.strangers -= usize::from(self.stranger);
        if taken.places == 0 {
            all.remove(&block);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_address_has_its_places_and_gets_them_back() {
        let crowd = Crowd::new(3, 2, false);
        let (one, other) = (ip("192.0.2.1"), ip("192.0.2.2"));
        let mut first = crowd.enter(one).unwrap();
        let second = crowd.enter(one).unwrap();
        assert!(crowd.enter(one).is_none(), "two strangers are enough");
        let elsewhere = crowd.enter(other).unwrap();
        first.trust();
        first.trust();
        let third = crowd.enter(one).unwrap();
        drop(second);
        let fourth = crowd.enter(one).unwrap();
        assert!(crowd.enter(one).is_none(), "three places are all");
        drop((first, third, fourth, elsewhere));
        assert_eq!(crowd.blocks(), 0);
    }

    #[test]
    fn loopback_is_counted_only_where_that_is_asked_for() {
        let here = ip("127.0.0.1");
        let open = Crowd::new(1, 1, false);
        let places: Vec<_> = (0..100).map(|_| open.enter(here).unwrap()).collect();
        assert_eq!((places.len(), open.blocks()), (100, 0));
        let strict = Crowd::new(1, 1, true);
        let _place = strict.enter(here).unwrap();
        assert!(strict.enter(here).is_none());
        let endless = Crowd::new(0, 0, true);
        assert_eq!((0..100).filter_map(|_| endless.enter(here)).count(), 100);
    }
}
