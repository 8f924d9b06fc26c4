//! A panic anywhere inside the library: the host goes on, every task has one end, and all works afterwards.

use std::ffi::{c_char, c_int, c_void};
use std::path::Path;
use std::ptr::{null, null_mut};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crvideo_proto::code;
use crvideo_relay::BlockingRelay;

use super::events::*;
use super::log::{CRVIDEO_LOG_OFF, CRVideo_SetLogCallback};
use super::presence::*;
use super::queue::*;
use super::receive::*;
use super::send::*;
use super::session::*;
use crate::client::{ServerAddress, fault, rtm};

/// Those that the scenario passes. One that it does not pass fails the test.
const SITES: [&str; 37] = [
    "create_queue",
    "destroy_queue",
    "poll_events",
    "queue_fd",
    "set_wake",
    "create_session",
    "change_handler",
    "destroy_session",
    "login",
    "logout",
    "update_token",
    "send_cmd",
    "send_buffer",
    "send_file",
    "cancel_send",
    "accept_transfer",
    "refuse_transfer",
    "cancel_receive",
    "get_user_status",
    "set_status_push",
    "set_log",
    "io: a turn",
    "io: an order",
    "io: a session's order",
    "io: a socket",
    "io: a read",
    "io: connecting",
    "io: driving a session",
    "io: an output",
    "io: a result",
    "io: something that comes in",
    "opening a sink",
    "writing to a sink",
    "finishing a sink",
    "completing a file",
    "reading a source",
    "after a callback",
];
/// One more, which a call of an RTM client passes.
const END_OF_A_CALL: &str = "io: the end of a call";
const PATIENCE: Duration = Duration::from_secs(60);
const TASK: *const c_char = c"0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0f9".as_ptr();

/// By cookie: how many results there were, and the last one.
static RESULTS: Mutex<Vec<(u32, c_int)>> = Mutex::new(Vec::new());

fn results() -> std::sync::MutexGuard<'static, Vec<(u32, c_int)>> {
    RESULTS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn count(err: c_int, cookie: *mut c_void) {
    let mut results = results();
    let result = &mut results[cookie as usize];
    *result = (result.0 + 1, err);
}

unsafe extern "C-unwind" fn on_rslt(_: *mut c_void, err: c_int, cookie: *mut c_void) {
    count(err, cookie);
}
unsafe extern "C-unwind" fn on_sent(_: *mut c_void, _: *const c_char, err: c_int, cookie: *mut c_void) {
    count(err, cookie);
}
unsafe extern "C-unwind" fn on_file(
    _: *mut c_void,
    _: *const c_char,
    _: *const c_char,
    err: c_int,
    cookie: *mut c_void,
) {
    count(err, cookie);
}
unsafe extern "C-unwind" fn on_users(
    _: *mut c_void,
    err: c_int,
    _: *const *const c_char,
    _: usize,
    cookie: *mut c_void,
) {
    count(err, cookie);
}

/// A call whose result comes by a cookie: the cookie, if it was accepted. A call that has met the fault is made again.
fn asked(call: impl Fn(*mut c_void) -> c_int) -> Option<usize> {
    let cookie = results().len();
    results().push((0, 0));
    let err = plain(|| call(cookie as *mut c_void));
    (err == code::NOERR).then_some(cookie)
}

fn plain(mut call: impl FnMut() -> c_int) -> c_int {
    let err = call();
    if err != code::INNER_ERR {
        return err;
    }
    let again = call();
    assert_ne!(again, code::INNER_ERR, "the fault has gone off, but the call still fails");
    again
}

fn outcome(cookie: usize) -> c_int {
    let until = Instant::now() + PATIENCE;
    while results()[cookie].0 == 0 {
        assert!(Instant::now() < until, "task {cookie} does not end");
        std::thread::sleep(Duration::from_millis(1));
    }
    results()[cookie].1
}

