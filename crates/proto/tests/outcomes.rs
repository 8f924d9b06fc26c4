//! What a session says about its commands when links break, epochs end and relays restart: a success means that the
//! target has it, every other code but 1107 that it never will.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use crvideo_proto::code;
use crvideo_proto::frame::{Frame, FrameReader, Kind as FrameKind, SESSION_LIMIT};
use crvideo_proto::id::TaskId;
use crvideo_proto::message::{
    Address, Body, Bulk, BulkAnswer, Bye, Cancel, CloseBulk, Command, CommandAck, Done, Empty, Find, FindAnswer, Go,
    Got, HelloAnswer, LoginAnswer, Message, NewTicket, Offer, Peer, PeerState, Ping, Rtm, Wake,
};
use crvideo_proto::out::OutQueue;
use crvideo_proto::pack::Writer;
use crvideo_proto::session::{
    CommandCall, Config, Conn, Credential, Event, INITIAL_COMMAND_LIMIT, Identity, Kind, Now, Output, Receipt, Session,
    TransferCall,
};

/// Epochs: ours, the target's, and a later one of either.
const OURS: u64 = 100;
const BOB: u64 = 200;
const LATER: u64 = 300;
const TIMEOUT: Duration = Duration::from_secs(30);

/// Alice's session, and a relay played by the test.
struct Alice {
    session: Session,
    now: Now,
    next_task: u8,
    events: Vec<Event>,
}

impl Alice {
    fn logged_in() -> Self {
        let config = Config {
            command_timeout: TIMEOUT,
            transfer_timeout: TIMEOUT,
            max_send_bytes_per_s: 0,
            offer_timeout: TIMEOUT,
            buffer_limit: 1 << 20,
            inbound_limit: 1 << 23,
            agent: "test",
        };
        let now = Now { mono: Duration::ZERO, unix: 1_000_000_000 };
        let mut alice = Self { session: Session::new(config, [1; 16], 1), now, next_task: 0, events: Vec::new() };
        let credential = Credential::Secret("secret".to_owned());
        alice.session.login(Identity { servers: 1, project: 1, user: "alice".to_owned(), credential }, 0, now);
        alice.admitted(OURS, false);
        alice
    }

    /// The relay lets the session in.
    fn admitted(&mut self, epoch: u64, resumed: bool) {
        self.session.connected(Conn::Command, self.now);
        let hello = self.written();
        assert_eq!(hello.iter().map(Frame::method).collect::<Vec<_>>(), ["crhello"], "the first word is the hello");
        self.answer(&hello[0], &HelloAnswer { version: 1, features: 0, agent: "test".to_owned(), salt: None });
        let login = self.written();
        let (ticket, expires_ms) = ([2; 16], 3_600_000);
        self.answer(&login[0], &LoginAnswer { epoch, resumed, ticket, expires_ms, heartbeat_ms: 20_000, max_file: 0 });
    }

    /// The link breaks, and comes back.
    fn reconnected(&mut self, epoch: u64, resumed: bool) {
        self.session.closed(Conn::Command, code::SOCKETEXCEPTION, self.now);
        self.pass(Duration::from_secs(1));
        self.admitted(epoch, resumed);
    }

    fn pass(&mut self, time: Duration) {
        self.now.mono += time;
        self.session.timeout(self.now);
    }

    /// What the session writes now, all of which is handed to the socket.
    fn written(&mut self) -> Vec<Frame> {
        self.written_on(Conn::Command)
    }

    fn written_on(&mut self, conn: Conn) -> Vec<Frame> {
        let mut reader = FrameReader::new(SESSION_LIMIT);
        while !self.session.out(conn).is_empty() {
            reader.feed(&self.session.out(conn).take());
            self.session.written(conn, self.now);
        }
        std::iter::from_fn(|| reader.next_frame().unwrap()).collect()
    }

    fn reads(&mut self, out: OutQueue) {
        self.reads_on(Conn::Command, out);
    }

    fn reads_on(&mut self, conn: Conn, mut out: OutQueue) {
        self.session.reader(conn).feed(&out.take());
        self.session.received(conn, self.now);
    }

    fn answer(&mut self, quest: &Frame, body: &impl Body) {
        self.answer_on(Conn::Command, quest, body);
    }

    fn answer_on(&mut self, conn: Conn, quest: &Frame, body: &impl Body) {
        assert_eq!(quest.kind, FrameKind::Quest);
        let mut out = OutQueue::default();
        out.answer(quest.seq, body);
        self.reads_on(conn, out);
    }

    /// Whether the session wants its bulk connection now.
    fn wants_bulk(&mut self) -> bool {
        let outputs: Vec<_> = std::iter::from_fn(|| self.session.poll_output()).collect();
        outputs.iter().any(|output| matches!(output, Output::Connect { conn: Conn::Bulk, .. }))
    }

