//! Seals, stamps and the numbers of quests: what is repeated or changed on the way reaches nobody.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::hex;
use crvideo_proto::code;
use crvideo_proto::frame::{Frame, FrameError, FrameReader, SESSION_LIMIT};
use crvideo_proto::id::TaskId;
use crvideo_proto::message::{
    Body, Command, FEATURE_BOTH_EPOCHS, FEATURE_SEAL, Hello, HelloAnswer, LoginAnswer, Message, Ping, Pong,
};
use crvideo_proto::out::OutQueue;
use crvideo_proto::pack::Writer;
use crvideo_proto::seal::Seal;
use crvideo_proto::session::{Config, Conn, Credential, Event, Identity, Now, Output, Session};

const SALT: u32 = 0x0102_0304;
const NOW: Now = Now { mono: Duration::from_secs(1), unix: 1_000_000_000 };
/// Bob's epoch.
const OURS: u64 = 9;

fn command(len: usize) -> Command {
    let (task, data) = (TaskId::from_bytes([1; 16]), Bytes::from(vec![7; len]));
    Command { position: 0, base: 0, settled: 0, task, chosen: false, data }
}

fn reader(seal: Seal) -> FrameReader {
    let mut reader = FrameReader::new(SESSION_LIMIT);
    reader.expect_seals(seal);
    reader
}

fn read(seal: Seal, bytes: &[u8]) -> Result<Vec<Frame>, FrameError> {
    let mut reader = reader(seal);
    reader.feed(bytes);
    let mut frames = Vec::new();
    while let Some(frame) = reader.next_frame()? {
        frames.push(frame);
    }
    Ok(frames)
}

/// Three frames with seals, each by itself.
fn three() -> [Vec<u8>; 3] {
    let mut out = OutQueue::default();
    out.seal(Seal::down(SALT));
    out.one_way(&Ping {});
    let first = out.take();
    out.routed("bob", OURS, &command(100));
    let second = out.take();
    // A long one's data is not copied into the queue.
    out.routed("bob", OURS, &command(60_000));
    [first, second, out.take()]
}

/// The checksums were computed by another program, bit by bit.
#[test]
fn sealed_frames_are_these_bytes() {
    let mut out = OutQueue::default();
    out.seal(Seal::down(SALT));
    out.one_way(&Ping {});
    out.one_way(&Ping {});
    let pings = hex("46504e4e 01 80 00 06 05000000 637270696e67 80 953129b2
                     46504e4e 01 80 00 06 05000000 637270696e67 80 c9a0816d");
    assert_eq!(out.take(), pings);
    let frames = read(Seal::down(SALT), &pings).unwrap();
    assert_eq!(
        frames.iter().map(|it| (it.method(), &it.payload[..])).collect::<Vec<_>>(),
        [("crping", &[0x80][..]); 2]
    );

    let mut out = OutQueue::default();
    out.seal(Seal::up(SALT));
    out.one_way(&Pong {});
    assert_eq!(out.take(), hex("46504e4e 01 80 00 06 05000000 6372706f6e67 80 45b3003c"));
}

#[test]
fn the_seal_goes_on_when_what_was_queued_is_taken() {
    let mut out = OutQueue::default();
    out.seal(Seal::down(SALT));
    out.stamp(300);
    out.routed("bob", OURS, &command(1));
    let mut bytes = out.take_queued().take();
    assert!(out.is_empty());
    out.routed("bob", OURS, &command(1));
    bytes.extend(out.take());
    let frames = read(Seal::down(SALT), &bytes).unwrap();
    assert_eq!(frames[0].payload, frames[1].payload);
}

#[test]
fn every_bit_that_changes_on_the_way_is_noticed() {
    let [first, second, _] = three();
    let bytes = [first, second].concat();
    assert_eq!(read(Seal::down(SALT), &bytes).unwrap().len(), 2);
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        // A length that has grown waits for more, which is noticed when that comes.
        changed.resize(bytes.len() + SESSION_LIMIT, 0);
        let error = read(Seal::down(SALT), &changed).map(|frames| frames.len());
        assert!(error.is_err(), "bit {bit}: {error:?}");
    }
}

