//! Packages that real FPNN programs put on the wire (`golden/INDEX.txt`), each with a listing of what it says that
//! was made by another decoder. They must be decoded to just that, and encoded again to the same bytes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use common::{frames, hex};
use crvideo_proto::frame::{Frame, FrameError, FrameReader, Kind};
use crvideo_proto::message::{Empty, ErrorAnswer, read_answer};
use crvideo_proto::pack::{Reader, validate};

const LIMIT: usize = 8 * 1024 * 1024;

const ENCRYPTED: &str = "encrypted by FPNN's own scheme, which this crate does not speak; the plain text that the \
                         comment gives is decoded instead";
const HTTP: &str = "HTTP, not an FPNN package; read as text";
const HEAD: &str = "the first 192 bytes of a package of 76,975";
const WEBSOCKET: &str = "an FPNN package inside a WebSocket frame, which the test takes off";

/// The files that are not simply one package, and why.
const SPECIAL: [(&str, &str); 20] = [
    ("17-sendfile-quest-python-bin32-head", HEAD),
    ("60-ws-upgrade-request", HTTP),
    ("61-ws-upgrade-answer", HTTP),
    ("62-ws-auth-quest", WEBSOCKET),
    ("63-ws-auth-answer", WEBSOCKET),
    ("70b-key-answer-python-k1-pkg-128", ENCRYPTED),
    ("70c-first-quest-python-k1-pkg-128", ENCRYPTED),
    ("71b-key-answer-cpp-k1-pkg-128", ENCRYPTED),
    ("71c-first-quest-cpp-k1-pkg-128", ENCRYPTED),
    ("72b-key-answer-node-k1-pkg-256", ENCRYPTED),
    ("72c-first-quest-node-k1-pkg-256", ENCRYPTED),
    ("73b-key-answer-go-k1-stream-128", ENCRYPTED),
    ("73c-first-quest-go-k1-stream-128", ENCRYPTED),
    ("74b-key-answer-cpp-r1-stream-256", ENCRYPTED),
    ("74c-first-quest-cpp-r1-stream-256", ENCRYPTED),
    ("75b-key-answer-java-r1-pkg-128", ENCRYPTED),
    ("75c-first-quest-java-r1-pkg-128", ENCRYPTED),
    ("85-stock-http-get", HTTP),
    ("86-stock-http-get-answer", HTTP),
    ("87-stock-http-post-error", HTTP),
];

/// One file: the bytes, and what its comments say of them.
struct Vector {
    name: String,
    bytes: Vec<u8>,
    plaintext: Option<Vec<u8>>,
    version: Option<u8>,
    flags: Option<u8>,
    kind: Option<Kind>,
    method_len: Option<usize>,
    status: Option<u8>,
    payload_len: Option<usize>,
    seq: Option<u32>,
    method: Option<String>,
    /// Key, msgpack type, and the value as Python writes it.
    listing: Vec<(String, String, String)>,
}

impl Vector {
    fn reason(&self) -> Option<&'static str> {
        SPECIAL.iter().find(|(name, _)| *name == self.name).map(|(_, reason)| *reason)
    }
}

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "golden"].iter().collect()
}

fn file_names() -> BTreeSet<String> {
    fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn vectors() -> Vec<Vector> {
    let names = file_names();
    names.iter().filter_map(|name| name.strip_suffix(".hex")).map(read).collect()
}

fn vectors_for(reason: Option<&str>) -> Vec<Vector> {
    let vectors: Vec<_> = vectors().into_iter().filter(|vector| vector.reason() == reason).collect();
    assert!(!vectors.is_empty());
    vectors
}

fn read(name: &str) -> Vector {
    let text = fs::read_to_string(folder().join(format!("{name}.hex"))).unwrap();
    let (comments, dump): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.starts_with('#'));
    let dump: Vec<_> = dump.iter().filter(|line| line.starts_with(|char: char| char.is_ascii_hexdigit())).collect();
    let bytes: Vec<u8> = dump.iter().flat_map(|line| hex(&line[8..58])).collect();
    let mut vector = Vector {
        name: name.to_owned(),
        bytes,
        plaintext: None,
        version: None,
        flags: None,
        kind: None,
        method_len: None,
        status: None,
        payload_len: None,
        seq: None,
        method: None,
        listing: Vec::new(),
    };
    for line in comments {
        comment(&mut vector, line);
    }
    vector
}