    /// The bulk connection is there and the relay greets it: how the session wants to attach it.
    fn bulk_quest(&mut self) -> (Frame, Bulk) {
        assert!(self.wants_bulk());
        self.session.connected(Conn::Bulk, self.now);
        let hello = self.written_on(Conn::Bulk);
        self.answer_on(
            Conn::Bulk,
            &hello[0],
            &HelloAnswer { version: 1, features: 0, agent: "test".to_owned(), salt: None },
        );
        let quest = self.written_on(Conn::Bulk).remove(0);
        let bulk = Bulk::read(&quest.payload).unwrap();
        (quest, bulk)
    }

    fn told<M: Message>(&mut self, message: &M) {
        let mut out = OutQueue::default();
        out.one_way(message);
        self.reads(out);
    }

    fn news(&mut self, user: &str, epoch: u64, state: PeerState, class: u8) {
        self.told(&Peer { user: user.to_owned(), epoch, state: state as u8, class });
    }

    /// A message from Bob.
    fn hear_bob<M: Message>(&mut self, epoch: u64, message: &M) {
        let mut rest = BytesMut::new();
        message.put_pairs(&mut Writer::new(&mut rest));
        let mut out = OutQueue::default();
        out.forward(M::METHOD, message.pairs() + 2, "bob", epoch, rest.freeze());
        self.reads(out);
    }

    fn command_from_bob(&mut self, position: u64, base: u64, len: usize) {
        let (task, data) = (TaskId::from_bytes([9; 16]), Bytes::from(vec![0; len]));
        self.hear_bob(BOB, &Command { position, base, settled: base, task, chosen: false, data });
    }

    /// Bob sends so much that a receipt is asked for.
    fn has_a_quarter_of_the_window(&mut self) {
        for at in 0..70 {
            self.command_from_bob(at * 4_256, at * 4_256, 4_000);
        }
        assert_eq!(self.received(), 70);
    }

    fn bob_acknowledges(&mut self, position: u64, limit: u64) {
        self.hear_bob(BOB, &CommandAck { position, limit, refused: Vec::new() });
    }

    /// Sends Bob a command of so many bytes.
    fn sends(&mut self, len: usize) -> TaskId {
        self.next_task += 1;
        let task = TaskId::from_bytes([self.next_task; 16]);
        let data = Bytes::from(vec![0; len]);
        let call = CommandCall { target: "bob".into(), task, chosen: false, data, timeout: None, cookie: 0 };
        self.session.send_command(call, self.now);
        task
    }

    /// The relay answers the question where Bob is.
    fn finds_bob(&mut self, epoch: u64, state: PeerState) {
        let quests = self.written();
        let quest = quests.iter().find(|frame| frame.method() == Find::METHOD).expect("a crfind");
        self.answer(quest, &FindAnswer { epoch, state: state as u8 });
    }

    fn commands(frames: &[Frame]) -> Vec<Command> {
        let commands = frames.iter().filter(|frame| frame.method() == Command::METHOD);
        commands.map(|frame| Command::read(&frame.payload).unwrap()).collect()
    }

    fn collect(&mut self) {
        while let Some(output) = self.session.poll_output() {
            if let Output::Event(event) = output {
                self.events.push(event);
            }
        }
    }

    /// How a command ended, if it has.
    fn outcome(&mut self, of: TaskId) -> Option<i32> {
        self.collect();
        self.events.iter().find_map(|event| match event {
            Event::CommandRslt { task, err, .. } if *task == of => Some(*err),
            _ => None,
        })
    }

    fn received(&mut self) -> usize {
        self.collect();
        self.events.iter().filter(|event| matches!(event, Event::Command { .. })).count()
    }
}

#[test]
fn regression_a_late_command_that_still_waits_for_the_socket_may_arrive() {
    let mut alice = Alice::logged_in();
    let task = alice.sends(10);
    alice.finds_bob(BOB, PeerState::On);
    // The socket takes nothing, and the relay's pings go on.
    alice.pass(TIMEOUT / 2);
    alice.told(&Ping {});
    alice.pass(TIMEOUT / 2);
    assert_eq!(alice.outcome(task), Some(code::SEND_OUTCOME_UNKNOWN));
    assert_eq!(Alice::commands(&alice.written()).len(), 1, "it is still sent");
}

#[test]
fn regression_a_command_that_waits_for_the_socket_may_arrive_before_the_logout() {
    let mut alice = Alice::logged_in();
    let task = alice.sends(10);
    alice.finds_bob(BOB, PeerState::On);
    alice.session.logout(0, alice.now);
    assert_eq!(alice.outcome(task), Some(code::SEND_OUTCOME_UNKNOWN));
    assert_eq!(Alice::commands(&alice.written()).len(), 1, "it is sent before the logout");
}

