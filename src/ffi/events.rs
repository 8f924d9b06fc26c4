//! The setters of the callbacks, one for each event.
//!
//! What is the same for all of them stands once, at the first and in the header's opening.

use std::ffi::c_void;

use super::callback::{
    CRVideo_LineOffCallback, CRVideo_NoticeCallback, CRVideo_NotifyCancelSendCallback, CRVideo_NotifyDataCallback,
    CRVideo_NotifyFileCallback, CRVideo_NotifyRtmMessageCallback, CRVideo_ReceiveProgressCallback,
    CRVideo_RsltCallback, CRVideo_SendFileRlstCallback, CRVideo_SendProgressCallback, CRVideo_SendRlstCallback,
    CRVideo_TransferOfferCallback, CRVideo_UserStatusCallback, CRVideo_UserStatusRsltCallback, Slot, set,
};
use super::error::CRVideo_Err;
use super::guard::guard;
use super::session::CRVideo_Session;

/// Sets the function for `LoginRslt`: how a login went. One for each `CRVideo_Login` that returned `CRVideo_NOERR`.
///
/// For this and all the setters that follow: `cb` NULL unsets the function; `user` comes back in each of its calls, and
/// is never read. After the call has returned outside callbacks, the former function neither runs nor will run, and its
/// `user` pointer is not touched again; inside a callback this holds from the session's next event on. Without a
/// function the event is dropped. Any thread, callbacks included. Errors: `CRVideo_NOT_INIT` (no such session, or
/// destroyed).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CRVideo_SetLoginRsltCallback(
    session: CRVideo_Session,
    cb: CRVideo_RsltCallback,
    user: *mut c_void,
) -> CRVideo_Err {
    guard(|| set(session, |table| table.login_rslt = Slot::new(cb, user)))
}

/// Sets the function for `LogoutRslt`: the session is logged out. One for each `CRVideo_Logout` that returned
/// `CRVideo_NOERR`, after the terminal events of the session's sends.
///
/// See `CRVideo_SetLoginRsltCallback` for what holds for all setters.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CRVideo_SetLogoutRsltCallback(
    session: CRVideo_Session,
    cb: CRVideo_RsltCallback,
    user: *mut c_void,
) -> CRVideo_Err {
    guard(|| set(session, |table| table.logout_rslt = Slot::new(cb, user)))
}

/// Sets the function for `LineOff`: the link to the relay is lost. With `CRVideo_KICKOUT_BY_RELOGIN`, a login or token
/// code the session is logged out, and its sends have ended; with any other code the library is connecting again by
/// itself, and sends go on when `LineOn` comes.
///
/// See `CRVideo_SetLoginRsltCallback` for what holds for all setters.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CRVideo_SetLineOffCallback(
    session: CRVideo_Session,
    cb: CRVideo_LineOffCallback,
    user: *mut c_void,
) -> CRVideo_Err {
    guard(|| set(session, |table| table.line_off = Slot::new(cb, user)))
}

/// Sets the function for `LineOn`: the link to the relay works again.
///
/// See `CRVideo_SetLoginRsltCallback` for what holds for all setters.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CRVideo_SetLineOnCallback(
    session: CRVideo_Session,
    cb: CRVideo_NoticeCallback,
    user: *mut c_void,
) -> CRVideo_Err {
    guard(|| set(session, |table| table.line_on = Slot::new(cb, user)))
}

/// Sets the function for `TokenWillExpire`: the token ends in 30 seconds. Get a new one and call `CRVideo_UpdateToken`.
/// Never called for a session that logged in with a secret.
///
/// See `CRVideo_SetLoginRsltCallback` for what holds for all setters.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CRVideo_SetTokenWillExpireCallback(
    session: CRVideo_Session,
    cb: CRVideo_NoticeCallback,
    user: *mut c_void,
) -> CRVideo_Err {
    guard(|| set(session, |table| table.token_will_expire = Slot::new(cb, user)))
}

/// Sets the function for `SendCmdRlst`: the end of a command, exactly one for each `CRVideo_SendCmd` that returned
/// `CRVideo_NOERR`. `CRVideo_NOERR`: the target has it. `CRVideo_SEND_OUTCOME_UNKNOWN`: it has it or not. Any other
/// code: it has not, and never will.
///
/// See `CRVideo_SetLoginRsltCallback` for what holds for all setters.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CRVideo_SetSendCmdRlstCallback(
    session: CRVideo_Session,
    cb: CRVideo_SendRlstCallback,
    user: *mut c_void,
) -> CRVideo_Err {
    guard(|| set(session, |table| table.send_cmd_rlst = Slot::new(cb, user)))
}

