//! Each message of the wire: what can be read is what was written, byte for byte the second time, and what is no
//! message is refused in the same way by all who read it.

use bytes::{Bytes, BytesMut};
use crvideo_proto::frame::FrameReader;
use crvideo_proto::message::{self as msg, Address, Body, Message, Routed};
use crvideo_proto::out::OutQueue;
use crvideo_proto::pack::{MAX_DEPTH, PackError, Reader, Writer, validate};
use crvideo_proto::rtm::params::{Params, from_json, to_json};

use crate::input::Input;

/// What is known of one message.
type Check = fn(&Bytes);

const PLAIN: [Check; 22] = [
    plain::<msg::Empty>,
    plain::<msg::ErrorAnswer>,
    plain::<msg::Hello>,
    plain::<msg::HelloAnswer>,
    plain::<msg::Login>,
    plain::<msg::LoginAnswer>,
    plain::<msg::Bulk>,
    plain::<msg::BulkAnswer>,
    plain::<msg::UpdateToken>,
    plain::<msg::TokenAnswer>,
    plain::<msg::Bye>,
    plain::<msg::Find>,
    plain::<msg::FindAnswer>,
    plain::<msg::Peer>,
    plain::<msg::Users>,
    plain::<msg::UsersAnswer>,
    plain::<msg::Watch>,
    plain::<msg::Status>,
    plain::<msg::Rtm>,
    plain::<msg::Got>,
    plain::<msg::NewTicket>,
    plain::<msg::Wake>,
];

const ROUTED: [Check; 9] = [
    routed::<msg::Command>,
    routed::<msg::CommandAck>,
    routed::<msg::Offer>,
    routed::<msg::Data>,
    routed::<msg::End>,
    routed::<msg::Go>,
    routed::<msg::Confirm>,
    routed::<msg::Cancel>,
    routed::<msg::Done>,
];

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let which = input.below(PLAIN.len() + ROUTED.len() + 3);
    let payload = Bytes::copy_from_slice(input.all());
    let checks: Vec<Check> = PLAIN.into_iter().chain(ROUTED).chain([depth as Check, json, address]).collect();
    checks[which](&payload);
}

fn written<B: Body>(body: &B) -> Bytes {
    let mut buffer = BytesMut::new();
    let mut writer = Writer::new(&mut buffer);
    body.write(&mut writer);
    let tail = writer.take_tail();
    buffer.extend_from_slice(&tail.unwrap_or_default());
    buffer.freeze()
}

fn plain<B: Body + PartialEq + std::fmt::Debug>(payload: &Bytes) {
    let Ok(body) = B::read(payload) else { return };
    assert_eq!(validate(payload), Ok(()), "what was read is not valid");
    let first = written(&body);
    let again = B::read(&first);
    assert_eq!(again.as_ref(), Ok(&body), "what was written is not what was read");
    assert_eq!(again.map(|again| written(&again)), Ok(first));
}

fn routed<M: Message + PartialEq + std::fmt::Debug>(payload: &Bytes) {
    plain::<M>(payload);
    let Ok(got) = Routed::<M>::read(payload) else { return };
    let mut out = OutQueue::default();
    out.routed("bob", 5, &got.message);
    let mut reader = FrameReader::new(payload.len() + 4096);
    reader.feed(&out.take());
    let Ok(Some(frame)) = reader.next_frame() else { panic!("a routed message is no frame") };
    assert_eq!(frame.method(), M::METHOD);
    let Ok(to) = Address::to(&frame.payload) else { panic!("a routed message has no address") };
    assert_eq!((to.user, to.epoch), ("bob", 5));
    // As the relay does it: a new address, and the rest as it came.
    let rest = frame.payload.slice(to.rest..);
    out.forward(M::METHOD, to.pairs, &got.from, got.epoch, rest);
    reader.feed(&out.take());
    let Ok(Some(frame)) = reader.next_frame() else { panic!("a forwarded message is no frame") };
    assert_eq!(Routed::<M>::read(&frame.payload), Ok(got));
}