#[test]
fn a_command_that_was_never_handed_to_a_socket_fails_for_certain() {
    let mut alice = Alice::logged_in();
    let task = alice.sends(10);
    alice.finds_bob(BOB, PeerState::On);
    alice.reconnected(LATER, false);
    assert_eq!(alice.outcome(task), Some(code::CONNECTIONLOST));
}

#[test]
fn regression_a_command_that_is_queued_again_has_been_handed_over_before() {
    let mut alice = Alice::logged_in();
    let task = alice.sends(10);
    alice.finds_bob(BOB, PeerState::On);
    assert_eq!(Alice::commands(&alice.written()).len(), 1);
    alice.news("bob", BOB, PeerState::Busy, 1);
    alice.news("bob", BOB, PeerState::On, 1);
    alice.reconnected(LATER, false);
    assert_eq!(alice.outcome(task), Some(code::SEND_OUTCOME_UNKNOWN));
}

#[test]
fn regression_a_new_epoch_takes_what_senders_begin_again() {
    let mut alice = Alice::logged_in();
    alice.command_from_bob(0, 0, 1_000);
    assert_eq!(alice.received(), 1);
    alice.reconnected(LATER, false);
    alice.command_from_bob(0, 0, 10);
    assert_eq!(alice.received(), 2, "an acknowledgement without a delivery would be a lie");
}

#[test]
fn regression_positions_go_on_when_an_epoch_that_was_gone_comes_back() {
    let mut alice = Alice::logged_in();
    alice.sends(1_000);
    alice.finds_bob(BOB, PeerState::On);
    let end = 1_256;
    assert_eq!(Alice::commands(&alice.written())[0].position, 0);
    alice.bob_acknowledges(end, 1 << 20);
    alice.news("bob", BOB, PeerState::Gone, 3);
    alice.sends(1_000);
    alice.finds_bob(BOB, PeerState::On);
    let again = &Alice::commands(&alice.written())[0];
    assert!(again.position >= end && again.base <= end, "{} behind {}", again.position, again.base);
}

#[test]
fn regression_a_sender_that_comes_back_is_remembered() {
    let mut alice = Alice::logged_in();
    alice.command_from_bob(0, 0, 10);
    alice.news("bob", BOB, PeerState::Gone, 3);
    // A restarted relay has let Bob's old epoch come back, and he has not heard the acknowledgement.
    alice.command_from_bob(0, 0, 10);
    assert_eq!(alice.received(), 1);
}

#[test]
fn regression_a_senders_earlier_epoch_that_a_restarted_relay_lets_live_is_heard_and_nothing_is_taken_twice() {
    let mut alice = Alice::logged_in();
    let from = |alice: &mut Alice, epoch, position| {
        let (task, data) = (TaskId::from_bytes([9; 16]), Bytes::from(vec![0; 10]));
        alice.hear_bob(epoch, &Command { position, base: 0, settled: 0, task, chosen: false, data });
        let acks = alice.written();
        let ack = acks.iter().rfind(|frame| frame.method() == CommandAck::METHOD).expect("an acknowledgement");
        (alice.received(), CommandAck::read(&ack.payload).unwrap().position)
    };
    assert_eq!(from(&mut alice, BOB, 0), (1, 266));
    assert_eq!(from(&mut alice, LATER, 0), (2, 266));
    assert_eq!(from(&mut alice, BOB, 0), (2, 266), "it has been taken before");
    assert_eq!(from(&mut alice, BOB, 266), (3, 532));
    assert_eq!(from(&mut alice, LATER, 0), (3, 266), "so has this");
    assert_eq!(from(&mut alice, BOB + 1, 0), (4, 266), "nothing has come from this one");
}

#[test]
fn regression_a_transfer_that_has_ended_with_its_sender_stays_ended() {
    let mut alice = Alice::logged_in();
    alice.session.set_wants(true, false);
    let task = TaskId::from_bytes([8; 16]);
    let offer = |repeated| Offer { task, kind: 2, name: String::new(), size: 10, repeated };
    alice.hear_bob(BOB, &offer(false));
    alice.news("bob", BOB, PeerState::Gone, 3);
    alice.hear_bob(BOB, &offer(true));
    let done = alice.written().into_iter().rfind(|frame| frame.method() == Done::METHOD);
    assert_eq!(Done::read(&done.expect("an answer").payload).unwrap().code, i64::from(code::CONNECTIONLOST));
    alice.collect();
    let of = |wanted: fn(&Event) -> bool| alice.events.iter().filter(|event| wanted(event)).count();
    assert_eq!(of(|event| matches!(event, Event::Offer { .. })), 1);
    assert_eq!(of(|event| matches!(event, Event::TransferEnded { .. })), 1);
}

