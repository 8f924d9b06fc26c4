//! What the C boundary calls. Nothing in here names a C type.
//!
//! Functions take handles (64-bit ids) and return the contract's codes. They are safe to call from any thread,
//! event handlers included.

mod config;
mod event;
pub(crate) mod fault;
mod io;
mod life;
mod logging;
#[cfg(feature = "micro")]
pub mod micro;
mod names;
mod numbers;
mod pool;
mod private_dir;
mod queue;
mod quota;
mod registry;
pub mod rtm;
mod session;
mod sink;
mod sleep;
mod source;
mod tls;

pub use config::{
    Credential, DEFAULT_BUFFER_LIMIT, DEFAULT_INBOUND_LIMIT, DEFAULT_OUTBOUND_LIMIT, DEFAULT_TASK_LIMIT, LoginInfo,
    MAX_COMMAND, SendOptions, ServerAddress, SessionConfig, TlsMode, TlsSettings,
};
pub use event::{Event, EventHandler, TransferKind};
pub use logging::Sink as LogSink;

/// What `sleep.rs` is made of here; its model in `tests/sleep_model.rs` gives it others.
mod primitives {
    pub use std::sync::atomic::{AtomicBool, Ordering};
    pub use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
    pub use std::time::Duration;
}

use std::any::Any;
use std::cell::RefCell;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crvideo_proto::code;
use crvideo_proto::id::{TaskId, is_user_id};
use crvideo_proto::session::{self as proto, CommandCall, Identity, Kind, TransferCall};
use once_cell::sync::OnceCell;

use io::{Login, Order, give};
use queue::EventQueue;
use registry::{Kind as HandleKind, QUEUES, SESSIONS, new_handle};
use session::{Shared, Stage};
use source::Source;

/// A code of the contract other than 0.
pub type Code = i32;

// ---- queues ---------------------------------------------------------------------------------------------------

/// The library's own queue; its callback thread starts with its first user.
fn own_queue() -> Result<Arc<EventQueue>, Code> {
    static OWN: OnceCell<Arc<EventQueue>> = OnceCell::new();
    let queue = OWN.get_or_try_init(|| {
        let queue = Arc::new(EventQueue::new(false)?);
        let served = queue.clone();
        crate::sys::spawn_quiet("crvideo-callback", move || {
            crate::sys::be_prompt();
            served.serve();
        })?;
        Ok(queue)
    });
    queue.cloned().map_err(|error: std::io::Error| {
        log::error!("cannot start the callback thread: {error}");
        code::NETWORK_INITFAILED
    })
}

fn queue_of(handle: u64) -> Result<Arc<EventQueue>, Code> {
    if handle == 0 { own_queue() } else { QUEUES.get(handle) }
}

/// Creates an event queue for polling.
pub fn create_queue() -> Result<u64, Code> {
    fault::point("create_queue");
    let handle = new_handle(HandleKind::Queue);
    let queue = EventQueue::new(true).map_err(|error| {
        log::error!("cannot make an event queue: {error}");
        code::NETWORK_INITFAILED
    })?;
    QUEUES.insert(handle, Arc::new(queue));
    Ok(handle)
}

/// Ends a queue; 9 while a session or the log is attached, or while it is being polled.
pub fn destroy_queue(queue: u64) -> Result<(), Code> {
    fault::point("destroy_queue");
    if !QUEUES.get(queue)?.is_free() {
        return Err(code::LOGINSTATE_ERROR);
    }
    QUEUES.remove(queue).map(drop)
}

/// Handles what waits on a queue; waits for the first event up to `timeout` (`None` = for ever). Returns how many.
pub fn poll_events(queue: u64, timeout: Option<Duration>) -> Result<u32, Code> {
    fault::point("poll_events");
    QUEUES.get(queue)?.poll(timeout)
}

/// The descriptor that is readable exactly while events wait.
pub fn queue_fd(queue: u64) -> Result<isize, Code> {
    fault::point("queue_fd");
    let descriptor = QUEUES.get(queue)?.descriptor().ok_or(code::INNER_ERR)?;
    isize::try_from(descriptor).map_err(|_| code::INNER_ERR)
}