/// Sets the function for `SendBufferRlst`: the end of a buffer, exactly one for each `CRVideo_SendBuffer` that returned
/// `CRVideo_NOERR`. The codes mean what they mean for `SendCmdRlst`.
///
/// See `CRVideo_SetLoginRsltCallback` for what holds for all setters.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CRVideo_SetSendBufferRlstCallback(
    session: CRVideo_Session,
    cb: CRVideo_SendRlstCallback,
    user: *mut c_void,
) -> CRVideo_Err {
    guard(|| set(session, |table| table.send_buffer_rlst = Slot::new(cb, user)))
}

/// Sets the function for `SendFileRlst`: the end of a file, exactly one for each `CRVideo_SendFile` that returned
/// `CRVideo_NOERR`. The codes mean what they mean for `SendCmdRlst`.
///
/// See `CRVideo_SetLoginRsltCallback` for what holds for all setters.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CRVideo_SetSendFileRlstCallback(
    session: CRVideo_Session,
    cb: CRVideo_SendFileRlstCallback,
    user: *mut c_void,
) -> CRVideo_Err {
    guard(|| set(session, |table| table.send_file_rlst = Slot::new(cb, user)))
}

/// Sets the function for `SendProgress`: how much of a buffer or file the target has confirmed. First (0, total), last
/// (total, total) before a successful result, never less than before, at most 20 a second and task.
///
/// See `CRVideo_SetLoginRsltCallback` for what holds for all setters.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CRVideo_SetSendProgressCallback(
    session: CRVideo_Session,
    cb: CRVideo_SendProgressCallback,
    user: *mut c_void,
) -> CRVideo_Err {
    guard(|| set(session, |table| table.send_progress = Slot::new(cb, user)))
}

/// Sets the function for `CancelSendRlst`: one for each `CRVideo_CancelSend` that returned `CRVideo_NOERR`, with the
/// cookie of that call.
///
/// See `CRVideo_SetLoginRsltCallback` for what holds for all setters.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CRVideo_SetCancelSendRlstCallback(
    session: CRVideo_Session,
    cb: CRVideo_SendRlstCallback,
    user: *mut c_void,
) -> CRVideo_Err {
    guard(|| set(session, |table| table.cancel_send_rlst = Slot::new(cb, user)))
}

/// Sets the function for `NotifyCmdData`: a command has come in.
///
/// See `CRVideo_SetLoginRsltCallback` for what holds for all setters.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CRVideo_SetNotifyCmdDataCallback(
    session: CRVideo_Session,
    cb: CRVideo_NotifyDataCallback,
    user: *mut c_void,
) -> CRVideo_Err {
    guard(|| set(session, |table| table.notify_cmd_data = Slot::new(cb, user)))
}

/// Sets the function for `NotifyBufferData`: a buffer has come in whole.
///
/// See `CRVideo_SetLoginRsltCallback` for what holds for all setters.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CRVideo_SetNotifyBufferDataCallback(
    session: CRVideo_Session,
    cb: CRVideo_NotifyDataCallback,
    user: *mut c_void,
) -> CRVideo_Err {
    guard(|| set(session, |table| table.notify_buffer_data = Slot::new(cb, user)))
}

/// Sets the function for `NotifyFileData`: a file has come in whole. A file of whose event nobody hears, because no
/// function is set or the session is destroyed before, is deleted with it, unless it was accepted to a path of your own.
///
/// See `CRVideo_SetLoginRsltCallback` for what holds for all setters.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CRVideo_SetNotifyFileDataCallback(
    session: CRVideo_Session,
    cb: CRVideo_NotifyFileCallback,
    user: *mut c_void,
) -> CRVideo_Err {
    guard(|| set(session, |table| table.notify_file_data = Slot::new(cb, user)))
}

/// Sets the function for `NotifyCancelSend`: a transfer of which there was a `TransferOffer` or a `ReceiveProgress`
/// will not arrive, and what had come in of it is deleted.
///
/// See `CRVideo_SetLoginRsltCallback` for what holds for all setters.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CRVideo_SetNotifyCancelSendCallback(
    session: CRVideo_Session,
    cb: CRVideo_NotifyCancelSendCallback,
    user: *mut c_void,
) -> CRVideo_Err {
    guard(|| set(session, |table| table.notify_cancel_send = Slot::new(cb, user)))
}

