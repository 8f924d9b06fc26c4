//! Sending.

use std::ffi::{c_char, c_void};
use std::time::Duration;

use crvideo_proto::code;
use libc::size_t;

use super::args::{self, TaskIdOut, Versioned};
use super::error::CRVideo_Err;
use super::guard::guard;
use super::session::CRVideo_Session;
use crate::client::{self, Code, SendOptions};

/// The size of a task id's text: 36 characters (a UUID) and a NUL.
pub const CRVIDEO_TASK_ID_SIZE: usize = 37;
/// The largest command in bytes, inclusive.
pub const CRVIDEO_CMD_MAX: usize = 65536;

/// What can be set for one send. Fill it by `CRVideo_SendOptionsInit`, then change what you like.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct CRVideo_SendOptions {
    /// The size of this struct in bytes, as the caller knows it; `CRVideo_SendOptionsInit` sets it.
    pub struct_size: u32,
    /// The time-out in milliseconds, of the kind that the session's configuration has for commands or for transfers;
    /// 0: the session's.
    pub timeout_ms: u32,
    /// A task id of the caller's own, the text of a UUID; NULL: the library makes one. The same id again while its task
    /// runs is `CRVideo_LOGINSTATE_ERROR`; soon after its end the stored outcome is told again and nothing is sent.
    pub task_id: *const c_char,
    /// The name that the target is shown for a buffer or a file, 1 to 255 bytes of UTF-8; NULL: the last part of the
    /// file's path. Needed where the path is not UTF-8.
    pub display_name: *const c_char,
}

// SAFETY: repr(C), begins with its size, and any bytes are valid integers and pointers.
unsafe impl Versioned for CRVideo_SendOptions {
    const FIRST_SIZE: usize = std::mem::offset_of!(Self, display_name) + size_of::<*const c_char>();
}

/// Fills options with their size and zeros; NULL is ignored. What was in them is overwritten, not read.
///
/// Any thread, callbacks included. The pointer is not touched after the call.
// See CRVideo_ConfigInit for what happens when the struct grows.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CRVideo_SendOptionsInit(options: *mut CRVideo_SendOptions) {
    // SAFETY: NULL, or writable for one struct of options.
    if let Some(out) = unsafe { args::optional_out(options) } {
        let null = std::ptr::null();
        let struct_size = size_of::<CRVideo_SendOptions>() as u32;
        out.put(CRVideo_SendOptions { struct_size, timeout_ms: 0, task_id: null, display_name: null });
    }
}

/// Sends a command of up to `CRVIDEO_CMD_MAX` bytes to the user `target`, in one piece; commands to one target arrive
/// in the order of these calls. When it returns `CRVideo_NOERR`, exactly one `SendCmdRlst` event follows, and ends the
/// cookie's life; on an error nothing follows.
///
/// Any thread, callbacks included; it does not wait. `data` may be NULL where `len` is 0; `options` may be NULL;
/// `task_id` is NULL or has `CRVIDEO_TASK_ID_SIZE` bytes that receive the task's id, on success only. The event may
/// come before the call returns. No pointer but `cookie` is kept, none is touched after the call, and `cookie` is never
/// read. Errors: `CRVideo_SENDCMD_LARGE` (`data` has not been looked at), `CRVideo_PARAM_ERR`, `CRVideo_NOT_LOGIN`,
/// `CRVideo_SEND_QUEUE_FULL`, `CRVideo_LOGINSTATE_ERROR` (a task with this id runs), `CRVideo_OUTOF_MEM`,
/// `CRVideo_NOT_INIT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CRVideo_SendCmd(
    session: CRVideo_Session,
    target: *const c_char,
    data: *const c_void,
    len: size_t,
    options: *const CRVideo_SendOptions,
    cookie: *mut c_void,
    task_id: *mut c_char,
) -> CRVideo_Err {
    guard(|| {
        // SAFETY: what the caller's pointers must be is what is asked here.
        let (content, call) = unsafe {
            let content = args::content(data, len, CRVIDEO_CMD_MAX as u64, code::SENDCMD_LARGE)?;
            (content, SendCall::new(target, options, task_id)?)
        };
        let task = client::send_cmd(session, call.target, content, call.options, args::context(cookie))?;
        call.task_id.put(task);
        Ok(())
    })
}