/// Sets the function that is called (on any thread) when a queue becomes non-empty. It may only say "wake up".
pub fn set_wake(queue: u64, wake: Option<Box<dyn Fn() + Send + Sync>>) -> Result<(), Code> {
    fault::point("set_wake");
    QUEUES.get(queue)?.set_wake(wake);
    Ok(())
}

// ---- a session's life -----------------------------------------------------------------------------------------

/// Creates a session. `config.queue` 0 is the library's own queue with its callback thread.
pub fn create_session(config: SessionConfig, handler: Arc<dyn EventHandler>) -> Result<u64, Code> {
    fault::point("create_session");
    let queue = queue_of(config.queue)?;
    io::start()?;
    if let Some(dir) = config.download_dir.as_deref().filter(|dir| !dir.is_dir()) {
        log::warn!("the download directory {} does not exist", dir.display());
        return Err(code::PARAM_ERR);
    }
    let mut session_id = [0u8; 16];
    getrandom::fill(&mut session_id).map_err(|_| code::INNER_ERR)?;
    let handle = new_handle(HandleKind::Session);
    queue.attach();
    let shared = Arc::new(Shared::new(handle, config, queue, handler));
    SESSIONS.insert(handle, shared.clone());
    give(Order::Attach(shared, session_id));
    Ok(handle)
}

/// Runs `change` on the handler given at creation, and returns when no event of the session is being handled on
/// another thread by what was there before.
pub fn change_handler(session: u64, change: impl FnOnce(&dyn Any)) -> Result<(), Code> {
    fault::point("change_handler");
    let shared = SESSIONS.get(session)?;
    let handler: &dyn EventHandler = &**shared.handler();
    let wants = || (handler.wants_offers(), handler.wants_receive_progress());
    let before = wants();
    change(handler);
    let (offers, progress) = wants();
    if before != (offers, progress) {
        shared.give(Order::Wants(session, offers, progress))?;
    }
    shared.queue().wait_for_callback(session);
    Ok(())
}

/// Ends a session. Inside a callback it returns at once and the terminal events follow; elsewhere it returns when
/// they have been handled.
pub fn destroy_session(session: u64) -> Result<(), Code> {
    fault::point("destroy_session");
    let shared = SESSIONS.remove(session)?;
    shared.destroy();
    if !queue::inside_callback() {
        shared.queue().finish(&shared);
    }
    Ok(())
}

/// Logs in; `Event::LoginRslt` follows.
pub fn login(session: u64, info: LoginInfo, cookie: usize) -> Result<(), Code> {
    fault::point("login");
    let shared = SESSIONS.get(session)?;
    if info.servers.is_empty() || !is_user_id(&info.user) {
        return Err(code::PARAM_ERR);
    }
    if info.servers.iter().any(|server| server.host.parse::<IpAddr>().is_err()) {
        names::ready()?;
    }
    let mut credential = info.credential;
    let credential = match &mut credential {
        Credential::Token(token) => proto::Credential::Token(std::mem::take(token)),
        Credential::Secret(secret) => proto::Credential::Secret(std::mem::take(secret)),
    };
    let identity = Identity { servers: info.servers.len(), project: info.project, user: info.user, credential };
    let login = Login { identity, servers: info.servers, tls: info.tls };
    let order = Order::Login(session, Box::new(login), cookie);
    shared.enter(&[Stage::Out], Stage::Entering, code::LOGINSTATE_ERROR, order)
}

/// Logs out; `Event::LogoutRslt` follows.
pub fn logout(session: u64, cookie: usize) -> Result<(), Code> {
    fault::point("logout");
    let shared = SESSIONS.get(session)?;
    let order = Order::Logout(session, cookie);
    shared.enter(&[Stage::In, Stage::Entering], Stage::Leaving, code::NOT_LOGIN, order)
}

