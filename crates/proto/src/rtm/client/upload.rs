//! Files: a token from the server gate, then one quest on a connection to the file gate that the answer names.
//!
//! A file's bytes go out while they are read and hashed: `file` stands in front, and `attrs`, which holds the
//! signature that needs the whole content's hash, behind it. Every size is known beforehand, because a signature's
//! length is. A large file goes in chunks where the server offers that (`chunks`).

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use super::chunks::Chunks;
use super::types::*;
use super::{Asked, Client, Running, Step, What, Wire};
use crate::frame::{FLAG_MSGPACK, MAGIC, VERSION};
use crate::pack::Writer;
use crate::rtm::attrs::Attrs;
use crate::rtm::code;
use crate::rtm::sign::file_sign;
use crate::session::{CONNECT_DEADLINE, Now};

/// A piece of a file that is read at a time.
pub(super) const PIECE: usize = 256 * 1024;
/// The next piece is read while less than this waits to be written.
const QUEUE_AHEAD: usize = 512 * 1024;
/// Files that go to one file gate at a time, each on a connection of its own; the others wait.
const LINKS_A_GATE: usize = 4;
/// Connections to file gates in all.
const MAX_LINKS: usize = 16;
/// A connection that no file needs is closed after this long, before the server does it.
const LINK_IDLE: Duration = Duration::from_secs(30);
/// Stands for the signature while sizes are computed.
const NO_SIGN: &str = "00000000000000000000000000000000";

/// A connection to a file gate.
#[derive(Debug)]
pub(super) struct FileLink {
    address: Address,
    pub wire: Wire,
    pub state: LinkState,
    /// It has served another file before.
    kept: bool,
    /// The file that it is for.
    call: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkState {
    Connecting { until: Duration },
    Busy,
    Idle { until: Duration },
}

impl FileLink {
    pub fn deadline(&self) -> Option<Duration> {
        match self.state {
            LinkState::Connecting { until } | LinkState::Idle { until } => Some(until),
            LinkState::Busy => None,
        }
    }
}

/// A file that has its token.
#[derive(Debug)]
pub(super) struct Upload {
    pub token: String,
    address: Address,
    pub link: Option<Link>,
    pub size: u64,
    /// Bytes that have been read and queued.
    pub read: u64,
    /// How far it has ever been read.
    pub furthest: u64,
    pub reading: bool,
    /// Everything is queued.
    pub complete: bool,
    /// Changes when the file begins again, so that late pieces are recognised.
    pub generation: u32,
    /// Where it goes in chunks.
    pub chunks: Option<Chunks>,
}

impl Upload {
    /// Whether no byte can have been sent, because there is no connection.
    pub fn link_is_missing(&self) -> bool {
        self.read == 0 && !self.reading
    }

    /// Goes (back) to an offset.
    pub fn go_to(&mut self, offset: u64) {
        self.furthest = self.furthest.max(self.read);
        self.read = offset;
        self.reading = false;
        self.complete = false;
        self.generation = self.generation.wrapping_add(1);
    }

    pub fn progress_text(&self) -> String {
        if self.complete {
            return super::default_text(code::TIMEOUT);
        }
        format!(
            "the time was over when {} of {} bytes were sent; the server cannot have taken them",
            self.read, self.size
        )
    }
}

impl File {
    /// The attributes' text, with a signature.
    pub fn attrs(&self, sign: &str) -> String {
        Attrs::of_file(sign.to_owned(), &self.name, self.custom.as_deref()).to_send()
    }

    /// The length of the attributes' text.
    pub fn attrs_len(&self) -> usize {
        self.attrs(NO_SIGN).len()
    }

