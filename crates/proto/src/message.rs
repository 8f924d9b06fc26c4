//! The messages of `docs/wire.md` as structs, and how each of them becomes a msgpack map.

use std::fmt;

use bytes::Bytes;
use zeroize::Zeroize;

use crate::frame::Frame;
use crate::id::TaskId;
use crate::pack::{PackError, Reader, Writer, packed_key};

/// A value that a message can hold.
pub trait Field: Sized {
    /// Whether the key is written at all.
    fn present(&self) -> bool {
        true
    }
    /// The value of a key that is absent; `None` when it must be there.
    fn absent() -> Option<Self> {
        None
    }
    /// Writes the value.
    fn put(&self, writer: &mut Writer<'_>);
    /// Reads the value.
    fn get(reader: &mut Reader<'_>, key: &'static str) -> Result<Self, PackError>;
}

macro_rules! unsigned_fields {
    ($($ty:ty),*) => {$(
        impl Field for $ty {
            fn put(&self, writer: &mut Writer<'_>) {
                writer.uint(u64::from(*self));
            }
            fn get(reader: &mut Reader<'_>, key: &'static str) -> Result<Self, PackError> {
                reader.uint(key)
            }
        }
    )*};
}
unsigned_fields!(u8, u16, u32, u64);

impl Field for i64 {
    fn put(&self, writer: &mut Writer<'_>) {
        writer.int(*self);
    }
    fn get(reader: &mut Reader<'_>, key: &'static str) -> Result<Self, PackError> {
        reader.int(key)
    }
}

impl Field for bool {
    fn put(&self, writer: &mut Writer<'_>) {
        writer.bool(*self);
    }
    fn get(reader: &mut Reader<'_>, key: &'static str) -> Result<Self, PackError> {
        reader.bool(key)
    }
}

impl Field for String {
    fn put(&self, writer: &mut Writer<'_>) {
        writer.str(self);
    }
    fn get(reader: &mut Reader<'_>, key: &'static str) -> Result<Self, PackError> {
        reader.str(key).map(str::to_owned)
    }
}

/// The last value of a message: long ones are neither copied out nor in.
impl Field for Bytes {
    fn put(&self, writer: &mut Writer<'_>) {
        writer.last_bin(self);
    }
    fn get(reader: &mut Reader<'_>, key: &'static str) -> Result<Self, PackError> {
        reader.bytes(key)
    }
}

impl<const N: usize> Field for [u8; N] {
    fn put(&self, writer: &mut Writer<'_>) {
        writer.bin(self);
    }
    fn get(reader: &mut Reader<'_>, key: &'static str) -> Result<Self, PackError> {
        reader.slice(key)?.try_into().map_err(|_| PackError::Type(key))
    }
}

impl Field for TaskId {
    fn put(&self, writer: &mut Writer<'_>) {
        writer.bin(self.as_bytes());
    }
    fn get(reader: &mut Reader<'_>, key: &'static str) -> Result<Self, PackError> {
        <[u8; 16]>::get(reader, key).map(TaskId::from_bytes)
    }
}

impl<T: Field> Field for Option<T> {
    fn present(&self) -> bool {
        self.is_some()
    }
    fn absent() -> Option<Self> {
        Some(None)
    }
    fn put(&self, writer: &mut Writer<'_>) {
        if let Some(value) = self {
            value.put(writer);
        }
    }
    fn get(reader: &mut Reader<'_>, key: &'static str) -> Result<Self, PackError> {
        T::get(reader, key).map(Some)
    }
}

/// Lists hold at most this many elements.
pub const MAX_LIST: usize = 2_000;

impl Field for Vec<String> {
    fn put(&self, writer: &mut Writer<'_>) {
        writer.array(self.len());
        for text in self {
            writer.str(text);
        }
    }
    fn get(reader: &mut Reader<'_>, key: &'static str) -> Result<Self, PackError> {
        let len = reader.array(key)?;
        if len > MAX_LIST {
            return Err(PackError::Type(key));
        }
        (0..len).map(|_| reader.str(key).map(str::to_owned)).collect()
    }
}

/// Stretches of a sequence, from and up to.
impl Field for Vec<(u64, u64)> {
    fn put(&self, writer: &mut Writer<'_>) {
        writer.array(self.len());
        for (from, to) in self {
            writer.array(2);
            writer.uint(*from);
            writer.uint(*to);
        }
    }
    fn get(reader: &mut Reader<'_>, key: &'static str) -> Result<Self, PackError> {
        let len = reader.array(key)?;
        if len > MAX_LIST {
            return Err(PackError::Type(key));
        }
        let mut pairs = Vec::new();
        for _ in 0..len {
            if reader.array(key)? != 2 {
                return Err(PackError::Type(key));
            }
            pairs.push((reader.int(key)?, reader.int(key)?));
        }
        Ok(pairs)
    }
}

/// A map of known keys.
pub trait Body: Sized {
    /// How many pairs [`put_pairs`](Self::put_pairs) writes.
    fn pairs(&self) -> usize;
    /// Writes the pairs without the map's head.
    fn put_pairs(&self, writer: &mut Writer<'_>);
    /// Reads the last `pairs` pairs of a payload's root map. Unknown keys are passed over.
    fn read_pairs(reader: &mut Reader<'_>, pairs: usize) -> Result<Self, PackError>;

    /// Reads a payload whose root is this map. Unknown keys are passed over.
    fn read(payload: &Bytes) -> Result<Self, PackError> {
        let mut reader = Reader::new(payload);
        let pairs = reader.map()?;
        Self::read_pairs(&mut reader, pairs)
    }

    /// Writes the whole map.
    fn write(&self, writer: &mut Writer<'_>) {
        writer.map(self.pairs());
        self.put_pairs(writer);
    }
}

/// A body with a method of its own.
pub trait Message: Body {
    /// The method's name.
    const METHOD: &'static str;
}

/// What is shown of a field: nothing of what lets its holder in.
fn shown<'a>(field: &str, value: &'a dyn fmt::Debug) -> &'a dyn fmt::Debug {
    if matches!(field, "token" | "ticket") { &"…" } else { value }
}

/// Nobody finds a token in memory that is used again.
impl Drop for Login {
    fn drop(&mut self) {
        self.token.zeroize();
    }
}

/// Nobody finds a token in memory that is used again.
impl Drop for UpdateToken {
    fn drop(&mut self) {
        self.token.zeroize();
    }
}

macro_rules! bodies {
    ($( $(#[$meta:meta])* $name:ident $(= $method:literal)? {
        $( $(#[$field_meta:meta])* $field:ident: $ty:ty = $key:literal ),* $(,)?
    } )*) => {$(
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq)]
        pub struct $name { $( $(#[$field_meta])* pub $field: $ty ),* }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name))
                    $( .field(stringify!($field), shown(stringify!($field), &self.$field)) )*
                    .finish()
            }
        }

        impl Body for $name {
            fn pairs(&self) -> usize {
                0 $( + usize::from(self.$field.present()) )*
            }
            #[allow(unused_variables)]
            fn put_pairs(&self, writer: &mut Writer<'_>) {
                $( if self.$field.present() {
                    writer.key(const { &packed_key::<{ $key.len() + 1 }>($key) });
                    self.$field.put(writer);
                } )*
            }
            fn read_pairs(reader: &mut Reader<'_>, pairs: usize) -> Result<Self, PackError> {
                /// The keys as patterns, which the compiler tells apart by their lengths and bytes.
                #[allow(non_upper_case_globals)]
                mod keys {
                    $( pub const $field: &[u8] = $key.as_bytes(); )*
                }
                $( let mut $field: Option<$ty> = None; )*
                for _ in 0..pairs {
                    match reader.key()? {
                        $( keys::$field => {
                            if $field.is_some() {
                                return Err(PackError::Twice($key));
                            }
                            $field = Some(<$ty as Field>::get(reader, $key)?);
                        } )*
                        _ => reader.skip(1)?,
                    }
                }
                reader.finish()?;
                Ok(Self { $( $field: $field.or_else(<$ty as Field>::absent).ok_or(PackError::Missing($key))? ),* })
            }
        }

        $( impl Message for $name {
            const METHOD: &'static str = $method;
        } )?
    )*};
}

bodies! {
    /// An answer or message without content.
    Empty {}
    /// An error answer.
    ErrorAnswer {
        /// One of the contract's codes, or of FPNN's.
        code: i64 = "code",
        /// What was wrong.
        text: String = "ex",
    }

    /// The first quest on every connection.
    Hello = "crhello" {
        /// Oldest version spoken.
        lowest: u32 = "lo",
        /// Newest version spoken.
        highest: u32 = "hi",
        /// Feature bits.
        features: u64 = "feat",
        /// Program and version, for logs.
        agent: String = "agent",
    }
    /// Answers [`Hello`].
    HelloAnswer {
        /// Version chosen.
        version: u32 = "v",
        /// Feature bits that both sides have.
        features: u64 = "feat",
        /// Program and version, for logs.
        agent: String = "agent",
        /// Where the seals of both directions begin, with [`FEATURE_SEAL`].
        salt: Option<u32> = "salt",
    }
    /// Logs a user in, or resumes a session.
    Login = "crlogin" {
        /// Project id.
        project: i64 = "pid",
        /// User id.
        user: String = "uid",
        /// A JWT.
        token: String = "token",
        /// Names the session for its whole life.
        session: [u8; 16] = "sid",
        /// 0, or the epoch to resume.
        epoch: u64 = "e",
    }
    /// Answers [`Login`].
    LoginAnswer {
        /// The session's epoch.
        epoch: u64 = "e",
        /// Whether an earlier epoch goes on.
        resumed: bool = "res",
        /// Opens one bulk connection.
        ticket: [u8; 16] = "ticket",
        /// Milliseconds until the token expires.
        expires_ms: u64 = "exp",
        /// Heart-beat period in milliseconds.
        heartbeat_ms: u32 = "hb",
        /// Largest file in bytes, 0 for no limit.
        max_file: u64 = "maxfile",
    }
    /// Makes a connection the bulk connection of a session.
    Bulk = "crbulk" {
        /// From [`LoginAnswer`] or [`BulkAnswer`].
        ticket: [u8; 16] = "ticket",
        /// Frames may have been lost with the connection before, although the relay has seen it closed in order.
        lost: Option<bool> = "lost",
    }
    /// Answers [`Bulk`].
    BulkAnswer {
        /// Opens the next bulk connection.
        ticket: [u8; 16] = "ticket",
    }
    /// Asks for a new ticket, when the last one was lost with its answer; answered by [`BulkAnswer`].
    NewTicket = "crticket" {}
    /// Replaces the session's token.
    UpdateToken = "crtoken" {
        /// A JWT.
        token: String = "token",
    }
    /// Answers [`UpdateToken`].
    TokenAnswer {
        /// Milliseconds until the token expires.
        expires_ms: u64 = "exp",
    }
    /// Ends the session.
    Logout = "crlogout" {}
    /// Ends a bulk connection that is no longer needed.
    CloseBulk = "crclose" {}
    /// The relay's heart-beat.
    Ping = "crping" {}
    /// The client's answer to it.
    Pong = "crpong" {}
    /// The relay has ended the session.
    Bye = "crbye" {
        /// Why.
        code: i64 = "c",
        /// Why, for logs.
        text: String = "text",
    }

    /// Asks where a user is, and joins the two sessions.
    Find = "crfind" {
        /// User id.
        user: String = "u",
    }
    /// Answers [`Find`].
    FindAnswer {
        /// The user's epoch, 0 when not logged in.
        epoch: u64 = "e",
        /// A [`PeerState`] number: gone, on or away.
        state: u8 = "st",
    }
    /// News of a joined session.
    Peer = "crpeer" {
        /// User id.
        user: String = "u",
        /// The epoch that is meant.
        epoch: u64 = "e",
        /// A [`PeerState`] number.
        state: u8 = "st",
        /// Which traffic is meant: [`CLASS_COMMANDS`], [`CLASS_BULK`] or both.
        class: u8 = "cl",
    }
    /// Asks the client to open its bulk connection.
    Wake = "crwake" {}
    /// Asks who is online.
    Users = "crusers" {
        /// This user only.
        user: Option<String> = "u",
        /// Continue behind this name.
        after: Option<String> = "after",
    }
    /// Answers [`Users`].
    UsersAnswer {
        /// Users that are online, ascending.
        users: Vec<String> = "us",
        /// Whether more follow.
        more: bool = "more",
    }
    /// Switches the status push on or off.
    Watch = "crwatch" {
        /// On or off.
        on: bool = "on",
    }
    /// A user came or went.
    Status = "crstatus" {
        /// User id.
        user: String = "u",
        /// 1 online, 0 offline.
        state: u8 = "st",
    }

    /// Routed: a command.
    Command = "crcmd" {
        /// Position in the byte sequence of this sender and target.
        position: u64 = "p",
        /// Nothing between this position and `position` will ever be sent (again).
        base: u64 = "b",
        /// The sender has learned the outcome of everything below.
        settled: u64 = "s",
        /// Task id.
        task: TaskId = "i",
        /// Whether the caller chose the id.
        chosen: bool = "k",
        /// The content.
        data: Bytes = "d",
    }
    /// Routed: acknowledges commands.
    CommandAck = "crack" {
        /// Everything below has been decided.
        position: u64 = "p",
        /// The sender may send up to here.
        limit: u64 = "l",
        /// Stretches that were refused with 1106.
        refused: Vec<(u64, u64)> = "f",
    }
    /// Routed: announces a transfer.
    Offer = "croffer" {
        /// Task id.
        task: TaskId = "i",
        /// 1 buffer, 2 file.
        kind: u8 = "k",
        /// Name to show.
        name: String = "n",
        /// Bytes.
        size: u64 = "s",
        /// The offer has been made before.
        repeated: bool = "re",
    }
    /// Routed: a piece of a transfer.
    Data = "crdata" {
        /// Task id.
        task: TaskId = "i",
        /// Where the piece belongs.
        offset: u64 = "o",
        /// The piece.
        data: Bytes = "d",
    }
    /// Routed: the whole content has been sent.
    End = "crend" {
        /// Task id.
        task: TaskId = "i",
        /// BLAKE3 of the whole content.
        hash: [u8; 32] = "h",
    }
    /// Routed: start, or start again, at an offset.
    Go = "crgo" {
        /// Task id.
        task: TaskId = "i",
        /// Where to start.
        offset: u64 = "o",
        /// The sender may send up to here.
        limit: u64 = "l",
    }
    /// Routed: how far the target has come.
    Confirm = "crconf" {
        /// Task id.
        task: TaskId = "i",
        /// Everything below is at the target.
        offset: u64 = "o",
        /// The sender may send up to here.
        limit: u64 = "l",
    }
    /// Routed: the sender no longer wants the transfer.
    Cancel = "crcancel" {
        /// Task id.
        task: TaskId = "i",
        /// Why: 1105, or the code that ended it at the sender.
        code: i64 = "c",
    }
    /// Routed: how a transfer ended; the target decides.
    Done = "crdone" {
        /// Task id.
        task: TaskId = "i",
        /// 0, or why not.
        code: i64 = "c",
    }

    /// A message that a server sent in the RTM dialect.
    Rtm = "crrtm" {
        /// Names the message to this user.
        id: TaskId = "i",
        /// The sender's RTM number.
        from: i64 = "from",
        /// 1 to this user, 2 to a group, 3 to a room, 4 to everybody.
        kind: u8 = "k",
        /// The group or room; 0 for the other kinds.
        place: i64 = "x",
        /// The sender's own number of the message.
        mid: i64 = "mid",
        /// Message type.
        mtype: u8 = "mt",
        /// When the relay took it, in milliseconds since 1970.
        mtime: i64 = "mtime",
        /// JSON text.
        attrs: String = "attrs",
        /// The message.
        data: Bytes = "d",
    }
    /// The application has handled such a message.
    Got = "crgot" {
        /// Names the message.
        id: TaskId = "i",
    }
}

/// [`Hello::features`]: routed messages carry the epochs of both sides.
pub const FEATURE_BOTH_EPOCHS: u64 = 1;
/// [`Hello::features`]: every frame ends with a seal.
pub const FEATURE_SEAL: u64 = 2;

/// [`Peer::class`]: commands and control messages.
pub const CLASS_COMMANDS: u8 = 1;
/// [`Peer::class`]: offers, data and ends.
pub const CLASS_BULK: u8 = 2;

/// What [`Peer::state`] and [`FindAnswer::state`] say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum PeerState {
    /// The epoch has ended; what was unanswered may have arrived.
    Gone = 0,
    /// Reachable: send again what is unanswered.
    On = 1,
    /// Its link is lost, it may come back.
    Away = 2,
    /// The relay's queue towards it is full; an [`PeerState::On`] follows.
    Busy = 3,
    /// It logged out: what was unanswered has not been taken.
    Left = 4,
}

impl PeerState {
    /// The state of a number from the wire; an unknown one counts as gone.
    pub fn from_wire(state: u8) -> Self {
        match state {
            1 => Self::On,
            2 => Self::Away,
            3 => Self::Busy,
            4 => Self::Left,
            _ => Self::Gone,
        }
    }
}

/// A message from another session, with its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routed<M> {
    /// The sender.
    pub from: String,
    /// The sender's epoch.
    pub epoch: u64,
    /// What it sent.
    pub message: M,
}

