use super::*;
use crate::client::TransferKind;
use bytes::Bytes;
use std::ffi::CStr;
use std::sync::{Arc, Mutex};

/// What the functions below have been called with, one line a call. Its address is their `user` pointer.
type Lines = Mutex<Vec<String>>;

fn note(user: *mut c_void, line: String) {
    // SAFETY: every test passes its Lines.
    unsafe { &*user.cast::<Lines>() }.lock().unwrap().push(line);
}

fn show(text: *const c_char) -> String {
    // SAFETY: that every text is NUL-terminated is part of what is tested.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

unsafe extern "C-unwind" fn on_notice(user: *mut c_void) {
    note(user, "notice".to_owned());
}
unsafe extern "C-unwind" fn on_rslt(user: *mut c_void, err: CRVideo_Err, cookie: *mut c_void) {
    note(user, format!("rslt {err} {}", cookie.addr()));
}
unsafe extern "C-unwind" fn on_line_off(user: *mut c_void, err: CRVideo_Err) {
    note(user, format!("off {err}"));
}
unsafe extern "C-unwind" fn on_send(user: *mut c_void, task: *const c_char, err: CRVideo_Err, cookie: *mut c_void) {
    note(user, format!("{} {err} {}", show(task), cookie.addr()));
}
unsafe extern "C-unwind" fn on_send_file(
    user: *mut c_void,
    task: *const c_char,
    file: *const c_char,
    err: CRVideo_Err,
    cookie: *mut c_void,
) {
    note(user, format!("{} {} {err} {}", show(task), show(file), cookie.addr()));
}
unsafe extern "C-unwind" fn on_send_progress(
    user: *mut c_void,
    task: *const c_char,
    sent: u64,
    total: u64,
    cookie: *mut c_void,
) {
    note(user, format!("{} {sent}/{total} {}", show(task), cookie.addr()));
}
unsafe extern "C-unwind" fn on_data(
    user: *mut c_void,
    source: *const c_char,
    task: *const c_char,
    data: *const c_void,
    len: size_t,
) {
    assert!(!data.is_null());
    // SAFETY: that `len` bytes are there is part of what is tested.
    let data = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), len) };
    note(user, format!("{} {} {data:?}", show(source), show(task)));
}
unsafe extern "C-unwind" fn on_file(
    user: *mut c_void,
    source: *const c_char,
    task: *const c_char,
    tmp: *const c_char,
    org: *const c_char,
) {
    note(user, format!("{} {} {} {}", show(source), show(task), show(tmp), show(org)));
}
unsafe extern "C-unwind" fn on_cancel(user: *mut c_void, source: *const c_char, task: *const c_char, err: CRVideo_Err) {
    note(user, format!("{} {} {err}", show(source), show(task)));
}
unsafe extern "C-unwind" fn on_offer(
    user: *mut c_void,
    source: *const c_char,
    task: *const c_char,
    kind: c_int,
    name: *const c_char,
    size: u64,
) {
    note(user, format!("{} {} {kind} {} {size}", show(source), show(task), show(name)));
}
unsafe extern "C-unwind" fn on_receive(
    user: *mut c_void,
    source: *const c_char,
    task: *const c_char,
    received: u64,
    total: u64,
) {
    note(user, format!("{} {} {received}/{total}", show(source), show(task)));
}
unsafe extern "C-unwind" fn on_status(user: *mut c_void, id: *const c_char, online: c_int) {
    note(user, format!("{} {online}", show(id)));
}
unsafe extern "C-unwind" fn on_statuses(
    user: *mut c_void,
    err: CRVideo_Err,
    ids: *const *const c_char,
    count: size_t,
    cookie: *mut c_void,
) {
    assert!(!ids.is_null());
    // SAFETY: that `count` texts are there is part of what is tested.
    let ids = unsafe { std::slice::from_raw_parts(ids, count) };
    let ids: Vec<_> = ids.iter().map(|id| show(*id)).collect();
    note(user, format!("{err} {ids:?} {}", cookie.addr()));
}

