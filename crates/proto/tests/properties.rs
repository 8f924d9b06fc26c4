//! What holds for all messages, all splits of a stream and all bytes, tried with random ones.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use core::fmt::Debug;
use std::io::IoSlice;

use bytes::{Bytes, BytesMut};
use common::{frames, map_head, text};
use crvideo_proto::frame::{Frame, FrameReader, Kind, SESSION_LIMIT};
use crvideo_proto::id::TaskId;
use crvideo_proto::message::*;
use crvideo_proto::out::OutQueue;
use crvideo_proto::pack::{PackError, Reader, Writer, validate};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::TestRunner;

/// Byte strings from this length on are not copied.
const UNCOPIED_FROM: usize = 4 * 1024;

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

// ---- random messages --------------------------------------------------------------------------------------

/// A value of which a random one can be made, with the borders of its encodings drawn often.
trait Random: Sized + Debug {
    fn strategy() -> BoxedStrategy<Self>;
}

/// Lengths on both sides of where the encoding changes, and of where copying ends.
fn lengths() -> impl Strategy<Value = usize> {
    prop_oneof![
        10 => 0..40_usize,
        1 => select(vec![31, 32, 255, 256, UNCOPIED_FROM - 1, UNCOPIED_FROM, 65_535, 65_536, 70_000]),
    ]
}

impl Random for u64 {
    fn strategy() -> BoxedStrategy<Self> {
        (any::<u64>(), 0..64_u32, -1..=1_i64)
            .prop_map(|(value, shift, step)| (value >> shift).wrapping_add_signed(step))
            .boxed()
    }
}

impl Random for u32 {
    fn strategy() -> BoxedStrategy<Self> {
        u64::strategy().prop_map(|value| value as u32).boxed()
    }
}

impl Random for u8 {
    fn strategy() -> BoxedStrategy<Self> {
        any::<u8>().boxed()
    }
}

impl Random for i64 {
    fn strategy() -> BoxedStrategy<Self> {
        let borders = select(vec![-33, -32, -1, -129, -128, -32_769, -32_768, i64::from(i32::MIN), i64::MIN, i64::MAX]);
        prop_oneof![(any::<i64>(), 0..64_u32).prop_map(|(value, shift)| value >> shift), borders].boxed()
    }
}

impl Random for bool {
    fn strategy() -> BoxedStrategy<Self> {
        any::<bool>().boxed()
    }
}

impl Random for String {
    fn strategy() -> BoxedStrategy<Self> {
        prop_oneof![10 => any::<String>(), 1 => lengths().prop_map(|len| "s".repeat(len))].boxed()
    }
}

impl Random for Bytes {
    fn strategy() -> BoxedStrategy<Self> {
        prop_oneof![
            10 => vec(any::<u8>(), 0..100).prop_map(Bytes::from),
            1 => (lengths(), any::<u8>()).prop_map(|(len, byte)| vec![byte; len].into()),
        ]
        .boxed()
    }
}

impl<const N: usize> Random for [u8; N] {
    fn strategy() -> BoxedStrategy<Self> {
        any::<[u8; N]>().boxed()
    }
}

impl Random for TaskId {
    fn strategy() -> BoxedStrategy<Self> {
        any::<[u8; 16]>().prop_map(TaskId::from_bytes).boxed()
    }
}

impl<T: Random + Clone + 'static> Random for Option<T> {
    fn strategy() -> BoxedStrategy<Self> {
        prop_oneof![Just(None), T::strategy().prop_map(Some)].boxed()
    }
}

impl Random for Vec<String> {
    fn strategy() -> BoxedStrategy<Self> {
        prop_oneof![
            10 => vec(any::<String>(), 0..20),
            1 => select(vec![15, 16, 255, 256, MAX_LIST]).prop_map(|len| vec![String::from("u"); len]),
        ]
        .boxed()
    }
}

impl Random for Vec<(u64, u64)> {
    fn strategy() -> BoxedStrategy<Self> {
        let pair = || (u64::strategy(), u64::strategy());
        prop_oneof![
            10 => vec(pair(), 0..20),
            1 => (pair(), select(vec![15, 16, MAX_LIST])).prop_map(|(pair, len)| vec![pair; len]),
        ]
        .boxed()
    }
}