#[test]
fn regression_a_newer_incarnation_of_a_sender_may_offer_what_the_older_one_had_begun() {
    let task = TaskId::from_bytes([8; 16]);
    let offer = Offer { task, kind: 2, name: String::new(), size: 1_000_000, repeated: false };
    for asking in [true, false] {
        let mut alice = Alice::logged_in();
        alice.session.set_wants(asking, false);
        let look = |alice: &mut Alice| {
            let mut seen = Vec::new();
            while let Some(output) = alice.session.poll_output() {
                match output {
                    Output::Event(Event::Offer { .. }) => seen.push("offer"),
                    Output::Event(Event::TransferEnded { .. }) => seen.push("end"),
                    Output::OpenSink { .. } => seen.push("open"),
                    Output::AbortSink { id } => {
                        seen.push("abort");
                        // Its offer is repeated, and an older one arrives late, while the sink is being removed.
                        alice.hear_bob(LATER, &Offer { repeated: true, ..offer.clone() });
                        alice.hear_bob(BOB, &offer);
                        alice.session.sink_aborted(id, alice.now);
                    }
                    _ => {}
                }
            }
            seen
        };
        alice.hear_bob(BOB, &offer);
        assert_eq!(look(&mut alice), [if asking { "offer" } else { "open" }]);
        // Another connection brings the news that the older one has gone: it may be late.
        alice.hear_bob(LATER, &offer);
        let expected: &[_] = if asking { &["end", "offer"] } else { &["abort", "open"] };
        assert_eq!(look(&mut alice), expected);
        alice.news("bob", BOB, PeerState::Gone, 3);
        alice.hear_bob(BOB, &offer);
        assert!(look(&mut alice).is_empty(), "the newer one's transfer goes on");
    }
}

#[test]
fn regression_a_sender_whose_offer_had_to_wait_is_told_where_to_begin() {
    let mut alice = Alice::logged_in();
    let task = TaskId::from_bytes([8; 16]);
    let offer = Offer { task, kind: 2, name: String::new(), size: 10, repeated: false };
    alice.hear_bob(BOB, &offer);
    // What follows this offer at once comes while the older transfer is being removed, and is dropped.
    alice.hear_bob(LATER, &offer);
    let mut removed = None;
    while let Some(output) = alice.session.poll_output() {
        if let Output::AbortSink { id } = output {
            removed = Some(id);
        }
    }
    alice.written();
    alice.session.sink_aborted(removed.expect("the older one is removed"), alice.now);
    let go = alice.written().into_iter().find(|frame| frame.method() == Go::METHOD).expect("a word");
    let (to, _) = Address::to_with_rest(&go.payload).unwrap();
    assert_eq!((to.epoch, Go::read(&go.payload).unwrap().offset), (LATER, 0));
}

#[test]
fn regression_a_cancel_ends_the_transfer_of_its_own_incarnation_alone() {
    let task = TaskId::from_bytes([8; 16]);
    let offer = Offer { task, kind: 2, name: String::new(), size: 10, repeated: false };
    let cancel = Cancel { task, code: code::SEND_CANCELLED.into() };
    // An older one's cancel is late, or a box repeats it.
    let mut alice = Alice::logged_in();
    alice.hear_bob(LATER, &offer);
    alice.hear_bob(BOB, &cancel);
    while let Some(output) = alice.session.poll_output() {
        assert!(!matches!(output, Output::AbortSink { .. }), "it goes on");
    }
    // A newer one's may overtake its own offer, which comes on another connection.
    alice.written();
    let newest = LATER + 1;
    alice.hear_bob(newest, &cancel);
    let done = alice.written().into_iter().find(|frame| frame.method() == Done::METHOD).expect("an answer");
    let (to, _) = Address::to_with_rest(&done.payload).unwrap();
    assert_eq!((to.epoch, Done::read(&done.payload).unwrap().code), (newest, code::SEND_CANCELLED.into()));
    alice.hear_bob(newest, &offer);
    let done = alice.written().into_iter().find(|frame| frame.method() == Done::METHOD).expect("an answer");
    assert_eq!(Done::read(&done.payload).unwrap().code, i64::from(code::SEND_CANCELLED));
}

