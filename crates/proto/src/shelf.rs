//! Large buffers that are used again. The system takes the memory of a freed one back and hands it out again page by
//! page, each filled with zeros, which costs more than what a file's bytes cost else.

use std::collections::{TryReserveError, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::{Bytes, BytesMut};

/// Buffers of this capacity and above are kept.
const KEPT_FROM: usize = 64 * 1024;

/// Where buffers wait to be used again. Dropping it frees them; those that are lent are then freed when they come back.
#[derive(Debug)]
pub struct Shelf(Arc<Mutex<Spare>>);

#[derive(Debug)]
struct Spare {
    /// The one that came back last is at the end.
    buffers: VecDeque<BytesMut>,
    /// Bytes of them.
    held: usize,
    most: usize,
    /// What it shares with other shelves.
    common: Option<&'static Common>,
}

/// What many shelves may keep together, where nobody knows which of them will be used again.
#[derive(Debug)]
pub struct Common {
    held: AtomicUsize,
    most: usize,
}

impl Common {
    /// Shelves that keep `most` bytes together.
    pub const fn new(most: usize) -> Self {
        Self { held: AtomicUsize::new(0), most }
    }

    /// Whether there was room for so many bytes more; they count from now on.
    fn take(&self, bytes: usize) -> bool {
        let more = |held: usize| held.checked_add(bytes).filter(|held| *held <= self.most);
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn give(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Bytes that somebody reads, and where their buffer belongs.
struct Lent {
    buffer: BytesMut,
    home: Weak<Mutex<Spare>>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(home) = self.home.upgrade() {
            lock(&home).put(std::mem::take(&mut self.buffer));
        }
    }
}

fn lock(spare: &Mutex<Spare>) -> MutexGuard<'_, Spare> {
    spare.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Spare {
    fn put(&mut self, mut buffer: BytesMut) {
        let capacity = buffer.capacity();
        if capacity < KEPT_FROM || capacity > self.most || self.common.is_some_and(|common| !common.take(capacity)) {
            return;
        }
        buffer.clear();
        self.held += capacity;
        self.buffers.push_back(buffer);
        while self.held > self.most {
            let Some(oldest) = self.buffers.pop_front() else { break };
            self.gone(oldest.capacity());
        }
    }

    fn take(&mut self, capacity: usize) -> Option<BytesMut> {
        let at = self.buffers.iter().rposition(|buffer| buffer.capacity() == capacity)?;
        let buffer = self.buffers.remove(at)?;
        self.gone(capacity);
        Some(buffer)
    }

    fn clear(&mut self) {
        self.buffers = VecDeque::new();
        self.gone(self.held);
    }

    /// So many bytes less are kept.
    fn gone(&mut self, bytes: usize) {
        self.held -= bytes;
        if let Some(common) = self.common {
            common.give(bytes);
        }
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Shelf {
    /// A shelf for `most` bytes.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Mutex::new(Spare { buffers: VecDeque::new(), held: 0, most, common: None })))
    }

    /// A shelf for `most` bytes, as long as all that share `common` keep no more than that together.
    pub fn sharing(most: usize, common: &'static Common) -> Self {
        Self(Arc::new(Mutex::new(Spare { buffers: VecDeque::new(), held: 0, most, common: Some(common) })))
    }

    /// An empty buffer whose capacity is exactly `capacity`: large frames of one transfer have one size, and whoever
    /// counts a frame's memory by its length must not be wrong.
    pub fn take(&self, capacity: usize) -> Result<BytesMut, TryReserveError> {
        if let Some(buffer) = lock(&self.0).take(capacity) {
            return Ok(buffer);
        }
        let mut new = Vec::new();
        new.try_reserve_exact(capacity)?;
        // A vector of which nobody else knows becomes a buffer without being copied.
        Ok(Bytes::from(new).try_into_mut().unwrap_or_else(|_| BytesMut::with_capacity(capacity)))
    }

    /// Makes a buffer bytes that are shared. It comes back when the last share has gone.
    pub fn lend(&self, buffer: BytesMut) -> Bytes {
        if buffer.capacity() < KEPT_FROM {
            return buffer.freeze();
        }
        Bytes::from_owner(Lent { buffer, home: Arc::downgrade(&self.0) })
    }

    /// Bytes of the buffers that wait here.
    pub fn memory(&self) -> usize {
        lock(&self.0).held
    }

    /// Frees them.
    pub fn clear(&self) {
        lock(&self.0).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 100 * 1024;

    fn filled(shelf: &Shelf, with: u8) -> Bytes {
        let mut buffer = shelf.take(SIZE).unwrap();
        assert_eq!((buffer.len(), buffer.capacity()), (0, SIZE));
        buffer.resize(SIZE, with);
        shelf.lend(buffer)
    }

    #[test]
    fn a_buffer_comes_back_with_the_last_share_and_is_used_again() {
        let shelf = Shelf::new(3 * SIZE);
        let bytes = filled(&shelf, 1);
        let place = bytes.as_ptr();
        let part = bytes.slice(10..20);
        drop(bytes);
        assert_eq!(shelf.memory(), 0);
        assert_eq!(&part[..], [1; 10]);
        drop(part);
        assert_eq!(shelf.memory(), SIZE);
        let again = filled(&shelf, 2);
        assert_eq!((again.as_ptr(), shelf.memory()), (place, 0));
        assert_ne!(filled(&shelf, 3).as_ptr(), place);
    }

    #[test]
    fn shelves_that_share_keep_no_more_than_they_may_together() {
        static COMMON: Common = Common::new(2 * SIZE);
        let (one, other) = (Shelf::sharing(2 * SIZE, &COMMON), Shelf::sharing(2 * SIZE, &COMMON));
        let lent = [filled(&one, 1), filled(&other, 2), filled(&other, 3)];
        drop(lent);
        assert_eq!((one.memory(), other.memory()), (SIZE, SIZE));
        // What one gives up the other may keep.
        drop(one);
        let lent = [filled(&other, 4), filled(&other, 5)];
        drop(lent);
        assert_eq!(other.memory(), 2 * SIZE);
        other.clear();
        assert_eq!((other.memory(), COMMON.held.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn no_more_is_kept_than_may_be_and_what_is_asked_for_fits_exactly() {
        let shelf = Shelf::new(3 * SIZE);
        let lent: Vec<_> = (0..10).map(|with| filled(&shelf, with)).collect();
        drop(lent);
        assert_eq!(shelf.memory(), 3 * SIZE);
        assert_eq!(shelf.take(SIZE - 1).unwrap().capacity(), SIZE - 1);
        assert_eq!(shelf.memory(), 3 * SIZE);
        shelf.clear();
        assert_eq!(shelf.memory(), 0);
    }

    #[test]
    fn a_lent_buffer_outlives_its_shelf() {
        let shelf = Shelf::new(SIZE);
        let bytes = filled(&shelf, 7);
        drop(shelf);
        assert_eq!(bytes.len(), SIZE);
    }
}
