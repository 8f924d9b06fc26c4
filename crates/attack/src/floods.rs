//! The attacks. Each starts a relay of its own, lets users work beside it where that tells something, and notes what
//! came of it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crvideo_proto::frame::{FLAG_MSGPACK, MAGIC, VERSION};
use crvideo_proto::id::TaskId;
use crvideo_proto::message as msg;
use crvideo_proto::out::OutQueue;
use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::relay::{Relay, Setup};
use crate::table::Table;
use crate::wire::{Client, Link, PATIENCE};
use crate::work::{Went, Work};

/// How much of each flood there is.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Connections on which nobody logs in.
    pub strangers: usize,
    /// Clients who never read.
    pub never_readers: usize,
    /// What is sent to all of them together, in bytes.
    pub sent: usize,
    /// Rounds of too few descriptors.
    pub rounds: usize,
    /// Logins in a burst.
    pub logins: usize,
    /// Connections, made and closed within the time of the flood.
    pub connects: usize,
    /// That time.
    pub time: Duration,
    /// TLS handshakes a second.
    pub handshakes: usize,
    /// Whether limits of time and processor hold: a sample runs beside other tests, on a machine that may be busy.
    pub timed: bool,
    /// MiB of memory that the relay's cgroup has, where it is put into one.
    pub memory: Option<u64>,
}

impl Size {
    /// What is demanded.
    pub const WHOLE: Self = Self {
        strangers: 10_000,
        never_readers: 1_000,
        sent: 4_000_000_000,
        rounds: 100,
        logins: 20_000,
        connects: 20_000,
        time: Duration::from_secs(10),
        handshakes: 2_000,
        timed: true,
        memory: None,
    };
    /// What each change must pass.
    pub const SAMPLE: Self = Self {
        strangers: 400,
        never_readers: 40,
        sent: 40_000_000,
        rounds: 2,
        logins: 400,
        connects: 400,
        time: Duration::from_secs(1),
        handshakes: 100,
        timed: false,
        memory: None,
    };

    /// A limit that holds only where times are judged.
    fn judged(self, most: f64) -> f64 {
        if self.timed { most } else { f64::INFINITY }
    }

    /// How relays are set up.
    fn setup(self) -> Setup {
        Setup { memory: self.memory, ..Setup::default() }
    }
}

type Run = for<'a> fn(Size, &'a mut Table) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

/// One attack.
pub struct Flood {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub description: &'static str,
    /// Does it.
    pub run: Run,
}

/// All of them.
pub const FLOODS: &[Flood] = &[
    Flood {
        name: "strangers",
        description: "connections on which nobody logs in: idle, slow, with claims, half a TLS handshake",
        run: |size, table| Box::pin(strangers(size, table)),
    },
    Flood {
        name: "never-read",
        description: "clients who never read what is sent to them",
        run: |size, table| Box::pin(never_read(size, table)),
    },
    Flood {
        name: "descriptors",
        description: "more connections than a relay has descriptors, again and again",
        run: |size, table| Box::pin(descriptors(size, table)),
    },
    Flood {
        name: "logins",
        description: "everybody logs in at once, from one machine",
        run: |size, table| Box::pin(logins(size, table)),
    },
    Flood {
        name: "connects",
        description: "connections that come and go",
        run: |size, table| Box::pin(connects(size, table)),
    },
    Flood {
        name: "handshakes",
        description: "TLS handshakes that nobody ends, as fast as the relay can be made to sign",
        run: |size, table| Box::pin(handshakes(size, table)),
    },
];

/// From accept to login, and a second.
const CLOSED_WITHIN: f64 = 11.0;
/// Resident memory of a connection without a login.
const MOST_FOR_A_STRANGER: f64 = 40.0;
/// Connections that are being made at once.
const AT_ONCE: usize = 256;
/// Memory may be given back with some delay.
const GIVES_BACK_WITHIN: Duration = Duration::from_secs(10);
/// What may stay of what the strangers took, as a part.
const MAY_STAY: f64 = 0.25;

/// A machine that has other things to do delays anything by so much now and then.
const HICCUP_MS: f64 = 100.0;

/// What the users have noticed. Their tasks may take at most so many times as long as without the flood; a hiccup of
/// the machine is none of the relay's.
fn note_work(flood: &'static str, quiet: Went, went: Went, most_times: f64, table: &mut Table) {
    table.limited(flood, format!("failed of {} tasks", went.done + went.failed), went.failed as f64, "", 0.0);
    table.note(flood, "p99 of tasks, quiet", quiet.p99, "ms");
    let most = (quiet.p99 * most_times).max(quiet.p99 + HICCUP_MS);
    table.limited(flood, "p99 of tasks meanwhile", went.p99, "ms", most);
}