#[test]
fn regression_accepted_buffers_keep_to_the_limit_together() {
    let mut alice = Alice::logged_in();
    alice.session.set_wants(true, false);
    // Each fits the limit of 8 MiB; nine of them do not.
    let tasks: Vec<_> = (0..9).map(|at| TaskId::from_bytes([at; 16])).collect();
    for task in &tasks {
        alice.hear_bob(BOB, &Offer { task: *task, kind: 1, name: String::new(), size: 1 << 20, repeated: false });
    }
    for task in &tasks {
        assert!(alice.session.accept(&"bob".into(), *task, alice.now));
    }
    alice.collect();
    let refused = |event: &&Event| matches!(event, Event::TransferEnded { err: code::SEND_QUEUE_FULL, .. });
    assert_eq!(alice.events.iter().filter(refused).count(), 1);
}

#[test]
fn regression_a_receipt_of_an_earlier_epoch_counts_no_more_than_came_in_this_one() {
    let mut alice = Alice::logged_in();
    alice.has_a_quarter_of_the_window();
    let receipt = alice.events.iter().find_map(|event| match event {
        Event::Command { receipt, .. } => receipt.clone(),
        _ => None,
    });
    let receipt = receipt.expect("a receipt after a quarter of the window");
    assert!(matches!(receipt, Receipt::Commands { delivered, .. } if delivered > 200_000));
    alice.reconnected(LATER, false);
    alice.command_from_bob(0, 0, 10);
    alice.session.receipt(receipt, alice.now);
    alice.command_from_bob(266, 266, 10);
    assert_eq!(alice.received(), 72);
}

#[test]
fn regression_nothing_is_written_before_the_login() {
    let mut alice = Alice::logged_in();
    alice.has_a_quarter_of_the_window();
    alice.session.closed(Conn::Command, code::SOCKETEXCEPTION, alice.now);
    alice.session.handled_in_all(u64::MAX);
    let events = std::mem::take(&mut alice.events);
    for event in events {
        if let Event::Command { receipt: Some(receipt), .. } = event {
            alice.session.receipt(receipt, alice.now);
        }
    }
    assert!(alice.written().is_empty());
    alice.pass(Duration::from_secs(1));
    alice.admitted(OURS, true);
}

#[test]
fn regression_gone_without_an_epoch_means_whichever_there_was() {
    let mut alice = Alice::logged_in();
    let task = alice.sends(10);
    alice.finds_bob(BOB, PeerState::On);
    alice.written();
    alice.reconnected(OURS, true);
    // A restarted relay waits for Bob for a while, in vain.
    alice.finds_bob(0, PeerState::Away);
    alice.news("bob", 0, PeerState::Gone, 3);
    assert_eq!(alice.outcome(task), Some(code::SEND_OUTCOME_UNKNOWN));
}

#[test]
fn regression_news_of_a_later_epoch_end_the_earlier_one() {
    for away_first in [false, true] {
        let mut alice = Alice::logged_in();
        let task = alice.sends(10);
        alice.finds_bob(BOB, PeerState::On);
        alice.written();
        alice.reconnected(OURS, true);
        if away_first {
            alice.finds_bob(LATER, PeerState::Away);
        } else {
            alice.finds_bob(0, PeerState::Away);
            alice.news("bob", LATER, PeerState::On, 3);
        }
        assert_eq!(alice.outcome(task), Some(code::SEND_OUTCOME_UNKNOWN), "away first: {away_first}");
        alice.sends(10);
        alice.news("bob", LATER, PeerState::On, 3);
        assert!(!Alice::commands(&alice.written()).is_empty(), "the later epoch is in reach");
    }
}

#[test]
fn regression_a_target_that_has_been_away_for_long_is_not_waited_for_until_the_deadline() {
    let mut alice = Alice::logged_in();
    alice.sends(10);
    alice.finds_bob(BOB, PeerState::On);
    alice.written();
    alice.bob_acknowledges(266, 1 << 20);
    alice.news("bob", BOB, PeerState::Away, 3);
    alice.pass(Duration::from_secs(10));
    let task = alice.sends(10);
    assert!(alice.session.deadline().unwrap() <= alice.now.mono);
    alice.pass(Duration::ZERO);
    assert_eq!(alice.outcome(task), Some(code::SENDDATA_TARGETINVALID));
}

#[test]
fn regression_credit_that_was_lost_with_a_link_is_asked_for() {
    let mut alice = Alice::logged_in();
    for _ in 0..10 {
        alice.sends(65_000);
    }
    alice.finds_bob(BOB, PeerState::On);
    let sent = Alice::commands(&alice.written()).len() as u64;
    let end = sent * 65_256;
    assert!(end <= INITIAL_COMMAND_LIMIT, "credit bounds what is sent");
    alice.bob_acknowledges(end, INITIAL_COMMAND_LIMIT);
    alice.written();
    alice.reconnected(OURS, true);
    alice.finds_bob(BOB, PeerState::On);
    let probes = Alice::commands(&alice.written());
    assert_eq!(probes.len(), 1, "one probe, because nothing is unacknowledged");
    let probe = &probes[0];
    assert!(probe.data.is_empty() && probe.base == probe.position && probe.position < end);
    alice.bob_acknowledges(end, end + (1 << 20));
    assert_eq!(Alice::commands(&alice.written()).len() as u64, 10 - sent);
}

