//! Threads inside somebody else's process.

use std::io;
use std::thread::{Builder, JoinHandle};

/// Starts a thread on which no signal is ever delivered: signals belong to the host's own threads.
pub fn spawn_quiet(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    // SAFETY: both sets are plain data that sigfillset and pthread_sigmask fill; the mask of this thread is put back
    // below, and the new thread inherits the full one.
    let before = unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        before
    };
    let thread = Builder::new().name(name.to_owned()).stack_size(STACK).spawn(run);
    // SAFETY: `before` was filled by the call above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut()) };
    thread
}

/// Asks the scheduler for short turns on this thread, in exchange for which it need not wait for the end of somebody's
/// long one (Linux 6.12 and later; nothing changes elsewhere). Its share of the processor stays the same. Without it a
/// command waits for milliseconds while a file is hashed on the same processor.
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

/// Stack of our threads in bytes. Callbacks of the application run on one of them.
const STACK: usize = 2 * 1024 * 1024;