/// Sends a block of memory to the user `target`, in chunks; it is copied before the call returns, and charged to
/// `outbound_limit` until it ends. When it returns `CRVideo_NOERR`, `SendProgress` events and then exactly one
/// `SendBufferRlst` event follow, which ends the cookie's life; on an error nothing follows.
///
/// Any thread, callbacks included; it does not wait. `data` may be NULL where `len` is 0; `options` may be NULL;
/// `task_id` is NULL or has `CRVIDEO_TASK_ID_SIZE` bytes that receive the task's id, on success only. The events may
/// come before the call returns. No pointer but `cookie` is kept, none is touched after the call, and `cookie` is never
/// read. Errors: `CRVideo_SENDBUFFER_LARGE` (above the configured `buffer_limit`; `data` has not been looked at),
/// `CRVideo_PARAM_ERR`, `CRVideo_NOT_LOGIN`, `CRVideo_SEND_QUEUE_FULL`, `CRVideo_LOGINSTATE_ERROR` (a task with this id
/// runs), `CRVideo_OUTOF_MEM`, `CRVideo_NOT_INIT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CRVideo_SendBuffer(
    session: CRVideo_Session,
    target: *const c_char,
    data: *const c_void,
    len: size_t,
    options: *const CRVideo_SendOptions,
    cookie: *mut c_void,
    task_id: *mut c_char,
) -> CRVideo_Err {
    guard(|| {
        let limit = client::buffer_limit(session)?;
        // SAFETY: what the caller's pointers must be is what is asked here.
        let (content, call) = unsafe {
            let content = args::content(data, len, limit, code::SENDBUFFER_LARGE)?;
            (content, SendCall::new(target, options, task_id)?)
        };
        let task = client::send_buffer(session, call.target, content, call.options, args::context(cookie))?;
        call.task_id.put(task);
        Ok(())
    })
}

/// Sends a file to the user `target`, in chunks. Its size is taken when it is opened: what is appended later is not
/// sent, and a file that shrinks or changes fails with `CRVideo_SENDFILE_FILEINERROR`. When it returns `CRVideo_NOERR`,
/// `SendProgress` events and then exactly one `SendFileRlst` event follow, which ends the cookie's life; on an error
/// nothing follows.
///
/// Any thread, callbacks included; it does not wait for the network. `path` has 1 to 4,096 bytes: those that open(2)
/// takes on POSIX, UTF-8 on Windows; `SendFileRlst` repeats it. `options` may be NULL; `task_id` is NULL or has
/// `CRVIDEO_TASK_ID_SIZE` bytes that receive the task's id, on success only. The events may come before the call
/// returns. No pointer but `cookie` is kept, none is touched after the call, and `cookie` is never read.
/// Errors: `CRVideo_SENDFILE_FILEINERROR` (missing, unreadable or not a file), `CRVideo_FILE_SIZE_UNSUPPORT` (the
/// relay's policy), `CRVideo_PARAM_ERR`, `CRVideo_NOT_LOGIN`, `CRVideo_SEND_QUEUE_FULL`, `CRVideo_LOGINSTATE_ERROR`
/// (a task with this id runs), `CRVideo_NOT_INIT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CRVideo_SendFile(
    session: CRVideo_Session,
    target: *const c_char,
    path: *const c_char,
    options: *const CRVideo_SendOptions,
    cookie: *mut c_void,
    task_id: *mut c_char,
) -> CRVideo_Err {
    guard(|| {
        // SAFETY: what the caller's pointers must be is what is asked here.
        let (path, call) = unsafe { (args::path(path)?, SendCall::new(target, options, task_id)?) };
        let task = client::send_file(session, call.target, path, call.options, args::context(cookie))?;
        call.task_id.put(task);
        Ok(())
    })
}

/// Cancels a buffer or a file that this session sends. When it returns `CRVideo_NOERR`, one `CancelSendRlst` event with
/// this call's own cookie follows: `CRVideo_NOERR` (the task's own result with `CRVideo_SEND_CANCELLED` comes next),
/// `CRVideo_TRANSID_INVALID` (unknown, ended, or a command), or `CRVideo_CONNECTIONLOST` (the link is down: the wish is
/// recorded, and the task's own result decides).
///
/// Any thread, callbacks included; it does not wait. `task_id` is not touched after the call. Errors:
/// `CRVideo_PARAM_ERR` (NULL or malformed), `CRVideo_NOT_LOGIN`, `CRVideo_SEND_QUEUE_FULL`, `CRVideo_NOT_INIT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CRVideo_CancelSend(
    session: CRVideo_Session,
    task_id: *const c_char,
    cookie: *mut c_void,
) -> CRVideo_Err {
    guard(|| {
        // SAFETY: what the caller's pointer must be is what is asked here.
        let task = unsafe { args::task_id(task_id) }?;
        client::cancel_send(session, task, args::context(cookie))
    })
}

