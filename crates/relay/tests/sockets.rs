//! A relay over real sockets, with clients that speak the wire by hand.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crvideo_proto::frame::{Frame, FrameReader, Kind, SESSION_LIMIT};
use crvideo_proto::id::TaskId;
use crvideo_proto::message::{self as msg, Body, Message, Routed, read_answer};
use crvideo_proto::out::OutQueue;
use crvideo_proto::token;
use crvideo_relay::{BlockingRelay, Config};

/// Nothing here takes longer, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);
const FAR_FUTURE: u64 = 4_000_000_000;

struct Link {
    stream: TcpStream,
    reader: FrameReader,
    seq: u32,
}

impl Link {
    fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, reader: FrameReader::new(SESSION_LIMIT), seq: 0 }
    }

    fn greeted(address: SocketAddr) -> Self {
        let mut link = Self::open(address);
        let hello = msg::Hello { lowest: 1, highest: 1, features: 0, agent: "test".into() };
        link.ask::<_, msg::HelloAnswer>(&hello).unwrap();
        link
    }

    fn send(&mut self, mut out: OutQueue) {
        self.stream.write_all(&out.take()).unwrap();
    }

    fn one_way<M: Message>(&mut self, message: &M) {
        let mut out = OutQueue::default();
        out.one_way(message);
        self.send(out);
    }

    fn routed<M: Message>(&mut self, to: &Client, message: &M) {
        let mut out = OutQueue::default();
        out.routed(&to.user, to.epoch, message);
        self.send(out);
    }

    /// The next frame; `None` when the relay has closed the connection.
    fn next(&mut self) -> Option<Frame> {
        let mut bytes = [0; 16 * 1024];
        loop {
            if let Some(frame) = self.reader.next_frame().unwrap() {
                return Some(frame);
            }
            match self.stream.read(&mut bytes) {
                Ok(0) => return None,
                Ok(count) => self.reader.feed(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("nothing came: {error}"),
            }
        }
    }

    /// The next message of this kind; pings and everything else before it are passed over.
    fn expect<M: Message>(&mut self) -> Frame {
        loop {
            let frame = self.next().expect("an open connection");
            if frame.method() == M::METHOD {
                return frame;
            }
        }
    }

    fn expect_routed<M: Message>(&mut self) -> Routed<M> {
        Routed::read(&self.expect::<M>().payload).unwrap()
    }

    fn expect_news(&mut self) -> msg::Peer {
        msg::Peer::read(&self.expect::<msg::Peer>().payload).unwrap()
    }

    fn ask<M: Message, A: Body>(&mut self, message: &M) -> Result<A, i64> {
        self.seq += 1;
        let mut out = OutQueue::default();
        out.quest(self.seq, message);
        self.send(out);
        loop {
            let frame = self.next().expect("an answer");
            if frame.kind == Kind::Answer && frame.seq == self.seq {
                return read_answer(&frame).unwrap().map_err(|error| error.code);
            }
        }
    }

    /// Reads until the relay closes the connection.
    fn expect_end(&mut self) {
        while self.next().is_some() {}
    }
}

struct Client {
    user: String,
    link: Link,
    epoch: u64,
    ticket: [u8; 16],
}

impl Client {
    fn login(relay: &BlockingRelay, user: &str, epoch: u64) -> Self {
        let token = token::mint(relay.project(), user, FAR_FUTURE, relay.secret());
        let mut link = Link::greeted(relay.address());
        let login = msg::Login { project: relay.project(), user: user.into(), token, session: [7; 16], epoch };
        let answer: msg::LoginAnswer = link.ask(&login).unwrap();
        Self { user: user.into(), link, epoch: answer.epoch, ticket: answer.ticket }
    }

    fn find(&mut self, other: &Client) {
        let answer: msg::FindAnswer = self.link.ask(&msg::Find { user: other.user.clone() }).unwrap();
        assert_eq!((answer.epoch, answer.state), (other.epoch, 1));
    }

