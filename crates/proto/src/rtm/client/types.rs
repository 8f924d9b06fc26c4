//! What goes into an RTM client and what comes out of it.

use std::time::Duration;

use bytes::Bytes;
use zeroize::Zeroize;

use super::super::attrs::Attrs;

/// Names a connection: [`GATE`], or one to a file gate.
pub type Link = u32;
/// The connection to the server gate.
pub const GATE: Link = 0;

/// A list of ids in one call has at most this many.
pub const MAX_IDS: usize = 20_000;
/// A file that goes in one quest has at most this many bytes: a quest's size is a number of 32 bits.
pub const MAX_QUEST_FILE: u64 = u32::MAX as u64 - 1024 * 1024;
/// Longest token that a server may give, in bytes.
pub const MAX_TOKEN: usize = 1_023;
/// Longest endpoint that a server may give, in bytes.
pub const MAX_ENDPOINT: usize = 263;
/// Bytes that a push takes beside its content, in the account of what waits for the application.
pub const PUSH_OVERHEAD: u64 = 512;
/// Pushes that wait for the application have at most this many bytes in all; what comes then is refused (20011).
pub const PUSH_LIMIT: u64 = 16 * 1024 * 1024;

/// Whose client it is.
#[derive(Clone)]
pub struct Config {
    /// Project id.
    pub project: i64,
    /// The project's secret.
    pub secret: String,
    /// How many addresses of the gate the shell knows.
    pub servers: usize,
}

/// Nobody finds the secret in memory that is used again.
impl Drop for Config {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Config(project {})", self.project)
    }
}

/// To whom a message or a file goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// One user.
    User(i64),
    /// Several users.
    Users(Vec<i64>),
    /// A group's members.
    Group(i64),
    /// Those who are in a room.
    Room(i64),
    /// Everybody.
    All,
}

impl Target {
    /// The method that sends a file there; also the `cmd` of its token.
    pub fn file_method(&self) -> &'static str {
        match self {
            Target::User(_) => "sendfile",
            Target::Users(_) => "sendfiles",
            Target::Group(_) => "sendgroupfile",
            Target::Room(_) => "sendroomfile",
            Target::All => "broadcastfile",
        }
    }

    /// The method that sends a message there.
    pub fn message_method(&self) -> &'static str {
        match self {
            Target::User(_) => "sendmsg",
            Target::Users(_) => "sendmsgs",
            Target::Group(_) => "sendgroupmsg",
            Target::Room(_) => "sendroommsg",
            Target::All => "broadcastmsg",
        }
    }
}

/// What a client listens to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listen {
    /// All messages between users.
    pub all_users: bool,
    /// All messages in groups.
    pub all_groups: bool,
    /// All messages in rooms.
    pub all_rooms: bool,
    /// All events.
    pub all_events: bool,
    /// Messages to these users.
    pub users: Vec<i64>,
    /// Messages in these groups.
    pub groups: Vec<i64>,
    /// Messages in these rooms.
    pub rooms: Vec<i64>,
    /// These events.
    pub events: Vec<String>,
}

/// How a [`Listen`] changes what was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It replaces it.
    Set,
    /// Its lists are added.
    Add,
    /// Its lists are taken away.
    Remove,
}

/// A message.
#[derive(Debug, Clone)]
pub struct Message {
    /// Sender.
    pub from: i64,
    /// To whom.
    pub target: Target,
    /// Message type.
    pub mtype: i8,
    /// Message id.
    pub mid: i64,
    /// The content.
    pub body: Bytes,
    /// Attributes.
    pub attrs: String,
}

/// A file; its bytes come by [`Output::Read`].
#[derive(Debug, Clone)]
pub struct File {
    /// Sender.
    pub from: i64,
    /// To whom.
    pub target: Target,
    /// Message type.
    pub mtype: i8,
    /// Message id.
    pub mid: i64,
    /// The name to show, with its extension.
    pub name: String,
    /// The application's own attributes.
    pub custom: Option<String>,
    /// Bytes.
    pub size: u64,
}

/// What is asked of the server.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum Action {
    Message(Message),
    File(File),
    FileToken { from: i64, target: Target },
    Listen { change: Change, listen: Listen },
    GetToken { uid: i64 },
    RemoveToken { uid: i64 },
    Kickout { uid: i64 },
    OnlineUsers { uids: Vec<i64> },
    AddGroupMembers { gid: i64, uids: Vec<i64> },
    DelGroupMembers { gid: i64, uids: Vec<i64> },
    DelGroup { gid: i64 },
    GroupMembers { gid: i64 },
    GroupCount { gid: i64 },
    IsGroupMember { gid: i64, uid: i64 },
    UserGroups { uid: i64 },
    AddRoomMember { rid: i64, uid: i64 },
    DelRoomMember { rid: i64, uid: i64 },
    RoomMembers { rid: i64 },
    RoomCount { rid: i64 },
}