/// Longest display name in bytes.
const MAX_DISPLAY_NAME: usize = 255;

/// What the three ways to send have in common.
struct SendCall<'a> {
    target: &'a str,
    options: SendOptions,
    task_id: TaskIdOut,
}

impl SendCall<'_> {
    /// # Safety
    /// The pointers are as the header asks.
    unsafe fn new(
        target: *const c_char,
        options: *const CRVideo_SendOptions,
        task_id: *mut c_char,
    ) -> Result<Self, Code> {
        // SAFETY: the caller's promise is the same.
        unsafe {
            Ok(Self {
                target: args::user_id(target)?,
                options: send_options(options)?,
                task_id: args::task_id_out(task_id),
            })
        }
    }
}

/// # Safety
/// `options` is NULL or as the header asks.
unsafe fn send_options(options: *const CRVideo_SendOptions) -> Result<SendOptions, Code> {
    if options.is_null() {
        return Ok(SendOptions::default());
    }
    // SAFETY: the caller's promise covers the struct and the texts that it points to.
    let (timeout_ms, task, display_name) = unsafe {
        let options = args::versioned(options)?;
        let task = if options.task_id.is_null() { None } else { Some(args::task_id(options.task_id)?) };
        (options.timeout_ms, task, args::optional_text(options.display_name, MAX_DISPLAY_NAME)?)
    };
    let timeout = (timeout_ms != 0).then(|| Duration::from_millis(timeout_ms.into()));
    Ok(SendOptions { timeout, task, display_name: display_name.map(str::to_owned) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn init() -> CRVideo_SendOptions {
        let (task_id, display_name) = (std::ptr::dangling(), std::ptr::dangling());
        let mut options = CRVideo_SendOptions { struct_size: 0, timeout_ms: 1, task_id, display_name };
        // SAFETY: one struct of options.
        unsafe { CRVideo_SendOptionsInit(&mut options) };
        options
    }

    fn read(options: &CRVideo_SendOptions) -> Result<SendOptions, Code> {
        // SAFETY: one struct, whose texts are NUL-terminated.
        unsafe { send_options(options) }
    }

    #[test]
    fn null_and_fresh_options_set_nothing() {
        // SAFETY: NULL is allowed.
        for options in [unsafe { send_options(std::ptr::null()) }, read(&init())] {
            let options = options.unwrap();
            assert!(options.timeout.is_none() && options.task.is_none() && options.display_name.is_none());
        }
        // SAFETY: NULL is allowed.
        unsafe { CRVideo_SendOptionsInit(std::ptr::null_mut()) };
    }

    #[test]
    fn options_arrive_whole() {
        let task = c"00112233-4455-6677-8899-AABBCCDDEEFF";
        let options =
            CRVideo_SendOptions { timeout_ms: 5, task_id: task.as_ptr(), display_name: c"名.txt".as_ptr(), ..init() };
        let options = read(&options).unwrap();
        assert_eq!(options.timeout, Some(Duration::from_millis(5)));
        assert_eq!(options.task.unwrap().to_string(), "00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(options.display_name.as_deref(), Some("名.txt"));
    }

    #[test]
    fn malformed_options_are_refused() {
        let long = std::ffi::CString::new(vec![b'x'; 256]).unwrap();
        for bad in [
            CRVideo_SendOptions { struct_size: init().struct_size - 1, ..init() },
            CRVideo_SendOptions { task_id: c"1".as_ptr(), ..init() },
            CRVideo_SendOptions { display_name: c"".as_ptr(), ..init() },
            CRVideo_SendOptions { display_name: c"\xce\xc4".as_ptr(), ..init() },
            CRVideo_SendOptions { display_name: long.as_ptr(), ..init() },
        ] {
            assert_eq!(read(&bad).err(), Some(code::PARAM_ERR));
        }
    }

    #[test]
    fn the_headers_limit_of_commands_is_the_clients() {
        assert_eq!(CRVIDEO_CMD_MAX, client::MAX_COMMAND);
    }
}