/// How deep it is nested, counted in another way: by a recursive walk that knows the format from its specification.
fn depth(payload: &Bytes) {
    let walked = walk(payload);
    match validate(payload) {
        Ok(()) => assert!(matches!(walked, Walk::Whole(deepest) if deepest <= MAX_DEPTH), "{walked:?}"),
        Err(PackError::Depth) => assert!(!matches!(walked, Walk::Whole(deepest) if deepest <= MAX_DEPTH), "{walked:?}"),
        // A payload must be one map with keys of text, and lists longer than the payload are not looked into.
        Err(_) => {}
    }
}

#[derive(Debug)]
enum Walk {
    /// One value and nothing behind it, with so many containers around the innermost one.
    Whole(usize),
    /// Anything else.
    Not,
}

/// Deeper than any payload may be.
const TOO_DEEP: usize = 64;

fn walk(bytes: &[u8]) -> Walk {
    let mut deepest = 0;
    match value(bytes, 0, &mut deepest) {
        Some([]) => Walk::Whole(deepest),
        _ => Walk::Not,
    }
}

/// Passes over one value (msgpack specification, "Formats"); what is left, or `None` where it is cut short.
fn value<'a>(bytes: &'a [u8], depth: usize, deepest: &mut usize) -> Option<&'a [u8]> {
    let (first, rest) = bytes.split_first()?;
    let number = |len: usize| -> Option<(usize, &'a [u8])> {
        let (head, rest) = rest.split_at_checked(len)?;
        Some((head.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest))
    };
    let over = |len: usize, rest: &'a [u8]| rest.get(len..);
    let mut values = |count: usize, mut rest: &'a [u8]| {
        if depth >= TOO_DEEP {
            return None;
        }
        *deepest = (*deepest).max(depth + 1);
        for _ in 0..count {
            rest = value(rest, depth + 1, deepest)?;
        }
        Some(rest)
    };
    match first {
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => Some(rest),
        0xc1 => None,
        0xcc | 0xd0 => over(1, rest),
        0xcd | 0xd1 => over(2, rest),
        0xce | 0xd2 | 0xca => over(4, rest),
        0xcf | 0xd3 | 0xcb => over(8, rest),
        0xd4..=0xd8 => over(1 + (1 << (first - 0xd4)), rest),
        0xa0..=0xbf => over(usize::from(first & 0x1f), rest),
        0xd9 | 0xc4 => number(1).and_then(|(len, rest)| over(len, rest)),
        0xda | 0xc5 => number(2).and_then(|(len, rest)| over(len, rest)),
        0xdb | 0xc6 => number(4).and_then(|(len, rest)| over(len, rest)),
        0xc7 => number(1).and_then(|(len, rest)| over(len + 1, rest)),
        0xc8 => number(2).and_then(|(len, rest)| over(len + 1, rest)),
        0xc9 => number(4).and_then(|(len, rest)| over(len + 1, rest)),
        0x90..=0x9f => values(usize::from(first & 0x0f), rest),
        0x80..=0x8f => values(usize::from(first & 0x0f) * 2, rest),
        0xdc => number(2).and_then(|(len, rest)| values(len, rest)),
        0xdd => number(4).and_then(|(len, rest)| values(len, rest)),
        0xde => number(2).and_then(|(len, rest)| values(len * 2, rest)),
        0xdf => number(4).and_then(|(len, rest)| values(len * 2, rest)),
    }
}

/// Parameters as JSON: what they become is msgpack, and from there the same JSON again.
fn json(payload: &Bytes) {
    let Ok(packed) = from_json(payload) else { return };
    assert!(Params::read(packed.clone()).is_ok(), "JSON became no parameters");
    let text = to_json(&packed);
    let Ok(again) = from_json(&text) else { panic!("{text:?} is no JSON") };
    assert_eq!(to_json(&again), text);
}

/// An address is read without looking at what is behind it.
fn address(payload: &Bytes) {
    let Ok(address) = Address::to(payload) else { return };
    assert!(address.pairs >= 2 && address.rest <= payload.len());
    let mut reader = Reader::new(payload);
    assert_eq!(reader.map(), Ok(address.pairs));
}
