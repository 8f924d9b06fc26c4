//! What a hostile or broken peer can send: headers at every boundary, bombs of depth and length, wrong types, and the
//! streams of other protocols. The error must be the right one, and no claim may cost memory.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use core::fmt::Debug;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::thread;

use bytes::Bytes;
use common::{frames, map, map_head, text};
use crvideo_proto::frame::{FrameError, FrameReader, PRE_LOGIN_LIMIT, SESSION_LIMIT};
use crvideo_proto::message::*;
use crvideo_proto::out::OutQueue;
use crvideo_proto::pack::{MAX_DEPTH, PackError, Reader, validate};

// ---- counting memory --------------------------------------------------------------------------------------

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, which counts what each thread holds.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

fn count(change: isize) {
    // A thread that is ending has no counters any more, and needs none.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + change);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

// SAFETY: every call is passed on to `System` unchanged; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: `at` came from `System` with this layout, as all memory here does.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        // SAFETY: `at` came from `System` with this layout, and the caller answers for `size`.
        unsafe { System.realloc(at, layout, size) }
    }
}

/// What `action` returns, and how much more this thread held at its height than before.
fn peak_of<T>(action: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    PEAK.set(before);
    let result = action();
    (result, (PEAK.get() - before) as usize)
}

/// A claim may cost this much, whatever it claims.
const CLAIM_COST: usize = 64 * 1024;

// ---- frames -----------------------------------------------------------------------------------------------

fn header(flags: u8, mtype: u8, ss: u8, size: u32) -> Vec<u8> {
    [&b"FPNN\x01"[..], &[flags, mtype, ss], &size.to_le_bytes(), &[7, 0, 0, 0]].concat()
}

/// Sizes at which a comparison or an addition could go wrong.
fn boundary_sizes(limit: usize) -> Vec<u32> {
    let limit = limit as u32;
    let mut sizes = vec![0, 1, limit - 1, limit, limit + 1, (1 << 31) - 1, 1 << 31];
    sizes.extend(u32::MAX - 4..=u32::MAX);
    sizes
}

/// What the wire's document says of a header, in the order of the bytes.
fn verdict(json: bool, limit: usize, flags: u8, mtype: u8, ss: u8, size: u32) -> Result<(), FrameError> {
    match (flags, mtype, ss) {
        (0x80, ..) => {}
        (0x40, ..) if json => {}
        _ => return Err(FrameError::Flags(flags)),
    }
    match (mtype, ss) {
        (0 | 1, 0) => Err(FrameError::Method),
        (3.., _) => Err(FrameError::Type(mtype)),
        _ if size == 0 => Err(FrameError::EmptyPayload),
        _ if size as usize > limit => Err(FrameError::TooLarge(size)),
        _ => Ok(()),
    }
}

fn check_header(json: bool, limit: usize, flags: u8, mtype: u8, ss: u8, size: u32) {
    let mut head = header(flags, mtype, ss, size);
    head.truncate(if mtype == 0 { 12 } else { 16 });
    let ((early, result, room), peak) = peak_of(|| {
        let mut reader = FrameReader::new(limit);
        if json {
            reader = reader.allow_json();
        }
        reader.feed(&head[..11]);
        let early = reader.next_frame();
        reader.feed(&head[11..]);
        let result = reader.next_frame();
        let room = reader.large_rest().map(|buffer| buffer.capacity() - buffer.len());
        (early, result, room)
    });
    let case = (json, limit, flags, mtype, ss, size);
    assert_eq!(early, Ok(None), "{case:?}: judged before the header was there");
    match (verdict(json, limit, flags, mtype, ss, size), result) {
        (Err(expected), got) => {
            assert_eq!(got, Err(expected), "{case:?}");
            assert_eq!(room, None, "{case:?}: room for a frame that is refused");
            assert!(peak <= 1024, "{case:?} held {peak} bytes");
        }
        // Method and payload are still to come.
        (Ok(()), got) => {
            assert_eq!(got, Ok(None), "{case:?}");
            assert!(peak <= head.len() + CLAIM_COST, "{case:?} held {peak} bytes");
        }
    }
}

#[test]
fn every_header_at_a_boundary_gets_the_right_verdict_and_no_memory() {
    let bits = (0..8).map(|bit| 1 << bit);
    let flags: Vec<u8> = bits.clone().chain(bits.map(|bit| bit ^ 0x80)).chain([0xff, 0xc0, 0x7f]).collect();
    for limit in [PRE_LOGIN_LIMIT, SESSION_LIMIT] {
        for mtype in 0..=255 {
            for flags in &flags {
                for size in boundary_sizes(limit) {
                    for ss in [0, 1, 255] {
                        check_header(*flags == 0x40, limit, *flags, mtype, ss, size);
                    }
                }
            }
        }
    }
}

#[test]
fn only_the_flag_of_msgpack_is_taken_and_that_of_json_where_it_is_allowed() {
    for flags in 0..=255 {
        for json in [false, true] {
            check_header(json, SESSION_LIMIT, flags, 1, 4, 1);
        }
    }
}

