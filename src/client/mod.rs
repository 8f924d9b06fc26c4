//! What the C boundary calls. Nothing in here names a C type.
//!
//! Functions take handles (64-bit ids) and return the contract's codes. They are safe to call from any thread,
//! event handlers included.

mod config;
mod event;

pub use config::{
    Credential, DEFAULT_BUFFER_LIMIT, DEFAULT_INBOUND_LIMIT, DEFAULT_OUTBOUND_LIMIT, DEFAULT_TASK_LIMIT, LoginInfo,
    MAX_COMMAND, SendOptions, ServerAddress, SessionConfig,
};
pub use event::{Event, EventHandler, TransferKind};

use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crvideo_proto::code;
use crvideo_proto::id::TaskId;

/// A code of the contract other than 0.
pub type Code = i32;

/// Creates an event queue for polling.
pub fn create_queue() -> Result<u64, Code> {
    Err(code::INNER_ERR)
}
/// Ends a queue; 9 while a session or the log is attached, or from inside one of its callbacks.
pub fn destroy_queue(queue: u64) -> Result<(), Code> {
    Err(code::INNER_ERR)
}
/// Handles what waits on a queue; waits for the first event up to `timeout` (`None` = for ever). Returns how many.
pub fn poll_events(queue: u64, timeout: Option<Duration>) -> Result<u32, Code> {
    Err(code::INNER_ERR)
}
/// The descriptor that is readable exactly while events wait.
pub fn queue_fd(queue: u64) -> Result<isize, Code> {
    Err(code::INNER_ERR)
}
/// Sets the function that is called (on any thread) when a queue becomes non-empty. It may only say "wake up".
pub fn set_wake(queue: u64, wake: Option<Box<dyn Fn() + Send + Sync>>) -> Result<(), Code> {
    Err(code::INNER_ERR)
}

/// Creates a session. `config.queue` 0 is the library's own queue with its callback thread.
pub fn create_session(config: SessionConfig, handler: Arc<dyn EventHandler>) -> Result<u64, Code> {
    Err(code::INNER_ERR)
}
/// The handler given at creation, for the boundary to change its callbacks.
pub fn handler(session: u64) -> Result<Arc<dyn EventHandler>, Code> {
    Err(code::INNER_ERR)
}
/// Runs `change`, and returns when no event of the session is being handled on another thread with what was before.
pub fn change_handler(session: u64, change: impl FnOnce(&dyn Any)) -> Result<(), Code> {
    Err(code::INNER_ERR)
}
/// Ends a session; see the contract for what happens where.
pub fn destroy_session(session: u64) -> Result<(), Code> {
    Err(code::INNER_ERR)
}
/// Logs in; `Event::LoginRslt` follows.
pub fn login(session: u64, info: LoginInfo, cookie: usize) -> Result<(), Code> {
    Err(code::INNER_ERR)
}
/// Logs out; `Event::LogoutRslt` follows.
pub fn logout(session: u64, cookie: usize) -> Result<(), Code> {
    Err(code::INNER_ERR)
}
/// Replaces the session's token.
pub fn update_token(session: u64, token: &str) -> Result<(), Code> {
    Err(code::INNER_ERR)
}

/// Sends a command. The caller has checked `target` and the length of `data`.
pub fn send_cmd(session: u64, target: &str, data: &[u8], options: SendOptions, cookie: usize) -> Result<TaskId, Code> {
    Err(code::INNER_ERR)
}
/// Sends a buffer; its limit is the session's (1101).
pub fn send_buffer(
    session: u64,
    target: &str,
    data: &[u8],
    options: SendOptions,
    cookie: usize,
) -> Result<TaskId, Code> {
    Err(code::INNER_ERR)
}
/// Sends a file. `path` is also what the result event repeats.
pub fn send_file(session: u64, target: &str, path: &Path, options: SendOptions, cookie: usize) -> Result<TaskId, Code> {
    Err(code::INNER_ERR)
}
/// Cancels a buffer or file; `Event::CancelSendRlst` follows.
pub fn cancel_send(session: u64, task: TaskId, cookie: usize) -> Result<(), Code> {
    Err(code::INNER_ERR)
}
/// Accepts an offer, to a temporary file or straight to `path`. 1104 when no such offer is open.
pub fn accept_transfer(session: u64, source: &str, task: TaskId, path: Option<PathBuf>) -> Result<(), Code> {
    Err(code::INNER_ERR)
}
/// Refuses an offer. 1104 when no such offer is open.
pub fn refuse_transfer(session: u64, source: &str, task: TaskId) -> Result<(), Code> {
    Err(code::INNER_ERR)
}
/// Cancels a transfer that is coming in.
pub fn cancel_receive(session: u64, source: &str, task: TaskId) -> Result<(), Code> {
    Err(code::INNER_ERR)
}
/// Asks whether a user is online, or (`None`) who is; `Event::UserStatusRslt` follows.
pub fn get_user_status(session: u64, user: Option<&str>, cookie: usize) -> Result<(), Code> {
    Err(code::INNER_ERR)
}
/// Switches `Event::UserStatus` on or off; `Event::StatusPushRslt` follows.
pub fn set_status_push(session: u64, on: bool, cookie: usize) -> Result<(), Code> {
    Err(code::INNER_ERR)
}

/// Sends log lines up to `level` (1 error … 5 trace, 0 off) to `sink`, called where `queue`'s events are handled.
pub fn set_log(queue: u64, level: u8, sink: Option<Box<dyn Fn(u8, &str, &str) + Send + Sync>>) -> Result<(), Code> {
    Err(code::INNER_ERR)
}
