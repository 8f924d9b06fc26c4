//! The RTM reader over the packages of real SDKs and over random ones, however their bytes are cut.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use bytes::Bytes;
use common::{hex, map_head, text};
use crvideo_proto::frame::{FLAG_MSGPACK, Frame, FrameError, FrameReader, Kind};
use crvideo_proto::rtm::params::{ParamError, Params};
use crvideo_proto::rtm::reader::{Event, FILE_METHODS, Reader};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

const MAX_FILE: usize = 100_000;

/// What a reader says, with the pieces of a file joined so that it can be compared.
#[derive(Debug, PartialEq)]
enum Said {
    Frame(Frame),
    TooLarge(Frame, usize),
    File { quest: Frame, claimed: Option<usize>, before: String, bytes: Vec<u8>, end: Result<String, ParamError> },
}

fn said(bytes: &[u8], ends: &[usize]) -> Result<Vec<Said>, FrameError> {
    let mut reader = Reader::new(MAX_FILE);
    let mut said = Vec::new();
    let mut open: Option<(Frame, Option<usize>, String, Vec<u8>)> = None;
    let mut start = 0;
    for end in ends.iter().copied().chain([bytes.len()]) {
        reader.feed(&bytes[start..end]);
        start = end;
        while let Some(event) = reader.next_event()? {
            match event {
                Event::Frame(frame) => said.push(Said::Frame(frame)),
                Event::TooLarge { quest, most } => said.push(Said::TooLarge(quest, most)),
                Event::Begin { quest, .. } => open = Some((quest, None, String::new(), Vec::new())),
                Event::File { len, before: params } => {
                    let (_, claimed, before, _) = open.as_mut().unwrap();
                    assert_eq!(claimed.replace(len), None);
                    *before = format!("{params:?}");
                }
                Event::Piece(piece) => {
                    assert!(!piece.is_empty());
                    open.as_mut().unwrap().3.extend(piece);
                }
                Event::End(end) => {
                    let (quest, claimed, before, bytes) = open.take().unwrap();
                    let end = end.map(|params| format!("{params:?}"));
                    said.push(Said::File { quest, claimed, before, bytes, end });
                }
            }
        }
    }
    assert!(open.is_none() && reader.buffered() == 0, "a file or bytes are left");
    Ok(said)
}

// ---- real packages ----------------------------------------------------------------------------------------

const VECTORS: [&str; 8] = [
    "10-sendfile-quest-python-bin8",
    "12-sendfile-quest-node-flat-attrs",
    "13-sendfile-quest-cpp-str-nosign",
    "15-sendfile-quest-go",
    "19-sendfile-quest-node-stringcontent",
    "20-sendfiles-quest-python",
    "21-sendgroupfile-quest-python",
    "22-sendroomfile-quest-python",
];

fn vector(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/golden/{name}.hex", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let dump = text.lines().filter(|line| line.starts_with(|char: char| char.is_ascii_hexdigit()));
    dump.flat_map(|line| hex(&line[8..58])).collect()
}

/// What a reader of whole frames finds in the same bytes.
fn whole(bytes: &[u8]) -> (Frame, Params) {
    let mut reader = FrameReader::new(1 << 20);
    reader.feed(bytes);
    let frame = reader.next_frame().unwrap().unwrap();
    let params = Params::read(frame.payload.clone()).unwrap();
    (frame, params)
}

fn check(name: &str, bytes: &[u8]) {
    let (frame, params) = whole(bytes);
    let said = said(bytes, &[]).unwrap();
    let [Said::File { quest, claimed, bytes: file, .. }] = said.as_slice() else { panic!("{name}: {said:?}") };
    assert_eq!(*quest, Frame { payload: Bytes::new(), ..frame }, "{name}");
    assert_eq!(params.bytes("file").unwrap(), file, "{name}");
    assert_eq!(*claimed, Some(file.len()), "{name}");
    let mut reader = Reader::new(MAX_FILE);
    reader.feed(bytes);
    let mut end = None;
    while let Some(event) = reader.next_event().unwrap() {
        if let Event::End(params) = event {
            end = Some(params.unwrap());
        }
    }
    let end = end.unwrap();
    for key in ["pid", "mtype", "from", "mid", "to", "gid", "rid"] {
        assert_eq!(end.opt_int::<i64>(key), params.opt_int::<i64>(key), "{name}: {key}");
    }
    assert_eq!(end.opt_ints("tos", 9), params.opt_ints("tos", 9), "{name}");
    for key in ["token", "attrs"] {
        assert_eq!(end.text(key), params.text(key), "{name}: {key}");
    }
}