/// The strategy of the field that is named.
fn field<T: Random>(_name: &str) -> BoxedStrategy<T> {
    T::strategy()
}

macro_rules! random {
    ($($name:ident { $($field:ident),* })*) => {$(
        impl Random for $name {
            fn strategy() -> BoxedStrategy<Self> {
                (Just(()), $(field(stringify!($field))),*).prop_map(|((), $($field),*)| $name { $($field),* }).boxed()
            }
        }
    )*};
}

random! {
    Empty {}
    ErrorAnswer { code, text }
    Hello { lowest, highest, features, agent }
    HelloAnswer { version, features, agent, salt }
    Login { project, user, token, session, epoch }
    LoginAnswer { epoch, resumed, ticket, expires_ms, heartbeat_ms, max_file }
    Bulk { ticket, lost }
    BulkAnswer { ticket }
    NewTicket {}
    UpdateToken { token }
    TokenAnswer { expires_ms }
    Logout {}
    CloseBulk {}
    Ping {}
    Pong {}
    Bye { code, text }
    Find { user }
    FindAnswer { epoch, state }
    Peer { user, epoch, state, class }
    Wake {}
    Users { user, after }
    UsersAnswer { users, more }
    Watch { on }
    Status { user, state }
    Command { position, base, settled, task, chosen, data }
    CommandAck { position, limit, refused }
    Offer { task, kind, name, size, repeated }
    Data { task, offset, data }
    End { task, hash }
    Go { task, offset, limit }
    Confirm { task, offset, limit }
    Cancel { task, code }
    Done { task, code }
    Rtm { id, from, kind, place, mid, mtype, mtime, attrs, data }
    Got { id }
}

/// Calls a generic function once for each body.
macro_rules! for_every_body {
    ($function:ident) => {
        $function::<Empty>();
        $function::<ErrorAnswer>();
        $function::<HelloAnswer>();
        $function::<LoginAnswer>();
        $function::<BulkAnswer>();
        $function::<TokenAnswer>();
        $function::<FindAnswer>();
        $function::<UsersAnswer>();
        for_every_message!($function);
    };
}

macro_rules! for_every_message {
    ($function:ident) => {
        $function::<Hello>();
        $function::<Login>();
        $function::<Bulk>();
        $function::<NewTicket>();
        $function::<UpdateToken>();
        $function::<Logout>();
        $function::<CloseBulk>();
        $function::<Ping>();
        $function::<Pong>();
        $function::<Bye>();
        $function::<Find>();
        $function::<Peer>();
        $function::<Wake>();
        $function::<Users>();
        $function::<Watch>();
        $function::<Status>();
        $function::<Rtm>();
        $function::<Got>();
        for_every_routed!($function);
    };
}

macro_rules! for_every_routed {
    ($function:ident) => {
        $function::<Command>();
        $function::<CommandAck>();
        $function::<Offer>();
        $function::<Data>();
        $function::<End>();
        $function::<Go>();
        $function::<Confirm>();
        $function::<Cancel>();
        $function::<Done>();
    };
}

/// Runs a property for random values of one type.
fn for_random<S: Strategy>(cases: u32, strategy: &S, property: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    TestRunner::new(config(cases)).run(strategy, property).unwrap();
}

fn only_frame(bytes: &[u8]) -> Frame {
    let mut frames = frames(FrameReader::new(SESSION_LIMIT), bytes, &[]).unwrap();
    assert_eq!(frames.len(), 1);
    frames.pop().unwrap()
}

fn payload_of<B: Body>(body: &B) -> Bytes {
    let mut queue = OutQueue::default();
    queue.answer(0, body);
    only_frame(&queue.take()).payload
}

// ---- round trips ------------------------------------------------------------------------------------------

fn a_body_comes_back<B: Body + Random + PartialEq>() {
    for_random(64, &(B::strategy(), any::<u32>()), |(body, seq)| {
        let mut queue = OutQueue::default();
        queue.answer(seq, &body);
        prop_assert_eq!(queue.len() as u64, queue.position());
        let frame = only_frame(&queue.take());
        prop_assert_eq!((frame.kind, frame.seq, frame.status), (Kind::Answer, seq, 0));
        prop_assert_eq!(validate(&frame.payload), Ok(()));
        prop_assert_eq!(read_answer::<B>(&frame), Ok(Ok(body)));
        Ok(())
    });
}

