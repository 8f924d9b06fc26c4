//! Every message of `docs/wire.md` as it stands on the wire, byte for byte. The hex was made by hand and by a separate
//! writer, from the document alone. Each snapshot is written, read, and cut short at every byte.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use core::fmt::Debug;
use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use common::{frames, hex};
use crvideo_proto::frame::{Frame, FrameReader, Kind, SESSION_LIMIT};
use crvideo_proto::id::TaskId;
use crvideo_proto::message::*;
use crvideo_proto::out::OutQueue;
use crvideo_proto::pack::{PackError, Writer, validate};
use crvideo_proto::rtm;
use crvideo_proto::rtm::params::{Fields, ParamError, Params};

const SESSION: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
const TICKET: [u8; 16] = *b"\xa0\xa1\xa2\xa3\xa4\xa5\xa6\xa7\xa8\xa9\xaa\xab\xac\xad\xae\xaf";
const HASH: [u8; 32] = *b"\xe0\xe1\xe2\xe3\xe4\xe5\xe6\xe7\xe8\xe9\xea\xeb\xec\xed\xee\xef\
                          \xf0\xf1\xf2\xf3\xf4\xf5\xf6\xf7\xf8\xf9\xfa\xfb\xfc\xfd\xfe\xff";

fn task() -> TaskId {
    TaskId::parse("00112233-4455-6677-8899-aabbccddeeff").unwrap()
}

fn only_frame(bytes: &[u8]) -> Frame {
    let mut frames = frames(FrameReader::new(SESSION_LIMIT), bytes, &[]).unwrap();
    assert_eq!(frames.len(), 1);
    let frame = frames.pop().unwrap();
    let mut again = Vec::new();
    frame.encode(&mut again);
    assert_eq!(again, bytes, "encoded again");
    frame
}

/// A frame that is cut short is one to wait for; a payload that is cut short, or followed by more, is an error.
fn cut_short<B: Debug>(bytes: &[u8], payload: &Bytes, read: impl Fn(&Bytes) -> Result<B, PackError>) {
    for len in 0..bytes.len() {
        let mut reader = FrameReader::new(SESSION_LIMIT);
        reader.feed(&bytes[..len]);
        assert_eq!(reader.next_frame(), Ok(None), "the first {len} bytes of the frame");
    }
    for len in 0..payload.len() {
        let cut = payload.slice(..len);
        assert_eq!(validate(&cut), Err(PackError::Truncated), "the first {len} bytes of the payload");
        assert!(read(&cut).is_err(), "the first {len} bytes of the payload");
    }
    assert_eq!(validate(payload), Ok(()));
    let longer = Bytes::from([payload, &[0xc0][..]].concat());
    assert_eq!(validate(&longer), Err(PackError::Trailing));
    assert_eq!(read(&longer).unwrap_err(), PackError::Trailing);
}

fn quest<M: Message + PartialEq + Debug>(seq: u32, message: M, snapshot: &str) {
    let bytes = hex(snapshot);
    let mut queue = OutQueue::default();
    queue.quest(seq, &message);
    assert_eq!(queue.take(), bytes);
    let frame = only_frame(&bytes);
    assert_eq!((frame.kind, frame.method(), frame.seq, frame.status), (Kind::Quest, M::METHOD, seq, 0));
    assert_eq!(M::read(&frame.payload), Ok(message));
    cut_short(&bytes, &frame.payload, M::read);
}

fn one_way<M: Message + PartialEq + Debug>(message: M, snapshot: &str) {
    let bytes = hex(snapshot);
    let mut queue = OutQueue::default();
    queue.one_way(&message);
    assert_eq!(queue.take(), bytes);
    let frame = only_frame(&bytes);
    assert_eq!((frame.kind, frame.method(), frame.seq, frame.status), (Kind::OneWay, M::METHOD, 0, 0));
    assert_eq!(M::read(&frame.payload), Ok(message));
    cut_short(&bytes, &frame.payload, M::read);
}

fn answer<B: Body + PartialEq + Debug>(seq: u32, body: B, snapshot: &str) {
    let bytes = hex(snapshot);
    let mut queue = OutQueue::default();
    queue.answer(seq, &body);
    assert_eq!(queue.take(), bytes);
    let frame = only_frame(&bytes);
    assert_eq!((frame.kind, frame.method(), frame.seq, frame.status), (Kind::Answer, "", seq, 0));
    assert_eq!(read_answer::<B>(&frame), Ok(Ok(body)));
    cut_short(&bytes, &frame.payload, B::read);
}

/// The form that alice sends for bob's epoch 5, and the form that bob gets from alice's epoch 300.
fn routed<M: Message + PartialEq + Debug>(message: M, to_relay: &str, to_target: &str) {
    let (to_relay, to_target) = (hex(to_relay), hex(to_target));
    let mut queue = OutQueue::default();
    queue.routed("bob", 5, &message);
    assert_eq!(queue.take(), to_relay);
    let frame = only_frame(&to_relay);
    assert_eq!((frame.kind, frame.method(), frame.seq, frame.status), (Kind::OneWay, M::METHOD, 0, 0));
    assert_eq!(M::read(&frame.payload).as_ref(), Ok(&message));
    assert_eq!(Routed::<M>::read(&frame.payload), Err(PackError::Missing("fr")));
    cut_short(&to_relay, &frame.payload, M::read);

    let address = Address::to(&frame.payload).unwrap();
    assert_eq!((address.user, address.epoch, address.pairs), ("bob", 5, message.pairs() + 2));
    for len in 0..address.rest {
        assert!(Address::to(&frame.payload.slice(..len)).is_err(), "the first {len} bytes of the address");
    }
    queue.forward(frame.method(), address.pairs, "alice", 300, frame.payload.slice(address.rest..));
    assert_eq!(queue.take(), to_target);

    let frame = only_frame(&to_target);
    assert_eq!((frame.kind, frame.method(), frame.seq, frame.status), (Kind::OneWay, M::METHOD, 0, 0));
    assert_eq!(Address::to(&frame.payload), Err(PackError::Missing("to")));
    cut_short(&to_target, &frame.payload, Routed::<M>::read);
    assert_eq!(Routed::read(&frame.payload), Ok(Routed { from: "alice".into(), epoch: 300, message }));
}