/// Takes what one comment line says.
fn comment(vector: &mut Vector, line: &str) {
    let number = |prefix| line.split(prefix).nth(1).map(|rest| rest.trim_end_matches(" (LE)").parse::<u32>().unwrap());
    if let Some(raw) = line.strip_prefix("# raw hex: ") {
        match raw.strip_suffix("...") {
            None => assert_eq!(hex(raw), vector.bytes, "{}: the dump and the raw hex differ", vector.name),
            Some(head) => assert!(vector.bytes.starts_with(&hex(head)), "{}", vector.name),
        }
    } else if let Some(plaintext) = line.strip_prefix("# plaintext ") {
        vector.plaintext = Some(hex(plaintext));
    } else if let Some(row) = line.strip_prefix("#    ") {
        let (key, rest) = row.split_once(' ').unwrap();
        let (kind, value) = rest.trim_start().split_once(' ').unwrap();
        vector.listing.push((key.to_owned(), kind.to_owned(), value.trim_start().to_owned()));
    } else if line.starts_with("# 4      ") {
        vector.version = Some(hex(&line[9..11])[0]);
    } else if line.starts_with("# 5      ") {
        vector.flags = Some(hex(&line[9..11])[0]);
    } else if line.ends_with("  mtype oneway quest") {
        vector.kind = Some(Kind::OneWay);
    } else if line.ends_with("  mtype twoway quest") {
        vector.kind = Some(Kind::Quest);
    } else if line.ends_with("  mtype answer") {
        vector.kind = Some(Kind::Answer);
    } else if line.ends_with("  method length") {
        vector.method_len = Some(usize::from(hex(&line[9..11])[0]));
    } else if line.ends_with("  answer status") {
        vector.status = Some(hex(&line[9..11])[0]);
    } else if line.starts_with("# 8..11 ") {
        vector.payload_len = number("payload size ").map(|len| len as usize);
    } else if line.starts_with("# 12..15 ") && line.contains(" seq ") {
        vector.seq = number(" seq ");
    } else if let Some((_, method)) = line.split_once(" method \"") {
        vector.method = Some(method.trim_end_matches('"').to_owned());
    }
}

/// Random numbers that are the same in every run (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) as usize % below
    }

    fn ends(&mut self, len: usize) -> Vec<usize> {
        let mut ends = Vec::new();
        let mut end = 0;
        while end < len {
            ends.push(end);
            end += self.roll(1 + self.0 as usize % 40);
        }
        ends
    }
}

fn reader() -> FrameReader {
    FrameReader::new(LIMIT).allow_json()
}

/// Decodes `bytes` in all ways to the same one frame, and encodes it to the same bytes.
fn decode(name: &str, bytes: &[u8]) -> Frame {
    let whole = frames(reader(), bytes, &[]).unwrap();
    let [frame] = &whole[..] else { panic!("{name}: {} frames", whole.len()) };
    let every: Vec<usize> = (1..bytes.len()).collect();
    assert_eq!(frames(reader(), bytes, &every).unwrap(), whole, "{name}: fed byte by byte");
    let mut dice = Dice(bytes.len() as u64);
    for _ in 0..20 {
        let ends = dice.ends(bytes.len());
        assert_eq!(frames(reader(), bytes, &ends).unwrap(), whole, "{name}: fed in pieces ending at {ends:?}");
    }
    for len in 0..bytes.len() {
        let mut reader = reader();
        reader.feed(&bytes[..len]);
        assert_eq!(reader.next_frame(), Ok(None), "{name}: the first {len} bytes");
    }
    let mut again = Vec::new();
    frame.encode(&mut again);
    assert_eq!(again, bytes, "{name}: encoded again");
    frame.clone()
}

