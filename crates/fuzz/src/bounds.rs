//! What one input may cost: memory, counted by an allocator, and processor time.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// So much more memory than before an input may be in use while it is worked on, by all threads together.
pub const MOST_MEMORY: usize = 16 * 1024 * 1024;
/// So much processor time an input may take on its own thread, in an optimised build.
pub const MOST_CPU_TIME: Duration = Duration::from_millis(50);

/// Bytes in use.
static USED: AtomicUsize = AtomicUsize::new(0);
/// The most that has been in use since it was set.
static PEAK: AtomicUsize = AtomicUsize::new(0);
/// An input has been run already. The first one pays for what is made once.
static WARM: AtomicBool = AtomicBool::new(false);

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn more(size: usize) {
    let used = USED.fetch_add(size, Ordering::Relaxed) + size;
    PEAK.fetch_max(used, Ordering::Relaxed);
}

fn less(size: usize) {
    USED.fetch_sub(size, Ordering::Relaxed);
}

#[allow(unsafe_code, reason = "an allocator cannot be written without")]
// SAFETY: every call goes to the system's allocator as it came; only sizes are noted.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        more(layout.size());
        // SAFETY: the caller keeps the contract of this function, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        more(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        less(layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        less(layout.size());
        more(size);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Processor time of this thread.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Runs `work` and sees to it that it keeps to [`MOST_MEMORY`], and under a fuzzer to [`MOST_CPU_TIME`]. Memory is
/// counted for the whole process, so only one call is to be under way.
///
/// # Panics
/// When it does not.
pub fn bounded(name: &str, work: impl FnOnce()) {
    let before = USED.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let began = cpu_time();
    work();
    let grown = PEAK.load(Ordering::Relaxed).saturating_sub(before);
    assert!(grown <= MOST_MEMORY, "{name}: an input took {grown} bytes of memory; {MOST_MEMORY} are allowed");
    let took = cpu_time() - began;
    // Ordinary tests are not optimised, and what they assert does not depend on time.
    if cfg!(fuzzing) && WARM.swap(true, Ordering::Relaxed) {
        assert!(took <= MOST_CPU_TIME, "{name}: an input took {took:?}; {MOST_CPU_TIME:?} are allowed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "bytes of memory")]
    fn memory_above_the_bound_is_found() {
        bounded("a hog", || drop(std::hint::black_box(vec![1u8; MOST_MEMORY + 1])));
    }
}
