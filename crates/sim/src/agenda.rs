//! What will happen when: a heap of times, with what happens kept beside it, because the heap moves its elements about.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Agenda<T> {
    /// When, in nanoseconds; the how-manieth, so that what was entered first comes first; where in `entries`.
    heap: BinaryHeap<Reverse<(u64, u64, u32)>>,
    entries: Vec<Option<T>>,
    free: Vec<u32>,
    entered: u64,
}

impl<T> Agenda<T> {
    pub(crate) fn new() -> Self {
        Self { heap: BinaryHeap::new(), entries: Vec::new(), free: Vec::new(), entered: 0 }
    }

    pub(crate) fn enter(&mut self, at: Duration, what: T) {
        self.entered += 1;
        let place = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            self.entries.len() as u32 - 1
        });
        self.entries[place as usize] = Some(what);
        self.heap.push(Reverse((at.as_nanos() as u64, self.entered, place)));
    }

    /// When something happens next.
    pub(crate) fn first(&self) -> Option<Duration> {
        self.heap.peek().map(|Reverse((at, ..))| Duration::from_nanos(*at))
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        let Reverse((_, _, place)) = self.heap.pop()?;
        self.free.push(place);
        self.entries[place as usize].take()
    }

    /// Strikes out what does not fit.
    pub(crate) fn retain(&mut self, fits: impl Fn(&T) -> bool) {
        let (entries, free) = (&mut self.entries, &mut self.free);
        self.heap.retain(|Reverse((_, _, place))| {
            let entry = &mut entries[*place as usize];
            let keep = entry.as_ref().is_some_and(&fits);
            if !keep {
                *entry = None;
                free.push(*place);
            }
            keep
        });
    }
}
