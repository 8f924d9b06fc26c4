//! Listening: what is pushed to this server, and the callbacks that hear it.

use std::any::Any;
use std::ffi::{CString, c_char, c_void};
use std::sync::{PoisonError, RwLock};

use crvideo_proto::code;
use crvideo_proto::rtm::attrs::Attrs;
use crvideo_proto::rtm::code as rtm_code;
use libc::size_t;

use super::super::args::{self, Versioned, context_pointer};
use super::super::callback::{CRVideo_NoticeCallback, Slot, c_text};
use super::super::error::CRVideo_Err;
use super::super::guard::{calling, guard};
use super::recipient::{RTM_RecipientResultCallback, tell as tell_recipient};
use super::run::{options as call_options, run};
use super::types::{RTM_CallOptions, RTM_Callback, RTM_Client, RTM_Result};
use crate::client::Code;
use crate::client::rtm::{
    self, Action, Callback, Change, Done, Event, Failure, Handler, Listen, MAX_IDS, Push, PushKind, UserEvent,
};

/// Flag of `RTM_Listen`: all messages between users.
pub const RTM_LISTEN_USERS: u32 = 1;
/// Flag of `RTM_Listen`: all messages in groups.
pub const RTM_LISTEN_GROUPS: u32 = 2;
/// Flag of `RTM_Listen`: all messages in rooms.
pub const RTM_LISTEN_ROOMS: u32 = 4;
/// Flag of `RTM_Listen`: all events.
pub const RTM_LISTEN_EVENTS: u32 = 8;

/// What to listen to: either everything of some kinds (`flags`), or lists. Fill it by `RTM_ListenInit`, then set what you
/// like.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct RTM_Listen {
    /// The size of this struct in bytes, as the caller knows it; `RTM_ListenInit` sets it.
    pub struct_size: u32,
    /// `RTM_LISTEN_...` flags, or-ed; 0 with lists.
    pub flags: u32,
    /// Users: messages to them.
    pub uids: *const i64,
    /// How many.
    pub uid_count: size_t,
    /// Groups: messages in them.
    pub gids: *const i64,
    /// How many.
    pub gid_count: size_t,
    /// Rooms: messages in them.
    pub rids: *const i64,
    /// How many.
    pub rid_count: size_t,
    /// Names of events ("login", "logout"), each 1 to 64 bytes of UTF-8.
    pub events: *const *const c_char,
    /// How many.
    pub event_count: size_t,
}

// SAFETY: repr(C), begins with its size, and any bytes are valid integers and pointers.
unsafe impl Versioned for RTM_Listen {
    const FIRST_SIZE: usize = std::mem::offset_of!(Self, event_count) + size_of::<size_t>();
}

/// A message that was pushed. It and everything that it points to live until the callback returns.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct RTM_Push {
    /// The size of this struct in bytes, as the library knows it.
    pub struct_size: u32,
    /// The message's type; 40 to 50 are files.
    pub mtype: i32,
    /// The sender.
    pub from: i64,
    /// The user, group or room that it went to.
    pub target: i64,
    /// The message's id, as its sender chose it. A message that comes a second time has the same one.
    pub mid: i64,
    /// The server's time of the message, in milliseconds since 1970.
    pub mtime: i64,
    /// The content; never NULL. Of a file: JSON text with its address.
    pub msg: *const c_void,
    /// How many bytes it has; do not count on a NUL behind them.
    pub msg_len: size_t,
    /// The attributes as they came; never NULL.
    pub attrs: *const c_char,
    /// Of a file: the address from which it can be fetched. NULL: this is no file, or one in an unknown form, and all
    /// that follows is NULL or 0.
    pub url: *const c_char,
    /// Of an image: the address of a small version; may be empty.
    pub thumbnail_url: *const c_char,
    /// Of a file: its bytes.
    pub size: u64,
    /// Of a file: its name for display, cleaned; may be empty. Never build a path from it.
    pub file_name: *const c_char,
    /// Of a file: what the sender's application gave as attributes, text or JSON; may be empty.
    pub custom: *const c_char,
}

/// Brings a message. See `RTM_Push`.
pub type RTM_PushCallback = Option<unsafe extern "C-unwind" fn(user: *mut c_void, push: *const RTM_Push)>;