/// Replaces the session's token.
pub fn update_token(session: u64, token: &str) -> Result<(), Code> {
    fault::point("update_token");
    let shared = SESSIONS.get(session)?;
    shared.must_be_in()?;
    shared.give(Order::Token(session, token.to_owned()))
}

// ---- sending --------------------------------------------------------------------------------------------------

/// The largest buffer that a session sends.
pub fn buffer_limit(session: u64) -> Result<u64, Code> {
    Ok(SESSIONS.get(session)?.config().buffer_limit)
}

/// Ids that a thread makes of the random bytes of one system call.
const IDS_AT_ONCE: usize = 32;

thread_local! {
    /// Random bytes for this thread's next ids, and how many ids they are good for. A forked child never uses them,
    /// because every call of a child's is refused.
    static RANDOM: RefCell<([[u8; 16]; IDS_AT_ONCE], usize)> = const { RefCell::new(([[0; 16]; IDS_AT_ONCE], 0)) };
}

fn new_task_id() -> Result<TaskId, Code> {
    RANDOM.with_borrow_mut(|(random, left)| {
        if *left == 0 {
            getrandom::fill(random.as_flattened_mut()).map_err(|_| code::INNER_ERR)?;
            *left = IDS_AT_ONCE;
        }
        *left -= 1;
        random.get(*left).copied().map(TaskId::random).ok_or(code::INNER_ERR)
    })
}

/// A copy of the caller's bytes; 2 when there is no memory for it.
fn copy(data: &[u8]) -> Result<Bytes, Code> {
    let mut copy = Vec::new();
    copy.try_reserve_exact(data.len()).map_err(|_| code::OUTOF_MEM)?;
    copy.extend_from_slice(data);
    Ok(Bytes::from(copy))
}

/// Sends a command. The caller has checked `target` and the length of `data`.
pub fn send_cmd(session: u64, target: &str, data: &[u8], options: SendOptions, cookie: usize) -> Result<TaskId, Code> {
    fault::point("send_cmd");
    let shared = SESSIONS.get(session)?;
    shared.must_be_in()?;
    shared.reserve(data.len() as u64)?;
    let accept = || -> Result<CommandCall, Code> {
        let chosen = options.task.is_some();
        let task = options.task.map_or_else(new_task_id, Ok)?;
        let data = copy(data)?;
        if chosen {
            shared.begin(task)?;
        }
        Ok(CommandCall { target: shared.target(target), task, chosen, data, timeout: options.timeout, cookie })
    };
    let call = accept().inspect_err(|_| shared.release(data.len() as u64))?;
    let task = call.task;
    shared.give(Order::Command(session, call))?;
    Ok(task)
}

/// Sends a buffer; its limit is the session's (1101).
pub fn send_buffer(
    session: u64,
    target: &str,
    data: &[u8],
    options: SendOptions,
    cookie: usize,
) -> Result<TaskId, Code> {
    fault::point("send_buffer");
    let shared = SESSIONS.get(session)?;
    if data.len() as u64 > shared.config().buffer_limit {
        return Err(code::SENDBUFFER_LARGE);
    }
    shared.must_be_in()?;
    // A buffer is charged whole before it is copied.
    let source = || copy(data).map(Source::memory);
    let name = options.display_name.clone().unwrap_or_default();
    let transfer = Transfer { kind: Kind::Buffer, name, path: None, charge: data.len() as u64 };
    send_transfer(session, &shared, target, options, cookie, transfer, source)
}

/// Sends a file. `path` is also what the result event repeats.
pub fn send_file(session: u64, target: &str, path: &Path, options: SendOptions, cookie: usize) -> Result<TaskId, Code> {
    fault::point("send_file");
    let shared = SESSIONS.get(session)?;
    shared.must_be_in()?;
    let shown = path.file_name().and_then(std::ffi::OsStr::to_str).unwrap_or("file");
    let name = options.display_name.clone().unwrap_or_else(|| shown.to_owned());
    let transfer = Transfer { kind: Kind::File, name, path: Some(Arc::new(path.to_owned())), charge: 0 };
    send_transfer(session, &shared, target, options, cookie, transfer, || Source::file(path))
}