#[test]
fn regression_a_probe_is_acknowledged_and_not_taken() {
    let mut alice = Alice::logged_in();
    alice.command_from_bob(0, 0, 10);
    alice.written();
    alice.command_from_bob(265, 265, 0);
    let acks = alice.written();
    assert_eq!(alice.received(), 1);
    let ack = acks.iter().find(|frame| frame.method() == CommandAck::METHOD).expect("an acknowledgement");
    assert_eq!(CommandAck::read(&ack.payload).unwrap().position, 266);
}

/// Carries everything that one session has written about commands to the other, as a relay does.
fn carry(from: &mut Alice, (name, epoch): (&str, u64), to: &mut Alice) {
    for frame in from.written() {
        if [Command::METHOD, CommandAck::METHOD].contains(&frame.method()) {
            let address = Address::to(&frame.payload).unwrap();
            let mut out = OutQueue::default();
            out.forward(frame.method(), address.pairs, name, epoch, frame.payload.slice(address.rest..));
            to.reads(out);
        }
    }
}

#[test]
fn regression_credit_that_given_up_commands_have_used_up_is_granted_again() {
    // Bob's own session, and Alice, who sends to him.
    let (mut alice, mut bob) = (Alice::logged_in(), Alice::logged_in());
    alice.sends(1_000);
    alice.finds_bob(BOB, PeerState::On);
    carry(&mut alice, ("alice", OURS), &mut bob);
    carry(&mut bob, ("bob", BOB), &mut alice);
    assert_eq!(bob.received(), 1);
    // She uses up all that he has granted, and nothing of it arrives.
    let lost: Vec<_> = (0..17).map(|_| alice.sends(65_000)).collect();
    assert_eq!(Alice::commands(&alice.written()).len(), 16, "so much is granted");
    alice.session.closed(Conn::Command, code::SOCKETEXCEPTION, alice.now);
    alice.pass(TIMEOUT);
    for task in &lost[..16] {
        assert_eq!(alice.outcome(*task), Some(code::SEND_OUTCOME_UNKNOWN));
    }
    assert_eq!(alice.outcome(lost[16]), Some(code::CONNECTIONLOST), "it never had any credit");
    alice.admitted(OURS, true);
    let tasks: Vec<_> = (0..40).map(|_| alice.sends(65_000)).collect();
    alice.finds_bob(BOB, PeerState::On);
    for _ in 0..40 {
        carry(&mut alice, ("alice", OURS), &mut bob);
        // Bob's application handles what comes.
        let handled = 1_256 + 65_256 * (bob.received() as u64 - 1);
        bob.session.handled_in_all(handled);
        for event in &bob.events {
            if let Event::Command { receipt: Some(receipt), .. } = event {
                bob.session.receipt(receipt.clone(), bob.now);
            }
        }
        carry(&mut bob, ("bob", BOB), &mut alice);
    }
    assert!(tasks.into_iter().all(|task| alice.outcome(task) == Some(code::NOERR)));
    assert_eq!(bob.received(), 41);
}

#[test]
fn what_a_sender_has_given_up_is_not_expected_any_more() {
    let mut alice = Alice::logged_in();
    alice.command_from_bob(0, 0, 10);
    alice.written();
    let acknowledged = |alice: &mut Alice| {
        let acks = alice.written();
        let ack = acks.iter().rfind(|frame| frame.method() == CommandAck::METHOD).expect("an acknowledgement");
        CommandAck::read(&ack.payload).unwrap()
    };
    // Bob has given up what stood between 266 and 900,000, and asks for his limit.
    let (task, data) = (TaskId::from_bytes([0; 16]), Bytes::new());
    let ask = Command { position: 899_999, base: 899_999, settled: 900_000, task, chosen: false, data };
    alice.hear_bob(BOB, &ask);
    let ack = acknowledged(&mut alice);
    assert_eq!(ack.position, 900_000);
    assert!(ack.limit >= 900_000 + 65_792, "there is room behind it");
    assert_eq!(alice.received(), 1, "nothing of it is taken");
    // What comes late all the same is not taken any more; what follows is.
    alice.command_from_bob(266, 266, 10);
    assert_eq!(acknowledged(&mut alice).position, 900_000);
    alice.command_from_bob(900_000, 0, 10);
    assert_eq!(acknowledged(&mut alice).position, 900_266);
    assert_eq!(alice.received(), 2);
}