/// Sets the function for `TransferOffer`: somebody wants to send a buffer or a file, and no byte flows before
/// `CRVideo_AcceptTransfer` or `CRVideo_RefuseTransfer` answers, inside the callback or within `offer_timeout_ms`.
/// Without this function everything within the limits is accepted.
///
/// See `CRVideo_SetLoginRsltCallback` for what holds for all setters.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CRVideo_SetTransferOfferCallback(
    session: CRVideo_Session,
    cb: CRVideo_TransferOfferCallback,
    user: *mut c_void,
) -> CRVideo_Err {
    guard(|| set(session, |table| table.transfer_offer = Slot::new(cb, user)))
}

/// Sets the function for `ReceiveProgress`: how much of a buffer or file has come in, at most 20 times a second and
/// task.
///
/// See `CRVideo_SetLoginRsltCallback` for what holds for all setters.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CRVideo_SetReceiveProgressCallback(
    session: CRVideo_Session,
    cb: CRVideo_ReceiveProgressCallback,
    user: *mut c_void,
) -> CRVideo_Err {
    guard(|| set(session, |table| table.receive_progress = Slot::new(cb, user)))
}

/// Sets the function for `NotifyRtmMessage`: a server has sent this user, a group or room of his, or everybody a message
/// or a file by an RTM function. Only users whose id is a whole number in decimal without leading zeros can be reached
/// so. The relay counts the message as delivered when the function has returned.
///
/// See `CRVideo_SetLoginRsltCallback` for what holds for all setters.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CRVideo_SetNotifyRtmMessageCallback(
    session: CRVideo_Session,
    cb: CRVideo_NotifyRtmMessageCallback,
    user: *mut c_void,
) -> CRVideo_Err {
    guard(|| set(session, |table| table.notify_rtm_message = Slot::new(cb, user)))
}

/// Sets the function for `UserStatus`: a user comes or goes. Called after `CRVideo_StartUserStatusPush`.
///
/// See `CRVideo_SetLoginRsltCallback` for what holds for all setters.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CRVideo_SetUserStatusCallback(
    session: CRVideo_Session,
    cb: CRVideo_UserStatusCallback,
    user: *mut c_void,
) -> CRVideo_Err {
    guard(|| set(session, |table| table.user_status = Slot::new(cb, user)))
}

/// Sets the function for `UserStatusRslt`: who is online, one for each `CRVideo_GetUserStatus` that returned
/// `CRVideo_NOERR`.
///
/// See `CRVideo_SetLoginRsltCallback` for what holds for all setters.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CRVideo_SetUserStatusRsltCallback(
    session: CRVideo_Session,
    cb: CRVideo_UserStatusRsltCallback,
    user: *mut c_void,
) -> CRVideo_Err {
    guard(|| set(session, |table| table.user_status_rslt = Slot::new(cb, user)))
}

/// Sets the function for `StatusPushRslt`: one for each `CRVideo_StartUserStatusPush` and `CRVideo_StopUserStatusPush`
/// that returned `CRVideo_NOERR`.
///
/// See `CRVideo_SetLoginRsltCallback` for what holds for all setters.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CRVideo_SetStatusPushRsltCallback(
    session: CRVideo_Session,
    cb: CRVideo_RsltCallback,
    user: *mut c_void,
) -> CRVideo_Err {
    guard(|| set(session, |table| table.status_push_rslt = Slot::new(cb, user)))
}

/// Sets the function that is called once, last of all, when a session has been destroyed and its terminal events have
/// been handled: no callback of it runs or will run, and what any `user` pointer of it points to may be freed here. It
/// is what a program needs that destroys a session inside a callback; outside, `CRVideo_Destroy` returns after it.
///
/// It is called where the session's events are handled. `cb` NULL unsets it. Any thread, callbacks included. Errors:
/// `CRVideo_NOT_INIT` (no such session, or destroyed: set it before).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CRVideo_SetReleasedCallback(
    session: CRVideo_Session,
    cb: CRVideo_NoticeCallback,
    user: *mut c_void,
) -> CRVideo_Err {
    guard(|| set(session, |table| table.released = Slot::new(cb, user)))
}
