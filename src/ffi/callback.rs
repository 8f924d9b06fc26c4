//! The application's functions, and how an event becomes a call of one.

use std::any::Any;
use std::ffi::{CString, c_char, c_int, c_void};
use std::sync::{PoisonError, RwLock};

use crvideo_proto::code;
use crvideo_proto::id::TaskId;
use crvideo_proto::message::Rtm;
use libc::size_t;

use super::args::{context, context_pointer, task_id_text};
use super::error::CRVideo_Err;
use super::guard::calling;
use super::path;
use super::session::CRVideo_Session;
use crate::client::{self, Code, Event, EventHandler};

/// Says that something has happened that has no particulars: `LineOn`, `TokenWillExpire`, `Released`.
pub type CRVideo_NoticeCallback = Option<unsafe extern "C-unwind" fn(user: *mut c_void)>;

/// Tells the result of the call that gave `cookie`: `LoginRslt`, `LogoutRslt`, `StatusPushRslt`.
pub type CRVideo_RsltCallback =
    Option<unsafe extern "C-unwind" fn(user: *mut c_void, err: CRVideo_Err, cookie: *mut c_void)>;

/// Tells that the link is lost, and why.
pub type CRVideo_LineOffCallback = Option<unsafe extern "C-unwind" fn(user: *mut c_void, err: CRVideo_Err)>;

/// Tells the result of a task or of cancelling one: `SendCmdRlst`, `SendBufferRlst`, `CancelSendRlst`. The text lives
/// until it returns.
pub type CRVideo_SendRlstCallback = Option<
    unsafe extern "C-unwind" fn(user: *mut c_void, task_id: *const c_char, err: CRVideo_Err, cookie: *mut c_void),
>;

/// Tells the result of sending a file. `file_name` is the path as the caller gave it. The texts live until it returns.
pub type CRVideo_SendFileRlstCallback = Option<
    unsafe extern "C-unwind" fn(
        user: *mut c_void,
        task_id: *const c_char,
        file_name: *const c_char,
        err: CRVideo_Err,
        cookie: *mut c_void,
    ),
>;

/// Tells how many bytes of a buffer or file the target has confirmed. The text lives until it returns.
pub type CRVideo_SendProgressCallback = Option<
    unsafe extern "C-unwind" fn(user: *mut c_void, task_id: *const c_char, sent: u64, total: u64, cookie: *mut c_void),
>;

/// Brings a command or a buffer. `data` is never NULL, and has `len` bytes; do not count on a NUL behind them. Content
/// and texts live until it returns.
pub type CRVideo_NotifyDataCallback = Option<
    unsafe extern "C-unwind" fn(
        user: *mut c_void,
        source: *const c_char,
        task_id: *const c_char,
        data: *const c_void,
        len: size_t,
    ),
>;

/// Brings a file: complete, checked and closed under the path `tmp_file`. Move it away or it is deleted after
/// `file_ttl_s`, unless you accepted it to a path of your own. `org_file_name` is for display; never build a path from it. The texts live until it returns.
pub type CRVideo_NotifyFileCallback = Option<
    unsafe extern "C-unwind" fn(
        user: *mut c_void,
        source: *const c_char,
        task_id: *const c_char,
        tmp_file: *const c_char,
        org_file_name: *const c_char,
    ),
>;

/// Tells that a transfer that the application has heard of will not arrive: `CRVideo_SEND_CANCELLED` when its sender
/// cancelled it, else why. The texts live until it returns.
pub type CRVideo_NotifyCancelSendCallback = Option<
    unsafe extern "C-unwind" fn(user: *mut c_void, source: *const c_char, task_id: *const c_char, err: CRVideo_Err),
>;

/// Offers a transfer of `size` bytes. `kind` is `CRVIDEO_KIND_BUFFER` or `CRVIDEO_KIND_FILE`; `name` is for display and
/// may be empty. The texts live until it returns.
pub type CRVideo_TransferOfferCallback = Option<
    unsafe extern "C-unwind" fn(
        user: *mut c_void,
        source: *const c_char,
        task_id: *const c_char,
        kind: c_int,
        name: *const c_char,
        size: u64,
    ),