#[test]
fn positions_at_the_end_of_numbers_harm_nobody() {
    for settled in [0, u64::MAX - 266, u64::MAX] {
        let mut alice = Alice::logged_in();
        let (task, data) = (TaskId::from_bytes([9; 16]), Bytes::from(vec![0; 10]));
        alice.hear_bob(BOB, &Command { position: u64::MAX - 266, base: 0, settled, task, chosen: false, data });
        alice.command_from_bob(u64::MAX - 1, 0, 10);
        assert!(alice.session.is_logged_in());
    }
}

#[test]
fn regression_a_bulk_connection_that_is_given_up_while_it_closes_is_followed_by_one_that_says_so() {
    for answered in [true, false] {
        let mut alice = Alice::logged_in();
        alice.told(&Wake {});
        let (quest, bulk) = alice.bulk_quest();
        assert_eq!(bulk.lost, None);
        alice.answer_on(Conn::Bulk, &quest, &BulkAnswer { ticket: [3; 16] });
        // Nothing needs it, so it is closed.
        while alice.session.deadline().unwrap() <= Duration::from_secs(30) {
            alice.told(&Ping {});
            alice.now.mono = alice.session.deadline().unwrap();
            alice.session.timeout(alice.now);
        }
        let close = alice.written_on(Conn::Bulk).remove(0);
        assert_eq!(close.method(), CloseBulk::METHOD);
        if answered {
            alice.answer_on(Conn::Bulk, &close, &Empty {});
        }
        alice.session.closed(Conn::Bulk, code::FORCEDCLOSECONNECTION, alice.now);
        alice.pass(Duration::from_secs(1));
        if answered {
            assert!(!alice.wants_bulk());
        } else {
            let (quest, bulk) = alice.bulk_quest();
            assert_eq!(bulk, Bulk { ticket: [3; 16], lost: Some(true) });
            alice.answer_on(Conn::Bulk, &quest, &BulkAnswer { ticket: [4; 16] });
        }
    }
}

#[test]
fn regression_a_bulk_connection_that_the_relay_wakes_is_opened_although_the_ticket_was_lost() {
    let mut alice = Alice::logged_in();
    alice.told(&Wake {});
    // The connection breaks before the answer, and the ticket is used up.
    alice.bulk_quest();
    alice.session.closed(Conn::Bulk, code::FORCEDCLOSECONNECTION, alice.now);
    alice.pass(Duration::from_secs(1));
    assert!(!alice.wants_bulk());
    let ask = alice.written().into_iter().find(|frame| frame.method() == NewTicket::METHOD).expect("a crticket");
    alice.answer(&ask, &BulkAnswer { ticket: [5; 16] });
    assert_eq!(alice.bulk_quest().1.ticket, [5; 16]);
}

#[test]
fn a_kick_out_ends_what_was_never_handed_over_for_certain() {
    let mut alice = Alice::logged_in();
    let first = alice.sends(10);
    alice.finds_bob(BOB, PeerState::On);
    alice.written();
    let second = alice.sends(10);
    alice.told(&Bye { code: code::KICKOUT_BY_RELOGIN.into(), text: String::new() });
    assert_eq!(alice.outcome(first), Some(code::SEND_OUTCOME_UNKNOWN));
    assert_eq!(alice.outcome(second), Some(code::KICKOUT_BY_RELOGIN));
    assert!(alice.written().is_empty(), "what was queued is not sent any more");
}

/// A message of a server's, named by `id`.
fn rtm(id: u8) -> Rtm {
    let (attrs, data) = (String::new(), Bytes::from_static(b"text"));
    let id = TaskId::from_bytes([id; 16]);
    Rtm { id, from: 7, kind: 1, place: 0, mid: 1, mtype: 30, mtime: 2, attrs, data }
}

fn got(frames: &[Frame]) -> Vec<TaskId> {
    let got = frames.iter().filter(|frame| frame.method() == Got::METHOD);
    got.map(|frame| Got::read(&frame.payload).unwrap().id).collect()
}

#[test]
fn a_servers_message_is_handed_over_once_and_acknowledged_when_it_has_been_handled() {
    let mut alice = Alice::logged_in();
    alice.told(&rtm(1));
    alice.told(&rtm(1));
    alice.collect();
    let receipts: Vec<Receipt> = alice
        .events
        .drain(..)
        .filter_map(|event| match event {
            Event::Rtm { receipt, .. } => Some(receipt),
            _ => None,
        })
        .collect();
    assert_eq!(receipts.len(), 1);
    assert!(got(&alice.written()).is_empty(), "nobody has handled it");
    let id = rtm(1).id;
    alice.session.receipt(receipts[0].clone(), alice.now);
    assert_eq!(got(&alice.written()), [id]);
    // The acknowledgement was lost.
    alice.reconnected(OURS, true);
    alice.told(&rtm(1));
    assert_eq!(got(&alice.written()), [id]);
    alice.collect();
    assert!(!alice.events.iter().any(|event| matches!(event, Event::Rtm { .. })));
}

