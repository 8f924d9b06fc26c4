//! What surrounds every exported call.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crvideo_proto::code;

use super::error::CRVideo_Err;
use crate::client::Code;
use crate::sys::ForkMark;

/// The process that made the first call.
static OWNER: ForkMark = ForkMark::new();

/// Runs the body of an exported call. A child that was forked after the first call gets 11, before any lock is taken
/// that the parent's threads may have held; a panic is caught and logged, and gives 3.
pub(super) fn guard(body: impl FnOnce() -> Result<(), Code>) -> CRVideo_Err {
    if OWNER.is_forked_child() {
        return code::NOT_INIT;
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