/// Runs `work` for each number below `count`, so many at once.
async fn each<F: Future<Output = ()> + Send + 'static>(
    count: usize,
    at_once: usize,
    work: impl Fn(usize) -> F,
) -> Duration {
    let began = Instant::now();
    let (places, mut all) = (Arc::new(Semaphore::new(at_once)), JoinSet::new());
    for number in 0..count {
        let place = places.clone().acquire_owned().await.expect("an open semaphore");
        let work = work(number);
        all.spawn(async move {
            work.await;
            drop(place);
        });
    }
    while let Some(done) = all.join_next().await {
        done.expect("no panic");
    }
    began.elapsed()
}

// ---- strangers --------------------------------------------------------------------------------------------------

/// The head of a quest that claims a payload of `size` bytes.
fn claim(size: u32) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend([VERSION, FLAG_MSGPACK, 1, 7]);
    bytes.extend(size.to_le_bytes());
    bytes.extend([1, 0, 0, 0]);
    bytes.extend(b"crhello");
    bytes
}

/// What a TLS client says first.
fn client_hello() -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_root_certificates(rustls::RootCertStore::empty());
    let name = ServerName::try_from("localhost").expect("a name");
    let mut client =
        rustls::ClientConnection::new(Arc::new(config.with_no_client_auth()), name).expect("a client of TLS");
    let mut hello = Vec::new();
    client.write_tls(&mut hello).expect("bytes in memory");
    hello
}

/// Sends what a kind of strangers sends, and waits until the relay closes the connection. How long that took since it
/// was made; `None` when it has not been closed.
async fn stranger(mut stream: TcpStream, kind: usize, hello: Arc<Vec<u8>>) -> Option<Duration> {
    let began = Instant::now();
    let said = match kind {
        0 => Vec::new(),
        1 | 2 => claim(4_000),
        3 => claim(u32::MAX),
        _ => hello[..hello.len() / 2].to_vec(),
    };
    let slow = kind == 1;
    let patience = Duration::from_secs(30);
    let (mut sent, mut bytes) = (0, [0; 1024]);
    if !slow {
        let _ = stream.write_all(&said).await;
        sent = said.len();
    }
    while began.elapsed() < patience {
        match timeout(Duration::from_secs(1), stream.read(&mut bytes)).await {
            Ok(Ok(0) | Err(_)) => return Some(began.elapsed()),
            Ok(Ok(_)) => {}
            Err(_) if slow => {
                let _ = stream.write_all(&said[sent.min(said.len() - 1)..][..1]).await;
                sent += 1;
            }
            Err(_) => {}
        }
    }
    None
}

async fn strangers(size: Size, table: &mut Table) {
    for tls in [false, true] {
        let flood = if tls { "tls-strangers" } else { "strangers" };
        let relay = Setup { tls, ..size.setup() }.start();
        let target = relay.encrypted.unwrap_or(relay.address);
        let quiet = Work::quiet(relay.address, size.time / 2).await;
        let work = Work::start(relay.address).await;
        let hello = Arc::new(client_hello());
        let (before, descriptors) = (relay.resident(), relay.descriptors());
        let mut waiting = JoinSet::new();
        let places = Arc::new(Semaphore::new(AT_ONCE));
        for number in 0..size.strangers {
            let place = places.clone().acquire_owned().await.expect("an open semaphore");
            let hello = hello.clone();
            waiting.spawn(async move {
                let stream = TcpStream::connect(target).await.expect("a connection");
                drop(place);
                // Half of a TLS handshake is something else than a frame at once.
                let kinds = if tls { 5 } else { 3 };
                stranger(stream, number % kinds, hello).await
            });
        }
        // All are there, and none has been for ten seconds.
        let (mut peak, mut most) = (relay.resident(), 0);
        let (mut slowest, mut left_open) = (Duration::ZERO, 0);
        while !waiting.is_empty() {
            peak = peak.max(relay.resident());
            most = most.max(relay.descriptors().saturating_sub(descriptors));
            while let Some(done) = waiting.try_join_next() {
                match done.expect("no panic") {
                    Some(time) => slowest = slowest.max(time),
                    None => left_open += 1,
                }
            }
            sleep(Duration::from_millis(50)).await;
        }
        table.note(flood, "connections at once", most as f64, "");
        let each = (peak - before) / most.max(1) as f64;
        // A few connections share what the relay takes for the first of them.
        let limit = if size.timed { MOST_FOR_A_STRANGER } else { 4.0 * MOST_FOR_A_STRANGER };
        table.limited(flood, "memory of each", each, "KiB", limit);
        table.limited(flood, "left open", left_open.into(), "", 0.0);
        table.limited(flood, "closed after", slowest.as_secs_f64(), "s", size.judged(CLOSED_WITHIN));
        note_work(flood, quiet, work.end().await, f64::INFINITY, table);
        let after = settled(&relay, before + (peak - before) * MAY_STAY).await;
        let part = (after - before).max(0.0) / (peak - before).max(1.0);
        table.limited(flood, "of that memory stays", part * 100.0, "%", size.judged(MAY_STAY * 100.0));
        table.note(flood, "resident before, at most, after", before, "KiB");
        table.note(flood, "", peak, "KiB");
        table.note(flood, "", after, "KiB");
        relay.note_group(flood, table);
    }
}