/// What buffers and files differ in.
struct Transfer {
    kind: Kind,
    name: String,
    path: Option<Arc<PathBuf>>,
    charge: u64,
}

fn send_transfer(
    session: u64,
    shared: &Shared,
    target: &str,
    options: SendOptions,
    cookie: usize,
    transfer: Transfer,
    source: impl FnOnce() -> Result<Arc<Source>, Code>,
) -> Result<TaskId, Code> {
    let Transfer { kind, name, path, charge } = transfer;
    shared.reserve(charge)?;
    let accept = || -> Result<_, Code> {
        let source = source()?;
        let task = options.task.map_or_else(new_task_id, Ok)?;
        shared.begin(task)?;
        Ok((source, task))
    };
    let (source, task) = accept().inspect_err(|_| shared.release(charge))?;
    let size = source.size();
    let call = TransferCall { target: shared.target(target), task, kind, name, size, timeout: options.timeout, cookie };
    shared.give(Order::Transfer(session, Box::new(call), source, path))?;
    Ok(task)
}

/// Cancels a buffer or file; `Event::CancelSendRlst` follows.
pub fn cancel_send(session: u64, task: TaskId, cookie: usize) -> Result<(), Code> {
    fault::point("cancel_send");
    let shared = SESSIONS.get(session)?;
    shared.must_be_in()?;
    shared.reserve(0)?;
    shared.give(Order::Cancel(session, task, cookie))
}

// ---- receiving ------------------------------------------------------------------------------------------------

/// Accepts an offer, to a temporary file or straight to `path`. 1104 when no such offer is open.
pub fn accept_transfer(session: u64, source: &str, task: TaskId, path: Option<PathBuf>) -> Result<(), Code> {
    fault::point("accept_transfer");
    let (shared, source) = (SESSIONS.get(session)?, Arc::from(source));
    shared.decide(&source, task)?;
    shared.give(Order::Accept(session, source, task, path))
}

/// Refuses an offer. 1104 when no such offer is open.
pub fn refuse_transfer(session: u64, source: &str, task: TaskId) -> Result<(), Code> {
    fault::point("refuse_transfer");
    let (shared, source) = (SESSIONS.get(session)?, Arc::from(source));
    shared.decide(&source, task)?;
    shared.give(Order::Refuse(session, source, task))
}

/// Cancels a transfer that is coming in. 1104 when there is none that the application has heard of.
pub fn cancel_receive(session: u64, source: &str, task: TaskId) -> Result<(), Code> {
    fault::point("cancel_receive");
    let (shared, source) = (SESSIONS.get(session)?, Arc::from(source));
    shared.must_be_incoming(&source, task)?;
    shared.give(Order::CancelReceive(session, source, task))
}

// ---- presence and log -----------------------------------------------------------------------------------------

/// Asks whether a user is online, or (`None`) who is; `Event::UserStatusRslt` follows.
pub fn get_user_status(session: u64, user: Option<&str>, cookie: usize) -> Result<(), Code> {
    fault::point("get_user_status");
    let shared = SESSIONS.get(session)?;
    shared.must_be_in()?;
    shared.reserve(0)?;
    shared.give(Order::Users(session, user.map(str::to_owned), cookie))
}

/// Switches `Event::UserStatus` on or off; `Event::StatusPushRslt` follows.
pub fn set_status_push(session: u64, on: bool, cookie: usize) -> Result<(), Code> {
    fault::point("set_status_push");
    let shared = SESSIONS.get(session)?;
    shared.must_be_in()?;
    shared.reserve(0)?;
    shared.give(Order::Watch(session, on, cookie))
}

/// Sends log lines up to `level` (1 error … 5 trace, 0 off) to `sink`, called where `queue`'s events are handled.
pub fn set_log(queue: u64, level: u8, sink: Option<LogSink>) -> Result<(), Code> {
    fault::point("set_log");
    logging::set(queue_of(queue)?, level, sink)
}
