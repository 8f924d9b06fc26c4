//! Threads that should not have to wait long for a processor. The relay has this file, too, as a module of its own.

/// Asks the scheduler for short turns on this thread, in exchange for which it need not wait for the end of somebody's
/// long one (Linux 6.12 and later; nothing changes elsewhere). Its share of the processor stays the same. Without it a
/// command waits for milliseconds while a file is hashed or passed on by the same processor.
pub fn be_prompt() {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: an all-zero sched_attr is plain data.
        let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
        let size = size_of::<libc::sched_attr>() as libc::c_uint;
        // SAFETY: 0 is this thread, and the kernel writes at most `size` bytes to a value that lives through the call.
        let known = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) } == 0;
        // Whoever has been given another policy is left alone.
        if known && attributes.sched_policy == libc::SCHED_OTHER as u32 {
            attributes.size = size;
            attributes.sched_runtime = SLICE_NS;
            // SAFETY: the value lives through the call; it changes this thread only.
            unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
        }
    }
}

/// A short turn, in nanoseconds: what handling a few pieces of a file takes.
#[cfg(target_os = "linux")]
const SLICE_NS: u64 = 200_000;