fn session() -> CRVideo_Session {
    let mut session = 0;
    // SAFETY: any bytes are valid in it.
    let mut config: CRVideo_Config = unsafe { std::mem::zeroed() };
    // SAFETY: one configuration.
    unsafe { CRVideo_ConfigInitSized(&mut config, size_of::<CRVideo_Config>()) };
    (config.cmd_timeout_ms, config.transfer_timeout_ms) = (1_000, 1_000);
    // SAFETY: the pointers are to a configuration and a number that live through the call.
    assert_eq!(plain(|| unsafe { CRVideo_Create(&config, &mut session) }), code::NOERR);
    let none = null_mut();
    // SAFETY: the functions use nothing but their arguments.
    unsafe {
        assert_eq!(plain(|| CRVideo_SetLoginRsltCallback(session, Some(on_rslt), none)), code::NOERR);
        assert_eq!(plain(|| CRVideo_SetLogoutRsltCallback(session, Some(on_rslt), none)), code::NOERR);
        assert_eq!(plain(|| CRVideo_SetSendCmdRlstCallback(session, Some(on_sent), none)), code::NOERR);
        assert_eq!(plain(|| CRVideo_SetSendBufferRlstCallback(session, Some(on_sent), none)), code::NOERR);
        assert_eq!(plain(|| CRVideo_SetSendFileRlstCallback(session, Some(on_file), none)), code::NOERR);
        assert_eq!(plain(|| CRVideo_SetCancelSendRlstCallback(session, Some(on_sent), none)), code::NOERR);
        assert_eq!(plain(|| CRVideo_SetUserStatusRsltCallback(session, Some(on_users), none)), code::NOERR);
        assert_eq!(plain(|| CRVideo_SetStatusPushRsltCallback(session, Some(on_rslt), none)), code::NOERR);
    }
    session
}

/// Uses what there is; the outcomes of what was accepted, in order.
fn scenario(info: &CRVideo_LoginInfo, file: &Path) -> Vec<c_int> {
    let file = std::ffi::CString::new(file.to_str().unwrap()).unwrap();
    let (bob, mut queue, mut fd) = (c"bob".as_ptr(), 0, 0);
    let alice = session();
    // SAFETY: all pointers of this test are to texts, structs and numbers that live through the calls.
    unsafe {
        assert_eq!(plain(|| CRVideo_CreateQueue(&mut queue)), code::NOERR);
        assert_eq!(plain(|| CRVideo_GetQueueFd(queue, &mut fd)), code::NOERR);
        assert_eq!(plain(|| CRVideo_SetWakeCallback(queue, None, null_mut())), code::NOERR);
        assert_eq!(plain(|| CRVideo_PollEvents(queue, 0, null_mut())), code::NOERR);
        assert_eq!(plain(|| CRVideo_DestroyQueue(queue)), code::NOERR);
        let mut tasks = Vec::new();
        let mut logged_in = false;
        for _ in 0..3 {
            let login = asked(|cookie| CRVideo_Login(alice, info, cookie)).expect("a login is accepted");
            logged_in = outcome(login) == code::NOERR;
            tasks.push(login);
            if logged_in {
                break;
            }
        }
        assert!(logged_in);
        plain(|| CRVideo_UpdateToken(alice, c"no token".as_ptr()));
        tasks.extend(asked(|cookie| CRVideo_SendCmd(alice, bob, c"x".as_ptr().cast(), 1, null(), cookie, null_mut())));
        let content = vec![7u8; 600_000];
        let data = content.as_ptr().cast();
        tasks.extend(asked(|cookie| CRVideo_SendBuffer(alice, bob, data, content.len(), null(), cookie, null_mut())));
        tasks.extend(asked(|cookie| CRVideo_SendFile(alice, bob, file.as_ptr(), null(), cookie, null_mut())));
        tasks.extend(asked(|cookie| CRVideo_CancelSend(alice, TASK, cookie)));
        tasks.extend(asked(|cookie| CRVideo_GetUserStatus(alice, null(), cookie)));
        tasks.extend(asked(|cookie| CRVideo_StartUserStatusPush(alice, cookie)));
        for call in [CRVideo_RefuseTransfer, CRVideo_CancelReceive] {
            assert_eq!(plain(|| call(alice, bob, TASK)), code::TRANSID_INVALID);
        }
        assert_eq!(plain(|| CRVideo_SetLogCallback(0, CRVIDEO_LOG_OFF, None, null_mut())), code::NOERR);
        assert_eq!(plain(|| CRVideo_AcceptTransfer(alice, bob, TASK, null())), code::TRANSID_INVALID);
        let outcomes = tasks.iter().map(|task| outcome(*task)).collect();
        tasks.extend(asked(|cookie| CRVideo_Logout(alice, cookie)));
        assert_eq!(plain(|| CRVideo_Destroy(alice)), code::NOERR);
        for task in tasks {
            assert_eq!(results()[task].0, 1, "task {task} has not one result");
        }
        outcomes
    }
}

