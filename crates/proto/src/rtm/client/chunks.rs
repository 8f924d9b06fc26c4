//! Large files in chunks, where the server offers that: `docs/wire.md` section 6. Such an upload survives its connection.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use super::types::*;
use super::upload::{PIECE, Upload};
use super::{Asked, Client, Running, Step, What, Wire};
use crate::frame::{FLAG_MSGPACK, MAGIC, VERSION};
use crate::pack::Writer;
use crate::rtm::code;
use crate::rtm::params::{Fields, ParamError, Params};
use crate::rtm::sign::file_sign;
use crate::session::Now;

/// Files from this size on go in chunks: what is smaller, every server takes in one quest.
const CHUNKS_FROM: u64 = 8 * 1024 * 1024;
/// First pause before an upload goes on after its connection was lost; doubled each time without progress.
const PAUSE_FIRST_MS: u64 = 200;
/// Longest pause; the server forgets an upload after 60 s.
const PAUSE_LAST_MS: u64 = 8_000;
/// The server may take other bytes than those that were sent this often, without progress, before that is a fault.
const MAX_REWINDS: u32 = 5;

/// How far an upload in chunks is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The server does not know it yet.
    Begin,
    /// Chunks are on their way.
    Data,
    /// After a break: the server is asked what it has.
    Resume,
    /// All bytes are there, and the last quest is on its way.
    End,
}

/// An upload in chunks.
#[derive(Debug)]
pub(super) struct Chunks {
    stage: Stage,
    /// Its name at the server.
    id: Bytes,
    /// Most bytes of one chunk.
    pub piece: usize,
    /// What the server has.
    acked: u64,
    /// The whole content's, once it has been read to its end.
    md5: Option<String>,
    /// Breaks and rewinds since the last progress.
    failures: u32,
}

impl Chunks {
    /// An upload in chunks, if the server takes one of this size, and if it is worth it.
    pub fn wanted(size: u64, largest: u64) -> Option<Self> {
        (size >= CHUNKS_FROM && size <= largest).then(|| Self {
            stage: Stage::Begin,
            id: Bytes::new(),
            piece: PIECE,
            acked: 0,
            md5: None,
            failures: 0,
        })
    }

    /// Whether the next chunk may be read.
    pub fn wants_bytes(&self) -> bool {
        self.stage == Stage::Data && self.md5.is_none()
    }

    /// Whether the upload is known to the server, and goes on after a break.
    pub fn survives(&self) -> bool {
        self.stage != Stage::Begin
    }
}

impl Wire {
    /// Queues a chunk, whose bytes are not copied.
    fn ask_chunk(&mut self, id: &Bytes, offset: u64, data: Bytes, what: What) {
        let method = "crupdata";
        let mut body = BytesMut::new();
        let mut writer = Writer::new(&mut body);
        writer.map(3);
        writer.str("id");
        writer.bin(id);
        writer.str("o");
        writer.uint(offset);
        writer.str("d");
        writer.bin_head(data.len());
        let (seq, start) = (self.seq(), self.out.position());
        let mut head = BytesMut::with_capacity(16 + method.len() + body.len());
        head.put_slice(&MAGIC);
        head.put_slice(&[VERSION, FLAG_MSGPACK, 1, method.len() as u8]);
        head.put_u32_le((body.len() + data.len()) as u32);
        head.put_u32_le(seq);
        head.put_slice(method.as_bytes());
        head.extend_from_slice(&body);
        self.out.piece(head.freeze());
        if !data.is_empty() {
            self.out.piece(data);
        }
        self.asked_by_seq.insert(seq, Asked { what, start, end: self.out.position() });
    }
}

impl Client {
    /// A file in chunks and the connection that it is on.
    fn chunked(&mut self, id: u64) -> Option<(&File, &mut Upload, &mut Wire)> {
        let Running { action: Action::File(file), step: Step::Upload(upload), .. } =
            self.running_by_call.get_mut(&id)?
        else {
            return None;
        };
        let wire = &mut self.file_links.get_mut(&upload.link?)?.wire;
        Some((file, upload, wire))
    }

    /// Begins an upload on a connection, or goes on with it on another one.
    pub(super) fn begin_chunks(&mut self, id: u64) {
        let project = self.config.project;
        let Some((file, upload, wire)) = self.chunked(id) else { return };
        let Some(chunks) = &mut upload.chunks else { return };
        match chunks.stage {
            Stage::Begin => {
                let fields = Fields::new().int("pid", project).int("from", file.from).text("token", &upload.token);
                let fields = file.target.field(fields.text("cmd", file.target.file_method()));
                let size = i64::try_from(file.size).unwrap_or(i64::MAX);
                wire.ask("crupbegin", fields.int("size", size), What::Call(id));
            }
            Stage::Data | Stage::Resume => {
                chunks.stage = Stage::Resume;
                wire.ask_chunk(&chunks.id, upload.read, Bytes::new(), What::Call(id));
            }
            Stage::End => self.end_chunks(id),
        }
    }

