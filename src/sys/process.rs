//! Threads inside somebody else's process.

use std::io;
use std::marker::PhantomData;
use std::thread::{Builder, JoinHandle};

/// Starts a thread on which no signal is ever delivered, since signals belong to the host's own threads, and which
/// nobody can cancel: all sessions live on it.
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
    let run = move || {
        let _kept = Uncancelled::new();
        run();
    };
    let thread = Builder::new().name(name.to_owned()).stack_size(STACK).spawn(run);
    // SAFETY: `before` was filled by the call above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut()) };
    thread
}

/// Stack of our threads in bytes. Callbacks of the application run on one of them.
const STACK: usize = 2 * 1024 * 1024;

/// While it lives `pthread_cancel` of the thread that made it is put off. A thread that is cancelled ends wherever it
/// waits, with every lock that it holds.
pub struct Uncancelled {
    before: libc::c_int,
    /// It belongs to its thread.
    _thread: PhantomData<*const ()>,
}

impl Uncancelled {
    /// Puts it off.
    pub fn new() -> Self {
        Self { before: set_cancel_state(PTHREAD_CANCEL_DISABLE), _thread: PhantomData }
    }
}

impl Drop for Uncancelled {
    fn drop(&mut self) {
        set_cancel_state(self.before);
    }
}

#[cfg(target_os = "linux")]
const PTHREAD_CANCEL_DISABLE: libc::c_int = 1;

#[cfg(target_os = "linux")]
unsafe extern "C" {
    // glibc and musl have it, and libc does not declare it for them.
    fn pthread_setcancelstate(state: libc::c_int, before: *mut libc::c_int) -> libc::c_int;
}

#[cfg(target_os = "linux")]
fn set_cancel_state(state: libc::c_int) -> libc::c_int {
    let mut before = 0;
    // SAFETY: `before` is writable; the call fails only for a state that does not exist, and then changes nothing.
    unsafe { pthread_setcancelstate(state, &mut before) };
    before
}

#[cfg(not(target_os = "linux"))]
const PTHREAD_CANCEL_DISABLE: libc::c_int = 1;

#[cfg(not(target_os = "linux"))]
fn set_cancel_state(state: libc::c_int) -> libc::c_int {
    state
}

/// Whether all these addresses lie on the stack that the system has given this thread, and on no other one such as a
/// coroutine's.
#[cfg(target_os = "linux")]
pub fn are_on_own_stack(addresses: &[usize]) -> bool {
    let mut start = std::ptr::null_mut();
    let mut size = 0;
    // SAFETY: the attributes are plain data that pthread_getattr_np fills; they are read and freed only if it has.
    unsafe {
        let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
        if libc::pthread_getattr_np(libc::pthread_self(), &mut attributes) != 0 {
            return false;
        }
        libc::pthread_attr_getstack(&attributes, &mut start, &mut size);
        libc::pthread_attr_destroy(&mut attributes);
    }
    let stack = start as usize..(start as usize).saturating_add(size);
    addresses.iter().all(|address| stack.contains(address))
}

/// Whether all these addresses lie on this thread's stack: not known here.
#[cfg(not(target_os = "linux"))]
pub fn are_on_own_stack(_addresses: &[usize]) -> bool {
    false
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_the_stack_is_told_from_what_is_not() {
        let (here, elsewhere) = (0_u8, Box::new(0_u8));
        let (here, elsewhere) = (&raw const here as usize, &raw const *elsewhere as usize);
        assert!(are_on_own_stack(&[here]));
        assert!(!are_on_own_stack(&[here, elsewhere]));
        // The other thread's stack is not this one.
        assert!(!std::thread::spawn(move || are_on_own_stack(&[here])).join().unwrap());
    }
}