/// One call.
#[derive(Debug)]
pub struct Call {
    /// Names it between client and shell.
    pub id: u64,
    /// What is asked.
    pub action: Action,
    /// How long it may take, all its steps together.
    pub timeout: Duration,
}

/// What the server has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Answer {
    Done,
    /// `watched`: receipts follow.
    Sent {
        mtime: i64,
        watched: bool,
    },
    FileToken {
        token: String,
        endpoint: String,
    },
    Token(String),
    Ids(Vec<i64>),
    Number(i64),
}

/// Why a call has failed: a number of FPNN's or RTM's, and the server's text or ours.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Failure {
    pub code: i32,
    pub text: String,
}

impl Failure {
    /// A failure with a text.
    pub fn new(code: i32, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

/// How a call has ended.
pub type Outcome = Result<Answer, Failure>;

/// Whose message was pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushKind {
    /// From user to user.
    User,
    /// In a group.
    Group,
    /// In a room.
    Room,
}

/// The parts of a file message.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct PushedFile {
    pub url: String,
    /// Of a thumbnail; empty when there is none.
    pub thumbnail: String,
    pub size: u64,
    /// What the sender's attributes say, where they can be read.
    pub attrs: Option<Attrs>,
}

/// A message that was pushed.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Push {
    pub kind: PushKind,
    pub from: i64,
    /// The user, group or room.
    pub target: i64,
    pub mid: i64,
    pub mtype: i32,
    pub mtime: i64,
    pub body: Bytes,
    /// As it came.
    pub attrs: String,
    /// Where the message is a file.
    pub file: Option<PushedFile>,
}

/// Something that a user has done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct UserEvent {
    pub event: String,
    pub uid: i64,
    /// Seconds since 1970.
    pub time: i64,
    pub endpoint: String,
    pub data: String,
}

/// What a message went to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum TargetKind {
    User = 1,
    Group = 2,
    Room = 3,
    All = 4,
}

/// How a message stands at a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Standing {
    /// He is there, and it is being delivered.
    Accepted = 1,
    /// He is not there, and it is kept for him.
    Stored = 2,
    /// His program has confirmed it.
    Delivered = 3,
    /// It will never be delivered.
    Failed = 4,
}

/// What has become of a message at one recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Receipt {
    pub kind: TargetKind,
    pub from: i64,
    /// The user, group or room that it went to, else 0.
    pub place: i64,
    pub mid: i64,
    /// The recipient.
    pub user: i64,
    pub state: Standing,
    /// Why it has failed, else 0.
    pub code: i32,
}

/// What the application must be told, beside the ends of its calls.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A message.
    Push(Push),
    /// Something that a user has done.
    User(UserEvent),
    /// What has become of a message at one recipient.
    Receipt(Receipt),
    /// The connection that listens is lost (and is made again), or (0) there again.
    Line(Failure),
}

/// A file gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Name or IP address.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl Address {
    /// Reads `host:port`; IPv6 addresses stand in brackets.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let plain = (1..=253).contains(&host.len()) && !host.contains(|char: char| char <= ' ' || char == '\x7f');
        let port = port.parse().ok().filter(|port| *port != 0)?;
        plain.then(|| Self { host: host.to_owned(), port })
    }
}

/// Where a connection leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The gate's address with this index.
    Gate(usize),
    /// A file gate.
    Files(Address),
}

/// What the shell must do.
#[derive(Debug)]
pub enum Output {
    /// Connect, then call `connected` or `connect_failed`.
    Connect {
        /// Which connection.
        link: Link,
        /// Where to.
        to: Place,
    },
    /// Close the connection's socket (after one attempt to write what is queued) or give up connecting.
    Close {
        /// Which connection.
        link: Link,
    },
    /// Read a piece of a file, then call `source_read` or `source_failed`.
    Read {
        /// The call.
        call: u64,
        /// Where.
        offset: u64,
        /// How much.
        len: usize,
        /// To be given back.
        generation: u32,
    },
    /// A call has ended.
    Ended {
        /// Which.
        call: u64,
        /// How.
        outcome: Outcome,
    },
    /// Tell the application.
    Event(Event),
}