    /// The frame up to the file's first byte.
    fn head(&self, project: i64, token: &str, seq: u32) -> Bytes {
        let method = self.target.file_method();
        let mut body = BytesMut::new();
        let mut writer = Writer::new(&mut body);
        writer.map(if self.target == Target::All { 7 } else { 8 });
        writer.str("pid");
        writer.int(project);
        writer.str("token");
        writer.str(token);
        writer.str("mtype");
        writer.int(self.mtype.into());
        writer.str("from");
        writer.int(self.from);
        self.target.write(&mut writer);
        writer.str("mid");
        writer.int(self.mid);
        writer.str("file");
        writer.bin_head(usize::try_from(self.size).unwrap_or(usize::MAX));
        let rest = self.size + self.tail(NO_SIGN).len() as u64;
        let payload = u32::try_from(body.len() as u64 + rest).unwrap_or(u32::MAX);
        let mut head = BytesMut::with_capacity(16 + method.len() + body.len());
        head.put_slice(&MAGIC);
        head.put_slice(&[VERSION, FLAG_MSGPACK, 1, method.len() as u8]);
        head.put_u32_le(payload);
        head.put_u32_le(seq);
        head.put_slice(method.as_bytes());
        head.extend_from_slice(&body);
        head.freeze()
    }

    /// What stands behind the file's last byte.
    fn tail(&self, sign: &str) -> Bytes {
        let mut tail = BytesMut::new();
        let mut writer = Writer::new(&mut tail);
        writer.str("attrs");
        writer.str(&self.attrs(sign));
        tail.freeze()
    }
}

impl Target {
    fn write(&self, writer: &mut Writer<'_>) {
        let (key, id) = match self {
            Target::All => return,
            Target::Users(uids) => {
                writer.str("tos");
                writer.array(uids.len());
                return uids.iter().for_each(|uid| writer.int(*uid));
            }
            Target::User(uid) => ("to", uid),
            Target::Group(gid) => ("gid", gid),
            Target::Room(rid) => ("rid", rid),
        };
        writer.str(key);
        writer.int(*id);
    }
}

impl Client {
    /// The server gate has given a file its token.
    /// `largest` is the largest file that it takes in chunks, 0 where it takes none.
    pub(super) fn token_is_there(&mut self, id: u64, token: String, endpoint: &str, largest: u64) {
        let Some(address) = Address::parse(endpoint) else {
            let text = format!("the server's answer names {endpoint:?} as file gate, which is no HOST:PORT");
            return self.failed(id, code::DECODE, text);
        };
        let Some(running) = self.running_by_call.get_mut(&id) else { return };
        let Action::File(file) = &running.action else { return };
        let chunks = Chunks::wanted(file.size, largest);
        if chunks.is_none() && file.size > MAX_QUEST_FILE {
            return self.failed(id, code::TOO_LARGE, "the server takes no file of this size");
        }
        running.step = Step::Upload(Box::new(Upload {
            token,
            address,
            link: None,
            size: file.size,
            read: 0,
            furthest: 0,
            reading: false,
            complete: false,
            generation: 0,
            chunks,
        }));
        self.waiting_files.push_back(id);
    }

    fn upload(&mut self, id: u64) -> Option<&mut Upload> {
        match &mut self.running_by_call.get_mut(&id)?.step {
            Step::Upload(upload) => Some(upload),
            _ => None,
        }
    }

    /// Gives files that wait a connection, as far as the limits allow, each file gate's in their order.
    pub(super) fn drive_files(&mut self, now: Now) {
        for id in std::mem::take(&mut self.waiting_files) {
            let Some(upload) = self.upload(id) else { continue };
            let address = upload.address.clone();
            let idle = |link: &FileLink| matches!(link.state, LinkState::Idle { .. });
            let same = self.file_links.iter().filter(|(_, link)| link.address == address);
            if let Some(link) = same.clone().find(|(_, link)| idle(link)).map(|(link, _)| *link) {
                self.begin(id, link);
            } else if same.count() < LINKS_A_GATE && self.make_room_for_link() {
                self.open_link(id, address, now);
            } else {
                self.waiting_files.push_back(id);
            }
        }
    }

