//! Sending files.

use std::ffi::{c_char, c_void};

use crvideo_proto::code;
use crvideo_proto::rtm::code as rtm_code;
use libc::size_t;

use super::super::args::{self, Versioned};
use super::super::error::CRVideo_Err;
use super::run::{options as call_options, run};
use super::types::{RTM_CallOptions, RTM_Client, RTM_SendCallback, RTM_SendResult, RTM_TokenCallback, RTM_TokenResult};
use crate::client::Code;
use crate::client::rtm::{self, Action, Callback, Content, Done, FileInfo, MAX_IDS, Target};

/// A file to send: either `path`, or `data` and `len`. Fill it by `RTM_FileInit`, then set these.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct RTM_File {
    /// The size of this struct in bytes, as the caller knows it; `RTM_FileInit` sets it.
    pub struct_size: u32,
    /// Must be 0.
    pub reserved: u32,
    /// A file of this machine, a path of up to 4,096 bytes; it is streamed, however large. NULL: the bytes are in memory.
    pub path: *const c_char,
    /// The bytes, with `path` NULL; they are copied. NULL where `len` is 0.
    pub data: *const c_void,
    /// How many bytes `data` has.
    pub len: size_t,
    /// The name that receivers are shown, with its extension, 1 to 255 bytes of UTF-8. NULL: the last part of the path.
    pub name: *const c_char,
    /// Attributes of the application's own, which receivers get: text or a JSON object. NULL: none.
    pub attrs: *const c_char,
}

// SAFETY: repr(C), begins with its size, and any bytes are valid integers and pointers.
unsafe impl Versioned for RTM_File {
    const FIRST_SIZE: usize = std::mem::offset_of!(Self, attrs) + size_of::<*const c_char>();
}

/// Fills a file with its size and zeros; NULL is ignored. What was in it is overwritten, not read.
///
/// Any thread, callbacks included. The pointer is not touched after the call.
// See CRVideo_ConfigInit for what happens when the struct grows.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_FileInit(file: *mut RTM_File) {
    // SAFETY: NULL, or writable for one struct.
    if let Some(out) = unsafe { args::optional_out(file) } {
        let null = std::ptr::null();
        out.put(RTM_File {
            struct_size: size_of::<RTM_File>() as u32,
            reserved: 0,
            path: null,
            data: std::ptr::null(),
            len: 0,
            name: null,
            attrs: null,
        });
    }
}

/// Asks for the token of a file, and for the file gate that takes it. The `RTM_Send...File` calls do this themselves;
/// it is for programs that speak to the file gate on their own.
///
/// `cmd` says what is to be sent, and with it what `targets` are: "sendfile" (one user), "sendfiles" (users),
/// "sendgroupfile" (one group), "sendroomfile" (one room), "broadcastfile" (none: `count` 0).
///
/// See `RTM_SendFile` for what holds for all calls. Errors besides those: `CRVideo_PARAM_ERR` also where `cmd` is none of
/// these or `count` does not fit it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_FileToken(
    client: RTM_Client,
    from: i64,
    cmd: *const c_char,
    targets: *const i64,
    count: size_t,
    options: *const RTM_CallOptions,
    callback: RTM_TokenCallback,
    cookie: *mut c_void,
    result: *mut RTM_TokenResult,
) -> CRVideo_Err {
    // SAFETY: what the caller's pointers must be is what is asked here.
    let call = |reply| unsafe {
        let cmd = args::text(cmd, MAX_CMD)?;
        let targets = args::list(targets, count, MAX_IDS, rtm_code::TOO_MANY)?;
        let action = Action::FileToken { from, target: target_of(cmd, targets)? };
        rtm::call(client, action, call_options(options)?, reply)
    };
    // SAFETY: as above.
    unsafe { run(callback, cookie, result, call) }
}

/// Sends a file to the user `to`: asks the server gate for a token, connects to the file gate that it names, and sends
/// the file, all within one time-out.
///
/// For this and all calls of an RTM client that take a callback: with `callback` NULL the call waits for the end, fills
/// `result` (which may be NULL; prepare it by its `...Init` function) whatever the end is, and returns the same code
/// that is in `result->err`. With a callback it does not wait: when it returns `CRVideo_NOERR`, the callback is called
/// exactly once, with `cookie`, on the queue's thread, and may be so before the call returns; on an error it is not
/// called. `result` is not touched then. `options` may be NULL. No other pointer is touched after the call.
///
/// Any thread; a call that waits must not be made inside a callback of this library (`CRVideo_LOGINSTATE_ERROR`). Codes
/// of the server come through unchanged, with its words in the result's `text`. Codes of this library:
/// `RTM_ERR_CONNECTION` (the server has not seen it), `RTM_ERR_TIMEOUT` and `RTM_ERR_CLOSED` (nobody can tell whether the
/// server has acted on it; a call is never sent twice), `RTM_ERR_CANCELLED` (the client was destroyed),
/// `CRVideo_SEND_QUEUE_FULL`, `CRVideo_OUTOF_MEM`, `CRVideo_PARAM_ERR`, `CRVideo_NOT_INIT`. For files also:
/// `RTM_ERR_FILE_MTYPE` (`mtype` is not from 40 to 50), `RTM_ERR_LARGE`, `CRVideo_SENDFILE_FILEINERROR` (missing,
/// unreadable, not a file, or changed while it was sent).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_SendFile(
    client: RTM_Client,
    from: i64,
    to: i64,
    mtype: i32,
    file: *const RTM_File,
    options: *const RTM_CallOptions,
    callback: RTM_SendCallback,
    cookie: *mut c_void,
    result: *mut RTM_SendResult,
) -> CRVideo_Err {
    // SAFETY: what the caller's pointers must be is what is asked here.
    let call = |reply| unsafe { send(client, from, Ok(Target::User(to)), mtype, file, options, reply) };
    // SAFETY: as above.
    unsafe { run(callback, cookie, result, call) }
}

