//! What all calls of an RTM client have in common.

use std::ffi::{c_char, c_void};

use libc::size_t;

use super::super::args::{self, Versioned};
use super::super::error::CRVideo_Err;

/// A client of an RTM server gate: the side of a server that sends files and messages to users, groups, rooms and
/// everybody, and manages them. It works with this project's relay and with any other RTM server. 0 is never a client. A
/// number is never used again: a call with a client that has been destroyed returns `CRVideo_NOT_INIT`.
pub type RTM_Client = u64;

/// The connection ended before the answer came: the server has acted on the call or not, nobody can tell.
pub const RTM_ERR_CLOSED: CRVideo_Err = 20002;
/// No answer in time: the server has acted on the call or not, nobody can tell.
pub const RTM_ERR_TIMEOUT: CRVideo_Err = 20003;
/// There was no connection: the server has not seen the call.
pub const RTM_ERR_CONNECTION: CRVideo_Err = 20012;
/// The client was destroyed before the answer came.
pub const RTM_ERR_CANCELLED: CRVideo_Err = 20015;
/// The type of a message must be from 1 to 127.
pub const RTM_ERR_MTYPE: CRVideo_Err = 200005;
/// The type of a file must be from 40 to 50.
pub const RTM_ERR_FILE_MTYPE: CRVideo_Err = 200007;
/// The message is larger than `RTM_MESSAGE_MAX`.
pub const RTM_ERR_MESSAGE_LARGE: CRVideo_Err = 200030;
/// The file is too large, or its attributes are larger than `RTM_ATTRS_MAX`.
pub const RTM_ERR_LARGE: CRVideo_Err = 200031;
/// A list has more than `RTM_IDS_MAX` ids.
pub const RTM_ERR_TOO_MANY: CRVideo_Err = 200032;
/// A list that must have ids has none.
pub const RTM_ERR_EMPTY: CRVideo_Err = 200033;

/// Type of a file: an image.
pub const RTM_MTYPE_IMAGE: i32 = 40;
/// Type of a file: audio.
pub const RTM_MTYPE_AUDIO: i32 = 41;
/// Type of a file: video.
pub const RTM_MTYPE_VIDEO: i32 = 42;
/// Type of a file: any other.
pub const RTM_MTYPE_FILE: i32 = 50;

/// The largest message in bytes, inclusive.
pub const RTM_MESSAGE_MAX: usize = 20480;
/// The largest attributes in bytes, inclusive. For a file this counts what the library adds (name and signature).
pub const RTM_ATTRS_MAX: usize = 2048;
/// The most ids in a list of a call.
pub const RTM_IDS_MAX: usize = 20000;

/// Bytes of a result's text with its NUL. A longer text of the server is cut.
pub const RTM_TEXT_SIZE: usize = 256;
/// Bytes of a token with its NUL.
pub const RTM_TOKEN_SIZE: usize = 1024;
/// Bytes of an endpoint with its NUL.
pub const RTM_ENDPOINT_SIZE: usize = 264;

/// What can be set for one call. Fill it by `RTM_CallOptionsInit`, then change what you like.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct RTM_CallOptions {
    /// The size of this struct in bytes, as the caller knows it; `RTM_CallOptionsInit` sets it.
    pub struct_size: u32,
    /// How long the call may take, in milliseconds, all its steps together; 0: what the client's configuration says.
    pub timeout_ms: u32,
    /// For sending: a message id of the caller's own; 0: the library makes one that this process never gives again.
    pub mid: i64,
}

// SAFETY: repr(C), begins with its size, and any bytes are valid integers.
unsafe impl Versioned for RTM_CallOptions {
    const FIRST_SIZE: usize = std::mem::offset_of!(Self, mid) + size_of::<i64>();
}

/// How a call has ended that has no particulars, or one number.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct RTM_Result {
    /// The size of this struct in bytes, as the caller knows it; `RTM_ResultInit` sets it.
    pub struct_size: u32,
    /// `CRVideo_NOERR`, or why it failed: a number of the server's or of this library's. `CRVideo_ErrText` explains both.
    pub err: CRVideo_Err,
    /// What was asked for: a count, or 1 for yes and 0 for no; 0 where there is no number.
    pub number: i64,
    /// The server's own words, or the library's; empty on success.
    pub text: [c_char; RTM_TEXT_SIZE],
}