/// The methods that `docs/wire.md` names.
fn documented_methods() -> BTreeSet<String> {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/wire.md");
    let document = std::fs::read_to_string(document).unwrap();
    let is_method =
        |name: &&str| name.len() > 2 && name.starts_with("cr") && name.chars().all(|c| c.is_ascii_lowercase());
    document.split('`').skip(1).step_by(2).filter(is_method).map(str::to_owned).collect()
}

#[test]
fn every_documented_method_has_a_snapshot_here() {
    let tests = include_str!("snapshots.rs").lines().filter_map(|line| line.strip_prefix("fn cr"));
    let tested: BTreeSet<String> = tests.map(|name| format!("cr{}", name.split_once('_').unwrap().0)).collect();
    assert_eq!(documented_methods(), tested);
}

#[test]
fn crhello_and_its_answer() {
    quest(
        1,
        Hello { lowest: 1, highest: 2, features: 0, agent: "crvideo 0.1".into() },
        r"
        46504e4e 01 80 01 07                       ; FPNN, version 1, msgpack, quest, method of 7 bytes
        21000000                                   ; 33 bytes of payload
        01000000                                   ; sequence number 1
        637268656c6c6f                             ; 'crhello'
        84                                         ; a map of 4 pairs
          a2 6c6f 01                               ; lo: 1
          a2 6869 02                               ; hi: 2
          a4 66656174 00                           ; feat: 0
          a5 6167656e74 ab 6372766964656f20302e31  ; agent: 'crvideo 0.1'
    ",
    );
    answer(
        1,
        HelloAnswer { version: 1, features: 0, agent: "relay".into(), salt: None },
        r"
        46504e4e 01 80 02 00                       ; FPNN, version 1, msgpack, answer, good
        16000000                                   ; 22 bytes of payload
        01000000                                   ; sequence number 1
        83                                         ; a map of 3 pairs
          a1 76 01                                 ; v: 1
          a4 66656174 00                           ; feat: 0
          a5 6167656e74 a5 72656c6179              ; agent: 'relay'
    ",
    );
}

#[test]
fn crlogin_and_its_answer() {
    quest(
        2,
        Login { project: 11_000_001, user: "alice".into(), token: "e30.e30.AA".into(), session: SESSION, epoch: 0 },
        r"
        46504e4e 01 80 01 07                       ; FPNN, version 1, msgpack, quest, method of 7 bytes
        3e000000                                   ; 62 bytes of payload
        02000000                                   ; sequence number 2
        63726c6f67696e                             ; 'crlogin'
        85                                         ; a map of 5 pairs
          a3 706964 ce 00a7d8c1                    ; pid: 11000001
          a3 756964 a5 616c696365                  ; uid: 'alice'
          a5 746f6b656e aa 6533302e6533302e4141    ; token: 'e30.e30.AA'
          a3 736964 c4 10 000102030405060708090a0b0c0d0e0f ; sid: 16 bytes
          a1 65 00                                 ; e: 0
    ",
    );
    answer(
        2,
        LoginAnswer {
            epoch: 300,
            resumed: false,
            ticket: TICKET,
            expires_ms: 3_600_000,
            heartbeat_ms: 30_000,
            max_file: 5_000_000_000,
        },
        r"
        46504e4e 01 80 02 00                       ; FPNN, version 1, msgpack, answer, good
        44000000                                   ; 68 bytes of payload
        02000000                                   ; sequence number 2
        86                                         ; a map of 6 pairs
          a1 65 cd 012c                            ; e: 300
          a3 726573 c2                             ; res: false
          a6 7469636b6574 c4 10 a0a1a2a3a4a5a6a7a8a9aaabacadaeaf ; ticket: 16 bytes
          a3 657870 ce 0036ee80                    ; exp: 3600000
          a2 6862 cd 7530                          ; hb: 30000
          a7 6d617866696c65 cf 000000012a05f200    ; maxfile: 5000000000
    ",
    );
}

#[test]
fn crlogin_of_a_negative_project_that_resumes() {
    quest(
        4294967294,
        Login { project: -2, user: "Zoë".into(), token: "".into(), session: SESSION, epoch: 300 },
        r"
        46504e4e 01 80 01 07                       ; FPNN, version 1, msgpack, quest, method of 7 bytes
        31000000                                   ; 49 bytes of payload
        feffffff                                   ; sequence number 4294967294
        63726c6f67696e                             ; 'crlogin'
        85                                         ; a map of 5 pairs
          a3 706964 fe                             ; pid: -2
          a3 756964 a4 5a6fc3ab                    ; uid: 'Zoë'
          a5 746f6b656e a0                         ; token: ''
          a3 736964 c4 10 000102030405060708090a0b0c0d0e0f ; sid: 16 bytes
          a1 65 cd 012c                            ; e: 300
    ",
    );
}

#[test]
fn crbulk_and_its_answer() {
    quest(
        1,
        Bulk { ticket: TICKET, lost: None },
        r"
        46504e4e 01 80 01 06                       ; FPNN, version 1, msgpack, quest, method of 6 bytes
        1a000000                                   ; 26 bytes of payload
        01000000                                   ; sequence number 1
        637262756c6b                               ; 'crbulk'
        81                                         ; a map of one pair
          a6 7469636b6574 c4 10 a0a1a2a3a4a5a6a7a8a9aaabacadaeaf ; ticket: 16 bytes
    ",
    );
    quest(
        1,
        Bulk { ticket: TICKET, lost: Some(true) },
        r"
        46504e4e 01 80 01 06                       ; FPNN, version 1, msgpack, quest, method of 6 bytes
        20000000                                   ; 32 bytes of payload
        01000000                                   ; sequence number 1
        637262756c6b                               ; 'crbulk'
        82                                         ; a map of two pairs
          a6 7469636b6574 c4 10 a0a1a2a3a4a5a6a7a8a9aaabacadaeaf ; ticket: 16 bytes
          a4 6c6f7374 c3                           ; lost: true
    ",
    );
    answer(
        1,
        BulkAnswer { ticket: TICKET },
        r"
        46504e4e 01 80 02 00                       ; FPNN, version 1, msgpack, answer, good
        1a000000                                   ; 26 bytes of payload
        01000000                                   ; sequence number 1
        81                                         ; a map of one pair
          a6 7469636b6574 c4 10 a0a1a2a3a4a5a6a7a8a9aaabacadaeaf ; ticket: 16 bytes
    ",
    );
}

