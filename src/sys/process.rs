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

/// Stack of our threads in bytes. Callbacks of the application run on one of them.
const STACK: usize = 2 * 1024 * 1024;