/// Sends a file to several users, of whom each gets a message of its own; the bytes are sent once. `tos` has `count` ids,
/// 1 to `RTM_IDS_MAX`.
///
/// See `RTM_SendFile`. Errors besides those: `RTM_ERR_EMPTY`, `RTM_ERR_TOO_MANY` (`tos` has not been looked at).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_SendFiles(
    client: RTM_Client,
    from: i64,
    tos: *const i64,
    count: size_t,
    mtype: i32,
    file: *const RTM_File,
    options: *const RTM_CallOptions,
    callback: RTM_SendCallback,
    cookie: *mut c_void,
    result: *mut RTM_SendResult,
) -> CRVideo_Err {
    // SAFETY: what the caller's pointers must be is what is asked here.
    let call = |reply| unsafe {
        let target = args::list(tos, count, MAX_IDS, rtm_code::TOO_MANY).map(Target::Users);
        send(client, from, target, mtype, file, options, reply)
    };
    // SAFETY: as above.
    unsafe { run(callback, cookie, result, call) }
}

/// Sends a file to the members of a group.
///
/// See `RTM_SendFile`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_SendGroupFile(
    client: RTM_Client,
    from: i64,
    gid: i64,
    mtype: i32,
    file: *const RTM_File,
    options: *const RTM_CallOptions,
    callback: RTM_SendCallback,
    cookie: *mut c_void,
    result: *mut RTM_SendResult,
) -> CRVideo_Err {
    // SAFETY: what the caller's pointers must be is what is asked here.
    let call = |reply| unsafe { send(client, from, Ok(Target::Group(gid)), mtype, file, options, reply) };
    // SAFETY: as above.
    unsafe { run(callback, cookie, result, call) }
}

/// Sends a file to those who are in a room.
///
/// See `RTM_SendFile`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_SendRoomFile(
    client: RTM_Client,
    from: i64,
    rid: i64,
    mtype: i32,
    file: *const RTM_File,
    options: *const RTM_CallOptions,
    callback: RTM_SendCallback,
    cookie: *mut c_void,
    result: *mut RTM_SendResult,
) -> CRVideo_Err {
    // SAFETY: what the caller's pointers must be is what is asked here.
    let call = |reply| unsafe { send(client, from, Ok(Target::Room(rid)), mtype, file, options, reply) };
    // SAFETY: as above.
    unsafe { run(callback, cookie, result, call) }
}

/// Sends a file to every user of the project. Servers may ask that `from` is an administrator's id.
///
/// See `RTM_SendFile`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_BroadcastFile(
    client: RTM_Client,
    from: i64,
    mtype: i32,
    file: *const RTM_File,
    options: *const RTM_CallOptions,
    callback: RTM_SendCallback,
    cookie: *mut c_void,
    result: *mut RTM_SendResult,
) -> CRVideo_Err {
    // SAFETY: what the caller's pointers must be is what is asked here.
    let call = |reply| unsafe { send(client, from, Ok(Target::All), mtype, file, options, reply) };
    // SAFETY: as above.
    unsafe { run(callback, cookie, result, call) }
}

/// Longest `cmd` in bytes, and more than any has.
const MAX_CMD: usize = 64;
/// Longest display name in bytes.
const MAX_NAME: usize = 255;
/// Attributes are read up to this length; whether they are too long for a file is decided by the client.
pub(super) const MAX_ATTRS_READ: usize = 64 * 1024;

/// What `targets` are by `cmd`.
fn target_of(cmd: &str, targets: Vec<i64>) -> Result<Target, Code> {
    match (cmd, targets.as_slice()) {
        ("sendfile", [to]) => Ok(Target::User(*to)),
        ("sendfiles", _) => Ok(Target::Users(targets)),
        ("sendgroupfile", [gid]) => Ok(Target::Group(*gid)),
        ("sendroomfile", [rid]) => Ok(Target::Room(*rid)),
        ("broadcastfile", []) => Ok(Target::All),
        _ => Err(code::PARAM_ERR),
    }
}

/// # Safety
/// The pointers are as the header asks.
unsafe fn send(
    client: RTM_Client,
    from: i64,
    target: Result<Target, Code>,
    mtype: i32,
    file: *const RTM_File,
    options: *const RTM_CallOptions,
    reply: Option<Callback>,
) -> Result<Option<Done>, Code> {
    // SAFETY: the caller's promise is the same, and covers what the struct points to.
    let (content, info, options) = unsafe {
        let file = args::versioned(file)?;
        let name = args::optional_text(file.name, MAX_NAME)?;
        let attrs = args::text_or_empty(file.attrs, MAX_ATTRS_READ)?;
        let info = FileInfo { name, custom: Some(attrs).filter(|attrs| !attrs.is_empty()) };
        (content(&file)?, info, call_options(options)?)
    };
    rtm::send_file(client, (from, target?), mtype.into(), (content, info), options, reply)
}

/// # Safety
/// What the file points to is as the header asks.
unsafe fn content<'a>(file: &RTM_File) -> Result<Content<'a>, Code> {
    if file.reserved != 0 || (!file.path.is_null() && (!file.data.is_null() || file.len != 0)) {
        return Err(code::PARAM_ERR);
    }
    // SAFETY: the caller's promise is the same.
    unsafe {
        if file.path.is_null() {
            args::content(file.data, file.len, u64::MAX, rtm_code::TOO_LARGE).map(Content::Memory)
        } else {
            args::path(file.path).map(Content::Path)
        }
    }
}