impl<M: Message> Routed<M> {
    pub(crate) fn write(writer: &mut Writer<'_>, to: &str, epoch: u64, own: Option<u64>, message: &M) {
        writer.map(message.pairs() + 2 + usize::from(own.is_some()));
        writer.key(const { &packed_key::<3>("to") });
        writer.str(to);
        writer.key(const { &packed_key::<3>("te") });
        writer.uint(epoch);
        if let Some(own) = own {
            writer.key(const { &packed_key::<3>("fe") });
            writer.uint(own);
        }
        message.put_pairs(writer);
    }

    /// Reads a routed message as its target gets it.
    pub fn read(payload: &Bytes) -> Result<Self, PackError> {
        Envelope::open(payload)?.routed()
    }
}

/// A routed message of which only the address has been read.
#[derive(Debug, Clone)]
pub(crate) struct Envelope<'a> {
    /// Who has sent it.
    pub address: Address<'a>,
    /// At what stands behind the address.
    rest: Reader<'a>,
}

impl<'a> Envelope<'a> {
    /// Reads the address of a message that has come from the relay.
    pub fn open(payload: &'a Bytes) -> Result<Self, PackError> {
        let (address, rest) = Address::read(payload, "fr", "fe", "te")?;
        Ok(Self { address, rest })
    }