/// Resident memory when it has fallen to `goal`, or some time later.
async fn settled(relay: &Relay, goal: f64) -> f64 {
    let began = Instant::now();
    while relay.resident() > goal && began.elapsed() < GIVES_BACK_WITHIN {
        sleep(Duration::from_millis(100)).await;
    }
    relay.resident()
}

// ---- clients who never read -------------------------------------------------------------------------------------

/// Bytes of one piece that is sent to them.
const PIECE: usize = 100_000;
/// The relay's bound for all that waits.
const BOUND: u64 = 256 * 1024 * 1024;

async fn never_read(size: Size, table: &mut Table) {
    let relay = Setup { max_queued: Some(BOUND), ..size.setup() }.start();
    let quiet = Work::quiet(relay.address, size.time / 2).await;
    let mut deaf = Vec::new();
    for number in 0..size.never_readers {
        let mut client = Client::login(relay.address, &format!("deaf{number}")).await.expect("a login");
        let bulk = client.bulk(relay.address).await.expect("a bulk connection");
        let _ = SockRef::from(&bulk.stream).set_recv_buffer_size(4096);
        deaf.push((client, bulk));
    }
    let before = relay.resident();
    let work = Work::start(relay.address).await;
    let mut sender = Client::login(relay.address, "shouter").await.expect("a login");
    let mut bulk = sender.bulk(relay.address).await.expect("a bulk connection");
    for (client, _) in &deaf {
        sender.find(&client.user).await.expect("an answer");
    }
    // It hears what the relay says of those who are busy, and answers its pings.
    let mut news = sender.link;
    let hears = tokio::spawn(async move { while news.next().await.is_ok() {} });
    let task = TaskId::from_bytes([2; 16]);
    let (mut sent, mut peak) = (0, before);
    while sent < size.sent {
        for (client, _) in &deaf {
            let mut out = OutQueue::default();
            let data = vec![7; PIECE].into();
            out.routed(&client.user, client.epoch, &msg::Data { task, offset: 0, data });
            bulk.send(out).await.expect("a sender is not cut off for what others do not read");
            sent += PIECE;
        }
        peak = peak.max(relay.resident());
    }
    let grown = (peak - before) / 1024.0;
    let bound = BOUND as f64 / 1_048_576.0 * 1.25 + (size.never_readers * PIECE) as f64 / 1_048_576.0;
    table.note("never-read", "sent to them", sent as f64 / 1_048_576.0, "MiB");
    table.limited("never-read", "memory of what waits", grown, "MiB", bound);
    note_work("never-read", quiet, work.end().await, f64::INFINITY, table);
    let (cpu, time) = (relay.processor_time(), Instant::now());
    sleep(size.time / 2).await;
    let busy = (relay.processor_time() - cpu).as_secs_f64() / time.elapsed().as_secs_f64();
    table.limited("never-read", "processor when only they are there", busy * 100.0, "%", size.judged(5.0));
    hears.abort();
    drop((deaf, bulk));
    let after = settled(&relay, before + (peak - before) * MAY_STAY).await;
    let part = (after - before).max(0.0) / (peak - before).max(1.0);
    table.limited("never-read", "of that memory stays", part * 100.0, "%", size.judged(MAY_STAY * 100.0));
    relay.note_group("never-read", table);
}

// ---- descriptors ------------------------------------------------------------------------------------------------

const DESCRIPTORS: u32 = 256;
const TOO_MANY: usize = 400;

async fn descriptors(size: Size, table: &mut Table) {
    let relay = Setup { descriptors: Some(DESCRIPTORS), ..size.setup() }.start();
    let (mut slowest, mut failed) = (Duration::ZERO, 0);
    for _ in 0..size.rounds {
        let mut links = Vec::new();
        for _ in 0..TOO_MANY {
            // Those beyond what it has are closed at once, and may be reset before they are there.
            links.extend(TcpStream::connect(relay.address).await);
        }
        drop(links);
        let began = Instant::now();
        let served = loop {
            match timeout(PATIENCE, Link::greeted(relay.address)).await {
                Ok(Ok(_)) => break true,
                _ if began.elapsed() > PATIENCE => break false,
                _ => sleep(Duration::from_millis(5)).await,
            }
        };
        slowest = slowest.max(began.elapsed());
        failed += usize::from(!served);
    }
    table.limited("descriptors", format!("rounds of {} without service", size.rounds), failed as f64, "", 0.0);
    table.limited("descriptors", "serves again after", slowest.as_secs_f64(), "s", size.judged(1.0));
    relay.note_group("descriptors", table);
}