/// How sending has ended.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct RTM_SendResult {
    /// The size of this struct in bytes, as the caller knows it; `RTM_SendResultInit` sets it.
    pub struct_size: u32,
    /// `CRVideo_NOERR`, or why it failed: a number of the server's or of this library's. `CRVideo_ErrText` explains both.
    pub err: CRVideo_Err,
    /// The message's id, also when sending has failed; 0 when the call was refused at once.
    pub mid: i64,
    /// The server's time of the message, in milliseconds since 1970; 0 where the server gives none.
    pub mtime: i64,
    /// The server's own words, or the library's; empty on success.
    pub text: [c_char; RTM_TEXT_SIZE],
    /// 1: the function of `RTM_SetRecipientResultCallback` hears what becomes of it at each recipient; 0: it does not,
    /// because none was set, because the server cannot tell, or because sending has failed.
    pub recipient_results: u32,
    /// 0.
    pub reserved: u32,
}

/// How asking for a token has ended.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct RTM_TokenResult {
    /// The size of this struct in bytes, as the caller knows it; `RTM_TokenResultInit` sets it.
    pub struct_size: u32,
    /// `CRVideo_NOERR`, or why it failed: a number of the server's or of this library's. `CRVideo_ErrText` explains both.
    pub err: CRVideo_Err,
    /// The token; empty on failure.
    pub token: [c_char; RTM_TOKEN_SIZE],
    /// For a file's token: the file gate, `host:port`. Otherwise empty.
    pub endpoint: [c_char; RTM_ENDPOINT_SIZE],
    /// The server's own words, or the library's; empty on success.
    pub text: [c_char; RTM_TEXT_SIZE],
}

/// How asking for a list of ids has ended.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct RTM_ListResult {
    /// The size of this struct in bytes, as the caller knows it; `RTM_ListResultInit` sets it.
    pub struct_size: u32,
    /// `CRVideo_NOERR`, or why it failed: a number of the server's or of this library's. `CRVideo_ErrText` explains both.
    pub err: CRVideo_Err,
    /// The ids. For a call that waits: your memory, set before the call. In a callback: the library's, until it returns.
    pub ids: *mut i64,
    /// How many ids your memory has room for, set before a call that waits. In a callback: the same as `count`.
    pub capacity: size_t,
    /// How many ids there are. Where that is more than `capacity`, only the first `capacity` ones were written.
    pub count: size_t,
    /// The server's own words, or the library's; empty on success.
    pub text: [c_char; RTM_TEXT_SIZE],
}

// SAFETY: repr(C), each begins with its size, and any bytes are valid integers and pointers.
unsafe impl Versioned for RTM_Result {
    const FIRST_SIZE: usize = std::mem::offset_of!(Self, text) + RTM_TEXT_SIZE;
}
// SAFETY: as above.
unsafe impl Versioned for RTM_SendResult {
    const FIRST_SIZE: usize = std::mem::offset_of!(Self, text) + RTM_TEXT_SIZE;
}
// SAFETY: as above.
unsafe impl Versioned for RTM_TokenResult {
    const FIRST_SIZE: usize = std::mem::offset_of!(Self, text) + RTM_TEXT_SIZE;
}
// SAFETY: as above.
unsafe impl Versioned for RTM_ListResult {
    const FIRST_SIZE: usize = std::mem::offset_of!(Self, text) + RTM_TEXT_SIZE;
}

/// Tells how a call has ended, once for each call that gave it and returned `CRVideo_NOERR`. `cookie` is that call's.
/// The result lives until it returns.
pub type RTM_Callback = Option<unsafe extern "C-unwind" fn(cookie: *mut c_void, result: *const RTM_Result)>;
/// Tells how sending has ended. See `RTM_Callback`.
pub type RTM_SendCallback = Option<unsafe extern "C-unwind" fn(cookie: *mut c_void, result: *const RTM_SendResult)>;
/// Tells how asking for a token has ended. See `RTM_Callback`.
pub type RTM_TokenCallback = Option<unsafe extern "C-unwind" fn(cookie: *mut c_void, result: *const RTM_TokenResult)>;
/// Tells how asking for a list of ids has ended. See `RTM_Callback`.
pub type RTM_ListCallback = Option<unsafe extern "C-unwind" fn(cookie: *mut c_void, result: *const RTM_ListResult)>;