/// Tells what a user has done: `event` is "login" or "logout", `time` is in seconds since 1970, `endpoint` is where the
/// user came from, `data` is what the server adds. The texts are never NULL, and live until it returns.
pub type RTM_PushEventCallback = Option<
    unsafe extern "C-unwind" fn(
        user: *mut c_void,
        event: *const c_char,
        uid: i64,
        time: i64,
        endpoint: *const c_char,
        data: *const c_char,
    ),
>;

/// Tells that the connection that listens is lost (`err`; the library connects again by itself, and what is pushed
/// meanwhile is missed), or that it listens again (`CRVideo_NOERR`). `text` says why; it lives until it returns.
pub type RTM_LineCallback =
    Option<unsafe extern "C-unwind" fn(user: *mut c_void, err: CRVideo_Err, text: *const c_char)>;

/// Fills a struct with its size and zeros; NULL is ignored. What was in it is overwritten, not read.
///
/// Any thread, callbacks included. The pointer is not touched after the call.
// See CRVideo_ConfigInit for what happens when the struct grows.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_ListenInit(listen: *mut RTM_Listen) {
    // SAFETY: NULL, or writable for one struct.
    if let Some(out) = unsafe { args::optional_out(listen) } {
        let null = std::ptr::null();
        out.put(RTM_Listen {
            struct_size: size_of::<RTM_Listen>() as u32,
            flags: 0,
            uids: null,
            uid_count: 0,
            gids: null,
            gid_count: 0,
            rids: null,
            rid_count: 0,
            events: std::ptr::null(),
            event_count: 0,
        });
    }
}

/// Listens to what `listen` says, and to nothing else; with neither flags nor lists to nothing. As long as something is
/// listened to, the client keeps its connection, and says it again on every new one. Flags and lists do not go into one
/// call: set the flags, then add lists of other kinds.
///
/// See `RTM_SendFile` for what holds for all calls. Errors besides those: `CRVideo_PARAM_ERR` also for unknown flags, and
/// for flags together with lists; `RTM_ERR_TOO_MANY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_SetListen(
    client: RTM_Client,
    listen: *const RTM_Listen,
    options: *const RTM_CallOptions,
    callback: RTM_Callback,
    cookie: *mut c_void,
    result: *mut RTM_Result,
) -> CRVideo_Err {
    // SAFETY: what the caller's pointers must be is what is asked here.
    let call = |reply| unsafe { change(client, Change::Set, listen, options, reply) };
    // SAFETY: as above.
    unsafe { run(callback, cookie, result, call) }
}

/// Listens to what the lists of `listen` say, besides what is listened to already. Its flags must be 0, and at least one
/// list must not be empty.
///
/// See `RTM_SetListen`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_AddListen(
    client: RTM_Client,
    listen: *const RTM_Listen,
    options: *const RTM_CallOptions,
    callback: RTM_Callback,
    cookie: *mut c_void,
    result: *mut RTM_Result,
) -> CRVideo_Err {
    // SAFETY: what the caller's pointers must be is what is asked here.
    let call = |reply| unsafe { change(client, Change::Add, listen, options, reply) };
    // SAFETY: as above.
    unsafe { run(callback, cookie, result, call) }
}

/// Listens no more to what the lists of `listen` say. Its flags must be 0, and at least one list must not be empty.
///
/// See `RTM_SetListen`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_RemoveListen(
    client: RTM_Client,
    listen: *const RTM_Listen,
    options: *const RTM_CallOptions,
    callback: RTM_Callback,
    cookie: *mut c_void,
    result: *mut RTM_Result,
) -> CRVideo_Err {
    // SAFETY: what the caller's pointers must be is what is asked here.
    let call = |reply| unsafe { change(client, Change::Remove, listen, options, reply) };
    // SAFETY: as above.
    unsafe { run(callback, cookie, result, call) }
}

/// Sets the function for messages between users. A file may come as well: see `RTM_Push`.
///
/// For this and all setters of an RTM client: `cb` NULL unsets the function; `user` comes back in each of its calls, and
/// is never read. After the call has returned outside callbacks, the former function neither runs nor will run, and its
/// `user` pointer is not touched again; inside a callback this holds from the client's next event on. Without a function
/// the event is dropped. Any thread, callbacks included. Errors: `CRVideo_NOT_INIT` (no such client, or destroyed).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_SetPushMsgCallback(
    client: RTM_Client,
    cb: RTM_PushCallback,
    user: *mut c_void,
) -> CRVideo_Err {
    guard(|| set(client, |ears| ears.msg = Slot::new(cb, user)))
}