#[test]
fn crticket_and_its_answer() {
    quest(
        3,
        NewTicket {},
        r"
        46504e4e 01 80 01 08                       ; FPNN, version 1, msgpack, quest, method of 8 bytes
        01000000                                   ; 1 bytes of payload
        03000000                                   ; sequence number 3
        63727469636b6574                           ; 'crticket'
        80                                         ; a map of no pairs
    ",
    );
    answer(
        3,
        BulkAnswer { ticket: TICKET },
        r"
        46504e4e 01 80 02 00                       ; FPNN, version 1, msgpack, answer, good
        1a000000                                   ; 26 bytes of payload
        03000000                                   ; sequence number 3
        81                                         ; a map of one pair
          a6 7469636b6574 c4 10 a0a1a2a3a4a5a6a7a8a9aaabacadaeaf ; ticket: 16 bytes
    ",
    );
}

#[test]
fn crtoken_and_its_answer() {
    quest(
        256,
        UpdateToken { token: "e30.e30.AA".into() },
        r"
        46504e4e 01 80 01 07                       ; FPNN, version 1, msgpack, quest, method of 7 bytes
        12000000                                   ; 18 bytes of payload
        00010000                                   ; sequence number 256
        6372746f6b656e                             ; 'crtoken'
        81                                         ; a map of one pair
          a5 746f6b656e aa 6533302e6533302e4141    ; token: 'e30.e30.AA'
    ",
    );
    answer(
        256,
        TokenAnswer { expires_ms: 127 },
        r"
        46504e4e 01 80 02 00                       ; FPNN, version 1, msgpack, answer, good
        06000000                                   ; 6 bytes of payload
        00010000                                   ; sequence number 256
        81                                         ; a map of one pair
          a3 657870 7f                             ; exp: 127
    ",
    );
}

#[test]
fn crlogout_and_its_answer() {
    quest(
        4,
        Logout {},
        r"
        46504e4e 01 80 01 08                       ; FPNN, version 1, msgpack, quest, method of 8 bytes
        01000000                                   ; 1 bytes of payload
        04000000                                   ; sequence number 4
        63726c6f676f7574                           ; 'crlogout'
        80                                         ; a map of no pairs
    ",
    );
    answer(
        4,
        Empty {},
        r"
        46504e4e 01 80 02 00                       ; FPNN, version 1, msgpack, answer, good
        01000000                                   ; 1 bytes of payload
        04000000                                   ; sequence number 4
        80                                         ; a map of no pairs
    ",
    );
}

#[test]
fn crclose_and_its_answer() {
    quest(
        5,
        CloseBulk {},
        r"
        46504e4e 01 80 01 07                       ; FPNN, version 1, msgpack, quest, method of 7 bytes
        01000000                                   ; 1 bytes of payload
        05000000                                   ; sequence number 5
        6372636c6f7365                             ; 'crclose'
        80                                         ; a map of no pairs
    ",
    );
    answer(
        5,
        Empty {},
        r"
        46504e4e 01 80 02 00                       ; FPNN, version 1, msgpack, answer, good
        01000000                                   ; 1 bytes of payload
        05000000                                   ; sequence number 5
        80                                         ; a map of no pairs
    ",
    );
}

#[test]
fn crping_is_empty() {
    one_way(
        Ping {},
        r"
        46504e4e 01 80 00 06                       ; FPNN, version 1, msgpack, one-way, method of 6 bytes
        01000000                                   ; 1 bytes of payload
        637270696e67                               ; 'crping'
        80                                         ; a map of no pairs
    ",
    );
}

#[test]
fn crpong_is_empty() {
    one_way(
        Pong {},
        r"
        46504e4e 01 80 00 06                       ; FPNN, version 1, msgpack, one-way, method of 6 bytes
        01000000                                   ; 1 bytes of payload
        6372706f6e67                               ; 'crpong'
        80                                         ; a map of no pairs
    ",
    );
}

#[test]
fn crbye_says_why() {
    one_way(
        Bye { code: 10, text: "logged in elsewhere, from another place".into() },
        r"
        46504e4e 01 80 00 05                       ; FPNN, version 1, msgpack, one-way, method of 5 bytes
        32000000                                   ; 50 bytes of payload
        6372627965                                 ; 'crbye'
        82                                         ; a map of 2 pairs
          a1 63 0a                                 ; c: 10
          a4 74657874 d927 6c6f6767656420696e20656c736577686572652c2066726f6d20616e6f7468657220706c616365 ; text: 'logged in elsewhere, from another place'
    ",
    );
}

#[test]
fn crfind_and_its_answer() {
    quest(
        6,
        Find { user: "bob".into() },
        r"
        46504e4e 01 80 01 06                       ; FPNN, version 1, msgpack, quest, method of 6 bytes
        07000000                                   ; 7 bytes of payload
        06000000                                   ; sequence number 6
        637266696e64                               ; 'crfind'
        81                                         ; a map of one pair
          a1 75 a3 626f62                          ; u: 'bob'
    ",
    );
    answer(
        6,
        FindAnswer { epoch: 5, state: PeerState::On as u8 },
        r"
        46504e4e 01 80 02 00                       ; FPNN, version 1, msgpack, answer, good
        08000000                                   ; 8 bytes of payload
        06000000                                   ; sequence number 6
        82                                         ; a map of 2 pairs
          a1 65 05                                 ; e: 5
          a2 7374 01                               ; st: 1
    ",
    );
}

#[test]
fn crpeer_tells_of_a_joined_session() {
    one_way(
        Peer { user: "bob".into(), epoch: 5, state: PeerState::Busy as u8, class: CLASS_COMMANDS | CLASS_BULK },
        r"
        46504e4e 01 80 00 06                       ; FPNN, version 1, msgpack, one-way, method of 6 bytes
        12000000                                   ; 18 bytes of payload
        637270656572                               ; 'crpeer'
        84                                         ; a map of 4 pairs
          a1 75 a3 626f62                          ; u: 'bob'
          a1 65 05                                 ; e: 5
          a2 7374 03                               ; st: 3
          a2 636c 03                               ; cl: 3
    ",
    );
}

#[test]
fn crwake_is_empty() {
    one_way(
        Wake {},
        r"
        46504e4e 01 80 00 06                       ; FPNN, version 1, msgpack, one-way, method of 6 bytes
        01000000                                   ; 1 bytes of payload
        637277616b65                               ; 'crwake'
        80                                         ; a map of no pairs
    ",
    );
}

