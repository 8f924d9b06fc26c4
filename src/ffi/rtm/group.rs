//! Groups, whose members stay, and rooms, in which users are while they are online.

use std::ffi::c_void;

use crvideo_proto::rtm::code as rtm_code;
use libc::size_t;

use super::super::args;
use super::super::error::CRVideo_Err;
use super::run::{options as call_options, run};
use super::types::{RTM_CallOptions, RTM_Callback, RTM_Client, RTM_ListCallback, RTM_ListResult, RTM_Result};
use crate::client::rtm::{self, Action, MAX_IDS};

/// Adds `count` users to a group. Servers may have a limit below `RTM_IDS_MAX` (RTM's own: 100).
///
/// See `RTM_SendFile` for what holds for all calls. Errors besides those: `RTM_ERR_EMPTY`,
/// `RTM_ERR_TOO_MANY` (`uids` has not been looked at).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_AddGroupMembers(
    client: RTM_Client,
    gid: i64,
    uids: *const i64,
    count: size_t,
    options: *const RTM_CallOptions,
    callback: RTM_Callback,
    cookie: *mut c_void,
    result: *mut RTM_Result,
) -> CRVideo_Err {
    // SAFETY: what the caller's pointers must be is what is asked here.
    let call = |reply| unsafe {
        let uids = args::list(uids, count, MAX_IDS, rtm_code::TOO_MANY)?;
        rtm::call(client, Action::AddGroupMembers { gid, uids }, call_options(options)?, reply)
    };
    // SAFETY: as above.
    unsafe { run(callback, cookie, result, call) }
}

/// Removes `count` users from a group. Servers may have a limit below `RTM_IDS_MAX` (RTM's own: 100).
///
/// See `RTM_SendFile` for what holds for all calls. Errors besides those: `RTM_ERR_EMPTY`,
/// `RTM_ERR_TOO_MANY` (`uids` has not been looked at).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_DelGroupMembers(
    client: RTM_Client,
    gid: i64,
    uids: *const i64,
    count: size_t,
    options: *const RTM_CallOptions,
    callback: RTM_Callback,
    cookie: *mut c_void,
    result: *mut RTM_Result,
) -> CRVideo_Err {
    // SAFETY: what the caller's pointers must be is what is asked here.
    let call = |reply| unsafe {
        let uids = args::list(uids, count, MAX_IDS, rtm_code::TOO_MANY)?;
        rtm::call(client, Action::DelGroupMembers { gid, uids }, call_options(options)?, reply)
    };
    // SAFETY: as above.
    unsafe { run(callback, cookie, result, call) }
}

/// Removes a group.
///
/// See `RTM_SendFile` for what holds for all calls.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_DelGroup(
    client: RTM_Client,
    gid: i64,
    options: *const RTM_CallOptions,
    callback: RTM_Callback,
    cookie: *mut c_void,
    result: *mut RTM_Result,
) -> CRVideo_Err {
    // SAFETY: what the caller's pointers must be is what is asked here.
    let call = |reply| unsafe { rtm::call(client, Action::DelGroup { gid }, call_options(options)?, reply) };
    // SAFETY: as above.
    unsafe { run(callback, cookie, result, call) }
}

/// Asks for the members of a group.
///
/// See `RTM_SendFile` for what holds for all calls.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_GetGroupMembers(
    client: RTM_Client,
    gid: i64,
    options: *const RTM_CallOptions,
    callback: RTM_ListCallback,
    cookie: *mut c_void,
    result: *mut RTM_ListResult,
) -> CRVideo_Err {
    // SAFETY: what the caller's pointers must be is what is asked here.
    let call = |reply| unsafe { rtm::call(client, Action::GroupMembers { gid }, call_options(options)?, reply) };
    // SAFETY: as above.
    unsafe { run(callback, cookie, result, call) }
}

/// Asks how many members a group has; `number` of the result says it.
///
/// See `RTM_SendFile` for what holds for all calls.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_GetGroupCount(
    client: RTM_Client,
    gid: i64,
    options: *const RTM_CallOptions,
    callback: RTM_Callback,
    cookie: *mut c_void,
    result: *mut RTM_Result,
) -> CRVideo_Err {
    // SAFETY: what the caller's pointers must be is what is asked here.
    let call = |reply| unsafe { rtm::call(client, Action::GroupCount { gid }, call_options(options)?, reply) };
    // SAFETY: as above.
    unsafe { run(callback, cookie, result, call) }
}

