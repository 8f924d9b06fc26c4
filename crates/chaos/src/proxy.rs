//! A TCP proxy that breaks what goes through it, as a seed says, and keeps a log of what it has broken.
//!
//! A [`Plan`] is drawn for each connection: what slows it down, and what happens at which byte. Beside it there are
//! switches for all connections together. The proxy never looks inside unless frames are asked for.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crvideo_proto::frame::Frame;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::frames::FrameFault;
use crate::pump::{self, Link};
use crate::rng::Rng;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// From the client to the relay.
    Up,
    /// From the relay to the client.
    Down,
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cut {
    /// In order, as if the other end had closed.
    Fin,
    /// With a reset.
    Rst,
    /// Not at all: nothing goes through any more, in either direction.
    Silence,
}

/// The three of them.
pub const CUTS: [Cut; 3] = [Cut::Fin, Cut::Rst, Cut::Silence];

/// What happens when so many bytes have gone through in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection ends.
    Cut(Cut),
    /// This bit of the next byte is another one.
    Flip(u8),
    /// Nothing goes on in this direction for a while.
    Stall(Duration),
    /// This direction is closed, the other one goes on.
    HalfClose,
}

/// One direction of a connection.
#[derive(Debug, Clone, Default)]
pub struct Lane {
    /// How long each byte is on its way.
    pub latency: Duration,
    /// So much more, at most, drawn for each piece.
    pub jitter: Duration,
    /// Bytes per second.
    pub rate: Option<u64>,
    /// Bytes that are written at once, at most.
    pub slice: Option<usize>,
    /// What happens, and at which byte, ascending.
    pub faults: Vec<(u64, Fault)>,
    /// What happens to whole frames, and to which, counted from 0, ascending.
    pub frames: Vec<(u64, FrameFault)>,
}

/// What is drawn for one connection.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// From the client to the relay.
    pub up: Lane,
    /// From the relay to the client.
    pub down: Lane,
    /// The connection is taken and never served.
    pub never_read: bool,
}

impl Plan {
    /// Ends the connection when so many bytes have gone this way.
    pub fn cut(way: Way, at: u64, cut: Cut) -> Self {
        Self::default().with(way, |lane| lane.faults.push((at, Fault::Cut(cut))))
    }

    /// Changes one direction.
    pub fn with(mut self, way: Way, change: impl FnOnce(&mut Lane)) -> Self {
        change(if way == Way::Up { &mut self.up } else { &mut self.down });
        self
    }
}

/// Draws the plan of a connection. The number counts the proxy's connections from 0.
pub type Draw = Box<dyn FnMut(u64, &mut Rng) -> Plan + Send>;
/// Sees each frame that goes through, and which way, before it is passed on: what it sees may never arrive.
pub type Tap = Arc<dyn Fn(Way, &Frame) + Send + Sync>;

/// What the proxy's connections share.
pub(crate) struct Shared {
    relay: Mutex<SocketAddr>,
    draw: Mutex<(Draw, Rng)>,
    pub(crate) tap: Mutex<Option<Tap>>,
    /// Frames of earlier connections, for those that replay them; the oldest go first.
    pub(crate) old_frames: Mutex<VecDeque<(u64, Way, Frame)>>,
    pub(crate) fired: Mutex<BTreeMap<String, u64>>,
    pub(crate) forwarded: AtomicU64,
    refusing: AtomicBool,
    /// Neither bytes nor ends are passed on, by direction.
    pub(crate) silent: [AtomicBool; 2],
    /// Counts the cuts of all connections, with what the last one was like.
    cut: watch::Sender<(u64, Cut)>,
    /// Plans of connections that are open are void from here on: counts the healings.
    pub(crate) healed: AtomicU64,
    /// Changes when a switch is turned, so that those who wait look again.
    pub(crate) turned: watch::Sender<u64>,
    open: AtomicU64,
}