#[test]
fn every_body_comes_back_as_it_was() {
    for_every_body!(a_body_comes_back);
}

fn a_message_comes_back<M: Message + Random + PartialEq + Clone>() {
    for_random(32, &(M::strategy(), any::<u32>()), |(message, seq)| {
        let mut queue = OutQueue::default();
        queue.quest(seq, &message);
        queue.one_way(&message);
        let frames = frames(FrameReader::new(SESSION_LIMIT), &queue.take(), &[]).unwrap();
        prop_assert_eq!(frames.len(), 2);
        let kinds = [(Kind::Quest, seq), (Kind::OneWay, 0)];
        for (frame, expected) in frames.iter().zip(kinds) {
            prop_assert_eq!((frame.kind, frame.seq), expected);
            prop_assert_eq!((frame.method(), frame.status), (M::METHOD, 0));
            prop_assert_eq!(M::read(&frame.payload), Ok(message.clone()));
        }
        Ok(())
    });
}

#[test]
fn every_message_comes_back_as_quest_and_as_one_way() {
    for_every_message!(a_message_comes_back);
}

fn a_routed_message_reaches_its_target<M: Message + Random + PartialEq>() {
    let names = || (String::strategy(), u64::strategy());
    for_random(64, &(M::strategy(), names(), names()), |(message, (to, te), (from, epoch))| {
        let mut queue = OutQueue::default();
        queue.routed(&to, te, &message);
        let sent = only_frame(&queue.take());
        let address = Address::to(&sent.payload).unwrap();
        prop_assert_eq!((address.user, address.epoch), (to.as_str(), te));
        queue.forward(sent.method(), address.pairs, &from, epoch, sent.payload.slice(address.rest..));
        let arrived = only_frame(&queue.take());
        prop_assert_eq!((arrived.kind, arrived.method()), (Kind::OneWay, M::METHOD));
        prop_assert_eq!(validate(&arrived.payload), Ok(()));
        prop_assert_eq!(Routed::read(&arrived.payload), Ok(Routed { from, epoch, message }));
        Ok(())
    });
}

#[test]
fn every_routed_message_reaches_its_target_as_it_was() {
    for_every_routed!(a_routed_message_reaches_its_target);
}

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn every_error_answer_comes_back(seq: u32, code: i32, said in String::strategy()) {
        let mut queue = OutQueue::default();
        queue.error(seq, code, &said);
        let frame = only_frame(&queue.take());
        prop_assert_eq!((frame.kind, frame.seq), (Kind::Answer, seq));
        let error = ErrorAnswer { code: code.into(), text: said };
        prop_assert_eq!(read_answer::<LoginAnswer>(&frame), Ok(Err(error)));
    }

    #[test]
    fn integers_take_the_fewest_bytes(unsigned in u64::strategy(), signed in i64::strategy()) {
        let mut buffer = BytesMut::new();
        Writer::new(&mut buffer).uint(unsigned);
        let fewest = match unsigned {
            0..0x80 => 1,
            0x80..0x100 => 2,
            0x100..0x1_0000 => 3,
            0x1_0000..0x1_0000_0000 => 5,
            _ => 9,
        };
        prop_assert_eq!(buffer.len(), fewest);
        let payload = buffer.split().freeze();
        prop_assert_eq!(Reader::new(&payload).int::<u64>(""), Ok(unsigned));
        Writer::new(&mut buffer).int(signed);
        if signed < 0 {
            let fewest = match signed {
                -0x20.. => 1,
                -0x80.. => 2,
                -0x8000.. => 3,
                -0x8000_0000.. => 5,
                _ => 9,
            };
            prop_assert_eq!(buffer.len(), fewest);
        }
        let payload = buffer.split().freeze();
        prop_assert_eq!(Reader::new(&payload).int::<i64>(""), Ok(signed));
    }
}

// ---- unknown keys -----------------------------------------------------------------------------------------

