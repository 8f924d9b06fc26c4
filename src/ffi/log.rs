//! The application's log function.

use std::ffi::{CString, c_char, c_int, c_void};

use crvideo_proto::code;

use super::args;
use super::callback::c_text;
use super::error::CRVideo_Err;
use super::guard::{calling, guard};
use super::queue::CRVideo_Queue;
use crate::client;

/// Log level: nothing.
pub const CRVIDEO_LOG_OFF: i32 = 0;
/// Log level: something failed, and someone must act.
pub const CRVIDEO_LOG_ERROR: i32 = 1;
/// Log level: something is odd, and the library goes on.
pub const CRVIDEO_LOG_WARN: i32 = 2;
/// Log level: a session's life: logins, lost links, ends.
pub const CRVIDEO_LOG_INFO: i32 = 3;
/// Log level: each task.
pub const CRVIDEO_LOG_DEBUG: i32 = 4;
/// Log level: each message on the wire. No level shows content, tokens or secrets.
pub const CRVIDEO_LOG_TRACE: i32 = 5;

/// Takes one line of the log. `level` is a `CRVIDEO_LOG_...` number, `target` names the part of the library, `message`
/// is one line without its end. The texts live until it returns.
pub type CRVideo_LogCallback =
    Option<unsafe extern "C-unwind" fn(user: *mut c_void, level: c_int, target: *const c_char, message: *const c_char)>;

/// Sets the process's one log function, for lines up to `level` (a `CRVIDEO_LOG_...` number); NULL or `CRVIDEO_LOG_OFF`
/// unsets it, and nothing is logged, which is the default. It is called as callbacks are: by `CRVideo_PollEvents` of
/// `queue`, or with `queue` 0 on the library's callback thread. Lines that come faster than they are taken are dropped,
/// and a line says how many.
///
/// Any thread, callbacks included. After the call has returned outside callbacks the former function neither runs nor
/// will run, and its `user` pointer is not touched again. Errors: `CRVideo_PARAM_ERR` (no such level),
/// `CRVideo_NOT_INIT` (no such queue).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CRVideo_SetLogCallback(
    queue: CRVideo_Queue,
    level: i32,
    cb: CRVideo_LogCallback,
    user: *mut c_void,
) -> CRVideo_Err {
    guard(|| {
        let level = u8::try_from(level).ok().filter(|level| i32::from(*level) <= CRVIDEO_LOG_TRACE);
        let level = level.ok_or(code::PARAM_ERR)?;
        let cb = cb.filter(|_| level != 0);
        client::set_log(queue, level, cb.map(|cb| sink(cb, args::context(user))))
    })
}

type Sink = Box<dyn Fn(u8, &str, &str) + Send + Sync>;

fn sink(cb: unsafe extern "C-unwind" fn(*mut c_void, c_int, *const c_char, *const c_char), user: usize) -> Sink {
    Box::new(move |level, target, message| {
        let (target, message): (CString, CString) = (c_text(target.as_bytes()), c_text(message.as_bytes()));
        // SAFETY: the application has promised that the function may be called with such arguments; both texts live
        // until it returns.
        calling(|| unsafe { cb(args::context_pointer(user), level.into(), target.as_ptr(), message.as_ptr()) });
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;
    use std::sync::Mutex;

    unsafe extern "C-unwind" fn note(user: *mut c_void, level: c_int, target: *const c_char, message: *const c_char) {
        // SAFETY: the test below passes a Mutex as user; the texts are NUL-terminated.
        let (lines, target, message) =
            unsafe { (&*user.cast::<Mutex<Vec<String>>>(), CStr::from_ptr(target), CStr::from_ptr(message)) };
        lines.lock().unwrap().push(format!("{level} {target:?} {message:?}"));
    }

    #[test]
    fn a_line_reaches_the_function_with_its_user_pointer() {
        let lines = Mutex::new(Vec::<String>::new());
        let user = args::context((&raw const lines).cast_mut().cast());
        sink(note, user)(2, "crvideo::io", "odd");
        assert_eq!(*lines.lock().unwrap(), [r#"2 "crvideo::io" "odd""#]);
    }

    #[test]
    fn a_level_that_does_not_exist_is_refused() {
        for level in [-1, 6, 256, i32::MIN, i32::MAX] {
            // SAFETY: the function may be called with a Mutex only, and is not, since the call fails.
            let err = unsafe { CRVideo_SetLogCallback(0, level, Some(note), std::ptr::null_mut()) };
            assert_eq!(err, code::PARAM_ERR);
        }
    }
}
