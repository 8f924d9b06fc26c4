//! What goes into a session and what comes out of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use zeroize::Zeroize;

use crate::id::TaskId;
use crate::message::Rtm;

/// A minted token lives this many seconds; the session renews it by itself.
pub const MINTED_LIFE_S: u64 = 3_600;
/// Bytes that a command takes beside its content, in credit and in memory.
pub const COMMAND_OVERHEAD: u64 = 256;
/// Largest command in bytes.
pub const MAX_COMMAND: usize = 65_536;
/// How far a sender of commands may go before it has heard from its target.
pub const INITIAL_COMMAND_LIMIT: u64 = 320 * 1_024 + COMMAND_OVERHEAD;
/// From the start of connecting to the end of login, for each server.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// How far a transfer may go before the target has answered its offer.
pub const INITIAL_WINDOW: u64 = 262_144;

/// The time, in both of its senses.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Time since the shell started; never goes back. Every deadline is measured by it.
    pub mono: Duration,
    /// Seconds since 1970, for minting tokens only.
    pub unix: u64,
}

/// A session's settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// A command's deadline.
    pub command_timeout: Duration,
    /// How long a transfer may go without confirmed progress.
    pub transfer_timeout: Duration,
    /// How long the application may take to answer an offer.
    pub offer_timeout: Duration,
    /// Largest buffer that is taken.
    pub buffer_limit: u64,
    /// Bytes that may wait for the application.
    pub inbound_limit: u64,
    /// Bytes of buffers and files that are sent in a second; 0 is no limit.
    pub max_send_bytes_per_s: u64,
    /// Program and version, told to the relay.
    pub agent: &'static str,
}

/// Who logs in.
#[derive(Clone)]
pub struct Identity {
    /// How many addresses the shell can connect to.
    pub servers: usize,
    /// Project id.
    pub project: i64,
    /// User id.
    pub user: String,
    /// Token or secret.
    pub credential: Credential,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({} in project {})", self.user, self.project)
    }
}

/// How a user proves who it is.
#[derive(Clone)]
pub enum Credential {
    /// A token.
    Token(String),
    /// The project's secret.
    Secret(String),
}

/// Nobody finds a secret in memory that is used again.
impl Drop for Credential {
    fn drop(&mut self) {
        let (Credential::Token(text) | Credential::Secret(text)) = self;
        text.zeroize();
    }
}

/// The two connections of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Conn {
    /// Login, commands and control.
    Command,
    /// Offers and the bytes of transfers.
    Bulk,
}

/// What a transfer carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A memory buffer.
    Buffer,
    /// A file.
    File,
}

/// One call to send a command.
#[derive(Debug)]
pub struct CommandCall {
    /// User id.
    pub target: Arc<str>,
    /// Task id.
    pub task: TaskId,
    /// Whether the caller chose the id.
    pub chosen: bool,
    /// The content.
    pub data: Bytes,
    /// Instead of the session's time-out.
    pub timeout: Option<Duration>,
    /// The caller's context.
    pub cookie: usize,
}

/// One call to send a buffer or a file.
#[derive(Debug)]
pub struct TransferCall {
    /// User id.
    pub target: Arc<str>,
    /// Task id.
    pub task: TaskId,
    /// What it is.
    pub kind: Kind,
    /// Name to show.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Instead of the session's time-out.
    pub timeout: Option<Duration>,
    /// The caller's context.
    pub cookie: usize,
}

/// Proof that an event's bytes were handed to the application; the shell gives it back when they have been handled.
#[derive(Debug, Clone)]
pub enum Receipt {
    /// Commands of a source, up to a position.
    Commands {
        /// The sender.
        source: Arc<str>,
        /// Its epoch.
        epoch: u64,
        /// Bytes of this source handled, in all.
        delivered: u64,
    },
    /// A buffer.
    Buffer {
        /// Its size.
        size: u64,
    },
    /// A message in the RTM dialect.
    Rtm {
        /// Names it.
        id: TaskId,
    },
}