/// One msgpack value of any type and width, with containers up to `levels` deep.
fn any_value(levels: u32) -> BoxedStrategy<Vec<u8>> {
    let fixed = |head: u8, len: usize| vec(any::<u8>(), len).prop_map(move |data| [&[head][..], &data].concat());
    let plain = prop_oneof![
        (0..0x80_u8).prop_map(|byte| vec![byte]),
        (0xe0..=0xff_u8).prop_map(|byte| vec![byte]),
        select(vec![0xc0, 0xc2, 0xc3]).prop_map(|byte| vec![byte]),
        select(vec![(0xcc, 1), (0xcd, 2), (0xce, 4), (0xcf, 8), (0xd0, 1), (0xd1, 2), (0xd2, 4), (0xd3, 8)])
            .prop_flat_map(move |(head, len)| fixed(head, len)),
        select(vec![(0xca, 4), (0xcb, 8), (0xd4, 2), (0xd5, 3), (0xd6, 5), (0xd7, 9), (0xd8, 17)])
            .prop_flat_map(move |(head, len)| fixed(head, len)),
    ];
    // Text, bytes and extensions with a length of one, two or four bytes; extensions have a type behind it.
    let heads = vec![(0xd9, 1, 0), (0xda, 2, 0), (0xdb, 4, 0), (0xc4, 1, 0), (0xc5, 2, 0), (0xc6, 4, 0)];
    let heads = [heads, vec![(0xc7, 1, 1), (0xc8, 2, 1), (0xc9, 4, 1)]].concat();
    let sized = (select(heads), vec(any::<u8>(), 1..60)).prop_map(|((head, width, more), data)| {
        let len = (data.len() - more) as u32;
        [&[head][..], &len.to_be_bytes()[4 - width..], &data].concat()
    });
    let short = vec(any::<u8>(), 0..32).prop_map(|data| [&[0xa0 + data.len() as u8][..], &data].concat());
    let leaf = prop_oneof![plain, sized, short];
    leaf.prop_recursive(levels, 24, 4, |inner| {
        let array = (select(vec![0x90, 0xdc, 0xdd]), vec(inner.clone(), 0..6))
            .prop_map(|(head, values)| [container(head, values.len()), values.concat()].concat());
        let map = (select(vec![0x80, 0xde, 0xdf]), vec((inner.clone(), inner), 0..6)).prop_map(|(head, pairs)| {
            let values = pairs.iter().map(|(key, value)| [&key[..], value].concat());
            [container(head, pairs.len()), values.collect::<Vec<_>>().concat()].concat()
        });
        prop_oneof![array, map]
    })
    .boxed()
}

fn container(head: u8, len: usize) -> Vec<u8> {
    let len = len as u32;
    match head {
        0x80 | 0x90 => vec![head + len as u8],
        0xdc | 0xde => [&[head][..], &len.to_be_bytes()[2..]].concat(),
        _ => [&[head][..], &len.to_be_bytes()].concat(),
    }
}

/// A map's pairs, each as its bytes.
fn pairs_of(payload: &Bytes) -> Vec<Vec<u8>> {
    let mut reader = Reader::new(payload);
    let mut pairs = Vec::new();
    for _ in 0..reader.map().unwrap() {
        let start = reader.position();
        reader.key().unwrap();
        reader.skip(1).unwrap();
        pairs.push(payload[start..reader.position()].to_vec());
    }
    reader.finish().unwrap();
    pairs
}

/// Keys that no message has: a text in each of the four widths.
fn unknown_key() -> impl Strategy<Value = Vec<u8>> {
    (0..4_usize, "[?!][a-z]{0,20}").prop_map(|(form, key)| {
        let len = (key.len() as u32).to_be_bytes();
        let head = [&[0xa0 + len[3]][..], &[0xd9, len[3]], &[0xda, len[2], len[3]], &[0xdb, 0, 0, len[2], len[3]]];
        [head[form], key.as_bytes()].concat()
    })
}