    /// Says the last word of an upload. Saying it again, after a break, is harmless.
    fn end_chunks(&mut self, id: u64) {
        let Some((file, upload, wire)) = self.chunked(id) else { return };
        let Some(chunks) = &mut upload.chunks else { return };
        let Some(md5) = &chunks.md5 else { return };
        let attrs = file.attrs(&file_sign(md5, &upload.token));
        let fields = Fields::new().bytes("id", &chunks.id).int("mtype", file.mtype.into()).int("mid", file.mid);
        wire.ask("crupend", fields.text("attrs", &attrs), What::Call(id));
        chunks.stage = Stage::End;
        upload.complete = true;
    }

    /// Sends a piece that has been read.
    pub(super) fn send_chunk(&mut self, id: u64, data: Bytes, md5: Option<&str>) {
        let Some((_, upload, wire)) = self.chunked(id) else { return };
        let Some(chunks) = &mut upload.chunks else { return };
        let offset = upload.read - data.len() as u64;
        chunks.md5 = md5.map(str::to_owned);
        if !data.is_empty() {
            wire.ask_chunk(&chunks.id, offset, data, What::Call(id));
        } else if chunks.md5.is_some() && wire.asked_by_seq.is_empty() {
            self.end_chunks(id);
        }
    }

    /// The file gate has answered a quest of an upload in chunks.
    pub(super) fn chunk_answered(&mut self, id: u64, link: Link, params: &Params, now: Now) {
        let Some(stage) = self.chunked(id).and_then(|(_, upload, _)| Some(upload.chunks.as_ref()?.stage)) else {
            return;
        };
        let done = match stage {
            Stage::Begin => self.chunks_begun(id, params),
            Stage::Data | Stage::Resume => self.chunk_taken(id, params),
            Stage::End => {
                self.upload_answered(link, now);
                return self.sent(id, params);
            }
        };
        if let Err(error) = done {
            return self.failed(id, code::DECODE, format!("the server's answer is wrong: {error}"));
        }
        self.pump(link);
    }

    fn chunks_begun(&mut self, id: u64, params: &Params) -> Result<(), ParamError> {
        let name = Bytes::copy_from_slice(&params.bytes("id")?);
        let max: u64 = params.int("max")?;
        let Some((_, upload, _)) = self.chunked(id) else { return Ok(()) };
        let Some(chunks) = &mut upload.chunks else { return Ok(()) };
        if name.len() > 64 {
            return Err(ParamError::Type("id"));
        }
        if max == 0 {
            return Err(ParamError::Type("max"));
        }
        chunks.id = name;
        chunks.piece = usize::try_from(max).unwrap_or(PIECE).min(PIECE);
        chunks.stage = Stage::Data;
        Ok(())
    }

    fn chunk_taken(&mut self, id: u64, params: &Params) -> Result<(), ParamError> {
        let has: u64 = params.int("o")?;
        let Some((_, upload, wire)) = self.chunked(id) else { return Ok(()) };
        let all_answered = wire.asked_by_seq.is_empty();
        let Some(chunks) = &mut upload.chunks else { return Ok(()) };
        if has > upload.read.max(upload.furthest) {
            return Err(ParamError::Type("o"));
        }
        if has > chunks.acked {
            chunks.failures = 0;
        }
        chunks.acked = has;
        let whole = has == upload.size;
        if chunks.stage == Stage::Data && chunks.md5.is_some() && all_answered && whole {
            self.end_chunks(id);
        } else if chunks.stage == Stage::Resume || (all_answered && has < upload.read && !upload.reading) {
            chunks.failures += 1;
            if chunks.failures > MAX_REWINDS {
                return Err(ParamError::Type("o"));
            }
            chunks.stage = Stage::Data;
            chunks.md5 = None;
            upload.go_to(has);
        }
        Ok(())
    }

    /// The connection of an upload in chunks was lost, or could not be made: it goes on after a pause.
    pub(super) fn chunks_interrupted(&mut self, id: u64, now: Now) {
        let chance = self.random_below(PAUSE_FIRST_MS);
        let Some(Running { step: Step::Upload(upload), .. }) = self.running_by_call.get_mut(&id) else { return };
        let Some(chunks) = &mut upload.chunks else { return };
        let pause = PAUSE_FIRST_MS.saturating_mul(1 << chunks.failures.min(16)).min(PAUSE_LAST_MS) + chance;
        // Breaks are bounded by the call's deadline alone; only rewinds count towards a fault.
        chunks.failures = (chunks.failures + 1).min(MAX_REWINDS - 1);
        if chunks.stage != Stage::End {
            chunks.stage = Stage::Resume;
        }
        upload.reading = false;
        upload.generation = upload.generation.wrapping_add(1);
        self.resumes.insert((now.mono + Duration::from_millis(pause), id));
    }

    /// Uploads whose pause is over wait for a connection again.
    pub(super) fn resume_uploads(&mut self, now: Now) {
        while let Some((at, id)) = self.resumes.first().copied()
            && at <= now.mono
        {
            self.resumes.remove(&(at, id));
            self.waiting_files.push_back(id);
        }
    }
}