#[test]
fn crusers_without_and_with_its_keys_and_its_answer() {
    quest(
        7,
        Users { user: None, after: None },
        r"
        46504e4e 01 80 01 07                       ; FPNN, version 1, msgpack, quest, method of 7 bytes
        01000000                                   ; 1 bytes of payload
        07000000                                   ; sequence number 7
        63727573657273                             ; 'crusers'
        80                                         ; a map of no pairs
    ",
    );
    quest(
        8,
        Users { user: Some("bob".into()), after: None },
        r"
        46504e4e 01 80 01 07                       ; FPNN, version 1, msgpack, quest, method of 7 bytes
        07000000                                   ; 7 bytes of payload
        08000000                                   ; sequence number 8
        63727573657273                             ; 'crusers'
        81                                         ; a map of one pair
          a1 75 a3 626f62                          ; u: 'bob'
    ",
    );
    quest(
        9,
        Users { user: None, after: Some("".into()) },
        r"
        46504e4e 01 80 01 07                       ; FPNN, version 1, msgpack, quest, method of 7 bytes
        08000000                                   ; 8 bytes of payload
        09000000                                   ; sequence number 9
        63727573657273                             ; 'crusers'
        81                                         ; a map of one pair
          a5 6166746572 a0                         ; after: ''
    ",
    );
    answer(
        9,
        UsersAnswer { users: vec![], more: false },
        r"
        46504e4e 01 80 02 00                       ; FPNN, version 1, msgpack, answer, good
        0b000000                                   ; 11 bytes of payload
        09000000                                   ; sequence number 9
        82                                         ; a map of 2 pairs
          a2 7573 90                               ; us: an empty list
          a4 6d6f7265 c2                           ; more: false
    ",
    );
    answer(
        9,
        UsersAnswer { users: vec!["alice".into(), "bob".into()], more: true },
        r"
        46504e4e 01 80 02 00                       ; FPNN, version 1, msgpack, answer, good
        15000000                                   ; 21 bytes of payload
        09000000                                   ; sequence number 9
        82                                         ; a map of 2 pairs
          a2 7573 92 a5 616c696365 a3 626f62       ; us: a list: 'alice', 'bob'
          a4 6d6f7265 c3                           ; more: true
    ",
    );
}

#[test]
fn crwatch_and_its_answer() {
    quest(
        10,
        Watch { on: true },
        r"
        46504e4e 01 80 01 07                       ; FPNN, version 1, msgpack, quest, method of 7 bytes
        05000000                                   ; 5 bytes of payload
        0a000000                                   ; sequence number 10
        63727761746368                             ; 'crwatch'
        81                                         ; a map of one pair
          a2 6f6e c3                               ; on: true
    ",
    );
    answer(
        10,
        Empty {},
        r"
        46504e4e 01 80 02 00                       ; FPNN, version 1, msgpack, answer, good
        01000000                                   ; 1 bytes of payload
        0a000000                                   ; sequence number 10
        80                                         ; a map of no pairs
    ",
    );
}

#[test]
fn crstatus_tells_that_a_user_came() {
    one_way(
        Status { user: "bob".into(), state: 1 },
        r"
        46504e4e 01 80 00 08                       ; FPNN, version 1, msgpack, one-way, method of 8 bytes
        0b000000                                   ; 11 bytes of payload
        6372737461747573                           ; 'crstatus'
        82                                         ; a map of 2 pairs
          a1 75 a3 626f62                          ; u: 'bob'
          a2 7374 01                               ; st: 1
    ",
    );
}

#[test]
fn crcmd_is_routed() {
    routed(
        Command {
            position: 327_936,
            base: 512,
            settled: 256,
            task: task(),
            chosen: true,
            data: Bytes::from_static(b"hello\xff"),
        },
        r"
        46504e4e 01 80 00 05                       ; FPNN, version 1, msgpack, one-way, method of 5 bytes
        3e000000                                   ; 62 bytes of payload
        6372636d64                                 ; 'crcmd'
        88                                         ; a map of 8 pairs
          a2 746f a3 626f62                        ; to: 'bob'
          a2 7465 05                               ; te: 5
          a1 70 ce 00050100                        ; p: 327936
          a1 62 cd 0200                            ; b: 512
          a1 73 cd 0100                            ; s: 256
          a1 69 c4 10 00112233445566778899aabbccddeeff ; i: 16 bytes
          a1 6b c3                                 ; k: true
          a1 64 c4 06 68656c6c6fff                 ; d: 6 bytes
    ",
        r"
        46504e4e 01 80 00 05                       ; FPNN, version 1, msgpack, one-way, method of 5 bytes
        42000000                                   ; 66 bytes of payload
        6372636d64                                 ; 'crcmd'
        88                                         ; a map of 8 pairs
          a2 6672 a5 616c696365                    ; fr: 'alice'
          a2 6665 cd 012c                          ; fe: 300
          a1 70 ce 00050100                        ; p: 327936
          a1 62 cd 0200                            ; b: 512
          a1 73 cd 0100                            ; s: 256
          a1 69 c4 10 00112233445566778899aabbccddeeff ; i: 16 bytes
          a1 6b c3                                 ; k: true
          a1 64 c4 06 68656c6c6fff                 ; d: 6 bytes
    ",
    );
}