#[test]
fn every_place_that_can_be_armed_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/client");
    let mut places = Vec::new();
    for file in ["", "io", "rtm", "tls"].iter().flat_map(|dir| std::fs::read_dir(root.join(dir)).unwrap()) {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let source = std::fs::read_to_string(path).unwrap();
            let calls = source.split("fault::point(\"").skip(1);
            places.extend(calls.map(|rest| rest.split('"').next().unwrap().to_owned()));
        }
    }
    let mut armed: Vec<&str> = SITES.into_iter().chain([END_OF_A_CALL]).collect();
    places.sort_unstable();
    armed.sort_unstable();
    assert_eq!(places, armed);
}

#[test]
fn a_panic_anywhere_leaves_the_host_alive_and_each_task_with_one_end() {
    let relay = BlockingRelay::start_dev().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, vec![7; 600_000]).unwrap();
    let [servers, secret] =
        [relay.address().to_string(), relay.secret().to_owned()].map(|text| std::ffi::CString::new(text).unwrap());
    // SAFETY: any bytes are valid in it.
    let mut info: CRVideo_LoginInfo = unsafe { std::mem::zeroed() };
    // SAFETY: one struct.
    unsafe { CRVideo_LoginInfoInitSized(&mut info, size_of::<CRVideo_LoginInfo>()) };
    info.project = relay.project() as i32;
    (info.servers, info.secret, info.user_id) = (servers.as_ptr(), secret.as_ptr(), c"bob".as_ptr());
    for site in SITES {
        fault::arm(Some(site));
        // Timers are what ends a task that nothing else ends.
        scenario(&info, &file);
        assert_eq!(fault::arm(None), None, "the scenario does not pass {site}");
    }
    let mut outcomes = scenario(&info, &file);
    assert_eq!(outcomes.len(), 7);
    assert_eq!(outcomes.remove(4), code::TRANSID_INVALID, "there is nothing to cancel");
    assert_eq!(outcomes, [code::NOERR; 6]);
    a_call_ends_whatever_happens_to_its_end(&relay);
}

struct Deaf;

impl rtm::Handler for Deaf {
    fn handle(&self, _: u64, _: &rtm::Event) {}
}

/// A part of the test above, because only one fault can be armed at a time.
fn a_call_ends_whatever_happens_to_its_end(relay: &BlockingRelay) {
    let gate = relay.rtm_address().unwrap();
    let config = rtm::Config {
        queue: 0,
        project: relay.project(),
        secret: relay.secret().to_owned(),
        servers: vec![ServerAddress { host: gate.ip().to_string(), port: gate.port() }],
        timeout: rtm::DEFAULT_TIMEOUT,
    };
    let client = rtm::create(config, std::sync::Arc::new(Deaf)).unwrap();
    let call = || {
        let (sender, ended) = std::sync::mpsc::channel();
        let action = rtm::Action::FileToken { from: 7, target: rtm::Target::User(2) };
        let callback: rtm::Callback = Box::new(move |done| {
            let _ = sender.send(done.outcome.as_ref().map(|_| ()).map_err(|failure| failure.code));
        });
        assert!(rtm::call(client, action, rtm::CallOptions::default(), Some(callback)).unwrap().is_none());
        ended.recv_timeout(PATIENCE).expect("the call ends")
    };
    assert_eq!(call(), Ok(()));
    fault::arm(Some(END_OF_A_CALL));
    assert_eq!(call(), Err(code::INNER_ERR));
    assert_eq!(fault::arm(None), None);
    assert_eq!(call(), Ok(()));
    rtm::destroy(client).unwrap();
}