#[test]
fn packages_of_real_sdks_give_what_a_reader_of_whole_frames_finds() {
    for name in VECTORS.into_iter().chain(["23-broadcastfile-quest-python"]) {
        check(name, &vector(name));
    }
    // Of the large one only the beginning was kept: the file's 76,800 bytes count up from 0, and `to` and `attrs` follow.
    let mut large = vector("17-sendfile-quest-python-bin32-head");
    let from = large.len() - 0x62;
    large.extend((from..76_800).map(|at| at as u8));
    let attrs = r#"{"rtm":{"sign":"3071ecfa98ac81f03f1a67c21cb62557", "ext":"bin"}}"#;
    large.extend([text("to"), vec![0xcc, 200], text("attrs"), text(attrs)].concat());
    assert_eq!(large.len(), 76_975);
    check("17", &large);
}

// ---- random packages --------------------------------------------------------------------------------------

/// A msgpack value of any kind.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        any::<u8>().prop_map(|byte| vec![byte & 0x7f]),
        any::<u64>().prop_map(|value| [vec![0xcf], value.to_be_bytes().to_vec()].concat()),
        Just(vec![0xc0]),
        Just(vec![0xc2]),
        "[a-z]{0,40}".prop_map(|string| text(&string)),
        vec(any::<u8>(), 0..300).prop_map(|bytes| {
            let len = u16::try_from(bytes.len()).unwrap().to_be_bytes();
            [vec![0xc5], len.to_vec(), bytes].concat()
        }),
        vec(any::<u8>(), 4).prop_map(|bytes| [vec![0xd6, 1], bytes].concat()),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        vec(inner, 0..6).prop_map(|values| [vec![0x90 + values.len() as u8], values.concat()].concat())
    })
}

/// The payload of a quest with a file, mostly a good one: keys with their values, the file somewhere between them.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    let file = prop_oneof![
        6 => vec(any::<u8>(), 0..3000).prop_map(|bytes| {
            let len = u32::try_from(bytes.len()).unwrap().to_be_bytes();
            [vec![0xc6], len.to_vec(), bytes].concat()
        }),
        1 => value(),
    ];
    let pairs = vec(("[a-z]{1,9}", value()), 0..8);
    (pairs, file, any::<prop::sample::Index>(), any::<bool>()).prop_map(|(mut pairs, file, at, with)| {
        if with {
            pairs.insert(at.index(pairs.len() + 1), ("file".to_owned(), file));
        }
        let body: Vec<_> = pairs.iter().flat_map(|(key, value)| [text(key), value.clone()].concat()).collect();
        [map_head(pairs.len()), body].concat()
    })
}

fn frame_bytes(method: &'static str, payload: Vec<u8>) -> Vec<u8> {
    let method = Bytes::from_static(method.as_bytes());
    let frame = Frame {
        kind: Kind::Quest,
        version: 1,
        flags: FLAG_MSGPACK,
        status: 0,
        seq: 9,
        method,
        payload: payload.into(),
    };
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    bytes
}

/// Payloads, some of them cut short, lengthened or with a changed byte.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    (payload(), 0..8_u8, any::<prop::sample::Index>(), any::<u8>()).prop_map(|(mut payload, how, at, byte)| {
        let at = at.index(payload.len());
        match how {
            0 => payload.truncate(at.max(1)),
            1 => payload.push(byte),
            2 => payload[at] = byte,
            _ => {}
        }
        payload
    })
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn however_a_stream_is_cut_it_says_the_same(
        quests in vec((select(FILE_METHODS.to_vec()), damaged(), any::<bool>()), 1..4),
        cuts in vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let frames = quests.into_iter().map(|(name, payload, plain)| {
            frame_bytes(if plain { "sendmsg" } else { name }, payload)
        });
        let bytes: Vec<u8> = frames.collect::<Vec<_>>().concat();
        let together = said(&bytes, &[]).unwrap();
        let mut ends: Vec<_> = cuts.into_iter().map(|cut| cut.index(bytes.len())).collect();
        ends.sort();
        prop_assert_eq!(&together, &said(&bytes, &ends).unwrap());
        let each: Vec<_> = (1..bytes.len()).collect();
        prop_assert_eq!(&together, &said(&bytes, &each).unwrap());
    }

    #[test]
    fn a_payload_is_judged_as_it_is_judged_whole(payload in damaged()) {
        let all = said(&frame_bytes("sendfile", payload.clone()), &[]).unwrap();
        let [Said::File { bytes, end, .. }] = all.as_slice() else { panic!("{all:?}") };
        match Params::read(payload.into()) {
            Err(error) => prop_assert!(end.is_err(), "whole: {error:?}, streamed: {end:?}"),
            Ok(params) => match params.bytes("file") {
                Ok(file) => {
                    prop_assert!(end.is_ok(), "{end:?}");
                    prop_assert_eq!(&file, bytes);
                }
                Err(error) => prop_assert_eq!(end, &Err(error)),
            },
        }
    }
}