#[test]
fn crack_is_routed() {
    routed(
        CommandAck { position: 1024, limit: 328_960, refused: vec![(256, 512), (70_000, 5_000_000_000)] },
        r"
        46504e4e 01 80 00 05                       ; FPNN, version 1, msgpack, one-way, method of 5 bytes
        31000000                                   ; 49 bytes of payload
        637261636b                                 ; 'crack'
        85                                         ; a map of 5 pairs
          a2 746f a3 626f62                        ; to: 'bob'
          a2 7465 05                               ; te: 5
          a1 70 cd 0400                            ; p: 1024
          a1 6c ce 00050500                        ; l: 328960
          a1 66 92 92 cd0100 cd0200 92 ce00011170 cf000000012a05f200 ; f: stretches [256, 512), [70000, 5000000000)
    ",
        r"
        46504e4e 01 80 00 05                       ; FPNN, version 1, msgpack, one-way, method of 5 bytes
        35000000                                   ; 53 bytes of payload
        637261636b                                 ; 'crack'
        85                                         ; a map of 5 pairs
          a2 6672 a5 616c696365                    ; fr: 'alice'
          a2 6665 cd 012c                          ; fe: 300
          a1 70 cd 0400                            ; p: 1024
          a1 6c ce 00050500                        ; l: 328960
          a1 66 92 92 cd0100 cd0200 92 ce00011170 cf000000012a05f200 ; f: stretches [256, 512), [70000, 5000000000)
    ",
    );
    routed(
        CommandAck { position: 0, limit: u64::MAX, refused: vec![] },
        r"
        46504e4e 01 80 00 05                       ; FPNN, version 1, msgpack, one-way, method of 5 bytes
        1d000000                                   ; 29 bytes of payload
        637261636b                                 ; 'crack'
        85                                         ; a map of 5 pairs
          a2 746f a3 626f62                        ; to: 'bob'
          a2 7465 05                               ; te: 5
          a1 70 00                                 ; p: 0
          a1 6c cf ffffffffffffffff                ; l: 18446744073709551615
          a1 66 90                                 ; f: no stretches
    ",
        r"
        46504e4e 01 80 00 05                       ; FPNN, version 1, msgpack, one-way, method of 5 bytes
        21000000                                   ; 33 bytes of payload
        637261636b                                 ; 'crack'
        85                                         ; a map of 5 pairs
          a2 6672 a5 616c696365                    ; fr: 'alice'
          a2 6665 cd 012c                          ; fe: 300
          a1 70 00                                 ; p: 0
          a1 6c cf ffffffffffffffff                ; l: 18446744073709551615
          a1 66 90                                 ; f: no stretches
    ",
    );
}

#[test]
fn croffer_is_routed() {
    routed(
        Offer { task: task(), kind: 2, name: "报告.pdf".into(), size: 5_000_000_000, repeated: false },
        r"
        46504e4e 01 80 00 07                       ; FPNN, version 1, msgpack, one-way, method of 7 bytes
        3f000000                                   ; 63 bytes of payload
        63726f66666572                             ; 'croffer'
        87                                         ; a map of 7 pairs
          a2 746f a3 626f62                        ; to: 'bob'
          a2 7465 05                               ; te: 5
          a1 69 c4 10 00112233445566778899aabbccddeeff ; i: 16 bytes
          a1 6b 02                                 ; k: 2
          a1 6e aa e68aa5e5918a2e706466            ; n: '报告.pdf'
          a1 73 cf 000000012a05f200                ; s: 5000000000
          a2 7265 c2                               ; re: false
    ",
        r"
        46504e4e 01 80 00 07                       ; FPNN, version 1, msgpack, one-way, method of 7 bytes
        43000000                                   ; 67 bytes of payload
        63726f66666572                             ; 'croffer'
        87                                         ; a map of 7 pairs
          a2 6672 a5 616c696365                    ; fr: 'alice'
          a2 6665 cd 012c                          ; fe: 300
          a1 69 c4 10 00112233445566778899aabbccddeeff ; i: 16 bytes
          a1 6b 02                                 ; k: 2
          a1 6e aa e68aa5e5918a2e706466            ; n: '报告.pdf'
          a1 73 cf 000000012a05f200                ; s: 5000000000
          a2 7265 c2                               ; re: false
    ",
    );
}

#[test]
fn crdata_is_routed() {
    routed(
        Data { task: task(), offset: 65_535, data: Bytes::from_static(&[0, 1, 2]) },
        r"
        46504e4e 01 80 00 06                       ; FPNN, version 1, msgpack, one-way, method of 6 bytes
        2c000000                                   ; 44 bytes of payload
        637264617461                               ; 'crdata'
        85                                         ; a map of 5 pairs
          a2 746f a3 626f62                        ; to: 'bob'
          a2 7465 05                               ; te: 5
          a1 69 c4 10 00112233445566778899aabbccddeeff ; i: 16 bytes
          a1 6f cd ffff                            ; o: 65535
          a1 64 c4 03 000102                       ; d: 3 bytes
    ",
        r"
        46504e4e 01 80 00 06                       ; FPNN, version 1, msgpack, one-way, method of 6 bytes
        30000000                                   ; 48 bytes of payload
        637264617461                               ; 'crdata'
        85                                         ; a map of 5 pairs
          a2 6672 a5 616c696365                    ; fr: 'alice'
          a2 6665 cd 012c                          ; fe: 300
          a1 69 c4 10 00112233445566778899aabbccddeeff ; i: 16 bytes
          a1 6f cd ffff                            ; o: 65535
          a1 64 c4 03 000102                       ; d: 3 bytes
    ",
    );
}

#[test]
fn crend_is_routed() {
    routed(
        End { task: task(), hash: HASH },
        r"
        46504e4e 01 80 00 05                       ; FPNN, version 1, msgpack, one-way, method of 5 bytes
        44000000                                   ; 68 bytes of payload
        6372656e64                                 ; 'crend'
        84                                         ; a map of 4 pairs
          a2 746f a3 626f62                        ; to: 'bob'
          a2 7465 05                               ; te: 5
          a1 69 c4 10 00112233445566778899aabbccddeeff ; i: 16 bytes
          a1 68 c4 20 e0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff ; h: 32 bytes
    ",
        r"
        46504e4e 01 80 00 05                       ; FPNN, version 1, msgpack, one-way, method of 5 bytes
        48000000                                   ; 72 bytes of payload
        6372656e64                                 ; 'crend'
        84                                         ; a map of 4 pairs
          a2 6672 a5 616c696365                    ; fr: 'alice'
          a2 6665 cd 012c                          ; fe: 300
          a1 69 c4 10 00112233445566778899aabbccddeeff ; i: 16 bytes
          a1 68 c4 20 e0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff ; h: 32 bytes
    ",
    );
}

#[test]
fn crgo_is_routed() {
    routed(
        Go { task: task(), offset: 128, limit: 262_144 },
        r"
        46504e4e 01 80 00 04                       ; FPNN, version 1, msgpack, one-way, method of 4 bytes
        2b000000                                   ; 43 bytes of payload
        6372676f                                   ; 'crgo'
        85                                         ; a map of 5 pairs
          a2 746f a3 626f62                        ; to: 'bob'
          a2 7465 05                               ; te: 5
          a1 69 c4 10 00112233445566778899aabbccddeeff ; i: 16 bytes
          a1 6f cc 80                              ; o: 128
          a1 6c ce 00040000                        ; l: 262144
    ",
        r"
        46504e4e 01 80 00 04                       ; FPNN, version 1, msgpack, one-way, method of 4 bytes
        2f000000                                   ; 47 bytes of payload
        6372676f                                   ; 'crgo'
        85                                         ; a map of 5 pairs
          a2 6672 a5 616c696365                    ; fr: 'alice'
          a2 6665 cd 012c                          ; fe: 300
          a1 69 c4 10 00112233445566778899aabbccddeeff ; i: 16 bytes
          a1 6f cc 80                              ; o: 128
          a1 6c ce 00040000                        ; l: 262144
    ",
    );
}

