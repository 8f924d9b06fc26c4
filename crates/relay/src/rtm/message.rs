//! What travels in the RTM dialect: a message to one user, many, a group, a room or everybody.

use bytes::Bytes;

use crate::store::Watch;

/// Whom a message or a file is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// One user.
    User(i64),
    /// Many users; each gets a message of his own.
    Users(Vec<i64>),
    /// The members of a group.
    Group(i64),
    /// Those who are in a room.
    Room(i64),
    /// Everybody of the project.
    Everyone,
}

/// A message on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Project id.
    pub project: i64,
    /// The sender.
    pub from: i64,
    /// Whom it is for.
    pub target: Target,
    /// Message type, 1 to 127; 40 to 50 are files.
    pub mtype: i8,
    /// The sender's own number of it. Not unique: some SDKs repeat it within a millisecond.
    pub mid: i64,
    /// When the relay took it, in milliseconds since 1970.
    pub mtime: i64,
    /// The text or bytes; for a file the JSON text with its address and size.
    pub body: Bytes,
    /// JSON text.
    pub attrs: String,
    /// The stored file that it brings, if any.
    pub blob: Option<String>,
    /// Who hears what becomes of it at its recipients.
    pub watch: Option<Watch>,
}

/// Why a quest is refused: what the error answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// A number of `crvideo_proto::rtm::code`.
    pub code: i32,
    /// What was wrong, for the programmer at the other end.
    pub text: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(code: i32, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

impl From<crvideo_proto::rtm::params::ParamError> for Refusal {
    fn from(error: crvideo_proto::rtm::params::ParamError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl From<crate::store::StoreError> for Refusal {
    fn from(error: crate::store::StoreError) -> Self {
        // The log says what exactly happened; strangers need not know the relay's insides.
        tracing::error!(%error, "a quest failed");
        Self::new(crvideo_proto::rtm::code::UNKNOWN, "the relay cannot use its store just now; try again later")
    }
}