impl Shared {
    pub(crate) fn fire(&self, what: impl Into<String>) {
        *lock(&self.fired).entry(what.into()).or_default() += 1;
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The proxy; it ends when it is dropped, and so do its connections.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

impl Proxy {
    /// A proxy that changes nothing until it is told to.
    pub fn new(relay: SocketAddr) -> Self {
        Self::with_plan(relay, 0, Box::new(|_, _| Plan::default()))
    }

    /// A proxy whose connections are broken as `draw` says, with random numbers of this seed.
    pub fn with_plan(relay: SocketAddr, seed: u64, draw: Draw) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).thread_name("chaos-proxy").enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            relay: Mutex::new(relay),
            draw: Mutex::new((draw, Rng::new(seed))),
            tap: Mutex::default(),
            old_frames: Mutex::default(),
            fired: Mutex::default(),
            forwarded: AtomicU64::new(0),
            refusing: AtomicBool::new(false),
            silent: Default::default(),
            cut: watch::Sender::new((0, Cut::Fin)),
            healed: AtomicU64::new(0),
            turned: watch::Sender::new(0),
            open: AtomicU64::new(0),
        });
        runtime.spawn(accept(listener, shared.clone()));
        Self { address, shared, runtime: Some(runtime) }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connects to another relay from the next connection on.
    pub fn lead_to(&self, relay: SocketAddr) {
        *lock(&self.shared.relay) = relay;
    }

    /// Draws differently from the next connection on.
    pub fn redraw(&self, draw: Draw) {
        lock(&self.shared.draw).0 = draw;
    }

    /// Nothing is broken any more: neither connections that are open, but for those that have gone silent for good,
    /// nor new ones.
    pub fn heal(&self) {
        self.redraw(Box::new(|_, _| Plan::default()));
        self.shared.healed.fetch_add(1, Ordering::SeqCst);
        self.refuse(false);
        self.go_silent(false);
    }

    /// Lets `tap` see every frame.
    pub fn tap(&self, tap: Tap) {
        *lock(&self.shared.tap) = Some(tap);
    }

    /// Bytes that went through, both ways.
    pub fn forwarded(&self) -> u64 {
        self.shared.forwarded.load(Ordering::SeqCst)
    }

    /// Connections that are open.
    pub fn open(&self) -> u64 {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// What was broken, and how often.
    pub fn fired(&self) -> BTreeMap<String, u64> {
        lock(&self.shared.fired).clone()
    }

    /// How often something was broken whose name begins so.
    pub fn count(&self, prefix: &str) -> u64 {
        self.fired().iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, count)| count).sum()
    }

    /// Ends every connection that is open.
    pub fn cut(&self, cut: Cut) {
        self.shared.cut.send_modify(|it| *it = (it.0 + 1, cut));
    }

    /// Whether new connections are closed at once.
    pub fn refuse(&self, refusing: bool) {
        self.shared.refusing.store(refusing, Ordering::SeqCst);
    }

    /// Whether everything is swallowed, without closing anything.
    pub fn go_silent(&self, silent: bool) {
        self.go_silent_one_way(Way::Up, silent);
        self.go_silent_one_way(Way::Down, silent);
    }

    /// The same for one direction.
    pub fn go_silent_one_way(&self, way: Way, silent: bool) {
        if !self.shared.silent[way as usize].swap(silent, Ordering::SeqCst) && silent {
            self.shared.fire(format!("silence {way:?}"));
        }
        self.shared.turned.send_modify(|it| *it += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    for number in 0.. {
        let Ok((client, _)) = listener.accept().await else {
            // Out of descriptors, most likely: others will be closed.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        if shared.refusing.load(Ordering::SeqCst) {
            shared.fire("refused");
            continue;
        }
        let plan = {
            let mut draw = lock(&shared.draw);
            let (draw, rng) = &mut *draw;
            draw(number, rng)
        };
        tokio::spawn(serve(client, plan, number, shared.clone()));
    }
}

async fn serve(client: TcpStream, plan: Plan, number: u64, shared: Arc<Shared>) {
    if plan.never_read {
        shared.fire("never read");
        let mut cut = shared.cut.subscribe();
        let _ = cut.changed().await;
        return;
    }
    let relay = *lock(&shared.relay);
    let Ok(server) = TcpStream::connect(relay).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    shared.open.fetch_add(1, Ordering::SeqCst);
    let mut all = shared.cut.subscribe();
    let link = Link::new(shared.clone(), number);
    let end = {
        let (from_client, to_client) = client.split_ends();
        let (from_server, to_server) = server.split_ends();
        let up = pump::run(&link, Way::Up, plan.up, from_client, to_server);
        let down = pump::run(&link, Way::Down, plan.down, from_server, to_client);
        let both = async { tokio::join!(up, down) };
        tokio::select! {
            _ = both => None,
            cut = link.cut_asked() => Some(cut),
            _ = all.changed() => {
                let cut = all.borrow().1;
                shared.fire(format!("cut {cut:?}"));
                Some(cut)
            }
        }
    };
    match end {
        Some(Cut::Silence) => {
            // Both ends stay open and hear nothing, until one of them gives up.
            pump::swallow(&client, &server).await;
            for stream in [&client, &server] {
                let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
            }
        }
        Some(Cut::Rst) => {
            for stream in [&client, &server] {
                let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
            }
        }
        Some(Cut::Fin) | None => {}
    }
    shared.open.fetch_sub(1, Ordering::SeqCst);
}

/// A stream's two ends by reference, so that the stream itself can still be reset.
trait Ends {
    fn split_ends(&self) -> (&TcpStream, &TcpStream);
}

impl Ends for TcpStream {
    fn split_ends(&self) -> (&TcpStream, &TcpStream) {
        (self, self)
    }
}