/// Compares a frame with its file's comments.
fn compare(vector: &Vector, frame: &Frame) {
    let name = &vector.name;
    assert_eq!(Some(frame.version), vector.version, "{name}");
    assert_eq!(Some(frame.flags), vector.flags, "{name}");
    assert_eq!(Some(frame.kind), vector.kind, "{name}");
    assert_eq!(Some(frame.payload.len()), vector.payload_len, "{name}");
    assert_eq!(frame.seq, vector.seq.unwrap_or(0), "{name}");
    assert_eq!(vector.seq.is_none(), frame.kind == Kind::OneWay, "{name}");
    assert_eq!(frame.method(), vector.method.as_deref().unwrap_or(""), "{name}");
    assert_eq!(frame.method.len(), vector.method_len.unwrap_or(0), "{name}");
    assert_eq!(frame.status, vector.status.unwrap_or(0), "{name}");
    assert_eq!(validate(&frame.payload), Ok(()), "{name}");
    assert_eq!(listing(&frame.payload), listed(vector), "{name}");
    if frame.kind == Kind::Answer {
        let answer = read_answer::<Empty>(frame).unwrap();
        assert_eq!(answer.is_ok(), frame.status == 0, "{name}");
    }
}

/// The listing of the comments; of long values it gives the length alone.
fn listed(vector: &Vector) -> Vec<(String, String, String)> {
    let mut rows = vector.listing.clone();
    for (_, _, value) in &mut rows {
        if let Some(len) = value.strip_prefix('<').and_then(|rest| rest.split(' ').next()) {
            *value = format!("{len} bytes");
        }
    }
    rows
}

/// A payload in the form of the comments, read with [`Reader`]. Only the types' names come from the bytes themselves.
fn listing(payload: &Bytes) -> Vec<(String, String, String)> {
    let mut reader = Reader::new(payload);
    let pairs = reader.map().unwrap();
    let mut rows = Vec::new();
    for _ in 0..pairs {
        let key = String::from_utf8(reader.key().unwrap().to_vec()).unwrap();
        let kind = type_name(payload[reader.position()]);
        let start = reader.clone();
        let value = python(&mut reader, payload);
        let long = start.clone().slice("").is_ok_and(|bytes| bytes.len() > 120);
        let value = if long { format!("{} bytes", start.clone().slice("").unwrap().len()) } else { value };
        let mut skipped = start;
        skipped.skip(1).unwrap();
        assert_eq!(skipped.position(), reader.position(), "{key} is not passed over as it is read");
        rows.push((key, kind.to_owned(), value));
    }
    reader.finish().unwrap();
    rows
}

fn type_name(marker: u8) -> &'static str {
    match marker {
        0x00..=0x7f | 0xe0.. => "fixint",
        0x80..=0x8f => "fixmap",
        0x90..=0x9f => "fixarray",
        0xa0..=0xbf => "fixstr",
        0xc2 => "false",
        0xc3 => "true",
        0xc4 => "bin8",
        0xc5 => "bin16",
        0xc6 => "bin32",
        0xcc => "uint8",
        0xcd => "uint16",
        0xce => "uint32",
        0xcf => "uint64",
        0xd0 => "int8",
        0xd1 => "int16",
        0xd2 => "int32",
        0xd3 => "int64",
        0xd9 => "str8",
        0xda => "str16",
        0xdb => "str32",
        _ => "another type",
    }
}

/// The next value as Python's `repr` shows it.
fn python(reader: &mut Reader<'_>, payload: &Bytes) -> String {
    match type_name(payload[reader.position()]) {
        "true" | "false" => if reader.bool("").unwrap() { "True" } else { "False" }.to_owned(),
        "fixmap" => {
            let pairs = (0..reader.map().unwrap()).map(|_| {
                let key = python(reader, payload);
                format!("{key}: {}", python(reader, payload))
            });
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
        }
        "fixarray" => {
            let values = (0..reader.array("").unwrap()).map(|_| python(reader, payload));
            format!("[{}]", values.collect::<Vec<_>>().join(", "))
        }
        "bin8" | "bin16" | "bin32" => {
            let bytes = reader.bytes("").unwrap();
            format!("b{}", quote(bytes.iter().map(|byte| (char::from(*byte), *byte >= 0x80)), "\\x"))
        }
        "fixstr" | "str8" | "str16" | "str32" => {
            let bytes = reader.slice("").unwrap();
            // Bytes that are not UTF-8 were kept as lone surrogates.
            let chars = bytes.utf8_chunks().flat_map(|chunk| {
                let valid = chunk.valid().chars().map(|char| (char, false));
                valid.chain(chunk.invalid().iter().map(|byte| (char::from(*byte), true)))
            });
            quote(chars, "\\udc")
        }
        _ => reader.int::<i128>("").unwrap().to_string(),
    }
}