fn a_body_passes_over_unknown_keys<B: Body + Random + PartialEq>() {
    let extras = vec((unknown_key(), any_value(8), any::<Index>()), 1..20);
    let heads = select(vec![None, Some(0xde), Some(0xdf)]);
    for_random(24, &(B::strategy(), extras, heads, any::<bool>()), |(body, extras, head, reverse)| {
        let mut pairs = pairs_of(&payload_of(&body));
        if reverse {
            pairs.reverse();
        }
        for (key, value, at) in extras {
            pairs.insert(at.index(pairs.len() + 1), [key, value].concat());
        }
        let head = head.map_or_else(|| map_head(pairs.len()), |head| container(head, pairs.len()));
        let payload = Bytes::from([head, pairs.concat()].concat());
        prop_assert_eq!(validate(&payload), Ok(()));
        prop_assert_eq!(B::read(&payload), Ok(body));
        // The same with the end missing is cut short, wherever that is.
        let cut = payload.slice(..payload.len() / 2);
        prop_assert_eq!(validate(&cut), Err(PackError::Truncated));
        prop_assert!(B::read(&cut).is_err());
        Ok(())
    });
}

#[test]
fn unknown_keys_of_every_type_are_passed_over_wherever_they_stand() {
    for_every_body!(a_body_passes_over_unknown_keys);
}

// ---- random bytes -----------------------------------------------------------------------------------------

/// Bytes that get further than noise: msgpack maps, frames, and both with some bytes changed.
fn strange_bytes() -> impl Strategy<Value = Vec<u8>> {
    let map = (0..5_usize, vec((unknown_key(), any_value(20)), 0..5))
        .prop_map(|(more, pairs)| {
            let body = pairs.iter().map(|(key, value)| [&key[..], value].concat());
            [container(0x80, pairs.len() + more / 4), body.collect::<Vec<_>>().concat()].concat()
        })
        .boxed();
    let message = prop_oneof![
        Command::strategy().prop_map(|body| payload_of(&body).to_vec()),
        CommandAck::strategy().prop_map(|body| payload_of(&body).to_vec()),
        UsersAnswer::strategy().prop_map(|body| payload_of(&body).to_vec()),
        Login::strategy().prop_map(|body| payload_of(&body).to_vec()),
        LoginAnswer::strategy().prop_map(|body| payload_of(&body).to_vec()),
        (Offer::strategy(), any::<String>()).prop_map(|(body, to)| {
            let mut queue = OutQueue::default();
            queue.routed(&to, 5, &body);
            only_frame(&queue.take()).payload.to_vec()
        }),
    ];
    let changed = |bytes: BoxedStrategy<Vec<u8>>| {
        (bytes, vec((any::<Index>(), any::<u8>()), 0..4)).prop_map(|(mut bytes, changes)| {
            for (at, byte) in changes {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
            }
            bytes
        })
    };
    prop_oneof![vec(any::<u8>(), 0..200), any_value(20), changed(map), changed(message.boxed())]
}

fn a_body_never_panics<B: Body + Random + PartialEq>() {
    for_random(64, &strange_bytes(), |bytes| {
        let payload = Bytes::from(bytes);
        let checked = validate(&payload);
        if let Ok(body) = B::read(&payload) {
            prop_assert_eq!(checked, Ok(()), "read, but not valid");
            prop_assert_eq!(B::read(&payload_of(&body)), Ok(body), "read, but not written again");
        }
        Ok(())
    });
}

#[test]
fn no_bytes_make_a_body_panic_and_what_is_read_is_valid() {
    for_every_body!(a_body_never_panics);
}

fn a_routed_body_never_panics<M: Message + Random + PartialEq>() {
    for_random(64, &(strange_bytes(), any::<bool>()), |(bytes, addressed)| {
        let mut payload = bytes;
        if addressed && !payload.is_empty() {
            let address = [text("fr"), text("alice"), text("fe"), vec![5]].concat();
            payload.splice(1..1, address);
            payload[0] = 0x80 | payload[0].wrapping_add(2) & 0x0f;
        }
        let payload = Bytes::from(payload);
        let _ = Address::to(&payload);
        if let Ok(message) = Routed::<M>::read(&payload) {
            prop_assert_eq!(message.message, M::read(&payload).unwrap());
            prop_assert_eq!(validate(&payload), Ok(()));
        }
        Ok(())
    });
}

#[test]
fn no_bytes_make_a_routed_message_panic() {
    for_every_routed!(a_routed_body_never_panics);
}