    fn bulk(&mut self, relay: &BlockingRelay) -> Link {
        let mut link = Link::greeted(relay.address());
        let answer: msg::BulkAnswer = link.ask(&msg::Bulk { ticket: self.ticket, lost: None }).unwrap();
        self.ticket = answer.ticket;
        link
    }
}

fn pair(relay: &BlockingRelay) -> (Client, Client) {
    let mut alice = Client::login(relay, "alice", 0);
    let bob = Client::login(relay, "bob", 0);
    alice.find(&bob);
    (alice, bob)
}

fn eventually(what: &str, check: impl Fn() -> bool) {
    let start = Instant::now();
    while !check() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

fn confirm(offset: u64) -> msg::Confirm {
    msg::Confirm { task: TaskId::from_bytes([1; 16]), offset, limit: 0 }
}

fn data(offset: u64, len: usize) -> msg::Data {
    msg::Data { task: TaskId::from_bytes([1; 16]), offset, data: Bytes::from(vec![offset as u8; len]) }
}

#[test]
fn two_clients_log_in_find_each_other_and_talk() {
    let relay = BlockingRelay::start_dev().unwrap();
    let (mut alice, mut bob) = pair(&relay);
    for offset in 0..1_000 {
        alice.link.routed(&bob, &confirm(offset));
    }
    for offset in 0..1_000 {
        let got: Routed<msg::Confirm> = bob.link.expect_routed();
        assert_eq!((got.from.as_str(), got.epoch, got.message), ("alice", alice.epoch, confirm(offset)));
    }
    relay.stop();
}

#[test]
fn large_chunks_arrive_unchanged_through_the_bulk_connections() {
    let relay = BlockingRelay::start_dev().unwrap();
    let (mut alice, mut bob) = pair(&relay);
    let (mut from, mut to) = (alice.bulk(&relay), bob.bulk(&relay));
    for round in 0..20 {
        for (offset, len) in [(0, 1024 * 1024), (1, 100_000), (2, 4_096), (3, 10), (4, 0), (5, 300_000)] {
            from.routed(&bob, &data(offset + round, len));
            let got: Routed<msg::Data> = to.expect_routed();
            assert_eq!(got.message, data(offset + round, len));
        }
    }
}

#[test]
fn one_byte_at_a_time_is_understood() {
    let relay = BlockingRelay::start_dev().unwrap();
    let (mut alice, mut bob) = pair(&relay);
    let mut out = OutQueue::default();
    out.routed("bob", bob.epoch, &confirm(9));
    for byte in out.take() {
        alice.link.stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(bob.link.expect_routed::<msg::Confirm>().message, confirm(9));
}

#[test]
fn bulk_frames_wake_a_client_and_wait_for_it() {
    let relay = BlockingRelay::start_dev().unwrap();
    let (mut alice, mut bob) = pair(&relay);
    let mut from = alice.bulk(&relay);
    from.routed(&bob, &data(3, 200_000));
    bob.link.expect::<msg::Wake>();
    let mut to = bob.bulk(&relay);
    assert_eq!(to.expect_routed::<msg::Data>().message, data(3, 200_000));
    to.ask::<_, msg::Empty>(&msg::CloseBulk {}).unwrap();
    to.expect_end();
}

#[test]
fn strangers_are_closed() {
    let relay = BlockingRelay::start_dev().unwrap();
    let lying = b"FPNN\x01\x80\x01\x07\xff\xff\xff\xff\x01\0\0\0crhello";
    for first in
        [b"GET / HTTP/1.1\r\n\r\n".as_slice(), b"SSH-2.0-x\r\n", b"\x16\x03\x01", b"FPNN\x01\x40\x01\x07", lying]
    {
        let mut link = Link::open(relay.address());
        link.stream.write_all(first).unwrap();
        if first.len() < 12 {
            // An incomplete header is closed when the stranger gives up, or after the login deadline.
            link.stream.shutdown(Shutdown::Write).unwrap();
        }
        link.expect_end();
    }
    eventually("all strangers are gone", || relay.connections() == 0);
}

#[test]
fn who_does_not_log_in_in_time_is_closed() {
    let config = Config { login_deadline: Duration::from_millis(50), ..Config::dev().unwrap() };
    let relay = BlockingRelay::start(config).unwrap();
    let alice = Client::login(&relay, "alice", 0);
    Link::greeted(relay.address()).expect_end();
    assert_eq!(relay.connections(), 1);
    drop(alice);
}

#[test]
fn a_cut_link_resumes_and_an_abandoned_one_ends() {
    let config = Config { resume_window: Duration::from_millis(300), ..Config::dev().unwrap() };
    let relay = BlockingRelay::start(config).unwrap();
    let (mut alice, bob) = pair(&relay);
    let epoch = bob.epoch;
    drop(bob);
    assert_eq!(alice.link.expect_news().state, 2);
    let bob = Client::login(&relay, "bob", epoch);
    assert_eq!(bob.epoch, epoch);
    assert_eq!(alice.link.expect_news().state, 1);
    drop(bob);
    assert_eq!(alice.link.expect_news().state, 2);
    let gone = alice.link.expect_news();
    assert_eq!((gone.state, gone.epoch), (0, epoch));
}

/// Bob goes on sending to Alice while she says farewell and closes her socket without having read everything, which
/// makes the kernel reset the connection. What the relay writes fails then, and her last word waits unread.
#[test]
fn regression_a_farewell_counts_although_the_client_is_gone_before_it_is_read() {
    let relay = BlockingRelay::start_dev().unwrap();
    for round in 0..300 {
        let (mut bob, mut alice) = (Client::login(&relay, "bob", 0), Client::login(&relay, "alice", 0));
        bob.find(&alice);
        let epoch = alice.epoch;
        let mut flood = bob.link.stream.try_clone().unwrap();
        let flooding = thread::spawn(move || {
            for offset in 0..300 {
                let mut out = OutQueue::default();
                out.routed("alice", epoch, &confirm(offset));
                flood.write_all(&out.take()).unwrap();
            }
        });
        alice.link.expect::<msg::Confirm>();
        let mut out = OutQueue::default();
        out.quest(9, &msg::Logout {});
        alice.link.send(out);
        drop(alice.link);
        let news = bob.link.expect_news();
        assert!([0, 4].contains(&news.state), "round {round}: {news:?}");
        flooding.join().unwrap();
    }
}

#[test]
fn pings_come_and_who_does_not_answer_is_closed() {
    let config = Config { heartbeat: Duration::from_millis(100), ..Config::dev().unwrap() };
    let relay = BlockingRelay::start(config).unwrap();
    let mut silent = Client::login(&relay, "silent", 0);
    let mut alive = Client::login(&relay, "alive", 0);
    alive.find(&silent);
    for _ in 0..5 {
        alive.link.expect::<msg::Ping>();
        alive.link.one_way(&msg::Pong {});
    }
    silent.link.expect_end();
}

#[test]
fn a_target_that_does_not_read_delays_nobody_and_is_busy() {
    let config = Config { bulk_queue: 256 * 1024, ..Config::dev().unwrap() };
    let relay = BlockingRelay::start(config).unwrap();
    let (mut alice, mut bob) = pair(&relay);
    let mut carol = Client::login(&relay, "carol", 0);
    alice.find(&carol);
    let (mut from, mut to) = (alice.bulk(&relay), bob.bulk(&relay));
    let mut carols = carol.bulk(&relay);
    // More than the relay's queue and all buffers of the kernel take.
    let chunks = 64;
    for offset in 0..chunks {
        from.routed(&bob, &data(offset, 512 * 1024));
    }
    let busy = alice.link.expect_news();
    assert_eq!((busy.user.as_str(), busy.state, busy.class), ("bob", 3, 2));
    from.routed(&carol, &data(5, 1_000));
    assert_eq!(carols.expect_routed::<msg::Data>().message, data(5, 1_000));
    assert_eq!(to.expect_routed::<msg::Data>().message, data(0, 512 * 1024));
    let reading = thread::spawn(move || while to.next().is_some() {});
    let on = alice.link.expect_news();
    assert_eq!((on.user.as_str(), on.state, on.class), ("bob", 1, 2));
    relay.stop();
    reading.join().unwrap();
}

#[test]
fn stopping_says_good_bye_and_a_restart_on_the_same_port_resumes() {
    let data = std::env::temp_dir().join(format!("crvideo-relay-test-{}", std::process::id()));
    let config = Config { data: Some(data.clone()), ..Config::dev().unwrap() };
    let relay = BlockingRelay::start(config.clone()).unwrap();
    let (mut alice, bob) = pair(&relay);
    let address = relay.address();
    let stopping = thread::spawn(move || relay.stop());
    let bye = msg::Bye::read(&alice.link.expect::<msg::Bye>().payload).unwrap();
    assert_eq!(bye.code, 8);
    alice.link.expect_end();
    drop((alice.link, bob));
    stopping.join().unwrap();
    let relay = BlockingRelay::start(Config { listen: vec![address], ..config }).unwrap();
    let again = Client::login(&relay, "alice", alice.epoch);
    assert_eq!(again.epoch, alice.epoch, "the epoch goes on");
    let newer = Client::login(&relay, "alice", 0);
    assert!(newer.epoch > alice.epoch);
    relay.kill();
    std::fs::remove_dir_all(data).unwrap();
}

#[test]
fn health_is_answered() {
    let config = Config { http: Some("127.0.0.1:0".parse().unwrap()), ..Config::dev().unwrap() };
    let relay = BlockingRelay::start(config).unwrap();
    for (request, expected) in [("GET /healthz", "HTTP/1.1 200 OK"), ("GET /secret", "HTTP/1.1 404 ")] {
        let mut stream = TcpStream::connect(relay.http_address().unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "{request} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(expected), "{answer:?}");
    }
}

#[test]
fn a_crowd_leaves_nothing_behind() {
    let relay = BlockingRelay::start_dev().unwrap();
    let crowd: Vec<_> = (0..200).map(|at| Client::login(&relay, &format!("user{at}"), 0)).collect();
    assert_eq!(relay.connections(), 200);
    drop(crowd);
    eventually("all are gone", || relay.connections() == 0);
}

#[test]
fn connections_that_flood_the_relay_with_frames_hold_up_nobody_although_their_rate_has_no_limit() {
    const PONGS: i32 = 4_000;
    // One more than the relay has threads.
    let flooders = thread::available_parallelism().map_or(1, std::num::NonZero::get) + 1;
    let mut config = Config::dev().unwrap();
    config.guard.connection_frames_per_s = 0;
    let relay = BlockingRelay::start(config).unwrap();
    let (mut alice, mut bob) = pair(&relay);
    let mut pongs = OutQueue::default();
    (0..PONGS).for_each(|_| pongs.one_way(&msg::Pong {}));
    let pongs = pongs.take();
    let over = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        let flooders: Vec<_> = (0..flooders)
            .map(|number| {
                let mut flooder = Client::login(&relay, &format!("flooder {number}"), 0);
                let (over, pongs) = (&over, &pongs);
                scope.spawn(move || {
                    let mut frames = 0;
                    while !over.load(std::sync::atomic::Ordering::Relaxed) {
                        flooder.link.stream.write_all(pongs).unwrap();
                        frames += PONGS;
                    }
                    frames
                })
            })
            .collect();
        for offset in 0..20 {
            alice.link.routed(&bob, &confirm(offset));
            assert_eq!(bob.link.expect_routed::<msg::Confirm>().message, confirm(offset));
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        let frames: Vec<i32> = flooders.into_iter().map(|flooder| flooder.join().unwrap()).collect();
        assert!(frames.iter().all(|frames| *frames > 0), "each has sent something: {frames:?}");
    });
}