/// Puts characters in Python's quotes; those that are marked become hex digits behind `escape`.
fn quote(chars: impl Iterator<Item = (char, bool)>, escape: &str) -> String {
    let chars: Vec<_> = chars.collect();
    let has = |wanted| chars.iter().any(|(char, marked)| !marked && *char == wanted);
    let mark = if has('\'') && !has('"') { '"' } else { '\'' };
    let body: String = chars
        .iter()
        .map(|(char, marked)| match char {
            _ if *marked => format!("{escape}{:02x}", *char as u32),
            '\n' => "\\n".to_owned(),
            '\r' => "\\r".to_owned(),
            '\t' => "\\t".to_owned(),
            '\\' => "\\\\".to_owned(),
            char if *char == mark => format!("\\{char}"),
            char if (*char as u32) < 0x20 || *char == '\x7f' => format!("\\x{:02x}", *char as u32),
            char => char.to_string(),
        })
        .collect();
    format!("{mark}{body}{mark}")
}

#[test]
fn every_file_is_listed_and_either_one_package_or_special_for_a_reason() {
    let mut names = file_names();
    assert!(names.remove("INDEX.txt"));
    let index = fs::read_to_string(folder().join("INDEX.txt")).unwrap();
    let mut listed = BTreeSet::new();
    for line in index.lines() {
        let mut words = line.split_whitespace();
        let (name, len) = (words.next().unwrap(), words.next().unwrap().parse::<usize>().unwrap());
        listed.insert(format!("{name}.hex"));
        let vector = read(name);
        if vector.reason() != Some(HEAD) {
            assert_eq!(vector.bytes.len(), len, "{name}");
        }
    }
    assert_eq!(names, listed);
    for (name, _) in SPECIAL {
        assert!(names.contains(&format!("{name}.hex")), "{name}");
    }
    assert_eq!(vectors_for(None).len(), names.len() - SPECIAL.len());
    // What no other test of this file would look at ends here.
    for vector in vectors() {
        assert!([None, Some(HEAD), Some(HTTP), Some(WEBSOCKET), Some(ENCRYPTED)].contains(&vector.reason()));
    }
}

#[test]
fn packages_of_real_programs_are_decoded_and_encoded_to_the_same_bytes() {
    for vector in vectors_for(None) {
        let frame = decode(&vector.name, &vector.bytes);
        compare(&vector, &frame);
    }
}

#[test]
fn packages_that_follow_each_other_in_one_stream_come_out_in_order() {
    let vectors = vectors_for(None);
    let stream: Vec<u8> = vectors.iter().flat_map(|vector| vector.bytes.clone()).collect();
    let mut dice = Dice(1);
    for _ in 0..20 {
        let ends = dice.ends(stream.len());
        let frames = frames(reader(), &stream, &ends).unwrap();
        assert_eq!(frames.len(), vectors.len());
        for (vector, frame) in vectors.iter().zip(&frames) {
            compare(vector, frame);
        }
    }
}

