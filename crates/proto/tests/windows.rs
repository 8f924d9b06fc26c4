//! A transfer's window is shared with the transfers that happen to run beside it; a change of their number must never
//! leave a sender without credit that it has no way to hear of.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use bytes::Bytes;
use crvideo_proto::frame::FrameReader;
use crvideo_proto::id::TaskId;
use crvideo_proto::message::{Body, Cancel, Confirm, Data, HelloAnswer, LoginAnswer, Message, Offer};
use crvideo_proto::out::OutQueue;
use crvideo_proto::session::{Config, Conn, Credential, Identity, Now, Output, Session};

const NOW: Now = Now { mono: Duration::from_secs(1), unix: 1_000_000_000 };
const SIZE: u64 = 64 * 1024 * 1024;

/// Bob's session, logged in, with Alice's messages put into its connections by hand.
struct Bob {
    session: Session,
    /// What Alice has been granted for each task, by the last byte of the task's id.
    granted: [u64; 256],
    /// The sinks, in the order in which they were opened.
    sinks: Vec<u64>,
    pending: Vec<(u64, u64)>,
}

fn task(number: u8) -> TaskId {
    TaskId::from_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, number])
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
        session.connected(Conn::Command, NOW);
        let mut reader = FrameReader::new(1 << 21);
        reader.feed(&session.out(Conn::Command).take());
        let hello = reader.next_frame().unwrap().unwrap();
        let mut bob = Self { session, granted: [262_144; 256], sinks: Vec::new(), pending: Vec::new() };
        let mut out = OutQueue::default();
        out.answer(hello.seq, &HelloAnswer { version: 1, features: 0, agent: "relay".to_owned(), salt: None });
        let ticket = [1; 16];
        out.answer(
            hello.seq.wrapping_add(1),
            &LoginAnswer { epoch: 9, resumed: false, ticket, expires_ms: 1 << 40, heartbeat_ms: 20_000, max_file: 0 },
        );
        bob.feed(&out.take());
        assert!(bob.session.is_logged_in());
        bob
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.session.reader(Conn::Command).feed(bytes);
        self.session.received(Conn::Command, NOW);
        self.look();
    }

    /// A message of Alice's, as the relay forwards it.
    fn hear<M: Message>(&mut self, message: &M) {
        let mut whole = OutQueue::default();
        whole.routed("bob", 9, message);
        let bytes = whole.take();
        let mut reader = FrameReader::new(1 << 21);
        reader.feed(&bytes);
        let frame = reader.next_frame().unwrap().unwrap();
        let address = crvideo_proto::message::Address::to(&frame.payload).unwrap();
        let mut out = OutQueue::default();
        out.forward(frame.method(), address.pairs, "alice", 5, frame.payload.slice(address.rest..));
        self.feed(&out.take());
    }

    fn look(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::OpenSink { id, .. } => self.sinks.push(id),
                Output::Write { id, data } => self.pending.push((id, data.len() as u64)),
                Output::AbortSink { id } => self.session.sink_aborted(id, NOW),
                _ => {}
            }
        }
        let sent = self.session.out(Conn::Command).take();
        let mut reader = FrameReader::new(1 << 21);
        reader.feed(&sent);
        while let Some(frame) = reader.next_frame().unwrap() {
            if frame.method() == "crconf" {
                let confirm = Confirm::read(&frame.payload).unwrap();
                let granted = &mut self.granted[usize::from(confirm.task.as_bytes()[15])];
                *granted = confirm.limit.max(*granted);
            }
        }
    }

    fn offer(&mut self, number: u8) {
        self.hear(&Offer { task: task(number), kind: 2, name: "f".into(), size: SIZE, repeated: false });
    }

    /// Alice sends all that she may of a task, and it is written.
    fn use_up(&mut self, number: u8, sent: &mut u64) {
        while *sent < self.granted[usize::from(number)].min(SIZE) {
            let len = (self.granted[usize::from(number)].min(SIZE) - *sent).min(262_144);
            let data = Bytes::from(vec![0; usize::try_from(len).unwrap()]);
            self.hear(&Data { task: task(number), offset: *sent, data });
            *sent += len;
            for (id, _) in std::mem::take(&mut self.pending) {
                self.session.sink_written(id, *sent, NOW);
            }
            self.look();
        }
    }
}

#[test]
fn a_sender_always_has_credit_again_when_all_that_it_sent_is_written() {
    for beside in [0, 1, 3, 8, 15, 16, 40] {
        let mut bob = Bob::new();
        for number in 0..=beside {
            bob.offer(number);
        }
        assert_eq!(bob.sinks.len(), usize::from(beside) + 1);
        let mut sent = 0;
        // One piece with all the others there, then without them: the windows change under the sender's feet.
        let first = bob.granted[0].min(262_144);
        let data = Bytes::from(vec![0; usize::try_from(first).unwrap()]);
        bob.hear(&Data { task: task(0), offset: 0, data });
        sent += first;
        for number in 1..=beside {
            bob.hear(&Cancel { task: task(number), code: 1105 });
        }
        for (id, _) in std::mem::take(&mut bob.pending) {
            bob.session.sink_written(id, sent, NOW);
        }
        bob.look();
        bob.use_up(0, &mut sent);
        assert_eq!(sent, SIZE, "with {beside} transfers beside it at first");
    }
}

#[test]
fn a_sender_keeps_credit_while_others_come_and_go() {
    let mut bob = Bob::new();
    bob.offer(0);
    let mut sent = 0;
    for round in 0..200u8 {
        let granted = bob.granted[0].min(SIZE);
        if sent == SIZE {
            return;
        }
        assert!(granted > sent, "no credit in round {round}");
        let len = (granted - sent).min(262_144);
        let data = Bytes::from(vec![0; usize::try_from(len).unwrap()]);
        bob.hear(&Data { task: task(0), offset: sent, data });
        sent += len;
        // Ten transfers come, and ten rounds later they go.
        for number in 1..=10 {
            if round % 20 == 0 {
                bob.offer(number + (round / 20) * 11);
            } else if round % 20 == 10 {
                bob.hear(&Cancel { task: task(number + (round / 20) * 11), code: 1105 });
            }
        }
        for (id, _) in std::mem::take(&mut bob.pending) {
            bob.session.sink_written(id, sent, NOW);
        }
        bob.look();
    }
}