#[test]
fn crconf_is_routed() {
    routed(
        Confirm { task: task(), offset: 255, limit: 4_294_967_296 },
        r"
        46504e4e 01 80 00 06                       ; FPNN, version 1, msgpack, one-way, method of 6 bytes
        2f000000                                   ; 47 bytes of payload
        6372636f6e66                               ; 'crconf'
        85                                         ; a map of 5 pairs
          a2 746f a3 626f62                        ; to: 'bob'
          a2 7465 05                               ; te: 5
          a1 69 c4 10 00112233445566778899aabbccddeeff ; i: 16 bytes
          a1 6f cc ff                              ; o: 255
          a1 6c cf 0000000100000000                ; l: 4294967296
    ",
        r"
        46504e4e 01 80 00 06                       ; FPNN, version 1, msgpack, one-way, method of 6 bytes
        33000000                                   ; 51 bytes of payload
        6372636f6e66                               ; 'crconf'
        85                                         ; a map of 5 pairs
          a2 6672 a5 616c696365                    ; fr: 'alice'
          a2 6665 cd 012c                          ; fe: 300
          a1 69 c4 10 00112233445566778899aabbccddeeff ; i: 16 bytes
          a1 6f cc ff                              ; o: 255
          a1 6c cf 0000000100000000                ; l: 4294967296
    ",
    );
}

#[test]
fn crcancel_is_routed() {
    routed(
        Cancel { task: task(), code: 1105 },
        r"
        46504e4e 01 80 00 08                       ; FPNN, version 1, msgpack, one-way, method of 8 bytes
        25000000                                   ; 37 bytes of payload
        637263616e63656c                           ; 'crcancel'
        84                                         ; a map of 4 pairs
          a2 746f a3 626f62                        ; to: 'bob'
          a2 7465 05                               ; te: 5
          a1 69 c4 10 00112233445566778899aabbccddeeff ; i: 16 bytes
          a1 63 cd 0451                            ; c: 1105
    ",
        r"
        46504e4e 01 80 00 08                       ; FPNN, version 1, msgpack, one-way, method of 8 bytes
        29000000                                   ; 41 bytes of payload
        637263616e63656c                           ; 'crcancel'
        84                                         ; a map of 4 pairs
          a2 6672 a5 616c696365                    ; fr: 'alice'
          a2 6665 cd 012c                          ; fe: 300
          a1 69 c4 10 00112233445566778899aabbccddeeff ; i: 16 bytes
          a1 63 cd 0451                            ; c: 1105
    ",
    );
    routed(
        Cancel { task: task(), code: -40_000 },
        r"
        46504e4e 01 80 00 08                       ; FPNN, version 1, msgpack, one-way, method of 8 bytes
        27000000                                   ; 39 bytes of payload
        637263616e63656c                           ; 'crcancel'
        84                                         ; a map of 4 pairs
          a2 746f a3 626f62                        ; to: 'bob'
          a2 7465 05                               ; te: 5
          a1 69 c4 10 00112233445566778899aabbccddeeff ; i: 16 bytes
          a1 63 d2 ffff63c0                        ; c: -40000
    ",
        r"
        46504e4e 01 80 00 08                       ; FPNN, version 1, msgpack, one-way, method of 8 bytes
        2b000000                                   ; 43 bytes of payload
        637263616e63656c                           ; 'crcancel'
        84                                         ; a map of 4 pairs
          a2 6672 a5 616c696365                    ; fr: 'alice'
          a2 6665 cd 012c                          ; fe: 300
          a1 69 c4 10 00112233445566778899aabbccddeeff ; i: 16 bytes
          a1 63 d2 ffff63c0                        ; c: -40000
    ",
    );
}

#[test]
fn crdone_is_routed() {
    routed(
        Done { task: task(), code: 0 },
        r"
        46504e4e 01 80 00 06                       ; FPNN, version 1, msgpack, one-way, method of 6 bytes
        23000000                                   ; 35 bytes of payload
        6372646f6e65                               ; 'crdone'
        84                                         ; a map of 4 pairs
          a2 746f a3 626f62                        ; to: 'bob'
          a2 7465 05                               ; te: 5
          a1 69 c4 10 00112233445566778899aabbccddeeff ; i: 16 bytes
          a1 63 00                                 ; c: 0
    ",
        r"
        46504e4e 01 80 00 06                       ; FPNN, version 1, msgpack, one-way, method of 6 bytes
        27000000                                   ; 39 bytes of payload
        6372646f6e65                               ; 'crdone'
        84                                         ; a map of 4 pairs
          a2 6672 a5 616c696365                    ; fr: 'alice'
          a2 6665 cd 012c                          ; fe: 300
          a1 69 c4 10 00112233445566778899aabbccddeeff ; i: 16 bytes
          a1 63 00                                 ; c: 0
    ",
    );
}

#[test]
fn crrtm_comes_from_the_relay() {
    let message = Rtm {
        id: task(),
        from: -5,
        kind: 2,
        place: 300,
        mid: 1 << 40,
        mtype: 50,
        mtime: 1_700_000_000_000,
        attrs: "{}".into(),
        data: Bytes::from_static(b"hi"),
    };
    one_way(
        message,
        r"
        46504e4e 01 80 00 05                       ; FPNN, version 1, msgpack, one-way, method of 5 bytes
        52000000                                   ; 82 bytes of payload
        637272746d                                 ; 'crrtm'
        89                                         ; a map of 9 pairs
          a1 69 c4 10 00112233445566778899aabbccddeeff ; i: 16 bytes
          a4 66726f6d fb                           ; from: -5
          a1 6b 02                                 ; k: 2
          a1 78 cd 012c                            ; x: 300
          a3 6d6964 cf 0000010000000000            ; mid: 2^40
          a2 6d74 32                               ; mt: 50
          a5 6d74696d65 cf 0000018bcfe56800        ; mtime: 1,700,000,000,000
          a5 6174747273 a2 7b7d                    ; attrs: '{}'
          a1 64 c4 02 6869                         ; d: 'hi'
    ",
    );
}