proptest! {
    #![proptest_config(config(1_000))]

    #[test]
    fn no_bytes_make_the_frame_reader_panic(
        bytes in prop_oneof![
            vec(any::<u8>(), 0..200),
            (any::<[u8; 4]>(), 0..300_u32, strange_bytes()).prop_map(|(head, size, rest)| {
                let head = [head[0] & 3, if head[1] < 200 { 0x80 } else { head[1] }, head[2] % 4, head[3] % 8];
                [&b"FPNN"[..], &head, &size.to_le_bytes(), &rest].concat()
            }),
        ],
        json: bool,
        limit in 0..400_usize,
        ends in vec(any::<Index>(), 0..8),
    ) {
        let mut ends: Vec<usize> = ends.iter().map(|end| end.index(bytes.len() + 1)).collect();
        ends.sort_unstable();
        let mut reader = FrameReader::new(limit);
        if json {
            reader = reader.allow_json();
        }
        let mut start = 0;
        let mut encoded = Vec::new();
        'stream: for end in ends.into_iter().chain([bytes.len()]) {
            reader.feed(&bytes[start..end]);
            start = end;
            loop {
                let _ = reader.large_rest();
                match reader.next_frame() {
                    Ok(Some(frame)) => {
                        prop_assert!(frame.payload.len() <= limit);
                        frame.encode(&mut encoded);
                    }
                    Ok(None) => break,
                    Err(_) => break 'stream,
                }
            }
        }
        prop_assert!(bytes.starts_with(&encoded), "frames are the bytes they came from");
    }

    #[test]
    fn any_value_is_passed_over_as_a_whole(value in any_value(14), behind in vec(any::<u8>(), 0..4)) {
        let payload = Bytes::from([&value[..], &behind].concat());
        let mut reader = Reader::new(&payload);
        prop_assert_eq!(reader.skip(0), Ok(()));
        prop_assert_eq!(reader.position(), value.len());
        for len in 0..value.len().min(30) {
            let cut = payload.slice(..len);
            prop_assert_eq!(Reader::new(&cut).skip(0), Err(PackError::Truncated));
        }
    }
}

// ---- streams ----------------------------------------------------------------------------------------------

/// A frame of any kind, with any payload: the reader of frames does not look into it.
fn any_frame() -> impl Strategy<Value = Frame> {
    let payload = prop_oneof![
        8 => vec(any::<u8>(), 1..100).prop_map(Bytes::from),
        1 => (1..200_000_usize, any::<u8>()).prop_map(|(len, byte)| vec![byte; len].into()),
    ];
    let method = prop_oneof![8 => "[a-z*]{1,20}", 1 => Just("m".repeat(255)), 1 => Just("é".repeat(127))];
    (0..3_u8, any::<u8>(), any::<u8>(), any::<u32>(), method, payload).prop_map(
        |(kind, version, status, seq, method, payload)| {
            let method = Bytes::from(method);
            let (kind, status, seq, method) = match kind {
                0 => (Kind::OneWay, 0, 0, method),
                1 => (Kind::Quest, 0, seq, method),
                _ => (Kind::Answer, status, seq, Bytes::new()),
            };
            Frame { kind, version, flags: 0x80, status, seq, method, payload }
        },
    )
}

/// Something to queue, and what it says.
#[derive(Debug, Clone)]
enum Item {
    Quest(u32, Users),
    OneWay(Status),
    Answer(u32, UsersAnswer),
    Error(u32, i32, String),
    Routed(String, u64, Data),
    Forward(String, u64, Bytes),
}

fn any_item() -> impl Strategy<Value = Item> {
    let rest = prop_oneof![3 => Just(5_usize), 1 => Just(UNCOPIED_FROM - 1), 1 => UNCOPIED_FROM..90_000];
    prop_oneof![
        (any::<u32>(), Users::strategy()).prop_map(|(seq, users)| Item::Quest(seq, users)),
        Status::strategy().prop_map(Item::OneWay),
        (any::<u32>(), UsersAnswer::strategy()).prop_map(|(seq, users)| Item::Answer(seq, users)),
        (any::<u32>(), any::<i32>(), any::<String>()).prop_map(|(seq, code, text)| Item::Error(seq, code, text)),
        (any::<String>(), any::<u64>(), Data::strategy()).prop_map(|(to, te, data)| Item::Routed(to, te, data)),
        (any::<String>(), any::<u64>(), rest).prop_map(|(from, fe, len)| Item::Forward(
            from,
            fe,
            vec![b'r'; len].into()
        )),
    ]
}

