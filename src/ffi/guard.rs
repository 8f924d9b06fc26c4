//! What surrounds every exported call, and every call of the application's functions.

use std::any::Any;
use std::cell::Cell;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crvideo_proto::code;

use super::error::CRVideo_Err;
use crate::client::Code;
use crate::sys::{self, ForkMark};

/// The process that made the first call.
static OWNER: ForkMark = ForkMark::new();

/// Runs the body of an exported call. A child that was forked after the first call gets 11, before any lock is taken
/// that the parent's threads may have held; a panic is caught and logged, and gives 3. A `pthread_cancel` of the thread
/// is put off until the call has returned.
pub(super) fn guard(body: impl FnOnce() -> Result<(), Code>) -> CRVideo_Err {
    if OWNER.is_forked_child() {
        return code::NOT_INIT;
    }
    let _kept = sys::Uncancelled::new();
    if has_left_a_callback() {
        die("a callback was left by longjmp");
    }
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => code::NOERR,
        Ok(Err(code)) => code,
        Err(panic) => {
            log_panic(panic);
            code::INNER_ERR
        }
    }
}

thread_local! {
    /// An address in the frame that surrounds the innermost callback of this thread; 0 outside callbacks.
    static AROUND: Cell<usize> = const { Cell::new(0) };
}

/// Runs one of the application's functions. One that does not return, by a C++ exception or the end of its thread, ends
/// the process.
pub(super) fn calling<T>(call: impl FnOnce() -> T) -> T {
    struct Around {
        outer: usize,
        returned: bool,
    }
    impl Drop for Around {
        fn drop(&mut self) {
            AROUND.set(self.outer);
            // A panic is our own, and caught further out.
            if !self.returned && !std::thread::panicking() {
                die("a callback was left by an exception, or has ended its thread");
            }
        }
    }
    let mark = 0_u8;
    let mut around = Around { outer: AROUND.replace(&raw const mark as usize), returned: false };
    let result = call();
    around.returned = true;
    result
}

/// Whether a callback of this thread has been left by longjmp: the frame around it is below the present one, where
/// stacks grow downwards. On a stack of the application's own, such as a coroutine's, that says nothing.
fn has_left_a_callback() -> bool {
    let around = AROUND.get();
    let mark = 0_u8;
    let here = &raw const mark as usize;
    around != 0 && here > around && sys::are_on_own_stack(&[here, around])
}

/// What the frames that are gone have held stays locked for ever: better an end that says why than one day a hang.
fn die(why: &str) -> ! {
    let text = format!("crvideo: {why}, which crvideo.h forbids; the process ends\n");
    let _ = std::io::stderr().write_all(text.as_bytes());
    std::process::abort();
}

/// Logs a panic's message, and lets nothing out that panics while doing so, the payload's destructor included.
fn log_panic(panic: Box<dyn Any + Send>) {
    let logged = catch_unwind(AssertUnwindSafe(move || {
        let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        log::error!(target: "crvideo::ffi", "a call panicked: {}", text.unwrap_or("no message"));
    }));
    if let Err(panic) = logged {
        std::mem::forget(panic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("a payload's destructor panics as well");
        }
    }

    #[test]
    fn a_result_becomes_its_code() {
        assert_eq!(guard(|| Ok(())), code::NOERR);
        assert_eq!(guard(|| Err(code::NOT_LOGIN)), code::NOT_LOGIN);
    }

    #[test]
    fn a_panic_becomes_3_and_the_next_call_works() {
        assert_eq!(guard(|| panic!("a text")), code::INNER_ERR);
        assert_eq!(guard(|| panic!("a text with {}", 1)), code::INNER_ERR);
        assert_eq!(guard(|| std::panic::panic_any(7_u8)), code::INNER_ERR);
        assert_eq!(guard(|| std::panic::panic_any(Bomb)), code::INNER_ERR);
        assert_eq!(guard(|| Ok(())), code::NOERR);
    }
}