#[test]
fn a_payload_as_large_as_the_limit_is_taken_and_one_byte_more_is_not() {
    for limit in [1, 2, PRE_LOGIN_LIMIT, SESSION_LIMIT] {
        for mtype in 0..=2 {
            let mut bytes = header(0x80, mtype, u8::from(mtype < 2), limit as u32);
            bytes.truncate(if mtype == 0 { 12 } else { 16 });
            bytes.extend(vec![b'x'; limit + usize::from(mtype < 2)]);
            let read = frames(FrameReader::new(limit), &bytes, &[]).unwrap();
            assert_eq!((read.len(), read[0].payload.len()), (1, limit));
            let smaller = frames(FrameReader::new(limit - 1), &bytes, &[]);
            assert_eq!(smaller, Err(FrameError::TooLarge(limit as u32)));
        }
    }
}

#[test]
fn the_limit_rises_with_the_login_from_the_next_frame_on() {
    let mut reader = FrameReader::new(PRE_LOGIN_LIMIT);
    reader.feed(&header(0x80, 2, 0, SESSION_LIMIT as u32));
    assert_eq!(reader.next_frame(), Err(FrameError::TooLarge(SESSION_LIMIT as u32)));
    reader.set_limit(SESSION_LIMIT);
    assert_eq!(reader.next_frame(), Ok(None));
}

#[test]
fn a_frame_that_trickles_in_costs_no_more_than_what_has_arrived() {
    for step in [1, 100, 5_000, 70_000] {
        let mut reader = FrameReader::new(SESSION_LIMIT);
        let ((), _) = peak_of(|| reader.feed(&header(0x80, 2, 0, SESSION_LIMIT as u32)));
        let before = HELD.get() - reader.buffered() as isize;
        let piece = vec![0; step];
        for _ in 0..(SESSION_LIMIT / step).min(2_000) {
            // As the sockets' loop does: into the reader's buffer when it offers one, else by copying.
            match reader.large_rest() {
                Some(buffer) => {
                    let room = buffer.capacity() - buffer.len();
                    buffer.extend_from_slice(&piece[..step.min(room)]);
                }
                None => reader.feed(&piece),
            }
            assert_eq!(reader.next_frame(), Ok(None));
            let held = (HELD.get() - before) as usize;
            let allowed = CLAIM_COST + 2 * reader.buffered() + 2 * step;
            assert!(held <= allowed, "{held} bytes are held for {} that arrived", reader.buffered());
        }
    }
}

/// A data frame with so many bytes in all.
fn large_frame(total: usize) -> Vec<u8> {
    let mut bytes = header(0x80, 2, 0, (total - 16) as u32);
    bytes.resize(total, b'x');
    bytes
}

#[test]
fn large_frames_of_one_size_are_read_into_the_same_memory_without_a_copy() {
    const SIZE: usize = 256 * 1024 + 100;
    let stream = large_frame(SIZE);
    let mut reader = FrameReader::new(SESSION_LIMIT).keep_apart();
    reader.expect_bulk();
    let before = HELD.get();
    let mut copied = 0;
    for round in 0..100 {
        let mut rest = &stream[..];
        let mut frame = None;
        while frame.is_none() {
            let read = match reader.large_rest() {
                Some(buffer) => {
                    let read = (buffer.capacity() - buffer.len()).min(rest.len());
                    buffer.extend_from_slice(&rest[..read]);
                    read
                }
                None => {
                    let read = reader.next_read(64 * 1024).min(rest.len());
                    reader.feed(&rest[..read]);
                    copied += if round > 0 { read } else { 0 };
                    read
                }
            };
            rest = &rest[read..];
            frame = reader.next_frame().unwrap();
        }
        let frame = frame.unwrap();
        assert!(rest.is_empty() && frame.payload.len() == SIZE - 16);
        let held = (HELD.get() - before) as usize;
        drop(frame);
        // The first one had its room only as it came.
        if round > 0 {
            assert!(held < SIZE + 4_096, "{held} bytes are held for one frame");
            assert!((SIZE..SIZE + 4_096).contains(&reader.memory()), "{}", reader.memory());
        }
    }
    assert!(copied <= 99 * 1_024, "{copied} bytes were copied");
    drop(reader);
    assert!(HELD.get() - before < 256, "spare buffers outlive their reader");
}

#[test]
fn a_claim_on_a_bulk_connection_costs_no_more_than_what_its_sender_has_sent_in_one_frame() {
    for sent in [1_000, 70_000, 300_000] {
        let mut reader = FrameReader::new(SESSION_LIMIT);
        reader.expect_bulk();
        reader.feed(&large_frame(sent));
        reader.next_frame().unwrap().unwrap();
        let ((), peak) = peak_of(|| {
            reader.feed(&header(0x80, 2, 0, SESSION_LIMIT as u32));
            assert_eq!(reader.next_frame(), Ok(None));
            let _ = reader.large_rest();
        });
        assert!(peak <= CLAIM_COST + sent, "{peak} bytes are held after a frame of {sent}");
    }
}

