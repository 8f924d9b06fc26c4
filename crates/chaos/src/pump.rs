//! One direction of one connection: bytes on their way, slowed down and broken as planned.

use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::frames::Frames;
use crate::proxy::{Cut, Fault, Lane, Shared, Way, lock};
use crate::rng::Rng;

/// Bytes that are read at once.
const PIECE: usize = 64 * 1024;
/// Pieces that are on their way while latency holds them.
const UNDER_WAY: usize = 64;

/// What the two directions of a connection share.
pub(crate) struct Link {
    pub(crate) shared: Arc<Shared>,
    pub(crate) number: u64,
    cut: watch::Sender<Option<Cut>>,
}

impl Link {
    pub(crate) fn new(shared: Arc<Shared>, number: u64) -> Self {
        Self { shared, number, cut: watch::Sender::new(None) }
    }

    /// Comes when one of the directions has reached the byte at which the connection ends.
    pub(crate) async fn cut_asked(&self) -> Cut {
        let mut asked = self.cut.subscribe();
        let cut = asked.wait_for(Option::is_some).await.map_or(None, |cut| *cut);
        cut.unwrap_or(Cut::Fin)
    }
}

/// Carries bytes until their source ends.
pub(crate) async fn run(link: &Link, way: Way, lane: Lane, from: &TcpStream, to: &TcpStream) {
    let (sender, receiver) = mpsc::channel(UNDER_WAY);
    let reading = read(link, way, (lane.latency, lane.jitter), from, sender);
    let writing = Writer::new(link, way, lane, to).run(receiver);
    tokio::join!(reading, writing);
}

/// Reads pieces and says when each of them is due at the other end.
async fn read(
    link: &Link,
    way: Way,
    (latency, jitter): (Duration, Duration),
    from: &TcpStream,
    sender: mpsc::Sender<(Instant, Bytes)>,
) {
    let mut rng = Rng::of_part(link.number, 17 + way as u64);
    let mut last = Instant::now();
    let mut buffer = vec![0; PIECE];
    loop {
        while_silent(link, way).await;
        let Ok(count) = receive(from, &mut buffer).await else { return };
        if count == 0 {
            return;
        }
        let late = Duration::from_micros(rng.below(jitter.as_micros() as u64 + 1));
        // Bytes never overtake each other.
        last = last.max(Instant::now() + latency + late);
        let piece = Bytes::copy_from_slice(buffer.get(..count).unwrap_or_default());
        if sender.send((last, piece)).await.is_err() {
            return;
        }
    }
}

struct Writer<'a> {
    link: &'a Link,
    way: Way,
    to: &'a TcpStream,
    rate: Option<u64>,
    slice: Option<usize>,
    faults: std::collections::VecDeque<(u64, Fault)>,
    frames: Frames,
    look_inside: bool,
    /// The proxy's healings when this connection was planned.
    healed: u64,
    /// Bytes that have gone on.
    at: u64,
}

impl<'a> Writer<'a> {
    fn new(link: &'a Link, way: Way, lane: Lane, to: &'a TcpStream) -> Self {
        let look_inside = !lane.frames.is_empty() || lock(&link.shared.tap).is_some();
        let frames = Frames::new(way, link.number, lane.frames);
        let faults = lane.faults.into();
        let healed = link.shared.healed.load(Ordering::SeqCst);
        Self { link, way, to, rate: lane.rate, slice: lane.slice, faults, frames, look_inside, healed, at: 0 }
    }

    async fn run(mut self, mut receiver: mpsc::Receiver<(Instant, Bytes)>) {
        while let Some((due, piece)) = receiver.recv().await {
            sleep_until(due).await;
            while_silent(self.link, self.way).await;
            if self.healed != self.link.shared.healed.load(Ordering::SeqCst) {
                self.faults.clear();
                (self.rate, self.slice) = (None, None);
            }
            let piece = if self.look_inside { self.frames.pass(&piece, &self.link.shared) } else { piece };
            if self.pass(piece).await.is_err() {
                // The target is gone, so the source's bytes have nowhere to go.
                return self.cut(Cut::Fin).await;
            }
        }
        let _ = socket2::SockRef::from(self.to).shutdown(Shutdown::Write);
    }

    /// Passes bytes on, and does at each offset what is planned there.
    async fn pass(&mut self, mut bytes: Bytes) -> io::Result<()> {
        while let Some((at, fault)) = self.faults.front().copied().filter(|it| it.0 < self.at + bytes.len() as u64) {
            self.faults.pop_front();
            let before = bytes.split_to(at.saturating_sub(self.at) as usize);
            self.write(&before).await?;
            self.link.shared.fire(match fault {
                Fault::Cut(cut) => format!("cut {cut:?}"),
                Fault::Flip(_) => "flip".to_owned(),
                Fault::Stall(_) => "stall".to_owned(),
                Fault::HalfClose => "half-close".to_owned(),
            });
            match fault {
                Fault::Cut(cut) => self.cut(cut).await,
                Fault::Stall(time) => sleep(time).await,
                Fault::HalfClose => {
                    let _ = socket2::SockRef::from(self.to).shutdown(Shutdown::Write);
                    // What comes after it is swallowed.
                    std::future::pending().await
                }
                Fault::Flip(bit) => {
                    let mut piece = bytes.to_vec();
                    if let Some(byte) = piece.first_mut() {
                        *byte ^= 1 << (bit % 8);
                    }
                    bytes = piece.into();
                }
            }
        }
        self.write(&bytes).await
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(self.slice.unwrap_or(usize::MAX).max(1)) {
            send(self.to, piece).await?;
            self.at += piece.len() as u64;
            self.link.shared.forwarded.fetch_add(piece.len() as u64, Ordering::SeqCst);
            if let Some(rate) = self.rate {
                sleep(Duration::from_secs_f64(piece.len() as f64 / rate.max(1) as f64)).await;
            }
        }
        Ok(())
    }

    /// Ends the connection, and this direction with it.
    async fn cut(&self, cut: Cut) {
        self.link.cut.send_if_modified(|asked| asked.is_none() && asked.replace(cut).is_none());
        std::future::pending().await
    }
}

/// Waits while the proxy is silent in this direction.
async fn while_silent(link: &Link, way: Way) {
    let mut turned = link.shared.turned.subscribe();
    while link.shared.silent[way as usize].load(Ordering::SeqCst) {
        if turned.changed().await.is_err() {
            return;
        }
    }
}

async fn receive(from: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        from.readable().await?;
        match from.try_read(buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            done => return done,
        }
    }
}

async fn send(to: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        to.writable().await?;
        match to.try_write(bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Takes what both ends send, and says nothing to either, until both have given up.
pub(crate) async fn swallow(one: &TcpStream, other: &TcpStream) {
    async fn end(stream: &TcpStream) {
        let mut buffer = vec![0; PIECE];
        while receive(stream, &mut buffer).await.is_ok_and(|count| count > 0) {}
    }
    tokio::join!(end(one), end(other));
}