/// Sets the function for messages in groups.
///
/// See `RTM_SetPushMsgCallback`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_SetPushGroupMsgCallback(
    client: RTM_Client,
    cb: RTM_PushCallback,
    user: *mut c_void,
) -> CRVideo_Err {
    guard(|| set(client, |ears| ears.group_msg = Slot::new(cb, user)))
}

/// Sets the function for messages in rooms.
///
/// See `RTM_SetPushMsgCallback`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_SetPushRoomMsgCallback(
    client: RTM_Client,
    cb: RTM_PushCallback,
    user: *mut c_void,
) -> CRVideo_Err {
    guard(|| set(client, |ears| ears.room_msg = Slot::new(cb, user)))
}

/// Sets the function for what users do.
///
/// See `RTM_SetPushMsgCallback`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_SetPushEventCallback(
    client: RTM_Client,
    cb: RTM_PushEventCallback,
    user: *mut c_void,
) -> CRVideo_Err {
    guard(|| set(client, |ears| ears.event = Slot::new(cb, user)))
}

/// Sets the function that hears when the connection that listens is lost, and when it is there again.
///
/// See `RTM_SetPushMsgCallback`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn RTM_SetLineCallback(
    client: RTM_Client,
    cb: RTM_LineCallback,
    user: *mut c_void,
) -> CRVideo_Err {
    guard(|| set(client, |ears| ears.line = Slot::new(cb, user)))
}

/// Longest name of an event in bytes.
const MAX_EVENT: usize = 64;

/// # Safety
/// The pointers are as the header asks.
unsafe fn change(
    client: RTM_Client,
    change: Change,
    listen: *const RTM_Listen,
    options: *const RTM_CallOptions,
    reply: Option<Callback>,
) -> Result<Option<Done>, Code> {
    // SAFETY: the caller's promise is the same.
    let (listen, options) = unsafe { (read_listen(listen)?, call_options(options)?) };
    rtm::call(client, Action::Listen { change, listen }, options, reply)
}

/// # Safety
/// `listen` is NULL or as the header asks.
unsafe fn read_listen(listen: *const RTM_Listen) -> Result<Listen, Code> {
    // SAFETY: the caller's promise covers the struct and what it points to.
    let (listen, users, groups, rooms, names) = unsafe {
        let listen = args::versioned(listen)?;
        let ids = |ids, count| args::list(ids, count, MAX_IDS, rtm_code::TOO_MANY);
        let names = args::list(listen.events, listen.event_count, MAX_IDS, rtm_code::TOO_MANY)?;
        let users = ids(listen.uids, listen.uid_count)?;
        let groups = ids(listen.gids, listen.gid_count)?;
        (listen, users, groups, ids(listen.rids, listen.rid_count)?, names)
    };
    let known = RTM_LISTEN_USERS | RTM_LISTEN_GROUPS | RTM_LISTEN_ROOMS | RTM_LISTEN_EVENTS;
    if listen.flags & !known != 0 {
        return Err(code::PARAM_ERR);
    }
    // SAFETY: as above.
    let events = names.into_iter().map(|name| unsafe { args::text(name, MAX_EVENT) }.map(str::to_owned));
    Ok(Listen {
        all_users: listen.flags & RTM_LISTEN_USERS != 0,
        all_groups: listen.flags & RTM_LISTEN_GROUPS != 0,
        all_rooms: listen.flags & RTM_LISTEN_ROOMS != 0,
        all_events: listen.flags & RTM_LISTEN_EVENTS != 0,
        users,
        groups,
        rooms,
        events: events.collect::<Result<_, Code>>()?,
    })
}

/// A client's functions.
#[derive(Clone, Copy, Default)]
pub(super) struct Table {
    msg: Slot<RTM_PushCallback>,
    group_msg: Slot<RTM_PushCallback>,
    room_msg: Slot<RTM_PushCallback>,
    event: Slot<RTM_PushEventCallback>,
    line: Slot<RTM_LineCallback>,
    pub(super) recipient: Slot<RTM_RecipientResultCallback>,
    pub(super) released: Slot<CRVideo_NoticeCallback>,
}