#[test]
fn frames_that_are_repeated_left_out_exchanged_or_anothers_are_noticed() {
    let [first, second, third] = three();
    assert_eq!(read(Seal::down(SALT), &[&first[..], &second, &third].concat()).unwrap().len(), 3);
    for order in [&[&first, &first][..], &[&second], &[&first, &third], &[&third, &second, &first]] {
        let bytes = order.iter().flat_map(|frame| frame.iter().copied()).collect::<Vec<u8>>();
        assert_eq!(read(Seal::down(SALT), &bytes), Err(FrameError::Seal));
    }
    assert_eq!(read(Seal::up(SALT), &first), Err(FrameError::Seal));
    assert_eq!(read(Seal::down(SALT + 1), &first), Err(FrameError::Seal));
}

#[test]
fn a_frame_without_room_for_a_seal_is_none() {
    for payload in [&[0x80][..], &[0; 4]] {
        let size = payload.len() as u8;
        let bytes = [b"FPNN\x01\x80\x00\x06", &[size, 0, 0, 0][..], b"crping", payload].concat();
        assert_eq!(read(Seal::down(0), &bytes), Err(FrameError::Seal), "{size}");
    }
}

#[test]
fn sealed_frames_are_read_in_whatever_pieces_they_come() {
    let bytes = three().concat();
    let mut reader = reader(Seal::down(SALT));
    let mut sizes = Vec::new();
    for byte in bytes.chunks(7) {
        reader.feed(byte);
        while let Some(frame) = reader.next_frame().unwrap() {
            sizes.push(frame.payload.len());
        }
    }
    // The head of a long string of bytes takes one byte more.
    assert_eq!(sizes, [1, sizes[1], sizes[1] + 60_000 - 100 + 1]);
}

// ---- the session --------------------------------------------------------------------------------------------

/// Bob's session, and the relay's end of its command connection.
struct Bob {
    session: Session,
    reader: FrameReader,
}

impl Bob {
    fn new() -> Self {
        let config = Config {
            command_timeout: Duration::from_secs(30),
            transfer_timeout: Duration::from_secs(60),
            max_send_bytes_per_s: 0,
            offer_timeout: Duration::from_secs(30),
            buffer_limit: 1 << 30,
            inbound_limit: 1 << 30,
            agent: "test",
        };
        let mut session = Session::new(config, [7; 16], 1);
        let credential = Credential::Token("token".to_owned());
        session.login(Identity { servers: 1, project: 1, user: "bob".to_owned(), credential }, 0, NOW);
        Self { session, reader: FrameReader::new(SESSION_LIMIT) }
    }

    /// Connects, and returns the hello.
    fn connect(&mut self) -> Frame {
        self.session.connected(Conn::Command, NOW);
        self.reader = FrameReader::new(SESSION_LIMIT);
        self.written().remove(0)
    }

    fn written(&mut self) -> Vec<Frame> {
        self.reader.feed(&self.session.out(Conn::Command).take());
        std::iter::from_fn(|| self.reader.next_frame().unwrap()).collect()
    }

    fn hears(&mut self, out: &mut OutQueue) {
        self.session.reader(Conn::Command).feed(&out.take());
        self.session.received(Conn::Command, NOW);
    }

    /// Logs in at a relay that grants these features; returns what the relay sends on.
    fn log_in(&mut self, features: u64) -> OutQueue {
        let hello = self.connect();
        let mut out = OutQueue::default();
        let salt = (features & FEATURE_SEAL != 0).then_some(SALT);
        out.answer(hello.seq, &HelloAnswer { version: 1, features, agent: "relay".to_owned(), salt });
        self.hears(&mut out);
        if salt.is_some() {
            out.seal(Seal::down(SALT));
            self.reader.expect_seals(Seal::up(SALT));
        }
        let login = self.written().remove(0);
        assert_eq!(login.method(), "crlogin");
        out.answer(login.seq, &login_answer());
        self.hears(&mut out);
        assert!(self.session.is_logged_in());
        out
    }

    fn commands(&mut self) -> usize {
        std::iter::from_fn(|| self.session.poll_output())
            .filter(|output| matches!(output, Output::Event(Event::Command { .. })))
            .count()
    }
}

fn login_answer() -> LoginAnswer {
    let (ticket, expires_ms) = ([1; 16], 1 << 40);
    LoginAnswer { epoch: OURS, resumed: false, ticket, expires_ms, heartbeat_ms: 20_000, max_file: 0 }
}

/// A command of Alice's, as the relay forwards it.
fn forward(out: &mut OutQueue, alice: u64) {
    let message = command(4);
    let mut pairs = bytes::BytesMut::new();
    message.put_pairs(&mut Writer::new(&mut pairs));
    out.forward(Command::METHOD, message.pairs() + 2, "alice", alice, pairs.freeze());
}