#[test]
fn a_reader_and_a_queue_without_work_hold_no_memory() {
    let before = HELD.get();
    let mut reader = FrameReader::new(SESSION_LIMIT);
    let mut queue = OutQueue::default();
    for len in [0, 10, 5_000, 1024 * 1024] {
        let data = Bytes::from(vec![1; len]);
        queue.routed("bob", 5, &Data { task: task(), offset: 0, data });
        queue.one_way(&Ping {});
        reader.feed(&queue.take());
        assert!(reader.next_frame().unwrap().is_some());
        assert!(reader.next_frame().unwrap().is_some());
        assert_eq!(reader.next_frame(), Ok(None));
        assert_eq!(HELD.get(), before, "after {len} bytes of data");
    }
}

#[test]
fn a_method_that_is_not_utf_8_is_no_method() {
    for (mtype, method) in [(0, &b"\xff"[..]), (1, b"crpin\xc3"), (1, b"\xed\xa0\x80"), (0, b"\xc0\xaf")] {
        let mut bytes = header(0x80, mtype, method.len() as u8, 1);
        bytes.truncate(if mtype == 0 { 12 } else { 16 });
        bytes.extend(method);
        bytes.push(0x80);
        assert_eq!(frames(FrameReader::new(100), &bytes, &[]), Err(FrameError::Method), "{method:?}");
    }
}

#[test]
fn other_protocols_are_recognised_by_the_first_byte_that_is_not_ours() {
    let strangers: [(&[u8], usize); 14] = [
        (b"GET /service/two HTTP/1.1\r\n", 1),
        (b"POST /service/two HTTP/1.1\r\n", 1),
        (b"HTTP/1.1 400 Bad Request\r\n", 1),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 1),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 1), // TLS ClientHello
        (b"\x15\x03\x03\x00\x02\x02\x28", 1),                 // TLS alert
        (b"SSH-2.0-OpenSSH_9.6\r\n", 1),
        (b"220 mail.example.com ESMTP\r\n", 1),
        (b"\x82\xda\x05\xf3\x9d\xad", 1), // WebSocket
        (b"\0\0\0\x2b", 1),
        (b"FETCH 1:*", 2),
        (b"FPnn", 3),
        (b"FPNM", 4),
        (b"fpnn", 1),
    ];
    for (stream, at) in strangers {
        let mut reader = FrameReader::new(SESSION_LIMIT);
        for (index, byte) in stream[..at].iter().enumerate() {
            assert_eq!(reader.next_frame(), Ok(None), "{stream:?} after {index} bytes");
            reader.feed(&[*byte]);
        }
        assert_eq!(reader.next_frame(), Err(FrameError::Magic), "{stream:?}");
        assert!(reader.large_rest().is_none(), "{stream:?}");
        let mut reader = FrameReader::new(SESSION_LIMIT);
        reader.feed(stream);
        assert_eq!(reader.next_frame(), Err(FrameError::Magic), "{stream:?} as a whole");
    }
}

// ---- payloads ---------------------------------------------------------------------------------------------

fn task() -> crvideo_proto::id::TaskId {
    crvideo_proto::id::TaskId::from_bytes([7; 16])
}

/// What a key of a message may hold (`docs/wire.md`), with the width that its field has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Unsigned, of this many bits.
    U(u32),
    /// Signed, of 64 bits.
    I,
    Str,
    /// Bytes, of a fixed length if there is one.
    Bin(Option<usize>),
    Bool,
    Names,
    Stretches,
}
use Kind::{Bin, Bool, I, Names, Str, Stretches, U};

const ID: Kind = Bin(Some(16));

type ReadAny = fn(&Bytes) -> Result<(), PackError>;

/// A body, how it is read, and its keys; those with a question mark may be absent.
struct Shape {
    name: &'static str,
    read: ReadAny,
    keys: Vec<(&'static str, bool, Kind)>,
}

fn shape<B: Body>(name: &'static str, keys: &[(&'static str, Kind)]) -> Shape {
    let keys = keys.iter().map(|(key, kind)| (key.trim_end_matches('?'), key.ends_with('?'), *kind)).collect();
    Shape { name, read: |payload| B::read(payload).map(|_| ()), keys }
}