#[test]
fn crgot_answers_it() {
    one_way(
        Got { id: task() },
        r"
        46504e4e 01 80 00 05                       ; FPNN, version 1, msgpack, one-way, method of 5 bytes
        15000000                                   ; 21 bytes of payload
        6372676f74                                 ; 'crgot'
        81                                         ; a map of 1 pair
          a1 69 c4 10 00112233445566778899aabbccddeeff ; i: 16 bytes
    ",
    );
}

#[test]
fn an_error_answer_has_status_one_code_and_text() {
    let bytes = hex(r"
        46504e4e 01 80 02 01                       ; FPNN, version 1, msgpack, answer, an error
        24000000                                   ; 36 bytes of payload
        07000000                                   ; sequence number 7
        82                                         ; a map of 2 pairs
          a4 636f6465 cd 4e24                      ; code: 20004
          a2 6578 b7 556e6b6e6f77206d6574686f643a2063726e6f73756368 ; ex: 'Unknow method: crnosuch'
    ");
    let mut queue = OutQueue::default();
    queue.error(7, 20004, "Unknow method: crnosuch");
    assert_eq!(queue.take(), bytes);
    let frame = only_frame(&bytes);
    assert_eq!((frame.kind, frame.status, frame.seq), (Kind::Answer, 1, 7));
    let error = ErrorAnswer { code: 20004, text: "Unknow method: crnosuch".into() };
    assert_eq!(read_answer::<Empty>(&frame), Ok(Err(error.clone())));
    assert_eq!(read_answer::<LoginAnswer>(&frame), Ok(Err(error)));
    cut_short(&bytes, &frame.payload, ErrorAnswer::read);
}

/// Source: the table of formats in the msgpack specification.
#[test]
fn heads_take_the_shortest_form_that_holds_the_length() {
    let head_of = |len: usize, write: fn(&mut Writer<'_>, usize)| {
        let mut buffer = BytesMut::new();
        write(&mut Writer::new(&mut buffer), len);
        let content = buffer.iter().rev().take_while(|byte| **byte == b'~').count();
        assert!(content == 0 || content == len);
        buffer.truncate(buffer.len() - content);
        buffer.to_vec()
    };
    let text = |len| head_of(len, |writer, len| writer.str(&"~".repeat(len)));
    let bytes = |len| head_of(len, |writer, len| writer.bin(&vec![b'~'; len]));
    for (len, str_head, bin_head, array_head, map_head) in [
        (0, "a0", "c400", "90", "80"),
        (15, "af", "c40f", "9f", "8f"),
        (16, "b0", "c410", "dc0010", "de0010"),
        (31, "bf", "c41f", "dc001f", "de001f"),
        (32, "d920", "c420", "dc0020", "de0020"),
        (255, "d9ff", "c4ff", "dc00ff", "de00ff"),
        (256, "da0100", "c50100", "dc0100", "de0100"),
        (65_535, "daffff", "c5ffff", "dcffff", "deffff"),
        (65_536, "db00010000", "c600010000", "dd00010000", "df00010000"),
        (1_048_576, "db00100000", "c600100000", "dd00100000", "df00100000"),
    ] {
        assert_eq!(text(len), hex(str_head), "text of {len} bytes");
        assert_eq!(bytes(len), hex(bin_head), "{len} bytes");
        assert_eq!(head_of(len, |writer, len| writer.array(len)), hex(array_head), "an array of {len}");
        assert_eq!(head_of(len, |writer, len| writer.map(len)), hex(map_head), "a map of {len}");
    }
}

#[test]
fn integers_stand_as_the_specification_says() {
    let uint = |value| {
        let mut buffer = BytesMut::new();
        Writer::new(&mut buffer).uint(value);
        buffer.to_vec()
    };
    let int = |value| {
        let mut buffer = BytesMut::new();
        Writer::new(&mut buffer).int(value);
        buffer.to_vec()
    };
    for (value, bytes) in [
        (0, "00"),
        (127, "7f"),
        (128, "cc80"),
        (255, "ccff"),
        (256, "cd0100"),
        (65_535, "cdffff"),
        (65_536, "ce00010000"),
        (4_294_967_295, "ceffffffff"),
        (4_294_967_296, "cf0000000100000000"),
        (9_223_372_036_854_775_807, "cf7fffffffffffffff"),
    ] {
        assert_eq!(uint(value), hex(bytes), "{value}");
        assert_eq!(int(value as i64), hex(bytes), "{value}, signed");
    }
    assert_eq!(uint(u64::MAX), hex("cfffffffffffffffff"));
    for (value, bytes) in [
        (-1, "ff"),
        (-32, "e0"),
        (-33, "d0df"),
        (-128, "d080"),
        (-129, "d1ff7f"),
        (-32_768, "d18000"),
        (-32_769, "d2ffff7fff"),
        (-2_147_483_648, "d280000000"),
        (-2_147_483_649, "d3ffffffff7fffffff"),
        (i64::MIN, "d38000000000000000"),
    ] {
        assert_eq!(int(value), hex(bytes), "{value}");
    }
}

// ---- large files through the file gate --------------------------------------------------------------------

/// A frame whose payload is read and written by names.
fn named(frame: &Frame, fields: Fields, snapshot: &str) {
    let bytes = hex(snapshot);
    let made = Frame { payload: fields.finish(), ..frame.clone() };
    let mut encoded = Vec::new();
    made.encode(&mut encoded);
    assert_eq!(encoded, bytes);
    let read = only_frame(&bytes);
    assert_eq!(read, made);
    cut_short(&bytes, &read.payload, |payload| {
        Params::read(payload.clone()).map_err(|error| match error {
            ParamError::Payload(error) => error,
            other => panic!("{other}"),
        })
    });
}

fn named_quest(seq: u32, method: &'static str) -> Frame {
    rtm::quest(seq, method, Fields::new())
}

#[test]
fn crupbegin_and_its_answer() {
    let quest = named_quest(11, "crupbegin");
    let fields = Fields::new().int("pid", 1).int("from", 100).text("token", "t").text("cmd", "sendfile");
    named(
        &quest,
        fields.int("to", 200).int("size", 300_000),
        r"
        46504e4e 01 80 01 09                       ; FPNN, version 1, msgpack, quest, method of 9 bytes
        30000000                                   ; 48 bytes of payload
        0b000000                                   ; sequence number 11
        63727570626567696e                         ; 'crupbegin'
        86                                         ; a map of 6 pairs
          a3 706964 01                             ; pid: 1
          a4 66726f6d 64                           ; from: 100
          a5 746f6b656e a174                       ; token: 't'
          a3 636d64 a873656e6466696c65             ; cmd: 'sendfile'
          a2 746f ccc8                             ; to: 200
          a4 73697a65 ce000493e0                   ; size: 300000
    ",
    );
    let answer = rtm::answer(&quest, Fields::new());
    named(
        &answer,
        Fields::new().bytes("id", &SESSION).int("max", 196_608),
        r"
        46504e4e 01 80 02 00                       ; FPNN, version 1, msgpack, answer, good
        1f000000                                   ; 31 bytes of payload
        0b000000                                   ; sequence number 11
        82                                         ; a map of 2 pairs
          a2 6964 c410000102030405060708090a0b0c0d0e0f ; id: bin16
          a3 6d6178 ce00030000                     ; max: 196608
    ",
    );
}

#[test]
fn crupdata_and_its_answer() {
    let quest = named_quest(12, "crupdata");
    named(
        &quest,
        Fields::new().bytes("id", &SESSION).int("o", 196_608).bytes("d", b"abc"),
        r"
        46504e4e 01 80 01 08                       ; FPNN, version 1, msgpack, quest, method of 8 bytes
        24000000                                   ; 36 bytes of payload
        0c000000                                   ; sequence number 12
        6372757064617461                           ; 'crupdata'
        83                                         ; a map of 3 pairs
          a2 6964 c410000102030405060708090a0b0c0d0e0f ; id: bin16
          a1 6f ce00030000                         ; o: 196608
          a1 64 c403616263                         ; d: 'abc'
    ",
    );
    let answer = rtm::answer(&quest, Fields::new());
    named(
        &answer,
        Fields::new().int("o", 196_611),
        r"
        46504e4e 01 80 02 00                       ; FPNN, version 1, msgpack, answer, good
        08000000                                   ; 8 bytes of payload
        0c000000                                   ; sequence number 12
        81                                         ; a map of one pair
          a1 6f ce00030003                         ; o: 196611
    ",
    );
}

#[test]
fn crupend_and_its_answer() {
    let quest = named_quest(13, "crupend");
    named(
        &quest,
        Fields::new().bytes("id", &SESSION).int("mtype", 50).int("mid", 7).text("attrs", "{}"),
        r"
        46504e4e 01 80 01 07                       ; FPNN, version 1, msgpack, quest, method of 7 bytes
        2b000000                                   ; 43 bytes of payload
        0d000000                                   ; sequence number 13
        63727570656e64                             ; 'crupend'
        84                                         ; a map of 4 pairs
          a2 6964 c410000102030405060708090a0b0c0d0e0f ; id: bin16
          a5 6d74797065 32                         ; mtype: 50
          a3 6d6964 07                             ; mid: 7
          a5 6174747273 a27b7d                     ; attrs: '{}'
    ",
    );
    let answer = rtm::answer(&quest, Fields::new());
    named(
        &answer,
        Fields::new().int("mtime", 1_795_293_738_420),
        r"
        46504e4e 01 80 02 00                       ; FPNN, version 1, msgpack, answer, good
        10000000                                   ; 16 bytes of payload
        0d000000                                   ; sequence number 13
        81                                         ; a map of one pair
          a5 6d74696d65 cf000001a1ffd875b4         ; mtime: 1795293738420
    ",
    );
}

#[test]
fn crreceipts_and_its_answer() {
    let quest = named_quest(14, "crreceipts");
    let fields = Fields::new().int("pid", 1).text("sign", "S").int("salt", 2).int("ts", 3);
    named(
        &quest,
        fields.bytes("watch", &SESSION),
        r"
        46504e4e 01 80 01 0a                       ; FPNN, version 1, msgpack, quest, method of 10 bytes
        2f000000                                   ; 47 bytes of payload
        0e000000                                   ; sequence number 14
        63727265636569707473                       ; 'crreceipts'
        85                                         ; a map of 5 pairs
          a3 706964 01                             ; pid: 1
          a4 7369676e a153                         ; sign: 'S'
          a4 73616c74 02                           ; salt: 2
          a2 7473 03                               ; ts: 3
          a5 7761746368 c410000102030405060708090a0b0c0d0e0f ; watch: bin16
    ",
    );
    let answer = rtm::answer(&quest, Fields::new());
    named(
        &answer,
        Fields::new().bytes("store", &SESSION),
        r"
        46504e4e 01 80 02 00                       ; FPNN, version 1, msgpack, answer, good
        19000000                                   ; 25 bytes of payload
        0e000000                                   ; sequence number 14
        81                                         ; a map of one pair
          a5 73746f7265 c410000102030405060708090a0b0c0d0e0f ; store: bin16
    ",
    );
}

#[test]
fn crreceipt_and_its_answer() {
    let quest = named_quest(15, "crreceipt");
    let row = [7, 1, 100, 200, 1_234, 200, 3, 0];
    let rows = Fields::new().write("rs", |writer| {
        writer.array(1);
        writer.array(row.len());
        row.into_iter().for_each(|value| writer.int(value));
    });
    named(
        &quest,
        rows,
        r"
        46504e4e 01 80 01 09                       ; FPNN, version 1, msgpack, quest, method of 9 bytes
        12000000                                   ; 18 bytes of payload
        0f000000                                   ; sequence number 15
        637272656365697074                         ; 'crreceipt'
        81                                         ; a map of one pair
          a2 7273 91                               ; rs: one receipt
            98 07 01                               ; number 7, to a user
            64 ccc8 cd04d2                         ; from 100, to 200, mid 1234
            ccc8 03 00                             ; the recipient 200, delivered, no error
    ",
    );
    named(
        &rtm::answer(&quest, Fields::new()),
        Fields::new(),
        r"
        46504e4e 01 80 02 00                       ; FPNN, version 1, msgpack, answer, good
        01000000                                   ; one byte of payload
        0f000000                                   ; sequence number 15
        80                                         ; an empty map
    ",
    );
}