>;

/// Tells how many bytes of a transfer have come in. The texts live until it returns.
pub type CRVideo_ReceiveProgressCallback = Option<
    unsafe extern "C-unwind" fn(
        user: *mut c_void,
        source: *const c_char,
        task_id: *const c_char,
        received: u64,
        total: u64,
    ),
>;

/// Tells that a user has come (`online` 1) or gone (0). The text lives until it returns.
pub type CRVideo_UserStatusCallback =
    Option<unsafe extern "C-unwind" fn(user: *mut c_void, user_id: *const c_char, online: c_int)>;

/// Lists the users of whom `CRVideo_GetUserStatus` asked and who are online: `count` texts. `user_ids` is never NULL;
/// it and the texts live until it returns.
pub type CRVideo_UserStatusRsltCallback = Option<
    unsafe extern "C-unwind" fn(
        user: *mut c_void,
        err: CRVideo_Err,
        user_ids: *const *const c_char,
        count: size_t,
        cookie: *mut c_void,
    ),
>;

/// Kind of an RTM message: to this user.
pub const CRVIDEO_RTM_TO_USER: c_int = 1;
/// Kind of an RTM message: to a group that the user belongs to.
pub const CRVIDEO_RTM_TO_GROUP: c_int = 2;
/// Kind of an RTM message: to a room that the user is in.
pub const CRVIDEO_RTM_TO_ROOM: c_int = 3;
/// Kind of an RTM message: to everybody of the project.
pub const CRVIDEO_RTM_TO_ALL: c_int = 4;

/// A message that a server has sent by an RTM function. The library fills it; it and its texts live until the callback
/// returns. Later versions may add fields at the end: `struct_size` tells which are there.
#[repr(C)]
pub struct CRVideo_RtmMessage {
    /// The size of this struct in bytes, as the library knows it.
    pub struct_size: u32,
    /// Message type, 1 to 127. 40 to 50 are files: the file itself comes by `NotifyFileData` with the same source and
    /// task id.
    pub mtype: i32,
    /// The sender's number.
    pub from: i64,
    /// The sender's own number of the message. Not unique.
    pub mid: i64,
    /// When the relay took it, in milliseconds since 1970.
    pub mtime_ms: i64,
    /// The group or room; 0 for other kinds.
    pub place: i64,
    /// `CRVIDEO_RTM_TO_...`.
    pub kind: i32,
    /// Bytes of `data`.
    pub len: u32,
    /// The sender as a user id, the source of a file: the number in decimal.
    pub source: *const c_char,
    /// Names the message to this user, and the transfer that brings a file. The same message may come again after the
    /// program has been started anew; its id tells.
    pub task_id: *const c_char,
    /// JSON text with `rtm` and `custom`, or empty.
    pub attrs: *const c_char,
    /// The message: text in most cases, JSON with `url` and `size` for a file. Never NULL; do not count on a NUL.
    pub data: *const c_void,
}

/// Brings a message that a server has sent by an RTM function. Everything that `message` points to lives until it
/// returns.
pub type CRVideo_NotifyRtmMessageCallback =
    Option<unsafe extern "C-unwind" fn(user: *mut c_void, message: *const CRVideo_RtmMessage)>;

/// One of the application's functions, with the pointer that comes back in its calls.
#[derive(Clone, Copy, Default)]
pub(super) struct Slot<F> {
    callback: F,
    user: usize,
}

impl<F> Slot<F> {
    pub(super) fn new(callback: F, user: *mut c_void) -> Self {
        Self { callback, user: context(user) }
    }

    pub(super) fn user(&self) -> usize {
        self.user
    }
}

impl<F: Copy> Slot<F> {
    pub(super) fn callback(&self) -> F {
        self.callback
    }
}