/// A routed body as its target reads it; the address stands in front.
fn routed<M: Message>(keys: &[(&'static str, Kind)]) -> [Shape; 2] {
    let name = M::METHOD;
    let mut target = shape::<M>(name, &[&[("fr", Str), ("fe", U(64))], keys].concat());
    target.read = |payload| Routed::<M>::read(payload).map(|_| ());
    [shape::<M>(name, keys), target]
}

/// The tables of `docs/wire.md`.
fn shapes() -> Vec<Shape> {
    let mut shapes = vec![
        shape::<Empty>("an empty answer", &[]),
        shape::<ErrorAnswer>("an error answer", &[("code", I), ("ex", Str)]),
        shape::<Hello>("crhello", &[("lo", U(32)), ("hi", U(32)), ("feat", U(64)), ("agent", Str)]),
        shape::<HelloAnswer>("crhello's answer", &[("v", U(32)), ("feat", U(64)), ("agent", Str), ("salt?", U(32))]),
        shape::<Login>("crlogin", &[("pid", I), ("uid", Str), ("token", Str), ("sid", ID), ("e", U(64))]),
        shape::<LoginAnswer>(
            "crlogin's answer",
            &[("e", U(64)), ("res", Bool), ("ticket", ID), ("exp", U(64)), ("hb", U(32)), ("maxfile", U(64))],
        ),
        shape::<Bulk>("crbulk", &[("ticket", ID), ("lost?", Bool)]),
        shape::<BulkAnswer>("crbulk's answer", &[("ticket", ID)]),
        shape::<NewTicket>("crticket", &[]),
        shape::<UpdateToken>("crtoken", &[("token", Str)]),
        shape::<TokenAnswer>("crtoken's answer", &[("exp", U(64))]),
        shape::<Logout>("crlogout", &[]),
        shape::<CloseBulk>("crclose", &[]),
        shape::<Ping>("crping", &[]),
        shape::<Pong>("crpong", &[]),
        shape::<Bye>("crbye", &[("c", I), ("text", Str)]),
        shape::<Find>("crfind", &[("u", Str)]),
        shape::<FindAnswer>("crfind's answer", &[("e", U(64)), ("st", U(8))]),
        shape::<Peer>("crpeer", &[("u", Str), ("e", U(64)), ("st", U(8)), ("cl", U(8))]),
        shape::<Wake>("crwake", &[]),
        shape::<Users>("crusers", &[("u?", Str), ("after?", Str)]),
        shape::<UsersAnswer>("crusers's answer", &[("us", Names), ("more", Bool)]),
        shape::<Watch>("crwatch", &[("on", Bool)]),
        shape::<Status>("crstatus", &[("u", Str), ("st", U(8))]),
        shape::<Rtm>(
            "crrtm",
            &[
                ("i", ID),
                ("from", I),
                ("k", U(8)),
                ("x", I),
                ("mid", I),
                ("mt", U(8)),
                ("mtime", I),
                ("attrs", Str),
                ("d", Bin(None)),
            ],
        ),
        shape::<Got>("crgot", &[("i", ID)]),
    ];
    let command = [("p", U(64)), ("b", U(64)), ("s", U(64)), ("i", ID), ("k", Bool), ("d", Bin(None))];
    shapes.extend(routed::<Command>(&command));
    shapes.extend(routed::<CommandAck>(&[("p", U(64)), ("l", U(64)), ("f", Stretches)]));
    shapes.extend(routed::<Offer>(&[("i", ID), ("k", U(8)), ("n", Str), ("s", U(64)), ("re", Bool)]));
    shapes.extend(routed::<Data>(&[("i", ID), ("o", U(64)), ("d", Bin(None))]));
    shapes.extend(routed::<End>(&[("i", ID), ("h", Bin(Some(32)))]));
    shapes.extend(routed::<Go>(&[("i", ID), ("o", U(64)), ("l", U(64))]));
    shapes.extend(routed::<Confirm>(&[("i", ID), ("o", U(64)), ("l", U(64))]));
    shapes.extend(routed::<Cancel>(&[("i", ID), ("c", I)]));
    shapes.extend(routed::<Done>(&[("i", ID), ("c", I)]));
    shapes
}

fn bin(len: usize) -> Vec<u8> {
    [&[0xc4, u8::try_from(len).unwrap()][..], &vec![b'b'; len]].concat()
}

fn good(kind: Kind) -> Vec<u8> {
    match kind {
        U(_) | I => vec![1],
        Str => text("text"),
        Bin(len) => bin(len.unwrap_or(5)),
        Bool => vec![0xc3],
        Names => [vec![0x92], text("a"), text("b")].concat(),
        Stretches => vec![0x92, 0x92, 1, 2, 0x92, 3, 4],
    }
}

impl Shape {
    fn pairs(&self) -> Vec<(&'static str, Vec<u8>)> {
        self.keys.iter().map(|(key, _, kind)| (*key, good(*kind))).collect()
    }

    /// The error of a map in which the value of `key` is another one.
    fn with(&self, key: &str, value: Vec<u8>) -> Result<(), PackError> {
        let mut pairs = self.pairs();
        pairs.iter_mut().filter(|(name, _)| *name == key).for_each(|pair| pair.1 = value.clone());
        (self.read)(&map(&pairs))
    }
}

/// One value of every type and width that msgpack has, with the integer that it is, or the length of its bytes.
fn all_types() -> Vec<(Vec<u8>, Option<i128>, Option<usize>)> {
    let ints: [(&[u8], i128); 14] = [
        (&[0x7f], 127),
        (&[0xe0], -32),
        (&[0xcc, 0xff], 255),
        (&[0xcd, 1, 0], 256),
        (&[0xce, 0xff, 0xff, 0xff, 0xff], u32::MAX as i128),
        (&[0xcf, 0, 0, 0, 1, 0, 0, 0, 0], 1 << 32),
        (&[0xcf, 0x80, 0, 0, 0, 0, 0, 0, 0], 1 << 63),
        (&[0xcf, 0, 0, 0, 0, 0, 0, 0, 7], 7),
        (&[0xd0, 0x80], -128),
        (&[0xd1, 0xff, 0xff], -1),
        (&[0xd1, 0, 200], 200),
        (&[0xd2, 0x80, 0, 0, 0], i32::MIN as i128),
        (&[0xd3, 0, 0, 0, 0, 0, 0, 0, 100], 100),
        (&[0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0], i64::MIN as i128),
    ];
    let bytes = |head: &[u8], len: usize| ([head, &vec![b'x'; len][..]].concat(), None, Some(len));
    let mut all: Vec<_> = ints.iter().map(|(bytes, value)| (bytes.to_vec(), Some(*value), None)).collect();
    all.extend([
        bytes(&[0xa3], 3),
        bytes(&[0xd9, 16], 16),
        bytes(&[0xda, 0, 32], 32),
        bytes(&[0xdb, 0, 0, 0, 0], 0),
        bytes(&[0xc4, 16], 16),
        bytes(&[0xc5, 0, 15], 15),
        bytes(&[0xc6, 0, 0, 0, 17], 17),
    ]);
    let others: [&[u8]; 22] = [
        &[0xc0],
        &[0xc2],
        &[0xc3],
        &[0xca, 0x3f, 0x80, 0, 0],
        &[0xcb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0],
        &[0x80],
        &[0x81, 0xa1, b'a', 1],
        &[0xde, 0, 0],
        &[0xdf, 0, 0, 0, 1, 1, 2],
        &[0x90],
        &[0x91, 0xa1, b'a'],
        &[0x91, 0x92, 1, 2],
        &[0xdc, 0, 1, 0xa0],
        &[0xdd, 0, 0, 0, 0],
        &[0xd4, 1, 0],
        &[0xd5, 1, 0, 0],
        &[0xd6, 1, 0, 0, 0, 0],
        &[0xd7, 1, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0xd8, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0xc7, 2, 1, 0, 0],
        &[0xc8, 0, 1, 1, 0],
        &[0xc9, 0, 0, 0, 0, 1],
    ];
    all.extend(others.iter().map(|bytes| (bytes.to_vec(), None, None)));
    all
}

/// Whether the document lets a key of this kind hold the value: integers in any width, text and bytes in each other's
/// clothes, and nothing else.
fn fits(kind: Kind, bytes: &[u8], int: Option<i128>, len: Option<usize>) -> bool {
    match kind {
        U(bits) => int.is_some_and(|value| (0..1_i128 << bits).contains(&value)),
        I => int.is_some_and(|value| i64::try_from(value).is_ok()),
        Str | Bin(None) => len.is_some(),
        Bin(fixed) => len == fixed && len.is_some(),
        Bool => matches!(bytes, [0xc2 | 0xc3]),
        Names => matches!(bytes, [0x90] | [0x91, 0xa1, ..] | [0xdc, 0, 1, 0xa0] | [0xdd, 0, 0, 0, 0]),
        Stretches => matches!(bytes, [0x90] | [0x91, 0x92, 1, 2] | [0xdd, 0, 0, 0, 0]),
    }
}

#[test]
fn every_key_takes_the_values_of_its_type_and_no_others() {
    for shape in shapes() {
        for (key, _, kind) in &shape.keys {
            for (bytes, int, len) in all_types() {
                let result = shape.with(key, bytes.clone());
                let case = format!("{} with {bytes:02x?} as {key:?}", shape.name);
                if fits(*kind, &bytes, int, len) {
                    assert_eq!(result, Ok(()), "{case}");
                } else {
                    assert_eq!(result, Err(PackError::Type(key)), "{case}");
                }
            }
            // 0xc1 is the one byte that msgpack leaves free.
            assert_eq!(shape.with(key, vec![0xc1]), Err(PackError::Type(key)));
        }
    }
}

#[test]
fn every_key_must_be_there_unless_the_document_says_otherwise() {
    for shape in shapes() {
        assert_eq!((shape.read)(&map(&shape.pairs())), Ok(()), "{}", shape.name);
        for (key, optional, _) in &shape.keys {
            let mut pairs = shape.pairs();
            pairs.retain(|(name, _)| name != key);
            let expected = if *optional { Ok(()) } else { Err(PackError::Missing(key)) };
            assert_eq!((shape.read)(&map(&pairs)), expected, "{} without {key:?}", shape.name);
        }
    }
}

#[test]
fn no_key_may_stand_twice() {
    for shape in shapes() {
        for (key, _, kind) in &shape.keys {
            let mut pairs = shape.pairs();
            pairs.push((key, good(*kind)));
            // A second address is the relay's to refuse; its target takes the first one, see the next test.
            let expected = if matches!(*key, "fr" | "fe") { Ok(()) } else { Err(PackError::Twice(key)) };
            assert_eq!((shape.read)(&map(&pairs)), expected, "{} with {key:?} twice", shape.name);
        }
    }
}

#[test]
fn a_second_sender_inside_a_routed_message_deceives_nobody() {
    let pairs = [("fr", text("alice")), ("fe", vec![5]), ("c", vec![0]), ("fr", text("mallory")), ("fe", vec![6])];
    let payload = map(&[&pairs[..], &[("i", bin(16))]].concat());
    let message = Routed::<Done>::read(&payload).unwrap();
    assert_eq!((message.from.as_str(), message.epoch), ("alice", 5));
    for order in [[1, 0, 2, 5], [2, 0, 1, 5], [0, 2, 1, 5]] {
        let all = [&pairs[..], &[("i", bin(16))]].concat();
        let moved: Vec<_> = order.iter().map(|at| all[*at].clone()).collect();
        let missing = if order[0] == 0 { "fe" } else { "fr" };
        assert_eq!(Routed::<Done>::read(&map(&moved)), Err(PackError::Missing(missing)), "{order:?}");
    }
}

#[test]
fn text_that_is_not_utf_8_is_refused() {
    let broken: [&[u8]; 6] = [b"\xff", b"a\xc3", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe6\x8a"];
    for shape in shapes() {
        for (key, _, kind) in &shape.keys {
            for bytes in broken {
                let str = [&[0xa0 + bytes.len() as u8], bytes].concat();
                let bin = [&[0xc4, bytes.len() as u8], bytes].concat();
                for value in [str, bin] {
                    match kind {
                        Str => assert_eq!(shape.with(key, value), Err(PackError::Type(key)), "{}", shape.name),
                        Names => {
                            let list = [&[0x91][..], &value].concat();
                            assert_eq!(shape.with(key, list), Err(PackError::Type(key)), "{}", shape.name);
                        }
                        Bin(None) => assert_eq!(shape.with(key, value), Ok(()), "{}", shape.name),
                        _ => {}
                    }
                }
            }
        }
    }
}

#[test]
fn lists_hold_at_most_two_thousand_elements() {
    for len in [1_999_u16, 2_000, 2_001, 2_002, 65_535] {
        let head = [&[0xdc][..], &len.to_be_bytes()].concat();
        let names = [head.clone(), vec![0xa0; len.into()]].concat();
        let stretches = [head, [0x92, 1, 2].repeat(len.into())].concat();
        let (users, users_peak) = peak_of(|| UsersAnswer::read(&map(&[("us", &names[..]), ("more", &[0xc2])])));
        let (ack, _) = peak_of(|| CommandAck::read(&map(&[("p", &[0][..]), ("l", &[0]), ("f", &stretches)])));
        if len <= 2_000 {
            assert_eq!(users.unwrap().users.len(), usize::from(len));
            assert_eq!(ack.unwrap().refused.len(), usize::from(len));
        } else {
            assert_eq!(users, Err(PackError::Type("us")));
            assert_eq!(ack, Err(PackError::Type("f")));
            // The map itself was made inside.
            assert!(users_peak <= 4 * (usize::from(len) + 100), "{users_peak}");
        }
    }
}

#[test]
fn a_stretch_has_two_ends() {
    for value in [&[0x91, 0x90][..], &[0x91, 0x91, 1], &[0x91, 0x93, 1, 2, 3], &[0x91, 1], &[0x92, 0x92, 1, 2, 0xc0]] {
        let payload = map(&[("p", &[0][..]), ("l", &[0]), ("f", value)]);
        assert_eq!(CommandAck::read(&payload), Err(PackError::Type("f")), "{value:02x?}");
    }
}

#[test]
fn a_root_that_is_not_one_map_with_text_keys_is_refused() {
    let roots: [(&[u8], PackError); 13] = [
        (b"", PackError::Truncated),
        (b"\xc0", PackError::NotAMap),
        (b"\x90", PackError::NotAMap),
        (b"\x91\x80", PackError::NotAMap),
        (b"\xa1a", PackError::NotAMap),
        (b"\xc1", PackError::NotAMap),
        (b"{\"a\":1}", PackError::NotAMap),
        (b"\x81\x01\x01", PackError::Key),
        (b"\x81\xc4\x01a\x01", PackError::Key),
        (b"\x81\xc0\x01", PackError::Key),
        (b"\x81\x80\x01", PackError::Key),
        (b"\x80\x80", PackError::Trailing),
        (b"\x81\xa1?\xc1", PackError::Reserved),
    ];
    for (root, error) in roots {
        let payload = Bytes::from_static(root);
        assert_eq!(validate(&payload), Err(error.clone()), "{root:02x?}");
        for shape in shapes().iter().filter(|shape| shape.keys.is_empty()) {
            assert_eq!((shape.read)(&payload), Err(error.clone()), "{} of {root:02x?}", shape.name);
        }
        for shape in shapes() {
            assert!((shape.read)(&payload).is_err(), "{} of {root:02x?}", shape.name);
        }
    }
}

/// A map with one unknown key, whose value is `levels` containers in each other around `core`.
fn nested(open: &[u8], levels: usize, core: &[u8]) -> Bytes {
    [&[0x81, 0xa1, b'?'][..], &open.repeat(levels), core].concat().into()
}

const OPENINGS: [&[u8]; 6] =
    [&[0x91], &[0xdc, 0, 1], &[0xdd, 0, 0, 0, 1], &[0x81, 0xa1, b'a'], &[0xde, 0, 1, 0xa0], &[0xdf, 0, 0, 0, 1, 0xc0]];

#[test]
fn nesting_to_sixteen_is_taken_and_deeper_is_refused() {
    assert_eq!(MAX_DEPTH, 16);
    for open in OPENINGS {
        for core in [&[0xc0][..], &[0x01], &[0xa1, b'x'], &[0xd9, 0], &[0xc7, 0, 1]] {
            assert_eq!(validate(&nested(open, 15, core)), Ok(()), "{open:02x?}");
            assert_eq!(validate(&nested(open, 16, core)), Err(PackError::Depth), "{open:02x?}");
        }
        // A container is one more level even when nothing is in it.
        for core in [&[0x80][..], &[0x90], &[0xdc, 0, 0], &[0xdd, 0, 0, 0, 0], &[0xde, 0, 0], &[0xdf, 0, 0, 0, 0]] {
            assert_eq!(validate(&nested(open, 14, core)), Ok(()), "{open:02x?} around {core:02x?}");
            assert_eq!(validate(&nested(open, 15, core)), Err(PackError::Depth), "{open:02x?} around {core:02x?}");
        }
    }
}

#[test]
fn after_a_deep_value_the_next_one_may_be_as_deep() {
    let deep = [&[0x91; 15][..], &[0xc0]].concat();
    let wide = [&[0x9f][..], &[&[0x91; 14][..], &[0xc0]].concat().repeat(15)].concat();
    let pairs = [("a", &deep[..]), ("b", &wide), ("c", &deep), ("d", &[0x90])];
    assert_eq!(validate(&map(&pairs)), Ok(()));
    assert_eq!(Empty::read(&map(&pairs)), Ok(Empty {}));
}

#[test]
fn bombs_of_depth_are_refused_on_a_small_stack() {
    let bombs = || {
        let shapes = shapes();
        for levels in [15, 16, 17, 1_000, 1_000_000] {
            for open in OPENINGS {
                let full = nested(open, levels, &[0xc0]);
                let cut = nested(open, levels, &[]);
                let expected = if levels < MAX_DEPTH { Ok(()) } else { Err(PackError::Depth) };
                let (result, peak) = peak_of(|| validate(&full));
                assert_eq!((result, peak), (expected.clone(), 0), "{levels} of {open:02x?}");
                let broken = if levels < MAX_DEPTH { PackError::Truncated } else { PackError::Depth };
                assert_eq!(validate(&cut), Err(broken), "{levels} of {open:02x?}");
                // Without a map around it.
                assert!(validate(&Bytes::from(open.repeat(levels))).is_err());
                for shape in &shapes {
                    let result = (shape.read)(&full);
                    assert!(result.is_err() || (levels < MAX_DEPTH && shape.keys.iter().all(|(_, absent, _)| *absent)));
                    for (key, ..) in &shape.keys {
                        let value = [&open.repeat(levels.min(1_000)), &[0xc0][..]].concat();
                        assert!(shape.with(key, value).is_err(), "{} with a bomb as {key:?}", shape.name);
                    }
                }
            }
        }
    };
    thread::Builder::new().stack_size(128 * 1024).spawn(bombs).unwrap().join().unwrap();
}

fn too_long<T: Debug + PartialEq>(what: &[u8], read: impl Fn(&Bytes) -> Result<T, PackError>, payload: &Bytes) {
    let (result, peak) = peak_of(|| read(payload));
    assert_eq!(result.unwrap_err(), PackError::Truncated, "{what:02x?}");
    assert!(peak <= 1024, "{what:02x?} held {peak} bytes");
}

#[test]
fn lengths_beyond_the_payload_are_truncation_and_cost_nothing() {
    let strings: [&[u8]; 12] = [
        &[0xbf],
        &[0xd9, 0xff],
        &[0xda, 0xff, 0xff],
        &[0xdb, 0xff, 0xff, 0xff, 0xff],
        &[0xdb, 0x7f, 0xff, 0xff, 0xff],
        &[0xdb, 0x80, 0, 0, 0],
        &[0xc4, 0xff],
        &[0xc5, 0xff, 0xff],
        &[0xc6, 0xff, 0xff, 0xff, 0xff],
        &[0xc6, 0xff, 0xff, 0xff, 0xfb],
        &[0xc6, 0, 0x10, 0, 0],
        &[0xa5],
    ];
    let others: [&[u8]; 20] = [
        &[0xc7, 0xff, 1],
        &[0xc8, 0xff, 0xff, 1],
        &[0xc9, 0xff, 0xff, 0xff, 0xff, 1],
        &[0xd8, 1],
        &[0x9f],
        &[0xdc, 0xff, 0xff],
        &[0xdd, 0xff, 0xff, 0xff, 0xff],
        &[0xdd, 0x80, 0, 0, 0],
        &[0x8f],
        &[0xde, 0xff, 0xff],
        &[0xdf, 0xff, 0xff, 0xff, 0xff],
        &[0xdf, 0x80, 0, 0, 0],
        &[0xcf, 1],
        &[0xd3],
        &[0xcb, 0, 0, 0],
        &[0xca],
        // The length itself is cut short.
        &[0xda, 0xff],
        &[0xdf, 0, 0],
        &[0xc6],
        &[0xdd, 0xff, 0xff, 0xff],
    ];
    for value in strings.iter().chain(&others) {
        // Some bytes follow, but far fewer than are claimed.
        for rest in [&b""[..], b"xyz"] {
            let payload = map(&[("?", [value, rest].concat())]);
            too_long(value, validate, &payload);
            too_long(value, Empty::read, &payload);
        }
    }
    for value in strings {
        too_long(value, Find::read, &map(&[("u", value)]));
        too_long(value, Data::read, &map(&[("d", value)]));
        too_long(value, Bulk::read, &map(&[("ticket", value)]));
        too_long(value, UsersAnswer::read, &map(&[("us", [&[0x91], value].concat())]));
        too_long(value, |payload| Address::to(payload).map(|_| ()), &map(&[("to", value), ("te", &[5])]));
    }
    for value in [&[0x93, 0xa0][..], &[0x9f], &[0xdc, 0x07, 0xd0], &[0xdd, 0xff, 0xff, 0xff, 0xff]] {
        too_long(value, UsersAnswer::read, &map(&[("us", value)]));
        too_long(value, CommandAck::read, &map(&[("f", value)]));
    }
    for root in [&[0x8f][..], &[0xde, 0xff, 0xff], &[0xdf, 0xff, 0xff, 0xff, 0xff], &[0xdf, 0x80, 0, 0, 0, 0xa0, 0xc0]]
    {
        let payload = Bytes::copy_from_slice(root);
        too_long(root, validate, &payload);
        for shape in shapes() {
            too_long(root, shape.read, &payload);
        }
    }
}

#[test]
fn the_address_of_a_routed_message_stands_first_and_in_order() {
    let good = [("to", text("bob")), ("te", vec![5]), ("x", vec![0xc0])];
    let payload = map(&good);
    let address = Address::to(&payload).unwrap();
    assert_eq!((address.user, address.epoch, address.pairs), ("bob", 5, 3));
    assert_eq!(&payload[address.rest..], b"\xa1x\xc0");
    type Pairs<'a> = &'a [(&'static str, Vec<u8>)];
    let wrong: [(Pairs<'_>, PackError); 9] = [
        (&[], PackError::Missing("to")),
        (&good[..1], PackError::Missing("to")),
        (&[good[1].clone(), good[0].clone()], PackError::Missing("to")),
        (&[good[0].clone(), good[2].clone(), good[1].clone()], PackError::Missing("te")),
        (&[good[0].clone(), good[0].clone(), good[1].clone()], PackError::Missing("te")),
        (&[("to", vec![1]), good[1].clone()], PackError::Type("to")),
        (&[("to", b"\xa1\xff".to_vec()), good[1].clone()], PackError::Type("to")),
        (&[good[0].clone(), ("te", vec![0xff])], PackError::Type("te")),
        (&[good[0].clone(), ("te", text("5"))], PackError::Type("te")),
    ];
    for (pairs, error) in wrong {
        assert_eq!(Address::to(&map(pairs)), Err(error), "{pairs:02x?}");
    }
}

#[test]
fn a_payload_of_a_million_small_values_is_read_in_passing() {
    let array = [&[0xdd, 0, 0x0f, 0xff, 0xf0][..], &vec![0x90; 0x0f_fff0]].concat();
    let pairs = [map_head(15), [text("?"), vec![0xc0]].concat().repeat(14), text("last"), array].concat();
    let payload = Bytes::from(pairs);
    let (result, peak) = peak_of(|| validate(&payload));
    assert_eq!((result, peak), (Ok(()), 0));
    let mut reader = Reader::new(&payload);
    assert_eq!(reader.skip(0), Ok(()));
    assert_eq!(reader.finish(), Ok(()));
}
