//! Sending messages.

use std::ffi::{c_char, c_void};

use crvideo_proto::rtm::{MAX_MESSAGE, code as rtm_code};
use libc::size_t;

use super::super::args;
use super::super::error::CRVideo_Err;
use super::file::MAX_ATTRS_READ;
use super::run::{options as call_options, run};
use super::types::{RTM_CallOptions, RTM_Client, RTM_SendCallback, RTM_SendResult};
use crate::client::Code;
use crate::client::rtm::{self, Callback, Done, MAX_IDS, Target};

/// Sends a message of up to `RTM_MESSAGE_MAX` bytes to the user `to`. `mtype` is from 1 to 127; 40 to 50 are files, which
/// have calls of their own, and applications use those above 50. `msg` is UTF-8 text or any other bytes, and may be NULL
/// where `len` is 0. `attrs` is text of up to `RTM_ATTRS_MAX` bytes, or NULL.
///
/// See `RTM_SendFile` for what holds for all calls. Errors besides those: `RTM_ERR_MTYPE`, `RTM_ERR_MESSAGE_LARGE` (`msg`
/// has not been looked at), `RTM_ERR_LARGE` (`attrs`).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_SendMsg(
    client: RTM_Client,
    from: i64,
    to: i64,
    mtype: i32,
    msg: *const c_void,
    len: size_t,
    attrs: *const c_char,
    options: *const RTM_CallOptions,
    callback: RTM_SendCallback,
    cookie: *mut c_void,
    result: *mut RTM_SendResult,
) -> CRVideo_Err {
    let msg = Msg { mtype, msg, len, attrs, options };
    // SAFETY: what the caller's pointers must be is what is asked here.
    let call = |reply| unsafe { send(client, from, Ok(Target::User(to)), &msg, reply) };
    // SAFETY: as above.
    unsafe { run(callback, cookie, result, call) }
}

/// Sends a message to several users, of whom each gets a message of its own. `tos` has `count` ids, 1 to `RTM_IDS_MAX`.
///
/// See `RTM_SendMsg`. Errors besides those: `RTM_ERR_EMPTY`, `RTM_ERR_TOO_MANY` (`tos` has not been looked at).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_SendMsgs(
    client: RTM_Client,
    from: i64,
    tos: *const i64,
    count: size_t,
    mtype: i32,
    msg: *const c_void,
    len: size_t,
    attrs: *const c_char,
    options: *const RTM_CallOptions,
    callback: RTM_SendCallback,
    cookie: *mut c_void,
    result: *mut RTM_SendResult,
) -> CRVideo_Err {
    let msg = Msg { mtype, msg, len, attrs, options };
    // SAFETY: what the caller's pointers must be is what is asked here.
    let call = |reply| unsafe {
        send(client, from, args::list(tos, count, MAX_IDS, rtm_code::TOO_MANY).map(Target::Users), &msg, reply)
    };
    // SAFETY: as above.
    unsafe { run(callback, cookie, result, call) }
}

/// Sends a message to the members of a group.
///
/// See `RTM_SendMsg`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_SendGroupMsg(
    client: RTM_Client,
    from: i64,
    gid: i64,
    mtype: i32,
    msg: *const c_void,
    len: size_t,
    attrs: *const c_char,
    options: *const RTM_CallOptions,
    callback: RTM_SendCallback,
    cookie: *mut c_void,
    result: *mut RTM_SendResult,
) -> CRVideo_Err {
    let msg = Msg { mtype, msg, len, attrs, options };
    // SAFETY: what the caller's pointers must be is what is asked here.
    let call = |reply| unsafe { send(client, from, Ok(Target::Group(gid)), &msg, reply) };
    // SAFETY: as above.
    unsafe { run(callback, cookie, result, call) }
}

/// Sends a message to those who are in a room.
///
/// See `RTM_SendMsg`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_SendRoomMsg(
    client: RTM_Client,
    from: i64,
    rid: i64,
    mtype: i32,
    msg: *const c_void,
    len: size_t,
    attrs: *const c_char,
    options: *const RTM_CallOptions,
    callback: RTM_SendCallback,
    cookie: *mut c_void,
    result: *mut RTM_SendResult,
) -> CRVideo_Err {
    let msg = Msg { mtype, msg, len, attrs, options };
    // SAFETY: what the caller's pointers must be is what is asked here.
    let call = |reply| unsafe { send(client, from, Ok(Target::Room(rid)), &msg, reply) };
    // SAFETY: as above.
    unsafe { run(callback, cookie, result, call) }
}

/// Sends a message to every user of the project. Servers may ask that `from` is an administrator's id.
///
/// See `RTM_SendMsg`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_BroadcastMsg(
    client: RTM_Client,
    from: i64,
    mtype: i32,
    msg: *const c_void,
    len: size_t,
    attrs: *const c_char,
    options: *const RTM_CallOptions,
    callback: RTM_SendCallback,
    cookie: *mut c_void,
    result: *mut RTM_SendResult,
) -> CRVideo_Err {
    let msg = Msg { mtype, msg, len, attrs, options };
    // SAFETY: what the caller's pointers must be is what is asked here.
    let call = |reply| unsafe { send(client, from, Ok(Target::All), &msg, reply) };
    // SAFETY: as above.
    unsafe { run(callback, cookie, result, call) }
}

/// What all messages have in common.
struct Msg {
    mtype: i32,
    msg: *const c_void,
    len: size_t,
    attrs: *const c_char,
    options: *const RTM_CallOptions,
}

/// # Safety
/// The pointers are as the header asks.
unsafe fn send(
    client: RTM_Client,
    from: i64,
    target: Result<Target, Code>,
    msg: &Msg,
    reply: Option<Callback>,
) -> Result<Option<Done>, Code> {
    // SAFETY: the caller's promise is the same.
    let (body, attrs, options) = unsafe {
        let body = args::content(msg.msg, msg.len, MAX_MESSAGE as u64, rtm_code::MESSAGE_TOO_LARGE)?;
        (body, args::text_or_empty(msg.attrs, MAX_ATTRS_READ)?, call_options(msg.options)?)
    };
    rtm::send_message(client, (from, target?), msg.mtype.into(), body, attrs, options, reply)
}