#[test]
fn a_session_offers_its_features_and_does_without_them() {
    let mut bob = Bob::new();
    let hello = Hello::read(&bob.connect().payload).unwrap();
    assert_eq!(hello.features, FEATURE_BOTH_EPOCHS | FEATURE_SEAL);
    for features in [0, FEATURE_BOTH_EPOCHS, FEATURE_SEAL, FEATURE_BOTH_EPOCHS | FEATURE_SEAL] {
        let mut bob = Bob::new();
        let mut out = bob.log_in(features);
        out.stamp(OURS);
        forward(&mut out, 5);
        bob.hears(&mut out);
        assert_eq!(bob.commands(), 1, "{features}");
        let acks = bob.written();
        assert_eq!(acks.iter().map(Frame::method).collect::<Vec<_>>(), ["crack"], "{features}");
        let own = crvideo_proto::message::Address::to(&acks[0].payload).unwrap().own;
        assert_eq!(own, (features & FEATURE_BOTH_EPOCHS != 0).then_some(OURS));
    }
}

#[test]
fn a_command_for_an_earlier_session_of_the_user_is_dropped() {
    for (stamp, taken) in [(Some(OURS), 1), (Some(OURS - 1), 0), (None, 0)] {
        let mut bob = Bob::new();
        let mut granted = bob.log_in(FEATURE_BOTH_EPOCHS);
        if let Some(epoch) = stamp {
            granted.stamp(epoch);
        }
        forward(&mut granted, 5);
        bob.hears(&mut granted);
        assert_eq!(bob.commands(), taken, "{stamp:?}");
    }
    // An older relay says nothing of whom a message is for.
    let mut bob = Bob::new();
    let mut out = bob.log_in(0);
    forward(&mut out, 5);
    bob.hears(&mut out);
    assert_eq!(bob.commands(), 1);
}

#[test]
fn a_frame_whose_seal_does_not_fit_ends_the_connection_and_not_the_session() {
    let mut bob = Bob::new();
    let mut out = bob.log_in(FEATURE_BOTH_EPOCHS | FEATURE_SEAL);
    out.stamp(OURS);
    forward(&mut out, 5);
    let mut bytes = out.take();
    let last = bytes.len() - 5;
    bytes[last] ^= 1;
    bob.session.reader(Conn::Command).feed(&bytes);
    bob.session.received(Conn::Command, NOW);
    let outputs: Vec<_> = std::iter::from_fn(|| bob.session.poll_output()).collect();
    assert!(outputs.iter().any(|it| matches!(it, Output::Close { conn: Conn::Command })));
    assert!(outputs.iter().any(|it| matches!(it, Output::Event(Event::LineOff { err: code::RSPDAT_ERR }))));
    assert!(!outputs.iter().any(|it| matches!(it, Output::Event(Event::Command { .. }))));
    assert!(bob.session.is_logged_in());
}

#[test]
fn a_relay_that_seals_without_a_salt_is_left() {
    let mut bob = Bob::new();
    let hello = bob.connect();
    let mut out = OutQueue::default();
    out.answer(hello.seq, &HelloAnswer { version: 1, features: 2, agent: "relay".to_owned(), salt: None });
    bob.hears(&mut out);
    assert!(std::iter::from_fn(|| bob.session.poll_output()).any(|it| matches!(it, Output::Close { .. })));
}

#[test]
fn the_answers_of_an_earlier_link_fit_no_quest_of_a_later_one() {
    let mut bob = Bob::new();
    let hello = bob.connect();
    let mut old = OutQueue::default();
    old.answer(hello.seq, &HelloAnswer { version: 1, features: 0, agent: "relay".to_owned(), salt: None });
    old.answer(hello.seq.wrapping_add(1), &login_answer());
    let bytes = old.take();
    bob.session.reader(Conn::Command).feed(&bytes);
    bob.session.received(Conn::Command, NOW);
    assert!(bob.session.is_logged_in());
    bob.session.closed(Conn::Command, code::SOCKETEXCEPTION, NOW);
    bob.session.timeout(Now { mono: bob.session.deadline().unwrap(), ..NOW });
    while bob.session.poll_output().is_some() {}
    let again = bob.connect();
    assert_ne!(hello.seq, again.seq);
    bob.session.reader(Conn::Command).feed(&bytes);
    bob.session.received(Conn::Command, NOW);
    assert!(bob.written().is_empty(), "the old answers lead to nothing");
    assert!(bob.session.poll_output().is_none());
}