/// Asks whether a user is a member of a group; `number` of the result is 1 or 0.
///
/// See `RTM_SendFile` for what holds for all calls.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_IsGroupMember(
    client: RTM_Client,
    gid: i64,
    uid: i64,
    options: *const RTM_CallOptions,
    callback: RTM_Callback,
    cookie: *mut c_void,
    result: *mut RTM_Result,
) -> CRVideo_Err {
    // SAFETY: what the caller's pointers must be is what is asked here.
    let call = |reply| unsafe { rtm::call(client, Action::IsGroupMember { gid, uid }, call_options(options)?, reply) };
    // SAFETY: as above.
    unsafe { run(callback, cookie, result, call) }
}

/// Asks for the groups of a user.
///
/// See `RTM_SendFile` for what holds for all calls.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_GetUserGroups(
    client: RTM_Client,
    uid: i64,
    options: *const RTM_CallOptions,
    callback: RTM_ListCallback,
    cookie: *mut c_void,
    result: *mut RTM_ListResult,
) -> CRVideo_Err {
    // SAFETY: what the caller's pointers must be is what is asked here.
    let call = |reply| unsafe { rtm::call(client, Action::UserGroups { uid }, call_options(options)?, reply) };
    // SAFETY: as above.
    unsafe { run(callback, cookie, result, call) }
}

/// Adds a user to a room.
///
/// See `RTM_SendFile` for what holds for all calls.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_AddRoomMember(
    client: RTM_Client,
    rid: i64,
    uid: i64,
    options: *const RTM_CallOptions,
    callback: RTM_Callback,
    cookie: *mut c_void,
    result: *mut RTM_Result,
) -> CRVideo_Err {
    // SAFETY: what the caller's pointers must be is what is asked here.
    let call = |reply| unsafe { rtm::call(client, Action::AddRoomMember { rid, uid }, call_options(options)?, reply) };
    // SAFETY: as above.
    unsafe { run(callback, cookie, result, call) }
}

/// Removes a user from a room.
///
/// See `RTM_SendFile` for what holds for all calls.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_DelRoomMember(
    client: RTM_Client,
    rid: i64,
    uid: i64,
    options: *const RTM_CallOptions,
    callback: RTM_Callback,
    cookie: *mut c_void,
    result: *mut RTM_Result,
) -> CRVideo_Err {
    // SAFETY: what the caller's pointers must be is what is asked here.
    let call = |reply| unsafe { rtm::call(client, Action::DelRoomMember { rid, uid }, call_options(options)?, reply) };
    // SAFETY: as above.
    unsafe { run(callback, cookie, result, call) }
}

/// Asks for the users in a room.
///
/// See `RTM_SendFile` for what holds for all calls.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_GetRoomMembers(
    client: RTM_Client,
    rid: i64,
    options: *const RTM_CallOptions,
    callback: RTM_ListCallback,
    cookie: *mut c_void,
    result: *mut RTM_ListResult,
) -> CRVideo_Err {
    // SAFETY: what the caller's pointers must be is what is asked here.
    let call = |reply| unsafe { rtm::call(client, Action::RoomMembers { rid }, call_options(options)?, reply) };
    // SAFETY: as above.
    unsafe { run(callback, cookie, result, call) }
}

/// Asks how many users are in a room; `number` of the result says it.
///
/// See `RTM_SendFile` for what holds for all calls.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_GetRoomCount(
    client: RTM_Client,
    rid: i64,
    options: *const RTM_CallOptions,
    callback: RTM_Callback,
    cookie: *mut c_void,
    result: *mut RTM_Result,
) -> CRVideo_Err {
    // SAFETY: what the caller's pointers must be is what is asked here.
    let call = |reply| unsafe { rtm::call(client, Action::RoomCount { rid }, call_options(options)?, reply) };
    // SAFETY: as above.
    unsafe { run(callback, cookie, result, call) }
}