unsafe extern "C-unwind" fn on_rtm(user: *mut c_void, message: *const CRVideo_RtmMessage) {
    // SAFETY: that the message and its bytes are there is part of what is tested.
    let (it, data) =
        unsafe { (&*message, std::slice::from_raw_parts((*message).data.cast::<u8>(), (*message).len as usize)) };
    assert_eq!(it.struct_size as usize, size_of::<CRVideo_RtmMessage>());
    let (source, task, attrs) = (show(it.source), show(it.task_id), show(it.attrs));
    let numbers = [it.from, it.mid, it.mtime_ms, it.place, it.kind.into(), it.mtype.into()];
    note(user, format!("{source} {task} {attrs} {numbers:?} {data:?}"));
}

/// Hears of every event but those of `released`.
fn all(lines: &Lines) -> Table {
    let user: *mut c_void = (&raw const *lines).cast_mut().cast();
    let (rslt, send) = (Slot::<CRVideo_RsltCallback>::new(Some(on_rslt), user), Some(on_send as _));
    Table {
        login_rslt: rslt,
        logout_rslt: rslt,
        line_off: Slot::new(Some(on_line_off), user),
        line_on: Slot::new(Some(on_notice), user),
        token_will_expire: Slot::new(Some(on_notice), user),
        send_cmd_rlst: Slot::new(send, user),
        send_buffer_rlst: Slot::new(send, user),
        send_file_rlst: Slot::new(Some(on_send_file), user),
        send_progress: Slot::new(Some(on_send_progress), user),
        cancel_send_rlst: Slot::new(send, user),
        notify_cmd_data: Slot::new(Some(on_data), user),
        notify_buffer_data: Slot::new(Some(on_data), user),
        notify_file_data: Slot::new(Some(on_file), user),
        notify_cancel_send: Slot::new(Some(on_cancel), user),
        transfer_offer: Slot::new(Some(on_offer), user),
        receive_progress: Slot::new(Some(on_receive), user),
        notify_rtm_message: Slot::new(Some(on_rtm), user),
        user_status: Slot::new(Some(on_status), user),
        user_status_rslt: Slot::new(Some(on_statuses), user),
        status_push_rslt: rslt,
        released: Slot::default(),
    }
}

const ID: &str = "00112233-4455-6677-8899-aabbccddeeff";