// ---- logins, connections and handshakes -------------------------------------------------------------------------

/// Logins under way at once; all others wait in the queue of the kernel or of their machine.
const LOGINS_AT_ONCE: usize = 4_000;

async fn logins(size: Size, table: &mut Table) {
    let relay = size.setup().start();
    let refused = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (address, notes) = (relay.address, refused.clone());
    let took = each(size.logins, LOGINS_AT_ONCE, move |number| {
        let notes = notes.clone();
        async move {
            if let Err(failure) = Client::login(address, &format!("user{number}")).await {
                notes.lock().expect("no panic").push(format!("{failure:?}"));
            }
        }
    })
    .await;
    let refused = std::mem::take(&mut *refused.lock().expect("no panic"));
    let first = refused.first().map(|why| format!(" ({why})")).unwrap_or_default();
    table.limited("logins", format!("refused of {}{first}", size.logins), refused.len() as f64, "", 0.0);
    table.note("logins", "a second", size.logins as f64 / took.as_secs_f64(), "");
    relay.note_group("logins", table);
}

async fn connects(size: Size, table: &mut Table) {
    let relay = size.setup().start();
    let quiet = Work::quiet(relay.address, size.time / 2).await;
    let work = Work::start(relay.address).await;
    let (address, hurry) = (relay.address, Pacer::new(size.connects, size.time));
    let took = each(size.connects, AT_ONCE, move |number| {
        let hurry = hurry.clone();
        async move {
            hurry.wait(number).await;
            // Whether it is taken or closed is the relay's choice.
            if let Ok(mut stream) = TcpStream::connect(address).await {
                let _ = stream.write_all(&claim(100)).await;
            }
        }
    })
    .await;
    table.note("connects", "a second", size.connects as f64 / took.as_secs_f64(), "");
    note_work("connects", quiet, work.end().await, size.judged(2.0), table);
    relay.note_group("connects", table);
}

/// So many in some time, evenly.
#[derive(Clone)]
struct Pacer {
    began: Instant,
    step: Duration,
}

impl Pacer {
    fn new(count: usize, time: Duration) -> Self {
        Self { began: Instant::now(), step: time / u32::try_from(count).unwrap_or(u32::MAX) }
    }

    async fn wait(&self, number: usize) {
        let at = self.began + self.step * u32::try_from(number).unwrap_or(u32::MAX);
        tokio::time::sleep_until(at.into()).await;
    }
}

/// Users work on a plain address of the same relay, so that what is measured is the relay and not their own cryptography.
async fn handshakes(size: Size, table: &mut Table) {
    let relay = Setup { tls: true, ..size.setup() }.start();
    let quiet = Work::quiet(relay.address, size.time / 2).await;
    let work = Work::start(relay.address).await;
    let hello = Arc::new(client_hello());
    let count = size.handshakes * usize::try_from(size.time.as_secs()).unwrap_or(1);
    let address = relay.encrypted.expect("an encrypted address");
    let hurry = Pacer::new(count, size.time);
    let answered = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let seen = answered.clone();
    let cpu = relay.processor_time();
    let took = each(count, AT_ONCE, move |number| {
        let (hurry, hello, seen) = (hurry.clone(), hello.clone(), seen.clone());
        async move {
            hurry.wait(number).await;
            let Ok(mut stream) = TcpStream::connect(address).await else { return };
            let mut bytes = [0; 1024];
            // The relay has signed when something comes; who floods does not wait for long.
            if stream.write_all(&hello).await.is_ok()
                && let Ok(Ok(1..)) = timeout(Duration::from_secs(5), stream.read(&mut bytes)).await
            {
                seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
    })
    .await;
    let cpu = (relay.processor_time() - cpu).as_secs_f64() / took.as_secs_f64();
    table.note("handshakes", "begun in a second", count as f64 / took.as_secs_f64(), "");
    let answered = answered.load(std::sync::atomic::Ordering::Relaxed);
    table.note("handshakes", "signed in a second", answered as f64 / took.as_secs_f64(), "");
    table.note("handshakes", "processor of the relay", cpu * 100.0, "%");
    note_work("handshakes", quiet, work.end().await, size.judged(3.0), table);
    relay.note_group("handshakes", table);
}
