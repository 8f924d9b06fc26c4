//! Event queues of the application's own.

use std::ffi::c_void;
use std::time::Duration;

use super::args;
use super::error::CRVideo_Err;
use super::guard::guard;
use crate::client;

/// An event queue. 0 is the library's own, which its callback thread serves. A number is never used again: a call with
/// a queue that has been destroyed returns `CRVideo_NOT_INIT`.
pub type CRVideo_Queue = u64;

/// Says that a queue has stopped being empty. It may only pass that on.
pub type CRVideo_WakeCallback = Option<unsafe extern "C-unwind" fn(user: *mut c_void)>;

/// Creates an event queue. Attach sessions by their configuration's `queue`, any number of them; nothing is called
/// until `CRVideo_PollEvents` runs, and then on the thread that runs it, so a single-threaded program needs no lock.
/// End it by `CRVideo_DestroyQueue`.
///
/// Any thread, callbacks included. `queue` is written on success only. Errors: `CRVideo_PARAM_ERR` (NULL),
/// `CRVideo_NETWORK_INITFAILED` (no descriptor is left).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CRVideo_CreateQueue(queue: *mut CRVideo_Queue) -> CRVideo_Err {
    guard(|| {
        // SAFETY: what the caller's pointer must be is what is asked here.
        let queue = unsafe { args::out(queue) }?;
        queue.put(client::create_queue()?);
        Ok(())
    })
}

/// Ends an event queue. Its sessions must be destroyed first, and a log function be unset.
///
/// Any thread, callbacks of other queues included. After it has returned `CRVideo_NOERR` the wake function neither runs
/// nor will run. Errors: `CRVideo_LOGINSTATE_ERROR` (a session or the log is attached, or it is being polled),
/// `CRVideo_NOT_INIT` (no such queue; 0 is not one's own).
#[unsafe(no_mangle)]
pub extern "C" fn CRVideo_DestroyQueue(queue: CRVideo_Queue) -> CRVideo_Err {
    guard(|| client::destroy_queue(queue))
}

/// Handles the events that wait on a queue: calls their callbacks, in order, on this thread. Waits for the first one
/// for up to `timeout_ms` milliseconds (0: not at all, UINT32_MAX: for ever), then handles what is there and returns.
/// `handled` receives how many events it was, 0 after a time-out, which is no error; it may be NULL, and is written on
/// success only.
///
/// Any thread, one at a time. Errors: `CRVideo_LOGINSTATE_ERROR` (from inside one of this queue's callbacks, or another
/// thread is polling it), `CRVideo_NOT_INIT` (no such queue; 0 is not polled).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CRVideo_PollEvents(queue: CRVideo_Queue, timeout_ms: u32, handled: *mut u32) -> CRVideo_Err {
    guard(|| {
        let timeout = (timeout_ms != u32::MAX).then(|| Duration::from_millis(timeout_ms.into()));
        let count = client::poll_events(queue, timeout)?;
        // SAFETY: what the caller's pointer must be is what is asked here.
        if let Some(handled) = unsafe { args::optional_out(handled) } {
            handled.put(count);
        }
        Ok(())
    })
}

/// Tells a queue's descriptor, for the program's own poll, epoll or select: it is readable exactly while events wait.
/// On Windows it is an event handle. Only wait for it; never read, write or close it. It is the queue's until
/// `CRVideo_DestroyQueue`.
///
/// Any thread, callbacks included. `fd_or_handle` is written on success only. Errors: `CRVideo_PARAM_ERR` (NULL),
/// `CRVideo_NOT_INIT` (no such queue; 0 has none).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CRVideo_GetQueueFd(queue: CRVideo_Queue, fd_or_handle: *mut isize) -> CRVideo_Err {
    guard(|| {
        // SAFETY: what the caller's pointer must be is what is asked here.
        let place = unsafe { args::out(fd_or_handle) }?;
        place.put(client::queue_fd(queue)?);
        Ok(())
    })
}

/// Sets a function that is called whenever a queue stops being empty; NULL unsets it. It is for event loops that have a
/// "post a message to the main thread" of their own, and may do nothing but that: it runs on any thread, the library's
/// network thread included, must return at once, and must not call the library.
///
/// Any thread, but not inside the wake function. After the call has returned the former function neither runs nor will
/// run, and its `user` pointer is not touched again. The last one is given up by `CRVideo_DestroyQueue`. Errors:
/// `CRVideo_NOT_INIT` (no such queue; 0 has none).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CRVideo_SetWakeCallback(
    queue: CRVideo_Queue,
    cb: CRVideo_WakeCallback,
    user: *mut c_void,
) -> CRVideo_Err {
    guard(|| {
        let user = args::context(user);
        let wake = cb.map(|wake| {
            // SAFETY: the application has promised that the function may be called with this argument.
            let call = move || unsafe { wake(args::context_pointer(user)) };
            Box::new(call) as Box<dyn Fn() + Send + Sync>
        });
        client::set_wake(queue, wake)
    })
}