    /// Reads the message.
    pub fn message<M: Message>(mut self) -> Result<M, PackError> {
        M::read_pairs(&mut self.rest, self.address.behind())
    }

    /// Reads the message, and keeps its sender.
    pub fn routed<M: Message>(self) -> Result<Routed<M>, PackError> {
        let (from, epoch) = (self.address.user.to_owned(), self.address.epoch);
        Ok(Routed { from, epoch, message: self.message()? })
    }
}

/// Pairs of every address: the user and the epoch.
const ADDRESS_PAIRS: usize = 2;

/// The first two pairs of a routed message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address<'a> {
    /// Target (towards the relay) or sender (from it).
    pub user: &'a str,
    /// That user's epoch.
    pub epoch: u64,
    /// The epoch of the session on whose connection the message travels, if it says so.
    pub own: Option<u64>,
    /// Pairs in the whole map but for `own`.
    pub pairs: usize,
    /// Where the pairs behind the address begin.
    pub rest: usize,
}

impl<'a> Address<'a> {
    /// Reads the address that the relay routes by.
    pub fn to(payload: &'a Bytes) -> Result<Self, PackError> {
        Self::to_with_rest(payload).map(|(address, _)| address)
    }

    /// The same, and a reader at what stands behind the address: [`behind`](Self::behind) pairs.
    pub fn to_with_rest(payload: &'a Bytes) -> Result<(Self, Reader<'a>), PackError> {
        Self::read(payload, "to", "te", "fe")
    }

