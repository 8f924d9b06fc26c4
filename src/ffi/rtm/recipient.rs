//! What becomes of what was sent, at each recipient.

use std::ffi::c_void;

use super::super::args::context_pointer;
use super::super::callback::Slot;
use super::super::error::CRVideo_Err;
use super::super::guard::guard;
use super::listen::set;
use super::types::RTM_Client;
use crate::client::rtm::{self, Receipt};

/// It was sent to a user, or to several.
pub const RTM_TARGET_USER: u32 = 1;
/// It was sent to a group.
pub const RTM_TARGET_GROUP: u32 = 2;
/// It was sent to a room.
pub const RTM_TARGET_ROOM: u32 = 3;
/// It was sent to everybody.
pub const RTM_TARGET_ALL: u32 = 4;

/// The recipient is there, and it is being delivered.
pub const RTM_RECIPIENT_ACCEPTED: u32 = 1;
/// The recipient is not there (any more); it is kept until he logs in.
pub const RTM_RECIPIENT_STORED: u32 = 2;
/// The recipient's program has confirmed it: the message was handled, or the file is there and was verified.
pub const RTM_RECIPIENT_DELIVERED: u32 = 3;
/// It will never be delivered; `err` says why.
pub const RTM_RECIPIENT_FAILED: u32 = 4;

/// Why it failed: it has waited for as long as the server keeps messages.
pub const RTM_RECIPIENT_ERR_EXPIRED: CRVideo_Err = 20003;
/// Why it failed: newer messages have pushed it out, because too many wait.
pub const RTM_RECIPIENT_ERR_CROWDED_OUT: CRVideo_Err = 20011;
/// Why it failed: the message was deleted.
pub const RTM_RECIPIENT_ERR_DELETED: CRVideo_Err = 200070;

/// What has become of a message or file at one recipient. It lives until the callback returns.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct RTM_RecipientResult {
    /// The size of this struct in bytes, as the library knows it.
    pub struct_size: u32,
    /// One of `RTM_RECIPIENT_...`.
    pub state: u32,
    /// What it was sent to: one of `RTM_TARGET_...`.
    pub target_kind: u32,
    /// For `RTM_RECIPIENT_FAILED` why: `RTM_RECIPIENT_ERR_...`, `CRVideo_PEER_REFUSE` (he has refused the file),
    /// `CRVideo_FILE_NOT_EXIST` (the server does not have the file any more), or another number; otherwise
    /// `CRVideo_NOERR`.
    pub err: CRVideo_Err,
    /// The sender.
    pub from: i64,
    /// The user, group or room that it was sent to; 0 for everybody.
    pub target: i64,
    /// The message's id, as `RTM_SendResult` tells it.
    pub mid: i64,
    /// The recipient.
    pub uid: i64,
}

/// Tells what has become of a message or file at one recipient. See `RTM_RecipientResult`.
pub type RTM_RecipientResultCallback =
    Option<unsafe extern "C-unwind" fn(user: *mut c_void, result: *const RTM_RecipientResult)>;

/// Sets the function that hears what becomes, at each recipient, of messages and files that are sent while it is set.
///
/// It hears of each recipient first `RTM_RECIPIENT_ACCEPTED` or `RTM_RECIPIENT_STORED` (the latter may also follow the
/// former), and last exactly one of `RTM_RECIPIENT_DELIVERED` and `RTM_RECIPIENT_FAILED`, perhaps days later; each state
/// once, in this order, and nothing before the callback of the call that sends it; a call that waits instead may be
/// overtaken just before it returns. Results survive a lost connection, and with the relay's data directory its restart;
/// it keeps them for as long as messages. They end with the client. Members of a group and users in a list are recipients
/// whether they are there or not; of a room and of everybody only those are who are there.
///
/// This project's relay can tell all this, and other RTM servers cannot. The client asks the server once on each
/// connection, and sends it nothing else that is not RTM's own before it has agreed; `recipient_results` in the
/// `RTM_SendResult` of each call says whether results of it follow. Where the server sends no answer at all, the first call
/// waits for 5 s. From the first such send on until the function is unset the client keeps its connection, as it does to
/// listen.
///
/// See `RTM_SetPushMsgCallback` for what holds for all setters. While no function is set, sends go without results, and
/// results of earlier ones are dropped. Errors besides those: `CRVideo_INNER_ERR` (the system has no random numbers).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_SetRecipientResultCallback(
    client: RTM_Client,
    cb: RTM_RecipientResultCallback,
    user: *mut c_void,
) -> CRVideo_Err {
    guard(|| {
        // The function stands before anything can be watched.
        set(client, |ears| ears.recipient = Slot::new(cb, user))?;
        rtm::watch_recipients(client, cb.is_some())
    })
}

pub(super) fn tell(slot: Slot<RTM_RecipientResultCallback>, receipt: &Receipt) {
    let Some(call) = slot.callback() else { return };
    let result = RTM_RecipientResult {
        struct_size: size_of::<RTM_RecipientResult>() as u32,
        state: receipt.state as u32,
        target_kind: receipt.kind as u32,
        err: receipt.code,
        from: receipt.from,
        target: receipt.place,
        mid: receipt.mid,
        uid: receipt.user,
    };
    // SAFETY: setting the function promises that it may be called with such arguments, which live until it returns.
    unsafe { call(context_pointer(slot.user()), &result) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::rtm::{Standing, TargetKind};
    use crvideo_proto::rtm::code;

    #[test]
    fn the_headers_numbers_are_those_that_are_used() {
        let kinds = [TargetKind::User, TargetKind::Group, TargetKind::Room, TargetKind::All];
        let known = [RTM_TARGET_USER, RTM_TARGET_GROUP, RTM_TARGET_ROOM, RTM_TARGET_ALL];
        assert_eq!(kinds.map(|kind| kind as u32), known);
        let states = [Standing::Accepted, Standing::Stored, Standing::Delivered, Standing::Failed];
        let known = [RTM_RECIPIENT_ACCEPTED, RTM_RECIPIENT_STORED, RTM_RECIPIENT_DELIVERED, RTM_RECIPIENT_FAILED];
        assert_eq!(states.map(|state| state as u32), known);
        assert_eq!(RTM_RECIPIENT_ERR_EXPIRED, code::TIMEOUT);
        assert_eq!(RTM_RECIPIENT_ERR_CROWDED_OUT, code::QUEUE_FULL);
        assert_eq!(RTM_RECIPIENT_ERR_DELETED, code::MESSAGE_NOT_FOUND);
    }
}
