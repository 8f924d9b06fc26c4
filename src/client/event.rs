//! What the library tells the application.

use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use crvideo_proto::id::TaskId;
use crvideo_proto::message::Rtm;

/// Kinds of transfers; the numbers are the wire's and the C API's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum TransferKind {
    /// A memory buffer.
    Buffer = 1,
    /// A file.
    File = 2,
}

/// One event. `cookie` is the caller's context of the call that it belongs to.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum Event {
    LoginRslt { err: i32, cookie: usize },
    LogoutRslt { err: i32, cookie: usize },
    LineOff { err: i32 },
    LineOn,
    TokenWillExpire,
    SendCmdRlst { task: TaskId, err: i32, cookie: usize },
    SendBufferRlst { task: TaskId, err: i32, cookie: usize },
    SendFileRlst { task: TaskId, path: Arc<PathBuf>, err: i32, cookie: usize },
    SendProgress { task: TaskId, sent: u64, total: u64, cookie: usize },
    CancelSendRlst { task: TaskId, err: i32, cookie: usize },
    NotifyCmdData { source: Arc<str>, task: TaskId, data: Bytes },
    NotifyBufferData { source: Arc<str>, task: TaskId, data: Bytes },
    NotifyFileData { source: Arc<str>, task: TaskId, path: PathBuf, name: String },
    NotifyCancelSend { source: Arc<str>, task: TaskId, err: i32 },
    TransferOffer { source: Arc<str>, task: TaskId, kind: TransferKind, name: String, size: u64 },
    ReceiveProgress { source: Arc<str>, task: TaskId, received: u64, total: u64 },
    NotifyRtmMessage { message: Box<Rtm> },
    UserStatus { user: String, online: bool },
    UserStatusRslt { err: i32, users: Vec<String>, cookie: usize },
    StatusPushRslt { err: i32, cookie: usize },
}

/// Takes a session's events, on the callback thread or the thread that polls. No lock is held while it runs.
pub trait EventHandler: Any + Send + Sync {
    /// Handles one event; false when the application has no ear for it, so that nobody has heard it.
    fn handle(&self, session: u64, event: &Event) -> bool;
    /// Whether the application wants to decide about transfers before bytes flow.
    fn wants_offers(&self) -> bool;
    /// Whether the application wants `ReceiveProgress`.
    fn wants_receive_progress(&self) -> bool;
    /// The session has ended and this was its last event: nothing of it is used any more. Called once, where events
    /// are handled.
    fn released(&self) {}
}
