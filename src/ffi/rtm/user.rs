//! Users of a project, and their tokens.

use std::ffi::c_void;

use crvideo_proto::rtm::code as rtm_code;
use libc::size_t;

use super::super::args;
use super::super::error::CRVideo_Err;
use super::run::{options as call_options, run};
use super::types::{
    RTM_CallOptions, RTM_Callback, RTM_Client, RTM_ListCallback, RTM_ListResult, RTM_Result, RTM_TokenCallback,
    RTM_TokenResult,
};
use crate::client::rtm::{self, Action, MAX_IDS};

/// Asks for the token with which the user `uid` logs in.
///
/// See `RTM_SendFile` for what holds for all calls.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_GetToken(
    client: RTM_Client,
    uid: i64,
    options: *const RTM_CallOptions,
    callback: RTM_TokenCallback,
    cookie: *mut c_void,
    result: *mut RTM_TokenResult,
) -> CRVideo_Err {
    // SAFETY: what the caller's pointers must be is what is asked here.
    let call = |reply| unsafe { rtm::call(client, Action::GetToken { uid }, call_options(options)?, reply) };
    // SAFETY: as above.
    unsafe { run(callback, cookie, result, call) }
}

/// Makes the tokens of the user `uid` worthless.
///
/// See `RTM_SendFile` for what holds for all calls.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_RemoveToken(
    client: RTM_Client,
    uid: i64,
    options: *const RTM_CallOptions,
    callback: RTM_Callback,
    cookie: *mut c_void,
    result: *mut RTM_Result,
) -> CRVideo_Err {
    // SAFETY: what the caller's pointers must be is what is asked here.
    let call = |reply| unsafe { rtm::call(client, Action::RemoveToken { uid }, call_options(options)?, reply) };
    // SAFETY: as above.
    unsafe { run(callback, cookie, result, call) }
}

/// Ends the login of the user `uid`.
///
/// See `RTM_SendFile` for what holds for all calls.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_Kickout(
    client: RTM_Client,
    uid: i64,
    options: *const RTM_CallOptions,
    callback: RTM_Callback,
    cookie: *mut c_void,
    result: *mut RTM_Result,
) -> CRVideo_Err {
    // SAFETY: what the caller's pointers must be is what is asked here.
    let call = |reply| unsafe { rtm::call(client, Action::Kickout { uid }, call_options(options)?, reply) };
    // SAFETY: as above.
    unsafe { run(callback, cookie, result, call) }
}

/// Asks which of `count` users are online. Servers may have a limit below `RTM_IDS_MAX` (RTM's own: 200).
///
/// See `RTM_SendFile` for what holds for all calls. Errors besides those: `RTM_ERR_EMPTY`,
/// `RTM_ERR_TOO_MANY` (`uids` has not been looked at).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_GetOnlineUsers(
    client: RTM_Client,
    uids: *const i64,
    count: size_t,
    options: *const RTM_CallOptions,
    callback: RTM_ListCallback,
    cookie: *mut c_void,
    result: *mut RTM_ListResult,
) -> CRVideo_Err {
    // SAFETY: what the caller's pointers must be is what is asked here.
    let call = |reply| unsafe {
        let uids = args::list(uids, count, MAX_IDS, rtm_code::TOO_MANY)?;
        rtm::call(client, Action::OnlineUsers { uids }, call_options(options)?, reply)
    };
    // SAFETY: as above.
    unsafe { run(callback, cookie, result, call) }
}