/// What the client knows of its functions. No lock is held while one of them runs.
#[derive(Default)]
pub(super) struct Ears {
    table: RwLock<Table>,
}

/// Changes a client's functions; outside callbacks it returns when none of the former ones runs or will run.
pub(super) fn set(client: RTM_Client, change: impl FnOnce(&mut Table)) -> Result<(), Code> {
    let mut known = false;
    rtm::change_handler(client, |handler: &dyn Any| {
        if let Some(ears) = handler.downcast_ref::<Ears>() {
            change(&mut ears.table.write().unwrap_or_else(PoisonError::into_inner));
            known = true;
        }
    })?;
    if known { Ok(()) } else { Err(code::NOT_INIT) }
}

impl Handler for Ears {
    fn handle(&self, _client: u64, event: &Event) {
        let table = *self.table.read().unwrap_or_else(PoisonError::into_inner);
        calling(|| match event {
            Event::Push(push) => {
                let slot = match push.kind {
                    PushKind::User => table.msg,
                    PushKind::Group => table.group_msg,
                    PushKind::Room => table.room_msg,
                };
                bring(slot, push);
            }
            Event::User(event) => tell(table.event, event),
            Event::Receipt(receipt) => tell_recipient(table.recipient, receipt),
            Event::Line(failure) => line(table.line, failure),
        });
    }

    /// Makes the last call, once: every function is unset before it.
    fn released(&self) {
        let table = std::mem::take(&mut *self.table.write().unwrap_or_else(PoisonError::into_inner));
        let Some(call) = table.released.callback() else { return };
        // SAFETY: setting the function promises that it may be called with such arguments.
        calling(|| unsafe { call(context_pointer(table.released.user())) });
    }
}

fn bring(slot: Slot<RTM_PushCallback>, push: &Push) {
    let Some(call) = slot.callback() else { return };
    let attrs = c_text(push.attrs.as_bytes());
    let file = push.file.as_ref().map(|file| {
        let name = file.attrs.as_ref().map(Attrs::filename).filter(|name| !name.is_empty());
        let name = name.map_or_else(CString::default, |name| c_text(crvideo_proto::name::clean(&name).as_bytes()));
        let custom = file.attrs.as_ref().map(Attrs::custom_text).unwrap_or_default();
        (c_text(file.url.as_bytes()), c_text(file.thumbnail.as_bytes()), file.size, name, c_text(custom.as_bytes()))
    });
    let null = std::ptr::null();
    let (url, thumbnail_url, size, file_name, custom) =
        file.as_ref().map_or((null, null, 0, null, null), |(url, thumbnail, size, name, custom)| {
            (url.as_ptr(), thumbnail.as_ptr(), *size, name.as_ptr(), custom.as_ptr())
        });
    let pushed = RTM_Push {
        struct_size: size_of::<RTM_Push>() as u32,
        mtype: push.mtype,
        from: push.from,
        target: push.target,
        mid: push.mid,
        mtime: push.mtime,
        msg: if push.body.is_empty() { c"".as_ptr().cast() } else { push.body.as_ptr().cast() },
        msg_len: push.body.len(),
        attrs: attrs.as_ptr(),
        url,
        thumbnail_url,
        size,
        file_name,
        custom,
    };
    // SAFETY: setting the function promises that it may be called with such arguments; all of them live until it returns.
    unsafe { call(context_pointer(slot.user()), &pushed) }
}

fn tell(slot: Slot<RTM_PushEventCallback>, event: &UserEvent) {
    let Some(call) = slot.callback() else { return };
    let (name, data) = (c_text(event.event.as_bytes()), c_text(event.data.as_bytes()));
    let endpoint = c_text(event.endpoint.as_bytes());
    // SAFETY: as above.
    unsafe {
        call(context_pointer(slot.user()), name.as_ptr(), event.uid, event.time, endpoint.as_ptr(), data.as_ptr());
    }
}

fn line(slot: Slot<RTM_LineCallback>, failure: &Failure) {
    let Some(call) = slot.callback() else { return };
    let text = c_text(failure.text.as_bytes());
    // SAFETY: as above.
    unsafe { call(context_pointer(slot.user()), failure.code, text.as_ptr()) }
}