#[test]
fn error_answers_of_real_programs_give_code_and_text() {
    for (name, code, text) in [
        ("35-error-answer-unknown-method", 20004, "Unknow method:"),
        ("82-stock-unknown-method", 20004, "Unknow method:nosuch, Socket: 6, address: 127.0.0.1:51344"),
        ("83-stock-missing-key", 10009, "(10009) at _find in FPReader.cpp:39 --- KEY: cmd NOT FOUND"),
        ("84-stock-wrong-type", 10010, "(10010) at want in proto/FPReader.h:113 --- Can not convert key: cmd"),
    ] {
        let frame = decode(name, &read(name).bytes);
        let Err(ErrorAnswer { code: got, text: said }) = read_answer::<Empty>(&frame).unwrap() else {
            panic!("{name} is a good answer");
        };
        assert_eq!(got, code, "{name}");
        assert!(said.starts_with(text), "{name}: {said}");
    }
}

#[test]
fn the_head_of_a_large_package_is_incomplete_and_no_error() {
    for vector in vectors_for(Some(HEAD)) {
        let mut reader = reader();
        for byte in &vector.bytes {
            reader.feed(&[*byte]);
            assert_eq!(reader.next_frame(), Ok(None), "{}", vector.name);
        }
        assert_eq!(reader.buffered(), 192);
        // The rest is missing in the file only: with as many bytes as the head claims the frame is complete.
        let method = vector.method_len.unwrap();
        let total = 16 + method + vector.payload_len.unwrap();
        assert_eq!(total, 76_975);
        reader.feed(&vec![0; total - vector.bytes.len()]);
        let frame = reader.next_frame().unwrap().unwrap();
        assert_eq!(frame.method(), vector.method.as_deref().unwrap());
        assert_eq!(frame.payload.len(), vector.payload_len.unwrap());
        // Up to where it was cut, its values are those of the listing.
        let mut values = Reader::new(&frame.payload);
        assert_eq!(values.map(), Ok(vector.listing.len()));
        for (key, kind, value) in &vector.listing {
            assert_eq!(values.key(), Ok(key.as_bytes()));
            assert_eq!(type_name(frame.payload[values.position()]), kind);
            if kind == "bin32" {
                assert_eq!(values.slice("").unwrap().len(), 76_800);
                break;
            }
            assert_eq!(&python(&mut values, &frame.payload), value);
        }
    }
}

#[test]
fn packages_inside_web_socket_frames_are_decoded_once_the_frame_is_taken_off() {
    for vector in vectors_for(Some(WEBSOCKET)) {
        assert_eq!(frames(reader(), &vector.bytes, &[]), Err(FrameError::Magic), "{}", vector.name);
        // RFC 6455: final binary frame, then the mask bit with a length below 126.
        let [0x82, second, rest @ ..] = &vector.bytes[..] else { panic!("{}", vector.name) };
        let (masked, len) = (second & 0x80 != 0, usize::from(second & 0x7f));
        let (mask, data) = if masked { rest.split_at(4) } else { (&[0; 4][..], rest) };
        assert_eq!(data.len(), len, "{}", vector.name);
        assert_eq!(masked, vector.name.contains("quest"), "clients mask, servers do not");
        let bytes: Vec<u8> = data.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        let frame = decode(&vector.name, &bytes);
        compare(&vector, &frame);
    }
}

#[test]
fn encrypted_packages_are_not_ours_and_their_plain_text_is_decoded() {
    for vector in vectors_for(Some(ENCRYPTED)) {
        let mut reader = reader();
        reader.feed(&vector.bytes[..1]);
        assert_eq!(reader.next_frame(), Err(FrameError::Magic), "{}", vector.name);
        let frame = decode(&vector.name, vector.plaintext.as_ref().unwrap());
        compare(&vector, &frame);
    }
}

#[test]
fn http_is_recognised_by_its_first_byte_as_not_ours() {
    for vector in vectors_for(Some(HTTP)) {
        let mut reader = reader();
        reader.feed(&vector.bytes[..1]);
        assert_eq!(reader.next_frame(), Err(FrameError::Magic), "{}", vector.name);
        let text = core::str::from_utf8(&vector.bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let first = head.lines().next().unwrap();
        let request = first.starts_with("GET /service/") && first.ends_with(" HTTP/1.1");
        assert!(request || first.starts_with("HTTP/1.1 "), "{}: {first}", vector.name);
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        assert_eq!(body.len(), length.map_or(0, |length| length.parse().unwrap()), "{}", vector.name);
    }
}