/// Fills options with their size and zeros; NULL is ignored. What was in them is overwritten, not read.
///
/// Any thread, callbacks included. The pointer is not touched after the call.
// See CRVideo_ConfigInit for what happens when a struct grows.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_CallOptionsInit(options: *mut RTM_CallOptions) {
    // SAFETY: NULL, or writable for one struct of options.
    if let Some(out) = unsafe { args::optional_out(options) } {
        out.put(RTM_CallOptions { struct_size: size_of::<RTM_CallOptions>() as u32, timeout_ms: 0, mid: 0 });
    }
}

/// Prepares a result for a call that waits: sets its size, and zeros. NULL is ignored.
///
/// Any thread, callbacks included. The pointer is not touched after the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_ResultInit(result: *mut RTM_Result) {
    // SAFETY: NULL, or writable for one result.
    if let Some(out) = unsafe { args::optional_out(result) } {
        out.put(RTM_Result {
            struct_size: size_of::<RTM_Result>() as u32,
            err: 0,
            number: 0,
            text: [0; RTM_TEXT_SIZE],
        });
    }
}

/// Prepares a result for a call that waits: sets its size, and zeros. NULL is ignored.
///
/// Any thread, callbacks included. The pointer is not touched after the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_SendResultInit(result: *mut RTM_SendResult) {
    // SAFETY: NULL, or writable for one result.
    if let Some(out) = unsafe { args::optional_out(result) } {
        let struct_size = size_of::<RTM_SendResult>() as u32;
        let text = [0; RTM_TEXT_SIZE];
        out.put(RTM_SendResult { struct_size, err: 0, mid: 0, mtime: 0, text, recipient_results: 0, reserved: 0 });
    }
}

/// Prepares a result for a call that waits: sets its size, and zeros. NULL is ignored.
///
/// Any thread, callbacks included. The pointer is not touched after the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_TokenResultInit(result: *mut RTM_TokenResult) {
    // SAFETY: NULL, or writable for one result.
    if let Some(out) = unsafe { args::optional_out(result) } {
        out.put(RTM_TokenResult {
            struct_size: size_of::<RTM_TokenResult>() as u32,
            err: 0,
            token: [0; RTM_TOKEN_SIZE],
            endpoint: [0; RTM_ENDPOINT_SIZE],
            text: [0; RTM_TEXT_SIZE],
        });
    }
}

/// Prepares a result for a call that waits: sets its size, and zeros; set `ids` and `capacity` next. NULL is ignored.
///
/// Any thread, callbacks included. The pointer is not touched after the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_ListResultInit(result: *mut RTM_ListResult) {
    // SAFETY: NULL, or writable for one result.
    if let Some(out) = unsafe { args::optional_out(result) } {
        out.put(RTM_ListResult {
            struct_size: size_of::<RTM_ListResult>() as u32,
            err: 0,
            ids: std::ptr::null_mut(),
            capacity: 0,
            count: 0,
            text: [0; RTM_TEXT_SIZE],
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::rtm::MAX_IDS;
    use crvideo_proto::rtm::client::{MAX_ENDPOINT, MAX_TOKEN};
    use crvideo_proto::rtm::{MAX_ATTRS, MAX_MESSAGE, code};

    #[test]
    fn the_headers_numbers_are_those_that_are_used() {
        assert_eq!(RTM_ERR_CLOSED, code::CONNECTION_CLOSED);
        assert_eq!(RTM_ERR_TIMEOUT, code::TIMEOUT);
        assert_eq!(RTM_ERR_CONNECTION, code::CONNECTION);
        assert_eq!(RTM_ERR_CANCELLED, code::CANCELLED);
        assert_eq!(RTM_ERR_MTYPE, code::BAD_MTYPE);
        assert_eq!(RTM_ERR_FILE_MTYPE, code::BAD_FILE_MTYPE);
        assert_eq!(RTM_ERR_MESSAGE_LARGE, code::MESSAGE_TOO_LARGE);
        assert_eq!(RTM_ERR_LARGE, code::TOO_LARGE);
        assert_eq!(RTM_ERR_TOO_MANY, code::TOO_MANY);
        assert_eq!(RTM_ERR_EMPTY, code::EMPTY);
        assert_eq!((RTM_MESSAGE_MAX, RTM_ATTRS_MAX, RTM_IDS_MAX), (MAX_MESSAGE, MAX_ATTRS, MAX_IDS));
        assert_eq!((RTM_TOKEN_SIZE, RTM_ENDPOINT_SIZE), (MAX_TOKEN + 1, MAX_ENDPOINT + 1));
    }
}