/// What a sink became.
#[derive(Debug)]
pub enum Received<P> {
    /// The buffer's content.
    Buffer(Bytes),
    /// Where the file is; `P` is the shell's own kind of path.
    File(P),
}

/// What the application must be told.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum Event {
    LoginRslt { err: i32, cookie: usize },
    LogoutRslt { err: i32, cookie: usize },
    LineOff { err: i32 },
    LineOn,
    TokenWillExpire,
    CommandRslt { task: TaskId, err: i32, cookie: usize, size: usize, chosen: bool },
    TransferRslt { task: TaskId, kind: Kind, err: i32, cookie: usize },
    Progress { task: TaskId, sent: u64, total: u64, cookie: usize },
    CancelRslt { task: TaskId, err: i32, cookie: usize },
    Command { source: Arc<str>, task: TaskId, data: Bytes, receipt: Option<Receipt> },
    Buffer { source: Arc<str>, task: TaskId, receipt: Receipt, id: u64 },
    File { source: Arc<str>, task: TaskId, name: String, id: u64 },
    TransferEnded { source: Arc<str>, task: TaskId, err: i32 },
    Offer { source: Arc<str>, task: TaskId, kind: Kind, name: String, size: u64 },
    ReceiveProgress { source: Arc<str>, task: TaskId, received: u64, total: u64 },
    Rtm { message: Box<Rtm>, receipt: Receipt },
    UserStatus { user: String, online: bool },
    UsersRslt { err: i32, users: Vec<String>, cookie: usize },
    WatchRslt { err: i32, cookie: usize },
}

impl Event {
    /// What the log tells of tasks. Content never stands there.
    pub(super) fn log(&self) {
        match self {
            Event::CommandRslt { task, err, .. } => log::debug!("command {task} has ended with {err}"),
            Event::TransferRslt { task, err, .. } => log::debug!("transfer {task} has ended with {err}"),
            Event::CancelRslt { task, err, .. } => log::debug!("cancelling {task}: {err}"),
            Event::Command { source, task, data, .. } => {
                log::debug!("command {task} of {} bytes has come from {source:?}", data.len());
            }
            Event::Buffer { source, task, .. } => log::debug!("buffer {task} has come from {source:?}"),
            Event::File { source, task, .. } => log::debug!("file {task} has come from {source:?}"),
            Event::Offer { source, task, size, .. } => {
                log::debug!("transfer {task} of {size} bytes is offered by {source:?}");
            }
            Event::TransferEnded { source, task, err } => {
                log::debug!("transfer {task} from {source:?} has failed with {err}");
            }
            _ => {}
        }
    }
}

/// What the shell must do.
#[derive(Debug)]
pub enum Output {
    /// Connect to the server with this index, then call `connected` or `connect_failed`.
    Connect {
        /// Which connection.
        conn: Conn,
        /// Which server.
        server: usize,
    },
    /// Close the connection's socket (after one attempt to write what is queued) or give up connecting.
    Close {
        /// Which connection.
        conn: Conn,
    },
    /// Tell the application.
    Event(Event),
    /// Read a piece of a task's source, then call `source_read` or `source_failed`.
    Read {
        /// The task.
        task: TaskId,
        /// Where.
        offset: u64,
        /// How much.
        len: usize,
        /// To be given back.
        generation: u32,
    },
    /// The task has ended: let its source go.
    CloseSource {
        /// The task.
        task: TaskId,
    },
    /// Make a place for what comes in.
    OpenSink {
        /// Names the transfer between session and shell.
        id: u64,
        /// What it is.
        kind: Kind,
        /// Its size.
        size: u64,
    },
    /// Append bytes, then call `sink_written`.
    Write {
        /// The transfer.
        id: u64,
        /// The bytes.
        data: Bytes,
    },
    /// Everything is there: compare the hash, complete, then call `sink_finished`.
    FinishSink {
        /// The transfer.
        id: u64,
        /// BLAKE3 of the whole content.
        hash: [u8; 32],
    },
    /// Remove what has arrived, at once, then call `sink_aborted`.
    AbortSink {
        /// The transfer.
        id: u64,
    },
}