    /// Whether one more connection may be opened, after an idle one is closed if need be.
    fn make_room_for_link(&mut self) -> bool {
        if self.file_links.len() < MAX_LINKS {
            return true;
        }
        let idle = self.file_links.iter().find(|(_, link)| matches!(link.state, LinkState::Idle { .. }));
        let Some(link) = idle.map(|(link, _)| *link) else { return false };
        self.drop_link(link);
        true
    }

    fn open_link(&mut self, id: u64, address: Address, now: Now) {
        let link = self.next_link;
        // A number is free again long before the counter comes back to it.
        self.next_link = self.next_link.checked_add(1).unwrap_or(GATE + 1);
        let state = LinkState::Connecting { until: now.mono + CONNECT_DEADLINE };
        self.outputs.push_back(Output::Connect { link, to: Place::Files(address.clone()) });
        self.file_links.insert(link, FileLink { address, wire: Wire::new(), state, kept: false, call: Some(id) });
        if let Some(upload) = self.upload(id) {
            upload.link = Some(link);
        }
    }

    pub(super) fn link_connected(&mut self, link: Link) {
        if let Some(id) = self.file_links.get(&link).and_then(|link| link.call) {
            self.begin(id, link);
        }
    }

    /// Begins to send a file on a connection.
    fn begin(&mut self, id: u64, link: Link) {
        let project = self.config.project;
        let Some(Running { action: Action::File(file), step: Step::Upload(upload), .. }) =
            self.running_by_call.get_mut(&id)
        else {
            return;
        };
        let Some(file_link) = self.file_links.get_mut(&link) else { return };
        file_link.state = LinkState::Busy;
        file_link.call = Some(id);
        upload.link = Some(link);
        if upload.chunks.is_some() {
            return self.begin_chunks(id);
        }
        let wire = &mut file_link.wire;
        let seq = wire.seq();
        log::trace!("RTM quest {seq} {:?} with a file of {} bytes", file.target.file_method(), file.size);
        let head = file.head(project, &upload.token, seq);
        let rest = file.size + file.tail(NO_SIGN).len() as u64;
        let start = wire.out.position();
        wire.out.piece(head);
        wire.asked_by_seq.insert(seq, Asked { what: What::Call(id), start, end: wire.out.position() + rest });
        self.pump(link);
    }

    /// Asks for the next piece while there is room for it.
    pub(super) fn pump(&mut self, link: Link) {
        let Some(file_link) = self.file_links.get(&link) else { return };
        let (Some(id), waiting) = (file_link.call, file_link.wire.out.len()) else { return };
        if file_link.state != LinkState::Busy || waiting >= QUEUE_AHEAD {
            return;
        }
        let Some(upload) = self.upload(id) else { return };
        if upload.reading || upload.complete || upload.chunks.as_ref().is_some_and(|chunks| !chunks.wants_bytes()) {
            return;
        }
        upload.reading = true;
        let piece = upload.chunks.as_ref().map_or(PIECE, |chunks| chunks.piece);
        let len = usize::try_from(upload.size - upload.read).unwrap_or(piece).min(piece);
        let (offset, generation) = (upload.read, upload.generation);
        self.outputs.push_back(Output::Read { call: id, offset, len, generation });
    }

    /// A piece of a file. `md5` (32 lower-case digits) comes with the piece that reaches the end.
    pub fn source_read(&mut self, call: u64, generation: u32, data: Bytes, md5: Option<&str>, now: Now) {
        let Some(Running { action: Action::File(file), step: Step::Upload(upload), .. }) =
            self.running_by_call.get_mut(&call)
        else {
            return;
        };
        if upload.generation != generation {
            return;
        }
        upload.reading = false;
        upload.read += data.len() as u64;
        let Some((link, file_link)) = upload.link.and_then(|link| Some((link, self.file_links.get_mut(&link)?))) else {
            return;
        };
        if upload.chunks.is_some() {
            self.send_chunk(call, data, md5);
            self.pump(link);
            return self.drive(now);
        }
        let out = &mut file_link.wire.out;
        if !data.is_empty() {
            out.piece(data);
        }
        if let Some(md5) = md5
            && upload.read == upload.size
        {
            out.piece(file.tail(&file_sign(md5, &upload.token)));
            upload.complete = true;
        }
        self.pump(link);
        self.drive(now);
    }