impl Item {
    fn queue(&self, queue: &mut OutQueue) {
        match self {
            Item::Quest(seq, message) => queue.quest(*seq, message),
            Item::OneWay(message) => queue.one_way(message),
            Item::Answer(seq, body) => queue.answer(*seq, body),
            Item::Error(seq, code, text) => queue.error(*seq, *code, text),
            Item::Routed(to, te, data) => queue.routed(to, *te, data),
            Item::Forward(from, fe, rest) => queue.forward("crdata", 3, from, *fe, rest.clone()),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut queue = OutQueue::default();
        self.queue(&mut queue);
        queue.take()
    }
}

/// Takes at most `most` bytes out of the queue through `slots` slices, as a vectored write does.
fn write(queue: &mut OutQueue, slots: usize, most: usize, written: &mut Vec<u8>) {
    let mut slices = vec![IoSlice::new(&[]); slots];
    let filled = queue.slices(&mut slices);
    let mut left = most;
    for slice in &slices[..filled] {
        assert!(!slice.is_empty(), "an empty slice is offered");
        let len = slice.len().min(left);
        written.extend_from_slice(&slice[..len]);
        left -= len;
    }
    queue.advance(most - left);
}

#[test]
fn a_queue_written_byte_by_byte_gives_the_same_bytes() {
    let items = [
        Item::OneWay(Status { user: "bob".into(), state: 1 }),
        Item::Routed(
            "bob".into(),
            5,
            Data { task: TaskId::from_bytes([7; 16]), offset: 0, data: vec![1; 5_000].into() },
        ),
        Item::Forward("alice".into(), 300, vec![2; 5_000].into()),
        Item::Quest(1, Users { user: None, after: None }),
    ];
    let mut queue = OutQueue::default();
    items.iter().for_each(|item| item.queue(&mut queue));
    let mut written = Vec::new();
    while !queue.is_empty() {
        write(&mut queue, 2, 1, &mut written);
    }
    assert_eq!(written, items.iter().flat_map(Item::bytes).collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(config(128))]

    #[test]
    fn frames_come_out_the_same_however_the_stream_is_split(
        expected in vec(any_frame(), 1..12),
        ends in vec(any::<Index>(), 0..40),
        direct: bool,
        bulk: bool,
        again in prop_oneof![Just(1_usize), 2..5_usize],
    ) {
        let mut stream = Vec::new();
        // A reader of large frames behaves otherwise when the next one is as large as the last.
        let expected: Vec<Frame> = expected.into_iter().flat_map(|frame| vec![frame; again]).collect();
        expected.iter().for_each(|frame| frame.encode(&mut stream));
        let mut ends: Vec<usize> = ends.iter().map(|end| end.index(stream.len() + 1)).collect();
        ends.sort_unstable();
        let mut reader = FrameReader::new(SESSION_LIMIT);
        if bulk {
            reader.expect_bulk();
        }
        let mut read = Vec::new();
        let mut start = 0;
        for end in ends.into_iter().chain([stream.len()]) {
            while start < end {
                let piece = &stream[start..end];
                let taken = match reader.large_rest() {
                    // What a read straight into the buffer does.
                    Some(buffer) if direct => {
                        let len = piece.len().min(buffer.capacity() - buffer.len());
                        prop_assert!(len > 0, "room is offered that is none");
                        buffer.extend_from_slice(&piece[..len]);
                        len
                    }
                    None if direct => {
                        let len = reader.next_read(piece.len());
                        prop_assert!(len > 0, "nothing is to be read");
                        reader.feed(&piece[..len]);
                        len
                    }
                    _ => {
                        reader.feed(piece);
                        piece.len()
                    }
                };
                start += taken;
                while let Some(frame) = reader.next_frame().unwrap() {
                    read.push(frame);
                }
            }
        }
        prop_assert_eq!(reader.buffered(), 0);
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn a_queue_written_in_any_portions_gives_the_same_bytes(
        steps in vec((any_item(), vec((1..6_usize, 0..100_000_usize), 0..4)), 1..20),
    ) {
        let expected: Vec<u8> = steps.iter().flat_map(|(item, _)| item.bytes()).collect();
        let mut queue = OutQueue::default();
        let mut written = Vec::new();
        let mut queued = 0;
        for (item, portions) in steps {
            item.queue(&mut queue);
            queued += item.bytes().len();
            for (slots, most) in portions {
                write(&mut queue, slots, most, &mut written);
                prop_assert_eq!(queue.written(), written.len() as u64);
                prop_assert_eq!(queue.position(), queued as u64);
                prop_assert_eq!(queue.len(), queued - written.len());
                prop_assert_eq!(queue.is_empty(), queued == written.len());
            }
        }
        written.extend(queue.take());
        prop_assert_eq!(written, expected);
        prop_assert!(queue.is_empty());
        prop_assert_eq!(queue.written(), queued as u64);
    }

    #[test]
    fn a_queue_that_is_cleared_goes_on_with_whole_frames(
        before in vec(any_item(), 1..6), cut in 0..50_000_usize, after in any_item(),
    ) {
        let mut queue = OutQueue::default();
        before.iter().for_each(|item| item.queue(&mut queue));
        let mut written = Vec::new();
        write(&mut queue, 3, cut, &mut written);
        queue.clear();
        prop_assert!(queue.is_empty());
        prop_assert_eq!(queue.slices(&mut [IoSlice::new(&[]); 2]), 0);
        after.queue(&mut queue);
        prop_assert_eq!(queue.take(), after.bytes());
    }
}

// ---- large tails ------------------------------------------------------------------------------------------

/// The slices that wait, as addresses.
fn waiting(queue: &OutQueue) -> Vec<(*const u8, usize)> {
    let mut slices = [IoSlice::new(&[]); 16];
    let filled = queue.slices(&mut slices);
    slices[..filled].iter().map(|slice| (slice.as_ptr(), slice.len())).collect()
}

proptest! {
    #![proptest_config(config(128))]

    #[test]
    fn large_content_is_not_copied_on_its_way_out(
        len in prop_oneof![
            UNCOPIED_FROM - 3..UNCOPIED_FROM + 3,
            0..300_000_usize,
            Just(65_535_usize),
            Just(65_536),
            Just(1024 * 1024),
        ],
        position in u64::strategy(),
    ) {
        let data: Bytes = (0..len).map(|at| at as u8).collect::<Vec<_>>().into();
        let task = TaskId::from_bytes([7; 16]);
        let message = Command { position, base: 0, settled: 0, task, chosen: false, data: data.clone() };
        let mut queue = OutQueue::default();
        queue.one_way(&Ping {});
        queue.routed("bob", 5, &message);
        queue.one_way(&Ping {});
        let place = (data.as_ptr(), len);
        prop_assert_eq!(waiting(&queue).contains(&place), len >= UNCOPIED_FROM);
        let bytes = queue.take();
        let read = frames(FrameReader::new(SESSION_LIMIT), &bytes, &[]).unwrap();
        prop_assert_eq!(read.len(), 3);
        prop_assert_eq!(read[1].payload.len(), bytes.len() - 2 * (12 + 6 + 1) - (12 + 5));
        prop_assert_eq!(Command::read(&read[1].payload), Ok(message.clone()));

        // The relay passes it on without copying it, either, and the target reads it in place.
        let payload = &read[1].payload;
        let address = Address::to(payload).unwrap();
        let rest = payload.slice(address.rest..);
        let place = (rest.as_ptr(), rest.len());
        queue.forward("crcmd", address.pairs, "alice", 300, rest.clone());
        prop_assert_eq!(waiting(&queue).contains(&place), rest.len() >= UNCOPIED_FROM);
        let arrived = only_frame(&queue.take());
        let command = Routed::<Command>::read(&arrived.payload).unwrap();
        prop_assert_eq!(command.message, message);
        let command = Routed::<Command>::read(&arrived.payload).unwrap();
        let end = arrived.payload.as_ptr() as usize + arrived.payload.len();
        prop_assert!(len == 0 || command.message.data.as_ptr() as usize + len == end, "the data was copied out");
        prop_assert_eq!(command.message.data, data);
    }
}