#[test]
fn more_messages_of_servers_than_may_wait_are_left_for_later() {
    let mut alice = Alice::logged_in();
    for id in 0..=255 {
        alice.told(&rtm(id));
    }
    let late = Rtm { id: TaskId::from_bytes([0xee, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]), ..rtm(0) };
    alice.told(&late);
    alice.collect();
    let count = alice.events.iter().filter(|event| matches!(event, Event::Rtm { .. })).count();
    assert_eq!(count, 256);
    alice.session.receipt(Receipt::Rtm { id: rtm(0).id }, alice.now);
    alice.told(&late);
    alice.collect();
    assert!(alice.events.iter().any(|event| matches!(event, Event::Rtm { message, .. } if **message == late)));
}

#[test]
fn regression_a_source_that_fails_when_the_target_may_have_all_leaves_the_last_word_to_the_target() {
    let failure = code::SENDFILE_FILEINERROR;
    for word in [Some(code::NOERR), Some(failure), None] {
        let mut alice = Alice::logged_in();
        let (task, size) = (TaskId::from_bytes([8; 16]), 10);
        let (kind, name, timeout, cookie) = (Kind::File, String::new(), None, 0);
        let call = TransferCall { target: "bob".into(), task, kind, name, size, timeout, cookie };
        alice.session.send_transfer(call, alice.now);
        alice.finds_bob(BOB, PeerState::On);
        let (quest, _) = alice.bulk_quest();
        alice.answer_on(Conn::Bulk, &quest, &BulkAnswer { ticket: [3; 16] });
        let read = |alice: &mut Alice| {
            let mut outputs = std::iter::from_fn(|| alice.session.poll_output());
            outputs
                .find_map(|output| if let Output::Read { generation, .. } = output { Some(generation) } else { None })
        };
        let generation = read(&mut alice).expect("a read");
        alice.session.source_read(task, generation, Bytes::from_static(&[0; 10]), Some([0; 32]), alice.now);
        let methods: Vec<_> = alice.written_on(Conn::Bulk).iter().map(|frame| frame.method().to_owned()).collect();
        assert_eq!(methods, ["croffer", "crdata", "crend"]);
        // Bob has accepted while these were on their way to him, and takes them.
        alice.hear_bob(BOB, &Go { task, offset: 0, limit: 10 });
        assert!(read(&mut alice).is_some(), "it is read again");
        alice.session.source_failed(task, failure, alice.now);
        let frames = alice.written();
        let cancel = Cancel::read(&frames.last().expect("a cancel").payload).unwrap();
        assert_eq!((cancel.task, cancel.code), (task, i64::from(failure)));
        let ended = |alice: &mut Alice| {
            alice.collect();
            alice.events.iter().find_map(|event| match event {
                Event::TransferRslt { err, .. } => Some(*err),
                _ => None,
            })
        };
        assert_eq!(ended(&mut alice), None, "only Bob knows");
        match word {
            Some(word) => alice.hear_bob(BOB, &Done { task, code: word.into() }),
            None => alice.news("bob", BOB, PeerState::Gone, 3),
        }
        assert_eq!(ended(&mut alice), Some(word.unwrap_or(code::SEND_OUTCOME_UNKNOWN)));
    }
}

#[test]
fn regression_who_is_offered_a_file_opens_no_bulk_connection_before_it_is_accepted() {
    for accepts in [false, true] {
        let mut alice = Alice::logged_in();
        alice.session.set_wants(true, false);
        alice.wants_bulk();
        let task = TaskId::from_bytes([5; 16]);
        let bob: std::sync::Arc<str> = "bob".into();
        alice.hear_bob(BOB, &Offer { task, kind: 2, name: "a".into(), size: 1_000_000, repeated: true });
        assert!(!alice.wants_bulk(), "an offer alone needs none");
        let answers = if accepts {
            assert!(alice.session.accept(&bob, task, alice.now));
            assert!(alice.wants_bulk(), "the bytes need one");
            let written = alice.written();
            written.iter().map(Frame::method).map(str::to_owned).collect::<Vec<_>>()
        } else {
            assert!(alice.session.refuse(&bob, task, alice.now));
            assert!(!alice.wants_bulk());
            let written = alice.written();
            written.iter().map(Frame::method).map(str::to_owned).collect()
        };
        assert_eq!(answers, [if accepts { "crgo" } else { "crdone" }]);
    }
}