    /// A file cannot be read, or has changed; `err` is the contract's code.
    pub fn source_failed(&mut self, call: u64, generation: u32, err: i32, now: Now) {
        if self.upload(call).is_some_and(|upload| upload.generation == generation) {
            let text = crate::code::text(err).to_string_lossy();
            self.failed(call, err, text);
        }
        self.drive(now);
    }

    /// The file gate has answered: the connection is free, unless the answer came before the quest's end.
    pub(super) fn upload_answered(&mut self, link: Link, now: Now) {
        let Some(id) = self.file_links.get(&link).and_then(|link| link.call) else { return };
        let complete = self.upload(id).is_some_and(|upload| upload.complete);
        let Some(file_link) = self.file_links.get_mut(&link) else { return };
        if complete && file_link.wire.out.is_empty() {
            file_link.state = LinkState::Idle { until: now.mono + LINK_IDLE };
            file_link.call = None;
            file_link.kept = true;
            if let Some(upload) = self.upload(id) {
                upload.link = None;
            }
        }
    }

    /// A file's call is over; a connection that still has some of it to send is of no use any more.
    pub(super) fn upload_over(&mut self, id: u64, upload: &Upload) {
        self.waiting_files.retain(|other| *other != id);
        self.resumes.retain(|(_, other)| *other != id);
        if let Some(link) = upload.link {
            self.drop_link(link);
        }
    }

    pub(super) fn drop_link(&mut self, link: Link) {
        if self.file_links.remove(&link).is_some() {
            self.outputs.push_back(Output::Close { link });
        }
    }

    pub(super) fn links_timeout(&mut self, now: Now) {
        let late = |link: &FileLink| link.deadline().is_some_and(|at| at <= now.mono);
        let late: Vec<Link> = self.file_links.iter().filter(|(_, link)| late(link)).map(|(link, _)| *link).collect();
        for link in late {
            self.outputs.push_back(Output::Close { link });
            self.link_lost(link, "it took too long to connect", now);
        }
    }

    /// A connection to a file gate has ended.
    pub(super) fn link_lost(&mut self, link: Link, reason: &str, now: Now) {
        let Some(file_link) = self.file_links.remove(&link) else { return };
        let Some(id) = file_link.call else { return };
        let Some(Running { step: Step::Upload(upload), tries, .. }) = self.running_by_call.get_mut(&id) else { return };
        upload.link = None;
        if upload.chunks.as_ref().is_some_and(Chunks::survives) {
            return self.chunks_interrupted(id, now);
        }
        if matches!(file_link.state, LinkState::Connecting { .. }) {
            return self.failed(id, code::CONNECTION, format!("no connection to the file gate: {reason}"));
        }
        let written = file_link.wire.out.written();
        let Some(asked) = file_link.wire.asked_by_seq.into_values().next() else { return };
        if written >= asked.end {
            let text = format!("the connection ended before the answer: {reason}");
            return self.failed(id, code::CONNECTION_CLOSED, text);
        }
        // The server has not got the whole quest, so it has not acted on it. It goes again where the connection was
        // not made for it, and may have been dead before; else the server does not want it.
        *tries += 1;
        if *tries >= super::MAX_TRIES || (written > asked.start && !file_link.kept) {
            let sent = written - asked.start;
            let text =
                format!("the connection ended after {sent} bytes; the server cannot have taken the file: {reason}");
            return self.failed(id, code::CONNECTION_CLOSED, text);
        }
        upload.go_to(0);
        self.waiting_files.push_back(id);
    }
}