    /// How many pairs stand behind the address.
    pub fn behind(&self) -> usize {
        self.pairs - ADDRESS_PAIRS
    }

    /// Reads the address of a message that has come from the relay.
    pub fn from(payload: &'a Bytes) -> Result<Self, PackError> {
        Self::read(payload, "fr", "fe", "te").map(|(address, _)| address)
    }

    /// Also returns a reader at what stands behind the address.
    fn read(
        payload: &'a Bytes,
        user_key: &'static str,
        epoch_key: &'static str,
        own_key: &'static str,
    ) -> Result<(Self, Reader<'a>), PackError> {
        let mut reader = Reader::new(payload);
        let pairs = reader.map()?;
        if pairs < ADDRESS_PAIRS || !reader.passes(user_key)? {
            return Err(PackError::Missing(user_key));
        }
        let user = reader.str(user_key)?;
        if !reader.passes(epoch_key)? {
            return Err(PackError::Missing(epoch_key));
        }
        let epoch = reader.uint(epoch_key)?;
        let mut address = Self { user, epoch, own: None, pairs, rest: reader.position() };
        // What is no key at all is found by whoever reads on.
        if pairs > ADDRESS_PAIRS && reader.passes(own_key).unwrap_or(false) {
            address.own = Some(reader.uint(own_key)?);
            (address.pairs, address.rest) = (pairs - 1, reader.position());
        }
        Ok((address, reader))
    }
}

/// Reads an answer: its body, or the error that it carries.
pub fn read_answer<B: Body>(frame: &Frame) -> Result<Result<B, ErrorAnswer>, PackError> {
    if frame.status == 0 { B::read(&frame.payload).map(Ok) } else { ErrorAnswer::read(&frame.payload).map(Err) }
}