/// A session's functions.
#[derive(Clone, Copy, Default)]
pub(super) struct Table {
    pub(super) login_rslt: Slot<CRVideo_RsltCallback>,
    pub(super) logout_rslt: Slot<CRVideo_RsltCallback>,
    pub(super) line_off: Slot<CRVideo_LineOffCallback>,
    pub(super) line_on: Slot<CRVideo_NoticeCallback>,
    pub(super) token_will_expire: Slot<CRVideo_NoticeCallback>,
    pub(super) send_cmd_rlst: Slot<CRVideo_SendRlstCallback>,
    pub(super) send_buffer_rlst: Slot<CRVideo_SendRlstCallback>,
    pub(super) send_file_rlst: Slot<CRVideo_SendFileRlstCallback>,
    pub(super) send_progress: Slot<CRVideo_SendProgressCallback>,
    pub(super) cancel_send_rlst: Slot<CRVideo_SendRlstCallback>,
    pub(super) notify_cmd_data: Slot<CRVideo_NotifyDataCallback>,
    pub(super) notify_buffer_data: Slot<CRVideo_NotifyDataCallback>,
    pub(super) notify_file_data: Slot<CRVideo_NotifyFileCallback>,
    pub(super) notify_cancel_send: Slot<CRVideo_NotifyCancelSendCallback>,
    pub(super) transfer_offer: Slot<CRVideo_TransferOfferCallback>,
    pub(super) receive_progress: Slot<CRVideo_ReceiveProgressCallback>,
    pub(super) notify_rtm_message: Slot<CRVideo_NotifyRtmMessageCallback>,
    pub(super) user_status: Slot<CRVideo_UserStatusCallback>,
    pub(super) user_status_rslt: Slot<CRVideo_UserStatusRsltCallback>,
    pub(super) status_push_rslt: Slot<CRVideo_RsltCallback>,
    pub(super) released: Slot<CRVideo_NoticeCallback>,
}

/// What the client knows of a session's functions. No lock is held while one of them runs.
#[derive(Default)]
pub(super) struct Callbacks {
    table: RwLock<Table>,
}

impl Callbacks {
    fn table(&self) -> Table {
        *self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the last call, once: every function is unset before it.
    fn release(&self) {
        let table = std::mem::take(&mut *self.table.write().unwrap_or_else(PoisonError::into_inner));
        notice(table.released);
    }
}

/// Changes a session's functions; outside callbacks it returns when none of the former ones runs or will run.
pub(super) fn set(session: CRVideo_Session, change: impl FnOnce(&mut Table)) -> Result<(), Code> {
    let mut known = false;
    client::change_handler(session, |handler: &dyn Any| {
        if let Some(callbacks) = handler.downcast_ref::<Callbacks>() {
            change(&mut callbacks.table.write().unwrap_or_else(PoisonError::into_inner));
            known = true;
        }
    })?;
    if known { Ok(()) } else { Err(code::NOT_INIT) }
}

impl EventHandler for Callbacks {
    fn handle(&self, _session: u64, event: &Event) -> bool {
        calling(|| self.call(event))
    }

    fn wants_offers(&self) -> bool {
        self.table().transfer_offer.callback.is_some()
    }

    fn wants_receive_progress(&self) -> bool {
        self.table().receive_progress.callback.is_some()
    }

