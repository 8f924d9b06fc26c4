//! Which library this is.

use std::ffi::{CStr, c_char};

/// The version, as Cargo knows it.
const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => c"",
};

/// The version of the library that is running, for instance "1.2.3". `CRVIDEO_VERSION` is the version of the header
/// that the program was compiled with; a library that is newer than the header is fine.
///
/// Any thread, callbacks and a forked child included. The text is static: do not free it, it stays for ever.
#[unsafe(no_mangle)]
pub extern "C" fn CRVideo_Version() -> *const c_char {
    VERSION.as_ptr()
}
