//! Deciding about what comes in.

use std::ffi::{c_char, c_int};

use super::args;
use super::error::CRVideo_Err;
use super::guard::guard;
use super::session::CRVideo_Session;
use crate::client;

/// Kind of a transfer: a buffer.
pub const CRVIDEO_KIND_BUFFER: c_int = 1;
/// Kind of a transfer: a file.
pub const CRVIDEO_KIND_FILE: c_int = 2;

/// Accepts a transfer that a `TransferOffer` event has announced, inside that callback or later, within the session's
/// `offer_timeout_ms`. A file goes straight to `path` (1 to 4,096 bytes; nothing may stand there, else the transfer
/// fails with `CRVideo_FILE_ALREADY_EXIST`), where it appears when it is complete and stays; or with NULL to a temporary
/// file in the download directory. A buffer comes as a buffer, whatever `path` says.
///
/// Any thread, callbacks included; it does not wait. No pointer is touched after the call. Errors:
/// `CRVideo_TRANSID_INVALID` (no such offer is open, or no longer), `CRVideo_PARAM_ERR`, `CRVideo_NOT_INIT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CRVideo_AcceptTransfer(
    session: CRVideo_Session,
    source: *const c_char,
    task_id: *const c_char,
    path: *const c_char,
) -> CRVideo_Err {
    guard(|| {
        // SAFETY: what the caller's pointers must be is what is asked here.
        let (source, task, path) =
            unsafe { (args::user_id(source)?, args::task_id(task_id)?, args::optional_path(path)?) };
        client::accept_transfer(session, source, task, path.map(Into::into))
    })
}

/// Refuses a transfer that a `TransferOffer` event has announced. Its sender gets `CRVideo_PEER_REFUSE`; here
/// `NotifyCancelSend` with the same code follows, as for every announced transfer that does not arrive.
///
/// Any thread, callbacks included; it does not wait. No pointer is touched after the call. Errors:
/// `CRVideo_TRANSID_INVALID` (no such offer is open, or no longer), `CRVideo_PARAM_ERR`, `CRVideo_NOT_INIT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CRVideo_RefuseTransfer(
    session: CRVideo_Session,
    source: *const c_char,
    task_id: *const c_char,
) -> CRVideo_Err {
    guard(|| {
        // SAFETY: what the caller's pointers must be is what is asked here.
        let (source, task) = unsafe { (args::user_id(source)?, args::task_id(task_id)?) };
        client::refuse_transfer(session, source, task)
    })
}

/// Cancels a transfer that is coming in. Its sender gets `CRVideo_PEER_REFUSE`, what has arrived of it is deleted, and
/// `NotifyCancelSend` with the same code follows here.
///
/// Any thread, callbacks included; it does not wait. No pointer is touched after the call. Errors:
/// `CRVideo_TRANSID_INVALID` (no such transfer, or it has ended), `CRVideo_PARAM_ERR`, `CRVideo_NOT_INIT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CRVideo_CancelReceive(
    session: CRVideo_Session,
    source: *const c_char,
    task_id: *const c_char,
) -> CRVideo_Err {
    guard(|| {
        // SAFETY: what the caller's pointers must be is what is asked here.
        let (source, task) = unsafe { (args::user_id(source)?, args::task_id(task_id)?) };
        client::cancel_receive(session, source, task)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::TransferKind;

    #[test]
    fn the_headers_kinds_are_the_clients() {
        assert_eq!(CRVIDEO_KIND_BUFFER, TransferKind::Buffer as c_int);
        assert_eq!(CRVIDEO_KIND_FILE, TransferKind::File as c_int);
    }
}