    fn released(&self) {
        calling(|| self.release());
    }
}

impl Callbacks {
    /// Calls the function for an event; whether there is one.
    fn call(&self, event: &Event) -> bool {
        let table = self.table();
        match event {
            Event::LoginRslt { err, cookie } => rslt(table.login_rslt, *err, *cookie),
            Event::LogoutRslt { err, cookie } => rslt(table.logout_rslt, *err, *cookie),
            Event::LineOff { err } => line_off(table.line_off, *err),
            Event::LineOn => notice(table.line_on),
            Event::TokenWillExpire => notice(table.token_will_expire),
            Event::SendCmdRlst { task, err, cookie } => send_rlst(table.send_cmd_rlst, *task, *err, *cookie),
            Event::SendBufferRlst { task, err, cookie } => send_rlst(table.send_buffer_rlst, *task, *err, *cookie),
            Event::CancelSendRlst { task, err, cookie } => send_rlst(table.cancel_send_rlst, *task, *err, *cookie),
            Event::SendFileRlst { .. } => send_file_rlst(table.send_file_rlst, event),
            Event::SendProgress { .. } => send_progress(table.send_progress, event),
            Event::NotifyCmdData { source, task, data } => notify_data(table.notify_cmd_data, source, *task, data),
            Event::NotifyBufferData { source, task, data } => {
                notify_data(table.notify_buffer_data, source, *task, data)
            }
            Event::NotifyFileData { .. } => notify_file(table.notify_file_data, event),
            Event::NotifyCancelSend { .. } => notify_cancel_send(table.notify_cancel_send, event),
            Event::TransferOffer { .. } => transfer_offer(table.transfer_offer, event),
            Event::ReceiveProgress { .. } => receive_progress(table.receive_progress, event),
            Event::NotifyRtmMessage { message } => notify_rtm_message(table.notify_rtm_message, message),
            Event::UserStatus { user, online } => user_status(table.user_status, user, *online),
            Event::UserStatusRslt { err, users, cookie } => {
                user_status_rslt(table.user_status_rslt, *err, users, *cookie)
            }
            Event::StatusPushRslt { err, cookie } => rslt(table.status_push_rslt, *err, *cookie),
        }
    }
}

/// A text for C. Nothing that comes here has a NUL inside; if it had, the text would end there.
pub(super) fn c_text(bytes: &[u8]) -> CString {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    CString::new(text).unwrap_or_default()
}

// Each of the following calls one function of the application, if it is set. The one safety argument of all of them:
// setting a function promises that it may be called with such arguments, and every pointer lives until it returns.

fn notice(slot: Slot<CRVideo_NoticeCallback>) -> bool {
    let Some(call) = slot.callback else { return false };
    // SAFETY: as said above.
    unsafe { call(context_pointer(slot.user)) };
    true
}

fn rslt(slot: Slot<CRVideo_RsltCallback>, err: i32, cookie: usize) -> bool {
    let Some(call) = slot.callback else { return false };
    // SAFETY: as said above.
    unsafe { call(context_pointer(slot.user), err, context_pointer(cookie)) };
    true
}

fn line_off(slot: Slot<CRVideo_LineOffCallback>, err: i32) -> bool {
    let Some(call) = slot.callback else { return false };
    // SAFETY: as said above.
    unsafe { call(context_pointer(slot.user), err) };
    true
}

fn send_rlst(slot: Slot<CRVideo_SendRlstCallback>, task: TaskId, err: i32, cookie: usize) -> bool {
    let Some(call) = slot.callback else { return false };
    let task = task_id_text(task);
    // SAFETY: as said above.
    unsafe { call(context_pointer(slot.user), task.as_ptr().cast(), err, context_pointer(cookie)) };
    true
}

fn send_file_rlst(slot: Slot<CRVideo_SendFileRlstCallback>, event: &Event) -> bool {
    let (Some(call), Event::SendFileRlst { task, path, err, cookie }) = (slot.callback, event) else { return false };
    let (task, name) = (task_id_text(*task), c_text(path::to_bytes(path)));
    // SAFETY: as said above.
    unsafe { call(context_pointer(slot.user), task.as_ptr().cast(), name.as_ptr(), *err, context_pointer(*cookie)) };
    true
}

fn send_progress(slot: Slot<CRVideo_SendProgressCallback>, event: &Event) -> bool {
    let (Some(call), Event::SendProgress { task, sent, total, cookie }) = (slot.callback, event) else { return false };
    let task = task_id_text(*task);
    // SAFETY: as said above.
    unsafe { call(context_pointer(slot.user), task.as_ptr().cast(), *sent, *total, context_pointer(*cookie)) };
    true
}

fn notify_data(slot: Slot<CRVideo_NotifyDataCallback>, source: &str, task: TaskId, data: &[u8]) -> bool {
    let Some(call) = slot.callback else { return false };
    let (source, task) = (c_text(source.as_bytes()), task_id_text(task));
    let start = if data.is_empty() { c"".as_ptr().cast() } else { data.as_ptr().cast() };
    // SAFETY: as said above.
    unsafe { call(context_pointer(slot.user), source.as_ptr(), task.as_ptr().cast(), start, data.len()) };
    true
}

fn notify_file(slot: Slot<CRVideo_NotifyFileCallback>, event: &Event) -> bool {
    let (Some(call), Event::NotifyFileData { source, task, path, name }) = (slot.callback, event) else { return false };
    let (source, task) = (c_text(source.as_bytes()), task_id_text(*task));
    let (path, name) = (c_text(path::to_bytes(path)), c_text(name.as_bytes()));
    // SAFETY: as said above.
    unsafe {
        call(context_pointer(slot.user), source.as_ptr(), task.as_ptr().cast(), path.as_ptr(), name.as_ptr());
    };
    true
}

fn notify_cancel_send(slot: Slot<CRVideo_NotifyCancelSendCallback>, event: &Event) -> bool {
    let (Some(call), Event::NotifyCancelSend { source, task, err }) = (slot.callback, event) else { return false };
    let (source, task) = (c_text(source.as_bytes()), task_id_text(*task));
    // SAFETY: as said above.
    unsafe { call(context_pointer(slot.user), source.as_ptr(), task.as_ptr().cast(), *err) };
    true
}

fn transfer_offer(slot: Slot<CRVideo_TransferOfferCallback>, event: &Event) -> bool {
    let (Some(call), Event::TransferOffer { source, task, kind, name, size }) = (slot.callback, event) else {
        return false;
    };
    let (source, task) = (c_text(source.as_bytes()), task_id_text(*task));
    let (kind, name) = (*kind as c_int, c_text(name.as_bytes()));
    // SAFETY: as said above.
    unsafe {
        call(context_pointer(slot.user), source.as_ptr(), task.as_ptr().cast(), kind, name.as_ptr(), *size);
    };
    true
}

fn receive_progress(slot: Slot<CRVideo_ReceiveProgressCallback>, event: &Event) -> bool {
    let (Some(call), Event::ReceiveProgress { source, task, received, total }) = (slot.callback, event) else {
        return false;
    };
    let (source, task) = (c_text(source.as_bytes()), task_id_text(*task));
    // SAFETY: as said above.
    unsafe { call(context_pointer(slot.user), source.as_ptr(), task.as_ptr().cast(), *received, *total) };
    true
}

fn notify_rtm_message(slot: Slot<CRVideo_NotifyRtmMessageCallback>, message: &Rtm) -> bool {
    let Some(call) = slot.callback else { return false };
    let source = c_text(message.from.to_string().as_bytes());
    let (task, attrs) = (task_id_text(message.id), c_text(message.attrs.as_bytes()));
    let data = if message.data.is_empty() { c"".as_ptr().cast() } else { message.data.as_ptr().cast() };
    let shown = CRVideo_RtmMessage {
        struct_size: size_of::<CRVideo_RtmMessage>() as u32,
        mtype: message.mtype.into(),
        from: message.from,
        mid: message.mid,
        mtime_ms: message.mtime,
        place: message.place,
        kind: message.kind.into(),
        // A frame is far smaller than 4 GiB.
        len: message.data.len() as u32,
        source: source.as_ptr(),
        task_id: task.as_ptr().cast(),
        attrs: attrs.as_ptr(),
        data,
    };
    // SAFETY: as said above.
    unsafe { call(context_pointer(slot.user), &raw const shown) };
    true
}

fn user_status(slot: Slot<CRVideo_UserStatusCallback>, user: &str, online: bool) -> bool {
    let Some(call) = slot.callback else { return false };
    let user = c_text(user.as_bytes());
    // SAFETY: as said above.
    unsafe { call(context_pointer(slot.user), user.as_ptr(), online.into()) };
    true
}

fn user_status_rslt(slot: Slot<CRVideo_UserStatusRsltCallback>, err: i32, users: &[String], cookie: usize) -> bool {
    let Some(call) = slot.callback else { return false };
    let texts: Vec<CString> = users.iter().map(|user| c_text(user.as_bytes())).collect();
    let pointers: Vec<*const c_char> = texts.iter().map(|text| text.as_ptr()).collect();
    // SAFETY: as said above; the pointer of an empty list is not NULL either.
    unsafe { call(context_pointer(slot.user), err, pointers.as_ptr(), pointers.len(), context_pointer(cookie)) };
    true
}

#[cfg(test)]
mod tests;
