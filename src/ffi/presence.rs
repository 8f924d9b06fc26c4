//! Who is online.

use std::ffi::{c_char, c_void};

use super::args;
use super::error::CRVideo_Err;
use super::guard::guard;
use super::session::CRVideo_Session;
use crate::client;

/// Asks whether `user_id` is online, or with NULL which users of the project are. When it returns `CRVideo_NOERR`, one
/// `UserStatusRslt` event with `cookie` follows; it lists those who are online.
///
/// Any thread, callbacks included; it does not wait. `user_id` is not touched after the call. Errors:
/// `CRVideo_PARAM_ERR`, `CRVideo_NOT_LOGIN`, `CRVideo_SEND_QUEUE_FULL`, `CRVideo_NOT_INIT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CRVideo_GetUserStatus(
    session: CRVideo_Session,
    user_id: *const c_char,
    cookie: *mut c_void,
) -> CRVideo_Err {
    guard(|| {
        // SAFETY: what the caller's pointer must be is what is asked here.
        let user = if user_id.is_null() { None } else { Some(unsafe { args::user_id(user_id) }?) };
        client::get_user_status(session, user, args::context(cookie))
    })
}

/// Asks for `UserStatus` events: one whenever a user of the project comes or goes. When it returns `CRVideo_NOERR`, one
/// `StatusPushRslt` event with `cookie` follows.
///
/// Any thread, callbacks included; it does not wait. Errors: `CRVideo_NOT_LOGIN`, `CRVideo_SEND_QUEUE_FULL`,
/// `CRVideo_NOT_INIT`.
#[unsafe(no_mangle)]
pub extern "C" fn CRVideo_StartUserStatusPush(session: CRVideo_Session, cookie: *mut c_void) -> CRVideo_Err {
    guard(|| client::set_status_push(session, true, args::context(cookie)))
}

/// Asks for no more `UserStatus` events. When it returns `CRVideo_NOERR`, one `StatusPushRslt` event with `cookie`
/// follows, and no `UserStatus` after it.
///
/// Any thread, callbacks included; it does not wait. Errors: `CRVideo_NOT_LOGIN`, `CRVideo_SEND_QUEUE_FULL`,
/// `CRVideo_NOT_INIT`.
#[unsafe(no_mangle)]
pub extern "C" fn CRVideo_StopUserStatusPush(session: CRVideo_Session, cookie: *mut c_void) -> CRVideo_Err {
    guard(|| client::set_status_push(session, false, args::context(cookie)))
}