/// Each event, and the line that it must make.
fn events() -> Vec<(Event, String)> {
    let task = TaskId::parse(ID).unwrap();
    let (source, cookie): (Arc<str>, _) = ("ann".into(), 77);
    let path = Arc::new("/a/ü".into());
    let kind = TransferKind::File;
    let data = Bytes::from_static(&[0, 1, 255]);
    let name = "名.txt".to_owned();
    let users = vec!["ann".to_owned(), "bob".to_owned()];
    vec![
        (Event::LoginRslt { err: 7, cookie }, "rslt 7 77".into()),
        (Event::LogoutRslt { err: 0, cookie: usize::MAX }, format!("rslt 0 {}", usize::MAX)),
        (Event::LineOff { err: 207 }, "off 207".into()),
        (Event::LineOn, "notice".into()),
        (Event::TokenWillExpire, "notice".into()),
        (Event::SendCmdRlst { task, err: 0, cookie }, format!("{ID} 0 77")),
        (Event::SendBufferRlst { task, err: 1107, cookie: 0 }, format!("{ID} 1107 0")),
        (Event::SendFileRlst { task, path, err: 0, cookie }, format!("{ID} /a/ü 0 77")),
        (Event::SendProgress { task, sent: 5, total: u64::MAX, cookie }, format!("{ID} 5/{} 77", u64::MAX)),
        (Event::CancelSendRlst { task, err: 1104, cookie }, format!("{ID} 1104 77")),
        (Event::NotifyCmdData { source: source.clone(), task, data }, format!("ann {ID} [0, 1, 255]")),
        (Event::NotifyBufferData { source: source.clone(), task, data: Bytes::new() }, format!("ann {ID} []")),
        (
            Event::NotifyFileData { source: source.clone(), task, path: "/t/x".into(), name: name.clone() },
            format!("ann {ID} /t/x 名.txt"),
        ),
        (Event::NotifyCancelSend { source: source.clone(), task, err: 1105 }, format!("ann {ID} 1105")),
        (Event::TransferOffer { source: source.clone(), task, kind, name, size: 9 }, format!("ann {ID} 2 名.txt 9")),
        (Event::ReceiveProgress { source, task, received: 1, total: 2 }, format!("ann {ID} 1/2")),
        (
            Event::NotifyRtmMessage {
                message: Box::new(Rtm {
                    id: task,
                    from: -7,
                    kind: 2,
                    place: 9,
                    mid: 1,
                    mtype: 50,
                    mtime: 3,
                    attrs: "{}".to_owned(),
                    data: Bytes::from_static(&[7]),
                }),
            },
            format!("-7 {ID} {{}} [-7, 1, 3, 9, 2, 50] [7]"),
        ),
        (Event::UserStatus { user: "bob".to_owned(), online: true }, "bob 1".into()),
        (Event::UserStatus { user: "bob".to_owned(), online: false }, "bob 0".into()),
        (Event::UserStatusRslt { err: 0, users, cookie }, r#"0 ["ann", "bob"] 77"#.into()),
        (Event::UserStatusRslt { err: 12, users: Vec::new(), cookie }, "12 [] 77".into()),
        (Event::StatusPushRslt { err: 0, cookie }, "rslt 0 77".into()),
    ]
}

#[test]
fn each_event_reaches_its_function_with_all_that_it_carries() {
    let lines = Lines::default();
    let callbacks = Callbacks { table: RwLock::new(all(&lines)) };
    for (event, line) in events() {
        assert!(callbacks.handle(1, &event));
        assert_eq!(*lines.lock().unwrap(), [line], "{event:?}");
        lines.lock().unwrap().clear();
    }
}

#[test]
fn without_functions_every_event_is_dropped() {
    let callbacks = Callbacks::default();
    for (event, _) in events() {
        assert!(!callbacks.handle(1, &event), "nobody has heard {event:?}");
    }
}

#[test]
fn offers_and_receive_progress_are_wanted_as_long_as_they_have_a_function() {
    let lines = Lines::default();
    let callbacks = Callbacks::default();
    assert!(!callbacks.wants_offers() && !callbacks.wants_receive_progress());
    *callbacks.table.write().unwrap() = all(&lines);
    assert!(callbacks.wants_offers() && callbacks.wants_receive_progress());
}

unsafe extern "C-unwind" fn unset_self(user: *mut c_void) {
    // SAFETY: the test below passes its Callbacks.
    let callbacks = unsafe { &*user.cast::<Callbacks>() };
    callbacks.table.write().unwrap().line_on = Slot::default();
}

#[test]
fn no_lock_is_held_while_a_function_runs() {
    let callbacks = Callbacks::default();
    let user: *mut c_void = (&raw const callbacks).cast_mut().cast();
    callbacks.table.write().unwrap().line_on = Slot::new(Some(unset_self), user);
    callbacks.handle(1, &Event::LineOn);
    assert!(callbacks.table().line_on.callback.is_none());
}

#[test]
fn the_released_function_is_called_once() {
    let lines = Lines::default();
    let released = Slot::<CRVideo_NoticeCallback>::new(Some(on_notice), (&raw const lines).cast_mut().cast());
    let table = Table { released, ..Table::default() };
    let callbacks: Arc<dyn EventHandler> = Arc::new(Callbacks { table: RwLock::new(table) });
    assert!(lines.lock().unwrap().is_empty());
    callbacks.released();
    callbacks.released();
    assert_eq!(*lines.lock().unwrap(), ["notice"]);
}

#[test]
fn a_text_with_a_nul_inside_ends_there() {
    assert_eq!(c_text(b"abc\0def").as_bytes(), b"abc");
    assert_eq!(c_text(b"\0").as_bytes(), b"");
    assert_eq!(c_text(b"").as_bytes(), b"");
}
